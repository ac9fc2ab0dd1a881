//! Files that come to `lanx serve --put` in pieces: what any client can do, and what none can.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake3::hazmat::HasherExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::common::*;

const MIB: usize = 1 << 20;
const PIECE: usize = 4 * MIB;

fn taking(scene: &Scene, flags: &[&str]) -> WebServer {
    WebServer::start(scene, &[&["--put"], flags].concat(), &scene.dst)
}

/// A request with the field that shows whose will it is.
fn ask(server: &WebServer, method: &str, path: &str, body: &[u8]) -> Answer {
    ask_with(server, method, path, "Lanx: 1\r\n", body)
}

fn ask_with(server: &WebServer, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} /.lanx/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
        server.addr,
        body.len()
    );
    server.ask_raw([head.as_bytes(), body].concat())
}

fn begin(server: &WebServer, name: &str, size: usize) -> Value {
    let begun = ask(server, "POST", &format!("upload/{name}?size={size}"), b"");
    assert_eq!(begun.status, 201, "{}", begun.text());
    begun.json()
}

fn id(begun: &Value) -> String {
    begun["id"].as_str().unwrap().to_owned()
}

/// The value of a piece, by the reference implementation.
fn value(content: &[u8], at: usize, bytes: usize) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    if bytes == content.len() {
        return *hasher.update(content).finalize().as_bytes();
    }
    hasher.set_input_offset(at as u64).update(&content[at..at + bytes]).finalize_non_root()
}

fn values(content: &[u8]) -> Vec<u8> {
    (0..content.len() / PIECE).flat_map(|n| value(content, n * PIECE, PIECE)).collect()
}

fn put(server: &WebServer, id: &str, content: &[u8], at: usize, bytes: usize) -> Answer {
    ask(server, "PUT", &format!("pieces/{id}?at={at}"), &content[at..at + bytes])
}

fn complete(server: &WebServer, id: &str, hash: blake3::Hash) -> Answer {
    ask(server, "POST", &format!("pieces/{id}/complete?blake3={hash}"), b"")
}

#[test]
fn pieces_of_any_length_in_any_order_become_the_file() {
    let scene = Scene::new();
    let server = taking(&scene, &["--get"]);
    let content = noise(3, 11 * MIB + 77);
    let begun = begin(&server, "new%20folder/film", content.len());
    assert_eq!((&begun["resumes"], &begun["exists"]), (&json!(false), &json!(false)));
    assert_eq!(begun["missing"], json!([[0, content.len()]]));
    let id = id(&begun);
    for (at, bytes) in [(8, 2), (0, 4), (10, 1), (4, 4), (8, 2)] {
        let (at, bytes) = (at * MIB, bytes * MIB);
        let answer = put(&server, &id, &content, at, bytes);
        let told = answer.json();
        let expected = blake3::Hash::from_bytes(value(&content, at, bytes)).to_string();
        assert_eq!((answer.status, told["value"].as_str()), (200, Some(expected.as_str())), "{at}: {told}");
    }
    let hash = blake3::hash(&content);
    let early = complete(&server, &id, hash);
    assert_eq!((early.status, early.json()["error"].as_str()), (422, Some("some of it is not here yet")));
    assert_eq!(
        ask(&server, "GET", &format!("pieces/{id}"), b"").json()["missing"],
        json!([[11 * MIB, content.len()]])
    );
    assert!(listing(&scene.dst.join("new folder"))[0].to_str().unwrap().ends_with(".lanx-part"));
    put(&server, &id, &content, 11 * MIB, 77);
    assert_eq!(complete(&server, &id, blake3::hash(b"other")).status, 400);
    let done = complete(&server, &id, hash);
    assert_eq!((done.status, done.json()["blake3"].as_str()), (201, Some(hash.to_string().as_str())));
    assert!(read(&scene.dst.join("new folder/film")) == content);
    assert_eq!(listing(&scene.dst.join("new folder")), ["film"]);
    for (method, path) in [("PUT", format!("pieces/{id}?at=0")), ("GET", format!("pieces/{id}"))] {
        assert_eq!(ask(&server, method, &path, b"").status, 404, "it has ended");
    }
}

