//! What happens when processes die, connections break or bytes are damaged: never a wrong file, never a hang, and
//! the same command run again goes on.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::*;

const LARGE: usize = 64 * CHUNK;

/// A silent peer counts as lost later than any test waits: who is told, or sees a connection close, acts on it.
const PATIENT: [&str; 2] = ["--timeout", "600"];

/// Starts to send `file` and returns when some of it is at the receiver and nothing more comes through.
fn send_half(scene: &Scene, receiver: &Receiver, file: &Path, flags: &[&str]) -> (Relay, Process, u64) {
    let relay = Relay::holding_after(receiver.addr, LARGE as u64 / 2);
    let sender = scene.start_send(flags, &[file], relay.addr);
    relay.wait_until_held();
    // Less what the four connections carry of chunks that are not whole yet.
    let arrived = LARGE as u64 / 2 - 5 * CHUNK as u64;
    let content = read(file);
    wait_until("half of the file is on the disk", PATIENCE, || {
        bytes_in_common(&content, &part_path(&scene.dst, "file")) >= arrived
    });
    (relay, sender, arrived)
}

/// Sends `file` again and demands that what was there did not cross a second time.
fn resume(scene: &Scene, receiver: &Receiver, file: &Path, arrived: u64) {
    assert_eq!(listing(&scene.dst), parts_of(&scene.dst, "file"), "half a file has no name");
    let relay = Relay::to(receiver.addr);
    scene.send(&[file], relay.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"]);
    let most = LARGE as u64 - arrived + CHUNK as u64;
    assert!(relay.carried() <= most, "{} bytes crossed, {most} were missing", relay.carried());
}

#[test]
fn a_killed_sender_leaves_a_receiver_that_serves_and_a_file_that_can_be_resumed() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", LARGE);
    let (_relay, mut sender, arrived) = send_half(&scene, &receiver, &file, &[]);
    sender.kill();
    receiver.wait_for_stderr("127.0.0.1: ");
    resume(&scene, &receiver, &file, arrived);
}

#[test]
fn a_killed_receiver_ends_the_sender_promptly_with_what_to_do() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let file = make(&scene.src, "file", LARGE);
    let (relay, sender, arrived) =
        send_half(&scene, &receiver, &file, &["--retry-for", "0", "--timeout", "600"]);
    receiver.process.kill();
    let relay_addr = relay.addr.to_string();
    sender.finish(PATIENCE).expect_complaint(3, &[&relay_addr, "run the same command again"]);
    resume(&scene, &scene.receiver(), &file, arrived);
}

#[test]
fn an_interrupted_sender_says_how_far_it_came_and_the_receiver_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&PATIENT);
        let file = make(&scene.src, "file", LARGE);
        let (_relay, sender, arrived) = send_half(&scene, &receiver, &file, &PATIENT);
        sender.signal(signal);
        let output = sender.finish(PATIENCE);
        output
            .expect_complaint(130, &["interrupted", "of 16.8 MB had arrived", "run the same command again"]);
        receiver.wait_for_stderr("the sender was interrupted");
        resume(&scene, &receiver, &file, arrived);
    }
}

#[test]
fn an_interrupted_receiver_tells_the_sender_and_keeps_what_arrived() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&PATIENT);
    let file = make(&scene.src, "file", LARGE);
    let (relay, sender, arrived) = send_half(&scene, &receiver, &file, &PATIENT);
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_complaint(130, &["127.0.0.1: interrupted"]);
    let relay_addr = relay.addr.to_string();
    sender.finish(PATIENCE).expect_complaint(3, &[&relay_addr, "the receiver was stopped"]);
    resume(&scene, &scene.receiver(), &file, arrived);
}

#[test]
fn an_idle_receiver_can_be_interrupted() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    // Somebody who is answered shows that it has come so far as to listen for signals too.
    let file = make(&scene.src, "file", 1);
    scene.send(&[&file], receiver.addr).expect_success();
    receiver.process.signal(Signal::INT);
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(130);
    assert_eq!(output.err(), "");
}

#[test]
fn a_sender_can_be_interrupted_while_nobody_answers() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = scene.start_send(&[], &[&file], listener.local_addr().unwrap());
    // It is connected, so it waits for an answer and for signals.
    let _connection = listener.accept().unwrap();
    sender.signal(Signal::INT);
    sender.finish(PATIENCE).expect_complaint(130, &["interrupted before anything was sent"]);
}

