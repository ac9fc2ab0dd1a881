//! Where a receiver is, as a user writes it.

mod link_names;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::PORT_DEFAULT;
use crate::name::escape;
use crate::trust::fingerprint::Fingerprint;

/// `HOST[:PORT]`: a name, an IPv4 or an IPv6 address. An IPv6 address with a port stands in brackets; without
/// one it may. A link-local address has its zone: `fe80::1%eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub host: String,
    pub port: u16,
    /// Where it said that it is. Without this the resolver is asked.
    pub found: Option<Arc<Found>>,
}

/// What a receiver that was found on the network says of itself. Anybody there can say anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where to try, in this order.
    pub addrs: Vec<SocketAddr>,
    /// The key that it claims to have. A receiver with another one is not sent to.
    pub key: Option<Fingerprint>,
    /// It was reached there before, and has not said so now: for which port the user looks for it.
    pub remembered_for: Option<u16>,
}

impl Peer {
    /// One whose address the resolver knows.
    pub fn new(host: impl Into<String>, port: u16) -> Peer {
        Peer { host: host.into(), port, found: None }
    }

    /// What the user named, where that is only tried where it was last.
    pub fn named_before(&self) -> Option<Peer> {
        Some(Peer::new(&*self.host, self.found.as_ref()?.remembered_for?))
    }

    /// Whether the host could be the name that a receiver shows: one label, which is no address.
    pub fn is_plain_name(&self) -> bool {
        self.found.is_none() && !self.host.contains(['.', ':', '%'])
    }

    /// The name that a receiver may show, also where it was typed as `nas.local`.
    pub fn link_name(&self) -> Option<&str> {
        let name = self.host.strip_suffix(".local").unwrap_or(&self.host);
        (self.found.is_none() && !name.contains(['.', ':', '%'])).then_some(name)
    }

    /// Whether anybody on the network can have this name: one that was found there, ends in `.local` (RFC
    /// 6762), or has one label that the resolver may have asked the link for (LLMNR, mDNS).
    pub fn is_anybodys_name(&self) -> bool {
        let host = self.host.trim_end_matches('.').to_lowercase();
        self.found.is_some()
            || host.ends_with(".local")
            || (self.is_plain_name() && link_names::may_resolve(&host))
    }

    /// Host and port in one spelling, by which its key is remembered.
    pub fn address(&self) -> String {
        let host = self.host.to_lowercase();
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }
}

/// What is wrong with a `HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPeer {
    #[error("HOST is empty; it is a name or an address, as in `lanx send FILE 192.168.1.20`")]
    Empty,
    #[error("'{0}' is not a port; a port is a number from 1 to 65535")]
    Port(String),
    #[error("'{0}' is not an IPv6 address; a name or IPv4 address has at most one ':', before its port")]
    Ipv6(String),
    #[error("'{0}' lacks its ']'; an IPv6 address with a port is written [::1]:{PORT_DEFAULT}")]
    Bracket(String),
    #[error("'{0}' is not a host name")]
    Name(String),
}

impl FromStr for Peer {
    type Err = BadPeer;

    fn from_str(text: &str) -> Result<Peer, BadPeer> {
        // A host is shown in many a message, and none has what would have to be escaped there.
        let shown = escape(text);
        if shown != text {
            return Err(BadPeer::Name(shown));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(|| BadPeer::Bracket(text.into()))?;
            check_ipv6(host)?;
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if port.is_empty() => PORT_DEFAULT,
                None => return Err(BadPeer::Port(port.into())),
            };
            return Ok(Peer::new(host, port));
        }
        match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                check_ipv6(text)?;
                Ok(Peer::new(text, PORT_DEFAULT))
            }
            Some((host, port)) => Ok(Peer::new(check_name(host)?, parse_port(port)?)),
            None => Ok(Peer::new(check_name(text)?, PORT_DEFAULT)),
        }
    }
}

fn check_name(host: &str) -> Result<String, BadPeer> {
    if host.is_empty() {
        return Err(BadPeer::Empty);
    }
    if host.contains(['/', '@']) || host.contains(char::is_whitespace) {
        return Err(BadPeer::Name(host.into()));
    }
    Ok(host.into())
}

