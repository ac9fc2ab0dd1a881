//! Frames on a byte stream.

use std::io::{self, BufReader, BufWriter, IoSlice, Read, Write};

use super::{End, PeerMisbehaved};
use crate::limits::CONNECTION_BUFFER_BYTES;
use crate::protocol::frame::{HEADER_BYTES, Header};

/// Writes frames. A chunk passes straight through the `BufWriter`, which is smaller than it; small frames gather there.
pub struct FrameWriter<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> FrameWriter<W> {
    pub fn new(stream: W) -> Self {
        FrameWriter { out: BufWriter::with_capacity(CONNECTION_BUFFER_BYTES, stream) }
    }

    /// Writes one frame: the header, and the payload in the given pieces, with one vectored write where the
    /// kernel takes it whole.
    pub fn write(&mut self, header: &Header, first: &[u8], second: &[u8]) -> io::Result<()> {
        let header = header.encode();
        let mut slices = [IoSlice::new(&header), IoSlice::new(first), IoSlice::new(second)];
        let mut rest = &mut slices[..];
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

/// Reads frames.
pub struct FrameReader<R: Read> {
    input: BufReader<R>,
}

impl<R: Read> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        FrameReader { input: BufReader::with_capacity(CONNECTION_BUFFER_BYTES, stream) }
    }

    /// The next header, or `None` where the stream ends between two frames.
    ///
    /// # Errors
    /// [`End::Lost`] for a stream that fails or ends inside a header, [`End::Misbehaved`] for a header that cannot be.
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
        let header = Header::decode(&bytes)
            .map_err(|error| PeerMisbehaved::Malformed { what: "a frame header", error })?;
        Ok(Some(header))
    }

    /// Fills `payload` with the bytes that follow.
    ///
    /// # Errors
    /// [`End::Lost`] for a stream that fails or ends before.
    pub fn payload(&mut self, payload: &mut [u8]) -> Result<(), End> {
        self.input.read_exact(payload).map_err(|e| lost(&e))
    }
}

fn lost(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Lost("a data connection ended in the middle of a frame".into()),
        _ => End::Lost(format!("a data connection failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkIndex, FileId};
    use crate::limits::CHUNK_BYTES;
    use crate::protocol::frame::Kind;

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

    #[test]
    fn frames_come_back_whole_however_the_stream_cuts_them() {
        for most_per_call in [1000, 65_536, usize::MAX] {
            let mut stream = Stream { most_per_call, ..Stream::default() };
            let mut writer = FrameWriter::new(&mut stream);
            let large: Vec<u8> = (0..CHUNK_BYTES).map(|i| (i % 251) as u8).collect();
            writer.write(&chunk(CHUNK_BYTES), &large[..10], &large[10..]).unwrap();
            writer.write(&chunk(3), b"abc", b"").unwrap();
            writer.write(&chunk(0), b"", b"").unwrap();
            writer.flush().unwrap();
            drop(writer);
            let mut reader = FrameReader::new(&stream.bytes[..]);
            for expected in [&large[..], b"abc", b""] {
                let header = reader.header().unwrap().unwrap();
                let mut payload = vec![0; header.content_bytes];
                reader.payload(&mut payload).unwrap();
                assert!(payload == expected);
            }
            assert_eq!(reader.header(), Ok(None));
        }
    }

    #[test]
    fn an_end_inside_a_frame_is_a_loss() {
        let mut bytes = chunk(4).encode().to_vec();
        bytes.extend(b"abc");
        for cut in 1..HEADER_BYTES {
            assert!(matches!(FrameReader::new(&bytes[..cut]).header(), Err(End::Lost(_))), "cut at {cut}");
        }
        let mut reader = FrameReader::new(&bytes[..]);
        reader.header().unwrap();
        assert!(matches!(reader.payload(&mut [0; 4]), Err(End::Lost(_))));
    }
}
