//! What the server answers under `/.lanx/`: its sums, the page, and the requests by which a file comes in
//! pieces. These can be made one by one, or all in one conversation ([`talk`](super::talk)); what they mean
//! is the same.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::bounds::Share;
use super::names::wanted;
use super::pieces::{PIECE_BYTES, Plan, Upload, VALUES_MAX};
use super::refused::{Hears, Refused, Waits};
use super::reply::{Reply, is_cross_site, not_found, refused_text, stored_json};
use super::site::Site;
use super::upload::Uploads;
use crate::content::tree::{ChunkValue, Hash};

/// What shows that the page, or a program, asks by its own will: a page of somebody else's cannot have a
/// browser send it.
pub const PAGE_FIELD: &str = "lanx";

/// Bytes in the body of such a request: the values of one comparison.
pub const BODY_BYTES_MAX: usize = VALUES_MAX * 32;

/// How long such a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Stretches that are named in one answer.
const MISSING_MAX: usize = 1000;

/// Characters of what a client calls itself.
const CLIENT_CHARS_MAX: usize = 64;

/// A request of the conversation about uploads.
#[derive(Debug)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// Behind `/.lanx/`, as it came.
    pub path: &'a str,
    pub query: &'a str,
    pub body: Bytes,
}

/// Its answer.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub body: Value,
    /// The upload that it was about, where that goes on.
    pub upload: Option<Arc<Upload>>,
}

impl Told {
    fn ok(status: StatusCode, body: Value) -> Told {
        Told { status, body, upload: None }
    }

    fn about(self, upload: Arc<Upload>) -> Told {
        Told { upload: Some(upload), ..self }
    }
}

impl From<Refused> for Told {
    fn from(refused: Refused) -> Told {
        let (status, text) = refused_text(&refused);
        let mut body = json!({ "error": text });
        if let (Refused::Waits(waits), Some(body)) = (&refused, body.as_object_mut()) {
            body.extend(waits_json(*waits));
        }
        Told::ok(status, body)
    }
}

impl Site {
    /// Answers what is asked about uploads by a request of its own.
    pub(super) async fn of_uploads(
        self: &Arc<Self>,
        peer: IpAddr,
        path: &str,
        request: Request<Incoming>,
    ) -> Reply {
        let Some(uploads) = &self.rights.put else { return not_found() };
        let (parts, body) = request.into_parts();
        if let Some(refusal) = refusal_of_origin(&parts) {
            return refusal;
        }
        let query = parts.uri.query().unwrap_or_default();
        if let (&Method::PUT, Some(id)) = (&parts.method, path.strip_prefix("pieces/")) {
            let share = self.rates.of(peer);
            return answer(match put(uploads, id, query, body, &share).await {
                Ok(told) => told,
                Err(refused) => refused.into(),
            });
        }
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                return Reply::text(
                    StatusCode::BAD_REQUEST,
                    "the body of this request is too long, or did not come",
                );
            }
        };
        answer(self.ask(peer, Ask { method: parts.method.as_str(), path, query, body }, None).await)
    }

    /// Answers what is asked about uploads.
    pub(super) async fn ask(&self, peer: IpAddr, ask: Ask<'_>, hears: Option<Hears>) -> Told {
        let told = match &self.rights.put {
            // A conversation that began before goes on no longer than what it is allowed.
            _ if self.access.is_over(Instant::now()) => Err(Refused::Over),
            Some(uploads) => self.dispatch(uploads, peer, ask, hears).await,
            None => Err(Refused::Unknown),
        };
        told.unwrap_or_else(Told::from)
    }

    async fn dispatch(
        &self,
        uploads: &Arc<Uploads>,
        peer: IpAddr,
        ask: Ask<'_>,
        hears: Option<Hears>,
    ) -> Result<Told, Refused> {
        let Ask { method, path, query, body } = ask;
        if let Some(path) = path.strip_prefix("upload/") {
            return match method {
                "POST" => {
                    let plan = self.plan(path, query)?;
                    let upload = uploads.begin(peer, plan, hears).await?;
                    let mut told = state(&upload);
                    if let Some(told) = told.as_object_mut() {
                        told.insert("resumes".into(), upload.resumes().into());
                        told.insert("exists".into(), upload.exists().into());
                    }
                    Ok(Told::ok(StatusCode::CREATED, told).about(upload))
                }
                _ => Err(Refused::Request("an upload is begun by POST")),
            };
        }
        let rest = path.strip_prefix("pieces/").ok_or(Refused::Unknown)?;
        let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
        let upload = uploads.pieces.find(id)?;
        match (method, what) {
            ("GET" | "HEAD", "") => Ok(Told::ok(StatusCode::OK, state(&upload)).about(upload)),
            ("DELETE", "") => {
                uploads.pieces.discard(&upload)?;
                Ok(Told::ok(StatusCode::OK, json!({ "status": "discarded" })))
            }
            ("POST", "values") => {
                let first = number(query, "first").unwrap_or_default();
                let differ = uploads.pieces.compare(&upload, first, values(&body)?).await?;
                Ok(Told::ok(StatusCode::OK, json!({ "differ": differ })).about(upload))
            }
            ("POST", "complete") => {
                let hash = text(query, "blake3").and_then(|text| Hash::from_hex(text).ok());
                let hash = hash.ok_or(Refused::Request("say the hash: complete?blake3=HEX"))?;
                let stored = uploads.complete(&upload, hash).await?;
                self.note(peer, &stored);
                let status = if stored.published.existed { StatusCode::OK } else { StatusCode::CREATED };
                Ok(Told::ok(status, stored_json(&stored)))
            }
            _ => Err(Refused::Unknown),
        }
    }

    /// What a client says of a file that it is about to send.
    fn plan(&self, path: &str, query: &str) -> Result<Plan, Refused> {
        let wanted = wanted(&format!("/{path}")).ok().filter(|wanted| !wanted.folder);
        let path =
            wanted.and_then(|wanted| wanted.path).ok_or(Refused::Request("no file can have this name"))?;
        self.check_name(&path)?;
        let size =
            number(query, "size").ok_or(Refused::Request("say how long it is: upload/PATH?size=BYTES"))?;
        let name =
            |key| -> String { text(query, key).unwrap_or_default().chars().take(CLIENT_CHARS_MAX).collect() };
        let (client, before) = (name("client"), name("before"));
        Ok(Plan { path, size, client, before, modified: modified(query) })
    }
}