fn check_ipv6(host: &str) -> Result<(), BadPeer> {
    let address = host.split_once('%').map_or(host, |(address, _zone)| address);
    address.parse::<Ipv6Addr>().map(drop).map_err(|_| BadPeer::Ipv6(host.into()))
}

fn parse_port(port: &str) -> Result<u16, BadPeer> {
    match port.parse() {
        Ok(0) | Err(_) => Err(BadPeer::Port(port.into())),
        Ok(port) => Ok(port),
    }
}

impl fmt::Display for Peer {
    /// As it was written, without the port where that is the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (PORT_DEFAULT, _) => f.write_str(&self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// An address as a person may type it: where it is of one link, with the name of the interface and not its
/// number.
pub fn shown(addr: &SocketAddr) -> String {
    let interface = match addr {
        SocketAddr::V6(addr) if addr.scope_id() != 0 => interface(addr.scope_id()),
        _ => None,
    };
    match interface {
        Some(name) => format!("[{}%{name}]:{}", addr.ip(), addr.port()),
        None => addr.to_string(),
    }
}

fn interface(index: u32) -> Option<String> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
    interfaces.find(|interface| interface.index == Some(index)).map(|interface| interface.name)
}

/// How another machine would name this one: an address of ours, with the port where it is not the usual one.
pub fn as_typed(ip: IpAddr, port: u16) -> String {
    Peer::new(ip.to_string(), port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_way_to_write_a_host() {
        for (text, host, port) in [
            ("nas", "nas", 7269),
            ("nas.local:80", "nas.local", 80),
            ("10.0.0.1", "10.0.0.1", 7269),
            ("10.0.0.1:9", "10.0.0.1", 9),
            ("::1", "::1", 7269),
            ("fd77::2", "fd77::2", 7269),
            ("[::1]", "::1", 7269),
            ("[::1]:65535", "::1", 65535),
            ("fe80::1%eth0", "fe80::1%eth0", 7269),
            ("[fe80::1%3]:8000", "fe80::1%3", 8000),
        ] {
            assert_eq!(text.parse(), Ok(Peer::new(host, port)), "{text}");
        }
    }

    #[test]
    fn only_a_single_label_could_be_a_receivers_name() {
        for (text, plain) in
            [("nas", true), ("nas:9000", true), ("nas.local", false), ("10.0.0.1", false), ("[::1]:9", false)]
        {
            assert_eq!(text.parse::<Peer>().unwrap().is_plain_name(), plain, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in [
            "",
            ":1",
            "a:0",
            "a:",
            "a:65536",
            "a:x",
            "a:b:c",
            "[::1",
            "[::1]x",
            "[nas]:1",
            "./file",
            "a b",
            "u@h",
            "a\\b",
            "a\x1b[31m",
            "a\u{202e}b",
            "fe80::1%\x07",
            "nas:\x07",
        ] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_is_shown_by_its_name_where_it_has_one() {
        let loopback =
            if_addrs::get_if_addrs().unwrap().into_iter().find(|interface| interface.is_loopback());
        let Some((index, name)) = loopback.and_then(|interface| Some((interface.index?, interface.name)))
        else {
            return;
        };
        let shown = |text: &str| super::shown(&text.parse().unwrap());
        assert_eq!(shown(&format!("[fe80::1%{index}]:9")), format!("[fe80::1%{name}]:9"));
        assert_eq!(shown("[fe80::1%999999]:9"), "[fe80::1%999999]:9");
        assert_eq!(shown("[fe80::1]:9"), "[fe80::1]:9");
        assert_eq!(shown("10.0.0.1:9"), "10.0.0.1:9");
    }

    #[test]
    fn is_shown_as_it_would_be_typed() {
        for text in ["nas", "nas:80", "10.0.0.1:9", "::1", "[::1]:9", "fe80::1%eth0", "[fe80::1%3]:8000"] {
            assert_eq!(text.parse::<Peer>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:7269".parse::<Peer>().unwrap().to_string(), "::1");
    }
}
