//! What a request is answered with.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::sync::{Semaphore, mpsc};

use super::access::{Access, Verdict as Admission};
use super::archive;
use super::body::{Body, Pool};
use super::bounds::Rates;
use super::hashes::{Hashes, Known};
use super::hosts::Hosts;
use super::listing::Listing;
use super::names::{Unusable, Wanted, attachment, in_url, wanted};
use super::own;
use super::page;
use super::pieces::PIECE_BYTES;
use super::place::{Folder, Found, Missing, OpenFile, Place};
use super::ranges::{Selection, select};
use super::stats::{Answered, Counters, Meter, Observer, Sums};
use super::upload::{Refused, Stored, Uploads};
use super::validators::{Validators, Verdict};
use crate::name::{Escaped, RelativePath};
use crate::os::background::aside;
use crate::store::SinkErrorKind;

/// Folders that are sent as tar files at once: each has a thread.
const ARCHIVES_MAX: usize = 16;

/// Pieces of a tar file that are made ahead.
const ARCHIVE_PIECES: usize = 2;

/// Values of a file that wait to be sent.
const VALUES_AHEAD: usize = 16;

/// When to come back where there are too many tar files.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// What is served under the addresses that no file can have.
const OWN: &[u8] = b".lanx";

/// No script, no style and no picture from anywhere, and nobody's frame.
const PAGE_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file that a browser shows after all has no rights of this server's pages.
const FILE_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Says that `/.lanx/tree/PATH` has the values of a file, each of so many bytes.
pub const TREE: HeaderName = HeaderName::from_static("lanx-tree");

/// What texts for people are.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// What clients may do.
#[derive(Debug)]
pub struct Rights {
    /// Have what is served.
    pub get: bool,
    /// Put files where these go.
    pub put: Option<Arc<Uploads>>,
    /// Whether names that begin with a dot may be put.
    pub hidden: bool,
}

impl Rights {
    /// The methods that are of use, for `Allow`.
    fn methods(&self) -> &'static str {
        match (self.get, &self.put) {
            (_, None) => "GET, HEAD",
            (true, Some(_)) => "GET, HEAD, PUT",
            (false, Some(_)) => "PUT",
        }
    }
}

/// The server, as far as requests go.
pub struct Site {
    place: Arc<Place>,
    pub(super) rights: Rights,
    pub(super) access: Access,
    hosts: Hosts,
    /// Whether it is asked over TLS.
    secure: bool,
    pub(super) rates: Rates,
    known: Known,
    pub counters: Arc<Counters>,
    observer: Arc<dyn Observer>,
    pool: Arc<Pool>,
    archives: Arc<Semaphore>,
    started: Instant,
}

/// An answer without what all have in common.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Reply {
    fn new(status: StatusCode, body: Body) -> Reply {
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

impl Site {
    #[must_use]
    pub fn new(
        place: Place,
        rights: Rights,
        access: Access,
        hosts: Hosts,
        secure: bool,
        rates: Rates,
        observer: Arc<dyn Observer>,
    ) -> Site {
        Site {
            place: Arc::new(place),
            rights,
            access,
            hosts,
            secure,
            rates,
            known: Known::default(),
            counters: Arc::default(),
            observer,
            pool: Arc::default(),
            archives: Arc::new(Semaphore::new(ARCHIVES_MAX)),
            started: Instant::now(),
        }
    }

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
            return page::html(None, true, "");
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
                // Links of the page are beneath the folder only where its address ends so. Of the path only what was
                // understood as one goes back, so that it leads nowhere else.
                let to = format!("{}/{}", parts.uri.path(), query_of(&parts.uri));
                moved(StatusCode::PERMANENT_REDIRECT, &to)
            }
            Ok(Found::Folder(folder)) => self.folder(folder, below, parts).await,
            Err(missing) => refused(&missing, parts.uri.path()),
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
        let modified = parts.uri.query().and_then(own::modified);
        match uploads.put(peer, path, modified, &parts.headers, body, self.rates.of(peer)).await {
            Ok(stored) => {
                self.note(peer, &stored);
                stored_reply(&stored)
            }
            Err(refused) => refused_reply(&refused),
        }
    }

    /// Whether a file may be put under this name.
    pub(super) fn check_name(&self, path: &RelativePath) -> Result<(), Refused> {
        match !self.rights.hidden && path.names().any(|name| name.starts_with(b".")) {
            true => Err(Refused::Hidden),
            false => Ok(()),
        }
    }

    /// Counts and tells of a file that was put here.
    pub(super) fn note(&self, peer: IpAddr, stored: &Stored) {
        if !stored.published.existed {
            self.counters.stored_files.fetch_add(1, Ordering::Relaxed);
            self.counters.stored_bytes.fetch_add(stored.size, Ordering::Relaxed);
        }
        self.observer.stored(peer, stored);
    }

    pub(super) fn sums(&self) -> Sums {
        let waiting = self.rights.put.as_ref().map_or(0, |uploads| uploads.waiting());
        Sums { uploads_waiting: waiting as u64, ..self.counters.read(self.started) }
    }

    /// Nothing where whoever asks may have it.
    fn admit(&self, peer: IpAddr, request: &Request<Incoming>) -> Option<Reply> {
        let unauthorized =
            |text: &str| Reply::text(StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, "Bearer");
        let uri = request.uri();
        match self.access.judge(peer, request.headers(), uri.query(), Instant::now()) {
            Admission::Welcome => None,
            // A person gets an address without the token, and a cookie instead. A program that takes the link as it is has no
            // use for either.
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

    /// The values of a file that nobody has hashed yet, each as soon as it is known: a large file takes longer than a client waits
    /// without a word.
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
                Selection::Whole => Reply::new(StatusCode::OK, Body::file(file, 0, size, &self.pool)),
                Selection::Unsatisfiable => empty(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with(header::CONTENT_RANGE, format!("bytes */{size}")),
                Selection::Part(range) => {
                    let (first, last) = (range.start, range.end.saturating_sub(1));
                    let bytes = range.end.saturating_sub(first);
                    Reply::new(StatusCode::PARTIAL_CONTENT, Body::file(file, first, bytes, &self.pool))
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
        let (path, puts) = (path.cloned(), self.rights.put.is_some());
        let listed = aside(move || {
            let listing = Listing::of(&folder, after.as_deref())?;
            Ok(match is_page {
                true => page::html(path.as_ref(), puts, &listing.html()),
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
        if !head_only && let Err(error) = thread::Builder::new().name("archive".into()).spawn(work) {
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

fn address_of(stored: &Stored) -> String {
    let names: Vec<String> = stored.path.with_name(&stored.published.name).names().map(in_url).collect();
    format!("/{}", names.join("/"))
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

pub(super) fn not_found() -> Reply {
    Reply::text(StatusCode::NOT_FOUND, "there is no such file here")
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
