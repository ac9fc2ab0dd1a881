//! What the steps of the chunk path and of the control connection cost, without disk and network: hashing a
//! chunk, merging chunk values into the hash of a file, a frame's header, and an offer.

#![allow(clippy::expect_used, reason = "a benchmark may stop at the first surprise")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use lanx::content::chunk::{ChunkIndex, FileId, Layout};
use lanx::content::entry::{EntryKind, Metadata};
use lanx::content::tree::{ChunkValue, Tree, chunk_value};
use lanx::limits::CHUNK_BYTES;
use lanx::wire::frame::{Header, Kind};
use lanx::wire::message::{Message, Offer, SenderMessage};

/// Chunks in a file of 16 GiB.
const CHUNKS: u64 = 65_536;

fn main() {
    divan::main();
}

#[divan::bench]
fn hash_a_chunk(bencher: Bencher) {
    let layout = Layout::new(2 * CHUNK_BYTES as u64);
    let bytes: Vec<u8> = (0..CHUNK_BYTES).map(|i| (i % 251) as u8).collect();
    bencher
        .counter(BytesCount::new(CHUNK_BYTES))
        .bench_local(|| chunk_value(layout, ChunkIndex(1), black_box(&bytes)));
}

#[divan::bench]
fn merge_65536_chunks_in_order(bencher: Bencher) {
    merge(bencher, &(0..CHUNKS).collect::<Vec<_>>());
}

/// Far worse than what connections do, which are a few chunks apart.
#[divan::bench]
fn merge_65536_chunks_shuffled(bencher: Bencher) {
    merge(bencher, &shuffled());
}

fn merge(bencher: Bencher, order: &[u64]) {
    let layout = Layout::new(CHUNKS * CHUNK_BYTES as u64);
    let values: Vec<(ChunkIndex, ChunkValue)> =
        order.iter().map(|&i| (ChunkIndex(i), *blake3::hash(&i.to_le_bytes()).as_bytes())).collect();
    bencher.counter(ItemsCount::new(CHUNKS)).bench_local(|| {
        let mut tree = Tree::new(layout);
        for &(index, value) in &values {
            black_box(tree.insert(index, value)).expect("each chunk comes once");
        }
        tree.root().expect("every chunk came")
    });
}

/// The same order each time: sorted by a hash.
fn shuffled() -> Vec<u64> {
    let mut order: Vec<u64> = (0..CHUNKS).collect();
    order.sort_by_cached_key(|i| *blake3::hash(&i.to_le_bytes()).as_bytes());
    order
}

#[divan::bench]
fn encode_and_decode_a_frame_header(bencher: Bencher) {
    let header = Header {
        kind: Kind::Chunk,
        file: FileId(3),
        chunk: ChunkIndex(70_000),
        content_bytes: CHUNK_BYTES,
        codec: None,
    };
    bencher.bench_local(|| Header::decode(black_box(&black_box(&header).encode())).expect("our own header"));
}

#[divan::bench]
fn put_and_take_an_offer(bencher: Bencher) {
    let offer = SenderMessage::Offer(Offer {
        file: FileId(3),
        kind: EntryKind::File { size: 4 << 30, sparse: false },
        metadata: Metadata { mode: 0o644, mtime_seconds: 1_700_000_000, mtime_nanos: 1, archive: None },
        path: b"holiday pictures 2025.tar.zst".to_vec(),
    });
    let mut bytes = Vec::with_capacity(128);
    bencher.bench_local(|| {
        bytes.clear();
        black_box(&offer).put(&mut bytes);
        SenderMessage::take(black_box(&bytes)).expect("our own offer")
    });
}
