//! What goes wrong between people and machines, word for word: each text names the thing, the cause and the next step, in one
//! or two lines, and `-v` adds what the system said.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use crate::common::bad_disk::{ENOSPC, call, receiver_on_a_bad_disk};
use crate::common::*;
use lanx::wire::VERSION;
use lanx::wire::preface::Status;
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use socket2::{Domain, Socket, Type};

fn letter(scene: &Scene) -> PathBuf {
    make_of(&scene.src, "letter.txt", b"dear friend")
}

/// Demands this exit code and, after what differs from run to run is named, this text and nothing else on stderr.
#[track_caller]
fn expect(output: &Output, code: i32, names: &[(&str, &str)], golden: &str) {
    let text = with_names(output, names);
    assert_eq!(text, format!("lanx: {golden}\n"));
    assert!(text.lines().count() <= 2 && text.contains("; "), "no next step: {text}");
    output.expect_code(code);
}

fn with_names(output: &Output, names: &[(&str, &str)]) -> String {
    names.iter().fold(output.err(), |text, (from, to)| text.replace(from, to))
}

/// The same, and that `-v` adds `cause`.
#[track_caller]
fn expect_cause(output: &Output, code: i32, names: &[(&str, &str)], golden: &str, cause: &str) {
    output.expect_code(code);
    let text = with_names(output, names);
    assert!(text.contains(&format!("lanx: {golden}\n")), "{text}");
    assert!(text.contains(&format!("caused by: {cause}")), "{text}");
}

/// Somebody who answers every connection with `words` and reads what comes.
fn who_says(words: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let words = words.clone();
            thread::spawn(move || answer(stream, &words));
        }
    });
    addr
}

fn answer(mut stream: TcpStream, words: &[u8]) {
    let _ = stream.write_all(words);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A port whose packets are dropped, as by a firewall: the queue of those who wait to be accepted is full.
fn blackhole() -> (Socket, Vec<Socket>, SocketAddr) {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let waiting = (0..8).map(|_| {
        let stream = socket();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.connect(&addr);
        stream
    });
    (listener, waiting.collect(), addr.as_socket().unwrap())
}

#[test]
fn nobody_answers() {
    let scene = Scene::new();
    let (_listener, _waiting, addr) = blackhole();
    let (host, port) = (addr.to_string(), addr.port().to_string());
    let golden = "cannot reach HOST: it did not answer within 5 s; check the address, that the machine is on, and that a \
                  firewall there lets TCP port PORT in";
    let output = scene.send_with(&["-v"], &[&letter(&scene)], addr);
    expect_cause(&output, 3, &[(&host, "HOST"), (&port, "PORT")], golden, "HOST: timed out");
}

#[test]
fn nothing_listens() {
    let scene = Scene::new();
    let (_held, addr) = refusing();
    let host = addr.to_string();
    let golden = "cannot reach HOST: it refused the connection; start `lanx recv` there, or give the port that it shows, as \
                  HOST:PORT";
    expect(&scene.send(&[&letter(&scene)], &host), 3, &[(&host, "HOST")], golden);
    let output = scene.send_with(&["-v"], &[&letter(&scene)], &host);
    expect_cause(&output, 3, &[(&host, "HOST")], golden, "HOST: Connection refused (os error 111)");
}

#[test]
fn something_else_listens() {
    let scene = Scene::new();
    for words in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"] {
        let host = who_says(words.into()).to_string();
        let golden =
            "what listens at HOST is not lanx; give the port that `lanx recv` shows there, as HOST:PORT";
        expect(&scene.send(&[&letter(&scene)], &host), 3, &[(&host, "HOST")], golden);
    }
}

#[test]
fn another_version_answers() {
    let scene = Scene::new();
    let ours = VERSION.to_string();
    for (theirs, place) in [(VERSION + 1, "here"), (VERSION - 1, "there")] {
        let mut preface = Status::OtherVersion.encode();
        preface[4..6].copy_from_slice(&theirs.to_le_bytes());
        let host = who_says(preface.into()).to_string();
        let golden = format!(
            "HOST speaks version {theirs} of the lanx protocol and this lanx speaks {ours}; install the newer lanx {place} as well"
        );
        expect(&scene.send(&[&letter(&scene)], &host), 3, &[(&host, "HOST")], &golden);
    }
}

#[test]
fn the_code_is_refused() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let host = receiver.addr.to_string();
    let output = scene.send_by("alice", Some("another code"), &letter(&scene), receiver.addr);
    let golden = "HOST does not have that code; look at its screen and try again";
    expect(&output, 4, &[(&host, "HOST")], golden);
}

