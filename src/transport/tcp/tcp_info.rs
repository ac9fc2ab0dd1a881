//! What TCP knows of a connection and went through on it, as the kernel tells it (TCP_INFO, tcp(7)).

use std::os::fd::AsFd;
use std::time::Duration;

/// How long the way there and back takes. Once connected it has been measured.
pub fn round_trip(socket: &impl AsFd) -> Option<Duration> {
    kernel::round_trip(socket)
}

/// Bytes of what was written that the other machine has acknowledged.
pub fn delivered(socket: &impl AsFd) -> Option<u64> {
    kernel::delivered(socket)
}

/// What went wrong on the way and was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Segments that we sent once more.
    pub retransmits: u64,
    /// Segments that came out of order, as they do behind one that was lost: how a receiver sees what its sender sends
    /// once more.
    pub out_of_order: u64,
}

impl Troubles {
    /// Of one connection up to now. Nothing where the system does not say.
    pub fn of(socket: &impl AsFd) -> Troubles {
        kernel::troubles(socket)
    }

    pub fn plus(self, other: Troubles) -> Troubles {
        Troubles {
            retransmits: self.retransmits.saturating_add(other.retransmits),
            out_of_order: self.out_of_order.saturating_add(other.out_of_order),
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::libc;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::GetStruct;

    use super::Troubles;

    /// `struct tcp_info` grows at its end, and a kernel fills what it knows. So we ask for no more of it than the kernel has:
    /// 32-bit words up to `tcpi_total_retrans`, which all have, or up to `tcpi_rcv_ooopack`, which came with Linux 5.4.
    type Short = [u32; TOTAL_RETRANS + 1];
    type Long = [u32; RCV_OOOPACK + 1];
    /// In microseconds.
    const RTT: usize = 17;
    const TOTAL_RETRANS: usize = 25;
    /// Of 64 bits.
    const BYTES_ACKED: usize = 30;
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
        let info = getsockopt(socket, LongInfo).ok()?;
        let [first, second] = [info[BYTES_ACKED], info[BYTES_ACKED + 1]].map(u32::to_ne_bytes);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&first);
        bytes[4..].copy_from_slice(&second);
        Some(u64::from_ne_bytes(bytes))
    }

    pub fn troubles(socket: &impl AsFd) -> Troubles {
        if has_long() {
            let info = getsockopt(socket, LongInfo).ok();
            return info.map_or(Troubles::default(), |info| Troubles {
                retransmits: info[TOTAL_RETRANS].into(),
                out_of_order: info[RCV_OOOPACK].into(),
            });
        }
        let info = getsockopt(socket, ShortInfo).ok();
        info.map_or(Troubles::default(), |info| Troubles {
            retransmits: info[TOTAL_RETRANS].into(),
            out_of_order: 0,
        })
    }

    fn has_long() -> bool {
        crate::kernel::is_at_least(5, 4)
    }

    #[cfg(test)]
    mod tests {
        use std::mem::offset_of;

        use super::*;

        #[test]
        fn the_words_are_those_of_the_kernel() {
            assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), 4 * RTT);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_total_retrans), 4 * TOTAL_RETRANS);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_bytes_acked), 4 * BYTES_ACKED);
            assert_eq!(offset_of!(libc::tcp_info, tcpi_rcv_ooopack), 4 * RCV_OOOPACK);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::Troubles;

    pub fn round_trip(_socket: &impl AsFd) -> Option<Duration> {
        None
    }

    pub fn delivered(_socket: &impl AsFd) -> Option<u64> {
        None
    }

    pub fn troubles(_socket: &impl AsFd) -> Troubles {
        Troubles::default()
    }
}
