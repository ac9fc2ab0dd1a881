//! The conversation of a page with the server, over one WebSocket: the requests about uploads, each with a
//! number that its answer has as well, and what the server tells unasked. Pieces do not travel here: several
//! requests at once are faster.
//!
//! ```text
//! page    {"n":1,"ask":"POST upload/a.jpg?size=5000000"}
//! server  {"n":1,"status":201,"body":{"id":"...","missing":[[0,5000000]]}}
//! server  {"event":"waiting","ask":1,"serving":64,"own":8,"before":3}
//! server  {"event":"progress","uploads":[{"id":"...","written":4194304}]}
//! ```
//!
//! An upload belongs to the conversation that asked for it, and to nobody a while after that has ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::api::{Ask, BODY_BYTES_MAX, waits_json};
use super::pieces::Upload;
use super::refused::{Hears, Waits};
use super::reply::{Reply, is_cross_site};
use super::serve::Held;
use super::site::Site;

/// Bytes of a message: a comparison, in base64, and what is around it.
const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX / 3 * 4 + 16 * 1024;

/// Requests of one conversation that are answered at once. More wait.
const ASKED_MAX: usize = 16;

/// And those that wait for their turn beside them.
const WAITING_MAX: usize = 64;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How often the other end is asked whether it is there, and after which silence it is not.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long a message may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What RFC 6455, section 1.3, has a server put behind the key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    n: u64,
    /// Method and address, behind `/.lanx/`.
    ask: String,
    /// The body, in base64.
    #[serde(default)]
    body: String,
}

/// What it is answered with.
struct Answered {
    text: String,
    upload: Option<Arc<Upload>>,
}

/// Uploads that belong to a conversation, and what was told of each.
#[derive(Default)]
struct Belongings(HashMap<String, (Weak<Upload>, u64)>);

impl Drop for Belongings {
    fn drop(&mut self) {
        self.0.values().filter_map(|(upload, _)| upload.upgrade()).for_each(|upload| upload.let_go());
    }
}

/// Answers the request for a WebSocket, and has the conversation go on beside this connection.
pub(super) fn begin(site: &Arc<Site>, peer: IpAddr, mut request: Request<Incoming>) -> Reply {
    let fields = request.headers();
    let has = |name: header::HeaderName, word: &str| {
        let values = fields.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let is_right = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = fields.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).map(str::to_owned);
    let (true, Some(key)) = (is_right, key) else {
        let reply = Reply::text(StatusCode::UPGRADE_REQUIRED, "this is for a WebSocket");
        return reply.with(header::UPGRADE, "websocket").with(header::SEC_WEBSOCKET_VERSION, "13");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let held = request.extensions_mut().remove::<Held>();
    let (parts, _) = request.into_parts();
    if is_cross_site(&parts) {
        return Reply::text(StatusCode::FORBIDDEN, "a page of another site may not do this");
    }
    let Some(held) = held else {
        return Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be kept");
    };
    tokio::spawn(host(site.clone(), peer, upgrade, held));
    let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let accept = aws_lc_rs::digest::digest(sha1, (key + KEY_SUFFIX).as_bytes());
    Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::UPGRADE, "websocket")
        .with(header::CONNECTION, "upgrade")
        .with(header::SEC_WEBSOCKET_ACCEPT, STANDARD.encode(accept))
}

