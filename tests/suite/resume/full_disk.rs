//! A disk that is full, for real: a file system of a few MiB. Needs root to mount it, so it runs by `make root-tests`.

use std::fs;

use crate::common::*;

const MIB: usize = 1 << 20;

/// Sends what fits and what does not, and demands that exactly the latter fails, is named, and takes no room.
fn only_what_does_not_fit_fails(scene: &Scene) {
    let receiver = scene.receiver_with(&["--once"]);
    let files = [
        make(&scene.src, "fits", 2 * MIB),
        make(&scene.src, "too-large", 64 * MIB),
        make(&scene.src, "small", 1000),
    ];
    let path = scene.dst.join("too-large");
    let told = [path.to_str().unwrap(), "no room"];
    scene.send(&files, receiver.addr).expect_complaint(7, &told).expect_out(&["2 files, ", "1 file failed"]);
    receiver.process.finish(PATIENCE).expect_complaint(7, &told);
    assert_arrived(&[&files[0], &files[2]], &scene.dst);
    assert!(!path.exists() && !part_path(&scene.dst, "too-large").exists());
}

/// Fills the disk while a file arrives, then makes room and sends again.
fn a_disk_that_fills_meanwhile(scene: &Scene) {
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 6 * MIB);
    let relay = Relay::holding_after(receiver.addr, 2 * MIB as u64);
    let sender = scene.start_send(&[], &[&file], relay.addr);
    relay.wait_until_held();
    let ballast = scene.dst.join("ballast");
    // As much as there is: the write ends with an error.
    let _ = fs::write(&ballast, vec![1; 64 * MIB]);
    relay.release();
    let sent = sender.finish(PATIENCE);
    let reserved = sent.code == Some(0);
    if !reserved {
        sent.expect_complaint(7, &[scene.dst.join("file").to_str().unwrap(), "no room"]);
        assert!(!scene.dst.join("file").exists());
        fs::remove_file(&ballast).unwrap();
        scene.send(&[&file], receiver.addr).expect_success();
    }
    assert_arrived(&[&file], &scene.dst);
}

/// Nobody knows before that a stream does not fit.
fn a_stream_that_does_not_fit_fails(scene: &Scene) {
    let receiver = scene.receiver();
    let before = listing(&scene.dst);
    let stream = fs::File::open(make(&scene.src, "content", 64 * MIB)).unwrap();
    let mut command = scene.lanx();
    command.args(["send", "-", &receiver.addr.to_string(), "--name", "stream"]);
    let path = scene.dst.join("stream");
    Process::spawn_fed(command, stream)
        .finish(PATIENCE)
        .expect_complaint(7, &["no room for", path.to_str().unwrap(), "send again"]);
    assert_eq!(listing(&scene.dst), before, "something is left of it");
}

#[test]
#[ignore = "mounts: make root-tests"]
fn a_full_tmpfs_fails_what_does_not_fit_and_nothing_else() {
    let scene = Scene::new();
    let _mount = Mount::tmpfs(&scene.dst, 12 * MIB);
    a_stream_that_does_not_fit_fails(&scene);
    only_what_does_not_fit_fails(&scene);
    a_disk_that_fills_meanwhile(&scene);
}

#[test]
#[ignore = "mounts: make root-tests"]
fn a_full_ext4_fails_what_does_not_fit_and_nothing_else() {
    let scene = Scene::new();
    let _mount = Mount::ext4(&scene.path("image"), &scene.dst, 32 * MIB);
    fs::remove_dir(scene.dst.join("lost+found")).unwrap();
    a_stream_that_does_not_fit_fails(&scene);
    only_what_does_not_fit_fails(&scene);
    a_disk_that_fills_meanwhile(&scene);
}
