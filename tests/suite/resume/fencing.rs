//! Whoever comes late replaces nothing newer: senders that were frozen, senders at the same time, receivers that share a folder.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::common::weather::{Dice, seed};
use crate::common::*;

const MIB: usize = 1 << 20;

/// What was at the receiver before, and what two senders have for the same name.
struct Versions {
    late: PathBuf,
    newer: PathBuf,
}

impl Versions {
    fn of(scene: &Scene, bytes: usize) -> Versions {
        make_of(&scene.dst, "file", &noise(1, bytes));
        let of = |folder: &str, seed| {
            fs::create_dir(scene.src.join(folder)).unwrap();
            make_of(&scene.src.join(folder), "file", &noise(seed, bytes))
        };
        Versions { late: of("late", 2), newer: of("newer", 3) }
    }

    /// The receiver has the newer one and nothing else.
    fn assert_newer(&self, scene: &Scene) {
        assert_same(&self.newer, &scene.dst.join("file"));
        assert_eq!(listing(&scene.dst), ["file"]);
    }
}

#[test]
fn a_frozen_sender_that_comes_back_in_another_session_replaces_nothing_newer() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, 16 * MIB);
    let receiver = scene.receiver_with(&["--overwrite", "--timeout", "5"]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let late = scene.start_send(&["--timeout", "5"], &[&versions.late], relay.addr);
    relay.wait_until_held();
    late.signal(Signal::STOP);
    receiver.wait_for_stderr("said nothing for 5 s");
    scene.send(&[&versions.newer], receiver.addr).expect_success();
    relay.release();
    late.signal(Signal::CONT);
    late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
    versions.assert_newer(&scene);
    // It began after that, and so it is no longer late.
    scene.send(&[&versions.late], receiver.addr).expect_success();
    assert_same(&versions.late, &scene.dst.join("file"));
}

#[test]
fn a_sender_that_lost_its_connection_replaces_what_was_there_before_it_began() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, 16 * MIB);
    let receiver = scene.receiver_with(&["--overwrite"]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send(&[], &[&versions.newer], relay.addr);
    relay.wait_until_held();
    relay.cut_control();
    relay.release();
    sender.finish(PATIENCE).expect_code(0);
    versions.assert_newer(&scene);
}

#[test]
fn of_two_senders_at_once_the_slower_one_replaces_nothing_that_the_other_has_published() {
    for bytes in [1000, 4 * MIB] {
        let scene = Scene::new();
        let versions = Versions::of(&scene, bytes);
        let receiver = scene.receiver_with(&["--overwrite"]);
        let relay = Relay::holding_after(receiver.addr, bytes as u64 / 2);
        let late = scene.start_send(&[], &[&versions.late], relay.addr);
        relay.wait_until_held();
        scene.send(&[&versions.newer], receiver.addr).expect_success();
        relay.release();
        late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
        versions.assert_newer(&scene);
    }
}

#[test]
fn two_senders_of_the_same_at_once_both_end_well() {
    for bytes in [1000, 4 * MIB] {
        let scene = Scene::new();
        let versions = Versions::of(&scene, bytes);
        let receiver = scene.receiver_with(&["--overwrite"]);
        let relay = Relay::holding_after(receiver.addr, bytes as u64 / 2);
        let late = scene.start_send(&[], &[&versions.newer], relay.addr);
        relay.wait_until_held();
        scene.send(&[&versions.newer], receiver.addr).expect_success();
        relay.release();
        late.finish(PATIENCE).expect_success().expect_out(&["all already there"]);
        versions.assert_newer(&scene);
    }
}