#[test]
fn what_is_no_piece_is_refused_and_leaves_what_is_there() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let content = noise(4, 33 * MIB);
    let id = id(&begin(&server, "film", content.len()));
    for (at, bytes) in
        [(0, 3 * MIB), (MIB, 2 * MIB), (5, MIB), (0, 1000), (0, 0), (32 * MIB, 512), (0, 32 * MIB)]
    {
        assert_eq!(put(&server, &id, &content, at, bytes).status, 400, "{bytes} bytes at {at}");
    }
    for query in ["", "?at=", "?at=-1", "?at=x", "?at=18446744073709551615", &format!("?at={}", 40 * MIB)] {
        assert_eq!(
            ask(&server, "PUT", &format!("pieces/{id}{query}"), &content[..MIB]).status,
            400,
            "{query}"
        );
    }
    // One that ends short does not count, and what was there is not believed any more.
    assert_eq!(put(&server, &id, &content, 0, PIECE).status, 200);
    let mut stream = server.connect();
    let head = format!(
        "PUT /.lanx/pieces/{id}?at={MIB} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nContent-Length: {MIB}\r\n\r\n",
        server.addr
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![9; 70_000]).unwrap();
    let missing = || ask(&server, "GET", &format!("pieces/{id}"), b"").json()["missing"].clone();
    wait_until("the piece is begun", PATIENCE, || missing() == json!([[0, content.len()]]));
    drop(stream);
    for at in (0..33 * MIB).step_by(MIB) {
        assert_eq!(put(&server, &id, &content, at, MIB).status, 200);
    }
    assert_eq!(complete(&server, &id, blake3::hash(&content)).status, 201);
    assert!(read(&scene.dst.join("film")) == content);
}

#[test]
fn a_piece_that_is_sent_again_takes_the_place_of_the_one_that_hangs() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let content = noise(5, 8 * MIB);
    let id = id(&begin(&server, "film", content.len()));
    let mut hanging = server.connect();
    let head = format!(
        "PUT /.lanx/pieces/{id}?at=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nContent-Length: {PIECE}\r\n\r\n",
        server.addr
    );
    hanging.write_all(head.as_bytes()).unwrap();
    hanging.write_all(&vec![9; 1_000_000]).unwrap();
    wait_until("some of it is there", PATIENCE, || {
        ask(&server, "GET", &format!("pieces/{id}"), b"").json()["written"].as_u64() > Some(500_000)
    });
    assert_eq!(put(&server, &id, &content, 0, PIECE).status, 200);
    let _ = hanging.write_all(&vec![9; PIECE - 1_000_000]);
    assert_eq!(put(&server, &id, &content, PIECE, PIECE).status, 200);
    assert_eq!(complete(&server, &id, blake3::hash(&content)).status, 201);
    assert!(read(&scene.dst.join("film")) == content);
}

#[test]
fn after_a_kill_only_what_differs_is_asked_for_and_nothing_else_is_told() {
    let scene = Scene::new();
    let mut content = noise(6, 5 * PIECE + 100);
    let server = taking(&scene, &[]);
    let first = id(&begin(&server, "film", content.len()));
    for at in [0, PIECE, 3 * PIECE] {
        assert_eq!(put(&server, &first, &content, at, PIECE).status, 200);
    }
    drop(server);
    // The file has changed meanwhile in one of the pieces that are there.
    content[PIECE + 5] ^= 1;
    let server = taking(&scene, &[]);
    let begun = begin(&server, "film", content.len());
    assert_eq!(begun["resumes"], json!(true));
    let again = id(&begun);
    let all = values(&content);
    let compare = |first: usize, values: &[u8]| {
        ask(&server, "POST", &format!("pieces/{again}/values?first={first}"), values)
    };
    assert_eq!(compare(0, &all).json()["differ"], json!([1, 2, 4]));
    // Of what is no whole piece nothing is told, nor of what is beyond the end.
    for (first, values) in [(5, 1), (4, 2), (usize::MAX, 1), (0, 0), (0, 4097)] {
        assert_eq!(compare(first, &vec![0; 32 * values]).status, 400, "{values} values from {first}");
    }
    assert_eq!(compare(0, &all[..33]).status, 400);
    for at in [PIECE, 2 * PIECE, 4 * PIECE] {
        assert_eq!(put(&server, &again, &content, at, PIECE).status, 200);
    }
    put(&server, &again, &content, 5 * PIECE, 100);
    assert_eq!(complete(&server, &again, blake3::hash(&content)).status, 201);
    assert!(read(&scene.dst.join("film")) == content);
    assert!(parts_of(&scene.dst, "film").is_empty());
}

