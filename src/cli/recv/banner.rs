//! What a receiver says first: where it listens, who may come, and what to type on the other machine.

use std::iter;
use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::cli::announce;
use crate::cli::ui::events::Event;
use crate::cli::ui::out::Audience;
use crate::cli::ui::paint::{Paint, Stream, in_journal, paint};
use crate::cli::ui::{events, out};
use crate::name::Escaped;
use crate::net::address::as_typed;
use crate::net::discovery::{Announcement, News, What};
use crate::net::tcp::listen::reachable_addresses;
use crate::store::Target;
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::policy::AuthPolicy;

/// Tells what to type on the other machine, which comes first, and where we listen.
/// `over_quic` is where senders may also come over QUIC.
pub fn invite(
    to: &Target,
    bound: &[SocketAddr],
    over_quic: &[SocketAddr],
    auth: &AuthPolicy,
    shows_code: bool,
    audience: Audience,
) {
    if !in_journal() {
        audience.line(to_type(bound));
    }
    tell_who_may_come(auth, shows_code, audience);
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
fn tell_who_may_come(auth: &AuthPolicy, shows_code: bool, audience: Audience) {
    if auth.open {
        out::error("--open: everybody who can reach this port can send files here");
    }
    if let (true, Some(book)) = (shows_code, &auth.book) {
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
    if in_journal() {
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

/// Announces the receiver until what is returned is dropped: one that other machines can reach at one of its
/// sockets.
pub fn announce(
    listeners: &[TcpListener],
    over_quic: &[SocketAddr],
    key: Fingerprint,
    audience: Audience,
) -> Option<Announcement> {
    let what = |bound: SocketAddr| What::Receiver {
        key,
        quic: over_quic.iter().any(|addr| addr.port() == bound.port()),
    };
    announce::start(listeners, what, move |news| tell(&news, audience))
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
