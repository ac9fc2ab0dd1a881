//! Whole folders: what arrives is what was sent, in every respect that the file system keeps.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::*;

/// A folder with one of everything that arrives by itself.
fn make_tree(top: &Path) {
    for folder in ["", "empty", "a", "a/b", "a/b/c", "private"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    make(top, "small", 1000);
    make(top, "nothing", 0);
    make(&top.join("a"), "chunk", CHUNK);
    make(&top.join("a/b/c"), "large", 3 * CHUNK + 17);
    make(&top.join("private"), "secret", 5);
    for name in [&b"-rf"[..], b"new\nline", b"\xff\xfe not utf-8", b"\x1b[31mred", "e\u{301}".as_bytes()] {
        make(&top.join("a/b"), OsStr::from_bytes(name), 10);
    }
    symlink("../small", top.join("a/link")).unwrap();
    symlink("/nowhere/at all\n", top.join("dangling")).unwrap();
    set_mode(&top.join("small"), 0o755);
    set_mode(&top.join("private/secret"), 0o400);
    set_mode(&top.join("private"), 0o500);
    set_mode(&top.join("empty"), 0o777);
    // The innermost first, as making something in a folder changes its time.
    for (at, folder) in ["empty", "private", "a/b/c", "a/b", "a", ""].iter().enumerate() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + at as u64, 987_654_321);
        File::open(top.join(folder)).unwrap().set_modified(time).unwrap();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Everything there is to compare of a folder and what is in it: a line for each.
pub fn manifest(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    collect(top, Path::new(""), &mut lines);
    lines.sort();
    lines
}

fn collect(top: &Path, below: &Path, lines: &mut Vec<String>) {
    let path = top.join(below);
    let meta = fs::symlink_metadata(&path).unwrap();
    let what = if meta.is_symlink() {
        format!("-> {:?}", fs::read_link(&path).unwrap())
    } else if meta.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            collect(top, &below.join(entry.unwrap().file_name()), lines);
        }
        "folder".into()
    } else {
        blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string()
    };
    // Nobody sets the mode of a link.
    let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
    lines.push(format!("{below:?} {mode:o} {}.{:09} {what}", meta.mtime(), meta.mtime_nsec()));
}

#[test]
fn a_folder_arrives_as_it_was_under_its_own_name() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    make_tree(&top);
    let receiver = scene.receiver();
    let output = scene.send(&[&top], receiver.addr);
    output.expect_success();
    output.expect_out(&["10 files, 6 folders, 2 links, ", "verified"]);
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
    assert_eq!(listing(&scene.dst), ["top"]);
    // And once more: nothing has to be sent, and nothing changes.
    let again = scene.send(&[&top], receiver.addr);
    again.expect_success();
    again.expect_out(&["(all already there)"]);
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
}

#[test]
fn a_slash_sends_what_is_in_the_folder_and_leaves_the_destination_its_mode() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    make_tree(&top);
    set_mode(&top, 0o777);
    set_mode(&scene.dst, 0o750);
    let receiver = scene.receiver_with(&["--overwrite"]);
    let mut contents = top.clone().into_os_string();
    contents.push("/");
    scene.send(&[&contents], receiver.addr).expect_success();
    let without_top =
        |top| manifest(top).into_iter().filter(|line| !line.starts_with("\"\"")).collect::<Vec<_>>();
    assert_eq!(without_top(&scene.dst), without_top(&top));
    let (dst, src) = (fs::metadata(&scene.dst).unwrap(), fs::metadata(&top).unwrap());
    assert_eq!((dst.mode() & 0o7777, dst.mtime()), (0o750, src.mtime()));
}

#[test]
fn sync_and_reread_change_nothing_of_it() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    make_tree(&top);
    let receiver = scene.receiver_with(&["--sync", "--verify=reread"]);
    scene.send(&[&top], receiver.addr).expect_success();
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
}

