//! What a person sees while something moves: on terminals of several sizes, through Ctrl-C, and on what is no terminal.

use std::ffi::OsStr;
use std::process::Command;

use crate::common::*;
use rustix::process::Signal;

const MIB: usize = 1 << 20;
const SIZES: [(u16, u16); 3] = [(40, 10), (80, 24), (200, 50)];

/// `lanx ARGS` for a terminal that can draw.
fn on_screen<A: AsRef<OsStr>>(scene: &Scene, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = scene.lanx();
    command.env("TERM", "xterm").env("LANG", "C.UTF-8").args(args);
    for name in ["NO_COLOR", "CLICOLOR"] {
        command.env_remove(name);
    }
    command
}

fn has(lines: &[String], words: &[&str]) -> bool {
    lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

/// No line of a transfer under way.
fn is_tidy(lines: &[String]) -> bool {
    !lines
        .iter()
        .any(|line| line.contains("sending") || line.contains("receiving  ") || line.contains("  file 6"))
}

#[test]
fn the_total_and_the_file_are_shown_at_any_size_and_only_the_result_stays() {
    for (columns, rows) in SIZES {
        let scene = Scene::new();
        let receiver = scene.receiver();
        make(&scene.src, "file", 4 * MIB);
        // Held while it is looked at, however long that takes; over one connection only one chunk has come in part.
        let relay = Relay::holding_after(receiver.addr, 3 * MIB as u64);
        let args = ["send", "-c", "1", "file", &relay.addr.to_string()];
        let mut terminal = Terminal::run_sized(&on_screen(&scene, args), columns, rows);
        let lines = terminal.wait_until_shown(columns, rows, |lines| {
            has(lines, &["sending", "68%", "no answer"]) && has(lines, &["  file 68%"])
        });
        assert_eq!(lines.len(), 2, "{columns}: {lines:?}");
        relay.release();
        assert_eq!(terminal.wait(), Some(0));
        let lines = terminal.shows(columns, rows);
        assert!(is_tidy(&lines), "{columns}: {lines:?}");
        let text = lines.join("");
        assert!(text.contains("  file✓ 1 file, 4.19 MB in "), "{columns}: {text}");
    }
}

#[test]
fn with_colours_it_is_the_same_text_as_without() {
    for (name, value, colours) in [
        ("LANG", "C.UTF-8", true),
        ("NO_COLOR", "1", false),
        ("CLICOLOR", "0", false),
        ("NO_COLOR", "", true),
    ] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        make(&scene.src, "file", 4 * MIB);
        let relay = Relay::holding_after(receiver.addr, 3 * MIB as u64);
        let mut command = on_screen(&scene, ["send", "file", &relay.addr.to_string()]);
        command.env(name, value);
        let mut terminal = Terminal::run_sized(&command, 80, 24);
        terminal.wait_until_shown(80, 24, |lines| has(lines, &["sending", "%"]));
        assert_eq!(
            terminal.screen().contains("\x1b[32m"),
            colours,
            "{name}={value}: {:?}",
            terminal.screen()
        );
        relay.release();
        assert_eq!(terminal.wait(), Some(0));
    }
}

#[test]
fn without_unicode_and_colours_it_is_plain_text() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    make(&scene.src, "file", 4 * MIB);
    let relay = Relay::holding_after(receiver.addr, 3 * MIB as u64);
    let mut command = on_screen(&scene, ["send", "-c", "1", "file", &relay.addr.to_string()]);
    command.env("LANG", "C").env("NO_COLOR", "1");
    let mut terminal = Terminal::run_sized(&command, 80, 24);
    terminal.wait_until_shown(80, 24, |lines| has(lines, &["sending  ======", ">-----", "68%"]));
    relay.release();
    assert_eq!(terminal.wait(), Some(0));
    let (screen, lines) = (terminal.screen(), terminal.shows(80, 24));
    assert!(screen.is_ascii() && !screen.contains("\x1b[3"), "{screen:?}");
    assert!(lines.iter().any(|line| line.starts_with("1 file, 4.19 MB in ")), "{lines:?}");
}

