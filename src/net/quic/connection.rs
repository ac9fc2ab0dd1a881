//! The two kinds of connection, each on a stream: the control connection goes both ways, a data connection
//! one way.
//!
//! Workers block as they do over TCP: whoever has to wait parks its thread, and is woken by the thread that
//! drives the connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionStats, RecvStream, SendStream, StoppedError, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::endpoint::Threads;
use crate::limits::GOODBYE_TIMEOUT;
use crate::net::tcp::tune;
use crate::session::link::{ConnectionHandle, Control, FarEnd, Lane, Path, Troubles};
use crate::trust::tls::{self, TlsError};
use crate::wire::ALPN;
use crate::wire::seal::{SECRET_BYTES, SessionSecret};

/// There is nothing to say about an end: what had to be said was said in messages.
const NO_CODE: VarInt = VarInt::from_u32(0);

/// How long a sender may take to acknowledge anything before it is taken for gone: enough for packets that
/// are lost on the way, and for a machine that has too much to do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_ROUND_TRIPS: u32 = 8;
const ANSWER_LOOK: Duration = Duration::from_millis(5);

/// Wakes the thread of a lane, and has it end.
#[derive(Default)]
struct Signal {
    thread: OnceLock<Thread>,
    hung_up: AtomicBool,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Signal {
    fn hang_up(self: &Arc<Self>) {
        self.hung_up.store(true, Ordering::SeqCst);
        self.clone().wake();
    }

    fn has_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }
}

/// A data connection: its stream at either end. One thread uses it.
pub(super) struct QuicLane<S: Ending> {
    stream: S,
    connection: Connection,
    signal: Arc<Signal>,
    waker: Waker,
    /// Kept for whoever counts them.
    _counted: Arc<()>,
}

/// One end of a stream.
pub(super) trait Ending: Send + 'static {
    /// Ends it before it is complete. One that is only dropped ends as if all had been said.
    fn break_off(&mut self);
}

impl Ending for SendStream {
    fn break_off(&mut self) {
        let _ = self.reset(NO_CODE);
    }
}

impl Ending for RecvStream {
    fn break_off(&mut self) {
        let _ = self.stop(NO_CODE);
    }
}

impl<S: Ending> QuicLane<S> {
    pub fn new(stream: S, connection: Connection, counted: Arc<()>) -> QuicLane<S> {
        let signal = Arc::new(Signal::default());
        QuicLane { stream, connection, waker: Waker::from(signal.clone()), signal, _counted: counted }
    }