#[test]
fn a_sender_can_be_interrupted_while_its_connections_are_not_answered() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", LARGE);
    let relay = Relay::holding_after(receiver.addr, 0);
    let sender = scene.start_send(&["-c", "16"], &[&file], relay.addr);
    wait_until("the sender opens a data connection", PATIENCE, || relay.data_connections() > 0);
    // Of somebody who has offered nothing yet the receiver says nothing.
    wait_until("the file is offered", PATIENCE, || part_path(&scene.dst, "file").exists());
    sender.signal(Signal::INT);
    sender.finish(PATIENCE).expect_complaint(130, &["interrupted"]);
    receiver.wait_for_stderr("the sender was interrupted");
}

/// Sends a file through a relay that cuts one connection, and demands that it arrives all the same.
fn survives_cut(flags: &[&str], file_bytes: usize, kind: Kind, nth: usize, at: usize) {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", file_bytes);
    let relay = Relay::with_fault(receiver.addr, Fault { kind, nth, at: at as u64, harm: Harm::Cut });
    let what = format!("{flags:?}: {kind:?} connection {nth} cut at byte {at}, file of {file_bytes}");
    let mut sender = scene.start_send(flags, &[&file], relay.addr);
    wait_until(&format!("the sender ends: {what}"), PATIENCE, || !sender.is_running());
    let output = sender.finish(PATIENCE);
    assert_eq!(output.code, Some(0), "{what}: {}", output.err());
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"], "{what}");
}

#[test]
fn a_control_connection_that_breaks_in_the_handshake_is_tried_again() {
    for at in [0, 4, 8, 10, 20, 40] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", 1000);
        let fault = Fault { kind: Kind::Control, nth: 0, at, harm: Harm::Cut };
        let relay = Relay::with_fault(receiver.addr, fault);
        scene.send(&[&file], relay.addr).expect_success();
        assert_arrived(&[&file], &scene.dst);
    }
}

#[test]
fn a_transfer_outlives_the_loss_of_its_control_connection() {
    // The TLS handshake, the hello and the first offer take less than 4000 bytes; beats and verdicts come behind it.
    for at in [3500, 3600, 3700, 3800] {
        survives_cut(&["-c", "2"], 4 * LARGE, Kind::Control, 0, at);
    }
}

#[test]
fn a_transfer_outlives_the_loss_of_a_data_connection_in_a_chunk() {
    for at in [70, 1000, CHUNK / 2, 3 * CHUNK + 77] {
        survives_cut(&["-c", "1"], LARGE, Kind::Data, 0, at);
        for nth in 0..4 {
            survives_cut(&[], LARGE, Kind::Data, nth, at);
        }
    }
    survives_cut(&[], 1000, Kind::Data, 0, 600);
}

#[test]
fn a_transfer_outlives_the_loss_of_a_data_connection_between_two_frames() {
    use lanx::wire::frame::HEADER_BYTES;
    use lanx::wire::preface::{BELONGING_BYTES, PREFACE_BYTES};
    use lanx::wire::seal::TAG_BYTES;
    let first_frame = PREFACE_BYTES + BELONGING_BYTES + TAG_BYTES;
    let second_frame = first_frame + HEADER_BYTES + CHUNK + TAG_BYTES;
    survives_cut(&[], 1000, Kind::Data, 0, first_frame);
    survives_cut(&["-c", "1"], 2 * CHUNK, Kind::Data, 0, second_frame);
    for at in [first_frame, second_frame] {
        survives_cut(&["-c", "1"], LARGE, Kind::Data, 0, at);
        survives_cut(&[], LARGE, Kind::Data, 3, at);
    }
}

#[test]
fn a_transfer_outlives_a_data_connection_that_breaks_before_the_receiver_knows_whose_it_is() {
    for at in [0, 7, 8, 27, 40] {
        survives_cut(&[], 1000, Kind::Data, 0, at);
        survives_cut(&["-c", "1"], LARGE, Kind::Data, 0, at);
        survives_cut(&[], LARGE, Kind::Data, 2, at);
    }
}

