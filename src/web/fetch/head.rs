//! What a server says of a file. It is believed once, and every part has to say the same: parts of two states
//! of a file, put together, would be a file that never was.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use percent_encoding::percent_decode;

use super::target::harmless;
use crate::name::Name;
use crate::web::pieces::PIECE_BYTES;
use crate::web::reply::TREE;

/// What is known of the file from the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes; `None` where the server does not say.
    pub size: Option<u64>,
    pub tag: Option<String>,
    pub modified: Option<String>,
    /// Whether that time was over when the server answered: what changes within one second has the same time
    /// before and after.
    pub is_settled: bool,
    /// Whether parts can be asked for.
    pub ranges: bool,
    /// How the body is encoded, where it is.
    pub encoding: Option<String>,
    /// Hashes of all of it, where the server tells.
    pub sha256: Option<[u8; 32]>,
    pub blake3: Option<[u8; 32]>,
    /// Whether it is a lanx, which tells the values of pieces of this file.
    pub has_tree: bool,
    /// What the server calls it.
    pub name: Option<Name>,
}

/// Why an answer is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The file is another one now.
    Changed,
    /// The server sends all of the file where a part was asked for.
    NoRanges,
    /// The server wants to be left alone for so long.
    Busy(Option<Duration>),
    /// It failed, which may be over with the next try.
    Failing(StatusCode),
    /// It does not give this away.
    NotLetIn(StatusCode),
    /// It has no such file, or says something that makes no sense.
    Refused(String),
}

impl Seen {
    /// Reads the head of the first answer, to a request for all of the file.
    ///
    /// # Errors
    /// It is no file.
    pub fn of<B>(answer: &Response<B>) -> Result<Seen, Wrong> {
        let headers = answer.headers();
        match answer.status() {
            StatusCode::OK => {}
            status => return Err(refusal(status, headers)),
        }
        let encoding = text(headers, header::CONTENT_ENCODING).filter(|text| *text != "identity");
        let ranges =
            text(headers, header::ACCEPT_RANGES).is_some_and(|text| text.eq_ignore_ascii_case("bytes"));
        let size = match headers.get(header::CONTENT_LENGTH) {
            None => None,
            Some(_) => Some(number(headers, header::CONTENT_LENGTH).ok_or_else(|| nonsense("its length"))?),
        };
        let date = |name| httpdate::parse_http_date(text(headers, name)?).ok();
        let (modified, now) = (date(header::LAST_MODIFIED), date(header::DATE));
        let age = now.zip(modified).and_then(|(now, modified)| now.duration_since(modified).ok());
        Ok(Seen {
            size,
            tag: text(headers, header::ETAG).map(str::to_owned),
            modified: text(headers, header::LAST_MODIFIED).map(str::to_owned),
            is_settled: age.is_some_and(|age| age >= Duration::from_secs(1)),
            ranges: ranges && encoding.is_none(),
            encoding: encoding.map(str::to_owned),
            sha256: digest(headers, "sha-256=:"),
            blake3: digest(headers, "blake3=:"),
            has_tree: headers
                .get(TREE)
                .is_some_and(|bytes| bytes.as_bytes() == PIECE_BYTES.to_string().as_bytes()),
            name: headers.get(header::CONTENT_DISPOSITION).and_then(|value| name(value.as_bytes())),
        })
    }

    /// The tag, where it is a strong one: what was got under it before belongs to what is got now.
    #[must_use]
    pub fn strong_tag(&self) -> Option<&str> {
        self.tag.as_deref().filter(|tag| tag.starts_with('"') && tag.len() > 2)
    }

    /// Whether parts can be put together: the server gives them, and says by what one knows that they are of
    /// one file (RFC 9110, section 15.3.7.3), or tells values by which all of it is proved.
    #[must_use]
    pub fn can_be_divided(&self) -> bool {
        let is_proved = self.has_tree && self.tag.is_some();
        self.ranges && self.size.is_some() && (self.strong_tag().is_some() || self.is_settled || is_proved)
    }

    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.modified.as_deref()?).ok()
    }

    /// Judges the head of an answer to a request for a part.
    ///
    /// # Errors
    /// It is not that part of this file.
    pub fn judge_part<B>(&self, answer: &Response<B>, asked: &Range<u64>) -> Result<(), Wrong> {
        let headers = answer.headers();
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // All of it, of the same state: the server does not do ranges after all.
            StatusCode::OK
                if self.is_same(headers) && self.size == number(headers, header::CONTENT_LENGTH) =>
            {
                return Err(Wrong::NoRanges);
            }
            StatusCode::OK | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Wrong::Changed);
            }
            status => return Err(refusal(status, headers)),
        }
        if !self.is_same(headers) {
            return Err(Wrong::Changed);
        }
        if text(headers, header::CONTENT_ENCODING).is_some_and(|text| text != "identity") {
            return Err(Wrong::NoRanges);
        }
        let range = text(headers, header::CONTENT_RANGE).and_then(content_range);
        let (part, total) = range.ok_or_else(|| nonsense("which part it sends"))?;
        if total != self.size {
            return Err(Wrong::Changed);
        }
        if part != *asked {
            return Err(nonsense("the part that was asked for"));
        }
        let length = number(headers, header::CONTENT_LENGTH);
        if length.is_some_and(|length| length != asked.end - asked.start) {
            return Err(nonsense("the length of a part"));
        }
        Ok(())
    }

    /// Whether these are the validators that the first answer had.
    fn is_same(&self, headers: &HeaderMap) -> bool {
        let same = |before: &Option<String>, name| {
            before.as_deref().is_none_or(|before| text(headers, name) == Some(before))
        };
        same(&self.tag, header::ETAG) && same(&self.modified, header::LAST_MODIFIED)
    }
}

