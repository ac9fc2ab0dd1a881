//! `send --to A --to B`: one source, several receivers, each with its own end.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::*;
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("deep/deeper")).unwrap();
    make(&tree, "large", 9 * CHUNK + 17);
    make(&tree, "empty", 0);
    for n in 0..50 {
        make(&tree.join("deep"), format!("small-{n}"), 1000 * n + 1);
    }
    make(&tree.join("deep/deeper"), "chunk", CHUNK);
    tree
}

fn assert_tree(a: &Path, b: &Path) {
    assert_eq!(listing(a), listing(b));
    for name in listing(a) {
        let (a, b) = (a.join(&name), b.join(&name));
        if a.is_dir() { assert_tree(&a, &b) } else { assert_same(&a, &b) }
    }
}

#[test]
fn every_receiver_gets_the_same_tree_and_each_hash_is_printed_once() {
    let several = Several::of(&[&[], &[], &[]]);
    let paths = [tree(&several.scene.src), make(&several.scene.src, "named", 3 * CHUNK)];
    let output = several.send(&[], &paths);
    output.expect_success();
    let text = output.out();
    let hash = format!("{}  named\n", blake3::hash(&read(&paths[1])));
    assert_eq!(text.matches(&hash).count(), 1, "{text}");
    for n in 0..3 {
        assert_tree(&paths[0], &several.dst(n).join("tree"));
        assert_same(&paths[1], &several.dst(n).join("named"));
        let summary = text.lines().filter(|line| line.starts_with(&format!("{}: ", several.host(n))));
        let summary: Vec<&str> = summary.collect();
        assert!(matches!(summary[..], [line] if line.contains("54 files, 3 folders")), "{text}");
    }
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn one_that_is_frozen_holds_nobody_up() {
    let mut several = Several::two();
    let relay = several.hold(1, MIB);
    let paths = [make(&several.scene.src, "large", 500 * CHUNK)];
    // One connection: a kernel takes up to 36 MiB for a frozen receiver on each, and all that and the buffer have to be full.
    let sender = several.start(&["--json", "-c", "1", "--timeout", "600"], &paths, &[]);
    relay.wait_until_held();
    several.receivers[1].process.signal(Signal::STOP);
    relay.release();
    let done = several.wait_for_end(&sender, 0);
    assert_eq!((&done["event"], &done["code"]), (&"done".into(), &0.into()));
    // Nor did it end by the frozen one being given up.
    assert!(of_kind(&sender.events(), "lost").is_empty());
    assert_arrived(&paths, &several.dst(0));
    assert!(several.end(&sender, 1).is_none(), "it is not frozen");
    several.receivers[1].process.signal(Signal::CONT);
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&paths, &several.dst(1));
}

#[test]
fn one_that_dies_fails_alone() {
    let mut several = Several::two();
    let relay = several.hold(1, 8 * MIB);
    let paths = [make(&several.scene.src, "large", 200 * CHUNK)];
    let sender = several.start(&["--json", "--retry-for", "0"], &paths, &[]);
    relay.wait_until_held();
    several.receivers[1].process.kill();
    let output = sender.finish(PATIENCE);
    output.expect_code(3);
    let (done, error) = (end_of(&output, &several.host(0)), end_of(&output, &several.host(1)));
    assert_eq!((&done["event"], &done["code"]), (&"done".into(), &0.into()));
    assert_eq!((&error["event"], &error["code"]), (&"error".into(), &3.into()));
    assert!(output.err().contains(&several.host(1)) && !output.err().contains(&several.host(0)));
    assert_arrived(&paths, &several.dst(0));
}

#[test]
fn one_that_refuses_a_file_does_so_alone() {
    let several = Several::two();
    let paths = [make(&several.scene.src, "file", 5 * CHUNK), make(&several.scene.src, "other", 10)];
    make_of(&several.dst(1), "file", b"mine");
    let output = several.send(&["--json"], &paths);
    output.expect_code(5);
    let (first, second) = (end_of(&output, &several.host(0)), end_of(&output, &several.host(1)));
    assert_eq!((&first["code"], &first["files"]), (&0.into(), &2.into()));
    assert_eq!((&second["code"], &second["files"], &second["failed"]), (&5.into(), &1.into(), &1.into()));
    let events = events(&output.stdout);
    let failed: Vec<_> = events.iter().filter(|event| event["status"] == "failed").collect();
    assert!(matches!(failed[..], [event] if event["peer"] == several.host(1) && event["path"] == "file"));
    assert_arrived(&paths, &several.dst(0));
    assert_eq!(read(&several.dst(1).join("file")), b"mine");
}

