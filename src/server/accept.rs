//! The receiver: one port for everyone, and for each session a thread that looks at files and one for each of
//! its data connections.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::events::Receptionist;
use super::handshake::{AcceptedPeer, Refusal, admit};
use super::pending::Strangers;
use super::queue::{Admission, Slot};
use super::session::{Session, stopped};
use super::stats::Ledger;
use crate::cache::Cache;
use crate::limits::{GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, PROGRESS_INTERVAL, REFUSALS_WINDOW};
use crate::os::rlimit;
use crate::os::said::Said;
use crate::session::carrier::{Arrival, Arrivals};
use crate::session::rate_limit::Pace;
use crate::session::receiver::room::{MinFree, Quota};
use crate::session::{Diligence, End};
use crate::store::Target;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::policy::AuthPolicy;
use crate::wire::message::{ReceiverMessage, SessionId};
use crate::wire::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, PrefaceError, Role, Status};
use crate::wire::seal::TAG_BYTES;

/// Files that may be open for each transfer: 16 large files, its connections, folders and files that are open
/// for moments, and those who wait. With two transfers of large files at 64 some failed.
const DESCRIPTORS_PER_TRANSFER: u64 = 48;

/// Why the receiver stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot accept connections: {}", Said(.0))]
    Accept(io::Error),
}

/// How long to receive, and how much at once.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Stop when the first transfer is over.
    pub once: bool,
    /// With `once`: how long a sender that was lost may take to come back.
    pub retry_for: Duration,
    /// Transfers that are served at once; others wait for their turn. There is one standard output, and
    /// nobody waits for it.
    pub transfers: u16,
}

/// How a transfer is received. It may change while others are under way, which go on as they began.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    pub to: Arc<Target>,
    /// How long a silent sender is waited for.
    pub patience: Duration,
    /// What must have happened to a file before its sender hears that it arrived.
    pub diligence: Diligence,
    /// Of a file that differs from an existing one only what differs is sent, whether its sender asks for
    /// that or not.
    pub delta: bool,
    /// Whether chunks may come compressed.
    pub compress: bool,
    /// Bytes of the largest file that is taken, and how much of the disk stays free.
    pub max_file: Option<u64>,
    pub min_free: Option<MinFree>,
    /// How fast all senders together may send, where that is limited.
    pub pace: Option<Arc<Pace>>,
    /// Where hashes of files are remembered.
    pub cache: Option<Arc<Cache>>,
}

/// Receives until it is ordered to end, or with `once` until the first transfer is over.
///
/// # Errors
/// [`ServeError`] where a listener cannot be used. What goes wrong with one peer is told to the receptionist only.
pub async fn serve(
    mut doors: Vec<Box<dyn Arrivals>>,
    how: ReceiveOptions,
    auth: Arc<AuthPolicy>,
    options: ServeOptions,
    receptionist: Arc<dyn Receptionist>,
    ledger: Arc<Ledger>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<(), ServeError> {
    let (passages, mut passing) = mpsc::unbounded_channel();
    let reception = SessionServer::new(how, auth, options.transfers, receptionist, ledger, passages);
    let reception = Arc::new(reception);
    let mut guests = JoinSet::new();
    let mut revocations = interval(REVOCATIONS_LOOK);
    let mut visits = Visits { options, here: 0, deadline: None };
    // When it was told that nobody can be let in.
    let mut told: Option<Instant> = None;
    let end = loop {
        // A session under way may still need data connections, so the door stays open until the last has
        // ended.
        if reception.is_leaving() && reception.sessions.lock().is_empty() {
            break End::Away;
        }
        tokio::select! {
            accepted = next(&mut doors) => match accepted {
                Ok(arrival) => reception.clone().admit(arrival, &mut guests),
                // Most often too many open files, and strangers have most of them.
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= REFUSALS_WINDOW) {
                        tracing::warn!("cannot accept connections: {error}");
                        told = Some(Instant::now());
                    }
                    // Whoever goes makes room at once; the others may take their time.
                    let one_went = reception.strangers.lock().send_one_away();
                    if one_went { yield_now().await } else { sleep(PROGRESS_INTERVAL).await }
                }
            },
            Some(_) = guests.join_next() => {}
            Some(passage) = passing.recv() => if visits.were_all_with(passage) {
                break End::Stopped;
            },
            () = visits.nobody_came_back() => break End::Stopped,
            _ = revocations.tick() => reception.end_revoked(),
            Some(order) = orders.recv() => if let Some(end) = reception.obey(order) {
                break end;
            },
        }
    };
    reception.see_off(&end, guests).await;
    Ok(())
}

/// How often a receiver looks whether those who send still may: as soon as a person who removes one would
/// look.
const REVOCATIONS_LOOK: Duration = Duration::from_secs(1);

