//! `lanx send`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::args::SendArgs;
use super::exit::Exit;
use super::introduction::{self, Introduction};
use super::progress::Bar;
use super::tally::Tally;
use super::{Failure, output, signals, units};
use crate::name::{Escaped, Name};
use crate::protocol::message::Cause;
use crate::session::{End, FileReport, FileStatus, Observer, Progress};
use crate::source::{Excludes, Feed, Options, Root, Trouble};
use crate::transport::tcp::address::Peer;
use crate::transport::tcp::{SendError, SendOutcome, Transfer, send, wanted_connections};

/// Tells the user about each file and counts it.
struct Reporter {
    peer: Peer,
    tally: Tally,
    quiet: bool,
    dry_run: bool,
}

impl Observer for Reporter {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        let path = &report.path;
        match &report.status {
            FileStatus::Failed(failure) if failure.cause == Cause::Source => output::error(&failure.text),
            // Paths in it are those of the other machine.
            FileStatus::Failed(failure) => output::error(format_args!("at {}: {}", self.peer, failure.text)),
            _ if self.quiet => {}
            FileStatus::Wanted => output::line(format_args!("would be sent: {path}")),
            FileStatus::Identical if self.dry_run => output::line(format_args!("already there: {path}")),
            status => self.success(report, status),
        }
    }

    fn unsent(&self, trouble: &Trouble) {
        self.tally.add_trouble(trouble);
        match trouble {
            Trouble::Failed(error) => output::error(error),
            Trouble::Skipped { path, what } => {
                output::note(format_args!("{}: skipped, as it is {what}", Escaped::path(path)))
            }
        }
    }

    fn lost(&self, end: &End, retry_for: Duration) {
        let seconds = retry_for.as_secs();
        output::note(format_args!("lost {}: {end}; looking for it for up to {seconds} s", self.peer));
    }
}

impl Reporter {
    /// Files that the user named each get a line, as `b3sum` would print it; those in folders are too many for that.
    fn success(&self, report: &FileReport, status: &FileStatus) {
        let FileReport { path, hash: Some(hash), named, .. } = report else { return };
        let what = match status {
            FileStatus::Identical => " (already there)".into(),
            FileStatus::Renamed(new) => format!(" (stored as {new})"),
            _ => String::new(),
        };
        if *named {
            output::line(format_args!("{hash}  {path}{what}"));
        } else {
            tracing::info!("{hash}  {path}{what}");
        }
    }
}

pub fn run(args: &SendArgs, quiet: bool) -> Result<Exit, Failure> {
    let (peer, paths) = split(&args.paths_and_host)?;
    let dry_run = args.what.dry_run;
    let excludes = Excludes::new(&args.what.exclude_from, &args.what.exclude)
        .map_err(|error| Failure { exit: Exit::Usage, error: anyhow!("what to exclude: {error}") })?;
    let options = Options { follow: args.what.follow, archive: args.what.archive, excludes };
    let reporter = Arc::new(Reporter { peer: peer.clone(), tally: Tally::default(), quiet, dry_run });
    let mut roots = Vec::new();
    for path in &paths {
        match Root::inspect(path) {
            Ok(root) => roots.push(root),
            Err(error) => reporter.unsent(&Trouble::Failed(error)),
        }
    }
    check_names(&roots)?;
    if roots.is_empty() {
        return Ok(reporter.tally.counts().exit());
    }
    let total = roots.iter().map(Root::size).fold(0, u64::saturating_add);
    let total = roots.iter().all(|root| !root.is_folder()).then_some(total);
    let feed = Feed::new(roots, options);
    let chunks = feed.chunks();
    let mut introduction = Introduction::new(args.code_file.as_deref(), args.patience.timeout(), dry_run)?;
    let progress = Arc::new(Progress::default());
    let (outcome, time) = signals::runtime()?.block_on(async {
        signals::survive_file_size_limit();
        let stop = signals::interrupted();
        tokio::pin!(stop);
        let wanted = |round_trip| wanted_connections(chunks, args.connections, round_trip);
        let link = tokio::select! {
            link = introduction.enter(&peer, wanted, quiet) => link?,
            () = &mut stop => {
                return Err(Failure::new(Exit::Interrupted, anyhow!("interrupted before anything was sent")));
            }
        };
        let started = Instant::now();
        let bar = Bar::follow(progress.clone(), total, String::new(), quiet);
        let transfer = Transfer {
            feed,
            dry_run,
            observer: reporter.clone(),
            progress: progress.clone(),
            patience: args.patience.timeout(),
            retry_for: args.patience.retry_for(),
        };
        let again = async |session| introduction.try_to_enter(&peer, Some(session), wanted).await;
        let result = send(link, transfer, again, stop).await;
        drop(bar);
        match result {
            Ok(outcome) => Ok((outcome, started.elapsed())),
            Err(SendError::Enter(error)) => Err(Failure::new(introduction::exit(&error), error)),
            Err(error @ (SendError::Thread(_) | SendError::Walk)) => Err(Failure::new(Exit::Other, error)),
        }
    })?;
    let counts = reporter.tally.counts();
    let written = progress.crossed();
    if let Some(exit) = Exit::of_broken(&outcome.end) {
        let total = total.unwrap_or_else(|| Progress::get(&progress.offered));
        let error = broken(&peer, &outcome, progress.arrived(), total);
        return Err(Failure::new(exit, error));
    }
    if !quiet {
        output::line(counts.summary(written, time, Some(outcome.connections)));
    }
    Ok(counts.exit())
}

/// What to tell of a session that did not come to its end.
fn broken(peer: &Peer, outcome: &SendOutcome, arrived: u64, total: u64) -> anyhow::Error {
    let SendOutcome { end, addr, .. } = outcome;
    let progress = format!("{} of {} had arrived", units::bytes(arrived), units::bytes(total));
    let again = "run the same command again to go on";
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
        end => anyhow!("sending to {peer} ({addr}) failed: {end}; {progress}"),
    }
}

/// The last argument is the host, what stands before are the paths.
fn split(arguments: &[OsString]) -> Result<(Peer, Vec<PathBuf>), Failure> {
    let usage = |error: anyhow::Error| Failure { exit: Exit::Usage, error };
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
fn check_names(roots: &[Root]) -> Result<(), Failure> {
    let mut seen: HashMap<&Name, &Path> = HashMap::new();
    for root in roots {
        let Some(name) = &root.name else { continue };
        if let Some(first) = seen.insert(name, root.path()) {
            let (first, second) = (Escaped::path(first), Escaped::path(root.path()));
            let error = anyhow!(
                "{first} and {second} have the same file name; send them one after the other, or rename one"
            );
            return Err(Failure { exit: Exit::Usage, error });
        }
    }
    Ok(())
}
