//! Frames on a data connection, from the sender to the receiver only.
//!
//! ```text
//! offset  bytes  field
//! 0       1      kind: 1 chunk, 2 whole file, 3 zeros, 4 probe, 5 hole
//! 1       1      codec of the content: 0 none, 1 lz4, 3 zstd, 4 zstd that goes on; for a chunk and a whole
//! file only
//! 2       2      0
//! 4       4      length of the payload in bytes, u32
//! 8       8      file, u64 (0 for a probe)
//! 16      8      chunk index, u64 (0 for a whole file and a probe), of a hole that of its first
//! 24      ...    payload
//! ```
//! The payload of a *chunk* is that chunk of a file of more than one chunk. The payload of a *whole file* is
//! the BLAKE3 hash of the file (32 bytes) and then the file, which is at most one chunk: such a file needs no
//! other message, so a small file can be published by the thread that received it. *Zeros* stand for a chunk
//! that holds nothing else, as the holes of a sparse file do; they have no payload. A *probe* belongs to no
//! file: its payload, at most a chunk, only shows how fast it travels. A *hole* stands for as many chunks as
//! its payload says (u64, 1 to 4,096), which hold nothing but zeros; only a receiver that has said so takes
//! it. With a codec the content (of a whole file, what follows the hash) is one block of LZ4 without a frame
//! around it, or blocks of a frame of Zstandard (RFC 8878) which goes on for as long as the connection or
//! until another begins, with a window of two chunks at most. It becomes exactly as long as the chunk is;
//! values and hashes are those of what it becomes. Of a stream only full chunks have one. A connection ends
//! between two frames.

use super::fields::{DecodeError, Reader};
use super::seal::TAG_BYTES;
use crate::content::chunk::{ChunkIndex, FileId};
use crate::content::compress::Codec;
use crate::limits::{CHUNK_BYTES, HOLE_CHUNKS_MAX};

/// Bytes in a frame's header.
pub const HEADER_BYTES: usize = 24;

/// Bytes in the hash that leads the payload of a whole file.
pub const HASH_BYTES: usize = 32;

/// Bytes in the payload of a hole.
pub const HOLE_BYTES: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chunk,
    Whole,
    Zeros,
    Probe,
    Hole,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub file: FileId,
    pub chunk: ChunkIndex,
    /// Bytes of file content in the payload, as they travel: for a whole file without its hash, for zeros
    /// none.
    pub content_bytes: usize,
    /// What they are compressed with.
    pub codec: Option<Codec>,
}

impl Header {
    /// That of a probe of so many bytes.
    pub fn probe(bytes: usize) -> Header {
        Header { kind: Kind::Probe, file: FileId(0), chunk: ChunkIndex(0), content_bytes: bytes, codec: None }
    }

    /// That of a chunk of zeros.
    pub fn zeros(file: FileId, chunk: ChunkIndex) -> Header {
        Header { kind: Kind::Zeros, file, chunk, content_bytes: 0, codec: None }
    }

    /// That of a hole from this chunk on.
    pub fn hole(file: FileId, first: ChunkIndex) -> Header {
        Header { kind: Kind::Hole, file, chunk: first, content_bytes: HOLE_BYTES, codec: None }
    }