#[test]
fn a_network_that_goes_silent_is_noticed_by_both_sides_in_bounded_time() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--timeout", "5"]);
    let file = make(&scene.src, "file", LARGE);
    let flags = ["--timeout", "5", "--retry-for", "0"];
    let (relay, sender, arrived) = send_half(&scene, &receiver, &file, &flags);
    relay.freeze();
    let output = sender.finish(PATIENCE);
    output.expect_complaint(
        3,
        &[&relay.addr.to_string(), "said nothing for 5 s", "run the same command again"],
    );
    receiver.wait_for_stderr("said nothing for 5 s");
    resume(&scene, &receiver, &file, arrived);
}

#[test]
fn a_turned_bit_never_becomes_a_wrong_file() {
    let seed = u64::from(std::process::id());
    let mut random =
        noise(seed, 8 * 64).chunks(8).map(|n| u64::from_le_bytes(n.try_into().unwrap())).collect::<Vec<_>>();
    for (size, span) in [(LARGE, LARGE as u64 / 8), (1000, 1000), (CHUNK + 1, 200)] {
        for round in 0..6 {
            let (at, bit) = (random.pop().unwrap() % span, (random.pop().unwrap() % 8) as u8);
            let what = format!("seed {seed}, round {round}: bit {bit} of byte {at}, file of {size}");
            let scene = Scene::new();
            let receiver = scene.receiver();
            let file = make(&scene.src, "file", size);
            let relay = Relay::with_fault(
                receiver.addr,
                Fault { kind: Kind::Data, nth: 0, at, harm: Harm::Flip(bit) },
            );
            let flags = ["-c", "1", "--timeout", "5"];
            let output = scene.start_send(&flags, &[&file], relay.addr).finish(PATIENCE);
            assert_eq!(output.code, Some(0), "{what}: {}", output.err());
            assert_arrived(&[&file], &scene.dst);
            assert_eq!(listing(&scene.dst), ["file"], "{what}");
        }
    }
}

#[test]
fn strangers_do_not_disturb_a_transfer() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", LARGE);
    let (relay, sender, _) = send_half(&scene, &receiver, &file, &[]);
    let mut strangers = Vec::new();
    for n in 0..100 {
        let mut stranger = TcpStream::connect(receiver.addr).unwrap();
        // Half of them stay connected and say no more.
        let words: &[u8] = match n % 10 {
            0 => b"",
            1 => b"lanx",
            2 => b"lanx\x01\x00\x00\x00",
            3 => b"lanx\x01\x00\x01\x00 some other session",
            4 => &noise(n, 100),
            5 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            6 => b"SSH-2.0-OpenSSH_9.9\r\n",
            7 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            8 => b"lanx\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
            _ => &[0; 1000],
        };
        stranger.write_all(words).unwrap();
        if n % 2 == 0 {
            strangers.push(stranger);
        }
    }
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&file], &scene.dst);
    let another = make(&scene.src, "another", 10);
    scene.send(&[&another], receiver.addr).expect_success();
    assert_eq!(listing(&scene.dst), ["another", "file"]);
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
}

#[test]
fn a_receiver_that_cannot_store_a_file_names_it_to_both_sides_and_stores_the_others() {
    for size in [CHUNK, 2 * CHUNK, 40 * CHUNK] {
        let scene = Scene::new();
        let mut command = Command::new("sh");
        scene.isolate(&mut command);
        // Blocks of 512 bytes in dash, of 1024 in bash: 64 or 128 KiB at most in a file.
        command.args(["-c", "ulimit -f 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lanx")]);
        let receiver = Receiver::start_as(command, "127.0.0.1:0", &["--once"], &scene.dst);
        let files =
            [make(&scene.src, "small", 1000), make(&scene.src, "big", size), make(&scene.src, "other", 0)];
        let output = scene.send(&files, receiver.addr);
        let big = scene.dst.join("big");
        let big = big.to_str().unwrap();
        output.expect_complaint(7, &[big]).expect_out(&["2 files, ", "1 file failed"]);
        receiver.process.finish(PATIENCE).expect_complaint(7, &[big]);
        assert_arrived(&[&files[0], &files[2]], &scene.dst);
        assert_eq!(listing(&scene.dst), ["other", "small"]);
    }
}