#[test]
fn what_waited_in_a_pipe_replaces_nothing_that_came_meanwhile() {
    let scene = Scene::new();
    let versions = Versions::of(&scene, MIB);
    let receiver = scene.receiver_with(&["--overwrite"]);
    // It has read what it sends, and the way to the receiver stands still.
    let relay = Relay::to(receiver.addr);
    relay.freeze();
    let mut command = scene.lanx();
    command.args(["send", "-", &relay.addr.to_string(), "--name", "file"]);
    let late = Process::spawn_fed(command, fs::File::open(&versions.late).unwrap());
    wait_until("it has come", PATIENCE, || relay.control_connections() > 0);
    scene.send(&[&versions.newer], receiver.addr).expect_success();
    relay.thaw();
    late.finish(PATIENCE).expect_complaint(5, &["file", "was put there while this transfer ran"]);
    versions.assert_newer(&scene);
}

/// A receiver for which locks seem to work and do nothing.
#[cfg(target_os = "linux")]
fn without_locks(scene: &Scene, flags: &[&str]) -> Receiver {
    use crate::common::bad_disk::{NOTHING_DONE, call, receiver_on_a_bad_disk};
    receiver_on_a_bad_disk(scene, flags, &[(call::FLOCK, None)], NOTHING_DONE)
}

