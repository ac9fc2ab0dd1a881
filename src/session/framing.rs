//! Sealed frames on a byte stream.

use std::io::{self, BufWriter, IoSlice, Read, Write};
use std::ops::Range;

use super::End;
use super::pages::Pages;
use crate::limits::{CHUNK_BYTES, CONNECTION_BUFFER_BYTES, DIRECT_BLOCK_BYTES};
use crate::protocol::frame::{HASH_BYTES, HEADER_BYTES, Header};
use crate::protocol::seal::{Opener, SealError, Sealer, TAG_BYTES};

/// Where the content begins in a [`ChunkBuffer`]: at a page, as direct I/O asks.
const CONTENT_AT: usize = DIRECT_BLOCK_BYTES;

/// Where the hash before it begins.
const HASH_AT: usize = CONTENT_AT - HASH_BYTES;

/// What one worker reads, hashes, seals and writes in: room for a chunk, behind room for the hash that leads a whole file.
pub struct ChunkBuffer {
    bytes: Pages,
}

impl ChunkBuffer {
    #[allow(clippy::new_without_default, reason = "allocating a quarter of a MiB is not a default")]
    pub fn new() -> ChunkBuffer {
        ChunkBuffer { bytes: Pages::new(CONTENT_AT + CHUNK_BYTES) }
    }

    /// Room for `len` bytes of file content, at most a chunk. It begins at a page.
    pub fn content(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[CONTENT_AT..CONTENT_AT + len]
    }

    /// `hash` and behind it the content.
    pub fn whole(&mut self, len: usize, hash: &[u8; HASH_BYTES]) -> &mut [u8] {
        self.bytes[HASH_AT..CONTENT_AT].copy_from_slice(hash);
        &mut self.bytes[HASH_AT..CONTENT_AT + len]
    }

    /// The hash before the content.
    pub fn hash(&self) -> [u8; HASH_BYTES] {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&self.bytes[HASH_AT..CONTENT_AT]);
        hash
    }
}

/// Seals and writes frames. A chunk passes straight through the `BufWriter`, which is smaller than it; small frames
/// gather there.
pub struct FrameWriter<W: Write> {
    out: BufWriter<W>,
    sealer: Sealer,
}

impl<W: Write> FrameWriter<W> {
    pub fn new(stream: W, sealer: Sealer) -> Self {
        FrameWriter { out: BufWriter::with_capacity(CONNECTION_BUFFER_BYTES, stream), sealer }
    }

    /// Seals `payload` in place and writes the frame with one vectored write, where the kernel takes it whole. Calls
    /// `sealed` in between.
    ///
    /// # Errors
    /// [`End::Lost`] where the stream fails, [`End::Exhausted`] where the key is used up.
    pub fn write(&mut self, header: &Header, payload: &mut [u8], sealed: impl FnOnce()) -> Result<(), End> {
        let header = header.encode();
        let tag = self.sealer.seal(&header, payload).map_err(|error| End::Exhausted(error.to_string()))?;
        sealed();
        self.write_all(&mut [IoSlice::new(&header), IoSlice::new(payload), IoSlice::new(&tag)])
            .map_err(|e| lost(&e))
    }

    fn write_all(&mut self, mut rest: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.out.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut rest, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hands the kernel what has gathered. Called when there is nothing to write for now.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
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

    /// The next header, or `None` where the stream ends between two frames. It is only a claim until its payload was
    /// opened: good for finding out how much to read, and for nothing else.
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

    /// Fills `payload` with the payload of the frame whose header was read last, and opens it in place. Calls `received` in
    /// between.
    ///
    /// # Errors
    /// [`End::Lost`] for a stream that fails or ends before, [`End::Forged`] for a frame that the sender did not seal, or not
    /// as the next one here.
    pub fn payload(&mut self, payload: &mut [u8], received: impl FnOnce()) -> Result<(), End> {
        let mut tag = [0; TAG_BYTES];
        self.input.read_exact(payload).map_err(|e| lost(&e))?;
        self.input.read_exact(&mut tag).map_err(|e| lost(&e))?;
        received();
        self.opener.open(&self.header, payload, &tag).map_err(|error| match error {
            SealError::KeyUsedUp | SealError::Crypto => End::Exhausted(error.to_string()),
            error => End::Forged(error),
        })
    }
}

/// What `BufReader` is, with a buffer that the system gets back (see [`Pages`]). What is at least as long as the buffer passes
/// straight through.
struct Buffered<R> {
    stream: R,
    buffer: Pages,
    /// What was read and not asked for yet.
    unread: Range<usize>,
}

impl<R: Read> Buffered<R> {
    fn new(stream: R) -> Self {
        Buffered { stream, buffer: Pages::new(CONNECTION_BUFFER_BYTES), unread: 0..0 }
    }
}

impl<R: Read> Read for Buffered<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            if to.len() >= self.buffer.len() {
                return self.stream.read(to);
            }
            self.unread = 0..self.stream.read(&mut self.buffer)?;
        }
        let from = &self.buffer[self.unread.clone()];
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        self.unread.start += n;
        Ok(n)
    }
}

