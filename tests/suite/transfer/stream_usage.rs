//! `lanx send -`: what a command line with standard input in it may say.

use std::io::pipe;

use crate::common::*;

#[test]
fn a_command_line_that_makes_no_sense_says_what_to_do() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let usage = |args: &[&str], words: &[&str]| {
        let mut command = scene.lanx();
        command.arg("send").args(args);
        let output = Process::spawn_fed(command, pipe().unwrap().0).finish(PATIENCE);
        output.expect_complaint(2, words);
    };
    usage(&["file", "-", "127.0.0.1:1", "--name", "x"], &["- is standard input", "./-"]);
    usage(&["-", "-", "127.0.0.1:1", "--name", "x"], &["- is standard input"]);
    for flags in [
        &["--dry-run"][..],
        &["--archive"],
        &["--follow"],
        &["--delta"],
        &["--exclude", "x"],
        &["--exclude-from", "file"],
        &["--files-from", "file"],
    ] {
        usage(
            &[&["-", "127.0.0.1:1", "--name", "x"], flags].concat(),
            &["reads standard input", flags[0], "leave one of them out"],
        );
    }
    for (name, words) in [
        ("a/b", "contains '/'"),
        ("..", "is no name of a file"),
        ("", "is empty"),
        (".x.lanx-part", "part files"),
        ("x\u{1b}[1m", "refused the connection"),
    ] {
        let code = if words == "refused the connection" { 3 } else { 2 };
        let mut command = scene.lanx();
        command.args(["send", "-", "127.0.0.1:1", "--name", name]);
        let output = Process::spawn_fed(command, pipe().unwrap().0).finish(PATIENCE);
        output.expect_complaint(code, &[words]);
    }
}

#[test]
fn nobody_is_asked_to_type_a_file() {
    let scene = Scene::new();
    let mut command = scene.lanx();
    command.args(["send", "-", "127.0.0.1:1", "--name", "x"]);
    let (code, screen) = Terminal::run(&command).finish();
    assert_eq!(code, Some(2), "{screen}");
    assert!(screen.contains("standard input is a terminal"), "{screen}");
}

#[test]
fn a_file_of_that_name_is_sent_by_its_path() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    make(&scene.src, "-", 5);
    scene.run(["send", "./-", &receiver.addr.to_string()]).expect_success();
    assert_arrived(&[scene.src.join("-")], &scene.dst);
}
