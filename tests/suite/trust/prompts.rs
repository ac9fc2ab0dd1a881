//! What happens between lanx and a person at a terminal: codes that are shown, typed and guessed at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::common::peer::{HandSender, identity};
use crate::common::*;
use lanx::wire::message::{Barred, ReceiverMessage};
use rustix::process::Signal;

const SHOWS: &str = "pairing code: ";
const ASKS: &str = "The code it shows: ";

fn letter(scene: &Scene) -> PathBuf {
    make_of(&scene.src, "letter.txt", b"dear friend")
}

fn assert_nothing_arrived(scene: &Scene) {
    assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
}

/// A receiver of the user bob on a terminal, and where it listens.
fn receiver_on_a_terminal(scene: &Scene) -> (Terminal, SocketAddr) {
    let mut command = scene.lanx_as("bob");
    command.args(["recv", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let terminal = Terminal::run(&command);
    let addr = terminal.wait_for_line("listening on ").parse().unwrap();
    (terminal, addr)
}

/// A sender of the user alice on a terminal.
fn sender_on_a_terminal(scene: &Scene, addr: SocketAddr) -> Terminal {
    let mut command = scene.lanx_as("alice");
    command.arg("send").arg(letter(scene)).arg(addr.to_string());
    Terminal::run(&command)
}

#[test]
fn the_code_that_a_receiver_shows_lets_in_whoever_types_it_at_the_prompt() {
    let scene = Scene::new();
    let (receiver, addr) = receiver_on_a_terminal(&scene);
    let code = receiver.wait_for_line(SHOWS);
    assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [3, 3, 3], "{code}");
    let mut sender = sender_on_a_terminal(&scene, addr);
    sender.wait_for(ASKS);
    // As people type it.
    sender.type_keys(&format!("{}\n", code.to_lowercase().replace('-', " ")));
    let (exit, screen) = sender.finish();
    assert_eq!(exit, Some(0), "{screen}");
    assert!(screen.contains("no code is needed from now on"), "{screen}");
    assert_arrived(&[letter(&scene)], &scene.dst);
    receiver.wait_for("paired with 127.0.0.1");

    let again = sender_on_a_terminal(&scene, addr).finish();
    assert_eq!(again.0, Some(0), "{}", again.1);
    assert!(!again.1.contains("code"), "asked again: {}", again.1);
}

#[test]
fn a_generated_code_is_another_one_at_each_start() {
    let scene = Scene::new();
    let codes = [(); 2].map(|()| receiver_on_a_terminal(&scene).0.wait_for_line(SHOWS));
    assert_ne!(codes[0], codes[1]);
}

#[test]
fn three_wrong_guesses_change_the_code_on_the_screen_and_end_the_old_one() {
    let scene = Scene::new();
    let (receiver, addr) = receiver_on_a_terminal(&scene);
    let old = receiver.wait_for_line(SHOWS);
    let mallory = identity(&scene.path("mallory"));
    for n in 2..5 {
        let from = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)));
        let answer = HandSender::guess(from, &mallory, addr, "000-000-000");
        assert_eq!(answer, ReceiverMessage::Barred(Barred::WrongCode));
    }
    let new = receiver.wait_for_line("so there is a new one: ");
    assert_ne!(new, old);

    // Everybody has to wait a little after that; each try from an address of its own until one is heard.
    let alice = identity(&scene.path("alice"));
    let mut address = u32::from(Ipv4Addr::new(127, 0, 1, 10));
    let mut try_until_heard = |code: &str| {
        let mut answer = None;
        wait_until("a guess is heard", PATIENCE, || {
            address += 1;
            let from = Some(IpAddr::V4(Ipv4Addr::from(address)));
            let now = HandSender::guess(from, &alice, addr, code);
            let heard = !matches!(now, ReceiverMessage::Barred(Barred::Later { .. }));
            answer = Some(now);
            heard
        });
        answer.unwrap()
    };
    assert_eq!(try_until_heard(&old), ReceiverMessage::Barred(Barred::WrongCode));
    assert!(matches!(try_until_heard(&new), ReceiverMessage::Proof { .. }));
}

#[test]
fn a_mistyped_code_is_asked_for_again() {
    let scene = Scene::new();
    let (receiver, addr) = receiver_on_a_terminal(&scene);
    let code = receiver.wait_for_line(SHOWS);
    let mut sender = sender_on_a_terminal(&scene, addr);
    let told = ["8 characters", "that is not the code that 127.0.0.1", "paired with"];
    for (times, (typed, told)) in (1..).zip(["short", "000-000-000", &code].into_iter().zip(told)) {
        sender.wait_for_times(ASKS, times);
        sender.type_keys(&format!("{typed}\n"));
        sender.wait_for(told);
    }
    let (exit, screen) = sender.finish();
    assert_eq!(exit, Some(0), "{screen}");
    assert_arrived(&[letter(&scene)], &scene.dst);
}

#[test]
fn three_wrong_codes_at_the_prompt_end_with_exit_code_4_and_send_nothing() {
    for typed in ["000-000-000\n", "short\n", "\n"] {
        let scene = Scene::new();
        let (_receiver, addr) = receiver_on_a_terminal(&scene);
        let mut sender = sender_on_a_terminal(&scene, addr);
        for times in 1..=3 {
            sender.wait_for_times(ASKS, times);
            sender.type_keys(typed);
        }
        let (exit, screen) = sender.finish();
        assert_eq!(exit, Some(4), "{typed:?}: {screen}");
        assert_nothing_arrived(&scene);
    }
}