pub(super) fn lost(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Lost("a data connection ended in the middle of a frame".into()),
        _ => End::Lost(format!("a data connection failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkIndex, FileId};
    use crate::protocol::frame::Kind;
    use crate::protocol::seal::{Cipher, SessionSecret};

    /// Counts system calls, and takes only a part of each write as a socket may.
    #[derive(Default)]
    struct Stream {
        bytes: Vec<u8>,
        calls: usize,
        most_per_call: usize,
    }

    impl Write for &mut Stream {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(buf)])
        }
        fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).take(self.most_per_call).collect();
            self.bytes.extend(&all);
            Ok(all.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn chunk(content_bytes: usize) -> Header {
        Header { kind: Kind::Chunk, file: FileId(1), chunk: ChunkIndex(2), content_bytes }
    }

    /// The two ends of data connection `number`, past their hello.
    fn keys(number: u32) -> (Sealer, Opener) {
        let secret = SessionSecret::new([7; 32]);
        let keys = || secret.data_keys(Cipher::preferred(), &[9; 16], number).unwrap();
        let (mut sealer, _) = keys().for_sender();
        let (_, mut opener) = keys().for_receiver();
        opener.check_proof(b"hello", &sealer.prove(b"hello").unwrap()).unwrap();
        (sealer, opener)
    }

    /// One frame with this payload as it travels, the first of connection `number`.
    fn sealed(payload: &[u8], number: u32) -> Vec<u8> {
        let mut stream = Stream { most_per_call: usize::MAX, ..Stream::default() };
        let mut writer = FrameWriter::new(&mut stream, keys(number).0);
        writer.write(&chunk(payload.len()), &mut payload.to_vec(), || ()).unwrap();
        writer.flush().unwrap();
        drop(writer);
        stream.bytes
    }

    fn opened(bytes: &[u8], number: u32) -> Result<Vec<u8>, End> {
        let mut reader = FrameReader::new(bytes, keys(number).1);
        let header = reader.header()?.unwrap();
        let mut payload = vec![0; header.content_bytes];
        reader.payload(&mut payload, || ()).map(|()| payload)
    }

    #[test]
    fn content_begins_at_a_page_right_behind_the_hash() {
        let mut buffer = ChunkBuffer::new();
        assert!(buffer.content(CHUNK_BYTES).as_ptr().addr().is_multiple_of(DIRECT_BLOCK_BYTES));
        buffer.content(3).copy_from_slice(b"abc");
        assert_eq!(buffer.whole(3, &[7; HASH_BYTES]), [&[7; HASH_BYTES], &b"abc"[..]].concat());
        assert_eq!(buffer.hash(), [7; HASH_BYTES]);
    }

    #[test]
    fn frames_come_back_whole_however_the_stream_cuts_them() {
        for most_per_call in [1000, 65_536, usize::MAX] {
            let (sealer, opener) = keys(0);
            let mut stream = Stream { most_per_call, ..Stream::default() };
            let mut writer = FrameWriter::new(&mut stream, sealer);
            let large: Vec<u8> = (0..CHUNK_BYTES).map(|i| (i % 251) as u8).collect();
            for payload in [&large[..], b"abc", b""] {
                writer.write(&chunk(payload.len()), &mut payload.to_vec(), || ()).unwrap();
            }
            writer.flush().unwrap();
            drop(writer);
            let mut reader = FrameReader::new(&stream.bytes[..], opener);
            for expected in [&large[..], b"abc", b""] {
                let header = reader.header().unwrap().unwrap();
                let mut payload = vec![0; header.content_bytes];
                reader.payload(&mut payload, || ()).unwrap();
                assert!(payload == expected);
            }
            assert_eq!(reader.header(), Ok(None));
        }
    }

    #[test]
    fn small_frames_share_one_system_call() {
        let mut stream = Stream { most_per_call: usize::MAX, ..Stream::default() };
        let mut writer = FrameWriter::new(&mut stream, keys(0).0);
        for _ in 0..100 {
            writer.write(&chunk(3), &mut [0; 3], || ()).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(stream.calls, 1);
    }

    #[test]
    fn an_end_inside_a_frame_is_a_loss_and_not_a_forgery() {
        let bytes = sealed(b"abcd", 0);
        for cut in 1..bytes.len() {
            assert!(matches!(opened(&bytes[..cut], 0), Err(End::Lost(_))), "cut at {cut}");
        }
        assert_eq!(opened(&bytes, 0), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_a_forgery_or_no_frame() {
        let bytes = sealed(b"abcd", 0);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                // A length may also promise more than there is.
                let result = opened(&bytes, 0);
                assert!(matches!(result, Err(End::Forged(_) | End::Lost(_))), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_connection_is_a_forgery() {
        assert!(matches!(opened(&sealed(b"abcd", 0), 1), Err(End::Forged(_))));
    }

    #[test]
    fn a_frame_twice_or_out_of_order_is_a_forgery() {
        let (sealer, _) = keys(0);
        let mut stream = Stream { most_per_call: usize::MAX, ..Stream::default() };
        let mut writer = FrameWriter::new(&mut stream, sealer);
        writer.write(&chunk(2), &mut b"ab".to_vec(), || ()).unwrap();
        writer.write(&chunk(2), &mut b"cd".to_vec(), || ()).unwrap();
        writer.flush().unwrap();
        drop(writer);
        let (first, second) = stream.bytes.split_at(stream.bytes.len() / 2);
        assert!(matches!(opened(second, 0), Err(End::Forged(_))));
        let twice = [first, first].concat();
        let mut reader = FrameReader::new(&twice[..], keys(0).1);
        let mut payload = [0; 2];
        reader.header().unwrap();
        reader.payload(&mut payload, || ()).unwrap();
        reader.header().unwrap();
        assert!(matches!(reader.payload(&mut payload, || ()), Err(End::Forged(_))));
    }
}
