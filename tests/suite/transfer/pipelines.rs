//! Pipelines: what a command writes arrives whole under a name, or not at all; and where it arrives.

use std::fs;
use std::io::{Write, pipe};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::{Pid, Signal, test_kill_process};

use crate::common::*;

/// `lanx send FLAGS HOST --name NAME -- COMMAND`.
fn start(scene: &Scene, flags: &[&str], hosts: &[String], name: &str, line: &[&str]) -> Process {
    let mut command = scene.lanx();
    command.arg("send").args(flags);
    match hosts {
        [host] => command.arg(host),
        hosts => command.args(hosts.iter().flat_map(|host| ["--to", host])),
    };
    command.args(["--name", name, "--"]).args(line);
    Process::spawn(command)
}

fn send(scene: &Scene, host: impl ToString, name: &str, line: &[&str]) -> Output {
    start(scene, &[], &[host.to_string()], name, line).finish(PATIENCE)
}

/// Waits until the process of which the number stands in this file is gone.
fn wait_for_end_of(file: &Path) {
    let pid = || Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?);
    wait_until("the command says its number", PATIENCE, || pid().is_some());
    let is_there = || {
        let state =
            fs::read_to_string(format!("/proc/{}/stat", pid().unwrap().as_raw_pid())).unwrap_or_default();
        test_kill_process(pid().unwrap()).is_ok() && !state.contains(") Z ")
    };
    wait_until("the command is gone", PATIENCE, || !is_there());
}

// ---- commands ----

#[test]
fn what_a_command_writes_arrives_under_the_name_and_no_shell_reads_its_arguments() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    send(&scene, receiver.addr, "words", &["printf", "%s", "$HOME; `id`  *"]).expect_success();
    assert_eq!(read(&scene.dst.join("words")), b"$HOME; `id`  *");
    let large = make(&scene.src, "large", 9 * CHUNK + 5);
    send(&scene, receiver.addr, "copy", &["cat", "large"]).expect_success();
    assert!(read(&large) == read(&scene.dst.join("copy")));
    // As the help says it.
    let line = ["bash", "-o", "pipefail", "-c", "cat large | tail -c +2"];
    send(&scene, receiver.addr, "tail", &line).expect_success();
    assert!(read(&scene.dst.join("tail"))[..] == read(&large)[1..]);
}

#[test]
fn a_command_that_fails_publishes_nothing_however_much_it_wrote() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--overwrite"]);
    make(&scene.src, "large", 9 * CHUNK + 5);
    let before = look(&make(&scene.dst, "dump", 10));
    for (line, words) in [
        (&["sh", "-c", "echo half; exit 3"][..], "ended with exit code 3"),
        (&["sh", "-c", "cat large; exit 3"], "ended with exit code 3"),
        (&["sh", "-c", "cat large; kill -9 $$"], "was ended by signal 9"),
        (&["bash", "-o", "pipefail", "-c", "cat large missing | cat"], "ended with exit code 1"),
        (&["false"], "ended with exit code 1"),
        (&["/nonexistent/program"], "cannot be run: no such program"),
        (&["/etc/passwd"], "cannot be run: "),
    ] {
        let sent = send(&scene, receiver.addr, "dump", line);
        sent.expect_code(5);
        let told: Vec<String> =
            sent.err().lines().filter(|line| line.contains(words)).map(String::from).collect();
        assert_eq!(told.len(), 1, "{line:?}: {}", sent.err());
        assert!(told[0].contains("nothing of it is published"), "{}", sent.err());
        assert_eq!(listing(&scene.dst), ["dump"], "{line:?}");
        assert_eq!(look(&scene.dst.join("dump")), before, "{line:?}");
    }
}

#[test]
fn a_command_that_writes_nothing_and_ends_well_becomes_an_empty_file_and_that_is_told() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    send(&scene, receiver.addr, "empty", &["true"]).expect_complaint(0, &["true wrote nothing", "empty"]);
    assert_eq!(read(&scene.dst.join("empty")), b"");
}

#[test]
fn a_command_that_never_ends_publishes_nothing_and_goes_with_the_sender() {
    for writes in ["", "echo half; "] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let endless = format!("echo $$ > pid; {writes}while :; do sleep 0.1; done");
        let host = [receiver.addr.to_string()];
        let sender = start(&scene, &[], &host, "dump", &["sh", "-c", &endless]);
        wait_until("the command runs", PATIENCE, || scene.src.join("pid").exists());
        sender.signal(Signal::INT);
        sender.finish(PATIENCE).expect_complaint(130, &["interrupted"]);
        wait_for_end_of(&scene.src.join("pid"));
        assert!(listing(&scene.dst).is_empty(), "{:?}", listing(&scene.dst));
    }
}