fn nonsense(what: &str) -> Wrong {
    Wrong::Refused(format!("the server does not say {what} right"))
}

/// Why a status is not the one that was hoped for.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Wrong {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Wrong::Busy(retry_after(headers, SystemTime::now()))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Wrong::NotLetIn(status)
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Wrong::Failing(status),
        status => Wrong::Refused(format!("the server answers {}", status.as_u16())),
    }
}

/// How long to wait: seconds, or until a time (RFC 9110, section 10.2.3), which is that of the server's clock
/// where it tells it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(seconds) = number(headers, header::RETRY_AFTER) {
        return Some(Duration::from_secs(seconds));
    }
    let date = |name| httpdate::parse_http_date(text(headers, name)?).ok();
    let until = date(header::RETRY_AFTER)?;
    Some(until.duration_since(date(header::DATE).unwrap_or(now)).unwrap_or_default())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Digits and nothing else.
fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    let text = text(headers, name)?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `bytes FIRST-LAST/TOTAL`; no total where the server does not know it.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    (first <= last).then(|| Some((first..last.checked_add(1)?, total)))?
}

/// `KIND=:BASE64:` in `Repr-Digest` (RFC 9530).
fn digest(headers: &HeaderMap, kind: &str) -> Option<[u8; 32]> {
    let values = headers.get_all("repr-digest").iter().filter_map(|value| value.to_str().ok());
    let own = values.flat_map(|value| value.split(',')).find_map(|item| item.trim().strip_prefix(kind))?;
    STANDARD.decode(own.split(':').next()?).ok()?.try_into().ok()
}

/// The name in `Content-Disposition` (RFC 6266): the extended one before the plain one.
fn name(value: &[u8]) -> Option<Name> {
    let parameters = parameters(value);
    let given = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    let extended = given("filename*").and_then(|(_, value)| {
        let (charset, escaped) = value.split_at_checked(7)?;
        charset.eq_ignore_ascii_case(b"UTF-8''").then(|| percent_decode(escaped).collect())
    });
    extended.or_else(|| given("filename").map(|(_, value)| value.clone())).and_then(|name| harmless(&name))
}