    /// Bytes of the whole frame on the wire.
    pub fn frame_bytes(&self) -> u64 {
        let hash = if self.kind == Kind::Whole { HASH_BYTES } else { 0 };
        (HEADER_BYTES + hash + self.content_bytes + TAG_BYTES) as u64
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let (tag, extra) = match self.kind {
            Kind::Chunk => (1, 0),
            Kind::Whole => (2, HASH_BYTES),
            Kind::Zeros => (3, 0),
            Kind::Probe => (4, 0),
            Kind::Hole => (5, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = tag;
        bytes[1] = self.codec.map_or(0, Codec::to_byte);
        bytes[4..8].copy_from_slice(&((self.content_bytes + extra) as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.file.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.chunk.0.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`DecodeError`] for an unknown kind or codec, a codec where there is no content, set reserved bytes, a payload longer than its kind allows or
    /// too short to hold the hash, a whole file that claims to be another chunk than the first, or a probe of any.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, DecodeError> {
        let mut r = Reader::new(bytes);
        let (kind, extra, most) = match r.u8("a frame")? {
            1 => (Kind::Chunk, 0, CHUNK_BYTES),
            2 => (Kind::Whole, HASH_BYTES, CHUNK_BYTES),
            3 => (Kind::Zeros, 0, 0),
            4 => (Kind::Probe, 0, CHUNK_BYTES),
            5 => (Kind::Hole, 0, HOLE_BYTES),
            tag => return Err(DecodeError::UnknownTag { what: "a frame", tag }),
        };
        let codec = match r.u8("a frame")? {
            0 => None,
            tag if matches!(kind, Kind::Chunk | Kind::Whole) => {
                Some(Codec::from_byte(tag).ok_or(DecodeError::UnknownTag { what: "a codec", tag })?)
            }
            tag => return Err(DecodeError::UnknownTag { what: "the codec of nothing", tag }),
        };
        if r.array::<2>("a frame")? != [0; 2] {
            return Err(DecodeError::BadValue { what: "reserved bytes", why: "they are not zero".into() });
        }
        let payload = r.u32("a frame")?;
        let limit = most + extra;
        if payload as usize > limit {
            return Err(DecodeError::TooLong { what: "a frame", got: payload.into(), limit: limit as u64 });
        }
        let Some(content_bytes) = (payload as usize).checked_sub(extra) else {
            return Err(DecodeError::BadValue {
                what: "a whole file",
                why: "it has no room for its hash".into(),
            });
        };
        let header = Header {
            kind,
            content_bytes,
            file: FileId(r.u64("a frame")?),
            chunk: ChunkIndex(r.u64("a frame")?),
            codec,
        };
        if kind == Kind::Whole && header.chunk.0 != 0 {
            return Err(DecodeError::BadValue { what: "a whole file", why: "it has only chunk 0".into() });
        }
        if kind == Kind::Probe && (header.file.0, header.chunk.0) != (0, 0) {
            return Err(DecodeError::BadValue { what: "a probe", why: "it belongs to no file".into() });
        }
        if kind == Kind::Hole && content_bytes != HOLE_BYTES {
            return Err(DecodeError::BadValue {
                what: "a hole",
                why: "it does not say how long it is".into(),
            });
        }
        r.end()?;
        Ok(header)
    }
}

/// How many chunks a hole stands for, from its payload.
///
/// # Errors
/// [`DecodeError`] for none, more than [`HOLE_CHUNKS_MAX`], or another length.
pub fn chunks_of_hole(payload: &[u8]) -> Result<u64, DecodeError> {
    let mut r = Reader::new(payload);
    let chunks = r.u64("a hole")?;
    r.end()?;
    match chunks {
        1..=HOLE_CHUNKS_MAX => Ok(chunks),
        _ => {
            let why = format!("it has {chunks} chunks and not 1 to {HOLE_CHUNKS_MAX}");
            Err(DecodeError::BadValue { what: "a hole", why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: Header = Header {
        kind: Kind::Chunk,
        file: FileId(0x0102),
        chunk: ChunkIndex(0x0304_0506_0708),
        content_bytes: CHUNK_BYTES,
        codec: None,
    };
    const WHOLE: Header =
        Header { kind: Kind::Whole, file: FileId(7), chunk: ChunkIndex(0), content_bytes: 5, codec: None };
    const ZEROS: Header =
        Header { kind: Kind::Zeros, file: FileId(7), chunk: ChunkIndex(9), content_bytes: 0, codec: None };

    const HOLE: Header = Header {
        kind: Kind::Hole,
        file: FileId(0x0102),
        chunk: ChunkIndex(0x0304),
        content_bytes: HOLE_BYTES,
        codec: None,
    };

    #[test]
    fn is_these_bytes() {
        assert_eq!(
            CHUNK.encode(),
            *b"\x01\0\0\0\x00\x00\x04\x00\x02\x01\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\0\0"
        );
        assert_eq!(WHOLE.encode(), *b"\x02\0\0\0\x25\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(ZEROS.encode(), *b"\x03\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0");
        assert_eq!(
            Header::probe(CHUNK_BYTES).encode(),
            *b"\x04\0\0\0\x00\x00\x04\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
        assert_eq!(HOLE.encode(), *b"\x05\0\0\0\x08\0\0\0\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0");
        for header in [CHUNK, WHOLE, ZEROS, Header::probe(CHUNK_BYTES), HOLE] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_codec_is_the_second_byte_of_what_has_content() {
        let zstd = Header { codec: Some(Codec::Zstd), content_bytes: 0x0302, ..CHUNK };
        assert_eq!(
            zstd.encode(),
            *b"\x01\x03\0\0\x02\x03\0\0\x02\x01\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\0\0"
        );
        let next = Header { codec: Some(Codec::ZstdNext), ..WHOLE };
        assert_eq!(next.encode()[..2], [2, 4]);
        let lz4 = Header { codec: Some(Codec::Lz4), ..WHOLE };
        assert_eq!(lz4.encode(), *b"\x02\x01\0\0\x25\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        for header in [zstd, next, lz4] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
        for (header, codec) in [(CHUNK, 2), (WHOLE, 5), (ZEROS, 1), (Header::probe(9), 2), (HOLE, 3)] {
            let mut bytes = header.encode();
            bytes[1] = codec;
            assert!(matches!(Header::decode(&bytes), Err(DecodeError::UnknownTag { .. })), "{header:?}");
        }
    }

    #[test]
    fn refuses_each_length_past_its_limit() {
        let with_length = |tag: u8, len: u32| {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0] = tag;
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
            Header::decode(&bytes)
        };
        let most = CHUNK_BYTES as u32;
        assert!(with_length(1, most).is_ok());
        assert!(matches!(with_length(1, most + 1), Err(DecodeError::TooLong { .. })));
        assert!(matches!(with_length(1, u32::MAX), Err(DecodeError::TooLong { .. })));
        assert!(with_length(2, most + 32).is_ok() && with_length(2, 32).is_ok());
        assert!(matches!(with_length(2, most + 33), Err(DecodeError::TooLong { .. })));
        assert!(matches!(with_length(2, 31), Err(DecodeError::BadValue { .. })));
        assert!(with_length(3, 0).is_ok());
        assert!(matches!(with_length(3, 1), Err(DecodeError::TooLong { .. })));
        assert!(with_length(4, most).is_ok());
        assert!(matches!(with_length(4, most + 1), Err(DecodeError::TooLong { .. })));
        assert!(with_length(5, 8).is_ok());
        assert!(matches!(with_length(5, 9), Err(DecodeError::TooLong { .. })));
        assert!(matches!(with_length(5, 7), Err(DecodeError::BadValue { .. })));
    }

    #[test]
    fn a_hole_says_how_many_chunks_it_has_in_these_bytes() {
        assert_eq!(chunks_of_hole(b"\x02\x01\0\0\0\0\0\0"), Ok(0x0102));
        let of = |chunks: u64| chunks_of_hole(&chunks.to_le_bytes());
        assert!(of(1).is_ok() && of(HOLE_CHUNKS_MAX).is_ok());
        assert!(of(0).is_err() && of(HOLE_CHUNKS_MAX + 1).is_err() && of(u64::MAX).is_err());
        assert!(chunks_of_hole(&[1; 7]).is_err() && chunks_of_hole(&[0; 9]).is_err());
    }

    #[test]
    fn refuses_unknown_kinds_and_reserved_bytes() {
        for tag in (0..=255u8).filter(|t| !matches!(t, 1..=5)) {
            let mut bytes = CHUNK.encode();
            bytes[0] = tag;
            assert!(matches!(Header::decode(&bytes), Err(DecodeError::UnknownTag { .. })));
        }
        for at in 2..4 {
            let mut bytes = CHUNK.encode();
            bytes[at] = 1;
            assert!(matches!(Header::decode(&bytes), Err(DecodeError::BadValue { .. })));
        }
        let mut bytes = WHOLE.encode();
        bytes[16] = 1;
        assert!(matches!(Header::decode(&bytes), Err(DecodeError::BadValue { .. })));
        for at in [8, 16] {
            let mut bytes = Header::probe(CHUNK_BYTES).encode();
            bytes[at] = 1;
            assert!(matches!(Header::decode(&bytes), Err(DecodeError::BadValue { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_decodes_is_within_the_limits_and_encodes_to_the_same_bytes(
            kind in 0u8..6, codec in 0u8..4, len in 0u32..2 * CHUNK_BYTES as u32, file in prop_oneof![Just(0u64), any::<u64>()],
            chunk in prop_oneof![Just(0u64), any::<u64>()]
        ) {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0] = kind;
            bytes[1] = codec;
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
            bytes[8..16].copy_from_slice(&file.to_le_bytes());
            bytes[16..].copy_from_slice(&chunk.to_le_bytes());
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.content_bytes <= CHUNK_BYTES);
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
