//! The receiver: one port for everyone, and for each session a thread that looks at files and one for each of its
//! data connections.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::admission::{Admission, Party, Place};
use super::admit::{Guest, Refusal, admit};
use super::hosting::Session;
use super::strangers::Strangers;
use super::tune;
use super::turn::wait_for_turn;
use super::watch::Receptionist;
use crate::limits::{
    ENDED_SESSIONS_MAX, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, PLACE_KEPT_FOR, PROGRESS_INTERVAL,
};
use crate::protocol::message::{Barred, ReceiverMessage, SessionId, Wishes};
use crate::protocol::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, PrefaceError, Role, Status};
use crate::protocol::seal::TAG_BYTES;
use crate::session::probe::NoFiles;
use crate::session::receiving::{Receiving, Terms};
use crate::session::{Diligence, End, Observer, Progress, outbox};
use crate::sink::Destination;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::guesses::network_of;
use crate::trust::house::House;

/// Why the receiver stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot accept connections: {0}")]
    Accept(io::Error),
}

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Stop when the first transfer is over.
    pub once: bool,
    /// How long a silent sender is waited for.
    pub patience: Duration,
    /// With `once`: how long a sender that was lost may take to come back.
    pub retry_for: Duration,
    /// What must have happened to a file before its sender hears that it arrived.
    pub diligence: Diligence,
    /// Of a file that differs from an existing one only what differs is sent, whether its sender asks for that or not.
    pub delta: bool,
    /// Transfers that are served at once; others wait for their turn. There is one standard output, and nobody waits for it.
    pub transfers: u16,
}

/// Receives into `to` until `stop`, or with `once` until the first transfer is over.
///
/// # Errors
/// [`ServeError`] where the listener cannot be used. What goes wrong with one peer is told to the receptionist only.
pub async fn serve(
    listener: std::net::TcpListener,
    to: Arc<Destination>,
    house: House,
    options: ServeOptions,
    receptionist: Arc<dyn Receptionist>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = TcpListener::from_std(listener).map_err(ServeError::Accept)?;
    let (passages, mut passing) = mpsc::unbounded_channel();
    let folder = to.folder().is_some();
    let places = if folder { options.transfers.into() } else { 1 };
    let reception = Arc::new(Reception {
        to,
        house,
        receptionist,
        admission: Admission::new(places, folder),
        sessions: Mutex::default(),
        ended: Mutex::default(),
        kept: Mutex::default(),
        strangers: Mutex::default(),
        passages,
        patience: options.patience,
        terms: Terms { diligence: options.diligence, delta: options.delta, ..Terms::default() },
    });
    let mut guests = JoinSet::new();
    // With `once`: until when a lost sender is waited for, as long as nobody is here.
    let (mut deadline, mut here) = (None, 0_usize);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => reception.clone().admit(stream, addr, &mut guests),
                // Most often too many open files, and strangers have most of them.
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    reception.strangers.lock().send_one_away();
                    sleep(PROGRESS_INTERVAL).await;
                }
            },
            Some(_) = guests.join_next() => {}
            Some(passage) = passing.recv() => match passage {
                Passage::Began => here += 1,
                Passage::Nothing => here -= 1,
                Passage::Lost if !options.retry_for.is_zero() => {
                    here -= 1;
                    deadline = Some(Instant::now() + options.retry_for);
                }
                Passage::Lost | Passage::Over => {
                    here -= 1;
                    if options.once {
                        break;
                    }
                }
            },
            () = wait_until(deadline), if options.once && here == 0 => break,
            () = &mut stop => break,
        }
    }
    reception.admission.close();
    reception.sessions.lock().values().for_each(|session| session.receiving.ending.decide(End::Stopped));
    let leave = async { while guests.join_next().await.is_some() {} };
    let _ = timeout(2 * GOODBYE_TIMEOUT, leave).await;
    Ok(())
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// What happens to sessions, as far as `once` has to know.
enum Passage {
    Began,
    /// It ended without an offer, and counts as if it had never been.
    Nothing,
    /// The network, or the sender's process, is gone; it may come back.
    Lost,
    Over,
}

