//! `lanx serve`: what every HTTP client gets of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::common::web_mischief::Papers;
use crate::common::*;

const MIB: usize = 1 << 20;

/// A file whose tag is strong: it has been left alone for long enough.
fn settled(server: &WebServer, path: &str) -> String {
    let mut tag = String::new();
    wait_until("the tag is strong", PATIENCE, || {
        tag = server.ask("HEAD", path, &[]).field("etag").to_owned();
        tag.starts_with('"')
    });
    tag
}

/// Method, path, fields; then status, `Content-Range` and body.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str, &'a str);

#[test]
fn ranges_and_conditions_are_answered_as_the_rfc_has_them() {
    let scene = Scene::new();
    fs::write(scene.src.join("ten"), "0123456789").unwrap();
    fs::write(scene.src.join("empty"), "").unwrap();
    let server = WebServer::open(&scene, &[], &scene.src);
    let tag = settled(&server, "/ten");
    let many: Vec<String> = (0..10_000).map(|n| format!("{}-", n % 10)).collect();
    let many = format!("bytes={}", many.join(","));
    let weak = format!("W/{tag}");
    let old = "Mon, 01 Jan 2001 00:00:00 GMT";
    let new = "Fri, 31 Dec 2100 23:59:59 GMT";
    let table: &[Case] = &[
        ("GET", "/ten", &[], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=0-3")], 206, "bytes 0-3/10", "0123"),
        ("GET", "/ten", &[("Range", "bytes=4-")], 206, "bytes 4-9/10", "456789"),
        ("GET", "/ten", &[("Range", "bytes=-2")], 206, "bytes 8-9/10", "89"),
        ("GET", "/ten", &[("Range", "bytes=-20")], 206, "bytes 0-9/10", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=8-999")], 206, "bytes 8-9/10", "89"),
        ("GET", "/ten", &[("Range", "bytes=9-9")], 206, "bytes 9-9/10", "9"),
        ("GET", "/ten", &[("Range", "bytes=10-")], 416, "bytes */10", ""),
        ("GET", "/ten", &[("Range", "bytes=-0")], 416, "bytes */10", ""),
        ("GET", "/ten", &[("Range", "bytes=18446744073709551616-")], 416, "bytes */10", ""),
        ("GET", "/ten", &[("Range", "bytes=3-1")], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=0-1,4-5")], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", &many)], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=0-1"), ("Range", "bytes=2-3")], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "lines=0-3")], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=x")], 200, "", "0123456789"),
        ("GET", "/empty", &[], 200, "", ""),
        ("GET", "/empty", &[("Range", "bytes=0-")], 416, "bytes */0", ""),
        ("GET", "/empty", &[("Range", "bytes=-1")], 200, "", ""),
        ("HEAD", "/ten", &[], 200, "", ""),
        ("HEAD", "/ten", &[("Range", "bytes=0-3")], 200, "", ""),
        ("GET", "/ten", &[("Range", "bytes=0-3"), ("If-Range", &tag)], 206, "bytes 0-3/10", "0123"),
        ("GET", "/ten", &[("Range", "bytes=0-3"), ("If-Range", &weak)], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=0-3"), ("If-Range", "\"x\"")], 200, "", "0123456789"),
        ("GET", "/ten", &[("Range", "bytes=0-3"), ("If-Range", new)], 200, "", "0123456789"),
        ("GET", "/ten", &[("If-None-Match", &tag)], 304, "", ""),
        ("HEAD", "/ten", &[("If-None-Match", &weak)], 304, "", ""),
        ("GET", "/ten", &[("If-None-Match", "\"x\"")], 200, "", "0123456789"),
        ("GET", "/ten", &[("If-None-Match", &tag), ("Range", "bytes=0-3")], 304, "", ""),
        ("GET", "/ten", &[("If-Match", &tag)], 200, "", "0123456789"),
        ("GET", "/ten", &[("If-Match", &weak)], 412, "", ""),
        ("GET", "/ten", &[("If-Match", "\"x\"")], 412, "", ""),
        ("GET", "/ten", &[("If-Unmodified-Since", old)], 412, "", ""),
        ("GET", "/ten", &[("If-Modified-Since", new)], 304, "", ""),
        ("GET", "/ten", &[("If-Modified-Since", old)], 200, "", "0123456789"),
        ("POST", "/ten", &[("Content-Length", "0")], 405, "", "this server takes GET and HEAD\n"),
        ("GET", "/none", &[], 404, "", "there is no such file here\n"),
    ];
    for (method, path, fields, status, range, body) in table {
        let answer = server.ask(method, path, fields);
        let shown: Vec<_> =
            fields.iter().map(|(name, value)| (name, &value[..value.len().min(40)])).collect();
        let case = format!("{method} {path} {shown:?}: {answer:?}");
        assert_eq!(answer.status, *status, "{case}");
        assert_eq!(answer.field("content-range"), *range, "{case}");
        assert_eq!(answer.text(), *body, "{case}");
        assert!(answer.field("content-encoding").is_empty(), "{case}");
        if *status == 200 && *path == "/ten" {
            assert_eq!(answer.field("content-length"), "10", "{case}");
            assert_eq!(answer.field("accept-ranges"), "bytes", "{case}");
            assert_eq!(answer.field("etag"), tag, "{case}");
        }
    }
}

