//! What the receiver's disk does: errors in the middle, bytes that it forgets, part files that lie there; and what
//! somebody else does to the destination while a file arrives.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::bad_disk::{EIO, ENOSPC, Failing, call, receiver_on_a_bad_disk};
use crate::common::*;

const LARGE: usize = 16 * CHUNK;

/// Sends a small, a large and another small file to a receiver on a bad disk, and demands that only the large one
/// fails, with its path and `words` told on both sides.
fn only_the_large_one_fails(flags: &[&str], failing: &[Failing], errno: u32, words: &str) {
    let scene = Scene::new();
    let flags = [flags, &["--once"]].concat();
    let receiver = receiver_on_a_bad_disk(&scene, &flags, failing, errno);
    let files =
        [make(&scene.src, "first", 1000), make(&scene.src, "large", LARGE), make(&scene.src, "last", 77)];
    let (path, folder) = (scene.dst.join("large"), scene.dst.to_str().unwrap());
    let told = [folder, "large", words];
    scene.send(&files, receiver.addr).expect_complaint(7, &told).expect_out(&["2 files, ", "1 file failed"]);
    receiver.process.finish(PATIENCE).expect_complaint(7, &told);
    assert_arrived(&[&files[0], &files[2]], &scene.dst);
    assert!(!path.exists(), "{flags:?}: {:?}", listing(&scene.dst));
}

#[test]
fn a_write_that_the_device_refuses_fails_its_file_alone_and_names_it() {
    // Small files begin at 0 as well; the large one alone has a second chunk.
    for offset in [CHUNK, 5 * CHUNK, LARGE - CHUNK] {
        only_the_large_one_fails(&[], &[(call::PWRITE64, Some(offset as u64))], EIO, "input/output error");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_fails_its_file_alone_and_says_so() {
    only_the_large_one_fails(&[], &[(call::PWRITE64, Some(9 * CHUNK as u64))], ENOSPC, "no room for");
}

#[test]
fn a_file_that_cannot_be_read_back_fails_alone() {
    let failing = [(call::PREAD64, Some(3 * CHUNK as u64))];
    only_the_large_one_fails(&["--verify=reread"], &failing, EIO, "input/output error");
}

#[test]
fn a_device_that_does_not_take_what_was_written_fails_every_file_with_sync() {
    let failing = [(call::FSYNC, None), (call::FDATASYNC, None), (call::SYNCFS, None)];
    let scene = Scene::new();
    let receiver = receiver_on_a_bad_disk(&scene, &["--sync"], &failing, EIO);
    for size in [0, 1000, LARGE] {
        let file = make(&scene.src, format!("file-{size}"), size);
        let path = scene.dst.join(file.file_name().unwrap());
        let told = [path.to_str().unwrap(), "input/output error"];
        scene.send(&[&file], receiver.addr).expect_complaint(7, &told);
        assert!(!path.exists());
    }
    // Together they are synced together.
    let files: Vec<_> = (0..100).map(|n| make(&scene.src, format!("many-{n}"), 100)).collect();
    scene.send(&files, receiver.addr).expect_code(7);
    let published = |name: &std::ffi::OsString| !name.as_encoded_bytes().starts_with(b".");
    assert_eq!(listing(&scene.dst).into_iter().find(published), None);
}

#[test]
fn what_the_device_did_not_take_while_a_file_arrived_fails_it_though_the_last_sync_goes_well() {
    let failing = [(call::FDATASYNC, None)];
    let scene = Scene::new();
    let receiver = receiver_on_a_bad_disk(&scene, &["--sync"], &failing, EIO);
    let small = make(&scene.src, "small", 1000);
    scene.send(&[&small], receiver.addr).expect_success();
    // Large enough to be written back on the way.
    let file = make(&scene.src, "large", lanx::limits::WRITE_BACK_BYTES as usize + LARGE);
    let path = scene.dst.join("large");
    let told = [path.to_str().unwrap(), "input/output error"];
    scene.send(&[&file], receiver.addr).expect_complaint(7, &told);
    // Memory has all of it, so that the next comparison would find nothing wrong.
    assert_eq!(listing(&scene.dst), ["small"]);
}

#[test]
fn files_that_cannot_be_synced_together_are_synced_one_by_one() {
    let scene = Scene::new();
    let receiver = receiver_on_a_bad_disk(&scene, &["--sync"], &[(call::SYNCFS, None)], EIO);
    let files: Vec<_> = (0..100).map(|n| make(&scene.src, format!("many-{n}"), 100)).collect();
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_file_that_is_there_already_is_synced_as_well_before_its_sender_hears_so() {
    let scene = Scene::new();
    let files = [make(&scene.src, "small", 1000), make(&scene.src, "large", LARGE)];
    scene.send(&files, scene.receiver().addr).expect_success();
    for flags in [&["--sync"][..], &["--sync", "--rename"]] {
        let receiver = receiver_on_a_bad_disk(&scene, flags, &[(call::FSYNC, None)], EIO);
        for file in &files {
            let path = scene.dst.join(file.file_name().unwrap());
            let told = [path.to_str().unwrap(), "input/output error"];
            scene.send(&[file], receiver.addr).expect_complaint(7, &told);
        }
    }
    let receiver = scene.receiver_with(&["--sync", "--verify=reread"]);
    scene.send(&files, receiver.addr).expect_success().expect_out(&["already there"]);
    assert_arrived(&files, &scene.dst);
}

#[test]
fn files_that_were_synced_arrive_like_others() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--sync", "--verify=reread"]);
    let mut files: Vec<_> = (0..700).map(|n| make(&scene.src, format!("small-{n}"), n)).collect();
    files.push(make(&scene.src, "large", LARGE + 1));
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst).len(), files.len());
}

