//! `lanx send`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::args::SendArgs;
use super::exit::Exit;
use super::introduction::{self, Introduction};
use super::json::{File, Status, Sum};
use super::output::Audience;
use super::progress::Bar;
use super::session_events::{SessionEvents, Ticker};
use super::tally::Tally;
use super::{Failure, signals, stdin, units};
use crate::name::Escaped;
use crate::protocol::message::{Cause, Wishes};
use crate::session::{End, FileReport, FileStatus, Observer, Progress};
use crate::source::{Excludes, Feed, Options, Root, SourceError, Trouble, name_of};
use crate::transport::tcp::address::Peer;
use crate::transport::tcp::{SendError, SendOutcome, Transfer, send, wanted_connections};

/// Tells the user about each file and counts it.
struct Reporter {
    peer: Peer,
    tally: Tally,
    audience: Audience,
    dry_run: bool,
    events: Option<Arc<SessionEvents>>,
}

impl Reporter {
    fn new(peer: &Peer, audience: Audience, dry_run: bool) -> Reporter {
        let events = audience.json.then(|| Arc::new(SessionEvents::new(None, peer.to_string())));
        let tally = if dry_run { Tally::of_dry_run() } else { Tally::default() };
        Reporter { peer: peer.clone(), tally, audience, dry_run, events }
    }

    /// What can be offered of what the user named.
    fn inspect(&self, paths: &[PathBuf]) -> Vec<Root> {
        let told = |error| match error {
            SourceError::NotRegular { path, what } => self.unsent(&Trouble::Skipped { path, what }),
            error => self.unsent(&Trouble::Failed(error)),
        };
        paths.iter().filter_map(|path| Root::inspect(path).map_err(told).ok()).collect()
    }

    /// Files that the user named each get a line, as `b3sum` would print it; those in folders are too many for that.
    fn success(&self, report: &FileReport) {
        let FileReport { path, hash: Some(hash), named, .. } = report else { return };
        let what = match &report.status {
            FileStatus::Identical => " (already there)".into(),
            FileStatus::Renamed(new) => format!(" (stored as {new})"),
            _ => String::new(),
        };
        if *named {
            self.audience.line(format_args!("{hash}  {path}{what}"));
        } else {
            tracing::info!("{hash}  {path}{what}");
        }
    }

    /// Tells how it all went, and the exit code.
    fn done(&self, crossed: u64, time: Duration, connections: u8) -> Exit {
        let counts = self.tally.counts();
        if let Some(events) = &self.events {
            events.done(Sum::of(&counts, crossed, time, connections));
        }
        if connections > 0 {
            self.audience.line(counts.summary(crossed, time, Some(connections)));
        }
        counts.exit()
    }
}

impl Observer for Reporter {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        if let Some(events) = &self.events {
            events.file(File::of(report));
        }
        let (audience, path) = (self.audience, &report.path);
        match &report.status {
            FileStatus::Failed(failure) if failure.cause == Cause::Source => audience.error(&failure.text),
            // Paths in it are those of the other machine.
            FileStatus::Failed(failure) => audience.error(format_args!("at {}: {}", self.peer, failure.text)),
            FileStatus::Wanted => audience.line(format_args!("would be sent: {path}")),
            FileStatus::Identical if self.dry_run => audience.line(format_args!("already there: {path}")),
            _ => self.success(report),
        }
    }

    fn unsent(&self, trouble: &Trouble) {
        self.tally.add_trouble(trouble);
        self.audience.error(trouble);
        if let Some(events) = &self.events {
            let status = match trouble {
                Trouble::Failed(_) => Status::Failed,
                Trouble::Skipped { .. } => Status::Skipped,
            };
            events.file(File::not_offered(
                trouble.path().as_os_str().as_bytes(),
                status,
                trouble.to_string(),
            ));
        }
    }

    fn lost(&self, end: &End, retry_for: Duration) {
        if let Some(events) = &self.events {
            events.lost(&end.to_string(), retry_for);
        }
        let seconds = retry_for.as_secs();
        self.audience.error(format_args!("lost {}: {end}; looking for it for up to {seconds} s", self.peer));
    }
}

pub fn run(args: &SendArgs, audience: Audience) -> Result<Exit, Failure> {
    let (peer, paths) = split(&args.paths_and_host)?;
    let what = &args.what;
    let excludes = Excludes::new(&what.exclude_from, &what.exclude)
        .map_err(|error| Failure::new(Exit::Usage, anyhow!("what to exclude: {error}")))?;
    let reporter = Arc::new(Reporter::new(&peer, audience, what.dry_run));
    let (feed, total) = match stdin::feed(args, &paths)? {
        Some(feed) => (feed, None),
        None => {
            check_names(&paths)?;
            let roots = reporter.inspect(&paths);
            if roots.is_empty() {
                return Ok(reporter.done(0, Duration::ZERO, 0));
            }
            let size = roots.iter().map(Root::size).fold(0, u64::saturating_add);
            let total = roots.iter().all(|root| !root.is_folder()).then_some(size);
            (Feed::new(roots, Options { follow: what.follow, archive: what.archive, excludes }), total)
        }
    };
    let wishes = Wishes { dry_run: what.dry_run, delta: args.delta };
    let introduction = Introduction::new(args.code_file.as_deref(), args.patience.timeout(), wishes)?;
    let sending = transfer(args, reporter.clone(), feed, total, introduction);
    signals::runtime()?.block_on(sending).map_err(|failure| failure.about(&peer))
}

