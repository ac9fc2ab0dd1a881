//! Where a user's key lives, and who may read it.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn run(mut command: Command, words: &[&str]) -> Output {
    command.args(words);
    Process::spawn(command).finish(PATIENCE)
}

#[test]
fn the_first_start_makes_a_key_of_mode_0600_in_a_folder_of_mode_0700() {
    let scene = Scene::new();
    let first = run(scene.lanx_as("new"), &["trust"]);
    first.expect_success().expect_out(&["this machine: SHA256:"]);
    assert_eq!(mode(&scene.path("new")), 0o700);
    assert_eq!(mode(&scene.path("new/identity.pem")), 0o600);
    assert_eq!(run(scene.lanx_as("new"), &["trust"]).out(), first.out());
}

#[test]
fn all_that_is_kept_of_others_is_for_its_user_alone() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    for who in ["alice", "bob"] {
        assert_eq!(mode(&scene.path(who).join("peers.toml")), 0o600);
        for name in listing(&scene.path(who)) {
            assert_eq!(mode(&scene.path(who).join(&name)) & 0o077, 0, "{name:?}");
            let content = fs::read(scene.path(who).join(&name)).unwrap();
            let told = content.windows(CODE.len()).any(|part| part == CODE.as_bytes());
            assert!(!told, "the code was left in {name:?}");
        }
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_by_every_command_with_the_remedy() {
    let scene = Scene::new();
    run(scene.lanx(), &["trust"]).expect_success();
    let key = scene.path("config/identity.pem");
    let file = make(&scene.src, "file", 5);
    for bits in [0o660, 0o604, 0o644] {
        fs::set_permissions(&key, Permissions::from_mode(bits)).unwrap();
        let remedy = format!("chmod 600 '{}'", key.display());
        run(scene.lanx(), &["trust"]).expect_complaint(1, &[&remedy]);
        run(scene.lanx(), &["recv", "--listen", "127.0.0.1:0"]).expect_complaint(1, &[&remedy]);
        run(scene.lanx(), &["send", file.to_str().unwrap(), "127.0.0.1:1"]).expect_complaint(1, &[&remedy]);
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    run(scene.lanx(), &["trust"]).expect_success();
}

#[test]
fn a_folder_that_others_can_write_to_and_a_key_that_is_a_link_are_refused() {
    let scene = Scene::new();
    run(scene.lanx_as("bob"), &["trust"]).expect_success();
    symlink(scene.path("bob/identity.pem"), scene.path("config/identity.pem")).unwrap();
    run(scene.lanx(), &["trust"]).expect_complaint(1, &["symbolic link"]);
    fs::set_permissions(scene.path("bob"), Permissions::from_mode(0o770)).unwrap();
    run(scene.lanx_as("bob"), &["trust"]).expect_complaint(2, &["chmod go-w"]);
}

#[test]
fn a_damaged_key_or_list_of_peers_is_an_error_and_never_replaced() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    for (name, command) in [("peers.toml", "trust"), ("identity.pem", "trust")] {
        let path = scene.path("bob").join(name);
        let whole = fs::read(&path).unwrap();
        let damaged = &whole[..whole.len() - 30];
        fs::write(&path, damaged).unwrap();
        run(scene.lanx_as("bob"), &[command]).expect_complaint(1, &[path.to_str().unwrap()]);
        assert_eq!(fs::read(&path).unwrap(), damaged);
        fs::write(&path, &whole).unwrap();
        run(scene.lanx_as("bob"), &[command]).expect_success();
    }
}

#[test]
fn a_receiver_does_not_start_with_a_damaged_list_of_peers() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let path = scene.path("bob/peers.toml");
    let whole = fs::read(&path).unwrap();
    let recv = ["recv", "--no-announce", "--listen", "127.0.0.1:0"];
    for bad in [&b"surprise"[..], b"surprise = 1", b"name = \"caf\xe9\""] {
        let before = whole.iter().filter(|byte| **byte == b'\n').count();
        fs::write(&path, [&whole, bad].concat()).unwrap();
        let line = format!("line {}: ", 1 + before);
        let words = [path.to_str().unwrap(), &line, "; repair it"];
        run(scene.lanx_as("bob"), &recv).expect_complaint(1, &words);
        run(scene.lanx_as("bob"), &["recv", "--json", "--listen", "127.0.0.1:0"]).expect_code(1);
    }
}

#[test]
fn a_list_of_peers_that_is_damaged_meanwhile_is_not_told_as_a_lost_connection() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let receiver = scene.receiver_of("bob", &[], None);
    let path = scene.path("bob/peers.toml");
    let whole = fs::read(&path).unwrap();
    let file = make(&scene.src, "file", 5);
    fs::write(&path, "surprise").unwrap();
    let output = scene.send_by("alice", None, &file, receiver.addr);
    output
        .expect_complaint(4, &["cannot read which machines may send to it; see what `lanx recv` says there"]);
    receiver.wait_for_stderr(path.to_str().unwrap());
    fs::write(&path, &whole).unwrap();
    scene.send_by("alice", None, &file, receiver.addr).expect_code(0);
}

#[test]
fn without_a_home_the_error_names_lanx_config_dir() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 5);
    for words in [&["trust"][..], &["recv"], &["send", file.to_str().unwrap(), "127.0.0.1:1"]] {
        let mut command = scene.lanx();
        for name in ["LANX_CONFIG_DIR", "XDG_CONFIG_HOME", "HOME"] {
            command.env_remove(name);
        }
        run(command, words).expect_complaint(2, &["LANX_CONFIG_DIR"]);
    }
}

#[test]
fn the_folder_is_found_by_its_own_variable_then_by_xdg_then_by_home() {
    let scene = Scene::new();
    let mut by_home = scene.lanx();
    by_home.env_remove("LANX_CONFIG_DIR");
    run(by_home, &["trust"]).expect_success();
    assert_eq!(mode(&scene.path("home/.config/lanx/identity.pem")), 0o600);
    let mut by_xdg = scene.lanx();
    by_xdg.env_remove("LANX_CONFIG_DIR").env("XDG_CONFIG_HOME", scene.path("xdg"));
    run(by_xdg, &["trust"]).expect_success();
    assert_eq!(mode(&scene.path("xdg/lanx/identity.pem")), 0o600);
    run(scene.lanx(), &["trust"]).expect_success();
    assert_eq!(mode(&scene.path("config/identity.pem")), 0o600);
}

#[test]
fn eight_first_starts_at_once_agree_on_one_identity() {
    let scene = Scene::new();
    let starts: Vec<Process> = (0..8)
        .map(|_| {
            let mut command = scene.lanx_as("new");
            command.arg("trust");
            Process::spawn(command)
        })
        .collect();
    let seen: HashSet<String> =
        starts.into_iter().map(|start| start.finish(PATIENCE).expect_success().out()).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(listing(&scene.path("new")), ["identity.pem"], "something was left behind");
}
