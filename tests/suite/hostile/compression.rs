//! A sender that lies in what it compresses: whatever it claims, the receiver fills no more than the chunk, ends the session or
//! the connection, and stores nothing of it.

use std::io::Write;
use std::thread;

use crate::common::hostile::{chunk, file};
use crate::common::peer::{HandSender, chunk_frame, compressed_frame, hello, identity};
use crate::common::*;
use lanx::content::compress::{COMPRESSED_ROOM_BYTES, Codec, Codecs, Compressor, Method};
use lanx::content::entry::{Cause, Failure};
use lanx::limits::FORGED_IN_A_ROW_MAX;
use lanx::wire::frame::{HASH_BYTES, Header, Kind as FrameKind};
use lanx::wire::message::{Hello, ReceiverMessage, SenderMessage as Say};
use lanx::wire::options::Options;
use lanx::wire::seal::Sealer;

/// Of two chunks and a bit.
const LARGE: u64 = 0;
const LARGE_BYTES: u64 = 2 * CHUNK as u64 + 1000;
/// Of one.
const SMALL: u64 = 1;
const SMALL_BYTES: u64 = 10_000;

/// A sender that may use these codecs, with both files under way.
fn sender(scene: &Scene, receiver: &Receiver, codecs: Codecs, large: &str) -> HandSender {
    let mut sender = HandSender::connect(None, &identity(&scene.path("config")), receiver.addr).unwrap();
    let Say::Hello(hello) = hello(4, None) else { unreachable!() };
    let options = Options { codecs, ..Options::default() };
    sender.talk.say(&Say::Hello(Hello { options, ..hello })).unwrap();
    let ReceiverMessage::Welcome { options, .. } = sender.hear().unwrap() else { panic!("not let in") };
    assert_eq!(options.codecs, codecs, "what was offered is granted");
    sender.offer(LARGE, large, LARGE_BYTES);
    sender.offer(SMALL, "small", SMALL_BYTES);
    sender
}

fn compressed(method: Method, content: &[u8]) -> Vec<u8> {
    let mut room = vec![0; COMPRESSED_ROOM_BYTES];
    let (_, len) = Compressor::default().compress(method, content, &mut room).unwrap();
    room[..len].to_vec()
}

/// A header and payload of one lie.
type Lie = (&'static str, Header, Vec<u8>, &'static str);

fn of_chunk(codec: Codec, index: u64) -> Header {
    Header {
        kind: FrameKind::Chunk,
        file: file(LARGE),
        chunk: chunk(index),
        content_bytes: 0,
        codec: Some(codec),
    }
}

fn of_whole(codec: Codec) -> Header {
    Header {
        kind: FrameKind::Whole,
        file: file(SMALL),
        chunk: chunk(0),
        content_bytes: 0,
        codec: Some(codec),
    }
}

/// Sends each over a session of its own, and demands that it ends with these words.
fn punished(codecs: Codecs, lies: &[Lie]) {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let lie = |(what, header, payload, words): &Lie| {
        let mut sender = sender(&scene, &receiver, codecs, what);
        let (mut sealer, mut stream) = sender.open_data(0);
        let _ = stream.write_all(&compressed_frame(&mut sealer, *header, payload));
        let (_, reason) = sender.dismissal();
        assert!(reason.contains("broke the protocol") && reason.contains(words), "{what}: {reason}");
        receiver.wait_for_stderr(words);
    };
    // At once: each waits until the receiver has said goodbye.
    thread::scope(|scope| {
        for each in lies {
            scope.spawn(|| lie(each));
        }
    });
    let names: Vec<_> =
        listing(&scene.dst).into_iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")).collect();
    assert!(names.is_empty(), "{names:?} came of it");
    let honest = make(&scene.src, "honest", 5 * CHUNK);
    scene.send(&[&honest], receiver.addr).expect_success();
    assert_arrived(&[&honest], &scene.dst);
}