/// Sends to one receiver. `total` is the size of all that is sent, where it is known from the beginning.
async fn transfer(
    args: &SendArgs,
    reporter: Arc<Reporter>,
    feed: Feed,
    total: Option<u64>,
    mut introduction: Introduction,
) -> Result<Exit, Failure> {
    let Reporter { peer, audience, events, .. } = &*reporter;
    let progress = Arc::new(Progress::default());
    signals::survive_file_size_limit();
    let stop = signals::interrupted();
    tokio::pin!(stop);
    let chunks = feed.chunks();
    let wanted = |round_trip| wanted_connections(chunks, args.connections, round_trip);
    let link = tokio::select! {
        link = introduction.enter(peer, wanted, *audience) => link?,
        () = &mut stop => {
            return Err(Failure::new(Exit::Interrupted, anyhow!("interrupted before anything was sent")));
        }
    };
    let started = Instant::now();
    let ticker = events.as_ref().map(|events| {
        events.start(Some(link.addr));
        Ticker::follow(events.clone(), progress.clone(), total)
    });
    let bar = Bar::follow(progress.clone(), total, String::new(), audience.quiet);
    let transfer = Transfer {
        feed,
        dry_run: args.what.dry_run,
        limit: args.limit,
        observer: reporter.clone(),
        progress: progress.clone(),
        patience: args.patience.timeout(),
        retry_for: args.patience.retry_for(),
    };
    let again = async |session| introduction.try_to_enter(peer, Some(session), wanted, *audience).await;
    let result = send(link, transfer, again, stop).await;
    drop((bar, ticker));
    let outcome = result.map_err(|error| match error {
        SendError::Enter(error) => Failure::new(introduction::exit(&error), error),
        error @ (SendError::Thread(_) | SendError::Walk) => Failure::new(Exit::Other, error),
    })?;
    if let Some(exit) = Exit::of_broken(&outcome.end) {
        let total = total.or_else(|| progress.whole());
        return Err(Failure::new(exit, broken(peer, &outcome, progress.arrived(), total)));
    }
    Ok(reporter.done(progress.crossed(), started.elapsed(), outcome.connections))
}

/// What to tell of a session that did not come to its end.
fn broken(peer: &Peer, outcome: &SendOutcome, arrived: u64, total: Option<u64>) -> anyhow::Error {
    let SendOutcome { end, addr, in_order, reads_once, .. } = outcome;
    let of_all = total.map_or(String::new(), |total| format!(" of {}", units::bytes(total)));
    let progress = format!("{}{of_all} had arrived", units::bytes(arrived));
    let again = match (in_order, reads_once) {
        (false, false) => "run the same command again to go on",
        // What it wrote to its standard output stands.
        (true, false) => "start the receiver anew, then run the same command again",
        (false, true) => "what was read of standard input is gone, so run what writes to it once more, too",
        (true, true) => "start the receiver anew, then this command with what writes to its standard input",
    };
    match end {
        End::Stopped => anyhow!("interrupted; {progress}; {again}"),
        End::PeerLeft(text) => anyhow!("{peer} gave up: {text}; {progress}; {again}"),
        End::Lost(reason) => anyhow!("lost {peer} ({addr}): {reason}; {progress}; {again}"),
        End::Silent(time) => {
            let seconds = time.as_secs();
            anyhow!(
                "{peer} ({addr}) has said nothing for {seconds} s; is it frozen or unplugged? {progress}; {again}"
            )
        }
        end => anyhow!("sending to {peer} ({addr}) failed: {end}; {progress}; {again}"),
    }
}

/// The last argument is the host, what stands before are the paths.
fn split(arguments: &[OsString]) -> Result<(Peer, Vec<PathBuf>), Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let (host, paths) = arguments
        .split_last()
        .filter(|(_, paths)| !paths.is_empty())
        .ok_or_else(|| usage(anyhow!("give a file and a host: lanx send FILE HOST")))?;
    let shown = Escaped::path(Path::new(host)).to_string();
    let peer = host
        .to_str()
        .ok_or_else(|| usage(anyhow!("the last argument is the host, and '{shown}' is none")))?
        .parse()
        .map_err(|error| usage(anyhow!("the last argument is the host, and '{shown}' is none: {error}")))?;
    Ok((peer, paths.iter().map(PathBuf::from).collect()))
}

/// Two paths that would arrive under one name are a mistake: one would replace the other.
fn check_names(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut seen: HashMap<OsString, &Path> = HashMap::new();
    for path in paths {
        let Some(name) = name_of(path) else { continue };
        if let Some(first) = seen.insert(name, path) {
            let (first, second) = (Escaped::path(first), Escaped::path(path));
            let error = anyhow!(
                "{first} and {second} have the same file name; send them one after the other, or rename one"
            );
            return Err(Failure::new(Exit::Usage, error));
        }
    }
    Ok(())
}
