//! A sender that was let in and offers what nobody can want: names that lead elsewhere, sizes that no disk has, a million
//! of nothing. Each is answered for itself, the other files arrive, and the receiver's memory stays bounded.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use crate::common::hostile::{Frames, bytes_of, file, intruder, offer};
use crate::common::peer::{HandSender, chunk_frame};
use crate::common::*;
use lanx::content::entry::{Cause, Outcome};
use lanx::limits::{FILE_BYTES_MAX, NAME_BYTES_MAX};
use lanx::wire::message::{ReceiverMessage, SenderMessage as Say};

const LARGE_BYTES: u64 = 3 * CHUNK as u64;

#[test]
fn names_that_lead_elsewhere_are_refused_one_by_one_and_odd_ones_arrive_byte_for_byte() {
    let long = [b'n'; NAME_BYTES_MAX + 1];
    let longest = [b'n'; 1024];
    let bad: &[&[u8]] = &[
        b"",
        b".",
        b"..",
        b"/",
        b"/etc/passwd",
        b"../up",
        b"a/../../up",
        b"a/.x.lanx-part",
        b"a//b",
        b"./a",
        b"a/",
        b"a\0b",
        b"\0",
        &long,
        &longest,
        b".x.lanx-part",
        b".X.LANX-PART",
        b".x.lanx-part. ",
        b".x.1.lanx-part",
    ];
    let odd: &[&[u8]] = &[
        b"new\nline",
        b"\x1b[31mred\x07",
        "\u{202e}gpj.exe".as_bytes(),
        b"\xff\xfe",
        b"-rf",
        b" ",
        b"...",
        b"~",
        b"'",
        b"\"",
        b"Case",
        b"cASE",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"C:\\x",
        b"CON",
        b"a.",
        b"#",
        &long[1..],
    ];
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut frames = Frames::of(intruder(&scene, &receiver));
    let mut id = 0;
    assert_eq!(bad.len(), odd.len());
    for (bad, odd) in bad.iter().zip(odd) {
        let name = String::from_utf8_lossy(bad);
        match frames.outcome_of(id, bad, b"x") {
            Outcome::Failed(failure) => {
                assert_eq!(failure.cause, Cause::Refused, "{name:?}");
                assert_harmless(failure.text.to_string().as_bytes(), "the receiver");
            }
            other => panic!("{name:?} became {other:?}"),
        }
        // The other files of the session arrive all the same.
        let outcome = frames.outcome_of(id + 1, odd, odd);
        assert_eq!(outcome, Outcome::Stored, "{odd:?}");
        id += 2;
    }
    let mut expected: Vec<OsString> = odd.iter().map(|name| OsString::from_vec(name.to_vec())).collect();
    expected.sort();
    assert_eq!(listing(&scene.dst), expected);
    for name in &expected {
        assert_eq!(read(&scene.dst.join(name)), name.as_encoded_bytes());
    }
    let around: Vec<_> = listing(&scene.path(""));
    assert_eq!(around, ["config", "dst", "home", "src"], "something was written outside of DIR");
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
    assert_harmless(&receiver.process.stdout.bytes(), "the receiver");
}

#[test]
fn sizes_that_no_disk_has_are_refused_in_bounded_memory_and_the_session_goes_on() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = intruder(&scene, &receiver);
    let sizes = [u64::MAX, u64::MAX - 1, 1 << 63, FILE_BYTES_MAX + 1, FILE_BYTES_MAX, FILE_BYTES_MAX - 1];
    for (id, size) in (0..).zip(sizes) {
        sender.blurt(&[offer(id, "huge", size)]);
        let told = sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
        let ReceiverMessage::Outcome { outcome: Outcome::Failed(failure), .. } = told else {
            panic!("{told:?}")
        };
        assert_eq!(failure.cause, Cause::Storage, "{size}");
        assert!(failure.text.to_string().contains("huge"), "{failure:?}");
    }
    assert_eq!(Frames::of(sender).outcome_of(6, b"small", b"hello"), Outcome::Stored);
    assert_eq!(listing(&scene.dst), ["small"]);
    let peak = receiver.process.memory_peak();
    assert!(peak < 100 << 20, "{} MiB of memory", peak >> 20);
}

