//! Whoever can reach `lanx serve` may send it anything.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;

use crate::common::*;

const MIB: usize = 1 << 20;

#[test]
fn no_path_and_no_link_leads_out_of_what_is_served() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    fs::create_dir(scene.src.join("folder")).unwrap();
    fs::write(scene.path("secret"), "secret").unwrap();
    for (link, to) in [("out", ".."), ("etc", "/etc"), ("passwd", "/etc/passwd"), ("folder/up", "../..")] {
        symlink(to, scene.src.join(link)).unwrap();
    }
    make(&scene.src, ".hidden", 3);
    make(&scene.src, ".file.v2-x.lanx-part", 3);
    let server = WebServer::open(&scene, &[], &scene.src);
    assert_eq!(server.ask("GET", "/file", &[]).status, 200);
    for path in [
        "/../secret",
        "/folder/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/folder/..%2f..%2fsecret",
        "/folder/%2e%2e/%2e%2e/secret",
        "/./../secret",
        "//etc/passwd",
        "/out/secret",
        "/etc/passwd",
        "/passwd",
        "/folder/up/secret",
        "/file/../../secret",
        "/file%00",
        "/file/",
        "/.hidden",
        "/.file.v2-x.lanx-part",
        "/%2ehidden",
        "/..",
        "/..\\secret",
    ] {
        let answer = server.ask("GET", path, &[]);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.text().contains("root:") && !answer.text().contains("secret\n"), "{path}");
    }
    let names = server.ask("GET", "/", &[]).text();
    for hidden in ["out", "etc", "passwd", ".hidden", "lanx-part"] {
        assert!(!names.contains(&format!("\"{hidden}")), "{hidden} is listed: {names}");
    }
    drop(server);
    let all = WebServer::open(&scene, &["--all"], &scene.src);
    assert_eq!(all.ask("GET", "/.hidden", &[]).status, 200);
    assert_eq!(all.ask("GET", "/.file.v2-x.lanx-part", &[]).status, 404);
}

#[test]
fn a_page_whose_name_leads_here_gets_nothing() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = WebServer::open(&scene, &["--host", "files.example"], &scene.src);
    let port = server.addr.port();
    let ask = |line: &str, host: &str| {
        server.ask_raw(format!("GET {line} HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).status
    };
    for (host, status) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
        ("Host: files.example\r\n".into(), 200),
        (format!("Host: evil.example:{port}\r\n"), 421),
        ("Host: localhost.evil.example\r\n".into(), 421),
        ("Host: \r\n".into(), 421),
        (String::new(), 400),
        ("Host: localhost\r\nHost: evil.example\r\n".into(), 400),
    ] {
        assert_eq!(ask("/file", &host), status, "{host}");
    }
    assert_eq!(ask("http://evil.example/file", "Host: localhost\r\n"), 421);
    assert_eq!(ask("http://localhost/file", "Host: evil.example\r\n"), 200);
}

#[test]
fn what_is_too_large_or_no_http_is_refused_and_the_server_goes_on() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = WebServer::open(&scene, &[], &scene.src);
    let host = format!("Host: {}\r\n", server.addr);
    for (request, status) in [
        (format!("GET /file HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1_000_000)).into_bytes(), 431),
        (format!("GET /file HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(1000)).into_bytes(), 431),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(1_000_000)).into_bytes(), 414),
        (b"lanx\x01\0\0\0\r\n\r\n".to_vec(), 400),
        (b"\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03\r\n\r\n".to_vec(), 400),
        (b"GET /file HTTP/9.9\r\n\r\n".to_vec(), 400),
        (format!("GET /file\0 HTTP/1.1\r\n{host}\r\n").into_bytes(), 400),
        (format!("GET /file HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n").into_bytes(), 400),
    ] {
        let start = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let answer = server.ask_raw(&request);
        // What does not fit into the buffer at all is the one or the other.
        assert!(answer.status == status || status == 414 && answer.status == 431, "{start}: {answer:?}");
    }
    assert_eq!(server.ask("GET", "/file", &[]).status, 200);
}

#[test]
fn who_never_ends_a_request_is_let_go_and_holds_nobody_up() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = WebServer::open(&scene, &[], &scene.src);
    let mut slow: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    for (n, stream) in slow.iter_mut().enumerate() {
        let begun: &[u8] = if n % 2 == 0 { b"GET /file HTTP/1.1\r\nHost: " } else { b"" };
        stream.write_all(begun).unwrap();
    }
    assert_eq!(server.ask("GET", "/file", &[]).status, 200);
    for mut stream in slow {
        // It ends, with an answer or without.
        let _ = stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn one_address_can_take_so_many_connections_and_leaves_the_others_theirs() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = WebServer::open(&scene, &[], &scene.src);
    let of_another = || ask_over(connect_from("127.0.0.2", server.addr), &server);
    let mut held: Vec<TcpStream> = Vec::new();
    // One that asks for nothing stays for a while only, so there may have to be some more.
    wait_until("there are too many", PATIENCE, || {
        held.extend((0..64).map(|_| server.connect()));
        of_another()["connections_refused"].as_u64() > Some(0)
    });
    assert!(held.len() > 512, "{}", held.len());
    drop(held);
    wait_until("there is room again", PATIENCE, || of_another()["connections_open"].as_u64() == Some(1));
    assert_eq!(server.ask("GET", "/file", &[]).status, 200);
}

fn connect_from(source: &str, to: std::net::SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: std::net::SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

fn ask_over(mut stream: TcpStream, server: &WebServer) -> serde_json::Value {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /.lanx/stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr)
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::read(&answer).unwrap().json()
}

#[test]
fn many_busy_clients_take_little_memory() {
    let scene = Scene::new();
    make(&scene.src, "file", 64 * MIB);
    let server = WebServer::open(&scene, &[], &scene.src);
    let busy: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = server.connect();
            write!(stream, "GET /file HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr).unwrap();
            let mut some = [0; 1024];
            stream.read_exact(&mut some).unwrap();
            stream
        })
        .collect();
    wait_until("all are busy", PATIENCE, || {
        server.ask("GET", "/.lanx/stats", &[]).json()["requests_active"].as_u64() == Some(200)
    });
    let peak = server.process.memory_peak();
    assert!(peak < 120 * MIB as u64, "{} MiB", peak / MIB as u64);
    drop(busy);
}
