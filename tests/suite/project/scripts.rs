//! The scripts in docs/examples do what they say.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;
use rustix::process::Signal;

/// One of the scripts, for the program under test.
fn script(scene: &Scene, name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    let mut command = Command::new("sh");
    command.arg(path).env("LANX", env!("CARGO_BIN_EXE_lanx")).env("LANX_LISTEN", "127.0.0.1:0");
    scene.isolate(&mut command);
    command
}

/// Starts receive.sh, which copies each file that arrives into a folder `taken`; its port.
fn start_receiving(scene: &Scene) -> (Process, u16) {
    let taken = scene.path("taken");
    fs::create_dir_all(&taken).unwrap();
    let mut command = script(scene, "receive.sh");
    command.arg(&scene.dst).args(["cp", "-p", "-t"]).arg(&taken);
    let process = Process::spawn(command);
    let port = || process.stdout.text().strip_prefix("port ").and_then(|text| text.trim().parse().ok());
    wait_until("the script tells the port", PATIENCE, || port().is_some());
    let port = port().unwrap();
    (process, port)
}

fn sending<P: AsRef<Path>>(scene: &Scene, host: &str, paths: &[P]) -> Command {
    let mut command = script(scene, "send.sh");
    command.arg(scene.path("log")).arg(host).args(paths.iter().map(|path| path.as_ref()));
    command.env("LANX_PAUSE", "0");
    command
}

/// What the log of send.sh says.
fn log(scene: &Scene) -> Vec<serde_json::Value> {
    events(&read(&scene.path("log")))
}

#[test]
fn each_file_that_arrives_is_handed_to_the_command() {
    let scene = Scene::new();
    let names =
        [&b"plain"[..], b"with  two blanks ", "caf\u{e9}, \u{1f600}".as_bytes(), b"caf\xe9\n", b"--help"];
    let paths: Vec<PathBuf> =
        names.iter().map(|name| make(&scene.src, OsStr::from_bytes(name), name.len())).collect();
    let (receiver, port) = start_receiving(&scene);
    let sent = Process::spawn(sending(&scene, &format!("127.0.0.1:{port}"), &paths)).finish(PATIENCE);
    sent.expect_success().expect_out(&["5 in place, 0 of them unchanged, 0 failed"]);
    receiver.finish(PATIENCE).expect_code(0);
    assert_arrived(&paths, &scene.path("taken"));
    assert_eq!(kinds(&log(&scene)).last(), Some(&"done"));
}

#[test]
fn a_name_that_takes_a_json_parser_is_left_alone() {
    let scene = Scene::new();
    let names = ["a\\b", "\",\"status\":\"failed\",\"x\":\"", "good"];
    let paths = names.map(|name| make(&scene.src, name, 10));
    let (receiver, port) = start_receiving(&scene);
    let sent = Process::spawn(sending(&scene, &format!("127.0.0.1:{port}"), &paths)).finish(PATIENCE);
    sent.expect_success().expect_out(&["3 in place"]);
    let received = receiver.finish(PATIENCE);
    received.expect_code(1);
    assert_eq!(received.err().matches("left alone").count(), 2, "{}", received.err());
    assert_arrived(&paths, &scene.dst);
    assert_eq!(listing(&scene.path("taken")), ["good"]);
}

#[test]
fn the_exit_codes_pass_through_and_only_a_loss_is_tried_again() {
    let scene = Scene::new();
    let file = make(&scene.src, "letter", 10);
    fs::write(scene.dst.join("letter"), "other").unwrap();
    let (receiver, port) = start_receiving(&scene);
    let sent = Process::spawn(sending(&scene, &format!("127.0.0.1:{port}"), &[&file])).finish(PATIENCE);
    sent.expect_code(5).expect_out(&["0 in place", "1 failed: see "]);
    assert_eq!(of_kind(&log(&scene), "start").len(), 1, "it was tried once");
    receiver.finish(PATIENCE).expect_code(5);
    assert_eq!(listing(&scene.path("taken")), [""; 0]);

    // Nobody is there any more.
    fs::remove_file(scene.path("log")).unwrap();
    let sent = Process::spawn(sending(&scene, &format!("127.0.0.1:{port}"), &[&file])).finish(PATIENCE);
    sent.expect_complaint(3, &["failed: cannot reach", "start `lanx recv` there"]);
    assert_eq!(kinds(&log(&scene)), ["error", "error", "error"]);
}

