//! Socket options, each with its reason.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, io};

use socket2::{SockRef, TcpKeepalive};

use crate::limits::{
    BEAT_INTERVAL, LONG_PATH_ROUND_TRIP, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_WITHIN_MACHINE_BYTES,
};
#[cfg(target_os = "linux")]
use crate::limits::{CHUNK_BYTES, UNSENT_BYTES_WITHIN_MACHINE_MAX};
use crate::session::link::{Interface, Path, Traffic, Troubles};

/// What a data connection has been dealt and TCP has not sent yet, about: two chunks, so that there always is
/// a next one.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 2 * CHUNK_BYTES as u32;

/// Whether the other side has closed the connection, also where what it said before has not been read yet.
#[cfg(target_os = "linux")]
pub fn has_hung_up(socket: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

#[cfg(not(target_os = "linux"))]
pub fn has_hung_up(_: &impl AsFd) -> bool {
    false
}

/// A connection to or from `peer` that carries chunks.
///
/// - Nagle stays on while there is more to write: segments leave full. Whoever has nothing more says so.
/// - Buffers of a fitting size, where the kernel grants them: see `buffers`.
pub fn data(socket: &SockRef, peer: SocketAddr, patience: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(false)?;
    let within = is_within_machine(peer);
    buffers(socket, if within { SOCKET_BUFFER_WITHIN_MACHINE_BYTES } else { SOCKET_BUFFER_BYTES })?;
    bound_silence(socket, patience)
}

/// A socket that is to be connected to `addr`, with segments of at most so many bytes in both directions:
/// each side says at the beginning what it takes. Within this machine nothing is lost, and bbr, which paces
/// what it sends, takes half as much CPU time again as cubic. It goes on pacing for whatever comes after it,
/// so this has to be said before the socket is connected.
pub fn before_connecting(socket: &SockRef, addr: SocketAddr, segment_bytes: Option<u32>) -> io::Result<()> {
    segment_bytes.map_or(Ok(()), |bytes| socket.set_tcp_mss(bytes))?;
    if is_within_machine(addr) && congestion(socket).is_some_and(|now| now.starts_with("bbr")) {
        prefer(socket, &["cubic", "reno"]);
    }
    Ok(())
}

/// A connected socket that is to send chunks to `addr`.
///
/// - Little waits to be sent for the first time: what a slow connection has been dealt, no faster one can
///   take over, and the
///   last chunks of a transfer would wait for it. Within the machine no connection is slow, and to wait seldom is worth more.
/// - On a long path bbr does not take each loss for a jam; elsewhere the system's choice is as good.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "only Linux has the first"))]
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

pub fn is_within_machine(addr: SocketAddr) -> bool {
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

/// Whether the system lets this program use bbr, as far as it says.
pub fn allows_bbr() -> bool {
    let allowed = text("/proc/sys/net/ipv4/tcp_allowed_congestion_control");
    allowed.is_none_or(|names| names.split_whitespace().any(|name| name.starts_with("bbr")))
}

/// A connection that carries messages: each is small, and somebody waits for it.
pub fn control(socket: &SockRef, patience: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    bound_silence(socket, patience)
}

/// Bounds how long a dead peer goes unnoticed by the kernel: keepalive probes find one while nothing is sent,
/// and TCP_USER_TIMEOUT one that no longer acknowledges what is sent.
fn bound_silence(socket: &SockRef, patience: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(patience / 2).with_interval(BEAT_INTERVAL * 2);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

/// Asks for `bytes` in each direction, but only where the kernel grants that much. Linux clamps the value to
/// net.core.rmem_max and wmem_max (208 KiB unless somebody raised them) and then also stops growing the
/// buffer by itself, so that asking for much yields less than not asking.
fn buffers(socket: &SockRef, bytes: usize) -> io::Result<()> {
    let clamp = kernel_clamps();
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
fn kernel_clamps() -> &'static Clamps {
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

/// Has the kernel spread what is sent, so that a chunk does not leave in one burst: SO_MAX_PACING_RATE, which
/// TCP keeps by itself (tcp(7), since Linux 4.13). A quarter faster than `limit`, in bytes a second: what
/// holds the limit is the session's bucket, and headers and repeats count here as well. Where it is refused
/// the transfer is just less smooth.
#[cfg(target_os = "linux")]
pub fn pace(socket: &impl std::os::fd::AsFd, limit: u64) {
    use nix::sys::socket::setsockopt;
    if let Err(errno) = setsockopt(socket, max_pacing_rate::MaxPacingRate, &limit.saturating_add(limit / 4)) {
        tracing::debug!("the kernel does not pace: {errno}");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn pace(_socket: &impl std::os::fd::AsFd, _limit: u64) {}

// What the system knows of the way that a connection takes.

/// The way that a connection takes.
pub fn path(stream: &TcpStream) -> Path {
    let socket = SockRef::from(stream);
    let ip = |addr: io::Result<SocketAddr>| addr.ok().map(|addr| addr.ip().to_canonical());
    Path {
        segment_bytes: socket.tcp_mss().ok(),
        congestion: congestion(&socket),
        ..way(ip(stream.local_addr()), ip(stream.peer_addr()))
    }
}

/// The way from one address to another, as far as this machine alone knows it.
pub fn way(own: Option<IpAddr>, peer: Option<IpAddr>) -> Path {
    let (receive_clamp, send_clamp) = clamps();
    Path {
        same_machine: own.is_some() && own == peer || peer.is_some_and(|peer| peer.is_loopback()),
        interface: own.and_then(interface_of),
        receive_clamp,
        send_clamp,
        ..Path::default()
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

// What TCP knows of a connection and went through on it, as the kernel tells it (TCP_INFO, tcp(7)).

/// How long the way there and back takes. Once connected it has been measured.
pub fn round_trip(socket: &impl AsFd) -> Option<Duration> {
    kernel::round_trip(socket)
}

/// Bytes of what was written that the other machine has acknowledged.
pub fn delivered(socket: &impl AsFd) -> Option<u64> {
    kernel::delivered(socket)
}

/// What passed on a connection up to now; `None` where the system does not say.
pub fn traffic(socket: &impl AsFd) -> Option<Traffic> {
    kernel::traffic(socket)
}

/// What went wrong on one connection up to now. Nothing where the system does not say.
pub fn troubles(socket: &impl AsFd) -> Troubles {
    kernel::troubles(socket)
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::libc;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::GetStruct;

    use crate::session::link::{Traffic, Troubles};

    /// `struct tcp_info` grows at its end, and a kernel fills what it knows. So we ask for no more of it than
    /// the kernel has: 32-bit words up to `tcpi_total_retrans`, which all have, or up to `tcpi_rcv_ooopack`,
    /// which came with Linux 5.4.
    type Short = [u32; TOTAL_RETRANS + 1];
    type Long = [u32; RCV_OOOPACK + 1];
    /// The third byte of the first word.
    const RETRANSMITS: usize = 2;
    const SND_MSS: usize = 4;
    const UNACKED: usize = 6;
    /// In milliseconds.
    const LAST_DATA_RECV: usize = 13;
    const PMTU: usize = 15;
    /// In microseconds.
    const RTT: usize = 17;
    const TOTAL_RETRANS: usize = 25;
    /// Of 64 bits.
    const BYTES_ACKED: usize = 30;
    const BYTES_RECEIVED: usize = 32;
    const RCV_OOOPACK: usize = 56;

    #[derive(Clone, Copy, Debug)]
    struct ShortInfo;
    nix::getsockopt_impl!(ShortInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Short, GetStruct<Short>);

    #[derive(Clone, Copy, Debug)]
    struct LongInfo;
    nix::getsockopt_impl!(LongInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Long, GetStruct<Long>);

    pub fn round_trip(socket: &impl AsFd) -> Option<Duration> {
        let info = getsockopt(socket, ShortInfo).ok()?;
        Some(Duration::from_micros(info[RTT].into()))
    }

    pub fn delivered(socket: &impl AsFd) -> Option<u64> {
        if !has_long() {
            return None;
        }
        getsockopt(socket, LongInfo).ok().map(|info| long_word(&info, BYTES_ACKED))
    }

    pub fn traffic(socket: &impl AsFd) -> Option<Traffic> {
        if !has_long() {
            return None;
        }
        let info = getsockopt(socket, LongInfo).ok()?;
        Some(Traffic {
            segment_bytes: info[SND_MSS],
            packet_bytes: info[PMTU],
            unacknowledged: info[UNACKED],
            timeouts: info[0].to_ne_bytes()[RETRANSMITS].into(),
            acknowledged: long_word(&info, BYTES_ACKED),
            received: long_word(&info, BYTES_RECEIVED),
            out_of_order: info[RCV_OOOPACK],
            silent: Duration::from_millis(info[LAST_DATA_RECV].into()),
        })
    }

    fn long_word(info: &Long, at: usize) -> u64 {
        let [first, second] = [info[at], info[at + 1]].map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        u64::from_ne_bytes(bytes)
    }

    pub fn troubles(socket: &impl AsFd) -> Troubles {
        if has_long() {
            let info = getsockopt(socket, LongInfo).ok();
            return info.map_or(Troubles::default(), |info| Troubles {
                retransmits: info[TOTAL_RETRANS].into(),
                out_of_order: info[RCV_OOOPACK].into(),
                ..Troubles::default()
            });
        }
        let info = getsockopt(socket, ShortInfo).ok();
        info.map_or(Troubles::default(), |info| Troubles {
            retransmits: info[TOTAL_RETRANS].into(),
            ..Troubles::default()
        })
    }

    fn has_long() -> bool {
        crate::os::rlimit::is_at_least(5, 4)
    }

    #[cfg(test)]
    mod tests {
        use std::mem::offset_of;

        use super::*;

        #[test]
        fn the_words_are_those_of_the_kernel() {
            assert_eq!(offset_of!(libc::tcp_info, tcpi_retransmits), RETRANSMITS);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_snd_mss), 4 * SND_MSS);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_unacked), 4 * UNACKED);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_last_data_recv), 4 * LAST_DATA_RECV);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_pmtu), 4 * PMTU);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), 4 * RTT);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_total_retrans), 4 * TOTAL_RETRANS);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_bytes_acked), 4 * BYTES_ACKED);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_bytes_received), 4 * BYTES_RECEIVED);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_rcv_ooopack), 4 * RCV_OOOPACK);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use crate::session::link::{Traffic, Troubles};

    pub fn round_trip(_socket: &impl AsFd) -> Option<Duration> {
        None
    }

    pub fn delivered(_socket: &impl AsFd) -> Option<u64> {
        None
    }

    pub fn traffic(_socket: &impl AsFd) -> Option<Traffic> {
        None
    }

    pub fn troubles(_socket: &impl AsFd) -> Troubles {
        Troubles::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[cfg(target_os = "linux")]
    #[test]
    fn who_hung_up_is_seen_before_all_that_was_said_is_read() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut said = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (heard, _) = listener.accept().unwrap();
        said.write_all(b"not read by anybody").unwrap();
        assert!(!has_hung_up(&heard));
        drop(said);
        let began = std::time::Instant::now();
        while !has_hung_up(&heard) {
            assert!(began.elapsed() < PATIENCE, "nobody saw it");
            std::thread::yield_now();
        }
    }

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
            check(kernel_clamps().receive, before.0, after.0);
            check(kernel_clamps().send, before.1, after.1);
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
        before_connecting(&SockRef::from(&socket), addr, None).unwrap();
        socket.connect(&addr.into()).unwrap();
        assert!(!congestion(&SockRef::from(&socket)).unwrap().starts_with("bbr"));
        assert!(round_trip(&socket).unwrap() < LONG_PATH_ROUND_TRIP);
    }
}