#[test]
fn a_million_offers_of_nothing_that_nobody_hears_the_answers_of_take_bounded_memory() {
    /// How the n-th file is called: one that cannot be, one that another file has, and one that is wanted.
    type Naming = fn(u64) -> Vec<u8>;
    // The system may find it out first.
    let unread = [
        "the other side has read nothing for 5 s",
        "has read nothing for so long that the system gave it up",
    ];
    let past = ["went past the limit of"; 2];
    let floods: [(&str, Naming, [&str; 2]); 3] = [
        ("names that cannot be", |_| [b'/'; 1024].to_vec(), unread),
        // It is not told by a quick answer that what has the name is longer.
        ("names that are taken", |_| b"taken".to_vec(), past),
        ("empty files", |n| format!("empty-{n}").into_bytes(), past),
    ];
    for (what, name, words) in floods {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--timeout", "5"]);
        make(&scene.dst, "taken", 10);
        let mut sender = intruder(&scene, &receiver);
        let before = receiver.process.memory_peak();
        for n in 0..1000 {
            let batch: Vec<u8> =
                (n * 1000..(n + 1) * 1000).flat_map(|n| bytes_of(&offer(n, name(n), 0))).collect();
            if sender.talk.say_bytes(&batch).is_err() {
                break;
            }
        }
        let grown = receiver.process.memory_peak() - before;
        assert!(grown < 8 << 20, "{what}: {} MiB of memory more", grown >> 20);
        // It does not read, so it need not hear of it.
        wait_until(what, PATIENCE, || {
            words.iter().any(|words| receiver.process.stderr.text().contains(words))
        });
        let file = make(&scene.src, "file", 10);
        scene.send(&[&file], receiver.addr).expect_success();
    }
}

#[test]
fn a_sender_that_hears_late_hears_every_outcome_before_the_goodbye() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = intruder(&scene, &receiver);
    // It is always behind, by more than the receiver holds for it, and by less than all buffers on the way hold.
    let (files, step, behind) = (60_000, 500, 2_000);
    let mut outcomes = 0;
    let mut hear_up_to = |sender: &mut HandSender, most| {
        while outcomes < most {
            let told = sender.hear().unwrap();
            outcomes += u64::from(matches!(told, ReceiverMessage::Outcome { .. }));
            if told == ReceiverMessage::Bye {
                break;
            }
        }
        outcomes
    };
    for first in (0..files).step_by(step) {
        let offers = first..first + step as u64;
        let bytes: Vec<u8> = offers.flat_map(|n| bytes_of(&offer(n, [b'/'; 1024], 0))).collect();
        sender.talk.say_bytes(&bytes).unwrap();
        hear_up_to(&mut sender, first.saturating_sub(behind));
    }
    sender.blurt(&[Say::Finish { files }]);
    assert_eq!(hear_up_to(&mut sender, u64::MAX), files);
}

#[test]
fn hanging_up_connections_that_never_were_disturbs_nobody() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = intruder(&scene, &receiver);
    for numbers in [1..30_000u32, 1..30_000, u32::MAX - 10_000..u32::MAX] {
        let all: Vec<u8> = numbers.flat_map(|n| bytes_of(&Say::HangUp { connection: n })).collect();
        sender.talk.say_bytes(&all).unwrap();
    }
    assert_eq!(Frames::of(sender).outcome_of(0, b"file", b"hello"), Outcome::Stored);
    let peak = receiver.process.memory_peak();
    assert!(peak < 100 << 20, "{} MiB of memory", peak >> 20);
}

#[test]
fn two_files_of_one_name_in_one_session_never_mix() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = intruder(&scene, &receiver);
    sender.offer(0, "same", LARGE_BYTES);
    sender.offer(1, "same", LARGE_BYTES);
    let contents = [noise(1, LARGE_BYTES as usize), noise(2, LARGE_BYTES as usize)];
    let (mut sealer, mut stream) = sender.open_data(0);
    for index in 0..3 {
        for (id, content) in (0..).zip(&contents) {
            let content = &content[index * CHUNK..][..CHUNK];
            stream.write_all(&chunk_frame(&mut sealer, id, index as u64, content)).unwrap();
        }
    }
    let mut outcomes = Vec::new();
    for (id, content) in (0..).zip(&contents) {
        sender.blurt(&[Say::Root { file: file(id), hash: blake3::hash(content) }]);
        let told = sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
        let ReceiverMessage::Outcome { outcome, .. } = told else { panic!("{told:?}") };
        outcomes.push(outcome);
    }
    assert_eq!(outcomes[0], Outcome::Stored);
    assert!(matches!(&outcomes[1], Outcome::Failed(f) if f.cause == Cause::Refused), "{:?}", outcomes[1]);
    assert!(fs::read(scene.dst.join("same")).unwrap() == contents[0]);
    assert_eq!(listing(&scene.dst), ["same"]);
}
