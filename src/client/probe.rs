//! A session that only measures: how large packets may be, then probes over one connection, two, four and
//! eight, each for a moment.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::handshake::Link;
use super::pool::Connections;
use super::pool::{Keys, connect};
use super::transfer::last_words;
use crate::limits::{
    GOODBYE_TIMEOUT, LOST_TIMEOUTS_HANDSHAKE, PROBE_CONNECTIONS, PROGRESS_INTERVAL, SMALL_SEGMENT_BYTES,
};
use crate::net::control::{Talk, converse};
use crate::net::tcp::tune::is_within_machine;
use crate::os::background;
use crate::os::threads;
use crate::session::carrier::Way;
use crate::session::cpu_speed::Speeds;
use crate::session::link::{ConnectionHandle, Path};
use crate::session::probe::{Counted, Probing};
use crate::session::{End, outbox};
use crate::wire::message::SenderMessage;

/// For how long probes travel before they count: TCP has found its speed by then on any local network.
const PROBE_WARM_UP: Duration = Duration::from_millis(300);

/// For how long they count: a dozen of the receiver's words about its progress.
const PROBE_TIME: Duration = Duration::from_millis(1200);

/// How long the receiver's words are waited for where they come too seldom to say anything, as on a link of a
/// few Mbit/s.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a packet may take to be acknowledged before it counts as lost where `lanx doctor` tries its size:
/// TCP has sent it several times by then.
const PACKET_PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks.
const PACKET_LOOK: Duration = Duration::from_millis(20);

/// How fast so many connections were together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    pub connections: u8,
    pub counted: Counted,
}

/// Which packets get through to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// Bytes of the largest, with the headers of IP and TCP.
    pub largest: u32,
    /// Larger ones, that both ends could take, are lost; or only those that come back.
    pub loses: Option<Loses>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    There,
    Back,
}

/// What is found, as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Packets(Packets),
    Trial(Trial),
}

/// What is known of the way to a receiver.
#[derive(Debug)]
pub struct Measured {
    pub addr: SocketAddr,
    /// `None` within a machine, where nothing is lost.
    pub packets: Option<Packets>,
    pub trials: Vec<Trial>,
    /// What the receiver says of its own machine.
    pub there: Option<Speeds>,
    pub path: Path,
    /// The connections that the receiver allowed.
    pub share: u8,
}

/// Why nothing could be measured to the end.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error("measuring the way to {addr} ended early: {end}")]
    Ended { addr: SocketAddr, end: End },
}

/// How many data connections to ask for: as many as are measured at most.
pub fn probe_connections() -> Connections {
    let most = PROBE_CONNECTIONS.into_iter().max().unwrap_or(1);
    Connections { first: most, most }
}

/// Measures the way to a receiver that was asked to let measure. `told` hears of what is found at once.
/// `stop` ends it early.
///
/// # Errors
/// [`MeasureError`] where the session breaks, or is stopped.
pub async fn measure(
    link: Link,
    patience: Duration,
    told: impl Fn(&Found),
    stop: impl Future<Output = ()>,
) -> Result<Measured, MeasureError> {
    let Link { reader, writer, secret, session, cipher, wanted, share, way, addr, .. } = link;
    let (outbox, outbox_reader) = outbox();
    let probing = Arc::new(Probing::new(outbox, share));
    let mut lines = Lines {
        probing: probing.clone(),
        way,
        keys: Keys { secret, session, cipher },
        patience,
        open: Vec::new(),
    };
    let (mut packets, mut trials) = (None, Vec::new());
    let end = {
        let hear = |message| std::future::ready(probing.handle(message, Instant::now().into_std()));
        let beat = |due: bool| Vec::from_iter(due.then_some(SenderMessage::Beat));
        let (outbox, ending) = (&outbox_reader, &probing.ending);
        let talk = Talk { reader, writer, outbox, ending, patience, reads_within: None };
        let talk = converse(talk, hear, beat, last_words);
        let trying = async {
            let tried = async {
                packets = lines.try_packets().await?;
                packets.iter().for_each(|packets| told(&Found::Packets(*packets)));
                lines.try_all(wanted.most, &told, &mut trials).await
            };
            match tried.await {
                Ok(()) => probing.finish(),
                Err(error) => probing.ending.decide(End::Lost(format!("no data connection: {error}"))),
            }
            std::future::pending().await
        };
        tokio::pin!(talk);
        tokio::select! {
            end = &mut talk => end,
            () = trying => End::Stopped,
            () = stop => {
                probing.ending.decide(End::Stopped);
                talk.await
            }
        }
    };
    let path = lines.open.first().map(|line| line.handle.path()).unwrap_or_default();
    lines.close().await;
    match end {
        End::Complete => {
            Ok(Measured { addr, packets, trials, there: probing.speeds(), path, share: probing.share() })
        }
        end => Err(MeasureError::Ended { addr, end }),
    }
}

/// The data connections.
struct Lines {
    probing: Arc<Probing>,
    way: Arc<dyn Way>,
    keys: Keys,
    patience: Duration,
    open: Vec<Line>,
}

struct Line {
    handle: Arc<dyn ConnectionHandle>,
    thread: JoinHandle<()>,
}