#[test]
fn an_unfinished_file_is_that_of_its_token_alone() {
    let scene = Scene::new();
    let content = noise(7, 2 * PIECE);
    let server = taking(&scene, &[]);
    put(&server, &id(&begin(&server, "film", content.len())), &content, 0, PIECE);
    drop(server);
    let mut command = scene.lanx();
    let other = "another-token";
    command.env("LANX_TOKEN", other).args(["serve", "--put", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let server = WebServer::start_as(command);
    let head = format!(
        "POST /.lanx/upload/film?size={} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {other}\r\nLanx: 1\r\nConnection: close\r\n\r\n",
        content.len(),
        server.addr
    );
    assert_eq!(server.ask_raw(head).json()["resumes"], json!(false));
}

#[test]
fn what_is_there_need_not_be_sent_and_what_is_given_up_leaves_nothing() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let content = noise(8, 2 * PIECE);
    make_of(&scene.dst, "film", &content);
    let begun = begin(&server, "film", content.len());
    assert_eq!(begun["exists"], json!(true));
    let same = complete(&server, &id(&begun), blake3::hash(&content));
    assert_eq!((same.status, same.json()["status"].as_str()), (200, Some("identical")));
    // Another one of the same length is refused before a byte of it comes, and so is one of another length.
    let other = id(&begin(&server, "film", content.len()));
    assert_eq!(complete(&server, &other, blake3::hash(b"x")).status, 409);
    assert_eq!(ask(&server, "POST", "upload/film?size=9", b"").status, 409);
    let given_up = id(&begin(&server, "more", content.len()));
    put(&server, &given_up, &content, 0, PIECE);
    assert_eq!(parts_of(&scene.dst, "more").len(), 1);
    assert_eq!(ask(&server, "DELETE", &format!("pieces/{given_up}"), b"").status, 200);
    assert_eq!(listing(&scene.dst), ["film"]);
    // An empty file has no pieces.
    let empty = id(&begin(&server, "empty", 0));
    assert_eq!(complete(&server, &empty, blake3::hash(b"")).status, 201);
    assert_eq!(read(&scene.dst.join("empty")), b"");
}

#[test]
fn nobody_elses_page_can_begin_or_end_anything() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let id = id(&begin(&server, "film", 2 * PIECE));
    let evil = "Lanx: 1\r\nOrigin: http://evil.example\r\n";
    for (method, path) in [
        ("POST", "upload/other?size=5".to_owned()),
        ("PUT", format!("pieces/{id}?at=0")),
        ("POST", format!("pieces/{id}/complete?blake3={}", blake3::hash(b""))),
        ("DELETE", format!("pieces/{id}")),
    ] {
        for fields in ["", evil, "Lanx: 1\r\nSec-Fetch-Site: cross-site\r\n"] {
            assert_eq!(ask_with(&server, method, &path, fields, b"").status, 403, "{method} {path} {fields}");
        }
    }
    for name in ["..%2fx", "%2e%2e/x", "", "a/", ".hidden", "a/.ssh/x", ".a.v2-x.lanx-part", "a%00"] {
        let refused = ask(&server, "POST", &format!("upload/{name}?size=5"), b"").status;
        assert!(refused == 400 || refused == 403, "{name}: {refused}");
    }
    for query in ["", "?size=", "?size=-5", "?size=x", "?size=18446744073709551616"] {
        assert_eq!(ask(&server, "POST", &format!("upload/x{query}"), b"").status, 400, "{query}");
    }
    // More than can be is refused as such, before anything is made.
    assert!(ask(&server, "POST", "upload/x?size=18446744073709551615", b"").status >= 400);
    let names = listing(&scene.dst);
    assert_eq!(names.len(), 1, "{names:?}");
    let reading = WebServer::start(&scene, &[], &scene.dst);
    assert_eq!(ask(&reading, "POST", "upload/x?size=5", b"").status, 405);
}

