//! A carrier within this process: the two ends of a session joined by memory, without sockets, TLS or processes. It shows that the
//! seam is one, and what a loss does is chosen by byte.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use lanx::session::carrier::{AnyLane, Arrival, Arrivals, Doing, Reached, Way};
use lanx::session::link::{ConnectionHandle, Control, FarEnd, Lane};
use lanx::trust::fingerprint::Fingerprint;
use lanx::wire::preface::{PREFACE_BYTES, Role, Status};
use lanx::wire::seal::SessionSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ADDR: &str = "192.0.2.1:1";

/// Bytes that wait in a lane at most.
const LANE_BYTES: usize = 1 << 18;

/// The sender's end: whoever has it can reach the receiver.
#[derive(Clone)]
pub struct Memory {
    arrivals: UnboundedSender<MemoryArrival>,
    sender: Fingerprint,
    receiver: Fingerprint,
    faults: Arc<Faults>,
}

/// What happens on the way.
#[derive(Default)]
pub struct Faults {
    /// Each lane is cut when it has carried so many bytes; never where it is 0.
    pub cut_after: AtomicU64,
    /// From so many bytes on all lanes together nothing comes through any more, and nobody hears of it; never where it is 0.
    pub silent_after: AtomicU64,
    /// Nobody answers at the other end.
    pub away: AtomicBool,
    pub lanes: AtomicU64,
    /// Bytes that all lanes have carried.
    pub carried: AtomicU64,
    cut: Notify,
}

impl Faults {
    pub fn is_silent(&self) -> bool {
        let after = self.silent_after.load(Ordering::Relaxed);
        after > 0 && self.carried.load(Ordering::Relaxed) >= after
    }

    /// The receiver goes, without a word, and can be reached no more.
    pub fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Cuts the control connections.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Carries what two ends say to each other.
    async fn carry(self: Arc<Self>, mut near: DuplexStream, mut far: DuplexStream) {
        let (mut there, mut back) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                () = self.cut.notified() => return,
                read = near.read(&mut there) => if !self.pass(&mut far, read.map(|len| &there[..len])).await {
                    return;
                },
                read = far.read(&mut back) => if !self.pass(&mut near, read.map(|len| &back[..len])).await {
                    return;
                },
            }
        }
    }

    /// Whether it goes on.
    async fn pass(&self, to: &mut DuplexStream, read: io::Result<&[u8]>) -> bool {
        match read {
            Ok(bytes) if !bytes.is_empty() => self.is_silent() || to.write_all(bytes).await.is_ok(),
            _ => false,
        }
    }
}

/// The receiver's end.
pub struct MemoryArrivals(UnboundedReceiver<MemoryArrival>);

/// A carrier between these two keys.
pub fn memory(sender: Fingerprint, receiver: Fingerprint) -> (Memory, MemoryArrivals, Arc<Faults>) {
    let (arrivals, coming) = unbounded_channel();
    let faults = Arc::<Faults>::default();
    (Memory { arrivals, sender, receiver, faults: faults.clone() }, MemoryArrivals(coming), faults)
}

impl Memory {
    /// A control connection, whatever becomes of it.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn reach(&self) -> io::Result<Reached> {
        if self.faults.away.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let ((mut near, left), (right, far)) = (duplex(1 << 16), duplex(1 << 16));
        tokio::spawn(self.faults.clone().carry(left, right));
        let arrival = MemoryArrival { stream: Stream::Control(far), from: self.clone() };
        self.arrivals.send(arrival).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        near.write_all(&Role::Control.encode()).await?;
        let mut answer = [0; PREFACE_BYTES];
        near.read_exact(&mut answer).await?;
        assert_eq!(Status::decode(answer), Ok(Status::Welcome));
        let control = control(near, self.receiver);
        Ok(Reached { control, way: Arc::new(self.clone()), round_trip: Duration::from_micros(1) })
    }
}

fn control(stream: DuplexStream, key: Fingerprint) -> Control {
    let far_end = FarEnd {
        addr: ADDR.parse().unwrap(),
        key: key.0,
        binding: [1; 32].into(),
        secret: SessionSecret::new([2; 32]),
    };
    Control { stream: Box::new(stream), handle: Arc::new(Pipe::default()), far_end }
}

