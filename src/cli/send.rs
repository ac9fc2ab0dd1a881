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
use super::{Failure, signals, units};
use crate::name::Escaped;
use crate::protocol::message::Cause;
use crate::session::{End, FileReport, FileStatus, Observer, Progress};
use crate::source::{self, Source, SourceError};
use crate::transport::tcp::address::Peer;
use crate::transport::tcp::{SendError, SendOutcome, Transfer, send, wanted_connections};

/// Tells the user about each file and counts it.
struct Reporter {
    peer: Peer,
    tally: Tally,
    audience: Audience,
    events: Option<Arc<SessionEvents>>,
}

impl Reporter {
    fn new(peer: &Peer, audience: Audience) -> Reporter {
        let events = audience.json.then(|| Arc::new(SessionEvents::new(None, peer.to_string())));
        Reporter { peer: peer.clone(), tally: Tally::default(), audience, events }
    }

    /// Those of the files that can be offered.
    fn inspect(&self, paths: &[PathBuf]) -> Vec<Source> {
        let inspected = paths.iter().map(|path| Source::inspect(path).map_err(|error| (path, error)));
        inspected
            .filter_map(|source| source.map_err(|(path, error)| self.not_offered(path, &error)).ok())
            .collect()
    }

    fn not_offered(&self, path: &Path, error: &SourceError) {
        let status = match error {
            SourceError::NotRegular { .. } => Status::Skipped,
            _ => Status::Failed,
        };
        match status {
            Status::Skipped => self.tally.add_skipped(),
            _ => self.tally.add_failed(),
        }
        self.audience.error(error);
        if let Some(events) = &self.events {
            events.file(File::not_offered(path.as_os_str().as_bytes(), status, error.to_string()));
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
        let (name, hash) = (&report.name, report.hash.unwrap_or_else(|| blake3::Hash::from_bytes([0; 32])));
        let audience = self.audience;
        match &report.status {
            FileStatus::Failed(failure) if failure.cause == Cause::Source => audience.error(&failure.text),
            // Paths in it are those of the other machine.
            FileStatus::Failed(failure) => audience.error(format_args!("at {}: {}", self.peer, failure.text)),
            FileStatus::Stored => audience.line(format_args!("{hash}  {name}")),
            FileStatus::Identical => audience.line(format_args!("{hash}  {name} (already there)")),
            FileStatus::Renamed(new) => audience.line(format_args!("{hash}  {name} (stored as {new})")),
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
    check_names(&paths)?;
    let reporter = Arc::new(Reporter::new(&peer, audience));
    let sources = reporter.inspect(&paths);
    if sources.is_empty() {
        return Ok(reporter.done(0, Duration::ZERO, 0));
    }
    let introduction = Introduction::new(args.code_file.as_deref(), args.patience.timeout())?;
    let sending = transfer(args, reporter.clone(), sources, introduction);
    signals::runtime()?.block_on(sending).map_err(|failure| failure.about(&peer))
}

/// Sends to one receiver.
async fn transfer(
    args: &SendArgs,
    reporter: Arc<Reporter>,
    sources: Vec<Source>,
    mut introduction: Introduction,
) -> Result<Exit, Failure> {
    let Reporter { peer, audience, events, .. } = &*reporter;
    let progress = Arc::new(Progress::default());
    let total = sources.iter().map(Source::size).fold(0, u64::saturating_add);
    signals::survive_file_size_limit();
    let stop = signals::interrupted();
    tokio::pin!(stop);
    let wanted = |round_trip| wanted_connections(&sources, args.connections, round_trip);
    let link = tokio::select! {
        link = introduction.enter(peer, wanted, *audience) => link?,
        () = &mut stop => {
            return Err(Failure::new(Exit::Interrupted, anyhow!("interrupted before anything was sent")));
        }
    };
    let started = Instant::now();
    let ticker = events.as_ref().map(|events| {
        events.start(Some(link.addr));
        Ticker::follow(events.clone(), progress.clone(), Some(total))
    });
    let bar = Bar::follow(progress.clone(), Some(total), String::new(), audience.quiet);
    let transfer = Transfer {
        sources: sources.clone(),
        observer: reporter.clone(),
        progress: progress.clone(),
        patience: args.patience.timeout(),
        retry_for: args.patience.retry_for(),
    };
    let again = async |session| introduction.try_to_enter(peer, Some(session), wanted).await;
    let result = send(link, transfer, again, stop).await;
    drop((bar, ticker));
    let outcome = result.map_err(|error| match error {
        SendError::Enter(error) => Failure::new(introduction::exit(&error), error),
        error @ SendError::Thread(_) => Failure::new(Exit::Other, error),
    })?;
    if let Some(exit) = Exit::of_broken(&outcome.end) {
        return Err(Failure::new(exit, broken(peer, &outcome, progress.arrived(), total)));
    }
    Ok(reporter.done(progress.crossed(), started.elapsed(), outcome.connections))
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
        let Ok(name) = source::file_name(path) else { continue };
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