/// What happens to sessions, as far as `once` has to know.
pub(super) enum Passage {
    Began,
    /// It ended without an offer, or was a dry run, and counts as if it had never been.
    Nothing,
    /// The network, or the sender's process, is gone; it may come back.
    Lost,
    Over,
}

/// Who is here, and whether `once` is over.
struct Visits {
    options: ServeOptions,
    here: usize,
    /// Until when a lost sender is waited for, as long as nobody is here.
    deadline: Option<Instant>,
}

impl Visits {
    /// Takes in what happened to a session, and tells whether the receiver ends with that.
    fn were_all_with(&mut self, passage: Passage) -> bool {
        let ServeOptions { once, retry_for, .. } = self.options;
        match passage {
            Passage::Began => self.here += 1,
            Passage::Nothing | Passage::Lost | Passage::Over => self.here -= 1,
        }
        match passage {
            Passage::Began | Passage::Nothing => false,
            Passage::Lost if !retry_for.is_zero() => {
                self.deadline = Some(Instant::now() + retry_for);
                false
            }
            Passage::Lost | Passage::Over => once,
        }
    }

    /// With `once`: completes when a lost sender should have come back.
    async fn nobody_came_back(&self) {
        match self.deadline {
            Some(deadline) if self.options.once && self.here == 0 => sleep_until(deadline).await,
            _ => pending().await,
        }
    }
}

/// What the connections to one port have in common.
pub(super) struct SessionServer {
    how: Mutex<ReceiveOptions>,
    pub(super) auth: Arc<AuthPolicy>,
    pub(super) receptionist: Arc<dyn Receptionist>,
    pub(super) admission: Arc<Admission>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    /// The last sessions that ended: a data connection may still be on its way to one.
    pub(super) ended: Mutex<VecDeque<SessionId>>,
    /// The places of sessions that were lost a moment ago, and whose they were.
    pub(super) kept: Mutex<HashMap<SessionId, (Fingerprint, Arc<Slot>)>>,
    /// What the senders of sessions under way may have here, where that is bounded.
    pub(super) quotas: Mutex<HashMap<Fingerprint, Weak<Quota>>>,
    strangers: Mutex<Strangers>,
    pub(super) passages: mpsc::UnboundedSender<Passage>,
    /// Nobody is let in any more; those who come hear that it may be otherwise in a moment.
    leaving: AtomicBool,
}

impl SessionServer {
    fn new(
        how: ReceiveOptions,
        auth: Arc<AuthPolicy>,
        transfers: u16,
        receptionist: Arc<dyn Receptionist>,
        ledger: Arc<Ledger>,
        passages: mpsc::UnboundedSender<Passage>,
    ) -> SessionServer {
        let folder = how.to.output().is_none();
        let transfers = rlimit::at_most(transfers.into(), DESCRIPTORS_PER_TRANSFER);
        let admission = Admission::new(if folder { transfers } else { 1 }, folder);
        ledger.open(&admission);
        SessionServer {
            how: Mutex::new(how),
            auth,
            receptionist,
            admission,
            ledger,
            sessions: Mutex::default(),
            ended: Mutex::default(),
            kept: Mutex::default(),
            quotas: Mutex::default(),
            strangers: Mutex::new(Strangers::new()),
            passages,
            leaving: AtomicBool::new(false),
        }
    }

    /// How the next transfer is received.
    pub(super) fn how(&self) -> ReceiveOptions {
        self.how.lock().clone()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Lets nobody in any more.
    fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.admission.close();
    }

    /// Ends the sessions of those who may not send any more. Where nobody can tell, they go on: who comes is
    /// told so. So do those that were never among those who may, and have proved the code.
    fn end_revoked(&self) {
        for session in self.sessions.lock().values().filter(|session| session.is_remembered) {
            if let Ok(false) = self.auth.lets_in(&session.peer) {
                session.receiving.ending().decide(End::Revoked);
            }
        }
    }

    /// Counts and tells that somebody was sent away.
    pub(super) fn refused(&self, ip: IpAddr, refusal: &Refusal) {
        let Some(reason) = refusal.reason() else {
            return tracing::info!("{ip} left: {refusal}");
        };
        self.ledger.refuse(reason);
        let why = refusal.to_string();
        if refusal.hung_up() {
            self.receptionist.disconnected(ip, &why);
        } else {
            self.receptionist.refused(ip, &why);
        }
    }

    /// Does what it is told. Returns how all sessions are to end now, if they are.
    fn obey(&self, order: Order) -> Option<End> {
        match order {
            Order::Change(how) => {
                let mut now = self.how.lock();
                let rate = |how: &ReceiveOptions| how.pace.as_ref().map(|pace| pace.rate());
                // The senders that are here and those that come have one rate between them.
                let pace = if rate(&how) == rate(&now) { now.pace.clone() } else { how.pace.clone() };
                // It is open already.
                let cache = now.cache.take();
                *now = ReceiveOptions { pace, cache, ..how };
                None
            }
            Order::Finish => {
                self.leave();
                None
            }
            Order::Park => {
                self.leave();
                Some(End::Away)
            }
            Order::Stop => Some(End::Stopped),
        }
    }

