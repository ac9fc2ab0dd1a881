//! Unfinished files belong to the key that sent them: nobody else is told of them or does anything to them, and they go when
//! the receiver's user says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lanx::content::entry::{Cause, Failure};
use lanx::wire::message::{ReceiverMessage, SenderMessage as Say};

use crate::common::hostile::{file, offer};
use crate::common::peer::{HandSender, identity};
use crate::common::*;

const CHUNKS: usize = 24;
const SIZE: usize = CHUNKS * CHUNK;

/// A file of which `who` has sent a part to an open receiver, and was killed then.
fn interrupted(scene: &Scene, receiver: &Receiver, who: &str) -> (PathBuf, PathBuf) {
    let path = make(&scene.src, "plan", SIZE);
    let relay = Relay::holding_after(receiver.addr, SIZE as u64 / 2);
    let mut sender = scene.start_send_by(who, &["-c", "1"], None, &path, relay.addr);
    relay.wait_until_held();
    let part = scene.dst.join(&parts_of(&scene.dst, "plan")[0]);
    let arrived = (CHUNKS / 2 - 2) * CHUNK;
    wait_until("half of it is on the disk", PATIENCE, || {
        bytes_in_common(&read(&path), &part) >= arrived as u64
    });
    sender.kill();
    drop(relay);
    receiver.wait_for_stderr("the connection was lost");
    (path, part)
}

#[test]
fn what_another_key_does_to_a_name_leaves_an_unfinished_file_of_that_name_alone() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("config", &["--open", "--overwrite"], None);
    let (path, part) = interrupted(&scene, &receiver, "alice");
    let before = read(&part);
    let mallory = identity(&scene.path("mallory"));
    for (n, size) in [SIZE, SIZE + 1, 2 * CHUNK, CHUNK + 1, 7].into_iter().enumerate() {
        let mut sender = HandSender::enter(&mallory, receiver.addr, 1);
        sender.talk.say(&offer(0, "plan", size as u64)).unwrap();
        // As if nothing were there: not a word of what there is to compare.
        let answer = sender.hear_until(|message| !matches!(message, ReceiverMessage::Progress { .. }));
        assert_eq!(answer, ReceiverMessage::Send { file: file(0) }, "{size} bytes");
        if n % 2 == 0 {
            let failure = Failure::new(Cause::Source, "never mind");
            sender.talk.say(&Say::Withdraw { file: file(0), failure }).unwrap();
            sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
        }
    }
    assert!(read(&part) == before, "somebody else changed it");
    let relay = Relay::to(receiver.addr);
    scene.send_by("alice", None, &path, relay.addr).expect_code(0);
    assert!(read(&scene.dst.join("plan")) == read(&path));
    let missing = (CHUNKS / 2 + 3) * CHUNK;
    assert!(relay.carried() < missing as u64, "{} bytes crossed", relay.carried());
    assert!(!part.exists());
}

#[test]
fn a_small_file_of_another_key_arrives_beside_an_unfinished_one_of_its_name() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("config", &["--open"], None);
    let (_, part) = interrupted(&scene, &receiver, "alice");
    let before = read(&part);
    let small = make(&scene.path("home"), "plan", 1000);
    scene.send_by("bob", None, &small, receiver.addr).expect_code(0);
    assert_same(&small, &scene.dst.join("plan"));
    assert!(read(&part) == before);
}

#[test]
fn a_part_file_of_the_release_before_is_nobodys_and_goes_when_it_is_cleaned() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let path = make(&scene.src, "file", 6 * CHUNK);
    let old = scene.dst.join(".file.lanx-part");
    fs::write(&old, read(&path)).unwrap();
    let relay = Relay::to(receiver.addr);
    scene.send(&[&path], relay.addr).expect_success();
    assert_arrived(&[&path], &scene.dst);
    assert!(relay.carried() > 6 * CHUNK as u64, "it was taken for the sender's own");
    assert!(old.exists());
    let cleaned = scene.run([Path::new("recv"), Path::new("--clean"), &scene.dst]);
    cleaned.expect_success().expect_out(&[".file.lanx-part", "1 part file removed"]);
    assert_eq!(listing(&scene.dst), ["file"]);
}

/// An unfinished file that was last written to so many days ago.
fn left_behind(scene: &Scene, name: &str, days: u64) -> PathBuf {
    let part = part_path(&scene.dst, name);
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![1; 1000]).unwrap();
    set_modified(&part, SystemTime::now() - Duration::from_secs(days * 86_400));
    part
}

#[test]
fn cleaning_by_age_leaves_what_is_younger() {
    let scene = Scene::new();
    let (old, young) = (left_behind(&scene, "old", 9), left_behind(&scene, "young", 5));
    let clean = |age: &str| scene.run(["recv", "--clean", "--part-age", age, scene.dst.to_str().unwrap()]);
    clean("7d")
        .expect_success()
        .expect_out(&["1 part file removed", "1 left that had been written to within 168 h"]);
    assert!(!old.exists() && young.exists());
    for wrong in ["0s", "7w", "7"] {
        let output = clean(wrong);
        output.expect_code(2);
        assert!(output.err().contains("as in 7d, 12h"), "{}", output.err());
    }
    clean("1s").expect_success().expect_out(&["1 part file removed"]);
    assert_eq!(listing(&scene.dst), [""; 0]);
}

#[test]
fn a_running_receiver_removes_old_unfinished_files_that_nobody_uses() {
    let scene = Scene::new();
    let (old, young) = (left_behind(&scene, "old", 9), left_behind(&scene, "young", 1));
    let receiver = scene.receiver_with(&["--part-age", "2d"]);
    wait_until("the old one is gone", PATIENCE, || !old.exists());
    receiver.wait_for_stderr("last written 216 h");
    assert!(young.exists());
    // And one that grows old while it runs; what a transfer holds stays, however long it rests.
    let other = Scene::new();
    let receiver = other.receiver_with(&["--part-age", "1s"]);
    let path = make(&other.src, "file", 16 * CHUNK);
    let relay = Relay::holding_after(receiver.addr, 8 * CHUNK as u64);
    let sender = other.start_send(&["-c", "1"], &[&path], relay.addr);
    relay.wait_until_held();
    let used = part_path(&other.dst, "file");
    wait_until("it is begun", PATIENCE, || used.exists());
    set_modified(&used, SystemTime::now() - Duration::from_secs(86_400));
    let idle = left_behind(&other, "idle", 1);
    wait_until("the idle one is gone", PATIENCE, || !idle.exists());
    assert!(used.exists(), "a transfer is using it");
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&path], &other.dst);
}

#[test]
fn a_folder_that_is_away_for_a_moment_is_not_made_anew_to_look_for_old_files() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--part-age", "1s"]);
    fs::rename(&scene.dst, scene.path("moved away")).unwrap();
    receiver.wait_for_stderr("could not look for old part files");
    assert!(!scene.dst.exists());
}
