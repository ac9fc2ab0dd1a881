//! Whoever comes late replaces nothing newer: senders that were frozen, senders at the same time, receivers that share a folder.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::common::*;

const MIB: usize = 1 << 20;

/// What was at the receiver before, and what two senders have for the same name.
struct Versions {
    late: PathBuf,
    newer: PathBuf,
}

impl Versions {
    fn of(scene: &Scene, bytes: usize) -> Versions {
        make_of(&scene.dst, "file", &noise(1, bytes));
        let of = |folder: &str, seed| {
            fs::create_dir(scene.src.join(folder)).unwrap();
            make_of(&scene.src.join(folder), "file", &noise(seed, bytes))
        };
        Versions { late: of("late", 2), newer: of("newer", 3) }
    }

    /// The receiver has the newer one and nothing else.
    fn assert_newer(&self, scene: &Scene) {
        assert_same(&self.newer, &scene.dst.join("file"));
        assert_eq!(listing(&scene.dst), ["file"]);
    }
}

#[test]
fn a_frozen_sender_that_comes_back_in_another_session_replaces_nothing_newer() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, 16 * MIB);
    let receiver = scene.receiver_with(&["--overwrite", "--timeout", "5"]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let late = scene.start_send(&["--timeout", "5"], &[&versions.late], relay.addr);
    relay.wait_until_held();
    late.signal(Signal::STOP);
    receiver.wait_for_stderr("said nothing for 5 s");
    scene.send(&[&versions.newer], receiver.addr).expect_success();
    relay.release();
    late.signal(Signal::CONT);
    late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
    versions.assert_newer(&scene);
    // It began after that, and so it is no longer late.
    scene.send(&[&versions.late], receiver.addr).expect_success();
    assert_same(&versions.late, &scene.dst.join("file"));
}

#[test]
fn a_sender_that_lost_its_connection_replaces_what_was_there_before_it_began() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, 16 * MIB);
    let receiver = scene.receiver_with(&["--overwrite"]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send(&[], &[&versions.newer], relay.addr);
    relay.wait_until_held();
    relay.cut_control();
    relay.release();
    sender.finish(PATIENCE).expect_code(0);
    versions.assert_newer(&scene);
}

#[test]
fn of_two_senders_at_once_the_slower_one_replaces_nothing_that_the_other_has_published() {
    for bytes in [1000, 4 * MIB] {
        let scene = Scene::new();
        let versions = Versions::of(&scene, bytes);
        let receiver = scene.receiver_with(&["--overwrite"]);
        let relay = Relay::holding_after(receiver.addr, bytes as u64 / 2);
        let late = scene.start_send(&[], &[&versions.late], relay.addr);
        relay.wait_until_held();
        scene.send(&[&versions.newer], receiver.addr).expect_success();
        relay.release();
        late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
        versions.assert_newer(&scene);
    }
}

#[test]
fn what_waited_in_a_pipe_replaces_nothing_that_came_meanwhile() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, MIB);
    let receiver = scene.receiver_with(&["--overwrite"]);
    // It has read what it sends, and the way to the receiver stands still.
    let relay = Relay::to(receiver.addr);
    relay.freeze();
    let mut command = scene.lanx();
    command.args(["send", "-", &relay.addr.to_string(), "--name", "file"]);
    let late = Process::spawn_fed(command, fs::File::open(&versions.late).unwrap());
    wait_until("it has come", PATIENCE, || relay.control_connections() > 0);
    scene.send(&[&versions.newer], receiver.addr).expect_success();
    relay.thaw();
    late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
    versions.assert_newer(&scene);
}
