//! What is sent arrives: every size, name and way to say where to.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::common::*;

/// Around each boundary that the program knows: leaf, chunk, frame and tree.
const SIZES: [usize; 12] = [
    0,
    1,
    1023,
    1024,
    1025,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    3 * CHUNK - 1,
    (1 << 20) + 7,
    8 * CHUNK,
    (64 << 20) + 1,
];

fn files_of_all_sizes(scene: &Scene) -> Vec<PathBuf> {
    SIZES.iter().map(|size| make(&scene.src, format!("{size} bytes.bin"), *size)).collect()
}

#[test]
fn files_of_every_size_arrive_in_one_call_with_bytes_mode_and_time() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = files_of_all_sizes(&scene);
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst), listing(&scene.src));
}

#[test]
fn files_of_every_size_arrive_in_a_call_each() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = files_of_all_sizes(&scene);
    for file in &files {
        scene.send(std::slice::from_ref(file), receiver.addr).expect_success();
    }
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst), listing(&scene.src));
}

#[test]
fn every_number_of_connections_brings_the_same_file_over_as_many_connections() {
    let scene = Scene::new();
    let file = make(&scene.src, "image.raw", 40 * CHUNK + 5);
    for n in [1, 2, 5, 16] {
        let receiver = scene.receiver();
        let relay = Relay::to(receiver.addr);
        // Slowly, or the file is there before the last of them is open.
        let output = scene.send_with(&["-c", &n.to_string(), "--limit", "20M"], &[&file], relay.addr);
        output.expect_success().expect_out(&[&format!(" over {n} connection")]);
        assert_eq!(relay.data_connections(), n);
        assert_arrived(&[&file], &scene.dst);
        fs::remove_file(scene.dst.join("image.raw")).unwrap();
    }
}

fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "new\nline",
        "carriage\rreturn",
        "\x1b[31mred\x1b[0m\x07",
        "\x1b]0;title\x07",
        "\u{202e}gnp.exe",
        "zero\u{200b}width",
        "\u{9b}31m C1",
        " spaces around ",
        "back\\slash\\n",
        "...",
        ".hidden",
        "~",
        "*?[x]",
        "$(reboot) `id` 'q' \"q\"",
        "%s%n",
        "caf\u{e9}",
        "cafe\u{301}",
        "CASE",
        "case",
        "con.txt",
        "trailing dot.",
        "\u{1f980}",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(b"\xff\xfe not UTF-8 \xc3".to_vec());
    names.push(vec![b'n'; 255]);
    names.push(vec![0xff; 255]);
    names
}

#[test]
fn odd_names_arrive_byte_for_byte_and_never_reach_the_terminal_raw() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["-v"]);
    let make_all = |len: usize| -> Vec<PathBuf> {
        odd_names().iter().map(|name| make(&scene.src, OsStr::from_bytes(name), len)).collect()
    };
    let files = make_all(10);
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst), listing(&scene.src));

    // And again with other content, so that each name is in a complaint of either side.
    let refused = scene.send(&make_all(11), receiver.addr);
    refused.expect_code(5);
    assert_eq!(refused.err().lines().count(), files.len(), "{}", refused.err());
    receiver.wait_for_stdout(&format!("{} files failed", files.len()));
    assert_harmless(&receiver.process.stdout.bytes(), "the receiver");
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
}

#[test]
fn a_name_with_a_leading_dash_is_sent_as_a_path() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = [make(&scene.src, "-x", 3), make(&scene.src, "--overwrite", 4)];
    let addr = receiver.addr.to_string();
    scene.run(["send", "./-x", &addr]).expect_success();
    scene.run(["send", "--", "--overwrite", &addr]).expect_success();
    assert_arrived(&files, &scene.dst);
}

#[test]
fn several_senders_at_once_are_served() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files: Vec<PathBuf> =
        (0..6).map(|n| make(&scene.src, format!("from {n}"), (n + 1) * 3 * CHUNK + n)).collect();
    let senders: Vec<Process> =
        files.iter().map(|file| scene.start_send(&[], &[file], receiver.addr)).collect();
    for sender in senders {
        sender.finish(PATIENCE).expect_success();
    }
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst), listing(&scene.src));
}

#[test]
fn two_senders_of_one_name_do_not_mix_their_bytes() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (a, b) = (scene.path("a"), scene.path("b"));
    let files = [&a, &b].map(|dir| {
        fs::create_dir(dir).unwrap();
        let seed = dir.as_os_str().len() as u64 + dir.as_os_str().as_bytes().last().copied().unwrap() as u64;
        make_of(dir, "same name", &noise(seed, 20 * CHUNK))
    });
    let relay = Relay::holding_after(receiver.addr, 8 * CHUNK as u64);
    let senders = files.each_ref().map(|file| scene.start_send(&[], &[file], relay.addr));
    relay.wait_until_held();
    relay.release();
    let mut codes = senders.map(|sender| sender.finish(PATIENCE).code.unwrap());
    codes.sort();
    assert_eq!(codes, [0, 5], "one wins and the other is refused");
    let arrived = read(&scene.dst.join("same name"));
    assert!(files.iter().any(|file| read(file) == arrived));
    assert_eq!(listing(&scene.dst), ["same name"]);
}

