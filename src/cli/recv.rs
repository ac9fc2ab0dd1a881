//! `lanx recv`.

use std::cell::Cell;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use parking_lot::Mutex;

use super::args::{RecvArgs, Verify};
use super::clean::clean;
use super::exit::Exit;
use super::json::{self, By, Event, File, Sum};
use super::output::Audience;
use super::progress::Bar;
use super::session_events::{SessionEvents, Ticker};
use super::tally::{Counts, Tally};
use super::{Failure, introduction, output, signals, units};
use crate::limits::{PORT_DEFAULT, REFUSALS_SHOWN_MAX, REFUSALS_WINDOW};
use crate::name::Escaped;
use crate::session::{Diligence, End, FileReport, FileStatus, Observer, Progress};
use crate::sink::{Destination, Existing, Output, Sink};
use crate::transport::tcp::address::as_typed;
use crate::transport::tcp::listen::{listen, listen_everywhere, reachable_addresses};
use crate::transport::tcp::{Receptionist, ServeOptions, SessionWatch, serve};
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::house::House;

/// Stands at the door and tells the user who comes.
struct Doorman {
    audience: Audience,
    to: Arc<Destination>,
    /// Whether the code is on the screen.
    shows_code: bool,
    refusals: Mutex<Refusals>,
    /// Sessions so far; a number for each.
    sessions: AtomicU64,
    /// How the first transfer ended, for `--once`.
    result: Arc<Mutex<Option<Exit>>>,
}

/// Tells of those who were sent away, but not of each of a flood.
#[derive(Default)]
struct Refusals {
    /// When the current second began, and how many it has seen.
    since: Option<Instant>,
    seen: u32,
}

impl Refusals {
    fn tell(&mut self, now: Instant, text: std::fmt::Arguments<'_>) {
        if self.since.is_none_or(|since| now.duration_since(since) >= REFUSALS_WINDOW) {
            let hidden = self.seen.saturating_sub(REFUSALS_SHOWN_MAX);
            if hidden > 0 {
                tracing::warn!("sent {hidden} more away");
            }
            *self = Refusals { since: Some(now), seen: 0 };
        }
        self.seen += 1;
        if self.seen <= REFUSALS_SHOWN_MAX {
            tracing::warn!("{text}");
        }
    }
}

/// Tells the user how one session goes.
struct Watch {
    peer: IpAddr,
    audience: Audience,
    to: Arc<Destination>,
    connections: u8,
    tally: Tally,
    started: Instant,
    progress: Arc<Progress>,
    /// Dropped at the end of the session.
    followers: Mutex<Option<(Bar, Option<Ticker>)>>,
    events: Option<Arc<SessionEvents>>,
    result: Arc<Mutex<Option<Exit>>>,
}

impl Doorman {
    fn new(audience: Audience, to: Arc<Destination>, shows_code: bool) -> Doorman {
        Doorman {
            audience,
            to,
            shows_code,
            refusals: Mutex::default(),
            sessions: AtomicU64::new(0),
            result: Arc::default(),
        }
    }
}

impl Receptionist for Doorman {
    fn started(&self, peer: IpAddr, connections: u8, progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        let number = 1 + self.sessions.fetch_add(1, Ordering::Relaxed);
        let events = self.audience.json.then(|| Arc::new(SessionEvents::new(Some(number), peer.to_string())));
        let bar = Bar::follow(progress.clone(), None, format!("{peer}  "), self.audience.quiet);
        let ticker = events.clone().map(|events| Ticker::follow(events, progress.clone(), None));
        Arc::new(Watch {
            peer,
            audience: self.audience,
            to: self.to.clone(),
            connections,
            tally: Tally::default(),
            started: Instant::now(),
            progress,
            followers: Mutex::new(Some((bar, ticker))),
            events,
            result: self.result.clone(),
        })
    }

