//! Files with holes: they cost what is in them and not how long they are, whatever happens on the way.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::common::hostile::intruder;
use crate::common::peer::{
    HandReceiver, HandSender, chunk_frame, hole_frame, identity, offer_sparse, welcome,
};
use crate::common::*;
use lanx::content::chunk::FileId;
use lanx::limits::HOLE_CHUNKS_MAX;
use lanx::wire::message::{ReceiverMessage, SenderMessage};
use lanx::wire::seal::Sealer;

const GIB: u64 = 1 << 30;

/// A file of so many bytes with noise at these places, a chunk and a half at each, and holes between them.
fn sparse(path: PathBuf, size: u64, places: &[u64]) -> PathBuf {
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    for place in places {
        file.write_all_at(&noise(*place, CHUNK * 3 / 2), *place).unwrap();
    }
    path
}

/// Where there is data, as the file system tells it.
fn extents(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let from = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(from) => from,
            Err(Errno::NXIO) => return found,
            Err(errno) => panic!("{errno}"),
        };
        at = rustix::fs::seek(&file, SeekFrom::Hole(from)).unwrap();
        found.push((from, at));
    }
}

/// Demands that a copy has the same length and the same bytes, and takes about the same room, without reading what is a hole in both.
#[track_caller]
fn assert_same_holes(original: &Path, copy: &Path) {
    let (here, there) = (fs::metadata(original).unwrap(), fs::metadata(copy).unwrap());
    assert_eq!(here.len(), there.len());
    assert!(there.blocks() <= here.blocks() + 2048, "{} blocks of {}", there.blocks(), here.blocks());
    let (one, other) = (File::open(original).unwrap(), File::open(copy).unwrap());
    for (from, to) in [extents(original), extents(copy)].concat() {
        for at in (from..to).step_by(CHUNK) {
            let len = (to - at).min(CHUNK as u64) as usize;
            let (mut here, mut there) = (vec![0; len], vec![0; len]);
            one.read_exact_at(&mut here, at).unwrap();
            other.read_exact_at(&mut there, at).unwrap();
            assert!(here == there, "the copy differs at {at}");
        }
    }
}

/// Kind and length of each frame on a data connection, as they stand in clear; nothing for a control connection.
fn frames(said: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    let mut rest = match said.get(6) {
        Some(1) => said.get(44..).unwrap_or_default(),
        _ => &[],
    };
    while let Some(header) = rest.get(..24) {
        let len = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
        found.push((header[0], len));
        rest = rest.get(24 + len + 16..).unwrap_or_default();
    }
    found
}

