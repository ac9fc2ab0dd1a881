use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::content::chunk::FileId;
use crate::content::tree::ChunkValue;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::session::receiver::Terms;
use crate::session::{FileReport, Observer, Progress, outbox};
use crate::store::{Destination, Existing, Owner, Sink};
use crate::wire::message::{EntryKind, Metadata, Offer, ReceiverMessage, SenderMessage, take_framed};

struct Deaf;

impl Observer for Deaf {
    fn file(&self, _report: &FileReport) {}
}

/// What the receiver says of each chunk of an offered file: its value, or that it is missing.
type Plan = BTreeMap<u64, Option<ChunkValue>>;

/// Offers a file of `size` bytes where `part` waits as its part file, and hears what of it is to be sent.
fn plan(size: u64, fill: impl FnOnce(&File)) -> Plan {
    let dir = tempfile::tempdir().unwrap();
    let part = File::create_new(dir.path().join(format!(".file.{}.lanx-part", Owner::default()))).unwrap();
    fill(&part);
    let to = Arc::new(Destination::Folder(Sink::open(dir.path(), Existing::Refuse).unwrap()));
    let (outbox, reader) = outbox();
    let (observer, progress) = (Arc::new(Deaf), Arc::new(Progress::default()));
    let session = Arc::new(Receiving::new(to, Terms::default(), outbox, Arc::new(()), observer, progress));
    let metadata = Metadata { mode: 0o600, ..Metadata::default() };
    let offer = Offer {
        file: FileId(0),
        kind: EntryKind::File { size, sparse: false },
        metadata,
        path: b"file".to_vec(),
    };
    session.handle(SenderMessage::Offer(offer)).unwrap();
    let (mut plan, started) = (Plan::new(), Instant::now());
    while (plan.len() as u64) < Layout::new(size).chunks() {
        assert!(started.elapsed() < Duration::from_secs(60), "not every chunk is spoken of: {plan:?}");
        let mut bytes = Vec::new();
        reader.take_rest(&mut bytes);
        let mut rest = &bytes[..];
        while let Some((message, taken)) = take_framed::<ReceiverMessage>(rest, MESSAGE_BYTES_MAX).unwrap() {
            rest = &rest[taken..];
            let told: Plan = match message {
                ReceiverMessage::Missing { first, count, .. } => {
                    (first.0..first.0 + count).map(|chunk| (chunk, None)).collect()
                }
                ReceiverMessage::Values { first, values, .. } => {
                    (first.0..).zip(values.into_iter().map(Some)).collect()
                }
                _ => continue,
            };
            for (chunk, value) in told {
                assert!(plan.insert(chunk, value).is_none(), "chunk {chunk} is spoken of twice");
            }
        }
        thread::yield_now();
    }
    session.close();
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn each_chunk_is_missing_or_has_its_value_and_is_spoken_of_once(
        chunks in 2u64..70,
        rest in 1u64..=CHUNK_BYTES as u64,
        there in prop::collection::btree_set(0u64..70, 0..20),
        length in 1u64..72 * CHUNK_BYTES as u64,
    ) {
        let layout = Layout::new((chunks - 1) * CHUNK_BYTES as u64 + rest);
        // What the part file holds: a mark at the end of each chunk that is there, and nothing between.
        let marks: Vec<(ChunkIndex, Vec<u8>)> = there.iter().filter_map(|&chunk| {
            let mut content = vec![0; layout.len_of(ChunkIndex(chunk))?];
            *content.last_mut()? = chunk as u8 + 1;
            Some((ChunkIndex(chunk), content))
        }).collect();
        let plan = plan(layout.size(), |part| {
            part.set_len(length).unwrap();
            for (chunk, content) in &marks {
                part.write_all_at(content, layout.offset_of(*chunk).unwrap()).unwrap();
            }
        });
        prop_assert_eq!(plan.keys().copied().collect::<Vec<_>>(), (0..layout.chunks()).collect::<Vec<_>>());
        for (chunk, content) in &marks {
            prop_assert_eq!(plan[&chunk.0], Some(chunk_value(layout, *chunk, content)), "chunk {}", chunk.0);
        }
        // What is told to be there and is not is compared like zeros, and then sent.
        for (chunk, value) in plan.iter().filter(|(chunk, _)| !there.contains(chunk)) {
            let index = ChunkIndex(*chunk);
            let zeros = chunk_value(layout, index, &vec![0; layout.len_of(index).unwrap()]);
            prop_assert!(value.is_none_or(|value| value == zeros), "chunk {chunk}");
        }
    }
}
