//! A sender that was let in and then breaks every rule: it is told which, nothing that it says becomes a wrong file or a
//! file outside of DIR, and the receiver goes on serving others in bounded memory.

use std::ffi::OsString;
use std::io::Write;

use crate::common::hostile::{bytes_of, chunk, file, intruder, offer};
use crate::common::peer::{HandSender, chunk_frame, hello, identity, whole_frame};
use crate::common::*;
use lanx::content::entry::{Cause, Failure, Outcome};
use lanx::limits::{FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX};
use lanx::wire::VERSION;
use lanx::wire::frame::{HASH_BYTES, HEADER_BYTES, Header, Kind as FrameKind};
use lanx::wire::message::{Hello, ReceiverMessage, SenderMessage as Say, Wishes};
use lanx::wire::options::Options;
use lanx::wire::seal::Cipher;

/// The file that is under way when the misdeed is done: of three chunks, none of which was sent.
const LARGE: u64 = 0;
/// And one of five bytes that waits for its frame.
const SMALL: u64 = 1;

const LARGE_BYTES: u64 = 3 * CHUNK as u64;

/// What is done wrong, how, and what the receiver says about it.
type Misdeed = (&'static str, fn(&mut HandSender), &'static str);

/// A sender with both files under way. The large one has a name of its own: what arrives of it stays in a part file.
fn with_files_under_way(scene: &Scene, receiver: &Receiver, large: &str) -> HandSender {
    let mut sender = intruder(scene, receiver);
    sender.offer(LARGE, large, LARGE_BYTES);
    sender.offer(SMALL, "small", 5);
    sender
}

/// Commits each misdeed against one receiver, and demands that each is answered with its words, there and here.
fn punished(misdeeds: &[Misdeed]) {
    let scene = Scene::new();
    let receiver = scene.receiver();
    for (what, commit, words) in misdeeds {
        eprintln!("{what}");
        let mut sender = with_files_under_way(&scene, &receiver, what);
        commit(&mut sender);
        let (_, reason) = sender.dismissal();
        assert!(reason.contains("broke the protocol") && reason.contains(words), "{what}: {reason}");
        drop(sender);
        receiver.wait_for_stderr(words);
    }
    let published = |name: &OsString| !name.as_encoded_bytes().starts_with(b".");
    let names: Vec<_> = listing(&scene.dst).into_iter().filter(published).collect();
    assert!(names.is_empty(), "{names:?} came of it");
    // It serves others, and what it holds is in nobody's way.
    let files = [make(&scene.src, "large", LARGE_BYTES as usize), make(&scene.src, "small", 5)];
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
}

/// Sends frames over data connection 0, which the receiver may end in the middle.
fn over_data(sender: &mut HandSender, frames: impl Fn(&mut lanx::wire::seal::Sealer) -> Vec<u8>) {
    let (mut sealer, mut stream) = sender.open_data(0);
    let _ = stream.write_all(&frames(&mut sealer));
    // Kept open: it is for the receiver to end it.
    std::mem::forget(stream);
}

#[test]
fn messages_in_the_wrong_state_end_the_session() {
    let hello = |sender: &mut HandSender| {
        let cipher = Cipher::preferred();
        let hello = Hello {
            connections: 1,
            cipher,
            prove: false,
            wishes: Wishes::default(),
            resumes: None,
            name: "again".into(),
            options: Options::default(),
        };
        sender.blurt(&[Say::Hello(hello)]);
    };
    punished(&[
        ("a second hello", hello, "a part of the greeting"),
        ("a code", |s| s.blurt(&[Say::Pake { message: [1; 33] }]), "a part of the greeting"),
        ("a proof", |s| s.blurt(&[Say::Proof { proof: [1; 32] }]), "a part of the greeting"),
        ("an end that miscounts", |s| s.blurt(&[Say::Finish { files: 7 }]), "an end of the offers"),
        (
            "a second end",
            |s| s.blurt(&[Say::Finish { files: 2 }, Say::Finish { files: 2 }]),
            "an end of the offers",
        ),
        ("an offer after the end", |s| s.blurt(&[Say::Finish { files: 2 }, offer(2, "x", 1)]), "an offer"),
    ]);
}

#[test]
fn offers_out_of_order_or_past_a_limit_end_the_session() {
    punished(&[
        ("a file left out", |s| s.blurt(&[offer(3, "x", 1)]), "an offer"),
        ("a file twice", |s| s.blurt(&[offer(1, "x", 1)]), "an offer"),
        ("the last file there can be", |s| s.blurt(&[offer(u64::MAX, "x", 1)]), "an offer"),
        (
            "too many files",
            |s| {
                let all: Vec<_> =
                    (2..FILES_IN_FLIGHT_MAX as u64 + 1).map(|n| offer(n, format!("f{n}"), 0)).collect();
                s.blurt(&all);
            },
            "limit of 4096 files at once",
        ),
        (
            "too many large files",
            |s| {
                let all: Vec<_> = (2..LARGE_FILES_IN_FLIGHT_MAX as u64 + 2)
                    .map(|n| offer(n, format!("f{n}"), LARGE_BYTES))
                    .collect();
                s.blurt(&all);
            },
            "limit of 16 large files at once",
        ),
    ]);
}

