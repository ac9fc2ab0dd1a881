//! The receiver: one port for everyone, and for each session a thread that looks at files and one for each of its
//! data connections.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::control::{MessageReader, MessageWriter};
use super::hosting::{Guest, Refusal, Session};
use super::tune;
use crate::limits::{GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, PROGRESS_INTERVAL, SESSIONS_MAX, STRANGERS_MAX};
use crate::protocol::message::{SenderMessage, SessionId};
use crate::protocol::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, PrefaceError, Role, Status};
use crate::session::receiving::Receiving;
use crate::session::{End, Observer, PeerMisbehaved, Progress, outbox};
use crate::sink::Sink;

/// Who is told what goes on at the receiver.
pub trait Receptionist: Send + Sync {
    /// A session began; whoever is returned hears how it goes on.
    fn started(&self, peer: SocketAddr, progress: Arc<Progress>) -> Arc<dyn SessionWatch>;
    /// Somebody was sent away.
    fn refused(&self, peer: SocketAddr, why: &str);
}

/// Who is told how one session goes.
pub trait SessionWatch: Observer {
    /// The session is over. Not called for one in which nothing was offered.
    fn ended(&self, end: &End);
}

/// Why the receiver stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot accept connections: {0}")]
    Accept(io::Error),
}

/// Receives into `sink` until `stop`, or with `once` until the first transfer is over.
///
/// # Errors
/// [`ServeError`] where the listener cannot be used. What goes wrong with one peer is told to the receptionist only.
pub async fn serve(
    listener: std::net::TcpListener,
    sink: Arc<Sink>,
    once: bool,
    receptionist: Arc<dyn Receptionist>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = TcpListener::from_std(listener).map_err(ServeError::Accept)?;
    let (over, mut first_over) = mpsc::channel(1);
    let reception = Arc::new(Reception {
        sink,
        receptionist,
        sessions: Mutex::default(),
        strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
        over,
    });
    let mut guests = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => reception.clone().admit(stream, addr, &mut guests),
                // Most often too many open files: one of them will be closed.
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(PROGRESS_INTERVAL).await;
                }
            },
            Some(_) = guests.join_next() => {}
            Some(()) = first_over.recv() => if once { break },
            () = &mut stop => break,
        }
    }
    reception.sessions.lock().values().for_each(|session| session.receiving.ending.decide(End::Stopped));
    let leave = async { while guests.join_next().await.is_some() {} };
    let _ = timeout(2 * GOODBYE_TIMEOUT, leave).await;
    Ok(())
}

/// What the connections to one port have in common.
struct Reception {
    sink: Arc<Sink>,
    receptionist: Arc<dyn Receptionist>,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    strangers: Arc<Semaphore>,
    /// Told each time a transfer is over.
    over: mpsc::Sender<()>,
}

impl Reception {
    fn admit(self: Arc<Self>, stream: TcpStream, addr: SocketAddr, guests: &mut JoinSet<()>) {
        // Whoever comes when every place is taken is sent away at once: waiting would only hide that it is full.
        let Ok(place) = self.strangers.clone().try_acquire_owned() else {
            return self.receptionist.refused(addr, "too many connections have not said what they want");
        };
        guests.spawn(async move {
            let result = match timeout(HANDSHAKE_TIMEOUT, self.meet(stream)).await {
                Ok(Ok(Some(guest))) => {
                    drop(place);
                    self.host(guest, addr).await;
                    Ok(())
                }
                Ok(Ok(None)) => Ok(()),
                Ok(Err(refusal)) => Err(refusal),
                Err(_) => Err(Refusal::Mute),
            };
            if let Err(refusal) = result {
                self.receptionist.refused(addr, &refusal.to_string());
            }
        });
    }

    /// Hears what a connection is for. A data connection is handed to its session; a control connection becomes a
    /// guest.
    async fn meet(&self, mut stream: TcpStream) -> Result<Option<Guest>, Refusal> {
        let mut preface = [0; PREFACE_BYTES];
        stream.read_exact(&mut preface).await?;
        match Role::decode(preface) {
            Ok(Role::Control) => {}
            Ok(Role::Data) => {
                let mut belonging = [0; BELONGING_BYTES];
                stream.read_exact(&mut belonging).await?;
                let belonging = Belonging::decode(belonging);
                let session = self.sessions.lock().get(&belonging.session).cloned();
                session.ok_or(Refusal::NoSuchSession)?.join(stream, belonging.connection)?;
                return Ok(None);
            }
            Err(error) => {
                if let PrefaceError::Version { .. } = error {
                    send_away(stream, Status::OtherVersion).await?;
                }
                return Err(error.into());
            }
        }
        tune::control(&SockRef::from(&stream))?;
        if self.sessions.lock().len() >= SESSIONS_MAX {
            send_away(stream, Status::Busy).await?;
            return Err(Refusal::Busy);
        }
        stream.write_all(&Status::Welcome.encode()).await?;
        let (read_half, write_half) = stream.into_split();
        let mut reader = MessageReader::new(read_half);
        match reader.next(HANDSHAKE_TIMEOUT).await? {
            SenderMessage::Hello { connections } => {
                Ok(Some(Guest { reader, writer: MessageWriter::new(write_half), connections }))
            }
            _ => {
                Err(End::from(PeerMisbehaved::Unexpected { got: "another message", expected: "a hello" })
                    .into())
            }
        }
    }

    /// Serves one session from its welcome to its end.
    async fn host(&self, guest: Guest, addr: SocketAddr) {
        let progress = Arc::new(Progress::default());
        let watch = self.receptionist.started(addr, progress.clone());
        let id = match new_session_id() {
            Ok(id) => id,
            Err(error) => return self.receptionist.refused(addr, &format!("no random numbers: {error}")),
        };
        let (outbox, outbox_reader) = outbox();
        let receiving = Arc::new(Receiving::new(self.sink.clone(), outbox, watch.clone(), progress));
        let session = Arc::new(Session::new(receiving, guest.connections));
        self.sessions.lock().insert(id, session.clone());
        let end = session.run(guest, id, &outbox_reader).await;
        self.sessions.lock().remove(&id);
        drop(outbox_reader);
        session.dismiss().await;
        if session.receiving.had_offers() {
            watch.ended(&end);
            let _ = self.over.try_send(());
        } else {
            self.receptionist.refused(addr, &format!("it offered nothing: {end}"));
        }
    }
}

async fn send_away(mut stream: TcpStream, status: Status) -> io::Result<()> {
    stream.write_all(&status.encode()).await?;
    stream.shutdown().await
}

/// A name that nobody guesses: whoever knows it may open data connections.
fn new_session_id() -> Result<SessionId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(SessionId(id))
}
