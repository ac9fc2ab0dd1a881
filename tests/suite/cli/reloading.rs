//! Settings that are read again at SIGHUP, while the receiver runs.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::*;

const MIB: usize = 1 << 20;

#[test]
fn whoever_is_no_longer_trusted_is_sent_away_after_a_reload_and_what_is_under_way_ends() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let receiver = scene.receiver_of("bob", &[], None);
    let file = make(&scene.src, "file", 16 * MIB);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send_by("alice", &[], None, &file, relay.addr);
    relay.wait_until_held();
    let mut command = scene.lanx_as("bob");
    let listed = Process::spawn({
        let mut list = scene.lanx_as("bob");
        list.arg("trust");
        list
    });
    let key = listed.finish(PATIENCE).out();
    let key = key.split_whitespace().filter(|word| word.starts_with("SHA256:")).nth(1).unwrap().to_owned();
    command.args(["trust", "remove", &key]);
    Process::spawn(command).finish(PATIENCE).expect_code(0);
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("settings were read again; 0 machines paired");
    let other = make(&scene.src, "other", 10);
    let refused = scene.send_by("alice", None, &other, receiver.addr);
    refused.expect_complaint(4, &["does not know this machine"]);
    sender.finish(PATIENCE).expect_complaint(4, &["does not let this machine send any more"]);
    assert!(!scene.dst.join("file").exists());
}

#[test]
fn a_code_in_a_file_is_read_again_and_one_that_cannot_be_read_changes_nothing() {
    let scene = Scene::new();
    let code_file = scene.path("code");
    write_private(&code_file, "first of all codes\n");
    let flags = ["--code-file", code_file.to_str().unwrap()];
    let receiver = scene.receiver_of("bob", &flags, None);
    let file = make(&scene.src, "file", 10);
    write_private(&code_file, "short\n");
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("settings stay as they were");
    scene.send_by("alice", Some("first of all codes"), &file, receiver.addr).expect_code(0);
    write_private(&code_file, "second of all codes\n");
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("settings were read again");
    scene.send_by("carol", Some("second of all codes"), &file, receiver.addr).expect_code(0);
    scene.send_by("dave", Some("first of all codes"), &file, receiver.addr).expect_code(4);
}

/// A line of settings holds from the next transfer on; one that is wrong changes nothing.
#[test]
fn settings_are_read_again_and_wrong_ones_change_nothing() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let config = scene.path("config/config.toml");
    let file = make(&scene.src, "file", 10);
    scene.send(&[&file], receiver.addr).expect_success();
    make(&scene.src, "file", 11);
    scene.send(&[&file], receiver.addr).expect_code(5);
    write_private(&config, "[recv]\noverwrite = true\n");
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("settings were read again");
    scene.send(&[&file], receiver.addr).expect_success();
    write_private(&config, "[recv]\noverwrites = false\n");
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("config.toml:2: ");
    receiver.wait_for_stderr("settings stay as they were");
    write_private(&config, "[recv]\nopen = true\noverwrite = true\n");
    receiver.process.signal(Signal::HUP);
    receiver.wait_for_stderr("takes effect after a restart: open");
    // The sender has the same settings.
    fs::remove_file(&config).unwrap();
    make(&scene.src, "file", 12);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

/// How often the receiver has said this.
fn times(receiver: &Receiver, words: &str) -> usize {
    receiver.process.stderr.text().matches(words).count()
}

/// Has it read its settings again, and waits until it has.
#[track_caller]
fn reload(receiver: &Receiver) {
    let done = |receiver: &Receiver| times(receiver, "settings were read again");
    let before = done(receiver);
    receiver.process.signal(Signal::HUP);
    wait_until("settings are read again", PATIENCE, || done(receiver) > before);
}

#[test]
fn a_code_ends_when_its_file_is_taken_out_of_the_settings_and_another_one_may_follow() {
    let scene = Scene::new();
    let (code_file, config) = (scene.path("code"), scene.path("bob/config.toml"));
    fs::create_dir(scene.path("bob")).unwrap();
    fs::set_permissions(scene.path("bob"), Permissions::from_mode(0o700)).unwrap();
    write_private(&code_file, "first of all codes\n");
    let setting = format!("[recv]\ncode-file = '{}'\n", code_file.display());
    write_private(&config, &setting);
    let receiver = scene.receiver_of("bob", &[], None);
    let file = make(&scene.src, "file", 10);
    scene.send_by("alice", Some("first of all codes"), &file, receiver.addr).expect_code(0);
    write_private(&config, "");
    reload(&receiver);
    scene.send_by("carol", Some("first of all codes"), &file, receiver.addr).expect_code(4);
    receiver.wait_for_stderr("no code-file is set any more");
    // Whoever is paired already stays so.
    scene.send_by("alice", None, &file, receiver.addr).expect_code(0);
    write_private(&code_file, "second of all codes\n");
    write_private(&config, &setting);
    reload(&receiver);
    let sent = || scene.send_by("dave", Some("second of all codes"), &file, receiver.addr).code;
    // After the wrong code it may have to wait a moment.
    wait_until("the next code holds", PATIENCE, || sent() == Some(0));
    assert_eq!(times(&receiver, "no code-file is set any more"), 1, "{}", receiver.process.story());
}

#[test]
fn what_waits_for_a_restart_is_told_at_each_reload_until_it_is_taken_back() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let config = scene.path("config/config.toml");
    write_private(&config, "[recv]\nopen = true\n");
    for told in 1..=2 {
        reload(&receiver);
        wait_until("it is told", PATIENCE, || times(&receiver, "takes effect after a restart: open") == told);
    }
    write_private(&config, "");
    reload(&receiver);
    reload(&receiver);
    assert_eq!(times(&receiver, "takes effect after a restart"), 2, "{}", receiver.process.story());
}

#[test]
fn a_code_that_came_through_a_pipe_is_not_waited_for_again() {
    let scene = Scene::new();
    let pipe = scene.path("pipe");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let writes = pipe.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(writes).unwrap();
        pipe.write_all(b"first of all codes\n").unwrap();
    });
    let receiver = scene.receiver_of("bob", &["--code-file", pipe.to_str().unwrap()], None);
    writer.join().unwrap();
    let file = make(&scene.src, "file", 10);
    for times_told in 1..=3 {
        receiver.process.signal(Signal::HUP);
        wait_until("it is told", PATIENCE, || {
            times(&receiver, "is not a regular file, so the code in it cannot be read again") == times_told
        });
    }
    scene.send_by("alice", Some("first of all codes"), &file, receiver.addr).expect_code(0);
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}
