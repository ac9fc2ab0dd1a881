//! Options that are set in a file and in the environment, and who wins.

use std::fs;
use std::path::PathBuf;

use crate::common::*;
use serde_json::{Value, json};

/// What is about one run, and so cannot be set.
const FOR_ONE_RUN: [&str; 6] = ["clean", "dry-run", "name", "to", "help", "version"];

/// What an option takes that takes a word: also the path of a file.
const WORD: &str = "reread";

fn config_file(scene: &Scene) -> PathBuf {
    scene.path("config").join("config.toml")
}

fn write(scene: &Scene, text: &str) {
    fs::write(config_file(scene), text).unwrap();
}

/// What `lanx config --json LINE` says, with these variables.
fn config(scene: &Scene, variables: &[(&str, &str)], line: &[&str]) -> Vec<Value> {
    let mut command = scene.lanx();
    command.args(["config", "--json"]).args(line).envs(variables.iter().copied());
    let output = Process::spawn(command).finish(PATIENCE);
    output.expect_success();
    events(&output.stdout)
}

/// The same of one option.
fn option(scene: &Scene, variables: &[(&str, &str)], line: &[&str], name: &str) -> Value {
    let all = config(scene, variables, line);
    let found = all.iter().find(|one| one["command"] == line[0] && one["option"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all:?}")).clone()
}

/// The long options that the help of a command shows.
fn long_options(scene: &Scene, command: &str) -> Vec<String> {
    let help = scene.run([command, "-h"]).out();
    let options = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let options = options.filter_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("--")));
    options.map(|name| name.trim_end_matches('.').to_owned()).collect()
}

/// How a value is written, and how `lanx config` shows it.
struct Sample {
    on_line: Vec<String>,
    in_file: String,
    in_environment: String,
    shown: Value,
}

/// A value that an option takes, other than its default.
fn sample(scene: &Scene, command: &str, name: &str) -> Sample {
    let flag = format!("--{name}");
    let switch = option(scene, &[], &[command], name)["value"].clone();
    let alone = |shown: Value| Sample {
        on_line: vec![flag.clone()],
        in_file: shown.to_string(),
        in_environment: shown.to_string(),
        shown,
    };
    match switch {
        Value::Bool(_) => return alone(json!(true)),
        Value::Number(_) => return alone(json!(1)),
        _ => {}
    }
    let takes = |value: &&&str| scene.run(["config", command, &format!("--{name}={value}")]).code == Some(0);
    let values = [WORD, "127.0.0.1:4711", "7", "50M", "3d", "some/file", "no"];
    let value = values.iter().find(takes).unwrap_or_else(|| panic!("a value for {flag}"));
    let line = format!("--{name}={value}");
    let shown = option(scene, &[], &[command, &line], name)["value"].clone();
    Sample { on_line: vec![line], in_file: shown.to_string(), in_environment: value.to_string(), shown }
}

#[test]
fn every_long_option_of_send_can_be_set_in_each_way_and_taken_back() {
    set_in_each_way("send");
}

#[test]
fn every_long_option_of_recv_can_be_set_in_each_way_and_taken_back() {
    set_in_each_way("recv");
}

#[test]
fn every_long_option_of_the_others_can_be_set_in_each_way_and_taken_back() {
    set_in_each_way("list");
    set_in_each_way("doctor");
}

