//! Streams between a peer that keeps to the rules and one that does not.

use std::fs::File;
use std::io::{Write, pipe};
use std::thread;

use lanx::content::entry::{Cause, EntryKind, Failure, Outcome};
use lanx::wire::message::{Against, Offer, ReceiverMessage as Answer, SenderMessage as Say};
use lanx::wire::seal::Sealer;

use crate::common::hostile::{METADATA, chunk, file, intruder, offer};
use crate::common::peer::{HandReceiver, HandSender, chunk_frame, identity, welcome, whole_frame};
use crate::common::*;

const C: u64 = CHUNK as u64;

fn stream_offer(name: &str) -> Say {
    Say::Offer(Offer { file: file(0), kind: EntryKind::Stream, metadata: METADATA, path: name.into() })
}

/// A sender by hand whose stream is wanted, with one data connection.
struct Stream {
    sender: HandSender,
    sealer: Sealer,
    data: std::net::TcpStream,
    frames: u64,
}

impl Stream {
    fn begin(scene: &Scene, receiver: &Receiver) -> Stream {
        let mut sender = intruder(scene, receiver);
        sender.blurt(&[stream_offer("stream")]);
        sender.hear_until(|message| matches!(message, Answer::Send { .. } | Answer::SendUpTo { .. }));
        let (sealer, data) = sender.open_data(0);
        Stream { sender, sealer, data, frames: 0 }
    }

    /// Sends a chunk, which may be the last that the receiver hears.
    fn send(&mut self, index: u64, len: usize) {
        let frame = chunk_frame(&mut self.sealer, 0, index, &noise(index, len));
        let _ = self.data.write_all(&frame);
        self.frames += 1;
    }

    /// Sends a chunk and waits until it was taken in.
    fn put(&mut self, index: u64, len: usize) {
        self.send(index, len);
        let confirmed = Answer::Confirmed { connection: 0, frames: self.frames };
        self.sender.hear_until(|message| *message == confirmed);
    }

    fn say(&mut self, message: Say) {
        self.sender.blurt(&[message]);
    }

    fn length(&mut self, bytes: u64) {
        self.say(Say::Length { file: file(0), bytes });
    }

    fn root(&mut self, hash: [u8; 32]) {
        self.say(Say::Root { file: file(0), hash: hash.into() });
    }