#[test]
fn a_tebibyte_of_holes_costs_what_is_in_it() {
    let scene = Scene::new();
    let places = [0, 5 * GIB + 77, 300 * GIB, 999 * GIB + 123_456, 1023 * GIB];
    let file = sparse(scene.src.join("image"), 1024 * GIB, &places);
    let receiver = scene.receiver();
    let tap = Tap::to(receiver.addr);
    let begun = Instant::now();
    let output = scene.send_with(&["--json"], &[&file], tap.addr);
    let took = begun.elapsed();
    output.expect_success();
    eprintln!("1 TiB of holes with {} chunks of data took {took:?}", 3 * places.len());
    assert_same_holes(&file, &scene.dst.join("image"));
    let all: Vec<(u8, usize)> = tap.to_receiver().iter().flat_map(|said| frames(said)).collect();
    let count = |kind| all.iter().filter(|frame| frame.0 == kind).count();
    assert!(count(1) <= 3 * places.len() && count(3) == 0, "{} chunks, {} of zeros", count(1), count(3));
    assert!((1000..1100).contains(&count(5)), "{} frames for holes", count(5));
    let done = output.events().pop().unwrap();
    assert!(done["wire_bytes"].as_u64().unwrap() < 10 << 20, "{done}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn holes_arrive_over_quic_compressed_limited_and_in_a_dry_run() {
    for scene in [Scene::new(), Scene::over_quic()] {
        let file = sparse(scene.src.join("image"), GIB + (64 << 20) + 5, &[GIB + 9 * CHUNK as u64]);
        for (flags, into) in [
            (&["--compress", "zstd"][..], "packed"),
            // What is on the wire is what is limited: of the hole that is next to nothing.
            (&["--limit", "2M"], "limited"),
            (&["-c", "1"], "alone"),
            (&[], "plain"),
        ] {
            let receiver = scene.receiver_with(&["--verify=reread"]);
            scene.send_with(&[flags, &["--into", into]].concat(), &[&file], receiver.addr).expect_success();
            assert_same_holes(&file, &scene.dst.join(into).join("image"));
        }
        let receiver = scene.receiver();
        scene.send_with(&["--dry-run"], &[&file], receiver.addr).expect_success();
    }
}

#[test]
fn several_receivers_get_the_same_holes() {
    let scene = Scene::new();
    let file = sparse(scene.src.join("image"), 9 * GIB, &[GIB, 8 * GIB]);
    let (one, other) = (scene.path("one"), scene.path("other"));
    let receivers = [&one, &other].map(|dir| Receiver::start(&scene, "127.0.0.1:0", &[], dir));
    let to = receivers.each_ref().map(|receiver| receiver.addr.to_string());
    let output = scene.run(["send", file.to_str().unwrap(), "--to", &to[0], "--to", &to[1]]);
    output.expect_success();
    for dir in [one, other] {
        assert_same_holes(&file, &dir.join("image"));
    }
}

/// What an earlier transfer left is data where there is a hole now, and a hole where there is data.
#[test]
fn what_was_left_of_another_version_becomes_a_hole() {
    let scene = Scene::new();
    let chunk = |n: usize| (n * CHUNK) as u64;
    let places: Vec<u64> = (0..20).map(|n| chunk(2 * n)).collect();
    let file = sparse(scene.src.join("image"), 2 * GIB, &places);
    let mut receiver = scene.receiver();
    let sender = scene.start_send(&["--limit", "4M", "--retry-for", "0"], &[&file], receiver.addr);
    wait_until("some of it is there", PATIENCE, || {
        let part = part_path(&scene.dst, "image");
        part.exists() && fs::metadata(part).unwrap().blocks() * 512 > chunk(8)
    });
    receiver.process.kill();
    sender.finish(PATIENCE).expect_code(3);
    fs::remove_file(&file).unwrap();
    sparse(file.clone(), 2 * GIB, &[chunk(1), chunk(100), GIB + chunk(7)]);
    let receiver = scene.receiver();
    scene.send(&[&file], receiver.addr).expect_success();
    assert_same_holes(&file, &scene.dst.join("image"));
}

#[test]
fn a_transfer_of_holes_that_was_killed_goes_on() {
    let scene = Scene::new();
    let places: Vec<u64> = (0..40).map(|n| (n * 64 + 3) * CHUNK as u64).collect();
    let file = sparse(scene.src.join("image"), 40 * GIB, &places);
    let mut receiver = scene.receiver();
    let sender = scene.start_send(&["--limit", "4M", "--retry-for", "0"], &[&file], receiver.addr);
    wait_until("some of it is there", PATIENCE, || {
        let part = part_path(&scene.dst, "image");
        part.exists() && fs::metadata(part).unwrap().blocks() * 512 > 5 << 20
    });
    receiver.process.kill();
    sender.finish(PATIENCE).expect_code(3);
    let receiver = scene.receiver();
    let output = scene.send_with(&["--json"], &[&file], receiver.addr);
    output.expect_success();
    assert_same_holes(&file, &scene.dst.join("image"));
    let done = output.events().pop().unwrap();
    // Of 40 places with two chunks each no more than are missing, and one on each connection that was half written.
    assert!(done["wire_bytes"].as_u64().unwrap() < (67 * CHUNK) as u64, "{done}");
}

/// A connection that ends under a hole: what the hole stands for goes over another one.
#[test]
fn a_hole_on_a_connection_that_dies_is_dealt_again() {
    let scene = Scene::new();
    // All zeros around what is there are hashed, so the holes are short.
    let places: Vec<u64> = (0..40).map(|n| (n * 64 + 3) * CHUNK as u64).collect();
    let file = sparse(scene.src.join("image"), 40 * 64 * CHUNK as u64 + 1, &places);
    let receiver = scene.receiver();
    let relay = Relay::to(receiver.addr);
    for nth in 0..6 {
        // In the middle of the frame of a hole, or of a chunk, which stand by turns.
        let at = 44 + (nth as u64 % 4) * 300_000 + 20;
        relay.add_fault(Fault { kind: Kind::Data, nth, at, harm: Harm::Cut });
    }
    scene.send_with(&["-c", "2"], &[&file], relay.addr).expect_code(0);
    assert!(relay.data_connections() > 6, "{} connections", relay.data_connections());
    assert_same_holes(&file, &scene.dst.join("image"));
}

/// As every lanx before this one is.
#[test]
fn a_receiver_that_says_nothing_of_holes_gets_a_frame_for_each_chunk() {
    let scene = Scene::new();
    let receiver = HandReceiver::listen(identity(&scene.path("config")));
    let file = sparse(scene.src.join("image"), 64 * CHUNK as u64, &[]);
    let mut sender = scene.start_send(&["--timeout", "5"], &[&file], receiver.addr);
    let mut talk = receiver.accept().unwrap();
    assert!(matches!(talk.hear(), Ok(SenderMessage::Hello(_))));
    talk.say(&welcome()).unwrap();
    while !matches!(talk.hear().unwrap(), SenderMessage::Offer(_)) {}
    talk.say(&ReceiverMessage::Send { file: FileId(0) }).unwrap();
    assert_eq!(receiver.first_header().unwrap()[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
    sender.kill();
}

// ---- what a hostile sender says of holes ----

const FILE: u64 = 0;

/// What is wrong with a hole, the frames that say it, and what the receiver answers.
type Wrong = (&'static str, fn(&mut Sealer) -> Vec<u8>, &'static str);

/// A sender with a sparse file of 10 chunks under way, a plain one, and one of a single chunk.
fn with_files(scene: &Scene, receiver: &Receiver, name: &str) -> HandSender {
    let mut sender = intruder(scene, receiver);
    sender.talk.say(&offer_sparse(FILE, name, 10 * CHUNK as u64)).unwrap();
    sender.hear_until(|message| *message == ReceiverMessage::Send { file: FileId(FILE) });
    sender.offer(1, &format!("{name} and whole"), 10 * CHUNK as u64);
    sender.offer(2, "small", 5);
    sender
}

#[test]
fn holes_that_cannot_be_end_the_session_and_the_receiver_serves_on() {
    let wrongs: [Wrong; 13] = [
        ("none", |k| hole_frame(k, FILE, 0, 0), "0 chunks and not 1 to 4096"),
        ("too many", |k| hole_frame(k, FILE, 0, HOLE_CHUNKS_MAX + 1), "4097 chunks and not 1 to 4096"),
        ("all there are", |k| hole_frame(k, FILE, 0, u64::MAX), "chunks and not 1 to 4096"),
        ("past the end", |k| hole_frame(k, FILE, 5, 6), "chunk 5 of file 0"),
        ("behind the end", |k| hole_frame(k, FILE, 10, 1), "chunk 10 of file 0"),
        ("behind everything", |k| hole_frame(k, FILE, u64::MAX, 1), "of file 0"),
        ("twice", |k| [hole_frame(k, FILE, 2, 3), hole_frame(k, FILE, 2, 3)].concat(), "chunk 2 of file 0"),
        (
            "overlapping",
            |k| [hole_frame(k, FILE, 2, 3), hole_frame(k, FILE, 0, 3)].concat(),
            "chunk 0 of file 0",
        ),
        (
            "over a chunk",
            |k| [chunk_frame(k, FILE, 4, &[1; CHUNK]), hole_frame(k, FILE, 0, 10)].concat(),
            "chunk 0 of file 0",
        ),
        (
            "under a chunk",
            |k| [hole_frame(k, FILE, 0, 9), chunk_frame(k, FILE, 4, &[1; CHUNK])].concat(),
            "chunk 4 of file 0",
        ),
        ("in a file that has none", |k| hole_frame(k, 1, 0, 1), "a hole in a file that has none"),
        ("in a small file", |k| hole_frame(k, 2, 0, 1), "file 2, which is not"),
        ("in no file", |k| hole_frame(k, 99, 0, 1), "file 99"),
    ];
    let scene = Scene::new();
    let receiver = scene.receiver();
    for (what, frames, words) in wrongs {
        eprintln!("{what}");
        let mut sender = with_files(&scene, &receiver, what);
        let (mut sealer, mut stream) = sender.open_data(0);
        let _ = stream.write_all(&frames(&mut sealer));
        let (_, reason) = sender.dismissal();
        assert!(reason.contains("broke the protocol") && reason.contains(words), "{what}: {reason}");
    }
    let file = make(&scene.src, "at last", 1000);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

/// Every other chunk, so that none meets another: the receiver holds what it can and then ends it.
#[test]
fn a_million_holes_cost_the_receiver_little() {
    let scene = Scene::new();
    // Who sends by hand says nothing else meanwhile.
    let receiver = scene.receiver_with(&["--timeout", "600"]);
    let mut sender = intruder(&scene, &receiver);
    sender.talk.say(&offer_sparse(FILE, "scattered", 2_000_000 * CHUNK as u64)).unwrap();
    sender.hear_until(|message| *message == ReceiverMessage::Send { file: FileId(FILE) });
    let (mut sealer, mut stream) = sender.open_data(0);
    let all = (0..1_000_000u64).map(|n| hole_frame(&mut sealer, FILE, 2 * n, 1));
    let _ = all.into_iter().try_for_each(|frame| stream.write_all(&frame));
    let (_, reason) = sender.dismissal();
    assert!(reason.contains("scattered chunks"), "{reason}");
    let peak = receiver.process.memory_peak();
    assert!((1..64 << 20).contains(&peak), "the receiver had {peak} bytes");
}

/// One that is said of a file which failed meanwhile is passed over, and one of a stream ends the session.
#[test]
fn a_hole_of_a_file_that_is_over_is_passed_over() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut sender = with_files(&scene, &receiver, "given up");
    let failure = lanx::content::entry::Failure::new(lanx::content::entry::Cause::Source, "gone");
    sender.blurt(&[SenderMessage::Withdraw { file: FileId(FILE), failure }]);
    sender.hear_until(|message| matches!(message, ReceiverMessage::Outcome { .. }));
    let (mut sealer, mut stream) = sender.open_data(0);
    stream.write_all(&hole_frame(&mut sealer, FILE, 0, 10)).unwrap();
    stream.write_all(&hole_frame(&mut sealer, 99, 0, 10)).unwrap();
    let (_, reason) = sender.dismissal();
    assert!(reason.contains("file 99"), "{reason}");
}

/// The same file once more, of which neither end remembers anything: each value is asked for, and nobody reads what is a hole.
#[test]
fn holes_that_are_there_already_are_compared_without_being_read() {
    let scene = Scene::new();
    let file = sparse(scene.src.join("image"), 4 * GIB, &[GIB, 3 * GIB + 5]);
    let receiver = scene.receiver();
    scene.send(&[&file], receiver.addr).expect_success();
    let before = receiver.process.bytes_read();
    scene.send_with(&["--checksum"], &[&file], receiver.addr).expect_success().expect_out(&["already there"]);
    let read = receiver.process.bytes_read() - before;
    assert!(read < 64 << 20, "{read} bytes were read");
}