fn value(n: u64, at: u64) -> Say {
    Say::Value { file: file(n), chunk: chunk(at), value: [7; 32] }
}

#[test]
fn words_about_files_and_chunks_that_are_not_agreed_end_the_session() {
    punished(&[
        ("a value that nobody asked for", |s| s.blurt(&[value(LARGE, 1)]), "chunk 1 of file 0"),
        ("a value past the end", |s| s.blurt(&[value(LARGE, u64::MAX)]), "of file 0"),
        ("a value of a small file", |s| s.blurt(&[value(SMALL, 0)]), "file 1, which is not"),
        ("a value of an unknown file", |s| s.blurt(&[value(99, 0)]), "file 99"),
        (
            "hash of an unknown file",
            |s| s.blurt(&[Say::Root { file: file(97), hash: [0; 32].into() }]),
            "file 97",
        ),
        (
            "two hashes",
            |s| {
                let root = Say::Root { file: file(LARGE), hash: [0; 32].into() };
                s.blurt(&[root.clone(), root]);
            },
            "a second hash",
        ),
        (
            "withdraw an unknown file",
            |s| s.blurt(&[Say::Withdraw { file: file(96), failure: Failure::new(Cause::Source, "x") }]),
            "file 96",
        ),
    ]);
}

#[test]
fn bytes_that_are_no_message_end_the_session() {
    punished(&[
        ("an unknown tag", |s| drop(s.talk.say_bytes(&[1, 0, 0, 0, 200])), "unknown tag 200"),
        ("a receiver's message", |s| drop(s.talk.say_bytes(&[1, 0, 0, 0, 24])), "unknown tag 24"),
        ("no message at all", |s| drop(s.talk.say_bytes(&[0; 4])), "ends in the middle"),
        ("bytes behind a message", |s| drop(s.talk.say_bytes(&[2, 0, 0, 0, 8, 8])), "too many at its end"),
        ("a length past the limit", |s| drop(s.talk.say_bytes(&[1, 80, 0, 0])), "at most 20480"),
        ("the longest length", |s| drop(s.talk.say_bytes(&[0xff; 4])), "at most 20480"),
        (
            "a path past the limit of the wire",
            |s| {
                let mut bytes = bytes_of(&offer(2, [b'n'; 4096], 1));
                // One byte more: in the length of the message, in that of the path, and in the path.
                let at = bytes.windows(2).position(|two| two == 4096u16.to_le_bytes()).unwrap();
                bytes[at..at + 2].copy_from_slice(&4097u16.to_le_bytes());
                bytes.insert(at + 2, b'n');
                let len = bytes.len() as u32 - 4;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
                let _ = s.talk.say_bytes(&bytes);
            },
            "at most 4096",
        ),
        (
            "a time that cannot be",
            |s| {
                let mut bytes = bytes_of(&offer(2, "x", 1));
                // Behind the length, the tag, the file, the mode and the seconds.
                let nanos = 4 + 1 + 8 + 4 + 8;
                bytes[nanos..nanos + 4].copy_from_slice(&1_000_000_000u32.to_le_bytes());
                let _ = s.talk.say_bytes(&bytes);
            },
            "more than a second",
        ),
    ]);
}

#[test]
fn chunks_that_were_not_agreed_end_the_session_and_are_not_written() {
    punished(&[
        ("of an unknown file", |s| over_data(s, |k| chunk_frame(k, 95, 0, &[1; CHUNK])), "file 95"),
        ("of a small file", |s| over_data(s, |k| chunk_frame(k, SMALL, 0, b"hello")), "file 1, which is not"),
        ("after the end", |s| over_data(s, |k| chunk_frame(k, LARGE, 3, &[1; CHUNK])), "chunk 3 of file 0"),
        (
            "far after the end",
            |s| over_data(s, |k| chunk_frame(k, LARGE, u64::MAX, &[1; CHUNK])),
            "of file 0",
        ),
        (
            "too short",
            |s| over_data(s, |k| chunk_frame(k, LARGE, 0, &[1; 10])),
            "10 bytes where file 0 has 262144",
        ),
        ("empty", |s| over_data(s, |k| chunk_frame(k, LARGE, 0, &[])), "0 bytes where file 0 has 262144"),
        (
            "twice",
            |s| {
                over_data(s, |k| {
                    [chunk_frame(k, LARGE, 1, &[1; CHUNK]), chunk_frame(k, LARGE, 1, &[2; CHUNK])].concat()
                })
            },
            "chunk 1 of file 0",
        ),
        (
            "a large file in one frame",
            |s| over_data(s, |k| whole_frame(k, LARGE, b"hello")),
            "file 0, which is not",
        ),
        (
            "a small file of another size",
            |s| over_data(s, |k| whole_frame(k, SMALL, b"hell")),
            "4 bytes where file 1 has 5",
        ),
        ("an unknown file in one frame", |s| over_data(s, |k| whole_frame(k, 94, b"")), "file 94"),
    ]);
}