    fn outcome(&mut self) -> Outcome {
        match self.sender.hear_until(|message| matches!(message, Answer::Outcome { .. })) {
            Answer::Outcome { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }
}

/// The hash of chunks of so many bytes, as `put` fills them.
fn hash(lens: &[usize]) -> [u8; 32] {
    let content: Vec<u8> =
        lens.iter().enumerate().flat_map(|(index, len)| noise(index as u64, *len)).collect();
    *blake3::hash(&content).as_bytes()
}

type Misdeed = (&'static str, fn(&mut Stream), &'static str);

const MISDEEDS: &[Misdeed] = &[
    (
        "a chunk past the length",
        |s| {
            s.put(0, CHUNK);
            s.length(3 * C);
            s.send(3, CHUNK);
        },
        "chunk 3 of file 0",
    ),
    (
        "a length before what has come",
        |s| {
            s.put(5, CHUNK);
            s.length(5 * C);
        },
        "chunk 5 of file 0",
    ),
    (
        "two short chunks",
        |s| {
            s.send(1, 10);
            s.send(2, 10);
        },
        "10 bytes where file 0 has 262144",
    ),
    (
        "a short chunk that is not the last",
        |s| {
            s.put(1, 10);
            s.length(3 * C);
        },
        "10 bytes where file 0 has 262144",
    ),
    (
        "a short chunk shorter than the length says",
        |s| {
            s.put(1, 10);
            s.length(C + 11);
        },
        "10 bytes where file 0 has 11",
    ),
    (
        "a full chunk where the last is short",
        |s| {
            s.put(1, CHUNK);
            s.length(C + 11);
        },
        "262144 bytes where file 0 has 11",
    ),
    (
        "a last chunk of another length",
        |s| {
            s.put(0, CHUNK);
            s.length(C + 11);
            s.send(1, 12);
        },
        "12 bytes where file 0 has 11",
    ),
    ("an empty chunk", |s| s.send(1, 0), "0 bytes where file 0 has 262144"),
    (
        "a chunk twice",
        |s| {
            s.send(0, CHUNK);
            s.send(0, CHUNK);
        },
        "chunk 0 of file 0",
    ),
    ("a chunk that no file has", |s| s.send(u64::MAX, CHUNK), "of file 0"),
    (
        "a length twice",
        |s| {
            s.length(2 * C);
            s.length(2 * C);
        },
        "a length where one for each stream",
    ),
    ("a length of one chunk", |s| s.length(C), "the length of no stream"),
    ("no length", |s| s.length(0), "the length of no stream"),
    ("the longest length", |s| s.length(u64::MAX), "the length of no stream"),
    ("a hash before the length", |s| s.root([7; 32]), "the hash of a stream"),
    (
        "two hashes",
        |s| {
            s.length(2 * C);
            s.root([7; 32]);
            s.root([7; 32]);
        },
        "a second hash",
    ),
    ("a value", |s| s.say(Say::Value { file: file(0), chunk: chunk(0), value: [1; 32] }), ""),
    (
        "the stream in one frame",
        |s| {
            let frame = whole_frame(&mut s.sealer, 0, b"hello");
            let _ = s.data.write_all(&frame);
        },
        "file 0",
    ),
    (
        "the length of an unknown file",
        |s| s.say(Say::Length { file: file(7), bytes: 2 * C }),
        "file 7, which is not",
    ),
    (
        "the length of a file",
        |s| {
            s.say(offer(1, "file", 5 * C));
            s.say(Say::Length { file: file(1), bytes: 5 * C });
        },
        "",
    ),
];

#[test]
fn a_sender_that_breaks_the_rules_of_streams_is_sent_away_and_leaves_nothing() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    for (what, commit, words) in MISDEEDS {
        eprintln!("{what}");
        let mut stream = Stream::begin(&scene, &receiver);
        commit(&mut stream);
        let (_, reason) = stream.sender.dismissal();
        assert!(reason.contains("broke the protocol") && reason.contains(words), "{what}: {reason}");
        drop(stream);
        wait_until("nothing is left of the stream", PATIENCE, || {
            listing(&scene.dst) == parts_of(&scene.dst, "file")
        });
    }
}

#[test]
fn it_is_sent_away_by_one_that_writes_to_standard_output_as_well() {
    for (what, commit, words) in MISDEEDS {
        // That one is refused there, as there is one output.
        if *what == "the length of a file" {
            continue;
        }
        eprintln!("{what}");
        let scene = Scene::new();
        let receiver = Receiver::to_output(&scene, &[], File::create(scene.path("out")).unwrap());
        let mut stream = Stream::begin(&scene, &receiver);
        commit(&mut stream);
        let (_, reason) = stream.sender.dismissal();
        assert!(reason.contains("broke the protocol") && reason.contains(words), "{what}: {reason}");
        drop(stream);
        receiver.process.finish(PATIENCE).expect_code(1);
    }
}

#[test]
fn a_stream_by_hand_arrives_in_any_order_with_its_length_at_any_time() {
    let lens = [CHUNK, CHUNK, CHUNK, 17];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [3, 0, 2, 1]] {
        for length_after in 0..=4 {
            let scene = Scene::new();
            let receiver = scene.receiver();
            let mut stream = Stream::begin(&scene, &receiver);
            for (n, index) in order.iter().enumerate() {
                if n == length_after {
                    stream.length(3 * C + 17);
                }
                stream.put(*index as u64, lens[*index]);
            }
            if length_after == 4 {
                stream.length(3 * C + 17);
            }
            stream.root(hash(&lens));
            assert_eq!(stream.outcome(), Outcome::Stored, "{order:?}, {length_after}");
            assert_eq!(blake3::hash(&read(&scene.dst.join("stream"))), hash(&lens));
        }
    }
}

