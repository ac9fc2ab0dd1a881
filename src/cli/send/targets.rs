//! Who gets what: the hosts and the paths that a command line names.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::sleep;

use super::places;
use crate::cli::acquaintances::Acquaintances;
use crate::cli::args::send::SendArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::{out, screen};
use crate::limits::RECEIVERS_MAX;
use crate::name::Escaped;
use crate::net::address::Peer;
use crate::net::discovery::{LocateError, locate};
use crate::source::name_of;

fn usage(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Usage, error)
}

/// The receivers, and what to send to each of them. Without `--to` the last argument is the host. No
/// receivers: the user named none, and all arguments are there as files or folders.
pub fn split(args: &SendArgs) -> Result<(Vec<Peer>, Vec<PathBuf>), Failure> {
    let arguments = args.words();
    if args.runs_a_command() {
        return Ok((peers_of_command(args)?, Vec::new()));
    }
    let (peers, paths) = if args.to.is_empty() && name_no_host(arguments) {
        (Vec::new(), arguments)
    } else if args.to.is_empty() {
        let (host, paths) = arguments
            .split_last()
            .filter(|(_, paths)| !paths.is_empty())
            .ok_or_else(|| no_host(arguments))?;
        check_port(host, paths)?;
        check_order(arguments)?;
        check_several(host, paths)?;
        (vec![peer(host, "the last argument is the host")?], paths)
    } else {
        let peers: Result<Vec<Peer>, Failure> =
            args.to.iter().map(|host| peer(host, "--to takes a host")).collect();
        let peers = peers?;
        check_hosts(&peers)?;
        check_last(arguments)?;
        (peers, arguments)
    };
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    check_names(&paths)?;
    Ok((peers, paths))
}

/// The receivers of what a command writes: the one host that stands before `--`, or those of `--to`.
fn peers_of_command(args: &SendArgs) -> Result<Vec<Peer>, Failure> {
    if args.name.is_none() {
        return Err(usage(anyhow!(
            "what stands behind -- is a command, and what it writes has no name; give it one: \
             lanx send HOST --name NAME -- COMMAND (a file that begins with a dash is ./-FILE)"
        )));
    }
    match (&args.paths_and_host[..], &args.to[..]) {
        ([], []) => Ok(Vec::new()),
        ([host], []) => Ok(vec![peer(host, "the host stands before --")?]),
        ([], hosts) => {
            let peers: Vec<Peer> =
                hosts.iter().map(|host| peer(host, "--to takes a host")).collect::<Result<_, _>>()?;
            check_hosts(&peers)?;
            Ok(peers)
        }
        _ => Err(usage(anyhow!(
            "what a command writes is sent by itself, so before -- stands nothing but the host; send the files by another command"
        ))),
    }
}

/// Whoever is used to nc and telnet gives the port as a word of its own.
fn check_port(last: &OsStr, paths: &[OsString]) -> Result<(), Failure> {
    let Some(port) =
        last.to_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
    else {
        return Ok(());
    };
    let before = paths.last().and_then(|path| path.to_str()).filter(|path| !Path::new(path).exists());
    match before.and_then(|text| text.parse::<Peer>().ok()).filter(|_| port.parse::<u16>().is_ok()) {
        Some(Peer { host, .. }) if host.contains(':') => {
            Err(usage(anyhow!("{port} is a port; write HOST:PORT as one word: [{host}]:{port}")))
        }
        Some(Peer { host, .. }) => {
            Err(usage(anyhow!("{port} is a port; write HOST:PORT as one word: {host}:{port}")))
        }
        None => Err(usage(anyhow!("{port} is a number and no host; write HOST:PORT: lanx send FILE HOST"))),
    }
}

/// Whoever is used to other programs names the host first.
fn check_order(arguments: &[OsString]) -> Result<(), Failure> {
    let [first, files @ ..] = arguments else { return Ok(()) };
    let are_files = !files.is_empty() && files.iter().all(|file| Path::new(file).exists());
    // What looks like a file may be one that is missing, and what stands last a host.
    let is_host = |text: &&str| {
        text.parse::<Peer>().is_ok_and(|peer| peer.host.parse::<IpAddr>().is_ok() || !peer.host.contains('.'))
    };
    let first = first.to_str().filter(|text| are_files && !Path::new(text).exists());
    let is_last_a_host = || {
        let last = files.last().and_then(|last| last.to_str());
        last.is_some_and(|last| last.parse::<Peer>().is_ok_and(|peer| peer.host.parse::<IpAddr>().is_ok()))
    };
    let host = match first.filter(is_host) {
        Some(host) => Some(host.to_owned()),
        None => first.and_then(other_host).filter(|_| !is_last_a_host()),
    };
    let Some(host) = host else { return Ok(()) };
    let files: Vec<String> = files.iter().map(|file| Escaped::path(Path::new(file)).to_string()).collect();
    Err(usage(anyhow!("the host comes last: lanx send {} {host}", files.join(" "))))
}

