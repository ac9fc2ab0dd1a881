//! `something | lanx send - HOST --name NAME`: standard input of unknown length arrives whole and verified, or not at all.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;

use lanx::limits::{IN_ORDER_STEP_CHUNKS, IN_ORDER_WINDOW_CHUNKS, STREAM_WINDOW_CHUNKS};
use rustix::process::Signal;

use crate::common::*;

const MIB: usize = 1 << 20;

/// Starts `lanx send FLAGS - HOST --name NAME` with something to read.
fn start(scene: &Scene, flags: &[&str], name: &str, host: impl ToString, stdin: impl Into<Stdio>) -> Process {
    let mut command = scene.lanx();
    command.arg("send").args(flags).args(["-", &host.to_string(), "--name", name]);
    Process::spawn_fed(command, stdin)
}

/// Runs it to its end with `content` in its pipe.
fn send_with(scene: &Scene, flags: &[&str], name: &str, host: impl ToString, content: &[u8]) -> Output {
    let (reader, mut writer) = pipe().unwrap();
    let sender = start(scene, flags, name, host, reader);
    thread::scope(|scope| {
        // One that ends early does not read all of it.
        scope.spawn(move || drop(writer.write_all(content)));
        sender.finish(PATIENCE)
    })
}

fn send(scene: &Scene, name: &str, host: impl ToString, content: &[u8]) -> Output {
    send_with(scene, &[], name, host, content)
}

/// Bytes in the part file of the stream.
fn arrived(scene: &Scene) -> u64 {
    fs::metadata(part_path(&scene.dst, "stream")).map_or(0, |part| part.len())
}

#[test]
fn a_stream_of_any_size_arrives_as_it_is_with_the_hash_of_the_whole() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let several = STREAM_WINDOW_CHUNKS * CHUNK + 7 * MIB + 13;
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 1, several];
    for size in sizes {
        let content = noise(size as u64, size);
        let name = format!("stream-{size}");
        let sent = send(&scene, &name, receiver.addr, &content);
        let hash = blake3::hash(&content);
        sent.expect_success().expect_out(&[&format!("{hash}  {name}\n"), "1 file, ", "verified"]);
        assert!(read(&scene.dst.join(&name)) == content, "{size} bytes arrived otherwise");
        let mode = fs::metadata(scene.dst.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7600, 0o600, "{mode:o}");
    }
    assert_eq!(listing(&scene.dst).len(), sizes.len(), "{:?}", listing(&scene.dst));
}

#[test]
fn a_stream_of_any_size_comes_out_of_standard_output_as_it_is() {
    for size in [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK, STREAM_WINDOW_CHUNKS * CHUNK + 5 * MIB + 1] {
        let scene = Scene::new();
        let (mut reader, writer) = pipe().unwrap();
        let receiver = Receiver::to_output(&scene, &[], writer);
        let content = noise(size as u64, size);
        let reading = thread::spawn(move || {
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            out
        });
        send(&scene, "stream", receiver.addr, &content).expect_success();
        receiver.process.finish(PATIENCE).expect_code(0);
        assert!(reading.join().unwrap() == content, "{size} bytes came out otherwise");
    }
}

#[test]
fn a_reader_that_does_not_read_holds_the_stream_up_and_nothing_is_lost() {
    let scene = Scene::new();
    let (mut reader, writer) = pipe().unwrap();
    let receiver = Receiver::to_output(&scene, &[], writer);
    let relay = Relay::to(receiver.addr);
    let (input, mut feeder) = pipe().unwrap();
    let sender = start(&scene, &[], "stream", relay.addr, input);
    let content = noise(10, 3 * STREAM_WINDOW_CHUNKS * CHUNK + 9);
    let fed = content.clone();
    let feeding = thread::spawn(move || feeder.write_all(&fed).unwrap());
    let window = IN_ORDER_WINDOW_CHUNKS * CHUNK as u64;
    wait_until("the receiver has no more room", PATIENCE, || relay.carried() >= window);
    let mut out = vec![0; content.len()];
    reader.read_exact(&mut out[..MIB]).unwrap();
    let most = window + 2 * MIB as u64 + IN_ORDER_STEP_CHUNKS * CHUNK as u64;
    assert!(relay.carried() < most, "{} bytes were sent ahead", relay.carried());
    reader.read_exact(&mut out[MIB..]).unwrap();
    feeding.join().unwrap();
    sender.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
    assert!(out == content);
}

#[test]
fn chunks_that_were_on_dead_connections_are_sent_again_though_they_cannot_be_read_again() {
    for output in [false, true] {
        let scene = Scene::new();
        let out = scene.path("out");
        let receiver = match output {
            true => Receiver::to_output(&scene, &[], File::create(&out).unwrap()),
            false => scene.receiver_with(&["--once"]),
        };
        let content = noise(1, 3 * STREAM_WINDOW_CHUNKS * CHUNK);
        let cut = |nth, at| Fault { kind: Kind::Data, nth, at, harm: Harm::Cut };
        let relay = Relay::with_fault(receiver.addr, cut(1, 3 * MIB as u64 + 99));
        relay.add_fault(cut(2, 5 * MIB as u64 + 1));
        relay.add_fault(Fault { kind: Kind::Data, nth: 0, at: 2 * MIB as u64, harm: Harm::Flip(3) });
        send_with(&scene, &["-c", "4"], "stream", relay.addr, &content).expect_success();
        let received = receiver.process.finish(PATIENCE);
        received.expect_code(0);
        let out = if output { out } else { scene.dst.join("stream") };
        assert!(read(&out) == content, "something else arrived, output: {output}");
        assert!(relay.data_connections() >= 7, "connections were not replaced");
    }
}

