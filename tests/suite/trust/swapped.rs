//! A folder that is swapped for a link while the sender walks does not lead it out of what it was told to send; and however
//! deep a tree is, few of its folders are open at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use walkdir::WalkDir;

use crate::common::*;

const FOLDERS: usize = 300;
const SECRET: &[u8] = b"of somebody else";

/// All files below a folder; links are none.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(folder).into_iter().map(Result::unwrap);
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// Swaps each of the folders of `top` for a link that leads out, and back, until it is told to stop.
fn swap(top: &Path, links: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for folder in 0..FOLDERS {
            let (folder, link) = (top.join(folder.to_string()), links.join(folder.to_string()));
            renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

#[test]
fn folders_swapped_for_links_during_the_walk_lead_nowhere() {
    let scene = Scene::new();
    let (top, links, outside) = (scene.src.join("top"), scene.path("links"), scene.path("outside"));
    fs::create_dir(&links).unwrap();
    fs::create_dir(&outside).unwrap();
    make_of(&outside, "file", SECRET);
    for folder in 0..FOLDERS {
        let name = folder.to_string();
        fs::create_dir_all(top.join(&name)).unwrap();
        make(&top.join(&name), "file", 100);
        symlink(&outside, links.join(name)).unwrap();
    }
    let receiver = scene.receiver();
    let stop = AtomicBool::new(false);
    let leaked = thread::scope(|scope| {
        scope.spawn(|| swap(&top, &links, &stop));
        let _stops = Stops(&stop);
        for _ in 0..5 {
            let output = scene.send_with(&["--archive"], &[&top], receiver.addr);
            // Some folders were caught in the act.
            assert!(matches!(output.code, Some(0 | 5)), "{}", output.err());
            if let Some(leaked) = files_below(&scene.dst).into_iter().find(|file| read(file) == SECRET) {
                return Some(leaked);
            }
            fs::remove_dir_all(scene.dst.join("top")).unwrap();
        }
        None
    });
    assert_eq!(leaked, None, "a file from outside was sent");
}

/// Has the swapping end with the test, however that ends.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_levels_are_sent_with_few_files_open() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    let mut folder = top.clone();
    for level in 0..1000 {
        fs::create_dir_all(&folder).unwrap();
        make(&folder, "a", level);
        folder.push("d");
    }
    let receiver = scene.receiver();
    let mut command = scene.lanx_with_descriptors(64);
    command.args(["send", "--archive"]).arg(&top).arg(receiver.addr.to_string());
    let output = Process::spawn(command).finish(PATIENCE);
    output.expect_success();
    output.expect_out(&["1000 files, 1000 folders, "]);
    assert_eq!(files_below(&scene.dst).len(), 1000);
}
