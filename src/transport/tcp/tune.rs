//! Socket options, each with its reason.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::path::congestion;
use super::tcp_info::round_trip;
use crate::limits::{
    BEAT_INTERVAL, LONG_PATH_ROUND_TRIP, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_WITHIN_MACHINE_BYTES,
};
#[cfg(target_os = "linux")]
use crate::limits::{UNSENT_BYTES_MAX, UNSENT_BYTES_WITHIN_MACHINE_MAX};

/// A connection to or from `peer` that carries chunks.
///
/// - Nagle stays on while there is more to write: segments leave full. Whoever has nothing more says so.
/// - Buffers of a fitting size, where the kernel grants them: see [`buffers`].
pub fn data(socket: &SockRef, peer: SocketAddr, patience: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(false)?;
    let within = is_within_machine(peer);
    buffers(socket, if within { SOCKET_BUFFER_WITHIN_MACHINE_BYTES } else { SOCKET_BUFFER_BYTES })?;
    bound_silence(socket, patience)
}

/// A socket that is to be connected to `addr`. Within this machine nothing is lost, and bbr, which paces what it sends, takes
/// half as much CPU time again as cubic. It goes on pacing for whatever comes after it, so this has to be said before the
/// socket is connected.
pub fn before_connecting(socket: &SockRef, addr: SocketAddr) {
    if is_within_machine(addr) && congestion(socket).is_some_and(|now| now.starts_with("bbr")) {
        prefer(socket, &["cubic", "reno"]);
    }
}

/// A connected socket that is to send chunks to `addr`.
///
/// - Little waits to be sent for the first time: what a slow connection has been dealt, no faster one can take over, and the
///   last chunks of a transfer would wait for it. Within the machine no connection is slow, and to wait seldom is worth more.
/// - On a long path bbr does not take each loss for a jam; elsewhere the system's choice is as good.
pub fn sender(socket: &SockRef, addr: SocketAddr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(if is_within_machine(addr) {
        UNSENT_BYTES_WITHIN_MACHINE_MAX
    } else {
        UNSENT_BYTES_MAX
    })?;
    let long = round_trip(&**socket).is_some_and(|time| time >= LONG_PATH_ROUND_TRIP);
    if long && congestion(socket).is_some_and(|now| !now.starts_with("bbr")) {
        prefer(socket, &["bbr"]);
    }
    Ok(())
}

fn is_within_machine(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

/// Has TCP use the first of these congestion controls that the system has and lets us have
/// (`net.ipv4.tcp_allowed_congestion_control`).
#[cfg(target_os = "linux")]
fn prefer(socket: &SockRef, names: &[&str]) {
    for name in names {
        match socket.set_tcp_congestion(name.as_bytes()) {
            Ok(()) => return,
            Err(error) => tracing::debug!("the kernel does not let TCP use {name}: {error}"),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer(_socket: &SockRef, _names: &[&str]) {}

/// A connection that carries messages: each is small, and somebody waits for it.
pub fn control(socket: &SockRef, patience: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    bound_silence(socket, patience)
}

/// Bounds how long a dead peer goes unnoticed by the kernel: keepalive probes find one while nothing is sent, and
/// TCP_USER_TIMEOUT one that no longer acknowledges what is sent.
fn bound_silence(socket: &SockRef, patience: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(patience / 2).with_interval(BEAT_INTERVAL * 2);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

/// Asks for `bytes` in each direction, but only where the kernel grants that much. Linux clamps the
/// value to net.core.rmem_max and wmem_max (208 KiB unless somebody raised them) and then also stops growing the
/// buffer by itself, so that asking for much yields less than not asking.
fn buffers(socket: &SockRef, bytes: usize) -> io::Result<()> {
    let clamp = clamps();
    if clamp.receive.is_none_or(|max| max >= bytes) {
        socket.set_recv_buffer_size(bytes)?;
    }
    if clamp.send.is_none_or(|max| max >= bytes) {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// The kernel's limits, in bytes; `None` where it has no such limit to read.
struct Clamps {
    receive: Option<usize>,
    send: Option<usize>,
}

/// Read once, and if they are small the user is told once what would help.
fn clamps() -> &'static Clamps {
    static CLAMPS: OnceLock<Clamps> = OnceLock::new();
    CLAMPS.get_or_init(|| {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok();
        let clamps = Clamps { receive: read("rmem_max"), send: read("wmem_max") };
        for (name, max) in [("rmem_max", clamps.receive), ("wmem_max", clamps.send)] {
            if max.is_some_and(|max| max < SOCKET_BUFFER_BYTES) {
                tracing::info!(
                    "net.core.{name} is below {SOCKET_BUFFER_BYTES}, so socket buffers are left to the kernel; on links \
                     beyond 10 Gbit/s `sysctl -w net.core.{name}={SOCKET_BUFFER_BYTES}` may help"
                );
            }
        }
        clamps
    })
}

#[cfg(target_os = "linux")]
mod max_pacing_rate {
    use nix::libc;
    use nix::sys::socket::sockopt::SetStruct;

    #[derive(Clone, Copy, Debug)]
    pub struct MaxPacingRate;
    nix::setsockopt_impl!(MaxPacingRate, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, u64, SetStruct<u64>);
}

/// Has the kernel spread what is sent, so that a chunk does not leave in one burst: SO_MAX_PACING_RATE, which TCP keeps by
/// itself (tcp(7), since Linux 4.13). A quarter faster than `limit`, in bytes a second: what holds the limit is the
/// session's bucket, and headers and repeats count here as well. Where it is refused the transfer is just less smooth.
#[cfg(target_os = "linux")]
pub fn pace(socket: &impl std::os::fd::AsFd, limit: u64) {
    use nix::sys::socket::setsockopt;
    if let Err(errno) = setsockopt(socket, max_pacing_rate::MaxPacingRate, &limit.saturating_add(limit / 4)) {
        tracing::debug!("the kernel does not pace: {errno}");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn pace(_socket: &impl std::os::fd::AsFd, _limit: u64) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn buffers_fit_the_path_or_are_left_to_the_kernel() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 1));
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        for (peer, bytes) in [(elsewhere, SOCKET_BUFFER_BYTES), (here, SOCKET_BUFFER_WITHIN_MACHINE_BYTES)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = SockRef::from(&stream);
            let before = (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap());
            data(&socket, peer, PATIENCE).unwrap();
            let after = (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap());
            // Linux takes twice as much and says so.
            let check = |max: Option<usize>, before, after| match max.is_none_or(|max| max >= bytes) {
                true => assert!((bytes..=2 * bytes).contains(&after), "{after} bytes"),
                false => assert_eq!(after, before),
            };
            check(clamps().receive, before.0, after.0);
            check(clamps().send, before.1, after.1);
        }
    }

    #[test]
    fn only_messages_are_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        data(&socket, listener.local_addr().unwrap(), PATIENCE).unwrap();
        assert!(!stream.nodelay().unwrap());
        control(&socket, PATIENCE).unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn within_a_machine_nothing_is_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Where there is no bbr there is nothing to see; reno every kernel has, and lets everybody have.
        let _ = socket.set_tcp_congestion(b"bbr");
        let addr = listener.local_addr().unwrap();
        before_connecting(&SockRef::from(&socket), addr);
        socket.connect(&addr.into()).unwrap();
        assert!(!congestion(&SockRef::from(&socket)).unwrap().starts_with("bbr"));
        assert!(round_trip(&socket).unwrap() < LONG_PATH_ROUND_TRIP);
    }
}
