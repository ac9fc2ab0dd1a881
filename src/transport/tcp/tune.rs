//! Socket options, each with its reason.

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::limits::{BEAT_INTERVAL, SOCKET_BUFFER_BYTES};

/// A connection that carries chunks.
///
/// - Nagle stays on: only the last, small segment of a burst can wait, and the thread is about to write more.
/// - Large buffers, where the kernel grants them: see [`large_buffers`].
pub fn data(socket: &SockRef, patience: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(false)?;
    large_buffers(socket)?;
    bound_silence(socket, patience)
}

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

/// Asks for [`SOCKET_BUFFER_BYTES`] in each direction, but only where the kernel grants that much. Linux clamps the
/// value to net.core.rmem_max and wmem_max (208 KiB unless somebody raised them) and then also stops growing the
/// buffer by itself, so that asking for much yields less than not asking.
fn large_buffers(socket: &SockRef) -> io::Result<()> {
    let clamp = clamps();
    if clamp.receive.is_none_or(|max| max >= SOCKET_BUFFER_BYTES) {
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    }
    if clamp.send.is_none_or(|max| max >= SOCKET_BUFFER_BYTES) {
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
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

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn buffers_are_large_or_left_to_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        let before = (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap());
        data(&socket, PATIENCE).unwrap();
        let after = (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap());
        let granted = |max: Option<usize>| max.is_none_or(|m| m >= SOCKET_BUFFER_BYTES);
        let check = |granted, before, after| match granted {
            true => assert!(after >= SOCKET_BUFFER_BYTES, "{after} bytes"),
            false => assert_eq!(after, before),
        };
        check(granted(clamps().receive), before.0, after.0);
        check(granted(clamps().send), before.1, after.1);
        assert!(!stream.nodelay().unwrap());
        control(&socket, PATIENCE).unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