#[test]
fn two_senders_of_the_same_file_at_once_both_succeed_and_one_is_told_that_it_was_there() {
    for (flags, size) in [(&[][..], 20 * CHUNK), (&[], 1000), (&["--verify=reread"], 20 * CHUNK)] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(flags);
        let file = make(&scene.src, "same file", size);
        // Held with its offer answered and a part of the file on its way.
        let relay = Relay::holding_after(receiver.addr, size as u64 / 2);
        let slow = scene.start_send(&[], &[&file], relay.addr);
        relay.wait_until_held();
        scene.send(&[&file], receiver.addr).expect_success().expect_out(&[", verified"]);
        let first = look(&scene.dst.join("same file"));
        relay.release();
        slow.finish(PATIENCE).expect_success().expect_out(&["same file (already there)"]);
        assert_eq!(look(&scene.dst.join("same file")), first, "the first one was replaced");
        assert_eq!(listing(&scene.dst), ["same file"]);
    }
}

#[test]
fn a_name_taken_meanwhile_by_another_file_of_the_same_size_is_refused() {
    for size in [20 * CHUNK, 1000] {
        let scene = Scene::new();
        let receiver = scene.receiver();
        let file = make(&scene.src, "name", size);
        let relay = Relay::holding_after(receiver.addr, size as u64 / 2);
        let slow = scene.start_send(&[], &[&file], relay.addr);
        relay.wait_until_held();
        let mut other = read(&file);
        *other.last_mut().unwrap() ^= 1;
        let there = make_of(&scene.dst, "name", &other);
        let before = look(&there);
        relay.release();
        slow.finish(PATIENCE).expect_complaint(5, &["name"]);
        assert_eq!(look(&there), before);
        assert_eq!(listing(&scene.dst), ["name"]);
    }
}

#[test]
fn more_large_files_than_may_be_under_way_at_once_arrive_in_one_call() {
    // Many times over, as each outcome lets the next file in and the two sides must agree on when.
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files: Vec<PathBuf> =
        (0..60).map(|n| make(&scene.src, format!("large {n:02}"), CHUNK + 1 + n)).collect();
    for _ in 0..30 {
        scene.send(&files, receiver.addr).expect_success().expect_out(&["60 files", ", verified"]);
        assert_arrived(&files, &scene.dst);
        files.iter().for_each(|file| fs::remove_file(scene.dst.join(file.file_name().unwrap())).unwrap());
    }
}

#[test]
fn hundreds_of_small_files_arrive_in_one_call_with_few_descriptors() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files: Vec<PathBuf> = (0..500).map(|n| make(&scene.src, format!("small {n:03}"), n * 7)).collect();
    // The data connections are held until everything that could be opened ahead has been.
    let relay = Relay::holding_after(receiver.addr, 20_000);
    let mut command = scene.lanx_with_descriptors(64);
    command.arg("send").args(&files).arg(relay.addr.to_string());
    let sender = Process::spawn(command);
    relay.wait_until_held();
    relay.release();
    sender.finish(PATIENCE).expect_success().expect_out(&["500 files"]);
    assert_arrived(&files, &scene.dst);
    assert_eq!(listing(&scene.dst), listing(&scene.src));
}

#[test]
fn the_sender_prints_the_blake3_hash_of_each_file_and_a_summary() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK - 3].map(|n| make(&scene.src, format!("f{n}"), n));
    let output = scene.send(&files, receiver.addr);
    output.expect_success();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        output.expect_out(&[&format!("{}  {name}\n", blake3::hash(&read(file)))]);
    }
    let text = output.out();
    let summary = text.lines().last().unwrap();
    for part in ["5 files, 1.84 MB in ", " connections, verified"] {
        assert!(summary.contains(part), "{part:?} in {summary:?}");
    }
    receiver.wait_for_stdout("from 127.0.0.1: 5 files, 1.84 MB in ");
    assert!(receiver.process.stderr.bytes().is_empty(), "{}", receiver.process.story());
}

#[test]
fn modes_arrive_as_they_are_but_never_setuid() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    for (mode, expected) in [(0o444, 0o444), (0o400, 0o400), (0o777, 0o777), (0o606, 0o606), (0o4755, 0o755)]
    {
        for size in [5, 2 * CHUNK] {
            let name = format!("{mode:o} {size}");
            let file = make(&scene.src, &name, size);
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            scene.send(&[&file], receiver.addr).expect_success();
            let arrived = look(&scene.dst.join(&name));
            assert_eq!(format!("{:o}", arrived.mode & 0o7777), format!("{expected:o}"), "{name}");
            assert_eq!(arrived.content, read(&file));
        }
    }
}

#[test]
fn times_before_1970_and_far_ahead_arrive() {
    use std::time::{Duration, SystemTime};
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = ["1955", "2262"].map(|name| make(&scene.src, name, 10));
    set_modified(&files[0], SystemTime::UNIX_EPOCH - Duration::new(473_385_599, 999_999_999));
    set_modified(&files[1], SystemTime::UNIX_EPOCH + Duration::new(9_214_646_400, 1));
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_symlink_given_as_path_sends_what_it_points_to_under_its_own_name() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make(&scene.src, "target", CHUNK + 9);
    let link = scene.src.join("link");
    symlink("target", &link).unwrap();
    scene.send(&[&link], receiver.addr).expect_success();
    assert_same(&file, &scene.dst.join("link"));
    assert_eq!(listing(&scene.dst), ["link"]);
}

#[test]
fn a_sparse_file_of_300_mib_arrives() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make_of(&scene.src, "sparse", b"begin");
    let size = 300 << 20;
    let handle = File::options().write(true).open(&file).unwrap();
    handle.set_len(size).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&handle, b"end", size - 3).unwrap();
    drop(handle);
    scene.send(&[&file], receiver.addr).expect_success().expect_out(&["1 file, 315 MB in "]);
    assert_same(&file, &scene.dst.join("sparse"));
}
