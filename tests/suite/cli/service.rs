//! A receiver that somebody else runs: sockets that are handed over, signals, and what the service manager and the journal
//! hear.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;

use crate::common::*;

const MIB: usize = 1 << 20;

/// Longer than any test waits: who ends within that has not waited for the end of the grace.
const ENDLESS_GRACE: [&str; 2] = ["--grace", "600"];

/// A sender half-way through a file of 16 MiB, held by the relay.
fn half_way(scene: &Scene, receiver: SocketAddr) -> (Relay, Process) {
    let file = make(&scene.src, "file", 16 * MIB);
    let relay = Relay::holding_after(receiver, 8 * MIB as u64);
    let sender = scene.start_send(&[], &[file], relay.addr);
    relay.wait_until_held();
    // What has crossed is still to be read, and a chunk of each connection may have come in part.
    let whole = fs::read(scene.src.join("file")).unwrap();
    wait_until("the receiver has taken in what has crossed", PATIENCE, || {
        bytes_in_common(&whole, &part_path(&scene.dst, "file")) >= 6 * MIB as u64
    });
    (relay, sender)
}

/// Waits until a receiver that is about to end lets nobody in. Before it has said so, it would take the file.
fn wait_until_it_leaves(scene: &Scene, addr: SocketAddr, said: impl Fn() -> String) {
    wait_until("the receiver has heard the signal", PATIENCE, || {
        said().contains("shutting down: no new senders")
    });
    let other = make(&scene.src, "other", 10);
    wait_until("the receiver lets nobody in", PATIENCE, || {
        let sent = scene.send(&[&other], addr);
        sent.code == Some(3) && sent.err().contains("is shutting down or restarting")
    });
}

#[test]
fn files_come_to_a_socket_that_was_handed_over() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 2 * CHUNK + 1);
    let (listener, addr) = socket("127.0.0.1:0");
    let receiver = activated(&scene, &[&listener], &["--once"]);
    scene.send(&[&file], addr).expect_success();
    let output = receiver.finish(PATIENCE);
    output.expect_code(0).expect_out(&[&format!("listening on {addr}")]);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn files_come_to_each_of_two_sockets() {
    let scene = Scene::new();
    let (four, four_addr) = socket("127.0.0.1:0");
    let (other, other_addr) = socket(if has_ipv6() { "[::1]:0" } else { "127.0.0.1:0" });
    let receiver = activated(&scene, &[&four, &other], &[]);
    for (name, addr) in [("four", four_addr), ("other", other_addr), ("four again", four_addr)] {
        let file = make(&scene.src, name, CHUNK + 1);
        scene.send(&[&file], addr).expect_success();
        assert_arrived(&[&file], &scene.dst);
    }
    for addr in [four_addr, other_addr] {
        assert!(receiver.stderr.text().contains(&format!("listening on {addr}")), "{}", receiver.story());
    }
}

#[test]
fn files_come_to_a_datagram_socket_that_was_handed_over() {
    let scene = Scene::new();
    let (listener, _) = socket("127.0.0.1:0");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = datagrams.local_addr().unwrap();
    let receiver = activated(&scene, &[&listener, &datagrams], &[]);
    let file = make(&scene.src, "file", 2 * CHUNK + 1);
    scene.send_with(&["--quic"], &[&file], addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
    assert!(
        receiver.stderr.text().contains(&format!("listening for QUIC on {addr}")),
        "{}",
        receiver.story()
    );
}

#[test]
fn a_socket_that_nobody_can_connect_to_is_refused() {
    let scene = Scene::new();
    let (bound, _) = refusing();
    let receiver = activated(&scene, &[&bound], &[]);
    receiver
        .finish(PATIENCE)
        .expect_complaint(2, &["the inherited socket 1 cannot be used", "ListenStream="]);
}

#[test]
fn an_address_beside_sockets_that_were_handed_over_is_refused() {
    let scene = Scene::new();
    let (listener, _) = socket("127.0.0.1:0");
    let receiver = activated(&scene, &[&listener], &["--listen", "127.0.0.1:0"]);
    receiver.finish(PATIENCE).expect_complaint(2, &["--listen", ".socket unit"]);
}

#[test]
fn an_idle_receiver_ends_at_sigterm_at_once_and_well() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&ENDLESS_GRACE);
    // Somebody who is answered shows that it has come so far as to listen for signals too.
    scene.send(&[make(&scene.src, "file", 1)], receiver.addr).expect_success();
    // Nor does it wait for somebody who came and says nothing.
    let _silent = std::net::TcpStream::connect(receiver.addr).unwrap();
    receiver.process.signal(Signal::TERM);
    receiver.process.finish(PATIENCE).expect_success();
}

