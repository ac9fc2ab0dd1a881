//! One session at the receiver: its control connection, the thread that looks at files, and its data
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::handshake::{AcceptedPeer, Refusal};
use super::lanes::DataConnections;
use super::queue::Slot;
use crate::limits::{GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, KERNEL_TIME_BRIEF};
use crate::net::control::{Talk, converse};
use crate::os::background;
use crate::os::cpu::Load;
use crate::os::threads;
use crate::session::carrier::Arrival;
use crate::session::cpu_speed::{Speeds, speeds};
use crate::session::link::{ConnectionHandle, Troubles};
use crate::session::receiver::Receiving;
use crate::session::snapshot::{Scene, UnderWay};
use crate::session::{End, OutboxReader};
use crate::trust::fingerprint::Fingerprint;
use crate::wire::message::{ReceiverMessage, SenderMessage, SessionId};
use crate::wire::options::Options;
use crate::wire::preface::Belonging;
use crate::wire::seal::{Cipher, SECRET_BYTES, SessionSecret, Tag};

/// Messages of one session that were read and wait for its thread.
const MESSAGES_HEARD_MAX: usize = 64;

/// How long a session's share of the data connections stands before it hears that it may have more:
/// connections are not to come and go with every small transfer. That it may have fewer it hears at once.
const SHARE_GROWS_AFTER: Duration = Duration::from_secs(1);

/// A session and its data connections.
pub(super) struct Session {
    pub receiving: Arc<Receiving>,
    id: SessionId,
    /// Data connections that the sender has asked for.
    wanted: u8,
    /// Where it says how many of them there may be. Held until the last thread has ended.
    pub slot: Arc<Slot>,
    /// Whether the place has gone on to another session, or is kept for it.
    handed_over: AtomicBool,
    cipher: Cipher,
    secret: SessionSecret,
    /// Whose it is: nobody else may take it over.
    pub peer: Fingerprint,
    /// Whether it is over when that key may not send any more.
    pub is_remembered: bool,
    data: Arc<DataConnections>,
    /// The control connection while it is there, and what it went through when it was.
    control: Mutex<(Option<Arc<dyn ConnectionHandle>>, Troubles)>,
    files: Mutex<Option<JoinHandle<()>>>,
    load: Load,
    gone: watch::Sender<bool>,
}

impl Session {
    pub fn new(
        receiving: Arc<Receiving>,
        id: SessionId,
        accepted: &mut AcceptedPeer,
        slot: Arc<Slot>,
    ) -> Session {
        let AcceptedPeer { connections, cipher, peer, is_remembered, ref mut secret, .. } = *accepted;
        let secret = std::mem::replace(secret, SessionSecret::new([0; SECRET_BYTES]));
        Session {
            receiving,
            id,
            wanted: connections,
            slot,
            handed_over: AtomicBool::new(false),
            cipher,
            secret,
            peer,
            is_remembered,
            data: Arc::default(),
            control: Mutex::new((accepted.handle.take(), Troubles::default())),
            files: Mutex::default(),
            load: Load::watch(),
            gone: watch::Sender::new(false),
        }
    }

    /// Takes in a data connection that proves that it belongs here.
    pub fn join(
        &self,
        arrival: Box<dyn Arrival>,
        belonging: Belonging,
        proof: &Tag,
        patience: Duration,
    ) -> Result<(), Refusal> {
        let keys = self.secret.data_keys(self.cipher, &self.id.0, belonging.connection)?;
        let (_, mut opener) = keys.for_receiver();
        opener.check_proof(&belonging.hello(), proof)?;
        let lane = arrival.into_lane(patience)?;
        self.data.start(&self.receiving, lane, belonging.connection, opener, self.wanted, &self.slot)
    }

    /// The place, for the session that goes on with this one; nothing the second time.
    pub fn hand_over_place(&self) -> Option<Arc<Slot>> {
        (!self.handed_over.swap(true, Ordering::Relaxed)).then(|| self.slot.clone())
    }

