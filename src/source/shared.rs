//! One read for several receivers: what one session has read and hashed, the others take from memory.
//!
//! The copies are bounded ([`SHARED_BYTES_MAX`](crate::limits::SHARED_BYTES_MAX)), and so is each wait: for one that is behind, for what is just being read.
//! Whoever does not find a chunk reads it, so that sharing can make nothing wrong, only unnecessary reads. Nothing is
//! shared for a single receiver: that one has no [`SharedReader`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rangemap::RangeSet;

use super::error::SourceError;
use super::file::Source;
use crate::content::chunk::ChunkIndex;
use crate::content::tree::ChunkValue;
use crate::limits::{
    CHUNK_BYTES, SHARED_BYTES_MAX, SHARED_CHUNK_BYTES_MIN, SHARED_FILES_MAX, SHARED_WAIT_MAX,
    SHARED_WAIT_PART,
};
use crate::os::stamp::Stamp;

/// What one chunk holds, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub value: ChunkValue,
    pub len: usize,
}

struct Shared {
    books: Mutex<Books>,
    changed: Condvar,
}

/// One receiver's share in what is read. Dropping it says that it needs no more.
pub struct SharedReader {
    shared: Arc<Shared>,
    me: usize,
}

/// A share for each of several receivers.
pub fn share(receivers: usize) -> Vec<SharedReader> {
    let shared = Arc::new(Shared { books: Mutex::new(Books::new(receivers)), changed: Condvar::new() });
    (0..receivers).map(|me| SharedReader { shared: shared.clone(), me }).collect()
}

impl SharedReader {
    /// A session begins. Those that begin together read together from the first chunk on.
    pub fn begin(&self) {
        self.shared.books.lock().begin(self.me);
    }

    /// The receiver has asked for `count` chunks of the file from `first` on; none where it only compares for now.
    pub fn wants(&self, source: &Source, first: ChunkIndex, count: u64) {
        self.shared.books.lock().wants(self.me, source.stamp(), first.0..first.0.saturating_add(count));
        self.shared.changed.notify_all();
    }

    /// The file has its outcome, so the receiver needs no more of it.
    pub fn over(&self, source: &Source) {
        // The others read nothing of it either.
        if source.size() > 0 {
            self.shared.books.lock().over(self.me, source.stamp());
            self.shared.changed.notify_all();
        }
    }

    /// The session has ended, whatever it had under way.
    pub fn lost(&self) {
        self.shared.books.lock().lost(self.me);
        self.shared.changed.notify_all();
    }

    /// Fills `buf` with a chunk: with the copy of one that another session has read, or else by `read`.
    ///
    /// # Errors
    /// Those of `read`; nobody else hears of them.
    pub fn read(
        &self,
        source: &Source,
        index: ChunkIndex,
        buf: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<Content, SourceError>,
    ) -> Result<Content, SourceError> {
        let place = ChunkId { stamp: source.stamp(), chunk: index.0 };
        match self.turn(place, buf.len()) {
            Turn::Take(chunk) => {
                let content = chunk.content;
                buf.copy_from_slice(&chunk.bytes);
                // Before it is said: the last one leaves the buffer to the next chunk.
                drop(chunk);
                if self.shared.books.lock().took(self.me, place) {
                    self.shared.changed.notify_all();
                }
                Ok(content)
            }
            Turn::Read => read(buf),
            Turn::Lead(buffer) => self.lead(place, buf, buffer, read),
        }
    }

    fn lead(
        &self,
        place: ChunkId,
        buf: &mut [u8],
        buffer: Option<Vec<u8>>,
        read: impl FnOnce(&mut [u8]) -> Result<Content, SourceError>,
    ) -> Result<Content, SourceError> {
        let result = read(buf);
        match &result {
            Ok(content) => {
                let mut bytes = buffer.unwrap_or_else(|| Vec::with_capacity(buf.len()));
                bytes.clear();
                bytes.extend_from_slice(buf);
                self.shared.books.lock().put(place, Chunk { bytes, content: *content });
            }
            Err(_) => self.shared.books.lock().abandon(place),
        }
        self.shared.changed.notify_all();
        result
    }