#[test]
fn a_receiver_that_was_to_receive_something_and_has_not_was_interrupted() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--grace", "600"]);
    receiver.process.signal(Signal::TERM);
    receiver.process.finish(PATIENCE).expect_code(130);
}

#[test]
fn a_transfer_under_way_at_sigterm_comes_to_its_end_and_nobody_else_is_let_in() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&ENDLESS_GRACE);
    let (relay, sender) = half_way(&scene, receiver.addr);
    receiver.process.signal(Signal::TERM);
    wait_until_it_leaves(&scene, receiver.addr, || receiver.process.stderr.text());
    relay.release();
    sender.finish(PATIENCE).expect_success();
    let output = receiver.process.finish(PATIENCE);
    output.expect_complaint(0, &["shutting down: no new senders; 1 transfer has 600 s to finish"]);
    assert_arrived(&[scene.src.join("file")], &scene.dst);
}

/// Starts the next receiver, which is where the relay leads to from now on.
fn next_receiver(scene: &Scene, relay: &Relay) -> Receiver {
    let receiver = scene.receiver();
    relay.lead_to(receiver.addr);
    receiver
}

/// Demands that the sender goes on by itself with the receiver that `again` starts, and that only the rest crosses.
fn goes_on<Kept>(scene: &Scene, relay: &Relay, sender: Process, again: impl FnOnce() -> Kept) {
    assert!(part_path(&scene.dst, "file").exists(), "nothing was kept");
    wait_until("the sender looks for its receiver", PATIENCE, || {
        let heard = sender.stderr.text();
        heard.contains("the receiver is shutting down or restarting; retrying for")
    });
    let before = relay.carried();
    let _again = again();
    relay.release();
    sender.finish(PATIENCE).expect_code(0);
    assert_arrived(&[scene.src.join("file")], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"]);
    // Of the 8 MiB that were there, some were still on their way.
    let after = relay.carried() - before;
    assert!(after < 14 * MIB as u64, "{after} bytes crossed again");
}

#[test]
fn without_grace_a_transfer_is_parked_and_goes_on_with_the_next_receiver() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--grace", "0"]);
    let (relay, sender) = half_way(&scene, receiver.addr);
    receiver.process.signal(Signal::TERM);
    let output = receiver.process.finish(PATIENCE);
    output.expect_complaint(0, &["the receiver is shutting down or restarting", "it resumes when"]);
    assert!(!output.err().contains("may go on"), "{}", output.err());
    goes_on(&scene, &relay, sender, || next_receiver(&scene, &relay));
}

#[test]
fn a_transfer_that_outlasts_the_grace_is_parked() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--grace", "1"]);
    let (relay, sender) = half_way(&scene, receiver.addr);
    receiver.process.signal(Signal::TERM);
    let output = receiver.process.finish(PATIENCE);
    let words = ["1 transfer has 1 s to finish", "the receiver is shutting down or restarting"];
    output.expect_complaint(0, &words);
    goes_on(&scene, &relay, sender, || next_receiver(&scene, &relay));
}

#[test]
fn a_signal_in_the_grace_cuts_it_short() {
    for signal in [Signal::TERM, Signal::INT] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&ENDLESS_GRACE);
        let (relay, sender) = half_way(&scene, receiver.addr);
        receiver.process.signal(Signal::TERM);
        wait_until_it_leaves(&scene, receiver.addr, || receiver.process.stderr.text());
        receiver.process.signal(signal);
        receiver.process.finish(PATIENCE).expect_code(0);
        goes_on(&scene, &relay, sender, || next_receiver(&scene, &relay));
    }
}

#[test]
fn whoever_comes_while_a_receiver_is_restarted_is_served_at_the_socket_that_stays() {
    let scene = Scene::new();
    let (listener, addr) = socket("127.0.0.1:0");
    let receiver = activated(&scene, &[&listener], &["--grace", "0"]);
    let (relay, sender) = half_way(&scene, addr);
    receiver.signal(Signal::TERM);
    receiver.finish(PATIENCE).expect_code(0);
    // Comes to the kernel, which keeps it.
    let early = make(&scene.src, "early", CHUNK);
    let early_sender = scene.start_send(&[], &[&early], addr);
    let again = activated(&scene, &[&listener], &[]);
    early_sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&early], &scene.dst);
    fs::remove_file(scene.dst.join("early")).unwrap();
    goes_on(&scene, &relay, sender, || again);
}

