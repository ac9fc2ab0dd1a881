//! `--delta` at both ends: of a file that differs from an existing one, only what differs crosses the network.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;

const CHUNKS: usize = 60;
const BOTH: (&[&str], &[&str]) = (&["--delta"], &["--delta"]);

/// Sends `new` where `old` is there, and returns how many bytes crossed the network.
fn crossed((recv, send): (&[&str], &[&str]), old: &[u8], new: &[u8]) -> u64 {
    let scene = Scene::new();
    let file = make_of(&scene.src, "image", new);
    make_of(&scene.dst, "image", old);
    let receiver = scene.receiver_with(recv);
    let relay = Relay::to(receiver.addr);
    scene.send_with(send, &[&file], relay.addr).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["image"], "no part file stays");
    relay.carried()
}

/// `old` with a byte changed in chunks 3 and 50.
fn changed(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    new[3 * CHUNK + 7] ^= 1;
    new[50 * CHUNK] ^= 1;
    new
}

#[test]
fn only_the_chunks_that_differ_are_sent_where_the_sender_asks_and_the_receiver_grants_it() {
    let old = noise(1, CHUNKS * CHUNK + 100);
    let new = changed(&old);
    let few = 4 * CHUNK as u64;
    let sent = crossed(BOTH, &old, &new);
    assert!(sent < few, "{sent} bytes");
    for one in [(&["--delta"][..], &[][..]), (&["--overwrite"], &["--delta"]), (&["--overwrite"], &[])] {
        let all = crossed(one, &old, &new);
        assert!(all > (CHUNKS * CHUNK) as u64, "{one:?}: {all} bytes");
    }
}

#[test]
fn a_sender_says_once_that_it_sends_whole_files_where_it_was_not_to() {
    let scene = Scene::new();
    let files = ["a", "b"].map(|name| make(&scene.src, name, 3 * CHUNK));
    let receiver = scene.receiver_with(&["--overwrite"]);
    let output = scene.send_with(&["--delta"], &files, receiver.addr);
    output.expect_code(0);
    assert_eq!(output.err().lines().count(), 1, "{}", output.err());
    assert!(output.err().contains("the receiver does not run with --delta"), "{}", output.err());
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send_with(&["--delta"], &files, receiver.addr).expect_success();
}

#[test]
fn a_file_that_grew_or_shrank_is_sent_by_its_difference() {
    let long = noise(2, CHUNKS * CHUNK + 100);
    let short = &long[..20 * CHUNK + 5];
    assert!(crossed(BOTH, &long, short) < 3 * CHUNK as u64);
    let grown = crossed(BOTH, short, &long);
    assert!(grown < (CHUNKS - 20 + 3) as u64 * CHUNK as u64, "{grown} bytes");
    // And small ones, which are sent whole, arrive as well.
    crossed(BOTH, b"old", b"new and longer");
    crossed(BOTH, &long, b"new and shorter");
    crossed(BOTH, b"", &long);
}

#[test]
fn holes_of_either_file_are_right_afterwards() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--delta"]);
    let content = noise(6, 8 * CHUNK);
    let there = make_of(&scene.dst, "image", &content);
    let path = scene.src.join("image");
    let mut file = fs::File::create(&path).unwrap();
    file.set_len(16 * CHUNK as u64).unwrap();
    file.write_all(&content[..2 * CHUNK]).unwrap();
    file.seek(SeekFrom::Start(5 * CHUNK as u64)).unwrap();
    file.write_all(&content[5 * CHUNK..6 * CHUNK]).unwrap();
    scene.send_with(&["--delta"], &[&path], receiver.addr).expect_success();
    assert!(read(&there) == read(&path));
    // Back again: what had been holes is not.
    fs::write(&path, &content).unwrap();
    scene.send_with(&["--delta"], &[&path], receiver.addr).expect_success();
    assert!(read(&there) == content);
}

