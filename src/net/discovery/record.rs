//! What somebody says of itself, as far as it can be used.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use if_addrs::IfAddr;
use mdns_sd::{ResolvedService, ScopedIp};

use super::service::{Kind, TXT_KEY, TXT_QUIC, TXT_SCHEME, TXT_VERSION};
use crate::limits::FOUND_ADDRESSES_MAX;
use crate::name::{is_unsafe_to_show, shorten};
use crate::net::address::{Found, Peer};
use crate::trust::fingerprint::Fingerprint;

/// Bytes in the name of a receiver: one label of DNS (RFC 1035, section 2.3.4).
const RECEIVER_NAME_MAX_BYTES: usize = 63;

/// A receiver, or a web server, as it was seen on the network. Everything in it is foreign and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// A name that can be typed as HOST; see [`plain_name`].
    pub name: String,
    pub port: u16,
    /// Where to try, in this order; at least one.
    pub addrs: Vec<SocketAddr>,
    /// The key that it claims.
    pub key: Option<Fingerprint>,
    /// The version of the protocol that it claims.
    pub version: Option<u16>,
    /// Whether it claims that one may come over QUIC.
    pub quic: bool,
    /// Whether a web server claims to speak TLS.
    pub secure: bool,
}

impl Sighting {
    /// Reads the records of one. `None` where nothing there could be connected to. Addresses that mean this
    /// machine are none of another one, and of public ones only those of the `networks` of this machine
    /// count: nobody is to send us across the Internet. The networks are asked for once, and only where there
    /// is such an address.
    pub(super) fn read(
        kind: Kind,
        service: &ResolvedService,
        networks: impl FnOnce() -> Vec<IfAddr>,
    ) -> Option<Sighting> {
        let instance = service.fullname.strip_suffix(kind.service())?.trim_end_matches('.');
        let (mut addrs, mut public): (Vec<SocketAddr>, Vec<SocketAddr>) = service
            .addresses
            .iter()
            .filter_map(|ip| usable(ip, service.port))
            .partition(|addr| is_local(addr.ip().to_canonical()));
        public.sort_unstable();
        // Before they are compared with each network, of which there may be many.
        public.truncate(FOUND_ADDRESSES_MAX);
        if !public.is_empty() {
            let networks = networks();
            let on_link =
                |addr: &SocketAddr| networks.iter().any(|network| is_of(addr.ip().to_canonical(), network));
            addrs.extend(public.into_iter().filter(on_link));
        }
        // What reaches furthest first, then IPv4: it is what a person recognises.
        addrs.sort_by_key(|addr| (is_link_local(addr.ip()), addr.is_ipv6(), *addr));
        addrs.truncate(FOUND_ADDRESSES_MAX);
        if addrs.is_empty() || service.port == 0 {
            return None;
        }
        let text = |key| service.get_property_val_str(key);
        Some(Sighting {
            name: plain_name(instance),
            port: service.port,
            addrs,
            key: text(TXT_KEY).and_then(|text| text.parse().ok()),
            version: text(TXT_VERSION).and_then(|text| text.parse().ok()),
            quic: text(TXT_QUIC) == Some("1"),
            secure: text(TXT_SCHEME) == Some("https"),
        })
    }

    /// Whom to send to.
    pub fn peer(&self) -> Peer {
        let found = Found { addrs: self.addrs.clone(), key: self.key, remembered_for: None };
        Peer { found: Some(Arc::new(found)), ..Peer::new(self.name.clone(), self.port) }
    }
}

fn usable(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    let addr = match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        ip => SocketAddr::new(ip.to_ip_addr(), port),
    };
    let plain = addr.ip().to_canonical();
    let nowhere = plain.is_unspecified() || plain.is_multicast() || plain.is_loopback();
    (!nowhere).then_some(addr)
}

/// Whether only networks of somebody's own have such addresses. They may be another network than ours: some
/// routers pass on what is announced.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = matches!(ip.octets(), [100, 64..128, ..]);
            ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether the address is of the network that an interface with the address `own` is on.
