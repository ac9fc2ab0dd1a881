//! Reaching a receiver over UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{Both, QuicLane, Window, control, own_address};
use super::endpoint::{self, Threads, Udp};
use super::profile;
use crate::limits::{
    CONNECT_STAGGER, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, PROGRESS_INTERVAL, UDP_ANSWER_TIMEOUT,
};
use crate::net::address::Peer;
use crate::net::tcp::dial::{self, ConnectError};
use crate::session::carrier::{AnyLane, Doing, Reached, Way};
use crate::wire::preface::{PREFACE_BYTES, Role};

/// Connects to `peer` over UDP, at the first of its addresses that answers.
///
/// # Errors
/// [`ConnectError`], with [`ConnectError::NoUdp`] where nothing answers.
pub async fn reach(
    peer: &Peer,
    tls: &Arc<rustls::ClientConfig>,
    patience: Duration,
) -> Result<Reached, ConnectError> {
    let tls = QuicClientConfig::try_from(tls.clone()).map_err(io::Error::other);
    let addrs = dial::resolve(peer).await?;
    let here = |source| ConnectError::Udp { peer: peer.clone(), source };
    let mut config = ClientConfig::new(Arc::new(tls.map_err(here)?));
    config.transport_config(Arc::new(profile::transport(patience)));
    let (mut trying, mut failed) = (JoinSet::new(), None);
    let mut rest = addrs.iter().copied();
    loop {
        let next = rest.next();
        if let Some(addr) = next {
            trying.spawn(connect(addr, config.clone()));
        }
        let joined = match next {
            Some(_) => timeout(CONNECT_STAGGER, trying.join_next()).await.unwrap_or(None),
            None => trying.join_next().await,
        };
        match joined {
            Some(Ok(Ok(connected))) => return greet(connected).await,
            // What answers says more than what does not.
            Some(Ok(Err(error))) => {
                failed = match failed {
                    None | Some(Failed::Silent { over_tcp: false }) => Some(error),
                    Some(before) => Some(before),
                };
            }
            Some(Err(error)) => tracing::debug!("a connection attempt ended: {error}"),
            None if next.is_none() => break,
            None => {}
        }
    }
    Err(match failed {
        Some(Failed::Told(error)) => error,
        Some(Failed::Here(source)) => here(source),
        Some(Failed::Silent { over_tcp }) => ConnectError::NoUdp { peer: peer.clone(), over_tcp },
        None => ConnectError::NoUdp { peer: peer.clone(), over_tcp: false },
    })
}

/// Why nothing came of an address.
enum Failed {
    Silent { over_tcp: bool },
    Here(io::Error),
    Told(ConnectError),
}

/// A connection whose handshake is complete, and what another one like it is made of.
struct Connected {
    connection: Connection,
    endpoint: Endpoint,
    config: ClientConfig,
    addr: SocketAddr,
}

async fn connect(addr: SocketAddr, config: ClientConfig) -> Result<Connected, Failed> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Udp { endpoint, socket, granted } =
        endpoint::bind(any).and_then(|socket| Udp::new(socket, None)).map_err(Failed::Here)?;
    tracing::info!("{granted}");
    // No name is sent, and nobody compares it.
    let connecting = endpoint
        .connect_with(config.clone(), addr, UNUSED_NAME)
        .map_err(|error| Failed::Here(io::Error::other(error)))?;
    let silent = async {
        sleep(UDP_ANSWER_TIMEOUT).await;
        // A receiver that has too much to do is slow over TCP as well.
        let over_tcp = !socket.has_heard() && dial::answers(addr).await;
        if socket.has_heard() {
            std::future::pending::<()>().await;
        }
        over_tcp
    };
    let connected = async { timeout(HANDSHAKE_TIMEOUT, connecting).await };
    let connected = tokio::select! {
        connected = connected => connected,
        over_tcp = silent => return Err(Failed::Silent { over_tcp }),
    };
    match connected {
        Ok(Ok(connection)) => Ok(Connected { connection, endpoint, config, addr }),
        Ok(Err(ConnectionError::TransportError(error))) => {
            Err(Failed::Told(ConnectError::Tls { addr, reason: error.to_string() }))
        }
        Ok(Err(_)) => Err(Failed::Told(ConnectError::HungUpInTls { addr })),
        Err(_) => Err(Failed::Told(ConnectError::Mute { addr })),
    }
}

const UNUSED_NAME: &str = "0.0.0.0";

