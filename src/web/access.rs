//! Who may ask: whoever has the token of the link. A browser trades it for a cookie at once, so that it
//! stands in no address that somebody sees or copies; everybody else sends it along.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::trust::guesses::network_of;

/// Bytes of a token that is made up: 128 bits, which nobody guesses.
const TOKEN_BYTES: usize = 16;

/// Characters of a token that the user chose, at least: as of a code.
pub const TOKEN_CHARS_MIN: usize = 8;

/// Characters of a token at most: more is no token but a mistake.
pub const TOKEN_CHARS_MAX: usize = 256;

/// BLAKE3's context for this use: who sees a cookie does not have the token.
const CONTEXT: &str = "lanx 2026-11-30 web cookie";

/// Wrong tokens that a network may send before it has to wait: as with codes.
const FREE_GUESSES: u32 = 3;

/// How long it waits first, and at most: each time twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// An hour without a wrong token forgets all before it.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Networks whose wrong tokens are remembered. One more drops the one that was quiet for longest.
const NETWORKS_MAX: usize = 4096;

/// What opens the door.
pub struct Token(Zeroizing<String>);

/// Why a text is no token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadToken {
    #[error("expected a token of {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters, got {0}")]
    Length(usize),
    #[error("expected a token of letters, digits, - . _ and ~, which every link can have")]
    Characters,
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// [`BadToken::NoRandom`].
    pub fn generate() -> Result<Token, BadToken> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(&mut *bytes).map_err(|_| BadToken::NoRandom)?;
        Ok(Token(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The user's.
    ///
    /// # Errors
    /// It is too short, too long, or cannot stand in a link.
    pub fn new(text: &str) -> Result<Token, BadToken> {
        let length = text.chars().count();
        if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&length) {
            return Err(BadToken::Length(length));
        }
        let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !text.bytes().all(is_kept) {
            return Err(BadToken::Characters);
        }
        Ok(Token(Zeroizing::new(text.to_owned())))
    }

    /// For the link that the user is shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compared by hashes, in a time that tells nothing.
    fn is(&self, text: &[u8]) -> bool {
        blake3::hash(text) == blake3::hash(self.0.as_bytes())
    }

    /// Who has `salt` as well can compute it.
    fn cookie(&self, salt: &[u8]) -> Zeroizing<String> {
        let secret = Zeroizing::new([self.0.as_bytes(), salt].concat());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(blake3::derive_key(CONTEXT, &secret)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a request comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome,
    /// It came by the link, and its token is right.
    ByLink,
    /// It has no token.
    Unknown,
    /// It has a wrong one.
    Wrong,
    /// It has the right one, whose time is over.
    Expired,
    /// It has the right one, which was for one client, and another one came.
    Used,
    /// So many wrong ones came from its network that nothing is looked at for so long.
    Wait(Duration),
}

/// How long a token is good, and for whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Term {
    pub until: Option<Instant>,
    /// For the first client that comes alone.
    pub once: bool,
}

/// The door.
#[derive(Debug)]
pub struct Access {
    /// Nobody is asked without one.
    token: Option<Token>,
    cookie_name: String,
    /// What a browser is given for the token.
    cookie: Zeroizing<String>,
    term: Term,
    /// Who came first, where nobody else is let in.
    first: Mutex<Option<IpAddr>>,
    guesses: Mutex<HashMap<IpAddr, Guesses>>,
}

#[derive(Debug)]
struct Guesses {
    wrong: u32,
    last: Instant,
}

impl Guesses {
    /// Until when nothing is looked at.
    fn closed_until(&self) -> Option<Instant> {
        let beyond = self.wrong.checked_sub(FREE_GUESSES)?;
        let pause = PAUSE_FIRST.saturating_mul(1 << beyond.min(16)).min(PAUSE_MAX);
        Some(self.last + pause)
    }
}

impl Access {
    /// `port` keeps apart the cookies of several servers of one machine, which browsers do not.
    ///
    /// # Errors
    /// [`BadToken::NoRandom`].
    pub fn new(token: Option<Token>, port: u16, term: Term) -> Result<Access, BadToken> {
        let mut salt = Zeroizing::new([0; TOKEN_BYTES]);
        // Where the token opens once, who has it is not to know what it was traded for. Otherwise a server
        // that is started again knows the cookies of the one before.
        if term.once {
            getrandom::fill(&mut *salt).map_err(|_| BadToken::NoRandom)?;
        }
        let salt = if term.once { &salt[..] } else { &[] };
        let cookie = token.as_ref().map(|token| token.cookie(salt)).unwrap_or_default();
        let cookie_name = format!("lanx-{port}");
        Ok(Access { token, cookie_name, cookie, term, first: Mutex::default(), guesses: Mutex::default() })
    }

    /// Judges a request by its header and the query of its address.
    pub fn judge(&self, peer: IpAddr, headers: &HeaderMap, query: Option<&str>, now: Instant) -> Verdict {
        let Some(token) = &self.token else { return Verdict::Welcome };
        let by_link = query.and_then(token_in);
        let by_header = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let cookie = self.cookie_in(headers);
        if by_link.is_none() && by_header.is_none() && cookie.is_none() {
            return Verdict::Unknown;
        }
        let network = network_of(peer);
        if let Some(wait) = self.wait(network, now) {
            return Verdict::Wait(wait);
        }
        let has_cookie =
            cookie.is_some_and(|value| blake3::hash(value) == blake3::hash(self.cookie.as_bytes()));
        let has_token = by_header.is_some_and(|text| token.is(text));
        if has_cookie && by_link.is_none() || has_token {
            return self.in_term(peer, has_cookie, now, Verdict::Welcome);
        }
        match by_link {
            Some(text) if token.is(&text) => self.in_term(peer, has_cookie, now, Verdict::ByLink),
            // The cookie of a server that ran here before is no guess.
            None if by_header.is_none() => Verdict::Unknown,
            _ => {
                self.count(network, now);
                Verdict::Wrong
            }
        }
    }

    /// `Set-Cookie` for who came by the link.
    #[must_use]
    pub fn set_cookie(&self, secure: bool) -> Option<String> {
        self.token.as_ref()?;
        let secure = if secure { "; Secure" } else { "" };
        Some(format!("{}={}; Path=/; HttpOnly; SameSite=Lax{secure}", self.cookie_name, *self.cookie))
    }

    /// Whether the time of the token is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.term.until.is_some_and(|until| now >= until)
    }

    /// What comes of a right token, or of the cookie that it was traded for.
    fn in_term(&self, peer: IpAddr, has_cookie: bool, now: Instant, verdict: Verdict) -> Verdict {
        if self.is_over(now) {
            return Verdict::Expired;
        }
        // Who has the cookie was the first, wherever it is by now.
        if self.term.once && !has_cookie && *self.first.lock().get_or_insert(peer) != peer {
            return Verdict::Used;
        }
        verdict
    }

    fn cookie_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
        pairs
            .map(<[u8]>::trim_ascii)
            .find_map(|pair| pair.strip_prefix(self.cookie_name.as_bytes())?.strip_prefix(b"="))
    }

    fn wait(&self, network: IpAddr, now: Instant) -> Option<Duration> {
        let guesses = self.guesses.lock();
        let until = guesses.get(&network)?.closed_until()?;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    fn count(&self, network: IpAddr, now: Instant) {
        let mut guesses = self.guesses.lock();
        if guesses.len() >= NETWORKS_MAX && !guesses.contains_key(&network) {
            let oldest = guesses.iter().min_by_key(|(_, guesses)| guesses.last).map(|(network, _)| *network);
            oldest.map(|oldest| guesses.remove(&oldest));
        }
        let own = guesses.entry(network).or_insert(Guesses { wrong: 0, last: now });
        if now.duration_since(own.last) >= FORGET_AFTER {
            own.wrong = 0;
        }
        own.wrong = own.wrong.saturating_add(1);
        own.last = now;
    }
}