#[test]
fn a_file_that_is_sent_after_its_outcome_is_unknown() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = with_files_under_way(&scene, &receiver, "large");
    over_data(&mut sender, |k| [whole_frame(k, SMALL, b"hello"), whole_frame(k, SMALL, b"HELLO")].concat());
    let (heard, reason) = sender.dismissal();
    assert!(reason.contains("file 1, which is not under way"), "{reason}");
    let stored = ReceiverMessage::Outcome { file: file(SMALL), outcome: Outcome::Stored };
    assert!(heard.contains(&stored), "{heard:?}");
    assert_eq!(read(&scene.dst.join("small")), b"hello");
}

#[test]
fn a_chunk_for_a_file_that_is_only_compared_ends_the_session_and_leaves_the_file_alone() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--overwrite"]);
    let existing = make(&scene.dst, "large", LARGE_BYTES as usize);
    let before = look(&existing);
    let mut sender = intruder(&scene, &receiver);
    sender.blurt(&[offer(LARGE, "large", LARGE_BYTES)]);
    sender.hear_until(|message| matches!(message, ReceiverMessage::Compare { .. }));
    over_data(&mut sender, |k| chunk_frame(k, LARGE, 0, &[1; CHUNK]));
    let (_, reason) = sender.dismissal();
    assert!(reason.contains("a chunk of a file that is only compared"), "{reason}");
    assert_eq!(look(&existing), before);
}

#[test]
fn hashes_that_lie_are_found_out_and_leave_nothing() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = with_files_under_way(&scene, &receiver, "large");
    over_data(&mut sender, |sealer| {
        let chunks: Vec<u8> = (0..3).flat_map(|n| chunk_frame(sealer, LARGE, n, &[7; CHUNK])).collect();
        let mut payload = [&[9; HASH_BYTES][..], b"hello"].concat();
        let (kind, content_bytes) = (FrameKind::Whole, 5);
        let header = Header { kind, file: file(SMALL), chunk: chunk(0), content_bytes, codec: None }.encode();
        let tag = sealer.seal(&header, &mut payload).unwrap();
        assert_eq!(header.len(), HEADER_BYTES);
        [chunks, header.to_vec(), payload, tag.to_vec()].concat()
    });
    sender.blurt(&[Say::Root { file: file(LARGE), hash: [9; 32].into() }]);
    for _ in 0..2 {
        let told = sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
        let ReceiverMessage::Outcome { outcome: Outcome::Failed(failure), .. } = told else {
            panic!("{told:?}")
        };
        assert_eq!(failure.cause, Cause::Verification);
        assert!(failure.text.to_string().contains("not what was sent"), "{failure:?}");
    }
    assert!(listing(&scene.dst).is_empty(), "{:?}", listing(&scene.dst));
}

#[test]
fn whoever_stops_in_the_middle_of_a_message_or_frame_is_given_up_in_time() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--timeout", "5"]);
    let mut sender = with_files_under_way(&scene, &receiver, "large");
    let (mut sealer, mut stream) = sender.open_data(0);
    let frame = chunk_frame(&mut sealer, LARGE, 0, &[1; CHUNK]);
    stream.write_all(&frame[..CHUNK / 2]).unwrap();
    sender.talk.say_bytes(&[40, 0, 0, 0, 2, 1, 1]).unwrap();
    let file = make(&scene.src, "file", 1000);
    scene.send(&[&file], receiver.addr).expect_success();
    receiver.wait_for_stderr("said nothing for 5 s");
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_goodbye_in_the_middle_is_told_and_nothing_of_it_reaches_the_terminal_raw() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = with_files_under_way(&scene, &receiver, "large");
    let mut bytes = vec![0, 0, 0, 0, 9, 30, 0];
    bytes.extend(b"\x1b]0;owned\x07\r\n\xe2\x80\xae\xff\x00 tired of it ...");
    bytes.truncate(7 + 30);
    bytes[0] = bytes.len() as u8 - 4;
    // What is said behind it is not heard.
    bytes.extend(bytes_of(&offer(2, "late", 0)));
    sender.talk.say_bytes(&bytes).unwrap();
    receiver.wait_for_stderr("tired of it");
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
    assert!(!scene.dst.join("late").exists());
    let file = make(&scene.src, "small", 5);
    scene.send(&[&file], receiver.addr).expect_success();
}

#[test]
fn a_version_below_the_highest_of_both_is_refused_inside_tls() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let id = identity(&scene.path("config"));
    let mut sender = HandSender::connect(None, &id, receiver.addr).unwrap();
    let Say::Hello(hello) = hello(1, None) else { unreachable!() };
    // Whoever changes the preface cannot change this: the sides were made to agree on what is not the highest of both.
    let options = Options { highest_version: VERSION - 1, ..Options::default() };
    sender.talk.say(&Say::Hello(Hello { options, ..hello })).unwrap();
    assert!(sender.hear().is_err());
    receiver.wait_for_stderr("somebody on the way changes what is sent");
    let file = make(&scene.src, "small", 5);
    scene.send(&[&file], receiver.addr).expect_success();
}
