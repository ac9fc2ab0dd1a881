//! Who is let in: the same user, whoever was paired, and whoever knows the code; nobody else.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::common::peer::{HandSender, identity};
use crate::common::*;
use lanx::trust::dir::ConfigDir;
use lanx::trust::peer_store::PeerStore;
use lanx::wire::message::{Barred, ReceiverMessage};

fn letter(scene: &Scene) -> PathBuf {
    make_of(&scene.src, "letter.txt", b"dear friend")
}

fn assert_nothing_arrived(scene: &Scene) {
    assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
}

fn code_file(scene: &Scene, mode: u32) -> PathBuf {
    let path = scene.path("code file");
    fs::write(&path, format!("{CODE}\nthis line is no part of it\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_same_user_needs_no_code_and_no_flag() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = letter(&scene);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn lanx_code_on_both_sides_lets_a_machine_in_and_is_needed_only_once() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let file = letter(&scene);
    let first = scene.send_by("alice", Some(CODE), &file, receiver.addr);
    first.expect_code(0);
    assert!(first.err().contains("no code is needed from now on"), "{}", first.err());
    receiver.wait_for_stdout("paired with 127.0.0.1");
    assert_arrived(&[&file], &scene.dst);

    let second = scene.send_by("alice", None, &file, receiver.addr);
    second.expect_success().expect_out(&["already there"]);
    drop(receiver);
    // Another receiver of the same user, at another address and without any code.
    let receiver = scene.receiver_of("bob", &[], None);
    scene.send_by("alice", None, &file, receiver.addr).expect_code(0);
}

#[test]
fn a_code_file_on_both_sides_lets_a_machine_in_and_is_needed_only_once() {
    let scene = Scene::new();
    let code = code_file(&scene, 0o600);
    let flags = ["--code-file", code.to_str().unwrap()];
    let receiver = scene.receiver_of("bob", &flags, None);
    let file = letter(&scene);
    scene.start_send_by("alice", &flags, None, &file, receiver.addr).finish(PATIENCE).expect_code(0);
    scene.send_by("alice", None, &file, receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_code_file_is_taken_as_orchestrators_mount_it() {
    let scene = Scene::new();
    // Two links, the outer one of which is changed for a new version; the group may read what is root's.
    let version = scene.path("..2026_11_30");
    fs::create_dir(&version).unwrap();
    let mode = if rustix::process::geteuid().is_root() { 0o440 } else { 0o400 };
    fs::write(version.join("code"), CODE).unwrap();
    fs::set_permissions(version.join("code"), Permissions::from_mode(mode)).unwrap();
    symlink("..2026_11_30", scene.path("..data")).unwrap();
    symlink("..data/code", scene.path("code")).unwrap();
    let code = scene.path("code");
    let flags = ["--code-file", code.to_str().unwrap()];
    let receiver = scene.receiver_of("bob", &flags, None);
    let file = letter(&scene);
    scene.start_send_by("alice", &flags, None, &file, receiver.addr).finish(PATIENCE).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_code_file_that_others_can_read_is_refused() {
    let scene = Scene::new();
    let code = code_file(&scene, 0o644);
    let file = letter(&scene);
    let flags = ["--code-file", code.to_str().unwrap()];
    let sent = scene.start_send_by("alice", &flags, None, &file, "127.0.0.1:1").finish(PATIENCE);
    sent.expect_complaint(2, &["chmod 600", code.to_str().unwrap()]);
}

#[test]
fn a_code_that_cannot_be_used_is_a_wrong_configuration_at_either_end() {
    let scene = Scene::new();
    let file = letter(&scene);
    let short = code_file(&scene, 0o600);
    fs::write(&short, "\n").unwrap();
    let (short, missing, folder) = (short.display().to_string(), scene.path("no code"), scene.path("folder"));
    let (missing, folder) = (missing.display().to_string(), folder.display().to_string());
    fs::create_dir(&folder).unwrap();
    let by_file = |path| (["--code-file", path].to_vec(), None);
    for ((flags, code), words) in [
        (by_file(&*short), [&*short, "at least 8 characters"]),
        (by_file(&*missing), [&*missing, "there is no file"]),
        (by_file(&*folder), [&*folder, "not a regular file"]),
        ((vec![], Some("short")), ["LANX_CODE", "at least 8 characters"]),
    ] {
        let sent = scene.start_send_by("alice", &flags, code, &file, "127.0.0.1:1").finish(PATIENCE);
        sent.expect_complaint(2, &words);
        assert!(!sent.err().contains("chmod") && !sent.err().contains("os error"), "{}", sent.err());
        let mut command = scene.lanx_as("bob");
        code.map(|code| command.env("LANX_CODE", code));
        command.args(["recv", "--listen", "127.0.0.1:0"]).args(&flags);
        Process::spawn(command).finish(PATIENCE).expect_complaint(2, &words);
    }
}

#[test]
fn a_stranger_without_code_and_terminal_is_sent_away_at_once_and_told_three_ways_out() {
    let scene = Scene::new();
    let file = letter(&scene);
    for code in [None, Some(CODE)] {
        let receiver = scene.receiver_of("bob", &[], code);
        let sent = scene.send_by("alice", None, &file, receiver.addr);
        sent.expect_complaint(4, &["terminal", "LANX_CODE", "--code-file", "copy your identity"]);
        if code.is_none() {
            receiver.wait_for_stderr("no code is offered");
            let fingerprint = identity(&scene.path("alice")).fingerprint().to_string();
            assert!(receiver.process.stderr.text().contains(&fingerprint));
        }
        assert_nothing_arrived(&scene);
    }
}

#[test]
fn a_receiver_without_code_and_terminal_offers_no_code() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], None);
    let mut sender = HandSender::connect(None, &identity(&scene.path("alice")), receiver.addr).unwrap();
    assert_eq!(sender.hello(1).unwrap(), ReceiverMessage::Barred(Barred::NoCode));
    assert!(!receiver.process.stdout.text().contains("code"), "{}", receiver.process.story());
}

#[test]
fn a_wrong_code_is_refused_writes_nothing_and_the_receiver_goes_on() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let file = letter(&scene);
    let wrong = scene.send_by("mallory", Some("not the right code"), &file, receiver.addr);
    wrong.expect_complaint(4, &["does not have that code"]);
    receiver.wait_for_stderr("its code was wrong");
    assert_nothing_arrived(&scene);
    // Nor is the guesser let in afterwards, and what was remembered lets nobody else in.
    scene.send_by("mallory", None, &file, receiver.addr).expect_code(4);
    scene.pair("alice", "bob");
    scene.send_by("alice", None, &file, receiver.addr).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_right_code_straight_after_a_wrong_one_is_taken() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let (mallory, alice) = (identity(&scene.path("mallory")), identity(&scene.path("alice")));
    let wrong = HandSender::guess(None, &mallory, receiver.addr, "not the right code");
    assert_eq!(wrong, ReceiverMessage::Barred(Barred::WrongCode));
    let right = HandSender::guess(None, &alice, receiver.addr, CODE);
    assert!(matches!(right, ReceiverMessage::Proof { .. }), "{right:?}");
}

#[test]
fn three_wrong_guesses_make_everybody_wait_and_a_sender_waits_by_itself() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let mallory = identity(&scene.path("mallory"));
    for n in 2..5 {
        let from = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)));
        let answer = HandSender::guess(from, &mallory, receiver.addr, "not the right code");
        assert_eq!(answer, ReceiverMessage::Barred(Barred::WrongCode));
    }
    let file = letter(&scene);
    let flags = ["--retry-for", "0"];
    let sent = scene.start_send_by("alice", &flags, Some(CODE), &file, receiver.addr).finish(PATIENCE);
    sent.expect_complaint(4, &["too many wrong codes", "try again in"]);
    assert_nothing_arrived(&scene);
    let sent = scene.send_by("alice", Some(CODE), &file, receiver.addr);
    sent.expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_code_is_never_an_argument() {
    let scene = Scene::new();
    let file = letter(&scene);
    for flag in ["--code", "--password", "-p"] {
        scene
            .run(["send".as_ref(), flag.as_ref(), CODE.as_ref(), file.as_os_str(), "a".as_ref()])
            .expect_code(2);
        scene.run(["recv", flag, CODE]).expect_code(2);
    }
    for command in ["send", "recv"] {
        let help = scene.run([command, "--help"]).out();
        assert!(help.contains("--code-file <FILE>") && !help.contains("--code "), "{help}");
    }
}

