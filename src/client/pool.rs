//! The sender's pool of data connections: each with a thread, each replaced when it dies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{self, Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::content::compress::Codecs;
use crate::limits::{
    CLIMB_MEASURE, CONNECTION_NUMBERS_MAX, CONNECTIONS_FIRST, CONNECTIONS_MAX, CONNECTIONS_MOST,
    GOODBYE_TIMEOUT, LOSSY_SEGMENTS_MIN, RETRY_PAUSE_FIRST, RETRY_PAUSE_MAX, STRAGGLER_PATIENCE,
};
use crate::net::Door;
use crate::os::background;
use crate::os::cpu::Load;
use crate::os::cpu::cores;
use crate::os::threads;
use crate::session::carrier::{AnyLane, Way};
use crate::session::link::ConnectionHandle;
use crate::session::sender::Sending;
use crate::session::sender::compress::{Compress, Counted, Steps};
use crate::session::sender::lanes::DataConnection;
use crate::session::sender::ramp_up::Climb;
use crate::session::{End, Progress};
use crate::wire::message::SessionId;
use crate::wire::preface::Belonging;
use crate::wire::seal::{Cipher, Sealer, SessionSecret};
use crate::wire::stage_times::Stage;

/// A way on which one segment of so many is sent again, of at least so many, is one that loses packets.
const LOSSY_SHARE: u64 = 500;

/// How often a sender looks at its data connections: whether one is stuck, or more of them would help.
const CLIMB_INTERVAL: Duration = Duration::from_millis(100);

/// From this on, in thousandths, CPUs have no rest and more threads cannot help.
const CLIMB_BUSY: u16 = 950;

/// What data connections take their keys from.
pub(super) struct Keys {
    pub secret: SessionSecret,
    pub session: SessionId,
    pub cipher: Cipher,
}

/// Opens data connection `number`, with segments of at most so many bytes, and proves that it belongs to its
/// session.
pub(super) async fn connect(
    way: &dyn Way,
    keys: &Keys,
    number: u32,
    segment_bytes: Option<u32>,
    patience: Duration,
) -> io::Result<(Box<dyn AnyLane>, Sealer)> {
    let Keys { secret, session, cipher } = keys;
    let (mut sealer, _) =
        secret.data_keys(*cipher, &session.0, number).map_err(io::Error::other)?.for_sender();
    let hello = Belonging { session: *session, connection: number }.hello();
    let proof = sealer.prove(&hello).map_err(io::Error::other)?;
    let lane = way.open([&hello[..], &proof].concat(), segment_bytes, patience).await?;
    Ok((lane, sealer))
}

/// How many data connections a transfer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    pub first: u8,
    /// As many as it may come to, if they help.
    pub most: u8,
}

impl Connections {
    /// Those of a transfer of so many chunks, where that is known: never more than there are. `asked` is the
    /// number that the user wants, otherwise `most` bounds it. Over QUIC they are streams, which cost no
    /// handshake.
    pub fn wanted(chunks: Option<u64>, asked: Option<u8>, most: Option<u8>, door: Door) -> Self {
        let (first, most_here) = match door {
            Door::Quic => (CONNECTIONS_MOST, CONNECTIONS_MAX),
            Door::Tcp => (CONNECTIONS_FIRST, CONNECTIONS_MOST),
        };
        let most = asked.or(most).unwrap_or(most_here);
        let needed = chunks.and_then(|chunks| u8::try_from(chunks).ok()).unwrap_or(most).clamp(1, most);
        Connections { first: asked.unwrap_or(first).min(needed), most: needed }
    }
}

/// The data connections of one session.
pub(super) struct Pool {
    sending: Arc<Sending>,
    way: Arc<dyn Way>,
    /// The control connection, to see how it is doing.
    control: Arc<dyn ConnectionHandle>,
    keys: Keys,
    wanted: Connections,
    patience: Duration,
    /// Bytes a second that the user allows.
    limit: Option<u64>,
    /// How chunks are to be compressed, and what the receiver takes.
    compress: Compress,
    codecs: Codecs,
    /// Given out once each, so that no key is ever used twice.
    next_number: Mutex<u32>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    peak: AtomicU8,
    /// What was lost on the way, and of how much; see [`Sending::losses`].
    losses: Mutex<(u64, u64)>,
}

