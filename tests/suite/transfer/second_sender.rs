//! A sender that shares no code with this one, in `second_sender.py`: it was written from PROTOCOL.md, and is understood; and what
//! it tries as an attacker tells it nothing. It needs python3 and its package `cryptography`; without them nothing is shown.

use std::path::Path;
use std::process::Command;

use crate::common::*;

/// As much memory as a receiver may take, whatever is sent to it.
const MEMORY_MOST: u64 = 256 << 20;

/// A Python with what the script needs: the one on the path, or that of the system, for which packages are installed.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let asked = Command::new(python).args(["-c", "import cryptography"]).output();
        asked.is_ok_and(|answer| answer.status.success())
    })
}

/// Runs cases of the script against a receiver with these flags, which lets everybody in.
fn run(flags: &[&str], cases: &[&str]) {
    let Some(python) = python() else {
        eprintln!("skipped: python3 with the package cryptography is not here");
        return;
    };
    let scene = Scene::new();
    let receiver = scene.receiver_with(&[flags, &["--open"]].concat());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/transfer/second_sender.py"));
    command.arg(receiver.addr.port().to_string()).arg(&scene.dst).args(cases);
    let ended = Process::spawn(command).finish(4 * PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}\n{}", ended.out(), ended.err(), receiver.process.story());
    assert_eq!(ended.out().lines().collect::<Vec<_>>(), cases);
    let peak = receiver.process.memory_peak();
    assert!((1..MEMORY_MOST).contains(&peak), "the receiver had {peak} bytes");
    // It serves others, and is as it was.
    let file = make(&scene.src, "at last", 1000);
    scene.send(&[&file], receiver.addr).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn another_implementation_sends_and_resumes() {
    run(&[], &["sends", "an_unfinished_file_belongs_to_its_key", "versions_and_options_are_as_agreed"]);
}

#[test]
fn another_implementation_sends_holes() {
    run(&[], &["holes_travel_as_one_frame"]);
}

#[test]
fn a_receiver_that_replaces_nothing_tells_nothing_of_what_is_there() {
    run(&[], &["no_byte_of_a_file_can_be_guessed", "no_small_file_can_be_probed", "no_size_can_be_probed"]);
}

#[test]
fn a_receiver_that_replaces_or_renames_tells_no_byte_of_what_is_there() {
    for flags in [&["--overwrite"][..], &["--rename"], &["--overwrite", "--delta"]] {
        run(flags, &["no_byte_of_a_file_can_be_guessed", "no_small_file_can_be_probed"]);
    }
    run(
        &["--overwrite", "--delta"],
        &["an_offer_alone_copies_nothing", "an_unfinished_file_belongs_to_its_key"],
    );
}

#[test]
fn heavy_offers_and_scattered_chunks_cost_the_receiver_little() {
    run(&[], &["heavy_offers_are_borne", "scattered_chunks_are_asked_for_in_bounds"]);
}
