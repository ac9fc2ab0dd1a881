//! The door over UDP: what is only there. What all doors have in common is in carriers.rs.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use rustix::process::Signal;

use crate::common::datagrams::{Datagrams, Mischief};
use crate::common::weather::seed;
use crate::common::*;

/// A network that may do this to datagrams brings the same files, in one session.
fn survives(mischief: Mischief, most_harms: u64) {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 24 * CHUNK + 77);
    let receiver = scene.receiver();
    let relay = Datagrams::harmed(receiver.addr, seed(), mischief);
    scene.send_with(&["--retry-for", "0"], &[&file], relay.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
    assert!(relay.harms() >= most_harms, "only {} datagrams met with anything", relay.harms());
}

#[test]
fn datagrams_that_are_lost_are_sent_again() {
    survives(Mischief { lose: 50, ..Mischief::default() }, 10);
}

#[test]
fn datagrams_whose_bits_are_turned_are_taken_for_lost() {
    survives(Mischief { flip: 30, ..Mischief::default() }, 10);
}

#[test]
fn datagrams_that_come_twice_or_late_or_again_change_nothing() {
    survives(Mischief { repeat: 50, keep_back: 50, replay: 50, ..Mischief::default() }, 30);
}

#[test]
fn a_sender_without_an_answer_hears_which_option_is_missing() {
    let scene = Scene::new();
    let file = make(&scene.src, "letter", 10);
    let receiver = scene.receiver();
    let output = scene.send_with(&["--quic"], &[&file], receiver.addr);
    output.expect_complaint(3, &["UDP", "`lanx recv --quic`", "over TCP"]);
    // Nobody there at all.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let output = scene.send_with(&["--quic"], &[&file], silent.local_addr().unwrap());
    output.expect_complaint(3, &["UDP", "`lanx recv --quic`"]);
    assert!(listing(&scene.dst).is_empty());
}

#[test]
fn a_udp_port_that_is_taken_leaves_tcp_as_it_is_and_a_line_that_says_so() {
    let scene = Scene::new();
    // The same number may be taken over TCP as well.
    let candidates = (0..20).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let is_free = |socket: &UdpSocket| TcpListener::bind(socket.local_addr().unwrap()).is_ok();
    let taken = candidates.into_iter().find(is_free).unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let receiver = Receiver::start(&scene, &listen, &["--quic"], &scene.dst);
    let file = make(&scene.src, "letter", 10);
    scene.send(&[&file], receiver.addr).expect_success();
    let said = receiver.process.stderr.text();
    assert!(said.contains("over QUIC") && said.contains("TCP alone"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_transfer_goes_on_when_its_address_is_translated_anew() {
    goes_on_when_translated(&[]);
}

/// More streams than one QUIC connection carries go over two, which move together.
#[test]
fn a_transfer_over_two_connections_goes_on_when_its_address_is_translated_anew() {
    goes_on_when_translated(&["-c", "12"]);
}

fn goes_on_when_translated(flags: &[&str]) {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 64 * CHUNK);
    let receiver = scene.receiver();
    let relay = Datagrams::to(receiver.addr);
    let flags = [&["--retry-for", "0", "--limit", "8M"], flags].concat();
    let mut sender = scene.start_send(&flags, &[&file], relay.addr);
    for n in 1..=5 {
        wait_until("more has crossed", PATIENCE, || {
            relay.carried() > n * 2 * CHUNK as u64 || !sender.is_running()
        });
        relay.rebind();
    }
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[file], &scene.dst);
    let most = 64 * CHUNK as u64 * 11 / 10;
    assert!(relay.carried() < most, "{} bytes crossed", relay.carried());
    receiver.wait_for_stderr("goes on");
}

#[test]
fn a_network_that_is_gone_for_seconds_and_comes_back_costs_no_session() {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 32 * CHUNK);
    let receiver = scene.receiver();
    let relay = Datagrams::to(receiver.addr);
    let sender = scene.start_send(&["--retry-for", "0", "--limit", "8M"], &[&file], relay.addr);
    wait_until("something has crossed", PATIENCE, || relay.carried() > 4 * CHUNK as u64);
    relay.freeze(true);
    // As long as it takes to plug a cable in again.
    std::thread::sleep(std::time::Duration::from_secs(3));
    relay.freeze(false);
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[file], &scene.dst);
}

