//! What those who were let in may do: `lanx trust set`, `recv --no-remember`, `--min-free` and `--max-file`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;

/// Another machine: the program with a configuration folder of its own.
struct Machine<'a> {
    scene: &'a Scene,
    config: PathBuf,
}

impl Machine<'_> {
    fn new<'a>(scene: &'a Scene, name: &str) -> Machine<'a> {
        Machine { scene, config: scene.path(name) }
    }

    fn lanx(&self) -> Command {
        let mut command = self.scene.lanx();
        command.env("LANX_CONFIG_DIR", &self.config).env("LANX_CODE", "correct horse");
        command
    }

    fn send(&self, flags: &[&str], files: &[&str], host: impl ToString) -> Output {
        let mut command = self.lanx();
        command.arg("send").args(flags).args(files).arg(host.to_string());
        Process::spawn(command).finish(PATIENCE)
    }
}

/// A receiver that has a code.
fn receiver(scene: &Scene, flags: &[&str]) -> Receiver {
    let mut command = scene.lanx();
    command.env("LANX_CODE", "correct horse");
    Receiver::start_as(command, "127.0.0.1:0", flags, &scene.dst)
}

fn trust(scene: &Scene, args: &[&str]) -> Output {
    scene.run([&["trust"], args].concat())
}

/// What the one machine that is paired is called here.
fn paired_name(scene: &Scene) -> String {
    let text = read_text(&scene.path("config/peers.toml"));
    let line = text.lines().find(|line| line.starts_with("name = ")).unwrap();
    line.trim_start_matches("name = ").trim_matches('"').to_owned()
}

fn read_text(path: &Path) -> String {
    String::from_utf8(read(path)).unwrap()
}

#[test]
fn a_folder_a_quota_and_no_replacing_hold_for_the_machine_that_they_are_set_for() {
    let scene = Scene::new();
    let other = Machine::new(&scene, "other");
    let receiver = receiver(&scene, &["--overwrite"]);
    make(&scene.src, "first", 10);
    other.send(&[], &["first"], receiver.addr).expect_code(0);
    let name = paired_name(&scene);
    let set = ["set", &name, "--into", "inbox", "--overwrite", "no", "--quota", "1M", "--expires", "30d"];
    trust(&scene, &set)
        .expect_success()
        .expect_out(&["; into inbox; replaces nothing; at most 1.00 MB there; until "]);
    trust(&scene, &[])
        .expect_success()
        .expect_out(&["may send to this machine", "; into inbox; replaces nothing"]);

    make(&scene.src, "second", 600_000);
    other.send(&[], &["second"], receiver.addr).expect_code(0);
    other.send(&["--into", "deep/er"], &["first"], receiver.addr).expect_code(0);
    assert_eq!(read(&scene.dst.join("inbox/second")).len(), 600_000);
    assert_eq!(read(&scene.dst.join("inbox/deep/er/first")).len(), 10);
    assert_eq!(listing(&scene.dst), ["first", "inbox"]);
    // What is there is not replaced, though the receiver replaces.
    make_of(&scene.src, "second", b"another");
    other.send(&[], &["second"], receiver.addr).expect_complaint(5, &["another file of this name"]);
    // Nor is there room for as much again, as one file, as several, or as a stream.
    make(&scene.src, "third", 500_000);
    other
        .send(&[], &["third"], receiver.addr)
        .expect_complaint(7, &["no room for third", "this machine's 1.00 MB"]);
    let mut command = other.lanx();
    command.args(["send", "-", &receiver.addr.to_string(), "--name", "stream"]);
    make(&scene.src, "large", 3 * CHUNK);
    let sent = Process::spawn_fed(command, File::open(scene.src.join("large")).unwrap()).finish(PATIENCE);
    sent.expect_complaint(7, &["no room for stream"]);
    assert_eq!(listing(&scene.dst.join("inbox")), ["deep", "second"]);
    let small: Vec<String> = (0..10).map(|n| format!("small-{n}")).collect();
    small.iter().for_each(|name| drop(make(&scene.src, name, 100_000)));
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    other.send(&[], &small, receiver.addr).expect_code(7);
    let stored = listing(&scene.dst.join("inbox")).len() - 2;
    assert_eq!(stored, 3, "{:?}", listing(&scene.dst.join("inbox")));
    // Room that somebody makes counts with the next transfer.
    fs::remove_file(scene.dst.join("inbox/second")).unwrap();
    other.send(&[], &["third"], receiver.addr).expect_code(0);

    // Another one may do everything as before.
    scene.send(&[scene.src.join("second")], receiver.addr).expect_success();
    assert_eq!(read(&scene.dst.join("second")), b"another");
    let all = ["set", &name, "--into", "/", "--overwrite", "yes", "--quota", "none", "--expires", "never"];
    trust(&scene, &all).expect_success().expect_out(&["may send to this machine\n"]);
}