async fn host(site: Arc<Site>, peer: IpAddr, upgrade: OnUpgrade, held: Held) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .write_buffer_size(0);
    match upgrade.await {
        Ok(upgraded) => {
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            converse(&site, peer, socket, held).await;
        }
        Err(error) => tracing::debug!("a conversation with {peer} did not begin: {error}"),
    }
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn converse(site: &Arc<Site>, peer: IpAddr, mut socket: Socket, mut held: Held) {
    let mut belongings = Belongings::default();
    let mut asked = JoinSet::new();
    let (to, mut answers) = mpsc::channel::<Answered>(ASKED_MAX);
    let mut progress = interval(PROGRESS_EVERY);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waiting = Arc::<AtomicUsize>::default();
    let (mut heard, mut pinged) = (Instant::now(), Instant::now());
    loop {
        let message = tokio::select! {
            message = socket.next(), if asked.len() < ASKED_MAX + waiting.load(Ordering::Relaxed).min(WAITING_MAX) => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        let (site, to, text) = (site.clone(), to.clone(), text.to_string());
                        let waiter = Waiter { all: waiting.clone(), to: to.clone(), counted: false };
                        asked.spawn(async move {
                            let answer = answer(&site, peer, &text, waiter).await;
                            let _ = to.send(answer).await;
                        });
                        continue;
                    }
                    // Those of the protocol itself are answered below.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    _ => break,
                }
            }
            Some(answered) = answers.recv() => {
                if let Some(upload) = answered.upload {
                    belongings.take(upload);
                }
                Message::text(answered.text)
            }
            Some(_) = asked.join_next() => continue,
            _ = progress.tick() => match belongings.news() {
                Some(news) => Message::text(news),
                None if heard.elapsed() > SILENCE_MAX => break,
                None if pinged.elapsed() > PING_EVERY => {
                    pinged = Instant::now();
                    Message::Ping(Bytes::new())
                }
                None => continue,
            },
            () = held.leaving() => break,
        };
        if !matches!(timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(()))) {
            break;
        }
    }
    let _ = timeout(PROGRESS_EVERY, socket.close(None)).await;
}

/// Tells of an upload that waits for its turn, and counts it meanwhile.
struct Waiter {
    all: Arc<AtomicUsize>,
    to: mpsc::Sender<Answered>,
    counted: bool,
}

impl Waiter {
    fn hear(&mut self, n: u64, waits: Waits) {
        if !std::mem::replace(&mut self.counted, true) {
            self.all.fetch_add(1, Ordering::Relaxed);
        }
        let mut event = waits_json(waits);
        event.insert("event".into(), "waiting".into());
        event.insert("ask".into(), n.into());
        // Where there is no room, more will be told soon.
        let _ = self.to.try_send(Answered { text: Value::from(event).to_string(), upload: None });
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.counted {
            self.all.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn answer(site: &Arc<Site>, peer: IpAddr, text: &str, mut waiter: Waiter) -> Answered {
    let refusal = |n: Value, text: &str| {
        let text = json!({ "n": n, "status": 400, "body": { "error": text } }).to_string();
        Answered { text, upload: None }
    };
    let Ok(Asked { n, ask, body }) = serde_json::from_str::<Asked>(text) else {
        return refusal(
            Value::Null,
            "a message is {\"n\":NUMBER,\"ask\":\"METHOD ADDRESS\",\"body\":BASE64}",
        );
    };
    let (Some((method, address)), Ok(body)) = (ask.split_once(' '), STANDARD.decode(body)) else {
        return refusal(n.into(), "a message is {\"n\":NUMBER,\"ask\":\"METHOD ADDRESS\",\"body\":BASE64}");
    };
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let hears: Hears = Box::new(move |waits| waiter.hear(n, waits));
    let told = site.ask(peer, Ask { method, path, query, body: body.into() }, Some(hears)).await;
    let text = json!({ "n": n, "status": told.status.as_u16(), "body": told.body }).to_string();
    Answered { text, upload: told.upload }
}

impl Belongings {
    fn take(&mut self, upload: Arc<Upload>) {
        self.0.entry(upload.id.clone()).or_insert_with(|| {
            upload.hold();
            (Arc::downgrade(&upload), u64::MAX)
        });
    }

    /// What has been written since it was told last. Those that have ended are let go.
    fn news(&mut self) -> Option<String> {
        self.0.retain(|_, (upload, _)| upload.strong_count() > 0);
        let mut uploads = Vec::new();
        for (id, (upload, told)) in &mut self.0 {
            let written = upload.upgrade().map(|upload| upload.written());
            if let Some(written) = written.filter(|written| *written != *told) {
                *told = written;
                uploads.push(json!({ "id": id, "written": written }));
            }
        }
        (!uploads.is_empty()).then(|| json!({ "event": "progress", "uploads": uploads }).to_string())
    }
}
