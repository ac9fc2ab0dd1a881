//! As many hostile sessions as a receiver serves, each with all that it may keep open: what they cost it in memory, and what is left of
//! it when they are gone.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;

use lanx::wire::message::ReceiverMessage;

use crate::common::hostile::{heavy_offers, offer};
use crate::common::peer::{HandSender, chunk_frame, identity};
use crate::common::*;

/// What `recv` serves at once.
const SESSIONS: u64 = 128;
/// As much memory as a receiver may take, whatever is sent to it: SECURITY.md and the service's unit count on it.
const MEMORY_MOST: u64 = 256 << 20;
/// And afterwards.
const MEMORY_LEFT: u64 = 96 << 20;

#[test]
fn hostile_sessions_of_one_key_cost_little_memory_and_leave_less() {
    cost(|_| 0);
}

#[test]
fn hostile_sessions_of_many_keys_cost_little_memory_and_leave_less() {
    cost(|n| n);
}

/// Has [`SESSIONS`] sessions keep all that they can, the nth with the key of that number and from an address of its own.
fn cost(key: impl Fn(u64) -> u64) {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--open"]);
    let enter = |n| {
        let id = identity(&scene.path(&format!("key-{}", key(n))));
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 1, key(n) as u8));
        let mut sender = HandSender::connect(Some(from), &id, receiver.addr).ok()?;
        let answer = sender.hello(4).ok()?;
        matches!(answer, ReceiverMessage::Welcome { .. }).then_some((n, sender))
    };
    let senders: Vec<_> = (0..SESSIONS).filter_map(enter).collect();
    let let_in = senders.len();
    thread::scope(|scope| {
        let filling =
            senders.into_iter().map(|(n, mut sender)| scope.spawn(move || (fill(&mut sender, n), sender)));
        // All of them stay until the last has done what it can.
        let _held: Vec<_> =
            filling.collect::<Vec<_>>().into_iter().map(|filling| filling.join().unwrap()).collect();
    });
    assert!(let_in >= 100, "{let_in} sessions were let in");
    let peak = receiver.process.memory_peak();
    eprintln!("{let_in} sessions: {} MiB at the peak", peak >> 20);
    assert!((1..MEMORY_MOST).contains(&peak), "{let_in} sessions cost {peak} bytes");
    // It serves others, and has given back what the sessions had.
    let file = make(&scene.src, "at last", 1000);
    scene.send_with(&["--timeout", "60"], &[&file], receiver.addr).expect_code(0);
    assert_arrived(&[&file], &scene.dst);
    wait_until("its memory is given back", PATIENCE, || receiver.process.memory() < MEMORY_LEFT);
    eprintln!("{} MiB afterwards", receiver.process.memory() >> 20);
}

/// Half a chunk on each data connection, as many large files as may be open with some chunks here and there, and more heavy offers
/// than a session may have open. Nothing that the receiver says is read.
fn fill(sender: &mut HandSender, n: u64) -> Vec<TcpStream> {
    let large: Vec<_> = (0..16).map(|at| offer(at, format!("{n}/large-{at}"), 1 << 40)).collect();
    sender.blurt(&large);
    let connections = (1..=u32::from(sender.granted)).map(|number| {
        let (mut sealer, mut stream) = sender.open_data(number);
        // The receiver may have hung up already.
        let _ = stream.write_all(&chunk_frame(&mut sealer, 0, 7, &[7; CHUNK])[..CHUNK / 2]);
        stream
    });
    let connections = connections.collect();
    sender.blurt(&heavy_offers(16..616, |at| format!("{n}/heavy-{at}")));
    connections
}