#[test]
fn no_more_uploads_are_open_than_there_is_room_for() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    // Of 64 places one in eight is for who has none.
    let begun: Vec<Value> = (0..56).map(|n| begin(&server, &format!("file{n}"), 10)).collect();
    let mut socket = talk(&server, "").unwrap();
    let say = |socket: &mut WebSocket<TcpStream>, n: u64, ask: &str| {
        socket.send(Message::text(json!({ "n": n, "ask": ask }).to_string())).unwrap();
    };
    // As many as a conversation has answered at once, and more: what ends an upload still gets through.
    for n in 1..=20 {
        say(&mut socket, n, &format!("POST upload/waiting{n}?size=10"));
        let told = hear(&mut socket);
        assert_eq!(
            told,
            json!({ "event": "waiting", "ask": n, "serving": 56, "own": 56, "before": n - 1 }),
            "{told}"
        );
    }
    assert_eq!(server.ask("GET", "/.lanx/stats", &[]).json()["uploads_waiting"], 20);
    // Another network has a place at once.
    let of_another = |line: &str| {
        let source = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        source.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        source.connect(&server.addr.into()).unwrap();
        let mut stream: TcpStream = source.into();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nConnection: close\r\n\r\n",
            server.addr
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::read(&bytes).unwrap()
    };
    assert_eq!(of_another("POST /.lanx/upload/theirs?size=10").status, 201);
    // A plain request waits for a while only, and hears why.
    let full = ask(&server, "POST", "upload/plain?size=10", b"");
    assert_eq!((full.status, full.field("retry-after")), (503, "1"));
    let why = full.json();
    assert_eq!((&why["serving"], &why["own"], &why["before"]), (&json!(57), &json!(56), &json!(20)), "{why}");
    // A place that is given back is for the first who waits, and the others hear of that.
    // One in eight stays for networks that have none, so that two have to end.
    for (n, ended) in (98..).zip(&begun[..2]) {
        say(&mut socket, n, &format!("DELETE pieces/{}", id(ended)));
    }
    let (mut is_begun, mut is_next) = (false, false);
    let end = Instant::now() + PATIENCE;
    while !is_begun || !is_next {
        assert!(Instant::now() < end, "the first has begun: {is_begun}, the second is next: {is_next}");
        let heard = hear(&mut socket);
        if heard["n"] == 1 {
            assert_eq!(heard["status"], 201, "{heard}");
            is_begun = true;
        } else if heard["ask"] == 2 && heard["before"] == 0 {
            is_next = true;
        }
    }
    drop(socket);
    wait_until("nobody waits any more", PATIENCE, || {
        server.ask("GET", "/.lanx/stats", &[]).json()["uploads_waiting"] == 0
    });
}

