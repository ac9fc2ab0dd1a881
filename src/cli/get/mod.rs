//! `lanx get`.

mod report;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{anyhow, bail};
use clap::ValueHint;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::sync::oneshot;

use super::args::group::{self, PatienceArgs};
use super::args::{examples, values};
use super::error::Failure;
use super::exit::Exit;
use super::ui::out::Audience;
use super::ui::screen;
use super::{signals, token};
use crate::name::{Escaped, Name, RelativePath};
use crate::os::threads;
use crate::session::Progress;
use crate::session::rate_limit::Pace;
use crate::store::{Existing, Folder, FolderOptions, Owner, Sink};
use crate::trust::dir;
use crate::trust::dir::Guard;
use crate::web::fetch::download::Getter;
use crate::web::fetch::folder::get_folder;
use crate::web::fetch::job::{Done, Expected, Failed, Job};
use crate::web::fetch::target::Target;
use crate::web::fetch::transfer::CONNECTIONS_MOST;
use report::Reporter;

/// Bytes of a file with fields.
const FIELDS_FILE_BYTES_MAX: usize = 64 * 1024;

/// Get files from any HTTP server, over several connections.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = examples::GET)]
pub struct GetArgs {
    /// Addresses of files: http://HOST/PATH or https://HOST/PATH
    ///
    /// A link that lanx serve shows is one as well: its token goes to that server alone, and its #sha256= is
    /// the only key that is taken.
    #[arg(required = true, num_args = 1.., value_name = "URL", value_hint = ValueHint::Url)]
    pub urls: Vec<String>,
    /// Get folders of lanx serve, with all that is in them
    ///
    /// With times and permissions, each under its own name; of the root of a server, what is in it. What is
    /// there already, and the same, is left alone, so that the same command goes on where it was interrupted.
    #[arg(short, long, conflicts_with_all = ["blake3", "sha256"], help_heading = group::FILES)]
    pub recursive: bool,
    /// Store it as FILE, or into a folder
    ///
    /// Without it a file is stored in the current folder, under the last name of its address. With
    /// --recursive it is a folder, made where it is missing.
    #[arg(short, long, value_name = "FILE", help_heading = group::FILES, value_hint = ValueHint::AnyPath)]
    pub output: Option<PathBuf>,
    /// Replace existing files
    ///
    /// By default an existing file is left alone and nothing is got.
    #[arg(long, conflicts_with = "rename", help_heading = group::FILES)]
    pub overwrite: bool,
    /// Keep both files, the new one as 'name (1).ext'
    #[arg(long, help_heading = group::FILES)]
    pub rename: bool,
    /// Take the file only if it has this BLAKE3 hash
    #[arg(long, value_name = "HASH", value_parser = hash, help_heading = group::TRUST)]
    pub blake3: Option<[u8; 32]>,
    /// Take the file only if it has this SHA-256 hash
    #[arg(long, value_name = "HASH", value_parser = hash, conflicts_with = "blake3", help_heading = group::TRUST)]
    pub sha256: Option<[u8; 32]>,
    /// Read the token from the first line of FILE
    ///
    /// With - from standard input. Without it the token comes from the link, or from LANX_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Send a field along: 'Name: value'
    ///
    /// To the servers that are named alone, and not where they redirect to. Every user of this machine sees
    /// it: what is secret belongs into --header-file. May be repeated.
    #[arg(long, value_name = "FIELD", value_parser = field, help_heading = group::TRUST)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Send the fields in FILE along, one on each line
    #[arg(long, value_name = "FILE", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    pub header_file: Option<PathBuf>,
    /// Use at most N connections for a file
    ///
    /// 1 to 16. From 50 MB on there are 4, and more for as long as that makes it faster.
    #[arg(long, value_name = "N", help_heading = group::SPEED, default_value_t = CONNECTIONS_MOST,
        value_parser = values::number(1..=CONNECTIONS_MOST, ""))]
    pub max_connections: u8,
    /// Get at most RATE a second: 50M, 400mbit
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = group::SPEED)]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// Print one JSON object per line, for scripts
    ///
    /// `lanx help json` describes them.
    #[arg(long, help_heading = group::OUTPUT)]
    pub json: bool,
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let parsed = blake3::Hash::from_hex(text.to_ascii_lowercase());
    parsed.map(Into::into).map_err(|_| "expected 64 hexadecimal digits".into())
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    let name = name.trim().parse().map_err(|_| "the name of a field has other characters")?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "a field has no such characters")?;
    value.set_sensitive(true);
    Ok((name, value))
}

