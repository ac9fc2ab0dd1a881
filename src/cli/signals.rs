//! Ctrl-C and its relatives, and the runtime that hears them.

use std::future::pending;
use std::process;

use anyhow::anyhow;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::exit::Exit;
use super::{Failure, output};

/// The runtime that control connections run on. One thread: the chunks have threads of their own.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Other, anyhow!("cannot start: {error}")))
}

/// Completes at the first SIGINT or SIGTERM from this call on. A second one ends the program at once.
pub fn interrupted() -> impl Future<Output = ()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(watch);
    async move {
        heard(&mut signals).await;
        tokio::spawn(async move {
            heard(&mut signals).await;
            process::exit(Exit::Interrupted as i32);
        });
    }
}

fn watch(kind: SignalKind) -> Option<Signals> {
    signal(kind)
        .inspect_err(|error| {
            output::error(format_args!("cannot watch for signals ({error}); Ctrl-C will not end cleanly"));
        })
        .ok()
}

async fn heard([interrupt, terminate]: &mut [Option<Signals>; 2]) {
    tokio::select! {
        () = next(interrupt) => {}
        () = next(terminate) => {}
    }
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

/// Raises the soft limit of open files to the hard one: every session and every stranger takes some, and the usual
/// soft limit of 1024 is for programs that use select(2).
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