#[test]
fn a_deep_and_a_wide_folder_arrive() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    // One offer makes 256 folders, and a folder is offered after what is in it.
    let deep = (0..1000).fold(top.clone(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    make(&deep, "bottom", 10);
    let wide = top.join("wide");
    fs::create_dir(&wide).unwrap();
    for at in 0..3000 {
        fs::write(wide.join(format!("file-{at}")), format!("{at}")).unwrap();
    }
    let receiver = scene.receiver();
    scene.send(&[&top], receiver.addr).expect_success();
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
}

#[test]
fn holes_stay_holes_and_the_hash_is_that_of_the_whole_file() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    let file = File::create(top.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"in the middle", 20 << 20).unwrap();
    file.write_all_at(b"at the end", (64 << 20) - 10).unwrap();
    File::create(top.join("hollow")).unwrap().set_len(10 << 20).unwrap();
    File::create(top.join("little")).unwrap().set_len(100_000).unwrap();
    drop(file);
    let receiver = scene.receiver();
    scene.send(&[&top], receiver.addr).expect_success();
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
    for (name, most) in [("sparse", 1 << 20), ("hollow", 0), ("little", 0)] {
        let room = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
        let (there, here) = (room(&scene.dst.join("top").join(name)), room(&top.join(name)));
        assert!(there <= most.max(here), "{name} takes {there} bytes there and {here} here");
    }
}

#[test]
fn an_archive_keeps_further_names_and_attributes() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir_all(top.join("sub")).unwrap();
    let first = make(&top, "first", 2 * CHUNK);
    fs::hard_link(&first, top.join("sub/second")).unwrap();
    fs::hard_link(&first, top.join("third")).unwrap();
    let has_attributes =
        rustix::fs::setxattr(&first, "user.lanx", b"\0\xff", rustix::fs::XattrFlags::empty()).is_ok();
    let receiver = scene.receiver();
    let output = scene.send_with(&["--archive"], &[&top], receiver.addr);
    output.expect_success();
    output.expect_out(&["1 file, 2 folders, 2 links, "]);
    let inode = |name: &str| fs::metadata(scene.dst.join("top").join(name)).unwrap().ino();
    assert_eq!((inode("sub/second"), inode("third")), (inode("first"), inode("first")));
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
    if has_attributes {
        let mut value = [0; 10];
        let len = rustix::fs::getxattr(scene.dst.join("top/third"), "user.lanx", &mut value).unwrap();
        assert_eq!(value[..len], *b"\0\xff");
    } else {
        eprintln!("this file system has no attributes");
    }
}

#[test]
fn what_is_left_out_is_not_even_offered_and_special_files_are_counted() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir_all(top.join("target")).unwrap();
    make(&top, "a.c", 10);
    make(&top, "a.o", 10);
    make(&top.join("target"), "x", 10);
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let receiver = scene.receiver();
    let flags = ["--exclude", "*.o", "--exclude", "target/"];
    let output = scene.send_with(&flags, &[&top], receiver.addr);
    output.expect_complaint(5, &["top/socket: skipped: a socket"]);
    output.expect_out(&["1 file, 1 folder, ", "; 1 special file skipped"]);
    assert_eq!(listing(&scene.dst.join("top")), ["a.c"]);
    let usage = scene.send_with(&["--exclude-from", "no such file"], &[&top], receiver.addr);
    usage.expect_complaint(2, &["what to exclude: no such file: "]);
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    for name in ["new", "same", "other"] {
        make(&top, name, 1000);
    }
    make(&top, "large", 2 * CHUNK);
    symlink("x", top.join("link")).unwrap();
    let there = scene.dst.join("top");
    fs::create_dir(&there).unwrap();
    fs::copy(top.join("same"), there.join("same")).unwrap();
    fs::write(there.join("other"), vec![7; 1000]).unwrap();
    let before = manifest(&scene.dst);
    let receiver = scene.receiver();
    let output = scene.send_with(&["--dry-run"], &[&top], receiver.addr);
    output.expect_complaint(5, &["top/other: the receiver has another file of this name"]);
    output.expect_out(&[
        "would send top/new (",
        "would send top/large (524 kB)\n",
        "would send top/link\n",
        "dry run: 2 files, ",
        " would be sent; 1 file already there; 1 file failed",
    ]);
    assert_eq!(manifest(&scene.dst), before);
    let output = scene.send_with(&["--dry-run"], &[&top.join("same")], receiver.addr);
    output.expect_out(&["would send same ("]);
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &[], &there);
    let output = scene.send_with(&["--dry-run"], &[&top.join("same")], receiver.addr);
    output.expect_success().expect_out(&["dry run: nothing would be sent; 1 file already there\n"]);
    receiver.wait_for_stdout("same: dry run: nothing would be sent; 1 file already there");
    // Where a file may be replaced, one with the same bytes would also get the sender's mode and time.
    fs::set_permissions(there.join("same"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = manifest(&scene.dst);
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &["--overwrite"], &there);
    let output = scene.send_with(&["--dry-run"], &[&top.join("same")], receiver.addr);
    output.expect_success().expect_out(&["1 file already there\n"]);
    assert_eq!(manifest(&scene.dst), before);
}

