//! `lanx recv -`: one file to standard output, in order and verified, whoever reads it and whoever sends it.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::thread;

use lanx::content::entry::{Cause, Outcome};
use lanx::limits::{IN_ORDER_STEP_CHUNKS, IN_ORDER_WINDOW_CHUNKS};
use lanx::wire::message::{ReceiverMessage, SenderMessage};
use rustix::process::Signal;

use crate::common::hostile::{Captive, chunk, file, intruder, offer};
use crate::common::peer::{chunk_frame, whole_frame_with};
use crate::common::*;

const MIB: usize = 1 << 20;

/// A receiver whose standard output is the file that is also handed back.
fn into_file(scene: &Scene, flags: &[&str]) -> (Receiver, std::path::PathBuf) {
    let path = scene.path("out");
    (Receiver::to_output(scene, flags, File::create(&path).unwrap()), path)
}

/// The one thing that `recv -` says when all went well.
#[track_caller]
fn expect_quiet_success(receiver: Receiver) {
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(0);
    assert!(output.err().ends_with("verified\n"), "{}", output.err());
    assert!(!output.err().contains("lanx: "), "a success that complains: {}", output.err());
}

#[test]
fn a_file_of_any_size_comes_out_as_it_is() {
    let several = 3 * IN_ORDER_WINDOW_CHUNKS as usize * CHUNK + 7;
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, several] {
        let scene = Scene::new();
        let (receiver, out) = into_file(&scene, &[]);
        let file = make(&scene.src, "file", size);
        scene.send(&[&file], receiver.addr).expect_success();
        expect_quiet_success(receiver);
        assert!(read(&file) == read(&out), "{size} bytes came out otherwise");
        assert!(listing(&scene.dst).is_empty() && listing(&scene.src) == ["file"], "a folder was touched");
    }
}

#[test]
fn holes_come_out_as_zeros() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &[]);
    let path = make(&scene.src, "file", CHUNK + 5);
    File::options().write(true).open(&path).unwrap().set_len(9 * CHUNK as u64).unwrap();
    scene.send(&[&path], receiver.addr).expect_success();
    expect_quiet_success(receiver);
    assert!(read(&path) == read(&out));
}

#[test]
fn chunks_that_were_on_dead_connections_come_out_in_their_place() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &[]);
    let file = make(&scene.src, "file", 40 * MIB);
    let relay = Relay::with_fault(
        receiver.addr,
        Fault { kind: Kind::Data, nth: 1, at: 3 * MIB as u64 + 99, harm: Harm::Cut },
    );
    scene.send_with(&["-c", "4"], &[&file], relay.addr).expect_success();
    expect_quiet_success(receiver);
    assert!(read(&file) == read(&out));
    assert!(relay.data_connections() > 4, "no connection was replaced");
}

#[test]
fn a_turned_bit_on_the_way_changes_nothing() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &[]);
    let file = make(&scene.src, "file", 12 * MIB);
    let relay = Relay::with_fault(
        receiver.addr,
        Fault { kind: Kind::Data, nth: 0, at: MIB as u64, harm: Harm::Flip(3) },
    );
    scene.send(&[&file], relay.addr).expect_success();
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(0);
    assert!(read(&file) == read(&out));
}

#[test]
fn a_slow_reader_holds_the_sender_up_and_not_the_memory() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let file = make(&scene.src, "file", 96 * MIB);
    let relay = Relay::to(receiver.addr);
    let sender = scene.start_send(&[], &[&file], relay.addr);
    let window = IN_ORDER_WINDOW_CHUNKS * CHUNK as u64;
    wait_until("the window is full", PATIENCE, || relay.carried() > window);
    let mut out = vec![0; 96 * MIB];
    // Twice as much as it takes for the sender to hear of it.
    let read_first = 2 * IN_ORDER_STEP_CHUNKS as usize * CHUNK;
    reader.read_exact(&mut out[..read_first]).unwrap();
    wait_until("it goes on with the reader", PATIENCE, || relay.carried() > window + (read_first / 4) as u64);
    // Besides those there are what the pipe holds and what stands around each chunk.
    let most = window + (read_first + MIB) as u64;
    assert!(relay.carried() < most, "{} bytes were sent ahead", relay.carried());
    reader.read_exact(&mut out[read_first..]).unwrap();
    assert!(read(&file) == out);
    let peak = receiver.process.memory_peak();
    sender.finish(PATIENCE).expect_success();
    expect_quiet_success(receiver);
    assert!(peak < 48 * MIB as u64, "{peak} bytes of memory");
}

