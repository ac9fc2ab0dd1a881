//! What holds whatever carries a session: the same tests over TCP and over QUIC.

use std::fs;
use std::process::Stdio;

use crate::common::*;

/// Names a test for each door.
macro_rules! over_each {
    ($($name:ident)*) => {
        mod over_tcp {
            $(#[test] fn $name() { super::$name(super::Scene::new); })*
        }
        mod over_quic {
            $(#[test] fn $name() { super::$name(super::Scene::over_quic); })*
        }
    };
}

over_each! {
    files_of_every_size_arrive
    folders_arrive_as_they_are
    a_receiver_that_was_killed_is_resumed
    a_sender_that_was_killed_is_resumed
    a_receiver_that_comes_back_is_found_again
    what_is_compressed_arrives
    only_the_parts_that_differ_are_sent
    a_limit_holds
    a_stream_goes_from_pipe_to_pipe
    several_receivers_get_the_same
    a_dry_run_stores_nothing
    a_wrong_code_is_refused_and_the_right_one_pairs
    whoever_is_not_known_is_not_let_in
    many_come_at_once
    a_machine_measures_the_way
    events_and_metrics_tell_of_it
}

type Make = fn() -> Scene;

fn files_of_every_size_arrive(scene: Make) {
    let scene = scene();
    let sizes = [0, 1, 1024, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 7];
    let files: Vec<_> = sizes.iter().map(|size| make(&scene.src, format!("{size}.bin"), *size)).collect();
    let receiver = scene.receiver();
    scene.send(&files, receiver.addr).expect_success();
    assert_arrived(&files, &scene.dst);
}

fn folders_arrive_as_they_are(scene: Make) {
    let scene = scene();
    let folder = scene.src.join("tree");
    let files: Vec<_> = (0..60)
        .map(|n| {
            let within = folder.join(format!("{}/{}", n % 5, n % 3));
            fs::create_dir_all(&within).unwrap();
            make(&within, format!("file-{n}"), n * 977)
        })
        .collect();
    std::os::unix::fs::symlink("0/0", folder.join("link")).unwrap();
    let receiver = scene.receiver();
    scene.send(&[&folder], receiver.addr).expect_success();
    for file in &files {
        assert_same(file, &scene.dst.join(file.strip_prefix(&scene.src).unwrap()));
    }
    assert_eq!(fs::read_link(scene.dst.join("tree/link")).unwrap().to_str(), Some("0/0"));
}

/// Waits until a part file has that many whole chunks of the file.
fn wait_for_chunks(scene: &Scene, whole: &[u8], chunks: usize) {
    let part = part_path(&scene.dst, "image.raw");
    wait_until("some of it is there", PATIENCE, || bytes_in_common(whole, &part) >= (chunks * CHUNK) as u64);
}

/// Demands that fewer bytes crossed than this.
#[track_caller]
fn assert_crossed_less(output: &Output, most: usize) {
    let events = output.events();
    let done = of_kind(&events, "done")[0];
    assert!(done["wire_bytes"].as_u64().unwrap() < most as u64, "{done}");
}

fn a_receiver_that_was_killed_is_resumed(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 40 * CHUNK);
    let mut receiver = scene.receiver();
    let sender =
        scene.start_send(&["--retry-for", "0", "--limit", "8M", "--timeout", "5"], &[&file], receiver.addr);
    wait_for_chunks(&scene, &read(&file), 8);
    receiver.process.kill();
    sender.finish(PATIENCE).expect_code(3);
    let receiver = scene.receiver();
    let output = scene.send_with(&["--json"], &[&file], receiver.addr);
    output.expect_success();
    assert_arrived(&[file], &scene.dst);
    assert_crossed_less(&output, 36 * CHUNK);
}

fn a_sender_that_was_killed_is_resumed(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 40 * CHUNK);
    let receiver = scene.receiver();
    let mut sender = scene.start_send(&["--limit", "8M"], &[&file], receiver.addr);
    wait_for_chunks(&scene, &read(&file), 8);
    sender.kill();
    let output = scene.send_with(&["--json"], &[&file], receiver.addr);
    output.expect_success();
    assert_arrived(&[file], &scene.dst);
    assert_crossed_less(&output, 36 * CHUNK);
}

fn a_receiver_that_comes_back_is_found_again(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 40 * CHUNK);
    let mut receiver = scene.receiver();
    let addr = receiver.addr;
    let sender = scene.start_send(&["--limit", "8M", "--timeout", "5"], &[&file], addr);
    wait_for_chunks(&scene, &read(&file), 8);
    receiver.process.kill();
    let _again = Receiver::start(&scene, &addr.to_string(), &[], &scene.dst);
    sender.finish(PATIENCE).expect_code(0);
    assert_arrived(&[file], &scene.dst);
}