#[test]
fn a_file_is_an_attachment_that_no_browser_shows_as_a_page() {
    let scene = Scene::new();
    let names: [&[u8]; 6] =
        [b"plain.txt", b"a\"b\\.html", b"line\nbreak", "\u{202e}gpj.exe".as_bytes(), b"\xff\xfe", b"<b>&'"];
    for name in names {
        fs::write(scene.src.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let server = WebServer::open(&scene, &[], &scene.src);
    let listing = server.ask("GET", "/", &[("Accept", "application/json")]).json();
    let entries = listing["entries"].as_array().unwrap();
    assert_eq!(entries.len(), names.len());
    for entry in entries {
        let href = entry["href"].as_str().unwrap().strip_prefix('.').unwrap();
        let answer = server.ask("GET", href, &[]);
        assert_eq!(answer.status, 200, "{href}");
        assert!(names.contains(&answer.body.as_slice()), "{href}");
        let disposition = answer.field("content-disposition");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
        assert!(disposition.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{disposition}");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert!(answer.field("content-security-policy").starts_with("sandbox;"), "{answer:?}");
        assert_eq!(answer.field("cross-origin-resource-policy"), "same-origin");
    }
    let page = server.ask("GET", "/", &[("Accept", "text/html,*/*")]);
    let html = page.text();
    assert!(page.field("content-type").starts_with("text/html"));
    assert!(page.field("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    for bad in ["<b>", "\u{202e}", "<script>", "style=", "unsafe"] {
        assert!(!html.contains(bad), "{bad} in {html}");
    }
    assert!(html.contains("<a href=\"./line%0Abreak\"><bdi>line\\nbreak</bdi></a>"), "{html}");
    assert_eq!(html.matches("<tr data-kind").count(), names.len());
    assert!(!page.field("content-security-policy").contains("unsafe"), "{page:?}");
}

#[test]
fn a_folder_comes_as_one_tar_file_whose_length_was_told() {
    let scene = Scene::new();
    fs::create_dir_all(scene.src.join("photos/2026")).unwrap();
    fs::create_dir_all(scene.src.join("photos/.git")).unwrap();
    let big = make(&scene.src.join("photos/2026"), "sea.jpg", MIB + 7);
    make(&scene.src.join("photos"), "long ".repeat(40), 3);
    make(&scene.src.join("photos"), ".hidden", 3);
    std::os::unix::fs::symlink("/etc/passwd", scene.src.join("photos/link")).unwrap();
    let server = WebServer::open(&scene, &[], &scene.src);
    let head = server.ask("HEAD", "/photos/?tar", &[]);
    let whole = server.ask("GET", "/photos/?tar", &[]);
    assert_eq!((head.status, whole.status), (200, 200));
    assert_eq!(whole.field("content-length"), whole.body.len().to_string());
    assert_eq!(head.field("content-length"), whole.field("content-length"));
    assert_eq!(whole.field("content-disposition"), "attachment; filename=\"photos.tar\"");
    let tar = scene.path("photos.tar");
    fs::write(&tar, &whole.body).unwrap();
    let Some(unpacked) =
        run_other(&scene, "tar", &["-xf", tar.to_str().unwrap(), "-C", scene.dst.to_str().unwrap()])
    else {
        return;
    };
    unpacked.expect_success();
    assert_eq!(read(&scene.dst.join("photos/2026/sea.jpg")), read(&big));
    assert_eq!(listing(&scene.dst.join("photos")), ["2026", &"long ".repeat(40)]);
}

#[test]
fn curl_wget_and_aria2_get_the_file_each_in_its_way() {
    let scene = Scene::new();
    let file = make(&scene.src, "disk image.img", 9 * MIB + 3);
    let server = WebServer::start(&scene, &[], &scene.src);
    let link = server.url(&format!("/disk%20image.img?t={TOKEN}"));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let to = |name: &str| scene.dst.join(name).to_str().unwrap().to_owned();
    let plain = server.url("/disk%20image.img");
    let half = to("resumed");
    fs::write(&half, &read(&file)[..4 * MIB]).unwrap();
    settled(&server, "/disk%20image.img");
    let dir = scene.dst.to_str().unwrap();
    let ways: [(&str, Vec<&str>, &str); 5] = [
        ("curl", vec!["-sf", "-o", "by-curl", "--output-dir", dir, &link], "by-curl"),
        ("curl", vec!["-sf", "-H", &bearer, "-C", "-", "-o", &half, &plain], "resumed"),
        ("curl", vec!["-sfOJ", "-H", &bearer, "--output-dir", dir, &plain], "disk image.img"),
        ("wget", vec!["-q", "-O", "by-wget", "-P", dir, &link], "by-wget"),
        (
            "aria2c",
            vec![
                "-q",
                "-x8",
                "-s8",
                "-k1M",
                "--no-conf",
                "-d",
                dir,
                "-o",
                "by-aria2",
                "--header",
                &bearer,
                &plain,
            ],
            "by-aria2",
        ),
    ];
    for (program, mut args, name) in ways {
        // wget takes no folder together with a name.
        let path = to(name);
        if program == "wget" {
            args = vec!["-q", "-O", &path, &link];
        }
        let Some(output) = run_other(&scene, program, &args) else { continue };
        output.expect_code(0);
        assert!(read(Path::new(&path)) == read(&file), "{program} {args:?} got something else");
    }
}

/// Its http remote reads the pages of links.
#[test]
fn rclone_copies_a_folder() {
    let scene = Scene::new();
    let folder = scene.src.join("folder");
    fs::create_dir_all(folder.join("of 100 %")).unwrap();
    let files = ["a file", "b+c&d", "of 100 %/f#g"].map(|name| make(&folder, name, 300_000));
    let server = WebServer::start(&scene, &[], &folder);
    let bearer = format!("Authorization,Bearer {TOKEN}");
    let (url, to) = (server.url("/"), scene.dst.to_str().unwrap());
    let config = scene.path("rclone.conf");
    let args = [
        "copy",
        "--config",
        config.to_str().unwrap(),
        "--http-url",
        &url,
        "--http-headers",
        &bearer,
        ":http:",
        to,
    ];
    let Some(output) = run_other(&scene, "rclone", &args) else { return };
    output.expect_code(0);
    for file in files {
        let arrived = scene.dst.join(file.strip_prefix(&folder).unwrap());
        assert!(read(&arrived) == read(&file), "{}", file.display());
    }
}

#[test]
fn a_browser_trades_the_link_for_a_cookie_and_a_clean_address() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = WebServer::start(&scene, &["-vv"], &scene.src);
    let request = |path: &str, fields: &str| {
        server.ask_raw(format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n",
            server.addr
        ))
    };
    let page = "Accept: text/html\r\n";
    assert_eq!(request("/file", page).status, 401);
    assert_eq!(request("/", page).field("www-authenticate"), "Bearer");
    let moved = request(&format!("/?after=a&t={TOKEN}"), page);
    assert_eq!((moved.status, moved.field("location")), (303, "/?after=a"));
    let cookie = moved.field("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains(TOKEN), "{cookie}");
    assert_eq!(moved.field("referrer-policy"), "no-referrer");
    let own = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(request("/file", &own).status, 200);
    assert_eq!(request("/file", &format!("Cookie: {TOKEN}\r\n")).status, 401);
    // A program takes the link as it is.
    assert_eq!(request(&format!("/file?t={TOKEN}"), "").status, 200);
    wait_until("it is in the log", PATIENCE, || server.process.stderr.text().contains("GET /file 200"));
    let said = server.process.stderr.text();
    assert!(!said.contains(TOKEN), "{said}");
}

#[test]
fn who_guesses_the_token_is_slowed_down() {
    let scene = Scene::new();
    let server = WebServer::start(&scene, &[], &scene.src);
    let guess = |token: &str| {
        server.ask_raw(format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
            server.addr
        ))
    };
    let answers: Vec<u16> = (0..4).map(|n| guess(&format!("wrong-token-{n}")).status).collect();
    assert_eq!(answers, [401, 401, 401, 429]);
    let held = guess(TOKEN);
    assert_eq!(held.status, 429);
    assert!(held.field("retry-after").parse::<u64>().unwrap() >= 1, "{held:?}");
    wait_until("the pause is over", PATIENCE, || guess(TOKEN).status == 200);
}

#[test]
fn a_file_that_changes_while_it_is_sent_ends_short() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 64 * MIB);
    for change in ["truncated", "rewritten"] {
        let server = WebServer::open(&scene, &[], &scene.src);
        let mut stream = server.connect();
        write!(stream, "GET /file HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr).unwrap();
        let mut first = [0; 4096];
        stream.read_exact(&mut first).unwrap();
        let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
        match change {
            "truncated" => open.set_len(MIB as u64).unwrap(),
            _ => {
                (&open).write_all(b"other").unwrap();
                open.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64 * MIB - 4096, "{change}: {} bytes came", rest.len());
        wait_until("it is counted", PATIENCE, || {
            server.ask("GET", "/.lanx/stats", &[]).json()["short"].as_u64() == Some(1)
        });
        fs::write(&file, vec![7; 64 * MIB]).unwrap();
    }
}

#[test]
fn statistics_add_up_in_both_forms() {
    let scene = Scene::new();
    make(&scene.src, "file", 3000);
    let server = WebServer::open(&scene, &[], &scene.src);
    for (path, status) in [("/file", 200), ("/file", 200), ("/none", 404), ("/.lanx/none", 404)] {
        assert_eq!(server.ask("GET", path, &[]).status, status, "{path}");
    }
    let sums = |name: &str| server.ask("GET", "/.lanx/stats", &[]).json()[name].as_u64().unwrap();
    wait_until("all is counted", PATIENCE, || sums("status_4xx") == 2);
    assert!(sums("status_2xx") >= 2 && sums("sent_bytes") >= 6000);
    let page = server.ask("GET", "/.lanx/metrics", &[]);
    assert!(page.field("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(page.text().contains("\nlanx_web_answers_4xx_total 2\n"), "{}", page.text());
}

#[test]
fn a_script_hears_where_the_server_is_and_of_each_request() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 2 * MIB);
    let server = WebServer::start(&scene, &["--json"], &file);
    assert_eq!(server.ask("GET", "/file", &[]).body.len(), 2 * MIB);
    let event = server.process.wait_for_event("request", 1);
    assert_eq!((event["status"].as_u64(), event["bytes"].as_u64()), (Some(200), Some(2 * MIB as u64)));
    let first = &server.process.events()[0];
    let link = format!("http://{}/?t={TOKEN}", server.addr);
    assert_eq!((first["open"].as_bool(), first["links"][0].as_str()), (Some(false), Some(link.as_str())));
    server.process.signal(Signal::TERM);
    server.process.finish(PATIENCE).expect_code(0);
}

#[test]
fn sigterm_lets_a_download_finish_and_takes_no_new_one() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 32 * MIB);
    let server = WebServer::open(&scene, &["--grace", "600"], &file);
    let mut stream = server.connect();
    write!(stream, "GET /file HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr).unwrap();
    let mut all = vec![0; 4096];
    stream.read_exact(&mut all).unwrap();
    server.process.signal(Signal::TERM);
    wait_until("nobody is taken in any more", PATIENCE, || {
        std::net::TcpStream::connect(server.addr).is_err()
    });
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(Answer::read(&all).unwrap().body, read(&file));
    server.process.finish(PATIENCE).expect_code(0);
    let server = WebServer::open(&scene, &[], &file);
    server.process.signal(Signal::INT);
    server.process.finish(PATIENCE).expect_code(130);
}

/// The first link that the server shows, without its token and its pin.
fn https(server: &WebServer) -> (String, String) {
    let out = server.process.stdout.text();
    let (link, pin) = out.lines().find_map(|line| line.trim().split_once("#sha256=")).expect("a pinned link");
    assert!(link.starts_with("https://"), "{out}");
    (format!("https://127.0.0.1:{}/", server.addr.port()), pin.to_owned())
}

fn on_a_network(scene: &Scene, flags: &[&str], path: &Path) -> WebServer {
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", TOKEN).args(["serve", "--listen", "0.0.0.0:0"]).args(flags).arg(path);
    WebServer::start_as(command)
}

#[test]
fn on_a_network_it_speaks_tls_with_a_key_that_the_link_names() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let scene = Scene::new();
    let file = make(&scene.src, "file", 3 * MIB);
    let server = on_a_network(&scene, &[], &scene.src);
    wait_until("it shows a link", PATIENCE, || server.process.stdout.text().contains("#sha256="));
    let (url, pin) = https(&server);
    let pin = format!("sha256//{}", STANDARD.encode(URL_SAFE_NO_PAD.decode(&pin).unwrap()));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (to, url) = (scene.dst.join("got"), format!("{url}file"));
    let to = to.to_str().unwrap();
    let get = |pin: &str| {
        run_other(&scene, "curl", &["-sfk", "--pinnedpubkey", pin, "-H", &bearer, "-o", to, &url])
    };
    let Some(output) = get(&pin) else { return };
    output.expect_code(0);
    assert_eq!(read(Path::new(to)), read(&file));
    let wrong = format!("sha256//{}", STANDARD.encode([7; 32]));
    assert_eq!(get(&wrong).unwrap().code, Some(90), "curl's code for another key");
    // The same key the next time.
    drop(server);
    let again = on_a_network(&scene, &[], &scene.src);
    wait_until("it shows a link", PATIENCE, || again.process.stdout.text().contains("#sha256="));
    let (_, other) = https(&again);
    assert_eq!(format!("sha256//{}", STANDARD.encode(URL_SAFE_NO_PAD.decode(&other).unwrap())), pin);
}