#[test]
fn the_key_has_changed() {
    let scene = Scene::new();
    let first = scene.receiver_of("bob", &[], Some(CODE));
    let relay = Relay::to(first.addr);
    let host = relay.addr.to_string();
    let file = letter(&scene);
    scene.send_by("alice", Some(CODE), &file, &host).expect_code(0);
    let mut command = scene.lanx_as("mallory");
    command.env("LANX_CODE", CODE);
    let second = Receiver::start_as(command, "127.0.0.1:0", &[], &scene.dst);
    relay.lead_to(second.addr);
    let output = scene.send_by("alice", None, &file, &host);
    let text = with_names(&output, &[(&host, "HOST")]);
    let (was, now) = text.split_once(" to ").unwrap();
    let was = was.split_once("HAS CHANGED from ").unwrap().1.to_owned();
    let now = now.split_once(": ").unwrap().0.to_owned();
    assert!(was.starts_with("SHA256:") && now.starts_with("SHA256:") && was != now, "{text}");
    let golden = "THE KEY OF HOST HAS CHANGED from WAS to NOW: lanx was set up anew there, or somebody poses as that machine. \
                  Nothing was sent; if you know why it changed, run `lanx trust remove HOST` and send again";
    expect(&output, 4, &[(&host, "HOST"), (&was, "WAS"), (&now, "NOW")], golden);
}

#[test]
fn there_is_no_space() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 4 * CHUNK);
    let failing = [(call::PWRITE64, Some(2 * CHUNK as u64))];
    let receiver = receiver_on_a_bad_disk(&scene, &["--once"], &failing, ENOSPC);
    let sent = scene.send(&[&file], receiver.addr);
    let (host, path) = (receiver.addr.to_string(), scene.dst.join("file"));
    let text = sent.err();
    let free =
        text.split_once("needed, ").or(text.split_once("file: ")).unwrap().1.split_once(" free").unwrap().0;
    let names = [(&*host, "HOST"), (path.to_str().unwrap(), "PATH"), (free, "FREE")];
    let golden = "no room for PATH: FREE free; make room or choose another folder, then send again";
    expect(&sent, 7, &names, &format!("HOST: {golden}"));
    expect(&receiver.process.finish(PATIENCE), 7, &names, &format!("127.0.0.1: {golden}"));
}

#[test]
fn something_is_not_permitted() {
    let scene = Scene::new();
    let file = letter(&scene);
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    let mut command = scene.lanx_unprivileged();
    command.args(["send", "letter.txt", "127.0.0.1:1"]);
    let golden = "letter.txt: cannot read it: permission denied; you need read access to it";
    expect(&Process::spawn(command).finish(PATIENCE), 5, &[], golden);

    let dir = scene.dst.to_str().unwrap();
    fs::set_permissions(dir, Permissions::from_mode(0o555)).unwrap();
    let names = [(dir, "DIR")];
    let golden = "cannot write to DIR: permission denied; change its owner or mode, or choose another folder";
    for flags in [&[][..], &["-v"]] {
        let mut command = scene.lanx_unprivileged();
        command.args(flags).args(["recv", "--listen", "127.0.0.1:0", dir]);
        let output = Process::spawn(command).finish(PATIENCE);
        match flags {
            [] => expect(&output, 7, &names, golden),
            _ => expect_cause(&output, 7, &names, golden, "Permission denied (os error 13)"),
        }
    }
}

#[test]
fn a_name_is_too_long() {
    let scene = Scene::new();
    let name = "n".repeat(300);
    let mut command = scene.lanx();
    command.args(["send", "-", "127.0.0.1:1", "--name", &name]);
    let shown = format!("{}...", &name[..80]);
    let names = [(&*shown, "NAME")];
    let golden =
        "--name: the file name \"NAME\" is 300 bytes long, at most 255 are possible; give another one";
    expect(&Process::spawn(command).finish(PATIENCE), 2, &names, golden);
    // Folder in folder, so deep that no path names the innermost.
    let mut folder = File::open(&scene.src).unwrap();
    for _ in 0..20 {
        mkdirat(&folder, &name[..250], Mode::RWXU).unwrap();
        folder = openat(&folder, &name[..250], OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    for file in ["file", "another"] {
        openat(&folder, file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }
    let receiver = scene.receiver();
    let sent = scene.send(&[&name[..250]], receiver.addr);
    let golden = "the file name \"NAME\" is 4266 bytes long with its folders, at most 4095 are possible; rename it on \
                  the sending side; nor is what is in it sent, 5 files and folders";
    expect(&sent, 5, &names, golden);
}

#[test]
fn the_port_is_busy() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (host, port) = (addr.to_string(), addr.port().to_string());
    let dir = scene.dst.to_str().unwrap();
    let golden = "port PORT is taken at HOST; stop what listens there (another `lanx recv`?), or choose another port with \
                  --listen ADDR:PORT";
    let names = [(&*host, "HOST"), (&*port, "PORT")];
    expect(&scene.run(["recv", "--listen", &host, dir]), 1, &names, golden);
    let output = scene.run(["-v", "recv", "--listen", &host, dir]);
    expect_cause(&output, 1, &names, golden, "Address already in use (os error 98)");
}