/// What the connections to one port have in common.
struct Reception {
    to: Arc<Destination>,
    house: House,
    receptionist: Arc<dyn Receptionist>,
    admission: Arc<Admission>,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    /// The last sessions that ended: a data connection may still be on its way to one.
    ended: Mutex<VecDeque<SessionId>>,
    /// The places of sessions that were lost a moment ago, and whose they were.
    kept: Mutex<HashMap<SessionId, (Fingerprint, Arc<Place>)>>,
    strangers: Mutex<Strangers>,
    passages: mpsc::UnboundedSender<Passage>,
    patience: Duration,
    /// What holds for every session; its sender may wish for more.
    terms: Terms,
}

impl Reception {
    fn admit(self: Arc<Self>, stream: TcpStream, addr: SocketAddr, guests: &mut JoinSet<()>) {
        let mut strangers = self.strangers.lock();
        let number = strangers.announce();
        let reception = self.clone();
        let task = guests.spawn(async move {
            let met = timeout(HANDSHAKE_TIMEOUT, reception.meet(stream, addr)).await;
            // From here on it is a guest, or gone.
            reception.strangers.lock().settle(number);
            match met.unwrap_or(Err(Refusal::Mute)) {
                Ok(Some(guest)) => reception.host(guest, addr).await,
                Ok(None) => {}
                Err(refusal) if refusal.is_ordinary() => tracing::info!("{} left: {refusal}", addr.ip()),
                Err(refusal) => {
                    reception.receptionist.refused(addr.ip().to_canonical(), &refusal.to_string())
                }
            }
        });
        strangers.came_in(number, addr.ip(), task);
    }

    /// Hears what a connection is for. A data connection is handed to its session; a control connection becomes a
    /// guest.
    async fn meet(&self, mut stream: TcpStream, addr: SocketAddr) -> Result<Option<Guest>, Refusal> {
        let mut preface = [0; PREFACE_BYTES];
        if stream.peek(&mut preface[..1]).await? == 0 {
            return Err(Refusal::Silent);
        }
        stream.read_exact(&mut preface).await?;
        match Role::decode(preface) {
            Ok(Role::Control) => {}
            Ok(Role::Data) => {
                let (mut belonging, mut proof) = ([0; BELONGING_BYTES], [0; TAG_BYTES]);
                stream.read_exact(&mut belonging).await?;
                stream.read_exact(&mut proof).await?;
                let belonging = Belonging::decode(belonging);
                let session = self.sessions.lock().get(&belonging.session).cloned();
                let Some(session) = session else {
                    let ended = self.ended.lock().contains(&belonging.session);
                    return Err(if ended { Refusal::Late } else { Refusal::NoSuchSession });
                };
                session.join(stream, belonging, &proof, self.patience)?;
                return Ok(None);
            }
            Err(error) => {
                if let PrefaceError::Version { .. } = error {
                    send_away(stream, Status::OtherVersion).await?;
                }
                return Err(error.into());
            }
        }
        tune::control(&SockRef::from(&stream), self.patience)?;
        if self.admission.is_full() {
            send_away(stream, Status::Busy).await?;
            return Err(Refusal::Busy);
        }
        stream.write_all(&Status::Welcome.encode()).await?;
        admit(&self.house, stream, addr, &*self.receptionist).await.map(Some)
    }

    /// Serves one session from its welcome to its end.
    async fn host(self: &Arc<Self>, mut guest: Guest, addr: SocketAddr) {
        let ip = addr.ip().to_canonical();
        let measure = guest.wishes.measure;
        if measure && self.to.folder().is_none() {
            // There is one place, and it is for the file.
            let text = "it takes one file to its standard output and lets nobody measure; start `lanx recv DIR` there";
            guest.writer.put(&ReceiverMessage::Leave { text: text.into() });
            let _ = timeout(GOODBYE_TIMEOUT, guest.writer.close()).await;
            return tracing::info!("{ip} left: it wished to measure");
        }
        let place = match self.clear_the_way(&guest).await {
            Some(place) => place,
            None => match self.place(&mut guest, ip).await {
                Ok(place) => Arc::new(place),
                Err(refusal) if refusal.is_ordinary() => return tracing::info!("{ip} left: {refusal}"),
                Err(refusal) => return self.receptionist.refused(ip, &refusal.to_string()),
            },
        };
        let id = match new_session_id() {
            Ok(id) => id,
            Err(error) => return self.receptionist.refused(ip, &format!("no random numbers: {error}")),
        };
        let progress = Arc::new(Progress::default());
        // Nothing of it is a transfer: not for `once`, nor for those who count files.
        if measure {
            let (session, end) = self.run(id, guest, place, Arc::new(NoFiles), progress).await;
            return self.receptionist.measured(ip, Progress::get(&session.receiving.progress.written), &end);
        }
        let _ = self.passages.send(Passage::Began);
        let watch = self.receptionist.started(ip, guest.connections, progress.clone());
        let (session, end) = self.run(id, guest, place, watch.clone(), progress).await;
        if !session.receiving.had_offers() {
            tracing::info!("{ip} offered nothing: {end}");
            let _ = self.passages.send(Passage::Nothing);
            return;
        }
        watch.ended(&end);
        let lost = matches!(end, End::Lost(_) | End::Silent(_));
        if lost {
            self.keep_place(id, &session);
        }
        let _ = self.passages.send(if lost { Passage::Lost } else { Passage::Over });
    }

