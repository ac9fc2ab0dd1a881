//! `send --files-from`: what a list names of a folder.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::trees::manifest;
use crate::common::*;

/// A tree of which a list names a part.
fn tree(scene: &Scene) -> PathBuf {
    let top = scene.src.join("top");
    fs::create_dir_all(top.join("a/b/c")).unwrap();
    fs::create_dir_all(top.join("empty/er")).unwrap();
    for (name, bytes) in [("one", 10), ("a/two", 2 * CHUNK + 1), ("a/b/c/three", 30), ("a/b/left", 40)] {
        make(&top, name, bytes);
    }
    top
}

fn list(scene: &Scene, content: impl AsRef<[u8]>) -> PathBuf {
    let path = scene.src.join("list");
    fs::write(&path, content).unwrap();
    path
}

/// What is in a folder, as paths beneath it, each folder with a `/` behind it.
fn beneath(folder: &Path) -> Vec<String> {
    let found = |is_folder: &[&str], shown: &str| {
        let mut find = Command::new("find");
        let output = find
            .arg(folder)
            .args(["-mindepth", "1"])
            .args(is_folder)
            .args(["-type", "d", "-printf", shown])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (folders, others) = (found(&[], "%P/\n"), found(&["-not"], "%P\n"));
    let mut all: Vec<String> = folders.lines().chain(others.lines()).map(String::from).collect();
    all.sort();
    all
}

/// `folder/` as a user types it.
fn content_of(folder: &Path) -> PathBuf {
    folder.join("")
}

#[test]
fn only_what_is_listed_is_sent_with_the_folders_on_the_way() {
    let scene = Scene::new();
    let top = tree(&scene);
    fs::set_permissions(top.join("a/b"), Permissions::from_mode(0o750)).unwrap();
    let list = list(&scene, "# a comment\n./one\n/a/two\na/b/c/three\n\nempty/\n");
    let receiver = scene.receiver();
    let flags = ["--files-from", list.to_str().unwrap()];
    let output = scene.send_with(&flags, &[&content_of(&top)], receiver.addr);
    output.expect_success();
    output.expect_out(&["3 files, "]);
    let all = ["a/", "a/b/", "a/b/c/", "a/b/c/three", "a/two", "empty/", "one"];
    assert_eq!(beneath(&scene.dst), all);
    for folder in ["a", "a/b", "a/b/c", "empty"] {
        let (here, there) =
            (fs::metadata(top.join(folder)).unwrap(), fs::metadata(scene.dst.join(folder)).unwrap());
        assert_eq!((here.mode(), here.mtime()), (there.mode(), there.mtime()), "{folder}");
    }
    // With a name the folder arrives under it, and with -r listed folders go whole.
    fs::write(&list, "a/b\nempty\n").unwrap();
    let output = scene.send_with(&["-r", flags[0], flags[1]], &[&top], receiver.addr);
    output.expect_success();
    let all = ["a/", "a/b/", "a/b/c/", "a/b/c/three", "a/b/left", "empty/", "empty/er/"];
    assert_eq!(beneath(&scene.dst.join("top")), all);
}

#[test]
fn names_of_any_bytes_are_listed_between_nul_bytes_and_through_a_pipe() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir_all(top.join("with\nline")).unwrap();
    let names: [&[u8]; 4] = [b"#hash", b"with\nline/caf\xe9", b" space ", b"with\nline/-"];
    let mut content = Vec::new();
    for name in names {
        make(&top, OsStr::from_bytes(name), 100);
        content.extend_from_slice(name);
        content.push(0);
    }
    make(&top, "not listed", 10);
    let receiver = scene.receiver();
    let fed = File::open(list(&scene, content)).unwrap();
    let mut command = scene.lanx();
    command.args(["send", "--files-from", "-", "-0"]).arg(content_of(&top)).arg(receiver.addr.to_string());
    Process::spawn_fed(command, fed).finish(PATIENCE).expect_success();
    for name in names {
        assert_eq!(read(&top.join(OsStr::from_bytes(name))), read(&scene.dst.join(OsStr::from_bytes(name))));
    }
    assert_eq!(listing(&scene.dst).len(), 2 + 1, "two files and a folder");
}

#[test]
fn what_cannot_be_sent_is_told_and_the_rest_arrives() {
    let scene = Scene::new();
    let top = tree(&scene);
    symlink("a", top.join("link")).unwrap();
    let outside = make(&scene.src, "outside", 10);
    let list = list(&scene, "../outside\nmissing\nlink/two\none/below\nlink\nmissing/too\na/two\n");
    let receiver = scene.receiver();
    let output =
        scene.send_with(&["--files-from", list.to_str().unwrap()], &[&content_of(&top)], receiver.addr);
    output.expect_code(5);
    let told = output.err();
    for words in ["entry 1 leads out of the folder", "missing: ", "link: ", "one: "] {
        assert!(told.contains(words), "{words:?} in {told}");
    }
    assert_eq!(beneath(&scene.dst), ["a/", "a/two", "link"]);
    assert!(outside.exists());
    output.expect_out(&["5 files failed"]);
}

#[test]
fn a_list_that_makes_no_sense_is_a_wrong_command_line() {
    let scene = Scene::new();
    let top = tree(&scene);
    let one = top.join("one");
    let there = list(&scene, "one\n");
    let there = there.to_str().unwrap();
    for (flags, paths, words) in [
        (&["--files-from", there][..], &[&one][..], "lists what is sent of one folder"),
        (&["--files-from", there], &[&top, &one], "lists what is sent of one folder"),
        (&["--files-from", "nowhere"], &[&top], "--files-from: nowhere: no such file"),
        (&["--files-from", "-", "--to", "127.0.0.1:2"], &[&top], "serves one receiver"),
    ] {
        let mut args = vec![OsStr::new("send")];
        args.extend(flags.iter().map(OsStr::new));
        args.extend(paths.iter().map(|path| path.as_os_str()));
        args.extend(["--to", "127.0.0.1:1"].map(OsStr::new));
        let output = scene.run(&args);
        output.expect_code(2);
        assert!(output.err().contains(words), "{words:?} in {}", output.err());
    }
}

#[test]
fn shards_of_a_tree_and_then_the_tree_leave_it_as_it_is_at_the_sender() {
    shards_and_then_all(&[], "");
}

#[test]
fn so_they_do_in_a_folder_beneath_that_of_the_receiver() {
    shards_and_then_all(&["--into", "sets/of/data"], "sets/of/data");
}

fn shards_and_then_all(flags: &[&str], place: &str) {
    let scene = Scene::new();
    let top = tree(&scene);
    let receiver = scene.receiver();
    let dst = scene.dst.join(place);
    for shard in ["one\na/b/c/three\n", "a/two\na/b/left\nempty/er\n"] {
        let list = list(&scene, shard);
        let flags = [flags, &["--files-from", list.to_str().unwrap()]].concat();
        scene.send_with(&flags, &[&top], receiver.addr).expect_success();
    }
    let output = scene.send_with(flags, &[&top], receiver.addr);
    output.expect_success();
    output.expect_out(&["all already there"]);
    assert_eq!(manifest(&dst.join("top")), manifest(&top));
    // What the user does to a folder then stays.
    let folder = dst.join("top/a");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    scene.send_with(flags, &[&top], receiver.addr).expect_success();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
}
