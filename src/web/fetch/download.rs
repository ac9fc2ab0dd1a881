//! One file from its first request to its name.
//!
//! A thread for each connection reads a chunk, hashes it while it is in the cache, and writes it to its place in the part file.
//! The file gets its name when every
//! byte that the server told of is there, and is what was to be expected.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, Uri};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::dial::{Connection, DialError, Dialer, with_cause};
use super::head::{Seen, Wrong};
use super::notes::Notes;
use super::shares::Shares;
use super::target::{Target, join, origin};
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::entry::Metadata;
use crate::content::tree::{ChunkValue, Hash, Stretch, Tree, chunk_value, joined};
use crate::limits::CHUNK_BYTES;
use crate::name::{Name, RelativePath};
use crate::os::said::Said;
use crate::session::Progress;
use crate::session::rate_limit::Pace;
use crate::session::sender::ramp_up::Climb;
use crate::session::snapshot::{Scene, UnderWay};
use crate::store::{Existing, Found, Part, Published, Sink, SinkError, Verified};
use crate::units;
use crate::web::pieces::PIECE_BYTES;

/// From this size on there are several connections: below, one is done before others help.
const DIVIDED_FROM_BYTES: u64 = 50_000_000;

/// How many there are at first, and at most.
const CONNECTIONS_FIRST: u8 = 4;
pub const CONNECTIONS_MOST: u8 = 16;

/// Chunks of one request: 64 MiB, so that the time between two requests does not count, and one that is cut short is rare.
const REQUEST_CHUNKS: u64 = 256;

/// How often a file that changes meanwhile is begun anew.
const CHANGES_MAX: u32 = 3;

/// How often a piece that came wrong is got once more.
const MENDS_MAX: u32 = 3;

/// Redirections that are followed.
const REDIRECTS_MAX: u32 = 10;

/// Between two tries, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a server may tell us to wait, and how long we wait where it does not say.
const BUSY_MAX: Duration = Duration::from_secs(60);
const BUSY_DEFAULT: Duration = Duration::from_secs(1);

/// How often it is looked whether there should be more connections.
const LOOK: Duration = Duration::from_millis(100);

/// How long a connection without work waits for some that others leave.
const IDLE: Duration = Duration::from_millis(20);

/// What is to be got, and how.
pub struct Job {
    pub target: Target,
    /// Fields for this server alone: a token, and what the user gave.
    pub fields: HeaderMap,
    /// What it is to be called, where the user says.
    pub name: Option<Name>,
    pub sink: Sink,
    pub expected: Option<Expected>,
    pub connections_most: u8,
    pub limit: Option<Arc<Pace>>,
    pub silence: Duration,
    pub retry_for: Duration,
    pub mode: u32,
    pub progress: Arc<Progress>,
    pub stop: Arc<AtomicBool>,
    /// Hears what a person should know meanwhile.
    pub told: Box<dyn Fn(&str) + Send + Sync>,
}

/// What the file has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Blake3(Hash),
    Sha256([u8; 32]),
}

