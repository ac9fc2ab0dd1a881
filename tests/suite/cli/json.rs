//! `--json`: what a script is told, checked against the schema that is in docs/.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The events about files, by path.
fn files(events: &[Value]) -> Vec<Value> {
    let mut files: Vec<Value> = of_kind(events, "file").into_iter().cloned().collect();
    files.sort_by_key(|file| file["path"].as_str().unwrap().to_owned());
    files
}

/// Of each file event what both sides say alike.
fn in_common(events: &[Value]) -> Vec<Value> {
    let mut files = files(events);
    for file in &mut files {
        let file = file.as_object_mut().unwrap();
        file.remove("peer");
        file.remove("session");
    }
    files
}

fn hash(path: &Path) -> String {
    blake3::hash(&read(path)).to_string()
}

#[test]
fn a_script_learns_the_port_and_what_became_of_each_file() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--json"]);
    let paths: Vec<PathBuf> =
        [0, 5, CHUNK, 3 * CHUNK + 1].map(|n| make(&scene.src, format!("f{n}"), n)).into();
    let sent = scene.send_with(&["--json", "--connections", "4"], &paths, receiver.addr);
    sent.expect_success();
    let received = receiver.process.finish(PATIENCE);
    received.expect_code(0);
    assert_arrived(&paths, &scene.dst);

    let (ours, theirs) = (sent.events(), received.events());
    assert_eq!(kinds(&ours), ["start", "file", "file", "file", "file", "done"]);
    assert_eq!(kinds(&theirs), ["listening", "start", "file", "file", "file", "file", "done"]);
    let addr = receiver.addr;
    assert_eq!(theirs[0], json!({"event": "listening", "addr": addr.to_string(), "port": addr.port()}));
    let addr_text = addr.to_string();
    assert_eq!(ours[0], json!({"event": "start", "peer": addr_text, "addr": addr_text, "compress": "auto"}));
    assert!(ours.iter().all(|event| event["peer"] == addr.to_string()), "{ours:?}");
    assert!(theirs[1..].iter().all(|event| event["peer"] == "127.0.0.1" && event["session"] == 1));
    assert_eq!(in_common(&ours), in_common(&theirs));
    for (file, n) in files(&ours).iter().zip([0, CHUNK, 5, 3 * CHUNK + 1]) {
        let path = scene.src.join(format!("f{n}"));
        assert_eq!(
            *file,
            json!({"event": "file", "peer": addr.to_string(), "path": format!("f{n}"), "kind": "file", "size": n,
                   "blake3": hash(&path), "status": "sent"})
        );
    }
    let bytes = 4 * CHUNK + 6;
    for done in [ours.last().unwrap(), theirs.last().unwrap()] {
        for (field, n) in [("files", 4), ("bytes", bytes), ("sent_bytes", bytes), ("identical", 0)] {
            assert_eq!(done[field], n, "{field} in {done}");
        }
        assert_eq!((&done["failed"], &done["skipped"], &done["code"]), (&json!(0), &json!(0), &json!(0)));
        assert_eq!(done["connections"], 4);
        assert!(done["seconds"].as_f64().unwrap() > 0.0 && done["bytes_per_second"].as_u64().unwrap() > 0);
    }
}

#[test]
fn each_outcome_has_its_status_and_reason_at_both_ends() {
    let scene = Scene::new();
    let paths = ["old", "taken", "new"].map(|name| make(&scene.src, name, 1000));
    fs::copy(&paths[0], scene.dst.join("old")).unwrap();
    fs::write(scene.dst.join("taken"), "something else").unwrap();
    assert!(Command::new("mkfifo").arg(scene.src.join("pipe")).status().unwrap().success());
    let all = ["old", "taken", "new", "pipe", "missing"];
    for (flags, taken, code) in [(["--json", "-q"], "failed", 5), (["--json", "--rename"], "renamed", 5)] {
        let _ = fs::remove_file(scene.dst.join("new"));
        let receiver = scene.receiver_with(&flags);
        let sent = scene.send_with(&["--json", "-q"], &all, receiver.addr);
        sent.expect_code(code);
        assert_eq!(sent.err(), "", "each error is an event");
        receiver.process.wait_for_event("done", 1);
        let (ours, theirs) = (sent.events(), receiver.process.events());
        let offered: Vec<Value> =
            in_common(&ours).into_iter().filter(|file| file.get("size").is_some()).collect();
        assert_eq!(offered, in_common(&theirs));
        let files = files(&ours);
        let told: Vec<(&str, &str)> =
            files.iter().map(|f| (f["path"].as_str().unwrap(), f["status"].as_str().unwrap())).collect();
        let expected = [
            ("missing", "failed"),
            ("new", "sent"),
            ("old", "identical"),
            ("pipe", "skipped"),
            ("taken", taken),
        ];
        assert_eq!(told, expected);
        assert_eq!(files[0]["cause"], "source");
        assert!(files[0]["reason"].as_str().unwrap().contains("no such file"));
        if taken == "failed" {
            assert_eq!(files[4]["cause"], "refused");
            assert!(files[4]["reason"].as_str().unwrap().contains("--rename"));
        } else {
            assert_eq!(files[4]["new_path"], "taken (1)");
            assert_eq!(files[4]["blake3"], hash(&paths[1]));
        }
        let done = ours.last().unwrap();
        let failed = if taken == "failed" { 2 } else { 1 };
        for (field, n) in [("files", 4 - failed), ("identical", 1), ("failed", failed), ("skipped", 1)] {
            assert_eq!(done[field], n, "{field} in {done}");
        }
        assert_eq!(done["retryable"], false, "somebody has to act first: {done}");
        let told = receiver.process.stderr.text();
        assert!(!told.contains("taken"), "each error is an event: {told}");
    }
}