#[test]
fn whoever_ends_the_script_ends_the_receiver() {
    let scene = Scene::new();
    let (receiver, port) = start_receiving(&scene);
    receiver.signal(Signal::TERM);
    receiver.finish(PATIENCE).expect_code(130);
    wait_until("the port is free", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn wrong_arguments_are_told_how_to_call_it() {
    let scene = Scene::new();
    for name in ["receive.sh", "send.sh"] {
        Process::spawn(script(&scene, name)).finish(PATIENCE).expect_complaint(2, &["usage: "]);
    }
}

#[test]
fn shards_of_an_array_and_the_last_step_make_the_dataset_and_its_list() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir_all(top.join("a")).unwrap();
    let names = ["one", "a/two", "a/three\nlines"];
    names.iter().for_each(|name| drop(make(&top, name, 1000)));
    let run = scene.path("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("shard.1"), "./one\0a/two\0").unwrap();
    fs::write(run.join("shard.2"), "a/three\nlines\0").unwrap();
    let receiver = scene.receiver();
    let host = receiver.addr.to_string();
    let step = |name: &str, shard: &str, host: &str| {
        let mut command = script(&scene, name);
        command.arg(&run).arg(&top).arg(host).env("SLURM_ARRAY_TASK_ID", shard);
        command.envs([("LANX_PAUSE", "0"), ("LANX_TRIES", "2"), ("LANX_SEND_RETRY_FOR", "0")]);
        Process::spawn(command).finish(PATIENCE)
    };
    step("slurm-shard.sh", "1", &host).expect_code(0);
    assert_eq!(listing(&scene.dst), ["a", "one"]);
    step("slurm-shard.sh", "2", &host).expect_code(0);
    step("slurm-last.sh", "0", &host).expect_code(0).expect_out(&["all already there"]);
    let mut verify = scene.lanx();
    verify.arg("verify").arg(run.join("manifest")).arg(&scene.dst);
    Process::spawn(verify).finish(PATIENCE).expect_code(0);
    // What nobody can mend by trying again is tried once, and what may pass as often as it is to be.
    fs::write(scene.dst.join("one"), "another").unwrap();
    let refused = step("slurm-shard.sh", "1", &host);
    refused.expect_code(5);
    drop(receiver);
    let lost = step("slurm-shard.sh", "1", &host);
    lost.expect_code(3);
    assert_eq!(events(&refused.stdout).len(), 1, "{}", refused.out());
    assert_eq!(events(&lost.stdout).len(), 2, "{}", lost.out());
}

#[test]
fn fpsync_gets_a_tool_that_sends_a_list_into_the_folder_of_the_url() {
    let scene = Scene::new();
    let top = scene.src.join("top");
    fs::create_dir(&top).unwrap();
    let files = ["one", "two words"].map(|name| make(&top, name, 1000));
    make(&top, "not listed", 10);
    let list = scene.path("list");
    fs::write(&list, "./one\0./two words\0").unwrap();
    let receiver = scene.receiver();
    let call = |flag: &str, url: &str| {
        let mut command = script(&scene, "fpsync-lanx.sh");
        command.args(["-lptgoD", flag, &format!("--files-from={}", list.display()), "--from0"]);
        command.arg(format!("{}/", top.display())).arg(url);
        Process::spawn(command).finish(PATIENCE)
    };
    call("-d", &format!("rsync://{}/sets/of it//", receiver.addr)).expect_code(0);
    assert_arrived(&files, &scene.dst.join("sets/of it"));
    assert_eq!(listing(&scene.dst.join("sets/of it")).len(), 2);
    call("-d", &format!("rsync://{}/", receiver.addr)).expect_code(0);
    assert_arrived(&files, &scene.dst);
    call("--delete", &format!("rsync://{}/", receiver.addr)).expect_code(2);
    call("-d", "/srv/elsewhere/").expect_code(2);
}