fn set_in_each_way(command: &str) {
    let scene = Scene::new();
    let names = long_options(&scene, command);
    assert!(names.len() > 3, "{names:?}");
    for name in names.iter().filter(|name| !FOR_ONE_RUN.contains(&name.as_str())) {
        let Sample { on_line, in_file, in_environment, shown } = sample(&scene, command, name);
        let global = ["quiet", "verbose"].contains(&name.as_str());
        let table = if global { String::new() } else { format!("[{command}]\n") };
        write(&scene, &format!("{table}{name} = {in_file}\n"));
        let set = option(&scene, &[], &[command], name);
        assert_eq!((&set["value"], &set["origin"]), (&shown, &json!("file")), "{name} of {command}");
        assert_eq!(set["line"], if global { 1 } else { 2 });
        assert_eq!(set["file"], config_file(&scene).to_str().unwrap());

        let back = name.strip_prefix("no-").map_or(format!("--no-{name}"), |name| format!("--{name}"));
        let taken_back = option(&scene, &[], &[command, &back], name);
        fs::remove_file(config_file(&scene)).unwrap();
        let unset = option(&scene, &[], &[command], name);
        assert_eq!(unset["origin"], "default");
        assert_eq!((&taken_back["value"], &taken_back["origin"]), (&unset["value"], &json!("flag")));

        let command_part = if global { String::new() } else { format!("{command}_") };
        let variable = format!("LANX_{command_part}{name}").replace('-', "_").to_uppercase();
        let set = option(&scene, &[(&variable, &in_environment)], &[command], name);
        assert_eq!((&set["value"], &set["origin"]), (&shown, &json!("environment")), "{variable}");
        assert_eq!(set["variable"], variable);

        let mut line = vec![command];
        line.extend(on_line.iter().map(String::as_str));
        let set = option(&scene, &[], &line, name);
        assert_eq!((&set["value"], &set["origin"]), (&shown, &json!("flag")), "{line:?}");
    }
}

#[test]
fn the_defaults_are_those_that_the_help_names() {
    let scene = Scene::new();
    for command in ["send", "recv", "list", "doctor"] {
        let help = scene.run([command, "-h"]).out();
        let (mut name, mut compared) = ("", 0);
        for line in help.lines() {
            // A default may stand in the next line.
            if line.trim_start().starts_with('-') {
                name = line.split_whitespace().find_map(|word| word.strip_prefix("--")).unwrap();
            }
            if let (Some((_, default)), false) = (line.split_once("[default: "), name.is_empty()) {
                let default = json!(default.strip_suffix(']').unwrap());
                let shown = option(&scene, &[], &[command], name);
                assert_eq!((&shown["value"], &shown["origin"]), (&default, &json!("default")), "{name}");
                compared += 1;
            }
        }
        assert!(compared > 0, "{help}");
    }
}

#[test]
fn the_example_in_the_documents_is_one() {
    let scene = Scene::new();
    let text = include_str!("../../../docs/config.md");
    let (_, example) = text.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    write(&scene, example);
    let set = config(&scene, &[], &[]).into_iter().filter(|one| one["origin"] == "file");
    let set: Vec<String> =
        set.map(|one| format!("{} {}", one["command"], one["option"]).replace('"', "")).collect();
    let expected = [
        "send exclude",
        "send limit",
        "send timeout",
        "recv listen",
        "recv sync",
        "recv timeout",
        "get timeout",
        "doctor timeout",
    ];
    assert_eq!(set, expected);
}

#[test]
fn the_nearest_to_the_run_counts() {
    let scene = Scene::new();
    write(&scene, "timeout = 11\n[send]\ntimeout = 12\n");
    let value = |variables: &[(&str, &str)], line: &[&str]| {
        option(&scene, variables, line, "timeout")["value"].clone()
    };
    assert_eq!(value(&[], &["recv"]), "11");
    assert_eq!(value(&[], &["send"]), "12");
    assert_eq!(value(&[("LANX_TIMEOUT", "13")], &["send"]), "13");
    assert_eq!(value(&[("LANX_TIMEOUT", "13"), ("LANX_SEND_TIMEOUT", "14")], &["send"]), "14");
    assert_eq!(value(&[("LANX_TIMEOUT", "13"), ("LANX_SEND_TIMEOUT", "")], &["send"]), "13");
    assert_eq!(value(&[("LANX_SEND_TIMEOUT", "14")], &["send", "--timeout", "15"]), "15");
    assert_eq!(value(&[("LANX_SEND_TIMEOUT", "14")], &["send", "--no-timeout"]), "30");
    assert_eq!(value(&[], &["send", "--no-timeout", "--timeout", "15"]), "15");
    assert_eq!(value(&[], &["send", "--timeout", "15", "--no-timeout"]), "30");
}

