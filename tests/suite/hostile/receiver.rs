//! A receiver that let a sender in and then breaks every rule: the sender ends with an error that says so, its exit code
//! is one of those in the help, its memory stays bounded, and nothing of what it heard reaches the terminal raw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::hostile::{Captive, chunk, file};
use crate::common::peer::{HandReceiver, identity, welcome};
use crate::common::*;
use lanx::content::entry::{Cause, Failure, Outcome};
use lanx::wire::VERSION;
use lanx::wire::message::{Against, Barred, ReceiverMessage as Say, SenderMessage, SessionId, Waiting};
use lanx::wire::options::Options;
use lanx::wire::seal::Cipher;

/// The file of four chunks that is offered first, and the one of five bytes behind it.
const LARGE: u64 = 0;
const SMALL: u64 = 1;

/// What is done wrong, with what words, and what the sender says about it.
type Misdeed = (&'static str, Vec<Say>, &'static str);

/// Says these words to a sender of a large and a small file, and demands that it ends with a complaint that holds the
/// words and with exit code 1.
fn exposed(misdeeds: Vec<Misdeed>) {
    thread::scope(|scope| {
        for (what, messages, words) in misdeeds {
            scope.spawn(move || {
                let mut captive = Captive::of(&[4 * CHUNK, 5]);
                captive.blurt(&messages);
                let ended = captive.end();
                assert_eq!(ended.code, Some(1), "{what}: {}", ended.err());
                ended.expect_complaint(1, &["the other side broke the protocol", words]);
            });
        }
    });
}

fn outcome(n: u64, outcome: Outcome) -> Say {
    Say::Outcome { file: file(n), outcome }
}

#[test]
fn messages_in_the_wrong_state_end_the_sender() {
    let welcome = Say::Welcome {
        session: SessionId([1; 16]),
        connections: 9,
        cipher: Cipher::preferred(),
        options: Options::default(),
    };
    let greeting = "a part of the greeting";
    let waiting = Waiting { serving: 1, own: 0, before: 0 };
    exposed(vec![
        ("a second welcome", vec![welcome], greeting),
        ("a code wanted", vec![Say::CodeWanted], greeting),
        ("a code", vec![Say::Pake { message: [1; 33] }], greeting),
        ("a proof", vec![Say::Proof { proof: [1; 32] }], greeting),
        ("barred", vec![Say::Barred(Barred::NoCode)], greeting),
        ("a place in a queue", vec![Say::Waiting(waiting)], greeting),
        ("speeds", vec![Say::Speeds { hash: 1, seal: 1, cores: 1 }], greeting),
        ("an early goodbye", vec![Say::Bye], "a goodbye where the outcome"),
    ]);
}

#[test]
fn answers_that_fit_no_offer_end_the_sender() {
    let compare = |n, against| Say::Compare { file: file(n), against };
    let missing = |n, first, count| Say::Missing { file: file(n), first: chunk(first), count };
    let hash = |n, first, count| Say::Hash { file: file(n), first: chunk(first), count };
    let differs = |n, at| Say::Differs { file: file(n), chunk: chunk(at) };
    exposed(vec![
        ("send of an unknown file", vec![Say::Send { file: file(9) }], "file 9, which is not under way"),
        ("send of no file", vec![Say::Send { file: file(u64::MAX) }], "which is not under way"),
        (
            "send twice",
            vec![Say::Send { file: file(LARGE) }, Say::Send { file: file(LARGE) }],
            "a second answer",
        ),
        ("compare of an unknown file", vec![compare(9, Against::Part)], "file 9"),
        (
            "compare and send",
            vec![compare(LARGE, Against::Part), Say::Send { file: file(LARGE) }],
            "a second answer",
        ),
        ("missing of an unknown file", vec![missing(9, 0, 1)], "file 9"),
        ("missing before an answer", vec![missing(LARGE, 0, 1)], "chunks where an answer"),
        ("missing past the end", vec![compare(LARGE, Against::Part), missing(LARGE, 0, 5)], "of file 0"),
        (
            "missing far past the end",
            vec![compare(LARGE, Against::Part), missing(LARGE, u64::MAX, u64::MAX)],
            "of file 0",
        ),
        (
            "missing of nothing",
            vec![compare(LARGE, Against::Part), missing(LARGE, 1, 0)],
            "chunk 1 of file 0",
        ),
        (
            "missing of an existing file",
            vec![compare(LARGE, Against::Existing), missing(LARGE, 0, 1)],
            "of an existing file",
        ),
        ("a hash of an unknown file", vec![hash(9, 0, 1)], "file 9"),
        ("a hash before an answer", vec![hash(LARGE, 0, 1)], "chunks where an answer"),
        ("hashes past the end", vec![compare(LARGE, Against::Part), hash(LARGE, 1, 4)], "chunk 1 of file 0"),
        ("hashes of nothing", vec![compare(LARGE, Against::Part), hash(LARGE, 1, 0)], "chunk 1 of file 0"),
        (
            "a hash of a small file, past its end",
            vec![compare(SMALL, Against::Existing), hash(SMALL, 1, 1)],
            "chunk 1 of file 1",
        ),
        (
            "the same hash twice",
            vec![compare(LARGE, Against::Part), hash(LARGE, 0, 1), hash(LARGE, 0, 1)],
            "chunk 0 of file 0",
        ),
        (
            "the hash of a small file twice",
            vec![compare(SMALL, Against::Existing), hash(SMALL, 0, 1)],
            "chunk 0 of file 1",
        ),
        ("part of a small file", vec![compare(SMALL, Against::Part)], "part of one chunk"),
        (
            "an existing file twice",
            vec![compare(LARGE, Against::Existing), compare(LARGE, Against::Existing)],
            "a second answer",
        ),
        ("differs of an unknown file", vec![differs(9, 0)], "file 9"),
        ("differs before an answer", vec![differs(LARGE, 0)], "chunks where an answer"),
        ("differs past the end", vec![compare(LARGE, Against::Part), differs(LARGE, 4)], "chunk 4 of file 0"),
        (
            "differs of an existing file",
            vec![compare(LARGE, Against::Existing), differs(LARGE, 0)],
            "of an existing file",
        ),
    ]);
}

