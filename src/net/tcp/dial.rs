//! Reaching a receiver: every address of its name is tried, and each failure is told by its address.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::large_packets::Sign;
use super::{large_packets, tune};
use crate::limits::{
    CONNECT_STAGGER, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, SMALL_SEGMENT_BYTES, UDP_ANSWER_TIMEOUT,
};
use crate::net::address::{Peer, shown};
use crate::os::background::aside;
use crate::os::said::Said;
use crate::wire::VERSION;
use crate::wire::preface::{PREFACE_BYTES, PrefaceError, Role, Status};

/// Why a receiver could not be reached. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot find {host}: {reason}; check the name, or use the address that `lanx recv` shows")]
    Unknown { host: String, reason: String },
    #[error("cannot reach {peer}: {}; {}", list(peer, attempts), advice(peer, attempts))]
    Unreachable {
        peer: Peer,
        #[source]
        attempts: Attempts,
    },
    #[error(
        "cannot reach {peer}: that is this machine's own name, and nothing listens here on port {}; give the other machine's \
         address (`lanx list` shows the receivers)",
        peer.port
    )]
    OwnName {
        peer: Peer,
        #[source]
        attempts: Attempts,
    },
    #[error(
        "{addr} took the connection and said nothing for {} s; check that it is `lanx recv` that listens on this port",
        HANDSHAKE_TIMEOUT.as_secs()
    )]
    Mute { addr: SocketAddr },
    #[error(
        "{addr} hung up before it answered; check that it is `lanx recv` that listens on this port, and try again"
    )]
    HungUp { addr: SocketAddr, source: io::Error },
    #[error("{addr} hung up during the handshake; it may be too busy with others, try again")]
    HungUpInTls { addr: SocketAddr },
    #[error(
        "the encrypted connection to {addr} failed: {reason}; try again, and see that both machines have the same lanx"
    )]
    Tls { addr: SocketAddr, reason: String },
    #[error(
        "{addr} is lanx, and the handshake with it stood still: {sign}. Segments of {SMALL_SEGMENT_BYTES} bytes fared no better; {}",
        stalled_advice(sign)
    )]
    Stalled {
        addr: SocketAddr,
        sign: Sign,
        #[source]
        source: Box<ConnectError>,
    },
    #[error("what listens at {addr} is not lanx; give the port that `lanx recv` shows there, as HOST:PORT")]
    NotLanx { addr: SocketAddr },
    #[error(
        "{addr} speaks version {theirs} of the lanx protocol and this lanx speaks {VERSION}; install the newer lanx {} as well",
        if *theirs < VERSION { "there" } else { "here" }
    )]
    OtherVersion { addr: SocketAddr, theirs: u16 },
    #[error("{}", no_udp(peer, *over_tcp))]
    NoUdp { peer: Peer, over_tcp: bool },
    #[error(
        "this machine cannot send to {peer} over UDP: {}; try again, or send without --quic",
        Said(source)
    )]
    Udp { peer: Peer, source: io::Error },
    #[error("{addr} serves as many transfers as it can; try again in a while")]
    Busy { addr: SocketAddr },
    #[error("{addr} is shutting down or restarting; try again in a moment")]
    Away { addr: SocketAddr },
}

/// Nothing says that a UDP port is closed, so what is missing has to be guessed from what TCP shows.
fn no_udp(peer: &Peer, over_tcp: bool) -> String {
    let (port, seconds) = (peer.port, UDP_ANSWER_TIMEOUT.as_secs());
    if over_tcp {
        format!(
            "{peer} does not answer over UDP within {seconds} s, and it does over TCP: `lanx recv` runs there without --quic, or a \
             firewall drops UDP port {port}; start `lanx recv --quic` there, let UDP port {port} in, or send without --quic"
        )
    } else {
        format!(
            "{peer} answers neither over UDP within {seconds} s nor over TCP; check the address, that `lanx recv --quic` runs there, \
             and that a firewall there lets UDP port {port} in"
        )
    }
}

fn stalled_advice(sign: &Sign) -> &'static str {
    match sign {
        Sign::Silence { .. } => {
            "see whether `lanx recv` there is frozen or has too much to do, and try again"
        }
        Sign::Unacknowledged { .. } | Sign::Gap { .. } => {
            "something on the way loses packets: look at cables, tunnels, VPNs and firewalls there, and try again"
        }
    }
}