pub fn run(args: &GetArgs, audience: Audience) -> Result<Exit, Failure> {
    screen::start();
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let place = place(args).map_err(usage)?;
    let fields = fields(args).map_err(usage)?;
    let given = token::given(args.token_file.as_deref())?.map(|token| token.reveal().to_owned());
    let mut targets = Vec::new();
    for url in &args.urls {
        targets.push(Target::parse(url).map_err(|error| usage(error.into()))?);
    }
    let sink = |target: &Target| sink(args, &place.folder, target);
    let reporter = Arc::new(Reporter::new(audience));
    let stop = Arc::new(AtomicBool::new(false));
    let mode = file_mode();
    let limit = args.limit.map(|rate| Arc::new(Pace::new(rate)));
    let runtime = signals::runtime()?;
    let got = runtime.block_on(async {
        signals::survive_file_size_limit();
        let interrupted = signals::interrupted(audience);
        tokio::pin!(interrupted);
        for target in targets {
            let sink = sink(&target).map(Arc::new).map_err(|error| Failure::new(Exit::Storage, error))?;
            let token = given.as_ref().or(target.token.as_ref());
            let expected = args.blake3.map(|hash| Expected::Blake3(hash.into()));
            let progress = Arc::<Progress>::default();
            let job = Job {
                fields: with_token(&fields, token).map_err(usage)?,
                path: place.name.clone().map(RelativePath::from),
                sink,
                expected: expected.or(args.sha256.map(Expected::Sha256)),
                connections_most: args.max_connections,
                limit: limit.clone(),
                silence: args.patience.timeout(),
                retry_for: args.patience.retry_for(),
                mode,
                dress: None,
                progress: progress.clone(),
                whole: None,
                stop: stop.clone(),
                told: Arc::new(move |text| audience.note(text)),
                target,
            };
            let shown = reporter.begin(&job.target, &progress);
            let all = args.recursive.then(|| reporter.clone());
            let mut working = start(job.clone(), all).map_err(|error| Failure::new(Exit::Other, error))?;
            let ended = tokio::select! {
                ended = &mut working => ended,
                () = &mut interrupted => {
                    stop.store(true, Ordering::Relaxed);
                    working.await
                }
            };
            drop(shown);
            let ended = ended.unwrap_or(Err(Failed::Interrupted));
            if reporter.end(&job, ended) == Exit::Interrupted {
                break;
            }
        }
        Ok(())
    });
    signals::leave(runtime);
    got.map(|()| reporter.done())
}

/// Gets one file, or for a reporter a folder, in a thread of its own, so that signals are heard meanwhile.
fn start(
    job: Job,
    all: Option<Arc<Reporter>>,
) -> anyhow::Result<oneshot::Receiver<Result<Option<Done>, Failed>>> {
    let (done, result) = oneshot::channel();
    let work = move || {
        let got = match all {
            None => Getter::new(job.target.pin, job.silence)
                .and_then(|mut getter| getter.get(&Arc::new(job)))
                .map(Some),
            Some(reporter) => {
                let progress = job.progress.clone();
                get_folder(job, &progress, Arc::new(move |heard| reporter.hear(heard))).map(|()| None)
            }
        };
        drop(done.send(got));
    };
    let started = threads::named("get").spawn(work);
    started.map_err(|error| anyhow!("cannot start a thread: {error}; let this user have more of them"))?;
    Ok(result)
}

/// Where files go, and what the only one is called.
struct OutputPlace {
    folder: PathBuf,
    name: Option<Name>,
}

fn place(args: &GetArgs) -> anyhow::Result<OutputPlace> {
    if args.urls.len() > 1 && (args.blake3.is_some() || args.sha256.is_some()) {
        bail!("a hash is that of one file; give each address a command of its own");
    }
    let Some(output) = &args.output else { return Ok(OutputPlace { folder: ".".into(), name: None }) };
    let is_folder = args.recursive
        || output.as_os_str().as_bytes().ends_with(b"/")
        || fs::metadata(output).is_ok_and(|metadata| metadata.is_dir());
    if is_folder {
        return Ok(OutputPlace { folder: output.clone(), name: None });
    }
    if args.urls.len() > 1 {
        bail!("{} is no folder, and there are several addresses; name a folder", Escaped::path(output));
    }
    let name = output.file_name().ok_or_else(|| anyhow!("{} is no file", Escaped::path(output)))?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| ".".into(), Path::to_owned);
    Ok(OutputPlace { folder, name: Some(Name::from_local(name)?) })
}

/// The folder, in which unfinished files belong to the address that they are from.
fn sink(args: &GetArgs, folder: &Path, target: &Target) -> Result<Sink, crate::store::SinkError> {
    let existing = match (args.overwrite, args.rename) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Rename,
        _ => Existing::Refuse,
    };
    let folder = Folder::new(folder, FolderOptions { existing, ..FolderOptions::default() });
    folder.prepare()?;
    folder.open(Owner::of_key(blake3::hash(target.uri.to_string().as_bytes()).as_bytes()))
}

fn fields(args: &GetArgs) -> anyhow::Result<HeaderMap> {
    let mut fields: HeaderMap = args.header.iter().cloned().collect();
    let Some(path) = &args.header_file else { return Ok(fields) };
    let bytes = dir::read(path, Guard::Secret, FIELDS_FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = field(line).map_err(|why| anyhow!("{}: {why}", Escaped::path(path)))?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn with_token(fields: &HeaderMap, token: Option<&String>) -> anyhow::Result<HeaderMap> {
    let mut fields = fields.clone();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| anyhow!("the token has characters that no token has"))?;
        value.set_sensitive(true);
        fields.entry(AUTHORIZATION).or_insert(value);
    }
    Ok(fields)
}

/// What a new file may be to others, as the user's umask has it.
pub fn file_mode() -> u32 {
    let own = umask(Mode::from_raw_mode(0o077));
    umask(own);
    // Its width differs by system.
    #[allow(clippy::useless_conversion)]
    let own = u32::from(own.bits());
    0o666 & !own
}
