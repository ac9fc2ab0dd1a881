//! `lanx doctor`, alone and with a receiver, and peers that abuse a session that only measures.

use std::io::Write;

use crate::common::hostile::intruder;
use crate::common::peer::{HandReceiver, HandSender, identity, probe_frame, welcome};
use crate::common::*;
use lanx::wire::message::{Barred, ReceiverMessage, SenderMessage, Wishes};
use rustix::process::Signal;
use serde_json::Value;

/// A sender driven by hand in a session that measures.
fn measurer(scene: &Scene, receiver: &Receiver) -> HandSender {
    let mut sender = HandSender::connect(None, &identity(&scene.path("config")), receiver.addr).unwrap();
    let wishes = Wishes { measure: true, ..Wishes::default() };
    let answer = sender.hello_with(4, wishes).unwrap();
    assert!(matches!(answer, ReceiverMessage::Welcome { .. }), "not let in: {answer:?}");
    sender
}

/// What was measured: of the peer or not, and of how many connections.
fn measured(events: &[Value]) -> Vec<(&str, bool, u64)> {
    let of = |event: &'_ Value| {
        assert!(event["bytes_per_second"].as_u64().unwrap() > 0, "{event}");
        (event.get("peer").is_some(), event["connections"].as_u64().unwrap_or(0))
    };
    let events = of_kind(events, "measured").into_iter();
    events.map(|event| (event["what"].as_str().unwrap(), of(event).0, of(event).1)).collect()
}

const ALONE: [(&str, bool, u64); 7] = [
    ("disk_write", false, 0),
    ("disk_read", false, 0),
    ("hash", false, 0),
    ("seal", false, 0),
    ("compress_lz4", false, 0),
    ("compress_zstd_1", false, 0),
    ("compress_zstd_3", false, 0),
];

#[test]
fn alone_it_measures_this_machine_and_leaves_nothing() {
    let scene = Scene::new();
    let told = scene.run(["doctor"]);
    told.expect_success();
    told.expect_out(&[
        "this machine: ",
        "disk, write",
        "disk, read",
        "hash",
        "seal",
        "lz4",
        "zstd:3",
        "expected from here",
    ]);
    assert!(!told.out().contains("network to"), "{}", told.out());
    let events = scene.run(["doctor", "--json", "--dir", scene.dst.to_str().unwrap()]).events();
    assert_eq!(measured(&events), ALONE);
    let done = events.last().unwrap();
    for way in ["sending", "receiving"] {
        assert!(done[way]["bytes_per_second"].as_u64().unwrap() > 0, "{done}");
    }
    assert!(listing(&scene.src).is_empty() && listing(&scene.dst).is_empty());
}

#[test]
fn a_folder_that_cannot_be_measured_is_named() {
    let scene = Scene::new();
    let missing = scene.run(["doctor", "--dir", "missing"]);
    missing.expect_complaint(2, &["there is no folder missing", "--dir DIR"]);
    assert!(!missing.err().contains("send again"), "{}", missing.err());
    let events = scene.run(["doctor", "--json", "--dir", "missing"]).events();
    assert_eq!(kinds(&events), ["error"]);
}

#[test]
fn with_a_host_it_measures_the_network_and_the_receiver_stores_nothing_and_serves_others() {
    let scene = Scene::new();
    // A transfer would end it.
    let receiver = scene.receiver_with(&["--once"]);
    let told = scene.run(["doctor", "--json", &receiver.addr.to_string()]);
    told.expect_success();
    let events = told.events();
    let network = [1, 2, 4, 8].map(|n| ("network", true, n));
    let there = [("hash", true, 0), ("seal", true, 0)];
    assert_eq!(measured(&events), [&network[..], &there, &ALONE].concat());
    let topics: Vec<_> = of_kind(&events, "advice").iter().map(|advice| advice["topic"].clone()).collect();
    assert!(topics.contains(&"same_machine".into()), "{topics:?}");
    let done = events.last().unwrap();
    assert_eq!(done["peer"], receiver.addr.to_string());
    assert!(done["sending"]["limit"].is_string() && done.get("receiving").is_none(), "{done}");
    receiver.wait_for_stdout("127.0.0.1 ran a speed test (");
    assert!(listing(&scene.dst).is_empty());
    let file = make(&scene.src, "file", 2 * CHUNK);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
    receiver.process.finish(PATIENCE).expect_success();
}

#[test]
fn a_person_sees_each_figure_beside_the_others() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let told = scene.run(["doctor", &receiver.addr.to_string()]);
    told.expect_success();
    told.expect_out(&[
        "network to 127.0.0.1",
        "  1 connection ",
        "  2 connections ",
        "  4 connections ",
        "  8 connections ",
        "of its own: ",
        "this machine: ",
        "expected to 127.0.0.1",
        "limited by ",
        "advice: both ends are this machine",
    ]);
}