impl Lines {
    async fn try_all(
        &mut self,
        wanted: u8,
        told: &impl Fn(&Found),
        trials: &mut Vec<Trial>,
    ) -> io::Result<()> {
        for connections in PROBE_CONNECTIONS {
            if connections > wanted.min(self.probing.share()) {
                break;
            }
            while self.open.len() < connections.into() {
                self.open(self.way.segment_bytes()).await?;
            }
            sleep(PROBE_WARM_UP).await;
            self.probing.count();
            let began = Instant::now();
            sleep(PROBE_TIME).await;
            let mut counted = self.probing.counted();
            while counted.is_none() && began.elapsed() < PROBE_TIME_MAX {
                sleep(PROGRESS_INTERVAL).await;
                counted = self.probing.counted();
            }
            // Others came, and it may not even have had so many to the end.
            if connections > self.probing.share() {
                break;
            }
            if let Some(counted) = counted {
                let trial = Trial { connections, counted };
                told(&Found::Trial(trial));
                trials.push(trial);
            }
        }
        Ok(())
    }

    /// Finds the largest packet that gets through. The one connection that is open afterwards, if there is
    /// one, is as good as any.
    async fn try_packets(&mut self) -> io::Result<Option<Packets>> {
        if is_within_machine(self.way.addr()) {
            return Ok(None);
        }
        let Some((usual, passes)) = self.try_packet(None).await? else { return Ok(None) };
        let is_known = self.way.segment_bytes().is_some();
        if passes && !is_known {
            return Ok(Some(Packets { largest: usual, loses: None }));
        }
        self.give_up(!passes).await;
        if passes {
            return Ok(Some(Packets { largest: usual, loses: Some(Loses::Back) }));
        }
        self.way.keep_small();
        // The largest of which it is known that they pass, and the smallest of which it is known that they do
        // not.
        let (mut largest, mut lost) = (SMALL_SEGMENT_BYTES + self.way.headers_bytes(), usual);
        if !self.passes(largest).await? {
            return Err(io::Error::other(format!("even packets of {largest} bytes are lost on the way")));
        }
        while lost.saturating_sub(largest) > 1 {
            let middle = largest.midpoint(lost);
            let end = if self.passes(middle).await? { &mut largest } else { &mut lost };
            *end = middle;
        }
        Ok(Some(Packets { largest, loses: Some(Loses::There) }))
    }

    /// Whether packets of so many bytes get through.
    async fn passes(&mut self, packet_bytes: u32) -> io::Result<bool> {
        let segment_bytes = packet_bytes.saturating_sub(self.way.headers_bytes());
        let passes = self.try_packet(Some(segment_bytes)).await?.is_some_and(|(_, passes)| passes);
        self.give_up(!passes).await;
        Ok(passes)
    }

    /// Opens a connection and sees whether full segments get through on it, and how large the packets are
    /// that it sends; `None` where the system does not say.
    async fn try_packet(&mut self, segment_bytes: Option<u32>) -> io::Result<Option<(u32, bool)>> {
        self.open(segment_bytes).await?;
        let Some(line) = self.open.last() else { return Ok(None) };
        let began = Instant::now();
        loop {
            let Some(traffic) = line.handle.traffic() else { return Ok(None) };
            // What opens a connection is shorter than one.
            let passes = traffic.acknowledged >= 2 * u64::from(traffic.segment_bytes);
            let lost = traffic.timeouts >= LOST_TIMEOUTS_HANDSHAKE || began.elapsed() >= PACKET_PATIENCE;
            if passes || lost {
                return Ok(Some((traffic.packet_bytes, passes)));
            }
            sleep(PACKET_LOOK).await;
        }
    }

    /// Ends the only connection, and waits until the receiver has room for another one. Where it hangs, so
    /// would its end.
    async fn give_up(&mut self, hangs: bool) {
        let Some(line) = self.open.pop() else { return };
        self.probing.give_up(hangs);
        line.handle.hang_up();
        let ended = async {
            while !self.probing.are_ended() {
                sleep(PACKET_LOOK).await;
            }
            background::join(vec![line.thread], ()).await
        };
        let _ = timeout(GOODBYE_TIMEOUT, ended).await;
    }

    async fn open(&mut self, segment_bytes: Option<u32>) -> io::Result<()> {
        let number = u32::try_from(self.open.len()).map_err(io::Error::other)? + self.probing.given_up();
        let (lane, sealer) = connect(&*self.way, &self.keys, number, segment_bytes, self.patience).await?;
        let handle = lane.handle()?;
        let probing = self.probing.clone();
        let work = move || {
            if let Err(end) = lane.send_probes(&probing, number, sealer) {
                // One whose connection was taken from it because there are too many, or all is over, has
                // nothing to tell.
                if !probing.is_over() && probing.allows(number) {
                    probing.ending.decide(end);
                }
            }
        };
        let builder = threads::worker("probe");
        self.open.push(Line { handle, thread: builder.spawn(work)? });
        Ok(())
    }

    /// Ends all of them, whatever is still on its way.
    async fn close(self) {
        self.probing.stop();
        let threads = self.open.into_iter().map(|line| {
            line.handle.hang_up();
            line.thread
        });
        let threads: Vec<_> = threads.collect();
        let _ = timeout(GOODBYE_TIMEOUT, background::join(threads, ())).await;
    }
}
