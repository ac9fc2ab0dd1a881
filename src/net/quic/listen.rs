//! Letting senders come over UDP.
//!
//! An address is validated before anything is kept of it: whoever speaks first gets a Retry packet, which
//! costs no memory, and only who answers from where it says that it is gets further. From there on it is a
//! stranger like any other (`server/pending.rs`).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, Incoming, RecvStream, ServerConfig, ValidationTokenConfig, VarInt,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

use super::connection::{Both, QuicLane, Window, control};
use super::endpoint::{Granted, Threads, Udp};
use super::profile;
use super::stats::QuicStats;
use crate::limits::{CONNECTIONS_MAX, STRANGERS_MAX};
use crate::session::carrier::{AnyLane, Arrival, Arrivals, Doing};
use crate::session::link::Control;
use crate::trust::tls::TlsError;

/// Arrivals that wait until the receiver looks; more wait in the sockets.
const ARRIVALS_MAX: usize = 64;

/// How often it is looked at how a connection is doing.
const LOOK: Duration = Duration::from_millis(500);

/// Looks after which a further connection of a session on which nothing is carried is ended: 10 s.
const IDLE_LOOKS: u32 = 20;

/// A UDP port at which senders arrive.
pub struct QuicListener {
    endpoint: Endpoint,
    arrivals: Receiver<QuicArrival>,
    pub granted: Granted,
}

/// What all that arrive have in common.
struct Common {
    threads: Arc<Threads>,
    to: Sender<QuicArrival>,
    buffer: usize,
    stats: Arc<QuicStats>,
    /// Connections on which data connections have come.
    sessions: AtomicUsize,
}

impl QuicListener {
    /// Answers at `socket`. `patience`: how long a silent sender is waited for.
    ///
    /// # Errors
    /// Those of the system, or TLS cannot be had for QUIC.
    pub fn new(
        socket: UdpSocket,
        tls: Arc<rustls::ServerConfig>,
        patience: Duration,
        stats: Arc<QuicStats>,
    ) -> io::Result<QuicListener> {
        let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        let mut transport = profile::transport(patience);
        // It sends messages alone. To find out whether larger packets pass would take more than those.
        transport.mtu_discovery_config(None);
        // Whoever comes opens one stream: a control connection goes both ways, a data connection of a session
        // that is here one way.
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .max_concurrent_uni_streams(VarInt::from_u32(1));
        let mut tokens = ValidationTokenConfig::default();
        // Each comes with its address to be validated: a token that is kept would be one more thing to steal.
        tokens.sent(0);
        config
            .transport_config(Arc::new(transport))
            .validation_token_config(tokens)
            .max_incoming(STRANGERS_MAX)
            .migration(true);
        let threads = Threads::get()?;
        let Udp { endpoint, granted, .. } = Udp::new(socket, Some(config))?;
        let (to, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (threads_of, buffer) = (threads.clone(), granted.receive);
        let common = Arc::new(Common { threads, to, buffer, stats, sessions: AtomicUsize::new(0) });
        threads_of.carry(accept(endpoint.clone(), common));
        Ok(QuicListener { endpoint, arrivals, granted })
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

impl Arrivals for QuicListener {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Arrival>>> {
        match ready!(self.arrivals.poll_recv(context)) {
            Some(arrival) => Poll::Ready(Ok(Box::new(arrival))),
            None => Poll::Pending,
        }
    }
}

/// Sends everybody back once, to see that it is where it says, and lets in who comes again.
async fn accept(endpoint: Endpoint, common: Arc<Common>) {
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            QuicStats::add(&common.stats.retries);
            if let Err(error) = incoming.retry() {
                tracing::debug!("a sender cannot be sent back: {error}");
            }
            continue;
        }
        let addr = incoming.remote_address();
        let coming = Box::pin(come(incoming, common.clone()));
        let arrival =
            QuicArrival { stream: Stream::Coming(Mutex::new(coming)), addr, common: common.clone() };
        if common.to.send(arrival).await.is_err() {
            return;
        }
    }
}

/// Completes the handshake, and waits for the first stream.
async fn come(incoming: Incoming, common: Arc<Common>) -> io::Result<Stream> {
    let began = Instant::now();
    let connection = incoming.await;
    common.stats.shook_hands(began, connection.is_ok());
    let connection = connection.map_err(no_handshake)?;
    tokio::select! {
        streams = connection.accept_bi() => {
            Ok(Stream::Control(Both::new(streams?, connection.clone(), common.threads.clone())))
        }
        stream = connection.accept_uni() => Ok(Stream::Lane { stream: stream?, connection: connection.clone(), counted: Arc::default(), is_first: true }),
    }
}

fn no_handshake(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::TransportError(error) => {
            let error = rustls::Error::General(error.to_string());
            io::Error::other(TlsError::Handshake(error))
        }
        error => error.into(),
    }
}

