//! What `lanx serve` lets clients take: rates, room on the disk, and for how long and for whom a link is good.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::common::*;

const MB: usize = 1_000_000;

fn put(server: &WebServer, path: &str, body: &[u8]) -> Answer {
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        server.addr,
        body.len()
    );
    server.ask_raw([head.as_bytes(), body].concat())
}

fn begin(server: &WebServer, path: &str) -> Answer {
    server.ask_raw(format!(
        "POST /.lanx/upload/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nConnection: close\r\n\r\n",
        server.addr
    ))
}

/// Asks from another address of this machine.
fn ask_from(server: &WebServer, from: [u8; 4], request: &str) -> Answer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Answer::read(&bytes).unwrap()
}

#[test]
fn all_together_and_each_address_get_no_more_than_their_rate() {
    let scene = Scene::new();
    make(&scene.dst, "file", 3 * MB);
    for flag in ["--limit", "--limit-client"] {
        let server = WebServer::start(&scene, &[flag, "2M", "--put", "--get", "--rename"], &scene.dst);
        let began = Instant::now();
        assert_eq!(server.ask("GET", "/file", &[]).body.len(), 3 * MB);
        assert!(began.elapsed() > Duration::from_millis(1200), "{flag}: 3 MB in {:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(put(&server, "/other", &vec![7; 3 * MB]).status / 100, 2);
        assert!(began.elapsed() > Duration::from_millis(1000), "{flag}: 3 MB in {:?}", began.elapsed());
    }
}

#[test]
fn whoever_asks_for_the_hashes_of_many_files_keeps_nobody_else_waiting() {
    const FILES: usize = 200;
    let scene = Scene::new();
    for n in 0..=FILES {
        std::fs::File::create(scene.dst.join(n.to_string())).unwrap().set_len(8 << 20).unwrap();
    }
    let server = WebServer::open(&scene, &[], &scene.dst);
    let request = |n: usize| {
        format!("GET /.lanx/tree/{n} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr)
    };
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (server, request, asked, answered) = (&server, &request, &asked, &answered);
    std::thread::scope(|scope| {
        for n in 0..FILES {
            scope.spawn(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                assert_eq!(ask_from(server, [127, 0, 0, 2], &request(n)).body.len(), 64);
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        wait_until("all of them were asked for", PATIENCE, || {
            asked.load(Ordering::SeqCst) == FILES && answered.load(Ordering::SeqCst) > 0
        });
        assert_eq!(ask_from(server, [127, 0, 0, 3], &request(FILES)).body.len(), 64);
        let before = answered.load(Ordering::SeqCst);
        assert!(before < FILES * 9 / 10, "{before} of {FILES} came first");
    });
}

#[test]
fn no_more_is_taken_than_there_may_be() {
    let scene = Scene::new();
    let server = WebServer::start(&scene, &["--put", "--max-files", "2", "--max-bytes", "100k"], &scene.dst);
    assert_eq!(put(&server, "/large", &vec![1; 100_001]).status, 507);
    assert_eq!(begin(&server, "large?size=100001").status, 507);
    assert_eq!(put(&server, "/one", &vec![1; 60_000]).status, 201);
    assert_eq!(
        put(&server, "/one", &vec![1; 60_000]).status,
        507,
        "also of the same once more: nobody knows before"
    );
    assert_eq!(put(&server, "/one", &vec![1; 30_000]).status, 409);
    assert_eq!(put(&server, "/two", &vec![1; 40_000]).status, 201);
    assert_eq!(put(&server, "/three", b"").status, 507);
    assert_eq!(listing(&scene.dst), ["one", "two"]);
}

#[test]
fn the_disk_keeps_the_room_that_it_is_to_have() {
    let scene = Scene::new();
    let server = WebServer::start(&scene, &["--put", "--keep-free", "900T"], &scene.dst);
    for refused in [put(&server, "/one", b"x"), begin(&server, "two?size=5")] {
        assert_eq!((refused.status, refused.text().contains("too full")), (507, true), "{refused:?}");
    }
    assert_eq!(listing(&scene.dst).len(), 0);
}

#[test]
fn a_link_is_good_for_its_time_and_for_the_first_who_comes() {
    let scene = Scene::new();
    make(&scene.dst, "file", 10);
    let server = WebServer::start(&scene, &["--expire", "1s"], &scene.dst);
    wait_until("its time is over", PATIENCE, || {
        let answer = server.ask("GET", "/file", &[]);
        assert!(answer.status == 200 || answer.text().contains("ask for a new one"), "{answer:?}");
        answer.status == 401
    });
    let server = WebServer::start(&scene, &["--once"], &scene.dst);
    let request = format!(
        "GET /file HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n",
        server.addr
    );
    assert_eq!(ask_from(&server, [127, 0, 0, 2], &request).status, 200);
    assert_eq!(ask_from(&server, [127, 0, 0, 3], &request).status, 401);
    assert_eq!(ask_from(&server, [127, 0, 0, 2], &request).status, 200);
}

#[test]
fn a_list_of_a_large_folder_counts_as_well() {
    let scene = Scene::new();
    for n in 0..6000 {
        std::fs::write(scene.dst.join(format!("{n:0>120}")), "").unwrap();
    }
    let server = WebServer::start(&scene, &["--limit", "1M"], &scene.dst);
    let began = Instant::now();
    let bytes = server.ask("GET", "/", &[]).body.len();
    assert!(bytes > 2 * MB, "{bytes}");
    assert!(began.elapsed() > Duration::from_millis(1500), "{bytes} bytes in {:?}", began.elapsed());
}
