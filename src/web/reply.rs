//! An answer without what all answers have in common, and those that several requests get.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::body::Body;
use super::names::in_url;
use super::refused::{Refused, Stored};
use crate::store::SinkErrorKind;

/// No script, no style and no picture from anywhere, and nobody's frame.
const PAGE_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Says that `/.lanx/tree/PATH` has the values of a file, each of so many bytes.
pub const TREE: HeaderName = HeaderName::from_static("lanx-tree");

/// What texts for people are.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// What is answered.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Reply {
    pub fn new(status: StatusCode, body: Body) -> Reply {
        Reply { status, headers: HeaderMap::new(), body }
    }

    pub fn empty(status: StatusCode) -> Reply {
        Reply::new(status, Body::empty())
    }

    pub fn text(status: StatusCode, text: impl Into<String>) -> Reply {
        let text: String = text.into();
        Reply::page(status, PLAIN, text + "\n")
    }

    pub fn page(status: StatusCode, kind: &'static str, text: impl Into<bytes::Bytes>) -> Reply {
        let reply = Reply::new(status, Body::text(text));
        let reply = reply.with(header::CONTENT_TYPE, kind).with(header::CACHE_CONTROL, "no-store");
        reply.with(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)
    }

    /// With a field more. Values are made here, of characters that fields can have.
    pub fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }
}

pub(super) fn not_found() -> Reply {
    Reply::text(StatusCode::NOT_FOUND, "there is no such file here")
}

/// Whether a page of somebody else's has a browser ask for this. Browsers say so, and nobody else has to.
pub(super) fn is_cross_site(parts: &Parts) -> bool {
    let text = |name: &str| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = text("origin") else { return false };
    let host = parts.uri.authority().map(|authority| authority.as_str().into()).or_else(|| text("host"));
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    of_origin.is_none_or(|of_origin| host.is_none_or(|host| host != of_origin))
}

/// What became of a file that was put: its name, as a number may have been put behind it, and its hash.
pub(super) fn stored_json(stored: &Stored) -> serde_json::Value {
    let Stored { size, hash, published, .. } = stored;
    let status = match published {
        published if published.existed => "identical",
        published if published.renamed => "renamed",
        _ => "stored",
    };
    serde_json::json!({ "status": status, "href": address_of(stored), "size": size, "blake3": hash.to_string() })
}

pub(super) fn address_of(stored: &Stored) -> String {
    let names: Vec<String> = stored.path.with_name(&stored.published.name).names().map(in_url).collect();
    format!("/{}", names.join("/"))
}

/// What a client is told of why its file is not taken.
pub(super) fn refused_text(refused: &Refused) -> (StatusCode, &'static str) {
    match refused {
        Refused::Request(text) => (StatusCode::BAD_REQUEST, *text),
        Refused::Over => (StatusCode::UNAUTHORIZED, "the time of this link is over; ask for a new one"),
        Refused::Quota => (StatusCode::INSUFFICIENT_STORAGE, "no more may be put here"),
        Refused::Full => (StatusCode::INSUFFICIENT_STORAGE, "the disk is too full here"),
        Refused::Hidden => (StatusCode::FORBIDDEN, "names that begin with a dot are not taken here"),
        Refused::Taken => (StatusCode::CONFLICT, "another file has that name here"),
        Refused::Unwanted => (StatusCode::PRECONDITION_FAILED, "a file has that name here"),
        Refused::Digest => (StatusCode::BAD_REQUEST, "what came is not what its digest says"),
        Refused::Short => (StatusCode::REQUEST_TIMEOUT, "not all of it came"),
        Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many files come just now"),
        Refused::Waits(_) => (StatusCode::SERVICE_UNAVAILABLE, "other files come first; try again"),
        Refused::Unknown => (StatusCode::NOT_FOUND, "there is no such upload here, or it has ended"),
        Refused::Incomplete => (StatusCode::UNPROCESSABLE_ENTITY, "some of it is not here yet"),
        Refused::Store(error) => {
            tracing::warn!("a file was not stored: {error}");
            match error {
                error if error.is_no_space() => (StatusCode::INSUFFICIENT_STORAGE, "the disk is full here"),
                error if error.kind() == SinkErrorKind::Policy => {
                    (StatusCode::CONFLICT, "a file cannot have that name here")
                }
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "it could not be stored"),
            }
        }
        Refused::Thread(error) => {
            tracing::warn!("a file was not taken: there can be no further thread: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "it could not be taken just now")
        }
    }
}
