//! DIR is a name: each session receives into what it leads to, and nobody hears that a file arrived which lies elsewhere.
//! What was there before the session is not the sender's to change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::*;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_session_receives_into_the_folder_that_is_there_when_it_begins() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (first, second) = (make(&scene.src, "first", 100), make(&scene.src, "second", 300_000));
    scene.send(&[&first], receiver.addr).expect_success();
    fs::rename(&scene.dst, scene.path("moved away")).unwrap();
    scene.send(&[&second], receiver.addr).expect_complaint(7, &["make it again, then send again"]);
    fs::create_dir(&scene.dst).unwrap();
    scene.send(&[&second], receiver.addr).expect_success();
    assert_arrived(&[&second], &scene.dst);
    assert_eq!(listing(&scene.path("moved away")), ["first"]);
    receiver.wait_for_stderr("is another folder than before");
}

#[test]
fn a_folder_that_is_swapped_under_a_session_is_told_with_exit_code_7_and_no_file_is_verified() {
    for size in [100, 3_000_000] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", size);
        let relay = Relay::holding_after(receiver.addr, 30);
        let sent = scene.start_send(&[], &[&file], relay.addr);
        relay.wait_until_held();
        fs::rename(&scene.dst, scene.path("moved away")).unwrap();
        fs::create_dir(&scene.dst).unwrap();
        relay.release();
        let sent = sent.finish(PATIENCE);
        sent.expect_complaint(7, &["is another folder now (mounted or unmounted?)"]);
        assert!(!sent.out().contains("verified"), "{}", sent.out());
        assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
        assert!(!scene.path("moved away").join("file").exists());
    }
}

#[test]
fn a_receiver_that_wants_a_mount_refuses_a_plain_folder() {
    let scene = Scene::new();
    let mut command = scene.lanx();
    command.args(["recv", "--mounted", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    Process::spawn(command).finish(PATIENCE).expect_complaint(7, &["nothing is mounted at", "--mounted"]);
}

#[test]
fn an_existing_folder_keeps_its_mode_and_time_unless_the_receiver_overwrites() {
    let scene = Scene::new();
    let folder = scene.src.join("folder");
    fs::create_dir(&folder).unwrap();
    make(&folder, "file", 10);
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let there = scene.dst.join("folder");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, Permissions::from_mode(0o750)).unwrap();
    let receiver = scene.receiver();
    scene.send(&[&folder], receiver.addr).expect_success();
    assert_eq!(mode(&there), 0o750);
    drop(receiver);
    let receiver = scene.receiver_with(&["--overwrite"]);
    scene.send(&[&folder], receiver.addr).expect_success();
    assert_eq!(mode(&there), 0o777);
    assert_eq!(fs::metadata(&there).unwrap().mtime(), fs::metadata(&folder).unwrap().mtime());
}

#[test]
fn a_dry_run_does_not_use_up_once() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once"]);
    let file = make(&scene.src, "file", 10);
    scene.send_with(&["--dry-run"], &[&file], receiver.addr).expect_success();
    scene.send(&[&file], receiver.addr).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}
