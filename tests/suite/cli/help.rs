//! What `lanx` says of itself: help, completions and manual pages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::*;

/// The commands that the help shows.
fn commands(scene: &Scene) -> Vec<String> {
    let help = scene.run(["-h"]).out();
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn help_fits_into_80_columns_and_the_short_one_has_a_line_for_each_option() {
    let scene = Scene::new();
    let commands = commands(&scene);
    assert!(commands.len() >= 7, "{commands:?}");
    for command in &commands {
        for flag in ["-h", "--help"] {
            let help = scene.run([command.as_str(), flag]).expect_success().out();
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{command} {flag}");
            assert!(help.contains("\nExamples:\n"), "{command} {flag}");
        }
        let short = scene.run([command.as_str(), "-h"]).out();
        // A line that goes on begins further to the right than any option.
        let options =
            short.lines().skip_while(|line| !line.ends_with(':')).take_while(|line| *line != "Examples:");
        let second = options.into_iter().find(|line| line.starts_with("         "));
        assert_eq!(second, None, "{command} -h");
        assert!(!short.contains("\nOptions:\n"), "an option of {command} without a heading: {short}");
    }
}

#[test]
fn every_command_and_topic_has_its_help() {
    let scene = Scene::new();
    for command in commands(&scene).iter().filter(|command| *command != "config") {
        let by_help = scene.run(["help", command]);
        assert_eq!(by_help.expect_success().out(), scene.run([command.as_str(), "--help"]).out());
    }
    scene
        .run(["help", "exit-codes"])
        .expect_success()
        .expect_out(&["4     not let in", "130, 6, 7, 4, 2, 3, 1, 5"]);
    scene.run(["help", "config"]).expect_success().expect_out(&[
        "config.toml",
        "--no-sync",
        "LANX_SEND_LIMIT",
    ]);
    assert_eq!(scene.run(["help"]).expect_success().out(), scene.run(["--help"]).out());
    let nonsense = scene.run(["help", "nonsense"]);
    nonsense.expect_code(2);
    let text = nonsense.err();
    assert!(text.contains("recv") && !text.split([' ', ',', ']']).any(|word| word == "man"), "{text}");
    let json = scene.run(["help", "json"]).expect_success().out();
    let schema = include_str!("../../../docs/events.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    for event in schema["oneOf"].as_array().unwrap() {
        let name = event["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        assert!(json.contains(name), "{name}");
    }
}

/// Runs a program if it is installed; `None` otherwise.
fn run(program: &str, args: &[&str], file: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).arg(file).env("LC_ALL", "C.UTF-8");
    match command.output() {
        Ok(output) => Some(Output {
            command: format!("{command:?}"),
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        }),
        Err(_) => None,
    }
}

#[test]
fn recv_says_when_it_waits_for_a_lost_sender() {
    let scene = Scene::new();
    for flag in ["-h", "--help"] {
        scene.run(["recv", flag]).expect_out(&["With --once, wait for a lost sender"]);
        scene.run(["send", flag]).expect_out(&["Keep trying a lost peer for this long"]);
    }
}

/// What is told of the program itself: all that these commands are for is on stdout.
const TELLING: [&[&str]; 9] = [
    &["--help"],
    &["--version"],
    &["help", "send"],
    &["help", "json"],
    &["completions", "bash"],
    &["trust"],
    &["config"],
    &["config", "--json"],
    &["config", "send", "--help"],
];

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let scene = Scene::new();
    for line in TELLING {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = scene.lanx();
        command.args(line);
        let output = Process::spawn_between(command, Stdio::null(), full).finish(PATIENCE);
        output.expect_code(1);
        let words = "standard output could not be written: no space left on device";
        assert_eq!(output.err().matches(words).count(), 1, "{line:?}: {}", output.err());
    }
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    let scene = Scene::new();
    for line in TELLING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scene.lanx();
        command.args(line);
        let output = Process::spawn_between(command, Stdio::null(), writer).finish(PATIENCE);
        assert_eq!((output.code, output.err().as_str()), (Some(0), ""), "{line:?}");
    }
}

