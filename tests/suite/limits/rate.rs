//! `--limit`: a transfer is never faster. (That it is not slower either is a matter for a measurement.)

use std::time::{Duration, Instant};

use crate::common::*;

#[test]
fn a_transfer_is_no_faster_than_its_limit_over_all_connections_together() {
    let scene = Scene::new();
    let large = make(&scene.src, "large", 12 * CHUNK);
    let many: Vec<_> = (0..40).map(|at| make(&scene.src, format!("small-{at}"), 30_000)).collect();
    let files: Vec<_> = std::iter::once(large).chain(many).collect();
    for (connections, limit) in [("1", "4M"), ("8", "32mbit")] {
        let dir = scene.path(connections);
        let receiver = Receiver::start(&scene, "127.0.0.1:0", &[], &dir);
        let started = Instant::now();
        scene.send_with(&["-c", connections, "--limit", limit], &files, receiver.addr).expect_success();
        let bytes = 12 * CHUNK as u64 + 40 * 30_000;
        let least = Duration::from_secs_f64(bytes as f64 / 4e6);
        assert!(started.elapsed() >= least, "{:?} over {connections} connections", started.elapsed());
        assert_arrived(&files, &dir);
    }
}

#[test]
fn all_senders_together_are_no_faster_than_the_limit_of_the_receiver() {
    let scene = Scene::new();
    let files = ["one", "two"].map(|name| make(&scene.src, name, 12 * CHUNK));
    let receiver = scene.receiver_with(&["--limit", "4M"]);
    let begin = Instant::now();
    let senders =
        files.each_ref().map(|file| scene.start_send(&["-c", "4", "--json"], &[file], receiver.addr));
    let outputs = senders.map(|sender| sender.finish(PATIENCE));
    let time = begin.elapsed();
    assert_arrived(&files, &scene.dst);
    // Less what may be made up for in a moment.
    let least = (24 * CHUNK) as f64 / 4e6 - 0.25;
    assert!(time.as_secs_f64() >= least, "{time:?} is less than {least} s");
    for output in outputs {
        output.expect_success();
        let events = output.events();
        assert_eq!(events.last().unwrap()["limit"]["by"], "receiver_limit", "{events:?}");
    }
}

#[test]
fn a_limit_that_cannot_be_is_a_usage_error_that_says_what_can() {
    let scene = Scene::new();
    for (limit, words) in [("fast", "50M"), ("0", "50M"), ("1k", "64000")] {
        let output = scene.run(["send", "--limit", limit, "file", "127.0.0.1:1"]);
        output.expect_code(2);
        assert!(output.err().contains(words), "{}", output.err());
    }
}
