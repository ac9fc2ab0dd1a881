//! Files that clients put here in pieces: each piece goes straight to its place in the part file, several at
//! once, and is hashed on the way. PROTOCOL.md has the requests.
//!
//! What is believed of a part file is the value of each piece as it was written by this process; of what was
//! there before nothing is, until it was hashed again and is what the client says that it has. So a name is
//! only given to a file whose values join to the hash that the client computed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::arrival::{Arrival, Fed, PIECES_WAITING, feed, identical, settle};
use super::bounds::{Counted, Share};
use super::refused::{Refused, Stored};
use crate::content::tree::{ChunkValue, Hash, Stretch, joined};
use crate::limits::CHUNK_BYTES;
use crate::name::RelativePath;
use crate::os::background::aside;
use crate::os::threads;
use crate::server::queue::Slot;
use crate::store::{Existing, ExistingFile, Part, Sink};

/// Bytes of a piece whose value is compared with what is there.
pub const PIECE_BYTES: u64 = 4 << 20;

/// A piece that is sent has at least so many bytes, but for the last one, so that few values are kept;
pub const PIECE_BYTES_MIN: u64 = 1 << 20;

/// and at most so many, as it is sent again where it was cut.
pub const PIECE_BYTES_MAX: u64 = 16 << 20;

/// Values in one comparison: those of 16 GiB, which take 128 KiB.
pub const VALUES_MAX: usize = 4096;

/// Pieces on their way at once, each with a thread, and those of one upload.
pub(super) const ON_THE_WAY_MAX: usize = 64;
pub(super) const OF_ONE_MAX: u8 = 16;

/// How long a piece waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(20);

/// Comparisons at once: they read and hash as fast as a disk can.
const COMPARISONS_MAX: usize = 2;

/// Pieces that are kept of all open uploads, together: 1 TiB in the smallest ones, in some 100 MiB.
const KEPT_MAX: u64 = 1 << 20;

/// After this time without a request an upload that no conversation holds is nobody's: its part file waits
/// for whoever comes with the file again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// After this time another page may go on with it: whoever reloads a page has to find the file again, which
/// takes longer.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// Bytes of the name of an upload: 128 bits, which nobody guesses.
const ID_BYTES: usize = 16;

/// All uploads that are open.
#[derive(Debug)]
pub struct Pieces {
    open: Mutex<HashMap<String, Arc<Upload>>>,
    threads: Arc<Semaphore>,
    comparisons: Arc<Semaphore>,
}

/// A file that comes.
#[derive(Debug)]
pub struct Upload {
    pub id: String,
    pub path: RelativePath,
    pub size: u64,
    /// Whose it is, as far as the client says: a page, which may be reloaded.
    client: String,
    modified: Option<SystemTime>,
    sink: Sink,
    part: Part,
    existing: Option<ExistingFile>,
    /// Until it is stored.
    counted: Mutex<Option<Counted>>,
    place: Slot,
    state: Mutex<State>,
    /// A piece is not on its way any more.
    freed: Notify,
    /// Bytes that were written and count.
    written: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Pieces on their way, by where they begin.
    claims: BTreeMap<u64, Claimed>,
    /// Pieces that are there, with their lengths and values.
    done: BTreeMap<u64, (u64, ChunkValue)>,
    /// It is being published or given up: no more pieces are taken.
    is_closing: bool,
    /// Conversations that it belongs to.
    holders: usize,
    used: Instant,
}

#[derive(Debug)]
struct Claimed {
    end: u64,
    cancel: Arc<Notify>,
}

/// The right to write a piece. Given back when it is dropped.
struct Claim {
    upload: Arc<Upload>,
    at: u64,
    cancel: Arc<Notify>,
    /// Bytes of it that were counted as written.
    counted: u64,
}

/// A piece that is there.
#[derive(Debug)]
pub struct Written {
    pub value: ChunkValue,
    /// How long it took to write and to hash it, without the time that it took to come.
    pub took: Duration,
}

