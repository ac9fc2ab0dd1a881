use super::*;
use crate::limits::{CONNECTION_MEMORY_BYTES, ZSTD_LEVEL_MAX};

const METHODS: [Method; 4] = [Method::Lz4, Method::Zstd(1), Method::Zstd(3), Method::Zstd(ZSTD_LEVEL_MAX)];

/// Text of so many bytes that becomes about a third.
fn text(len: usize) -> Vec<u8> {
    let lines = (0_u64..)
        .flat_map(|n| format!("{n} {:x} a line of a log\n", n.wrapping_mul(0x9e37_79b9)).into_bytes());
    lines.take(len).collect()
}

/// Bytes without any order.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn room() -> Vec<u8> {
    vec![0; COMPRESSED_ROOM_BYTES]
}

fn compressed(method: Method, content: &[u8]) -> Vec<u8> {
    let mut room = room();
    let len = Compressor::default().compress(method, content, &mut room).unwrap();
    room[..len].to_vec()
}

fn decompressed(codec: Codec, bytes: &[u8], len: usize) -> Result<Vec<u8>, NotCompressed> {
    let mut content = vec![0xee; len];
    Decompressor::default().decompress(codec, bytes, &mut content).map(|()| content)
}

#[test]
fn what_is_compressed_comes_back() {
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    let mut room = room();
    for len in [COMPRESSED_BYTES_MIN, 5_000, 65_535, 65_536, CHUNK_BYTES - 1, CHUNK_BYTES] {
        let content = text(len);
        for method in METHODS {
            assert!(compressor.is_worthwhile(&content, &mut room), "{len}");
            let n = compressor.compress(method, &content, &mut room).unwrap();
            let mut back = vec![0; len];
            decompressor.decompress(method.codec(), &room[..n], &mut back).unwrap();
            assert!(back == content && n <= len - len / COMPRESSED_SAVES_PART, "{method} {len}");
        }
    }
}

#[test]
fn what_saves_less_than_an_eighth_stays_plain() {
    let mut compressor = Compressor::default();
    // Two thirteenths of it are zeros at its end.
    let mut little = noise(CHUNK_BYTES);
    little[CHUNK_BYTES - CHUNK_BYTES / 9..].fill(0);
    for content in [noise(CHUNK_BYTES), noise(20_000), little] {
        assert!(!compressor.is_worthwhile(&content, &mut room()));
        for method in METHODS {
            assert_eq!(compressor.compress(method, &content, &mut room()), None, "{method}");
        }
    }
    assert!(!compressor.is_worthwhile(&[0; COMPRESSED_BYTES_MIN - 1], &mut room()), "too short to matter");
}

#[test]
fn the_probe_looks_at_the_middle() {
    let mut content = noise(CHUNK_BYTES);
    content[CHUNK_BYTES / 2 - PROBED_BYTES / 2..][..PROBED_BYTES].fill(7);
    assert!(Compressor::default().is_worthwhile(&content, &mut room()));
}

#[test]
fn bytes_that_become_more_or_fewer_than_they_should_are_refused() {
    let content = text(100_000);
    for method in METHODS {
        let (codec, bytes) = (method.codec(), compressed(method, &content));
        assert_eq!(decompressed(codec, &bytes, 100_000).as_deref(), Ok(&content[..]));
        assert_eq!(decompressed(codec, &bytes, 100_001), Err(NotCompressed::Fewer { expected: 100_001 }));
        let other = Err(NotCompressed::Other { codec, expected: 99_999 });
        assert_eq!(decompressed(codec, &bytes, 99_999), other, "{method}");
        assert!(decompressed(codec, &bytes, 0).is_err());
        for end in [0, 1, 4, 5, bytes.len() / 2, bytes.len() - 1] {
            assert!(decompressed(codec, &bytes[..end], 100_000).is_err(), "{method} cut at {end}");
        }
        assert!(decompressed(codec, &[&bytes[..], b"more"].concat(), 100_000).is_err(), "{method}");
    }
    assert!(decompressed(Codec::Lz4, &compressed(Method::Zstd(1), &content), 100_000).is_err());
    assert!(decompressed(Codec::Zstd, &compressed(Method::Lz4, &content), 100_000).is_err());
}