/// What came of each address of a machine.
#[derive(Debug)]
pub struct Attempts(pub Vec<(SocketAddr, io::Error)>);

impl std::error::Error for Attempts {}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|(addr, error)| format!("{addr}: {error}")).collect();
        f.write_str(&texts.join(", "))
    }
}

fn list(peer: &Peer, attempts: &Attempts) -> String {
    let text = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused the connection".into(),
        io::ErrorKind::TimedOut => format!("did not answer within {} s", CONNECT_TIMEOUT.as_secs()),
        io::ErrorKind::HostUnreachable => "cannot be reached (no route to it)".into(),
        io::ErrorKind::NetworkUnreachable => "is on a network that cannot be reached from here".into(),
        io::ErrorKind::PermissionDenied => "may not be connected to (permission denied)".into(),
        _ => format!("failed: {}", Said(error)),
    };
    let text = |addr: &SocketAddr, error: &io::Error| match lacks_interface(addr, error) {
        true => "is a link-local address, which says nothing without an interface".into(),
        false => text(error),
    };
    let texts = attempts.0.iter().map(|(addr, error)| match text(addr, error) {
        // The address is what the user typed.
        text if addr.to_string() == peer.to_string() => format!("it {text}"),
        text => format!("{} {text}", shown(addr)),
    });
    texts.collect::<Vec<String>>().join(", ")
}

/// Whether the system cannot know on which of its links the address is.
fn lacks_interface(addr: &SocketAddr, error: &io::Error) -> bool {
    let SocketAddr::V6(addr) = addr else { return false };
    error.kind() == io::ErrorKind::InvalidInput && addr.ip().is_unicast_link_local() && addr.scope_id() == 0
}