/// A file that is in place.
#[derive(Clone, Debug)]
pub struct Done {
    pub path: RelativePath,
    pub published: Published,
    pub size: u64,
    pub hash: Hash,
    /// By what it was shown to be the right one.
    pub verified_by: Option<&'static str>,
    /// It was there already.
    pub identical: bool,
    pub connections: u8,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(
        "{host} does not let this in ({status}); give the token by LANX_TOKEN or --token-file, or what else it asks for by --header"
    )]
    NotLetIn { host: String, status: u16 },
    #[error("{url} cannot be had: {why}; check the address")]
    Refused { url: String, why: String },
    #[error("{url} keeps changing while it is got; try again when nobody writes to it")]
    Changing { url: String },
    #[error(
        "{name} is not what was expected: its {kind} is {got}; what had come was removed; find out where it comes from"
    )]
    Mismatch { name: RelativePath, kind: &'static str, got: String },
    #[error("there is no name for {url}; give it one with -o FILE")]
    NoName { url: String },
    #[error(transparent)]
    Store(#[from] SinkError),
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
    #[error("cannot start a thread: {}; let this user have more of them", Said(.0))]
    Thread(io::Error),
}

/// Why an attempt has come to nothing.
enum Ended {
    /// For good.
    Over(Failed),
    Changed,
    NoRanges,
    Busy(Option<Duration>),
    Lost(DialError),
}

impl From<DialError> for Ended {
    fn from(error: DialError) -> Ended {
        if error.may_pass() { Ended::Lost(error) } else { Ended::Over(error.into()) }
    }
}

impl From<SinkError> for Ended {
    fn from(error: SinkError) -> Ended {
        Ended::Over(error.into())
    }
}

/// An answer, and where it came from in the end.
struct Opened {
    connection: Connection,
    answer: Response<Incoming>,
    uri: Uri,
}

/// Gets the file. Blocks until it is there, or is not to be had.
///
/// # Errors
/// [`Failed`].
pub fn download(job: &Arc<Job>) -> Result<Done, Failed> {
    runtime().map_err(Failed::Thread)?.block_on(job.run())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Job {
    async fn run(self: &Arc<Self>) -> Result<Done, Failed> {
        let dialer = Arc::new(Dialer::new(self.target.pin, self.silence)?);
        let (mut changes, mut divide, mut pause) = (0, true, PAUSE_FIRST);
        let (mut reached, mut end) = (0, Instant::now() + self.retry_for);
        loop {
            let ended = match self.attempt(&dialer, divide).await {
                Ok(done) => return Ok(done),
                Err(ended) => ended,
            };
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::Interrupted);
            }
            // Further than ever: what is got again and again is no progress.
            if self.progress.arrived() > reached {
                (reached, pause, end) =
                    (self.progress.arrived(), PAUSE_FIRST, Instant::now() + self.retry_for);
            }
            let (wait, why) = match ended {
                Ended::Over(failed) => return Err(failed),
                Ended::Changed if changes == CHANGES_MAX => {
                    return Err(Failed::Changing { url: self.url() });
                }
                Ended::Changed => {
                    changes += 1;
                    (self.told)("the file has changed at its server; it is got anew");
                    (Duration::ZERO, None)
                }
                Ended::NoRanges => {
                    divide = false;
                    (self.told)("the server does not give parts as it says; all of the file is got in one");
                    (Duration::ZERO, None)
                }
                Ended::Busy(after) => {
                    let what = "it wants to be left alone (429 or 503)".to_owned();
                    let error = DialError::Lost { host: self.host(), what };
                    (after.unwrap_or(BUSY_DEFAULT).min(BUSY_MAX), Some(error))
                }
                Ended::Lost(error) => (pause, Some(error)),
            };
            if let Some(error) = why {
                if Instant::now() + wait >= end {
                    return Err(error.into());
                }
                (self.told)(&format!("{error}; trying again for up to {} s", self.retry_for.as_secs()));
                pause = (pause * 2).min(PAUSE_MAX);
            }
            self.progress.begin_again();
            self.rest(wait).await;
        }
    }

    /// Waits, but not where nobody wants it any more.
    async fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stop.load(Ordering::Relaxed) {
            sleep(LOOK.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// The address for a message: nothing of the query, where secrets may stand.
    fn url(&self) -> String {
        let uri = &self.target.uri;
        let (scheme, path) = (uri.scheme_str().unwrap_or_default(), uri.path());
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        crate::name::escape(format!("{scheme}://{authority}{path}"))
    }

    fn host(&self) -> String {
        self.target.uri.host().unwrap_or_default().to_owned()
    }

    fn ended(&self, wrong: Wrong) -> Ended {
        match wrong {
            Wrong::Changed => Ended::Changed,
            Wrong::NoRanges => Ended::NoRanges,
            Wrong::Busy(after) => Ended::Busy(after),
            Wrong::Failing(status) => {
                let what = format!("it answers {}", status.as_u16());
                Ended::Lost(DialError::Lost { host: self.host(), what })
            }
            Wrong::NotLetIn(status) => {
                Ended::Over(Failed::NotLetIn { host: self.host(), status: status.as_u16() })
            }
            Wrong::Refused(why) => Ended::Over(Failed::Refused { url: self.url(), why }),
        }
    }

    /// Asks for the file, and follows where that leads. What is secret goes to nobody but the server that was named.
    async fn open(&self, dialer: &Dialer, from: &Uri, extra: &HeaderMap) -> Result<Opened, Ended> {
        let refused = |why: &str| Ended::Over(Failed::Refused { url: self.url(), why: why.to_owned() });
        let mut uri = from.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut fields = extra.clone();
            if origin(&uri) == origin(&self.target.uri) {
                fields.extend(self.fields.clone());
            }
            let mut connection = dialer.connect(&uri).await?;
            let answer = connection.get(&uri, &fields).await?;
            let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirects {
                return Ok(Opened { connection, answer, uri });
            }
            let to = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = to.and_then(|to| join(&uri, to)).ok_or_else(|| refused("it is said to be nowhere"))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(refused("it is said to be where there is no TLS, so anybody could change it"));
            }
            uri = next;
        }
        Err(refused("it is said to be elsewhere again and again"))
    }

    async fn attempt(self: &Arc<Self>, dialer: &Arc<Dialer>, divide: bool) -> Result<Done, Ended> {
        let Opened { connection, answer, uri } =
            self.open(dialer, &self.target.uri, &HeaderMap::new()).await?;
        let mut seen = Seen::of(&answer).map_err(|wrong| self.ended(wrong))?;
        seen.ranges &= divide;
        if let Some(encoding) = &seen.encoding {
            (self.told)(&format!(
                "the server sends it encoded ({}); it is stored as it comes",
                crate::name::escape(encoding)
            ));
        }
        let name = self.name.clone().or_else(|| self.target.name()).or_else(|| seen.name.clone());
        let name = name.ok_or_else(|| Ended::Over(Failed::NoName { url: self.url() }))?;
        let path = RelativePath::from(name);
        let Some(size) = seen.size else {
            return self.stream(&path, &seen, connection, answer).await;
        };
        if let Some(done) = self.look(&path, size)? {
            return Ok(done);
        }
        let part = self.sink.part(&path, size, false)?;
        let transfer = Transfer::new(self.clone(), dialer.clone(), part, seen, uri)?;
        let connections = transfer.run(connection, answer).await?;
        let proved = transfer.prove().await?;
        self.publish(&path, &transfer, proved, connections)
    }

    /// What stands at its name already: the file itself, or something that is not to be replaced.
    fn look(&self, path: &RelativePath, size: u64) -> Result<Option<Done>, Ended> {
        let found = self.sink.look(path, size)?;
        if let (Found::SameSize(file), Some(expected)) = (&found, self.expected) {
            let read = |buffer: &mut [u8], at| file.read_at(buffer, at);
            let hashes = Hashes::of(size, matches!(expected, Expected::Sha256(_)), &self.stop, read)?;
            if hashes.are(expected) {
                let published = Published { name: path.name(), renamed: false, existed: true };
                return Ok(Some(Done {
                    path: path.clone(),
                    published,
                    size,
                    hash: hashes.blake3,
                    verified_by: Some(expected.kind()),
                    identical: true,
                    connections: 1,
                }));
            }
        }
        if matches!(found, Found::Nothing) || self.sink.existing() != Existing::Refuse {
            return Ok(None);
        }
        Err(SinkError::Exists { path: self.sink.path().join(path.name().as_os_str()) }.into())
    }

    fn publish(
        &self,
        path: &RelativePath,
        transfer: &Transfer,
        proved: Option<Hash>,
        connections: u8,
    ) -> Result<Done, Ended> {
        let part = &transfer.part;
        let hash = proved.or(transfer.tree.lock().root());
        // Every chunk was inserted once, so there is a root.
        let hash = hash.ok_or_else(|| self.ended(Wrong::Refused("it has no end".into())))?;
        let size = part.size();
        let verified_by =
            match self.check(path, size, hash, &transfer.seen, |buffer, at| part.read_at(buffer, at)) {
                Ok(verified_by) => verified_by.or(proved.map(|_| "BLAKE3")),
                Err(error) => {
                    // Of what was wrong nothing is to be gone on with.
                    part.forget_journal();
                    part.discard()?;
                    return Err(error);
                }
            };
        let published = self.name_part(part, &transfer.seen, hash)?;
        part.forget_journal();
        Ok(Done { path: path.clone(), published, size, hash, verified_by, identical: false, connections })
    }

    fn name_part(&self, part: &Part, seen: &Seen, hash: Hash) -> Result<Published, Ended> {
        self.sink.check_place()?;
        let modified = seen.modified().unwrap_or_else(SystemTime::now);
        let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        part.dress(&Metadata {
            mode: self.mode,
            mtime_seconds: i64::try_from(age.as_secs()).unwrap_or_default(),
            mtime_nanos: age.subsec_nanos(),
            archive: None,
        });
        let go_on = || !self.stop.load(Ordering::Relaxed);
        let verified = Verified { hash, sync: false, go_on: &go_on };
        let published = part.publish_dressed(self.sink.existing(), &verified)?;
        published.ok_or(Ended::Over(Failed::Interrupted))
    }

    /// Holds the file against what is known of it, and says by what it was proved.
    fn check(
        &self,
        path: &RelativePath,
        size: u64,
        hash: Hash,
        seen: &Seen,
        read: impl Fn(&mut [u8], u64) -> Result<(), SinkError>,
    ) -> Result<Option<&'static str>, Ended> {
        let told = seen.sha256.filter(|_| seen.encoding.is_none()).map(Expected::Sha256);
        let mut verified_by = None;
        for expected in [self.expected, told].into_iter().flatten() {
            let got = match expected {
                Expected::Blake3(_) => Hashes { blake3: hash, sha256: None },
                Expected::Sha256(_) => Hashes::of(size, true, &self.stop, &read)?,
            };
            if !got.are(expected) {
                let (name, kind) = (path.clone(), expected.kind());
                return Err(Ended::Over(Failed::Mismatch { name, kind, got: got.shown(expected) }));
            }
            verified_by = verified_by.or(Some(expected.kind()));
        }
        Ok(verified_by)
    }

    /// Gets a file whose length nobody tells: in one, and anew after a loss.
    async fn stream(
        &self,
        path: &RelativePath,
        seen: &Seen,
        connection: Connection,
        answer: Response<Incoming>,
    ) -> Result<Done, Ended> {
        if self.sink.existing() == Existing::Refuse && !matches!(self.sink.look(path, 0)?, Found::Nothing) {
            return Err(SinkError::Exists { path: self.sink.path().join(path.name().as_os_str()) }.into());
        }
        if !answer.headers().contains_key(header::TRANSFER_ENCODING) {
            (self.told)(
                "the server does not say how long the file is, so nobody can tell whether all of it comes",
            );
        }
        let part = self.sink.part_of_stream(path)?;
        self.progress.stream_began();
        let written = self.write_stream(&part, answer.into_body()).await;
        drop(connection);
        let size = written.as_ref().map_or(0, |(size, _)| *size);
        self.progress.stream_ended(size);
        let (size, hash) = written?;
        part.end_at(size);
        let verified_by = match self.check(path, size, hash, seen, |buffer, at| part.read_at(buffer, at)) {
            Ok(verified_by) => verified_by,
            Err(error) => {
                part.discard()?;
                return Err(error);
            }
        };
        let published = self.name_part(&part, seen, hash)?;
        Ok(Done { path: path.clone(), published, size, hash, verified_by, identical: false, connections: 1 })
    }

    async fn write_stream(&self, part: &Part, mut body: Incoming) -> Result<(u64, Hash), Ended> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0u64;
        while let Some(data) = self.next(&mut body).await? {
            self.pace(data.len()).await;
            part.write_at(&data, at)?;
            hasher.update(&data);
            at += data.len() as u64;
            Progress::add(&self.progress.written, data.len() as u64);
        }
        Ok((at, hasher.finalize()))
    }

    /// The next bytes of a body; `None` at its end, which HTTP has shown to be one.
    async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, Ended> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Ended::Over(Failed::Interrupted));
            }
            let lost = |what: String| Ended::Lost(DialError::Lost { host: self.host(), what });
            let silence = format!("it said nothing for {} s", self.silence.as_secs());
            match timeout(self.silence, body.frame()).await.map_err(|_| lost(silence))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(with_cause(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    async fn pace(&self, bytes: usize) {
        while let Some(wait) = self.limit.as_ref().and_then(|limit| limit.take(bytes as u64)) {
            sleep(wait).await;
        }
    }
}

impl Expected {
    fn kind(&self) -> &'static str {
        match self {
            Expected::Blake3(_) => "BLAKE3",
            Expected::Sha256(_) => "SHA-256",
        }
    }
}