impl Pool {
    pub fn new(
        sending: Arc<Sending>,
        (way, control): (Arc<dyn Way>, Arc<dyn ConnectionHandle>),
        keys: Keys,
        wanted: Connections,
        patience: Duration,
        limit: Option<u64>,
        (compress, codecs): (Compress, Codecs),
    ) -> Pool {
        let (next_number, threads) = (Mutex::default(), Mutex::default());
        let peak = AtomicU8::new(0);
        Pool {
            sending,
            way,
            control,
            keys,
            wanted,
            patience,
            limit,
            compress,
            codecs,
            next_number,
            threads,
            peak,
            losses: Mutex::default(),
        }
    }

    /// Opens as many connections as are wanted and allowed, replaces those that die and ends those that have
    /// become too many, for as long as it is polled. Where none can be had for as long as a silent peer would
    /// be waited for, the session is lost.
    pub async fn keep(&self) {
        let mut without_any = Instant::now();
        let mut pause = RETRY_PAUSE_FIRST;
        let mut climb = Climb::new(self.wanted.first, self.wanted.most, without_any.into_std());
        let mut steps =
            (self.compress == Compress::Auto).then(|| Steps::new(self.codecs, without_any.into_std()));
        let mut load = (Load::watch(), without_any, None);
        let mut gave_up = None;
        // Connections that were opened since the receiver had one.
        let mut in_vain = 0;
        loop {
            let now = Instant::now();
            if now.duration_since(load.1) >= CLIMB_MEASURE {
                load = (Load::watch(), now, load.0.so_far().map(|busy| busy.machine));
            }
            if !steps.as_ref().is_some_and(Steps::is_trying) {
                let busy = load.2.is_some_and(|machine| machine >= CLIMB_BUSY);
                climb.step(self.sending.sent.load(Ordering::Relaxed), busy, now.into_std());
            }
            if let Some(steps) = &mut steps {
                self.compress(steps, &climb, load.2.unwrap_or_default(), now.into_std());
            }
            let most = usize::from(climb.now().min(self.sending.connections.share()));
            self.sending.retire_surplus(most);
            let connections = self.sending.connections.count();
            if connections < most && (gave_up.is_none() || self.sending.has_work_beside(connections)) {
                let opened = match self.open().await {
                    // One that the receiver can do nothing with ends at once, and so would the next.
                    Ok(()) if in_vain >= most => Err(io::Error::other("the other side ends each one")),
                    opened => opened,
                };
                match opened {
                    Ok(()) => {
                        in_vain += 1;
                        continue;
                    }
                    Err(error) => {
                        self.failed(&error, without_any);
                        sleep(pause).await;
                        pause = RETRY_PAUSE_MAX.min(2 * pause);
                    }
                }
            } else {
                // One that ended is replaced at once, one that is stuck must be looked for.
                let _ = timeout(CLIMB_INTERVAL, self.sending.connections.changed.notified()).await;
            }
            self.sending.connections.give_up_stuck(Instant::now().into_std(), self.patience);
            self.avoid_large_packets();
            let losses = self.sending.connections.losses();
            if losses.1 > self.losses.lock().1 {
                *self.losses.lock() = losses;
            }
            if gave_up.is_none_or(|at: Instant| at.elapsed() >= STRAGGLER_PATIENCE)
                && self.sending.give_up_straggler(Instant::now().into_std())
            {
                gave_up = Some(Instant::now());
            }
            if self.sending.connections.has_taken() {
                (without_any, in_vain, pause) = (Instant::now(), 0, RETRY_PAUSE_FIRST);
            }
        }
    }

    /// Has connections begin anew with small packets where what is sent is lost, though the receiver is
    /// heard: that handshake and beats came through says nothing of larger packets.
    fn avoid_large_packets(&self) {
        if !self.control.is_heard() {
            return;
        }
        let control = self.control.swallowed();
        if control.is_none() && !self.sending.connections.give_up_swallowed() {
            return;
        }
        if self.way.keep_small() {
            self.sending.large_lost();
        }
        // Without a control connection there is no session; the next one begins with small packets.
        if let Some(sign) = control {
            self.sending.ending.decide(End::Lost(format!("large packets are lost on the way: {sign}")));
        }
    }

