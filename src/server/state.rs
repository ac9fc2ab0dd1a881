//! What the connections to one port have in common: how files are received, who is let in, and the sessions
//! that are under way.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::events::Receptionist;
use super::handshake::Refusal;
use super::pending::Strangers;
use super::queue::{Admission, Slot};
use super::session::{Session, stopped};
use super::stats::Ledger;
use crate::cache::Cache;
use crate::limits::GOODBYE_TIMEOUT;
use crate::os::rlimit;
use crate::session::rate_limit::Pace;
use crate::session::receiver::room::{MinFree, Quota};
use crate::session::{Diligence, End};
use crate::store::Target;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::policy::AuthPolicy;
use crate::wire::message::{ReceiverMessage, SessionId};

/// Files that may be open for each transfer: 16 large files, its connections, folders and files that are open
/// for moments, and those who wait. With two transfers of large files at 64 some failed.
const DESCRIPTORS_PER_TRANSFER: u64 = 48;

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

/// What happens to sessions, as far as `once` has to know.
pub(super) enum Passage {
    Began,
    /// It ended without an offer, or was a dry run, and counts as if it had never been.
    Nothing,
    /// The network, or the sender's process, is gone; it may come back.
    Lost,
    Over,
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
    pub(super) strangers: Mutex<Strangers>,
    pub(super) passages: mpsc::UnboundedSender<Passage>,
    /// Nobody is let in any more; those who come hear that it may be otherwise in a moment.
    leaving: AtomicBool,
}

impl SessionServer {
    pub(super) fn new(
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
    pub(super) fn end_revoked(&self) {
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
    pub(super) fn obey(&self, order: Order) -> Option<End> {
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
    pub(super) async fn see_off(&self, end: &End, mut guests: JoinSet<()>) {
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
}
