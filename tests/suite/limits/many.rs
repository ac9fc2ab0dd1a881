//! Many senders at one receiver: all arrive, nobody waits for somebody's terabyte, and what that costs is bounded.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::common::peer::{HandSender, hello, identity};
use crate::common::*;
use lanx::limits::DATA_CONNECTIONS_MAX;
use lanx::wire::message::{ReceiverMessage, SenderMessage, Waiting};
use rustix::process::Signal;
use serde_json::json;

/// How many threads of this name a process has, as proc(5) tells.
fn threads(process: &Process, name: &str) -> usize {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", process.id())) else { return 0 };
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

/// A file that no test waits for the end of: sent at 1 MB/s, and not compressed, it takes minutes. Its room was taken and nothing written, so
/// that it has no holes.
fn endless(scene: &Scene, name: &str) -> PathBuf {
    let path = scene.src.join(name);
    let file = File::create(&path).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 200 << 20).unwrap();
    path
}

/// Starts to send `file` slowly, and waits until some of it has arrived.
fn start_slowly(scene: &Scene, flags: &[&str], file: &Path, receiver: &Receiver) -> Process {
    let sender =
        scene.start_send(&[flags, &["--limit", "1M", "--compress", "no"]].concat(), &[file], receiver.addr);
    let name = file.file_name().unwrap().to_str().unwrap();
    wait_until("a slow transfer is under way", PATIENCE, || !parts_of(&scene.dst, name).is_empty());
    sender
}

/// Waits until a sender says this on its standard error.
#[track_caller]
fn wait_for_words(sender: &Process, words: &str) {
    wait_until(&format!("a sender says {words:?}"), PATIENCE, || sender.stderr.text().contains(words));
}

#[test]
fn a_hundred_senders_at_once_all_arrive() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    // Some fit into one frame, most take several connections.
    let files: Vec<_> = (0..100).map(|n| make(&scene.src, format!("file-{n}"), n % 4 * CHUNK + n)).collect();
    let senders: Vec<_> = files.iter().map(|file| scene.start_send(&[], &[file], receiver.addr)).collect();
    for sender in senders {
        sender.finish(PATIENCE).expect_success();
    }
    assert_arrived(&files, &scene.dst);
    assert_eq!(receiver.process.stderr.text(), "");
    assert!(receiver.process.memory_peak() < 200 << 20, "{} bytes", receiver.process.memory_peak());
}

#[test]
fn data_connections_are_shared_stay_below_their_bound_and_come_back() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "200"]);
    let count = || threads(&receiver.process, "receive");
    let bound = usize::from(DATA_CONNECTIONS_MAX) - 200;
    let first = start_slowly(&scene, &["-c", "16"], &endless(&scene, "first"), &receiver);
    wait_until("the first one has all it wants", PATIENCE, || threads(&first, "send") == 16 && count() == 16);

    let flags = ["-c", "16"];
    let others: Vec<_> = (0..15)
        .map(|n| start_slowly(&scene, &flags, &endless(&scene, &format!("other-{n}")), &receiver))
        .collect();
    // 16 have one each, and 56 to share.
    wait_until("all have their share", PATIENCE, || {
        assert!(count() <= bound + 16, "{} data connections", count());
        let shares: Vec<_> = others.iter().chain([&first]).map(|sender| threads(sender, "send")).collect();
        shares.iter().all(|share| (4..=5).contains(share))
    });

    // Nobody waits behind all of those.
    let small = make(&scene.src, "small", 3 * CHUNK);
    scene.send(&[&small], receiver.addr).expect_success();
    assert_arrived(&[&small], &scene.dst);
    assert!(receiver.process.stderr.text().is_empty(), "{}", receiver.process.story());

    drop(others);
    wait_until("the first one has all of it again", PATIENCE, || {
        threads(&first, "send") == 16 && count() == 16
    });
}

