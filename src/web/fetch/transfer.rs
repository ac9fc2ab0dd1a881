//! A file whose length is known, under way: over several connections, each carried by a thread that reads a
//! chunk, hashes it while it is in the cache, and writes it to its place in the part file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Buf;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode, Uri};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::dial::{Connection, DialError, Dialer};
use super::head::{Seen, Wrong};
use super::job::{BUSY_DEFAULT, BUSY_MAX, Ended, Failed, Job, LOOK, PAUSE_FIRST, PAUSE_MAX, Values, runtime};
use super::notes::{Notes, check, chunks_of};
use super::shares::Shares;
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::{Hash, Tree, chunk_value};
use crate::limits::CHUNK_BYTES;
use crate::os::threads;
use crate::session::sender::ramp_up::Climb;
use crate::session::snapshot::{Scene, UnderWay};
use crate::store::Part;

/// From this size on there are several connections: below, one is done before others help.
const DIVIDED_FROM_BYTES: u64 = 50_000_000;

/// How many there are at first, and at most.
const CONNECTIONS_FIRST: u8 = 4;
pub const CONNECTIONS_MOST: u8 = 16;

/// Chunks of one request: 64 MiB, so that the time between two requests does not count, and one that is cut
/// short is rare.
const REQUEST_CHUNKS: u64 = 256;

/// How long a connection without work waits for some that others leave.
const IDLE: Duration = Duration::from_millis(20);

