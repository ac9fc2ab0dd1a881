//! `lanx get` from `lanx serve`: the values by which every byte is proved, and what happens to those that come wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake3::hazmat::HasherExt;

use crate::common::*;

const MIB: usize = 1 << 20;
const PIECE: usize = 4 * MIB;

/// Carries connections to a server, and turns a bit of each n-th MiB that comes back, so many times.
fn turning(target: SocketAddr, times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (carried, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(times)));
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(target).unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let (carried, left, mut near, mut far) = (carried.clone(), left.clone(), near, far);
            thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(came @ 1..) = far.read(&mut buffer) {
                    let before = carried.fetch_add(came as u64, Ordering::SeqCst) as usize;
                    // Not in a head, which is at the beginning of what comes.
                    let is_next = (before + came) / MIB > before / MIB && came > 40_000;
                    let take = |left: usize| left.checked_sub(1);
                    if is_next && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                        buffer[came - 1] ^= 1;
                    }
                    if near.write_all(&buffer[..came]).is_err() {
                        break;
                    }
                }
                let _ = near.shutdown(Shutdown::Both);
            });
        }
    });
    addr
}

/// A server whose file has a strong tag.
fn serving(scene: &Scene, content: &[u8]) -> WebServer {
    make_of(&scene.dst, "film", content);
    let server = WebServer::start(scene, &[], &scene.dst);
    wait_until("the tag is strong", PATIENCE, || {
        server.ask("HEAD", "/film", &[]).field("etag").starts_with('"')
    });
    server
}

fn get(scene: &Scene, addr: SocketAddr) -> Output {
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", TOKEN).args(["get", &format!("http://{addr}/film")]);
    Process::spawn(command).finish(PATIENCE)
}

#[test]
fn a_server_tells_the_value_of_each_piece_and_both_hashes() {
    let scene = Scene::new();
    let content = noise(1, 2 * PIECE + 77);
    let server = serving(&scene, &content);
    let file = server.ask("GET", "/film", &[]);
    assert_eq!((file.field("lanx-tree"), file.field("repr-digest")), ("4194304", ""), "nobody has asked yet");
    let tree = server.ask("GET", "/.lanx/tree/film", &[]);
    let expected: Vec<u8> = [0, PIECE, 2 * PIECE]
        .into_iter()
        .flat_map(|at| {
            let bytes = &content[at..content.len().min(at + PIECE)];
            blake3::Hasher::new().set_input_offset(at as u64).update(bytes).finalize_non_root()
        })
        .collect();
    assert_eq!((tree.status, &tree.body), (200, &expected));
    assert_eq!(tree.field("etag"), file.field("etag"));
    let blake3 = format!("blake3=:{}:", STANDARD.encode(blake3::hash(&content).as_bytes()));
    assert_eq!(tree.field("repr-digest"), "", "it was not known when the answer began");
    let again = server.ask("GET", "/.lanx/tree/film", &[]);
    assert_eq!((again.body, again.fields["repr-digest"].as_str()), (expected, blake3.as_str()));
    assert_eq!(server.ask("HEAD", "/film", &[]).field("repr-digest"), blake3, "it is known by now");
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let both = format!("sha-256=:{}:, {blake3}", STANDARD.encode(sha256));
    let wanted = server.ask("GET", "/film", &[("Want-Repr-Digest", "sha-256=5"), ("Range", "bytes=0-9")]);
    assert_eq!((wanted.status, wanted.field("repr-digest")), (206, both.as_str()));
    for path in ["none", "", "../film", "%2e%2e/film", ".hidden", "a%2fb"] {
        assert_eq!(server.ask("GET", &format!("/.lanx/tree/{path}"), &[]).status, 404, "{path}");
    }
    // One that has changed has other values, whatever was known.
    make_of(&scene.dst, "film", b"other");
    let tree = server.ask("GET", "/.lanx/tree/film", &[]);
    assert_eq!(tree.body, blake3::hash(b"other").as_bytes());
    let taking = WebServer::start(&scene, &["--put"], &scene.dst);
    assert_eq!(taking.ask("GET", "/.lanx/tree/film", &[]).status, 404, "it gives nothing");
}

/// A client that hears nothing for long gives up, and hashing a large file may take longer.
#[test]
fn the_values_of_a_large_file_come_as_they_are_known() {
    const WHOLE: u64 = 2 << 30;
    let scene = Scene::new();
    std::fs::File::create(scene.dst.join("film")).unwrap().set_len(WHOLE).unwrap();
    let server = WebServer::open(&scene, &[], &scene.dst);
    let mut stream = server.connect();
    let request = format!("GET /.lanx/tree/film HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    stream.write_all(request.as_bytes()).unwrap();
    let mut came = vec![0; 4096];
    let mut bytes = Vec::new();
    while Answer::read(&bytes).is_none_or(|answer| answer.body.is_empty()) {
        let some = stream.read(&mut came).unwrap();
        assert_ne!(some, 0);
        bytes.extend_from_slice(&came[..some]);
    }
    let hashed = server.process.bytes_read();
    assert!(hashed < WHOLE / 2, "the first value came after {hashed} bytes");
    assert_eq!(Answer::read(&bytes).unwrap().field("content-length"), (32 * (WHOLE >> 22)).to_string());
}

#[test]
fn what_comes_from_a_lanx_is_proved() {
    let scene = Scene::new();
    let content = noise(2, 3 * PIECE);
    let server = serving(&scene, &content);
    let got = get(&scene, server.addr);
    got.expect_code(0);
    let said = String::from_utf8_lossy(&[&got.stdout[..], &got.stderr[..]].concat()).into_owned();
    assert!(!said.contains("not verified"), "{said}");
    assert!(read(&scene.src.join("film")) == content);
}

#[test]
fn pieces_that_come_wrong_are_got_once_more_and_they_alone() {
    let scene = Scene::new();
    let content = noise(3, 5 * PIECE + 5);
    let server = serving(&scene, &content);
    let got = get(&scene, turning(server.addr, 2));
    got.expect_code(0);
    let said = String::from_utf8_lossy(&[&got.stdout[..], &got.stderr[..]].concat()).into_owned();
    assert!(said.contains("came wrong, and were got once more"), "{said}");
    assert!(read(&scene.src.join("film")) == content);
    let sent = server.ask("GET", "/.lanx/stats", &[]).json()["sent_bytes"].as_u64().unwrap();
    assert!(sent < (8 * PIECE) as u64, "{sent} bytes were sent for {}", content.len());
    assert_eq!(listing(&scene.src), ["film"]);
}

#[test]
fn what_comes_wrong_again_and_again_gets_no_name() {
    let scene = Scene::new();
    let content = noise(4, 3 * PIECE);
    let server = serving(&scene, &content);
    let got = get(&scene, turning(server.addr, usize::MAX));
    assert_ne!(got.code, Some(0));
    assert!(String::from_utf8_lossy(&got.stderr).contains("comes wrong again and again"), "{got:?}");
    assert_eq!(listing(&scene.src).len(), 0);
}