#[test]
fn lengths_that_are_wrong_end_the_session() {
    let zeros = |len: usize| vec![0; len];
    for (codec, method) in [(Codec::Lz4, Method::Lz4), (Codec::Zstd, Method::Zstd(1))] {
        let packed = |len: usize| compressed(method, &zeros(len));
        let other: &'static str = format!("are not {codec:?}, or become more than a chunk").leak();
        let whole = |len: usize| [zeros(HASH_BYTES), packed(len)].concat();
        punished(
            Codecs::ALL,
            &[
                (
                    "fewer in a chunk",
                    of_chunk(codec, 0),
                    packed(CHUNK - 1),
                    "262143 bytes where file 0 has 262144",
                ),
                ("fewer in the last", of_chunk(codec, 2), packed(999), "999 bytes where file 0 has 1000"),
                ("more in the last", of_chunk(codec, 2), packed(1001), "1001 bytes where file 0 has 1000"),
                ("noise", of_chunk(codec, 1), noise(1, 5000), other),
                (
                    "nothing",
                    of_chunk(codec, 1),
                    Vec::new(),
                    if codec == Codec::Zstd { "0 bytes where file 0 has 262144" } else { other },
                ),
                ("a whole of more", of_whole(codec), whole(10_001), "10001 bytes where file 1 has 10000"),
                ("a whole of fewer", of_whole(codec), whole(9_999), "9999 bytes where file 1 has 10000"),
                ("no such chunk", of_chunk(codec, 3), packed(CHUNK), "chunk 3 of file 0"),
            ],
        );
    }
}

#[test]
fn bombs_and_windows_end_the_session() {
    // 16 MiB of zeros in less than a chunk: no more than a chunk is ever filled.
    let bomb = zstd::bulk::compress(&vec![0; 16 << 20], 19).unwrap();
    // A frame with a window of its own (RFC 8878, section 3.1.1.1): one step more than two chunks, and the largest there is.
    let window = |byte: u8| [&0xFD2F_B528_u32.to_le_bytes()[..], &[0, byte, 1, 0, 0]].concat();
    // 255 more for each byte: in lz4 some 60 MiB from a chunk.
    let lz4 = [&[0x1f, 0, 1, 0][..], &[255; 250_000], &[0]].concat();
    let two = [compressed(Method::Zstd(1), &[0; CHUNK]), compressed(Method::Zstd(1), &[0; 600])].concat();
    let ended = zstd::bulk::compress(&vec![0; CHUNK], 1).unwrap();
    let (zstd, more) = (of_chunk(Codec::Zstd, 0), "are not Zstd, or become more than a chunk");
    punished(
        Codecs::ALL,
        &[
            ("a bomb", zstd, bomb.clone(), more),
            ("a bomb in lz4", of_chunk(Codec::Lz4, 0), lz4, "are not Lz4, or become more than a chunk"),
            ("a bomb in a whole", of_whole(Codec::Zstd), [vec![0; HASH_BYTES], bomb].concat(), more),
            ("a window", zstd, window(9 << 3 | 1), more),
            ("the largest", zstd, window(255), more),
            ("two frames", zstd, two, more),
            ("one that ends", zstd, ended, "end a frame of zstd"),
            (
                "one that never began",
                of_chunk(Codec::ZstdNext, 0),
                compressed(Method::Zstd(1), &[0; CHUNK]),
                "did not begin",
            ),
        ],
    );
}

