//! UDP sockets, and the threads that carry what goes over them.
//!
//! Endpoints and connections are driven beside the program's own runtime: what encrypts every packet must not
//! wait for whoever speaks on a control connection, and the other way round.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, UdpPoller,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::runtime::{Builder, Handle};

use super::profile::PAYLOAD_BYTES_MAX;
use crate::os::cpu::cores;
use crate::os::threads;

/// Bytes of packets that a socket is asked to hold in each direction: what comes in 30 ms at 1 Gbit/s. The
/// kernel grants no more than `net.core.rmem_max` and `wmem_max`.
pub const UDP_BUFFER_BYTES: usize = 4 << 20;

/// Threads that QUIC runs on at most, beside the workers.
const THREADS_MAX: usize = 4;

/// The threads that QUIC runs on. The first has the sockets and the first connection: what a socket hands to a
/// connection on another thread wakes that for each batch of packets, which took a fifth of the CPU time.
#[derive(Debug)]
pub(super) struct Threads {
    first: Handle,
    /// Those of further connections, each started when one comes.
    others: Vec<OnceLock<Handle>>,
    next: AtomicUsize,
}

impl Threads {
    /// Those of this program, which are started for whoever asks first and stay.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn get() -> io::Result<Arc<Threads>> {
        static THREADS: OnceLock<Arc<Threads>> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock();
        if let Some(threads) = THREADS.get() {
            return Ok(threads.clone());
        }
        let others = (1..cores().clamp(2, THREADS_MAX)).map(|_| OnceLock::new()).collect();
        let threads = Threads { first: start()?, others, next: AtomicUsize::new(0) };
        Ok(THREADS.get_or_init(|| Arc::new(threads)).clone())
    }

    /// That of the next connection; each in its turn. Where the system gives no further thread, the first.
    fn of_next(&self) -> &Handle {
        let Threads { first, others, next } = self;
        let at = next.fetch_add(1, Ordering::Relaxed) % (1 + others.len());
        let other = at.checked_sub(1).and_then(|at| others.get(at));
        other.map_or(first, |other| other.get_or_init(|| start().unwrap_or_else(|_| first.clone())))
    }

    /// Does this beside everything else.
    pub fn carry(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.first.spawn(work);
    }
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let carry = move || runtime.block_on(std::future::pending::<()>());
    threads::named("quic").spawn(carry)?;
    Ok(handle)
}

/// The threads as one socket sees them: it is driven by the first of them.
#[derive(Debug)]
struct OfSocket {
    threads: Arc<Threads>,
    has_driver: AtomicBool,
}

impl Runtime for OfSocket {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    /// What drives the socket is the first that is spawned.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let has_driver = self.has_driver.swap(true, Ordering::Relaxed);
        if has_driver { self.threads.of_next() } else { &self.threads.first }.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _within = self.threads.first.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }
}

/// A UDP socket and what is known of it.
pub(super) struct Udp {
    pub endpoint: Endpoint,
    pub socket: Arc<Listening>,
    pub granted: Granted,
}

/// Bytes of packets that the kernel lets wait in a socket in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub receive: usize,
    pub send: usize,
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Granted { receive, send } = *self;
        write!(f, "UDP buffers: {receive} bytes to receive, {send} to send")?;
        let few = [("rmem_max", receive), ("wmem_max", send)]
            .into_iter()
            .filter(|(_, bytes)| *bytes < UDP_BUFFER_BYTES);
        let names: Vec<_> = few.map(|(name, _)| format!("net.core.{name}={UDP_BUFFER_BYTES}")).collect();
        if names.is_empty() {
            return Ok(());
        }
        write!(
            f,
            "; `sysctl -w {}` allows more, and then fewer packets are lost at this machine",
            names.join(" ")
        )
    }
}

/// Opens a UDP socket at `addr`. An unspecified IPv6 address takes IPv4 as well.
///
/// # Errors
/// Those of the system.
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Asks for room for packets, and says what there is. Linux counts twice what it grants, for what it needs
/// itself.
fn make_room(socket: &UdpSocket) -> io::Result<Granted> {
    let socket = SockRef::from(socket);
    // What is more than the limit is cut to it, and no error.
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    let counted = if cfg!(target_os = "linux") { 2 } else { 1 };
    let (receive, send) = (socket.recv_buffer_size()? / counted, socket.send_buffer_size()? / counted);
    Ok(Granted { receive, send })
}

/// What UDP sockets are granted here.
///
/// # Errors
/// Those of the system.
pub fn granted() -> io::Result<Granted> {
    make_room(&bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?)
}

impl Udp {
    /// Speaks QUIC on `socket`; as a receiver where there is a `server` to answer with.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(socket: UdpSocket, server: Option<ServerConfig>) -> io::Result<Udp> {
        let threads = OfSocket { threads: Threads::get()?, has_driver: AtomicBool::new(false) };
        let granted = make_room(&socket)?;
        socket.set_nonblocking(true)?;
        let socket = Listening { socket: threads.wrap_udp_socket(socket)?, heard: AtomicBool::new(false) };
        let socket = Arc::new(socket);
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(PAYLOAD_BYTES_MAX).map_err(io::Error::other)?;
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket.clone(), Arc::new(threads))?;
        Ok(Udp { endpoint, socket, granted })
    }
}

/// A socket that knows whether anything came.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Arc<dyn AsyncUdpSocket>,
    heard: AtomicBool,
}

impl Listening {
    pub fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl AsyncUdpSocket for Listening {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(context, buffers, meta);
        if matches!(received, Poll::Ready(Ok(1..))) {
            self.heard.store(true, Ordering::Relaxed);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