/// Opens the control connection and exchanges prefaces.
async fn greet(connected: Connected) -> Result<Reached, ConnectError> {
    let Connected { connection, endpoint, config, addr } = connected;
    let hung_up = |source: io::Error| ConnectError::HungUp { addr, source };
    let threads = Threads::get().map_err(hung_up)?;
    let streams = connection.open_bi().await.map_err(|error| hung_up(error.into()))?;
    let mut both = Both::new(streams, connection.clone(), threads.clone());
    let mut answer = [0; PREFACE_BYTES];
    let exchange = async {
        both.write_all(&Role::Control.encode()).await?;
        both.read_exact(&mut answer).await
    };
    match timeout(HANDSHAKE_TIMEOUT, exchange).await {
        Err(_) => return Err(ConnectError::Mute { addr }),
        Ok(done) => done.map_err(hung_up)?,
    };
    dial::welcomed(addr, answer)?;
    let round_trip = connection.rtt();
    let control = control(both, addr, Window::default())
        .map_err(|error| ConnectError::Tls { addr, reason: error.to_string() })?;
    threads.carry(fit_window(connection.clone()));
    threads.carry(watch_address(connection.clone()));
    let way = QuicWay { endpoint, config, addr, first: Trunk::new(connection), second: Mutex::default() };
    Ok(Reached { control, way: Arc::new(way), round_trip })
}

/// Has no more wait in this program than what is on its way asks for.
async fn fit_window(connection: Connection) {
    while connection.close_reason().is_none() {
        connection.set_send_window(profile::send_window(connection.stats().path.cwnd));
        let _ = timeout(PROGRESS_INTERVAL, connection.closed()).await;
    }
}

/// Tells when this machine goes by another address.
async fn watch_address(connection: Connection) {
    let peer = connection.remote_address();
    let mut known = own_address(peer);
    let looking = async {
        loop {
            sleep(PROGRESS_INTERVAL).await;
            let now = own_address(peer);
            if let (Some(before), Some(now)) = (known, now)
                && before != now
            {
                tracing::warn!(
                    "this machine's address has changed from {before} to {now}; the transfer goes on"
                );
            }
            known = now.or(known);
        }
    };
    tokio::select! {
        _ = connection.closed() => {}
        () = looking => {}
    }
}

/// Opens streams on the connection of the control connection, and beyond
/// [`LANES_OF_ONE`](profile::LANES_OF_ONE) on a second one from the same socket: it has a thread and a
/// congestion window of its own.
struct QuicWay {
    endpoint: Endpoint,
    config: ClientConfig,
    addr: SocketAddr,
    first: Trunk,
    second: Mutex<Option<Trunk>>,
}

/// A connection, and the data connections on it.
struct Trunk {
    connection: Connection,
    counted: Arc<()>,
}

impl Trunk {
    fn new(connection: Connection) -> Trunk {
        Trunk { connection, counted: Arc::default() }
    }

    fn is_full(&self) -> bool {
        Arc::strong_count(&self.counted) > profile::LANES_OF_ONE
    }

    async fn open(&self, hello: &[u8]) -> io::Result<Box<dyn AnyLane>> {
        let mut stream = self.connection.open_uni().await?;
        stream.write_all(hello).await?;
        Ok(Box::new(QuicLane::new(stream, self.connection.clone(), self.counted.clone())))
    }
}

impl QuicWay {
    /// A data connection on the second connection, which is made for the first of them.
    async fn open_beside(&self, hello: &[u8]) -> io::Result<Box<dyn AnyLane>> {
        let mut second = self.second.lock().await;
        if let Some(trunk) = second.as_ref().filter(|trunk| trunk.connection.close_reason().is_none()) {
            return trunk.open(hello).await;
        }
        let connecting = self.endpoint.connect_with(self.config.clone(), self.addr, UNUSED_NAME);
        let connection = connecting.map_err(io::Error::other)?.await?;
        Threads::get()?.carry(fit_window(connection.clone()));
        second.insert(Trunk::new(connection)).open(hello).await
    }
}

impl Way for QuicWay {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn open(
        &self,
        hello: Vec<u8>,
        _segment_bytes: Option<u32>,
        _patience: Duration,
    ) -> Doing<'_, io::Result<Box<dyn AnyLane>>> {
        Box::pin(async move {
            let opening = async {
                if self.first.is_full() {
                    self.open_beside(&hello).await
                } else {
                    self.first.open(&hello).await
                }
            };
            timeout(CONNECT_TIMEOUT, opening).await?
        })
    }
}