/// What a file is.
struct Hashes {
    blake3: Hash,
    sha256: Option<[u8; 32]>,
}

impl Hashes {
    /// Reads it, in order.
    fn of(
        size: u64,
        with_sha256: bool,
        stop: &AtomicBool,
        read: impl Fn(&mut [u8], u64) -> Result<(), SinkError>,
    ) -> Result<Hashes, Ended> {
        let (mut blake3, mut sha256) = (blake3::Hasher::new(), digest::Context::new(&digest::SHA256));
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < size {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Over(Failed::Interrupted));
            }
            let most = usize::try_from(size - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            read(now, at)?;
            blake3.update(now);
            if with_sha256 {
                sha256.update(now);
            }
            at += most as u64;
        }
        let sha256 = with_sha256.then(|| sha256.finish().as_ref().try_into().ok()).flatten();
        Ok(Hashes { blake3: blake3.finalize(), sha256 })
    }

    fn are(&self, expected: Expected) -> bool {
        match expected {
            Expected::Blake3(hash) => self.blake3 == hash,
            Expected::Sha256(hash) => self.sha256 == Some(hash),
        }
    }

    fn shown(&self, expected: Expected) -> String {
        match expected {
            Expected::Blake3(_) => self.blake3.to_string(),
            Expected::Sha256(_) => Hash::from_bytes(self.sha256.unwrap_or_default()).to_string(),
        }
    }
}