/// What to do, given how the addresses of one machine failed.
fn advice(peer: &Peer, attempts: &Attempts) -> String {
    if attempts.0.iter().any(|(addr, error)| lacks_interface(addr, error)) {
        let example = Peer::new(format!("{}%eth0", peer.host), peer.port);
        return format!("name the interface, as in {example}");
    }
    let any = |kind| attempts.0.iter().any(|(_, error)| error.kind() == kind);
    // A firewall drops what comes, or answers that there is no way to the machine (IPv4) or that there may be
    // none (IPv6).
    let silent = any(io::ErrorKind::TimedOut);
    let rejected = any(io::ErrorKind::HostUnreachable) || any(io::ErrorKind::PermissionDenied);
    let port = peer.port;
    match (any(io::ErrorKind::ConnectionRefused), silent, rejected) {
        (true, false, false) => {
            "start `lanx recv` there, or give the port that it shows, as HOST:PORT".into()
        }
        (true, _, _) => {
            format!("start `lanx recv` there, and check that a firewall there lets TCP port {port} in")
        }
        (false, true, false) => format!(
            "check the address, that the machine is on, and that a firewall there lets TCP port {port} in"
        ),
        (false, _, true) => format!(
            "check the address, that this machine is on that network, and that a firewall there lets TCP port {port} in"
        ),
        (false, false, false) => "check the address, and that this machine is on that network".into(),
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
    greet(first(peer, addrs).await?, patience).await
}

/// The same at one address, with segments of at most so many bytes.
pub async fn control_at(
    addr: SocketAddr,
    segment_bytes: u32,
    patience: Duration,
) -> Result<Connected, ConnectError> {
    let started = Instant::now();
    let connected = connect_one(addr, Some(segment_bytes)).await;
    let stream = connected.map_err(|source| ConnectError::HungUp { addr, source })?;
    greet(Connected { stream, addr, round_trip: started.elapsed() }, patience).await
}

/// Exchanges prefaces.
async fn greet(mut connected: Connected, patience: Duration) -> Result<Connected, ConnectError> {
    let addr = connected.addr;
    let hung_up = |source: io::Error| ConnectError::HungUp { addr, source };
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
    welcomed(addr, answer)?;
    Ok(connected)
}

/// Whether the receiver at `addr`, which answered with this preface, goes on.
///
/// # Errors
/// Why it does not.
pub fn welcomed(addr: SocketAddr, answer: [u8; PREFACE_BYTES]) -> Result<(), ConnectError> {
    match Status::decode(answer) {
        Ok(Status::Welcome) => Ok(()),
        Ok(Status::Busy) => Err(ConnectError::Busy { addr }),
        Ok(Status::Away) => Err(ConnectError::Away { addr }),
        Err(PrefaceError::Version { theirs }) => Err(ConnectError::OtherVersion { addr, theirs }),
        Ok(Status::OtherVersion) | Err(PrefaceError::NotLanx | PrefaceError::Malformed(_)) => {
            Err(ConnectError::NotLanx { addr })
        }
    }
}

/// Whether a receiver answers at this address over TCP. It is left again at once.
pub async fn answers(addr: SocketAddr) -> bool {
    let started = Instant::now();
    match connect_one(addr, None).await {
        Ok(stream) => {
            greet(Connected { stream, addr, round_trip: started.elapsed() }, HANDSHAKE_TIMEOUT).await.is_ok()
        }
        Err(_) => false,
    }
}

/// Connects one data connection to where the control connection went, with segments of at most so many bytes.
pub async fn data(addr: SocketAddr, segment_bytes: Option<u32>, patience: Duration) -> io::Result<TcpStream> {
    let stream = connect_one(addr, segment_bytes).await?;
    let socket = SockRef::from(&stream);
    tune::data(&socket, addr, patience)?;
    tune::sender(&socket, addr)?;
    Ok(stream)
}

/// The addresses of `peer`: those at which it was found, otherwise those that the resolver knows; at least
/// one.
///
/// # Errors
/// [`ConnectError::Unknown`].
pub async fn resolve(peer: &Peer) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(found) = &peer.found {
        return Ok(found.addrs.clone());
    }
    let unknown = |reason: String| ConnectError::Unknown { host: peer.host.clone(), reason };
    if let Ok(ip) = peer.host.parse::<IpAddr>() {
        return Ok(vec![(ip, peer.port).into()]);
    }
    let (host, port) = (peer.host.clone(), peer.port);
    let lookup = aside(move || Ok((host.as_str(), port).to_socket_addrs()?.collect::<Vec<SocketAddr>>()));
    let addrs = match timeout(HANDSHAKE_TIMEOUT, lookup).await {
        Err(_) => return Err(unknown("the name service does not answer".into())),
        Ok(Ok(Ok(addrs))) => addrs,
        Ok(Ok(Err(error)) | Err(error)) => {
            tracing::info!("{}: {error}", peer.host);
            return Err(unknown(unresolved(&peer.host, &error)));
        }
    };
    if addrs.is_empty() {
        return Err(unknown("it has no address".into()));
    }
    Ok(addrs)
}

/// What the resolver says, in plain words; the standard library has its own only in a text.
fn unresolved(host: &str, error: &io::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("failed to lookup address information: ") {
        None => text,
        Some(reason) if reason.starts_with("Temporary failure") || reason.starts_with("Try again") => {
            "the name service does not answer".into()
        }
        Some(_) if host.contains('%') => "this machine has no interface of that name".into(),
        Some(_) => "no machine of that name is known".into(),
    }
}

/// [`resolve`], but for a name that leads to this machine, where nothing listens: another one may have it,
/// too.
///
/// # Errors
/// [`ConnectError::Unknown`], or [`ConnectError::OwnName`].
pub async fn resolve_elsewhere(peer: &Peer) -> Result<Vec<SocketAddr>, ConnectError> {
    let addrs = resolve(peer).await?;
    let own = own_addresses();
    if means_this_machine(peer) || !addrs.iter().all(|addr| is_own(addr, &own)) {
        return Ok(addrs);
    }
    // That is quick on this machine, and whoever listens hears no word.
    let mut attempts = Vec::new();
    for addr in &addrs {
        match connect_one(*addr, None).await {
            Ok(_) => return Ok(addrs),
            Err(error) => attempts.push((*addr, error)),
        }
    }
    match unreachable(peer.clone(), Attempts(attempts), &own) {
        error @ ConnectError::OwnName { .. } => Err(error),
        _ => Ok(addrs),
    }
}

