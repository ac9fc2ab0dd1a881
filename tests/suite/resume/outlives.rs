//! A transfer outlives what networks, machines and people do to it while it runs, within one call of the command; and
//! where it cannot, it says so in time.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::weather::{Forecast, Weather, seed};
use crate::common::*;

const MIB: usize = 1 << 20;

/// Sends a file through bad weather and demands that it arrives as it is. Returns the weather, to see what it did.
fn arrives_through(forecast: Forecast, file_bytes: usize, flags: &[&str]) -> Weather {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--timeout", "5"]);
    let weather = Weather::over(receiver.addr, forecast);
    let file = make(&scene.src, "file", file_bytes);
    let sent = scene.start_send(flags, &[&file], weather.addr).finish(2 * PATIENCE);
    assert_eq!(sent.code, Some(0), "{forecast:?}: {}", sent.err());
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"], "{forecast:?}");
    weather
}

#[test]
fn a_transfer_whose_connections_are_cut_every_quarter_of_a_second_completes() {
    let forecast = Forecast {
        seed: seed(),
        cut_every: Some(Duration::from_millis(250)),
        bytes_per_second: Some(2 * MIB as u64),
        ..Forecast::default()
    };
    let weather = arrives_through(forecast, 48 * MIB, &["--timeout", "5"]);
    assert!(weather.cuts() >= 10, "only {} cuts in the time that it took", weather.cuts());
}

#[test]
fn a_transfer_whose_connections_are_late_and_overtake_each_other_completes() {
    let delay = Duration::from_millis(80);
    let forecast = Forecast { seed: seed(), delay, ..Forecast::default() };
    arrives_through(forecast, 24 * MIB, &["-c", "8"]);
}

#[test]
fn a_transfer_in_which_bits_turn_again_and_again_completes() {
    let forecast = Forecast { seed: seed(), flip_one_bit_in: Some(4 << 20), ..Forecast::default() };
    let weather = arrives_through(forecast, 24 * MIB, &["--timeout", "5"]);
    assert!(weather.flips() > 0, "no bit was turned");
}

#[test]
fn a_transfer_outlives_one_frozen_data_connection() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let forecast = Forecast { seed: seed(), bytes_per_second: Some(4 * MIB as u64), ..Forecast::default() };
    let weather = Weather::over(receiver.addr, forecast);
    let file = make(&scene.src, "file", 24 * MIB);
    let sender = scene.start_send(&["--timeout", "5"], &[&file], weather.addr);
    weather.freeze_a_data_connection(MIB as u64);
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

/// A sender half-way through a file, held by the relay, and who it sends to.
fn half_way(scene: &Scene, receiver: &Receiver, flags: &[&str]) -> (Relay, Process) {
    let file = make(&scene.src, "file", 16 * MIB);
    let relay = Relay::holding_after(receiver.addr, 8 * MIB as u64);
    let sender = scene.start_send(flags, &[file], relay.addr);
    relay.wait_until_held();
    (relay, sender)
}

/// Starts the receiver again, which is where the relay leads to from now on.
fn next_receiver(scene: &Scene, relay: &Relay) -> Receiver {
    let receiver = scene.receiver();
    relay.lead_to(receiver.addr);
    receiver
}

#[test]
fn a_frozen_receiver_is_noticed_in_time_and_named() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver, &["--timeout", "5", "--retry-for", "0"]);
    receiver.process.signal(Signal::STOP);
    let host = relay.addr.to_string();
    sender
        .finish(PATIENCE)
        .expect_complaint(3, &[&host, "said nothing for 5 s", "run the same command again"]);
    receiver.process.signal(Signal::CONT);
    scene.send(&[scene.src.join("file")], receiver.addr).expect_success();
    assert_arrived(&[scene.src.join("file")], &scene.dst);
}

#[test]
fn a_frozen_sender_is_noticed_in_time_and_goes_on_when_it_thaws() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--timeout", "5"]);
    let (relay, sender) = half_way(&scene, &receiver, &["--timeout", "5"]);
    sender.signal(Signal::STOP);
    receiver.wait_for_stderr("said nothing for 5 s");
    assert!(receiver.process.stderr.text().contains("127.0.0.1"), "{}", receiver.process.story());
    relay.release();
    sender.signal(Signal::CONT);
    sender.finish(PATIENCE).expect_code(0);
    assert_arrived(&[scene.src.join("file")], &scene.dst);
}

