//! A receiver that may have few files open serves those who belong all the same.

use std::collections::VecDeque;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::peer::{control_preface, raw};
use crate::common::*;

/// Connections that each thread of the flood holds open: all together many times more than the receiver may have.
const HELD: usize = 350;

/// A folder with `folders` folders, and in each a small file and one of more than one chunk.
fn make_tree(scene: &Scene, folders: usize) -> PathBuf {
    let tree = scene.src.join("tree");
    for number in 0..folders {
        let folder = tree.join(format!("{number}"));
        fs::create_dir_all(&folder).unwrap();
        make(&folder, "small", 100 + number);
        make(&folder, "large", CHUNK + number);
    }
    tree
}

fn assert_same_tree(one: &Path, other: &Path) {
    assert_eq!(listing(one), listing(other));
    for folder in listing(one) {
        for name in ["small", "large"] {
            assert!(
                read(&one.join(&folder).join(name)) == read(&other.join(&folder).join(name)),
                "{folder:?}"
            );
        }
    }
}

/// Connects from another machine than those who belong, again and again, says that it is a sender, and nothing more.
fn flood(receiver: SocketAddr, stop: &AtomicBool) {
    let from = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66)));
    let mut held = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok(stranger) = raw(from, receiver, &control_preface()) {
            held.push_back(stranger);
        }
        if held.len() > HELD {
            held.pop_front();
        }
    }
}

#[test]
fn strangers_who_never_stop_coming_keep_nobody_out_and_leave_files_to_open() {
    let scene = Scene::new();
    let tree = make_tree(&scene, 30);
    let receiver = Receiver::start_as(scene.lanx_with_descriptors(192), "127.0.0.1:0", &[], &scene.dst);
    let stop = AtomicBool::new(false);
    let outputs: Vec<Output> = thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| flood(receiver.addr, &stop))));
        // Once it has sent some away, it has as many as it takes.
        wait_until("strangers are sent away", PATIENCE, || !receiver.process.stderr.bytes().is_empty());
        let outputs = (0..3).map(|_| scene.send(&[&tree], receiver.addr)).collect();
        stop.store(true, Ordering::Relaxed);
        outputs
    });
    for output in outputs {
        output.expect_success();
    }
    assert_same_tree(&tree, &scene.dst.join("tree"));
}

#[test]
fn more_senders_than_there_are_descriptors_for_wait_for_their_turn() {
    let scene = Scene::new();
    let tree = make_tree(&scene, 100);
    let receiver = Receiver::start_as(scene.lanx_with_descriptors(128), "127.0.0.1:0", &[], &scene.dst);
    let senders: Vec<Process> = (0..8).map(|_| scene.start_send(&[], &[&tree], receiver.addr)).collect();
    let outputs: Vec<Output> = senders.into_iter().map(|sender| sender.finish(PATIENCE)).collect();
    for output in &outputs {
        output.expect_code(0);
    }
    assert!(outputs.iter().any(|output| output.err().contains("waiting for a turn")));
    assert_same_tree(&tree, &scene.dst.join("tree"));
}

#[test]
fn files_that_wait_for_the_device_together_leave_some_to_open() {
    let scene = Scene::new();
    let tree = make_tree(&scene, 200);
    let command = scene.lanx_with_descriptors(96);
    let receiver = Receiver::start_as(command, "127.0.0.1:0", &["--sync"], &scene.dst);
    scene.send(&[&tree], receiver.addr).expect_success();
    assert_same_tree(&tree, &scene.dst.join("tree"));
}

#[test]
fn with_too_few_descriptors_nothing_is_begun_and_the_remedy_is_told() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 5);
    let file = file.to_str().unwrap();
    for most in [6, 7, 8, 31] {
        for args in [&["send", file, "127.0.0.1:1"][..], &["list"]] {
            let mut command = scene.lanx_with_descriptors(most);
            command.args(args);
            let output = Process::spawn(command).finish(PATIENCE);
            output
                .expect_complaint(1, &[&format!("may have {most} files open"), "32 at least; ", "ulimit -n"]);
        }
        let mut command = scene.lanx_with_descriptors(most);
        command.args(["send", "--json", file, "127.0.0.1:1"]);
        let events = Process::spawn(command).finish(PATIENCE).expect_code(1).events();
        assert_eq!(kinds(&events), ["error"]);
        assert!(events[0]["hint"].as_str().unwrap().contains("ulimit -n"), "{events:?}");
    }
}

#[test]
fn as_many_descriptors_as_are_asked_for_are_enough_at_both_ends() {
    let scene = Scene::new();
    let files = [make(&scene.src, "small", 5), make(&scene.src, "large", 5 * CHUNK)];
    let receiver = Receiver::start_as(scene.lanx_with_descriptors(32), "127.0.0.1:0", &[], &scene.dst);
    let mut command = scene.lanx_with_descriptors(32);
    command.args(["send", "-c", "1"]).args(&files).arg(receiver.addr.to_string());
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert_arrived(&files, &scene.dst);
}
