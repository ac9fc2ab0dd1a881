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
    let (_, len) = Compressor::default().compress(method, content, &mut room).unwrap();
    room[..len].to_vec()
}

/// What it becomes for a connection that has heard nothing yet.
fn decompressed(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>, NotCompressed> {
    let mut content = vec![0xee; CHUNK_BYTES];
    let len = Decompressor::default().decompress(codec, bytes, &mut content)?;
    content.truncate(len);
    Ok(content)
}

#[test]
fn what_is_compressed_comes_back() {
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    let (mut room, mut back) = (room(), room());
    for len in [COMPRESSED_BYTES_MIN, 5_000, 65_535, 65_536, CHUNK_BYTES - 1, CHUNK_BYTES] {
        let content = text(len);
        for method in METHODS {
            assert!(compressor.is_worthwhile(&content, &mut room), "{len}");
            let (codec, n) = compressor.compress(method, &content, &mut room).unwrap();
            let came = decompressor.decompress(codec, &room[..n], &mut back[..CHUNK_BYTES]).unwrap();
            assert!(back[..came] == content && n <= len - len / COMPRESSED_SAVES_PART, "{method} {len}");
        }
    }
}

#[test]
fn chunks_of_one_connection_share_a_window_in_zstd() {
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
    let (mut room, mut back) = (room(), room());
    let mut sent = |content: &[u8]| {
        let packed = compressor.compress(Method::Zstd(3), content, &mut room)?;
        let came = decompressor.decompress(packed.0, &room[..packed.1], &mut back[..CHUNK_BYTES]).unwrap();
        assert!(back[..came] == *content);
        Some(packed)
    };
    let (codec, first) = sent(&text(20_000)).unwrap();
    assert_eq!(codec, Codec::Zstd);
    for _ in 0..100 {
        let (codec, again) = sent(&text(20_000)).unwrap();
        assert!(codec == Codec::ZstdNext && again < first / 20, "{again} of {first} bytes");
    }
    // What saved too little was not sent, so what follows begins anew.
    assert_eq!(sent(&noise(20_000)), None);
    assert_eq!(sent(&text(20_000)).map(|(codec, _)| codec), Some(Codec::Zstd));
    assert_eq!(sent(&text(20_000)).map(|(codec, _)| codec), Some(Codec::ZstdNext));
}

#[test]
fn another_level_begins_a_frame_anew() {
    let (mut compressor, content, mut room) = (Compressor::default(), text(20_000), room());
    let mut codec = |level| compressor.compress(Method::Zstd(level), &content, &mut room).unwrap().0;
    let codecs = [1, 1, 3, 3, 1].map(&mut codec);
    assert_eq!(codecs, [Codec::Zstd, Codec::ZstdNext, Codec::Zstd, Codec::ZstdNext, Codec::Zstd]);
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
fn what_is_cut_never_becomes_the_whole_and_what_is_longer_never_fits() {
    let content = text(100_000);
    for method in METHODS {
        let (codec, bytes) = (method.codec(), compressed(method, &content));
        assert_eq!(decompressed(codec, &bytes).as_deref(), Ok(&content[..]));
        for end in [0, 1, 4, 5, bytes.len() / 2, bytes.len() - 1] {
            let cut = decompressed(codec, &bytes[..end]);
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut.len() < content.len()), "{method} cut at {end}");
        }
        for room in [0, 1, 99_999] {
            let mut room = vec![0; room];
            let more = Decompressor::default().decompress(codec, &bytes, &mut room);
            assert_eq!(more, Err(NotCompressed::Other(codec)), "{method} into {}", room.len());
        }
    }
    assert!(decompressed(Codec::Lz4, &compressed(Method::Zstd(1), &content)).is_err());
    assert!(decompressed(Codec::Zstd, &compressed(Method::Lz4, &content)).is_err());
}

/// 64 MiB of zeros, which zstd makes some 2 KiB of.
#[test]
fn a_bomb_is_refused_and_fills_no_more_than_a_chunk() {
    let mut bomb = vec![0; 1 << 16];
    let mut context = CCtx::create();
    context.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG)).unwrap();
    context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
    let n = context.compress2(&mut bomb[..], &vec![0; 64 << 20]).unwrap();
    assert_eq!(decompressed(Codec::Zstd, &bomb[..n]), Err(NotCompressed::Other(Codec::Zstd)));
}

#[test]
fn a_window_larger_than_agreed_is_refused() {
    let (content, window) = (text(1000), compressed(Method::Zstd(1), &text(1000)));
    assert_eq!(window[4] & (1 << 5), 0, "it says its window (RFC 8878, section 3.1.1.1)");
    assert_eq!(decompressed(Codec::Zstd, &window).as_deref(), Ok(&content[..]));
    let mut larger = window;
    larger[5] += 1;
    assert_eq!(decompressed(Codec::Zstd, &larger), Err(NotCompressed::Other(Codec::Zstd)));
}

#[test]
fn frames_that_end_or_never_began_are_refused() {
    let content = text(10_000);
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    let mut ended = room();
    let n = CCtx::create().compress(&mut ended[..], &content, 1).unwrap();
    for bytes in [&skippable[..], &ended[..n], &[&ended[..n], skippable].concat()] {
        assert_eq!(decompressed(Codec::Zstd, bytes), Err(NotCompressed::Ended));
    }
    let frame = compressed(Method::Zstd(1), &content);
    assert_eq!(decompressed(Codec::ZstdNext, &frame), Err(NotCompressed::NoBeginning));
    let two = [&frame[..], &frame].concat();
    assert_eq!(decompressed(Codec::Zstd, &two), Err(NotCompressed::Other(Codec::Zstd)));
}

#[test]
fn a_context_takes_no_more_memory_than_a_connection_may() {
    let content = text(CHUNK_BYTES);
    let mut sizes = Vec::new();
    for level in 1..=ZSTD_LEVEL_MAX {
        let mut compressor = Compressor::default();
        compressor.compress(Method::Zstd(level), &content, &mut room()).unwrap();
        sizes.push(compressor.zstd.unwrap().context.sizeof());
    }
    let mut decompressor = Decompressor::default();
    let frame = compressed(Method::Zstd(3), &content);
    decompressor.decompress(Codec::Zstd, &frame, &mut vec![0; CHUNK_BYTES]).unwrap();
    let receiving = decompressor.zstd.unwrap().sizeof() + CHUNK_BYTES;
    let sending = sizes.iter().max().unwrap() + COMPRESSED_ROOM_BYTES + 3 * 16 * 1024;
    assert!(sending.max(receiving) <= CONNECTION_MEMORY_BYTES, "{sizes:?} and {receiving}");
}

#[test]
fn a_set_of_codecs_has_a_bit_for_lz4_and_one_for_zstd() {
    for codec in [Codec::Lz4, Codec::Zstd, Codec::ZstdNext] {
        assert!(Codecs::ALL.has(codec) && !Codecs::NONE.has(codec));
        assert_eq!(Codec::from_byte(codec.to_byte()), Some(codec));
    }
    assert_eq!([0, 2, 5].map(Codec::from_byte), [None; 3]);
    assert_eq!(Codecs::from_bits(0xff), Codecs::ALL);
    assert!(Codecs::from_bits(0b1111_1010).is_empty());
    assert!(Codecs::from_bits(4).has(Codec::ZstdNext) && !Codecs::from_bits(4).has(Codec::Lz4));
}