#[test]
fn a_command_is_run_only_for_a_receiver_that_lets_us_in_and_knows_no_code() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut command = scene.lanx();
    command.env("LANX_CODE", "correct horse").env("LANX_TOKEN", "t").env("OTHER", "there");
    command.args(["send", &receiver.addr.to_string(), "--name", "env", "--", "env"]);
    Process::spawn(command).finish(PATIENCE).expect_success();
    let env = String::from_utf8(read(&scene.dst.join("env"))).unwrap();
    assert!(
        env.contains("OTHER=there") && !env.contains("LANX_CODE") && !env.contains("LANX_TOKEN"),
        "{env}"
    );

    send(&scene, "127.0.0.1:1", "x", &["touch", "it-ran"]).expect_code(3);
    assert!(!scene.src.join("it-ran").exists());
}

#[test]
fn two_receivers_get_what_one_run_of_a_command_writes() {
    let several = Several::two();
    let large = make(&several.scene.src, "large", 90 * CHUNK + 5);
    let hosts = [several.host(0), several.host(1)];
    let line = ["sh", "-c", "echo x >> runs; cat large"];
    start(&several.scene, &[], &hosts, "copy", &line).finish(PATIENCE).expect_success();
    assert_eq!(read(&several.scene.src.join("runs")), b"x\n");
    for n in 0..2 {
        assert!(read(&large) == read(&several.dst(n).join("copy")));
    }
    // Standard input too.
    let mut command = several.scene.lanx();
    command.args(["send", "-", "--name", "stream", "--to", &hosts[0], "--to", &hosts[1]]);
    let sent = Process::spawn_fed(command, fs::File::open(&large).unwrap()).finish(PATIENCE);
    sent.expect_success();
    for n in 0..2 {
        assert!(read(&large) == read(&several.dst(n).join("stream")));
    }
}

#[test]
fn a_receiver_that_is_lost_holds_up_no_other_one() {
    let mut several = Several::two();
    let relay = several.hold(1, 3 << 20);
    let large = make(&several.scene.src, "large", 200 * CHUNK + 5);
    let hosts = [several.host(0), several.host(1)];
    let sender = start(&several.scene, &["--json", "--timeout", "5"], &hosts, "copy", &["cat", "large"]);
    wait_until("the second one has some", PATIENCE, || relay.carried() >= 3 << 20);
    several.receivers[1].process.kill();
    relay.release();
    let sent = sender.finish(PATIENCE);
    sent.expect_code(3);
    assert!(read(&large) == read(&several.dst(0).join("copy")));
    assert!(!several.dst(1).join("copy").exists());
}

#[test]
fn what_stands_behind_two_dashes_without_a_name_is_paths_as_ever() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "-odd", 5);
    scene.run(["send", "--", "-odd", &receiver.addr.to_string()]).expect_success();
    assert_arrived(&[file], &scene.dst);
    let usage = |args: &[&str], words: &[&str]| {
        scene.run([&["send"], args].concat()).expect_complaint(2, words);
    };
    usage(&["nas", "--", "pg_dump", "shop"], &["has no name", "--name NAME -- COMMAND"]);
    usage(&["a", "nas", "--name", "x", "--", "true"], &["nothing but the host"]);
    usage(&["a", "--to", "nas", "--name", "x", "--", "true"], &["nothing but the host"]);
    usage(&["nas", "--name", "a/b", "--", "true"], &["--name", "contains '/'"]);
    usage(&["nas", "--name", "x", "--archive", "--", "true"], &["what a command writes", "--archive"]);
    scene.run(["send", "--help"]).expect_out(&["bash -o pipefail -c"]);
}

// ---- names ----

#[test]
fn one_file_arrives_under_another_name() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let host = receiver.addr.to_string();
    let file = make(&scene.src, "file", 3 * CHUNK + 1);
    scene.run(["send", "file", &host, "--name", "other.img"]).expect_success().expect_out(&["  other.img\n"]);
    assert_eq!(listing(&scene.dst), ["other.img"]);
    assert_same(&file, &scene.dst.join("other.img"));
    make(&scene.src, "more", 1);
    let one = ["--name is for one file"];
    scene.run(["send", "file", "more", &host, "--name", "x"]).expect_complaint(2, &one);
    fs::create_dir(scene.src.join("folder")).unwrap();
    scene.run(["send", "folder", &host, "--name", "x"]).expect_complaint(2, &one);
    assert_eq!(listing(&scene.dst), ["other.img"]);
}