#[test]
fn the_sender_is_asked_for_no_more_than_a_window_beyond_what_is_written() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let mut sender = intruder(&scene, &receiver);
    sender.blurt(&[offer(0, "file", 4 * IN_ORDER_WINDOW_CHUNKS * CHUNK as u64)]);
    let asked = |beyond| ReceiverMessage::SendUpTo {
        file: file(0),
        end: chunk(IN_ORDER_WINDOW_CHUNKS + beyond * IN_ORDER_STEP_CHUNKS),
    };
    let is_asked = |message: &ReceiverMessage| matches!(message, ReceiverMessage::SendUpTo { .. });
    assert_eq!(sender.hear_until(is_asked), asked(0));
    let (mut sealer, mut stream) = sender.open_data(0);
    // Backwards: nothing can be written before the last of them.
    for index in (0..IN_ORDER_WINDOW_CHUNKS).rev() {
        stream.write_all(&chunk_frame(&mut sealer, 0, index, &noise(index, CHUNK))).unwrap();
    }
    for step in [1, 2, 3] {
        let mut out = vec![0; IN_ORDER_STEP_CHUNKS as usize * CHUNK];
        reader.read_exact(&mut out).unwrap();
        let first = (step - 1) * IN_ORDER_STEP_CHUNKS;
        assert!(out.chunks(CHUNK).zip(first..).all(|(got, index)| got == noise(index, CHUNK)));
        assert_eq!(sender.hear_until(is_asked), asked(step));
    }
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_word_and_the_sender_is_told() {
    for size in [5, 40 * MIB] {
        let scene = Scene::new();
        let (mut reader, writer) = pipe().unwrap();
        let receiver = Receiver::to_output(&scene, &[], writer);
        let file = make(&scene.src, "file", size);
        if size > CHUNK {
            let reading = thread::spawn(move || reader.read_exact(&mut [0; 1000]).unwrap());
            let sent = scene.send(&[&file], receiver.addr);
            sent.expect_complaint(7, &["file", "whoever read the receiver's standard output closed it"]);
            assert!(!sent.err().contains("after 0 bytes"), "some were written: {}", sent.err());
            reading.join().unwrap();
        } else {
            drop(reader);
            scene.send(&[&file], receiver.addr).expect_complaint(7, &["file", "after 0 bytes"]);
        }
        let output = receiver.process.finish(PATIENCE);
        output.expect_code(7);
        for words in ["lanx: ", "from 127.0.0.1"] {
            assert!(!output.err().contains(words), "{size} bytes: {}", output.err());
        }
    }
}

#[test]
fn an_output_that_takes_nothing_more_is_told_to_both_sides() {
    let scene = Scene::new();
    let receiver = Receiver::to_output(&scene, &[], File::options().write(true).open("/dev/full").unwrap());
    let file = make(&scene.src, "file", 3 * MIB);
    let words = ["file: cannot write to the receiver's standard output", "no space left", "start both again"];
    scene.send(&[&file], receiver.addr).expect_code(7);
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(7);
    for word in words {
        assert!(output.err().contains(word), "does not say {word:?}: {}", output.err());
    }
}

#[test]
fn whatever_comes_besides_is_refused_and_the_first_file_still_arrives() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &[]);
    let first = make(&scene.src, "first", 3 * MIB);
    let second = make(&scene.src, "second", 10);
    fs::create_dir(scene.src.join("folder")).unwrap();
    std::os::unix::fs::symlink("first", scene.src.join("folder/link")).unwrap();
    let sent = scene.send(&[first.clone(), second, scene.src.join("folder")], receiver.addr);
    sent.expect_code(5);
    for words in ["second: the receiver writes one file", "folder/link is no file", "folder is no file"] {
        assert!(sent.err().contains(words), "does not say {words:?}: {}", sent.err());
    }
    receiver.process.finish(PATIENCE).expect_code(5);
    assert!(read(&first) == read(&out));
}