    /// Lets `steps` have its way with compression, as far as `climb` is at rest. `machine`: how busy it is,
    /// in thousandths.
    fn compress(&self, steps: &mut Steps, climb: &Climb, machine: u16, now: time::Instant) {
        if !climb.rests() {
            return steps.disturbed(now);
        }
        let spent = self.sending.stages.spent(None);
        let all = spent.nanos.iter().fold(0, |sum: u64, nanos| sum.saturating_add(*nanos));
        let counted = Counted {
            files: self.sending.sent.load(Ordering::Relaxed),
            wire: Progress::get(&self.sending.progress.wire),
            waited: spent.of(Stage::Send).saturating_add(spent.of(Stage::Limit)),
            busy: all.saturating_sub(spent.of(Stage::Wait)),
        };
        let idle = f64::from(1000_u16.saturating_sub(machine)) / 1000.0 * cores() as f64;
        steps.step(counted, idle, now);
        let method = steps.method();
        if method != self.sending.compress.method() {
            tracing::debug!("chunks are compressed with {method:?} from now on");
            self.sending.compress.set(method);
        }
    }

    fn failed(&self, error: &io::Error, without_any: Instant) {
        let addr = self.way.addr();
        if !self.sending.connections.has_taken() && without_any.elapsed() >= self.patience {
            let reason = format!(
                "no data connection to {addr} can be opened ({error}); the control connection works, so something \
                 between the machines may limit connections: try `-c 1`"
            );
            self.sending.ending.decide(End::Lost(reason));
        } else {
            tracing::info!("cannot open a data connection to {addr}: {error}");
        }
    }

    fn number(&self) -> io::Result<u32> {
        let mut next = self.next_number.lock();
        if *next >= CONNECTION_NUMBERS_MAX {
            return Err(io::Error::other("too many of them have died"));
        }
        *next += 1;
        Ok(*next - 1)
    }

    async fn open(&self) -> io::Result<()> {
        let number = self.number()?;
        let way = &*self.way;
        let (lane, sealer) = connect(way, &self.keys, number, way.segment_bytes(), self.patience).await?;
        let handle = lane.handle()?;
        if let Some(limit) = self.limit {
            handle.pace(limit);
        }
        let connection = Arc::new(DataConnection::new(number, Instant::now().into_std(), handle));
        let (sending, own) = (self.sending.clone(), connection.clone());
        let work = move || match lane.send_chunks(&sending, &own, sealer) {
            Ok(()) => own.finish(),
            // The network, or whoever sits on it, ended this connection; the receiver knows how far it came.
            Err(End::Lost(reason)) => {
                tracing::debug!("data connection {number}: {reason}");
                sending.connections.failed(&own);
            }
            Err(end) => sending.ending.decide(end),
        };
        let builder = threads::worker("send");
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(builder.spawn(work)?);
        self.sending.connections.add(connection);
        let connections = u8::try_from(self.sending.connections.count()).unwrap_or(u8::MAX);
        self.peak.fetch_max(connections, Ordering::Relaxed);
        Ok(())
    }

    /// Whether so many segments were lost that what decides how fast to send matters.
    pub fn is_lossy(&self) -> bool {
        let (again, all) = *self.losses.lock();
        all >= LOSSY_SEGMENTS_MIN && again >= all / LOSSY_SHARE
    }

    /// How many connections there were at most at once.
    pub fn peak(&self) -> u8 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Waits a little for the threads of a session that was closed. Where it did not come to its end, they
    /// may be stuck in a connection, which ends under them.
    pub async fn dismiss(&self, end: &End, others: Vec<JoinHandle<()>>) {
        if *end != End::Complete {
            self.sending.connections.hang_up();
        }
        let threads: Vec<_> = self.threads.lock().drain(..).chain(others).collect();
        let _ = timeout(GOODBYE_TIMEOUT, background::join(threads, ())).await;
    }
}
