//! How a receiver is found, how long it serves, and what it says.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::*;
use rustix::process::Signal;

#[test]
fn ipv6_is_as_good_as_ipv4() {
    if !has_ipv6() {
        return;
    }
    let scene = Scene::new();
    let file = make(&scene.src, "six", 2 * CHUNK + 1);
    let receiver = Receiver::start(&scene, "[::1]:0", &[], &scene.dst);
    assert!(receiver.addr.is_ipv6());
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_receiver_on_every_address_takes_ipv4_ipv6_and_names() {
    if !has_ipv6() {
        return;
    }
    let scene = Scene::new();
    let receiver = Receiver::start(&scene, "[::]:0", &[], &scene.dst);
    let port = receiver.addr.port();
    for (number, host) in ["127.0.0.1", "[::1]", "localhost"].into_iter().enumerate() {
        let file = make(&scene.src, format!("file {number}"), CHUNK + number);
        scene.send(&[&file], format!("{host}:{port}")).expect_success();
        assert_arrived(&[&file], &scene.dst);
    }
}

#[test]
fn a_name_whose_first_address_refuses_is_tried_at_its_next() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 100);
    // `localhost` is ::1 and 127.0.0.1 on most machines, and nobody listens on the former here.
    let receiver = scene.receiver();
    scene.send(&[&file], format!("localhost:{}", receiver.addr.port())).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn once_ends_with_the_result_of_the_first_transfer() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 1000);
    for (size, code) in [(1000, 0), (1001, 5)] {
        make(&scene.src, "file", size);
        let receiver = scene.receiver_with(&["--once"]);
        assert_eq!(scene.send(&[&file], receiver.addr).code, Some(code));
        assert_eq!(receiver.process.finish(PATIENCE).code, Some(code));
    }
}

#[test]
fn once_is_not_used_up_by_somebody_who_sends_nothing() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 1000);
    let receiver = scene.receiver_with(&["--once"]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"lan", b""] {
        let mut stranger = TcpStream::connect(receiver.addr).unwrap();
        stranger.write_all(bytes).unwrap();
    }
    scene.send(&[&file], receiver.addr).expect_success();
    assert_eq!(receiver.process.finish(PATIENCE).code, Some(0));
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn once_ends_with_the_first_result_although_another_transfer_is_under_way() {
    let scene = Scene::new();
    let (slow, quick) = (make(&scene.src, "slow", 16 * CHUNK), make(&scene.src, "quick", 10));
    let receiver = scene.receiver_with(&["--once"]);
    let relay = Relay::holding_after(receiver.addr, CHUNK as u64);
    let held = scene.start_send(&[], &[&slow], relay.addr);
    relay.wait_until_held();
    scene.send(&[&quick], receiver.addr).expect_success();
    assert_eq!(receiver.process.finish(PATIENCE).code, Some(0));
    held.finish(PATIENCE).expect_complaint(3, &["the receiver was stopped"]);
}

#[test]
fn quiet_prints_nothing_on_success_and_errors_all_the_same() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", CHUNK + 1);
    // It does not say where it listens, so that is a socket that the test knows.
    let (listener, addr) = socket("127.0.0.1:0");
    let receiver = activated(&scene, &[&listener], &["--once", "-q"]);
    let sent = scene.send_with(&["-q"], &[&file], addr);
    sent.expect_success();
    assert_eq!(sent.out(), "");
    let received = receiver.finish(PATIENCE);
    received.expect_success();
    assert_eq!(received.out(), "");
    assert_arrived(&[&file], &scene.dst);

    let failed = scene.run(["send", "-q", "missing", "127.0.0.1"]);
    failed.expect_complaint(5, &["missing"]);
}

#[test]
fn the_receiver_shows_the_very_command_for_the_other_machine() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let command = format!("lanx send FILE {}", receiver.addr);
    receiver.wait_for_stdout(&command);
    let file = make(&scene.src, "FILE", 10);
    let typed: Vec<&str> = command.split(' ').skip(1).collect();
    scene.run(typed).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_missing_folder_is_made_where_only_its_last_part_is_missing() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 10);
    let dir = scene.dst.join("new folder");
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &[], &dir);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &dir);
}

#[test]
fn the_folder_is_the_current_one_where_none_is_given() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 10);
    let mut command = scene.lanx();
    command.current_dir(&scene.dst);
    let receiver = Receiver::start_as(command, "127.0.0.1:0", &[], ".".as_ref());
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn of_a_flood_of_strangers_it_is_told_how_many_there_were_although_nobody_comes_after_them() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let come = |strangers: usize| {
        for _ in 0..strangers {
            let mut stranger = TcpStream::connect(receiver.addr).unwrap();
            stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let _ = stranger.read_to_end(&mut Vec::new());
        }
    };
    come(5);
    receiver.wait_for_stderr("refused 2 more\n");
    come(7);
    // Once the last one is counted, it is told at the end, too.
    wait_until("three more are told of", PATIENCE, || {
        receiver.process.stderr.text().matches("refused 127.0.0.1: ").count() == 6
    });
    receiver.process.signal(Signal::TERM);
    let output = receiver.process.finish(PATIENCE);
    assert!(output.err().contains("refused 4 more\n"), "{}", output.err());
}
