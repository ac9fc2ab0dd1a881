//! What `recv --metrics` tells Prometheus, and who may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::common::peer::before_tls;
use crate::common::*;

const MIB: usize = 1 << 20;

/// A receiver that tells how it goes, and where.
fn watched(scene: &Scene, flags: &[&str]) -> (Receiver, SocketAddr) {
    let flags = [&["--metrics", "127.0.0.1:0"], flags].concat();
    let receiver = scene.receiver_with(&flags);
    receiver.wait_for_stderr("/metrics\n");
    let text = receiver.process.stderr.text();
    let addr = text.split("http://").nth(1).unwrap().split("/metrics").next().unwrap().parse().unwrap();
    (receiver, addr)
}

/// Sends these bytes and reads what comes back, to the end.
fn ask(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // Whoever sends too much may find the connection reset behind the answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The page, as it is, by the rules of the format: a sample belongs to the metric that was announced before it.
fn page(addr: SocketAddr) -> String {
    let answer = ask(addr, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.into()
}

/// All samples by name and labels.
fn samples(addr: SocketAddr) -> BTreeMap<String, f64> {
    let page = page(addr);
    let mut samples = BTreeMap::new();
    let mut announced = "";
    for line in page.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            announced = metric.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(announced) && announced.starts_with("lanx_"), "{line}");
            assert!(samples.insert(name.into(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
    }
    samples
}

#[test]
fn what_arrived_is_counted() {
    let scene = Scene::new();
    let (receiver, addr) = watched(&scene, &[]);
    let size = 3 * CHUNK + 17;
    let file = make(&scene.src, "file", size);
    scene.send(&[&file, &make(&scene.src, "small", 100)], receiver.addr).expect_success();
    // Refused, as it differs from the one that is there.
    make(&scene.src, "file", size + 1);
    scene.send(&[&file], receiver.addr).expect_code(5);
    scene.send_by("eve", None, &file, receiver.addr).expect_code(4);
    let mut no_tls = before_tls(None, receiver.addr).unwrap();
    no_tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = no_tls.read_to_end(&mut Vec::new());
    let sessions = |samples: &BTreeMap<String, f64>| {
        samples["lanx_sessions_total{result=\"complete\"}"]
            + samples["lanx_sessions_total{result=\"some_failed\"}"]
    };
    wait_until("both sessions are over", PATIENCE, || {
        let samples = samples(addr);
        sessions(&samples) == 2.0 && samples["lanx_sessions_active"] == 0.0
    });
    let samples = samples(addr);
    for (name, value) in [
        ("lanx_received_bytes_total", (size + 100) as f64),
        ("lanx_kept_bytes_total", 0.0),
        ("lanx_files_total{status=\"stored\"}", 2.0),
        ("lanx_files_total{status=\"failed\"}", 1.0),
        ("lanx_sessions_total{result=\"complete\"}", 1.0),
        ("lanx_sessions_total{result=\"some_failed\"}", 1.0),
        ("lanx_handshake_failures_total{reason=\"no_code\"}", 1.0),
        ("lanx_handshake_failures_total{reason=\"tls\"}", 1.0),
        ("lanx_handshake_failures_total{reason=\"network\"}", 0.0),
        ("lanx_pairings_total", 0.0),
        ("lanx_connections_active", 0.0),
        ("lanx_sessions_waiting", 0.0),
    ] {
        assert_eq!(samples[name], value, "{name} in {samples:?}");
    }
    assert!(samples["lanx_stage_seconds_total{stage=\"write\"}"] > 0.0, "{samples:?}");
    assert!(samples.keys().any(|name| name.starts_with("lanx_build_info{version=\"")), "{samples:?}");
}

#[test]
fn bytes_move_while_a_transfer_runs_and_no_counter_ever_falls() {
    let scene = Scene::new();
    let (receiver, addr) = watched(&scene, &["--max-transfers", "1"]);
    let file = make(&scene.src, "file", 16 * MIB);
    let relay = Relay::holding_after(receiver.addr, 4 * MIB as u64);
    let sender = scene.start_send(&[], &[&file], relay.addr);
    relay.wait_until_held();
    let next = scene.start_send(&[], &[make(&scene.src, "next", 10)], receiver.addr);
    let there = |n: usize| {
        wait_until("so much is counted", PATIENCE, || samples(addr)["lanx_received_bytes_total"] >= n as f64)
    };
    there(2 * MIB);
    wait_until("one waits", PATIENCE, || samples(addr)["lanx_sessions_waiting"] == 1.0);
    let first = samples(addr);
    assert_eq!(first["lanx_sessions_active"], 1.0);
    assert!(first["lanx_connections_active"] >= 1.0, "{first:?}");
    relay.allow(4 * MIB as u64);
    there(6 * MIB);
    let second = samples(addr);
    relay.release();
    sender.finish(PATIENCE).expect_success();
    next.finish(PATIENCE).expect_code(0);
    wait_until("all is over", PATIENCE, || samples(addr)["lanx_sessions_active"] == 0.0);
    let third = samples(addr);
    assert_eq!(third["lanx_received_bytes_total"], (16 * MIB + 10) as f64);
    for (name, value) in first.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(*value <= second[name] && second[name] <= third[name], "{name} fell");
    }
}

#[test]
fn parked_and_lost_transfers_are_told_apart_by_their_result() {
    let scene = Scene::new();
    let (receiver, addr) = watched(&scene, &["--grace", "600"]);
    let hold = |name: &str| {
        let relay = Relay::holding_after(receiver.addr, MIB as u64);
        let file = make(&scene.src, name, 4 * MIB);
        let sender = scene.start_send(&["--retry-for", "0"], &[file], relay.addr);
        relay.wait_until_held();
        (relay, sender)
    };
    let (relay, mut killed) = hold("killed");
    killed.kill();
    wait_until("it is lost", PATIENCE, || samples(addr)["lanx_sessions_total{result=\"lost\"}"] == 1.0);
    drop(relay);
    let (relay, interrupted) = hold("interrupted");
    interrupted.signal(Signal::INT);
    wait_until("it has left", PATIENCE, || samples(addr)["lanx_sessions_total{result=\"cancelled\"}"] == 1.0);
    drop(relay);
    // The page is there for as long as somebody still sends.
    let (relay, last) = hold("last");
    receiver.process.signal(Signal::TERM);
    receiver.wait_for_stderr("shutting down: no new senders");
    assert_eq!(samples(addr)["lanx_sessions_active"], 1.0);
    relay.release();
    last.finish(PATIENCE).expect_success();
    receiver.process.finish(PATIENCE).expect_code(0);
}

#[test]
fn nothing_but_the_page_is_handed_out_and_nobody_holds_it_up() {
    let scene = Scene::new();
    let (receiver, addr) = watched(&scene, &[]);
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        (b"lanx\x01\0\0\0", "400"),
        (&[&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; 9000]].concat(), "431"),
    ] {
        let answer = ask(addr, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} expected: {answer}");
    }
    let head = ask(addr, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    // More than are answered at once say nothing; they are left after a while, and nobody has to wait longer.
    let mute: Vec<_> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
    assert!(page(addr).contains("lanx_received_bytes_total 0"));
    // Nor do they reach the transfers.
    scene.send(&[make(&scene.src, "file", CHUNK)], receiver.addr).expect_success();
    drop(mute);
}

#[test]
fn no_name_of_a_file_and_no_key_is_told() {
    let scene = Scene::new();
    let (receiver, addr) = watched(&scene, &[]);
    scene.send(&[make(&scene.src, "secret plans", CHUNK)], receiver.addr).expect_success();
    let page = page(addr);
    for word in ["secret", "plans", "127.0.0.1", "SHA256"] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}

#[test]
fn a_page_that_others_can_reach_is_warned_of_and_a_taken_port_is_an_error() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--metrics", "0.0.0.0:0"]);
    receiver.wait_for_stderr("can read the metrics");
    let (_receiver, addr) = watched(&scene, &[]);
    assert!(!_receiver.process.stderr.text().contains("can read the metrics"));
    let args = ["recv", "--listen", "127.0.0.1:0", "--metrics", &addr.to_string()];
    scene.run(args).expect_complaint(1, &["--metrics", "choose another ADDR:PORT"]);
}

/// The names in the table of docs/service.md, without the labels.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../../docs/service.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `lanx_")?.split_once('`'));
    cells.map(|(name, _)| format!("lanx_{}", name.split('{').next().unwrap())).collect()
}

#[test]
fn the_documentation_lists_what_there_is() {
    let scene = Scene::new();
    let (_receiver, addr) = watched(&scene, &[]);
    let told: BTreeSet<String> =
        samples(addr).into_keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(told, documented());
}
