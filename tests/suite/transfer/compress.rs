//! `--compress`: what can be made shorter crosses the network shorter, and everything arrives as it was.

use std::fs;
use std::io::{Read, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::common::peer::{HandReceiver, identity, welcome};
use crate::common::*;
use lanx::content::chunk::FileId;
use lanx::wire::message::{ReceiverMessage, SenderMessage};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// Text of so many bytes that becomes a fourth or less.
fn text(len: usize) -> Vec<u8> {
    let line = |n: u64| {
        let (minute, code) = (n / 60 % 60, n.wrapping_mul(0x9e37_79b9) % 100_000);
        format!(
            "2026-11-30 09:{minute:02}:{:02} INFO request {code} for /static/page.html took 12 ms\n",
            n % 60
        )
    };
    (0..).flat_map(|n| line(n).into_bytes()).take(len).collect()
}

fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("deep")).unwrap();
    make_of(&tree, "log", &text(9 * CHUNK + 17));
    make_of(&tree, "chunk", &text(CHUNK));
    make(&tree, "film.mp4", 5 * CHUNK + 1);
    // A name that lies.
    make_of(&tree, "text.zst", &text(40 * CHUNK));
    make(&tree, "empty", 0);
    for n in 0..40 {
        make_of(&tree.join("deep"), format!("text-{n}"), &text(700 * n + 1));
        make(&tree.join("deep"), format!("noise-{n}"), 700 * n + 1);
    }
    tree
}

fn assert_tree(a: &Path, b: &Path) {
    assert_eq!(listing(a), listing(b));
    for name in listing(a) {
        let (a, b) = (a.join(&name), b.join(&name));
        if a.is_dir() { assert_tree(&a, &b) } else { assert_same(&a, &b) }
    }
}

/// The last event of a sender, and what it says of bytes of files that crossed, and of the wire.
#[track_caller]
fn done(sent: &Output) -> (u64, u64, Value) {
    let events = sent.expect_code(0).events();
    let done = events.last().unwrap().clone();
    let number = |name: &str| done[name].as_u64().unwrap();
    (number("sent_bytes"), number("wire_bytes"), done)
}

#[test]
fn what_can_be_made_shorter_crosses_shorter_and_arrives_as_it_was() {
    for how in ["lz4", "zstd", "zstd:1", "zstd:12"] {
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--json"]);
        let relay = Relay::to(receiver.addr);
        let tree = tree(&scene.src);
        let sent = scene.send_with(&["--compress", how, "--json"], &[&tree], relay.addr);
        assert_tree(&tree, &scene.dst.join("tree"));
        let (files, wire, done) = done(&sent);
        assert!(
            wire < files / 2 && relay.carried() < files / 2,
            "{how}: {wire} and {} of {files}",
            relay.carried()
        );
        assert!(wire <= relay.carried(), "{how}: {wire} of {}", relay.carried());
        assert_eq!(sent.events()[0]["compress"], if how == "zstd" { "zstd:3" } else { how });
        for (end, stage) in [("sender", "compress"), ("receiver", "decompress")] {
            assert!(done["spent"][end][stage].as_f64().unwrap() > 0.0, "{how}: {done}");
        }
        // What the receiver has seen is the same.
        let received = receiver.process.wait_for_event("done", 1);
        assert_eq!(
            (received["sent_bytes"].as_u64(), received["wire_bytes"].as_u64()),
            (Some(files), Some(wire))
        );
    }
}

#[test]
fn the_summary_says_what_was_on_the_wire() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make_of(&scene.src, "log", &text(20 * CHUNK));
    let sent = scene.send_with(&["--compress", "zstd"], &[&file], receiver.addr);
    sent.expect_success().expect_out(&["1 file, 5.24 MB", " kB on the wire over ", "verified"]);
    receiver.wait_for_stdout(" on the wire");
    let plain = make(&scene.src, "noise", 20 * CHUNK);
    let sent = scene.send_with(&["--compress", "zstd"], &[&plain], receiver.addr);
    assert!(!sent.expect_success().out().contains("on the wire"), "{}", sent.out());
}

#[test]
fn what_gets_no_shorter_is_sent_as_it_is() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let files = [make(&scene.src, "noise", 20 * CHUNK), make(&scene.src, "small", 20_000)];
    for how in ["lz4", "zstd"] {
        let (sent, wire, _) = done(&scene.send_with(&["--compress", how, "--json"], &files, receiver.addr));
        assert_arrived(&files, &scene.dst);
        let frames = 21 * 80;
        assert!((sent..sent + frames).contains(&wire), "{how}: {wire} for {sent}");
        files.iter().for_each(|file| fs::remove_file(scene.dst.join(file.file_name().unwrap())).unwrap());
    }
}

