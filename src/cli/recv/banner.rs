//! What a receiver says first: where it listens, who may come, and what to type on the other machine.

use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use socket2::SockRef;

use super::systemd;
use crate::cli::credentials;
use crate::cli::ui::events::Event;
use crate::cli::ui::out::{Audience, Stream};
use crate::cli::ui::paint::{Paint, paint};
use crate::cli::ui::{events, out};
use crate::name::Escaped;
use crate::net::address::as_typed;
use crate::net::discovery::{Announce, Announcement, News};
use crate::net::tcp::listen::reachable_addresses;
use crate::store::Target;
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::policy::House;

/// Tells what to type on the other machine, which comes first, and where we listen.
/// `over_quic` is where senders may also come over QUIC.
pub fn invite(
    to: &Target,
    bound: &[SocketAddr],
    over_quic: &[SocketAddr],
    house: &House,
    shows_code: bool,
    audience: Audience,
) {
    if !systemd::in_journal() {
        audience.line(to_type(bound));
    }
    tell_who_may_come(house, shows_code, audience);
    audience.line(place(to, bound, over_quic));
    if audience.json {
        let listening = |addr: &SocketAddr, quic| {
            events::write(&Event::Listening { addr: *addr, port: addr.port(), quic });
        };
        bound.iter().for_each(|addr| listening(addr, None));
        over_quic.iter().for_each(|addr| listening(addr, Some(true)));
    }
}

/// What a user must know about the door, also with --quiet: that it is open, and the code.
fn tell_who_may_come(house: &House, shows_code: bool, audience: Audience) {
    if house.open {
        out::error("--open: everybody who can reach this port can send files here");
    }
    if let (true, Some(book)) = (shows_code, &house.book) {
        tell_code(audience, "pairing code: ", &book.code());
    }
}

/// A code is for the person in front of the screen, also with --quiet, and never for a script's log.
pub fn tell_code(audience: Audience, before: &str, code: &Code) {
    let text = |to| format!("{before}{}", paint(to, Paint::Bold, code.reveal()));
    match audience.json || audience.bytes {
        true => out::note(text(Stream::Stderr)),
        false => audience.result(text(Stream::Stdout)),
    }
}

/// Where we receive and listen.
fn place(to: &Target, bound: &[SocketAddr], over_quic: &[SocketAddr]) -> String {
    let what = match to {
        Target::Folder(folder) => format!("receiving into {}", Escaped::path(folder.path())),
        Target::Output(_) => "receiving one file, to standard output".into(),
    };
    if systemd::in_journal() {
        let over_quic = over_quic.iter().map(|addr| format!("{addr} (QUIC)"));
        let bound: Vec<String> = bound.iter().map(ToString::to_string).chain(over_quic).collect();
        return format!("{what}, listening on {}", bound.join(" and "));
    }
    let bound = bound.iter().map(|addr| format!("listening on {addr}"));
    let over_quic = over_quic.iter().map(|addr| format!("listening for QUIC on {addr} (UDP)"));
    let lines =
        iter::once(what).chain(bound).chain(over_quic).map(|line| paint(Stream::Stdout, Paint::Dim, line));
    lines.collect::<Vec<_>>().join("\n")
}

fn to_type(bound: &[SocketAddr]) -> String {
    let mut addresses: Vec<(IpAddr, u16)> = Vec::new();
    for addr in bound {
        addresses.extend(reachable_addresses(*addr).into_iter().map(|ip| (ip, addr.port())));
    }
    // Sockets of both families may have an address in common.
    addresses.sort_unstable_by_key(|(ip, port)| (ip.is_ipv6(), *ip, *port));
    addresses.dedup();
    let text = match addresses.len() {
        _ if bound.iter().all(|addr| addr.ip().to_canonical().is_loopback()) => {
            "on this machine, as no other can reach that address:"
        }
        0 => "no other machine can reach this one: it has no network address",
        1 => "on the other machine:",
        _ => "on the other machine, whichever of these it can reach:",
    };
    let command = |(ip, port)| {
        format!(
            "\n  {}",
            paint(Stream::Stdout, Paint::Bold, format_args!("lanx send FILE {}", as_typed(ip, port)))
        )
    };
    iter::once(text.to_owned()).chain(addresses.into_iter().map(command)).collect()
}

// Telling the network of a receiver, and its user what came of that.

/// Announces the receiver until what is returned is dropped: one that other machines can reach at one of its sockets.
pub fn announce(
    listeners: &[TcpListener],
    over_quic: &[SocketAddr],
    key: Fingerprint,
    audience: Audience,
) -> Option<Announcement> {
    let bound: Vec<Bound> = listeners.iter().filter_map(Bound::of).collect();
    let (bound, ipv4_too) = announced(&bound)?;
    let name = credentials::own_name();
    // Of a name with a domain the first part is what people call it.
    let name = name.split('.').next().unwrap_or(&name).to_owned();
    let quic = over_quic.iter().any(|addr| addr.port() == bound.port());
    Some(Announcement::start(Announce { name, bound, ipv4_too, key, quic }, move |news| {
        tell(&news, audience)
    }))
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

/// Which socket is announced, as a receiver with several has one name all the same, and whether what is announced of IPv6
/// holds for IPv4: by the same socket, or by another one at the same port.
fn announced(all: &[Bound]) -> Option<(SocketAddr, bool)> {
    let widest = |bound: &&Bound| (bound.addr.ip().is_unspecified(), bound.addr.is_ipv6(), !bound.only_v6);
    let outward = all.iter().filter(|bound| !bound.addr.ip().to_canonical().is_loopback());
    let Bound { addr, only_v6 } = outward.max_by_key(widest)?;
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
    Some((*addr, !only_v6 || all.iter().any(|bound| bound.addr == all_of_ipv4)))
}

fn tell(news: &News, audience: Audience) {
    match news {
        News::As(name) if audience.json => events::write(&Event::Announced { name }),
        News::As(name) => {
            let text = format!("announced as {name}: `lanx send FILE` finds it on this network");
            audience.line(paint(Stream::Stdout, Paint::Dim, text));
        }
        News::Nowhere => tracing::info!(
            "this receiver is not announced so far: there is no network with multicast; senders have to name its address"
        ),
    }
}

#[cfg(test)]
mod announcing_tests {
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