#[test]
fn pieces_beyond_the_share_of_an_upload_wait_for_their_turn() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let content = noise(4, 8 * MIB);
    // With 55 others each may have 2 on the way: one of its own, and one of the 64 that all share.
    let all: Vec<Value> = (0..56).map(|n| begin(&server, &format!("file{n}"), content.len())).collect();
    let id = id(&all[0]);
    let mut hanging: Vec<TcpStream> = (0..8)
        .map(|n| {
            let mut stream = server.connect();
            let head = format!(
                "PUT /.lanx/pieces/{id}?at={} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nContent-Length: {MIB}\r\n\r\n",
                n * MIB,
                server.addr
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for (n, stream) in hanging.iter_mut().enumerate() {
        stream.write_all(&content[n * MIB..(n + 1) * MIB]).unwrap();
    }
    for stream in &mut hanging {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200");
    }
    assert_eq!(complete(&server, &id, blake3::hash(&content)).status, 201);
}

/// A conversation, after its handshake.
fn talk(server: &WebServer, fields: &str) -> Result<WebSocket<TcpStream>, u16> {
    let mut stream = server.connect();
    let head = format!(
        "GET /.lanx/talk HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n",
        server.addr
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let answer = Answer::read(&head).unwrap();
    if answer.status != 101 {
        return Err(answer.status);
    }
    // The example of RFC 6455, section 1.3.
    assert_eq!(answer.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    Ok(WebSocket::from_raw_socket(stream, Role::Client, None))
}

fn hear(socket: &mut WebSocket<TcpStream>) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "nothing but pings came");
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_conversation_carries_all_but_the_bytes() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let content = noise(9, 2 * PIECE + 5);
    let mut socket = talk(&server, "").unwrap();
    let mut asked = 0;
    let mut ask = |socket: &mut WebSocket<TcpStream>, ask: String, body: &[u8]| {
        asked += 1;
        let message = json!({ "n": asked, "ask": ask, "body": STANDARD.encode(body) });
        socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let heard = hear(socket);
            if heard["n"] == json!(asked) {
                return heard;
            }
            assert_eq!(heard["event"], "progress");
        }
    };
    let begun = ask(&mut socket, format!("POST upload/film?size={}&client=one", content.len()), b"");
    assert_eq!(begun["status"], 201);
    let id = id(&begun["body"]);
    put(&server, &id, &content, 0, PIECE);
    loop {
        let heard = hear(&mut socket);
        if heard["event"] == "progress" && heard["uploads"][0] == json!({ "id": id, "written": PIECE }) {
            break;
        }
    }
    let differ = ask(&mut socket, format!("POST pieces/{id}/values?first=0"), &values(&content));
    assert_eq!(differ["body"]["differ"], json!([1]));
    // What another page has in its hands is not taken from it; what nobody has any more is.
    let other = begin(&server, "film", content.len());
    assert_eq!(other["resumes"], json!(false));
    drop(socket);
    let mut socket = talk(&server, "").unwrap();
    let again = ask(&mut socket, format!("POST upload/film?size={}&before=one", content.len()), b"");
    assert_eq!(again["body"]["resumes"], json!(true));
    for wrong in [
        "{}",
        "x",
        "{\"n\":1}",
        "{\"n\":1,\"ask\":\"nonsense\"}",
        "{\"n\":1,\"ask\":\"GET x\",\"body\":\"%\"}",
    ] {
        socket.send(Message::text(wrong)).unwrap();
        let heard = hear(&mut socket);
        assert!(heard["status"].as_u64() >= Some(400) || heard["event"] == "progress", "{wrong}: {heard}");
    }
    // More than a message may have ends it.
    let _ = socket.send(Message::text("x".repeat(1 << 20)));
    wait_until("it has ended", PATIENCE, || socket.read().is_err());
    assert_eq!(talk(&server, "Origin: http://evil.example\r\n").unwrap_err(), 403);
    assert_eq!(talk(&server, "Sec-WebSocket-Version: 8\r\n").err(), None, "one of the versions is known");
}

#[test]
fn a_conversation_ends_with_the_server() {
    let scene = Scene::new();
    let mut server = taking(&scene, &[]);
    let mut socket = talk(&server, "").unwrap();
    server.process.signal(rustix::process::Signal::TERM);
    wait_until("it is told", PATIENCE, || matches!(socket.read(), Ok(Message::Close(_)) | Err(_)));
    wait_until("the server ends at once", PATIENCE, || !server.process.is_running());
}