/// Whoever sends to several hosts may name them one after the other. A plain word is more likely a file that is missing.
fn check_several(last: &OsStr, paths: &[OsString]) -> Result<(), Failure> {
    let is_missing_host = |path: &&OsString| {
        let text = path.to_str().filter(|text| !text.contains('/') && !Path::new(text).exists());
        let peer = text.and_then(|text| text.parse::<Peer>().ok());
        peer.is_some_and(|peer| {
            peer.host.parse::<IpAddr>().is_ok() || text.is_some_and(|text| text.contains(':'))
        })
    };
    let others: Vec<&OsString> = paths.iter().rev().take_while(is_missing_host).collect();
    let there = paths.len() - others.len();
    if others.is_empty() || there == 0 {
        return Ok(());
    }
    let shown = |text: &OsStr| Escaped::path(Path::new(text)).to_string();
    let first = others.last().map_or_else(String::new, |host| shown(host));
    let hosts: Vec<String> = others.iter().rev().map(|host| shown(host)).chain([shown(last)]).collect();
    Err(usage(anyhow!(
        "{first}: no such file or folder; to send to several hosts, name each with --to: lanx send FILE --to {}",
        hosts.join(" --to ")
    )))
}

/// What to type where words before the last one may be hosts as well: they are no files. Empty where there are none.
pub fn missing_hosts(args: &SendArgs) -> String {
    let Some((last, paths)) = args.words().split_last().filter(|_| args.to.is_empty()) else {
        return String::new();
    };
    let is_missing_host = |path: &&OsString| {
        let text = path.to_str().filter(|text| !text.contains(['/', '.']) && !Path::new(text).exists());
        text.is_some_and(|text| text.parse::<Peer>().is_ok())
    };
    let hosts: Vec<&OsString> = paths.iter().filter(is_missing_host).collect();
    let Some(first) = hosts.first() else { return String::new() };
    let all =
        hosts.iter().copied().chain([last]).map(|host| format!(" --to {}", Escaped::path(Path::new(host))));
    let first = Escaped::path(Path::new(first));
    format!(
        "{first} is no file here: several hosts are named by --to: lanx send FILE{}",
        all.collect::<String>()
    )
}

/// The host and the rest of a target as scp and rsync take it, if it is one.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let bare = text.split_once('@').map_or(text, |(_, host)| host);
    let bare = bare.strip_suffix(':').unwrap_or(bare);
    let (host, folder) = bare.split_once(":/").or_else(|| bare.split_once(":~")).unwrap_or((bare, ""));
    (host.parse::<Peer>().is_ok() && host != text).then_some((bare, host, folder))
}

/// The host in it.
fn other_host(text: &str) -> Option<String> {
    parts(text).map(|(_, host, _)| host.to_owned())
}

/// What to type instead of a host as scp and rsync take it.
fn habit(text: &str) -> Option<String> {
    let (bare, host, folder) = parts(text)?;
    let user = if text.contains('@') { "lanx needs no user" } else { "" };
    let folder =
        if folder.is_empty() && host == bare { "" } else { "the receiver chooses the folder: lanx recv DIR" };
    let why: Vec<&str> = [user, folder].into_iter().filter(|part| !part.is_empty()).collect();
    let why = if why.is_empty() { "a colon alone names no port".to_owned() } else { why.join(", and ") };
    Some(format!("{why}; send to {host}: lanx send FILE {host}"))
}

/// Whether all arguments are there as files or folders. An address is a host, whatever files there are.
fn name_no_host(arguments: &[OsString]) -> bool {
    let is_address = |text: &str| text.parse::<Peer>().is_ok_and(|peer| peer.host.parse::<IpAddr>().is_ok());
    let last = arguments.last().and_then(|last| last.to_str());
    !(arguments.len() > 1 && last.is_some_and(is_address))
        && arguments.iter().all(|argument| Path::new(argument).symlink_metadata().is_ok())
}

/// That no receiver is named, and what to type.
pub fn no_host(arguments: &[OsString]) -> Failure {
    let is_host = |text: &&str| *text != "-" && text.parse::<Peer>().is_ok();
    match arguments {
        [only] if only == "-" => {
            usage(anyhow!("no host was given; it comes last: lanx send - HOST --name NAME"))
        }
        [only] if Path::new(only).symlink_metadata().is_err() => {
            let shown = Escaped::path(Path::new(only));
            usage(anyhow!(
                "{shown}: no such file or folder, and no host was given; give both: lanx send FILE HOST"
            ))
        }
        [_, .., last] if last.to_str().is_some_and(|text| is_host(&text)) => {
            let last = Escaped::path(Path::new(last));
            usage(anyhow!(
                "no host was given, as {last} is a file here; if it is a host as well, use --to {last}"
            ))
        }
        _ => usage(anyhow!(
            "no host was given; it comes last: lanx send FILE HOST (`lanx list` shows the receivers that answer, `lanx send --help` tells more)"
        )),
    }
}