    /// Waits until it is clear where the chunk comes from.
    fn turn(&self, place: ChunkId, len: usize) -> Turn {
        let Shared { books, changed } = &*self.shared;
        let read_by = Instant::now() + SHARED_WAIT_MAX;
        let mut books = books.lock();
        loop {
            let now = Instant::now();
            match books.ask(self.me, place, len, now) {
                // The same content has the same length; and were that not so, it would be no copy.
                Answer::Have(chunk) if chunk.bytes.len() == len => return Turn::Take(chunk),
                Answer::Lead(buffer) => return Turn::Lead(buffer),
                Answer::Have(_) | Answer::Alone => return Turn::Read,
                Answer::BeingRead if now < read_by => drop(changed.wait_until(&mut books, read_by)),
                Answer::BeingRead => {
                    books.took(self.me, place);
                    return Turn::Read;
                }
                Answer::Full { most, laggards } => {
                    books.waits(self.me, true);
                    let _ = changed.wait_for(&mut books, most);
                    books.waits(self.me, false);
                    books.count_wait(laggards, now, Instant::now());
                }
            }
        }
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.lost();
    }
}

/// What to do for a chunk.
enum Turn {
    Take(Arc<Chunk>),
    Read,
    /// Read it and leave a copy in this buffer, if there is one.
    Lead(Option<Vec<u8>>),
}

// How long others have waited for one reader of a shared source, and how much longer they may.

/// Waiting is forgotten in [`SHARED_WAIT_PART`] times the time it took.
#[derive(Default)]
pub(super) struct Debt {
    /// When what others have waited will be forgotten.
    settled_at: Option<Instant>,
    /// Up to when waiting was counted: threads that wait together wait once.
    counted_to: Option<Instant>,
}

impl Debt {
    /// How much longer others may wait.
    pub fn credit(&self, now: Instant) -> Duration {
        let debt = self.settled_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        SHARED_WAIT_MAX.saturating_sub(debt / SHARED_WAIT_PART)
    }

    /// Somebody waited from `since` to `now`.
    pub fn add(&mut self, since: Instant, now: Instant) {
        let from = self.counted_to.map_or(since, |to| to.max(since));
        let time = now.saturating_duration_since(from) * SHARED_WAIT_PART;
        self.counted_to = Some(now);
        self.settled_at = Some(self.settled_at.map_or(now, |at| at.max(now)) + time);
    }
}

// Who still wants which chunk of a source that several receivers get: the books of [`crate::source::shared`], without threads
// and without a clock of their own.
//
// A chunk is kept for the readers that are *attached* and may still ask for it: those that have not come to its file yet,
// and those whose receiver wants just this chunk of it. A reader that keeps others waiting for longer than it has credit
// for is *detached*: it reads by itself, and nothing is kept for it. It is attached again when it is near the others.

/// A set of readers, a bit for each.
pub(super) type Readers = u64;

/// Which chunk of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkId {
    pub stamp: Stamp,
    pub chunk: u64,
}

/// A chunk that was read.
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    pub content: Content,
}

/// What a reader that asks for a chunk is to do.
pub(super) enum Answer {
    /// Take this, and say so.
    Have(Arc<Chunk>),
    /// Wait: another one is reading it.
    BeingRead,
    /// Wait at most so long for `laggards`: there is no room for the copy.
    Full { most: Duration, laggards: Readers },
    /// Read it and leave a copy, in this buffer where there is one.
    Lead(Option<Vec<u8>>),
    /// Read it. Nobody else needs it.
    Alone,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) readers: Vec<Reader>,
    /// The files of which chunks are kept, and those that one reader has done with and another one may not have come to.
    pub(super) files: HashMap<Stamp, SharedFile>,
    /// The chunks that are kept, the oldest first.
    by_age: BTreeMap<u64, ChunkId>,
    /// Counts chunks and files, to tell which is older.
    counter: u64,
    pub(super) held_bytes: usize,
    /// Buffers of a chunk's size for the next ones.
    spare: Vec<Vec<u8>>,
    /// Whether anybody has asked for anything.
    begun: bool,
}

#[derive(Default)]
pub(super) struct Reader {
    pub attached: bool,
    /// Its threads that wait for room.
    waiting: u32,
    debt: Debt,
    /// The files that its receiver has answered for.
    wishes: HashMap<Stamp, Wish>,
}