#[test]
fn shells_take_their_completions() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.run(["completions", shell]).expect_success().out();
        for word in ["max-connections", "exit-codes", "recv", "code-file"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        let file = scene.path(shell);
        fs::write(&file, script).unwrap();
        if let Some(output) = run(shell, &["-n"], &file) {
            output.expect_success();
        }
    }
    scene.run(["completions", "tcsh"]).expect_code(2);
}

/// What bash offers at the end of `words`; nothing where it offers files. `None` without bash.
fn offered_by_bash(scene: &Scene, words: &[&str]) -> Option<String> {
    offered_by_bash_with(scene, "", words)
}

/// The same, where `own` was run before.
fn offered_by_bash_with(scene: &Scene, own: &str, words: &[&str]) -> Option<String> {
    let script = scene.path("complete");
    let [.., before, word] = words else { panic!("too few words") };
    let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let ask = format!(
        "COMP_WORDS=({line}); COMP_CWORD={}; \"$(complete -p lanx | sed 's/.*-F \\([^ ]*\\).*/\\1/')\" lanx '{word}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
        words.len() - 1
    );
    fs::write(&script, format!("{own}\n{}\n{ask}\n", scene.run(["completions", "bash"]).out())).unwrap();
    Some(run("bash", &["--norc"], &script)?.expect_success().out().trim().to_owned())
}

#[test]
fn bash_completes_options_commands_and_where_there_is_nothing_else_files() {
    let scene = Scene::new();
    for (words, offered) in [
        (&["lanx", "send", "--max"][..], "--max-connections"),
        (
            &["lanx", ""],
            "send recv serve get list manifest verify doctor trust cache config completions help",
        ),
        (&["lanx", "send", ""], ""),
        (&["lanx", "send", "file", ""], ""),
        (
            &["lanx", "help", ""],
            "send recv serve get list manifest verify doctor trust cache config completions help exit-codes json",
        ),
        (&["lanx", "completions", ""], "bash zsh fish"),
        (&["lanx", "config", ""], "send recv serve get list manifest verify doctor trust cache"),
    ] {
        let Some(found) = offered_by_bash(&scene, words) else { return };
        assert_eq!(found, offered, "{words:?}");
    }
}

#[test]
fn fish_completes_commands_topics_and_shells() {
    let scene = Scene::new();
    let script = scene.path("lanx.fish");
    for (line, offered) in [
        ("lanx ", "cache completions config doctor get help list manifest recv send serve trust verify"),
        ("lanx completions ", "bash fish zsh"),
        ("lanx config ", "cache doctor get list manifest recv send serve trust verify"),
        (
            "lanx help ",
            "cache completions config doctor exit-codes get help json list manifest recv send serve trust verify",
        ),
    ] {
        let text = scene.run(["completions", "fish"]).out();
        fs::write(&script, format!("{text}\ncomplete -C '{line}' | string replace -r '\\t.*' ''\ntrue\n"))
            .unwrap();
        let Some(output) = run("fish", &["--no-config"], &script) else { return };
        let text = output.expect_success().out();
        let mut words: Vec<&str> = text.lines().collect();
        words.sort_unstable();
        assert_eq!(words.join(" "), offered, "{line}");
    }
}

#[test]
fn zsh_completes_files_where_files_are_meant_and_machines_where_those_are() {
    let scene = Scene::new();
    let script = scene.run(["completions", "zsh"]).out();
    let ends = |start: &str, end: &str| {
        let mut lines = script.lines().filter(|line| line.contains(start)).peekable();
        assert!(lines.peek().is_some(), "{start}");
        assert!(lines.all(|line| line.trim_end_matches(" \\").ends_with(end)), "{start} {end}");
    };
    ends("paths_and_host", ":_lanx_files_or_hosts'");
    ends("::dir --", ":_files -/'");
    ends("--to=", "]:HOST:_lanx_hosts'");
    ends(":machine --", ":_lanx_machines'");
    ends("--code-file=", ":_files'");
    ends("::line --", ":(send recv serve get list manifest verify doctor trust cache)'");
    assert!(!script.contains("(man)") && !script.contains("'man:"), "a hidden command is offered");
}

