//! Reaching a receiver: every address of its name is tried, and each failure is told by its address.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Peer;
use super::tune;
use crate::limits::{CONNECT_STAGGER, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::protocol::VERSION;
use crate::protocol::preface::{PREFACE_BYTES, PrefaceError, Role, Status};

/// Why a receiver could not be reached. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot find {host}: {reason}; check the name, or use the address that `lanx recv` shows")]
    Unknown { host: String, reason: String },
    #[error("cannot reach {peer}: {}; {}", list(attempts), advice(attempts))]
    Unreachable { peer: Peer, attempts: Vec<(SocketAddr, io::Error)> },
    #[error("{addr} accepted the connection but said nothing for {} s; is it `lanx recv` that listens on this port?", HANDSHAKE_TIMEOUT.as_secs())]
    Mute { addr: SocketAddr },
    #[error("{addr} hung up before it answered ({reason}); it may be busy, or not be `lanx recv`")]
    HungUp { addr: SocketAddr, reason: String },
    #[error("{addr} answers, but not as lanx does; check that `lanx recv` listens on this port")]
    NotLanx { addr: SocketAddr },
    #[error(
        "{addr} speaks version {theirs} of the lanx protocol and this lanx speaks {VERSION}; install the same lanx on both machines"
    )]
    OtherVersion { addr: SocketAddr, theirs: u16 },
    #[error("{addr} serves as many transfers as it can; try again in a while")]
    Busy { addr: SocketAddr },
}

fn list(attempts: &[(SocketAddr, io::Error)]) -> String {
    let text = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused the connection".into(),
        io::ErrorKind::TimedOut => format!("did not answer within {} s", CONNECT_TIMEOUT.as_secs()),
        _ => format!("failed: {error}"),
    };
    let texts: Vec<String> = attempts.iter().map(|(addr, error)| format!("{addr} {}", text(error))).collect();
    texts.join(", ")
}

/// What to look at, given how the addresses of one machine failed.
fn advice(attempts: &[(SocketAddr, io::Error)]) -> &'static str {
    let any = |kind| attempts.iter().any(|(_, error)| error.kind() == kind);
    match (any(io::ErrorKind::ConnectionRefused), any(io::ErrorKind::TimedOut)) {
        (true, false) => "is `lanx recv` running there, on this port?",
        (true, true) => "is `lanx recv` running there, on this port, and does a firewall let the port in?",
        (false, true) => "is the address right, and does a firewall let the port in?",
        (false, false) => "is the address right, and is this machine on that network?",
    }
}

/// A receiver's answer to a control connection.
pub struct Connected {
    pub stream: TcpStream,
    pub addr: SocketAddr,
    /// How long the TCP handshake took: about one round trip.
    pub round_trip: Duration,
}

/// Connects a control connection to the first address of `peer` that accepts one, and exchanges prefaces.
pub async fn control(peer: &Peer, patience: Duration) -> Result<Connected, ConnectError> {
    let addrs = resolve(peer).await?;
    let mut connected = first(peer, addrs).await?;
    let addr = connected.addr;
    let hung_up = |e: io::Error| ConnectError::HungUp { addr, reason: e.to_string() };
    tune::control(&SockRef::from(&connected.stream), patience).map_err(hung_up)?;
    let mut answer = [0; PREFACE_BYTES];
    let exchange = async {
        connected.stream.write_all(&Role::Control.encode()).await?;
        connected.stream.read_exact(&mut answer).await
    };
    match timeout(HANDSHAKE_TIMEOUT, exchange).await {
        Err(_) => return Err(ConnectError::Mute { addr }),
        Ok(done) => done.map_err(hung_up)?,
    };
    match Status::decode(answer) {
        Ok(Status::Welcome) => Ok(connected),
        Ok(Status::Busy) => Err(ConnectError::Busy { addr }),
        Err(PrefaceError::Version { theirs }) => Err(ConnectError::OtherVersion { addr, theirs }),
        Ok(Status::OtherVersion) | Err(PrefaceError::NotLanx | PrefaceError::Malformed(_)) => {
            Err(ConnectError::NotLanx { addr })
        }
    }
}

/// Connects one data connection to where the control connection went.
pub async fn data(addr: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = connect_one(addr).await?;
    tune::data(&SockRef::from(&stream), patience)?;
    Ok(stream)
}

async fn resolve(peer: &Peer) -> Result<Vec<SocketAddr>, ConnectError> {
    let unknown = |reason: String| ConnectError::Unknown { host: peer.host.clone(), reason };
    let lookup = tokio::net::lookup_host((peer.host.as_str(), peer.port));
    let addrs: Vec<SocketAddr> = match timeout(HANDSHAKE_TIMEOUT, lookup).await {
        Err(_) => return Err(unknown("the name service does not answer".into())),
        Ok(Err(e)) => return Err(unknown(e.to_string())),
        Ok(Ok(addrs)) => addrs.collect(),
    };
    if addrs.is_empty() {
        return Err(unknown("it has no address".into()));
    }
    Ok(addrs)
}

async fn connect_one(addr: SocketAddr) -> io::Result<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Tries the addresses in the resolver's order, each a little after the one before or as soon as that failed; the first
/// connection that stands is taken (RFC 8305, 'Happy Eyeballs', without its sorting).
async fn first(peer: &Peer, addrs: Vec<SocketAddr>) -> Result<Connected, ConnectError> {
    let mut rest = addrs.into_iter();
    let mut trying = JoinSet::new();
    let mut attempts = Vec::new();
    loop {
        let next = rest.next();
        let more = next.is_some();
        if let Some(addr) = next {
            trying.spawn(async move {
                let started = Instant::now();
                (addr, connect_one(addr).await, started.elapsed())
            });
        }
        let joined = match more {
            true => timeout(CONNECT_STAGGER, trying.join_next()).await.unwrap_or(None),
            false => trying.join_next().await,
        };
        match joined {
            Some(Ok((addr, Ok(stream), round_trip))) => return Ok(Connected { stream, addr, round_trip }),
            Some(Ok((addr, Err(error), _))) => attempts.push((addr, error)),
            // A task that was cancelled or panicked has no address to speak of.
            Some(Err(error)) => tracing::debug!("a connection attempt ended: {error}"),
            None if !more => return Err(ConnectError::Unreachable { peer: peer.clone(), attempts }),
            None => {}
        }
    }
}