/// A file whose length is known, under way.
struct Transfer {
    job: Arc<Job>,
    dialer: Arc<Dialer>,
    part: Part,
    layout: Layout,
    seen: Seen,
    /// Where the first answer came from.
    uri: Uri,
    shares: Mutex<Shares>,
    tree: Mutex<Tree>,
    notes: Mutex<Notes>,
    /// Chunks that were written, of all.
    written: AtomicU64,
    wanted: AtomicU8,
    most: AtomicU8,
    live: AtomicU8,
    /// Connections that there were at once.
    peak: AtomicU8,
    over: watch::Sender<bool>,
    ended: Mutex<Option<Ended>>,
}

impl Scene for Transfer {
    fn under_way(&self, _most: usize) -> UnderWay {
        let connections = usize::from(self.live.load(Ordering::Relaxed));
        UnderWay { connections, files: Vec::new(), others: 0, all_offered: true }
    }
}

impl Transfer {
    fn new(
        job: Arc<Job>,
        dialer: Arc<Dialer>,
        part: Part,
        seen: Seen,
        uri: Uri,
    ) -> Result<Arc<Transfer>, Ended> {
        let layout = Layout::new(part.size());
        let mut tree = Tree::new(layout);
        let mut notes = Notes::default();
        let mut there = Vec::new();
        // What cannot be asked for in parts cannot be gone on with, nor what may be of another state of the file.
        if let (true, Some(tag)) = (seen.can_be_divided(), seen.strong_tag()) {
            let key = Notes::key(&job.target.uri, part.size(), tag);
            notes = Notes::open(&part, key)?;
            there = notes.believe(&part, layout, &job.stop).ok_or(Ended::Over(Failed::Interrupted))?;
        }
        Progress::add(&job.progress.offered, part.size());
        for (chunk, value) in &there {
            // Each is there once.
            let _ = tree.insert(ChunkIndex(*chunk), *value);
            Progress::add(&job.progress.kept, layout.len_of(ChunkIndex(*chunk)).unwrap_or_default() as u64);
        }
        let kept: Vec<u64> = there.iter().map(|(chunk, _)| *chunk).collect();
        let transfer = Arc::new(Transfer {
            dialer,
            layout,
            seen,
            uri,
            shares: Mutex::new(Shares::new(layout.chunks(), &kept)),
            tree: Mutex::new(tree),
            notes: Mutex::new(notes),
            written: AtomicU64::new(kept.len() as u64),
            wanted: AtomicU8::new(1),
            most: AtomicU8::new(job.connections_most.min(CONNECTIONS_MOST)),
            live: AtomicU8::new(0),
            peak: AtomicU8::new(1),
            over: watch::Sender::new(false),
            ended: Mutex::new(None),
            part,
            job,
        });
        transfer.job.progress.follow(&transfer);
        Ok(transfer)
    }

