//! One transfer: to one receiver, by itself or side by side with those to others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::report::{Reporter, broken};
use crate::cli::credentials::Introduction;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::events::Ticker;
use crate::cli::ui::out::Audience;
use crate::cli::ui::progress::{Shown, Subject};
use crate::cli::ui::summary::Crossed;
use crate::cli::ui::view::Who;
use crate::cli::{credentials, signals};
use crate::client::Connections;
use crate::client::handshake::Link;
use crate::client::transfer::{SendError, SendOutcome, Transfer, send};
use crate::limits::BEGIN_TOGETHER;
use crate::net::Door;
use crate::net::address::Peer;
use crate::net::tcp::tune;
use crate::session::Progress;
use crate::session::sender::TransferOptions;
use crate::session::sender::compress::Compress;
use crate::source::Feed;

/// How to send, to each receiver alike.
#[derive(Clone)]
pub struct SendOptions {
    pub connections: Option<u8>,
    pub max_connections: Option<u8>,
    pub delta: bool,
    pub transfer: TransferOptions,
    pub patience: Duration,
    pub retry_for: Duration,
}

/// One receiver, and what it gets.
pub struct TransferJob {
    pub reporter: Arc<Reporter>,
    pub feed: Feed,
    /// The size of all that is sent, where it is known.
    pub total: Option<u64>,
    pub progress: Arc<Progress>,
    pub introduction: Introduction,
    pub options: SendOptions,
    /// Those that the same is sent to side by side, where there are several.
    pub group: Option<SendGroup>,
}

/// The receivers of one `lanx send`. They begin together: what the first one reads of a file the others then
/// find in the page cache.
#[derive(Clone)]
pub struct SendGroup(Arc<Members>);

struct Members {
    /// Receivers of which it is not known yet whether they let us in.
    undecided: watch::Sender<usize>,
    reached: Mutex<HashMap<SocketAddr, Peer>>,
}

impl SendGroup {
    pub fn new(receivers: usize) -> SendGroup {
        SendGroup(Arc::new(Members { undecided: watch::Sender::new(receivers), reached: Mutex::default() }))
    }

    /// Takes in what came of the introduction to `peer`, and waits a little for the others.
    ///
    /// # Errors
    /// That of the introduction; or that this is a receiver that has another name, too.
    pub async fn begin(&self, peer: &Peer, link: Result<Link, Failure>) -> Result<Link, Failure> {
        self.0.undecided.send_modify(|undecided| *undecided = undecided.saturating_sub(1));
        let link = link?;
        let first = self.0.reached.lock().insert(link.addr, peer.clone());
        if let Some(first) = first {
            let addr = link.addr;
            let error = anyhow!("{peer} is the same receiver as {first} ({addr}); name it once");
            return Err(Failure::new(Exit::Usage, error));
        }
        let mut undecided = self.0.undecided.subscribe();
        // Too late or not, it goes on.
        let _ = timeout(BEGIN_TOGETHER, undecided.wait_for(|undecided| *undecided == 0)).await;
        Ok(link)
    }
}

/// Sends to one receiver.
pub async fn transfer(job: TransferJob, stop: impl Future<Output = ()>) -> Result<Exit, Failure> {
    let TransferJob { reporter, feed, total, progress, mut introduction, options, group } = job;
    let Reporter { peer, audience, events, .. } = &*reporter;
    signals::survive_file_size_limit();
    tokio::pin!(stop);
    let chunks = feed.chunks();
    let SendOptions { connections, max_connections, .. } = options;
    let door = introduction.door();
    let wanted = Connections::wanted(chunks, connections, max_connections, door);
    let entered = async {
        let link = introduction.enter(peer, wanted, *audience).await;
        match &group {
            Some(group) => group.begin(peer, link).await,
            None => link,
        }
    };
    let link = tokio::select! {
        link = entered => link?,
        () = &mut stop => return Err(interrupted()),
    };
    if options.delta && !link.grants_delta {
        let text = "changed files are sent whole, as the receiver does not run with --delta";
        audience.note(format_args!("{peer}: {text}"));
    }
    // What is typed or piped may be secret, and how long it becomes tells of it: only where the user wants
    // that.
    let wished = options.transfer.compress;
    let wished = if feed.stream().is_some() { wished.if_wished() } else { wished };
    let granted = wished.granted(link.codecs);
    if let (Compress::Always(_), Compress::No) = (wished, granted) {
        let text = "nothing is compressed, as the receiver is older or runs with --compress no";
        audience.note(format_args!("{peer}: {text}"));
    }
    let stream = feed.stream().cloned();
    let started = Instant::now();
    let ticker = events.as_ref().map(|events| {
        events.start(Some((link.addr, granted)));
        Ticker::follow(events.clone(), progress.clone(), total)
    });
    let subject = Subject {
        progress: progress.clone(),
        total,
        tally: reporter.tally.clone(),
        who: Who { name: None, address: peer.to_string() },
        named: group.is_some(),
        receives: false,
    };
    let shown = Shown::new(subject, *audience);
    let SendOptions { patience, retry_for, .. } = options;
    let transfer = Transfer {
        options: TransferOptions { compress: wished, ..options.transfer },
        observer: reporter.clone(),
        progress: progress.clone(),
        patience,
        retry_for,
    };
    let again = async |session| introduction.try_to_enter(peer, Some(session), wanted, *audience).await;
    let result = send(link, feed, transfer, again, stop).await;
    drop((shown, ticker));
    let outcome = result.map_err(|error| match error {
        SendError::Enter(error) => Failure::new(credentials::exit(&error), error),
        error @ (SendError::Thread(_) | SendError::Walk) => Failure::new(Exit::Other, error),
    })?;
    if let Some(exit) = Exit::of_broken(&outcome.end) {
        let total = total.or_else(|| progress.whole(false));
        return Err(Failure::new(exit, broken(peer, &outcome, progress.arrived(), total)));
    }
    advise_quic(door, &outcome, started.elapsed(), peer, *audience);
    stream.iter().for_each(|stream| reporter.tell_silent(stream));
    Ok(reporter.done(Crossed::of(&progress), started.elapsed(), &outcome))
}

/// A transfer that is over sooner is not worth another way.
const ADVICE_AFTER: Duration = Duration::from_secs(10);

/// Tells of QUIC where packets were lost on the way and the system lets nobody have what would help TCP with
/// that.
fn advise_quic(door: Door, outcome: &SendOutcome, took: Duration, peer: &Peer, audience: Audience) {
    if door == Door::Tcp && outcome.is_lossy && took >= ADVICE_AFTER && !tune::allows_bbr() {
        audience.note(format_args!(
            "{peer}: the network loses packets, and this system lets TCP not use bbr, which copes with that; `lanx recv --quic` there \
             and `lanx send --quic` may be faster"
        ));
    }
}

/// What Ctrl-C before the first byte comes to.
pub fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        anyhow!("interrupted before anything was sent; run the same command again"),
    )
}