#[test]
fn what_comes_slowly_is_sent_as_it_comes() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (reader, mut writer) = pipe().unwrap();
    let sender = start(&scene, &[], "stream", receiver.addr, reader);
    let content = noise(2, 5 * CHUNK + 10);
    // A byte behind the first chunk makes it a stream, and only then it is offered.
    writer.write_all(&content[..CHUNK + 1]).unwrap();
    wait_until("the first chunk is there", PATIENCE, || arrived(&scene) == CHUNK as u64);
    writer.write_all(&content[CHUNK + 1..3 * CHUNK]).unwrap();
    wait_until("the next two are there", PATIENCE, || arrived(&scene) == 3 * CHUNK as u64);
    for piece in content[3 * CHUNK..].chunks(CHUNK / 3 + 1) {
        writer.write_all(piece).unwrap();
    }
    drop(writer);
    sender.finish(PATIENCE).expect_success();
    assert!(read(&scene.dst.join("stream")) == content);
}

#[test]
fn neither_side_holds_more_than_its_window() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (reader, mut writer) = pipe().unwrap();
    let relay = Relay::holding_after(receiver.addr, MIB as u64);
    // What each connection has besides is the same in every transfer, so there are as many as there are at first.
    let sender = start(&scene, &["-c", "4"], "stream", relay.addr, reader);
    let content = noise(3, 128 * MIB);
    let fed = content.clone();
    let feeding = thread::spawn(move || {
        writer.write_all(&fed).unwrap();
        writer
    });
    let window = (STREAM_WINDOW_CHUNKS * CHUNK) as u64;
    wait_until("the sender has read ahead", PATIENCE, || sender.memory_peak() >= window / 4);
    relay.release();
    wait_until("all of it is there", PATIENCE, || arrived(&scene) == content.len() as u64);
    let writer = feeding.join().unwrap();
    // Pages of the program itself are no matter of the stream.
    let held = |process: &Process| process.memory_peak() - process.memory_of_files();
    let (here, there) = (held(&sender), held(&receiver.process));
    let besides = 6 * MIB as u64;
    assert!((window / 4..window + besides).contains(&here), "{here} bytes of memory at the sender");
    assert!((1..besides).contains(&there), "{there} bytes of memory at the receiver");
    drop(writer);
    sender.finish(PATIENCE).expect_success();
    assert!(read(&scene.dst.join("stream")) == content);
}

#[test]
fn a_name_that_is_taken_is_refused_at_once_replaced_or_numbered() {
    let content = noise(4, 3 * CHUNK);
    let kept = |flags: &[&str]| {
        let scene = Scene::new();
        let receiver = scene.receiver_with(flags);
        let existing = make(&scene.dst, "stream.txt", 3 * CHUNK);
        let before = look(&existing);
        let sent = send(&scene, "stream.txt", receiver.addr, &content);
        let same = look(&existing) == before;
        (scene, sent, same)
    };
    let (scene, sent, same) = kept(&[]);
    sent.expect_complaint(5, &["stream.txt: the receiver has another file of this name", "--overwrite"]);
    assert!(same && listing(&scene.dst) == ["stream.txt"]);
    for flags in [&["--overwrite"][..], &["--delta"]] {
        let (scene, sent, _) = kept(flags);
        sent.expect_success();
        assert!(read(&scene.dst.join("stream.txt")) == content && listing(&scene.dst) == ["stream.txt"]);
    }
    let (scene, sent, same) = kept(&["--rename"]);
    sent.expect_success().expect_out(&["stored as stream (1).txt"]);
    assert!(same && read(&scene.dst.join("stream (1).txt")) == content);
}

#[test]
fn it_is_also_stored_durably_and_read_back() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--sync", "--verify=reread"]);
    let content = noise(5, 9 * CHUNK - 5);
    send(&scene, "stream", receiver.addr, &content).expect_success();
    assert!(read(&scene.dst.join("stream")) == content);
}

#[test]
fn a_limit_holds_for_a_stream_too_and_it_arrives() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let content = noise(6, 6 * CHUNK + 1);
    send_with(&scene, &["--limit", "20M"], "stream", receiver.addr, &content).expect_success();
    assert!(read(&scene.dst.join("stream")) == content);
}

// ---- ends that are none ----