#[test]
fn a_sender_that_finds_no_place_waits_says_so_and_gets_its_turn() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1", "-v"]);
    let mut slow = start_slowly(&scene, &[], &endless(&scene, "slow"), &receiver);
    let (small, other) = (make(&scene.src, "small", 5), make(&scene.src, "other", CHUNK + 1));
    let next = scene.start_send(&["--json"], &[&small], receiver.addr);
    let waiting = next.wait_for_event("waiting", 1);
    assert_eq!((&waiting["serving"], &waiting["own"], &waiting["before"]), (&json!(1), &json!(1), &json!(0)));
    receiver.wait_for_stderr("127.0.0.1 waits for its turn: under way 1 (its own: 1), ahead of it 0");
    let last = scene.start_send(&[], &[&other], receiver.addr);
    wait_for_words(&last, "is serving 1 transfer from here; waiting for a turn, 1 before this one");

    slow.kill();
    let ended = next.finish(PATIENCE);
    ended.expect_success();
    assert_eq!(kinds(&ended.events()).last(), Some(&"done"));
    assert_eq!(last.finish(PATIENCE).code, Some(0));
    assert_arrived(&[&small, &other], &scene.dst);
}

#[test]
fn of_several_that_go_on_with_one_session_one_gets_its_place() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1"]);
    let own = identity(&scene.path("config"));
    let first = HandSender::enter(&own, receiver.addr, 1);
    let mut others: Vec<HandSender> =
        (0..8).map(|_| HandSender::connect(None, &own, receiver.addr).unwrap()).collect();
    for other in &mut others {
        other.talk.say(&hello(1, Some(first.session))).unwrap();
    }
    let answers: Vec<ReceiverMessage> = others.iter_mut().map(|other| other.hear().unwrap()).collect();
    let let_in = answers.iter().filter(|answer| matches!(answer, ReceiverMessage::Welcome { .. })).count();
    let waiting = answers.iter().filter(|answer| matches!(answer, ReceiverMessage::Waiting(_))).count();
    assert_eq!((let_in, waiting), (1, 7), "{answers:?}");
}

#[test]
fn five_hundred_senders_of_one_engine_wait_in_little_memory() {
    const WAITING: u32 = 500;
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1"]);
    let own = identity(&scene.path("config"));
    let served = HandSender::enter(&own, receiver.addr, 1);
    let mut waiting: Vec<HandSender> = Vec::new();
    for before in 0..WAITING {
        let mut next = HandSender::connect(None, &own, receiver.addr).unwrap();
        let expected = ReceiverMessage::Waiting(Waiting { serving: 1, own: 1, before });
        assert_eq!(next.hello(1).unwrap(), expected);
        waiting.push(next);
        // Nobody is silent for too long.
        if before % 50 == 0 {
            waiting.iter_mut().for_each(|sender| sender.talk.say(&SenderMessage::Beat).unwrap());
        }
    }
    let peak = receiver.process.memory_peak();
    assert!(peak < 150 << 20, "{peak} bytes");
    drop(served);
    let first = &mut waiting[0];
    first.hear_until(|message| matches!(message, ReceiverMessage::Welcome { .. }));
}

#[test]
fn a_waiting_sender_that_is_interrupted_leaves_the_queue() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1", "-v"]);
    let slow = start_slowly(&scene, &[], &endless(&scene, "slow"), &receiver);
    let small = make(&scene.src, "small", 5);
    let next = scene.start_send(&[], &[&small], receiver.addr);
    wait_for_words(&next, "next in line");
    let last = scene.start_send(&[], &[&small], receiver.addr);
    wait_for_words(&last, "1 before this one");
    next.signal(Signal::INT);
    next.finish(PATIENCE).expect_code(130);
    receiver.wait_for_stderr("it waits no longer");
    wait_for_words(&last, "next in line");
    drop(slow);
    last.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&small], &scene.dst);
}

#[test]
fn one_that_waits_hears_when_the_receiver_is_stopped() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1"]);
    let _slow = start_slowly(&scene, &[], &endless(&scene, "slow"), &receiver);
    let next = scene.start_send(&[], &[&make(&scene.src, "small", 5)], receiver.addr);
    wait_for_words(&next, "next in line");
    receiver.process.signal(Signal::INT);
    let ended = next.finish(PATIENCE);
    ended.expect_code(3);
    assert!(ended.err().contains("the receiver was stopped"), "{}", ended.err());
}