#[test]
fn a_sender_that_waits_for_its_turn_hears_that_the_receiver_goes_away() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1", "--grace", "600"]);
    let (relay, sender) = half_way(&scene, receiver.addr);
    let waiting = scene.start_send(&[], &[make(&scene.src, "waits", 10)], receiver.addr);
    wait_until("it waits", PATIENCE, || waiting.stderr.text().contains("waiting for a turn"));
    receiver.process.signal(Signal::TERM);
    let output = waiting.finish(PATIENCE);
    assert_eq!(output.code, Some(3), "{}", output.err());
    assert!(output.err().contains("is shutting down or restarting; try again"), "{}", output.err());
    relay.release();
    sender.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
}

/// Waits for a datagram that holds `words`.
#[track_caller]
fn hear(manager: &UnixDatagram, words: &[&str]) {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let n = manager.recv(&mut bytes).unwrap_or_else(|e| panic!("no {words:?} in {heard:?}: {e}"));
        let text = String::from_utf8(bytes[..n].to_vec()).unwrap();
        if words.iter().all(|word| text.contains(word)) {
            return;
        }
        heard.push(text);
    }
}

#[test]
fn a_service_manager_hears_how_the_receiver_stands() {
    let scene = Scene::new();
    let manager = UnixDatagram::bind(scene.path("notify")).unwrap();
    let mut command = scene.lanx();
    command.env("NOTIFY_SOCKET", scene.path("notify"));
    let receiver = Receiver::start_as(command, "127.0.0.1:0", &[], &scene.dst);
    hear(&manager, &["READY=1"]);
    hear(&manager, &["STATUS=0 transfers under way"]);
    let (relay, sender) = half_way(&scene, receiver.addr);
    hear(&manager, &["STATUS=1 transfer under way"]);
    receiver.process.signal(Signal::HUP);
    hear(&manager, &["RELOADING=1", "MONOTONIC_USEC="]);
    hear(&manager, &["READY=1"]);
    receiver.process.signal(Signal::TERM);
    hear(&manager, &["STOPPING=1"]);
    relay.release();
    sender.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
}

#[test]
fn the_journal_gets_a_line_for_each_event_with_its_level_and_nothing_else_before_it() {
    let scene = Scene::new();
    let log = scene.path("log");
    let journal = File::create(&log).unwrap().metadata().unwrap();
    let mut command = Command::new("sh");
    scene.isolate(&mut command);
    command.env("JOURNAL_STREAM", format!("{}:{}", journal.dev(), journal.ino())).env("LOG", &log);
    command.args(["-c", r#"exec "$0" "$@" 1>>"$LOG" 2>>"$LOG""#, env!("CARGO_BIN_EXE_lanx"), "recv"]);
    command.args(["--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let receiver = Process::spawn(command);
    let lines = || fs::read_to_string(&log).unwrap();
    let said = |words: &str| wait_until(words, PATIENCE, || lines().contains(words));
    said("listening on ");
    let addr: SocketAddr = lines().split("listening on ").nth(1).unwrap().trim().parse().unwrap();
    scene.send(&[make(&scene.src, "a\nb", CHUNK)], addr).expect_code(0);
    said("from 127.0.0.1: ");
    scene.send_by("eve", None, &make(&scene.src, "no", 10), addr).expect_code(4);
    said("<4>refused 127.0.0.1: ");
    let (relay, sender) = half_way(&scene, addr);
    receiver.signal(Signal::TERM);
    wait_until_it_leaves(&scene, addr, lines);
    receiver.signal(Signal::TERM);
    receiver.finish(PATIENCE).expect_code(0);
    drop((relay, sender));
    let all = lines();
    let beginnings = [
        "receiving into ",
        "from 127.0.0.1: a\\nb: 1 file, ",
        "<4>refused 127.0.0.1: ",
        "<6>shutting down: no new senders",
        "<3>127.0.0.1: ",
    ];
    assert_eq!(all.lines().count(), beginnings.len(), "{all}");
    for (line, beginning) in all.lines().zip(beginnings) {
        assert!(line.starts_with(beginning), "{beginning:?} in {all}");
    }
}