#[test]
fn whoever_has_expired_needs_the_code_and_prune_forgets_it() {
    let scene = Scene::new();
    let other = Machine::new(&scene, "other");
    make(&scene.src, "file", 10);
    {
        let receiver = receiver(&scene, &[]);
        other.send(&[], &["file"], receiver.addr).expect_code(0);
    }
    let name = paired_name(&scene);
    let peers = scene.path("config/peers.toml");
    trust(&scene, &["set", &name, "--expires", "30d"]).expect_success();
    let text = read_text(&peers);
    let end = text.lines().find(|line| line.starts_with("expires_unix_seconds")).unwrap().to_owned();
    fs::write(&peers, text.replace(&end, "expires_unix_seconds = 1000")).unwrap();
    trust(&scene, &[]).expect_out(&["no more since Thu, 01 Jan 1970"]);
    let receiver = scene.receiver();
    other.send(&[], &["file"], receiver.addr).expect_code(4);
    // The code lets it in once more, and then it is in.
    let receiver = self::receiver(&scene, &[]);
    other.send(&[], &["file"], receiver.addr).expect_code(0);
    assert!(!read_text(&peers).contains("expires_unix_seconds"));
    trust(&scene, &["prune", "--older", "1h"])
        .expect_success()
        .expect_out(&["no machine was that long away"]);
    let text = read_text(&peers);
    let paired = text.lines().find(|line| line.starts_with("paired_unix_seconds")).unwrap().to_owned();
    fs::write(&peers, text.replace(&paired, "paired_unix_seconds = 1000")).unwrap();
    // One that is let in is seen.
    other.send(&[], &["file"], receiver.addr).expect_code(0);
    wait_until("it is noted that it was here", PATIENCE, || {
        read_text(&peers).contains("last_seen_unix_seconds")
    });
    trust(&scene, &["prune", "--older", "30d"])
        .expect_success()
        .expect_out(&["no machine was that long away"]);
    let text = read_text(&peers);
    let seen = text.lines().find(|line| line.starts_with("last_seen")).unwrap().to_owned();
    fs::write(&peers, text.replace(&seen, "last_seen_unix_seconds = 2000")).unwrap();
    trust(&scene, &["prune", "--older", "30d"])
        .expect_success()
        .expect_out(&["may not send to this machine any more"]);
    trust(&scene, &[]).expect_out(&["no machine may send to this one"]);
}

#[test]
fn nonsense_is_told_and_a_list_of_a_newer_program_is_left_alone() {
    let scene = Scene::new();
    let other = Machine::new(&scene, "other");
    make(&scene.src, "file", 10);
    let receiver = receiver(&scene, &[]);
    other.send(&[], &["file"], receiver.addr).expect_code(0);
    let name = paired_name(&scene);
    for (args, words) in [
        (&["--into", "../up"][..], "is no name of a file"),
        (&["--into", "/abs"], "begins with no /"),
        (&["--quota", "many"], "500G"),
        (&["--quota", "0"], "500G"),
        (&["--expires", "soon"], "7d"),
        (&["--overwrite", "maybe"], "yes or no"),
        (&[], "required"),
    ] {
        let refused = trust(&scene, &[&["set", &name], args].concat());
        assert!(refused.code == Some(2) && refused.err().contains(words), "{args:?}: {}", refused.err());
    }
    trust(&scene, &["set", "nobody", "--quota", "1G"]).expect_complaint(1, &["no paired machine"]);
    let peers = scene.path("config/peers.toml");
    let newer = read_text(&peers).replacen("format = ", "format = 9", 1);
    fs::write(&peers, &newer).unwrap();
    for args in [&["set", &name, "--quota", "1G"][..], &["prune", "--older", "1d"], &[]] {
        trust(&scene, args).expect_complaint(1, &["a newer lanx wrote it"]);
    }
    assert_eq!(read_text(&peers), newer);
}

#[test]
fn with_no_remember_the_code_lets_in_once_and_nobody_stays() {
    let scene = Scene::new();
    let receiver = receiver(&scene, &["--no-remember"]);
    make(&scene.src, "file", 10);
    for runner in ["one", "two", "one"] {
        let sent = Machine::new(&scene, runner).send(&[], &["file"], receiver.addr);
        sent.expect_complaint(0, &["will want the code again"]);
        assert!(!sent.err().contains("no code is needed"), "{}", sent.err());
    }
    receiver.wait_for_stdout("proved the code, and is not remembered");
    trust(&scene, &[]).expect_out(&["no machine may send to this one"]);
}

#[test]
fn what_is_too_large_or_would_fill_the_disk_is_refused_when_it_is_offered() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-file", "1M"]);
    let host = receiver.addr.to_string();
    make(&scene.src, "small", 1_000_000);
    make(&scene.src, "large", 1_000_001);
    scene.run(["send", "small", &host]).expect_success();
    let words = ["large: 1.00 MB is more than the 1.00 MB", "--max-file"];
    scene.run(["send", "large", &host]).expect_complaint(7, &words);
    scene.run(["send", "large", &host, "--dry-run"]).expect_complaint(7, &words);
    let mut command = scene.lanx();
    command.args(["send", &host, "--name", "stream", "--", "cat", "large"]);
    Process::spawn(command).finish(PATIENCE).expect_complaint(7, &["stream: it is more than the 1.00 MB"]);
    assert_eq!(listing(&scene.dst), ["small"]);

    let receiver = scene.receiver_with(&["--min-free", "99%"]);
    let host = receiver.addr.to_string();
    scene.run(["send", "large", &host]).expect_complaint(7, &["no room for large", "--min-free"]);
    // What is there already takes none.
    scene.run(["send", "small", &host]).expect_success();
    let receiver = scene.receiver_with(&["--min-free", "1k"]);
    scene.run(["send", "large", &receiver.addr.to_string()]).expect_success();
    for (flag, bad) in
        [("--min-free", "0%"), ("--min-free", "100%"), ("--min-free", "x"), ("--max-file", "5M/s")]
    {
        let refused = scene.run(["recv", flag, bad]);
        assert_eq!(refused.code, Some(2), "{flag} {bad}: {}", refused.err());
    }
}