#[derive(Default)]
struct Wish {
    /// What it wants and has not asked for.
    left: RangeSet<u64>,
    /// Behind the last chunk that it asked for.
    asked_to: u64,
}

pub(super) struct SharedFile {
    age: u64,
    /// Those that have done with the file.
    over: Readers,
    chunks: HashMap<u64, Slot>,
}

struct Slot {
    age: u64,
    bytes: usize,
    /// Who still has to take it.
    missing: Readers,
    /// `None` while it is being read.
    chunk: Option<Arc<Chunk>>,
}

fn bit(reader: usize) -> Readers {
    1 << reader
}

/// What a chunk counts for. Never nothing, as there may be many small ones.
fn cost(len: usize) -> usize {
    len.max(SHARED_CHUNK_BYTES_MIN)
}

impl Books {
    pub fn new(readers: usize) -> Books {
        Books { readers: (0..readers).map(|_| Reader::default()).collect(), ..Books::default() }
    }

    /// The reader begins. Those that begin before anything was asked for go together.
    pub fn begin(&mut self, me: usize) {
        self.readers[me].attached = !self.begun;
    }

    /// The receiver wants these chunks of the file, or for an empty range none so far.
    pub fn wants(&mut self, me: usize, stamp: Stamp, chunks: Range<u64>) {
        let wishes = &mut self.readers[me].wishes;
        let is_first = !wishes.contains_key(&stamp);
        let wish = wishes.entry(stamp).or_default();
        if !chunks.is_empty() {
            wish.left.insert(chunks);
        }
        // Later on nothing is kept that it does not want, and what it is about to take it has asked for.
        if is_first {
            self.let_go(me, stamp);
        }
    }

    /// What was kept for `me` of this file and is not wanted.
    fn let_go(&mut self, me: usize, stamp: Stamp) {
        let Some(file) = self.files.get_mut(&stamp) else { return };
        let wish = self.readers[me].wishes.get(&stamp);
        let mut freed = Vec::new();
        for (chunk, slot) in &mut file.chunks {
            if wish.is_none_or(|wish| !wish.left.contains(chunk)) {
                slot.missing &= !bit(me);
                if slot.missing == 0 {
                    freed.push(*chunk);
                }
            }
        }
        for chunk in freed {
            self.remove(ChunkId { stamp, chunk });
        }
    }

    /// The file has its outcome at this receiver.
    pub fn over(&mut self, me: usize, stamp: Stamp) {
        self.readers[me].wishes.remove(&stamp);
        self.file(stamp).over |= bit(me);
        self.let_go(me, stamp);
        self.forget(stamp);
        if self.files.len() > SHARED_FILES_MAX {
            // One that is so far behind is as bad as one that does not move.
            let oldest = self.files.values().min_by_key(|file| file.age).map_or(0, |file| file.over);
            self.detach(self.attached() & !oldest);
        }
    }

    fn file(&mut self, stamp: Stamp) -> &mut SharedFile {
        self.counter += 1;
        let age = self.counter;
        self.files.entry(stamp).or_insert_with(|| SharedFile { age, over: 0, chunks: HashMap::new() })
    }

    /// Nobody is to wait for these readers any more.
    pub fn detach(&mut self, readers: Readers) {
        for (at, reader) in self.readers.iter_mut().enumerate() {
            reader.attached &= readers & bit(at) == 0;
        }
        let mut freed = Vec::new();
        for (stamp, file) in &mut self.files {
            for (chunk, slot) in &mut file.chunks {
                slot.missing &= !readers;
                if slot.missing == 0 {
                    freed.push(ChunkId { stamp: *stamp, chunk: *chunk });
                }
            }
        }
        for place in freed {
            self.remove(place);
        }
        let attached = self.attached();
        self.files.retain(|_, file| !file.chunks.is_empty() || attached & !file.over != 0);
    }

    /// The session was lost, or is over: what it wanted it wants no more.
    pub fn lost(&mut self, me: usize) {
        self.readers[me].wishes.clear();
        self.detach(bit(me));
    }