#[test]
fn a_list_is_replaced_by_what_comes_before_it() {
    let scene = Scene::new();
    write(&scene, "[send]\nexclude = ['*.o', 'target/']\nexclude-from = 'a'\n");
    let value = |variables: &[(&str, &str)], line: &[&str]| {
        option(&scene, variables, line, "exclude")["value"].clone()
    };
    assert_eq!(value(&[], &["send"]), json!(["*.o", "target/"]));
    assert_eq!(value(&[("LANX_SEND_EXCLUDE", "a\nb c")], &["send"]), json!(["a", "b c"]));
    assert_eq!(value(&[], &["send", "--exclude", "x", "--exclude=y"]), json!(["x", "y"]));
    assert_eq!(option(&scene, &[], &["send"], "exclude-from")["value"], json!(["a"]));
}

#[test]
fn what_excludes_something_before_it_does_not_count() {
    let scene = Scene::new();
    let existing = |variables: &[(&str, &str)], line: &[&str]| {
        ["overwrite", "rename"].map(|name| option(&scene, variables, line, name)["value"] == json!(true))
    };
    write(&scene, "[recv]\noverwrite = true\n");
    assert_eq!(existing(&[], &["recv"]), [true, false]);
    assert_eq!(existing(&[], &["recv", "--rename"]), [false, true]);
    assert_eq!(existing(&[], &["recv", "--no-rename"]), [true, false]);
    assert_eq!(existing(&[("LANX_RECV_RENAME", "true")], &["recv"]), [false, true]);
    assert_eq!(existing(&[("LANX_RECV_RENAME", "false")], &["recv"]), [true, false]);
    write(&scene, "rename = true\n[recv]\noverwrite = true\n");
    assert_eq!(existing(&[], &["recv"]), [true, false], "the table of the command comes first");

    write(&scene, "[recv]\noverwrite = true\nrename = true\n");
    let path = config_file(&scene);
    let place = format!("{}:3: rename cannot be used with overwrite", path.display());
    scene.run(["recv", "--once"]).expect_complaint(2, &[&place]);
    write(&scene, "quiet = true\nverbose = 1\n");
    scene.run(["list"]).expect_complaint(2, &["config.toml:2", "verbose", "quiet"]);
}

#[test]
fn what_is_set_is_what_is_done() {
    let scene = Scene::new();
    write(&scene, "[recv]\nonce = true\noverwrite = true\n\n[send]\njson = true\n");
    fs::write(scene.dst.join("file"), "old").unwrap();
    let file = make(&scene.src, "file", 1000);
    let receiver = scene.receiver();
    let sent = scene.send(&[&file], receiver.addr);
    sent.expect_success();
    assert_eq!(sent.events().last().unwrap()["event"], "done");
    receiver.process.finish(PATIENCE).expect_success();
    assert!(read(&scene.dst.join("file")) == read(&file));

    fs::create_dir(scene.src.join("other")).unwrap();
    let other = make(&scene.src, "other/file", 500);
    let receiver = scene.receiver_with(&["--rename"]);
    let sent = scene.send_with(&["--no-json"], &[&other], receiver.addr);
    sent.expect_success().expect_out(&["file (1)", "verified"]);
    receiver.process.finish(PATIENCE).expect_success();
}

#[test]
fn what_makes_no_sense_with_a_dash_does_not_count_with_it() {
    let scene = Scene::new();
    // Each ends before anything is done, as the file with the code is missing.
    let nothing = scene.path("nothing");
    let nothing = nothing.to_str().unwrap();
    fs::write(scene.src.join(WORD), "*.o\n").unwrap();
    for (command, line, refusal) in [
        ("recv", &["recv", "-", "--code-file", nothing][..], "is for a folder"),
        ("send", &["send", "-", "127.0.0.1:9", "--name", "x", "--code-file", nothing], "is for files"),
    ] {
        let names = long_options(&scene, command);
        let mut refused = 0;
        for name in names.iter().filter(|name| !FOR_ONE_RUN.contains(&name.as_str()) && *name != "code-file")
        {
            let Sample { on_line, in_file, .. } = sample(&scene, command, name);
            let on_line = scene.run(line.iter().copied().chain(on_line.iter().map(String::as_str)));
            let is_refused = on_line.err().contains(refusal);
            assert_eq!(on_line.code, Some(2), "{name}: {}", on_line.err());
            assert!(is_refused || on_line.err().contains(nothing), "{name}: {}", on_line.err());

            write(&scene, &format!("{name} = {in_file}\n"));
            let set = scene.run(line);
            assert!(set.code == Some(2) && set.err().contains(nothing), "{name}: {}", set.err());
            let set = option(&scene, &[], line, name);
            assert_eq!(set["origin"], if is_refused { "default" } else { "file" }, "{name}");
            refused += u8::from(is_refused);
            fs::remove_file(config_file(&scene)).unwrap();
        }
        assert!(refused >= 5, "{command}");
    }
}