/// What a file that has failed leaves behind is what the next one's chunks build on.
#[test]
fn chunks_behind_those_of_a_file_that_failed_still_become_what_they_were() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = sender(&scene, &receiver, Codecs::ALL, "large");
    let (mut sealer, mut stream) = sender.open_data(0);
    let mut compressor = Compressor::default();
    let mut frame = |header: fn(Codec) -> Header, content: &[u8], hash: &[u8]| {
        let mut room = vec![0; COMPRESSED_ROOM_BYTES];
        let (codec, len) = compressor.compress(Method::Zstd(3), content, &mut room).unwrap();
        compressed_frame(&mut sealer, header(codec), &[hash, &room[..len]].concat())
    };
    let lines = (0..).flat_map(|n| format!("line {n}\n").into_bytes());
    let (first, small) = (vec![b'a'; CHUNK], lines.take(SMALL_BYTES as usize).collect::<Vec<u8>>());
    let hash = blake3::hash(&small);
    let failure = Failure::new(Cause::Source, "it cannot be read any more");
    sender.talk.say(&Say::Withdraw { file: file(LARGE), failure }).unwrap();
    let failed = |message: &ReceiverMessage| matches!(message, ReceiverMessage::Outcome { .. });
    sender.hear_until(failed);
    stream.write_all(&frame(|codec| of_chunk(codec, 0), &first, &[])).unwrap();
    stream.write_all(&frame(of_whole, &small, hash.as_bytes())).unwrap();
    sender.hear_until(failed);
    assert!(read(&scene.dst.join("small")) == small);
}

#[test]
fn a_codec_that_was_not_granted_ends_the_session() {
    let packed = compressed(Method::Zstd(1), &[0; CHUNK]);
    let whole = [vec![0; HASH_BYTES], packed.clone()].concat();
    let words = "a chunk in a codec where a plain one, as that was not granted";
    let lz4_only = Codecs::from_bits(1);
    punished(lz4_only, &[("not zstd", of_chunk(Codec::Zstd, 0), packed.clone(), words)]);
    let none = [
        ("a chunk", of_chunk(Codec::Zstd, 0), packed, words),
        ("a whole", of_whole(Codec::Zstd), whole, words),
    ];
    punished(Codecs::NONE, &none);
}

/// Nobody vouches for a header that cannot be: it counts as one that somebody on the way has made.
#[test]
fn a_codec_that_nobody_knows_ends_the_connection_and_in_the_end_the_session() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = sender(&scene, &receiver, Codecs::ALL, "large");
    let with_codec = |sealer: &mut Sealer, codec: u8| {
        let mut frame = chunk_frame(sealer, LARGE, 0, &[1; CHUNK]);
        frame[1] = codec;
        frame
    };
    for number in 0..FORGED_IN_A_ROW_MAX - 1 {
        let (mut sealer, mut stream) = sender.open_data(number);
        let _ = stream.write_all(&with_codec(&mut sealer, 5 + number as u8));
        let ended = ReceiverMessage::HungUp { connection: number, frames: 0 };
        sender.hear_until(|message| *message == ended);
    }
    let (mut sealer, mut stream) = sender.open_data(FORGED_IN_A_ROW_MAX);
    let _ = stream.write_all(&with_codec(&mut sealer, 255));
    let (_, reason) = sender.dismissal();
    assert!(reason.contains("tampered with"), "{reason}");
}

/// What a sender that knows the option and one that does not hear.
#[test]
fn what_is_granted_is_what_was_offered_and_the_receiver_takes() {
    let scene = Scene::new();
    let (taking, refusing) = (scene.receiver(), scene.receiver_with(&["--compress", "no"]));
    let id = identity(&scene.path("config"));
    let granted = |receiver: &Receiver, codecs: Codecs| {
        let mut sender = HandSender::connect(None, &id, receiver.addr).unwrap();
        let Say::Hello(hello) = hello(1, None) else { unreachable!() };
        let options = Options { codecs, ..Options::default() };
        sender.talk.say(&Say::Hello(Hello { options, ..hello })).unwrap();
        match sender.hear().unwrap() {
            ReceiverMessage::Welcome { options, .. } => options.codecs,
            other => panic!("{other:?}"),
        }
    };
    for codecs in [Codecs::NONE, Codecs::from_bits(1), Codecs::from_bits(4), Codecs::ALL] {
        assert_eq!((granted(&taking, codecs), granted(&refusing, codecs)), (codecs, Codecs::NONE));
    }
}
