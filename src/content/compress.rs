//! The codecs that chunks may travel in, and what keeps them honest: exact lengths and a bounded window.
//!
//! A chunk is compressed by itself, after it was hashed and before it is sealed. The receiver knows from the layout how long it
//! is, and decompresses into exactly that: there is no length to lie about, and nothing is allocated for one.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, find_frame_compressed_size, get_error_name};

use crate::limits::{
    CHUNK_BYTES, COMPRESSED_BYTES_MIN, COMPRESSED_SAVES_PART, PROBED_BYTES, ZSTD_LEVEL_DEFAULT,
    ZSTD_TABLE_LOG,
};

/// Room for whatever a chunk becomes: lz4 wants as much as the worst chunk takes before it begins.
pub const COMPRESSED_ROOM_BYTES: usize = get_maximum_output_size(CHUNK_BYTES);

/// What bytes are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// A block of LZ4, without any frame around it.
    Lz4,
    /// One frame of Zstandard (RFC 8878).
    Zstd,
}

impl Codec {
    pub fn to_byte(self) -> u8 {
        match self {
            Codec::Lz4 => 1,
            Codec::Zstd => 2,
        }
    }

    /// `None` for a byte that stands for none.
    pub fn from_byte(byte: u8) -> Option<Codec> {
        [Codec::Lz4, Codec::Zstd].into_iter().find(|codec| codec.to_byte() == byte)
    }
}

/// A set of codecs: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codecs(u8);

impl Codecs {
    pub const NONE: Codecs = Codecs(0);
    pub const ALL: Codecs = Codecs(0b11);

    /// From how they travel. Bits that stand for nothing yet are left out.
    pub fn from_bits(bits: u8) -> Codecs {
        Codecs(bits & Codecs::ALL.0)
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn has(self, codec: Codec) -> bool {
        self.0 & codec.to_byte() != 0
    }

    pub fn is_empty(self) -> bool {
        self == Codecs::NONE
    }
}

/// A codec, and how hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Lz4,
    /// With a level from 1 to [`ZSTD_LEVEL_MAX`](crate::limits::ZSTD_LEVEL_MAX).
    Zstd(u8),
}