    /// Ends everything and gives everybody time for a goodbye.
    async fn see_off(&self, end: &End, mut guests: JoinSet<()>) {
        self.admission.close();
        self.strangers.lock().send_all_away();
        self.sessions.lock().values().for_each(|session| session.receiving.ending().decide(end.clone()));
        let leave = async { while guests.join_next().await.is_some() {} };
        let _ = timeout(2 * GOODBYE_TIMEOUT, leave).await;
    }

    /// What whoever has no session yet hears at the end.
    pub(super) fn farewell(&self) -> ReceiverMessage {
        if self.is_leaving() { ReceiverMessage::Away } else { stopped() }
    }

    fn admit(self: Arc<Self>, arrival: Box<dyn Arrival>, guests: &mut JoinSet<()>) {
        let addr = arrival.addr();
        let mut strangers = self.strangers.lock();
        let number = strangers.announce();
        let reception = self.clone();
        let task = guests.spawn(async move {
            let met = timeout(HANDSHAKE_TIMEOUT, reception.meet(arrival)).await;
            // From here on it is accepted, or gone.
            reception.strangers.lock().settle(number);
            match met.unwrap_or(Err(Refusal::Mute)) {
                Ok(Some(accepted)) => reception.host(accepted, addr).await,
                Ok(None) => {}
                Err(refusal) => reception.refused(addr.ip().to_canonical(), &refusal),
            }
        });
        strangers.came_in(number, addr.ip(), task);
    }

    /// Hears what a connection is for. A data connection is handed to its session; a control connection
    /// becomes an accepted peer.
    async fn meet(&self, mut arrival: Box<dyn Arrival>) -> Result<Option<AcceptedPeer>, Refusal> {
        let mut preface = [0; PREFACE_BYTES];
        let begun = arrival.read(&mut preface).await?;
        if begun == 0 {
            return Err(Refusal::Silent);
        }
        arrival.read_exact(&mut preface[begun..]).await?;
        match Role::decode(preface) {
            Ok(Role::Control) => {}
            Ok(Role::Data) => {
                let (mut belonging, mut proof) = ([0; BELONGING_BYTES], [0; TAG_BYTES]);
                arrival.read_exact(&mut belonging).await?;
                arrival.read_exact(&mut proof).await?;
                let belonging = Belonging::decode(belonging);
                let session = self.sessions.lock().get(&belonging.session).cloned();
                let Some(session) = session else {
                    let ended = self.ended.lock().contains(&belonging.session);
                    return Err(if ended { Refusal::Late } else { Refusal::NoSuchSession });
                };
                session.join(arrival, belonging, &proof, self.how().patience)?;
                return Ok(None);
            }
            Err(error) => {
                if let PrefaceError::Version { .. } = error {
                    send_away(arrival, Status::OtherVersion).await?;
                }
                return Err(error.into());
            }
        }
        arrival.speaks(self.how().patience)?;
        if self.is_leaving() {
            send_away(arrival, Status::Away).await?;
            return Err(Refusal::Away);
        }
        // Whoever lost its connection has a place of its own, which it names only when it is let in.
        if self.admission.is_full() && self.kept.lock().is_empty() {
            send_away(arrival, Status::Busy).await?;
            return Err(Refusal::Busy);
        }
        arrival.write_all(&Status::Welcome.encode()).await?;
        admit(&self.auth, arrival, &*self.receptionist).await.map(Some)
    }
}

async fn send_away(mut arrival: Box<dyn Arrival>, status: Status) -> io::Result<()> {
    arrival.write_all(&status.encode()).await?;
    arrival.shutdown().await
}

/// Whoever comes next, at any of the doors.
async fn next(doors: &mut [Box<dyn Arrivals>]) -> io::Result<Box<dyn Arrival>> {
    let come = |context: &mut Context<'_>| {
        // Each door in its turn, so that a flood at one keeps nobody out at the others.
        doors.rotate_left(1);
        let ready = doors.iter_mut().map(|door| door.poll_accept(context)).find(Poll::is_ready);
        ready.unwrap_or(Poll::Pending)
    };
    poll_fn(come).await
}

/// What a receiver is told while it serves.
#[derive(Debug)]
pub enum Order {
    /// Receive like this from the next transfer on.
    Change(ReceiveOptions),
    /// Let nobody in any more, and end when the last session has ended.
    Finish,
    /// End all sessions now. Their senders hear that the receiver may be back.
    Park,
    /// End all sessions now, for good.
    Stop,
}
