use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::limits::CHUNK_BYTES;
use crate::session::outbox;
use crate::store::{Existing, Sink};

const CHUNKS: u64 = 5;

/// What may happen to a file under way, in any order and more than once.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Our value of a chunk is announced.
    Announce(u64),
    /// The sender keeps it.
    Keep(u64),
    /// A chunk arrives.
    Chunk(u64),
    /// The sender says its hash.
    Root,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // One past the end is among them.
    let event = prop_oneof![
        (0..CHUNKS).prop_map(Event::Announce),
        (0..=CHUNKS).prop_map(Event::Keep),
        (0..=CHUNKS).prop_map(Event::Chunk),
        Just(Event::Root),
    ];
    proptest::collection::vec(event, 0..60)
}

/// What must come of it, told in sets.
#[derive(Default)]
struct Model {
    announced: BTreeMap<u64, ChunkValue>,
    there: BTreeSet<u64>,
    root: bool,
    settled: bool,
}

impl Model {
    /// Whether the event is right; afterwards `settled` says whether the file is complete.
    fn happens(&mut self, event: Event) -> bool {
        let right = match event {
            Event::Announce(chunk) => {
                if !self.settled {
                    self.announced.insert(chunk, value(chunk));
                }
                true
            }
            Event::Keep(_) if self.settled => return true,
            Event::Keep(chunk) => self.announced.remove(&chunk).is_some() && self.there.insert(chunk),
            Event::Chunk(chunk) => {
                chunk < CHUNKS && {
                    let new = self.there.insert(chunk);
                    if new {
                        self.announced.remove(&chunk);
                    }
                    new
                }
            }
            Event::Root => !std::mem::replace(&mut self.root, true),
        };
        self.settled |= right && self.root && self.there.len() as u64 == CHUNKS;
        right
    }
}

fn content(chunk: u64) -> Vec<u8> {
    let layout = Layout::new(size());
    vec![chunk as u8; layout.len_of(ChunkIndex(chunk)).unwrap()]
}

fn value(chunk: u64) -> ChunkValue {
    crate::content::tree::chunk_value(Layout::new(size()), ChunkIndex(chunk), &content(chunk))
}

fn size() -> u64 {
    (CHUNKS - 1) * crate::limits::CHUNK_BYTES as u64 + 9
}

fn root() -> Hash {
    let all: Vec<u8> = (0..CHUNKS).flat_map(content).collect();
    blake3::hash(&all)
}

/// A file of `size` bytes under way into `dir`, all holes.
fn incoming(dir: &std::path::Path, size: u64) -> Incoming {
    let sink = Sink::open(dir, Existing::Refuse).unwrap();
    let path = RelativePath::from_wire(b"file").unwrap();
    let part = sink.part(&path, size, true).unwrap();
    let metadata = Metadata { mode: 0o600, ..Metadata::default() };
    let layout = Layout::new(size);
    let offered = Offered { id: FileId(0), path, layout, sparse: true, replaces: false, metadata, weight: 0 };
    Incoming::new(offered, Bytes::Part(Arc::new(part)))
}

#[test]
fn chunks_that_never_meet_are_too_many_at_some_point() {
    let dir = tempfile::tempdir().unwrap();
    let most = SUBTREES_WAITING_MAX as u64;
    let incoming = incoming(dir.path(), 2 * (most + 1) * CHUNK_BYTES as u64);
    for chunk in 0..most {
        assert!(incoming.stored(ChunkIndex(2 * chunk), [0; 32]).is_ok());
    }
    let one_more = incoming.stored(ChunkIndex(2 * most), [0; 32]).map(|settled| settled.is_some());
    assert_eq!(
        one_more,
        Err(PeerMisbehaved::TooMany { what: "scattered chunks", limit: SUBTREES_WAITING_MAX })
    );
}

#[test]
fn a_comparison_waits_for_chunks_that_differ_and_ends_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = 2 * SUBTREES_COMPARED_MAX as u64;
    let incoming = &incoming(dir.path(), chunks * CHUNK_BYTES as u64);
    let (outbox, _reader) = outbox();
    let keep = |chunk| {
        incoming.announce(ChunkIndex(chunk), vec![[0; 32]], &outbox);
        assert!(incoming.keep(ChunkIndex(chunk)).is_ok());
    };
    for chunk in (0..chunks).step_by(2) {
        keep(chunk);
    }
    assert!(!incoming.state.lock().has_room());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| incoming.bytes_when_room().is_some());
        // Two pairs, which merge.
        assert!([1, 3].iter().all(|chunk| incoming.stored(ChunkIndex(*chunk), [0; 32]).is_ok()));
        assert!(waiting.join().unwrap(), "there is room again");
        // Values that nobody judges leave no room at all.
        for chunk in (0..2 * VALUES_IN_FLIGHT_MAX as u64).step_by(2) {
            incoming.announce(ChunkIndex(chunk), vec![[0; 32]], &outbox);
        }
        assert!(!incoming.state.lock().has_room());
        let waiting = scope.spawn(|| incoming.bytes_when_room().is_none());
        for chunk in (5..chunks).step_by(2) {
            assert!(incoming.stored(ChunkIndex(chunk), [0; 32]).is_ok());
        }
        assert!(incoming.root(root()).unwrap().is_some());
        assert!(waiting.join().unwrap(), "it hears that the file is over");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn agrees_with_a_model_whatever_the_order(events in events()) {
        let dir = tempfile::tempdir().unwrap();
        let incoming = incoming(dir.path(), size());
        let (outbox, _reader) = outbox();
        let mut model = Model::default();
        for event in events {
            let was_settled = model.settled;
            let expected = model.happens(event);
            let result = match event {
                Event::Announce(chunk) => {
                    incoming.announce(ChunkIndex(chunk), vec![value(chunk)], &outbox);
                    Ok(None)
                }
                Event::Keep(chunk) => incoming.keep(ChunkIndex(chunk)),
                Event::Chunk(chunk) => {
                    let len = Layout::new(size()).len_of(ChunkIndex(chunk)).unwrap_or_default();
                    let admitted = incoming.part_for(ChunkIndex(chunk), len).map(drop);
                    admitted.and_then(|()| incoming.claim(ChunkIndex(chunk))).and_then(|()| incoming.stored(ChunkIndex(chunk), value(chunk)))
                }
                Event::Root => incoming.root(root()),
            };
            prop_assert_eq!(result.is_ok(), expected, "{:?}: {:?}", event, result.err());
            let settled = result.ok().flatten();
            prop_assert_eq!(settled.is_some(), model.settled && !was_settled, "{:?}", event);
            if let Some(settled) = settled {
                prop_assert_eq!((settled.ours, settled.theirs), (root(), root()));
            }
            // Whoever breaks the rules is sent away: nothing that comes behind it counts.
            if !expected {
                break;
            }
        }
    }
}