impl Way for Memory {
    fn addr(&self) -> SocketAddr {
        ADDR.parse().unwrap()
    }

    fn open(
        &self,
        hello: Vec<u8>,
        _segment_bytes: Option<u32>,
        _patience: Duration,
    ) -> Doing<'_, io::Result<Box<dyn AnyLane>>> {
        let cut_after = self.faults.cut_after.load(Ordering::Relaxed);
        if self.faults.away.load(Ordering::Relaxed) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let pipe = Arc::new(Pipe { cut_after, faults: self.faults.clone(), ..Pipe::default() });
        self.faults.lanes.fetch_add(1, Ordering::Relaxed);
        let stream = Stream::Lane(io::Cursor::new(hello), pipe.clone());
        let sent = self.arrivals.send(MemoryArrival { stream, from: self.clone() });
        let lane: Box<dyn AnyLane> = Box::new(MemoryLane(pipe));
        Box::pin(async move { sent.map(|()| lane).map_err(|_| io::ErrorKind::ConnectionRefused.into()) })
    }
}

impl Arrivals for MemoryArrivals {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Arrival>>> {
        match self.0.poll_recv(context) {
            Poll::Ready(Some(arrival)) => Poll::Ready(Ok(Box::new(arrival))),
            _ => Poll::Pending,
        }
    }
}

struct MemoryArrival {
    stream: Stream,
    from: Memory,
}

enum Stream {
    Control(DuplexStream),
    Lane(io::Cursor<Vec<u8>>, Arc<Pipe>),
}

impl AsyncRead for MemoryArrival {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Control(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Lane(hello, _) => Pin::new(hello).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for MemoryArrival {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Control(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Lane(..) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Arrival for MemoryArrival {
    fn addr(&self) -> SocketAddr {
        ADDR.parse().unwrap()
    }

    fn speaks(&self, _patience: Duration) -> io::Result<()> {
        Ok(())
    }

    fn into_control(self: Box<Self>) -> Doing<'static, io::Result<Control>> {
        let key = self.from.sender;
        Box::pin(async move {
            match self.stream {
                Stream::Control(stream) => Ok(control(stream, key)),
                Stream::Lane(..) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }

    fn into_lane(self: Box<Self>, _patience: Duration) -> io::Result<Box<dyn AnyLane>> {
        match self.stream {
            Stream::Lane(_, pipe) => Ok(Box::new(MemoryLane(pipe))),
            Stream::Control(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Bytes on their way from one thread to another.
#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
    cut_after: u64,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    carried: u64,
    finished: bool,
    cut: bool,
}

impl Pipe {
    fn end(&self, end: impl FnOnce(&mut State)) {
        end(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl ConnectionHandle for Pipe {
    fn hang_up(&self) {
        self.end(|state| state.cut = true);
    }

    fn is_dead(&self) -> bool {
        self.state.lock().unwrap().cut
    }

    fn finish(&self) {
        self.end(|state| state.finished = true);
    }
}

/// One end of a lane.
struct MemoryLane(Arc<Pipe>);

impl Lane for MemoryLane {
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>> {
        Ok(self.0.clone())
    }
}

impl Read for MemoryLane {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock().unwrap();
        while (state.bytes.is_empty() && !state.finished || self.0.faults.is_silent()) && !state.cut {
            state = self.0.changed.wait(state).unwrap();
        }
        if state.cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let read = state.bytes.read(to)?;
        self.0.changed.notify_all();
        Ok(read)
    }
}

impl Write for MemoryLane {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock().unwrap();
        while state.bytes.len() >= LANE_BYTES && !state.cut {
            state = self.0.changed.wait(state).unwrap();
        }
        let cut_after = self.0.cut_after;
        state.cut |= cut_after > 0 && state.carried >= cut_after;
        self.0.changed.notify_all();
        if state.cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(LANE_BYTES - state.bytes.len());
        state.bytes.extend(&bytes[..taken]);
        state.carried += taken as u64;
        self.0.faults.carried.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
