//! The name of the limit: what is slow is named in the summary and in the events, each in turn.

use std::io::{Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::weather::{Forecast, Weather, seed};
use crate::common::*;
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// Time for each piece where one end is to be slow: 25 MB/s, a tenth of what the slowest machine does otherwise.
const PIECE: usize = 64 * 1024;
/// After each piece: how slow the source or the destination is. Nothing is waited for.
const PAUSE: Duration = Duration::from_millis(3);

/// What the sender's last event says that the transfer was waiting for.
#[track_caller]
fn limit(sent: &Output) -> (String, f64) {
    sent.expect_code(0);
    let events = sent.events();
    let done = events.last().unwrap();
    let limit = &done["limit"];
    let named = limit["by"].as_str().unwrap_or_else(|| panic!("no limit is named: {done}"));
    (named.into(), limit["share"].as_f64().unwrap())
}

#[test]
fn a_rate_that_was_set_is_named_to_people_and_to_scripts() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "file", 4 * MIB);
    let sent = scene.send_with(&["--limit", "4M", "--json"], &[&file], receiver.addr);
    let (named, share) = limit(&sent);
    assert!(named == "limit" && share >= 0.4, "{named} {share}");
    let other = make(&scene.src, "other", 4 * MIB);
    let sent = scene.send_with(&["--limit", "4M"], &[&other], receiver.addr);
    sent.expect_success().expect_out(&["; limited by --limit ("]);
}

#[test]
fn a_slow_network_is_named() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let forecast = Forecast { seed: seed(), bytes_per_second: Some(20_000_000), ..Forecast::default() };
    let weather = Weather::over(receiver.addr, forecast);
    let file = make(&scene.src, "file", 32 * MIB);
    let sent = scene.send_with(&["-c", "1", "--json"], &[&file], weather.addr);
    assert_eq!(limit(&sent).0, "network");
}

#[test]
fn a_slow_source_is_named() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (reader, mut writer) = pipe().unwrap();
    let mut command = scene.lanx();
    command.args(["send", "--json", "-", &receiver.addr.to_string(), "--name", "stream"]);
    let sender = Process::spawn_fed(command, reader);
    for piece in noise(1, 8 * MIB).chunks(PIECE) {
        writer.write_all(piece).unwrap();
        thread::sleep(PAUSE);
    }
    drop(writer);
    assert_eq!(limit(&sender.finish(PATIENCE)).0, "source");
}

#[test]
fn a_slow_destination_is_named() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let reading = thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while reader.read(&mut piece).unwrap() > 0 {
            thread::sleep(PAUSE);
        }
    });
    let file = make(&scene.src, "file", 8 * MIB);
    let sent = scene.send_with(&["--json"], &[&file], receiver.addr);
    assert_eq!(limit(&sent).0, "destination");
    receiver.process.finish(PATIENCE).expect_code(0);
    reading.join().unwrap();
}

/// However short the transfer is.
#[test]
fn what_both_ends_did_with_their_time_adds_up() {
    for size in [200 * 1024, MIB, 16 * MIB] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", size);
        let started = Instant::now();
        let sent = scene.send_with(&["-c", "2", "--json"], &[&file], receiver.addr);
        let events = sent.expect_success().events();
        adds_up(events.last().unwrap(), started.elapsed());
    }
}

/// Each thread spends no more than there is, which is less than `time` however long it was kept from running.
#[track_caller]
fn adds_up(done: &Value, time: Duration) {
    for (end, threads, stages) in [
        ("sender", 3.0, ["read", "hash", "seal", "send"]),
        ("receiver", 2.0, ["receive", "open", "hash", "write"]),
    ] {
        let times = done["spent"][end].as_object().unwrap();
        let sum: f64 = times
            .iter()
            .filter(|(name, _)| !name.starts_with("busy"))
            .map(|(_, time)| time.as_f64().unwrap())
            .sum();
        assert!(sum <= time.as_secs_f64() * threads, "{end}: {sum} s: {done}");
        for stage in stages {
            assert!(times[stage].as_f64().unwrap() > 0.0, "{end} {stage}: {done}");
        }
    }
}

/// Both ends on one CPU, as in a container that has no more. Where others keep it busy too, it is not the transfer's own, and
/// not named; which is decided is tested beside the code, and here that what is measured gets there.
#[test]
#[cfg(target_os = "linux")]
fn a_cpu_without_rest_is_named() {
    let sent = thread::spawn(|| {
        let allowed = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
        // Of this thread, and of the processes that it starts.
        sched_setaffinity(None, &one).unwrap();
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "file", 256 * MIB);
        scene.send_with(&["--json"], &[&file], receiver.addr)
    });
    let sent = sent.join().unwrap();
    let events = sent.expect_success().events();
    let done = events.last().unwrap();
    let mut names = Vec::new();
    for (end, name) in [("sender", "sender_cpu"), ("receiver", "receiver_cpu")] {
        let busy = done["spent"][end]["busy"].as_f64().unwrap();
        let own = done["spent"][end]["busy_own"].as_f64().unwrap();
        assert!(0.0 < own && own <= busy && busy <= 1.0, "{end}: {done}");
        // As `bottleneck` decides.
        names.extend((busy >= 0.9 && own >= 0.2).then_some(name));
    }
    let named = done["limit"]["by"].as_str();
    assert!(names.is_empty() || named.is_some_and(|named| names.contains(&named)), "{names:?}: {done}");
}