/// What a client says of a file that it is about to send.
#[derive(Debug)]
pub struct Plan {
    pub path: RelativePath,
    pub size: u64,
    /// What the page calls itself, and what it called itself before it was loaded anew.
    pub client: String,
    pub before: String,
    pub modified: Option<SystemTime>,
}

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces {
            open: Mutex::default(),
            threads: Arc::new(Semaphore::new(ON_THE_WAY_MAX)),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_MAX)),
        }
    }
}

impl Pieces {
    /// Makes room for a new one: what nobody uses any more goes, and so does what the same page began with
    /// the same file before it was loaded anew, of whose end the network may not have told yet.
    pub async fn make_way(&self, plan: &Plan) {
        let now = Instant::now();
        let mut gone = Vec::new();
        {
            let mut open = self.open.lock();
            open.retain(|_, upload| {
                let goes = upload.is_free(plan, now);
                if goes {
                    gone.push(upload.clone());
                }
                !goes
            });
        }
        for upload in gone {
            upload.end().await;
        }
    }

    /// Opens the part file of a new upload. It waits for the disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn begin(
        &self,
        sink: Sink,
        existing: Option<ExistingFile>,
        counted: Counted,
        place: Slot,
        plan: Plan,
    ) -> Result<Arc<Upload>, Refused> {
        let Plan { path, size, client, modified, .. } = plan;
        let part = sink.part(&path, size, false)?;
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Refused::Thread(error.into()))?;
        let id = URL_SAFE_NO_PAD.encode(bytes);
        let state = State {
            claims: BTreeMap::new(),
            done: BTreeMap::new(),
            is_closing: false,
            holders: 0,
            used: Instant::now(),
        };
        let upload = Arc::new(Upload {
            id: id.clone(),
            path,
            size,
            client,
            modified,
            sink,
            part,
            existing,
            counted: Mutex::new(Some(counted)),
            place,
            state: Mutex::new(state),
            freed: Notify::new(),
            written: AtomicU64::new(0),
        });
        self.open.lock().insert(id, upload.clone());
        Ok(upload)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`Refused::Unknown`].
    pub fn find(&self, id: &str) -> Result<Arc<Upload>, Refused> {
        let upload = self.open.lock().get(id).cloned().ok_or(Refused::Unknown)?;
        upload.state.lock().used = Instant::now();
        Ok(upload)
    }

    /// How many pieces are kept of all of them.
    fn kept(&self) -> u64 {
        let all: Vec<_> = self.open.lock().values().cloned().collect();
        all.iter().map(|upload| upload.state.lock().done.len() as u64).sum()
    }

    /// Takes the piece that begins at `at`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn put(
        &self,
        upload: &Arc<Upload>,
        at: u64,
        bytes: u64,
        body: Incoming,
        share: &Share,
    ) -> Result<Written, Refused> {
        let stretch = upload.stretch(at, bytes)?;
        if self.kept() >= KEPT_MAX {
            return Err(Refused::Busy);
        }
        if let Some(counted) = &*upload.counted.lock() {
            counted.check(upload.sink.path())?;
        }
        upload.turn(at, bytes).await?;
        let place = timeout(TURN_PATIENCE, self.threads.clone().acquire_owned());
        let place = place.await.ok().and_then(Result::ok).ok_or(Refused::Busy)?;
        let claim = upload.claim(at, bytes).await?;
        let cancel = claim.cancel.clone();
        let (to, from) = mpsc::channel(PIECES_WAITING);
        let (done, result) = oneshot::channel();
        let run = move || drop(done.send(take(claim, stretch, bytes, from, place)));
        threads::named("piece").spawn(run).map_err(Refused::Thread)?;
        let fed = tokio::select! {
            fed = feed(body, to, share) => fed,
            () = cancel.notified() => Err(Refused::Short),
        };
        let stored = result.await.map_err(|_| Refused::Short)?;
        match (fed, stored) {
            (Err(refused), Err(Refused::Short)) => Err(refused),
            (_, stored) => stored,
        }
    }

    /// Holds the values that the client has of whole pieces of [`PIECE_BYTES`], from the one numbered `first`
    /// on, against what is there. Answers with the numbers of those that differ; the others need not be sent.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn compare(
        &self,
        upload: &Arc<Upload>,
        first: u64,
        values: Vec<ChunkValue>,
    ) -> Result<Vec<u64>, Refused> {
        let last = first.checked_add(values.len() as u64);
        // Of what is no whole piece nothing is told: its bytes could be guessed.
        if values.len() > VALUES_MAX || last.is_none_or(|last| last > upload.size / PIECE_BYTES) {
            return Err(Refused::Request("these are more values than the file has whole pieces"));
        }
        if self.kept().saturating_add(values.len() as u64) > KEPT_MAX {
            return Err(Refused::Busy);
        }
        let permit = self.comparisons.clone().acquire_owned().await.map_err(|_| Refused::Busy)?;
        let upload = upload.clone();
        let work = move || {
            let differ = upload.compare(first, &values);
            drop(permit);
            differ
        };
        aside(work).await.map_err(Refused::Thread)?
    }

    /// Gives the file its name, if all of it is there and has this hash. It waits for the disk.
    ///
    /// # Errors
    /// [`Refused::Incomplete`] and [`Refused::Digest`], after which the client can send what is missing or wrong; others end the
    /// upload.
    pub fn complete(&self, upload: &Arc<Upload>, hash: Hash, mode: u32) -> Result<Stored, Refused> {
        match upload.close(Some(hash)) {
            // Of a file that is there already no byte has to come.
            Err(Refused::Incomplete) if upload.exists() => {
                // Of a file that is there already no byte has to come, and of one that would be refused
                // neither.
                let is_there = upload.is_there(hash)?;
                if !is_there && upload.sink.existing() != Existing::Refuse {
                    return Err(Refused::Incomplete);
                }
                upload.close(None)?;
                self.open.lock().remove(&upload.id);
                return match is_there {
                    true => identical(&upload.part, &upload.path, upload.size, hash),
                    false => upload.part.discard().map_err(Refused::from).and(Err(Refused::Taken)),
                };
            }
            closed => closed?,
        }
        let arrival = Arrival {
            path: &upload.path,
            size: upload.size,
            hash,
            mode,
            modified: upload.modified,
            new_only: false,
        };
        let settled = settle(&upload.sink, &upload.part, upload.existing.as_ref(), arrival);
        self.open.lock().remove(&upload.id);
        if let (Ok(stored), Some(counted)) = (&settled, upload.counted.lock().take()) {
            counted.keep_of(stored);
        }
        settled
    }

    /// Gives it up, and removes what came of it.
    ///
    /// # Errors
    /// The part file cannot be removed.
    pub fn discard(&self, upload: &Arc<Upload>) -> Result<(), Refused> {
        upload.close(None)?;
        self.open.lock().remove(&upload.id);
        Ok(upload.part.discard()?)
    }
}