#[test]
fn either_side_can_do_without() {
    let scene = Scene::new();
    let content = text(8 * CHUNK);
    for (recv, send, told) in [
        (&[][..], &["--compress", "no"][..], false),
        (&["--compress", "no"], &["--compress", "lz4"], true),
        (&["--compress", "no"], &["--compress", "auto"], false),
    ] {
        let dir = scene.path(&format!("{}{}", recv.len(), send[1]));
        let receiver = Receiver::start(&scene, "127.0.0.1:0", recv, &dir);
        let file = make_of(&scene.src, "log", &content);
        let sent = scene.send_with(&[send, &["--json"]].concat(), &[&file], receiver.addr);
        let (files, wire, _) = done(&sent);
        assert!(wire > files, "{recv:?} {send:?}: {wire} of {files}");
        assert_eq!(sent.events()[0]["compress"], "no");
        assert_eq!(
            sent.err().contains("nothing is compressed, as the receiver is older"),
            told,
            "{}",
            sent.err()
        );
        assert_arrived(&[&file], &dir);
    }
}

/// As every lanx before this one is.
#[test]
fn a_receiver_that_says_nothing_of_codecs_gets_plain_chunks() {
    let scene = Scene::new();
    let receiver = HandReceiver::listen(identity(&scene.path("config")));
    let file = make_of(&scene.src, "log", &text(CHUNK));
    let mut sender = scene.start_send(&["--compress", "zstd", "--timeout", "5"], &[&file], receiver.addr);
    let mut talk = receiver.accept().unwrap();
    assert!(matches!(talk.hear(), Ok(SenderMessage::Hello(_))));
    talk.say(&welcome()).unwrap();
    while !matches!(talk.hear().unwrap(), SenderMessage::Offer(_)) {}
    talk.say(&ReceiverMessage::Send { file: FileId(0) }).unwrap();
    let header = receiver.first_header().unwrap();
    // Kind, codec and length, in the clear: a whole file with its hash.
    assert_eq!(header[..8], [2, 0, 0, 0, 0x20, 0, 4, 0]);
    sender.kill();
}

#[test]
fn an_option_that_cannot_be_is_a_usage_error_that_says_what_can() {
    let scene = Scene::new();
    for how in ["gzip", "zstd:0", "zstd:13", "zstd:", "lz4:1", ""] {
        let output = scene.run(["send", &format!("--compress={how}"), "file", "127.0.0.1:1"]);
        output.expect_code(2);
        assert!(
            output.err().contains("lz4, zstd, zstd:N with N from 1 to 12, no or auto"),
            "{}",
            output.err()
        );
    }
    scene.run(["recv", "--compress", "zstd"]).expect_code(2);
}

#[test]
fn how_is_a_setting_too() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make_of(&scene.src, "log", &text(8 * CHUNK));
    fs::write(scene.path("config").join("config.toml"), "[send]\ncompress = \"lz4\"\n").unwrap();
    let sent = scene.send_with(&["--json"], &[&file], receiver.addr);
    assert_eq!(sent.expect_success().events()[0]["compress"], "lz4");
    let mut command = scene.lanx();
    command.env("LANX_SEND_COMPRESS", "zstd:2").args(["config", "--json"]);
    let output = Process::spawn(command).finish(PATIENCE);
    let shown: Vec<Value> = output.out().lines().map(event).collect();
    let of_send = shown.iter().find(|one| one["command"] == "send" && one["option"] == "compress").unwrap();
    assert_eq!((&of_send["value"], &of_send["origin"]), (&"zstd:2".into(), &"environment".into()));
}

#[test]
fn a_transfer_that_was_interrupted_goes_on_where_it_was() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let content = text(120 * CHUNK);
    let file = make_of(&scene.src, "log", &content);
    let how = ["--compress", "zstd:1", "-c", "1"];
    let all = {
        let dir = scene.path("whole");
        let receiver = Receiver::start(&scene, "127.0.0.1:0", &[], &dir);
        done(&scene.send_with(&[&how[..], &["--json"]].concat(), &[&file], receiver.addr)).1
    };
    let relay = Relay::holding_after(receiver.addr, all * 2 / 3);
    let mut sender = scene.start_send(&how, &[&file], relay.addr);
    let part = part_path(&scene.dst, "log");
    wait_until("half of it has arrived", PATIENCE, || {
        bytes_in_common(&content, &part) * 2 > content.len() as u64
    });
    sender.kill();
    let (_, wire, _) = done(&scene.send_with(&[&how[..], &["--json"]].concat(), &[&file], receiver.addr));
    assert!(wire < all * 2 / 3, "{wire} of {all} once more");
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn connections_that_die_lose_nothing() {
    ["lz4", "zstd"].into_iter().for_each(connections_that_die);
}

fn connections_that_die(how: &str) {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make_of(&scene.src, "log", &text(60 * CHUNK));
    let relay = Relay::to(receiver.addr);
    for (nth, at, harm) in [(0, 100_000, Harm::Cut), (1, 70_000, Harm::Flip(3)), (2, 50, Harm::Cut)] {
        relay.add_fault(Fault { kind: Kind::Data, nth, at, harm });
    }
    scene.send_with(&["--compress", how], &[&file], relay.addr).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
}