    fn measured(&self, peer: IpAddr, bytes: u64, end: &End) {
        let bytes = units::bytes(bytes);
        match end {
            End::Complete => {
                self.audience
                    .line(format_args!("{peer} measured the way here with {bytes}; nothing was stored"));
            }
            end => tracing::warn!("{peer} began to measure the way here ({bytes}): {end}"),
        }
    }

    fn refused(&self, peer: IpAddr, why: &str) {
        self.refusals.lock().tell(Instant::now(), format_args!("sent {peer} away: {why}"));
    }

    fn paired(&self, peer: IpAddr, key: &Fingerprint) {
        self.audience.line(format_args!("paired with {peer} ({key}); from now on it needs no code"));
        if self.audience.json {
            introduction::tell_paired(&peer.to_string(), key, By::Code);
        }
    }

    fn new_code(&self, code: &Code) {
        if self.shows_code {
            tell_code(
                self.audience,
                format_args!("three wrong codes were tried, so there is a new one: {}", code.reveal()),
            );
        }
    }
}

impl Observer for Watch {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        if let Some(events) = &self.events {
            events.start(None);
            events.file(File::of(report));
        }
        match (&report.status, report.hash) {
            (FileStatus::Failed(_), _) if self.reader_is_gone() => {}
            (FileStatus::Failed(failure), _) => {
                self.audience.error(format_args!("from {}: {}", self.peer, failure.text))
            }
            (status, Some(hash)) => tracing::info!("{hash}  {} {status:?}", report.path),
            (_, None) => {}
        }
    }
}

impl SessionWatch for Watch {
    fn ended(&self, end: &End) {
        drop(self.followers.lock().take());
        let counts = self.tally.counts();
        let exit = Exit::of_broken(end);
        // Those that `--once` interrupts end later and do not count; one that came back after a loss does.
        let mut result = self.result.lock();
        if result.is_none_or(|earlier| earlier == Exit::Unreachable) {
            *result = Some(exit.unwrap_or_else(|| counts.exit()));
        }
        drop(result);
        self.tell_end(end, &counts, Progress::get(&self.progress.written), self.started.elapsed());
    }
}

impl Watch {
    /// Whether whoever read our output has left. They know, and nobody else wants to hear of it.
    fn reader_is_gone(&self) -> bool {
        self.to.output().is_some_and(Output::reader_is_gone)
    }

    fn tell_end(&self, end: &End, counts: &Counts, crossed: u64, time: Duration) {
        let summary = counts.summary(crossed, time, None);
        if let Some(events) = &self.events {
            events.start(None);
        }
        let Some(exit) = Exit::of_broken(end) else {
            if let Some(events) = &self.events {
                events.done(Sum::of(counts, crossed, time, self.connections));
            }
            if self.reader_is_gone() {
                return;
            }
            let name = counts.only_name().map_or(String::new(), |name| format!("{name}: "));
            return self.audience.line(format_args!("from {}: {name}{summary}", self.peer));
        };
        let kept = match self.to.output() {
            None => "unfinished files wait for the same command to be run again",
            Some(_) => "what was written to standard output stands and is not all; start both again",
        };
        if let Some(events) = &self.events {
            events.error(exit, &format!("{end}; {summary} before"), kept);
        }
        self.audience.error(format_args!("from {}: {end}; {summary} before; {kept}", self.peer));
    }
}