#[test]
fn a_hash_that_lies_is_found_out_and_leaves_nothing() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut stream = Stream::begin(&scene, &receiver);
    stream.put(0, CHUNK);
    stream.put(1, 5);
    stream.length(C + 5);
    stream.root([9; 32]);
    let Outcome::Failed(failure) = stream.outcome() else { panic!("it was stored") };
    assert_eq!(failure.cause, Cause::Verification);
    assert!(listing(&scene.dst).is_empty(), "{:?}", listing(&scene.dst));
}

#[test]
fn chunks_that_never_come_are_not_made_up() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut stream = Stream::begin(&scene, &receiver);
    stream.put(1, 5);
    stream.length(C + 5);
    stream.root(hash(&[CHUNK, 5]));
    drop(stream);
    receiver.wait_for_stderr("the other side closed it");
    wait_until("nothing is left of it", PATIENCE, || listing(&scene.dst).is_empty());
}

#[test]
fn a_stream_that_is_withdrawn_leaves_nothing_and_late_chunks_do_no_harm() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut stream = Stream::begin(&scene, &receiver);
    stream.put(0, CHUNK);
    stream.say(Say::Withdraw { file: file(0), failure: Failure::new(Cause::Source, "gone") });
    let Outcome::Failed(failure) = stream.outcome() else { panic!("it was stored") };
    assert_eq!(failure.cause, Cause::Source);
    assert!(listing(&scene.dst).is_empty());
    stream.put(1, CHUNK);
    stream.length(2 * C);
    stream.root([1; 32]);
    stream.say(Say::Finish { files: 1 });
    stream.sender.hear_until(|message| *message == Answer::Bye);
}

// ---- a receiver that breaks the rules ----

#[test]
fn a_receiver_that_treats_a_stream_as_a_file_is_left() {
    let up_to = |end| Answer::SendUpTo { file: file(0), end: chunk(end) };
    let send = || Answer::Send { file: file(0) };
    let missing = || Answer::Missing { file: file(0), first: chunk(0), count: 1 };
    let stored = || Answer::Outcome { file: file(0), outcome: Outcome::Stored };
    for answers in [
        vec![Answer::Compare { file: file(0), against: Against::Part }],
        vec![Answer::Compare { file: file(0), against: Against::Existing }],
        vec![missing()],
        vec![send(), missing()],
        vec![send(), Answer::Hash { file: file(0), first: chunk(0), count: 1 }],
        vec![send(), Answer::Differs { file: file(0), chunk: chunk(0) }],
        vec![send(), send()],
        vec![send(), up_to(1)],
        vec![up_to(1), send()],
        vec![up_to(0)],
        vec![up_to(u64::MAX)],
        vec![up_to(2), up_to(1)],
        vec![stored()],
        vec![send(), stored()],
    ] {
        let scene = Scene::new();
        let receiver = HandReceiver::listen(identity(&scene.path("config")));
        let (reader, mut writer) = pipe().unwrap();
        let mut command = scene.lanx();
        command.args(["send", "-", &receiver.addr.to_string(), "--name", "x"]);
        let sender = Process::spawn_fed(command, reader);
        // Left open: it is for the sender to end.
        let writing = thread::spawn(move || {
            writer.write_all(&noise(1, 3 * CHUNK)).unwrap();
            writer
        });
        let mut talk = receiver.accept().unwrap();
        assert!(matches!(talk.hear(), Ok(Say::Hello(_))));
        talk.say(&welcome()).unwrap();
        while !matches!(talk.hear(), Ok(Say::Offer(Offer { kind: EntryKind::Stream, .. }))) {}
        let _ = answers.iter().try_for_each(|answer| talk.say(answer));
        while talk.hear::<Say>().is_ok_and(|said| !matches!(said, Say::Leave { .. })) {}
        drop(talk);
        let output = sender.finish(PATIENCE);
        assert_eq!(output.code, Some(1), "{answers:?}: {}", output.err());
        assert!(output.err().contains("broke the protocol"), "{answers:?}: {}", output.err());
        drop(writing.join());
    }
}