#[test]
fn of_a_changed_file_only_what_differs_crosses_and_that_compressed() {
    let scene = Scene::new();
    let mut content = text(40 * CHUNK);
    make_of(&scene.dst, "log", &content);
    content[7 * CHUNK + 5] ^= 1;
    let file = make_of(&scene.src, "log", &content);
    let receiver = scene.receiver_with(&["--delta"]);
    let sent = scene.send_with(&["--delta", "--compress", "zstd", "--json"], &[&file], receiver.addr);
    let (files, wire, _) = done(&sent);
    assert!(files < 3 * CHUNK as u64 && wire < files / 2, "{wire} of {files}");
    assert_arrived(&[&file], &scene.dst);
}

/// Runs `lanx send - FLAGS` with `content` in its pipe.
fn send_stream(scene: &Scene, flags: &[&str], host: impl ToString, content: &[u8]) -> Output {
    let (reader, mut writer) = pipe().unwrap();
    let mut command: Command = scene.lanx();
    command.args(["send", "--json", "-", &host.to_string(), "--name", "stream"]).args(flags);
    let sender = Process::spawn_fed(command, reader);
    thread::scope(|scope| {
        scope.spawn(move || drop(writer.write_all(content)));
        sender.finish(PATIENCE)
    })
}

#[test]
fn a_stream_is_compressed_where_the_user_wants_that_and_never_by_itself() {
    for size in [300, 3 * CHUNK - 7, 30 * CHUNK + 9] {
        let content = text(size);
        let scene = Scene::new();
        let receiver = scene.receiver_with(&["--overwrite"]);
        let (_, wire, _) = done(&send_stream(&scene, &["--compress", "zstd"], receiver.addr, &content));
        assert!(read(&scene.dst.join("stream")) == content, "{size} bytes arrived otherwise");
        // A last chunk that is short is plain.
        let plain = (size % CHUNK + 200 * (size / CHUNK + 1)) as u64;
        assert!(wire < plain + size as u64 / 3, "{wire} of {size}");
        let other = text(size + 1);
        let sent = send_stream(&scene, &[], receiver.addr, &other);
        assert_eq!(sent.events()[0]["compress"], "no", "{}", sent.out());
        assert!(done(&sent).1 > size as u64 && read(&scene.dst.join("stream")) == other);
    }
}

#[test]
fn what_goes_to_standard_output_may_come_compressed() {
    for size in [10, 9_000, CHUNK, 2 * CHUNK, 90 * CHUNK + 1] {
        let scene = Scene::new();
        let (mut reader, writer) = pipe().unwrap();
        let receiver = Receiver::to_output(&scene, &[], writer);
        let content = text(size);
        let reading = thread::spawn(move || {
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            out
        });
        let file = make_of(&scene.src, "log", &content);
        let (_, wire, _) = done(&scene.send_with(&["--compress", "lz4", "--json"], &[&file], receiver.addr));
        receiver.process.finish(PATIENCE).expect_code(0);
        assert!(reading.join().unwrap() == content, "{size} bytes came out otherwise");
        assert!(size < 9_000 || wire < size as u64 / 2, "{wire} of {size}");
    }
}

#[test]
fn of_several_receivers_each_gets_what_it_takes() {
    let several = Several::of(&[&[], &["--compress", "no"], &[]]);
    let tree = tree(&several.scene.src);
    let sent = several.send(&["--compress", "zstd", "--json"], std::slice::from_ref(&tree));
    sent.expect_code(0);
    let wire = |n: usize| end_of(&sent, &several.host(n))["wire_bytes"].as_u64().unwrap();
    for n in 0..3 {
        assert_tree(&tree, &several.dst(n).join("tree"));
    }
    assert!(wire(0) * 2 < wire(1) && wire(2) * 2 < wire(1), "{} {} {}", wire(0), wire(1), wire(2));
}

/// Where the user bounds what is on the wire that is what the transfer waits for, and so little costs no CPU anything.
#[test]
fn by_itself_it_compresses_where_a_limit_holds_the_transfer_up() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let file = make_of(&scene.src, "log", &text(40 * MIB));
    let sent = scene.send_with(&["--limit", "4M", "-c", "2", "--json"], &[&file], receiver.addr);
    let (files, wire, _) = done(&sent);
    assert!(wire < files * 3 / 4, "{wire} of {files}");
    assert_eq!(sent.events()[0]["compress"], "auto");
    let told: Vec<u64> =
        of_kind(&sent.events(), "progress").iter().map(|one| one["wire_bytes"].as_u64().unwrap()).collect();
    assert!(
        told.is_sorted() && told.last().is_some_and(|last| *last > 0 && *last <= wire),
        "{told:?} and {wire}"
    );
    assert_arrived(&[&file], &scene.dst);
}