fn is_of(ip: IpAddr, own: &IfAddr) -> bool {
    match (own, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => own.ip & own.netmask == ip & own.netmask,
        (IfAddr::V6(own), IpAddr::V6(ip)) => own.ip & own.netmask == ip & own.netmask,
        _ => false,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// A name as it can be typed as HOST and shown anywhere: small letters and digits of any script, `-` and `_`,
/// at most `RECEIVER_NAME_MAX_BYTES`; whatever else is there becomes a `-`. So `Nas (2)` is `nas-2`.
pub fn plain_name(text: &str) -> String {
    // Small letters may take more room than large ones, so what is cut is what is left in the end.
    let text = String::from_utf8_lossy(shorten(text.as_bytes(), 4 * RECEIVER_NAME_MAX_BYTES)).to_lowercase();
    let kept = |c: char| (c.is_alphanumeric() && !is_unsafe_to_show(c)) || c == '_';
    let words: Vec<&str> = text.split(|c| !kept(c)).filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    match String::from_utf8_lossy(shorten(name.as_bytes(), RECEIVER_NAME_MAX_BYTES)).trim_end_matches('-') {
        "" => "receiver".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use if_addrs::{Ifv4Addr, Ifv6Addr};
    use mdns_sd::ServiceInfo;
    use proptest::prelude::*;

    use super::*;
    use crate::name::escape;

    const KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn read(name: &str, ips: &str, port: u16, txt: &[(&str, &str)]) -> Option<Sighting> {
        let info = ServiceInfo::new(Kind::Receiver.service(), name, "x.local.", ips, port, txt).unwrap();
        Sighting::read(Kind::Receiver, &info.as_resolved_service(), networks)
    }

    /// 192.0.2.4/30 and 2001:db8:1::/64.
    fn networks() -> Vec<IfAddr> {
        let v4 = Ifv4Addr {
            ip: "192.0.2.6".parse().unwrap(),
            netmask: "255.255.255.252".parse().unwrap(),
            prefixlen: 30,
            broadcast: None,
        };
        let v6 = Ifv6Addr {
            ip: "2001:db8:1::9".parse().unwrap(),
            netmask: "ffff:ffff:ffff:ffff::".parse().unwrap(),
            prefixlen: 64,
            broadcast: None,
        };
        vec![IfAddr::V4(v4), IfAddr::V6(v6)]
    }

    #[test]
    fn a_receiver_is_read_with_all_that_it_says() {
        let found = read("nas", "fe80::1,fd00::5,10.0.0.5", 9000, &[("v", "7"), ("key", KEY)]).unwrap();
        assert_eq!((found.name.as_str(), found.port, found.version), ("nas", 9000, Some(7)));
        assert_eq!(found.key, KEY.parse().ok());
        let shown: Vec<String> = found.addrs.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.5:9000", "[fd00::5]:9000", "[fe80::1]:9000"]);
        let peer = found.peer();
        assert_eq!((peer.to_string(), peer.address()), ("nas:9000".into(), "nas:9000".into()));
        assert_eq!(peer.found.unwrap().addrs, found.addrs);
    }

    #[test]
    fn what_could_not_be_connected_to_is_no_receiver() {
        for ips in ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.251", "ff02::fb", "::ffff:127.0.0.1", ""] {
            assert_eq!(read("nas", ips, 9000, &[]), None, "{ips:?}");
        }
        assert_eq!(read("nas", "10.0.0.5", 0, &[]), None);
        let mixed = read("nas", "127.0.0.1,10.0.0.5", 1, &[]).unwrap();
        assert_eq!(mixed.addrs, ["10.0.0.5:1".parse().unwrap()]);
    }

    #[test]
    fn public_addresses_count_only_on_a_network_of_this_machine() {
        for (ips, kept) in [
            ("192.0.2.8", None),
            ("2001:db8::1", None),
            ("192.0.2.7", Some("192.0.2.7:1")),
            ("2001:db8:1::1,2001:db8:2::1", Some("[2001:db8:1::1]:1")),
            ("::ffff:192.0.2.8", None),
            ("192.0.2.8,100.64.0.1", Some("100.64.0.1:1")),
            ("2001:db8::1,fd00::1", Some("[fd00::1]:1")),
        ] {
            let found = read("nas", ips, 1, &[]).map(|found| found.addrs);
            assert_eq!(found, kept.map(|addr| vec![addr.parse().unwrap()]), "{ips}");
        }
    }

    #[test]
    fn what_makes_no_sense_in_txt_is_as_if_it_were_not_there() {
        for (v, key) in [("", ""), ("-1", "SHA256:"), ("70000", "\x1b[2J"), ("v1", &KEY[..30])] {
            let found = read("nas", "10.0.0.5", 1, &[("v", v), ("key", key)]).unwrap();
            assert_eq!((found.version, found.key), (None, None), "{v:?} {key:?}");
        }
    }

    #[test]
    fn no_more_addresses_are_kept_than_will_be_tried() {
        let many: Vec<String> = (0..200).map(|n| format!("10.0.0.{n}")).collect();
        let found = read("nas", &many.join(","), 1, &[]).unwrap();
        assert_eq!(found.addrs.len(), FOUND_ADDRESSES_MAX);
    }

    #[test]
    fn foreign_addresses_neither_crowd_out_those_of_a_network_nor_cost_more_than_one_look() {
        let foreign: Vec<String> = (0..200).map(|n| format!("8.8.8.{n}")).collect();
        let resolved = |ips: &str| {
            ServiceInfo::new(Kind::Receiver.service(), "nas", "x.local.", ips, 1, &[("v", "1")][..])
                .unwrap()
                .as_resolved_service()
        };
        let looks = Cell::new(0);
        let looking = || {
            looks.set(looks.get() + 1);
            networks()
        };
        let found =
            Sighting::read(Kind::Receiver, &resolved(&format!("{},10.0.0.5", foreign.join(","))), looking)
                .unwrap();
        assert_eq!((found.addrs, looks.get()), (vec!["10.0.0.5:1".parse().unwrap()], 1));
        Sighting::read(Kind::Receiver, &resolved("10.0.0.5,fd00::5"), looking).unwrap();
        assert_eq!(looks.get(), 1, "private addresses need none");
    }

    #[test]
    fn names_become_what_can_be_typed() {
        for (text, name) in [
            ("nas", "nas"),
            ("NAS (2)", "nas-2"),
            ("Ann's Laptop", "ann-s-laptop"),
            ("a.b:9@c/d%e", "a-b-9-c-d-e"),
            ("\x1b[31mred\u{202e}", "31mred"),
            ("b\u{fc}ro_1", "b\u{fc}ro_1"),
            ("\u{3164}", "receiver"),
            ("--", "receiver"),
            ("", "receiver"),
        ] {
            assert_eq!(plain_name(text), name, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_can_be_shown_and_typed_and_stays_what_it_is(text in "\\PC*|.*|(?s).{0,300}") {
            let name = plain_name(&text);
            prop_assert!((1..=RECEIVER_NAME_MAX_BYTES).contains(&name.len()));
            prop_assert_eq!(&escape(&name), &name);
            let peer: Peer = name.parse().unwrap();
            prop_assert!(peer.is_plain_name());
            prop_assert_eq!(peer.host, name.clone());
            prop_assert_eq!(plain_name(&name), name);
        }
    }
}
