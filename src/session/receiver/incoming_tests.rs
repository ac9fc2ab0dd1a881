use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::content::chunk::FileId;
use crate::content::entry::Metadata;
use crate::limits::{CHUNK_BYTES, KEPT_BYTES_MIN, MESSAGE_BYTES_MAX};
use crate::name::RelativePath;
use crate::session::outbox::{OutboxReader, outbox};
use crate::store::{Existing, Sink};
use crate::wire::message::take_framed;

const CHUNKS: u64 = 5;

/// What may happen to a file under way, in any order and more than once.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The sender says its value of a chunk, and it is compared at once: it is right, or it is not.
    Value(u64, bool),
    /// A chunk arrives.
    Chunk(u64),
    /// So many of them from one on arrive together.
    Hole(u64, u64),
    /// The sender says its hash.
    Root,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // One past the end is among them.
    let event = prop_oneof![
        4 => (0..=CHUNKS, any::<bool>()).prop_map(|(chunk, right)| Event::Value(chunk, right)),
        4 => (0..=CHUNKS).prop_map(Event::Chunk),
        1 => (0..=CHUNKS, 1..=CHUNKS).prop_map(|(first, count)| Event::Hole(first, count)),
        1 => Just(Event::Root),
    ];
    proptest::collection::vec(event, 0..60)
}

/// What must come of it, told in sets.
struct Model {
    asked: BTreeSet<u64>,
    there: BTreeSet<u64>,
    root: bool,
    settled: bool,
}