#[test]
fn a_network_that_stays_away_is_a_loss_that_the_next_call_resumes() {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 32 * CHUNK);
    let receiver = scene.receiver();
    let relay = Datagrams::to(receiver.addr);
    relay.hold_after(16 * CHUNK as u64);
    let flags = ["--retry-for", "0", "--timeout", "5"];
    scene.send_with(&flags, &[&file], relay.addr).expect_code(3);
    relay.release();
    let before = relay.carried();
    scene.send_with(&flags, &[&file], relay.addr).expect_success();
    assert_arrived(&[file], &scene.dst);
    let crossed = relay.carried() - before;
    assert!(crossed < 28 * CHUNK as u64, "{crossed} bytes crossed again");
}

#[test]
fn what_is_no_quic_at_all_costs_nobody_a_transfer() {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 16 * CHUNK);
    let receiver = scene.receiver();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sender = scene.start_send(&["--limit", "8M"], &[&file], receiver.addr);
    let mut dice = crate::common::weather::Dice(seed());
    for n in 0..20_000_u64 {
        // Long headers of this version, of others, and noise.
        let mut datagram = noise(dice.below(u64::MAX), [1200, 1, 40, 1400][n as usize % 4]);
        if n % 3 == 0 {
            datagram[0] |= 0xc0;
        }
        if n % 3 == 0 && datagram.len() > 5 {
            datagram[1..5].copy_from_slice(&1_u32.to_be_bytes());
        }
        let _ = stranger.send_to(&datagram, receiver.addr);
    }
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[file], &scene.dst);
    let megabytes = receiver.process.memory_peak() / 1_000_000;
    assert!(megabytes < 120, "{megabytes} MB");
}

#[test]
fn a_receiver_that_is_stopped_tells_its_sender() {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 64 * CHUNK);
    let receiver = scene.receiver();
    let relay = Datagrams::to(receiver.addr);
    let sender = scene.start_send(&["--limit", "8M"], &[&file], relay.addr);
    wait_until("something has crossed", PATIENCE, || relay.carried() > 4 * CHUNK as u64);
    receiver.process.signal(Signal::INT);
    let output = sender.finish(PATIENCE);
    assert!(output.err().contains("the receiver was stopped"), "{}", output.err());
    receiver.process.finish(PATIENCE);
    assert!(!fs::exists(scene.dst.join("image.raw")).unwrap());
}

#[test]
fn metrics_tell_of_handshakes_streams_and_addresses() {
    let scene = Scene::over_quic();
    let file = make(&scene.src, "image.raw", 12 * CHUNK);
    let receiver = scene.receiver_with(&["--metrics", "127.0.0.1:0"]);
    receiver.wait_for_stderr("/metrics\n");
    let said = receiver.process.stderr.text();
    let addr = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    scene.send(&[&file], receiver.addr).expect_success();
    let page = get(&addr);
    for line in ["lanx_quic_handshakes_total{result=\"complete\"} 1", "lanx_quic_retries_total 1"] {
        assert!(page.contains(line), "{page}");
    }
    assert!(!page.contains("lanx_quic_streams_total 0"), "{page}");
    // Of twelve streams the last four go over a connection of their own.
    let other = make(&scene.src, "other.raw", 40 * CHUNK);
    let sent = scene.send_with(&["-c", "12", "--limit", "20M"], &[&other], receiver.addr);
    sent.expect_success().expect_out(&["over 12 connections"]);
    assert!(get(&addr).contains("lanx_quic_handshakes_total{result=\"complete\"} 3\n"), "{}", get(&addr));
    assert_arrived(&[file, other], &scene.dst);
    let ended = || get(&addr).contains("lanx_quic_connections_active 0\n");
    wait_until("both connections have ended", PATIENCE, ended);
}

/// The page at this address.
fn get(addr: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}
