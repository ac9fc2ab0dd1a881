//! The sender: one control connection, a pool of data connections, and a thread for each.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connect;
use super::control::converse;
use super::enter::Link;
use crate::chunk::Layout;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTIONS_DEFAULT, CONNECTIONS_LONG_PATH, GOODBYE_TIMEOUT, LONG_PATH_ROUND_TRIP,
    WORKER_STACK_BYTES,
};
use crate::protocol::message::{SenderMessage, SessionId};
use crate::protocol::preface::Belonging;
use crate::protocol::seal::{Cipher, SessionSecret};
use crate::session::send_worker::{compare_chunks, send_chunks};
use crate::session::sending::Sending;
use crate::session::{End, Observer, Progress, outbox};
use crate::source::Source;

/// How a sending went as a whole. What became of each file the observer has heard.
#[derive(Debug)]
pub struct SendOutcome {
    pub end: End,
    pub addr: SocketAddr,
    pub connections: u8,
}

/// Why nothing could be sent over a session that was agreed to.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(
        "cannot open a data connection to {addr}: {source}; the control connection worked, so something between the machines \
         may limit connections: try `-c 1`"
    )]
    Data { addr: SocketAddr, source: io::Error },
    #[error("this machine cannot start a thread: {0}; close something and try again")]
    Thread(io::Error),
}

/// How many data connections a transfer of `sources` asks for: as many as the user says, otherwise as the path asks
/// for; never more than there are chunks.
pub fn wanted_connections(sources: &[Source], asked: Option<u8>, round_trip: Duration) -> u8 {
    let by_path =
        if round_trip >= LONG_PATH_ROUND_TRIP { CONNECTIONS_LONG_PATH } else { CONNECTIONS_DEFAULT };
    let most = asked.unwrap_or(by_path);
    let chunks =
        sources.iter().map(|source| Layout::new(source.size()).chunks()).fold(0, u64::saturating_add);
    u8::try_from(chunks).unwrap_or(most).clamp(1, most)
}

/// Sends the files and waits for the outcome of each. `stop` ends the session early.
///
/// # Errors
/// [`SendError`] where no data connection came about. A session that breaks is a [`SendOutcome`] like one that completes.
pub async fn send(
    link: Link,
    sources: Vec<Source>,
    observer: Arc<dyn Observer>,
    progress: Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<SendOutcome, SendError> {
    let Link { reader, writer, secret, session, cipher, connections, addr, .. } = link;
    let keys = Keys { secret, session, cipher };
    let (outbox, outbox_reader) = outbox();
    let sending = Arc::new(Sending::new(outbox, observer, progress));
    let mut crew = Crew::new(sending.clone());
    crew.start_offering(sources)?;
    for number in 0..connections {
        if let Err(source) = crew.open_connection(addr, &keys, number.into()).await {
            if number == 0 {
                return Err(SendError::Data { addr, source });
            }
            tracing::warn!(
                "data connection {number} of {connections} failed ({source}); going on without it"
            );
        }
    }
    crew.start_comparing()?;
    let end = {
        let hear = |message| std::future::ready(sending.handle(message));
        let beat = |due: bool| due.then_some(SenderMessage::Beat);
        let talk = converse(reader, writer, &outbox_reader, &sending.ending, hear, beat, last_words);
        tokio::pin!(talk);
        tokio::select! {
            end = &mut talk => end,
            () = stop => {
                sending.ending.decide(End::Stopped);
                talk.await
            }
        }
    };
    // Whoever waits for room in the outbox need not wait any longer.
    drop(outbox_reader);
    let connections = crew.streams.len() as u8;
    crew.dismiss(&end).await;
    Ok(SendOutcome { end, addr, connections })
}

fn last_words(end: &End) -> Option<SenderMessage> {
    match end {
        End::Complete | End::PeerLeft(_) => None,
        End::Stopped => Some(SenderMessage::Leave { text: "the sender was interrupted".into() }),
        end => Some(SenderMessage::Leave { text: end.to_string().into() }),
    }
}

/// What data connections take their keys from.
struct Keys {
    secret: SessionSecret,
    session: SessionId,
    cipher: Cipher,
}

/// The threads of a session, and the streams that hold them up.
struct Crew {
    sending: Arc<Sending>,
    threads: Vec<JoinHandle<()>>,
    streams: Vec<TcpStream>,
}

impl Crew {
    fn new(sending: Arc<Sending>) -> Crew {
        Crew { sending, threads: Vec::new(), streams: Vec::new() }
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Sending) + Send + 'static) -> Result<(), SendError> {
        let sending = self.sending.clone();
        let builder = thread::Builder::new().name(name.into()).stack_size(WORKER_STACK_BYTES);
        self.threads.push(builder.spawn(move || work(&sending)).map_err(SendError::Thread)?);
        Ok(())
    }

    fn start_offering(&mut self, sources: Vec<Source>) -> Result<(), SendError> {
        self.spawn("offer", move |sending| {
            if sources.into_iter().all(|source| sending.offer(source)) {
                sending.finish();
            }
        })
    }

    fn start_comparing(&mut self) -> Result<(), SendError> {
        self.spawn("compare", |sending| {
            if let Err(end) = compare_chunks(sending) {
                sending.ending.decide(end);
            }
        })
    }

    /// Opens data connection `number`, which is never used again in this session: its keys are its own.
    async fn open_connection(&mut self, addr: SocketAddr, keys: &Keys, number: u32) -> io::Result<()> {
        let data_keys =
            keys.secret.data_keys(keys.cipher, &keys.session.0, number).map_err(io::Error::other)?;
        let (mut sealer, _) = data_keys.for_sender();
        let belonging = Belonging { session: keys.session, connection: number };
        let hello = belonging.hello();
        let proof = sealer.prove(&hello).map_err(io::Error::other)?;
        let mut stream = connect::data(addr).await?;
        timeout(CONNECT_TIMEOUT, stream.write_all(&[&hello[..], &proof].concat())).await??;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let handle = stream.try_clone()?;
        self.spawn("send", move |sending| {
            if let Err(end) = send_chunks(sending, stream, sealer) {
                sending.ending.decide(end);
            }
        })
        .map_err(io::Error::other)?;
        self.streams.push(handle);
        Ok(())
    }

    /// Sends everybody home and waits for them a little.
    async fn dismiss(self, end: &End) {
        self.sending.close();
        if *end != End::Complete {
            for stream in &self.streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        let threads = self.threads;
        let join = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        let _ = timeout(GOODBYE_TIMEOUT, join).await;
    }
}