pub fn run(args: &RecvArgs, audience: Audience) -> Result<Exit, Failure> {
    let existing = match (args.overwrite || args.delta, args.rename) {
        (_, true) => Existing::Rename,
        (true, _) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    if let Some(flag) = args.against_stdout().filter(|_| args.to_stdout()) {
        let error =
            anyhow!("`recv -` writes to standard output, and {flag} is for a folder; leave one of them out");
        return Err(Failure::new(Exit::Usage, error));
    }
    if args.clean {
        return clean(&args.dir);
    }
    let (house, shows_code) = introduction::house(args.code_file.as_deref(), args.open, audience)?;
    let to = Arc::new(destination(args, existing)?);
    let listener = match args.listen {
        Some(addr) => listen(addr),
        None => listen_everywhere(PORT_DEFAULT),
    };
    let listener = listener.map_err(|error| Failure::new(Exit::Other, error))?;
    let bound = listener.local_addr().map_err(|error| Failure::new(Exit::Other, error))?;
    let doorman = Arc::new(Doorman::new(audience, to.clone(), shows_code));
    signals::allow_many_files();
    let stopped = Cell::new(false);
    let served = signals::runtime()?.block_on(async {
        signals::survive_file_size_limit();
        // Before anything is said: a script may answer the first line with a signal.
        let interrupted = signals::interrupted();
        let stop = async {
            interrupted.await;
            stopped.set(true);
        };
        audience.line(invitation(&to, bound));
        if audience.json {
            json::write(&Event::Listening { addr: bound, port: bound.port() });
        }
        tell_who_may_come(&house, shows_code, audience);
        let options = ServeOptions {
            once: args.once || args.to_stdout(),
            patience: args.patience.timeout(),
            // What was written cannot be taken back, so a sender that comes back could not go on.
            retry_for: if args.to_stdout() { Duration::ZERO } else { args.patience.retry_for() },
            delta: args.delta,
            transfers: args.transfers(),
            diligence: Diligence { sync: args.sync, reread: args.verify == Verify::Reread },
        };
        serve(listener, to, house, options, doorman.clone(), stop).await
    });
    served.map_err(|error| Failure::new(Exit::Other, error))?;
    let result = *doorman.result.lock();
    if !stopped.get() {
        return Ok(result.unwrap_or(Exit::Success));
    }
    if audience.json {
        json::error(None, None, Exit::Interrupted, "interrupted", "start it again to receive more");
    }
    Ok(Exit::Interrupted)
}

fn destination(args: &RecvArgs, existing: Existing) -> Result<Destination, Failure> {
    if !args.to_stdout() {
        let sink = Sink::open(&args.dir, existing).map_err(|error| Failure::new(Exit::Storage, error))?;
        return Ok(Destination::Folder(if args.direct { sink.directly() } else { sink }));
    }
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(|error| {
        Failure::new(Exit::Storage, anyhow!("cannot write to standard output: {error}; see where it goes"))
    })?;
    Ok(Destination::Output(Arc::new(Output::new(stdout))))
}

/// What a user must know about the door, also with --quiet: that it is open, and the code.
fn tell_who_may_come(house: &House, shows_code: bool, audience: Audience) {
    if house.open {
        output::error("--open: everybody who can reach this port may leave files here");
    }
    if let (true, Some(book)) = (shows_code, &house.book) {
        let code = book.code();
        tell_code(audience, format_args!("code for machines that were never here: {}", code.reveal()));
    }
}

/// A code is for the person in front of the screen, also with --quiet, and never for a script's log.
fn tell_code(audience: Audience, text: std::fmt::Arguments<'_>) {
    if audience.json { output::note(text) } else { audience.result(text) }
}

/// Where we listen, and what to type on the other machine.
fn invitation(to: &Destination, bound: SocketAddr) -> String {
    let mut text = match to {
        Destination::Folder(sink) => format!("receiving into {}", Escaped::path(sink.path())),
        Destination::Output(_) => "receiving one file, to standard output".into(),
    };
    let _ = write!(text, "\nlistening on {bound}");
    let addresses = reachable_addresses(bound);
    match addresses.len() {
        _ if bound.ip().to_canonical().is_loopback() => {
            text += "\non this machine, as no other can reach that address:"
        }
        0 => text += "\nno other machine can reach this one: it has no network address",
        1 => text += "\non the other machine:",
        _ => text += "\non the other machine, whichever of these it can reach:",
    }
    for ip in addresses {
        let _ = write!(text, "\n  lanx send FILE {}", as_typed(ip, bound.port()));
    }
    text
}
