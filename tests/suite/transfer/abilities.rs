//! File systems that lack what others have. What they cannot do is taken from a receiver by a filter of system calls.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::bad_disk::{EPERM, NOTHING_DONE, call, receiver_on_a_bad_disk};
use crate::common::*;

#[test]
fn a_rename_that_a_sandbox_does_not_know_is_done_by_a_link() {
    let scene = Scene::new();
    let receiver = receiver_on_a_bad_disk(&scene, &[], &[(call::RENAMEAT2, None)], EPERM);
    let files = [make(&scene.src, "small", 5), make(&scene.src, "large", 3 * CHUNK)];
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
}

#[test]
fn without_a_safe_rename_a_file_is_refused_before_its_bytes_or_replaces_what_is_there() {
    let scene = Scene::new();
    let lacking = [(call::RENAMEAT2, None), (call::LINKAT, None)];
    let files = [make(&scene.src, "small", 5), make(&scene.src, "large", 20 * CHUNK)];
    for flags in [&[][..], &["--rename"]] {
        let receiver = receiver_on_a_bad_disk(&scene, flags, &lacking, EPERM);
        let relay = Relay::to(receiver.addr);
        scene.send(&files, relay.addr).expect_complaint(
            7,
            &["cannot name a file without the risk of replacing another", "--overwrite"],
        );
        assert!(relay.carried() < 10_000, "{} bytes were sent for nothing", relay.carried());
        assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
    }
    let receiver = receiver_on_a_bad_disk(&scene, &["--overwrite"], &lacking, EPERM);
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_further_name_that_is_not_to_be_had_becomes_a_file_of_its_own() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    for (name, bytes) in [("large", 3 * CHUNK), ("small", 5)] {
        let file = make(&top, name, bytes);
        for n in 0..2 {
            fs::hard_link(&file, top.join(format!("{name}-{n}"))).unwrap();
        }
    }
    for flags in [&[][..], &["--overwrite"], &["--rename"]] {
        let receiver = receiver_on_a_bad_disk(&scene, flags, &[(call::LINKAT, None)], EPERM);
        let sent = scene.send_with(&["--archive"], &[&top], receiver.addr);
        sent.expect_code(0);
        sent.expect_out(&["6 files, 1 folder, "]);
        let notes = sent.err().matches("becomes a file of its own, as do others like it").count();
        assert_eq!(notes, 1, "{}", sent.err());
        // And once more, with nothing to do.
        let again = scene.send_with(&["--archive"], &[&top], receiver.addr);
        again.expect_code(0);
        again.expect_out(&["6 files, 1 folder, ", "(all already there)"]);
        let there = scene.dst.join("top");
        for name in ["large", "large-0", "large-1", "small", "small-0", "small-1"] {
            assert!(read(&there.join(name)) == read(&top.join(name)), "{name}");
            assert_eq!(fs::metadata(there.join(name)).unwrap().nlink(), 1);
        }
        assert_eq!(listing(&there).len(), 6);
        fs::remove_dir_all(there).unwrap();
    }
}

#[test]
fn a_copy_that_is_there_already_is_as_good_as_a_further_name() {
    let scene = Scene::new();
    let (one, two) = (make(&scene.src, "one", 3 * CHUNK), scene.src.join("two"));
    fs::hard_link(&one, &two).unwrap();
    fs::copy(&one, scene.dst.join("two")).unwrap();
    let receiver = scene.receiver();
    let sent = scene.send_with(&["--archive"], &[&one, &two], receiver.addr);
    sent.expect_success().expect_out(&["2 files, "]);
    assert!(read(&scene.dst.join("two")) == read(&two));
    fs::write(scene.dst.join("two"), "other").unwrap();
    scene
        .send_with(&["--archive"], &[&one, &two], receiver.addr)
        .expect_complaint(5, &["two: the receiver has another file of this name"]);
    assert_eq!(fs::read(scene.dst.join("two")).unwrap(), b"other");
}

#[test]
fn a_time_that_does_not_take_is_told_once() {
    let scene = Scene::new();
    let receiver = receiver_on_a_bad_disk(&scene, &[], &[(call::UTIMENSAT, None)], NOTHING_DONE);
    let files = ["a", "b", "c"].map(|name| {
        let path = make(&scene.src, name, 5);
        let past = fs::File::open(&path).unwrap();
        past.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
        path
    });
    scene.send(&files, receiver.addr).expect_success();
    for file in &files {
        let there = scene.dst.join(file.file_name().unwrap());
        assert!(read(&there) == read(file) && fs::metadata(there).unwrap().mtime() > 1_000_000_000);
    }
    receiver.process.signal(rustix::process::Signal::INT);
    let said = receiver.process.finish(PATIENCE).err();
    assert_eq!(said.matches("could not set the time of the last change").count(), 1, "{said}");
}