    /// Gets all that is missing. Returns how many connections there were.
    async fn run(self: &Arc<Self>, connection: Connection, answer: Response<Incoming>) -> Result<u8, Ended> {
        let is_fresh = self.written.load(Ordering::Relaxed) == 0;
        if self.written.load(Ordering::Relaxed) < self.layout.chunks() {
            let first = is_fresh.then_some((connection, answer));
            let ((), threads) = tokio::join!(self.carry(0, first), self.keep_pool());
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        match self.ended.lock().take() {
            Some(ended) => Err(ended),
            None if self.written.load(Ordering::Relaxed) == self.layout.chunks() => {
                Ok(self.peak.load(Ordering::Relaxed))
            }
            None => Err(Ended::Over(Failed::Interrupted)),
        }
    }

    /// Holds what came against the values that a lanx tells of its file. What is wrong is got once more. The hash of the file, where
    /// that was done; `None` where nobody tells any values.
    async fn prove(&self) -> Result<Option<Hash>, Ended> {
        let size = self.layout.size();
        let Some(values) = self.values_told().await? else { return Ok(None) };
        let Some(hash) = joined(size, &values) else { return Ok(None) };
        if self.tree.lock().root() == Some(hash) {
            return Ok(Some(hash));
        }
        let mut wrong = 0;
        for (at, (bytes, value)) in &values {
            let mut tries = 0;
            while self.value_at(*at, *bytes)? != *value {
                wrong += u32::from(tries == 0);
                if tries == MENDS_MAX {
                    self.part.forget_journal();
                    self.part.discard()?;
                    let why = "some of it comes wrong again and again; what had come was removed";
                    return Err(self.job.ended(Wrong::Refused(why.into())));
                }
                tries += 1;
                self.get_again(*at, *bytes).await?;
            }
        }
        (self.job.told)(&format!(
            "{} came wrong, and were got once more",
            units::count(wrong.into(), "piece")
        ));
        Ok(Some(hash))
    }

    /// The values of the pieces of this state of the file, where its server is a lanx.
    async fn values_told(&self) -> Result<Option<BTreeMap<u64, (u64, ChunkValue)>>, Ended> {
        let (true, Some(tag)) = (self.seen.has_tree, self.seen.strong_tag()) else { return Ok(None) };
        let mut parts = self.uri.clone().into_parts();
        let address = format!("/.lanx/tree{}", self.uri.path());
        parts.path_and_query = address.parse().ok();
        let Ok(uri) = Uri::from_parts(parts) else { return Ok(None) };
        let opened = self.job.open(&self.dialer, &uri, &HeaderMap::new()).await?;
        let headers = opened.answer.headers();
        let is_same = headers.get(header::ETAG).is_some_and(|own| own.as_bytes() == tag.as_bytes());
        if opened.answer.status() != hyper::StatusCode::OK {
            return Ok(None);
        }
        if !is_same {
            return Err(Ended::Changed);
        }
        let size = self.layout.size();
        let most = size.div_ceil(PIECE_BYTES).max(1).saturating_mul(32);
        let mut body = opened.answer.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = self.job.next(&mut body).await? {
            bytes.extend_from_slice(&data);
            if bytes.len() as u64 > most {
                return Ok(None);
            }
        }
        let (told, _) = bytes.as_chunks::<32>();
        let starts = (0..).step_by(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX));
        Ok(Some(starts.zip(told).map(|(at, value)| (at, (PIECE_BYTES.min(size - at), *value))).collect()))
    }

