//! A standard stream that is closed is not an empty one: nothing is sent from it, and nothing is written to it.

use std::process::Command;

use crate::common::*;

/// The program, started by a shell with this redirection.
fn lanx(scene: &Scene, redirected: &str) -> Command {
    let mut command = Command::new("sh");
    scene.isolate(&mut command);
    command.args(["-c", &format!("exec \"$0\" \"$@\" {redirected}"), env!("CARGO_BIN_EXE_lanx")]);
    command
}

#[test]
fn a_closed_standard_input_replaces_nothing_and_an_empty_one_is_an_empty_file() {
    for closed in ["<&-", "<>/dev/null"] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--overwrite"]);
        let good = make(&scene.dst, "dump", 1000);
        let before = look(&good);
        let send = |redirected| {
            let mut command = lanx(&scene, redirected);
            command.args(["send", "-", &receiver.addr.to_string(), "--name", "dump"]);
            Process::spawn(command).finish(PATIENCE)
        };
        send(closed).expect_complaint(2, &["standard input is closed", "nothing to send; "]);
        assert_eq!(look(&good), before, "{closed}");
        send("</dev/null").expect_success();
        assert!(read(&good).is_empty());
    }
}

#[test]
fn a_closed_standard_output_takes_no_file_and_dev_null_takes_any() {
    let scene = Scene::new();
    let receive = |redirected| {
        let mut command = lanx(&scene, redirected);
        command.args(["recv", "-", "--no-announce", "--listen", "127.0.0.1:0"]);
        Process::spawn(command)
    };
    for closed in [">&-", "1<>/dev/null"] {
        let output = receive(closed).finish(PATIENCE);
        output.expect_complaint(2, &["standard output is closed", "would be lost; "]);
    }
    let receiver = receive(">/dev/null");
    let mut addr = None;
    wait_until("the receiver listens", PATIENCE, || {
        addr = listening_on(&receiver.stderr.text());
        addr.is_some()
    });
    let file = make(&scene.src, "file", 3 * CHUNK);
    scene.send(&[&file], addr.unwrap()).expect_success();
    receiver.finish(PATIENCE).expect_code(0);
}
