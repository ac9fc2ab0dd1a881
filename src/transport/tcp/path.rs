//! What the system knows of the way that a connection takes.

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::str::FromStr;

use socket2::SockRef;

use crate::limits::SOCKET_BUFFER_BYTES;

/// The way to another machine, seen from this end. Nothing where the system does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Both ends are this machine.
    pub same_machine: bool,
    pub interface: Option<Interface>,
    /// Bytes of a segment that TCP sends: what both ends, and what lies between, can take.
    pub segment_bytes: Option<u32>,
    /// How TCP decides how fast to send.
    pub congestion: Option<String>,
    /// The limits of this system's socket buffers in bytes, where they are below what lanx would ask for.
    pub receive_clamp: Option<u64>,
    pub send_clamp: Option<u64>,
}

/// What the way leaves this machine by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mtu: Option<u32>,
    /// In Mbit/s.
    pub speed: Option<u32>,
    /// Both directions at once.
    pub full_duplex: Option<bool>,
    pub wireless: bool,
}

impl Path {
    pub fn of(stream: &TcpStream) -> Path {
        let socket = SockRef::from(stream);
        let ip = |addr: std::io::Result<std::net::SocketAddr>| addr.ok().map(|addr| addr.ip().to_canonical());
        let (own, peer) = (ip(stream.local_addr()), ip(stream.peer_addr()));
        let (receive_clamp, send_clamp) = clamps();
        Path {
            same_machine: own.is_some() && own == peer || peer.is_some_and(|peer| peer.is_loopback()),
            interface: own.and_then(interface_of),
            segment_bytes: socket.tcp_mss().ok(),
            congestion: congestion(&socket),
            receive_clamp,
            send_clamp,
        }
    }
}

/// `net.core.rmem_max` and `wmem_max`, each where it is too small for the buffers that lanx would ask for.
pub fn clamps() -> (Option<u64>, Option<u64>) {
    let clamp = |name: &str| {
        number(&format!("/proc/sys/net/core/{name}")).filter(|max| *max < SOCKET_BUFFER_BYTES as u64)
    };
    (clamp("rmem_max"), clamp("wmem_max"))
}

/// The route to an address begins at the interface that has the connection's own address.
fn interface_of(own: IpAddr) -> Option<Interface> {
    let all = if_addrs::get_if_addrs().ok()?;
    let name = all.into_iter().find(|interface| interface.ip() == own)?.name;
    let of = |what: &str| format!("/sys/class/net/{name}/{what}");
    Some(Interface {
        mtu: number(&of("mtu")),
        // -1, or an error, where it has none: wireless, virtual, or not plugged in.
        speed: number(&of("speed")).filter(|speed| *speed > 0),
        full_duplex: match text(&of("duplex")).as_deref() {
            Some("full") => Some(true),
            Some("half") => Some(false),
            _ => None,
        },
        wireless: fs::metadata(of("wireless")).is_ok(),
        name,
    })
}

/// How TCP decides how fast to send, by its name.
#[cfg(target_os = "linux")]
pub fn congestion(socket: &SockRef) -> Option<String> {
    let name = socket.tcp_congestion().ok()?;
    let name = name.split(|b| *b == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(not(target_os = "linux"))]
pub fn congestion(_socket: &SockRef) -> Option<String> {
    None
}

fn number<N: FromStr>(path: &str) -> Option<N> {
    text(path)?.parse().ok()
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