#[test]
fn a_host_that_is_not_there_or_takes_one_file_only_is_told() {
    let scene = Scene::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    scene.run(["doctor", &nobody.to_string()]).expect_complaint(3, &["refused the connection"]);
    scene.run(["doctor", "a b"]).expect_complaint(2, &["doctor takes a host"]);
    let receiver = Receiver::to_output(&scene, &[], std::process::Stdio::null());
    scene.run(["doctor", &receiver.addr.to_string()]).expect_complaint(4, &["lets nobody measure"]);
    // And still takes it.
    let file = make(&scene.src, "file", 5);
    scene.send(&[&file], receiver.addr).expect_success();
}

#[test]
fn a_stranger_does_not_measure() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut command = scene.lanx();
    command.env("LANX_CONFIG_DIR", scene.path("other")).args(["doctor", &receiver.addr.to_string()]);
    Process::spawn(command).finish(PATIENCE).expect_complaint(4, &["does not know this machine"]);
}

#[test]
fn ctrl_c_ends_it_at_both_ends_and_leaves_nothing() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let start = |args: &[&str]| {
        let mut command = scene.lanx();
        command.arg("doctor").args(args);
        Process::spawn(command)
    };
    let host = receiver.addr.to_string();
    let process = start(&["--json", &host]);
    process.wait_for_event("measured", 1);
    process.signal(Signal::INT);
    let ended = process.finish(PATIENCE);
    ended.expect_code(130);
    assert_eq!(ended.events().last().unwrap()["event"], "error");
    receiver.wait_for_stderr("began a speed test");
    assert!(listing(&scene.src).is_empty() && listing(&scene.dst).is_empty());
    let file = make(&scene.src, "file", 5);
    scene.send(&[&file], receiver.addr).expect_success();
}

/// The receiver must dismiss `sender` with these words.
#[track_caller]
fn dismissed(mut sender: HandSender, words: &str) {
    let (_, reason) = sender.dismissal();
    assert!(reason.contains("broke the protocol") && reason.contains(words), "{reason}");
}

#[test]
fn probes_are_for_sessions_that_measure_and_files_for_all_others() {
    let scene = Scene::new();
    let receiver = scene.receiver();

    let sender = intruder(&scene, &receiver);
    let (mut sealer, mut stream) = sender.open_data(0);
    stream.write_all(&probe_frame(&mut sealer, &[7; 1000])).unwrap();
    dismissed(sender, "a probe");

    let mut sender = measurer(&scene, &receiver);
    sender.blurt(&[crate::common::hostile::offer(0, "file", 5)]);
    dismissed(sender, "an offer");

    let sender = measurer(&scene, &receiver);
    let (mut sealer, mut stream) = sender.open_data(0);
    stream.write_all(&crate::common::peer::chunk_frame(&mut sealer, 0, 0, &[7; 1000])).unwrap();
    dismissed(sender, "file 0, which is not under way");
    drop(stream);
    assert!(listing(&scene.dst).is_empty());

    // An honest one is told what has arrived, and of the machine.
    let mut sender = measurer(&scene, &receiver);
    let (mut sealer, mut stream) = sender.open_data(0);
    stream.write_all(&[&[7; 1000][..], &[]].map(|bytes| probe_frame(&mut sealer, bytes)).concat()).unwrap();
    let progress = ReceiverMessage::Progress { written: 1000, kept: 0 };
    sender.hear_until(|message| {
        matches!(message, ReceiverMessage::Speeds { hash: 1.., seal: 1.., cores: 1.. })
    });
    sender.hear_until(|message| *message == progress);
    sender.blurt(&[SenderMessage::Finish { files: 0 }]);
    sender.hear_until(|message| *message == ReceiverMessage::Bye);
}

#[test]
fn a_receiver_that_lies_to_a_doctor_is_found_out() {
    let speeds = ReceiverMessage::Speeds { hash: 1, seal: 1, cores: 1 };
    let written = ReceiverMessage::Progress { written: u64::MAX, kept: 0 };
    let send = ReceiverMessage::Send { file: lanx::content::chunk::FileId(0) };
    for (says, words) in [
        (vec![written], "a count of bytes that were not sent"),
        (vec![send], "another message"),
        (vec![ReceiverMessage::Bye], "another message"),
        (vec![ReceiverMessage::Barred(Barred::Busy)], "another message"),
        (vec![speeds.clone(), speeds], "another message"),
    ] {
        let scene = Scene::new();
        let receiver = HandReceiver::listen(identity(&scene.path("config")));
        let mut command = scene.lanx();
        command.args(["doctor", "--timeout", "5", &receiver.addr.to_string()]);
        let doctor = Process::spawn(command);
        let mut talk = receiver.accept().unwrap();
        let hello = talk.hear::<SenderMessage>().unwrap();
        assert!(matches!(&hello, SenderMessage::Hello(hello) if hello.wishes.measure), "{hello:?}");
        talk.say(&welcome()).unwrap();
        let _ = says.iter().try_for_each(|message| talk.say(message));
        while talk.hear::<SenderMessage>().is_ok_and(|said| !matches!(said, SenderMessage::Leave { .. })) {}
        drop(talk);
        doctor.finish(PATIENCE).expect_complaint(1, &["broke the protocol", words]);
    }
}