#[test]
fn a_folder_and_a_file_of_one_name_are_refused_and_the_rest_arrives() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    for folder in ["top", "top/folder", "top/file"] {
        fs::create_dir(scene.src.join(folder)).unwrap();
    }
    make(&top.join("folder"), "inside", 10);
    make(&top.join("file"), "inside", 10);
    make(&top, "fine", 10);
    let there = scene.dst.join("top");
    fs::create_dir(&there).unwrap();
    // A file where a folder must be, and a link to a folder elsewhere where one must be.
    fs::write(there.join("folder"), "in the way").unwrap();
    symlink(&scene.src, there.join("file")).unwrap();
    let receiver = scene.receiver_with(&["--overwrite"]);
    let output = scene.send(&[&top], receiver.addr);
    output.expect_code(5);
    for line in [
        "top/folder is a regular file there, not a folder",
        "top/file is a symbolic link there, not a folder",
    ] {
        assert!(output.err().contains(line), "{}", output.err());
    }
    assert_eq!(listing(&there), ["file", "fine", "folder"]);
    assert_eq!(fs::read(there.join("folder")).unwrap(), b"in the way");
    assert_eq!(listing(&scene.src), ["top"], "nothing went through the link");
}

#[test]
fn an_interrupted_folder_is_completed_by_the_same_command() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    make_tree(&top);
    make(&top.join("a"), "huge", 40 * CHUNK);
    let receiver = scene.receiver();
    let relay = Relay::holding_after(receiver.addr, 10 * CHUNK as u64);
    let mut sender = scene.start_send(&["--retry-for", "0"], &[&top], relay.addr);
    relay.wait_until_held();
    sender.kill();
    drop(relay);
    let output = scene.send(&[&top], receiver.addr);
    output.expect_success();
    assert_eq!(manifest(&scene.dst.join("top")), manifest(&top));
}

#[test]
fn an_empty_folder_without_itself_is_told_as_nothing_to_send_and_not_as_a_fault() {
    let scene = Scene::new();
    fs::create_dir(scene.src.join("empty")).unwrap();
    let receiver = scene.receiver();
    let sent = scene.send(&["empty/"], receiver.addr);
    assert_eq!(sent.expect_success().out(), "there was nothing to send\n");
    assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
}

#[test]
fn three_hundred_named_folders_are_sent_with_few_files_open() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let folders: Vec<_> = (0..300).map(|n| scene.src.join(n.to_string())).collect();
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        make(folder, "file", 10);
    }
    let mut command = scene.lanx_with_descriptors(64);
    command.arg("send").args(&folders).arg(receiver.addr.to_string());
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert!(folders.iter().all(|folder| scene.dst.join(folder.file_name().unwrap()).join("file").exists()));
}

#[test]
fn what_is_left_out_is_a_note_an_event_and_no_failure() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    make(&top, "file", 10);
    make(&top, ".film.lanx-part", 10);
    let receiver = scene.receiver();
    let sent = scene.send(&[&top], receiver.addr);
    sent.expect_code(0);
    assert!(
        sent.err().ends_with(".film.lanx-part: left out: it is an unfinished file of lanx\n"),
        "{}",
        sent.err()
    );
    assert!(!sent.err().contains("error"), "{}", sent.err());
    let quiet = scene.send_with(&["--json", "-q"], &[&top], receiver.addr);
    assert_eq!(quiet.expect_code(0).err(), "");
    let events = events(&quiet.stdout);
    let left_out: Vec<_> = events.iter().filter(|event| event["status"] == "left_out").collect();
    assert_eq!(left_out.len(), 1, "{events:?}");
    assert!(left_out[0]["reason"].as_str().unwrap().contains("unfinished file of lanx"), "{events:?}");
    let done = events.last().unwrap();
    assert_eq!((&done["failed"], &done["skipped"], &done["code"]), (&0.into(), &0.into(), &0.into()));
}
