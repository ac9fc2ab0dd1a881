//! Under which names this machine may be asked. A page of anybody's can have its name lead to an address here
//! (DNS rebinding), and then a browser takes what is served for a part of that page; the name in `Host` gives
//! it away.

use std::net::IpAddr;

use hyper::http::uri::Authority;

/// The names, in small letters.
#[derive(Clone, Debug)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// This machine's own `name`, and those that its user has `given` it besides.
    #[must_use]
    pub fn new(name: &str, given: &[String]) -> Hosts {
        let name = name.to_ascii_lowercase();
        // Of a name with a domain the first part is what mDNS knows.
        let short = name.split('.').next().unwrap_or_default();
        let local = format!("{short}.local");
        let mut names = vec!["localhost".to_owned(), short.to_owned(), local];
        names.push(name);
        names.extend(given.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()));
        names.retain(|name| !name.is_empty());
        Hosts(names)
    }

    /// Whether a request for this `HOST[:PORT]` is meant for here. An address cannot be made to lead
    /// elsewhere.
    #[must_use]
    pub fn allow(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        // Nobody has a name and a password in Host.
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_own_names_are_allowed_and_no_others() {
        let hosts = Hosts::new("Nas.lan", &["files.example.org".into()]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:7270",
            "[::1]:7270",
            "[fd00::20]",
            "localhost:1",
            "nas",
            "NAS:7270",
            "nas.local.",
            "nas.lan",
            "Files.Example.Org",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in
            ["", "evil.example", "nas.evil.example", "localhost.evil.example", "user@nas", "a b", "nas/x"]
        {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
