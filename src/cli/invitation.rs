//! What a receiver says first: where it listens, who may come, and what to type on the other machine.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::json::{self, Event};
use super::output::{self, Audience};
use super::service;
use crate::name::Escaped;
use crate::sink::Destination;
use crate::transport::tcp::address::as_typed;
use crate::transport::tcp::listen::reachable_addresses;
use crate::trust::house::House;

/// What a user must know about the door, also with --quiet: that it is open, and the code.
pub fn tell_who_may_come(house: &House, shows_code: bool, audience: Audience) {
    if house.open {
        output::error("--open: everybody who can reach this port may leave files here");
    }
    if let (true, Some(book)) = (shows_code, &house.book) {
        let code = book.code();
        tell_code(audience, format_args!("pairing code for new machines: {}", code.reveal()));
    }
}

/// A code is for the person in front of the screen, also with --quiet, and never for a script's log.
pub fn tell_code(audience: Audience, text: std::fmt::Arguments<'_>) {
    if audience.json { output::note(text) } else { audience.result(text) }
}

/// Tells where we listen, and a person what to type on the other machine.
pub fn invite(to: &Destination, bound: &[SocketAddr], audience: Audience) {
    audience.line(invitation(to, bound));
    if audience.json {
        bound.iter().for_each(|addr| json::write(&Event::Listening { addr: *addr, port: addr.port() }));
    }
}

fn invitation(to: &Destination, bound: &[SocketAddr]) -> String {
    let mut text = match to {
        Destination::Folder(sink) => format!("receiving into {}", Escaped::path(sink.path())),
        Destination::Output(_) => "receiving one file, to standard output".into(),
    };
    if service::in_journal() {
        let bound: Vec<String> = bound.iter().map(ToString::to_string).collect();
        return text + ", listening on " + &bound.join(" and ");
    }
    for addr in bound {
        let _ = write!(text, "\nlistening on {addr}");
    }
    let mut addresses: Vec<(IpAddr, u16)> = Vec::new();
    for addr in bound {
        addresses.extend(reachable_addresses(*addr).into_iter().map(|ip| (ip, addr.port())));
    }
    // Sockets of both families may have an address in common.
    addresses.sort_unstable_by_key(|(ip, port)| (ip.is_ipv6(), *ip, *port));
    addresses.dedup();
    match addresses.len() {
        _ if bound.iter().all(|addr| addr.ip().to_canonical().is_loopback()) => {
            text += "\non this machine, as no other can reach that address:"
        }
        0 => text += "\nno other machine can reach this one: it has no network address",
        1 => text += "\non the other machine:",
        _ => text += "\non the other machine, whichever of these it can reach:",
    }
    for (ip, port) in addresses {
        let _ = write!(text, "\n  lanx send FILE {}", as_typed(ip, port));
    }
    text
}