#[test]
fn a_receiver_that_ends_each_data_connection_is_not_stormed_and_given_up() {
    let scene = Scene::new();
    let here = HandReceiver::listen(identity(&scene.path("config")));
    let file = make(&scene.src, "file", 5 * CHUNK);
    let sender = scene.start_send(&["--retry-for", "0", "--timeout", "5"], &[&file], here.addr);
    let mut talk = here.accept().unwrap();
    assert!(matches!(talk.hear(), Ok(SenderMessage::Hello(_))));
    talk.say(&welcome()).unwrap();
    let over = AtomicBool::new(false);
    let (connections, ended) = thread::scope(|scope| {
        let connections = scope.spawn(|| here.end_data_connections(&over));
        while let Ok(said) = talk.hear::<SenderMessage>() {
            let answer = match said {
                SenderMessage::Offer(offer) => Say::Send { file: offer.file },
                SenderMessage::HangUp { connection } => Say::HungUp { connection, frames: 0 },
                SenderMessage::Beat => Say::Progress { written: 0, kept: 0 },
                SenderMessage::Leave { .. } => break,
                _ => continue,
            };
            let _ = talk.say(&answer);
        }
        drop(talk);
        let ended = sender.finish(PATIENCE);
        over.store(true, Ordering::Relaxed);
        (connections.join().unwrap(), ended)
    });
    ended.expect_complaint(3, &["no data connection to", "can be opened", "ends each one"]);
    // Two at once, then ever longer pauses within 5 s.
    assert!((2..50).contains(&connections), "{connections} connections");
}

#[test]
fn outcomes_that_cannot_be_end_the_sender() {
    let renamed =
        |name: &[u8]| vec![Say::Send { file: file(SMALL) }, outcome(SMALL, Outcome::Renamed(name.to_vec()))];
    let mut misdeeds = vec![
        ("of an unknown file", vec![outcome(9, Outcome::Stored)], "file 9"),
        ("stored before it was sent", vec![outcome(LARGE, Outcome::Stored)], "a success where none"),
        (
            "identical before it was compared",
            vec![outcome(LARGE, Outcome::Identical)],
            "a success where none",
        ),
        (
            "remembered, of which nothing was said",
            vec![outcome(LARGE, Outcome::Remembered)],
            "a success where none",
        ),
        (
            "twice",
            vec![
                outcome(LARGE, Outcome::Failed(Failure::new(Cause::Storage, "no"))),
                outcome(LARGE, Outcome::Stored),
            ],
            "file 0, which is not under way",
        ),
    ];
    // The success may come before the small file was read; either way it is no name.
    for name in [&b""[..], b"..", b"/etc/passwd", b"a/b", b"\0"] {
        misdeeds.push(("renamed to what is no name", renamed(name), "was expected"));
    }
    exposed(misdeeds);
}

#[test]
fn counts_of_frames_that_were_never_sent_end_the_sender() {
    let words = "a count of frames that were not sent";
    for message in [
        Say::Confirmed { connection: 0, frames: 1000 },
        Say::Confirmed { connection: 0, frames: u64::MAX },
        Say::HungUp { connection: 0, frames: u64::MAX },
    ] {
        let mut captive = Captive::of(&[4 * CHUNK]);
        // Its connections are made beside the conversation; until then the message is about one that is not there.
        let mut ended = false;
        while !ended {
            ended = captive.talk.say(&message).is_err() || !captive.sender.is_running();
        }
        captive.end().expect_complaint(1, &["the other side broke the protocol", words]);
    }
}

