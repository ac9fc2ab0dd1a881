//! The receiver: one port for everyone, and for each session a thread that looks at files and one for each of
//! its data connections.

use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::events::Receptionist;
use super::handshake::{AcceptedPeer, Refusal, admit};
use super::state::{Order, Passage, ReceiveOptions, SessionServer};
use super::stats::Ledger;
use crate::limits::{HANDSHAKE_TIMEOUT, PROGRESS_INTERVAL, REFUSALS_WINDOW};
use crate::os::said::Said;
use crate::session::End;
use crate::session::carrier::{Arrival, Arrivals};
use crate::trust::policy::AuthPolicy;
use crate::wire::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, PrefaceError, Role, Status};
use crate::wire::seal::TAG_BYTES;

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
                Ok(arrival) => reception.clone().greet(arrival, &mut guests),
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

impl SessionServer {
    /// Meets whoever has connected, and hosts a peer that is let in.
    fn greet(self: Arc<Self>, arrival: Box<dyn Arrival>, guests: &mut JoinSet<()>) {
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