/// A sender whose file is half here, and the relay that holds it.
fn half_way(scene: &Scene, receiver: &Receiver) -> (Relay, Process) {
    let file = make(&scene.src, "file", LARGE);
    let relay = Relay::holding_after(receiver.addr, LARGE as u64 / 2);
    let sender = scene.start_send(&["-c", "1"], &[&file], relay.addr);
    relay.wait_until_held();
    let part = part_path(&scene.dst, "file");
    wait_until("some of it is on the disk", PATIENCE, || {
        bytes_in_common(&read(&file), &part) >= 4 * CHUNK as u64
    });
    (relay, sender)
}

#[test]
fn a_disk_that_changes_a_byte_is_found_out_by_reading_it_back() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--verify=reread"]);
    let (relay, sender) = half_way(&scene, &receiver);
    // As a disk would that stores another byte than it was given.
    let part = fs::File::options().write(true).open(part_path(&scene.dst, "file")).unwrap();
    let right = read(&scene.src.join("file"))[1234];
    part.write_all_at(&[!right], 1234).unwrap();
    relay.release();
    sender.finish(PATIENCE).expect_complaint(6, &["file", "not what was sent"]);
    assert!(listing(&scene.dst).is_empty(), "{:?}", listing(&scene.dst));
    // And sending it again is all that it takes.
    scene.send(&[scene.src.join("file")], receiver.addr).expect_success();
    assert_arrived(&[scene.src.join("file")], &scene.dst);
}

#[test]
fn cleaning_leaves_what_is_in_use_and_shows_what_it_removes_and_how_old_that_was() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver);
    let stale = scene.dst.join(".old.lanx-part");
    fs::write(&stale, vec![1; 300_000]).unwrap();
    set_modified(&stale, SystemTime::now() - Duration::from_secs(3 * 3600));
    fs::write(scene.dst.join("keep.lanx-part.txt"), "mine").unwrap();
    let cleaned = scene.run([Path::new("recv"), Path::new("--clean"), &scene.dst]);
    cleaned.expect_success().expect_out(&[
        ".old.lanx-part",
        "last written 3",
        "a transfer is using it",
        "1 part file removed",
    ]);
    let under_way = part_path(&scene.dst, "file").file_name().unwrap().to_owned();
    assert_eq!(listing(&scene.dst), [under_way, "keep.lanx-part.txt".into()]);
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[scene.src.join("file")], &scene.dst);
    scene.run([Path::new("recv"), Path::new("--clean"), &scene.dst]).expect_out(&["0 part files removed"]);
    assert_eq!(listing(&scene.dst), ["file", "keep.lanx-part.txt"]);
}

