//! What is answered to each request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;

use super::access::Verdict as Admission;
use super::api::modified;
use super::archive;
use super::body::Body;
use super::hashes::Hashes;
use super::listing::Listing;
use super::names::{Unusable, Wanted, attachment, wanted};
use super::page;
use super::pieces::PIECE_BYTES;
use super::place::{Folder, Found, Missing, OpenFile};
use super::ranges::{Selection, select};
use super::refused::{Refused, Stored};
use super::reply::{Reply, TREE, address_of, is_cross_site, not_found, refused_text, stored_json};
use super::site::Site;
use super::stats::{Answered, Meter};
use super::talk;
use super::upload::Uploads;
use super::validators::{Validators, Verdict};
use crate::name::{Escaped, RelativePath};
use crate::os::background::aside;
use crate::os::threads;

/// Pieces of a tar file that are made ahead.
const ARCHIVE_PIECES: usize = 2;

/// Values of a file that wait to be sent.
const VALUES_AHEAD: usize = 16;

/// When to come back where there are too many tar files.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// What is served under the addresses that no file can have.
const OWN: &[u8] = b".lanx";

/// A file that a browser shows after all has no rights of this server's pages.
const FILE_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

impl Site {
    /// Answers one request of `peer`.
    pub async fn answer(self: &Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut reply = self.reply(peer, request).await;
        let length = reply.body.left();
        if method == Method::HEAD {
            reply.body = Body::empty();
        }
        let answered = Answered {
            peer,
            method: method.to_string(),
            path,
            status: reply.status.as_u16(),
            bytes: 0,
            complete: false,
            took: Duration::ZERO,
        };
        let meter = Meter::new(&self.counters, &self.observer, answered, began, reply.body.left());
        if !matches!(reply.status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS) {
            reply = reply.with(header::CONTENT_LENGTH, length.to_string());
        }
        let reply = reply
            .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .with(header::REFERRER_POLICY, "no-referrer")
            .with(HeaderName::from_static("cross-origin-resource-policy"), "same-origin")
            .with(HeaderName::from_static("cross-origin-opener-policy"), "same-origin")
            .with(header::X_FRAME_OPTIONS, "DENY");
        let mut response = Response::new(reply.body.counted(meter).paced(self.rates.of(peer)));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }

    async fn reply(self: &Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Reply {
        let path = match self.way_in(peer, &request) {
            Ok(path) => path,
            Err(refusal) => return *refusal,
        };
        let below = path.path.as_ref();
        if below.is_some_and(|path| path.names().next() == Some(OWN)) {
            let path = request.uri().path().strip_prefix("/.lanx/").unwrap_or_default().to_owned();
            return self.own(peer, &path, request).await;
        }
        let (parts, body) = request.into_parts();
        let parts = &parts;
        if let (&Method::PUT, Some(uploads)) = (&parts.method, &self.rights.put) {
            return match path.path {
                Some(below) if !path.folder => self.put(peer, uploads, below, parts, body).await,
                _ => Reply::text(StatusCode::BAD_REQUEST, "a file is put under a name: curl -T FILE URL/"),
            };
        }
        if !self.rights.get && below.is_none() && wants_page(&parts.headers) {
            return page::html(self.place.name(), None, true, "");
        }
        if !self.rights.get {
            return Reply::text(StatusCode::FORBIDDEN, "this server takes files and gives none");
        }
        match self.place.open(below) {
            Ok(Found::File(_)) if path.folder => not_found(),
            Ok(Found::File(file)) => {
                let name = below.map_or_else(Vec::new, |path| path.name().as_bytes().to_vec());
                self.file(peer, file, &name, parts).await
            }
            Ok(Found::Folder(_)) if !path.folder => {
                // Links of the page are beneath the folder only where its address ends so. Of the path only
                // what was understood as one goes back, so that it leads nowhere else.
                let to = format!("{}/{}", parts.uri.path(), query_of(&parts.uri));
                moved(StatusCode::PERMANENT_REDIRECT, &to)
            }
            Ok(Found::Folder(folder)) => self.folder(folder, below, parts).await,
            Err(missing) => refused(&missing, parts.uri.path()),
        }
    }

    /// Answers a request for `path`, behind `/.lanx/`.
    async fn own(self: &Arc<Self>, peer: IpAddr, path: &str, request: Request<Incoming>) -> Reply {
        let gets = request.method() == Method::GET || request.method() == Method::HEAD;
        if gets && let Some(asset) = page::asset(path, request.headers()) {
            return asset;
        }
        if let Some(path) = path.strip_prefix("tree/").filter(|_| gets) {
            return self.tree(peer, path);
        }
        match path {
            "stats" if gets => {
                let json = serde_json::to_vec(&self.sums()).unwrap_or_default();
                Reply::page(StatusCode::OK, "application/json", json)
            }
            "metrics" if gets => {
                let text = self.sums().prometheus();
                Reply::page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            "talk" if gets => talk::begin(self, peer, request),
            _ => self.of_uploads(peer, path, request).await,
        }
    }

    /// What is asked for, where it can be asked for, by whoever asks.
    fn way_in(&self, peer: IpAddr, request: &Request<Incoming>) -> Result<Wanted, Box<Reply>> {
        let is_own = request.uri().path().starts_with("/.lanx/");
        if let Some(refusal) = self.refusal_of_host(request) {
            return Err(refusal.into());
        }
        let puts = self.rights.put.is_some();
        let is_known = match *request.method() {
            Method::GET | Method::HEAD => true,
            Method::PUT => puts,
            Method::POST | Method::DELETE => puts && is_own,
            _ => false,
        };
        if !is_known {
            let methods = self.rights.methods();
            let text = format!("this server takes {}", methods.replace(", ", " and "));
            let refusal = Reply::text(StatusCode::METHOD_NOT_ALLOWED, text);
            return Err(refusal.with(header::ALLOW, methods).into());
        }
        let path = match wanted(request.uri().path()) {
            // Addresses of the server's own are taken apart by themselves.
            _ if is_own => Wanted { path: RelativePath::from_wire(OWN).ok(), folder: false },
            Ok(wanted) => wanted,
            Err(Unusable::Malformed) => {
                return Err(Reply::text(StatusCode::BAD_REQUEST, "this is no path").into());
            }
            Err(Unusable::Name(_)) => return Err(not_found().into()),
        };
        match self.admit(peer, request) {
            Some(answer) => Err(answer.into()),
            None => Ok(path),
        }
    }

    /// What to say to whoever asks another machine than this one.
    fn refusal_of_host(&self, request: &Request<Incoming>) -> Option<Reply> {
        // The address of a request in its absolute form comes before Host (RFC 9112, section 3.2.2).
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str().to_owned()),
            None => {
                let mut hosts = request.headers().get_all(header::HOST).iter();
                let host = hosts.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                if hosts.next().is_some() || host.is_none() && request.version() >= hyper::Version::HTTP_11 {
                    return Some(Reply::text(StatusCode::BAD_REQUEST, "one Host is expected"));
                }
                host
            }
        };
        let is_ours = host.is_none_or(|host| self.hosts.allow(&host));
        (!is_ours).then(|| {
            Reply::text(
                StatusCode::MISDIRECTED_REQUEST,
                "this machine does not have that name; ask for its address, or start lanx serve with --host NAME",
            )
        })
    }

    /// Takes a file in.
    async fn put(
        &self,
        peer: IpAddr,
        uploads: &Arc<Uploads>,
        path: RelativePath,
        parts: &Parts,
        body: Incoming,
    ) -> Reply {
        if is_cross_site(parts) {
            return Reply::text(StatusCode::FORBIDDEN, "a page of another site may not put files here");
        }
        if let Err(refused) = self.check_name(&path) {
            return refused_reply(&refused);
        }
        let modified = parts.uri.query().and_then(modified);
        match uploads.put(peer, path, modified, &parts.headers, body, self.rates.of(peer)).await {
            Ok(stored) => {
                self.note(peer, &stored);
                stored_reply(&stored)
            }
            Err(refused) => refused_reply(&refused),
        }
    }