/// The token in a query: `t=TOKEN`.
fn token_in(query: &str) -> Option<Vec<u8>> {
    query.split('&').find_map(|pair| pair.strip_prefix("t=")).map(|text| percent_decode_str(text).collect())
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 20));

    fn door(token: Option<Token>, term: Term) -> Access {
        Access::new(token, 7270, term).unwrap()
    }

    fn headers(fields: &[(&'static str, String)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_token_opens_by_link_header_and_cookie() {
        let token = Token::generate().unwrap();
        let text = token.reveal().to_owned();
        assert_eq!(text.len(), 22);
        let access = door(Some(token), Term::default());
        let now = Instant::now();
        let judge = |fields: &[(&'static str, String)], query: Option<&str>| {
            access.judge(PEER, &headers(fields), query, now)
        };
        assert_eq!(judge(&[], None), Verdict::Unknown);
        assert_eq!(judge(&[], Some("tar")), Verdict::Unknown);
        assert_eq!(judge(&[], Some(&format!("tar&t={text}"))), Verdict::ByLink);
        assert_eq!(judge(&[("authorization", format!("bearer  {text}"))], None), Verdict::Welcome);
        let set = access.set_cookie(true).unwrap();
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure") && !set.contains(&text), "{set}");
        let cookie = set.split(';').next().unwrap();
        assert_eq!(judge(&[("cookie", format!("a=b; {cookie}"))], None), Verdict::Welcome);
        assert_eq!(judge(&[("cookie", format!("x{cookie}"))], None), Verdict::Unknown);
        assert_eq!(judge(&[("cookie", "lanx-7270=old".into())], None), Verdict::Unknown);
        assert_eq!(judge(&[("authorization", "Bearer wrong".into())], None), Verdict::Wrong);
        assert_eq!(judge(&[], Some("t=wrong")), Verdict::Wrong);
        assert_eq!(door(None, Term::default()).judge(PEER, &HeaderMap::new(), None, now), Verdict::Welcome);
    }

    #[test]
    fn who_guesses_waits_longer_each_time_and_nobody_else_does() {
        let access = door(Some(Token::new("open-sesame").unwrap()), Term::default());
        let mut now = Instant::now();
        let guess = |peer, now| access.judge(peer, &HeaderMap::new(), Some("t=a-wrong-one"), now);
        let right = |peer, now| access.judge(peer, &HeaderMap::new(), Some("t=open-sesame"), now);
        for _ in 0..FREE_GUESSES {
            assert_eq!(guess(PEER, now), Verdict::Wrong);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(right(PEER, now), Verdict::Wait(Duration::from_secs(seconds)));
            assert_eq!(right("192.168.1.21".parse().unwrap(), now), Verdict::ByLink);
            now += Duration::from_secs(seconds);
            assert_eq!(guess(PEER, now), Verdict::Wrong);
        }
        now += FORGET_AFTER;
        assert_eq!((guess(PEER, now), right(PEER, now)), (Verdict::Wrong, Verdict::ByLink));
    }

    #[test]
    fn no_more_networks_are_remembered_than_there_is_room_for() {
        let access = door(Some(Token::new("open-sesame").unwrap()), Term::default());
        let now = Instant::now();
        for n in 0..NETWORKS_MAX as u32 + 10 {
            let peer = IpAddr::V4((0x0a00_0000 + n).into());
            access.judge(
                peer,
                &HeaderMap::new(),
                Some("t=a-wrong-one"),
                now + Duration::from_nanos(n.into()),
            );
        }
        let guesses = access.guesses.lock();
        assert_eq!(guesses.len(), NETWORKS_MAX);
        assert!(!guesses.contains_key(&IpAddr::V4(0x0a00_0000.into())));
    }

    #[test]
    fn a_token_has_its_time_and_may_be_for_the_first_client_alone() {
        let now = Instant::now();
        let token = || Some(Token::new("open-sesame").unwrap());
        let by_link =
            |access: &Access, peer, now| access.judge(peer, &HeaderMap::new(), Some("t=open-sesame"), now);
        let until = Some(now + Duration::from_secs(60));
        let short = door(token(), Term { until, once: false });
        assert_eq!(by_link(&short, PEER, now + Duration::from_secs(59)), Verdict::ByLink);
        assert_eq!(by_link(&short, PEER, now + Duration::from_secs(60)), Verdict::Expired);
        let cookie =
            |access: &Access| access.set_cookie(false).unwrap().split(';').next().unwrap().to_owned();
        let with_cookie = |access: &Access, cookie: &str, peer, now| {
            access.judge(peer, &headers(&[("cookie", cookie.to_owned())]), None, now)
        };
        let late = now + Duration::from_secs(61);
        assert_eq!(with_cookie(&short, &cookie(&short), PEER, late), Verdict::Expired);
        let (once, other) = (door(token(), Term { until: None, once: true }), "10.0.0.7".parse().unwrap());
        assert_eq!(by_link(&once, PEER, now), Verdict::ByLink);
        assert_eq!(by_link(&once, other, now), Verdict::Used);
        assert_eq!(by_link(&once, PEER, now), Verdict::ByLink);
        // A phone that has the cookie may move; who has the token cannot compute it.
        assert_eq!(with_cookie(&once, &cookie(&once), other, now), Verdict::Welcome);
        assert_eq!(with_cookie(&once, &cookie(&short), other, now), Verdict::Unknown);
    }

    #[test]
    fn a_token_fits_into_a_link_and_is_not_short() {
        assert_eq!(Token::new("1234567").unwrap_err(), BadToken::Length(7));
        assert_eq!(Token::new("1234567 8").unwrap_err(), BadToken::Characters);
        assert_eq!(Token::new(&"x".repeat(257)).unwrap_err(), BadToken::Length(257));
        assert!(Token::new("a.B_c-d~1").is_ok());
        assert!(!format!("{:?}", Token::new("a.B_c-d~1").unwrap()).contains("a.B"));
    }
}