    /// What to do for a chunk of `len` bytes.
    pub fn ask(&mut self, me: usize, place: ChunkId, len: usize, now: Instant) -> Answer {
        self.begun = true;
        self.note(me, place);
        if !self.readers[me].attached && self.may_attach(me, place, now) {
            self.readers[me].attached = true;
        }
        let attached = self.readers[me].attached;
        let slot = self.files.get(&place.stamp).and_then(|file| file.chunks.get(&place.chunk));
        match slot {
            Some(Slot { chunk: Some(chunk), .. }) => return Answer::Have(chunk.clone()),
            Some(_) if attached => return Answer::BeingRead,
            Some(_) => return Answer::Alone,
            None => {}
        }
        let missing = if attached { self.who_wants(place) & !bit(me) } else { 0 };
        if missing == 0 {
            return Answer::Alone;
        }
        match self.room(cost(len), now) {
            Room::There => self.lead(me, place, len),
            Room::None => Answer::Alone,
            Room::Later { most, laggards } => Answer::Full { most, laggards },
        }
    }

    /// The reader asks for a chunk: it will not ask again.
    fn note(&mut self, me: usize, ChunkId { stamp, chunk }: ChunkId) {
        if let Some(wish) = self.readers[me].wishes.get_mut(&stamp) {
            wish.left.remove(chunk..chunk.saturating_add(1));
            wish.asked_to = wish.asked_to.max(chunk.saturating_add(1));
        }
    }

    /// Reserves the room of a chunk that `me` is about to read.
    fn lead(&mut self, me: usize, place: ChunkId, len: usize) -> Answer {
        // Detaching a laggard may have left nobody to keep it for.
        let missing = self.who_wants(place) & !bit(me);
        if missing == 0 {
            return Answer::Alone;
        }
        self.counter += 1;
        let age = self.counter;
        let slot = Slot { age, bytes: cost(len), missing, chunk: None };
        self.file(place.stamp).chunks.insert(place.chunk, slot);
        self.by_age.insert(age, place);
        self.held_bytes += cost(len);
        let spare = if len == CHUNK_BYTES { self.spare.pop() } else { None };
        while self.held_bytes + self.spare.len() * CHUNK_BYTES > SHARED_BYTES_MAX
            && self.spare.pop().is_some()
        {}
        Answer::Lead(spare)
    }

    /// Whether there is room for a chunk, once those are detached whose credit is used up.
    fn room(&mut self, bytes: usize, now: Instant) -> Room {
        while self.held_bytes + bytes > SHARED_BYTES_MAX {
            let Some(oldest) = self.oldest() else { return Room::None };
            let laggards = oldest.missing;
            let waits = |reader: usize| laggards & bit(reader) != 0 && self.readers[reader].waiting > 0;
            // They wait for somebody, too: nothing comes of waiting for each other. And while the oldest is still being
            // read, nobody could have taken it.
            if oldest.chunk.is_none() || (0..self.readers.len()).any(waits) {
                return Room::None;
            }
            let most = self.credit(laggards, now);
            if !most.is_zero() {
                return Room::Later { most, laggards };
            }
            let exhausted =
                (0..self.readers.len()).filter(|at| self.credit(laggards & bit(*at), now).is_zero());
            let exhausted = exhausted.fold(0, |all, at| all | bit(at)) & laggards;
            tracing::debug!("readers {exhausted:b} are too slow to share what is read");
            self.detach(exhausted);
        }
        Room::There
    }

    fn oldest(&self) -> Option<&Slot> {
        let (_, place) = self.by_age.first_key_value()?;
        self.files.get(&place.stamp)?.chunks.get(&place.chunk)
    }

    /// For how long the others may wait for these readers: the least of what each has left.
    fn credit(&self, readers: Readers, now: Instant) -> Duration {
        let chosen = self.readers.iter().enumerate().filter(|(at, _)| readers & bit(*at) != 0);
        chosen.map(|(_, reader)| reader.debt.credit(now)).min().unwrap_or(SHARED_WAIT_MAX)
    }

    /// A thread of `me` begins to wait for room, or has done so.
    pub fn waits(&mut self, me: usize, begins: bool) {
        let waiting = &mut self.readers[me].waiting;
        *waiting = if begins { *waiting + 1 } else { waiting.saturating_sub(1) };
    }