#[test]
fn a_destination_that_is_swapped_for_a_symlink_meanwhile_leads_nowhere_else() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver);
    let (moved, outside) = (scene.path("moved"), scene.path("outside"));
    fs::create_dir(&outside).unwrap();
    fs::rename(&scene.dst, &moved).unwrap();
    symlink(&outside, &scene.dst).unwrap();
    relay.release();
    sender.finish(PATIENCE).expect_complaint(7, &["is another folder now"]);
    assert!(listing(&outside).is_empty());
    assert!(!moved.join("file").exists());
}

#[test]
fn a_destination_that_is_removed_meanwhile_is_told_until_there_is_another() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver);
    fs::remove_dir_all(&scene.dst).unwrap();
    relay.release();
    let told = ["was removed while lanx was receiving into it", "make it again, then send again"];
    sender.finish(PATIENCE).expect_complaint(7, &told);
    let small = make(&scene.src, "small", 5);
    scene.send(&[&small], receiver.addr).expect_complaint(7, &told);
    fs::create_dir(&scene.dst).unwrap();
    scene.send(&[&small], receiver.addr).expect_success();
    assert_arrived(&[&small], &scene.dst);
}

#[test]
fn a_link_that_is_put_in_the_place_of_a_file_meanwhile_is_never_followed() {
    /// Puts something where the file, or its part file, belongs; `victim` must not change.
    type Swap = fn(dst: &Path, victim: &Path);
    let final_name: Swap = |dst, victim| symlink(victim, dst.join("file")).unwrap();
    let part_name: Swap = |dst, victim| {
        fs::remove_file(part_path(dst, "file")).unwrap();
        symlink(victim, part_path(dst, "file")).unwrap();
    };
    let second_name: Swap = |dst, _| fs::hard_link(part_path(dst, "file"), dst.join("spy")).unwrap();
    let other_file: Swap = |dst, _| {
        fs::remove_file(part_path(dst, "file")).unwrap();
        fs::write(part_path(dst, "file"), vec![9; LARGE]).unwrap();
    };
    let cases: [(&str, Swap, &[&str], i32); 6] = [
        ("a symlink under the final name", final_name, &[], 5),
        ("the same, where older things are replaced", final_name, &["--overwrite"], 5),
        ("the same, to be kept beside", final_name, &["--rename"], 0),
        ("a symlink for the part file", part_name, &[], 7),
        ("a second name of the part file", second_name, &[], 7),
        ("another file for the part file", other_file, &["--overwrite"], 7),
    ];
    for (what, swap, flags, code) in cases {
        let scene = Scene::new();
        let receiver = scene.receiver_with(flags);
        let victim = make(&scene.path(""), "victim", 100);
        let before = look(&victim).content;
        let (relay, sender) = half_way(&scene, &receiver);
        swap(&scene.dst, &victim);
        relay.release();
        let sent = sender.finish(PATIENCE);
        assert_eq!(sent.code, Some(code), "{what}: {}", sent.err());
        assert_eq!(read(&victim), before, "{what}");
        let arrived = if flags == ["--rename"] { "file (1)" } else { "file" };
        match code {
            0 => assert_same(&scene.src.join("file"), &scene.dst.join(arrived)),
            _ => assert!(!fs::symlink_metadata(scene.dst.join("file")).is_ok_and(|m| m.is_file()), "{what}"),
        }
        let another = make(&scene.src, "another", 10);
        scene.send(&[&another], receiver.addr).expect_success();
    }
}

#[test]
fn a_folder_that_takes_the_place_of_a_file_meanwhile_stays() {
    for flags in [&[][..], &["--overwrite"]] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(flags);
        let (relay, sender) = half_way(&scene, &receiver);
        fs::create_dir(scene.dst.join("file")).unwrap();
        fs::write(scene.dst.join("file/inside"), "mine").unwrap();
        relay.release();
        sender.finish(PATIENCE).expect_complaint(5, &["file"]);
        assert_eq!(read(&scene.dst.join("file/inside")), b"mine");
        assert_eq!(listing(&scene.dst), ["file"]);
    }
}