#[test]
fn where_there_is_no_file_none_is_made_and_help_needs_none() {
    let scene = Scene::new();
    let folder = scene.path("config");
    fs::remove_dir(&folder).unwrap();
    config(&scene, &[], &[]);
    let shown = scene.run(["config"]).expect_success().out();
    assert!(
        shown.starts_with(&format!("file: {} (none)\n\nsend:\n", config_file(&scene).display())),
        "{shown}"
    );
    assert!(!folder.exists());
    fs::create_dir(&folder).unwrap();
    write(&scene, "nonsense");
    for line in
        [&["--help"][..], &["send", "--help"], &["help", "config"], &["completions", "bash"], &["--version"]]
    {
        scene.run(line).expect_success();
    }
}

#[test]
fn whoever_is_trusted_can_be_changed_whatever_is_set() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let bob = scene.path("bob");
    fs::write(bob.join("config.toml"), "[send]\nlimt = 1\n").unwrap();
    let trust = |line: &[&str], quiet: &str| {
        let mut command = scene.lanx_as("bob");
        command.arg("trust").args(line).env("LANX_QUIET", quiet);
        Process::spawn(command).finish(PATIENCE)
    };
    let output = trust(&[], "");
    output.expect_code(0).expect_out(&["paired, may send"]);
    assert!(output.err().contains("config.toml:2: send has no option limt"), "{}", output.err());
    let key = output.out().lines().nth(2).unwrap().split_whitespace().next().unwrap().to_owned();
    trust(&["remove", &key], "nonsense").expect_code(0).expect_out(&["may not send"]);
    trust(&[], "").expect_code(0).expect_out(&["no machine may send to this one"]);
}

/// Nothing is received with --clean, so nothing that is about receiving means anything.
#[test]
fn clean_takes_no_option_of_receiving_but_goes_with_what_is_set() {
    let scene = Scene::new();
    let mut options = long_options(&scene, "recv");
    options.retain(|name| {
        !["clean", "part-age", "help", "quiet", "verbose", "version"].contains(&name.as_str())
    });
    assert!(options.len() > 15, "{options:?}");
    for name in &options {
        let Sample { on_line, .. } = sample(&scene, "recv", name);
        let flag = format!("--{name}");
        let output = scene.run(["recv", "--clean", &on_line[0]]);
        assert_eq!(output.code, Some(2), "{flag}");
        assert!(output.err().contains("'--clean'") && output.err().contains(&flag), "{}", output.err());
    }
    write(&scene, "[recv]\noverwrite = true\nverify = 'reread'\ngrace = 1\njson = true\n");
    scene.run(["recv", "--clean"]).expect_success();
}

#[test]
fn config_shows_people_what_is_in_force_and_why() {
    let scene = Scene::new();
    write(&scene, "[send]\nlimit = '50M'\n");
    let mut command = scene.lanx();
    command.args(["config", "send", "--direct"]).env("LANX_SEND_DELTA", "true");
    let output = Process::spawn(command).finish(PATIENCE);
    let out = output.expect_success().out();
    let words: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in
        ["limit 50M line 2", "direct true command line", "delta true LANX_SEND_DELTA", "timeout 30 default"]
    {
        assert!(words.iter().any(|words| words.join(" ") == line), "{line:?} in {out}");
    }
    assert!(!out.contains("recv:"), "only what was asked for: {out}");
    scene.run(["config", "trust"]).expect_success();
    scene.run(["config", "send", "--help"]).expect_success().expect_out(&["--limit <RATE>"]);
    scene.run(["config", "completions"]).expect_complaint(2, &["completions is no command"]);
    scene.run(["config", "send", "--nonsense"]).expect_complaint(2, &["--nonsense"]);
}