fn what_is_compressed_arrives(scene: Make) {
    let scene = scene();
    let text = "one line is as good as another\n".repeat(60_000);
    let file = make_of(&scene.src, "letter.txt", text.as_bytes());
    let receiver = scene.receiver();
    let output = scene.send_with(&["--compress", "zstd", "--json"], &[&file], receiver.addr);
    output.expect_success();
    assert_arrived(&[file], &scene.dst);
    assert_crossed_less(&output, text.len() / 4);
}

fn only_the_parts_that_differ_are_sent(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 20 * CHUNK);
    let receiver = scene.receiver_with(&["--delta"]);
    scene.send(&[&file], receiver.addr).expect_success();
    let mut bytes = read(&file);
    bytes[7 * CHUNK + 3] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = scene.send_with(&["--delta", "--json"], &[&file], receiver.addr);
    output.expect_success();
    assert_arrived(&[file], &scene.dst);
    assert_crossed_less(&output, 3 * CHUNK);
}

fn a_limit_holds(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 16 * CHUNK);
    let receiver = scene.receiver();
    let began = std::time::Instant::now();
    scene.send_with(&["--limit", "4M"], &[&file], receiver.addr).expect_success();
    assert!(began.elapsed().as_secs_f64() > 0.8, "4 MB at 4 MB/s in {:?}", began.elapsed());
    assert_arrived(&[file], &scene.dst);
}

fn a_stream_goes_from_pipe_to_pipe(scene: Make) {
    let scene = scene();
    let bytes = noise(7, 5 * CHUNK + 11);
    let (mut from, into) = std::io::pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], into);
    let file = make_of(&scene.src, "stream", &bytes);
    let mut command = scene.lanx();
    command.args(["send", "-", "--name", "stream"]).arg(receiver.addr.to_string());
    let sender = Process::spawn_fed(command, Stdio::from(fs::File::open(file).unwrap()));
    let mut arrived = vec![0; bytes.len()];
    std::io::Read::read_exact(&mut from, &mut arrived).unwrap();
    assert!(arrived == bytes);
    sender.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
}

fn several_receivers_get_the_same(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 6 * CHUNK + 1);
    let receivers = ["a", "b"].map(|name| {
        let dst = scene.path(name);
        fs::create_dir(&dst).unwrap();
        (Receiver::start(&scene, "127.0.0.1:0", &[], &dst), dst)
    });
    let hosts = receivers.each_ref().map(|(receiver, _)| receiver.addr.to_string());
    let args = ["send", "image.raw", "--to", &hosts[0], "--to", &hosts[1]];
    scene.run(args).expect_success();
    for (_, dst) in &receivers {
        assert_arrived(&[&file], dst);
    }
}

fn a_dry_run_stores_nothing(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", CHUNK);
    let receiver = scene.receiver();
    scene.send_with(&["-n"], &[&file], receiver.addr).expect_success();
    assert!(listing(&scene.dst).is_empty());
}

fn a_wrong_code_is_refused_and_the_right_one_pairs(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "letter", 10);
    let receiver = scene.receiver_of("receiver", &[], Some("correct horse"));
    scene.send_by("sender", Some("battery staple"), &file, receiver.addr).expect_complaint(4, &["code"]);
    assert!(listing(&scene.dst).is_empty());
    scene.send_by("sender", Some("correct horse"), &file, receiver.addr).expect_code(0);
    scene.send_by("sender", None, &file, receiver.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
}

fn whoever_is_not_known_is_not_let_in(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "letter", 10);
    let receiver = scene.receiver_of("receiver", &[], None);
    scene.send_by("sender", None, &file, receiver.addr).expect_code(4);
    assert!(listing(&scene.dst).is_empty());
}

fn many_come_at_once(scene: Make) {
    let scene = scene();
    let receiver = scene.receiver_with(&["--max-transfers", "3"]);
    let files: Vec<_> = (0..12).map(|n| make(&scene.src, format!("file-{n}"), CHUNK + n)).collect();
    let senders: Vec<_> = files.iter().map(|file| scene.start_send(&[], &[file], receiver.addr)).collect();
    for sender in senders {
        sender.finish(PATIENCE).expect_code(0);
    }
    assert_arrived(&files, &scene.dst);
}

fn a_machine_measures_the_way(scene: Make) {
    let scene = scene();
    let receiver = scene.receiver();
    let host = receiver.addr.to_string();
    let output = scene.run(["doctor", &host, "--json"]);
    output.expect_success();
    assert!(listing(&scene.dst).is_empty());
}

fn events_and_metrics_tell_of_it(scene: Make) {
    let scene = scene();
    let file = make(&scene.src, "image.raw", 3 * CHUNK);
    let receiver = scene.receiver_with(&["--json"]);
    scene.send_with(&["--json"], &[&file], receiver.addr).expect_success();
    receiver.process.wait_for_event("done", 1);
}