#[test]
fn files_are_counted_without_the_folders_that_they_are_in() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let folder = scene.src.join("folder");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    for (name, size) in [("a", 3), ("b", 3), ("inner/c", 3), ("large", 4 * MIB)] {
        make(&folder, name, size);
    }
    let relay = Relay::holding_after(receiver.addr, 3 * MIB as u64);
    let args = ["send", "folder", &relay.addr.to_string()];
    let mut terminal = Terminal::run_sized(&on_screen(&scene, args), 120, 24);
    terminal.wait_until_shown(120, 24, |lines| has(lines, &["sending", "/4 files"]));
    relay.release();
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn keys_that_are_typed_meanwhile_do_not_stand_in_it_and_afterwards_they_are_shown_again() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    make(&scene.src, "file", 4 * MIB);
    let relay = Relay::holding_after(receiver.addr, 3 * MIB as u64);
    let lanx = on_screen(&scene, ["send", "file", &relay.addr.to_string()]);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#""$@"; stty -a"#, "sh"]).arg(lanx.get_program()).args(lanx.get_args());
    shell.current_dir(lanx.get_current_dir().unwrap());
    shell.envs(lanx.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = Terminal::run_sized(&shell, 80, 24);
    terminal.wait_until_shown(80, 24, |lines| has(lines, &["sending", "%"]));
    terminal.type_keys("litter\n");
    let shown = terminal.shows(80, 24);
    terminal.wait_until_shown(80, 24, |lines| lines != shown && has(lines, &["sending", "no answer"]));
    relay.release();
    assert_eq!(terminal.wait(), Some(0));
    let screen = terminal.screen();
    assert!(!screen.contains("litter"), "{screen:?}");
    assert!(screen.contains(" echo ") && !screen.contains("-echo "), "{screen:?}");
}

#[test]
fn where_nothing_can_be_drawn_nothing_is() {
    for term in ["dumb", ""] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        make(&scene.src, "file", 3 * MIB);
        let mut command = on_screen(&scene, ["send", "--limit", "3M", "file", &receiver.addr.to_string()]);
        command.env("TERM", term);
        let (code, screen) = Terminal::run_sized(&command, 80, 24).finish();
        assert_eq!(code, Some(0));
        assert!(!screen.contains('\x1b') && screen.lines().count() == 2, "{screen:?}");
    }
}

#[test]
fn ctrl_c_leaves_one_line_for_each_receiver_that_says_what_is_kept_and_how_to_go_on() {
    let scene = Scene::new();
    let (near, far) = (scene.receiver(), scene.receiver());
    make(&scene.src, "file", 64 * MIB);
    let (a, b) = (near.addr.to_string(), far.addr.to_string());
    let args = ["send", "--limit", "2M", "file", "--to", &a, "--to", &b];
    let mut terminal = Terminal::run_sized(&on_screen(&scene, args), 120, 24);
    terminal.wait_until_shown(120, 24, |lines| has(lines, &[&a, "sending"]) && has(lines, &[&b, "sending"]));
    terminal.press_ctrl_c();
    assert_eq!(terminal.wait(), Some(130));
    let mut lines = terminal.shows(120, 24);
    lines.sort();
    assert!(lines.len() == 2 && is_tidy(&lines), "{lines:?}");
    for receiver in [&a, &b] {
        let words =
            [receiver, "interrupted; ", " of 67.1 MB had arrived; run the same command again to go on"];
        assert!(has(&lines, &words), "{lines:?}");
    }
}

