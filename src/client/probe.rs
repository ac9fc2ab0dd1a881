//! A session that only measures: probes over one connection, two, four and eight, each for a moment.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::handshake::Link;
use super::pool::{Keys, dial};
use super::transfer::{Connections, last_words};
use crate::limits::{
    GOODBYE_TIMEOUT, PROBE_CONNECTIONS, PROBE_TIME, PROBE_TIME_MAX, PROBE_WARM_UP, PROGRESS_INTERVAL,
    WORKER_STACK_BYTES,
};
use crate::net::control::{Talk, converse};
use crate::net::tcp::large_packets;
use crate::net::tcp::tune::Path;
use crate::os::background;
use crate::session::cpu_speed::Speeds;
use crate::session::probe::{Counted, Probing, send_probes};
use crate::session::{End, outbox};
use crate::wire::message::SenderMessage;

/// How fast so many connections were together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    pub connections: u8,
    pub counted: Counted,
}

/// What is known of the way to a receiver.
#[derive(Debug)]
pub struct Measured {
    pub addr: SocketAddr,
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

/// Measures the way to a receiver that was asked to let measure. `told` hears of each trial as it ends. `stop` ends it early.
///
/// # Errors
/// [`MeasureError`] where the session breaks, or is stopped.
pub async fn measure(
    link: Link,
    patience: Duration,
    told: impl Fn(&Trial),
    stop: impl Future<Output = ()>,
) -> Result<Measured, MeasureError> {
    let Link { reader, writer, secret, session, cipher, wanted, share, addr, .. } = link;
    let (outbox, outbox_reader) = outbox();
    let probing = Arc::new(Probing::new(outbox, share));
    let mut lines = Lines {
        probing: probing.clone(),
        addr,
        keys: Keys { secret, session, cipher },
        patience,
        open: Vec::new(),
    };
    let mut trials = Vec::new();
    let end = {
        let hear = |message| std::future::ready(probing.handle(message, Instant::now()));
        let beat = |due: bool| Vec::from_iter(due.then_some(SenderMessage::Beat));
        let (outbox, ending) = (&outbox_reader, &probing.ending);
        let talk = Talk { reader, writer, outbox, ending, patience, reads_within: None };
        let talk = converse(talk, hear, beat, last_words);
        let trying = async {
            match lines.try_all(wanted.most, &told, &mut trials).await {
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
    let path = lines.open.first().map(|line| Path::of(&line.stream)).unwrap_or_default();
    lines.close().await;
    match end {
        End::Complete => Ok(Measured { addr, trials, there: probing.speeds(), path, share: probing.share() }),
        end => Err(MeasureError::Ended { addr, end }),
    }
}

/// The data connections.
struct Lines {
    probing: Arc<Probing>,
    addr: SocketAddr,
    keys: Keys,
    patience: Duration,
    open: Vec<Line>,
}

struct Line {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

impl Lines {
    async fn try_all(
        &mut self,
        wanted: u8,
        told: &impl Fn(&Trial),
        trials: &mut Vec<Trial>,
    ) -> io::Result<()> {
        for connections in PROBE_CONNECTIONS {
            if connections > wanted.min(self.probing.share()) {
                break;
            }
            while self.open.len() < connections.into() {
                self.open().await?;
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
                told(&trial);
                trials.push(trial);
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> io::Result<()> {
        let number = u32::try_from(self.open.len()).map_err(io::Error::other)?;
        let segment_bytes = large_packets::segment_bytes(self.addr);
        let (stream, sealer) = dial(self.addr, &self.keys, number, segment_bytes, self.patience).await?;
        let handle = stream.try_clone()?;
        let probing = self.probing.clone();
        let work = move || {
            if let Err(end) = send_probes(&probing, number, stream, sealer) {
                // One whose connection was taken from it because there are too many, or all is over, has nothing to tell.
                if !probing.is_over() && number < probing.share().into() {
                    probing.ending.decide(end);
                }
            }
        };
        let builder = thread::Builder::new().name("probe".into()).stack_size(WORKER_STACK_BYTES);
        self.open.push(Line { stream: handle, thread: builder.spawn(work)? });
        Ok(())
    }

    /// Ends all of them, whatever is still on its way.
    async fn close(self) {
        self.probing.stop();
        let threads = self.open.into_iter().map(|line| {
            let _ = line.stream.shutdown(Shutdown::Both);
            line.thread
        });
        let threads: Vec<_> = threads.collect();
        let _ = timeout(GOODBYE_TIMEOUT, background::join(threads, ())).await;
    }
}