#[test]
fn nothing_is_replaced_without_the_receivers_leave() {
    let scene = Scene::new();
    let old = noise(1, CHUNKS * CHUNK);
    let file = make_of(&scene.src, "image", &changed(&old));
    let there = make_of(&scene.dst, "image", &old);
    let before = look(&there);
    let receiver = scene.receiver();
    let output = scene.send_with(&["--delta"], &[&file], receiver.addr);
    output.expect_code(5);
    assert!(output.err().contains("the receiver has another file of this name"), "{}", output.err());
    assert_eq!(look(&there), before);
    // To keep both is leave enough for a second one.
    let receiver = scene.receiver_with(&["--delta", "--rename"]);
    let relay = Relay::to(receiver.addr);
    scene.send_with(&["--delta"], &[&file], relay.addr).expect_success();
    assert_eq!(look(&there), before);
    assert_same(&file, &scene.dst.join("image (1)"));
    assert!(relay.carried() < 4 * CHUNK as u64);
}

#[test]
fn the_old_file_stays_until_the_new_one_is_there_and_both_serve_a_transfer_that_goes_on() {
    let scene = Scene::new();
    let old = noise(1, CHUNKS * CHUNK);
    let mut new = noise(2, CHUNKS * CHUNK);
    new[..20 * CHUNK].copy_from_slice(&old[..20 * CHUNK]);
    let file = make_of(&scene.src, "image", &new);
    let there = make_of(&scene.dst, "image", &old);
    let before = look(&there);
    let receiver = scene.receiver_with(&["--delta"]);
    let relay = Relay::holding_after(receiver.addr, 20 * CHUNK as u64);
    let mut sender = scene.start_send(&["--delta", "--retry-for", "0", "-c", "1"], &[&file], relay.addr);
    relay.wait_until_held();
    let part = part_path(&scene.dst, "image");
    wait_until("half of what differs is on the disk", PATIENCE, || {
        bytes_in_common(&new, &part) >= 37 * CHUNK as u64
    });
    assert_eq!(look(&there), before);
    sender.kill();
    drop(relay);
    let relay = Relay::to(receiver.addr);
    scene.send_with(&["--delta"], &[&file], relay.addr).expect_success();
    assert_same(&file, &there);
    assert!(relay.carried() < 24 * CHUNK as u64, "{} bytes crossed", relay.carried());
}

#[test]
fn a_file_that_is_written_to_meanwhile_never_gets_into_the_new_one() {
    let scene = Scene::new();
    let old = noise(1, CHUNKS * CHUNK);
    let file = make_of(&scene.src, "image", &changed(&old));
    let there = make_of(&scene.dst, "image", &old);
    let receiver = scene.receiver_with(&["--delta"]);
    let relay = Relay::holding_after(receiver.addr, CHUNK as u64 / 2);
    let sender = scene.start_send(&["--delta", "-c", "1"], &[&file], relay.addr);
    relay.wait_until_held();
    // Of what was compared by now some was copied; what comes later is found to be other bytes, or to be missing.
    let writer = fs::OpenOptions::new().write(true).open(&there).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&writer, &noise(9, 30 * CHUNK), 10 * CHUNK as u64).unwrap();
    writer.set_len(45 * CHUNK as u64 + 7).unwrap();
    relay.release();
    // What changed since the session began is not replaced either; the next session does that.
    sender.finish(PATIENCE).expect_complaint(5, &["was put there while this transfer ran"]);
    scene.send_with(&["--delta"], &[&file], receiver.addr).expect_success();
    assert_same(&file, &there);
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let scene = Scene::new();
    let elsewhere = make(&scene.path("home"), "elsewhere", 3 * CHUNK);
    let file = make(&scene.src, "image", 5 * CHUNK);
    std::os::unix::fs::symlink(&elsewhere, scene.dst.join("image")).unwrap();
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send_with(&["--delta"], &[&file], receiver.addr).expect_success();
    assert_same(&file, &scene.dst.join("image"));
    assert_eq!(fs::read(Path::new(&elsewhere)).unwrap().len(), 3 * CHUNK);
    assert!(fs::symlink_metadata(scene.dst.join("image")).unwrap().is_file());
}

