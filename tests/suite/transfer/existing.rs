//! What stood there before: kept, refused, replaced or stepped around, and never half of anything.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::*;

/// Files that go in one frame, and files that go in several.
const SIZES: [usize; 4] = [1000, CHUNK, 3 * CHUNK - 1, 9 * CHUNK];

/// A source and a file of the same name at the receiver that `change` has made another.
fn pair(
    scene: &Scene,
    size: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> (std::path::PathBuf, std::path::PathBuf) {
    let file = make(&scene.src, "photo.jpg", size);
    let mut content = read(&file);
    change(&mut content);
    (file, make_of(&scene.dst, "photo.jpg", &content))
}

#[test]
fn an_identical_file_is_left_alone_and_said_to_be_there() {
    for size in SIZES.into_iter().chain([0]) {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let (file, there) = pair(&scene, size, |_| {});
        fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o604)).unwrap();
        let before = look(&there);
        let relay = Relay::to(receiver.addr);
        let output = scene.send(&[&file], relay.addr);
        let hash = blake3::hash(&before.content);
        output.expect_success().expect_out(&[
            &format!("{hash}  photo.jpg (already there)\n"),
            "1 file, ",
            "(all already there)",
        ]);
        assert_eq!(look(&there), before, "{size} bytes");
        assert!(relay.carried() < 16_384, "{} bytes crossed for a file that was there", relay.carried());
        assert_eq!(listing(&scene.dst), ["photo.jpg"]);
    }
}

#[test]
fn an_identical_file_that_may_be_replaced_gets_mode_and_time_of_the_senders() {
    for (size, further_name) in [(5, false), (2 * CHUNK, false), (5, true)] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--overwrite"]);
        let (file, there) = pair(&scene, size, |_| {});
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        set_modified(&file, SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5));
        if further_name {
            fs::hard_link(&there, scene.path("further name")).unwrap();
        }
        let of = |file| (look(file).mode, look(file).modified);
        let wanted = if further_name { of(&there) } else { of(&file) };
        scene.send(&[&file], receiver.addr).expect_success().expect_out(&["(already there)"]);
        assert_eq!(of(&there), wanted, "{size} bytes, a further name: {further_name}");
    }
}

#[test]
fn an_identical_file_is_left_alone_by_overwrite_and_rename_too() {
    for flag in ["--overwrite", "--rename"] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&[flag]);
        let (file, there) = pair(&scene, 2 * CHUNK, |_| {});
        let before = look(&there);
        scene.send(&[&file], receiver.addr).expect_success().expect_out(&["(already there)"]);
        assert_eq!(look(&there), before);
        assert_eq!(listing(&scene.dst), ["photo.jpg"]);
    }
}

#[test]
fn hundreds_of_identical_small_files_are_compared_with_few_descriptors() {
    let scene = Scene::new();
    let files: Vec<_> = (0..500).map(|n| make(&scene.src, format!("small {n:03}"), n + 1)).collect();
    files.iter().enumerate().for_each(|(n, _)| drop(make(&scene.dst, format!("small {n:03}"), n + 1)));
    let receiver = Receiver::start_as(scene.lanx_with_descriptors(64), "127.0.0.1:0", &[], &scene.dst);
    scene.send(&files, receiver.addr).expect_success().expect_out(&["500 files", "(all already there)"]);
}

/// A way to make another file of some content.
type Change = fn(&mut Vec<u8>);

const CHANGES: [(&str, Change); 6] = [
    ("its first byte differs", |c| c[0] ^= 1),
    ("its last byte differs", |c| *c.last_mut().unwrap() ^= 0x80),
    ("a byte in the middle differs", |c| {
        let middle = c.len() / 2;
        c[middle] ^= 4;
    }),
    ("it is shorter", |c| c.truncate(c.len() - 1)),
    ("it is longer", |c| c.push(0)),
    ("it is empty", |c| c.clear()),
];

#[test]
fn a_different_file_is_refused_and_untouched() {
    for (how, change) in CHANGES {
        for size in SIZES {
            let scene = Scene::new();
            let receiver = scene.receiver();
            let (file, there) = pair(&scene, size, change);
            let before = look(&there);
            let output = scene.send(&[&file], receiver.addr);
            output.expect_complaint(5, &["photo.jpg", "--overwrite", "--rename"]);
            assert_eq!(look(&there), before, "{how}, {size} bytes");
            assert_eq!(listing(&scene.dst), ["photo.jpg"], "{how}, {size} bytes");
        }
    }
}

