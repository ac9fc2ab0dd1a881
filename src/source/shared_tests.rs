use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{Readers, *};
use crate::content::chunk::Layout;
use crate::limits::{
    CHUNK_BYTES, SHARED_BYTES_MAX, SHARED_CHUNK_BYTES_MIN, SHARED_FILES_MAX, SHARED_WAIT_PART,
};
use crate::os::stamp::Stamp;

const ROOM: u64 = (SHARED_BYTES_MAX / CHUNK_BYTES) as u64;

/// A file of so many chunks, with nothing in it: what is read of it the test makes up.
struct Made {
    _file: NamedTempFile,
    source: Source,
    chunks: u64,
    reads: AtomicU64,
}

impl Made {
    fn new(chunks: u64) -> Made {
        Made::of_bytes(chunks * CHUNK_BYTES as u64)
    }

    fn of_bytes(bytes: u64) -> Made {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        let source = source(file.path());
        let chunks = Layout::new(bytes).chunks();
        Made { _file: file, source, chunks, reads: AtomicU64::new(0) }
    }

    fn wanted_by(&self, reader: &SharedReader) {
        reader.wants(&self.source, ChunkIndex(0), self.chunks);
    }

    /// Reads one chunk, and checks what came.
    fn read(&self, reader: &SharedReader, index: u64) {
        let layout = Layout::new(self.source.size());
        let mut buf = vec![0; layout.len_of(ChunkIndex(index)).unwrap()];
        let expected = Content { value: [index as u8; 32], len: buf.len() };
        let read = |buf: &mut [u8]| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            buf.fill(index as u8 ^ 0x55);
            Ok(expected)
        };
        let content = reader.read(&self.source, ChunkIndex(index), &mut buf, read).unwrap();
        assert_eq!(content, expected);
        assert!(buf.iter().all(|b| *b == index as u8 ^ 0x55), "chunk {index}");
    }

    fn read_all(&self, reader: &SharedReader) {
        (0..self.chunks).for_each(|index| self.read(reader, index));
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

fn source(path: &Path) -> Source {
    Source::new(path, &rustix::fs::stat(path).unwrap()).unwrap()
}

fn readers(n: usize) -> Vec<SharedReader> {
    let readers = share(n);
    readers.iter().for_each(SharedReader::begin);
    readers
}

fn held(reader: &SharedReader) -> usize {
    reader.shared.books.lock().held_bytes
}

fn is_attached(reader: &SharedReader) -> bool {
    reader.shared.books.lock().readers[reader.me].attached
}

#[test]
fn what_one_has_read_the_others_take_and_then_it_is_gone() {
    let (readers, file) = (readers(3), Made::new(20));
    readers.iter().for_each(|reader| file.wanted_by(reader));
    for reader in &readers {
        file.read_all(reader);
    }
    assert_eq!(file.reads(), 20);
    assert_eq!(held(&readers[0]), 0);
}

#[test]
fn threads_of_several_receivers_read_each_chunk_once() {
    let (readers, file) = (readers(3), Made::new(ROOM));
    let cursors: Vec<AtomicU64> = readers.iter().map(|_| AtomicU64::new(0)).collect();
    readers.iter().for_each(|reader| file.wanted_by(reader));
    thread::scope(|scope| {
        for (reader, cursor) in readers.iter().zip(&cursors) {
            for _ in 0..4 {
                scope.spawn(|| {
                    let next = || cursor.fetch_add(1, Ordering::Relaxed);
                    std::iter::repeat_with(next).take_while(|index| *index < file.chunks).for_each(|index| {
                        file.read(reader, index);
                    });
                });
            }
        }
    });
    assert_eq!(file.reads(), ROOM);
    assert_eq!(held(&readers[0]), 0);
}

#[test]
fn is_kept_for_a_receiver_that_has_not_answered_and_not_for_one_that_has_it() {
    let (readers, file) = (readers(2), Made::new(10));
    file.wanted_by(&readers[0]);
    file.read(&readers[0], 0);
    assert_eq!(held(&readers[0]), CHUNK_BYTES);
    // It compares: nothing of what is there is wanted, and nothing further is kept.
    readers[1].wants(&file.source, ChunkIndex(0), 0);
    assert_eq!(held(&readers[0]), 0);
    file.read(&readers[0], 1);
    assert_eq!(held(&readers[0]), 0);
    // It lacks some chunks.
    readers[1].wants(&file.source, ChunkIndex(5), 2);
    (2..10).for_each(|index| file.read(&readers[0], index));
    assert_eq!(held(&readers[0]), 2 * CHUNK_BYTES);
    file.read(&readers[1], 5);
    file.read(&readers[1], 6);
    assert_eq!((held(&readers[0]), file.reads()), (0, 10));
}

#[test]
fn what_has_its_outcome_is_not_kept_whoever_comes_first() {
    let (readers, file) = (readers(2), Made::new(10));
    file.wanted_by(&readers[0]);
    file.read(&readers[0], 0);
    readers[1].over(&file.source);
    assert_eq!(held(&readers[0]), 0);
    (1..10).for_each(|index| file.read(&readers[0], index));
    assert_eq!(held(&readers[0]), 0);
    assert_eq!(readers[0].shared.books.lock().files.len(), 1);
    readers[0].over(&file.source);
    assert_eq!(readers[0].shared.books.lock().files.len(), 0, "nobody comes to it any more");
}

#[test]
fn who_ends_or_is_lost_holds_nobody_up() {
    for end in [SharedReader::lost as fn(&SharedReader), |_| {}] {
        let (mut readers, file) = (readers(2), Made::new(4 * ROOM));
        file.wanted_by(&readers[0]);
        (0..ROOM).for_each(|index| file.read(&readers[0], index));
        assert_eq!(held(&readers[0]), SHARED_BYTES_MAX);
        end(&readers[1]);
        readers.truncate(if is_attached(&readers[1]) { 1 } else { 2 });
        assert_eq!(held(&readers[0]), 0);
        (ROOM..4 * ROOM).for_each(|index| file.read(&readers[0], index));
        assert_eq!(file.reads(), 4 * ROOM);
    }
}

#[test]
fn one_that_does_not_move_is_waited_for_once_and_then_reads_by_itself() {
    let (readers, file) = (readers(2), Made::new(4 * ROOM));
    readers.iter().for_each(|reader| file.wanted_by(reader));
    let started = Instant::now();
    (0..=ROOM).for_each(|index| file.read(&readers[0], index));
    assert!(started.elapsed() >= SHARED_WAIT_MAX, "it was not waited for");
    assert!(!is_attached(&readers[1]) && held(&readers[0]) == 0);
    (ROOM + 1..4 * ROOM).for_each(|index| file.read(&readers[0], index));
    file.read_all(&readers[1]);
    assert_eq!(file.reads(), 8 * ROOM);
}

#[test]
fn the_room_is_never_exceeded_and_counts_small_files_too() {
    let readers = readers(2);
    let file = Made::of_bytes(1);
    file.wanted_by(&readers[0]);
    file.read(&readers[0], 0);
    assert_eq!(held(&readers[0]), SHARED_CHUNK_BYTES_MIN);
    let file = Made::new(2 * ROOM);
    readers.iter().for_each(|reader| file.wanted_by(reader));
    thread::scope(|scope| {
        scope.spawn(|| file.read_all(&readers[0]));
        scope.spawn(|| {
            for index in 0..file.chunks {
                file.read(&readers[1], index);
                assert!(held(&readers[1]) <= SHARED_BYTES_MAX);
            }
        });
    });
}

#[test]
fn an_error_is_of_one_reader_alone() {
    let (readers, file) = (readers(2), Made::new(1));
    let fails = |_: &mut [u8]| Err(SourceError::TooManyAttributes { path: "x".into() });
    let mut buf = vec![0; CHUNK_BYTES];
    readers[0].read(&file.source, ChunkIndex(0), &mut buf, fails).unwrap_err();
    assert_eq!(held(&readers[0]), 0);
    file.read(&readers[1], 0);
    assert_eq!(file.reads(), 1);
}

// ---- the books alone, with a clock of the test's --------------------------------------------------

fn stamp() -> Stamp {
    Made::new(1).source.stamp()
}

fn books(readers: usize, stamp: Stamp) -> Books {
    let mut books = Books::new(readers);
    for me in 0..readers {
        books.begin(me);
        books.wants(me, stamp, 0..1 << 20);
    }
    books
}

/// Reads one chunk as `me`; who is to be waited for where there is no room.
fn step(books: &mut Books, me: usize, place: ChunkId, now: Instant) -> Option<(Duration, Readers)> {
    match books.ask(me, place, CHUNK_BYTES, now) {
        Answer::Lead(_) => {
            let content = Content { value: [0; 32], len: CHUNK_BYTES };
            books.put(place, Chunk { bytes: vec![0; CHUNK_BYTES], content });
            None
        }
        Answer::Have(chunk) => {
            drop(chunk);
            books.took(me, place);
            None
        }
        Answer::Alone => None,
        Answer::BeingRead => panic!("nobody reads"),
        Answer::Full { most, laggards } => Some((most, laggards)),
    }
}

#[test]
fn one_that_is_always_slower_holds_up_for_no_more_than_its_credit_and_a_16th_of_the_time() {
    let stamp = stamp();
    let mut books = books(2, stamp);
    let (begun, mut now) = (Instant::now(), Instant::now());
    let (mut waited, mut slow) = (Duration::ZERO, 0);
    for chunk in 0..100_000 {
        while let Some((most, laggards)) = step(&mut books, 0, ChunkId { stamp, chunk }, now) {
            assert_eq!(laggards, 0b10);
            let wait = most.min(Duration::from_millis(1));
            books.count_wait(laggards, now, now + wait);
            now += wait;
            waited += wait;
            // A chunk in 4 ms, as long as the leader goes slowly enough.
            while books.readers[1].attached && (now - begun).as_millis() / 4 > slow {
                let place = ChunkId { stamp, chunk: slow as u64 };
                assert!(step(&mut books, 1, place, now).is_none());
                slow += 1;
            }
        }
        now += Duration::from_micros(100);
    }
    let bound = SHARED_WAIT_MAX + (now - begun) / SHARED_WAIT_PART;
    assert!(waited <= bound, "{waited:?} of {:?}", now - begun);
    assert!(waited >= SHARED_WAIT_MAX / 2, "it was hardly waited for: {waited:?}");
    assert!(!books.readers[1].attached);
}

#[test]
fn threads_that_wait_together_wait_once() {
    let stamp = stamp();
    let mut books = books(2, stamp);
    let now = Instant::now();
    (0..ROOM).for_each(|chunk| assert!(step(&mut books, 0, ChunkId { stamp, chunk }, now).is_none()));
    let later = now + SHARED_WAIT_MAX / 2;
    for _ in 0..4 {
        books.count_wait(0b10, now, later);
    }
    let (most, _) = step(&mut books, 0, ChunkId { stamp, chunk: ROOM }, later).unwrap();
    assert_eq!(most, SHARED_WAIT_MAX / 2);
}

#[test]
fn one_that_was_left_behind_goes_with_the_others_again_once_it_is_near_them() {
    let stamp = stamp();
    let mut books = books(2, stamp);
    let now = Instant::now();
    (0..ROOM).for_each(|chunk| assert!(step(&mut books, 0, ChunkId { stamp, chunk }, now).is_none()));
    let (most, laggards) = step(&mut books, 0, ChunkId { stamp, chunk: ROOM }, now).unwrap();
    books.count_wait(laggards, now, now + most);
    let now = now + most;
    (ROOM..3 * ROOM).for_each(|chunk| assert!(step(&mut books, 0, ChunkId { stamp, chunk }, now).is_none()));
    assert!(!books.readers[1].attached);
    // Forgiven, but far.
    let forgiven = now + SHARED_WAIT_MAX * (SHARED_WAIT_PART + 1);
    step(&mut books, 1, ChunkId { stamp, chunk: 0 }, forgiven);
    assert!(!books.readers[1].attached);
    // Near, but not forgiven.
    step(&mut books, 1, ChunkId { stamp, chunk: 2 * ROOM + 1 }, now);
    assert!(!books.readers[1].attached);
    step(&mut books, 1, ChunkId { stamp, chunk: 2 * ROOM + 2 }, forgiven);
    assert!(books.readers[1].attached);
    step(&mut books, 0, ChunkId { stamp, chunk: 3 * ROOM }, forgiven);
    assert_eq!(books.held_bytes, CHUNK_BYTES);
}

#[test]
fn two_that_wait_for_each_other_do_not_wait() {
    let (one, other) = (stamp(), stamp());
    let mut books = books(2, one);
    books.wants(0, other, 0..1 << 20);
    books.wants(1, other, 0..1 << 20);
    let now = Instant::now();
    (0..ROOM).for_each(|chunk| assert!(step(&mut books, 0, ChunkId { stamp: one, chunk }, now).is_none()));
    assert!(step(&mut books, 0, ChunkId { stamp: one, chunk: ROOM }, now).is_some());
    // The second one is somewhere else, and waits, too.
    books.waits(1, true);
    assert!(step(&mut books, 0, ChunkId { stamp: one, chunk: ROOM }, now).is_none());
    assert!(books.readers[1].attached);
}

#[test]
fn what_one_has_done_with_long_before_the_other_is_bounded() {
    let mut books = Books::new(2);
    books.begin(0);
    books.begin(1);
    let base = stamp();
    for n in 0..=SHARED_FILES_MAX as u64 {
        assert!(books.readers[1].attached, "after {n} files");
        books.over(0, base.with_inode(n));
    }
    assert!(!books.readers[1].attached && books.readers[0].attached);
    assert_eq!(books.files.len(), 0);
}
