//! `lanx recv`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::args::RecvArgs;
use super::exit::Exit;
use super::progress::Bar;
use super::tally::Tally;
use super::{Failure, output, signals};
use crate::limits::PORT_DEFAULT;
use crate::name::Escaped;
use crate::session::{End, FileReport, FileStatus, Observer, Progress};
use crate::sink::{Existing, Sink};
use crate::transport::tcp::address::as_typed;
use crate::transport::tcp::listen::{listen, listen_everywhere, reachable_addresses};
use crate::transport::tcp::{Receptionist, SessionWatch, serve};

/// Stands at the door and tells the user who comes.
struct Doorman {
    quiet: bool,
    /// How the first transfer ended, for `--once`.
    result: Arc<Mutex<Option<Exit>>>,
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
    fn started(&self, peer: SocketAddr, progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        let peer = peer.ip().to_canonical();
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

    fn refused(&self, peer: SocketAddr, why: &str) {
        tracing::warn!("sent {} away: {why}", peer.ip().to_canonical());
    }
}

impl Observer for Watch {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        match (&report.status, report.hash) {
            (FileStatus::Failed(failure), _) => {
                output::error(format_args!("from {}: {}", self.peer, failure.text))
            }
            (status, Some(hash)) => tracing::info!("{hash}  {} {status:?}", report.name),
            (_, None) => {}
        }
    }
}

impl SessionWatch for Watch {
    fn ended(&self, end: &End) {
        drop(self.bar.lock().take());
        let counts = self.tally.counts();
        let exit = Exit::of_broken(end);
        // Those that `--once` interrupts end later and do not count.
        self.result.lock().get_or_insert(exit.unwrap_or_else(|| counts.exit()));
        let crossed = Progress::get(&self.progress.written);
        let summary = counts.summary(crossed, self.started.elapsed(), None);
        if exit.is_some() {
            let kept = "unfinished files wait for the same command to be run again";
            output::error(format_args!("from {}: {end}; {summary} before; {kept}", self.peer));
        } else if !self.quiet {
            output::line(format_args!("from {}: {summary}", self.peer));
        }
    }
}

pub fn run(args: &RecvArgs, quiet: bool) -> Result<Exit, Failure> {
    let existing = match (args.overwrite, args.rename) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Rename,
        _ => Existing::Refuse,
    };
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
    let doorman = Arc::new(Doorman { quiet, result: Arc::default() });
    let stopped = signals::runtime()?.block_on(async {
        signals::survive_file_size_limit();
        let stopped = Arc::new(Mutex::new(false));
        let stop = async {
            signals::interrupted().await;
            *stopped.lock() = true;
        };
        serve(listener, Arc::new(sink), args.once, doorman.clone(), stop).await?;
        Ok(*stopped.lock())
    });
    let stopped =
        stopped.map_err(|error: crate::transport::tcp::ServeError| Failure::new(Exit::Other, error))?;
    let result = *doorman.result.lock();
    Ok(if stopped { Exit::Interrupted } else { result.unwrap_or(Exit::Success) })
}

/// Where we listen, and what to type on the other machine.
fn invitation(dir: &Path, bound: SocketAddr) -> String {
    let mut text = format!("receiving into {}\nlistening on {bound}", Escaped::path(dir));
    let addresses = reachable_addresses(bound);
    match addresses.len() {
        0 => text += "\nno other machine can reach this one: it has no network address",
        1 => text += "\non the other machine:",
        _ => text += "\non the other machine, whichever of these it can reach:",
    }
    for ip in addresses {
        let _ = write!(text, "\n  lanx send FILE {}", as_typed(ip, bound.port()));
    }
    text
}
