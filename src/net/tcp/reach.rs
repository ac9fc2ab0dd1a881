//! Reaching a receiver: the connection, and TLS on it. Where that stands still, large packets may be lost on
//! the way, and it is tried beside it with small ones.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use super::connection::{TcpLane, control};
use super::dial::{self, ConnectError, Connected};
use super::large_packets;
use crate::limits::{CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, SMALL_SEGMENT_BYTES};
use crate::net::address::Peer;
use crate::session::carrier::{AnyLane, Doing, Reached, Way};
use crate::trust::tls;

/// Connects to `peer` and finishes TLS. `large_lost` hears that this took small packets.
pub async fn reach(
    peer: &Peer,
    tls: &Arc<ClientConfig>,
    patience: Duration,
    large_lost: &dyn Fn(),
) -> Result<Reached, ConnectError> {
    let connected = dial::control(peer, patience).await?;
    let addr = connected.addr;
    let socket = connected.stream.as_fd().try_clone_to_owned();
    let mut usual = std::pin::pin!(secure(connected, tls));
    // Without a second handle there is nothing to look at. With small packets there is nothing more to try.
    let Some(socket) = socket.ok().filter(|_| large_packets::segment_bytes(addr).is_none()) else {
        return usual.await;
    };
    let sign = tokio::select! {
        reached = &mut usual => return reached,
        sign = large_packets::stalled(&socket, addr) => sign,
    };
    tracing::info!("{addr}: {sign}; trying segments of {SMALL_SEGMENT_BYTES} bytes beside it");
    let mut small = std::pin::pin!(async {
        secure(dial::control_at(addr, SMALL_SEGMENT_BYTES, patience).await?, tls).await
    });
    // Whichever comes through. A receiver that is only slow answers the first one first.
    let (reached, other) = tokio::select! {
        biased;
        reached = &mut usual => match reached {
            Ok(reached) => return Ok(reached),
            Err(_) => (small.await, None),
        },
        reached = &mut small => match reached {
            Ok(reached) => (Ok(reached), None),
            Err(error) => (Err(error), usual.await.ok()),
        },
    };
    match (reached, other) {
        (_, Some(reached)) => Ok(reached),
        (Err(source), None) => Err(ConnectError::Stalled { addr, sign, source: Box::new(source) }),
        (Ok(reached), None) => {
            abandon(&socket);
            if large_packets::keep_small(addr) {
                large_lost();
            }
            Ok(reached)
        }
    }
}

/// Has the other machine hear at once that this connection is over. What was to be closed in order would wait
/// behind what is lost.
fn abandon(socket: &OwnedFd) {
    if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::debug!("a connection is not reset: {error}");
    }
}

/// Finishes TLS on a connection.
async fn secure(connected: Connected, tls: &Arc<ClientConfig>) -> Result<Reached, ConnectError> {
    let Connected { stream, addr, round_trip } = connected;
    let connector = TlsConnector::from(tls.clone());
    let stream = timeout(HANDSHAKE_TIMEOUT, connector.connect(tls::unused_server_name(), stream))
        .await
        .map_err(|_| ConnectError::Mute { addr })?
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                ConnectError::HungUpInTls { addr }
            }
            _ => ConnectError::Tls { addr, reason: error.to_string() },
        })?;
    reached(stream, addr, round_trip).map_err(|error| ConnectError::Tls { addr, reason: error.to_string() })
}

/// Connects to the port that the control connection went to.
struct TcpWay(SocketAddr);

impl Way for TcpWay {
    fn addr(&self) -> SocketAddr {
        self.0
    }

    fn open(
        &self,
        hello: Vec<u8>,
        segment_bytes: Option<u32>,
        patience: Duration,
    ) -> Doing<'_, io::Result<Box<dyn AnyLane>>> {
        Box::pin(async move {
            let mut stream = dial::data(self.0, segment_bytes, patience).await?;
            timeout(CONNECT_TIMEOUT, stream.write_all(&hello)).await??;
            TcpLane::boxed(stream)
        })
    }

    fn segment_bytes(&self) -> Option<u32> {
        large_packets::segment_bytes(self.0)
    }

    fn keep_small(&self) -> bool {
        large_packets::keep_small(self.0)
    }

    fn headers_bytes(&self) -> u32 {
        large_packets::headers_bytes(self.0)
    }
}

/// What a sender has when TLS is complete.
///
/// # Errors
/// As [`control`].
fn reached(
    stream: client::TlsStream<TcpStream>,
    addr: SocketAddr,
    round_trip: Duration,
) -> io::Result<Reached> {
    let control = control(stream, |stream| (stream.get_ref().0, &**stream.get_ref().1), addr)?;
    Ok(Reached { control, way: Arc::new(TcpWay(addr)), round_trip })
}
