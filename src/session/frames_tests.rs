use super::*;
use crate::content::chunk::{ChunkIndex, FileId};
use crate::wire::frame::Kind;
use crate::wire::seal::{Cipher, SessionSecret};

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
    Header { kind: Kind::Chunk, file: FileId(1), chunk: ChunkIndex(2), content_bytes, codec: None }
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

/// The same either way.
fn opened(bytes: &[u8], number: u32) -> Result<Vec<u8>, End> {
    let mut reader = FrameReader::new(bytes, keys(number).1);
    let mut other = FrameReader::new(bytes, keys(number).1);
    let header = reader.header()?.unwrap();
    other.header()?;
    let mut payload = vec![0; header.content_bytes];
    let result = reader.payload(&mut payload, || ()).map(|()| payload);
    if header.content_bytes < STRAIGHT_BYTES {
        assert_eq!(other.payload_in_place(header.content_bytes, || ()).map(|bytes| bytes.to_vec()), result);
    }
    result
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
fn frames_stay_where_they_are_read_to_however_many_there_are() {
    let (sealer, opener) = keys(0);
    let mut stream = Stream { most_per_call: usize::MAX, ..Stream::default() };
    let mut writer = FrameWriter::new(&mut stream, sealer);
    // In between some that go past the buffer.
    let lengths = (0..100).map(|n| if n % 10 == 9 { CHUNK_BYTES } else { (n * 997) % STRAIGHT_BYTES });
    for len in lengths.clone() {
        writer.write(&chunk(len), &mut vec![len as u8; len], || ()).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let mut reader = FrameReader::new(&stream.bytes[..], opener);
    for len in lengths {
        let header = reader.header().unwrap().unwrap();
        assert_eq!(header.content_bytes, len);
        if len < STRAIGHT_BYTES {
            assert!(reader.payload_in_place(len, || ()).unwrap().iter().all(|byte| *byte == len as u8));
        } else {
            reader.payload(&mut vec![0; len], || ()).unwrap();
        }
    }
    assert_eq!(reader.header(), Ok(None));
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
