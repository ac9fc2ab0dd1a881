//! The sender: one control connection, a pool of data connections, and a thread for each.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::address::Peer;
use super::connect::{self, ConnectError, Connected};
use super::control::{MessageReader, MessageWriter, converse};
use crate::chunk::Layout;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTIONS_DEFAULT, CONNECTIONS_LONG_PATH, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT,
    LONG_PATH_ROUND_TRIP, WORKER_STACK_BYTES,
};
use crate::protocol::message::{ReceiverMessage, SenderMessage, SessionId};
use crate::protocol::preface::{Belonging, JOINED, Role};
use crate::session::send_worker::{compare_chunks, send_chunks};
use crate::session::sending::Sending;
use crate::session::{End, Observer, PeerMisbehaved, Progress, outbox};
use crate::source::Source;

/// What to send, and where.
pub struct SendRequest {
    pub peer: Peer,
    pub sources: Vec<Source>,
    /// Data connections; chosen by the path where the user does not say.
    pub connections: Option<u8>,
}

/// How a sending went as a whole. What became of each file the observer has heard.
#[derive(Debug)]
pub struct SendOutcome {
    pub end: End,
    pub addr: SocketAddr,
    pub connections: u8,
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{addr} ended the handshake: {end}")]
    Handshake { addr: SocketAddr, end: End },
    #[error(
        "cannot open a data connection to {addr}: {source}; the control connection worked, so something between the machines may limit connections: try `-c 1`"
    )]
    Data { addr: SocketAddr, source: io::Error },
    #[error("this machine cannot start a thread: {0}; close something and try again")]
    Thread(io::Error),
    #[error("interrupted before anything was sent")]
    Stopped,
}

/// Sends the files and waits for the outcome of each. `stop` ends the session early.
///
/// # Errors
/// [`SendError`] where no session came about. A session that breaks is a [`SendOutcome`] like one that completes.
pub async fn send(
    request: SendRequest,
    observer: Arc<dyn Observer>,
    progress: Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<SendOutcome, SendError> {
    tokio::pin!(stop);
    let Established { reader, writer, addr, session, connections } = tokio::select! {
        established = establish(&request) => established?,
        () = &mut stop => return Err(SendError::Stopped),
    };

    let (outbox, outbox_reader) = outbox();
    let sending = Arc::new(Sending::new(outbox, observer, progress));
    let mut crew = Crew::new(sending.clone());
    crew.start_offering(request.sources)?;
    let mut stopped = false;
    for number in 0..connections {
        let belonging = Belonging { session, connection: number.into() };
        let opened = tokio::select! {
            opened = crew.open_connection(addr, belonging) => opened,
            () = &mut stop => {
                stopped = true;
                sending.ending.decide(End::Stopped);
                break;
            }
        };
        if let Err(source) = opened {
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
            () = &mut stop, if !stopped => {
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

/// A session that the receiver has agreed to.
struct Established {
    reader: MessageReader<OwnedReadHalf>,
    writer: MessageWriter<OwnedWriteHalf>,
    addr: SocketAddr,
    session: SessionId,
    connections: u8,
}

async fn establish(request: &SendRequest) -> Result<Established, SendError> {
    let Connected { stream, addr, round_trip } = connect::control(&request.peer).await?;
    let wanted = wanted_connections(request, round_trip);
    let (read_half, write_half) = stream.into_split();
    let (mut reader, mut writer) = (MessageReader::new(read_half), MessageWriter::new(write_half));
    let (session, granted) =
        greet(&mut reader, &mut writer, wanted).await.map_err(|end| SendError::Handshake { addr, end })?;
    Ok(Established { reader, writer, addr, session, connections: granted.min(wanted) })
}

fn last_words(end: &End) -> Option<SenderMessage> {
    match end {
        End::Complete | End::PeerLeft(_) => None,
        End::Stopped => Some(SenderMessage::Leave { text: "the sender was interrupted".into() }),
        end => Some(SenderMessage::Leave { text: end.to_string().into() }),
    }
}

/// As many as the user says, otherwise as the path asks for; never more than there are chunks.
fn wanted_connections(request: &SendRequest, round_trip: Duration) -> u8 {
    let by_path =
        if round_trip >= LONG_PATH_ROUND_TRIP { CONNECTIONS_LONG_PATH } else { CONNECTIONS_DEFAULT };
    let most = request.connections.unwrap_or(by_path);
    let chunks =
        request.sources.iter().map(|source| Layout::new(source.size()).chunks()).fold(0, u64::saturating_add);
    u8::try_from(chunks).unwrap_or(most).clamp(1, most)
}

async fn greet(
    reader: &mut MessageReader<OwnedReadHalf>,
    writer: &mut MessageWriter<OwnedWriteHalf>,
    connections: u8,
) -> Result<(SessionId, u8), End> {
    writer.put(&SenderMessage::Hello { connections });
    writer.flush().await.map_err(|e| End::Lost(e.to_string()))?;
    match reader.next(HANDSHAKE_TIMEOUT).await? {
        ReceiverMessage::Welcome { session, connections } => Ok((session, connections)),
        ReceiverMessage::Leave { text } => Err(End::PeerLeft(text)),
        _ => Err(PeerMisbehaved::Unexpected { got: "another message", expected: "a welcome" }.into()),
    }
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

    async fn open_connection(&mut self, addr: SocketAddr, belonging: Belonging) -> io::Result<()> {
        let mut stream = connect::data(addr).await?;
        let preface = [&Role::Data.encode()[..], &belonging.encode()].concat();
        let mut answer = [0];
        let join = async {
            stream.write_all(&preface).await?;
            stream.read_exact(&mut answer).await
        };
        timeout(CONNECT_TIMEOUT, join).await??;
        if answer != [JOINED] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the receiver's answer to it is unknown"));
        }
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let handle = stream.try_clone()?;
        self.spawn("send", move |sending| {
            if let Err(end) = send_chunks(sending, stream) {
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