    /// The value of what is in the part file.
    fn value_at(&self, at: u64, bytes: u64) -> Result<ChunkValue, Ended> {
        let stretch = Stretch::new(self.layout.size(), at, bytes);
        let mut stretch =
            stretch.ok_or_else(|| self.job.ended(Wrong::Refused("its values are none".into())))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        for from in (at..at + bytes).step_by(CHUNK_BYTES) {
            let most = usize::try_from(at + bytes - from).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            self.part.read_at(now, from)?;
            stretch.update(now);
        }
        Ok(stretch.value())
    }

    /// Gets a piece once more, over a connection of its own.
    async fn get_again(&self, at: u64, bytes: u64) -> Result<(), Ended> {
        let chunk = CHUNK_BYTES as u64;
        let mut connection = None;
        let answer = self.ask(&mut connection, &(at / chunk..(at + bytes).div_ceil(chunk))).await?;
        let mut body = answer.into_body();
        let mut from = at;
        while let Some(data) = self.job.next(&mut body).await? {
            self.job.pace(data.len()).await;
            if data.len() as u64 > at + bytes - from {
                return Err(self.job.ended(Wrong::Refused("more came than it is long".into())));
            }
            self.part.write_at(&data, from)?;
            from += data.len() as u64;
        }
        Ok(())
    }

