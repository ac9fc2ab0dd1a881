//! One session at the receiver: its control connection, the thread that looks at files, and its data connections.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admit::{Guest, Refusal};
use super::control::converse;
use super::tune;
use crate::limits::{GOODBYE_TIMEOUT, MESSAGES_HEARD_MAX, WORKER_STACK_BYTES};
use crate::protocol::message::{ReceiverMessage, SenderMessage, SessionId};
use crate::protocol::preface::Belonging;
use crate::protocol::seal::{Cipher, SECRET_BYTES, SessionSecret, Tag};
use crate::session::receive_worker::receive_chunks;
use crate::session::receiving::Receiving;
use crate::session::{End, OutboxReader};

/// A session and its data connections.
pub(super) struct Session {
    pub receiving: Arc<Receiving>,
    id: SessionId,
    granted: u8,
    cipher: Cipher,
    secret: SessionSecret,
    data: Mutex<DataConnections>,
}

#[derive(Default)]
struct DataConnections {
    /// One bit for each number that was taken.
    taken: u32,
    streams: Vec<std::net::TcpStream>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Session {
    pub fn new(receiving: Arc<Receiving>, id: SessionId, guest: &mut Guest) -> Session {
        let Guest { connections, cipher, ref mut secret, .. } = *guest;
        let secret = std::mem::replace(secret, SessionSecret::new([0; SECRET_BYTES]));
        Session { receiving, id, granted: connections, cipher, secret, data: Mutex::default() }
    }

    /// Takes in a data connection that proves that it belongs here, and gives it a thread.
    ///
    /// A number that was taken is never taken again, also when its connection is gone: its keys would be used twice,
    /// and whoever recorded the connection could play it once more.
    pub fn join(&self, stream: TcpStream, belonging: Belonging, proof: &Tag) -> Result<(), Refusal> {
        if belonging.connection >= self.granted.into() {
            return Err(Refusal::NoSuchSession);
        }
        let keys = self.secret.data_keys(self.cipher, &self.id.0, belonging.connection)?;
        let (_, mut opener) = keys.for_receiver();
        opener.check_proof(&belonging.hello(), proof)?;
        tune::data(&SockRef::from(&stream))?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let handle = stream.try_clone()?;
        let mut data = self.data.lock();
        let bit = 1u32.checked_shl(belonging.connection).unwrap_or(0);
        if data.taken & bit != 0 || data.closed {
            return Err(Refusal::NoSuchSession);
        }
        data.taken |= bit;
        let receiving = self.receiving.clone();
        let builder = thread::Builder::new().name("receive".into()).stack_size(WORKER_STACK_BYTES);
        data.threads.push(builder.spawn(move || {
            if let Err(end) = receive_chunks(&receiving, stream, opener) {
                receiving.ending.decide(end);
            }
        })?);
        data.streams.push(handle);
        Ok(())
    }

    /// Carries the session from its welcome to its end.
    pub async fn run(&self, guest: Guest, outbox: &OutboxReader<ReceiverMessage>) -> End {
        let Guest { reader, mut writer, .. } = guest;
        let Session { id: session, granted: connections, cipher, .. } = *self;
        writer.put(&ReceiverMessage::Welcome { session, connections, cipher });
        // Looking at files and making them may take as long as the disk does, so it has a thread of its own.
        let (heard, mut to_hear) = mpsc::channel(MESSAGES_HEARD_MAX);
        let receiving = self.receiving.clone();
        let builder = thread::Builder::new().name("files".into()).stack_size(WORKER_STACK_BYTES);
        let spawned = builder.spawn(move || {
            while let Some(message) = to_hear.blocking_recv() {
                if let Err(end) = receiving.handle(message) {
                    return receiving.ending.decide(end);
                }
            }
        });
        match spawned {
            Ok(thread) => self.data.lock().threads.push(thread),
            Err(error) => self.receiving.ending.decide(End::Exhausted(error.to_string())),
        }
        let hear = |message: SenderMessage| {
            let heard = heard.clone();
            async move {
                match message {
                    // The connection closes right behind it, and that must not look like a loss.
                    SenderMessage::Leave { text } => Err(End::PeerLeft(text)),
                    // A thread that no longer listens has decided the end.
                    message => heard.send(message).await.or(Ok(())),
                }
            }
        };
        let mut told = (0, 0);
        let beat = |due: bool| {
            let progress = &self.receiving.progress;
            let now = (progress.written.load(Ordering::Relaxed), progress.kept.load(Ordering::Relaxed));
            let news = now != std::mem::replace(&mut told, now);
            (news || due).then_some(ReceiverMessage::Progress { written: now.0, kept: now.1 })
        };
        converse(reader, writer, outbox, &self.receiving.ending, hear, beat, last_words).await
    }

    /// Sends every thread home and waits for them a little.
    pub async fn dismiss(&self) {
        self.receiving.close();
        let threads = {
            let mut data = self.data.lock();
            data.closed = true;
            for stream in &data.streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut data.threads)
        };
        let join = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        let _ = timeout(GOODBYE_TIMEOUT, join).await;
    }
}

fn last_words(end: &End) -> Option<ReceiverMessage> {
    match end {
        // Decided only when every outcome was queued, so this is the last thing the sender hears.
        End::Complete => Some(ReceiverMessage::Bye),
        End::PeerLeft(_) => None,
        End::Stopped => Some(ReceiverMessage::Leave { text: "the receiver was stopped".into() }),
        end => Some(ReceiverMessage::Leave { text: end.to_string().into() }),
    }
}