/// Writes and hashes a piece as it comes.
fn take(
    mut claim: Claim,
    mut stretch: Stretch,
    bytes: u64,
    mut from: mpsc::Receiver<Fed>,
    _place: OwnedSemaphorePermit,
) -> Result<Written, Refused> {
    let mut took = Duration::ZERO;
    loop {
        match from.blocking_recv() {
            Some(Fed::Data(data)) => {
                let came = data.len() as u64;
                if claim.counted + came > bytes {
                    return Err(Refused::Request("a piece is as long as its Content-Length says"));
                }
                let began = Instant::now();
                claim.upload.part.write_at(&data, claim.at + claim.counted)?;
                stretch.update(&data);
                took += began.elapsed();
                claim.count(came);
            }
            Some(Fed::End) if claim.counted == bytes => break,
            Some(Fed::End) | None => return Err(Refused::Short),
        }
    }
    let value = stretch.value();
    claim.finish(bytes, value);
    Ok(Written { value, took })
}

impl Upload {
    /// Whether there is something to compare with.
    #[must_use]
    pub fn resumes(&self) -> bool {
        !self.part.is_fresh()
    }

    /// Whether a file of the same size has its name already.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// Bytes that are there for good, and those of pieces on their way.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// What is not there, of at most so many stretches.
    #[must_use]
    pub fn missing(&self, most: usize) -> Vec<Range<u64>> {
        let state = self.state.lock();
        let mut missing = Vec::new();
        let mut at = 0;
        let ends = state.done.iter().map(|(at, (bytes, _))| (*at, at + bytes));
        for (begin, end) in ends.chain([(self.size, self.size)]) {
            if begin > at && missing.len() < most {
                missing.push(at..begin);
            }
            at = end;
        }
        missing
    }