#[test]
fn one_that_says_nothing_while_it_waits_is_lost_and_one_that_offers_something_is_sent_away() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1", "--timeout", "5", "-v"]);
    let own = identity(&scene.path("config"));
    let _served = HandSender::enter(&own, receiver.addr, 1);
    let mut mute = HandSender::connect(None, &own, receiver.addr).unwrap();
    let waiting = |before| ReceiverMessage::Waiting(Waiting { serving: 1, own: 1, before });
    assert_eq!(mute.hello(1).unwrap(), waiting(0));
    let mut hasty = HandSender::connect(None, &own, receiver.addr).unwrap();
    assert_eq!(hasty.hello(1).unwrap(), waiting(1));
    hasty.talk.say(&SenderMessage::Finish { files: 0 }).unwrap();
    receiver.wait_for_stderr("it sent another message where a sender that waits was expected");
    while hasty.hear().is_ok() {}
    // It was told again and again that the receiver is still here.
    while mute.hear().is_ok_and(|message| message == waiting(0)) {}
    receiver.wait_for_stderr("has said nothing for 5 s");
}

#[test]
fn a_free_place_goes_first_to_a_sender_that_has_none() {
    let scene = Scene::new();
    scene.pair("guest", "config");
    let receiver = scene.receiver_with(&["--max-transfers", "2"]);
    let mut slow: Vec<_> =
        ["a", "b"].map(|name| start_slowly(&scene, &[], &endless(&scene, name), &receiver)).into();
    let greedy =
        scene.start_send(&["--limit", "1M", "--compress", "no"], &[&endless(&scene, "c")], receiver.addr);
    wait_for_words(&greedy, "next in line");
    let small = make(&scene.src, "small", 5);
    let guest = scene.start_send_by("guest", &[], None, &small, receiver.addr);
    wait_for_words(&guest, "is serving 2 transfers; waiting for a turn, next in line");
    wait_for_words(&greedy, "1 before this one");
    drop(slow.pop());
    guest.finish(PATIENCE).expect_code(0);
    assert_arrived(&[&small], &scene.dst);
}

#[test]
fn one_sender_cannot_take_the_last_places() {
    let scene = Scene::new();
    scene.pair("guest", "config");
    let receiver = scene.receiver_with(&["--max-transfers", "8"]);
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let _slow = names.map(|name| start_slowly(&scene, &["-c", "1"], &endless(&scene, name), &receiver));
    let greedy = scene.start_send(&[], &[&endless(&scene, "h")], receiver.addr);
    wait_for_words(&greedy, "is serving 7 transfers from here; waiting for a turn, next in line");
    let small = make(&scene.src, "small", 5);
    scene.send_by("guest", None, &small, receiver.addr).expect_code(0);
    assert_arrived(&[&small], &scene.dst);
}

#[test]
fn a_sender_that_lost_its_connection_finds_its_place_again() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--max-transfers", "1"]);
    let relay = Relay::to(receiver.addr);
    let slow = scene.start_send(
        &["--json", "--limit", "1M", "--compress", "no"],
        &[&endless(&scene, "slow")],
        relay.addr,
    );
    slow.wait_for_event("progress", 1);
    let next = scene.start_send(&[], &[&make(&scene.src, "small", 5)], receiver.addr);
    wait_for_words(&next, "next in line");
    relay.cut_control();
    slow.wait_for_event("lost", 1);
    let before = of_kind(&slow.events(), "progress").len();
    slow.wait_for_event("progress", before + 3);
    assert!(of_kind(&slow.events(), "waiting").is_empty(), "{}", slow.story());
    assert_eq!(listing(&scene.dst), parts_of(&scene.dst, "slow"));
    drop(slow);
    next.finish(PATIENCE).expect_code(0);
}
