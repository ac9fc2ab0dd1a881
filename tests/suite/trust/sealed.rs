//! What is on the wire is sealed: nothing of it can be read, and nothing changed, repeated or made up is believed.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::common::peer::{
    HandSender, chunk_frame, control_preface, data_hello, identity, places_in_first_frame, raw, whole_frame,
};
use crate::common::*;
use lanx::content::chunk::FileId;
use lanx::content::entry::Outcome;
use lanx::limits::CONNECTION_NUMBERS_MAX;
use lanx::wire::message::{ReceiverMessage, SenderMessage, SessionId};
use lanx::wire::seal::TAG_BYTES;

const TAMPERED: &str = "tampered with";

/// Sentences that are recognised in a capture: no 24 bytes of them occur in anything random.
fn plaintext(len: usize) -> Vec<u8> {
    let lines =
        (0..).flat_map(|n: u32| format!("The secret of line {n:08} is that it is secret.\n").into_bytes());
    lines.take(len).collect()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|part| part == needle)
}

/// Longer than any test waits: who is hung up on was not silent for too long.
const PATIENT: [&str; 2] = ["--timeout", "600"];

/// Demands that the receiver hangs up on this connection.
#[track_caller]
fn expect_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the receiver did not hang up: {other:?}"),
    }
}

/// A sender of the receiver's own user that was let in.
fn guest(scene: &Scene, receiver: &Receiver, connections: u8) -> HandSender {
    let sender = HandSender::enter(&identity(&scene.path("config")), receiver.addr, connections);
    assert_eq!(sender.granted, connections);
    sender
}

#[track_caller]
fn expect_stored(sender: &mut HandSender, file: u64) {
    let of_file = |message: &ReceiverMessage| matches!(message, ReceiverMessage::Outcome { .. });
    let outcome = sender.hear_until(of_file);
    assert_eq!(outcome, ReceiverMessage::Outcome { file: FileId(file), outcome: Outcome::Stored });
}

/// Demands that the receiver closes data connection 0 after `honest` frames because it was tampered with.
#[track_caller]
fn expect_tampering(sender: &mut HandSender, receiver: &Receiver, honest: u64) {
    let closed = sender.hear_until(|message| matches!(message, ReceiverMessage::HungUp { .. }));
    assert_eq!(closed, ReceiverMessage::HungUp { connection: 0, frames: honest });
    receiver.wait_for_stderr(TAMPERED);
}

/// Demands that there is no file, and that unfinished ones have no byte in them.
fn assert_nothing_was_written(scene: &Scene) {
    for name in listing(&scene.dst) {
        assert!(name.as_encoded_bytes().ends_with(b".lanx-part"), "{name:?} was published");
        let content = fs::read(scene.dst.join(&name)).unwrap();
        assert_eq!(content.iter().position(|byte| *byte != 0), None, "something was written to {name:?}");
    }
}

