//! `--json`: how a script is told what went wrong.

use std::path::PathBuf;

use crate::common::*;
use rustix::process::Signal;
use serde_json::Value;

/// Demands that the last event is an error with these words in its message and in its hint.
#[track_caller]
fn expect_error(output: &Output, code: i32, message: &str, hint: &str) -> Value {
    output.expect_code(code);
    let events = output.events();
    let error = events.last().unwrap();
    assert_eq!(error["event"], "error");
    let part = |field: &str| error[field].as_str().unwrap().to_owned();
    assert!(part("message").contains(message), "{message:?} in {error}");
    assert!(part("hint").contains(hint), "{hint:?} in {error}");
    assert!(!part("message").contains(&part("hint")), "said twice: {error}");
    assert_eq!(error["retryable"], [3, 6, 130].contains(&code), "{error}");
    error.clone()
}

fn letter(scene: &Scene) -> PathBuf {
    make(&scene.src, "letter", 100)
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn wrong_arguments_are_an_error_with_code_2() {
    let scene = Scene::new();
    for (args, message) in [
        (&["send", "--json"][..], "required arguments were not provided"),
        (&["send", "--json", "file", "host", "--connections", "99"], "99"),
        (&["send", "--json", "file", "./no-host"], "is the host"),
        (&["send", "--json", "a/x", "b/x", "host"], "same file name"),
        (&["recv", "--json", "--no-such"], "--no-such"),
        (&["recv", "--json", "--clean"], "--clean"),
        (&["recv", "--json", "--overwrite", "--rename"], "--rename"),
    ] {
        let output = scene.run(args);
        let error = expect_error(&output, 2, message, "");
        assert_eq!(error.get("peer"), None);
        assert!(output.err().contains(message), "a person is told as well: {}", output.err());
    }
    let output = scene.run(["send", "--", "--json"]);
    assert_eq!(output.expect_code(2).out(), "", "there it is a file");
    let output = scene.run(["recv", "--json", "--no-json", "--no-such"]);
    assert_eq!(output.expect_code(2).out(), "", "it is taken back");
    let output = scene.run(["recv", "--no-json", "--json", "--no-such"]);
    expect_error(&output, 2, "--no-such", "");
}

#[test]
fn a_receiver_that_is_not_there_is_an_error_with_code_3() {
    let scene = Scene::new();
    let nobody = nobody();
    let output = scene.send_with(&["--json"], &[letter(&scene)], &nobody);
    let error = expect_error(&output, 3, "refused the connection", "start `lanx recv` there");
    assert_eq!(error["peer"], nobody);
    assert!(output.err().contains("refused the connection; start `lanx recv`"), "{}", output.err());
    let output = scene.send_with(&["--json", "-q"], &[letter(&scene)], &nobody);
    expect_error(&output, 3, "refused the connection", "start `lanx recv` there");
    assert_eq!(output.err(), "");
}

#[test]
fn a_stranger_without_a_terminal_is_never_asked() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &["--json"], Some(CODE));
    let file = letter(&scene);
    let output = scene.start_send_by("alice", &["--json"], None, &file, receiver.addr).finish(PATIENCE);
    expect_error(&output, 4, "does not know this machine", "LANX_CODE or --code-file");
    let wrong = Some("not the right code");
    let output = scene.start_send_by("alice", &["--json"], wrong, &file, receiver.addr).finish(PATIENCE);
    expect_error(&output, 4, "does not have that code", "try again");
    assert_eq!(kinds(&receiver.process.events()), ["listening"]);
}

#[test]
fn a_receiver_that_cannot_start_says_so_instead_of_listening() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = scene.run(["recv", "--json", "--listen", &addr]);
    expect_error(&output, 1, "is taken", "choose another port");
    let file = letter(&scene);
    let output = scene.run(["recv", "--json", "--listen", "127.0.0.1:0", file.to_str().unwrap()]);
    expect_error(&output, 7, "not a folder", "choose another folder");
}

#[test]
fn an_interrupted_transfer_ends_in_an_error_at_both_ends() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--json"]);
    let size = 16 * CHUNK;
    let file = make(&scene.src, "large", size);
    let relay = Relay::holding_after(receiver.addr, (size / 2) as u64);
    let sender = scene.start_send(&["--json"], &[&file], relay.addr);
    relay.wait_until_held();
    sender.signal(Signal::INT);
    let output = sender.finish(PATIENCE);
    let error = expect_error(&output, 130, "interrupted", "run the same command again");
    assert_eq!(error["peer"], relay.addr.to_string());
    let output = receiver.process.finish(PATIENCE);
    let error = expect_error(&output, 3, "the sender was interrupted", "it resumes when");
    assert_eq!((error["session"].as_u64(), &error["peer"]), (Some(1), &"127.0.0.1".into()));
    assert_eq!(kinds(&output.events()), ["listening", "start", "error"]);
}

#[test]
fn a_receiver_that_dies_is_lost_and_then_an_error() {
    let scene = Scene::new();
    let mut receiver = scene.receiver_with(&["--json"]);
    let size = 16 * CHUNK;
    let file = make(&scene.src, "large", size);
    let relay = Relay::holding_after(receiver.addr, (size / 2) as u64);
    let sender = scene.start_send(&["--json", "--retry-for", "1"], &[&file], relay.addr);
    relay.wait_until_held();
    receiver.process.kill();
    relay.release();
    let output = sender.finish(PATIENCE);
    expect_error(&output, 3, "had arrived", "run the same command again");
    let events = output.events();
    assert_eq!(kinds(&events), ["start", "lost", "error"]);
    assert_eq!(of_kind(&events, "lost")[0]["retry_for"], 1);
}

#[test]
fn a_loss_that_is_made_good_does_not_turn_progress_back() {
    let scene = Scene::new();
    let mut receiver = scene.receiver_with(&["--json"]);
    let size = 64 * CHUNK;
    let file = make(&scene.src, "large", size);
    let relay = Relay::holding_after(receiver.addr, (size / 2) as u64);
    let sender = scene.start_send(&["--json"], &[&file], relay.addr);
    relay.wait_until_held();
    let before = sender.wait_for_event("progress", 1);
    assert!(before["bytes"].as_u64().unwrap() > 0, "{before}");
    receiver.process.kill();
    sender.wait_for_event("lost", 1);
    // The disk of the receiver is a new one: the session that follows begins with nothing, and stays so for now.
    std::fs::remove_file(part_path(&scene.dst, "large")).unwrap();
    relay.hold_after(0);
    let again = scene.receiver_with(&["--once", "--json"]);
    relay.lead_to(again.addr);
    let told = of_kind(&sender.events(), "progress").len();
    sender.wait_for_event("progress", told + 2);
    relay.release();
    let (sent, received) = (sender.finish(PATIENCE), again.process.finish(PATIENCE));
    assert_arrived(&[file], &scene.dst);
    assert_eq!(kinds(&sent.expect_code(0).events()), ["start", "lost", "file", "done"]);
    assert_eq!(kinds(&received.expect_code(0).events()), ["listening", "start", "file", "done"]);
    let events = sent.events();
    for pair in of_kind(&events, "progress").windows(2) {
        for field in ["bytes", "total", "percent"] {
            assert!(pair[0][field].as_f64() <= pair[1][field].as_f64(), "{field} ran back: {pair:?}");
        }
    }
}
