//! A thousand connections of each hostile kind keep nobody out who belongs, and cost the receiver little.

use std::any::Any;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::peer::{
    HandSender, before_tls, client_hello, control_preface, data_hello, identity, offer, raw,
};
use crate::common::*;
use lanx::trust::identity::Identity;
use lanx::wire::message::SessionId;

const HOSTILE: usize = 1000;

/// Where they come from: another machine than those who belong.
const THEIR_ADDRESS: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66)));

/// Far above what a receiver takes for a few transfers, and far below what a thousand strangers would take if each got
/// a chunk buffer or a thread.
const MEMORY_MAX_KIB: u64 = 100 * 1024;

/// Lines that such a flood may make a receiver print.
const LINES_MAX: usize = 40;

/// Somebody who does not belong.
struct Stranger<'a> {
    id: &'a Identity,
    receiver: SocketAddr,
}

/// What a hostile connection leaves open.
type Held = Box<dyn Any + Send>;

fn held(anything: impl Any + Send) -> Held {
    Box::new(anything)
}

impl Stranger<'_> {
    fn says(&self, bytes: &[u8]) -> io::Result<Held> {
        raw(THEIR_ADDRESS, self.receiver, bytes).map(held)
    }

    fn says_instead_of_tls(&self, bytes: &[u8]) -> io::Result<Held> {
        let mut stream = before_tls(THEIR_ADDRESS, self.receiver)?;
        io::Write::write_all(&mut stream, bytes)?;
        Ok(held(stream))
    }

    fn shakes_hands(&self) -> io::Result<HandSender> {
        HandSender::connect(THEIR_ADDRESS, self.id, self.receiver)
    }
}

/// Opens [`HOSTILE`] connections and leaves open what it can. Many of them fail: the receiver sends them away.
fn flood(
    stranger: &Stranger<'_>,
    hostile: &(impl Fn(&Stranger<'_>) -> io::Result<Held> + Sync),
) -> Vec<Held> {
    let (made, open) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while made.fetch_add(1, Ordering::Relaxed) < HOSTILE {
                    if let Ok(one) = hostile(stranger) {
                        open.lock().unwrap().push(one);
                    }
                }
            });
        }
    });
    open.into_inner().unwrap()
}

/// Most memory that a process has ever held.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Demands that those who belong are served while a flood of `hostile` connections comes: one whose transfer was under
/// way, and others who come in the middle of it.
fn withstand(hostile: impl Fn(&Stranger<'_>) -> io::Result<Held> + Sync) {
    let scene = Scene::new();
    ["alice", "carol"].iter().for_each(|who| scene.pair(who, "bob"));
    let mallory = identity(&scene.path("mallory"));
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let stranger = Stranger { id: &mallory, receiver: receiver.addr };
    let files: Vec<PathBuf> = (0..5).map(|n| make(&scene.src, format!("file {n}"), 8 * CHUNK + n)).collect();

    // Alice reaches it by another address, which she has to have met before.
    let relay = Relay::to(receiver.addr);
    scene.send_by("alice", None, &files[0], relay.addr).expect_code(0);
    relay.hold_after(3 * CHUNK as u64);
    let sending = scene.start_send_by("alice", &[], None, &files[1], relay.addr);
    relay.wait_until_held();
    let _open = flood(&stranger, &hostile);
    relay.release();
    sending.finish(PATIENCE).expect_code(0);

    let mut more = Vec::new();
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&stranger, &hostile));
        for file in &files[2..] {
            scene.send_by("carol", None, file, receiver.addr).expect_code(0);
        }
        more = flooding.join().unwrap();
    });
    assert_arrived(&files, &scene.dst);
    let peak = peak_memory_kib(receiver.process.id());
    let lines = receiver.process.stderr.text().lines().count();
    eprintln!("{} and {} stayed open, {peak} KiB at most, {lines} lines", _open.len(), more.len());
    assert!(peak < MEMORY_MAX_KIB, "the receiver took {peak} KiB");
    assert!(lines < LINES_MAX, "{lines} lines: {}", receiver.process.stderr.text());
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
}

#[test]
fn strangers_who_connect_and_say_nothing() {
    withstand(|stranger| stranger.says(b""));
}

#[test]
fn strangers_who_say_half_a_preface() {
    withstand(|stranger| stranger.says(&control_preface()[..4]));
}

#[test]
fn strangers_who_say_anything_or_speak_http() {
    withstand(|stranger| stranger.says(&noise(1, 5000)));
    withstand(|stranger| stranger.says(b"GET / HTTP/1.1\r\nHost: receiver\r\nUser-Agent: \x1b[31m\r\n\r\n"));
}

#[test]
fn strangers_who_say_the_preface_and_then_nothing() {
    withstand(|stranger| stranger.says(&control_preface()));
}

#[test]
fn strangers_who_say_something_else_than_tls() {
    withstand(|stranger| stranger.says_instead_of_tls(&noise(2, 5000)));
}

#[test]
fn strangers_who_say_half_a_client_hello() {
    withstand(|stranger| {
        let hello = client_hello(stranger.id);
        stranger.says_instead_of_tls(&hello[..hello.len() / 2])
    });
}

#[test]
fn strangers_who_promise_the_longest_tls_messages() {
    // A client hello of 2^24 - 1 bytes, in records of 2^14.
    withstand(|stranger| {
        let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        stranger.says_instead_of_tls(&record)
    });
}

#[test]
fn strangers_who_complete_the_handshake_and_say_nothing() {
    withstand(|stranger| stranger.shakes_hands().map(held));
}

#[test]
fn strangers_who_promise_the_longest_messages() {
    withstand(|stranger| {
        let mut sender = stranger.shakes_hands()?;
        sender.talk.say_bytes(&[0xff; 4096])?;
        Ok(held(sender))
    });
}

#[test]
fn strangers_who_guess_at_the_code() {
    withstand(|stranger| {
        HandSender::try_to_guess(THEIR_ADDRESS, stranger.id, stranger.receiver, "no, not this code").map(held)
    });
}

#[test]
fn strangers_who_open_data_connections_of_sessions_that_they_make_up() {
    withstand(|stranger| stranger.says(&data_hello(SessionId([9; 16]), 0, &[7; 16])));
}

#[test]
fn a_guest_who_asks_on_and_on_and_reads_no_answer_is_left_before_it_costs_much() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--timeout", "5"]);
    let mut guest = HandSender::enter(&identity(&scene.path("config")), receiver.addr, 1);
    // Each offer is refused at once, so that none is under way any more when the next one comes.
    let refused = (0..10_000_000).try_for_each(|file| guest.talk.say(&offer(file, "not//a/path", 5)));
    assert!(refused.is_err(), "ten million questions were taken in");
    receiver.wait_for_stderr("the other side has read nothing for");
    let peak = peak_memory_kib(receiver.process.id());
    eprintln!("{peak} KiB at most");
    assert!(peak < MEMORY_MAX_KIB, "the receiver took {peak} KiB");
}