#[test]
fn standard_input_needs_no_name_where_it_goes_to_standard_output() {
    let scene = Scene::new();
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(b"through").unwrap();
    drop(writer);
    let out = scene.path("out");
    let receiver = Receiver::to_output(&scene, &[], fs::File::create(&out).unwrap());
    let nameless = |host: &str, stdin: std::io::PipeReader| {
        let mut command = scene.lanx();
        command.args(["send", "-", host]);
        Process::spawn_fed(command, stdin).finish(PATIENCE)
    };
    nameless(&receiver.addr.to_string(), reader).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
    assert_eq!(read(&out), b"through");

    let receiver = scene.receiver();
    let sent = nameless(&receiver.addr.to_string(), pipe().unwrap().0);
    sent.expect_complaint(2, &["puts what it gets into a folder", "--name NAME"]);
    assert!(listing(&scene.dst).is_empty());
}

// ---- the folder beneath the receiver's ----

#[test]
fn into_makes_a_folder_beneath_the_receivers_and_puts_all_there() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--sync"]);
    let host = receiver.addr.to_string();
    let file = make(&scene.src, "file", 2 * CHUNK + 1);
    fs::create_dir(scene.src.join("tree")).unwrap();
    make(&scene.src.join("tree"), "leaf", 7);
    // A dry run makes nothing.
    let dry = scene.run(["send", "-n", "file", "tree", &host, "--into", "backups/monday"]);
    dry.expect_success().expect_out(&["would send file", "would send tree/leaf"]);
    assert!(listing(&scene.dst).is_empty());
    for again in [false, true] {
        let sent = scene.run(["send", "file", "tree", &host, "--into", "backups/monday/"]);
        sent.expect_success();
        assert_eq!(sent.out().contains("already there"), again, "{}", sent.out());
    }
    let inner = scene.dst.join("backups/monday");
    assert_arrived(&[&file], &inner);
    assert_eq!(read(&inner.join("tree/leaf")).len(), 7);
    assert_eq!((listing(&scene.dst).len(), listing(&inner).len()), (1, 2));
    let mode = fs::metadata(&inner).unwrap().permissions().mode();
    assert_eq!(mode & 0o7700, 0o700, "{mode:o}");
    send(&scene, &host, "dump", &["false"]).expect_code(5);
    let mut command = scene.lanx();
    command.args(["send", &host, "--into", "dumps", "--name", "dump", "--", "echo", "x"]);
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert_eq!(read(&scene.dst.join("dumps/dump")), b"x\n");
}

#[test]
fn into_never_climbs_and_follows_no_link() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--overwrite"]);
    let host = receiver.addr.to_string();
    make(&scene.src, "file", 5);
    for (bad, words) in [
        ("../up", "is no name of a file"),
        ("a/../../up", "is no name of a file"),
        ("/abs", "begins with no /"),
        ("", "is empty"),
        (".", "is no name of a file"),
        ("a//b", "is empty"),
    ] {
        let sent = scene.run(["send", "file", &host, "--into", bad]);
        sent.expect_code(2);
        assert!(sent.err().contains(words), "{bad}: {}", sent.err());
    }
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, scene.dst.join("link")).unwrap();
    symlink("real", scene.dst.join("inner")).unwrap();
    fs::create_dir(scene.dst.join("real")).unwrap();
    make(&scene.dst, "taken", 3);
    for (bad, words) in [
        ("link", "a symbolic link"),
        ("link/deeper", "a symbolic link"),
        ("inner", "a symbolic link"),
        ("taken", "a regular file"),
        ("taken/deeper", "a regular file"),
    ] {
        let sent = scene.run(["send", "file", &host, "--into", bad]);
        sent.expect_complaint(7, &[words, "move it away or choose another folder"]);
    }
    assert!(listing(&outside).is_empty() && listing(&scene.dst.join("real")).is_empty());
    // The standard output has no folders.
    let receiver = Receiver::to_output(&scene, &[], fs::File::create(scene.path("out")).unwrap());
    let sent = scene.run(["send", "file", &receiver.addr.to_string(), "--into", "x"]);
    sent.expect_complaint(2, &["writes to its standard output", "--into"]);
}

// ---- what is not sent ----

#[test]
fn special_files_are_no_failure_where_the_user_says_so() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let host = receiver.addr.to_string();
    let tree = scene.src.join("tree");
    fs::create_dir(&tree).unwrap();
    make(&tree, "file", 5);
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();
    let pipe = tree.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    scene.run(["send", "tree", &host]).expect_code(5);
    let sent = scene.run(["send", "--skip-special", "tree", &host]);
    sent.expect_code(0).expect_out(&["1 file"]);
    for words in ["tree/socket: left out: a socket", "tree/pipe: left out: a pipe"] {
        assert!(sent.err().contains(words), "{}", sent.err());
    }
    scene.run(["send", "--skip-special", "tree/pipe", "tree/file", &host]).expect_code(0);
}