/// A file whose length is known, under way.
pub(super) struct Transfer {
    pub job: Arc<Job>,
    pub dialer: Arc<Dialer>,
    pub part: Part,
    pub layout: Layout,
    pub seen: Seen,
    /// Where the first answer came from.
    pub uri: Uri,
    shares: Mutex<Shares>,
    tree: Mutex<Tree>,
    notes: Mutex<Notes>,
    /// By what the server proves each piece, where it has said so meanwhile.
    pub values: Mutex<Option<Values>>,
    /// Pieces that an earlier run has noted as written.
    noted: BTreeMap<u64, [u8; 32]>,
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
    pub fn new(
        job: Arc<Job>,
        dialer: Arc<Dialer>,
        part: Part,
        seen: Seen,
        uri: Uri,
    ) -> Result<Arc<Transfer>, Ended> {
        let layout = Layout::new(part.size());
        let (mut notes, mut noted) = (Notes::default(), BTreeMap::new());
        // What cannot be asked for in parts cannot be gone on with, nor what may be of another state of the
        // file.
        if let (true, Some(tag)) = (seen.can_be_divided(), seen.strong_tag()) {
            let key = Notes::key(&job.target.uri, part.size(), tag);
            notes = Notes::open(&part, key)?;
            noted = notes.noted(layout);
        }
        job.count(|progress| &progress.offered, part.size());
        let shares = Shares::new(layout.chunks(), noted.keys().map(|piece| chunks_of(*piece, layout)));
        let transfer = Arc::new(Transfer {
            dialer,
            layout,
            seen,
            uri,
            shares: Mutex::new(shares),
            tree: Mutex::new(Tree::new(layout)),
            notes: Mutex::new(notes),
            values: Mutex::default(),
            noted,
            written: AtomicU64::new(0),
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

    /// Gets all that is missing, at first from this answer. Returns how many connections there were.
    pub async fn run(
        self: &Arc<Self>,
        kept: &mut Option<Connection>,
        answer: Response<Incoming>,
    ) -> Result<u8, Ended> {
        let first = self.noted.is_empty().then_some(answer);
        if first.is_none() {
            *kept = None;
        }
        let checks = self.begin_checks();
        let ((), threads, ()) =
            tokio::join!(self.carry(0, kept, first), self.keep_pool(), self.hear_values());
        threads.into_iter().chain(checks).for_each(|thread| drop(thread.join()));
        match self.ended.lock().take() {
            Some(ended) => Err(ended),
            None if self.written.load(Ordering::Relaxed) == self.layout.chunks() => {
                Ok(self.peak.load(Ordering::Relaxed))
            }
            None => Err(Ended::Over(Failed::Interrupted)),
        }
    }

    /// Asks for the values of a large file while it comes, as its server may have to hash it first.
    async fn hear_values(&self) {
        if self.layout.size() < DIVIDED_FROM_BYTES || self.seen.blake3.is_some() {
            return;
        }
        let mut over = self.over.subscribe();
        let in_vain = async {
            let _ = over.wait_for(|over| *over).await;
            if self.ended.lock().is_none() {
                // All of it is there, and only they are missing.
                std::future::pending::<()>().await;
            }
        };
        let mut connection = None;
        tokio::select! {
            told = self.job.values_told(&self.dialer, &mut connection, &self.seen, &self.uri) => {
                // Whoever misses them asks once more.
                *self.values.lock() = told.ok().flatten();
            }
            () = in_vain => {}
        }
    }

    /// Reads again what was noted, while what is missing comes: hours may go into it where a file is large
    /// and its disk is slow.
    fn begin_checks(self: &Arc<Self>) -> Option<thread::JoinHandle<()>> {
        if self.noted.is_empty() {
            return None;
        }
        let transfer = self.clone();
        let spawned = threads::named("check").spawn(move || transfer.check_noted());
        spawned
            .inspect_err(|error| {
                tracing::info!("what was there is checked first: {error}");
                self.check_noted();
            })
            .ok()
    }

    /// What proves right counts as written; what does not is dealt like all else that is missing.
    fn check_noted(&self) {
        let mut buffer = vec![0; CHUNK_BYTES];
        for (piece, noted) in &self.noted {
            if self.is_over() {
                return;
            }
            let Some(values) = check(&self.part, self.layout, *piece, *noted, &mut buffer) else {
                self.shares.lock().put_back(chunks_of(*piece, self.layout));
                continue;
            };
            let bytes = |chunk| self.layout.len_of(ChunkIndex(chunk)).unwrap_or_default() as u64;
            self.job.count(|progress| &progress.kept, values.iter().map(|(chunk, _)| bytes(*chunk)).sum());
            for (chunk, value) in &values {
                // Each is there once.
                let _ = self.tree.lock().insert(ChunkIndex(*chunk), *value);
            }
            self.add_written(values.len() as u64);
        }
    }

    fn add_written(&self, chunks: u64) {
        if self.written.fetch_add(chunks, Ordering::AcqRel) + chunks == self.layout.chunks() {
            self.over.send_replace(true);
        }
    }

    /// The hash of all that came.
    pub fn root(&self) -> Option<Hash> {
        self.tree.lock().root()
    }

    /// Has as many connections as are of use, until all is over.
    async fn keep_pool(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let mut threads = Vec::new();
        // How much of it is there already nobody knows yet; a connection without work is none.
        let divided = self.seen.can_be_divided() && self.layout.size() >= DIVIDED_FROM_BYTES;
        let most = if divided { self.most.load(Ordering::Relaxed) } else { 1 };
        let mut climb = Climb::new(CONNECTIONS_FIRST, most, Instant::now());
        let mut over = self.over.subscribe();
        loop {
            let wanted = climb.now().min(self.most.load(Ordering::Relaxed)).max(1);
            self.wanted.store(wanted, Ordering::Relaxed);
            while threads.len() + 1 < usize::from(wanted) {
                let (transfer, who) = (self.clone(), threads.len() + 1);
                let carry = move || match runtime() {
                    Ok(runtime) => runtime.block_on(transfer.carry(who, &mut None, None)),
                    Err(error) => tracing::info!("one connection less: {error}"),
                };
                match threads::named("get").spawn(carry) {
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
    async fn carry(&self, who: usize, kept: &mut Option<Connection>, first: Option<Response<Incoming>>) {
        let live = 1 + self.live.fetch_add(1, Ordering::Relaxed);
        self.peak.fetch_max(live, Ordering::Relaxed);
        let mut over = self.over.subscribe();
        let ended = tokio::select! {
            biased;
            ended = self.work(who, kept, first) => Some(ended),
            _ = over.wait_for(|over| *over) => None,
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(ended)) => self.end(ended),
            // It waits for a server, and for nothing that is of use any more.
            None => *kept = None,
        }
        self.shares.lock().give_up(who);
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    async fn work(
        &self,
        who: usize,
        connection: &mut Option<Connection>,
        first: Option<Response<Incoming>>,
    ) -> Result<(), Ended> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let (mut pause, mut seen_at, mut reached) = (PAUSE_FIRST, Instant::now(), 0);
        let mut answer = first.map(|head| (head, 0..self.layout.chunks()));
        if answer.is_some() {
            self.shares.lock().take(who, Instant::now());
        }
        let mut over = self.over.subscribe();
        while !self.is_over() {
            let tried = match answer.take() {
                Some((head, chunks)) => self.read(who, head.into_body(), chunks, &mut buffer).await,
                None => {
                    // The first one stays, whatever is wanted.
                    if who > 0 && who >= usize::from(self.wanted.load(Ordering::Relaxed)) {
                        self.shares.lock().give_up(who);
                        *connection = None;
                        tokio::select! { _ = over.wait_for(|over| *over) => {}, () = sleep(LOOK) => {} }
                        continue;
                    }
                    let taken = self.shares.lock().take(who, Instant::now());
                    let Some(stretch) = taken else {
                        tokio::select! { _ = over.wait_for(|over| *over) => {}, () = sleep(IDLE) => {} }
                        continue;
                    };
                    let chunks = stretch.start..stretch.end.min(stretch.start + REQUEST_CHUNKS);
                    self.ask(connection, &chunks).await.map(|head| {
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
                Ok(false) => *connection = None,
                Err(Ended::Busy(after)) if self.seen.can_be_divided() => {
                    *connection = None;
                    self.shares.lock().give_up(who);
                    let half = (self.wanted.load(Ordering::Relaxed) / 2).max(1);
                    self.most.fetch_min(half, Ordering::Relaxed);
                    if seen_at.elapsed() >= self.job.retry_for {
                        return Err(Ended::Busy(after));
                    }
                    self.job.rest(after.unwrap_or(BUSY_DEFAULT).clamp(PAUSE_FIRST, BUSY_MAX)).await;
                }
                Err(Ended::Lost(error))
                    if self.seen.can_be_divided() && seen_at.elapsed() < self.job.retry_for =>
                {
                    tracing::info!("{error}; this part is asked for again");
                    *connection = None;
                    self.job.rest(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(ended) => return Err(ended),
            }
        }
        Ok(())
    }

    /// Asks for some chunks, over a connection that is there or a new one.
    pub async fn ask(
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
        let opened = self.job.open(&self.dialer, connection, &self.uri, &fields).await?;
        let answer = opened.answer;
        // Not every address that one is sent to is good for as long as a large file takes.
        let is_elsewhere = self.uri != self.job.target.uri;
        let is_none =
            [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::BAD_REQUEST];
        if is_elsewhere && is_none.contains(&answer.status()) {
            return Err(Ended::Astray);
        }
        self.seen.judge_part(&answer, &bytes).map_err(|wrong| self.job.ended(wrong))?;
        Ok(answer)
    }

    /// Reads the body of an answer that has these chunks, as far as they are still wanted of this connection.
    /// Whether it came to its end, so that the next request may follow.
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
                // Where nothing more is on the way, the connection is good for the next file.
                _ = over.wait_for(|over| *over) => return Ok(body.is_end_stream()),
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
        self.job.count(|progress| &progress.written, bytes.len() as u64);
        self.add_written(1);
        Ok(goes_on)
    }
}