#[test]
fn what_is_for_a_folder_is_refused_beside_it() {
    let scene = Scene::new();
    for flag in ["--overwrite", "--rename", "--delta", "--sync", "--verify=reread", "--clean", "--json"] {
        let output = scene.run(["recv", "-", flag]);
        assert_eq!(output.code, Some(2), "{flag}: {}", output.err());
        assert!(output.err().contains(flag) || output.out().contains(flag), "{flag}: {}", output.err());
    }
}

#[test]
fn a_second_sender_is_told_to_wait() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let file = make(&scene.src, "file", 20 * MIB);
    let first = scene.start_send(&[], &[&file], receiver.addr);
    reader.read_exact(&mut [0; 1]).unwrap();
    let second = scene.send_with(&["--retry-for", "0"], &[&file], receiver.addr);
    second.expect_complaint(3, &["as many transfers as it can"]);
    let reading = thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
    first.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
    assert_eq!(reading.join().unwrap(), 20 * MIB - 1);
}

#[test]
fn a_lost_connection_ends_both_sides_as_nothing_can_be_taken_back() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &["--timeout", "5"]);
    let file = make(&scene.src, "file", 40 * MIB);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send(&["--timeout", "5"], &[&file], relay.addr);
    relay.wait_until_held();
    relay.freeze();
    sender.finish(PATIENCE).expect_complaint(3, &["said nothing for 5 s", "start the receiver anew"]);
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(3);
    assert!(output.err().contains("start both again"), "{}", output.err());
    let written = read(&out);
    assert!(written.len() < 40 * MIB && read(&file).starts_with(&written), "not a beginning of the file");
}

#[test]
fn ctrl_c_ends_it_also_while_nobody_reads() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let file = make(&scene.src, "file", 20 * MIB);
    let sender = scene.start_send(&["--retry-for", "0"], &[&file], receiver.addr);
    reader.read_exact(&mut [0; 1]).unwrap();
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_code(130);
    sender.finish(PATIENCE).expect_complaint(3, &["the receiver was stopped"]);
}

// ---- a sender that breaks the rules ----

/// A file of `chunks` chunks is offered by hand; the receiver says how far it wants it. The chunks and the hash that
/// `send` names are sent over one connection. Returns what the receiver says at the end, and how it ends.
fn by_hand(
    chunks: u64,
    frames: &[(u64, usize)],
    root: Option<[u8; 32]>,
) -> (Result<Outcome, String>, Output) {
    let scene = Scene::new();
    let (receiver, _) = into_file(&scene, &[]);
    let mut sender = intruder(&scene, &receiver);
    sender.blurt(&[offer(0, "file", chunks * CHUNK as u64)]);
    let end = chunk(chunks.min(IN_ORDER_WINDOW_CHUNKS));
    sender.hear_until(|message| *message == ReceiverMessage::SendUpTo { file: file(0), end });
    let (mut sealer, mut stream) = sender.open_data(0);
    for (index, len) in frames {
        let _ = stream.write_all(&chunk_frame(&mut sealer, 0, *index, &noise(*index, *len)));
    }
    if let Some(hash) = root {
        sender.blurt(&[SenderMessage::Root { file: file(0), hash: hash.into() }]);
    }
    let end = loop {
        match sender.hear().unwrap() {
            ReceiverMessage::Leave { text } => break Err(text.to_string()),
            ReceiverMessage::Outcome { outcome, .. } => break Ok(outcome),
            _ => {}
        }
    };
    if end.is_ok() {
        sender.blurt(&[SenderMessage::Finish { files: 1 }]);
        sender.hear_until(|message| *message == ReceiverMessage::Bye);
    }
    drop((sender, stream));
    (end, receiver.process.finish(PATIENCE))
}

