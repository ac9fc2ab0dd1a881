//! Finding receivers on a network: between network namespaces, which needs root. `make test-discovery` runs these.

use std::net::{Ipv4Addr, SocketAddr};

use crate::common::*;
use lanx::limits::{FOUND_ADDRESSES_MAX, FOUND_MAX, HEARD_MAX};
use mdns_sd::{ServiceDaemon, ServiceInfo};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const SERVICE: &str = "_lanx._tcp.local.";

/// A receiver that other machines find, once they do, and the name by which they do.
fn announced(scene: &Scene, host: &Host, listen: &str) -> (Receiver, String) {
    let mut command = host.lanx(scene);
    command.env("LANX_CODE", CODE);
    let receiver = Receiver::start_announced(command, listen, &["--json"], &scene.dst);
    let name = receiver.process.wait_for_event("announced", 1)["name"].as_str().unwrap().to_owned();
    (receiver, name)
}

fn list(scene: &Scene, host: &Host) -> Vec<Value> {
    let mut command = host.lanx(scene);
    command.args(["list", "--json"]);
    let output = Process::spawn(command).finish(PATIENCE);
    output.expect_code(0);
    events(&output.stdout)
}

/// What is listed of the receiver at `port`.
fn listed(scene: &Scene, host: &Host, port: u16) -> Option<Value> {
    list(scene, host).into_iter().find(|receiver| receiver["port"] == port)
}