/// Takes a piece.
async fn put(
    uploads: &Uploads,
    id: &str,
    query: &str,
    body: Incoming,
    share: &Share,
) -> Result<Told, Refused> {
    let upload = uploads.pieces.find(id)?;
    let at = number(query, "at").ok_or(Refused::Request("say where it begins: pieces/ID?at=OFFSET"))?;
    let bytes = body.size_hint().exact().ok_or(Refused::Request("a piece has a Content-Length"))?;
    let written = uploads.pieces.put(&upload, at, bytes, body, share).await?;
    let value = Hash::from_bytes(written.value).to_string();
    let disk_ms = written.took.as_millis();
    let body = json!({ "at": at, "bytes": bytes, "value": value, "disk_ms": disk_ms });
    Ok(Told::ok(StatusCode::OK, body).about(upload))
}

/// Why an upload waits.
pub(super) fn waits_json(waits: Waits) -> Map<String, Value> {
    let Waits { serving, own, before } = waits;
    [("serving", serving), ("own", own), ("before", before)]
        .map(|(name, number)| (name.to_owned(), number.into()))
        .into_iter()
        .collect()
}

fn state(upload: &Upload) -> Value {
    let missing: Vec<_> = upload.missing(MISSING_MAX).iter().map(|range| [range.start, range.end]).collect();
    json!({
        "id": upload.id, "size": upload.size, "written": upload.written(), "piece_bytes": PIECE_BYTES,
        "missing": missing,
    })
}

fn answer(told: Told) -> Reply {
    let reply = Reply::page(told.status, "application/json", told.body.to_string() + "\n");
    match told.status {
        StatusCode::SERVICE_UNAVAILABLE => reply.with(header::RETRY_AFTER, "1"),
        _ => reply,
    }
}

/// What to say to a page of somebody else's that asks to change something.
fn refusal_of_origin(parts: &Parts) -> Option<Reply> {
    if is_cross_site(parts) {
        return Some(Reply::text(StatusCode::FORBIDDEN, "a page of another site may not do this"));
    }
    let is_own = parts.headers.contains_key(PAGE_FIELD);
    let text = "this needs the field Lanx: 1, which shows that no page of another site asks";
    (!is_own).then(|| Reply::text(StatusCode::FORBIDDEN, text))
}

fn values(body: &[u8]) -> Result<Vec<ChunkValue>, Refused> {
    let (values, rest) = body.as_chunks::<32>();
    match rest.is_empty() && !values.is_empty() {
        true => Ok(values.to_vec()),
        false => Err(Refused::Request("a value has 32 bytes, and one at least is expected")),
    }
}

/// A key of a query, with its value.
fn text(query: &str, key: &str) -> Option<String> {
    let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key)?;
    Some(percent_decode_str(pair.1).decode_utf8().ok()?.into_owned())
}

fn number(query: &str, key: &str) -> Option<u64> {
    text(query, key)?.parse().ok()
}

/// When the client's file was changed, where it says so.
pub(super) fn modified(query: &str) -> Option<SystemTime> {
    let age = Duration::from_millis(number(query, "modified_ms")?);
    UNIX_EPOCH.checked_add(age)
}
