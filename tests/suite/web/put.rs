//! `lanx serve --put`: files that clients put into a folder. A name stands for what was there before or for all of the new file.

use std::fs;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::*;

const MIB: usize = 1 << 20;

/// A server that takes files into `dst`.
fn taking(scene: &Scene, flags: &[&str]) -> WebServer {
    WebServer::start(scene, &[&["--put"], flags].concat(), &scene.dst)
}

/// Puts these bytes, with these fields beside the token.
fn put(server: &WebServer, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n",
        server.addr,
        body.len()
    );
    server.ask_raw([head.as_bytes(), body].concat())
}

#[test]
fn curl_puts_a_file_of_any_length_whole_and_proved() {
    let scene = Scene::new();
    let file = make(&scene.src, "disk image.img", 9 * MIB + 3);
    let server = taking(&scene, &["--get"]);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let path = file.to_str().unwrap();
    let Some(done) = run_other(&scene, "curl", &["-sf", "-H", &bearer, "-T", path, &server.url("/")]) else {
        return;
    };
    done.expect_code(0);
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["blake3"].as_str(), Some(blake3::hash(&read(&file)).to_string().as_str()));
    assert_eq!((told["status"].as_str(), told["href"].as_str()), (Some("stored"), Some("/disk%20image.img")));
    assert_eq!(listing(&scene.dst), ["disk image.img"]);
    assert!(read(&scene.dst.join("disk image.img")) == read(&file));
    // Of unknown length, into a folder that is not there yet.
    let mut cat = std::process::Command::new("sh");
    scene.isolate(&mut cat);
    let url = server.url("/new/folder/stream");
    cat.args(["-c", &format!("cat '{path}' | curl -sf -H '{bearer}' -T - '{url}'")]);
    Process::spawn(cat).finish(PATIENCE).expect_code(0);
    assert!(read(&scene.dst.join("new/folder/stream")) == read(&file));
    // It can be had again, as --get says so.
    assert_eq!(server.ask("GET", "/new/folder/stream", &[]).body.len(), 9 * MIB + 3);
    wait_until("it is told", PATIENCE, || server.process.stdout.text().contains("  new/folder/stream\n"));
    let sums = server.ask("GET", "/.lanx/stats", &[]).json();
    assert_eq!(
        (sums["stored_files"].as_u64(), sums["stored_bytes"].as_u64()),
        (Some(2), Some(2 * (9 * MIB as u64 + 3)))
    );
}

#[test]
fn what_is_there_stays_unless_the_server_was_told_otherwise() {
    for (flags, other, names) in [
        (&[][..], 409, &["file"][..]),
        (&["--overwrite"], 201, &["file"]),
        (&["--rename"], 201, &["file", "file (1)"]),
    ] {
        let scene = Scene::new();
        let server = taking(&scene, flags);
        assert_eq!(put(&server, "/file", &[], b"one").status, 201, "{flags:?}");
        let same = put(&server, "/file", &[], b"one");
        assert_eq!((same.status, same.json()["status"].as_str()), (200, Some("identical")), "{flags:?}");
        for content in [&b"two"[..], b"three"] {
            // One that has changed within the same tick of the file system's clock is not replaced.
            wait_until("it is as old as it has to be", PATIENCE, || {
                put(&server, "/file", &[], content).status == other
            });
        }
        assert_eq!(put(&server, "/file", &[("If-None-Match", "*")], b"x").status, 412, "{flags:?}");
        let mut expected: Vec<&str> = names.to_vec();
        if flags == ["--rename"] {
            expected.push("file (2)");
        }
        assert_eq!(listing(&scene.dst), expected, "{flags:?}");
        let content = if flags == ["--overwrite"] { &b"three"[..] } else { b"one" };
        assert_eq!(read(&scene.dst.join("file")), content, "{flags:?}");
    }
}

