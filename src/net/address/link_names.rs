//! Which names the resolver may have got from the link, where anybody can have any name.
//!
//! The system does not say where an answer came from (getaddrinfo(3)), so this asks where it can have come
//! from: the hosts line of nsswitch.conf(5), the name servers of resolv.conf(5), and hosts(5).

use std::fs;

/// Modules of nsswitch.conf that ask the link for names of one label. `mdns_minimal` and its kin ask for
/// `.local` only.
const ASKING: [&str; 5] = ["resolve", "mdns", "mdns4", "mdns6", "wins"];

/// The stub resolver of systemd-resolved, which speaks LLMNR.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// Whether the link may have been asked for `host`, a name of one label in small letters.
pub(super) fn may_resolve(host: &str) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    may_have_asked(host, &read("/etc/hosts"), &read("/etc/nsswitch.conf"), &read("/etc/resolv.conf"))
}

fn may_have_asked(host: &str, hosts: &str, nsswitch: &str, resolv: &str) -> bool {
    let listed = words_of(hosts).any(|mut words| words.any(|word| word.eq_ignore_ascii_case(host)));
    let asks = words_of(nsswitch)
        .any(|mut words| words.next() == Some("hosts:") && words.any(|word| ASKING.contains(&word)));
    let stub = words_of(resolv)
        .any(|mut words| words.next() == Some("nameserver") && words.any(|word| STUBS.contains(&word)));
    !listed && (asks || stub)
}

/// The words of each line, without its comment.
fn words_of(text: &str) -> impl Iterator<Item = impl Iterator<Item = &str>> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_one_label_is_anybodys_only_where_the_link_is_asked() {
        let plain = "hosts: files dns";
        assert!(!may_have_asked("nas", "", plain, "nameserver 10.0.0.1"));
        assert!(may_have_asked("nas", "", plain, "nameserver 127.0.0.53"));
        assert!(!may_have_asked("nas", "", "hosts: files mdns4_minimal [NOTFOUND=return] dns", ""));
        for asking in ASKING {
            assert!(may_have_asked("nas", "10.0.0.2 other # nas", &format!("hosts: files {asking} dns"), ""));
        }
        assert!(!may_have_asked("nas", "10.0.0.2 nas.lan NAS", "hosts: files resolve", ""));
        assert!(!may_have_asked("nas", "", "# hosts: resolve\npasswd: resolve", ""));
    }
}