#[test]
fn a_receiver_shows_each_transfer_with_who_sends_it_and_leaves_a_line_of_each() {
    let scene = Scene::new();
    let mut command = scene.lanx_as("bob");
    command.env("TERM", "xterm").env("LANG", "C.UTF-8").env("LANX_CODE", CODE);
    command.args(["recv", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let mut terminal = Terminal::run_sized(&command, 120, 24);
    let addr = terminal.wait_for_line("listening on ");
    let files = [make(&scene.src, "file-a", 5 * MIB), make(&scene.src, "file-b", 5 * MIB)];
    let relays = [0, 1].map(|_| Relay::holding_after(addr.parse().unwrap(), 3 * MIB as u64));
    let one = ["-c", "1"];
    let alice = scene.start_send_by("alice", &one, Some(CODE), &files[0], relays[0].addr);
    // The same key as the receiver's needs no name.
    let bob = scene.start_send_by("bob", &one, None, &files[1], relays[1].addr);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let known = format!("{name} (127.0.0.1)  receiving");
    terminal.wait_until_shown(120, 24, |lines| {
        let own = lines.iter().any(|line| line.starts_with("127.0.0.1  receiving"));
        own && has(lines, &[&known]) && has(lines, &["  file-a 55%"]) && has(lines, &["  file-b 55%"])
    });
    relays.iter().for_each(Relay::release);
    alice.finish(PATIENCE).expect_code(0);
    bob.finish(PATIENCE).expect_success();
    let lines = terminal.wait_until_shown(120, 24, |lines| {
        lines.iter().filter(|line| line.ends_with(", verified")).count() == 2 && is_tidy(lines)
    });
    assert!(has(&lines, &[&format!("from {name} (127.0.0.1): file-a: 1 file, 5.24 MB in ")]), "{lines:?}");
    assert!(has(&lines, &["from 127.0.0.1: file-b: 1 file, 5.24 MB in "]), "{lines:?}");
    terminal.press_ctrl_c();
    assert_eq!(terminal.wait(), Some(130));
}

#[test]
fn a_receiver_that_is_interrupted_says_what_is_kept() {
    let scene = Scene::new();
    let args = ["recv", "--listen", "127.0.0.1:0", scene.dst.to_str().unwrap()];
    let mut terminal = Terminal::run_sized(&on_screen(&scene, args), 120, 24);
    let addr = terminal.wait_for_line("listening on ");
    let sender = scene.start_send(&["--limit", "2M"], &[make(&scene.src, "file", 64 * MIB)], &addr);
    terminal.wait_until_shown(120, 24, |lines| has(lines, &["receiving  ", "%"]));
    terminal.press_ctrl_c();
    assert_eq!(terminal.wait(), Some(130));
    let lines = terminal.shows(120, 24);
    assert!(is_tidy(&lines), "{lines:?}");
    assert!(
        has(
            &lines,
            &[
                "127.0.0.1: interrupted; stopped at ",
                " of 67.1 MB (file); it resumes when 127.0.0.1 sends again"
            ]
        ),
        "{lines:?}"
    );
    let sent = sender.finish(PATIENCE);
    sent.expect_complaint(3, &["gave up: the receiver was stopped; ", "run the same command again to go on"]);
}

/// Interrupts a sender whose receiver does not listen, and does so again while it waits; its last lines.
fn interrupted_twice() -> Vec<String> {
    let scene = Scene::new();
    let receiver = scene.receiver();
    make(&scene.src, "file", 16 * MIB);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let args = ["send", "file", &relay.addr.to_string()];
    let mut terminal = Terminal::run_sized(&on_screen(&scene, args), 120, 24);
    terminal.wait_until_shown(120, 24, |lines| has(lines, &["sending", "%"]));
    receiver.process.signal(Signal::STOP);
    terminal.press_ctrl_c();
    // The other side is to be told, and does not listen.
    terminal.wait_for("Ctrl-C again ends at once");
    terminal.press_ctrl_c();
    assert_eq!(terminal.wait(), Some(130));
    let lines = terminal.shows(120, 24);
    assert!(is_tidy(&lines), "{lines:?}");
    lines
}

#[test]
fn a_second_ctrl_c_waits_for_nobody() {
    // It waits for two seconds, and a test that is kept from running comes too late, which says nothing. Not each time.
    let waited = |lines: &Vec<String>| has(lines, &["had arrived"]);
    let shown: Vec<Vec<String>> = (0..10).map(|_| interrupted_twice()).take_while(waited).collect();
    assert!(shown.len() < 10, "it waited after all: {shown:?}");
}

#[test]
fn a_stop_that_takes_long_is_told_of_but_not_with_quiet() {
    for quiet in [false, true] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        make(&scene.src, "file", 16 * MIB);
        let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
        let flag = if quiet { "--quiet" } else { "--timeout=60" };
        let args = ["send", flag, "file", &relay.addr.to_string()];
        let mut terminal = Terminal::run(&on_screen(&scene, args));
        relay.wait_until_held();
        // It hears nobody's goodbye.
        receiver.process.signal(Signal::STOP);
        terminal.press_ctrl_c();
        let (exit, screen) = terminal.finish();
        assert_eq!(exit, Some(130), "{screen}");
        assert_eq!(screen.contains("stopping; Ctrl-C again"), !quiet, "{screen}");
    }
}