#[test]
fn an_open_receiver_says_so_on_each_start_and_lets_everybody_in() {
    const WARNING: &str = "everybody who can reach this port can send files here";
    let scene = Scene::new();
    let file = letter(&scene);
    for who in ["alice", "carol"] {
        let receiver = scene.receiver_of("bob", &["--open"], None);
        receiver.wait_for_stderr(WARNING);
        let sent = scene.send_by(who, None, &file, receiver.addr);
        sent.expect_code(0);
        assert!(sent.err().contains("is remembered from now on"), "{}", sent.err());
    }
    assert_arrived(&[&file], &scene.dst);
    let mut quiet = scene.lanx_as("bob");
    quiet.args(["recv", "--quiet", "--open", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let quiet = Process::spawn(quiet);
    wait_until("a quiet receiver says that it is open", PATIENCE, || quiet.stderr.text().contains(WARNING));
}

#[test]
fn a_changed_key_is_refused_loudly_until_the_user_removes_the_old_one() {
    let scene = Scene::new();
    let file = letter(&scene);
    let receiver = scene.receiver_of("bob", &["--open"], None);
    let relay = Relay::to(receiver.addr);
    let addr = relay.addr;
    scene.send_by("alice", None, &file, addr).expect_code(0);
    drop(receiver);
    fs::remove_file(scene.dst.join("letter.txt")).unwrap();

    let mut mallory = scene.lanx_as("mallory");
    mallory.env("LANX_CODE", CODE);
    let receiver = Receiver::start_as(mallory, "127.0.0.1:0", &["--open"], &scene.dst);
    relay.lead_to(receiver.addr);
    let [was, now] = ["bob", "mallory"].map(|who| identity(&scene.path(who)).fingerprint().to_string());
    let way_out = format!("lanx trust remove {addr}");
    // Not even the right code is proved to a key that changed.
    for code in [None, Some(CODE)] {
        let sent = scene.send_by("alice", code, &file, addr);
        sent.expect_complaint(4, &["HAS CHANGED", &was, &now, &way_out]);
        assert_nothing_arrived(&scene);
    }

    let mut remove = scene.lanx_as("alice");
    remove.args(["trust", "remove", &addr.to_string()]);
    Process::spawn(remove).finish(PATIENCE).expect_success().expect_out(&["is forgotten"]);
    scene.send_by("alice", None, &file, addr).expect_code(0);
    drop(receiver);
    assert_arrived(&[&file], &scene.dst);
}

fn peer_store(scene: &Scene, who: &str) -> PeerStore {
    PeerStore::new(&ConfigDir::at(&scene.path(who)).unwrap())
}

fn trust(scene: &Scene, who: &str, words: &[&str]) -> Output {
    let mut command = scene.lanx_as(who);
    command.arg("trust").args(words);
    Process::spawn(command).finish(PATIENCE)
}

#[test]
fn trust_lists_names_and_removes_and_a_removed_machine_is_not_let_in_any_more() {
    let scene = Scene::new();
    trust(&scene, "bob", &[]).expect_success().expect_out(&["no machine may send to this one"]);
    scene.pair("alice", "bob");
    let alice = identity(&scene.path("alice")).fingerprint().to_string();
    let bob = identity(&scene.path("bob")).fingerprint().to_string();
    trust(&scene, "bob", &[]).expect_success().expect_out(&[&alice, &bob, "127.0.0.1"]);
    trust(&scene, "alice", &[]).expect_out(&[
        "receivers whose key is known",
        &bob,
        "no machine may send to this one",
    ]);

    trust(&scene, "bob", &["name", &alice, "laptop of alice"]).expect_success();
    trust(&scene, "bob", &[]).expect_out(&["laptop of alice"]);
    trust(&scene, "bob", &["name", "nobody", "x"]).expect_complaint(1, &["nobody"]);
    trust(&scene, "bob", &["remove", "nobody"]).expect_complaint(1, &["nobody", "receiver"]);

    // The receiver that runs already hears of it.
    let receiver = scene.receiver_of("bob", &[], None);
    let file = letter(&scene);
    trust(&scene, "bob", &["remove", "laptop of alice"]).expect_success().expect_out(&["may not send"]);
    scene.send_by("alice", None, &file, receiver.addr).expect_complaint(4, &["LANX_CODE"]);
    assert_nothing_arrived(&scene);
    assert!(!trust(&scene, "bob", &[]).out().contains(&alice));
}

#[test]
fn of_a_machine_that_is_also_a_known_host_first_that_it_is_let_in_is_removed() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let alice = identity(&scene.path("alice")).fingerprint().to_string();
    trust(&scene, "bob", &["name", &alice, "127.0.0.1"]).expect_success();
    let file = letter(&scene);
    let port = lanx::limits::PORT_DEFAULT;
    // What bob remembers of a receiver at that address and the usual port.
    let store = peer_store(&scene, "bob");
    store.remember_host(&format!("127.0.0.1:{port}"), identity(&scene.path("carol")).fingerprint()).unwrap();

    trust(&scene, "bob", &["remove", "127.0.0.1"]).expect_success().expect_out(&["may not send"]);
    let receiver = scene.receiver_of("bob", &[], None);
    scene.send_by("alice", None, &file, receiver.addr).expect_code(4);
    trust(&scene, "bob", &[]).expect_out(&["no machine may send to this one", &format!("127.0.0.1:{port}")]);
    trust(&scene, "bob", &["remove", "127.0.0.1"]).expect_success().expect_out(&["is forgotten"]);
    trust(&scene, "bob", &["remove", "127.0.0.1"]).expect_complaint(1, &["127.0.0.1"]);
}

#[test]
fn a_receiver_hears_why_a_sender_goes_that_does_not_trust_it() {
    let scene = Scene::new();
    let file = letter(&scene);
    let receiver = scene.receiver_of("bob", &["--open", "-v"], None);
    let store = peer_store(&scene, "alice");
    store.remember_host(&receiver.addr.to_string(), identity(&scene.path("carol")).fingerprint()).unwrap();
    scene.send_by("alice", None, &file, receiver.addr).expect_complaint(4, &["HAS CHANGED"]);
    receiver.wait_for_stderr("127.0.0.1 left: it has another key on record for this machine");
    assert!(!receiver.process.stderr.text().contains("lost"), "{}", receiver.process.story());
    assert_nothing_arrived(&scene);
}

#[test]
fn pairing_has_a_direction() {
    let scene = Scene::new();
    scene.pair("alice", "bob");
    let receiver = scene.receiver_of("alice", &[], None);
    let file = letter(&scene);
    scene.send_by("bob", None, &file, receiver.addr).expect_complaint(4, &["does not know this machine"]);
    assert_nothing_arrived(&scene);
}

#[test]
fn removing_a_machine_ends_its_transfer_and_no_other() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    scene.pair("alice", "bob");
    scene.pair("carol", "bob");
    let (theirs, ours) = (make(&scene.src, "theirs", 3 << 20), make(&scene.src, "ours", 3 << 20));
    let relays = [0, 1].map(|_| Relay::holding_after(receiver.addr, 1 << 19));
    let removed = scene.start_send_by("alice", &[], None, &theirs, relays[0].addr);
    let other = scene.start_send_by("carol", &[], None, &ours, relays[1].addr);
    relays.iter().for_each(Relay::wait_until_held);
    let key = identity(&scene.path("alice")).fingerprint().to_string();
    let mut command = scene.lanx_as("bob");
    command.args(["trust", "remove", &key]);
    Process::spawn(command).finish(PATIENCE).expect_code(0);
    removed.finish(PATIENCE).expect_complaint(4, &["does not let this machine send any more"]);
    relays[1].release();
    other.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&ours], &scene.dst);
    assert!(!scene.dst.join("theirs").exists());
}

#[test]
fn a_machine_that_proved_the_code_is_not_ended_because_it_could_not_be_remembered() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    // Nothing can be locked, so nothing can be remembered.
    fs::create_dir(scene.path("bob").join("peers.lock")).unwrap();
    let file = make(&scene.src, "file", 3 << 20);
    let relay = Relay::holding_after(receiver.addr, 1 << 19);
    let sent = scene.start_send_by("alice", &["-v"], Some(CODE), &file, relay.addr);
    relay.wait_until_held();
    receiver.wait_for_stderr("but cannot remember it");
    // That another one is removed is noticed, and by then this one would be.
    fs::remove_dir(scene.path("bob").join("peers.lock")).unwrap();
    scene.pair("carol", "bob");
    let theirs = make(&scene.src, "theirs", 3 << 20);
    let other = Relay::holding_after(receiver.addr, 1 << 19);
    let removed = scene.start_send_by("carol", &[], None, &theirs, other.addr);
    other.wait_until_held();
    let key = identity(&scene.path("carol")).fingerprint().to_string();
    trust(&scene, "bob", &["remove", &key]).expect_success();
    removed.finish(PATIENCE).expect_code(4);
    relay.release();
    sent.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}
