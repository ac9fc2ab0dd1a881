//! `lanx get` from a server that means harm, or that says what makes no sense: it gets no file that was not asked for, no secret, and
//! no memory; and it holds nobody up.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::kx_group;

use crate::common::web_mischief::{Asked, Mischief, Papers, Wire, begun, honest, part, reply};
use crate::common::*;

const MIB: usize = 1 << 20;
const LARGE: usize = 52_000_000;
const TAG: &str = "\"one\"";
const FIELDS: [(&str, &str); 2] = [("Accept-Ranges", "bytes"), ("ETag", TAG)];

#[test]
fn a_head_that_makes_no_sense_is_none() {
    let all = noise(7, 1000);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd".to_vec()),
        ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc".to_vec()),
        ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabcd".to_vec()),
        ("a length with a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc".to_vec()),
        ("a body that is too short", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()),
        ("a chunk of no size", format!("{chunked}\r\nx\r\nabc\r\n0\r\n\r\n").into_bytes()),
        ("a chunk of 2^64", format!("{chunked}\r\n10000000000000000\r\nabc\r\n0\r\n\r\n").into_bytes()),
        ("no last chunk", format!("{chunked}\r\n3\r\nabc\r\n").into_bytes()),
        ("a chunk that is longer", format!("{chunked}\r\n3\r\nabcd\r\n0\r\n\r\n").into_bytes()),
        ("many fields", reply("200 OK", &[("X", "y"); 1000], &all)),
        ("a field without a name", b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
        ("another protocol", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc".to_vec()),
        ("no content", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        ("what a proxy made of it", reply("203 Non-Authoritative Information", &[], &all)),
        ("a part unasked", part(&all, 0..1000, &FIELDS)),
        (
            "several parts unasked",
            reply("206 Partial Content", &[("Content-Type", "multipart/byteranges; boundary=x")], &all),
        ),
        ("nothing", Vec::new()),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
    ];
    for (what, answer) in cases {
        let scene = Scene::new();
        let server = Mischief::start(move |_| answer.clone());
        let done = get(&scene, &["--retry-for", "0", &server.url("/file")]);
        assert!(matches!(done.code, Some(3 | 5)), "{what}: {} {}", done.code.unwrap_or(-1), done.err());
        assert_eq!(finished(&scene.dst), [""; 0], "{what}");
    }
    // More than was told is not part of it; nor does a length count beside chunks.
    for (answer, content) in [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef".to_vec(), &b"abc"[..]),
        (format!("{chunked}X: y\r\n\r\n3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\nmore").into_bytes(), b"abc"),
    ] {
        let scene = Scene::new();
        let server = Mischief::start(move |_| answer.clone());
        get(&scene, &[&server.url("/file")]).expect_code(0);
        assert_eq!(read(&scene.dst.join("file")), content);
    }
}

#[test]
fn a_part_that_is_said_to_be_something_else_is_none() {
    let all = Arc::new(noise(7, LARGE));
    for (what, range) in [
        ("overflows", "bytes 18446744073709551615-18446744073709551615/18446744073709551615"),
        ("overflows in its total", "bytes 0-9/99999999999999999999999"),
        ("ends before it begins", "bytes 9-0/52000000"),
        ("is negative", "bytes -5-9/52000000"),
        ("has another unit", "lines 0-9/52000000"),
        ("is not satisfied", "bytes */52000000"),
        ("is empty", ""),
    ] {
        let scene = Scene::new();
        let own = all.clone();
        let server = Mischief::start(move |asked| match asked.range() {
            Some(asked) => {
                let body = &own[asked.start as usize..asked.end as usize];
                reply("206 Partial Content", &[&FIELDS[..], &[("Content-Range", range)]].concat(), body)
            }
            None => begun(asked, &own, TAG),
        });
        get(&scene, &[&server.url("/file")]).expect_code(5);
        assert_eq!(finished(&scene.dst), [""; 0], "{what}");
    }
    // Several parts in one, and a part in chunks that goes on and on.
    for (what, head, code) in [
        ("several", "Content-Type: multipart/byteranges; boundary=x\r\n", 5),
        ("in chunks", "Transfer-Encoding: chunked\r\nContent-Range: RANGE\r\nETag: \"one\"\r\n", 5),
    ] {
        let scene = Scene::new();
        let own = all.clone();
        let server = Mischief::start(move |asked| {
            let Some(range) = asked.range() else { return begun(asked, &own, TAG) };
            let said = format!("bytes {}-{}/{}", range.start, range.end - 1, own.len());
            let head = head.replace("RANGE", &said);
            let body = &own[range.start as usize..range.end as usize];
            let size = body.len();
            let mut all = format!("HTTP/1.1 206 Partial Content\r\n{head}\r\n{size:x}\r\n").into_bytes();
            all.extend_from_slice(body);
            all.extend_from_slice(b"\r\n5\r\nmore!\r\n0\r\n\r\n");
            all
        });
        get(&scene, &[&server.url("/file")]).expect_code(code);
        assert_eq!(finished(&scene.dst), [""; 0], "{what}");
    }
}

/// What never ends, and how it begins.
const ENDLESS: [(&str, &str, &str); 5] = [
    ("fields", "HTTP/1.1 200 OK\r\n", "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
    ("one field", "HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"),
    (
        "trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
    ),
    (
        "a chunk's extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;",
        "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ),
    ("answers before the answer", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
];

#[test]
fn what_has_no_end_takes_neither_memory_nor_time() {
    for (what, begin, more) in ENDLESS {
        let scene = Scene::new();
        let server = Mischief::carrying(move |_, wire: &mut dyn Wire| {
            let _ = wire.write_all(begin.as_bytes());
            let more = more.repeat(1000);
            while wire.write_all(more.as_bytes()).is_ok() {}
        });
        let args = ["--retry-for", "0", "--timeout", "5", &server.url("/file")];
        let mut process = Process::spawn(get_as(&scene, &args));
        let mut peak = 0;
        wait_until("it gives up", PATIENCE, || {
            peak = peak.max(process.memory_peak());
            !process.is_running()
        });
        assert!(peak < 48 * MIB as u64, "{what}: {} MiB", peak / MIB as u64);
        let done = process.finish(PATIENCE);
        assert_eq!(done.code, Some(3), "{what}: {}", done.err());
        assert_eq!(finished(&scene.dst), [""; 0], "{what}");
    }
}

#[test]
fn no_address_leads_to_a_file_of_this_machine_or_to_where_everybody_reads_along() {
    let scene = Scene::new();
    fs::write(scene.path("secret"), "secret").unwrap();
    let secret = format!("file://{}", scene.path("secret").display());
    for to in [
        secret.as_str(),
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "javascript:x",
        "data:,x",
        "//",
        "http://",
        "http://u:p@127.0.0.1/x",
    ] {
        let to = to.to_owned();
        let server = Mischief::start(move |_| reply("302 Found", &[("Location", &to)], b""));
        let done = get(&scene, &[&server.url("/file")]);
        done.expect_complaint(5, &["it is said to be nowhere"]);
        assert_eq!(finished(&scene.dst), [""; 0]);
    }
    // From TLS to no TLS, with what is secret.
    let clear = Mischief::start(|asked| honest(asked, b"content", TAG));
    let to = clear.url("/x");
    let papers = Papers::new(&["127.0.0.1"]);
    fs::write(scene.path("authority"), papers.pem()).unwrap();
    let server = Mischief::secure(papers.tls(&[kx_group::X25519]), move |_| {
        reply("307 Away", &[("Location", &to)], b"")
    });
    let url = format!("https://{}/file", server.addr);
    let mut command = get_as(&scene, &["--header", "Authorization: Basic c2VjcmV0", &url]);
    command.env("SSL_CERT_FILE", scene.path("authority"));
    Process::spawn(command).finish(PATIENCE).expect_complaint(5, &["no TLS, so anybody could change it"]);
    assert_eq!((server.asked().len(), clear.asked().len()), (1, 0));
    assert_eq!(finished(&scene.dst), [""; 0]);
}

#[test]
fn a_server_of_others_may_use_other_curves_and_has_to_prove_its_name() {
    let content = noise(9, MIB);
    for group in [kx_group::SECP256R1, kx_group::X25519] {
        let scene = Scene::new();
        let papers = Papers::new(&["127.0.0.1"]);
        fs::write(scene.path("authority"), papers.pem()).unwrap();
        fs::write(scene.path("other"), Papers::new(&["127.0.0.1"]).pem()).unwrap();
        let own = content.clone();
        let server = Mischief::secure(papers.tls(&[group]), move |asked| honest(asked, &own, TAG));
        let url = format!("https://{}/file", server.addr);
        let by = |authority: &str, url: &str| {
            let mut command = get_as(&scene, &["--retry-for", "0", url]);
            command.env("SSL_CERT_FILE", scene.path(authority));
            Process::spawn(command).finish(PATIENCE)
        };
        by("other", &url).expect_complaint(4, &["is not the server that was meant"]);
        by("authority", &url.replace("127.0.0.1", "localhost"))
            .expect_complaint(4, &["is not the server that was meant"]);
        by("authority", &url).expect_code(0);
        assert_eq!(read(&scene.dst.join("file")), content);
        // A pinned key is the only one, whatever the authorities say.
        let pinned = format!("{url}#sha256={}", "A".repeat(43));
        assert_ne!(by("authority", &pinned).code, Some(0));
    }
}

#[test]
fn what_is_got_by_an_address_that_ends_meanwhile_goes_on_by_the_one_that_was_named() {
    let scene = Scene::new();
    let all = Arc::new(noise(7, LARGE));
    let own = all.clone();
    // As a store of objects does: each look gives a link that is good for three requests.
    let server = Mischief::start(move |asked: &Asked| {
        let link =
            |asked: &Asked| asked.line.split(' ').nth(1)?.strip_prefix("/link/")?.parse::<usize>().ok();
        match link(asked) {
            None => reply("302 Found", &[("Location", &format!("/link/{}", asked.number))], b""),
            Some(made) if asked.number > made + 3 => {
                reply("403 Forbidden", &[], b"<Code>ExpiredToken</Code>")
            }
            Some(_) => {
                let mut whole = honest(asked, &own, TAG);
                whole.truncate(12 * MIB);
                whole
            }
        }
    });
    get(&scene, &["--max-connections", "1", &server.url("/file")]).expect_code(0);
    assert!(read(&scene.dst.join("file")) == *all);
    let links = server.asked().iter().filter(|asked| asked.line.starts_with("GET /file ")).count();
    assert!(links >= 2, "{links}");
}

#[test]
fn nothing_is_kept_of_what_a_server_wants_to_be_remembered() {
    let scene = Scene::new();
    let all = Arc::new(noise(7, LARGE));
    let own = all.clone();
    let server = Mischief::start(move |asked| match asked.line.as_str() {
        "GET /file HTTP/1.1" => {
            reply("302 Found", &[("Location", "/real"), ("Set-Cookie", "track=1; Path=/")], b"")
        }
        _ => {
            let fields =
                [&FIELDS[..], &[("Set-Cookie", "track=2; Path=/"), ("Alt-Svc", "h3=\":443\"")]].concat();
            match asked.range() {
                Some(range) => part(&own, range, &fields),
                None => reply("200 OK", &fields, &own),
            }
        }
    });
    get(&scene, &[&server.url("/file")]).expect_code(0);
    assert!(read(&scene.dst.join("file")) == *all);
    assert!(server.asked().iter().all(|asked| asked.field("cookie").is_none()), "{:?}", server.asked());
}

/// LocalSend #2440: a disk that is full is told of, and what was there stays.
#[test]
fn a_disk_that_fails_is_told_of_and_leaves_no_name() {
    let scene = Scene::new();
    let all = noise(7, 3 * MIB);
    let server = Mischief::start(move |asked| honest(asked, &all, TAG));
    let mut command = Command::new("sh");
    scene.isolate(&mut command);
    let lanx = scene.lanx();
    let program = lanx.get_program().to_str().unwrap().to_owned();
    // In blocks of 512 bytes.
    command
        .current_dir(&scene.dst)
        .args(["-c", &format!("ulimit -f 2048; exec {program} get {}", server.url("/file"))]);
    let done = Process::spawn(command).finish(PATIENCE);
    assert_eq!(done.code, Some(7), "{}", done.err());
    assert!(done.err().contains("file"), "{}", done.err());
    assert_eq!(finished(&scene.dst), [""; 0]);
}