#[test]
fn a_hash_that_is_wrong_is_told_as_what_cannot_be_taken_back() {
    let frames = [(1, CHUNK), (0, CHUNK)];
    let (outcome, output) = by_hand(2, &frames, Some([7; 32]));
    let Ok(Outcome::Failed(failure)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.cause, Cause::Verification);
    output.expect_code(6);
    assert!(output.err().contains("what arrived is not what was sent"), "{}", output.err());
    assert!(output.err().contains("standard output"), "{}", output.err());
}

#[test]
fn a_small_file_with_a_wrong_hash_is_not_written_at_all() {
    let scene = Scene::new();
    let (receiver, out) = into_file(&scene, &[]);
    let mut sender = intruder(&scene, &receiver);
    sender.offer(0, "file", 4);
    let (mut sealer, mut stream) = sender.open_data(0);
    stream.write_all(&whole_frame_with(&mut sealer, 0, &[7; 32], b"evil")).unwrap();
    let told = sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
    let ReceiverMessage::Outcome { outcome: Outcome::Failed(failure), .. } = told else { panic!("{told:?}") };
    assert!(failure.text.to_string().contains("nothing of it was written"), "{}", failure.text);
    sender.blurt(&[SenderMessage::Finish { files: 1 }]);
    sender.hear_until(|message| *message == ReceiverMessage::Bye);
    drop((sender, stream));
    receiver.process.finish(PATIENCE).expect_code(6);
    assert!(read(&out).is_empty());
}

#[test]
fn a_sender_that_goes_past_what_it_was_asked_for_is_sent_away() {
    let far = 2 * IN_ORDER_WINDOW_CHUNKS;
    let (end, _) = by_hand(far, &[(IN_ORDER_WINDOW_CHUNKS, CHUNK)], None);
    assert!(end.clone().unwrap_err().contains("no room for yet"), "{end:?}");
    let (end, _) = by_hand(far, &[(far, CHUNK)], None);
    assert!(end.clone().unwrap_err().contains("does not have"), "{end:?}");
}

#[test]
fn a_chunk_twice_or_of_another_length_is_refused() {
    // Some of them wait for their turn, some are written, and some have lost their value to a pair.
    for chunks in [&[1, 1][..], &[0, 0], &[0, 1, 0], &[2, 3, 2]] {
        let frames: Vec<_> = chunks.iter().map(|chunk| (*chunk, CHUNK)).collect();
        let (end, output) = by_hand(5, &frames, None);
        assert!(end.clone().unwrap_err().contains("has already"), "{end:?}");
        output.expect_code(1);
    }
    let (end, _) = by_hand(3, &[(1, CHUNK - 1)], None);
    assert!(end.clone().unwrap_err().contains(&format!("{} bytes", CHUNK - 1)), "{end:?}");
}

// ---- a receiver that breaks the rules ----

#[test]
fn a_receiver_that_asks_for_what_is_not_there_or_backwards_is_left() {
    let chunks = 4;
    let up_to = |end| ReceiverMessage::SendUpTo { file: file(0), end: chunk(end) };
    let again = ReceiverMessage::Send { file: file(0) };
    for answers in [
        vec![up_to(0)],
        vec![up_to(chunks + 1)],
        vec![up_to(u64::MAX)],
        vec![up_to(2), up_to(2)],
        vec![up_to(3), up_to(1)],
        vec![up_to(2), again.clone()],
        vec![again.clone(), up_to(2)],
    ] {
        let mut captive = Captive::of(&[chunks as usize * CHUNK]);
        captive.blurt(&answers);
        let output = captive.end();
        assert_eq!(output.code, Some(1), "{answers:?}: {}", output.err());
        assert!(output.err().contains("broke the protocol"), "{answers:?}: {}", output.err());
    }
    let mut captive = Captive::of(&[10]);
    captive.blurt(&[up_to(1)]);
    assert_eq!(captive.end().code, Some(1), "a file of one frame has no part to ask for");
}