    /// Nothing where whoever asks may have it.
    fn admit(&self, peer: IpAddr, request: &Request<Incoming>) -> Option<Reply> {
        let unauthorized =
            |text: &str| Reply::text(StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, "Bearer");
        let uri = request.uri();
        match self.access.judge(peer, request.headers(), uri.query(), Instant::now()) {
            Admission::Welcome => None,
            // A person gets an address without the token, and a cookie instead. A program that takes the link
            // as it is has no use for either.
            Admission::ByLink if wants_page(request.headers()) => {
                let to = format!("{}{}", uri.path(), query_of(uri));
                let reply = moved(StatusCode::SEE_OTHER, &to);
                Some(match self.access.set_cookie(self.secure) {
                    Some(cookie) => reply.with(header::SET_COOKIE, cookie),
                    None => reply,
                })
            }
            Admission::ByLink => None,
            Admission::Unknown => Some(unauthorized(
                "this needs the link that lanx serve shows, or its token in a field: Authorization: Bearer TOKEN",
            )),
            Admission::Expired => Some(unauthorized("the time of this link is over; ask for a new one")),
            Admission::Used => Some(unauthorized(
                "this link was for one client, and another one has come; ask for a new one",
            )),
            Admission::Wrong => Some(unauthorized("this token is wrong")),
            Admission::Wait(time) => {
                let text = "too many wrong tokens came from this network; wait, and try again";
                let reply = Reply::text(StatusCode::TOO_MANY_REQUESTS, text);
                Some(reply.with(header::RETRY_AFTER, (time.as_secs() + 1).to_string()))
            }
        }
    }

    /// The values of the pieces of a file, behind `/.lanx/tree/`.
    pub(super) fn tree(self: &Arc<Self>, peer: IpAddr, path: &str) -> Reply {
        let below = wanted(&format!("/{path}")).ok().filter(|wanted| !wanted.folder);
        let Some(below) = below.and_then(|wanted| wanted.path).filter(|_| self.rights.get) else {
            return not_found();
        };
        let file = match self.place.open(Some(&below)) {
            Ok(Found::File(file)) => file,
            Ok(Found::Folder(_)) => return not_found(),
            Err(missing) => return refused(&missing, path),
        };
        let stamp = file.stamp;
        let reply = match self.known.of(&stamp) {
            Some(known) => Reply::new(StatusCode::OK, Body::text(known.values.clone()))
                .with(REPR_DIGEST, repr_digest("blake3", known.blake3.as_bytes())),
            None => Reply::new(StatusCode::OK, self.values(peer, file)),
        };
        reply
            .with(header::CONTENT_TYPE, "application/octet-stream")
            .with(header::CACHE_CONTROL, "private, no-cache")
            .with(header::ETAG, Validators::of(&stamp, SystemTime::now()).tag())
    }

    /// The values of a file that nobody has hashed yet, each as soon as it is known: a large file takes
    /// longer than a client waits without a word.
    fn values(self: &Arc<Self>, peer: IpAddr, file: OpenFile) -> Body {
        let length = 32 * file.stamp.size.div_ceil(PIECE_BYTES).max(1);
        let (to, values) = mpsc::channel(VALUES_AHEAD);
        let site = self.clone();
        tokio::spawn(async move {
            if let Err(Missing::Failed(error)) = site.known.hash(peer, &file, false, Some(&to)).await {
                // Where nobody waits any more nobody hears of it.
                let _ = to.send(Err(error)).await;
            }
        });
        Body::made(values, length)
    }