/// Sends `file` once more, and demands that less than `most` bytes cross.
fn sent_by_its_difference(scene: &Scene, receiver: &Receiver, file: &PathBuf, most: u64) {
    let relay = Relay::to(receiver.addr);
    scene.send_with(&["--delta"], &[file], relay.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
    assert!(relay.carried() < most, "{} bytes crossed, not {most}", relay.carried());
}

fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// As root alone.
#[test]
fn an_image_that_was_mounted_at_either_end_is_sent_by_its_difference() {
    let scene = Scene::new();
    let (image, at) = (scene.src.join("image"), scene.path("mounted"));
    fs::create_dir(&at).unwrap();
    const BYTES: usize = 256 * CHUNK;
    if !Mount::made(&["mkfs.ext4", "-q", "-F", "-m", "0"], &image, BYTES) {
        return skipped("there is no mkfs.ext4");
    }
    let Some(mount) = Mount::image(&image, &at) else { return skipped("only root may mount") };
    fs::write(at.join("large"), noise(3, 100 * CHUNK)).unwrap();
    mount.unmount();
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send_with(&["--delta"], &[&image], receiver.addr).expect_success();
    // Nothing is written but superblocks, times, a folder and a small file.
    let mount = Mount::image(&image, &at).unwrap();
    fs::create_dir(at.join("folder")).unwrap();
    fs::write(at.join("folder/note"), "changed").unwrap();
    mount.unmount();
    sent_by_its_difference(&scene, &receiver, &image, BYTES as u64 / 8);
    // And the other way round, at the receiver.
    let mount = Mount::image(&scene.dst.join("image"), &at).unwrap();
    assert_eq!(fs::read(at.join("folder/note")).unwrap(), b"changed");
    fs::write(at.join("folder/note"), "changed here").unwrap();
    mount.unmount();
    sent_by_its_difference(&scene, &receiver, &image, BYTES as u64 / 8);
}

#[test]
fn a_database_in_which_a_row_was_changed_is_sent_by_its_difference() {
    let scene = Scene::new();
    let database = scene.src.join("notes.db");
    let python = |statements: &str| {
        let script =
            format!("import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); {statements}; db.commit()");
        Command::new("python3")
            .args(["-c", &script])
            .arg(&database)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let filled = "db.execute('create table t (id integer primary key, text)'); \
                  db.executemany('insert into t (text) values (?)', [(str(n) * 500,) for n in range(20000)])";
    if !python(filled) {
        return skipped("there is no python3 with sqlite3");
    }
    let size = fs::metadata(&database).unwrap().len();
    assert!(size > 100 * CHUNK as u64);
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send_with(&["--delta"], &[&database], receiver.addr).expect_success();
    assert!(python("db.execute('update t set text = ? where id = 7000', ('changed',))"));
    sent_by_its_difference(&scene, &receiver, &database, 6 * CHUNK as u64);
    assert!(python(
        "db.executemany('insert into t (text) values (?)', [('new' * 300,) for n in range(2000)])"
    ));
    sent_by_its_difference(&scene, &receiver, &database, 30 * CHUNK as u64);
}

/// Bytes in use on the file system at `at`.
fn in_use(at: &Path) -> u64 {
    rustix::fs::sync();
    let fs = rustix::fs::statvfs(at).unwrap();
    (fs.f_blocks - fs.f_bfree) * fs.f_frsize
}

/// As root alone.
#[test]
fn what_is_kept_takes_no_further_room_where_files_can_share_it() {
    for mkfs in [&["mkfs.btrfs", "-q"][..], &["mkfs.xfs", "-q"]] {
        let scene = Scene::new();
        let (image, at) = (scene.path("disk"), scene.dst.clone());
        if !Mount::made(mkfs, &image, 400 << 20) {
            skipped("there is no program to make the file system");
            continue;
        }
        let Some(mount) = Mount::image(&image, &at) else {
            skipped("it cannot be mounted");
            continue;
        };
        let old = noise(1, CHUNKS * CHUNK);
        make_of(&at, "image", &old);
        let file = make_of(&scene.src, "image", &changed(&old));
        let before = in_use(&at);
        let receiver = scene.receiver_with(&["--delta", "--rename", "--once"]);
        scene.send_with(&["--delta"], &[&file], receiver.addr).expect_success();
        receiver.process.finish(PATIENCE).expect_success();
        let mut copy = Vec::new();
        fs::File::open(at.join("image (1)")).unwrap().read_to_end(&mut copy).unwrap();
        assert!(copy == read(&file));
        let more = in_use(&at).saturating_sub(before);
        assert!(more < (CHUNKS * CHUNK) as u64 / 2, "{mkfs:?}: {more} bytes more");
        assert!(fs::metadata(at.join("image (1)")).unwrap().size() == (CHUNKS * CHUNK) as u64);
        mount.unmount();
    }
}