#[test]
fn what_ends_short_or_is_something_else_gets_no_name() {
    let scene = Scene::new();
    let server = taking(&scene, &[]);
    let sha256 = |bytes: &[u8]| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        format!("sha-256=:{}:", STANDARD.encode(digest))
    };
    for name in ["Content-Digest", "Repr-Digest"] {
        assert_eq!(put(&server, "/right", &[(name, &sha256(b"right"))], b"right").status / 100, 2);
        assert_eq!(put(&server, "/wrong", &[(name, &sha256(b"right"))], b"wrong").status, 400);
        assert_eq!(put(&server, "/bad", &[(name, "sha-256=nonsense")], b"x").status, 400);
    }
    assert_eq!(put(&server, "/range", &[("Content-Range", "bytes 0-1/2")], b"xx").status, 400);
    assert_eq!(put(&server, "/encoded", &[("Content-Encoding", "gzip")], b"xx").status, 400);
    // The connection ends in the middle.
    let mut stream = server.connect();
    let head = format!(
        "PUT /short HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 5000000\r\n\r\n",
        server.addr
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![7; 1_000_000]).unwrap();
    wait_until("something of it is there", PATIENCE, || !parts_of(&scene.dst, "short").is_empty());
    drop(stream);
    let mut chunked = server.connect();
    let head =
        head.replace("/short", "/cut").replace("Content-Length: 5000000", "Transfer-Encoding: chunked");
    chunked.write_all(head.as_bytes()).unwrap();
    chunked.write_all(b"5\r\nabcde\r\n").unwrap();
    chunked.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = chunked.read_to_end(&mut Vec::new());
    wait_until("nothing is under way", PATIENCE, || {
        server.ask("GET", "/", &[]).status == 403 && parts_of(&scene.dst, "cut").is_empty()
    });
    let finished: Vec<_> = listing(&scene.dst)
        .into_iter()
        .filter(|name| !name.to_str().unwrap().ends_with(".lanx-part"))
        .collect();
    assert_eq!(finished, ["right"]);
}

#[test]
fn nobody_puts_where_it_does_not_belong_nor_by_somebody_elses_page() {
    let scene = Scene::new();
    std::os::unix::fs::symlink(scene.path("home"), scene.dst.join("out")).unwrap();
    fs::create_dir(scene.dst.join("folder")).unwrap();
    let server = taking(&scene, &[]);
    for (path, status) in [
        ("/", 400),
        ("/folder/", 400),
        ("/../x", 404),
        ("/%2e%2e/x", 404),
        ("/a%2f..%2f..%2fx", 404),
        ("/.hidden", 403),
        ("/.ssh/authorized_keys", 403),
        ("/.lanx/stats", 403),
        ("/.x.v2-y.lanx-part", 404),
        ("/folder", 409),
        ("/out/x", 409),
    ] {
        assert_eq!(put(&server, path, &[], b"x").status, status, "{path}");
    }
    let own = format!("http://{}", server.addr);
    for (fields, status) in [
        (&[("Sec-Fetch-Site", "cross-site")][..], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Origin", "http://evil.example")], 403),
        (&[("Origin", "null")], 403),
        (&[("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())], 201),
        (&[("Sec-Fetch-Site", "none")], 200),
    ] {
        assert_eq!(put(&server, "/page", fields, b"x").status, status, "{fields:?}");
    }
    assert_eq!(listing(&scene.path("home")).len(), 0);
    assert_eq!(listing(&scene.dst), ["folder", "out", "page"]);
    // Without the token, and without the right.
    let bare = format!(
        "PUT /x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        server.addr
    );
    assert_eq!(server.ask_raw(&bare).status, 401);
    assert_eq!(server.ask("GET", "/page", &[]).status, 403);
    let reading = WebServer::start(&scene, &[], &scene.dst);
    let refused = put(&reading, "/x", &[], b"x");
    assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD"));
    let twice = ["serve".as_ref(), "--put".as_ref(), scene.src.as_os_str(), scene.dst.as_os_str()];
    scene.run(twice).expect_complaint(2, &["--put takes files into one folder"]);
}
