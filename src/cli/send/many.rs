//! `lanx send --to A --to B`: one transfer for each receiver, side by side, each with its own end.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::{Errand, transfer};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::signals;
use crate::cli::ui::out::Audience;
use crate::client::handshake::Link;
use crate::limits::{BEGIN_TOGETHER, TOLD_ONCE_MAX};
use crate::net::address::Peer;
use crate::source::{SharedReader, share};

/// Texts that were told once and need not be told again for the next receiver.
#[derive(Default)]
pub struct Told(Mutex<HashSet<String>>);

impl Told {
    /// Whether this is told for the first time. Past [`TOLD_ONCE_MAX`] texts everything counts as new.
    pub fn is_new(&self, text: &str) -> bool {
        let mut told = self.0.lock();
        if told.contains(text) {
            return false;
        }
        if told.len() < TOLD_ONCE_MAX {
            told.insert(text.into());
        }
        true
    }
}

/// What one receiver has to do with the others.
pub struct Company {
    pub reads: Arc<SharedReader>,
    start: Arc<Start>,
}

/// The common start: whoever begins while the others are still at the door would read everything for itself.
struct Start {
    /// Receivers of which it is not known yet whether they let us in.
    undecided: watch::Sender<usize>,
    reached: Mutex<HashMap<SocketAddr, Peer>>,
}

impl Company {
    /// Takes in what came of the introduction to `peer`, and waits a little for the others.
    ///
    /// # Errors
    /// That of the introduction; or that this is a receiver that has another name, too.
    pub async fn begin(&self, peer: &Peer, link: Result<Link, Failure>) -> Result<Link, Failure> {
        self.start.undecided.send_modify(|undecided| *undecided = undecided.saturating_sub(1));
        let link = link?;
        let first = self.start.reached.lock().insert(link.addr, peer.clone());
        if let Some(first) = first {
            let addr = link.addr;
            let error = anyhow!("{peer} is the same receiver as {first} ({addr}); name it once");
            return Err(Failure::new(Exit::Usage, error));
        }
        let mut undecided = self.start.undecided.subscribe();
        // Too late or not, it goes on.
        let _ = timeout(BEGIN_TOGETHER, undecided.wait_for(|undecided| *undecided == 0)).await;
        Ok(link)
    }
}

/// Runs every errand to its own end. What goes wrong with one is told at once and ends no other. Returns the gravest exit
/// code.
pub async fn run(errands: Vec<Errand>, interrupted: impl Future<Output = ()>, audience: Audience) -> Exit {
    signals::allow_many_files();
    let (stop, stopped) = watch::channel(false);
    let start = Start { undecided: watch::Sender::new(errands.len()), reached: Mutex::default() };
    let start = Arc::new(start);
    let mut transfers = JoinSet::new();
    let local = LocalSet::new();
    let readers = share(errands.len());
    for (errand, reads) in errands.into_iter().zip(readers) {
        let company = Company { reads: Arc::new(reads), start: start.clone() };
        let mut stopped = stopped.clone();
        // Its other end lives as long as the transfers.
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        transfers.spawn_local_on(one(Errand { company: Some(company), ..errand }, audience, stop), &local);
    }
    let all = local.run_until(async move {
        tokio::pin!(interrupted);
        let mut exits = Vec::new();
        loop {
            tokio::select! {
                next = transfers.join_next() => match next {
                    Some(exit) => exits.push(exit.unwrap_or(Exit::Other)),
                    None => break,
                },
                () = &mut interrupted, if !*stop.borrow() => drop(stop.send(true)),
            }
        }
        Exit::gravest(exits.into_iter())
    });
    all.await
}

async fn one(errand: Errand, audience: Audience, stop: impl Future<Output = ()>) -> Exit {
    let peer = errand.reporter.peer.to_string();
    match transfer(errand, stop).await {
        Ok(exit) => exit,
        Err(failure) => failure.about(peer).tell_of_one(audience),
    }
}
