//! Hashes that both ends remember: a file that nobody has touched is not read again.
//!
//! What has just been made is not remembered by a sender, so the files here are those of the project itself.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::*;
use serde_json::Value;

/// Files of the project that have been at rest for long enough, or nothing where that cannot be had: then the test says so.
fn at_rest(scene: &Scene) -> Option<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["README.md", "LICENSE-MIT", "Cargo.lock", "src/main.rs"].map(|name| root.join(name));
    let rested = |path: &PathBuf| {
        let changed = Duration::from_secs(fs::metadata(path).unwrap().ctime().unsigned_abs());
        SystemTime::UNIX_EPOCH + changed + Duration::from_secs(62) < SystemTime::now()
    };
    let proven = |path: &Path| {
        let kind = rustix::fs::statfs(path).unwrap().f_type as u64 & 0xFFFF_FFFF;
        [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010].contains(&kind)
    };
    if files.iter().all(rested) && proven(root) && proven(&scene.dst) {
        return Some(files.into());
    }
    eprintln!("skipped: the project's files have just been made, or lie where nothing is remembered");
    None
}

fn statuses(output: &Output) -> Vec<String> {
    let events = output.events();
    of_kind(&events, "file").iter().map(|file| file["status"].as_str().unwrap().to_owned()).collect()
}

fn done(output: &Output) -> Value {
    output.events().last().unwrap().clone()
}

#[test]
fn a_re_run_reads_no_file_that_both_ends_remember() {
    let scene = Scene::new();
    let Some(files) = at_rest(&scene) else { return };
    let receiver = scene.receiver_with(&["--overwrite"]);
    let first = scene.send_with(&["--json"], &files, receiver.addr);
    first.expect_success();
    assert_eq!(statuses(&first), ["sent"; 4]);
    let second = scene.send_with(&["--json"], &files, receiver.addr);
    second.expect_success();
    assert_eq!(statuses(&second), ["remembered"; 4], "{}", second.out());
    assert_eq!((&done(&second)["identical"], &done(&second)["remembered"]), (&4.into(), &4.into()));
    let events = second.events();
    for file in of_kind(&events, "file") {
        let path = files.iter().find(|path| path.ends_with(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(file["blake3"], blake3::hash(&read(path)).to_string());
    }
    let told = scene.send_with(&[], &files, receiver.addr);
    told.expect_out(&["all already there", ", as remembered"]);
    assert!(!told.out().contains("verified"), "{}", told.out());

    let checked = scene.send_with(&["--json", "--checksum"], &files, receiver.addr);
    assert_eq!(statuses(&checked), ["identical"; 4]);
    assert_eq!(done(&checked)["remembered"], 0);
}

#[test]
fn what_was_touched_at_the_receiver_is_read_again_whatever_its_time_says() {
    let scene = Scene::new();
    let Some(files) = at_rest(&scene) else { return };
    let receiver = scene.receiver_with(&["--overwrite"]);
    scene.send(&files, receiver.addr).expect_success();
    let there = scene.dst.join("LICENSE-MIT");
    let time = fs::metadata(&there).unwrap().modified().unwrap();
    let file = File::options().write(true).open(&there).unwrap();
    file.write_all_at(b"X", 0).unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    let again = scene.send_with(&["--json"], &files, receiver.addr);
    again.expect_success();
    let mut statuses = statuses(&again);
    statuses.sort();
    assert_eq!(statuses, ["remembered", "remembered", "remembered", "sent"]);
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_cache_that_cannot_be_used_is_no_error() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 1000);
    let state = scene.path("home/.local/state/lanx");
    fs::create_dir_all(&state).unwrap();
    let receiver = scene.receiver();
    for content in [&b"no database at all, but long enough to be taken for one"[..], b"", &[0; 5000]] {
        fs::write(state.join("hashes.sqlite"), content).unwrap();
        scene.send(&[&file], receiver.addr).expect_success();
    }
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "a file where a folder should be").unwrap();
    scene.send(&[&file], receiver.addr).expect_success();
}

#[test]
fn the_cache_is_shown_pruned_and_forgotten() {
    let scene = Scene::new();
    let cache = |args: &[&str]| scene.run([&["cache"], args].concat());
    cache(&[]).expect_success().expect_out(&["nothing is remembered yet"]);
    let Some(files) = at_rest(&scene) else { return };
    let receiver = scene.receiver();
    scene.send(&files, receiver.addr).expect_success();
    drop(receiver);
    cache(&[]).expect_success().expect_out(&["hashes.sqlite: "]);
    cache(&["prune", "--older", "30d"]).expect_success().expect_out(&["0 files forgotten"]);
    cache(&["forget"]).expect_success().expect_out(&["forgotten"]);
    cache(&["forget"]).expect_success().expect_out(&["nothing was remembered"]);
    cache(&["prune", "--older", "soon"]).expect_code(2);
}