    /// Blocks this thread until `work` is done, or somebody hangs up.
    fn block<T>(
        &mut self,
        mut work: impl FnMut(&mut S, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        self.signal.thread.get_or_init(thread::current);
        loop {
            if self.signal.has_hung_up() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match work(&mut self.stream, &mut Context::from_waker(&self.waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<S: Ending> Drop for QuicLane<S> {
    fn drop(&mut self) {
        if self.signal.has_hung_up() {
            self.stream.break_off();
        }
    }
}

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

impl Lane for QuicLane<SendStream> {
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>> {
        let stopped: Option<Stopped> = Some(Box::pin(self.stream.stopped()));
        let (connection, signal) = (self.connection.clone(), self.signal.clone());
        Ok(Arc::new(LaneHandle { connection, signal, stopped: Mutex::new(stopped) }))
    }
}

impl Lane for QuicLane<RecvStream> {
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>> {
        let (connection, signal) = (self.connection.clone(), self.signal.clone());
        Ok(Arc::new(LaneHandle { connection, signal, stopped: Mutex::new(None) }))
    }
}

impl Write for QuicLane<SendStream> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block(|stream, context| Pin::new(stream).poll_write(context, bytes).map_err(io::Error::from))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.block(|stream, context| {
            let mut written = 0;
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                match Pin::new(&mut *stream).poll_write(context, piece) {
                    Poll::Ready(Ok(n)) => {
                        written += n;
                        if n < piece.len() {
                            break;
                        }
                    }
                    Poll::Ready(Err(error)) if written == 0 => return Poll::Ready(Err(error.into())),
                    Poll::Pending if written == 0 => return Poll::Pending,
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(written))
        })
    }

    /// What was written leaves by itself.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for QuicLane<RecvStream> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.block(|stream, context| {
            let mut buffer = ReadBuf::new(bytes);
            ready!(AsyncRead::poll_read(Pin::new(stream), context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}

/// A stream that is never used this way.
impl Read for QuicLane<SendStream> {
    fn read(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Write for QuicLane<RecvStream> {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A data connection beside its thread.
struct LaneHandle {
    connection: Connection,
    signal: Arc<Signal>,
    /// Says when the receiver has ended it; nothing at the receiver.
    stopped: Mutex<Option<Stopped>>,
}

impl ConnectionHandle for LaneHandle {
    fn hang_up(&self) {
        self.signal.hang_up();
    }

    fn is_dead(&self) -> bool {
        let mut stopped = self.stopped.lock();
        let ended = stopped
            .as_mut()
            .is_some_and(|stopped| stopped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        if ended {
            *stopped = None;
        }
        ended || self.connection.close_reason().is_some()
    }

    /// Whatever acknowledges anything shows that the way is open: streams do not block each other.
    fn delivered(&self) -> Option<u64> {
        Some(self.connection.stats().frame_rx.acks)
    }

    fn path(&self) -> Path {
        path(&self.connection)
    }
}

/// The control connection beside whoever talks on it. What happens to packets is counted here, as they belong
/// to no stream.
struct ControlHandle {
    connection: Connection,
    window: Window,
}

/// Bytes of a connection that may be unread here.
pub(super) type Window = Arc<AtomicU32>;

impl ConnectionHandle for ControlHandle {
    fn hang_up(&self) {
        self.connection.close(NO_CODE, b"");
    }

    fn is_dead(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    fn is_heard(&self) -> bool {
        !self.is_dead()
    }

    fn answers(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            let heard = || self.connection.stats().udp_rx.datagrams;
            let (before, began) = (heard(), Instant::now());
            // A byte more is of no use to anybody, but what says so has to be acknowledged.
            let window = self.window.load(Ordering::Relaxed);
            self.connection.set_receive_window(window.saturating_sub(1).into());
            self.connection.set_receive_window(window.into());
            let patience = ANSWER_TIMEOUT.max(ANSWER_ROUND_TRIPS * self.connection.rtt());
            while !self.is_dead() && began.elapsed() < patience {
                if heard() > before {
                    return true;
                }
                sleep(ANSWER_LOOK).await;
            }
            false
        })
    }

    fn troubles(&self) -> Troubles {
        Troubles { lost_packets: self.connection.stats().path.lost_packets, ..Troubles::default() }
    }

    fn path(&self) -> Path {
        path(&self.connection)
    }
}

fn path(connection: &Connection) -> Path {
    let ConnectionStats { path, .. } = connection.stats();
    let (peer, own) = (connection.remote_address(), own_address(connection.remote_address()));
    // How large packets may be is still being found out.
    Path {
        congestion: Some(super::profile::congestion(path.min_rtt).into()),
        ..tune::way(own, Some(peer.ip().to_canonical()))
    }
}

/// From where this machine would send to `peer`. Nothing is sent for that.
pub(super) fn own_address(peer: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}

/// A control connection on the stream that it came on.
///
/// # Errors
/// With a [`TlsError`] in it where the other side is not to be talked to, or this machine has no thread left.
pub(super) fn control(stream: Both, addr: SocketAddr, window: Window) -> io::Result<Control> {
    let connection = stream.connection.clone();
    let far_end = far_end(&connection, addr).map_err(io::Error::other)?;
    let handle = Arc::new(ControlHandle { connection, window });
    Ok(Control { stream: Box::new(stream), handle, far_end })
}

fn far_end(connection: &Connection, addr: SocketAddr) -> Result<FarEnd, TlsError> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    match data.and_then(|data| data.protocol) {
        Some(protocol) if protocol == ALPN => {}
        other => {
            let got = other.map_or("none".into(), |name| name.escape_ascii().to_string());
            return Err(TlsError::OtherProtocol { got });
        }
    }
    let certificates = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer>>().ok());
    let key = tls::peer_fingerprint(certificates.as_deref().map(Vec::as_slice))?;
    let export = |value: &mut [u8], label| {
        let failed = |_| TlsError::Exporter(rustls::Error::HandshakeNotComplete);
        connection.export_keying_material(value, label, b"").map_err(failed)
    };
    let (mut binding, mut secret) = (Zeroizing::new([0; 32]), Zeroizing::new([0; SECRET_BYTES]));
    export(&mut *binding, tls::PAIRING_EXPORTER_LABEL)?;
    export(&mut *secret, tls::SESSION_EXPORTER_LABEL)?;
    Ok(FarEnd { addr, key: key.0, binding, secret: SessionSecret::new(*secret) })
}

/// A stream in both directions, and the connection that lives as long as it does.
pub(super) struct Both {
    send: SendStream,
    receive: RecvStream,
    pub connection: Connection,
    threads: Arc<Threads>,
    /// Says when all that was written has reached the other machine.
    arrived: Option<Stopped>,
}

impl Both {
    pub fn new(
        (send, receive): (SendStream, RecvStream),
        connection: Connection,
        threads: Arc<Threads>,
    ) -> Both {
        // What is said matters more than what is moved, and is little.
        let _ = send.set_priority(1);
        Both { send, receive, connection, threads, arrived: None }
    }
}

impl AsyncRead for Both {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), context, buffer)
    }
}

impl AsyncWrite for Both {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Done when the other machine has all of it: what is not acknowledged would be lost with this program.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let arrived = this.arrived.get_or_insert_with(|| {
            let _ = this.send.finish();
            Box::pin(this.send.stopped())
        });
        ready!(arrived.as_mut().poll(context))?;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Both {
    /// Nothing of the connection is of any use after this one, but what was just said is still on its way.
    fn drop(&mut self) {
        let (connection, finished) = (self.connection.clone(), self.send.finish());
        let arrived = self.send.stopped();
        self.threads.carry(async move {
            if finished.is_ok() || connection.close_reason().is_none() {
                let _ = timeout(GOODBYE_TIMEOUT, arrived).await;
            }
            connection.close(NO_CODE, b"");
        });
    }
}
