//! The sender: sessions, one after another until everything has its outcome.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::sleep;

use super::handshake::{EnterError, Link};
use super::pool::{Keys, Pool};
use super::retry::RetryClock;
use crate::limits::HOLE_CHUNKS_MAX;
use crate::net::control::{Talk, converse};
use crate::os::background::aside;
use crate::os::cpu::Load;
use crate::os::said::Said;
use crate::os::threads;
use crate::session::bottleneck::Accounts;
use crate::session::destination;
use crate::session::sender::compress::Compress;
use crate::session::sender::worker::compare_chunks;
use crate::session::sender::{Sending, TransferOptions};
use crate::session::{End, Observer, Progress, outbox};
use crate::source::{Feed, Next};
use crate::wire::message::{SenderMessage, SessionId};
use crate::wire::stage_times::Stage;

/// What to send and how.
pub struct Transfer {
    pub options: TransferOptions,
    pub observer: Arc<dyn Observer>,
    pub progress: Arc<Progress>,
    /// How long a silent receiver is waited for.
    pub patience: Duration,
    /// For how long a lost receiver is looked for.
    pub retry_for: Duration,
}

/// How a sending went as a whole. What became of each file the observer has heard.
#[derive(Debug)]
pub struct SendOutcome {
    pub end: End,
    pub addr: SocketAddr,
    pub connections: u8,
    /// The way there loses packets.
    pub is_lossy: bool,
    /// The receiver takes a file in order, and so cannot go on where a lost session ended.
    pub in_order: bool,
    /// A stream was sent, of which nothing can be read again.
    pub reads_once: bool,
    /// What both ends did with their time, where the receiver has said so.
    pub accounts: Option<Accounts>,
}

/// Why nothing more could be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("this machine cannot start a thread: {}; close a program and try again", Said(.0))]
    Thread(io::Error),
    #[error("lanx failed while it looked through the folders; send again, and report it")]
    Walk,
    /// The receiver was lost and found again, and does not let us in any more.
    #[error(transparent)]
    Enter(#[from] EnterError),
}

/// Sends the files and waits for the outcome of each. When the receiver is lost, `reenter` looks for it again
/// and what has no outcome yet is offered once more: what arrived of it waits in part files. `stop` ends it
/// all early.
///
/// # Errors
/// [`SendError`] where this machine or the receiver refuses to go on. A session that breaks for good is a [`SendOutcome`]
/// like one that completes.
pub async fn send(
    mut link: Link,
    mut feed: Feed,
    transfer: Transfer,
    mut reenter: impl AsyncFnMut(SessionId) -> Result<Link, EnterError>,
    stop: impl Future<Output = ()>,
) -> Result<SendOutcome, SendError> {
    let retry_for = transfer.retry_for;
    let mut clock = RetryClock::new(retry_for);
    tokio::pin!(stop);
    loop {
        let session = link.session;
        let ran = run(link, feed, &transfer, stop.as_mut()).await?;
        feed = ran.feed;
        let retry = matches!(ran.outcome.end, End::Lost(_) | End::Silent(_) | End::Away)
            && !retry_for.is_zero()
            && !ran.outcome.in_order
            && !ran.outcome.reads_once;
        if !retry {
            return Ok(ran.outcome);
        }
        transfer.observer.lost(&ran.outcome.end, retry_for);
        clock.lost(transfer.progress.arrived());
        link = loop {
            let Some(pause) = clock.pause() else { return Ok(ran.outcome) };
            let found = async {
                sleep(pause).await;
                reenter(session).await
            };
            let found = tokio::select! {
                found = found => found,
                () = &mut stop => return Ok(SendOutcome { end: End::Stopped, ..ran.outcome }),
            };
            match found {
                Ok(link) => break link,
                Err(error) if error.is_passing() => tracing::info!("{error}"),
                Err(error) => return Err(error.into()),
            }
        };
        transfer.progress.begin_again();
    }
}

/// How one session went.
struct Ran {
    outcome: SendOutcome,
    /// What has no outcome.
    feed: Feed,
}