/// Sends `file` to the receiver of that name, with the code that both know.
fn send(scene: &Scene, host: &Host, file: &str, name: &str) -> Output {
    let mut command = host.lanx(scene);
    command.env("LANX_CODE", CODE).args(["send", file, name]);
    Process::spawn(command).finish(PATIENCE)
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_receiver_is_listed_and_sent_to_by_its_name_over_ipv4_and_ipv6() {
    for (family, listens) in [
        (Family::V4, vec!["[::]:0", "0.0.0.0:0", "10.88.0.2:0"]),
        (Family::V6, vec!["[::]:0", "[fd88::2]:0"]),
        (Family::Both, vec!["[::]:0", "0.0.0.0:0", "10.88.0.2:0", "[fd88::2]:0"]),
    ] {
        let lan = Lan::new(&["desk", "nas"], family);
        let [desk, nas] = &lan.hosts[..] else { panic!() };
        let scene = Scene::new();
        for (number, listen) in listens.into_iter().enumerate() {
            let (receiver, name) = announced(&scene, nas, listen);
            assert_eq!(name, "nas", "{listen}");
            let port = receiver.addr.port();
            let seen = listed(&scene, desk, port).unwrap_or_else(|| panic!("not listed: {listen}"));
            assert_eq!((&seen["name"], &seen["paired"]), (&"nas".into(), &(number > 0).into()), "{seen}");
            let addrs: Vec<&str> =
                seen["addrs"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            let (v4, v6) = (format!("{}:{port}", nas.v4), format!("[{}]:{port}", nas.v6));
            let on_v4 = family != Family::V6 && !listen.contains("fd88");
            let on_v6 = family != Family::V4 && listen.starts_with('[');
            assert_eq!(addrs.contains(&&*v4), on_v4, "{listen}: {seen}");
            assert_eq!(addrs.contains(&&*v6), on_v6, "{listen}: {seen}");
            let file = make(&scene.src, format!("letter {number} {}", family as u8), 1000);
            send(&scene, desk, file.to_str().unwrap(), "NAS").expect_code(0);
            assert_arrived(&[file], &scene.dst);
            receiver.process.signal(Signal::INT);
            receiver.process.finish(PATIENCE).expect_code(130);
        }
        assert_eq!(list(&scene, desk), [] as [Value; 0], "all have said goodbye");
    }
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_receiver_that_has_the_name_of_the_sending_machine_is_found_where_nothing_listens_here() {
    // A name that usually leads to this machine itself.
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let lan = Lan::new(&["desk", own.leak()], Family::V4);
    let [desk, other] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    let (receiver, name) = announced(&scene, other, "0.0.0.0:0");
    let file = make(&scene.src, "letter", 1000);
    send(&scene, desk, file.to_str().unwrap(), &name).expect_code(0);
    assert_arrived(&[file], &scene.dst);
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_code(130);
    let gone = send(&scene, desk, scene.src.join("letter").to_str().unwrap(), &name);
    gone.expect_complaint(3, &["no receiver of that name answers"]);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_person_picks_one_of_three_and_sees_them_come_and_go() {
    let lan = Lan::new(&["desk", "nas", "attic", "nas"], Family::Both);
    let desk = &lan.hosts[0];
    let scene = Scene::new();
    let letter = make(&scene.src, "letter", 1000);
    let mut command = desk.lanx(&scene);
    command.env("LANX_CODE", CODE).args(["send", "letter"]);
    let mut early = Terminal::run(&command);
    early.wait_for("none so far");
    early.type_keys("1\n");
    early.wait_for("there is no receiver so far");

    let all: Vec<(Receiver, String)> =
        lan.hosts[1..].iter().map(|host| announced(&scene, host, "[::]:0")).collect();
    let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["nas", "attic", "nas-2"], "a name that is taken gets a number");
    for (host, (receiver, _)) in lan.hosts[1..].iter().zip(&all) {
        early.wait_for(&format!("{}:{}", host.v4, receiver.addr.port()));
    }
    early.type_keys("cellar\n");
    early.wait_for("none of them");
    early.type_keys("nas-2\n");
    let (code, screen) = early.finish();
    assert_eq!(code, Some(0), "{screen}");
    assert_arrived(&[letter], &scene.dst);

    let mut late = Terminal::run(&command);
    late.wait_for("attic");
    late.wait_for("paired");
    late.type_keys("1");
    late.wait_for("q ends) 1");
    let (attic, _) = &all[1];
    attic.process.signal(Signal::INT);
    late.wait_for("attic has left");
    // What is shown beneath it is an empty line, so that is what is sent off.
    late.type_keys("\n");
    late.wait_for("that is none of them");
    late.press_ctrl_c();
    assert_eq!(late.finish().0, Some(130));
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_known_name_with_another_key_is_not_sent_to() {
    let lan = Lan::new(&["desk", "nas", "nas"], Family::Both);
    let [desk, nas, other] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    for name in ["first", "second"] {
        make(&scene.src, name, 1000);
    }
    let (receiver, _) = announced(&scene, nas, "[::]:7269");
    let key = listed(&scene, desk, 7269).unwrap()["key"].as_str().unwrap().to_owned();
    send(&scene, desk, "first", "nas").expect_code(0);
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_code(130);

    // Another machine takes the name, first with its own key and then claiming that of the first.
    let (impostor, name) = announced(&scene, other, "[::]:7269");
    assert_eq!((&*name, &listed(&scene, desk, 7269).unwrap()["paired"]), ("nas", &false.into()));
    send(&scene, desk, "second", "nas").expect_complaint(4, &["THE KEY OF nas HAS CHANGED", &key]);
    impostor.process.signal(Signal::INT);
    impostor.process.finish(PATIENCE).expect_code(130);

    let listening = Receiver::start_as(other.lanx(&scene), "[::]:7269", &["--open"], &scene.dst);
    let daemon = other.run(|| {
        let daemon = ServiceDaemon::new().unwrap();
        let txt = [("v", "1"), ("key", &*key)];
        daemon
            .register(ServiceInfo::new(SERVICE, "nas", "x.local.", &*other.v4, 7269, &txt[..]).unwrap())
            .unwrap();
        daemon
    });
    wait_until("it is listed as paired", PATIENCE, || {
        listed(&scene, desk, 7269).is_some_and(|receiver| receiver["paired"] == true)
    });
    send(&scene, desk, "second", "nas")
        .expect_complaint(4, &["nas announces the key", &key, "Nothing was sent"]);
    assert!(!scene.dst.join("second").exists());
    daemon.shutdown().unwrap();
    drop(listening);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_script_sends_nothing_to_somebody_who_announces_a_known_or_a_new_name_at_another_port() {
    let lan = Lan::new(&["desk", "nas", "mallory"], Family::Both);
    let [desk, nas, mallory] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    for name in ["first", "second"] {
        make(&scene.src, name, 1000);
    }
    let (receiver, _) = announced(&scene, nas, "[::]:7269");
    send(&scene, desk, "first", "nas").expect_code(0);
    receiver.process.signal(Signal::INT);
    receiver.process.finish(PATIENCE).expect_code(130);

    let open = Receiver::start_as(mallory.lanx(&scene), "[::]:0", &["--open"], &scene.dst);
    let daemon = mallory.run(|| {
        let daemon = ServiceDaemon::new().unwrap();
        for name in ["nas", "attic"] {
            let (target, port) = (format!("{name}.local."), open.addr.port());
            let service = ServiceInfo::new(SERVICE, name, &target, &*mallory.v4, port, &[("v", "1")][..]);
            daemon.register(service.unwrap()).unwrap();
        }
        daemon
    });
    wait_until("both are listed", PATIENCE, || list(&scene, desk).len() == 2);
    // With no code, as a script has none once it was paired.
    for (name, complaint) in
        [("nas", "lanx trust remove nas:7269"), ("attic", "same code at both ends (LANX_CODE")]
    {
        let mut command = desk.lanx(&scene);
        command.args(["send", "second", name]);
        Process::spawn(command).finish(PATIENCE).expect_complaint(4, &[name, "othing was sent", complaint]);
        assert!(!scene.dst.join("second").exists(), "{name}");
    }
    daemon.shutdown().unwrap();
}

/// A name on the wire.
fn wire_name(labels: &[&[u8]]) -> Vec<u8> {
    let label = |label: &&[u8]| [&[u8::try_from(label.len()).unwrap()], *label].concat();
    labels.iter().flat_map(label).chain([0]).collect()
}

/// A record on the wire that is valid for an hour.
fn record(name: &[&[u8]], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&*wire_name(name), &kind.to_be_bytes(), &1u16.to_be_bytes(), &3600u32.to_be_bytes(), &length, data]
        .concat()
}

fn packet(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    [&[0, 0, 0x84, 0, 0, 0], &count[..], &[0; 4], &records.concat()].concat()
}

/// All that a receiver called `name` announces.
fn announcement(name: &[u8], number: u16, port: u16, addrs: &[Ipv4Addr], txt: &[u8]) -> Vec<u8> {
    let service: [&[u8]; 3] = [b"_lanx", b"_tcp", b"local"];
    let full = [&[name], &service[..]].concat();
    let target = format!("h{number}");
    let target: [&[u8]; 2] = [target.as_bytes(), b"local"];
    let srv = [&[0; 4], &port.to_be_bytes()[..], &wire_name(&target)].concat();
    let mut records =
        vec![record(&service, 12, &wire_name(&full)), record(&full, 33, &srv), record(&full, 16, txt)];
    records.extend(addrs.iter().map(|addr| record(&target, 1, &addr.octets())));
    packet(&records)
}

/// Somebody on the network who says what they like.
struct Stranger(Socket);

impl Stranger {
    fn at(host: &Host) -> Stranger {
        let addr: Ipv4Addr = host.v4.parse().unwrap();
        Stranger(host.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.set_multicast_if_v4(&addr).unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353)).into()).unwrap();
            socket
        }))
    }

    fn say(&self, packet: &[u8]) {
        self.0.send_to(packet, &SocketAddr::from(([224, 0, 0, 251], 5353)).into()).unwrap();
    }
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn what_strangers_announce_is_cleaned_and_bounded() {
    let lan = Lan::new(&["desk", "nas", "mallory"], Family::Both);
    let [desk, nas, mallory] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    let (receiver, _) = announced(&scene, nas, "[::]:0");
    let stranger = Stranger::at(mallory);
    let here: Ipv4Addr = mallory.v4.parse().unwrap();
    let many: Vec<Ipv4Addr> = (0..100).map(|n| Ipv4Addr::new(10, 88, 1, n)).collect();
    let odd = [
        announcement(b"\x1b[31mred\x07\0", 1, 1, &[here], b"\x08key=\x1b[2J"),
        announcement(&[b'L'; 63], 2, 2, &[here], b"\x06v=9999"),
        announcement("\u{202e}gnp.exe".as_bytes(), 3, 3, &[here], &[0]),
        announcement(b"\xff\xfe", 4, 4, &[here], &[[255].as_slice(), &[b'x'; 255]].concat()),
        announcement(b"many", 5, 5, &many, &[0]),
        announcement(b"this machine", 6, 6, &[Ipv4Addr::LOCALHOST], &[0]),
        announcement(b"far", 7, 7, &[Ipv4Addr::new(192, 0, 2, 1)], &[0]),
        announcement(b"nas", 8, 8, &[here], &[0]),
        announcement(b"no port", 9, 0, &[here], &[0]),
        packet(&[vec![0xc0, 0x0c, 0, 1]]),
        vec![0xff; 8000],
    ];
    let mut command = desk.lanx(&scene);
    command.args(["list", "--json", "--wait", "3"]);
    let mut listing = Process::spawn(command);
    while listing.is_running() {
        odd.iter().for_each(|packet| stranger.say(packet));
        // Only how often it is said.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = listing.finish(PATIENCE);
    // The schema bounds name and addresses.
    let seen = events(&output.stdout);
    let ports: Vec<u64> = seen.iter().map(|receiver| receiver["port"].as_u64().unwrap()).collect();
    assert!(ports.contains(&u64::from(receiver.addr.port())), "{seen:?}");
    for (port, there) in [(1, true), (2, true), (3, true), (5, true), (6, false), (7, false), (0, false)] {
        assert_eq!(ports.contains(&port), there, "{port} of {seen:?}");
    }
    let many = seen.iter().find(|receiver| receiver["port"] == 5).unwrap();
    assert_eq!(many["addrs"].as_array().unwrap().len(), FOUND_ADDRESSES_MAX);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_flood_fills_neither_a_list_nor_the_memory_of_a_receiver() {
    const TXT: u16 = 16;
    let lan = Lan::new(&["desk", "nas", "mallory"], Family::Both);
    let [desk, nas, mallory] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    let mut command = nas.lanx(&scene);
    command.env("LANX_CODE", CODE);
    let receiver = Receiver::start_announced(command, "[::]:0", &["--json", "-v"], &scene.dst);
    receiver.process.wait_for_event("announced", 1);
    let stranger = Stranger::at(mallory);

    let mut command = desk.lanx(&scene);
    command.args(["list", "--json", "--wait", "4"]);
    let mut listing = Process::spawn(command);
    for number in (0..10_000).cycle().take_while(|_| listing.is_running()) {
        let name = format!("flood {number}");
        stranger.say(&announcement(name.as_bytes(), number, 7269, &[Ipv4Addr::new(10, 88, 0, 3)], &[0]));
    }
    let output = listing.finish(PATIENCE);
    assert!(output.err().contains("too much is announced"), "{output:?}");
    assert!((1..=FOUND_MAX).contains(&events(&output.stdout).len()));

    // Records that nobody asked for and that are kept all the same, for an hour.
    let before = receiver.process.memory_peak();
    let large = [[250].as_slice(), &[b'x'; 250]].concat().repeat(4);
    let mut number = 0;
    wait_until("the receiver has had enough", PATIENCE, || {
        for _ in 0..HEARD_MAX / 8 {
            number += 1;
            let name = format!("r{number}");
            stranger.say(&packet(&[record(&[name.as_bytes(), b"local"], TXT, &large)]));
        }
        receiver.process.stderr.text().contains("too much is said")
    });
    let grown = receiver.process.memory_peak() - before;
    assert!(grown < 128 << 20, "grew by {grown} bytes for {number} records");
    wait_until("it is found again", PATIENCE, || listed(&scene, desk, receiver.addr.port()).is_some());
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_receiver_with_public_addresses_is_found_on_its_own_network() {
    let lan = Lan::new(&["desk", "nas"], Family::V6);
    let scene = Scene::new();
    for (number, host) in lan.hosts.iter().enumerate() {
        host.ip(&format!("addr add 198.51.100.{}/24 dev lan0", number + 1));
        host.ip(&format!("addr del {}/64 dev lan0", host.v6));
        host.ip(&format!("-6 addr add 2001:db8::{}/64 dev lan0 nodad", number + 1));
    }
    let (receiver, _) = announced(&scene, &lan.hosts[1], "[::]:0");
    let port = receiver.addr.port();
    let seen = listed(&scene, &lan.hosts[0], port).unwrap();
    assert_eq!(seen["addrs"][0], format!("198.51.100.2:{port}"), "{seen}");
    assert_eq!(seen["addrs"][1], format!("[2001:db8::2]:{port}"), "{seen}");
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_machine_without_a_network_receives_in_silence() {
    let lan = Lan::new(&["island"], Family::Both);
    let island = &lan.hosts[0];
    island.ip("link del lan0");
    let scene = Scene::new();
    let letter = make(&scene.src, "letter", 1000);
    let receiver = Receiver::start_announced(island.lanx(&scene), "[::]:0", &["-v"], &scene.dst);
    receiver.wait_for_stderr("not announced so far");
    let mut command = island.lanx(&scene);
    command.arg("send").arg(&letter).arg(format!("127.0.0.1:{}", receiver.addr.port()));
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert_arrived(&[letter], &scene.dst);
    let said = receiver.process.stderr.text();
    assert_eq!(
        said.lines().filter(|line| line.contains("discovery") || line.contains("announced")).count(),
        1,
        "{said}"
    );
    assert_eq!(list(&scene, island), [] as [Value; 0]);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_receiver_that_keeps_to_itself_is_not_found_and_a_name_nobody_has_is_told() {
    let lan = Lan::new(&["desk", "nas"], Family::Both);
    let [desk, nas] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    make(&scene.src, "letter", 1000);
    let receiver = Receiver::start_as(nas.lanx(&scene), "[::]:0", &[], &scene.dst);
    assert_eq!(list(&scene, desk), [] as [Value; 0]);
    let output = send(&scene, desk, "letter", "nas");
    output.expect_complaint(3, &["cannot find nas", "no receiver of that name", "lanx list"]);
    let mut command = desk.lanx(&scene);
    command.args(["doctor", "nas"]);
    Process::spawn(command).finish(PATIENCE).expect_complaint(3, &["cannot find nas", "lanx list"]);
    drop(receiver);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_receiver_is_tried_where_it_was_last_and_looked_for_where_it_is_not() {
    let lan = Lan::new(&["desk", "nas"], Family::V4);
    let [desk, nas] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    for name in ["first", "second", "third"] {
        make(&scene.src, name, 1000);
    }
    let ends = |receiver: Receiver| {
        receiver.process.signal(Signal::INT);
        receiver.process.finish(PATIENCE).expect_code(130);
    };
    let (receiver, _) = announced(&scene, nas, "[::]:7269");
    send(&scene, desk, "first", "nas").expect_code(0);
    ends(receiver);
    // Nobody announces it any more, and it is reached all the same.
    let silent = Receiver::start_as(nas.lanx(&scene), "[::]:7269", &[], &scene.dst);
    send(&scene, desk, "second", "nas").expect_code(0);
    ends(silent);
    let (_receiver, _) = announced(&scene, nas, "[::]:9000");
    send(&scene, desk, "third", "nas.local").expect_code(0);
    send(&scene, desk, "third", "nas").expect_code(0);
    send(&scene, desk, "third", "nass").expect_complaint(3, &["cannot find nass; did you mean nas?"]);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_web_server_is_listed_without_its_token_until_it_ends_and_one_that_keeps_to_itself_is_not() {
    let lan = Lan::new(&["desk", "nas"], Family::Both);
    let [desk, nas] = &lan.hosts[..] else { panic!() };
    let scene = Scene::new();
    make(&scene.src, "letter", 1000);
    let serve = |flags: &[&str]| {
        let mut command = nas.lanx(&scene);
        command
            .env("LANX_TOKEN", TOKEN)
            .args(["serve", "--json", "--listen", "[::]:0"])
            .args(flags)
            .arg(&scene.src);
        let process = Process::spawn(command);
        let port = process.wait_for_event("serving", 1)["port"].as_u64().unwrap() as u16;
        (process, port)
    };
    let (quiet, quiet_port) = serve(&["--no-announce"]);
    let (server, port) = serve(&[]);
    assert_eq!(server.wait_for_event("announced", 1)["name"], "nas");
    let all = list(&scene, desk);
    let found = of_kind(&all, "server");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0]["port"].as_u64(), found[0]["scheme"].as_str()), (Some(port.into()), Some("https")));
    let addrs = found[0]["addrs"].as_array().unwrap();
    assert!(addrs.iter().all(|addr| addr.as_str().unwrap().ends_with(&format!(":{port}"))), "{addrs:?}");
    assert_ne!(port, quiet_port);
    let told = serde_json::to_string(&all).unwrap();
    assert!(!told.contains(TOKEN) && of_kind(&all, "receiver").is_empty(), "{told}");
    // By the address that is listed, as a person is shown it, with the token.
    let mut command = desk.lanx(&scene);
    command.arg("list");
    let shown = Process::spawn(command).finish(PATIENCE);
    // Of several addresses one may be heard of later than the others.
    shown.expect_out(&["nas  ", "  https://", &format!(":{port}/"), "  lanx serve\n"]);
    assert!(!shown.out().contains('%'), "{}", shown.out());
    server.signal(Signal::TERM);
    server.finish(PATIENCE).expect_code(0);
    assert_eq!(list(&scene, desk), [] as [Value; 0]);
    drop(quiet);
}
