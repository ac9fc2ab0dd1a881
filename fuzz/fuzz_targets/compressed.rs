//! What a sender says is compressed, in a sealed session over a real folder: a file of one chunk or several,
//! and frames of it in either codec that are honest, changed, or made of any bytes.
//!
//! Whatever comes: no panic, no byte beyond the chunk, and under the final name only the file that was
//! promised.
#![no_main]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lanx::content::chunk::{ChunkIndex, FileId, Layout};
use lanx::content::compress::{COMPRESSED_ROOM_BYTES, Codec, Codecs, Compressor, Decompressor, Method};
use lanx::limits::CHUNK_BYTES;
use lanx::session::frames::FrameWriter;
use lanx::session::receiver::outcomes::Outcomes;
use lanx::session::receiver::worker::receive_frames;
use lanx::session::receiver::{Receiving, Terms};
use lanx::session::{End, PeerMisbehaved, Progress, outbox};
use lanx::store::{Destination, Existing, Sink};
use lanx::wire::frame::{Header, Kind};
use lanx::content::entry::{EntryKind, Metadata};
use lanx::wire::message::{Offer, SenderMessage};
use lanx_fuzz::{Counting, SIZES, Script, keys, painted};
use libfuzzer_sys::fuzz_target;

/// What travels for a chunk: what the script says, or the honest bytes with what the script changes of them.
fn payload(script: &mut Script, codec: Codec, honest: &[u8]) -> Vec<u8> {
    if script.flag() {
        return script.0.to_vec();
    }
    let method = if codec == Codec::Lz4 { Method::Lz4 } else { Method::Zstd(1 + script.below(4)) };
    let mut room = vec![0; COMPRESSED_ROOM_BYTES];
    let packed = Compressor::default().compress(method, honest, &mut room);
    room.truncate(packed.map_or(0, |(_, len)| len));
    while !script.is_over() {
        let at = usize::from(script.byte()) << 8 | usize::from(script.byte());
        match (script.below(3), room.get_mut(at)) {
            (0, Some(byte)) => *byte ^= script.byte(),
            (1, _) => room.truncate(at),
            _ => room.push(script.byte()),
        }
    }
    room
}

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let codec = [Codec::Lz4, Codec::Zstd, Codec::ZstdNext][usize::from(script.below(3))];
    let size = SIZES[usize::from(script.below(SIZES.len() as u8))];
    let layout = Layout::new(size);
    // A small file has the first chunk alone: bytes of another one's length may well be a chunk of its.
    let index = if layout.is_single() { 0 } else { script.below(6).into() };
    let content = painted(0, size);
    let honest = content.chunks(CHUNK_BYTES).nth(index as usize).unwrap_or_default();
    let packed = payload(&mut script, codec, honest);
    if packed.len() > CHUNK_BYTES {
        return;
    }
    // What the codec alone makes of it: never more than there is room for.
    let alone = Decompressor::default().decompress(codec, &packed, &mut [0; CHUNK_BYTES]);
    let right = alone == Ok(honest.len());

    let dir = tempfile::tempdir().unwrap();
    let to = Arc::new(Destination::Folder(Sink::open(dir.path(), Existing::Refuse).unwrap()));
    let (outbox, _reader) = outbox();
    let terms = Terms { codecs: Codecs::ALL, ..Terms::default() };
    let outcomes = Outcomes::new(to, terms, outbox, Arc::new(()), Counting::new(), Arc::new(Progress::default()));
    let session = Receiving::new(outcomes, None);
    let session = Arc::new(session);
    let kind = EntryKind::File { size, sparse: false };
    let offer = Offer { file: FileId(0), kind, metadata: Metadata::default(), path: b"file".to_vec() };
    session.handle(SenderMessage::Offer(offer)).unwrap();

    let kind = if layout.is_single() { Kind::Whole } else { Kind::Chunk };
    let chunk = ChunkIndex(if layout.is_single() { 0 } else { index });
    let header = Header { kind, file: FileId(0), chunk, content_bytes: packed.len(), codec: Some(codec) };
    let hash = if kind == Kind::Whole { blake3::hash(&content).as_bytes().to_vec() } else { Vec::new() };
    let (sealer, opener) = keys(0);
    let mut stream = Vec::new();
    let mut writer = FrameWriter::new(&mut stream, sealer);
    writer.write(&header, &mut [hash, packed].concat(), || ()).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let there = layout.len_of(chunk).is_some_and(|len| len == honest.len());
    match receive_frames(&session, &stream[..], opener, &AtomicU64::new(0)) {
        Ok(()) => assert!(right && there, "it took what is no chunk"),
        Err(End::Misbehaved(PeerMisbehaved::BadlyCompressed { .. })) => assert!(alone.is_err()),
        Err(End::Misbehaved(_)) => assert!(!right || !there, "a chunk that there is"),
        Err(end) => panic!("{end}"),
    }
    session.close();
    session.threads().into_iter().for_each(|thread| thread.join().unwrap());
    if let Ok(stored) = fs::read(dir.path().join("file")) {
        assert!(stored == content, "nobody promised what is there");
    }
});
