//! A dataset: `send --report`, `lanx manifest` and `lanx verify`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::common::*;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A folder with files, links and odd names.
fn dataset(scene: &Scene) -> PathBuf {
    let top = scene.src.join("run42");
    fs::create_dir_all(top.join("a/b")).unwrap();
    make(&top, "one", 10);
    make(&top, "a/large", 3 * CHUNK + 5);
    make(&top, "a/b/empty", 0);
    make(&top.join("a"), OsStr::from_bytes(b"caf\xe9\n"), 100);
    symlink("../one", top.join("a/link")).unwrap();
    top
}

fn manifest(scene: &Scene, inputs: &[&Path], to: &str) -> Output {
    let mut args = vec![OsStr::new("manifest")];
    args.extend(inputs.iter().map(|path| path.as_os_str()));
    args.extend(["-o", to].map(OsStr::new));
    scene.run(args)
}

fn verify(scene: &Scene, list: &str, copy: &Path) -> Output {
    scene.run([OsStr::new("verify"), OsStr::new(list), copy.as_os_str()])
}

/// The objects in a file of lines.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a manifest of these records as somebody could who wants it to seem right.
fn forge(path: &Path, records: &[Value]) {
    let records: String = records.iter().map(|record| format!("{record}\n")).collect();
    let last =
        json!({"records": records.lines().count(), "blake3": blake3::hash(records.as_bytes()).to_string()});
    fs::write(path, format!("{{\"manifest\":1}}\n{records}{last}\n")).unwrap();
}

#[test]
fn shards_make_the_list_that_the_folder_makes_and_it_proves_the_copy() {
    let scene = Scene::new();
    let top = dataset(&scene);
    let receiver = scene.receiver();
    let shards = ["one\na/b/empty\na/b\n", "a/large\na/caf\u{e9}\na/link\na\n"];
    let mut second = shards[1].as_bytes().to_vec();
    // The name that is no UTF-8, as bytes.
    let at = second.windows(5).position(|window| window == "caf\u{e9}".as_bytes()).unwrap();
    second.splice(at..at + 5, *b"caf\xe9\n");
    let nul =
        |list: &[u8]| list.iter().map(|&byte| if byte == b'\n' { 0 } else { byte }).collect::<Vec<u8>>();
    let mut second = nul(&second);
    let at = second.windows(4).position(|window| window == b"caf\xe9").unwrap();
    second[at + 4] = b'\n';
    let mut reports = Vec::new();
    for (n, list) in [nul(shards[0].as_bytes()), second].into_iter().enumerate() {
        let (shard, report) = (scene.src.join(format!("shard{n}")), scene.src.join(format!("report{n}")));
        fs::write(&shard, list).unwrap();
        let flags = ["-0", "--files-from", shard.to_str().unwrap(), "--report", report.to_str().unwrap()];
        scene.send_with(&flags, &[&top.join("")], receiver.addr).expect_success();
        reports.push(report);
    }
    let told = lines(&reports[0]);
    let one = told.iter().find(|line| line["path"] == "one").unwrap();
    assert_eq!((&one["status"], &one["kind"], &one["size"]), (&json!("sent"), &json!("file"), &json!(10)));
    assert_eq!(one["blake3"], blake3::hash(&read(&top.join("one"))).to_string());
    assert_eq!((&one["mode"], &one["peer"]), (&json!("0640"), &json!(receiver.addr.to_string())));

    let merged = manifest(&scene, &[&reports[0], &reports[1]], "merged");
    merged.expect_success();
    manifest(&scene, &[&top], "whole").expect_success();
    let (merged_list, whole) = (read(&scene.src.join("merged")), read(&scene.src.join("whole")));
    assert_eq!(String::from_utf8_lossy(&merged_list), String::from_utf8_lossy(&whole));
    let list = lines(&scene.src.join("whole"));
    let paths: Vec<&str> = list.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, ["a", "a/b", "a/b/empty", "a/caf\u{fffd}\n", "a/large", "a/link", "one"]);
    merged.expect_out(&[list.last().unwrap()["blake3"].as_str().unwrap(), "4 files, "]);

    let verified = verify(&scene, "merged", &scene.dst);
    verified.expect_success();
    verified.expect_out(&["7 entries, ", " verified"]);
}