#[test]
fn whoever_relays_a_transfer_can_read_neither_content_nor_names_nor_the_code() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let tap = Tap::to(receiver.addr);
    let large = make_of(&scene.src, "conspicuous-large-name.txt", &plaintext(5 * CHUNK + 77));
    let small = make_of(&scene.src, "conspicuous-small-name.txt", &plaintext(1000));
    for file in [&large, &small] {
        scene.send_by("alice", Some(CODE), file, tap.addr).expect_code(0);
    }
    assert_arrived(&[&large, &small], &scene.dst);

    let captured = tap.everything();
    let bytes: usize = captured.iter().map(Vec::len).sum();
    assert!(bytes > 5 * CHUNK, "only {bytes} bytes were captured");
    let machine = rustix::system::uname().nodename().to_bytes().to_vec();
    let lines = plaintext(5 * CHUNK + 77);
    let mut secrets: Vec<&[u8]> = lines.chunks(24).step_by(97).filter(|part| part.len() == 24).collect();
    secrets.extend([
        &b"The secret of"[..],
        b"that it is secret",
        b"conspicuous",
        b"lanx-part",
        CODE.as_bytes(),
    ]);
    // A name so short may be there by chance.
    secrets.extend((machine.len() > 5).then_some(machine.as_slice()));
    for record in &captured {
        for secret in &secrets {
            assert!(!contains(record, secret), "{:?} was in the capture", String::from_utf8_lossy(secret));
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_in_a_frame_counts_as_tampering_and_the_file_arrives_as_it_is() {
    for file_bytes in [1000, 3 * CHUNK] {
        for (place, at) in places_in_first_frame(file_bytes) {
            for bit in [0, 7] {
                let scene = Scene::new();
                let receiver = scene.receiver();
                let (kind, nth, harm) = (Kind::Data, 0, Harm::Flip(bit));
                let relay = Relay::with_fault(receiver.addr, Fault { kind, nth, at, harm });
                let file = make(&scene.src, "file", file_bytes);
                let story = format!("bit {bit} of {place} of a file of {file_bytes} bytes");
                eprintln!("{story}");
                scene.send_with(&["-c", "1", "--timeout", "5"], &[&file], relay.addr).expect_code(0);
                assert_arrived(&[&file], &scene.dst);
                // A frame that was made longer is waited for, until the sender gives its connection up.
                if place != "the length" {
                    receiver.wait_for_stderr(TAMPERED);
                }
            }
        }
    }
}

#[test]
fn a_network_that_tampers_with_every_connection_ends_the_session_and_both_sides_say_so() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let relay = Relay::to(receiver.addr);
    let (_, in_the_payload) = places_in_first_frame(3 * CHUNK)[4];
    relay.flip_in_each_data_connection(in_the_payload);
    let file = make(&scene.src, "file", 3 * CHUNK);
    scene.send_with(&["-c", "1"], &[&file], relay.addr).expect_complaint(3, &[TAMPERED]);
    receiver.wait_for_stderr(TAMPERED);
    let (lines, tried) = (receiver.process.stderr.text().lines().count(), relay.data_connections());
    assert!(lines < 20 && tried < 20, "{lines} lines about {tried} connections");
    assert_nothing_was_written(&scene);
}

#[test]
fn a_data_connection_with_a_guessed_session_is_sent_away() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&PATIENT);
    let sender = guest(&scene, &receiver, 2);
    let (_, right) = sender.data_keys(0);
    let tag = TAG_BYTES;
    let proof: [u8; TAG_BYTES] = right[right.len() - tag..].try_into().unwrap();
    for guess in [[0; 16], [0xff; 16], sender.session.0.map(|byte| byte ^ 1)] {
        let stream = raw(None, receiver.addr, &data_hello(SessionId(guess), 0, &proof)).unwrap();
        expect_closed(&stream);
    }
    receiver.wait_for_stderr("named a session that is not here");
}

#[test]
fn a_data_connection_that_knows_only_the_sessions_name_is_sent_away_and_disturbs_nobody() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&PATIENT);
    let mut sender = guest(&scene, &receiver, 2);
    let (_, other) = sender.data_keys(1);
    let of_other: [u8; TAG_BYTES] = other[other.len() - TAG_BYTES..].try_into().unwrap();
    for proof in [[0; TAG_BYTES], [7; TAG_BYTES], of_other] {
        let stream = raw(None, receiver.addr, &data_hello(sender.session, 0, &proof)).unwrap();
        expect_closed(&stream);
    }
    receiver.wait_for_stderr("does not know the session of its data connection");
    sender.offer(0, "file", 5);
    let (mut sealer, mut data) = sender.open_data(0);
    data.write_all(&whole_frame(&mut sealer, 0, b"hello")).unwrap();
    expect_stored(&mut sender, 0);
    assert_eq!(fs::read(scene.dst.join("file")).unwrap(), b"hello");
}