#[test]
fn a_certificate_of_the_users_is_shown_and_read_again() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let files: Vec<PathBuf> = ["one", "two"].map(|name| scene.path(name)).to_vec();
    for path in &files {
        fs::write(path, Papers::new(&["nas.example"]).pem()).unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let used = scene.path("used");
    fs::copy(&files[0], &used).unwrap();
    let (cert, host) = (used.to_str().unwrap(), "nas.example");
    let flags = ["--tls-cert", cert, "--tls-key", cert, "--host", host, "--open"];
    let server = WebServer::start(&scene, &flags, &scene.src);
    let port = server.addr.port();
    let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}/file"));
    let get = |ca: &Path| {
        let ca = ca.to_str().unwrap();
        run_other(&scene, "curl", &["-sf", "--cacert", ca, "--resolve", &resolve, "-o", "/dev/null", &url])
    };
    let Some(first) = get(&files[0]) else { return };
    first.expect_code(0);
    assert_ne!(get(&files[1]).unwrap().code, Some(0));
    fs::copy(&files[1], &used).unwrap();
    server.process.signal(Signal::HUP);
    wait_until("the other one is shown", PATIENCE, || get(&files[1]).unwrap().code == Some(0));
    fs::write(&used, "no PEM").unwrap();
    server.process.signal(Signal::HUP);
    wait_until("the damage is told", PATIENCE, || server.process.stderr.text().contains("stays in use"));
    get(&files[1]).unwrap().expect_code(0);
}

#[test]
fn what_is_dangerous_is_said_and_what_is_wrong_is_refused() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    let server = on_a_network(&scene, &["--http", "--open"], &scene.src);
    wait_until("both warnings are there", PATIENCE, || {
        let text = server.process.stderr.text();
        text.contains("--http: whoever can listen") && text.contains("--open: everybody who can reach")
    });
    let refused = |args: &[&str], words: &[&str]| {
        let mut command = scene.lanx();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        Process::spawn(command).finish(PATIENCE).expect_complaint(2, words);
    };
    refused(&["no/such"], &["cannot serve no/such"]);
    refused(&["/dev/null"], &["/dev/null is neither a file nor a folder"]);
    refused(&["--token-file", "no/such"], &["no/such"]);
    let short = scene.path("token");
    fs::write(&short, "short\n").unwrap();
    fs::set_permissions(&short, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    refused(&["--token-file", short.to_str().unwrap()], &["expected a token of 8 to 256 characters, got 5"]);
    fs::set_permissions(&short, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    refused(&["--token-file", short.to_str().unwrap()], &["chmod 600"]);
}
