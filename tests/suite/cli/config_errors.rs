//! Options in a file or in the environment that cannot be used: each is told with its place and what was expected.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::common::*;

fn config_file(scene: &Scene) -> PathBuf {
    scene.path("config").join("config.toml")
}

fn write(scene: &Scene, text: &str) {
    fs::write(config_file(scene), text).unwrap();
}

#[test]
fn what_is_not_known_is_an_error_with_what_was_meant() {
    let scene = Scene::new();
    for (text, words) in [
        ("\n[send]\nlimt = '50M'\n", [":3: ", "send has no option limt", "did you mean limit?"]),
        ("timeuot = 5\n", [":1: ", "timeuot", "did you mean timeout?"]),
        ("[sned]\n", [":1: ", "[sned]", "did you mean send?"]),
        ("[sned]\nlimit = '50M'\n", [":1: ", "[sned]", "did you mean send?"]),
        ("[recv]\narchives = true\n", [":2: ", "recv has no option archives", "did you mean archive?"]),
        ("[recv]\nskip-special = true\n", [":2: ", "recv has no option skip-special", "one of [send]"]),
        ("[send]\nquiet = true\n", [":2: ", "quiet is for all commands", "above all tables"]),
        ("[send]\nto = 'nas'\n", [":2: ", "to is about one run", "cannot be set"]),
        ("[send]\nname = 'x'\n", [":2: ", "name is about one run", "on the command line"]),
        ("[recv]\nclean = true\n", [":2: ", "clean is about one run", "cannot be set"]),
        ("nonsense = true\n", [":1: ", "nonsense", "`lanx config` lists what can be set"]),
        ("[config]\njson = true\n", [":1: ", "no options for [config]", "lists what can be set"]),
        ("\"b\\u001b[31m\" = 1\n", [":1: ", "b\\x1b[31m", "that can be set"]),
    ] {
        write(&scene, text);
        let path = config_file(&scene);
        for line in [&["recv"][..], &["config"]] {
            let output = scene.run(line);
            output.expect_complaint(2, &words).expect_complaint(2, &[path.to_str().unwrap()]);
        }
    }
}

#[test]
fn a_value_is_refused_in_the_words_of_the_command_line() {
    let scene = Scene::new();
    for (text, words) in [
        (
            "[send]\nlimit = '50 apples'\n",
            [":2: ", "invalid value '50 apples' for '--limit <RATE>'", "400mbit"],
        ),
        ("[send]\nlimit = '5\u{202e}M'\n", [":2: ", "invalid value '5\\u{202e}M'", "400mbit"]),
        ("timeout = 1\n", [":1: ", "invalid value '1' for '--timeout <SECONDS>'", "from 5 to 86400 seconds"]),
        (
            "[recv]\nsync = 'yes'\n",
            [":2: ", "sync has a value of the type string", "true or false is expected"],
        ),
        ("[recv]\nsync = 1\n", [":2: ", "sync has a value of the type integer", "true or false is expected"]),
        ("[recv]\nverify = true\n", [":2: ", "verify has a value of the type boolean", "a text or a number"]),
        ("[send]\nexclude = [1.5]\n", [":2: ", "exclude has a value of the type array", "a list of texts"]),
        ("verbose = 300\n", [":1: ", "a number from 0 to 255", "lanx help"]),
        ("[send]\nlimit = \n", [":2: ", "`lanx help config`", ""]),
        ("[send]\nlimit = '1M'\nlimit = '2M'\n", [":3: ", "duplicate key", ""]),
    ] {
        write(&scene, text);
        scene.run(["recv"]).expect_complaint(2, &words);
    }
    fs::remove_file(config_file(&scene)).unwrap();
    for (name, value, word) in [
        ("LANX_SEND_LIMIT", "x", "400mbit"),
        ("LANX_SYNC", "yes", "true or false"),
        ("LANX_VERBOSE", "-1", "0 to 255"),
    ] {
        let mut command = scene.lanx();
        let of = if name.contains("SEND") { "send" } else { "recv" };
        command.args([of, "a", "b"].iter().take(if of == "send" { 3 } else { 1 })).env(name, value);
        Process::spawn(command)
            .finish(PATIENCE)
            .expect_complaint(2, &[&format!("{name}: "), word, "unset it"]);
    }
}

#[test]
fn a_misspelt_variable_of_a_command_is_an_error_and_one_of_all_commands_a_warning() {
    let scene = Scene::new();
    let run = |line: &[&str], name: &str| {
        let mut command = scene.lanx();
        command.args(line).env(name, "3M");
        Process::spawn(command).finish(PATIENCE)
    };
    for line in [&["send", "a", "b"][..], &["recv"], &["config"], &["list"]] {
        run(line, "LANX_SEND_LIMT").expect_complaint(2, &["LANX_SEND_LIMT: ", "no option limt", "limit"]);
    }
    run(&["send", "a", "b"], "LANX_SEND_TO").expect_complaint(2, &["LANX_SEND_TO: ", "about one run"]);
    let trust = run(&["trust"], "LANX_SEND_LIMT");
    trust.expect_code(0);
    assert!(trust.err().contains("goes on without"), "{}", trust.err());
    run(&["help", "send"], "LANX_SEND_LIMT").expect_success();
    let config = run(&["config"], "LANX_LIMT");
    config.expect_code(0);
    assert!(config.err().contains("LANX_LIMT") && config.err().contains("LANX_LIMIT"), "{}", config.err());
}

#[test]
fn a_script_is_told_what_is_wrong_with_the_file() {
    let scene = Scene::new();
    write(&scene, "[send]\nlimt = 1\n");
    let output = scene.run(["send", "--json", "a", "host"]);
    output.expect_code(2);
    let events = output.events();
    assert!(
        events[0]["message"].as_str().unwrap().contains("config.toml:2: send has no option limt"),
        "{events:?}"
    );
    assert_eq!(events[0]["hint"], "did you mean limit?");
}

#[test]
fn a_file_that_others_could_change_is_refused() {
    let scene = Scene::new();
    let path = config_file(&scene);
    let folder = path.parent().unwrap();
    let set_mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    write(&scene, "[recv]\nopen = true\n");
    set_mode(&path, 0o666);
    scene.run(["recv"]).expect_complaint(2, &[path.to_str().unwrap(), "changed by other users", "chmod"]);
    set_mode(&path, 0o644);
    scene.run(["config", "recv"]).expect_success().expect_out(&["line 2"]);
    set_mode(folder, 0o777);
    scene.run(["recv"]).expect_complaint(2, &[folder.to_str().unwrap(), "chmod go-w"]);
    set_mode(folder, 0o700);

    fs::rename(&path, scene.path("elsewhere")).unwrap();
    symlink(scene.path("elsewhere"), &path).unwrap();
    scene.run(["recv"]).expect_complaint(2, &["symbolic link"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    scene.run(["recv"]).expect_complaint(2, &["not a regular file"]);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![b'#'; 100_000]).unwrap();
    scene.run(["recv"]).expect_complaint(2, &["longer than 65536 bytes"]);
    fs::write(&path, b"\n\n# caf\xe9\n").unwrap();
    scene.run(["recv"]).expect_complaint(2, &[":3: ", "not valid UTF-8"]);
}