impl Method {
    pub fn codec(self) -> Codec {
        match self {
            Method::Lz4 => Codec::Lz4,
            Method::Zstd(_) => Codec::Zstd,
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Method::Lz4 => f.write_str("lz4"),
            Method::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// What one thread compresses with. Its tables are made when they are first needed, and used for every chunk from then on.
#[derive(Default)]
pub struct Compressor {
    probe: Option<Box<CompressTable>>,
    lz4: Option<Box<CompressTable>>,
    zstd: Option<(u8, CCtx<'static>)>,
}

impl Compressor {
    /// Whether `content` seems worth compressing: whether lz4 saves enough of a piece in its middle. `room` has
    /// [`COMPRESSED_ROOM_BYTES`] and holds nothing of use afterwards.
    pub fn is_worthwhile(&mut self, content: &[u8], room: &mut [u8]) -> bool {
        if content.len() < COMPRESSED_BYTES_MIN {
            return false;
        }
        let len = content.len().min(PROBED_BYTES);
        let piece = &content[(content.len() - len) / 2..][..len];
        let table = self.probe.get_or_insert_with(|| Box::new(CompressTable::small()));
        let compressed = compress_into_with_table(piece, room, table);
        compressed.is_ok_and(|compressed| saves(len, compressed))
    }

    /// Compresses `content` into `room`, which has [`COMPRESSED_ROOM_BYTES`]. Returns how long it became; `None` where that
    /// saves too little.
    pub fn compress(&mut self, method: Method, content: &[u8], room: &mut [u8]) -> Option<usize> {
        let compressed = match method {
            Method::Lz4 => {
                let table = self.lz4.get_or_insert_with(|| Box::new(CompressTable::large()));
                compress_into_with_table(content, room, table).ok()?
            }
            Method::Zstd(level) => {
                let context = self.zstd(level)?;
                // With less room than the content takes it gives up early.
                let most = content.len() - content.len() / COMPRESSED_SAVES_PART;
                context.compress2(&mut room[..most], content).ok()?
            }
        };
        saves(content.len(), compressed).then_some(compressed)
    }

    /// `None` where there is no memory for it: then nothing is compressed.
    fn zstd(&mut self, level: u8) -> Option<&mut CCtx<'static>> {
        if self.zstd.as_ref().is_none_or(|(now, _)| *now != level) {
            let mut context = self.zstd.take().map_or_else(CCtx::try_create, |(_, context)| Some(context))?;
            context.set_parameter(CParameter::CompressionLevel(level.into())).ok()?;
            // A chunk has 2^18 places; what the higher levels would have for them takes several MiB.
            let tables = [CParameter::HashLog, CParameter::ChainLog];
            let log = if level > ZSTD_LEVEL_DEFAULT { ZSTD_TABLE_LOG } else { 0 };
            tables.into_iter().try_for_each(|table| context.set_parameter(table(log)).map(drop)).ok()?;
            self.zstd = Some((level, context));
        }
        self.zstd.as_mut().map(|(_, context)| context)
    }
}

/// Whether so few bytes are worth the receiver's work.
fn saves(from: usize, to: usize) -> bool {
    to <= from - from / COMPRESSED_SAVES_PART
}

/// Why bytes are not what a chunk becomes. It is always the sender's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompressed {
    #[error("decompress to fewer than {expected} bytes")]
    Fewer { expected: usize },
    #[error("do not decompress to {expected} bytes, or are not {codec:?}")]
    Other { codec: Codec, expected: usize },
    #[error("are not one frame of zstd")]
    NotOneFrame,
    #[error("want a larger window than a chunk")]
    Window,
}

/// What one thread decompresses with.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<DCtx<'static>>,
}

impl Decompressor {
    /// Fills `content` with what `compressed` holds, which has to be exactly as long.
    ///
    /// # Errors
    /// [`NotCompressed`], also where it is longer or shorter. What is in `content` then means nothing.
    pub fn decompress(
        &mut self,
        codec: Codec,
        compressed: &[u8],
        content: &mut [u8],
    ) -> Result<(), NotCompressed> {
        let expected = content.len();
        let other = NotCompressed::Other { codec, expected };
        let got = match codec {
            Codec::Lz4 => decompress_into(compressed, content).map_err(|_: DecompressError| other)?,
            Codec::Zstd => {
                check_frame(compressed)?;
                let context = self.zstd.get_or_insert_with(DCtx::create);
                context.decompress(content, compressed).map_err(|code| {
                    tracing::debug!("zstd: {}", get_error_name(code));
                    other
                })?
            }
        };
        if got == expected { Ok(()) } else { Err(NotCompressed::Fewer { expected }) }
    }
}

/// Demands that it is one frame, as the library takes any number of them and of others that hold nothing; and that its window
/// is no larger than a chunk (RFC 8878, section 3.1.1.1). One that has no window of its own has that of its content.
fn check_frame(frame: &[u8]) -> Result<(), NotCompressed> {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let Some((MAGIC, rest)) = frame.split_first_chunk::<4>().map(|(magic, rest)| (*magic, rest)) else {
        return Err(NotCompressed::NotOneFrame);
    };
    if let [descriptor, window, ..] = *rest
        && descriptor & SINGLE_SEGMENT == 0
    {
        let base = 1_u64 << (10 + (window >> 3));
        if base + base / 8 * u64::from(window & 7) > CHUNK_BYTES as u64 {
            return Err(NotCompressed::Window);
        }
    }
    match find_frame_compressed_size(frame) {
        Ok(len) if len == frame.len() => Ok(()),
        _ => Err(NotCompressed::NotOneFrame),
    }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