/// Hands on each stream that comes, for as long as the connection is there, and watches how it is doing.
/// `further`: it is a further one of a session and carries data connections alone, which hold this.
async fn watch(
    connection: Connection,
    addr: SocketAddr,
    window: Window,
    further: Option<Arc<()>>,
    common: Arc<Common>,
) {
    let counted = further.clone().unwrap_or_default();
    let (has_lanes, began) = (OnceLock::new(), Instant::now());
    common.stats.begin(&connection);
    let widen = || {
        let sessions = common.sessions.load(Ordering::Relaxed);
        let bytes = profile::window(common.buffer, sessions, connection.rtt());
        window.store(bytes, Ordering::Relaxed);
        connection.set_receive_window(bytes.into());
    };
    if further.is_some() {
        has_lanes.get_or_init(|| common.sessions.fetch_add(1, Ordering::Relaxed));
        widen();
    }
    let streams = async {
        while let Ok(stream) = connection.accept_uni().await {
            has_lanes.get_or_init(|| {
                common.stats.first_stream(began);
                let others = common.sessions.fetch_add(1, Ordering::Relaxed);
                widen();
                others
            });
            QuicStats::add(&common.stats.streams);
            let stream = Stream::Lane {
                stream,
                connection: connection.clone(),
                counted: counted.clone(),
                is_first: false,
            };
            if common.to.send(QuicArrival { stream, addr, common: common.clone() }).await.is_err() {
                return;
            }
        }
    };
    let look = async {
        let (mut known, mut idle) = (connection.remote_address(), 0);
        loop {
            sleep(LOOK).await;
            // Two of them are here.
            idle = if Arc::strong_count(&counted) > 2 { 0 } else { idle + 1 };
            if further.is_some() && idle >= IDLE_LOOKS {
                return;
            }
            let now = connection.remote_address();
            if now != known && further.is_none() {
                tracing::warn!("the sender at {known} has moved to {now}; its transfer goes on");
                QuicStats::add(&common.stats.address_changes);
                known = now;
            }
            if has_lanes.get().is_some() {
                widen();
            }
        }
    };
    tokio::select! {
        () = streams => {}
        () = look => {}
    }
    common.stats.end(&connection);
    if has_lanes.get().is_some() {
        common.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody who came, or one more stream of somebody who is here.
struct QuicArrival {
    stream: Stream,
    /// The address that was validated. It stays when the sender moves.
    addr: SocketAddr,
    common: Arc<Common>,
}

enum Stream {
    Coming(Mutex<Doing<'static, io::Result<Stream>>>),
    Control(Both),
    Lane {
        stream: RecvStream,
        connection: Connection,
        /// Of each data connection of the connection, for whoever counts them.
        counted: Arc<()>,
        /// The connection has no other one, and nobody watches it yet.
        is_first: bool,
    },
}

impl QuicArrival {
    /// The stream, once its handshake is complete.
    fn poll_stream(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Stream>> {
        if let Stream::Coming(coming) = &mut self.stream {
            self.stream = ready!(coming.get_mut().as_mut().poll(context))?;
        }
        Poll::Ready(Ok(&mut self.stream))
    }

    fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Both>>> {
        match ready!(self.poll_stream(context))? {
            Stream::Control(both) => Poll::Ready(Ok(Pin::new(both))),
            Stream::Coming(_) | Stream::Lane { .. } => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }
}

impl AsyncRead for QuicArrival {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_stream(context))? {
            Stream::Lane { stream, .. } => AsyncRead::poll_read(Pin::new(stream), context, buffer),
            Stream::Control(both) => Pin::new(both).poll_read(context, buffer),
            Stream::Coming(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }
}

impl AsyncWrite for QuicArrival {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_control(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(context))?.poll_shutdown(context)
    }
}

impl Arrival for QuicArrival {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing gathers here, and a silent peer is given up by the connection.
    fn speaks(&self, _patience: Duration) -> io::Result<()> {
        Ok(())
    }

    fn into_control(self: Box<Self>) -> Doing<'static, io::Result<Control>> {
        let QuicArrival { stream, addr, common } = *self;
        Box::pin(async move {
            let Stream::Control(both) = stream else { return Err(wrong_stream()) };
            let connection = both.connection.clone();
            let window = Arc::new(AtomicU32::new(profile::STRANGERS_WINDOW_BYTES));
            let control = control(both, addr, window.clone())?;
            connection.set_max_concurrent_uni_streams(CONNECTIONS_MAX.into());
            common.threads.clone().carry(watch(connection, addr, window, None, common));
            Ok(control)
        })
    }

    fn into_lane(self: Box<Self>, _patience: Duration) -> io::Result<Box<dyn AnyLane>> {
        let QuicArrival { stream, addr, common } = *self;
        let Stream::Lane { stream, connection, counted, is_first } = stream else {
            return Err(wrong_stream());
        };
        if is_first {
            QuicStats::add(&common.stats.streams);
            connection.set_max_concurrent_uni_streams(CONNECTIONS_MAX.into());
            common.threads.carry(watch(
                connection.clone(),
                addr,
                Window::default(),
                Some(counted.clone()),
                common.clone(),
            ));
        }
        Ok(Box::new(QuicLane::new(stream, connection, counted)))
    }
}

/// A preface of one kind on a stream of the other.
fn wrong_stream() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it asked for one kind of connection on a stream for the other",
    )
}