// ---- three whole ones ----

/// A program that does this in a shell.
fn program(scene: &Scene, name: &str, body: &str) -> String {
    let path = scene.path(name);
    fs::write(&path, format!("#!/bin/sh\nset -e\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_nightly_backup_keeps_the_last_three_nights() {
    let scene = Scene::new();
    // Each night has a folder of its own; when one has come the receiver's own program removes the oldest ones.
    let backups = scene.dst.join("backups");
    let keep = program(
        &scene,
        "keep",
        &format!("cd {}; ls | sort | head -n -3 | xargs -r rm -r", backups.display()),
    );
    let mut command = scene.lanx_as("nas");
    command.env("LANX_CODE", CODE);
    let receiver = Receiver::start_as(command, "127.0.0.1:0", &["--exec", &keep, "--sync"], &scene.dst);
    let host = receiver.addr.to_string();
    let data = scene.src.join("data");
    fs::create_dir(&data).unwrap();
    make(&data, "unchanged", 3 * CHUNK);
    for night in 1..=5 {
        make_of(&data, "today", format!("night {night}").as_bytes());
        let into = format!("backups/2026-11-{night:02}");
        let mut command = scene.lanx();
        command.env("LANX_CODE", CODE).args(["send", "-q", "--into", &into, "data/", &host]);
        Process::spawn(command).finish(PATIENCE).expect_success();
        // The same command again, as after a power cut: nothing is sent and nothing is wrong.
        scene.run(["send", "-q", "--into", &into, "data/", &host]).expect_success();
    }
    let nights = ["2026-11-03", "2026-11-04", "2026-11-05"];
    wait_until("the oldest are gone", PATIENCE, || listing(&backups) == nights);
    for (night, name) in (3..=5).zip(nights) {
        assert_eq!(read(&backups.join(name).join("today")), format!("night {night}").into_bytes());
        assert_same(&data.join("unchanged"), &backups.join(name).join("unchanged"));
    }
}

#[test]
fn throw_away_runners_push_their_artifacts_and_none_stays_trusted() {
    let scene = Scene::new();
    let mut command = scene.lanx_as("store");
    command.env("LANX_CODE", CODE);
    let flags = ["--no-remember", "--max-file", "10M", "--overwrite"];
    let receiver = Receiver::start_as(command, "127.0.0.1:0", &flags, &scene.dst);
    let artifact = make(&scene.src, "app.tar", 3 * CHUNK);
    for run in ["41", "42"] {
        let mut command = scene.lanx_as(&format!("runner-{run}"));
        command.env("LANX_CODE", CODE).args(["send", "-q", "--into", &format!("builds/{run}"), "app.tar"]);
        command.arg(receiver.addr.to_string());
        Process::spawn(command).finish(PATIENCE).expect_code(0);
        assert_same(&artifact, &scene.dst.join("builds").join(run).join("app.tar"));
        // With its key, and without the code, nobody comes in again.
        let mut command = scene.lanx_as(&format!("runner-{run}"));
        command.args(["send", "-q", "app.tar", &receiver.addr.to_string()]);
        Process::spawn(command).finish(PATIENCE).expect_code(4);
    }
    let mut command = scene.lanx_as("store");
    command.arg("trust");
    Process::spawn(command)
        .finish(PATIENCE)
        .expect_success()
        .expect_out(&["no machine may send to this one"]);
}

#[test]
fn a_dump_to_two_hosts_that_fails_half_way_is_at_neither() {
    let several = Several::of(&[&["--overwrite"], &["--overwrite"]]);
    let hosts = [several.host(0), several.host(1)];
    let before: Vec<_> = (0..2).map(|n| look(&make(&several.dst(n), "shop.sql", 99))).collect();
    make(&several.scene.src, "rows", 150 * CHUNK);
    let dump = program(
        &several.scene,
        "pg_dump",
        "cat rows; touch half; while [ ! -e go ]; do sleep 0.02; done; exit 1",
    );
    let sender = start(&several.scene, &[], &hosts, "shop.sql", &[&dump, "shop"]);
    for n in 0..2 {
        wait_until("half of it is there", PATIENCE, || !parts_of(&several.dst(n), "shop.sql").is_empty());
    }
    wait_until("the dump is half-way", PATIENCE, || several.scene.src.join("half").exists());
    make(&several.scene.src, "go", 0);
    let sent = sender.finish(PATIENCE);
    sent.expect_code(5);
    assert_eq!(sent.err().matches("ended with exit code 1").count(), 1, "{}", sent.err());
    for (n, before) in before.iter().enumerate() {
        assert_eq!(listing(&several.dst(n)), ["shop.sql"]);
        assert_eq!(look(&several.dst(n).join("shop.sql")), *before);
    }
}
