//! Which socket the network is told of, and under which name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::SockRef;

use super::credentials;
use crate::net::discovery::{Announce, Announcement, News, What};

/// Announces what listens at one of these sockets until what is returned is dropped; nothing where no other
/// machine can reach any of them.
pub fn start(
    listeners: &[TcpListener],
    what: impl FnOnce(SocketAddr) -> What,
    told: impl FnMut(News) + Send + 'static,
) -> Option<Announcement> {
    let bound: Vec<Bound> = listeners.iter().filter_map(Bound::of).collect();
    let (bound, ipv4_too) = announced(&bound)?;
    let name = credentials::own_name();
    // Of a name with a domain the first part is what people call it.
    let name = name.split('.').next().unwrap_or(&name).to_owned();
    Some(Announcement::start(Announce { name, bound, ipv4_too, what: what(bound) }, told))
}

/// Where a socket listens.
struct Bound {
    addr: SocketAddr,
    /// Of IPv6, that IPv4 does not get there: as sockets of others may be that are handed over.
    only_v6: bool,
}

impl Bound {
    fn of(listener: &TcpListener) -> Option<Bound> {
        let addr = listener.local_addr().ok()?;
        let only_v6 = addr.is_ipv6() && SockRef::from(listener).only_v6().unwrap_or_default();
        Some(Bound { addr, only_v6 })
    }
}

/// Which socket is announced, as whoever has several has one name all the same, and whether what is announced
/// of IPv6 holds for IPv4: by the same socket, or by another one at the same port.
fn announced(all: &[Bound]) -> Option<(SocketAddr, bool)> {
    let widest = |bound: &&Bound| (bound.addr.ip().is_unspecified(), bound.addr.is_ipv6(), !bound.only_v6);
    let outward = all.iter().filter(|bound| !bound.addr.ip().to_canonical().is_loopback());
    let Bound { addr, only_v6 } = outward.max_by_key(widest)?;
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
    Some((*addr, !only_v6 || all.iter().any(|bound| bound.addr == all_of_ipv4)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// The `!` says that a socket is for IPv6 alone.
    fn chosen(bound: &[&str]) -> Option<(String, bool)> {
        let bound = bound.iter().map(|text| Bound {
            addr: text.trim_start_matches('!').parse().unwrap(),
            only_v6: text.starts_with('!'),
        });
        announced(&bound.collect::<Vec<_>>()).map(|(addr, ipv4_too)| (addr.to_string(), ipv4_too))
    }

    #[test]
    fn of_several_sockets_the_one_for_most_is_announced() {
        for (bound, announced, ipv4_too) in [
            (&["0.0.0.0:7269", "[::]:7269"][..], "[::]:7269", true),
            (&["[::]:7269"], "[::]:7269", true),
            (&["10.0.0.5:7269", "127.0.0.1:7269"], "10.0.0.5:7269", true),
            (&["0.0.0.0:7269", "![::]:7269"], "[::]:7269", true),
            (&["0.0.0.0:7270", "![::]:7269"], "[::]:7269", false),
            (&["127.0.0.1:7269", "![::]:7269"], "[::]:7269", false),
            (&["![::]:7269"], "[::]:7269", false),
            (&["![::]:7269", "[::]:7270"], "[::]:7270", true),
        ] {
            assert_eq!(chosen(bound), Some((announced.into(), ipv4_too)), "{bound:?}");
        }
        assert_eq!(chosen(&["127.0.0.1:7269", "[::1]:7269", "[::ffff:127.0.0.1]:1"]), None);
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "says that it tested nothing")]
    fn a_socket_tells_whether_ipv4_gets_there() {
        for only_v6 in [true, false] {
            let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
                eprintln!("skipped: this machine has no IPv6");
                return;
            };
            socket.set_only_v6(only_v6).unwrap();
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
            assert_eq!(Bound::of(&socket.into()).unwrap().only_v6, only_v6);
        }
    }
}