    /// Runs a session until the last of it is gone.
    async fn run(
        &self,
        id: SessionId,
        mut guest: Guest,
        place: Arc<Place>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
    ) -> (Arc<Session>, End) {
        let (outbox, outbox_reader) = outbox();
        let Wishes { dry_run, delta, measure } = guest.wishes;
        let terms = Terms { dry_run, measure, delta: delta || self.terms.delta, ..self.terms };
        let receiving = Arc::new(Receiving::new(self.to.clone(), terms, outbox, observer, progress));
        let session = Arc::new(Session::new(receiving, id, &mut guest, place));
        self.sessions.lock().insert(id, session.clone());
        let end = session.run(guest, &outbox_reader, self.patience).await;
        session.dismiss().await;
        self.forget(id);
        (session, end)
    }

    /// Gives a guest a place, in its turn.
    async fn place(&self, guest: &mut Guest, ip: IpAddr) -> Result<Place, Refusal> {
        let party = if self.house.open { Party::Network(network_of(ip)) } else { Party::Key(guest.peer) };
        let Some(place) = self.admission.enter(party, guest.connections) else {
            guest.writer.put(&ReceiverMessage::Barred(Barred::Busy));
            // Whoever does not even read this is told nothing.
            let _ = timeout(GOODBYE_TIMEOUT, guest.writer.close()).await;
            return Err(Refusal::Busy);
        };
        wait_for_turn(guest, &place, ip, self.patience).await?;
        Ok(place)
    }

    /// Ends the session that a sender goes on with, if it is still here. Returns its place, if it was the sender's own.
    async fn clear_the_way(&self, guest: &Guest) -> Option<Arc<Place>> {
        let id = guest.resumes?;
        let session = self.sessions.lock().get(&id).filter(|session| session.peer == guest.peer).cloned();
        let place = match session {
            Some(session) => {
                let place = session.place.clone();
                session.make_way().await;
                place
            }
            None => self.kept.lock().get(&id).filter(|(peer, _)| *peer == guest.peer)?.1.clone(),
        };
        // Once: two that claim to go on with one session are two transfers.
        self.kept.lock().remove(&id);
        place.hand_over(guest.connections);
        Some(place)
    }

    fn forget(&self, id: SessionId) {
        let mut ended = self.ended.lock();
        if ended.len() >= ENDED_SESSIONS_MAX {
            ended.pop_front();
        }
        ended.push_back(id);
        // Under the lock: it is here, or among the ended ones.
        self.sessions.lock().remove(&id);
    }

    /// Keeps the place of a session that was lost, for a sender that comes back at once.
    fn keep_place(self: &Arc<Self>, id: SessionId, session: &Session) {
        self.kept.lock().insert(id, (session.peer, session.place.clone()));
        let reception = self.clone();
        tokio::spawn(async move {
            sleep(PLACE_KEPT_FOR).await;
            reception.kept.lock().remove(&id);
        });
    }
}

async fn send_away(mut stream: TcpStream, status: Status) -> io::Result<()> {
    stream.write_all(&status.encode()).await?;
    stream.shutdown().await
}

/// The name of a session. Not a secret: whoever opens a data connection has to prove more.
fn new_session_id() -> Result<SessionId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(SessionId(id))
}