#[test]
fn what_changed_while_it_was_read_can_be_tried_again() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 200 * CHUNK);
    let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
    let sender = scene.start_send(&["--json"], &[&file], relay.addr);
    relay.wait_until_held();
    fs::write(&file, "another").unwrap();
    relay.release();
    let output = sender.finish(PATIENCE);
    output.expect_code(5);
    let events = output.events();
    let done = events.last().unwrap();
    assert_eq!((&done["event"], &done["retryable"]), (&json!("done"), &json!(true)), "{done}");
    assert_eq!(files(&events)[0]["cause"], "source");
}

#[test]
fn nothing_to_send_is_done_with_nothing() {
    let scene = Scene::new();
    let sent = scene.send_with(&["--json"], &["missing"], "127.0.0.1:9");
    sent.expect_complaint(5, &["missing: ", "no such file"]);
    let events = sent.events();
    assert_eq!(kinds(&events), ["file", "done"]);
    assert_eq!((&events[1]["failed"], &events[1]["connections"]), (&json!(1), &json!(0)));
}

#[test]
fn names_of_any_bytes_come_back_whole() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--json", "--rename"]);
    let names: [&[u8]; 5] = [
        b"caf\xe9 \xff",
        "caf\u{e9} \u{202e}gpj".as_bytes(),
        b"a\"b\\c",
        b"esc\x1b[31m\n",
        "\u{fffd}".as_bytes(),
    ];
    let paths: Vec<PathBuf> = names.iter().map(|name| make(&scene.src, OsStr::from_bytes(name), 9)).collect();
    for (round, status) in ["sent", "renamed"].into_iter().enumerate() {
        let sent = scene.send_with(&["--json"], &paths, receiver.addr);
        sent.expect_success();
        receiver.process.wait_for_event("done", round + 1);
        for (events, key) in [(sent.events(), status), (receiver.process.events(), status)] {
            let mut found: Vec<Vec<u8>> = of_kind(&events, "file")
                .into_iter()
                .filter(|file| file["status"] == key)
                .map(|file| bytes_of(file, "path"))
                .collect();
            let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
        for file in of_kind(&sent.events(), "file") {
            let field = if status == "sent" { "path" } else { "new_path" };
            let arrived = scene.dst.join(OsStr::from_bytes(&bytes_of(file, field)));
            assert!(arrived.exists(), "{arrived:?}");
            assert_eq!(bytes_of(file, "path").starts_with(b"caf\xe9"), file.get("path_bytes").is_some());
        }
        for path in &paths {
            fs::write(path, format!("changed {round}")).unwrap();
        }
    }
}

/// The bytes of a name in a field: those in base64, where they are there.
fn bytes_of(file: &Value, field: &str) -> Vec<u8> {
    match file.get(format!("{field}_bytes")) {
        Some(bytes) => STANDARD.decode(bytes.as_str().unwrap()).unwrap(),
        None => file[field].as_str().unwrap().into(),
    }
}

#[test]
fn progress_comes_while_it_runs_and_never_goes_back() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--json"]);
    let size = 64 * CHUNK;
    let file = make(&scene.src, "large", size);
    let relay = Relay::holding_after(receiver.addr, (size / 2) as u64);
    let sender = scene.start_send(&["--json"], &[&file], relay.addr);
    relay.wait_until_held();
    // However late what crossed is counted, and the next is told.
    let is_far = |event: &Value| event["percent"].as_f64() > Some(10.0);
    for process in [&sender, &receiver.process] {
        wait_until("so much is told", PATIENCE, || {
            let events = process.events();
            let progress = of_kind(&events, "progress");
            progress.len() >= 2 && progress.iter().any(|event| is_far(event))
        });
    }
    relay.release();
    let (sent, received) = (sender.finish(PATIENCE), receiver.process.finish(PATIENCE));
    for output in [sent, received] {
        output.expect_code(0);
        let events = output.events();
        let progress = of_kind(&events, "progress");
        for pair in progress.windows(2) {
            for field in ["files", "bytes", "total", "percent"] {
                assert!(pair[0][field].as_f64() <= pair[1][field].as_f64(), "{field} ran back: {pair:?}");
            }
        }
        let held = progress.iter().find(|event| is_far(event)).unwrap();
        assert_eq!(held["total"], size);
        let percent = held["percent"].as_f64().unwrap();
        assert!(percent < 51.0, "{held}");
        assert_eq!(percent, (held["bytes"].as_f64().unwrap() * 1000.0 / size as f64).floor() / 10.0);
        let seconds = events.last().unwrap()["seconds"].as_f64().unwrap();
        assert!(progress.len() as f64 <= seconds + 1.0, "{} in {seconds} s", progress.len());
        assert_eq!(kinds(&events).last(), Some(&"done"));
    }
}