#[test]
fn a_recorded_data_connection_is_sent_away_when_played_again_during_the_session_and_after() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&PATIENT);
    let mut sender = guest(&scene, &receiver, 2);
    let (mut sealer, hello) = sender.data_keys(0);
    let record = [hello, whole_frame(&mut sealer, 0, b"hello")].concat();
    sender.offer(0, "first", 5);
    let first = raw(None, receiver.addr, &record).unwrap();
    expect_stored(&mut sender, 0);

    // While its connection lives, after that was closed, and when the session is over.
    sender.offer(1, "second", 5);
    expect_closed(&raw(None, receiver.addr, &record).unwrap());
    let (mut sealer, mut data) = sender.open_data(1);
    data.write_all(&whole_frame(&mut sealer, 1, b"again")).unwrap();
    expect_stored(&mut sender, 1);
    drop(first);
    expect_closed(&raw(None, receiver.addr, &record).unwrap());
    sender.talk.say(&SenderMessage::Finish { files: 2 }).unwrap();
    sender.hear_until(|message| *message == ReceiverMessage::Bye);
    drop((sender, data));
    receiver.wait_for_stdout("2 files");
    expect_closed(&raw(None, receiver.addr, &record).unwrap());
    assert_eq!(listing(&scene.dst), [OsString::from("first"), "second".into()]);
    assert!(!receiver.process.stderr.text().contains(TAMPERED), "{}", receiver.process.story());
}

#[test]
fn data_connections_past_those_that_were_granted_are_sent_away() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&PATIENT);
    let mut sender = guest(&scene, &receiver, 2);
    let (_, mut first) = sender.open_data(0);
    let (mut sealer, mut second) = sender.open_data(1);
    let both = [0, 1].map(|connection| ReceiverMessage::Confirmed { connection, frames: 0 });
    // In whatever order they were met.
    sender.hear_until(|message| both.contains(message));
    sender.hear_until(|message| both.contains(message));
    expect_closed(&sender.open_data(2).1);
    // One may take the place of another, but not with a number that no session ever comes to.
    first.write_all(b"no frame at all, but long enough").unwrap();
    sender.hear_until(|message| *message == ReceiverMessage::HungUp { connection: 0, frames: 0 });
    expect_closed(&sender.open_data(CONNECTION_NUMBERS_MAX).1);
    expect_closed(&sender.open_data(u32::MAX).1);
    expect_closed(&sender.open_data(0).1);
    receiver.wait_for_stderr("a data connection it may not open");
    sender.offer(0, "file", 5);
    second.write_all(&whole_frame(&mut sealer, 0, b"hello")).unwrap();
    expect_stored(&mut sender, 0);
}

#[test]
fn a_session_is_ended_by_nobody_else_who_claims_to_go_on_with_it() {
    let scene = Scene::new();
    scene.pair("mallory", "config");
    let receiver = scene.receiver_with(&PATIENT);
    let mut sender = guest(&scene, &receiver, 1);
    sender.offer(0, "file", 5);
    // Mallory may send here as well, and has read the session's name off the wire.
    let mut mallory = HandSender::connect(None, &identity(&scene.path("mallory")), receiver.addr).unwrap();
    let answer = mallory.hello_again(1, Some(sender.session)).unwrap();
    assert!(matches!(answer, ReceiverMessage::Welcome { .. }), "{answer:?}");
    assert_ne!(mallory.session, sender.session);
    let (mut sealer, mut data) = sender.open_data(0);
    data.write_all(&whole_frame(&mut sealer, 0, b"hello")).unwrap();
    expect_stored(&mut sender, 0);
    // Only the sender itself may; what it comes back from is gone without a word.
    let mut again = HandSender::connect(None, &identity(&scene.path("config")), receiver.addr).unwrap();
    again.hello_again(1, Some(sender.session)).unwrap();
    while sender.hear().is_ok() {}
    again.offer(0, "another", 5);
}