#[test]
fn a_receiver_that_is_killed_and_started_again_is_found_and_the_transfer_goes_on_in_place() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver, &[]);
    let file = scene.src.join("file");
    let part = part_path(&scene.dst, "file");
    // Less what four connections carry of chunks that are not whole yet.
    let there = (8 * MIB - 5 * CHUNK) as u64;
    wait_until("half of it is on the disk", PATIENCE, || bytes_in_common(&read(&file), &part) >= there);
    let before = relay.carried();
    receiver.process.kill();
    let _again = next_receiver(&scene, &relay);
    relay.release();
    let sent = sender.finish(PATIENCE);
    sent.expect_code(0);
    assert!(sent.err().contains("retrying for"), "{}", sent.err());
    assert_arrived(&[&file], &scene.dst);
    assert_eq!(listing(&scene.dst), ["file"]);
    // The rest, and what was on its way when the receiver died.
    let after = relay.carried() - before;
    let most = 16 * MIB as u64 - there + 4 * (lanx::limits::SOCKET_BUFFER_BYTES + CHUNK) as u64;
    assert!(after <= most, "{after} bytes crossed again, {most} were missing or under way");
}

#[test]
fn without_retries_a_lost_receiver_is_not_looked_for() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let (relay, sender) = half_way(&scene, &receiver, &["--retry-for", "0"]);
    receiver.process.kill();
    let _again = next_receiver(&scene, &relay);
    let sent = sender.finish(PATIENCE);
    sent.expect_complaint(3, &[&relay.addr.to_string(), "run the same command again"]);
    assert!(!sent.err().contains("retrying for"), "{}", sent.err());
    assert!(!scene.dst.join("file").exists());
}

#[test]
fn a_receiver_that_never_comes_back_is_given_up_when_the_time_for_it_is_over() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let (_relay, sender) = half_way(&scene, &receiver, &["--retry-for", "2"]);
    receiver.process.kill();
    let sent = sender.finish(PATIENCE);
    sent.expect_code(3);
    assert!(sent.err().contains("retrying for up to 2 s"), "{}", sent.err());
    assert!(sent.err().contains("run the same command again"), "{}", sent.err());
}

#[test]
fn what_had_arrived_is_told_when_a_lost_receiver_is_given_up() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let (_relay, sender) = half_way(&scene, &receiver, &["--json", "--retry-for", "1"]);
    wait_until("some of it is confirmed", PATIENCE, || {
        let told = events(&sender.stdout.bytes());
        told.iter().any(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0))
    });
    receiver.process.kill();
    let sent = sender.finish(PATIENCE);
    sent.expect_code(3);
    let told = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(told.contains(" of 16.8 MB had arrived") && !told.contains(" 0 B of 16.8"), "{told}");
}

#[test]
fn a_visitor_who_offers_nothing_does_not_make_a_receiver_wait_longer_for_a_lost_sender() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--retry-for", "2"]);
    let (relay, mut sender) = half_way(&scene, &receiver, &["--retry-for", "0"]);
    sender.kill();
    drop(relay);
    receiver.wait_for_stderr("it resumes when");
    drop(crate::common::hostile::intruder(&scene, &receiver));
    assert_eq!(receiver.process.finish(PATIENCE).code, Some(3));
}

/// What may happen to a source between two sessions of one command, and what the sender says about it.
type Change = (&'static str, fn(&std::path::Path), &'static str);

#[test]
fn a_source_that_changes_between_two_sessions_of_one_command_fails_and_is_named() {
    let changes: [Change; 4] = [
        (
            "written to",
            |path| drop(fs::File::options().write(true).open(path).unwrap().write_at(b"!", 9)),
            "changed",
        ),
        (
            "cut short",
            |path| fs::File::options().write(true).open(path).unwrap().set_len(5).unwrap(),
            "changed",
        ),
        ("removed", |path| fs::remove_file(path).unwrap(), "file"),
        (
            "replaced",
            |path| {
                let other = path.with_extension("other");
                fs::write(&other, vec![7; 16 * MIB]).unwrap();
                fs::rename(other, path).unwrap();
            },
            "changed",
        ),
    ];
    for (what, change, words) in changes {
        let scene = Scene::new();
        let mut receiver = scene.receiver();
        let (relay, sender) = half_way(&scene, &receiver, &[]);
        receiver.process.kill();
        wait_until("the sender notices", PATIENCE, || sender.stderr.text().contains("retrying for"));
        change(&scene.src.join("file"));
        let _again = next_receiver(&scene, &relay);
        relay.release();
        let sent = sender.finish(PATIENCE);
        assert_eq!(sent.code, Some(5), "{what}: {}", sent.err());
        assert!(sent.err().contains(words), "{what}: {}", sent.err());
        assert!(!scene.dst.join("file").exists(), "{what}");
    }
}

#[test]
fn a_connection_that_is_far_slower_than_the_others_does_not_hold_up_the_end() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    // What the sockets and the relay hold of it would take a minute.
    let forecast = Forecast {
        seed: seed(),
        bytes_per_second: Some(20_000_000),
        second_bytes_per_second: Some(100_000),
        ..Forecast::default()
    };
    let weather = Weather::over(receiver.addr, forecast);
    let file = make(&scene.src, "file", 48 << 20);
    let sent = scene.send_with(&["-v", "-c", "4"], &[&file], weather.addr);
    sent.expect_code(0);
    assert!(sent.err().contains(" is slow; "), "it was not given up: {}", sent.err());
    assert_arrived(&[file], &scene.dst);
}
