//! Ctrl-C and its relatives, and the runtime that hears them.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use signal_hook::flag;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::sleep;

use super::error::Failure;
use super::exit::Exit;
use super::ui::out::Audience;
use super::ui::{out, screen};
use crate::limits::{STOPPING_TOLD_AFTER, WITHDRAW_PATIENCE};
use crate::os::rlimit;

/// The runtime that control connections run on. One thread: the chunks have threads of their own.
pub fn runtime() -> Result<Runtime, Failure> {
    // With too few, building it panics.
    rlimit::check().map_err(|few| Failure::new(Exit::Other, few))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Other, anyhow!("cannot start: {error}")))
}

/// Ends the runtime, which waits for all of its threads where it is just dropped. Those that hang in a disk
/// or a name service are not waited for, as nothing can be done for them; others have a moment for their last
/// word.
pub fn leave(runtime: Runtime) {
    runtime.shutdown_timeout(WITHDRAW_PATIENCE);
}

/// Completes at the first SIGINT or SIGTERM from this call on. A second one ends the program at once.
pub fn interrupted(audience: Audience) -> impl Future<Output = ()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    // Watched first: one that came in between would count as the first and be heard by nobody.
    let mut signals = kinds.map(watch);
    end_at_the_second(&kinds, &Arc::default());
    async move {
        end(&mut signals).await;
        stopping(audience);
    }
}

/// Becomes true at the first SIGINT or SIGTERM from this call on, for who looks now and then. A second one
/// ends the program at once.
pub fn noted() -> Arc<AtomicBool> {
    let came = Arc::new(AtomicBool::new(false));
    end_at_the_second(&[SignalKind::interrupt(), SignalKind::terminate()], &came);
    came
}

/// The end begins: what is drawn goes, and where that takes time, a person is told.
pub fn stopping(audience: Audience) {
    screen::leave();
    if io::stderr().is_terminal() {
        tokio::spawn(async move {
            sleep(STOPPING_TOLD_AFTER).await;
            audience.note("stopping; Ctrl-C again ends at once");
        });
    }
}

/// In the signal handler itself: whatever the threads hang in by then, a second Ctrl-C is not to wait for it.
fn end_at_the_second(kinds: &[SignalKind], first_came: &Arc<AtomicBool>) {
    for kind in kinds.iter().map(SignalKind::as_raw_value) {
        // In this order: the first signal finds it unset.
        let armed = flag::register_conditional_shutdown(kind, Exit::Interrupted as i32, first_came.clone())
            .and_then(|_| flag::register(kind, first_came.clone()));
        if let Err(error) = armed {
            tracing::debug!("a second signal {kind} will wait like the first: {error}");
        }
    }
}

/// What a signal asks of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT: end now.
    Stop,
    /// SIGTERM: end when what is under way has.
    Leave,
    /// SIGHUP, where no terminal can be closed: read the settings again.
    Reload,
}

/// The signals that a receiver hears, from [`Requests::listen`] on.
pub struct Requests {
    ending: [Option<Signals>; 2],
    hangup: Option<Signals>,
}

impl Requests {
    pub fn listen() -> Requests {
        let ending = [SignalKind::interrupt(), SignalKind::terminate()].map(watch);
        // See `interrupted`.
        end_at_the_second(&[SignalKind::interrupt()], &Arc::default());
        // To a program at a terminal SIGHUP says that the terminal is gone, and it ends it as ever.
        let at_terminal =
            io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        let hangup = if at_terminal { None } else { watch(SignalKind::hangup()) };
        Requests { ending, hangup }
    }

    pub async fn next(&mut self) -> Asked {
        let Requests { ending, hangup } = self;
        tokio::select! {
            asked = end(ending) => asked,
            () = next(hangup) => Asked::Reload,
        }
    }

    /// The next that ends the receiver. One that does not waits for [`Requests::next`].
    pub async fn next_end(&mut self) -> Asked {
        end(&mut self.ending).await
    }
}

async fn end([interrupt, terminate]: &mut [Option<Signals>; 2]) -> Asked {
    tokio::select! {
        () = next(interrupt) => Asked::Stop,
        () = next(terminate) => Asked::Leave,
    }
}

fn watch(kind: SignalKind) -> Option<Signals> {
    signal(kind)
        .inspect_err(|error| {
            out::error(format_args!("Ctrl-C will not end cleanly: the system gives no signals ({error})"));
        })
        .ok()
}

async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => pending().await,
    }
}

/// Lets a write past the user's file size limit fail with an error instead of ending the program.
pub fn survive_file_size_limit() {
    if let Err(error) = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())) {
        tracing::debug!("SIGXFSZ keeps its default: {error}");
    }
}

/// Raises the soft limit of open files to the hard one: every session and every stranger takes some, and the
/// usual soft limit of 1024 is for programs that use select(2).
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
