//! `recv --rename` keeps both of two files, and not a third copy of one that it has.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::*;

#[test]
fn the_same_file_sent_three_times_is_there_once_beside_the_other() {
    for flags in [&["--rename"][..], &["--rename", "--sync"]] {
        for size in [0, 1000, CHUNK, 3 * CHUNK - 1] {
            let scene = Scene::new();
            let receiver = scene.receiver_with(flags);
            let file = make(&scene.src, "photo.jpg", size);
            let other = make(&scene.dst, "photo.jpg", size + 1);
            let before = look(&other);
            for _ in 0..3 {
                let output = scene.send(&[&file], receiver.addr);
                output.expect_success().expect_out(&["photo.jpg (stored as photo (1).jpg)"]);
            }
            assert_eq!(listing(&scene.dst), ["photo (1).jpg", "photo.jpg"], "{size} bytes, {flags:?}");
            assert_same(&file, &scene.dst.join("photo (1).jpg"));
            assert_eq!(look(&other), before);
        }
    }
}

#[test]
fn three_senders_of_one_file_at_once_leave_one_file() {
    for flags in [&["--rename"][..], &["--rename", "--sync"]] {
        for size in [CHUNK, 9 * CHUNK] {
            let scene = Scene::new();
            let receiver = scene.receiver_with(flags);
            let file = make(&scene.src, "photo.jpg", size);
            // All of them are held in the middle of the file, so that none finds it there.
            let hold = || Relay::holding_after(receiver.addr, CHUNK as u64 / 2);
            let relays = [hold(), hold(), hold()];
            let senders = relays.each_ref().map(|relay| scene.start_send(&["-c", "1"], &[&file], relay.addr));
            relays.iter().for_each(Relay::wait_until_held);
            relays.iter().for_each(Relay::release);
            let outputs = senders.map(|sender| sender.finish(PATIENCE));
            let already =
                outputs.iter().filter(|output| output.expect_success().out().contains("already there"));
            assert_eq!(already.count(), 2);
            assert_eq!(listing(&scene.dst), ["photo.jpg"], "{size} bytes, {flags:?}");
            assert_same(&file, &scene.dst.join("photo.jpg"));
        }
    }
}

#[test]
fn a_stream_that_is_sent_again_is_there_once_beside_the_other() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--rename"]);
    let content = noise(5, 5 * CHUNK + 7);
    make(&scene.dst, "dump", 10);
    for _ in 0..2 {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut command = scene.lanx();
        command.args(["send", "-", &receiver.addr.to_string(), "--name", "dump"]);
        let sender = Process::spawn_fed(command, reader);
        std::io::Write::write_all(&mut writer, &content).unwrap();
        drop(writer);
        sender.finish(PATIENCE).expect_success();
    }
    assert_eq!(listing(&scene.dst), ["dump", "dump (1)"]);
    assert!(read(&scene.dst.join("dump (1)")) == content);
}

#[test]
fn names_and_links_that_are_sent_again_go_to_the_copy_that_is_there() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--rename"]);
    let one = make(&scene.src, "one", 2 * CHUNK);
    fs::hard_link(&one, scene.src.join("two")).unwrap();
    symlink("one", scene.src.join("link")).unwrap();
    for name in ["one", "two", "link"] {
        make(&scene.dst, name, 10);
    }
    let paths = ["one", "two", "link"].map(|name| scene.src.join(name));
    for _ in 0..2 {
        scene.send_with(&["--archive"], &paths, receiver.addr).expect_success();
    }
    assert_eq!(listing(&scene.dst), ["link", "link (1)", "one", "one (1)", "two", "two (1)"]);
    let inode = |name: &str| look(&scene.dst.join(name)).inode;
    assert_eq!(inode("one (1)"), inode("two (1)"));
    assert_ne!(inode("one"), inode("two (1)"));
}