#[test]
fn one_that_has_it_all_and_one_that_has_some_do_not_disturb_one_that_has_nothing() {
    let several = Several::of(&[&[], &[], &[]]);
    let paths = [make(&several.scene.src, "file", 100 * CHUNK + 1)];
    make_of(&several.dst(0), "file", &read(&paths[0]));
    make_of(&several.dst(1), part_path(&several.dst(1), "file"), &read(&paths[0])[..70 * CHUNK]);
    let output = several.send(&["--json"], &paths);
    output.expect_success();
    for (n, sent) in [(0, 0), (1, 30 * CHUNK + 1), (2, 100 * CHUNK + 1)] {
        let done = end_of(&output, &several.host(n));
        assert_eq!((&done["identical"], &done["sent_bytes"]), (&u64::from(n == 0).into(), &sent.into()));
        assert_eq!(read(&several.dst(n).join("file")), read(&paths[0]));
    }
    // A person reads the same.
    let text = several.send(&[], &paths).out();
    assert_eq!(text.lines().filter(|line| line.ends_with("  file")).count(), 1, "{text}");
    for n in 0..3 {
        assert!(text.contains(&format!("{}: file (already there)\n", several.host(n))), "{text}");
    }
}

#[test]
fn one_that_cannot_be_reached_does_not_stop_the_others() {
    let several = Several::two();
    let paths = [make(&several.scene.src, "file", 3 * CHUNK)];
    let (_held, nobody) = refusing();
    let nobody = nobody.to_string();
    let output = several.start(&["--json"], &paths, &[&nobody]).finish(PATIENCE);
    output.expect_complaint(3, &[&nobody]);
    for n in 0..2 {
        assert_eq!(end_of(&output, &several.host(n))["code"], 0);
        assert_arrived(&paths, &several.dst(n));
    }
    assert_eq!(end_of(&output, &nobody)["code"], 3);
}

#[test]
fn what_is_wrong_with_the_source_is_told_once_and_counts_for_each() {
    let several = Several::two();
    let paths = [make(&several.scene.src, "file", 10), several.scene.src.join("missing/file-2")];
    let output = several.send(&[], &[paths[1].clone(), paths[0].clone()]);
    output.expect_complaint(5, &["missing/file-2"]);
    assert_eq!(output.err().lines().count(), 1, "{}", output.err());
    assert_eq!(output.out().matches("1 file failed").count(), 2, "{}", output.out());
    let output = several.send(&[], &[paths[1].clone(), several.scene.src.join("no/file")]);
    output.expect_code(5);
}

#[test]
fn ctrl_c_ends_all_of_them_and_each_is_told() {
    for signal in [Signal::INT, Signal::TERM] {
        let several = Several::two();
        let paths = [make(&several.scene.src, "large", 400 * CHUNK)];
        let sender = several.start(&["--json", "--limit", "4M"], &paths, &[]);
        for n in 0..2 {
            let part = part_path(&several.dst(n), "large");
            wait_until("it has begun", PATIENCE, || part.exists());
        }
        sender.signal(signal);
        let output = sender.finish(PATIENCE);
        output.expect_code(130);
        for n in 0..2 {
            assert_eq!(end_of(&output, &several.host(n))["code"], 130);
            several.receivers[n].wait_for_stderr("the sender was interrupted");
        }
    }
}

#[test]
fn a_limit_holds_for_all_receivers_together() {
    let several = Several::two();
    let paths = [make(&several.scene.src, "file", 16 * CHUNK)];
    let started = std::time::Instant::now();
    several.send(&["--limit", "8M"], &paths).expect_success();
    let least = std::time::Duration::from_secs_f64(2.0 * 16.0 * CHUNK as f64 / 8e6);
    assert!(started.elapsed() >= least, "{:?} and not {least:?}", started.elapsed());
}