/// The scripts ask lanx for the machines: those that files were sent to, and those that may send.
#[test]
fn shells_offer_the_machines_that_this_user_knows() {
    let scene = Scene::new();
    scene.pair("config", "nas");
    let known = |what: &str, who: &str| {
        let mut command = scene.lanx_as(who);
        command.args(["completions", what]);
        Process::spawn(command).finish(PATIENCE).expect_success().out()
    };
    let hosts = known("hosts", "config");
    let host = hosts.trim_end();
    assert!(host.starts_with("127.0.0.1:") && hosts.lines().count() == 1, "{hosts}");
    assert_eq!(known("machines", "config"), hosts);
    assert_eq!(known("hosts", "nas"), "");
    // By the name that it gave itself.
    assert_eq!(known("machines", "nas").lines().count(), 1);

    let own = format!(
        "lanx() {{ LANX_CONFIG_DIR='{}' '{}' \"$@\"; }}",
        scene.path("config").display(),
        env!("CARGO_BIN_EXE_lanx")
    );
    for (words, offered) in [
        (&["lanx", "send", "file", "127"][..], host),
        (&["lanx", "send", "127"], ""),
        (&["lanx", "send", "file", "--to", ""], host),
        (&["lanx", "send", "file", "nas"], ""),
        (&["lanx", "doctor", ""], host),
        (&["lanx", "trust", "remove", ""], host),
    ] {
        let Some(found) = offered_by_bash_with(&scene, &own, words) else { return };
        assert_eq!(found, offered, "{words:?}");
    }
    let mut rename = scene.lanx_as("nas");
    let machine = known("machines", "nas");
    rename.args(["trust", "name", machine.trim_end(), "my laptop"]);
    Process::spawn(rename).finish(PATIENCE).expect_success();
    let theirs = own.replace(scene.path("config").to_str().unwrap(), scene.path("nas").to_str().unwrap());
    let found = offered_by_bash_with(&scene, &theirs, &["lanx", "trust", "remove", "my"]);
    assert_eq!(found.as_deref(), Some("my\\ laptop"));
    let script = scene.path("known.fish");
    let text = scene.run(["completions", "fish"]).out();
    let own = own
        .replace("() {", "")
        .replace("lanx LANX", "function lanx; env LANX")
        .replace("\"$@\"; }", "$argv; end");
    for line in ["lanx send file 127", "lanx send file --to 127", "lanx trust remove 127"] {
        fs::write(
            &script,
            format!("{own}\n{text}\ncomplete -C '{line}' | string replace -r '\\t.*' ''\ntrue\n"),
        )
        .unwrap();
        let Some(output) = run("fish", &["--no-config"], &script) else { return };
        assert_eq!(output.expect_success().out().lines().collect::<Vec<_>>(), [host], "{line}");
    }
}

#[test]
fn each_command_has_a_manual_page_that_formats_without_a_complaint() {
    let scene = Scene::new();
    let folder = scene.path("man");
    scene.run(["man".as_ref(), folder.as_os_str()]).expect_success();
    scene.run(["man".as_ref(), folder.as_os_str()]).expect_success();
    let mut names: Vec<String> = commands(&scene).iter().map(|command| format!("lanx-{command}.1")).collect();
    names.push("lanx.1".into());
    names.extend(["name", "set", "prune", "remove"].map(|action| format!("lanx-trust-{action}.1")));
    names.extend(["lanx-cache-prune.1", "lanx-cache-forget.1"].map(str::to_owned));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), names.len());
    for name in names {
        let page = folder.join(&name);
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        let own = if name.contains("trust-") || name.contains("cache-") { None } else { Some("EXAMPLES") };
        for section in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "FILES", "ENVIRONMENT"].into_iter().chain(own)
        {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{section} in {name}");
        }
        if let Some(output) = run("groff", &["-man", "-ww", "-Tutf8", "-rLL=78n", "-P-cbou"], &page) {
            assert_eq!((output.code, output.err().as_str()), (Some(0), ""), "{name}");
            assert!(output.out().contains("EXIT STATUS"), "{name}");
        }
    }
    let nowhere = scene.path("no/such");
    scene.run(["man".as_ref(), nowhere.as_os_str()]).expect_complaint(1, &[nowhere.to_str().unwrap()]);
}