    /// Somebody waited for `laggards` from `since` to `now`.
    pub fn count_wait(&mut self, laggards: Readers, since: Instant, now: Instant) {
        let readers = self.readers.iter_mut().enumerate();
        readers
            .filter(|(at, _)| laggards & bit(*at) != 0)
            .for_each(|(_, reader)| reader.debt.add(since, now));
    }

    /// Takes in what `Answer::Lead` asked for.
    pub fn put(&mut self, place: ChunkId, chunk: Chunk) {
        let slot = self.files.get_mut(&place.stamp).and_then(|file| file.chunks.get_mut(&place.chunk));
        // Otherwise nobody wants it any more.
        if let Some(slot) = slot {
            slot.chunk.get_or_insert(Arc::new(chunk));
        }
    }

    /// It could not be read. Whoever waits for it finds out by itself.
    pub fn abandon(&mut self, place: ChunkId) {
        let slot = self.files.get(&place.stamp).and_then(|file| file.chunks.get(&place.chunk));
        if slot.is_some_and(|slot| slot.chunk.is_none()) {
            self.remove(place);
        }
    }

    /// The reader has it, or goes without. True where that made room.
    pub fn took(&mut self, me: usize, place: ChunkId) -> bool {
        let file = self.files.get_mut(&place.stamp);
        let Some(slot) = file.and_then(|file| file.chunks.get_mut(&place.chunk)) else { return false };
        slot.missing &= !bit(me);
        let done = slot.missing == 0;
        if done {
            self.remove(place);
        }
        done
    }

    fn remove(&mut self, place: ChunkId) {
        let Some(file) = self.files.get_mut(&place.stamp) else { return };
        let Some(slot) = file.chunks.remove(&place.chunk) else { return };
        self.held_bytes -= slot.bytes;
        self.by_age.remove(&slot.age);
        let buffer = slot.chunk.and_then(Arc::into_inner).map(|chunk| chunk.bytes);
        if let Some(buffer) = buffer.filter(|buffer| buffer.capacity() == CHUNK_BYTES)
            && self.held_bytes + (self.spare.len() + 1) * CHUNK_BYTES <= SHARED_BYTES_MAX
        {
            self.spare.push(buffer);
        }
        self.forget(place.stamp);
    }

    /// Drops what is known of a file that nobody comes to any more.
    fn forget(&mut self, stamp: Stamp) {
        let attached = self.attached();
        let known = self.files.get(&stamp);
        if known.is_some_and(|file| file.chunks.is_empty() && attached & !file.over == 0) {
            self.files.remove(&stamp);
        }
    }

    fn attached(&self) -> Readers {
        let attached = self.readers.iter().enumerate().filter(|(_, reader)| reader.attached);
        attached.fold(0, |all, (at, _)| all | bit(at))
    }

    /// The attached readers that will ask for a chunk, as far as anybody can know.
    fn who_wants(&self, ChunkId { stamp, chunk }: ChunkId) -> Readers {
        let over = self.files.get(&stamp).map_or(0, |file| file.over);
        let wants = |at: usize, reader: &Reader| match reader.wishes.get(&stamp) {
            Some(wish) => wish.left.contains(&chunk),
            None => over & bit(at) == 0,
        };
        let readers = self.readers.iter().enumerate();
        let wanting = readers.filter(|(at, reader)| reader.attached && wants(*at, reader));
        wanting.fold(0, |all, (at, _)| all | bit(at))
    }

    /// Whether a reader that is on its own may go with the others: half of what they waited for it is forgotten, and it is
    /// about where one of them is, or there are none.
    fn may_attach(&self, me: usize, ChunkId { stamp, chunk }: ChunkId, now: Instant) -> bool {
        let near = (SHARED_BYTES_MAX / CHUNK_BYTES) as u64;
        let is_near =
            |reader: &Reader| reader.wishes.get(&stamp).is_some_and(|w| w.asked_to.abs_diff(chunk) <= near);
        let mut attached = self.readers.iter().filter(|reader| reader.attached).peekable();
        self.credit(bit(me), now) >= SHARED_WAIT_MAX / 2
            && (attached.peek().is_none() || attached.any(is_near))
    }
}

/// Whether one more chunk can be kept.
enum Room {
    There,
    /// Not by waiting.
    None,
    Later {
        most: Duration,
        laggards: Readers,
    },
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
