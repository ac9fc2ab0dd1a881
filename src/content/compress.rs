//! The codecs that chunks may travel in, and what keeps them honest: exact lengths and a bounded window.
//!
//! A chunk is compressed after it was hashed and before it is sealed. With lz4 each stands for itself. With
//! zstd the chunks of one connection share a window, as small files are alike: those of a source tree become
//! a quarter less than each by itself. The receiver decompresses into the room of one chunk and compares what
//! came with the layout: there is no length to lie about, and nothing is allocated for one.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name,
};

use crate::limits::{
    CHUNK_BYTES, COMPRESSED_BYTES_MIN, COMPRESSED_SAVES_PART, PROBED_BYTES, ZSTD_LEVEL_DEFAULT,
    ZSTD_WINDOW_LOG,
};

/// Of the tables from [`ZSTD_LEVEL_DEFAULT`] on, as a power of two of 4 bytes each: together 256 KiB. Tables
/// of twice the size save 0.5 % more.
const ZSTD_TABLE_LOG: u32 = 15;

/// Room for whatever a chunk becomes: lz4 wants as much as the worst chunk takes before it begins.
pub const COMPRESSED_ROOM_BYTES: usize = get_maximum_output_size(CHUNK_BYTES);

/// What bytes are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// A block of LZ4, without any frame around it.
    Lz4,
    /// The beginning of a frame of Zstandard (RFC 8878), up to where a block ends.
    Zstd,
    /// Further blocks of the frame that the connection began last.
    ZstdNext,
}

impl Codec {
    pub fn to_byte(self) -> u8 {
        match self {
            Codec::Lz4 => 1,
            Codec::Zstd => 3,
            Codec::ZstdNext => 4,
        }
    }

    /// `None` for a byte that stands for none.
    pub fn from_byte(byte: u8) -> Option<Codec> {
        [Codec::Lz4, Codec::Zstd, Codec::ZstdNext].into_iter().find(|codec| codec.to_byte() == byte)
    }
}

/// A set of codecs: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codecs(u8);

impl Codecs {
    pub const NONE: Codecs = Codecs(0);
    /// The second bit is free: it stood for frames of zstd that each held one chunk.
    pub const ALL: Codecs = Codecs(Codecs::LZ4 | Codecs::ZSTD);
    const LZ4: u8 = 1 << 0;
    const ZSTD: u8 = 1 << 2;

