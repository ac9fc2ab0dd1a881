use std::io::{Write, pipe};
use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn painted(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn start(input: impl Into<OwnedFd>) -> Arc<Stream> {
    Stream::start(Input::Open(input.into()), 1).unwrap().pop().unwrap()
}

/// A stream, and the end that it is fed from.
fn fed() -> (Arc<Stream>, io::PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    (start(reader), writer)
}

#[test]
fn what_ends_within_a_chunk_is_short_and_what_has_a_byte_more_is_long() {
    for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1] {
        let (stream, mut writer) = fed();
        let content = painted(len);
        writer.write_all(&content).unwrap();
        if len <= CHUNK_BYTES {
            // Not before it has ended: a byte may follow.
            assert!(matches!(stream.known(), Start::Unknown), "{len} bytes");
        }
        drop(writer);
        wait_until("it has ended", || stream.reached().end.is_some());
        match stream.known() {
            Start::Short(bytes) => assert!(*bytes == *content, "{len} bytes"),
            Start::Long => assert!(len > CHUNK_BYTES, "{len} bytes"),
            _ => panic!("{len} bytes are neither short nor long"),
        }
    }
}

#[test]
fn it_is_long_as_soon_as_there_is_a_byte_behind_the_first_chunk() {
    let (stream, mut writer) = fed();
    writer.write_all(&painted(CHUNK_BYTES + 1)).unwrap();
    wait_until("it is long", || matches!(stream.known(), Start::Long));
    assert!(stream.reached().end.is_none());
}

#[test]
fn no_more_is_read_than_the_window_holds_and_each_release_lets_one_in() {
    let (stream, mut writer) = fed();
    let window = STREAM_WINDOW_CHUNKS as u64;
    let content = painted((STREAM_WINDOW_CHUNKS + 20) * CHUNK_BYTES + 5);
    let all = content.clone();
    let writing = std::thread::spawn(move || writer.write_all(&all).unwrap());
    wait_until("the window is full", || stream.reached().chunks == window);
    // Backwards and forwards: connections confirm in any order.
    for (before, index) in (0..10).rev().chain(10..21).enumerate() {
        let chunk = stream.chunk(index).unwrap();
        let expected = content.chunks(CHUNK_BYTES).nth(index as usize).unwrap();
        assert!(chunk.bytes() == expected, "chunk {index}");
        drop(chunk);
        stream.release(index);
        assert!(stream.chunk(index).is_none());
        wait_until("another one is read", || stream.reached().chunks == window + 1 + before as u64);
    }
    writing.join().unwrap();
    wait_until("it has ended", || stream.reached().end.is_some());
    let reached = stream.reached();
    assert!(matches!(reached.end, Some(Ok(bytes)) if bytes == content.len() as u64));
    let last = stream.chunk(reached.chunks - 1).unwrap();
    assert!(last.bytes() == content.chunks(CHUNK_BYTES).last().unwrap());
}

#[test]
fn what_cannot_be_read_is_told_as_the_standard_input() {
    let folder = std::fs::File::open(std::env::temp_dir()).unwrap();
    let stream = start(folder);
    wait_until("it has failed", || stream.reached().end.is_some());
    let Start::Failed(error) = stream.known() else { panic!("a folder was read") };
    assert!(error.to_string().starts_with("standard input: cannot read it: "), "{error}");
}

#[test]
fn whoever_is_attached_hears_of_what_comes() {
    let (stream, mut writer) = fed();
    let (told, heard) = crossbeam_channel::unbounded();
    stream.attach(move || told.send(()).unwrap_or_default());
    writer.write_all(&painted(CHUNK_BYTES)).unwrap();
    heard.recv_timeout(PATIENCE).unwrap();
    drop(writer);
    wait_until("it has ended", || heard.try_recv().is_ok() && stream.reached().end.is_some());
}