    /// Has as many connections as are of use, until all is over.
    async fn keep_pool(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let mut threads = Vec::new();
        let missing = self.shares.lock().missing().saturating_mul(CHUNK_BYTES as u64);
        let divided = self.seen.can_be_divided() && missing >= DIVIDED_FROM_BYTES;
        let most = if divided { self.most.load(Ordering::Relaxed) } else { 1 };
        let mut climb = Climb::new(CONNECTIONS_FIRST, most, Instant::now());
        let mut over = self.over.subscribe();
        loop {
            let wanted = climb.now().min(self.most.load(Ordering::Relaxed)).max(1);
            self.wanted.store(wanted, Ordering::Relaxed);
            while threads.len() + 1 < usize::from(wanted) {
                let (transfer, who) = (self.clone(), threads.len() + 1);
                let carry = move || match runtime() {
                    Ok(runtime) => runtime.block_on(transfer.carry(who, None)),
                    Err(error) => tracing::info!("one connection less: {error}"),
                };
                match thread::Builder::new().name("get".into()).spawn(carry) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        tracing::info!("one connection less: {error}");
                        self.most.store(wanted.saturating_sub(1).max(1), Ordering::Relaxed);
                        break;
                    }
                }
            }
            tokio::select! {
                _ = over.wait_for(|over| *over) => return threads,
                () = sleep(LOOK) => {}
            }
            if self.job.stop.load(Ordering::Relaxed) {
                self.end(Ended::Over(Failed::Interrupted));
                return threads;
            }
            climb.step(self.job.progress.crossed(), false, Instant::now());
        }
    }

    /// All is over, for this reason; the first that is given counts.
    fn end(&self, ended: Ended) {
        self.ended.lock().get_or_insert(ended);
        self.over.send_replace(true);
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Carries one connection after another, until there is nothing to do.
    async fn carry(&self, who: usize, first: Option<(Connection, Response<Incoming>)>) {
        let live = 1 + self.live.fetch_add(1, Ordering::Relaxed);
        self.peak.fetch_max(live, Ordering::Relaxed);
        if let Err(ended) = self.work(who, first).await {
            self.end(ended);
        }
        self.shares.lock().give_up(who);
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    async fn work(&self, who: usize, first: Option<(Connection, Response<Incoming>)>) -> Result<(), Ended> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut connection = None;
        let (mut pause, mut seen_at, mut reached) = (PAUSE_FIRST, Instant::now(), 0);
        let mut answer = None;
        if let Some((first, head)) = first {
            self.shares.lock().take(who, Instant::now());
            (connection, answer) = (Some(first), Some((head, 0..self.layout.chunks())));
        }
        let mut over = self.over.subscribe();
        while !self.is_over() {
            let tried = match answer.take() {
                Some((head, chunks)) => self.read(who, head.into_body(), chunks, &mut buffer).await,
                None => {
                    // The first one stays, whatever is wanted.
                    if who > 0 && who >= usize::from(self.wanted.load(Ordering::Relaxed)) {
                        self.shares.lock().give_up(who);
                        connection = None;
                        tokio::select! { _ = over.wait_for(|over| *over) => {}, () = sleep(LOOK) => {} }
                        continue;
                    }
                    let taken = self.shares.lock().take(who, Instant::now());
                    let Some(stretch) = taken else {
                        tokio::select! { _ = over.wait_for(|over| *over) => {}, () = sleep(IDLE) => {} }
                        continue;
                    };
                    let chunks = stretch.start..stretch.end.min(stretch.start + REQUEST_CHUNKS);
                    self.ask(&mut connection, &chunks).await.map(|head| {
                        answer = Some((head, chunks));
                        true
                    })
                }
            };
            if self.job.progress.crossed() > reached {
                (reached, seen_at, pause) = (self.job.progress.crossed(), Instant::now(), PAUSE_FIRST);
            }
            match tried {
                Ok(true) => {}
                // What is on the way there is not for us any more.
                Ok(false) => connection = None,
                Err(Ended::Busy(after)) if self.seen.can_be_divided() => {
                    connection = None;
                    self.shares.lock().give_up(who);
                    let half = (self.wanted.load(Ordering::Relaxed) / 2).max(1);
                    self.most.fetch_min(half, Ordering::Relaxed);
                    if seen_at.elapsed() >= self.job.retry_for {
                        return Err(Ended::Busy(after));
                    }
                    self.job.rest(after.unwrap_or(BUSY_DEFAULT).min(BUSY_MAX)).await;
                }
                Err(Ended::Lost(error))
                    if self.seen.can_be_divided() && seen_at.elapsed() < self.job.retry_for =>
                {
                    tracing::info!("{error}; this part is asked for again");
                    connection = None;
                    self.job.rest(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(ended) => return Err(ended),
            }
        }
        Ok(())
    }

    /// Asks for some chunks, over a connection that is there or a new one.
    async fn ask(
        &self,
        connection: &mut Option<Connection>,
        chunks: &Range<u64>,
    ) -> Result<Response<Incoming>, Ended> {
        let chunk = CHUNK_BYTES as u64;
        let bytes = chunks.start * chunk..(chunks.end * chunk).min(self.layout.size());
        let mut fields = HeaderMap::new();
        let range = format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1));
        if let Ok(value) = HeaderValue::from_str(&range) {
            fields.insert(header::RANGE, value);
        }
        if let Some(value) = self.seen.strong_tag().and_then(|tag| HeaderValue::from_str(tag).ok()) {
            fields.insert(header::IF_RANGE, value);
        }
        let answer = match connection {
            Some(open) => {
                let mut all = fields.clone();
                if origin(&self.uri) == origin(&self.job.target.uri) {
                    all.extend(self.job.fields.clone());
                }
                open.get(&self.uri, &all).await?
            }
            None => {
                let opened = self.job.open(&self.dialer, &self.uri, &fields).await?;
                *connection = Some(opened.connection);
                opened.answer
            }
        };
        self.seen.judge_part(&answer, &bytes).map_err(|wrong| self.job.ended(wrong))?;
        Ok(answer)
    }

    /// Reads the body of an answer that has these chunks, as far as they are still wanted of this connection. Whether it came
    /// to its end, so that the next request may follow.
    async fn read(
        &self,
        who: usize,
        mut body: Incoming,
        chunks: Range<u64>,
        buffer: &mut [u8],
    ) -> Result<bool, Ended> {
        let mut over = self.over.subscribe();
        let (mut chunk, mut filled) = (chunks.start, 0);
        if self.layout.size() == 0 {
            self.store(who, 0, &[])?;
            chunk = chunks.end;
        }
        loop {
            let data = tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => return Ok(false),
                data = self.job.next(&mut body) => data?,
            };
            let Some(mut data) = data else {
                let what = "the answer ended before its end".to_owned();
                let short = chunk < chunks.end;
                let lost = Ended::Lost(DialError::Lost { host: self.job.host(), what });
                return if short { Err(lost) } else { Ok(true) };
            };
            self.job.pace(data.len()).await;
            while data.has_remaining() {
                let len = self.layout.len_of(ChunkIndex(chunk)).filter(|_| chunk < chunks.end);
                let len =
                    len.ok_or_else(|| self.job.ended(Wrong::Refused("more came than it is long".into())))?;
                let room = buffer.get_mut(filled..len).unwrap_or_default();
                let now = room.len().min(data.remaining());
                data.copy_to_slice(room.get_mut(..now).unwrap_or_default());
                filled += now;
                if filled < len {
                    continue;
                }
                let goes_on = self.store(who, chunk, buffer.get(..len).unwrap_or_default())?;
                (chunk, filled) = (chunk + 1, 0);
                if !goes_on && chunk < chunks.end {
                    return Ok(false);
                }
            }
            if filled > 0 {
                self.shares.lock().came(who, Instant::now());
            }
        }
    }

    /// Writes a chunk to its place, unless another connection did. Whether this one is to go on behind it.
    fn store(&self, who: usize, chunk: u64, bytes: &[u8]) -> Result<bool, Ended> {
        let (first, goes_on) = self.shares.lock().read(who, chunk, Instant::now());
        if !first {
            return Ok(goes_on);
        }
        let index = ChunkIndex(chunk);
        let value = chunk_value(self.layout, index, bytes);
        self.part.write_at(bytes, self.layout.offset_of(index).unwrap_or_default())?;
        // Nobody else had it.
        let _ = self.tree.lock().insert(index, value);
        self.notes.lock().add(chunk, value, self.layout);
        Progress::add(&self.job.progress.written, bytes.len() as u64);
        if self.written.fetch_add(1, Ordering::AcqRel) + 1 == self.layout.chunks() {
            self.over.send_replace(true);
        }
        Ok(goes_on)
    }
}
