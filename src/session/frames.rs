//! Sealed frames on a byte stream.

use std::io;
use std::io::{BufWriter, IoSlice, Read, Write};
use std::ops::{Deref, DerefMut, Range};

use memmap2::MmapMut;

use super::ending::End;
use crate::limits::{CHUNK_BYTES, CONNECTION_BUFFER_BYTES, DIRECT_BLOCK_BYTES, STRAIGHT_BYTES};
use crate::os::said::Said;
use crate::wire::frame::{HASH_BYTES, HEADER_BYTES, Header};
use crate::wire::seal::{Opener, SealError, Sealer, TAG_BYTES, Tag};

/// Where the content begins in a [`ChunkBuffer`]: at a page, as direct I/O asks.
const CONTENT_AT: usize = DIRECT_BLOCK_BYTES;

/// Where the hash before it begins.
const HASH_AT: usize = CONTENT_AT - HASH_BYTES;

/// What one worker reads, hashes, seals and writes in: room for a chunk, behind room for the hash that leads
/// a whole file.
pub struct ChunkBuffer {
    bytes: Pages,
}

impl ChunkBuffer {
    #[allow(clippy::new_without_default, reason = "allocating a quarter of a MiB is not a default")]
    pub fn new() -> ChunkBuffer {
        ChunkBuffer::with_room(CHUNK_BYTES)
    }

    /// The same for content of up to `len` bytes.
    pub fn with_room(len: usize) -> ChunkBuffer {
        ChunkBuffer { bytes: Pages::new(CONTENT_AT + len) }
    }

    /// Room for `len` bytes of file content, at most what it was made for. It begins at a page.
    pub fn content(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[CONTENT_AT..CONTENT_AT + len]
    }

    /// `hash` and behind it the content.
    pub fn whole(&mut self, len: usize, hash: &[u8; HASH_BYTES]) -> &mut [u8] {
        self.bytes[HASH_AT..CONTENT_AT].copy_from_slice(hash);
        &mut self.bytes[HASH_AT..CONTENT_AT + len]
    }

    /// The hash that is there, and behind it the content.
    pub fn as_whole(&self, len: usize) -> &[u8] {
        &self.bytes[HASH_AT..CONTENT_AT + len]
    }

    /// The hash before the content.
    pub fn hash(&self) -> [u8; HASH_BYTES] {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&self.bytes[HASH_AT..CONTENT_AT]);
        hash
    }
}

/// Seals and writes frames. Small ones gather in the `BufWriter`; a chunk goes past it.
pub struct FrameWriter<W: Write> {
    out: BufWriter<W>,
    sealer: Sealer,
}

impl<W: Write> FrameWriter<W> {
    pub fn new(stream: W, sealer: Sealer) -> Self {
        FrameWriter { out: BufWriter::with_capacity(CONNECTION_BUFFER_BYTES, stream), sealer }
    }

    /// Seals `payload` in place and writes the frame with one vectored write, where the kernel takes it
    /// whole. Calls `sealed` in between.
    ///
    /// # Errors
    /// [`End::Lost`] where the stream fails, [`End::Exhausted`] where the key is used up.
    pub fn write(&mut self, header: &Header, payload: &mut [u8], sealed: impl FnOnce()) -> Result<(), End> {
        let header = header.encode();
        let tag = self.sealer.seal(&header, payload).map_err(|error| End::Exhausted(error.to_string()))?;
        sealed();
        let frame = &mut [IoSlice::new(&header), IoSlice::new(payload), IoSlice::new(&tag)];
        let written = if payload.len() < STRAIGHT_BYTES {
            write_all(&mut self.out, frame)
        } else {
            self.write_straight(frame)
        };
        written.map_err(|e| lost(&e))
    }

    fn write_straight(&mut self, frame: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Not for every chunk: the stream hurries then.
        if !self.out.buffer().is_empty() {
            self.out.flush()?;
        }
        write_all(self.out.get_mut(), frame)
    }

    /// Has all that was written leave. Called when there is nothing to write for now.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_all(to: &mut impl Write, mut rest: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match to.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads and opens frames.
pub struct FrameReader<R: Read> {
    input: Buffered<R>,
    opener: Opener,
    /// The header of the frame whose payload is next, as it came: it is part of what was sealed.
    header: [u8; HEADER_BYTES],
}

impl<R: Read> FrameReader<R> {
    pub fn new(stream: R, opener: Opener) -> Self {
        FrameReader { input: Buffered::new(stream), opener, header: [0; HEADER_BYTES] }
    }

    /// What the frames come from.
    pub fn stream(&mut self) -> &mut R {
        &mut self.input.stream
    }