#[test]
fn what_is_not_as_listed_is_told_with_exit_code_6() {
    let scene = Scene::new();
    let top = dataset(&scene);
    manifest(&scene, &[&top], "list").expect_success();
    verify(&scene, "list", &top).expect_success();
    // Each by itself, and what is told of it.
    let flip = |path: &Path| {
        let mut bytes = read(path);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&top.join("a/large"));
    fs::write(top.join("a/b/empty"), "x").unwrap();
    fs::remove_file(top.join("one")).unwrap();
    fs::remove_file(top.join("a/link")).unwrap();
    symlink("elsewhere", top.join("a/link")).unwrap();
    let output = verify(&scene, "list", &top);
    output.expect_code(6);
    let told = output.err();
    for words in
        ["a/large: has other bytes", "a/b/empty: has 1 bytes, not 0", "one: missing", "a/link: leads to"]
    {
        assert!(told.contains(words), "{words:?} in {told}");
    }
    output.expect_out(&["3 entries, ", "1 missing; 3 not as listed"]);
    // A folder that became a link leads nowhere.
    fs::rename(top.join("a"), scene.src.join("aside")).unwrap();
    symlink("../aside", top.join("a")).unwrap();
    let output = verify(&scene, "list", &top);
    output.expect_code(6);
    let told = output.err();
    assert!(told.contains("a: is a symbolic link") && told.contains("a/large: missing"), "{told}");
}

#[test]
fn a_list_that_was_changed_cut_or_forged_proves_nothing() {
    let scene = Scene::new();
    let top = dataset(&scene);
    let secret = make(&scene.src, "secret", 10);
    manifest(&scene, &[&top], "list").expect_success();
    let list = fs::read_to_string(scene.src.join("list")).unwrap();
    let without_last = list.trim_end().rsplit_once('\n').unwrap().0;
    for (text, words) in [
        (list.replace("\"mode\":\"0640\"", "\"mode\":\"0641\""), "was changed"),
        (format!("{without_last}\n"), "is cut off"),
        (list[..list.len() - 1].into(), "has no end"),
        (list.replace("{\"manifest\":1}", "{\"manifest\":2}"), "version 2"),
        ("notes\n".into(), "is no manifest"),
        (String::new(), "is no manifest"),
    ] {
        fs::write(scene.src.join("bad"), text).unwrap();
        verify(&scene, "bad", &top).expect_complaint(2, &[words]);
    }
    let record = |path: &str| {
        json!({"path": path, "kind": "file", "size": 10, "mode": "0640", "mtime": 0, "mtime_nanos": 0,
               "blake3": blake3::hash(&read(&secret)).to_string()})
    };
    for path in ["../secret", "/etc/passwd", "a/../../secret", ""] {
        forge(&scene.src.join("bad"), &[record(path)]);
        let output = verify(&scene, "bad", &top);
        output.expect_code(6);
        output.expect_out(&["0 entries, ", "1 not as listed"]);
    }
    verify(&scene, "nowhere", &top).expect_complaint(2, &["nowhere", "no such file"]);
    verify(&scene, "list", &top.join("nowhere")).expect_complaint(2, &["nowhere", "no such file"]);
}

#[test]
fn a_report_is_there_when_every_entry_has_its_outcome_and_not_before() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 10);
    let taken = make(&scene.src, "taken", 20);
    let report = scene.src.join("report");
    let flags = ["--report", report.to_str().unwrap(), "--retry-for", "0"];
    scene.send_with(&flags, &[&file], "127.0.0.1:1").expect_code(3);
    assert_eq!(listing(&scene.src), ["file", "taken"], "neither a report nor what it was to become");

    let receiver = scene.receiver();
    fs::create_dir(scene.path("elsewhere")).unwrap();
    let large = make(&scene.path("elsewhere"), "large", 200 * CHUNK);
    let relay = Relay::holding_after(receiver.addr, 2 * CHUNK as u64);
    let sender = scene.start_send(&flags, &[&large], relay.addr);
    relay.wait_until_held();
    sender.signal(Signal::INT);
    sender.finish(PATIENCE).expect_code(130);
    assert_eq!(listing(&scene.src), ["file", "taken"], "nor where it was interrupted");
    fs::write(scene.dst.join("taken"), "another").unwrap();
    scene.send_with(&flags, &[&file, &taken, &scene.src.join("missing")], receiver.addr).expect_code(5);
    let mut status: Vec<(String, String)> = Vec::new();
    for line in lines(&report) {
        status.push((line["path"].as_str().unwrap().into(), line["status"].as_str().unwrap().into()));
        assert_eq!(line.get("reason").is_some(), line["status"] == "failed", "{line}");
    }
    status.sort();
    let missing = scene.src.join("missing").to_str().unwrap().to_owned();
    let expected = [(missing.as_str(), "failed"), ("file", "sent"), ("taken", "failed")];
    let expected: Vec<(String, String)> = expected.map(|(path, status)| (path.into(), status.into())).into();
    assert_eq!(status, expected);
    // A list of it says that something is missing; what came later counts.
    manifest(&scene, &[&report], "list").expect_code(5);
    assert_eq!(lines(&scene.src.join("list")).len(), 3);
    let nowhere = scene.src.join("no folder/report");
    let output = scene.send_with(&["--report", nowhere.to_str().unwrap()], &[&file], receiver.addr);
    output.expect_complaint(1, &["cannot write", "no folder/report"]);
}