/// Why none of the attempts came to anything. Machines that were cloned often have one name, and whoever
/// means the other one is led to this one.
fn unreachable(peer: Peer, attempts: Attempts, own: &[IpAddr]) -> ConnectError {
    let refused = |(addr, error): &(SocketAddr, io::Error)| {
        is_own(addr, own) && error.kind() == io::ErrorKind::ConnectionRefused
    };
    match !means_this_machine(&peer) && attempts.0.iter().all(refused) {
        true => ConnectError::OwnName { peer, attempts },
        false => ConnectError::Unreachable { peer, attempts },
    }
}

/// Whether a receiver on this machine can be meant: it was found there, or is named by an address or as
/// `localhost`.
fn means_this_machine(peer: &Peer) -> bool {
    peer.found.is_some()
        || peer.host.parse::<IpAddr>().is_ok()
        || peer.host.eq_ignore_ascii_case("localhost")
        || peer.host.contains('%')
}

fn is_own(addr: &SocketAddr, own: &[IpAddr]) -> bool {
    let ip = addr.ip().to_canonical();
    ip.is_loopback() || own.contains(&ip)
}

fn own_addresses() -> Vec<IpAddr> {
    if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|interface| interface.ip()).collect()
}

async fn connect_one(addr: SocketAddr, segment_bytes: Option<u32>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    tune::before_connecting(&SockRef::from(&socket), addr, segment_bytes)?;
    match timeout(CONNECT_TIMEOUT, socket.connect(addr)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Tries the addresses in the resolver's order, each a little after the one before or as soon as that failed;
/// the first connection that stands is taken (RFC 8305, 'Happy Eyeballs', without its sorting).
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
                (addr, connect_one(addr, large_packets::segment_bytes(addr)).await, started.elapsed())
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
            None if !more => {
                return Err(unreachable(peer.clone(), Attempts(attempts), &own_addresses()));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(peer: &str, attempts: &[(&str, i32)]) -> String {
        let attempt =
            |(addr, code): &(&str, i32)| (addr.parse().unwrap(), io::Error::from_raw_os_error(*code));
        let attempts = Attempts(attempts.iter().map(attempt).collect());
        super::unreachable(peer.parse().unwrap(), attempts, &["10.0.0.7".parse().unwrap()]).to_string()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_leads_to_this_machine_is_called_its_own_and_an_address_is_not() {
        const ECONNREFUSED: i32 = 111;
        for addr in ["127.0.1.1:7269", "10.0.0.7:7269", "[::1]:7269"] {
            let text = unreachable("desk", &[(addr, ECONNREFUSED)]);
            assert!(text.contains("this machine's own name") && text.contains("`lanx list`"), "{text}");
        }
        let others =
            [("desk", "10.0.0.8:7269"), ("localhost", "127.0.0.1:7269"), ("10.0.0.7", "10.0.0.7:7269")];
        for (peer, addr) in others {
            let text = unreachable(peer, &[("127.0.0.1:7269", ECONNREFUSED), (addr, ECONNREFUSED)]);
            assert!(text.contains("start `lanx recv` there"), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_firewall_that_rejects_is_named_with_the_port_as_one_that_drops_is() {
        const EACCES: i32 = 13;
        const ETIMEDOUT: i32 = 110;
        const EHOSTUNREACH: i32 = 113;
        for code in [EACCES, ETIMEDOUT, EHOSTUNREACH] {
            let text = unreachable("nas", &[("10.0.0.1:7269", code)]);
            assert!(text.contains("a firewall there lets TCP port 7269 in"), "{text}");
            assert!(!text.contains("os error"), "{text}");
        }
        let text = unreachable("nas", &[("10.0.0.1:7269", EHOSTUNREACH)]);
        assert!(text.contains("that this machine is on that network"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_local_address_without_an_interface_is_told_how_to_name_one() {
        const EINVAL: i32 = 22;
        for (peer, example) in [("fe80::1", "fe80::1%eth0"), ("[fe80::1]:9", "[fe80::1%eth0]:9")] {
            let text = unreachable(peer, &[("[fe80::1]:7269", EINVAL)]);
            assert!(text.ends_with(&format!("; name the interface, as in {example}")), "{text}");
        }
        let text = unreachable("nas", &[("10.0.0.1:7269", EINVAL)]);
        assert!(!text.contains("interface"), "{text}");
    }
}
