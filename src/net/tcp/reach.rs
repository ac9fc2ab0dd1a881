//! Reaching a receiver: the connection, and TLS on it. Where that stands still, large packets may be lost on
//! the way, and it is tried beside it with small ones.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use socket2::SockRef;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::reached;
use super::dial::{self, ConnectError, Connected};
use super::large_packets;
use crate::limits::{HANDSHAKE_TIMEOUT, SMALL_SEGMENT_BYTES};
use crate::net::address::Peer;
use crate::session::carrier::Reached;
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