    async fn file(&self, peer: IpAddr, file: OpenFile, name: &[u8], parts: &Parts) -> Reply {
        let stamp = file.stamp;
        let (sha256, blake3) = (wants(parts, "sha-256="), wants(parts, "blake3="));
        let known = match sha256 || blake3 {
            false => self.known.of(&stamp),
            true => match self.known.hash(peer, &file, sha256, None).await {
                Ok(known) => Some(known),
                Err(missing) => return refused(&missing, parts.uri.path()),
            },
        };
        let validators = Validators::of(&file.stamp, SystemTime::now());
        let size = file.stamp.size;
        let empty = |status| Reply::new(status, Body::empty());
        let mut reply = match validators.judge(&parts.headers) {
            Verdict::Failed => empty(StatusCode::PRECONDITION_FAILED),
            Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
            Verdict::Serve => match selection(parts, &validators, size) {
                Selection::Whole => {
                    Reply::new(StatusCode::OK, Body::file(file, 0, size, &self.pool, &self.known.passing))
                }
                Selection::Unsatisfiable => empty(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with(header::CONTENT_RANGE, format!("bytes */{size}")),
                Selection::Part(range) => {
                    let (first, last) = (range.start, range.end.saturating_sub(1));
                    let bytes = range.end.saturating_sub(first);
                    Reply::new(
                        StatusCode::PARTIAL_CONTENT,
                        Body::file(file, first, bytes, &self.pool, &self.known.passing),
                    )
                    .with(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"))
                }
            },
        };
        if let Some(modified) = validators.modified() {
            reply = reply.with(header::LAST_MODIFIED, modified);
        }
        reply = reply.with(header::ETAG, validators.tag()).with(header::CACHE_CONTROL, "private, no-cache");
        reply = reply.with(header::ACCEPT_RANGES, "bytes").with(TREE, PIECE_BYTES.to_string());
        if let Some(known) = known {
            reply = reply.with(REPR_DIGEST, digests(&known, sha256));
        }
        if reply.status.is_success() {
            let text = String::from_utf8_lossy(name);
            let kind = mime_guess::from_path(&*text).first_or_octet_stream();
            reply = reply
                .with(header::CONTENT_TYPE, kind.essence_str())
                .with(header::CONTENT_DISPOSITION, attachment(name));
        }
        reply.with(header::CONTENT_SECURITY_POLICY, FILE_POLICY)
    }

    async fn folder(&self, folder: Folder, path: Option<&RelativePath>, parts: &Parts) -> Reply {
        let name = path.map_or_else(|| b"files".to_vec(), |path| path.name().as_bytes().to_vec());
        if asks_for(parts, "tar").is_some() {
            return self.archive(folder, name, parts.method == Method::HEAD).await;
        }
        let after = asks_for(parts, "after");
        let is_page = wants_page(&parts.headers) || !accepts(&parts.headers, "application/json");
        let address = parts.uri.path().to_owned();
        let (path, puts, place) = (path.cloned(), self.rights.put.is_some(), self.place.clone());
        let listed = aside(move || {
            let listing = Listing::of(&folder, after.as_deref())?;
            Ok(match is_page {
                true => page::html(place.name(), path.as_ref(), puts, &listing.html()),
                false => Reply::page(StatusCode::OK, "application/json", listing.json(&address)),
            })
        });
        match listed.await.and_then(|listed: io::Result<_>| listed) {
            Ok(reply) => reply.with(header::VARY, "Accept"),
            Err(error) => refused(&Missing::Failed(error), parts.uri.path()),
        }
    }

    async fn archive(&self, folder: Folder, name: Vec<u8>, head_only: bool) -> Reply {
        let Ok(permit) = self.archives.clone().try_acquire_owned() else {
            let reply = Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many folders are sent just now");
            return reply.with(header::RETRY_AFTER, BUSY_RETRY.as_secs().to_string());
        };
        let disposition = attachment(&[&name, &b".tar"[..]].concat());
        // The walk ends with whoever waits for it.
        let (waits, watched) = tokio::sync::oneshot::channel::<()>();
        let measured = aside(move || {
            let length = archive::length(&folder, &name, &|| !waits.is_closed());
            (folder, name, length, permit)
        });
        let measured = measured.await;
        drop(watched);
        let (folder, name, length, permit) = match measured {
            Ok(measured) => measured,
            Err(error) => return refused(&Missing::Failed(error), "a folder"),
        };
        let length = match length {
            Ok(length) => length,
            Err(error) => return Reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let (to, pieces) = mpsc::channel(ARCHIVE_PIECES);
        let work = move || {
            archive::send(&folder, &name, &to);
            drop(permit);
        };
        if !head_only && let Err(error) = threads::named("archive").spawn(work) {
            return refused(&Missing::Failed(error), "a folder");
        }
        Reply::new(StatusCode::OK, Body::made(pieces, length))
            .with(header::CONTENT_TYPE, "application/x-tar")
            .with(header::CONTENT_DISPOSITION, disposition)
            .with(header::CACHE_CONTROL, "no-store")
            .with(header::ACCEPT_RANGES, "none")
            .with(header::CONTENT_SECURITY_POLICY, FILE_POLICY)
    }
}

/// Whether a hash of the file is asked for (RFC 9530, section 4).
fn wants(parts: &Parts, hash: &str) -> bool {
    let wanted = parts.headers.get_all("want-repr-digest").iter().filter_map(|value| value.to_str().ok());
    wanted.flat_map(|value| value.split(',')).any(|item| {
        item.trim()
            .strip_prefix(hash)
            .is_some_and(|weight| weight.parse::<u8>().is_ok_and(|weight| weight > 0))
    })
}

/// What is known of a file, as `Repr-Digest` has it.
fn digests(known: &Hashes, with_sha256: bool) -> String {
    let blake3 = repr_digest("blake3", known.blake3.as_bytes());
    match known.sha256.filter(|_| with_sha256) {
        Some(sha256) => format!("{}, {blake3}", repr_digest("sha-256", &sha256)),
        None => blake3,
    }
}

fn repr_digest(algorithm: &str, bytes: &[u8]) -> String {
    format!("{algorithm}=:{}:", STANDARD.encode(bytes))
}

/// What of a file is asked for. A range means something for GET alone (RFC 9110, section 14.2).
fn selection(parts: &Parts, validators: &Validators, size: u64) -> Selection {
    let mut ranges = parts.headers.get_all(header::RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) if parts.method == Method::GET && validators.allow_range(&parts.headers) => {
            range.to_str().map_or(Selection::Whole, |range| select(range, size))
        }
        _ => Selection::Whole,
    }
}

fn stored_reply(stored: &Stored) -> Reply {
    let code = if stored.published.existed { StatusCode::OK } else { StatusCode::CREATED };
    let reply = Reply::page(code, "application/json", stored_json(stored).to_string() + "\n");
    reply.with(header::LOCATION, address_of(stored))
}

fn refused_reply(refused: &Refused) -> Reply {
    let (status, text) = refused_text(refused);
    let reply = Reply::text(status, text);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => reply.with(header::RETRY_AFTER, BUSY_RETRY.as_secs().to_string()),
        _ => reply,
    }
}

/// Whether it is a browser that asks for something to show: programs do not say so.
fn wants_page(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

/// Whether this type is named among those that are accepted.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted)))
}

/// A key of the query, with its value.
fn asks_for(parts: &Parts, key: &str) -> Option<Vec<u8>> {
    parts.uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then(|| percent_decode_str(value).collect())
    })
}

/// The query without the token, with its question mark.
fn query_of(uri: &Uri) -> String {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    let kept: Vec<&str> = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("t=")).collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

fn moved(status: StatusCode, to: &str) -> Reply {
    let text = "<!doctype html><title>moved</title><p>This page has moved.\n";
    Reply::page(status, "text/html; charset=utf-8", text).with(header::LOCATION, to)
}

fn refused(missing: &Missing, path: &str) -> Reply {
    match missing {
        Missing::NotFound => not_found(),
        Missing::Forbidden => {
            tracing::info!("{} was asked for, and this user may not read it", Escaped::from(path));
            Reply::text(StatusCode::FORBIDDEN, "the server may not read this")
        }
        Missing::Failed(error) => {
            tracing::warn!("cannot serve {}: {error}", Escaped::from(path));
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the server could not read this")
        }
    }
}