    /// A conversation that it belongs to begins or ends.
    pub fn hold(&self) {
        self.state.lock().holders += 1;
    }

    pub fn let_go(&self) {
        let mut state = self.state.lock();
        state.holders = state.holders.saturating_sub(1);
        state.used = Instant::now();
    }

    /// Whether it is in the way of nobody, or of the one who comes now.
    fn is_free(&self, plan: &Plan, now: Instant) -> bool {
        let state = self.state.lock();
        let idle = now.saturating_duration_since(state.used);
        let is_same = self.path == plan.path && self.size == plan.size;
        let is_own =
            [&plan.client, &plan.before].iter().any(|name| !name.is_empty() && **name == self.client);
        let is_left = state.holders == 0 && state.claims.is_empty();
        let is_late = idle >= FORGOTTEN_AFTER || is_same && idle >= LEFT_AFTER;
        !state.is_closing && (is_left && is_late || is_same && is_own)
    }

    /// Takes no more pieces, and waits until none is on its way.
    async fn end(&self) {
        if self.close(None).is_err() {
            return;
        }
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.state.lock().claims.is_empty() || timeout(TURN_PATIENCE, freed).await.is_err() {
                return;
            }
        }
    }

    fn stretch(&self, at: u64, bytes: u64) -> Result<Stretch, Refused> {
        let is_last = at.checked_add(bytes) == Some(self.size);
        let fits = bytes <= PIECE_BYTES_MAX && (is_last || bytes >= PIECE_BYTES_MIN);
        let stretch = Stretch::new(self.size, at, bytes).filter(|_| fits);
        stretch.ok_or(Refused::Request(
            "a piece has 1, 2, 4, 8 or 16 MiB and begins at a multiple of that; the last one may be shorter",
        ))
    }

    /// Waits for a turn: this upload has no more pieces on the way than its place allows. One that is sent
    /// again has its turn already.
    async fn turn(&self, at: u64, bytes: u64) -> Result<(), Refused> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let state = self.state.lock();
                let is_again =
                    state.claims.iter().any(|(from, claimed)| *from < at + bytes && at < claimed.end);
                if is_again || state.is_closing || state.claims.len() < self.place.allowed().into() {
                    return Ok(());
                }
            }
            if timeout(TURN_PATIENCE, freed).await.is_err() {
                return Err(Refused::Busy);
            }
        }
    }

    /// The right to write there. Whoever has it already is sent away: a client that sends a piece again has
    /// given up the one before, of which the network may not have told yet.
    async fn claim(self: &Arc<Self>, at: u64, bytes: u64) -> Result<Claim, Refused> {
        let end = at + bytes;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.is_closing {
                    return Err(Refused::Unknown);
                }
                if !state.cancel_within(at, end) {
                    if state.claims.len() >= OF_ONE_MAX.into() {
                        return Err(Refused::Busy);
                    }
                    let gone = state.forget_within(at, end);
                    self.written.fetch_sub(gone, Ordering::Relaxed);
                    let cancel = Arc::new(Notify::new());
                    state.claims.insert(at, Claimed { end, cancel: cancel.clone() });
                    state.used = Instant::now();
                    return Ok(Claim { upload: self.clone(), at, cancel, counted: 0 });
                }
            }
            if timeout(TURN_PATIENCE, freed).await.is_err() {
                return Err(Refused::Busy);
            }
        }
    }

    fn compare(&self, first: u64, values: &[ChunkValue]) -> Result<Vec<u64>, Refused> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut differ = Vec::new();
        let begin = first * PIECE_BYTES;
        let mut data = self.part.data_extents().skip_while(|data| data.end <= begin).peekable();
        for (number, value) in (first..).zip(values) {
            let at = number * PIECE_BYTES;
            while data.next_if(|data| data.end <= at).is_some() {}
            let has_data = data.peek().is_some_and(|data| data.start < at + PIECE_BYTES);
            if !(has_data && self.holds(at, value, &mut buffer)?) {
                differ.push(number);
            }
        }
        Ok(differ)
    }

    /// Whether the piece from `at` on has this value. If so it is as good as sent.
    fn holds(self: &Upload, at: u64, value: &ChunkValue, buffer: &mut [u8]) -> Result<bool, Refused> {
        let end = at + PIECE_BYTES;
        if self.state.lock().done.get(&at).is_some_and(|done| *done == (PIECE_BYTES, *value)) {
            return Ok(true);
        }
        let Some(mut stretch) = Stretch::new(self.size, at, PIECE_BYTES) else { return Ok(false) };
        let mut from = at;
        while from < end {
            self.part.read_at(buffer, from)?;
            stretch.update(buffer);
            from += buffer.len() as u64;
        }
        if stretch.value() != *value {
            return Ok(false);
        }
        let mut state = self.state.lock();
        // Whoever writes there meanwhile says what it is.
        if state.is_closing || state.claims.iter().any(|(begin, claim)| *begin < end && claim.end > at) {
            return Ok(false);
        }
        let gone = state.forget_within(at, end);
        state.done.insert(at, (PIECE_BYTES, *value));
        self.written.fetch_add(PIECE_BYTES, Ordering::Relaxed);
        self.written.fetch_sub(gone, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether the file that has its name has this hash.
    fn is_there(&self, hash: Hash) -> Result<bool, Refused> {
        self.existing.as_ref().map_or(Ok(false), |existing| Ok(existing.hash(|| true)? == Some(hash)))
    }

    /// Takes no more pieces: the file is complete and has this hash, or is given up. What is on its way then
    /// is cancelled.
    fn close(&self, hash: Option<Hash>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closing {
            return Err(Refused::Unknown);
        }
        match hash {
            Some(_) if !state.claims.is_empty() => return Err(Refused::Incomplete),
            Some(hash) => {
                if self.size == 0 {
                    let empty = *blake3::hash(b"").as_bytes();
                    state.done.insert(0, (0, empty));
                }
                let own = joined(self.size, &state.done).ok_or(Refused::Incomplete)?;
                if own != hash {
                    return Err(Refused::Digest);
                }
            }
            None => drop(state.cancel_within(0, u64::MAX)),
        }
        state.is_closing = true;
        Ok(())
    }
}

impl State {
    /// Sends away whoever writes there; false where nobody does.
    fn cancel_within(&self, at: u64, end: u64) -> bool {
        let mut any = false;
        for claim in self.claims.range(..end).filter(|(_, claim)| claim.end > at).map(|(_, claim)| claim) {
            claim.cancel.notify_one();
            any = true;
        }
        any
    }

    /// Forgets what is there: it is to be written anew. Returns how many bytes these are.
    fn forget_within(&mut self, at: u64, end: u64) -> u64 {
        // No piece is longer, so none that begins before this reaches to it.
        let from = at.saturating_sub(PIECE_BYTES_MAX);
        let within = self.done.range(from..end).filter(|(begin, (bytes, _))| *begin + bytes > at);
        let gone: Vec<(u64, u64)> = within.map(|(begin, (bytes, _))| (*begin, *bytes)).collect();
        gone.iter().for_each(|(begin, _)| {
            self.done.remove(begin);
        });
        gone.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Claim {
    fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        self.upload.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All of the piece is there.
    fn finish(&mut self, bytes: u64, value: ChunkValue) {
        let mut state = self.upload.state.lock();
        state.done.insert(self.at, (bytes, value));
        self.counted = 0;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.upload.state.lock();
        state.claims.remove(&self.at);
        state.used = Instant::now();
        drop(state);
        self.upload.written.fetch_sub(self.counted, Ordering::Relaxed);
        self.upload.freed.notify_waiters();
    }
}