/// What stands behind the first `;`, without quotation marks and what escapes them.
fn parameters(value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut now) = (Vec::new(), Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in value {
        match byte {
            _ if escaped => {
                escaped = false;
                now.push(byte);
            }
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => all.push(std::mem::take(&mut now)),
            byte => now.push(byte),
        }
    }
    all.push(now);
    let pair = |text: Vec<u8>| {
        let at = text.iter().position(|byte| *byte == b'=')?;
        let (key, value) = text.split_at(at);
        Some((key.trim_ascii().to_vec(), value.get(1..)?.trim_ascii().to_vec()))
    };
    all.into_iter().skip(1).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)]) -> Response<()> {
        let mut builder = Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn seen() -> Seen {
        Seen::of(&answer(200, &[("content-length", "100"), ("etag", "\"a\""), ("accept-ranges", "bytes")]))
            .unwrap()
    }

    #[test]
    fn a_part_has_to_be_the_one_that_was_asked_for_of_the_file_that_was_seen() {
        let refused = |text: &str| Wrong::Refused(format!("the server does not say {text} right"));
        let tag = ("etag", "\"a\"");
        for (status, fields, verdict) in [
            (206, &[("content-range", "bytes 10-19/100"), tag, ("content-length", "10")][..], Ok(())),
            (206, &[("content-range", "bytes 10-19/100"), tag], Ok(())),
            (206, &[("content-range", "bytes 10-19/101"), tag], Err(Wrong::Changed)),
            (206, &[("content-range", "bytes 10-19/*"), tag], Err(Wrong::Changed)),
            (206, &[("content-range", "bytes 10-19/100"), ("etag", "\"b\"")], Err(Wrong::Changed)),
            (206, &[("content-range", "bytes 10-19/100")], Err(Wrong::Changed)),
            (206, &[("content-range", "bytes 0-9/100"), tag], Err(refused("the part that was asked for"))),
            (206, &[("content-range", "bytes 10-20/100"), tag], Err(refused("the part that was asked for"))),
            (206, &[tag], Err(refused("which part it sends"))),
            (206, &[("content-range", "bytes 19-10/100"), tag], Err(refused("which part it sends"))),
            (
                206,
                &[("content-range", "bytes 10-19/100"), tag, ("content-length", "11")],
                Err(refused("the length of a part")),
            ),
            (
                206,
                &[("content-range", "bytes 10-19/100"), tag, ("content-encoding", "gzip")],
                Err(Wrong::NoRanges),
            ),
            (200, &[("content-length", "100"), tag], Err(Wrong::NoRanges)),
            (200, &[("content-length", "100"), ("etag", "\"b\"")], Err(Wrong::Changed)),
            (200, &[("content-length", "99"), tag], Err(Wrong::Changed)),
            (412, &[], Err(Wrong::Changed)),
            (416, &[], Err(Wrong::Changed)),
            (503, &[("retry-after", "7")], Err(Wrong::Busy(Some(Duration::from_secs(7))))),
            (429, &[("retry-after", "soon")], Err(Wrong::Busy(None))),
            (
                429,
                &[
                    ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                Err(Wrong::Busy(Some(Duration::from_secs(3)))),
            ),
            (
                503,
                &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")],
                Err(Wrong::Busy(Some(Duration::ZERO))),
            ),
            (500, &[], Err(Wrong::Failing(StatusCode::INTERNAL_SERVER_ERROR))),
            (403, &[], Err(Wrong::NotLetIn(StatusCode::FORBIDDEN))),
            (404, &[], Err(Wrong::Refused("the server answers 404".into()))),
        ] {
            assert_eq!(seen().judge_part(&answer(status, fields), &(10..20)), verdict, "{status} {fields:?}");
        }
    }

    #[test]
    fn the_first_answer_says_what_can_be_done() {
        for (fields, divided, strong) in [
            (&[("content-length", "9"), ("accept-ranges", "bytes"), ("etag", "\"a\"")][..], true, true),
            (&[("content-length", "9"), ("accept-ranges", "bytes"), ("etag", "W/\"a\"")], false, false),
            (
                &[
                    ("content-length", "9"),
                    ("accept-ranges", "bytes"),
                    ("etag", "W/\"a\""),
                    ("lanx-tree", "4194304"),
                ],
                true,
                false,
            ),
            (&[("content-length", "9"), ("accept-ranges", "bytes"), ("last-modified", "x")], false, false),
            (
                &[
                    ("content-length", "9"),
                    ("accept-ranges", "bytes"),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
                ],
                true,
                false,
            ),
            (
                &[
                    ("content-length", "9"),
                    ("accept-ranges", "bytes"),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                false,
                false,
            ),
            (&[("content-length", "9"), ("accept-ranges", "bytes")], false, false),
            (&[("content-length", "9"), ("accept-ranges", "none"), ("etag", "\"a\"")], false, true),
            (&[("accept-ranges", "bytes"), ("etag", "\"a\"")], false, true),
            (
                &[
                    ("content-length", "9"),
                    ("accept-ranges", "bytes"),
                    ("etag", "\"a\""),
                    ("content-encoding", "gzip"),
                ],
                false,
                true,
            ),
        ] {
            let seen = Seen::of(&answer(200, fields)).unwrap();
            assert_eq!((seen.can_be_divided(), seen.strong_tag().is_some()), (divided, strong), "{fields:?}");
        }
        for status in [206, 204, 301, 404] {
            assert!(matches!(Seen::of(&answer(status, &[])), Err(Wrong::Refused(_))), "{status}");
        }
        assert!(Seen::of(&answer(200, &[("content-length", "-1")])).is_err());
    }

    #[test]
    fn a_digest_and_a_name_are_read_as_the_rfcs_have_them() {
        let digest = format!("md5=:xx:, sha-256=:{}:", STANDARD.encode([9; 32]));
        let seen = Seen::of(&answer(200, &[("repr-digest", &digest)])).unwrap();
        assert_eq!((seen.sha256, seen.blake3), (Some([9; 32]), None));
        let digest = format!("blake3=:{}:, sha-256=:short:", STANDARD.encode([7; 32]));
        let seen = Seen::of(&answer(200, &[("repr-digest", &digest)])).unwrap();
        assert_eq!((seen.sha256, seen.blake3), (None, Some([7; 32])));
        for (value, expected) in [
            ("attachment; filename=\"a b.iso\"", Some("a b.iso")),
            ("attachment; filename=x; filename*=UTF-8''%C3%A4", Some("ä")),
            ("attachment; filename=\"a;b \\\"c\\\" = \\\\d\"; size=3", Some("a;b \"c\" = \\d")),
            ("attachment; FileName=\"x\"; filename*=utf-8''y", Some("y")),
            ("attachment; filename=", None),
            ("attachment; filename*=UTF-8", None),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=.bashrc", None),
            ("inline", None),
        ] {
            let seen = Seen::of(&answer(200, &[("content-disposition", value)])).unwrap();
            let name = seen.name.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
            assert_eq!(name.as_deref(), expected, "{value}");
        }
    }
}
