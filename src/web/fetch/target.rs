//! An address to get something from.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Uri;
use percent_encoding::percent_decode_str;

use crate::name::Name;
use crate::web::certificate::Pin;

/// What a user named.
#[derive(Clone, Debug)]
pub struct Target {
    /// Without token and fragment.
    pub uri: Uri,
    /// The key that the server has to have.
    pub pin: Option<Pin>,
    /// What stood in the link.
    pub token: Option<String>,
}

/// Why an address is none. None of them shows it, as it may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("this is no address; expected http://HOST/PATH or https://HOST/PATH")]
    Malformed,
    #[error(
        "an address with a name and a password shows it to every user of this machine; put it into a field by --header-file"
    )]
    Credentials,
    #[error("the #sha256= of a link is 43 characters of base64; copy the whole link")]
    Pin,
    #[error("a key is pinned for https alone; use https, or leave out #sha256=")]
    PinWithoutTls,
}

impl Target {
    /// Takes an address apart.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn parse(text: &str) -> Result<Target, BadTarget> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, token) = without_token(address);
        let uri: Uri = address.parse().map_err(|_| BadTarget::Malformed)?;
        let uri = checked(uri)?;
        let pin = match fragment.strip_prefix("sha256=") {
            None => None,
            Some(_) if uri.scheme_str() != Some("https") => return Err(BadTarget::PinWithoutTls),
            Some(text) => Some(pin(text).ok_or(BadTarget::Pin)?),
        };
        Ok(Target { uri, pin, token })
    }

    /// What the file is called at its server: the last name of the path, and no folder before it. A name that
    /// begins with a dot would be hidden, and some of those are read by programs.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        let last = self.uri.path().rsplit('/').next()?;
        harmless(&percent_decode_str(last).collect::<Vec<u8>>())
    }

    /// The same of a folder, whose path may end in a slash; `None` for the root of its server.
    #[must_use]
    pub fn folder_name(&self) -> Option<Name> {
        let last = self.uri.path().trim_end_matches('/').rsplit('/').next()?;
        harmless(&percent_decode_str(last).collect::<Vec<u8>>())
    }
}

/// A name that a server gives, if it can be one here.
#[must_use]
pub fn harmless(name: &[u8]) -> Option<Name> {
    let base = name.rsplit(|byte| *byte == b'/').next()?;
    Name::from_wire(base).ok().filter(|name| !name.as_bytes().starts_with(b"."))
}

fn checked(uri: Uri) -> Result<Uri, BadTarget> {
    let authority = uri.authority().ok_or(BadTarget::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(BadTarget::Credentials);
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
        return Err(BadTarget::Malformed);
    }
    Ok(uri)
}

fn pin(text: &str) -> Option<Pin> {
    let decoded = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
    decoded.try_into().ok().map(Pin)
}

/// The address without `t=TOKEN`, which travels in a field instead.
fn without_token(address: &str) -> (String, Option<String>) {
    let Some((path, query)) = address.split_once('?') else { return (address.to_owned(), None) };
    let token = query.split('&').find_map(|pair| pair.strip_prefix("t="));
    let Some(token) = token else { return (address.to_owned(), None) };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("t=")).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{path}{query}"), Some(percent_decode_str(token).decode_utf8_lossy().into_owned()))
}

/// Where a redirection leads (RFC 3986, section 5.2, as far as servers use it).
#[must_use]
pub fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    // A colon behind the first of these is part of a path or a query.
    let mark = location.find(['/', '?']);
    let has_scheme = location.find(':').is_some_and(|colon| mark.is_none_or(|mark| colon < mark));
    let absolute = if has_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    checked(absolute.parse().ok()?).ok()
}

/// Scheme, host and port: whom credentials are for.
#[must_use]
pub fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        let name = Target::parse(text).unwrap().name();
        name.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned())
    }

    #[test]
    fn a_link_of_lanx_has_a_token_and_a_key_that_no_server_is_sent() {
        let pin = URL_SAFE_NO_PAD.encode([7; 32]);
        let target = Target::parse(&format!("https://nas:7270/a%20b?t=to-ken&tar#sha256={pin}")).unwrap();
        assert_eq!(target.uri, "https://nas:7270/a%20b?tar");
        assert_eq!((target.token.as_deref(), target.pin), (Some("to-ken"), Some(Pin([7; 32]))));
        for (text, bad) in [
            ("nas/x", BadTarget::Malformed),
            ("ftp://nas/x", BadTarget::Malformed),
            ("http:///x", BadTarget::Malformed),
            ("http://user:secret@nas/x", BadTarget::Credentials),
            ("https://nas/#sha256=short", BadTarget::Pin),
        ] {
            assert_eq!(Target::parse(text).unwrap_err(), bad, "{text}");
        }
        let clear = Target::parse(&format!("http://nas/x#sha256={pin}"));
        assert_eq!(clear.unwrap_err(), BadTarget::PinWithoutTls);
    }

    #[test]
    fn the_name_is_the_last_one_alone() {
        for (text, expected) in [
            ("http://h/a/b.iso", Some("b.iso")),
            ("http://h/a%20b?x=/y", Some("a b")),
            ("http://h/..%2f..%2fetc%2fpasswd", Some("passwd")),
            ("http://h/a/", None),
            ("http://h", None),
            ("http://h/..", None),
            ("http://h/.bashrc", None),
            ("http://h/a%2f.ssh", None),
            ("http://h/a%00b", None),
            ("http://h/.x.v2-y.lanx-part", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_redirection_leads_where_the_rfc_has_it() {
        let base: Uri = "https://h:8/a/b?c".parse().unwrap();
        for (location, expected) in [
            ("http://o/x", "http://o/x"),
            ("//o/x", "https://o/x"),
            ("/x?y", "https://h:8/x?y"),
            ("x", "https://h:8/a/x"),
            ("?z", "https://h:8/a/b?z"),
            ("/x#part", "https://h:8/x"),
            ("/x?to=http://o/", "https://h:8/x?to=http://o/"),
            ("x?to=http://o/", "https://h:8/a/x?to=http://o/"),
        ] {
            assert_eq!(join(&base, location).unwrap(), expected, "{location}");
        }
        for bad in [
            "ftp://o/x",
            "http://u:p@o/x",
            "javascript://x",
            "javascript:x",
            "file:///etc/passwd",
            "data:,x",
            "http:///x",
        ] {
            assert_eq!(join(&base, bad), None, "{bad}");
        }
        assert_eq!(origin(&"HTTP://H/".parse().unwrap()), ("http".into(), "h".into(), 80));
    }
}