#[test]
fn frames_of_another_connection_or_place_or_file_are_never_believed() {
    /// What is sent honestly before, and the forged frame.
    type Forge = fn(&HandSender) -> (Vec<u8>, Vec<u8>);
    let forgeries: [(&str, Forge); 4] = [
        ("sealed for another connection", |sender| {
            let frame = chunk_frame(&mut sender.data_keys(1).0, 0, 0, &noise(1, CHUNK));
            (Vec::new(), frame)
        }),
        ("sent a second time", |sender| {
            let mut sealer = sender.data_keys(0).0;
            let frame = chunk_frame(&mut sealer, 0, 0, &[0; CHUNK]);
            (frame.clone(), frame)
        }),
        ("left out", |sender| {
            let mut sealer = sender.data_keys(0).0;
            let _left_out = chunk_frame(&mut sealer, 0, 0, &noise(2, CHUNK));
            (Vec::new(), chunk_frame(&mut sealer, 0, 1, &noise(3, CHUNK)))
        }),
        ("given to another chunk", |sender| {
            let mut frame = chunk_frame(&mut sender.data_keys(0).0, 0, 0, &noise(4, CHUNK));
            let moved = chunk_frame(&mut sender.data_keys(0).0, 0, 1, &noise(4, CHUNK));
            let header = lanx::wire::frame::HEADER_BYTES;
            frame[..header].copy_from_slice(&moved[..header]);
            (Vec::new(), frame)
        }),
    ];
    for (what, forge) in forgeries {
        eprintln!("a frame that was {what}");
        let scene = Scene::new();
        let receiver = scene.receiver_with(&PATIENT);
        let mut sender = guest(&scene, &receiver, 2);
        sender.offer(0, "file", 3 * CHUNK as u64);
        let (honest, forged) = forge(&sender);
        let (_, mut data) = sender.open_data(0);
        // The receiver may hang up before it has read it all.
        let _ = data.write_all(&honest).and_then(|()| data.write_all(&forged));
        expect_tampering(&mut sender, &receiver, u64::from(!honest.is_empty()));
        assert_nothing_was_written(&scene);
        // The session goes on, over a connection that nobody tampers with.
        let content = [vec![0; CHUNK], noise(5, 2 * CHUNK)].concat();
        let (mut sealer, mut data) = sender.open_data(5);
        let arrived = usize::from(!honest.is_empty());
        for (index, chunk) in content.chunks(CHUNK).enumerate().skip(arrived) {
            data.write_all(&chunk_frame(&mut sealer, 0, index as u64, chunk)).unwrap();
        }
        let hash = blake3::hash(&content);
        sender.talk.say(&SenderMessage::Root { file: FileId(0), hash }).unwrap();
        expect_stored(&mut sender, 0);
        assert!(read(&scene.dst.join("file")) == content);
    }
}

#[test]
fn a_bit_flipped_in_the_control_connection_is_noticed_and_the_receiver_goes_on() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 3 * CHUNK);
    let tap = Tap::to(receiver.addr);
    scene.send(&[&file], tap.addr).expect_success();
    fs::remove_file(scene.dst.join("file")).unwrap();
    let preface = control_preface();
    let spoken = tap.to_receiver();
    let said = spoken.iter().find(|said| said.starts_with(&preface)).unwrap().len() as u64;
    let mut noticed = 0;
    // The handshake, the hello, the offer and what follows.
    for at in (preface.len() as u64..said).step_by(97) {
        let (kind, nth, harm) = (Kind::Control, 0, Harm::Flip(3));
        let relay = Relay::with_fault(receiver.addr, Fault { kind, nth, at, harm });
        let sent = scene.send_with(&["-v"], &[&file], relay.addr);
        match sent.code {
            // A handshake, or a session that was under way, is begun anew.
            Some(0) => {
                assert_arrived(&[&file], &scene.dst);
                noticed += u32::from(["lost", "hung up"].iter().any(|word| sent.err().contains(word)));
                fs::remove_file(scene.dst.join("file")).unwrap();
            }
            Some(1 | 3) => noticed += 1,
            _ => panic!("byte {at}: {:?} {}", sent.code, sent.err()),
        }
        assert!(!scene.dst.join("file").exists(), "byte {at}");
    }
    // What follows the last byte that matters is a goodbye that nobody needs.
    let tried = (said - preface.len() as u64).div_ceil(97) as u32;
    eprintln!("{noticed} of {tried} were noticed");
    assert!(noticed + 3 >= tried, "only {noticed} of {tried} were noticed");
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}
