//! `recv --exec`: what a receiver's own program is told of what has arrived, and that nothing of it reaches a sender.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::common::*;

/// A program that does this in a shell.
fn program(scene: &Scene, name: &str, body: &str) -> String {
    let path = scene.path(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A receiver for one transfer that runs a program with these options.
fn receiver(scene: &Scene, options: &[&str]) -> Receiver {
    scene.receiver_with(&[&["--once"], options].concat())
}

#[test]
fn a_program_hears_of_a_transfer_in_a_list_and_has_nothing_else() {
    let scene = Scene::new();
    let out = scene.path("out");
    let body = format!(
        "cp \"$LANX_LIST\" {out}.list; echo \"$#\" >{out}.count; cat >{out}.stdin; env >{out}.env; echo said",
        out = out.display()
    );
    let program = program(&scene, "program", &body);
    let mut command = scene.lanx();
    command.env("LANX_CODE", "correct horse").env("LANX_TOKEN", "t");
    let receiver =
        Receiver::start_as(command, "127.0.0.1:0", &["--once", "--json", "--exec", &program], &scene.dst);
    let odd = OsStr::from_bytes(b"with blank\nand line");
    let files = [make(&scene.src, "a", 3 * CHUNK), make(&scene.src, odd, 5), make(&scene.src, "same", 7)];
    fs::copy(&files[2], scene.dst.join("same")).unwrap();
    scene.send(&files, receiver.addr).expect_success();
    let received = receiver.process.finish(PATIENCE);
    received.expect_code(0);
    // What it says does not come between events.
    assert!(!received.out().contains("said") && received.err().contains("said"), "{}", received.err());
    let list = read(&out.with_extension("list"));
    let mut paths: Vec<&[u8]> = list.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    paths.sort();
    let expected: Vec<PathBuf> = [OsStr::new("a"), odd].map(|name| scene.dst.join(name)).into();
    assert_eq!(paths, expected.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>());
    assert_eq!(read(&out.with_extension("count")), b"0\n");
    assert_eq!(read(&out.with_extension("stdin")), b"");
    let env = String::from_utf8(read(&out.with_extension("env"))).unwrap();
    assert!(!env.contains("LANX_CODE") && !env.contains("LANX_TOKEN"), "{env}");
    let left = fs::read_dir(scene.path("")).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("lanx-list")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn each_file_is_told_of_one_at_a_time_and_a_transfer_that_stores_nothing_of_none() {
    let scene = Scene::new();
    let log = scene.path("log");
    let body = format!(
        "mkdir {lock} || exit 9; tr '\\0' '\\n' <\"$LANX_LIST\" >>{log}; sleep 0.05; rmdir {lock}",
        lock = scene.path("lock").display(),
        log = log.display()
    );
    let program = program(&scene, "program", &body);
    let files: Vec<PathBuf> = (0..6).map(|n| make(&scene.src, format!("file-{n}"), 10 + n)).collect();
    for _ in 0..2 {
        let receiver = receiver(&scene, &["--exec-each", &program]);
        scene.send(&files, receiver.addr).expect_code(0);
        receiver.process.finish(PATIENCE).expect_success();
        let mut lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(String::from).collect();
        lines.sort();
        let expected: Vec<String> =
            (0..6).map(|n| scene.dst.join(format!("file-{n}")).to_str().unwrap().to_owned()).collect();
        assert_eq!(lines, expected, "what was there already is not told of again");
    }
}

#[test]
fn a_program_that_fails_or_hangs_is_told_of_and_no_sender_hears_of_it() {
    for (body, options, words) in [
        ("exit 3", &[][..], "ended with exit code 3"),
        ("kill -9 $$", &[], "was ended by signal 9"),
        ("sleep 1000", &["--exec-timeout", "1s"], "was killed, as it ran for 1 s (--exec-timeout)"),
        ("rm -- \"$0\"; exit 4", &[], "ended with exit code 4"),
    ] {
        let scene = Scene::new();
        let program = program(&scene, "program", body);
        let receiver = receiver(&scene, &[&["--exec", &program], options].concat());
        let file = make(&scene.src, "file", 10);
        scene.send(&[&file], receiver.addr).expect_success();
        let received = receiver.process.finish(PATIENCE);
        received.expect_code(0);
        let told: Vec<String> =
            received.err().lines().filter(|line| line.contains(words)).map(Into::into).collect();
        assert_eq!(told.len(), 1, "{body}: {}", received.err());
        assert_arrived(&[&file], &scene.dst);
    }
}

#[test]
fn a_program_that_is_missing_is_told_of_before_anybody_sends() {
    let scene = Scene::new();
    let file = make(&scene.path(""), "no-program", 3);
    for missing in ["/nonexistent", "no-such-program-anywhere", file.to_str().unwrap()] {
        for option in ["--exec", "--exec-each"] {
            let received =
                scene.run(["recv", "--listen", "127.0.0.1:0", option, missing, scene.dst.to_str().unwrap()]);
            received.expect_complaint(2, &["is no program that can be run here"]);
        }
    }
    scene.run(["recv", "--exec", "true", "-"]).expect_complaint(2, &["--exec is for a folder"]);
}

#[test]
fn a_receiver_that_is_told_to_end_does_not_wait_for_a_program_that_hangs() {
    let scene = Scene::new();
    let started = scene.path("started");
    let program = program(&scene, "program", &format!("touch {}; sleep 1000", started.display()));
    let receiver = scene.receiver_with(&["--exec", &program, "--grace", "1"]);
    scene.send(&[make(&scene.src, "file", 10)], receiver.addr).expect_success();
    wait_until("the program runs", PATIENCE, || started.exists());
    receiver.process.signal(rustix::process::Signal::TERM);
    let received = receiver.process.finish(PATIENCE);
    received.expect_code(0);
    assert!(received.err().contains("was killed, as the receiver ends"), "{}", received.err());
}