/// 64 MiB of zeros, which zstd makes some 2 KiB of.
#[test]
fn a_bomb_is_refused_and_fills_no_more_than_a_chunk() {
    let mut bomb = vec![0; 1 << 16];
    let n = CCtx::create().compress(&mut bomb[..], &vec![0; 64 << 20], 1).unwrap();
    assert!(decompressed(Codec::Zstd, &bomb[..n], CHUNK_BYTES).is_err());
}

#[test]
fn a_window_larger_than_a_chunk_is_refused() {
    let content = text(4 * CHUNK_BYTES);
    let frame = |log: u32| {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(log)).unwrap();
        // Nobody says how much there is, so that the frame has to say its window.
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        let mut bytes = room();
        let n = context.compress2(&mut bytes[..], &content[..CHUNK_BYTES]).unwrap();
        bytes.truncate(n);
        bytes
    };
    let chunk = frame(CHUNK_BYTES.ilog2());
    assert_eq!(chunk[4] & (1 << 5), 0, "it has no window of its own");
    assert_eq!(decompressed(Codec::Zstd, &chunk, CHUNK_BYTES).as_deref(), Ok(&content[..CHUNK_BYTES]));
    let mut larger = chunk;
    larger[5] += 1;
    assert_eq!(decompressed(Codec::Zstd, &larger, CHUNK_BYTES), Err(NotCompressed::Window));
}

#[test]
fn frames_that_hold_nothing_are_not_taken_beside_one() {
    let content = text(10_000);
    let frame = compressed(Method::Zstd(3), &content);
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    let two = [&frame[..], &compressed(Method::Zstd(1), &content)].concat();
    for bytes in [&skippable[..], &[&frame[..], skippable].concat(), &[&skippable[..], &frame].concat()] {
        assert_eq!(decompressed(Codec::Zstd, bytes, 10_000), Err(NotCompressed::NotOneFrame));
    }
    assert_eq!(decompressed(Codec::Zstd, &two, 20_000), Err(NotCompressed::NotOneFrame));
}

#[test]
fn a_context_takes_no_more_memory_than_a_connection_may() {
    let content = text(CHUNK_BYTES);
    let mut sizes = Vec::new();
    for level in 1..=ZSTD_LEVEL_MAX {
        let mut compressor = Compressor::default();
        compressor.compress(Method::Zstd(level), &content, &mut room()).unwrap();
        sizes.push(compressor.zstd.unwrap().1.sizeof());
    }
    let mut decompressor = Decompressor::default();
    let frame = compressed(Method::Zstd(3), &content);
    decompressor.decompress(Codec::Zstd, &frame, &mut vec![0; CHUNK_BYTES]).unwrap();
    let receiving = decompressor.zstd.unwrap().sizeof() + CHUNK_BYTES;
    let sending = sizes.iter().max().unwrap() + COMPRESSED_ROOM_BYTES + 3 * 16 * 1024;
    assert!(sending.max(receiving) <= CONNECTION_MEMORY_BYTES, "{sizes:?} and {receiving}");
}

#[test]
fn a_set_of_codecs_is_a_bit_for_each() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        assert!(Codecs::ALL.has(codec) && !Codecs::NONE.has(codec));
        assert_eq!(Codec::from_byte(codec.to_byte()), Some(codec));
    }
    assert_eq!((Codec::from_byte(0), Codec::from_byte(3)), (None, None));
    assert_eq!(Codecs::from_bits(0xff), Codecs::ALL);
    assert!(Codecs::from_bits(0xfc).is_empty());
}