/// Runs one session to its end.
async fn run(
    link: Link,
    mut feed: Feed,
    transfer: &Transfer,
    stop: impl Future<Output = ()>,
) -> Result<Ran, SendError> {
    let Link {
        reader,
        writer,
        secret,
        session,
        cipher,
        wanted,
        share,
        offers_bytes,
        takes_holes,
        handle,
        way,
        addr,
        destination,
        codecs,
        remembers,
        ..
    } = link;
    if let Some(mark) = destination {
        feed.leave_out(Arc::new(move |device, inode| {
            destination::mark(session, device, inode) == Some(mark)
        }));
    }
    let (outbox, outbox_reader) = outbox();
    let load = Load::watch();
    let Transfer { observer, progress, options, patience, .. } = transfer;
    let mut sending = Sending::new(outbox, observer.clone(), progress.clone(), options.clone());
    sending.trusts_cache = remembers && !options.checksum;
    if takes_holes {
        sending.dealer.dealt_together = HOLE_CHUNKS_MAX;
    }
    let sending = Arc::new(sending);
    sending.connections.set_share(share);
    sending.dealer.set_offers_bytes(offers_bytes);
    progress.follow(&sending);
    let stream = feed.stream().cloned();
    if let Some(stream) = &stream {
        sending.follow(stream);
    }
    let offering = start_offering(&sending, feed)?;
    let comparing = spawn(&sending, "compare", |sending| {
        if let Err(end) = compare_chunks(sending) {
            sending.ending.decide(end);
        }
    })?;
    let compress = options.compress.granted(codecs);
    if let Compress::Always(method) = compress {
        sending.compress.set(Some(method));
    }
    let (keys, compress) = (Keys { secret, session, cipher }, (compress, codecs));
    let limit = options.pace.as_ref().map(|pace| pace.rate());
    let pool = Pool::new(sending.clone(), (way, handle), keys, wanted, *patience, limit, compress);
    let mut end = {
        let hear = |message| std::future::ready(sending.handle(message));
        let mut told = None;
        let beat = |due: bool| match progress.expected_of_session() {
            Some(bytes) if told != Some(bytes) => {
                told = Some(bytes);
                vec![SenderMessage::Total { bytes }]
            }
            _ => Vec::from_iter(due.then_some(SenderMessage::Beat)),
        };
        let (outbox, ending) = (&outbox_reader, &sending.ending);
        let talk = Talk { reader, writer, outbox, ending, patience: *patience, reads_within: None };
        let talk = converse(talk, hear, beat, last_words);
        tokio::pin!(talk);
        tokio::select! {
            end = &mut talk => end,
            () = pool.keep() => End::Stopped,
            () = stop => {
                sending.ending.decide(End::Stopped);
                talk.await
            }
        }
    };
    // Only the goodbye was lost.
    if sending.dealer.is_done() && matches!(end, End::Lost(_) | End::Silent(_) | End::Away) {
        end = End::Complete;
    }
    if let Some(cache) = options.cache.clone() {
        // It may wait for another program, and sessions with other receivers go on meanwhile.
        let _ = aside(move || cache.flush()).await;
    }
    let (connections, is_lossy) = (pool.peak(), pool.is_lossy());
    let (in_order, reads_once) =
        (sending.in_order.load(Ordering::Relaxed), sending.reads_once.load(Ordering::Relaxed));
    let rest = sending.close();
    pool.dismiss(&end, vec![comparing]).await;
    // It waits for nothing but the session.
    let mut feed = offering.join().map_err(|_| SendError::Walk)?;
    feed.again(rest);
    let mut sender = sending.stages.spent(load.so_far());
    sender.add(Stage::Read, stream.map_or(Duration::ZERO, |stream| stream.reading()));
    let accounts = sending.theirs.get().map(|receiver| Accounts { sender, receiver: *receiver });
    Ok(Ran {
        outcome: SendOutcome { end, addr, connections, is_lossy, in_order, reads_once, accounts },
        feed,
    })
}

pub(super) fn last_words(end: &End) -> Vec<SenderMessage> {
    match end {
        End::Complete | End::PeerLeft(_) | End::Away => Vec::new(),
        End::Stopped => vec![SenderMessage::Leave { text: "the sender was interrupted".into() }],
        end => vec![SenderMessage::Leave { text: end.to_string().into() }],
    }
}

fn spawn<T: Send + 'static>(
    sending: &Arc<Sending>,
    name: &str,
    work: impl FnOnce(&Sending) -> T + Send + 'static,
) -> Result<JoinHandle<T>, SendError> {
    let sending = sending.clone();
    let builder = threads::worker(name);
    builder.spawn(move || work(&sending)).map_err(SendError::Thread)
}

/// Offers one item after another; the thread ends with the feed, and what of it could not be offered any
/// more.
fn start_offering(sending: &Arc<Sending>, mut feed: Feed) -> Result<JoinHandle<Feed>, SendError> {
    spawn(sending, "offer", move |sending| {
        while let Some(next) = sending.next_of(&mut feed) {
            match next {
                Next::Item(item) => {
                    if let Err(item) = sending.offer(item) {
                        feed.again(vec![item]);
                        break;
                    }
                }
                Next::Trouble(trouble) => sending.tell(&trouble),
                Next::End => {
                    sending.finish();
                    break;
                }
                Next::Later => {}
            }
        }
        feed
    })
}
