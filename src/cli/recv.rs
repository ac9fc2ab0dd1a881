//! `lanx recv`.

use std::cell::Cell;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::args::{RecvArgs, Verify};
use super::clean::clean;
use super::exit::Exit;
use super::progress::Bar;
use super::tally::Tally;
use super::{Failure, introduction, output, signals};
use crate::limits::{PORT_DEFAULT, REFUSALS_SHOWN_MAX, REFUSALS_WINDOW};
use crate::name::Escaped;
use crate::session::{Diligence, End, FileReport, FileStatus, Observer, Progress};
use crate::sink::{Existing, Sink};
use crate::transport::tcp::address::as_typed;
use crate::transport::tcp::listen::{listen, listen_everywhere, reachable_addresses};
use crate::transport::tcp::{Receptionist, ServeOptions, SessionWatch, serve};
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::house::House;

/// Stands at the door and tells the user who comes.
struct Doorman {
    quiet: bool,
    /// Whether the code is on the screen.
    shows_code: bool,
    refusals: Mutex<Refusals>,
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
    quiet: bool,
    tally: Tally,
    started: Instant,
    progress: Arc<Progress>,
    bar: Mutex<Option<Bar>>,
    result: Arc<Mutex<Option<Exit>>>,
}

impl Receptionist for Doorman {
    fn started(&self, peer: IpAddr, progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        let bar = Bar::follow(progress.clone(), None, format!("{peer}  "), self.quiet);
        Arc::new(Watch {
            peer,
            quiet: self.quiet,
            tally: Tally::default(),
            started: Instant::now(),
            progress,
            bar: Mutex::new(Some(bar)),
            result: self.result.clone(),
        })
    }

    fn refused(&self, peer: IpAddr, why: &str) {
        self.refusals.lock().tell(Instant::now(), format_args!("sent {peer} away: {why}"));
    }

    fn paired(&self, peer: IpAddr, key: &Fingerprint) {
        if !self.quiet {
            output::line(format_args!("paired with {peer} ({key}); from now on it needs no code"));
        }
    }

    fn new_code(&self, code: &Code) {
        if self.shows_code {
            output::line(format_args!(
                "three wrong codes were tried, so there is a new one: {}",
                code.reveal()
            ));
        }
    }
}

impl Observer for Watch {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        match (&report.status, report.hash) {
            (FileStatus::Failed(failure), _) => {
                output::error(format_args!("from {}: {}", self.peer, failure.text))
            }
            (status, Some(hash)) => tracing::info!("{hash}  {} {status:?}", report.path),
            (_, None) => {}
        }
    }
}

impl SessionWatch for Watch {
    fn ended(&self, end: &End) {
        drop(self.bar.lock().take());
        let counts = self.tally.counts();
        let exit = Exit::of_broken(end);
        // Those that `--once` interrupts end later and do not count; one that came back after a loss does.
        let mut result = self.result.lock();
        if result.is_none_or(|earlier| earlier == Exit::Unreachable) {
            *result = Some(exit.unwrap_or_else(|| counts.exit()));
        }
        drop(result);
        let crossed = Progress::get(&self.progress.written);
        let summary = counts.summary(crossed, self.started.elapsed(), None);
        if exit.is_some() {
            let kept = "unfinished files wait for the same command to be run again";
            output::error(format_args!("from {}: {end}; {summary} before; {kept}", self.peer));
        } else if !self.quiet {
            let name = counts.only_name().map_or(String::new(), |name| format!("{name}: "));
            output::line(format_args!("from {}: {name}{summary}", self.peer));
        }
    }
}

pub fn run(args: &RecvArgs, quiet: bool) -> Result<Exit, Failure> {
    let existing = match (args.overwrite, args.rename) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Rename,
        _ => Existing::Refuse,
    };
    if args.clean {
        return clean(&args.dir);
    }
    let (house, shows_code) = introduction::house(args.code_file.as_deref(), args.open)?;
    let sink = Sink::open(&args.dir, existing).map_err(|error| Failure::new(Exit::Storage, error))?;
    let listener = match args.listen {
        Some(addr) => listen(addr),
        None => listen_everywhere(PORT_DEFAULT),
    };
    let listener = listener.map_err(|error| Failure::new(Exit::Other, error))?;
    let bound = listener.local_addr().map_err(|error| Failure::new(Exit::Other, error))?;
    if !quiet {
        output::line(invitation(sink.path(), bound));
    }
    tell_who_may_come(&house, shows_code);
    let doorman = Arc::new(Doorman { quiet, shows_code, refusals: Mutex::default(), result: Arc::default() });
    signals::allow_many_files();
    let stopped = Cell::new(false);
    let served = signals::runtime()?.block_on(async {
        signals::survive_file_size_limit();
        let stop = async {
            signals::interrupted().await;
            stopped.set(true);
        };
        let options = ServeOptions {
            once: args.once,
            patience: args.patience.timeout(),
            retry_for: args.patience.retry_for(),
            diligence: Diligence { sync: args.sync, reread: args.verify == Verify::Reread },
        };
        serve(listener, Arc::new(sink), house, options, doorman.clone(), stop).await
    });
    served.map_err(|error| Failure::new(Exit::Other, error))?;
    let result = *doorman.result.lock();
    Ok(if stopped.get() { Exit::Interrupted } else { result.unwrap_or(Exit::Success) })
}

/// What a user must know about the door, also with --quiet: that it is open, and the code.
fn tell_who_may_come(house: &House, shows_code: bool) {
    if house.open {
        output::error("--open: everybody who can reach this port may leave files here");
    }
    if let (true, Some(book)) = (shows_code, &house.book) {
        output::line(format_args!("code for machines that were never here: {}", book.code().reveal()));
    }
}

/// Where we listen, and what to type on the other machine.
fn invitation(dir: &Path, bound: SocketAddr) -> String {
    let mut text = format!("receiving into {}\nlistening on {bound}", Escaped::path(dir));
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