impl Model {
    /// Whether the event is right; afterwards `settled` says whether the file is complete.
    fn happens(&mut self, event: Event) -> bool {
        let right = match event {
            Event::Value(..) | Event::Hole(..) if self.settled => return true,
            Event::Value(chunk, right) => {
                let asked = self.asked.remove(&chunk);
                if asked && right {
                    self.there.insert(chunk);
                }
                asked
            }
            Event::Chunk(chunk) => chunk < CHUNKS && !self.asked.contains(&chunk) && self.there.insert(chunk),
            Event::Hole(first, count) => {
                let mut chunks = first..first + count;
                let free =
                    |chunk| chunk < CHUNKS && !self.asked.contains(&chunk) && !self.there.contains(&chunk);
                let all_free = chunks.clone().all(free);
                self.there.extend(chunks.by_ref().filter(|_| all_free));
                all_free
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
    (CHUNKS - 1) * CHUNK_BYTES as u64 + 9
}

fn root() -> Hash {
    let all: Vec<u8> = (0..CHUNKS).flat_map(content).collect();
    blake3::hash(&all)
}

fn offered(size: u64) -> Offered {
    let path = RelativePath::from_wire(b"file").unwrap();
    let metadata = Metadata { mode: 0o600, ..Metadata::default() };
    let layout = Layout::new(size);
    Offered {
        id: FileId(0),
        path,
        layout,
        sparse: true,
        replaces: false,
        looked_at: None,
        metadata,
        since: std::time::SystemTime::now(),
        weight: 0,
        counted: 0,
    }
}

/// A file of `size` bytes under way into `dir`, all holes, of which these chunks are to be compared.
fn incoming(dir: &std::path::Path, size: u64, compared: Range<u64>) -> Incoming {
    let sink = Sink::open(dir, Existing::Refuse).unwrap();
    let part = sink.part(&RelativePath::from_wire(b"file").unwrap(), size, true).unwrap();
    let left = VecDeque::from_iter([compared].into_iter().filter(|range| !range.is_empty()));
    let plan = Plan { left, ..Plan::default() };
    Incoming::new(offered(size), Bytes::Part(Arc::new(part)), plan, &Arc::new(Budget::new(Arc::new(()))))
}

/// A comparison with an existing file of `size` bytes, or with one that is surely another.
fn compared(dir: &std::path::Path, size: u64, is_another: bool) -> Incoming {
    let path = RelativePath::from_wire(b"file").unwrap();
    std::fs::File::create(dir.join("file")).unwrap().set_len(size).unwrap();
    let existing = Sink::open(dir, Existing::Refuse).unwrap().older(&path).unwrap();
    let existing = (!is_another).then(|| Arc::new(existing));
    let plan = Plan::of_existing(Layout::new(size));
    Incoming::new(offered(size), Bytes::Existing(existing), plan, &Arc::new(Budget::new(Arc::new(()))))
}

/// The chunks that the sender was asked about since the last time.
fn asked(reader: &OutboxReader<ReceiverMessage>) -> Vec<u64> {
    let mut bytes = Vec::new();
    reader.take_rest(&mut bytes);
    let (mut rest, mut asked) = (&bytes[..], Vec::new());
    while let Some((message, taken)) = take_framed(rest, MESSAGE_BYTES_MAX).unwrap() {
        rest = &rest[taken..];
        if let ReceiverMessage::Hash { first, count, .. } = message {
            asked.extend(first.0..first.0 + count);
        }
    }
    asked
}

/// What comes of the sender's value of a chunk, if it turns out to be right or not.
fn judged(incoming: &Incoming, chunk: u64, right: bool, outbox: &Outbox<ReceiverMessage>) -> Next {
    let index = ChunkIndex(chunk);
    match incoming.value(index, [chunk as u8; 32]).unwrap() {
        Next::Compare(_, value) if right => {
            incoming.claim(index).unwrap();
            incoming.is_right(index, value, outbox).unwrap()
        }
        Next::Compare(..) => incoming.is_wrong(index, outbox),
        next => next,
    }
}

#[test]
fn chunks_that_never_meet_are_too_many_at_some_point() {
    let dir = tempfile::tempdir().unwrap();
    let most = ((KEPT_BYTES_FILE + KEPT_BYTES_MIN) / SUBTREE_BYTES) as u64;
    let incoming = incoming(dir.path(), 2 * (most + 1) * CHUNK_BYTES as u64, 0..0);
    let (outbox, _reader) = outbox();
    for chunk in 0..most {
        assert!(incoming.stored(&[Subtree::of_chunk(ChunkIndex(2 * chunk), [0; 32])], &outbox).is_ok());
    }
    let one_more = incoming.stored(&[Subtree::of_chunk(ChunkIndex(2 * most), [0; 32])], &outbox).map(drop);
    assert!(
        matches!(one_more, Err(PeerMisbehaved::TooMany { what: "scattered chunks", .. })),
        "{one_more:?}"
    );
}

#[test]
fn no_more_is_compared_at_once_than_may_be_and_chunks_that_differ_count_until_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = 4 * COMPARED_AT_ONCE_MAX as u64;
    let incoming = incoming(dir.path(), chunks * CHUNK_BYTES as u64, 0..chunks);
    let (outbox, reader) = outbox();
    incoming.begin_comparing(&outbox);
    let mut open = asked(&reader);
    assert_eq!(open.len(), COMPARED_AT_ONCE_FIRST);
    // As long as all is right more and more is asked for.
    let mut right = 0;
    while open.len() < COMPARED_AT_ONCE_MAX - COMPARED_AT_ONCE_FIRST {
        judged(&incoming, open.remove(0), true, &outbox);
        right += 1;
        open.extend(asked(&reader));
        assert!(open.len() <= COMPARED_AT_ONCE_FIRST + right);
    }
    // Where every chunk differs nothing more is, until some of them have come.
    open.iter().for_each(|chunk| drop(judged(&incoming, *chunk, false, &outbox)));
    while let more @ [_, ..] = &asked(&reader)[..] {
        open.extend(more);
        more.iter().for_each(|chunk| drop(judged(&incoming, *chunk, false, &outbox)));
    }
    assert!(open.len() <= COMPARED_AT_ONCE_MAX);
    for chunk in open.iter().take(COMPARED_AT_ONCE_FIRST) {
        assert!(incoming.target_for(ChunkIndex(*chunk), CHUNK_BYTES).unwrap().is_some());
        incoming.claim(ChunkIndex(*chunk)).unwrap();
        incoming.stored(&[Subtree::of_chunk(ChunkIndex(*chunk), [0; 32])], &outbox).unwrap();
    }
    assert!(asked(&reader).len() >= COMPARED_AT_ONCE_FIRST);
}

#[test]
fn the_short_end_of_an_existing_file_is_asked_about_when_all_else_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let incoming = compared(dir.path(), 40 * CHUNK_BYTES as u64 + 1, false);
    let (outbox, reader) = outbox();
    incoming.begin_comparing(&outbox);
    let mut order = asked(&reader);
    let mut n = 0;
    while n < order.len() {
        assert!(matches!(judged(&incoming, order[n], true, &outbox), Next::Nothing));
        let more = asked(&reader);
        assert!(!more.contains(&40) || (n == 39 && more == [40]), "chunk 40 is asked for after {n} others");
        order.extend(more);
        n += 1;
    }
    assert_eq!(order, (0..=40).collect::<Vec<_>>());
}

#[test]
fn a_sender_hears_that_a_file_is_another_one_when_it_has_answered_and_never_why() {
    let hear = |size: u64, is_another: bool| {
        let dir = tempfile::tempdir().unwrap();
        let incoming = compared(dir.path(), size, is_another);
        let (outbox, reader) = outbox();
        incoming.begin_comparing(&outbox);
        let asked_for = asked(&reader);
        let mut heard = Vec::new();
        for chunk in &asked_for {
            heard.push(matches!(judged(&incoming, *chunk, false, &outbox), Next::Differs));
        }
        // Where these were all, the hash is on its way behind them.
        heard.push(matches!(incoming.root([9; 32].into()).unwrap(), Next::Differs));
        assert!(asked(&reader).is_empty(), "nothing more is asked for");
        (asked_for, heard)
    };
    for (size, before_root) in
        [(40 * CHUNK_BYTES, true), (5 * CHUNK_BYTES, false), (5 * CHUNK_BYTES + 1, true)]
    {
        let (asked, heard) = hear(size as u64, false);
        assert_eq!((asked.clone(), heard.clone()), hear(size as u64, true), "{size} bytes");
        let expected: Vec<bool> = (1..=asked.len() + 1)
            .map(|n| if before_root { n == asked.len() } else { n == asked.len() + 1 })
            .collect();
        assert_eq!(heard, expected, "{size} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn agrees_with_a_model_whatever_the_order(events in events()) {
        let dir = tempfile::tempdir().unwrap();
        // The last chunk is missing, all others are compared.
        let incoming = incoming(dir.path(), size(), 0..CHUNKS - 1);
        let (outbox, _reader) = outbox();
        incoming.begin_comparing(&outbox);
        let asked = (0..CHUNKS - 1).collect();
        let mut model = Model { asked, there: BTreeSet::new(), root: false, settled: false };
        for event in events {
            let was_settled = model.settled;
            let expected = model.happens(event);
            let result = match event {
                Event::Value(chunk, right) => {
                    let index = ChunkIndex(chunk);
                    incoming.value(index, value(chunk.min(CHUNKS - 1))).and_then(|next| match next {
                        Next::Compare(_, value) if right => {
                            incoming.claim(index)?;
                            incoming.is_right(index, value, &outbox)
                        }
                        Next::Compare(..) => Ok(incoming.is_wrong(index, &outbox)),
                        next => Ok(next),
                    })
                }
                Event::Chunk(chunk) => {
                    let len = Layout::new(size()).len_of(ChunkIndex(chunk)).unwrap_or_default();
                    let admitted = incoming.target_for(ChunkIndex(chunk), len).map(drop);
                    admitted
                        .and_then(|()| incoming.claim(ChunkIndex(chunk)))
                        .and_then(|()| incoming.stored(&[Subtree::of_chunk(ChunkIndex(chunk), value(chunk))], &outbox))
                }
                Event::Hole(first, count) => {
                    let chunks = (first..(first + count).min(CHUNKS)).map(|n| Subtree::of_chunk(ChunkIndex(n), value(n)));
                    let within = first + count <= CHUNKS || model.settled;
                    let part = incoming.part_for_hole(ChunkIndex(first), count);
                    match part {
                        Ok(Some(_)) if within => incoming.stored(&chunks.collect::<Vec<_>>(), &outbox),
                        Ok(None) => Ok(Next::Nothing),
                        Ok(Some(_)) => Err(PeerMisbehaved::WrongChunk { file: 0, chunk: first }),
                        Err(error) => Err(error),
                    }
                }
                Event::Root => incoming.root(root()),
            };
            prop_assert_eq!(result.is_ok(), expected, "{:?}: {:?}", event, result.err());
            let settled = match result {
                Ok(Next::Settle(settled)) => Some(settled),
                _ => None,
            };
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