    /// Ends the session because its sender has come back, and waits until all that it held is free.
    pub async fn make_way(&self) {
        self.give_up();
        let mut gone = self.gone.subscribe();
        let _ = timeout(HANDSHAKE_TIMEOUT, gone.wait_for(|gone| *gone)).await;
    }

    /// Decides that it has ended, as its sender has come back.
    pub fn give_up(&self) {
        self.receiving.ending().decide(End::Lost("the sender lost the connection and came back".into()));
    }

    /// Whether nobody will hear how it ends: its sender is gone, also where not all that it said has been
    /// heard.
    pub async fn is_forsaken(&self) -> bool {
        let control = self.control.lock().0.clone();
        let answers = async {
            match control {
                Some(control) => control.answers().await,
                None => true,
            }
        };
        self.receiving.ending().get().is_some() || !answers.await
    }

    /// Carries the session from its welcome to its end.
    pub async fn run(
        &self,
        accepted: AcceptedPeer,
        outbox: &OutboxReader<ReceiverMessage>,
        patience: Duration,
    ) -> End {
        let AcceptedPeer { reader, mut writer, into, is_remembered, .. } = accepted;
        let Session { id: session, cipher, .. } = *self;
        let mut share = Share::new(&self.slot);
        let connections = share.told;
        self.receiving.set_share(connections);
        let destination = self.receiving.destination(session);
        let options = Options {
            destination,
            grants_delta: self.receiving.takes_deltas(),
            offers_bytes: Some(self.receiving.offers_max()),
            codecs: self.receiving.codecs(),
            remembers: self.receiving.remembers(),
            into: into.filter(|_| !self.receiving.writes_to_output()),
            to_output: self.receiving.writes_to_output(),
            forgets: !is_remembered,
            takes_holes: !self.receiving.writes_to_output(),
            ..Options::default()
        };
        writer.put(&ReceiverMessage::Welcome { session, connections, cipher, options });
        let (heard, to_hear) = mpsc::channel(MESSAGES_HEARD_MAX);
        self.start_files(to_hear);
        let hear = |message: SenderMessage| {
            let heard = heard.clone();
            async move {
                if let SenderMessage::Offer(offer) = &message {
                    self.receiving.admit(offer)?;
                }
                // Whoever does not read what it is told is not heard until it does.
                outbox.room().await;
                match message {
                    // The connection closes right behind it, and that must not look like a loss.
                    SenderMessage::Leave { text } => Err(End::PeerLeft(text)),
                    SenderMessage::HangUp { connection } => {
                        self.data.hang_up(&self.receiving, connection);
                        Ok(())
                    }
                    // A thread that no longer listens has decided the end.
                    message => heard.send(message).await.or(Ok(())),
                }
            }
        };
        let mut told = (0, 0);
        let beat = |due: bool| self.news(due, &mut share, &mut told);
        let (ending, reads_within) = (self.receiving.ending(), Some(patience));
        let talk = Talk { reader, writer, outbox, ending, patience, reads_within };
        let end = converse(talk, hear, beat, |end| self.last_words(end)).await;
        let mut control = self.control.lock();
        // It is closed when the last handle to it is.
        *control = (None, Session::troubles_of(&control));
        end
    }

    /// Has a thread of its own look at files and make them: that may take as long as the disk does.
    fn start_files(&self, mut to_hear: mpsc::Receiver<SenderMessage>) {
        let (receiving, cipher) = (self.receiving.clone(), self.cipher);
        let builder = threads::worker("files");
        let spawned = builder.spawn(move || {
            if receiving.measures()
                && let Ok(Speeds { hash, seal, cores }) = speeds(cipher, KERNEL_TIME_BRIEF)
            {
                receiving.say(ReceiverMessage::Speeds { hash, seal, cores });
            }
            let mut messages = Vec::with_capacity(MESSAGES_HEARD_MAX);
            while to_hear.blocking_recv_many(&mut messages, MESSAGES_HEARD_MAX) > 0 {
                receiving.wait_for_observer();
                for message in messages.drain(..) {
                    receiving.wait_for_room();
                    if let Err(end) = receiving.handle(message) {
                        return receiving.ending().decide(end);
                    }
                }
            }
        });
        match spawned {
            Ok(thread) => *self.files.lock() = Some(thread),
            Err(error) => self.receiving.ending().decide(End::Exhausted(error.to_string())),
        }
    }