#[cfg(target_os = "linux")]
#[test]
fn two_receivers_whose_locks_do_nothing_never_publish_a_mixture() {
    for flags in [&[][..], &["--overwrite"], &["--rename"]] {
        let scene = Scene::new();
        let versions = Versions::of(&scene, 8 * MIB);
        fs::remove_file(scene.dst.join("file")).unwrap();
        let receivers = [without_locks(&scene, flags), without_locks(&scene, flags)];
        let relays = receivers.each_ref().map(|to| Relay::holding_after(to.addr, 4 * MIB as u64));
        let late = scene.start_send(&[], &[&versions.late], relays[0].addr);
        relays[0].wait_until_held();
        let newer = scene.start_send(&[], &[&versions.newer], relays[1].addr);
        relays[1].wait_until_held();
        // In turns, so that each of them has written what the other one has not.
        for _ in 0..8 {
            relays.iter().for_each(|relay| relay.allow(CHUNK as u64));
            relays.iter().for_each(Relay::wait_until_held);
        }
        relays[1].release();
        newer.finish(PATIENCE).expect_code(0);
        relays[0].release();
        let late = late.finish(PATIENCE);
        if flags == ["--rename"] {
            late.expect_code(0);
            assert_same(&versions.late, &scene.dst.join("file (1)"));
            fs::remove_file(scene.dst.join("file (1)")).unwrap();
        } else {
            late.expect_code(5);
        }
        versions.assert_newer(&scene);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_locks_what_another_receiver_has_left_is_copied_and_never_written_to() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 16 * MIB);
    let mut receiver = without_locks(&scene, &[]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let mut sender = scene.start_send(&["--retry-for", "0"], &[&file], relay.addr);
    relay.wait_until_held();
    let there = (8 * MIB - 5 * CHUNK) as u64;
    let part = || parts_of(&scene.dst, "file").into_iter().map(|part| scene.dst.join(part)).next();
    wait_until("half of it is on the disk", PATIENCE, || {
        part().is_some_and(|part| bytes_in_common(&read(&file), &part) >= there)
    });
    sender.kill();
    receiver.process.kill();
    let left = part().unwrap();
    let before = (read(&left), look(&left));
    let again = without_locks(&scene, &[]);
    let relay = Relay::to(again.addr);
    scene.send(&[&file], relay.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
    assert!(
        relay.carried() < 16 * MIB as u64 - there + 4 * CHUNK as u64,
        "{} bytes crossed",
        relay.carried()
    );
    assert!((read(&left), look(&left)) == before, "it was written to");
    // Nobody knows yet whether that session is over.
    assert_eq!(parts_of(&scene.dst, "file").len(), 1);
    // What is left of it is no lock, and goes when it has been at rest for long enough.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    set_modified(&left, long_ago);
    let mut clean = scene.lanx();
    clean.args(["recv", "--clean"]).arg(&scene.dst);
    Process::spawn(clean).finish(PATIENCE).expect_success();
    assert_eq!(listing(&scene.dst), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn without_locks_the_same_receiver_goes_on_in_place() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 16 * MIB);
    let receiver = without_locks(&scene, &[]);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send(&[], &[&file], relay.addr);
    relay.wait_until_held();
    let parts = parts_of(&scene.dst, "file");
    // What has crossed is still to be read, and a chunk of each connection may have come in part.
    let whole = read(&file);
    wait_until("the receiver has taken in what has crossed", PATIENCE, || {
        bytes_in_common(&whole, &scene.dst.join(&parts[0])) >= 6 * MIB as u64
    });
    relay.cut_control();
    relay.allow(CHUNK as u64);
    receiver.wait_for_stderr("it resumes when");
    wait_until("it is back", PATIENCE, || relay.control_connections() > 1);
    assert_eq!(parts_of(&scene.dst, "file"), parts);
    relay.release();
    sender.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"]);
    assert!(relay.carried() < 24 * MIB as u64, "{} bytes crossed", relay.carried());
}

/// Senders of older versions are frozen, lose their receiver, or are killed half-way, while another one sends a newer version to another
/// receiver into the same folder, in which no lock has any effect. `LANX_KILL_ROUNDS` says how often; `LANX_TEST_SEED` plays a failure again.
#[cfg(target_os = "linux")]
#[test]
fn zombies_of_every_kind_replace_nothing_newer() {
    let rounds = std::env::var("LANX_KILL_ROUNDS").map_or(6, |text| text.parse().unwrap());
    let seed = seed();
    let mut dice = Dice(seed);
    let scene = Scene::new();
    let names: Vec<String> = (0..12).map(|n| format!("small-{n}")).chain(["large".into()]).collect();
    let version = |n: u64| {
        let folder = scene.src.join(n.to_string()).join("tree");
        fs::create_dir_all(&folder).unwrap();
        for (at, name) in names.iter().enumerate() {
            let bytes = if name == "large" { 6 * MIB } else { 20_000 };
            make_of(&folder, name, &noise(100 * n + at as u64, bytes));
        }
        folder
    };
    let mut receivers = [0, 1].map(|_| without_locks(&scene, &["--overwrite"]));
    for round in 0..rounds {
        let (older, newer) = (version(2 * round), version(2 * round + 1));
        let held = dice.below(6 * MIB as u64);
        let story = format!("round {round} of seed {seed}, held after {held} bytes");
        let relay = Relay::holding_after(receivers[0].addr, held + 1);
        let mut zombie = scene.start_send(&["--timeout", "5"], &[&older], relay.addr);
        relay.wait_until_held();
        zombie.signal(Signal::STOP);
        if round % 3 == 1 {
            receivers[0].process.kill();
            relay.lead_to(receivers[1].addr);
        }
        // What the other one had on its way may have come as this one began: then it is the newer one, for once.
        let first = scene.send(&[&newer], receivers[1].addr);
        if first.code != Some(0) {
            first.expect_code(5);
            assert!(
                first.err().contains("was put there while this transfer ran"),
                "{story}: {}",
                first.err()
            );
            scene.send(&[&newer], receivers[1].addr).expect_success();
        }
        if round % 3 == 2 {
            zombie.kill();
        }
        relay.release();
        if round % 3 != 2 {
            zombie.signal(Signal::CONT);
            let ended = zombie.finish(PATIENCE);
            assert_eq!(ended.code, Some(5), "{story}: {}", ended.err());
        }
        for name in &names {
            assert!(read(&scene.dst.join("tree").join(name)) == read(&newer.join(name)), "{story}: {name}");
        }
        if round % 3 == 1 {
            receivers[0] = without_locks(&scene, &["--overwrite"]);
        }
    }
    // Of each round the large one, or where the receiver was killed what each of four data connections was writing.
    let most = rounds + 4 * rounds.div_ceil(3);
    let parts = |name: &String| parts_of(&scene.dst.join("tree"), name).len() as u64;
    assert!(names.iter().map(parts).sum::<u64>() <= most, "{:?}", listing(&scene.dst.join("tree")));
}