#[test]
fn a_refused_file_does_not_keep_the_others_of_the_call_from_arriving() {
    // Many times over, as what the two sides say about a file that differs may cross on the way.
    for round in 0..20 {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let (refused, there) = pair(&scene, 24 * CHUNK + round, |c| *c.last_mut().unwrap() ^= 1);
        let before = look(&there);
        let others = [make(&scene.src, "small", 10), make(&scene.src, "large", 5 * CHUNK)];
        let output = scene.send_with(&["-c", "8"], &[&refused, &others[0], &others[1]], receiver.addr);
        output.expect_complaint(5, &["photo.jpg"]).expect_out(&["2 files", "1 file failed"]);
        assert_eq!(look(&there), before);
        assert_arrived(&others, &scene.dst);
    }
}

#[test]
fn overwrite_replaces_a_different_file() {
    for (how, change) in CHANGES {
        for size in SIZES {
            let scene = Scene::new();
            let receiver = scene.receiver_with(&["--overwrite"]);
            let (file, there) = pair(&scene, size, change);
            let output = scene.send(&[&file], receiver.addr);
            assert!(output.code == Some(0), "{how}, {size} bytes: {}", output.err());
            assert_same(&file, &there);
            assert_eq!(listing(&scene.dst), ["photo.jpg"], "{how}, {size} bytes");
        }
    }
}

#[test]
fn overwriting_does_not_change_another_name_of_the_old_file() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--overwrite"]);
    let (file, there) = pair(&scene, 2 * CHUNK, |c| c[0] ^= 1);
    let old = read(&there);
    let other_name = scene.path("hard link");
    fs::hard_link(&there, &other_name).unwrap();
    scene.send(&[&file], receiver.addr).expect_success();
    assert_same(&file, &there);
    assert_eq!(read(&other_name), old);
}

#[test]
fn rename_keeps_both_and_counts_up() {
    for size in SIZES {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--rename"]);
        let (first, there) = pair(&scene, size, |c| c[0] ^= 1);
        let before = look(&there);
        let output = scene.send(&[&first], receiver.addr);
        output.expect_success().expect_out(&["photo.jpg (stored as photo (1).jpg)"]);
        assert_same(&first, &scene.dst.join("photo (1).jpg"));
        let second = make_of(&scene.src, "photo.jpg", &noise(99, size + 1));
        scene.send(&[&second], receiver.addr).expect_success();
        assert_same(&second, &scene.dst.join("photo (2).jpg"));
        assert_eq!(look(&there), before);
        assert_eq!(listing(&scene.dst), ["photo (1).jpg", "photo (2).jpg", "photo.jpg"]);
    }
}

#[test]
fn rename_finds_a_name_for_one_of_255_bytes() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--rename"]);
    let name = format!("{}.tar.gz", "n".repeat(248));
    let file = make(&scene.src, &name, 100);
    make(&scene.dst, &name, 99);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_same(&file, &scene.dst.join(format!("{} (1).tar.gz", "n".repeat(244))));
    assert_eq!(listing(&scene.dst).len(), 2);
}

#[test]
fn what_is_no_file_is_untouched_and_only_rename_finds_a_way_around_it() {
    for size in [10, 2 * CHUNK] {
        let scene = Scene::new();
        let dir = scene.dst.join("dir");
        fs::create_dir(&dir).unwrap();
        make(&dir, "inside", 3);
        make_fifo(&scene.dst.join("fifo"));
        let files = ["dir", "fifo"].map(|name| make(&scene.src, name, size));
        for flags in [&[][..], &["--overwrite"]] {
            let receiver = scene.receiver_with(flags);
            for file in &files {
                let name = file.file_name().unwrap().to_str().unwrap();
                scene.send(&[file], receiver.addr).expect_complaint(5, &[name, "move it away"]);
            }
            assert_eq!(listing(&scene.dst), ["dir", "fifo"], "{flags:?}");
            assert_eq!(listing(&dir), ["inside"]);
            let fifo = fs::symlink_metadata(scene.dst.join("fifo")).unwrap();
            assert!(fifo.file_type().is_fifo());
        }
        let receiver = scene.receiver_with(&["--rename"]);
        scene.send(&files, receiver.addr).expect_success();
        assert_eq!(listing(&scene.dst), ["dir", "dir (1)", "fifo", "fifo (1)"]);
        assert_eq!(listing(&dir), ["inside"]);
    }
}

fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_symlink_in_the_way_is_never_followed() {
    for size in [10, 2 * CHUNK] {
        for dangling in [true, false] {
            let scene = Scene::new();
            let outside = scene.path("outside");
            if !dangling {
                // The very content that is sent: following the link would find it 'already there'.
                make_of(&scene.path(""), "outside", &noise(7, size));
            }
            let before = (!dangling).then(|| look(&outside));
            let untouched = || match &before {
                Some(before) => assert_eq!(look(&outside), *before),
                None => assert!(!outside.exists()),
            };
            let link = scene.dst.join("file");
            symlink(&outside, &link).unwrap();
            let file = make_of(&scene.src, "file", &noise(7, size));

            let receiver = scene.receiver();
            scene.send(&[&file], receiver.addr).expect_complaint(5, &["file"]);
            assert_eq!(fs::read_link(&link).unwrap(), outside);
            untouched();

            let receiver = scene.receiver_with(&["--rename"]);
            scene.send(&[&file], receiver.addr).expect_success();
            assert_same(&file, &scene.dst.join("file (1)"));
            assert_eq!(fs::read_link(&link).unwrap(), outside);
            untouched();

            let receiver = scene.receiver_with(&["--overwrite"]);
            scene.send(&[&file], receiver.addr).expect_success();
            assert_same(&file, &link);
            untouched();
        }
    }
}

/// What an earlier transfer may have left, given the right content.
type Leftover = fn(&[u8]) -> Vec<u8>;

const PARTS: [(&str, Leftover); 7] = [
    ("empty", |_| Vec::new()),
    ("zeros", |right| vec![0; right.len()]),
    ("garbage", |right| noise(3, right.len())),
    ("longer garbage", |right| noise(4, right.len() + CHUNK + 1)),
    ("all of it and more", |right| [right, b"more"].concat()),
    ("the first half", |right| right[..right.len() / 2].to_vec()),
    ("all but one byte", |right| {
        let mut content = right.to_vec();
        content.last_mut().into_iter().for_each(|byte| *byte ^= 1);
        content
    }),
];

#[test]
fn an_old_part_file_of_any_content_leads_to_the_right_file_and_nothing_else() {
    for size in SIZES.into_iter().chain([0, 1]) {
        for (what, part) in PARTS {
            let scene = Scene::new();
            let receiver = scene.receiver();
            let file = make(&scene.src, "file", size);
            fs::write(part_path(&scene.dst, "file"), part(&read(&file))).unwrap();
            let output = scene.send(&[&file], receiver.addr);
            assert!(output.code == Some(0), "{what}, {size} bytes: {}", output.err());
            assert_arrived(&[&file], &scene.dst);
            assert_eq!(listing(&scene.dst), ["file"], "{what}, {size} bytes");
        }
    }
}

#[test]
fn a_complete_part_file_is_not_sent_again() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 20 * CHUNK);
    fs::write(part_path(&scene.dst, "file"), read(&file)).unwrap();
    let relay = Relay::to(receiver.addr);
    scene.send(&[&file], relay.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
    assert!(relay.carried() < CHUNK as u64, "{} bytes crossed", relay.carried());
}

#[test]
fn what_stands_in_the_place_of_a_part_file_is_neither_followed_nor_changed() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 2 * CHUNK);
    let outside = make(&scene.path(""), "outside", 2 * CHUNK + 1);
    let before = look(&outside);
    symlink(&outside, part_path(&scene.dst, "file")).unwrap();
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(look(&outside), before);
}

#[test]
fn a_name_never_holds_half_a_file() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 16 * CHUNK);
    let relay = Relay::holding_after(receiver.addr, 0);
    let sender = scene.start_send(&["-c", "1"], &[&file], relay.addr);
    for step in 1..=16 {
        relay.allow(CHUNK as u64);
        relay.wait_until_held();
        // One less, as the frames around the chunks take some of what is let through.
        let on_disk = (step - 1) * CHUNK as u64;
        wait_until("what was let through is on the disk", PATIENCE, || {
            bytes_in_common(&read(&file), &part_path(&scene.dst, "file")) >= on_disk
        });
        assert!(!scene.dst.join("file").exists(), "after {step} of 16 chunks");
    }
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"]);
}

#[test]
fn a_file_that_is_being_overwritten_is_the_old_one_until_the_new_one_is_whole() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--overwrite"]);
    let (file, there) = pair(&scene, 16 * CHUNK, |c| c[0] ^= 1);
    let before = look(&there);
    let relay = Relay::holding_after(receiver.addr, 8 * CHUNK as u64);
    let sender = scene.start_send(&[], &[&file], relay.addr);
    relay.wait_until_held();
    wait_until("some of the new file is on the disk", PATIENCE, || {
        bytes_in_common(&read(&file), &part_path(&scene.dst, "photo.jpg")) >= 3 * CHUNK as u64
    });
    assert_eq!(look(&there), before);
    relay.release();
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&file], &scene.dst);
}
