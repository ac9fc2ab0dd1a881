use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::content::chunk::{FileId, Layout};
use crate::content::entry::{EntryKind, Metadata};
use crate::content::tree::ChunkValue;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::session::outbox::outbox;
use crate::session::progress::Progress;
use crate::session::receiver::Receiving;
use crate::session::receiver::Terms;
use crate::session::report::{FileReport, Observer};
use crate::store::{Destination, Existing, Owner, Sink};
use crate::wire::message::{Offer, ReceiverMessage, SenderMessage, take_framed};

struct Deaf;

impl Observer for Deaf {
    fn file(&self, _report: &FileReport) {}
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is asked for at once.
    Missing,
    /// It was compared, and is right.
    Kept,
    /// It was compared, and is asked for.
    Differs,
}

/// Offers a file of `size` bytes where `part` waits as its part file, says `value` of each chunk that is
/// compared, and hears what of it is to be sent.
fn fates(
    size: u64,
    fill: impl FnOnce(&File),
    value: impl Fn(ChunkIndex) -> ChunkValue,
) -> BTreeMap<u64, Fate> {
    let dir = tempfile::tempdir().unwrap();
    let part = File::create_new(dir.path().join(format!(".file.{}.lanx-part", Owner::default()))).unwrap();
    fill(&part);
    let to = Arc::new(Destination::Folder(Sink::open(dir.path(), Existing::Refuse).unwrap()));
    let (outbox, reader) = outbox();
    let (observer, progress) = (Arc::new(Deaf), Arc::new(Progress::default()));
    let outcomes = Outcomes::new(to, Terms::default(), outbox, Arc::new(()), observer, progress);
    let session = Arc::new(Receiving::new(outcomes, None));
    let metadata = Metadata { mode: 0o600, ..Metadata::default() };
    let kind = EntryKind::File { size, sparse: false };
    let offer = Offer { file: FileId(0), kind, metadata, path: b"file".to_vec() };
    session.handle(SenderMessage::Offer(offer)).unwrap();
    let (mut fates, started) = (BTreeMap::new(), Instant::now());
    let layout = Layout::new(size);
    let settled = |fates: &BTreeMap<u64, Fate>| {
        let kept = fates.values().filter(|fate| **fate == Fate::Kept).count() * CHUNK_BYTES;
        fates.len() as u64 == layout.chunks() && Progress::get(&session.progress().kept) == kept as u64
    };
    while !settled(&fates) {
        assert!(started.elapsed() < Duration::from_secs(60), "not every chunk is spoken of: {fates:?}");
        let mut bytes = Vec::new();
        reader.take_rest(&mut bytes);
        let mut rest = &bytes[..];
        while let Some((message, taken)) = take_framed::<ReceiverMessage>(rest, MESSAGE_BYTES_MAX).unwrap() {
            rest = &rest[taken..];
            match message {
                ReceiverMessage::Send { .. } => {
                    assert!(fates.is_empty());
                    fates.extend((0..layout.chunks()).map(|chunk| (chunk, Fate::Missing)));
                }
                ReceiverMessage::Missing { first, count, .. } => {
                    for chunk in first.0..first.0 + count {
                        assert_eq!(fates.insert(chunk, Fate::Missing), None, "chunk {chunk} twice");
                    }
                }
                ReceiverMessage::Hash { first, count, .. } => {
                    for chunk in first.0..first.0 + count {
                        assert_eq!(fates.insert(chunk, Fate::Kept), None, "chunk {chunk} twice");
                        let (file, chunk) = (FileId(0), ChunkIndex(chunk));
                        session.handle(SenderMessage::Value { file, chunk, value: value(chunk) }).unwrap();
                    }
                }
                ReceiverMessage::Differs { chunk, .. } => {
                    assert_eq!(fates.insert(chunk.0, Fate::Differs), Some(Fate::Kept));
                }
                _ => {}
            }
        }
        std::thread::yield_now();
    }
    session.close();
    fates
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whole_chunks_that_were_there_are_compared_and_all_others_are_missing(
        chunks in 2u64..70,
        rest in 1u64..=CHUNK_BYTES as u64,
        there in prop::collection::btree_map(0u64..70, any::<bool>(), 0..20),
        length in 1u64..72 * CHUNK_BYTES as u64,
    ) {
        let layout = Layout::new((chunks - 1) * CHUNK_BYTES as u64 + rest);
        // What the part file holds: a mark at the end of each chunk that is there, and nothing between.
        let content = |chunk: ChunkIndex, mark: u8| {
            let mut content = vec![0; layout.len_of(chunk).unwrap()];
            *content.last_mut().unwrap() = mark;
            content
        };
        let marks: Vec<ChunkIndex> = there.keys().map(|chunk| ChunkIndex(*chunk)).filter(|chunk| layout.len_of(*chunk).is_some()).collect();
        let fill = |part: &File| {
            part.set_len(length).unwrap();
            for chunk in &marks {
                part.write_all_at(&content(*chunk, chunk.0 as u8 + 1), layout.offset_of(*chunk).unwrap()).unwrap();
            }
        };
        // The sender has another mark where it has none in common.
        let value = |chunk: ChunkIndex| {
            let is_right = there.get(&chunk.0).is_some_and(|right| *right);
            let mark = if is_right { chunk.0 as u8 + 1 } else { 0xff };
            chunk_value(layout, chunk, &content(chunk, mark))
        };
        let fates = fates(layout.size(), fill, value);
        let end = |chunk: &ChunkIndex| layout.offset_of(*chunk).unwrap() + layout.len_of(*chunk).unwrap() as u64;
        let was_long = marks.iter().map(end).max().unwrap_or(0).max(length);
        for (chunk, fate) in fates {
            let is_whole = (chunk + 1) * CHUNK_BYTES as u64 <= was_long.min(layout.size());
            let expected = match there.get(&chunk) {
                Some(true) if is_whole => &[Fate::Kept][..],
                Some(false) if is_whole => &[Fate::Differs],
                // What nothing was written to may be told to be missing, or be compared like zeros.
                None if is_whole => &[Fate::Missing, Fate::Differs],
                _ => &[Fate::Missing],
            };
            prop_assert!(expected.contains(&fate), "chunk {chunk}: {fate:?}");
        }
    }
}