pub(crate) fn peer(host: &OsStr, rule: &str) -> Result<Peer, Failure> {
    let shown = Escaped::path(Path::new(host)).to_string();
    if let Some(hint) = host.to_str().filter(|_| !Path::new(host).exists()).and_then(habit) {
        return Err(usage(anyhow!("'{shown}' is no host: {hint}")));
    }
    host.to_str()
        .ok_or_else(|| usage(anyhow!("{rule}, and '{shown}' is none")))?
        .parse()
        .map_err(|error| usage(anyhow!("{rule}, and '{shown}' is none: {error}")))
}

/// Finds out where those are that only this network knows: where they were last, or else where they say that
/// they are.
pub(crate) async fn find(peers: &mut [Peer]) -> Result<(), Failure> {
    let known = Acquaintances::load()?;
    places::try_first(peers, &known);
    look_for(peers, &known).await
}

/// The same of those that are not where they were last.
pub(crate) async fn find_anew(peer: &Peer) -> Result<Peer, Failure> {
    let mut peers = [peer.named_before().unwrap_or_else(|| peer.clone())];
    look_for(&mut peers, &Acquaintances::load()?).await?;
    let [peer] = peers;
    Ok(peer)
}

/// How long a name may take before it is said that it is looked for: what nobody waits for knowingly.
const LOOKING_TOLD_AFTER: Duration = Duration::from_millis(400);

async fn look_for(peers: &mut [Peer], known: &Acquaintances) -> Result<(), Failure> {
    let names: Vec<String> = peers.iter().map(|peer| peer.host.clone()).collect();
    let looking = locate(peers);
    tokio::pin!(looking);
    let located = tokio::select! {
        located = &mut looking => located,
        () = sleep(LOOKING_TOLD_AFTER) => {
            // For whoever watches; a log needs no more than what came of it.
            if screen::can_draw() {
                out::note(format_args!("looking for {} on this network", names.join(" and ")));
            }
            looking.await
        }
    };
    located.map_err(|error| {
        let peer = error.peer().clone();
        match &error {
            LocateError::Unknown { seen, .. } => match known.alike(&peer.host, seen) {
                Some(meant) => {
                    Failure::new(Exit::Unreachable, anyhow!("cannot find {peer}; did you mean {meant}?"))
                }
                None => Failure::new(Exit::Unreachable, error),
            },
            LocateError::Ambiguous { .. } => Failure::new(Exit::Unreachable, error),
        }
        .about(peer)
    })
}

/// A receiver that is named twice is a mistake: it would get everything twice.
fn check_hosts(peers: &[Peer]) -> Result<(), Failure> {
    if peers.len() > RECEIVERS_MAX {
        let n = peers.len();
        return Err(usage(anyhow!(
            "{n} receivers are more than the {RECEIVERS_MAX} that lanx sends to at once; send to some of them first"
        )));
    }
    let mut seen = HashMap::new();
    for peer in peers {
        if let Some(first) = seen.insert(peer.address(), peer) {
            return Err(usage(if first == peer {
                anyhow!("--to {peer} is there twice; name each receiver once")
            } else {
                anyhow!("--to {first} and --to {peer} are the same receiver; name it once")
            }));
        }
    }
    Ok(())
}

/// Whoever is used to naming the host last may do so beside `--to`.
fn check_last(arguments: &[OsString]) -> Result<(), Failure> {
    let Some(last) = arguments.last() else { return Ok(()) };
    let is_there = Path::new(last).symlink_metadata().is_ok();
    let is_host = |text: &&str| *text != "-" && text.parse::<Peer>().is_ok();
    let Some(host) = last.to_str().filter(|text| !is_there && is_host(text)) else {
        return Ok(());
    };
    Err(usage(anyhow!(
        "no file is called {host}, and with --to all arguments are files and folders; if it is a host, use --to {host}"
    )))
}

/// Two paths that would arrive under one name are a mistake: one would replace the other.
fn check_names(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut seen: HashMap<OsString, &Path> = HashMap::new();
    for path in paths {
        // What standard input is called is said elsewhere.
        let Some(name) = name_of(path).filter(|name| name != "-") else { continue };
        if let Some(first) = seen.insert(name, path) {
            let (first, second) = (Escaped::path(first), Escaped::path(path));
            let error = anyhow!(
                "{first} and {second} have the same file name; send them one after the other, or rename one"
            );
            return Err(usage(error));
        }
    }
    Ok(())
}