#[test]
fn chunks_that_are_asked_for_again_and_again_end_the_sender_in_bounded_memory() {
    let floods: [(&str, Say); 3] = [
        ("missing", Say::Missing { file: file(LARGE), first: chunk(0), count: 1 }),
        ("hash", Say::Hash { file: file(LARGE), first: chunk(0), count: 16 }),
        ("differs", Say::Differs { file: file(LARGE), chunk: chunk(0) }),
    ];
    for (what, message) in floods {
        let mut captive = Captive::of(&[16 * CHUNK]);
        captive.blurt(&[Say::Compare { file: file(LARGE), against: Against::Part }]);
        let mut peak = 0;
        for _ in 0..200_000 {
            if captive.talk.say(&message).is_err() {
                break;
            }
            peak = captive.sender.memory_peak().max(peak);
        }
        assert!(peak < 200 << 20, "{what}: {} MiB of memory", peak >> 20);
        captive.end().expect_complaint(1, &["the other side broke the protocol"]);
    }
}

#[test]
fn bytes_that_are_no_message_end_the_sender() {
    let garbage: [(&[u8], &str); 5] = [
        (&[1, 0, 0, 0, 99], "unknown tag 99"),
        (&[0xff; 4], "at most 20480"),
        (&[0; 4], "ends in the middle"),
        (&[2, 0, 0, 0, 9, 9], "too many at its end"),
        // No data connection at all.
        (&[2, 0, 0, 0, 18, 0], "not between 1 and 16"),
    ];
    for (bytes, words) in garbage {
        let mut captive = Captive::of(&[5]);
        captive.talk.say_bytes(bytes).unwrap();
        captive.end().expect_complaint(1, &["the other side broke the protocol", words]);
    }
}

#[test]
fn progress_beyond_all_numbers_does_no_harm() {
    let mut captive = Captive::of(&[4 * CHUNK]);
    let (written, kept) = (u64::MAX, u64::MAX);
    captive.blurt(&[Say::Progress { written, kept }, Say::Leave { text: "enough".into() }]);
    captive.end().expect_complaint(3, &["gave up: enough"]);
}

#[test]
fn text_of_a_receiver_reaches_the_terminal_escaped() {
    let text = b"\x1b]0;owned\x07\r\n\xe2\x80\xae\xff\x00!";
    let mut failed = vec![0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2, text.len() as u8, 0];
    failed.extend(text);
    failed[0] = failed.len() as u8 - 4;
    let mut leave = vec![0, 0, 0, 0, 8, text.len() as u8, 0];
    leave.extend(text);
    leave[0] = leave.len() as u8 - 4;
    for (bytes, code) in [(leave, 3), (failed, 7)] {
        let mut captive = Captive::of(&[5]);
        captive.talk.say_bytes(&bytes).unwrap();
        if code == 7 {
            captive.hear_until(|message| matches!(message, SenderMessage::Finish { .. }));
            captive.blurt(&[Say::Bye]);
        }
        captive.end().expect_complaint(code, &["owned"]);
    }
}

#[test]
fn a_receiver_that_says_nothing_any_more_is_given_up_in_time() {
    let captive = Captive::of(&[4 * CHUNK]);
    captive
        .sender
        .finish(PATIENCE)
        .expect_complaint(3, &["said nothing for 5 s", "run the same command again"]);
}

#[test]
fn a_receiver_that_stops_in_the_middle_of_a_message_is_given_up_in_time() {
    let mut captive = Captive::of(&[4 * CHUNK]);
    captive.talk.say_bytes(&[9, 0, 0, 0, 2, 0]).unwrap();
    captive.end().expect_complaint(3, &["said nothing for 5 s"]);
}

#[test]
fn a_version_below_the_highest_of_both_is_refused_inside_tls() {
    let scene = Scene::new();
    let here = HandReceiver::listen(identity(&scene.path("config")));
    let file = make(&scene.src, "file", 5);
    let sender = scene.start_send(&["--retry-for", "0"], &[&file], here.addr);
    let mut talk = here.accept().unwrap();
    assert!(matches!(talk.hear(), Ok(SenderMessage::Hello(_))));
    let Say::Welcome { session, connections, cipher, .. } = welcome() else { unreachable!() };
    let options = Options { highest_version: VERSION - 1, ..Options::default() };
    talk.say(&Say::Welcome { session, connections, cipher, options }).unwrap();
    let words = "somebody on the way changes what is sent";
    sender.finish(PATIENCE).expect_complaint(3, &["the other side broke the protocol", words]);
}