    /// The next header, or `None` where the stream ends between two frames. It is only a claim until its
    /// payload was opened: good for finding out how much to read, and for nothing else.
    ///
    /// # Errors
    /// [`End::Lost`] for a stream that fails or ends inside a header, [`End::Forged`] for a header that cannot be.
    pub fn header(&mut self) -> Result<Option<Header>, End> {
        let mut bytes = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(lost(&io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(&e)),
            }
        }
        self.header = bytes;
        // Nobody has vouched for it yet, so the sender is not to blame for one that cannot be.
        let header = Header::decode(&bytes).map_err(|error| {
            tracing::debug!("a frame header {error}");
            End::Forged(SealError::Forged)
        })?;
        Ok(Some(header))
    }

    /// Fills `payload` with the payload of the frame whose header was read last, and opens it in place. Calls
    /// `received` in between.
    ///
    /// # Errors
    /// [`End::Lost`] for a stream that fails or ends before, [`End::Forged`] for a frame that the sender did not seal, or not
    /// as the next one here.
    pub fn payload(&mut self, payload: &mut [u8], received: impl FnOnce()) -> Result<(), End> {
        let mut tag = [0; TAG_BYTES];
        self.input.read_payload(payload).map_err(|e| lost(&e))?;
        self.input.read_exact(&mut tag).map_err(|e| lost(&e))?;
        received();
        self.opener.open(&self.header, payload, &tag).map_err(not_opened)
    }

    /// The same for one of `len` bytes, below [`STRAIGHT_BYTES`], that stays where it was read to.
    ///
    /// # Errors
    /// As [`FrameReader::payload`].
    pub fn payload_in_place(&mut self, len: usize, received: impl FnOnce()) -> Result<&mut [u8], End> {
        let (payload, tag) = self.input.next(len + TAG_BYTES).map_err(|e| lost(&e))?.split_at_mut(len);
        received();
        let tag = Tag::try_from(&*tag).map_err(|_| lost(&io::ErrorKind::UnexpectedEof.into()))?;
        self.opener.open(&self.header, payload, &tag).map_err(not_opened)?;
        Ok(payload)
    }
}

fn not_opened(error: SealError) -> End {
    match error {
        SealError::KeyUsedUp | SealError::Crypto => End::Exhausted(error.to_string()),
        error => End::Forged(error),
    }
}

/// What `BufReader` is, with a buffer that the system gets back (see [`Pages`]). Long payloads go past it;
/// and behind one it takes no more than stands before the next, so that this can go past it as well.
struct Buffered<R> {
    stream: R,
    buffer: Pages,
    /// What was read and not asked for yet.
    unread: Range<usize>,
    /// How much to read at once.
    ahead: usize,
}

impl<R: Read> Buffered<R> {
    fn new(stream: R) -> Self {
        let buffer = Pages::new(CONNECTION_BUFFER_BYTES);
        Buffered { stream, ahead: buffer.len(), buffer, unread: 0..0 }
    }

    fn read_payload(&mut self, payload: &mut [u8]) -> io::Result<()> {
        if payload.len() < STRAIGHT_BYTES {
            return self.read_exact(payload);
        }
        let (begun, rest) = payload.split_at_mut(self.unread.len().min(payload.len()));
        self.take(begun);
        self.ahead = TAG_BYTES + HEADER_BYTES;
        self.stream.read_exact(rest)
    }

    /// The next `len` bytes, no more than the buffer has room for, where they are.
    fn next(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.unread.len() < len {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        while self.unread.len() < len {
            match self.stream.read(&mut self.buffer[self.unread.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.unread.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let start = self.unread.start;
        self.unread.start += len;
        Ok(&mut self.buffer[start..start + len])
    }

    /// Hands out what was read, as far as there is room for it.
    fn take(&mut self, to: &mut [u8]) -> usize {
        let from = &self.buffer[self.unread.clone()];
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        self.unread.start += n;
        n
    }
}

impl<R: Read> Read for Buffered<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            self.unread = 0..self.stream.read(&mut self.buffer[..self.ahead])?;
            self.ahead = self.buffer.len();
        }
        Ok(self.take(to))
    }
}

pub(super) fn lost(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Lost("a data connection ended in the middle of a frame".into()),
        _ => End::Lost(format!("a data connection failed: {}", Said(error))),
    }
}

// Buffers that the system gets back whole.

/// So many bytes, all zero at first. They are pages of their own, beside the allocator: what the buffers of a
/// hundred connections leave behind in its arenas would otherwise stay there.
pub(super) struct Pages(Memory);

enum Memory {
    Mapped(MmapMut),
    /// Where the system has no mapping left.
    Allocated(Vec<u8>),
}

impl Pages {
    pub fn new(len: usize) -> Pages {
        Pages(MmapMut::map_anon(len).map_or_else(|_| Memory::Allocated(vec![0; len]), Memory::Mapped))
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Mapped(pages) => pages,
            Memory::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Mapped(pages) => pages,
            Memory::Allocated(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