#[test]
fn each_code_is_proved_to_its_own_receiver_and_a_wrong_one_stops_nobody_else() {
    let scene = Scene::new();
    let folder = |name: &str| {
        fs::create_dir_all(scene.path(name)).unwrap();
        scene.path(name)
    };
    let start = |who: &str, code: &str| {
        let mut command = scene.lanx_as(who);
        command.env("LANX_CODE", code);
        Receiver::start_as(command, "127.0.0.1:0", &[], &folder(&format!("{who}-dst")))
    };
    let (bob, eve) = (start("bob", CODE), start("eve", "some other code"));
    let path = make(&scene.src, "file", 2 * CHUNK);
    let mut command = scene.lanx_as("alice");
    command.env("LANX_CODE", CODE).args(["send", "--json"]).arg(&path);
    for receiver in [&bob, &eve] {
        command.args(["--to", &receiver.addr.to_string()]);
    }
    let output = Process::spawn(command).finish(PATIENCE);
    output.expect_code(4);
    assert_eq!(end_of(&output, &bob.addr.to_string())["code"], 0);
    assert_eq!(end_of(&output, &eve.addr.to_string())["code"], 4);
    assert_arrived(&[path], &scene.path("bob-dst"));
    assert!(listing(&scene.path("eve-dst")).is_empty());
}

#[test]
fn codes_are_asked_for_one_after_another_and_each_question_names_its_receiver() {
    let scene = Scene::new();
    let codes = ["the code of bob", "the code of eve"];
    let start = |(who, code): (&str, &str)| {
        let dir = scene.path(&format!("{who}-dst"));
        fs::create_dir_all(&dir).unwrap();
        let mut command = scene.lanx_as(who);
        command.env("LANX_CODE", code);
        Receiver::start_as(command, "127.0.0.1:0", &[], &dir)
    };
    let receivers: Vec<Receiver> = ["bob", "eve"].into_iter().zip(codes).map(start).collect();
    let path = make(&scene.src, "file", 2 * CHUNK);
    let mut command = scene.lanx_as("alice");
    command.arg("send").arg(&path);
    for receiver in &receivers {
        command.args(["--to", &receiver.addr.to_string()]);
    }
    let mut terminal = Terminal::run(&command);
    let question = |n: usize| format!("First transfer to {}. ", receivers[n].addr);
    wait_until("it asks for one", PATIENCE, || (0..2).any(|n| terminal.screen().contains(&question(n))));
    let first = (0..2).find(|n| terminal.screen().contains(&question(*n))).unwrap();
    let second = 1 - first;
    assert!(!terminal.screen().contains(&question(second)), "{}", terminal.screen());
    terminal.type_keys(&format!("{}\n", codes[first]));
    terminal.wait_for(&question(second));
    terminal.type_keys(&format!("{}\n", codes[second]));
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
    for who in ["bob", "eve"] {
        assert_arrived(&[&path], &scene.path(&format!("{who}-dst")));
    }
}

#[test]
fn what_is_named_wrongly_is_a_usage_error_that_says_what_to_type() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    for (args, words) in [
        (&["file", "--to", "nas", "--to", "NAS:7269"][..], &["same receiver", "once"][..]),
        (&["file", "--to", "nas", "--to", "nas"], &["--to nas", "twice"]),
        (&["file", "nas", "--to", "attic"], &["no file is called nas", "--to nas"]),
        (&["file", "10.0.0.1:9000", "--to", "attic"], &["--to 10.0.0.1:9000"]),
        (&["file", "--to", "a/b"], &["--to takes a host", "'a/b'"]),
        (&["file", "--to", ""], &["--to takes a host"]),
        (&["file"], &["lanx send FILE HOST"]),
    ] {
        let output = scene.run([&["send"], args].concat());
        output.expect_complaint(2, words);
    }
    let many: Vec<String> = (0..65).flat_map(|n| ["--to".into(), format!("10.0.0.{n}")]).collect();
    let args = ["send".to_owned(), "file".to_owned()].into_iter().chain(many);
    scene.run(args).expect_complaint(2, &["65", "64"]);
}

#[test]
fn one_receiver_under_two_names_gets_it_once() {
    let several = Several::of(&[&[]]);
    let paths = [make(&several.scene.src, "file", 2 * CHUNK)];
    let alias = format!("localhost:{}", several.receivers[0].addr.port());
    let output = several.start(&["--json"], &paths, &[&alias]).finish(PATIENCE);
    output.expect_complaint(2, &["same receiver"]);
    let mut codes: Vec<i64> =
        [several.host(0), alias].iter().map(|peer| end_of(&output, peer)["code"].as_i64().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
    assert_arrived(&paths, &several.dst(0));
}

#[test]
fn one_host_by_to_is_as_good_as_by_place() {
    let several = Several::of(&[&["--once"]]);
    let paths = [make(&several.scene.src, "file", 2 * CHUNK)];
    let output = several.send(&[], &paths);
    output.expect_success();
    assert!(output.out().lines().nth(1).unwrap().starts_with("1 file, 524 kB in"), "{}", output.out());
    assert_arrived(&paths, &several.dst(0));
}