#[test]
fn a_receiver_numbers_its_sessions() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--json"]);
    for n in 1..=3 {
        scene.send(&[make(&scene.src, format!("f{n}"), n)], receiver.addr).expect_success();
        let done = receiver.process.wait_for_event("done", n);
        assert_eq!(done["files"], 1);
    }
    receiver.process.signal(Signal::INT);
    let output = receiver.process.finish(PATIENCE);
    output.expect_code(130);
    let events = output.events();
    let numbers: Vec<u64> = of_kind(&events, "file").iter().map(|f| f["session"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let end = events.last().unwrap();
    assert_eq!((&end["event"], end.get("session")), (&json!("error"), None));
}

#[test]
fn both_sides_tell_that_they_are_paired() {
    let scene = Scene::new();
    let file = make(&scene.src, "letter", 100);
    let receiver = scene.receiver_of("bob", &["--json"], Some(CODE));
    let sent = scene.start_send_by("alice", &["--json"], Some(CODE), &file, receiver.addr).finish(PATIENCE);
    sent.expect_code(0);
    assert!(sent.err().contains("paired with"), "people are still told: {}", sent.err());
    receiver.process.wait_for_event("done", 1);
    let (ours, theirs) = (sent.events(), receiver.process.events());
    assert_eq!(kinds(&ours), ["paired", "start", "file", "done"]);
    assert_eq!(kinds(&theirs), ["listening", "paired", "start", "file", "done"]);
    assert_eq!((&ours[0]["by"], &theirs[1]["by"]), (&json!("code"), &json!("code")));
    assert_ne!(ours[0]["key"], theirs[1]["key"]);
    assert_eq!(theirs[1]["peer"], "127.0.0.1");
}

#[test]
fn a_receiver_for_everybody_is_paired_with_at_first_sight() {
    let scene = Scene::new();
    let file = make(&scene.src, "letter", 100);
    let receiver = scene.receiver_of("bob", &["--open"], None);
    for kinds_of in [&["paired", "start", "file", "done"][..], &["start", "file", "done"]] {
        let sent = scene.start_send_by("alice", &["--json"], None, &file, receiver.addr).finish(PATIENCE);
        sent.expect_code(0);
        assert_eq!(kinds(&sent.events()), kinds_of);
        assert!(of_kind(&sent.events(), "paired").iter().all(|event| event["by"] == "first_sight"));
    }
}

#[test]
fn a_reader_that_leaves_ends_nothing() {
    let scene = Scene::new();
    let file = make(&scene.src, "large", 9 * CHUNK);
    let receiver = scene.receiver_with(&["--json"]);
    let mut command = scene.lanx();
    command.args(["send", "--json"]).arg(&file).arg(receiver.addr.to_string());
    let mut sender = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(sender.stdout.take());
    assert_eq!(sender.wait().unwrap().code(), Some(0));
    assert_same(&file, &scene.dst.join("large"));
}

#[test]
fn a_code_for_a_person_stays_out_of_the_events() {
    let scene = Scene::new();
    let events_file = scene.path("events");
    let mut command = Command::new("sh");
    scene.isolate(&mut command);
    command.args(["-c", "exec \"$0\" recv --json --listen 127.0.0.1:0 \"$1\" >\"$2\""]);
    command.args([OsStr::new(env!("CARGO_BIN_EXE_lanx")), scene.dst.as_os_str(), events_file.as_os_str()]);
    let mut terminal = Terminal::run(&command);
    let code = terminal.wait_for_line("pairing code: ");
    assert_eq!(code.len(), 11, "{code:?}");
    terminal.press_ctrl_c();
    assert_eq!(terminal.finish().0, Some(130));
    assert_eq!(kinds(&events(&read(&events_file))), ["listening", "error"]);
}

#[test]
fn a_script_that_reads_only_the_first_line_holds_nothing_up() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    // Their events are more than a pipe holds.
    for at in 0..1500 {
        fs::write(top.join(format!("file-{at:04}-{}", "x".repeat(60))), "x").unwrap();
    }
    let mut command = scene.lanx();
    command.args(["recv", "--once", "--json", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let mut receiver = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut events = BufReader::new(receiver.stdout.take().unwrap());
    let mut first = String::new();
    events.read_line(&mut first).unwrap();
    let listening: Value = serde_json::from_str(&first).unwrap();
    scene.send(&[&top], format!("127.0.0.1:{}", listening["port"])).expect_success();
    // And nothing of it is lost for whoever reads on.
    let rest: Vec<Value> = events.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(files(&rest).len(), 1501);
    assert_eq!(rest.last().unwrap()["event"], "done");
    assert!(receiver.wait().unwrap().success());
}