/// A stream under way of which some has arrived, and whose writer has stopped.
fn stalled(scene: &Scene, receiver: &Receiver) -> (Process, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let sender = start(scene, &[], "stream", receiver.addr, reader);
    writer.write_all(&noise(7, 4 * CHUNK + 100)).unwrap();
    wait_until("some of it is there", PATIENCE, || arrived(scene) == 4 * CHUNK as u64);
    (sender, writer)
}

#[test]
fn a_receiver_that_dies_ends_the_sender_though_nobody_writes_and_the_next_try_succeeds() {
    let scene = Scene::new();
    let mut receiver = scene.receiver();
    let (sender, writer) = stalled(&scene, &receiver);
    receiver.process.kill();
    let words = ["lost 127.0.0.1", "B had arrived; what was read of standard input is gone"];
    let sent = sender.finish(PATIENCE);
    sent.expect_complaint(3, &words);
    assert!(!sent.err().contains("retrying for"), "{}", sent.err());
    drop(writer);
    // What the receiver could not remove is in nobody's way.
    assert!(part_path(&scene.dst, "stream").exists());
    let receiver = scene.receiver();
    let content = noise(8, 2 * CHUNK + 5);
    send(&scene, "stream", receiver.addr, &content).expect_success();
    assert!(read(&scene.dst.join("stream")) == content && listing(&scene.dst) == ["stream"]);
}

#[test]
fn a_sender_that_dies_leaves_nothing_behind() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (mut sender, writer) = stalled(&scene, &receiver);
    sender.kill();
    wait_until("the part file is gone", PATIENCE, || listing(&scene.dst).is_empty());
    drop(writer);
    let file = make(&scene.src, "file", 3 * CHUNK);
    scene.send(&[&file], receiver.addr).expect_success();
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn a_receiver_that_is_stopped_removes_what_nobody_can_go_on_with() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (sender, _writer) = stalled(&scene, &receiver);
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_code(130);
    assert!(listing(&scene.dst).is_empty(), "{:?}", listing(&scene.dst));
    sender.finish(PATIENCE).expect_complaint(3, &["the receiver was stopped"]);
}

#[test]
fn ctrl_c_ends_the_sender_though_nobody_writes() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let (sender, _writer) = stalled(&scene, &receiver);
    sender.signal(Signal::INT);
    sender
        .finish(PATIENCE)
        .expect_complaint(130, &["interrupted; ", "B had arrived; what was read of standard input is gone"]);
    wait_until("the part file is gone", PATIENCE, || listing(&scene.dst).is_empty());
    // And also where nothing was ever written, so that nothing is offered.
    let (reader, _writer) = pipe().unwrap();
    let sender = start(&scene, &["--json"], "stream", receiver.addr, reader);
    sender.wait_for_event("start", 1);
    sender.signal(Signal::INT);
    let words = ["interrupted"];
    sender.finish(PATIENCE).expect_complaint(130, &words);
}

#[test]
fn standard_input_that_cannot_be_read_is_named() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let sender = start(&scene, &[], "stream", receiver.addr, File::open(&scene.src).unwrap());
    let sent = sender.finish(PATIENCE);
    sent.expect_complaint(5, &["standard input: cannot read it: ", "folder"]);
    assert!(listing(&scene.dst).is_empty());
}

// ---- what scripts see ----

#[test]
fn events_know_no_total_while_there_is_none() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--json"]);
    let (reader, mut writer) = pipe().unwrap();
    let sender = start(&scene, &["--json"], "stream", receiver.addr, reader);
    let content = noise(9, 5 * CHUNK + 3);
    writer.write_all(&content[..4 * CHUNK + 1]).unwrap();
    wait_until("some of it is there", PATIENCE, || arrived(&scene) == 4 * CHUNK as u64);
    for process in [&sender, &receiver.process] {
        let had = of_kind(&process.events(), "progress").len();
        // The first may be from before; the next is not.
        let progress = process.wait_for_event("progress", had + 2);
        assert_eq!(progress["bytes"], 4 * CHUNK, "{progress}");
        assert!(progress.get("total").is_none() && progress.get("percent").is_none(), "{progress}");
    }
    writer.write_all(&content[4 * CHUNK + 1..]).unwrap();
    drop(writer);
    for output in [sender.finish(PATIENCE), receiver.process.finish(PATIENCE)] {
        let events = output.events();
        let file = of_kind(&events, "file")[0];
        assert_eq!((&file["size"], &file["status"]), (&content.len().into(), &"sent".into()));
        assert_eq!(file["blake3"], blake3::hash(&content).to_string());
        assert_eq!(of_kind(&events, "done")[0]["bytes"], content.len());
    }
}

#[test]
fn a_stream_that_failed_before_its_end_has_no_size() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--once", "--json"]);
    make(&scene.dst, "stream", 3);
    let sent = send_with(&scene, &["--json"], "stream", receiver.addr, &noise(1, 2 * CHUNK));
    for output in [sent, receiver.process.finish(PATIENCE)] {
        output.expect_code(5);
        let events = output.events();
        let file = of_kind(&events, "file")[0];
        assert_eq!((&file["status"], &file["cause"]), (&"failed".into(), &"refused".into()));
        assert!(file.get("size").is_none(), "{file}");
    }
}