    /// What there is to say by itself: the sender's share of the connections, and bytes that were written and
    /// kept, of which `told` were told. Something is said in any case where it is `due`.
    fn news(&self, due: bool, share: &mut Share, told: &mut (u64, u64)) -> Vec<ReceiverMessage> {
        let progress = self.receiving.progress();
        let now = (progress.written.load(Ordering::Relaxed), progress.kept.load(Ordering::Relaxed));
        let mut news = self.data.news();
        if let Some(connections) = share.news(self.slot.allowed(), Instant::now()) {
            self.receiving.set_share(connections);
            news.push(ReceiverMessage::Share { connections });
        }
        self.data.trim(share.told, Instant::now().into_std());
        if now != std::mem::replace(told, now) || (due && news.is_empty()) {
            news.push(ReceiverMessage::Progress { written: now.0, kept: now.1 });
        }
        news
    }

    fn troubles_of((control, before): &(Option<Arc<dyn ConnectionHandle>>, Troubles)) -> Troubles {
        control.as_ref().map_or(*before, |control| control.troubles())
    }

    /// What went wrong on all connections and was mended.
    pub fn troubles(&self) -> Troubles {
        Session::troubles_of(&self.control.lock()).plus(self.data.troubles())
    }

    pub fn data_connections(&self) -> usize {
        self.data.live()
    }

    fn last_words(&self, end: &End) -> Vec<ReceiverMessage> {
        match end {
            // Decided only when every outcome was queued, so this is the last thing the sender hears.
            End::Complete => {
                let spent = self.receiving.spent(self.load.so_far());
                vec![ReceiverMessage::Spent(spent), ReceiverMessage::Bye]
            }
            End::PeerLeft(_) => Vec::new(),
            End::Away => vec![ReceiverMessage::Away],
            End::Stopped => vec![stopped()],
            End::Revoked => vec![ReceiverMessage::Revoked],
            End::Misplaced(text) => vec![ReceiverMessage::Misplaced { text: text.clone() }],
            end => vec![ReceiverMessage::Leave { text: end.to_string().into() }],
        }
    }

    /// Sends every thread home and waits for them a little.
    pub async fn dismiss(&self) {
        self.receiving.close();
        let mut threads = self.data.close();
        threads.extend(self.files.lock().take());
        threads.extend(self.receiving.threads());
        // Threads that hang in a disk keep their place: whoever comes next would hang there as well.
        let _ = timeout(GOODBYE_TIMEOUT, background::join(threads, self.slot.clone())).await;
        self.gone.send_replace(true);
    }
}

impl Scene for Session {
    fn under_way(&self, most: usize) -> UnderWay {
        self.receiving.under_way(most, self.data.live())
    }
}

/// What whoever is here hears where the receiver ends for good.
pub(super) fn stopped() -> ReceiverMessage {
    ReceiverMessage::Leave { text: "the receiver was stopped".into() }
}

/// What the sender has heard about how many data connections it may have.
struct Share {
    told: u8,
    /// Since when it may have so many.
    since: Instant,
}

impl Share {
    fn new(slot: &Slot) -> Share {
        Share { told: slot.allowed(), since: Instant::now() }
    }

    /// What to tell now: at once that it must give some back, and that it may have more only if nothing has
    /// changed for a while.
    fn news(&mut self, allowed: u8, now: Instant) -> Option<u8> {
        let due = now.saturating_duration_since(self.since) >= SHARE_GROWS_AFTER;
        let news = allowed < self.told || (allowed > self.told && due);
        news.then(|| {
            *self = Share { told: allowed, since: now };
            allowed
        })
    }
}