    /// From how they travel. Bits that stand for nothing yet are left out.
    pub fn from_bits(bits: u8) -> Codecs {
        Codecs(bits & Codecs::ALL.0)
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn has(self, codec: Codec) -> bool {
        let bit = match codec {
            Codec::Lz4 => Codecs::LZ4,
            Codec::Zstd | Codec::ZstdNext => Codecs::ZSTD,
        };
        self.0 & bit != 0
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
    /// What a connection begins with.
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

/// What one connection compresses with. Its tables are made when they are first needed, and used for every
/// chunk from then on.
#[derive(Default)]
pub struct Compressor {
    probe: Option<Box<CompressTable>>,
    lz4: Option<Box<CompressTable>>,
    zstd: Option<ZstdWriter>,
}

/// A frame of zstd that has no end.
struct ZstdWriter {
    level: u8,
    context: CCtx<'static>,
    /// It has begun, and the other side has all of it.
    goes_on: bool,
}

impl Compressor {
    /// Whether `content` seems worth compressing: whether lz4 saves enough of a piece in its middle. `room`
    /// has [`COMPRESSED_ROOM_BYTES`] and holds nothing of use afterwards.
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

    /// Compresses `content` into `room`, which has [`COMPRESSED_ROOM_BYTES`]. Returns what it became, and how
    /// long; `None` where that saves too little. What is returned has to be the connection's next, as what
    /// follows may build on it.
    pub fn compress(&mut self, method: Method, content: &[u8], room: &mut [u8]) -> Option<(Codec, usize)> {
        // With less room than the content takes it gives up early.
        let most = content.len() - content.len() / COMPRESSED_SAVES_PART;
        match method {
            Method::Lz4 => {
                let table = self.lz4.get_or_insert_with(|| Box::new(CompressTable::large()));
                let compressed = compress_into_with_table(content, room, table).ok()?;
                (compressed <= most).then_some((Codec::Lz4, compressed))
            }
            Method::Zstd(level) => {
                let writer = match self.zstd.take() {
                    Some(writer) if writer.level == level => writer,
                    Some(writer) => ZstdWriter::new(level, writer.context)?,
                    None => ZstdWriter::new(level, CCtx::try_create()?)?,
                };
                self.zstd.insert(writer).compress(content, &mut room[..most])
            }
        }
    }
}

impl ZstdWriter {
    /// `None` where there is no memory for it: then nothing is compressed.
    fn new(level: u8, mut context: CCtx<'static>) -> Option<ZstdWriter> {
        context.reset(ResetDirective::SessionOnly).ok()?;
        // What levels have for a window of this size takes up to several MiB.
        let log = if level >= ZSTD_LEVEL_DEFAULT { ZSTD_TABLE_LOG } else { 0 };
        let parameters = [
            CParameter::CompressionLevel(level.into()),
            CParameter::WindowLog(ZSTD_WINDOW_LOG),
            CParameter::HashLog(log),
            CParameter::ChainLog(log),
        ];
        parameters.into_iter().try_for_each(|parameter| context.set_parameter(parameter).map(drop)).ok()?;
        Some(ZstdWriter { level, context, goes_on: false })
    }

    fn compress(&mut self, content: &[u8], room: &mut [u8]) -> Option<(Codec, usize)> {
        let codec = if self.goes_on { Codec::ZstdNext } else { Codec::Zstd };
        let mut output = OutBuffer::around(room);
        let mut input = InBuffer::around(content);
        let left = self.context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush);
        self.goes_on = left == Ok(0);
        if !self.goes_on {
            // The other side does not hear of it, so nothing may build on it.
            let _ = self.context.reset(ResetDirective::SessionOnly);
            return None;
        }
        Some((codec, output.pos()))
    }
}

/// Whether so few bytes are worth the receiver's work.
fn saves(from: usize, to: usize) -> bool {
    to <= from - from / COMPRESSED_SAVES_PART
}

/// Why bytes are not what a chunk becomes. It is always the sender's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompressed {
    #[error("are not {0:?}, or become more than a chunk")]
    Other(Codec),
    #[error("go on with a frame of zstd that did not begin")]
    NoBeginning,
    #[error("end a frame of zstd, which goes on for as long as its connection")]
    Ended,
}

/// What one connection is decompressed with.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<DCtx<'static>>,
}

impl Decompressor {
    /// Puts into `room`, which has that of a chunk, what `compressed` holds. Returns how long it is.
    ///
    /// # Errors
    /// [`NotCompressed`], also where it is longer. What is in `room` then means nothing, and neither does what follows.
    pub fn decompress(
        &mut self,
        codec: Codec,
        compressed: &[u8],
        room: &mut [u8],
    ) -> Result<usize, NotCompressed> {
        let other = NotCompressed::Other(codec);
        match codec {
            Codec::Lz4 => decompress_into(compressed, room).map_err(|_: DecompressError| other),
            Codec::Zstd => {
                let context = self.zstd.get_or_insert_with(DCtx::create);
                let begun = context.reset(ResetDirective::SessionOnly);
                begun
                    .and_then(|_| context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)))
                    .map_err(|_| other)?;
                go_on(context, codec, compressed, room)
            }
            Codec::ZstdNext => {
                let context = self.zstd.as_mut().ok_or(NotCompressed::NoBeginning)?;
                go_on(context, codec, compressed, room)
            }
        }
    }
}

/// Decompresses the next blocks of a frame of zstd, which are to become no more than `room`.
fn go_on(
    context: &mut DCtx<'_>,
    codec: Codec,
    compressed: &[u8],
    room: &mut [u8],
) -> Result<usize, NotCompressed> {
    let other = NotCompressed::Other(codec);
    let mut step = |output: &mut OutBuffer<'_, [u8]>, input: &mut InBuffer<'_>| {
        let before = (output.pos(), input.pos());
        let next = context.decompress_stream(output, input).map_err(|code| {
            tracing::debug!("zstd: {}", get_error_name(code));
            other
        })?;
        if next == 0 { Err(NotCompressed::Ended) } else { Ok(before != (output.pos(), input.pos())) }
    };
    let mut output = OutBuffer::around(room);
    let mut input = InBuffer::around(compressed);
    while input.pos() < compressed.len() {
        if !step(&mut output, &mut input)? {
            return Err(other);
        }
    }
    let len = output.pos();
    // What there was no room for would come now.
    if step(&mut OutBuffer::around(&mut [0][..]), &mut InBuffer::around(&[]))? { Err(other) } else { Ok(len) }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
