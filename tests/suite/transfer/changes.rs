//! A source that does not stay as it was: that file fails with the reason, and nothing else does.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use crate::common::*;

/// More than all the buffers between the two disks hold, so that the end of it is not read while the relay holds.
const LARGE: usize = 200 * CHUNK;

/// Sends `file` and two more; lets `change` have it when the first bytes have crossed, and demands that it alone fails,
/// with `reason`.
fn fails_alone(reason: &str, change: impl Fn(&Path)) {
    for connections in ["1", "4"] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", LARGE);
        let others = [make(&scene.src, "small", 1000), make(&scene.src, "large", 3 * CHUNK + 1)];
        let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
        let sender = scene.start_send(&["-c", connections], &[&file, &others[0], &others[1]], relay.addr);
        relay.wait_until_held();
        change(&file);
        relay.release();
        let output = sender.finish(PATIENCE);
        let path = file.to_str().unwrap();
        output.expect_complaint(5, &[path, "changed while it was sent", reason, "send it again"]);
        output.expect_out(&["2 files, ", "1 file failed"]);
        assert_arrived(&others, &scene.dst);
        assert_eq!(listing(&scene.dst), ["large", "small"], "over {connections} connections");
        receiver.wait_for_stderr(reason);
        scene.send(&[&file], receiver.addr).expect_success();
        assert_arrived(&[&file], &scene.dst);
    }
}

#[test]
fn a_source_that_shrinks_fails_and_nothing_of_it_is_published() {
    fails_alone("it shrank from 52428800 to 1000 bytes", |file| {
        File::options().write(true).open(file).unwrap().set_len(1000).unwrap();
    });
}

#[test]
fn a_source_that_is_emptied_fails_and_nothing_of_it_is_published() {
    fails_alone("it shrank from 52428800 to 0 bytes", |file| drop(File::create(file).unwrap()));
}

#[test]
fn a_source_that_grows_fails_and_nothing_of_it_is_published() {
    fails_alone("it grew from 52428800 to 52428804 bytes", |file| {
        File::options().append(true).open(file).unwrap().write_all(b"more").unwrap();
    });
}

#[test]
fn a_source_that_is_written_into_fails_and_nothing_of_it_is_published() {
    fails_alone("its modification time changed", |file| {
        let file = File::options().write(true).open(file).unwrap();
        file.write_all_at(b"other bytes", LARGE as u64 - 100).unwrap();
    });
}

#[test]
fn a_source_that_is_written_into_and_whose_time_is_put_back_fails_too() {
    fails_alone("its modification time put back", |file| {
        let before = fs::metadata(file).unwrap().modified().unwrap();
        // The beginning has crossed already, so what arrives would be neither the old file nor the new one.
        File::options().write(true).open(file).unwrap().write_all_at(b"other bytes", 0).unwrap();
        set_modified(file, before);
    });
}

#[test]
fn a_source_that_gets_another_mode_or_name_while_it_is_sent_arrives_all_the_same() {
    let changes: [fn(&Path); 3] = [
        |file| fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap(),
        |file| fs::hard_link(file, file.with_file_name("further name")).unwrap(),
        // Back and forth, so that the test finds it.
        |file| {
            let aside = file.with_file_name("aside");
            fs::rename(file, &aside).and_then(|()| fs::rename(&aside, file)).unwrap();
        },
    ];
    for change in changes {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", LARGE);
        let before = look(&file);
        let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
        let sender = scene.start_send(&[], &[&file], relay.addr);
        relay.wait_until_held();
        change(&file);
        assert_ne!(look(&file).changed, before.changed, "nothing that the sender could notice");
        relay.release();
        sender.finish(PATIENCE).expect_success();
        assert!(read(&scene.dst.join("file")) == before.content);
    }
}

#[test]
fn a_small_source_that_got_another_mode_before_it_was_read_arrives_all_the_same() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    // The first is held on its way, and the last has not been read then.
    let files: Vec<_> = (0..300).map(|n| make(&scene.src, format!("small {n:03}"), CHUNK)).collect();
    let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
    let sender = scene.start_send(&["-c", "1"], &files, relay.addr);
    relay.wait_until_held();
    files.iter().for_each(|file| fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap());
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_eq!(listing(&scene.dst).len(), 300);
    let last = files.last().unwrap();
    assert!(read(last) == read(&scene.dst.join(last.file_name().unwrap())));
}

#[test]
fn a_source_that_is_replaced_or_removed_while_it_is_sent_arrives_as_it_was() {
    for replace in [true, false] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", LARGE);
        let original = scene.path("original");
        fs::hard_link(&file, &original).unwrap();
        let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
        let sender = scene.start_send(&[], &[&file], relay.addr);
        relay.wait_until_held();
        match replace {
            true => fs::rename(make(&scene.src, "other", LARGE), &file).unwrap(),
            false => fs::remove_file(&file).unwrap(),
        }
        relay.release();
        sender.finish(PATIENCE).expect_success();
        assert_same(&original, &scene.dst.join("file"));
    }
}

#[test]
fn a_source_that_changes_before_it_is_opened_fails_too() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    // No more than sixteen large files are under way at once, so the last is not looked at while the relay holds.
    let mut files: Vec<_> = (0..20).map(|n| make(&scene.src, format!("large {n:02}"), 30 * CHUNK)).collect();
    let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
    let sender = scene.start_send(&[], &files, relay.addr);
    relay.wait_until_held();
    let last = files.pop().unwrap();
    fs::rename(make(&scene.src, "other", 30 * CHUNK), &last).unwrap();
    relay.release();
    let output = sender.finish(PATIENCE);
    output.expect_complaint(5, &[last.to_str().unwrap(), "another file took its place"]);
    output.expect_out(&["19 files, ", "1 file failed"]);
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst).len(), 19);
}
