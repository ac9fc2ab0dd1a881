//! `--delta`: of a file that differs from an existing one, only what differs crosses the network.

use std::fs;
use std::path::Path;

use crate::common::*;

const CHUNKS: usize = 60;

/// Sends `new` where `old` is there, and returns how many bytes crossed the network.
fn crossed(recv: &[&str], send: &[&str], old: &[u8], new: &[u8]) -> u64 {
    let scene = Scene::new();
    let file = make_of(&scene.src, "image", new);
    make_of(&scene.dst, "image", old);
    let receiver = scene.receiver_with(recv);
    let relay = Relay::to(receiver.addr);
    scene.send_with(send, &[&file], relay.addr).expect_success();
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
fn only_the_chunks_that_differ_are_sent_whichever_side_asks_for_it() {
    let old = noise(1, CHUNKS * CHUNK + 100);
    let new = changed(&old);
    let few = 4 * CHUNK as u64;
    assert!(crossed(&["--delta"], &[], &old, &new) < few);
    assert!(crossed(&["--overwrite"], &["--delta"], &old, &new) < few);
    let all = crossed(&["--overwrite"], &[], &old, &new);
    assert!(all > (CHUNKS * CHUNK) as u64, "{all} bytes");
}

#[test]
fn a_file_that_grew_or_shrank_is_sent_by_its_difference() {
    let long = noise(2, CHUNKS * CHUNK + 100);
    let short = &long[..20 * CHUNK + 5];
    assert!(crossed(&["--delta"], &[], &long, short) < 3 * CHUNK as u64);
    let grown = crossed(&["--delta"], &[], short, &long);
    assert!(grown < (CHUNKS - 20 + 3) as u64 * CHUNK as u64, "{grown} bytes");
    // And small ones, which are sent whole, arrive as well.
    crossed(&["--delta"], &[], b"old", b"new and longer");
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
    output.expect_complaint(5, &["the receiver has another file of this name"]);
    assert_eq!(look(&there), before);
    // To keep both is leave enough for a second one.
    let receiver = scene.receiver_with(&["--delta", "--rename"]);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_eq!(look(&there), before);
    assert_same(&file, &scene.dst.join("image (1)"));
}

#[test]
fn the_old_file_stays_until_the_new_one_is_there() {
    let scene = Scene::new();
    let old = noise(1, CHUNKS * CHUNK);
    let file = make_of(&scene.src, "image", &noise(2, CHUNKS * CHUNK));
    let there = make_of(&scene.dst, "image", &old);
    let before = look(&there);
    let receiver = scene.receiver_with(&["--delta"]);
    let relay = Relay::holding_after(receiver.addr, 20 * CHUNK as u64);
    let mut sender = scene.start_send(&["--retry-for", "0"], &[&file], relay.addr);
    relay.wait_until_held();
    assert_eq!(look(&there), before);
    sender.kill();
    drop(relay);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_same(&file, &there);
}

#[test]
fn what_is_no_regular_file_is_not_copied() {
    let scene = Scene::new();
    let elsewhere = make(&scene.path("home"), "elsewhere", 3 * CHUNK);
    let file = make(&scene.src, "image", 5 * CHUNK);
    std::os::unix::fs::symlink(&elsewhere, scene.dst.join("image")).unwrap();
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_same(&file, &scene.dst.join("image"));
    assert_eq!(fs::read(Path::new(&elsewhere)).unwrap().len(), 3 * CHUNK);
    assert!(fs::symlink_metadata(scene.dst.join("image")).unwrap().is_file());
}