#[test]
fn whoever_types_no_more_is_not_asked_again() {
    let scene = Scene::new();
    let (_receiver, addr) = receiver_on_a_terminal(&scene);
    let mut sender = sender_on_a_terminal(&scene, addr);
    sender.wait_for(ASKS);
    sender.type_keys("\x04");
    let (exit, screen) = sender.finish();
    assert_eq!((exit, screen.matches(ASKS).count()), (Some(4), 1), "{screen}");
}

#[test]
fn what_other_receivers_say_waits_until_a_question_is_answered() {
    let scene = Scene::new();
    let (asks, addr) = receiver_on_a_terminal(&scene);
    let code = asks.wait_for_line(SHOWS);
    let own = scene.path("own");
    std::fs::create_dir(&own).unwrap();
    let knows = Receiver::start_as(scene.lanx_as("alice"), "127.0.0.1:0", &[], &own);
    let mut command = scene.lanx_as("alice");
    command.arg("send").arg(letter(&scene));
    command.args(["--to", &knows.addr.to_string(), "--to", &addr.to_string()]);
    let mut sender = Terminal::run_sized(&command, 100, 24);
    sender.wait_for(ASKS);
    sender.type_keys(&code[..4]);
    knows.wait_for_stdout("letter.txt: 1 file, ");
    sender.type_keys(&code[4..]);
    sender.wait_for(&code);
    sender.type_keys("\n");
    assert_eq!(sender.wait(), Some(0));
    let lines = sender.shows(100, 24);
    assert_eq!(lines[0], format!("First transfer to {addr}. The code it shows: {code}"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("1 file, 11 B in")).count(), 2, "{lines:?}");
}

#[test]
fn ctrl_c_at_the_prompt_ends_with_exit_code_130_and_sends_nothing() {
    let scene = Scene::new();
    let (_receiver, addr) = receiver_on_a_terminal(&scene);
    let mut sender = sender_on_a_terminal(&scene, addr);
    sender.wait_for(ASKS);
    sender.press_ctrl_c();
    let (exit, screen) = sender.finish();
    assert_eq!(exit, Some(130), "{screen}");
    assert_nothing_arrived(&scene);
}

#[test]
fn a_person_is_asked_before_anything_goes_to_an_open_receiver_never_seen_before() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &["--open"], None);
    let fingerprint = identity(&scene.path("bob")).fingerprint().to_string();
    for (typed, exit, arrived) in [("\n", 4, false), ("n\n", 4, false), ("y\n", 0, true)] {
        let mut sender = sender_on_a_terminal(&scene, receiver.addr);
        sender.wait_for("[y/N] ");
        assert!(sender.screen().contains(&fingerprint), "{}", sender.screen());
        sender.type_keys(typed);
        let (code, screen) = sender.finish();
        assert_eq!(code, Some(exit), "{typed:?}: {screen}");
        assert_eq!(scene.dst.join("letter.txt").exists(), arrived, "{typed:?}");
    }
    let (code, screen) = sender_on_a_terminal(&scene, receiver.addr).finish();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("[y/N]"), "asked again: {screen}");
}

#[test]
fn a_yes_holds_for_the_key_that_was_shown_and_for_no_other() {
    let scene = Scene::new();
    let honest = scene.receiver_of("bob", &["--open"], None);
    let taken = scene.path("taken");
    std::fs::create_dir(&taken).unwrap();
    let false_one = Receiver::start_as(scene.lanx_as("mallory"), "127.0.0.1:0", &["--open"], &taken);
    let [bob, mallory] = ["bob", "mallory"].map(|who| identity(&scene.path(who)).fingerprint().to_string());
    let relay = Relay::to(honest.addr);
    let mut sender = sender_on_a_terminal(&scene, relay.addr);
    sender.wait_for("[y/N] ");
    assert!(sender.screen().contains(&bob), "{}", sender.screen());
    relay.lead_to(false_one.addr);
    sender.type_keys("y\n");
    let (code, screen) = sender.finish();
    assert_eq!(code, Some(4), "{screen}");
    assert!(screen.contains("ANSWERED WITH ANOTHER KEY") && screen.contains(&mallory), "{screen}");
    assert_nothing_arrived(&scene);
    assert_eq!(listing(&taken), Vec::<std::ffi::OsString>::new());
}

#[test]
fn a_code_from_the_environment_is_neither_shown_nor_asked_for() {
    let scene = Scene::new();
    let mut command = scene.lanx_as("bob");
    command.args(["recv", "-vv", "--listen", "127.0.0.1:0"]).arg(&scene.dst).env("LANX_CODE", CODE);
    let receiver = Terminal::run(&command);
    let addr: SocketAddr = receiver.wait_for_line("listening on ").parse().unwrap();
    let mut command = scene.lanx_as("alice");
    command.args(["send", "-vv"]).arg(letter(&scene)).arg(addr.to_string()).env("LANX_CODE", CODE);
    command.env("RUST_LOG", "trace");
    let (exit, screen) = Terminal::run(&command).finish();
    assert_eq!(exit, Some(0), "{screen}");
    receiver.wait_for("paired with");
    for shown in [screen, receiver.screen()] {
        assert!(!shown.contains(CODE) && !shown.contains("The code"), "{shown}");
    }
}

#[test]
fn what_was_typed_before_the_question_is_no_yes_to_it() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &["--open"], None);
    // The sender waits for its greeting until there is something typed.
    receiver.process.signal(Signal::STOP);
    let mut sender = sender_on_a_terminal(&scene, receiver.addr);
    sender.type_keys("y\n");
    sender.wait_for("y\n");
    receiver.process.signal(Signal::CONT);
    sender.wait_for("[y/N] ");
    sender.type_keys("n\n");
    let (exit, screen) = sender.finish();
    assert_eq!(exit, Some(4), "{screen}");
    assert_nothing_arrived(&scene);
}
