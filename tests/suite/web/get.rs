//! `lanx get`: from servers that do as they should, and from those that do not. Whatever they do, no wrong file gets a name.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::common::web_mischief::{Asked, Mischief, Reply, begun, honest, part, reply};
use crate::common::*;

const MIB: usize = 1 << 20;

/// More than what is got over one connection.
const LARGE: usize = 52_000_000;

fn content(len: usize) -> Arc<Vec<u8>> {
    Arc::new(noise(7, len))
}

/// Nothing but what is unfinished is there.
#[track_caller]
fn assert_nothing(scene: &Scene) {
    let finished = finished(&scene.dst);
    assert!(finished.is_empty(), "{finished:?}");
}

#[track_caller]
fn assert_only(scene: &Scene, name: &str, content: &[u8]) {
    assert_eq!(listing(&scene.dst), [name]);
    assert!(read(&scene.dst.join(name)) == content, "{name} is something else");
}

#[test]
fn a_server_that_is_not_there_is_told_of_once_however_often_it_is_tried() {
    let scene = Scene::new();
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = get(&scene, &["--retry-for", "2", &format!("http://{addr}/file")]);
    output.expect_code(3);
    assert_eq!(output.err().matches("trying again for up to 2 s").count(), 1, "{}", output.err());
}

#[test]
fn a_link_of_lanx_serve_gives_the_file_with_its_time() {
    let scene = Scene::new();
    let file = make(&scene.src, "a b.img", 3 * MIB + 5);
    let server = WebServer::start(&scene, &[], &scene.src);
    let done = get(&scene, &[&server.url(&format!("/a%20b.img?t={TOKEN}"))]);
    done.expect_success();
    let hash = blake3::hash(&read(&file));
    assert!(done.out().starts_with(&format!("{hash}  a b.img\n1 file, 3.15 MB in ")), "{}", done.out());
    assert!(done.out().ends_with(" over 1 connection, verified\n"), "{}", done.out());
    assert_only(&scene, "a b.img", &read(&file));
    let (a, b) = (look(&file).modified.0, look(&scene.dst.join("a b.img")).modified.0);
    assert_eq!(a, b, "the time in seconds");
    // The token by the environment, a name by -o, and a folder by the name that the server gives.
    let mut command = get_as(&scene, &["-o", "other", &server.url("/a%20b.img")]);
    command.env("LANX_TOKEN", TOKEN);
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert_eq!(read(&scene.dst.join("other")), read(&file));
    fs::create_dir(scene.src.join("folder")).unwrap();
    let mut command = get_as(&scene, &[&server.url("/folder/?tar")]);
    command.env("LANX_TOKEN", TOKEN);
    Process::spawn(command).finish(PATIENCE).expect_success();
    assert_eq!(listing(&scene.dst), ["a b.img", "folder.tar", "other"]);
    get(&scene, &["-o", "x", &server.url("/a%20b.img")]).expect_complaint(4, &["does not let this in (401)"]);
}

#[test]
fn a_large_file_comes_over_several_connections_in_little_memory() {
    let scene = Scene::new();
    let file = make(&scene.src, "large", 96 * MIB + 77);
    let server = WebServer::open(&scene, &[], &file);
    let process = Process::spawn(get_as(&scene, &[&server.url("/large")]));
    let mut peak = 0;
    wait_until("it is there", PATIENCE, || {
        peak = peak.max(process.memory_peak());
        scene.dst.join("large").exists()
    });
    let done = process.finish(PATIENCE);
    done.expect_success();
    assert_only(&scene, "large", &read(&file));
    let connections: u64 =
        done.out().split(" over ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((4..=16).contains(&connections), "{}", done.out());
    assert!(peak < 48 * MIB as u64, "{} MiB", peak / MIB as u64);
    let requests = server.ask("GET", "/.lanx/stats", &[]).json()["requests"].as_u64().unwrap();
    assert!(requests >= 4, "{requests} requests");
}

#[test]
fn python_and_nginx_serve_it_as_well() {
    let scene = Scene::new();
    let file = make(&scene.src, "large", LARGE);
    let port = |listener: std::net::TcpListener| listener.local_addr().unwrap().port();
    let free = || port(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let config = scene.path("nginx.conf");
    let (python, nginx) = (free(), free());
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen 127.0.0.1:{nginx}; root {1}; }} }}\n",
        scene.path("").display(),
        scene.src.display()
    );
    fs::write(&config, text).unwrap();
    let python_args = ["-m", "http.server", &python.to_string(), "--bind", "127.0.0.1"].map(str::to_owned);
    let nginx_args = ["-c".to_owned(), config.display().to_string()];
    for (program, args, port) in [("python3", &python_args[..], python), ("nginx", &nginx_args[..], nginx)] {
        if std::process::Command::new(program).arg("--version").output().is_err()
            && std::process::Command::new(program).arg("-v").output().is_err()
        {
            #[allow(clippy::print_stderr, reason = "says what it does not test")]
            {
                eprintln!("skipped: {program} is not installed");
            }
            continue;
        }
        let mut command = std::process::Command::new(program);
        scene.isolate(&mut command);
        command.args(args);
        let server = Process::spawn(command);
        wait_until("it listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        get(&scene, &["-o", program, &format!("http://127.0.0.1:{port}/large")]).expect_code(0);
        assert!(read(&scene.dst.join(program)) == read(&file), "{program}");
        drop(server);
    }
}

/// What a server does, and what comes of it: the exit code, and words of the message.
type Case = (&'static str, Box<dyn Fn(&Asked, &[u8]) -> Reply + Send + Sync>, i32, &'static str);

fn case(
    what: &'static str,
    answer: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static,
    code: i32,
    words: &'static str,
) -> Case {
    (what, Box::new(answer), code, words)
}

const TAG: &str = "\"one\"";
const FIELDS: [(&str, &str); 2] = [("Accept-Ranges", "bytes"), ("ETag", TAG)];

/// The field's failures of HTTP clients (gopeed, rclone, aws-cli, s3transfer, aria2, axel, and others). Either the right file is
/// there, or none.
#[test]
fn whatever_a_server_does_no_wrong_file_gets_a_name() {
    let other = content(LARGE + 1)[1..].to_vec();
    let cases = [
        case("does all right", |asked, all| honest(asked, all, TAG), 0, ""),
        case("ignores ranges", |_, all| reply("200 OK", &FIELDS, all), 0, "does not give parts"),
        case("ignores ranges and says nothing of them", |_, all| reply("200 OK", &[], all), 0, ""),
        case(
            "replaces the file meanwhile",
            {
                let other = other.clone();
                move |asked, all| match asked.number {
                    0 | 1 => honest(asked, &other, "\"old\""),
                    _ => honest(asked, all, TAG),
                }
            },
            0,
            "has changed at its server",
        ),
        case(
            "replaces it again and again",
            |asked, all| honest(asked, all, &format!("\"{}\"", asked.number)),
            5,
            "keeps changing",
        ),
        case(
            "sends parts of another length of file",
            |asked, all| match asked.range() {
                Some(range) => {
                    part(&all[..all.len() - 1], range.start..range.end.min(all.len() as u64 - 1), &FIELDS)
                }
                None => begun(asked, all, TAG),
            },
            5,
            "keeps changing",
        ),
        case(
            "sends other parts than asked for",
            |asked, all| match asked.range() {
                Some(range) => part(all, range.start + 1..range.end, &FIELDS),
                None => begun(asked, all, TAG),
            },
            5,
            "the part that was asked for",
        ),
        case(
            "does not say which part it sends",
            |asked, all| match asked.range() {
                Some(range) => {
                    reply("206 Partial Content", &FIELDS, &all[range.start as usize..range.end as usize])
                }
                None => begun(asked, all, TAG),
            },
            5,
            "which part it sends",
        ),
        case("sends a part unasked", |_, all| part(all, 0..1000, &FIELDS), 5, "answers 206"),
        case(
            "sends an error page for parts",
            |asked, all| match asked.range() {
                Some(_) => reply("404 Not Found", &[], b"<h1>not found</h1>"),
                None => begun(asked, all, TAG),
            },
            5,
            "answers 404",
        ),
        case(
            "sends an error page",
            |_, _| reply("404 Not Found", &[], b"<h1>not found</h1>"),
            5,
            "answers 404",
        ),
        case("lets nobody in", |_, _| reply("403 Forbidden", &[], b"no"), 4, "(403)"),
        case(
            "encodes parts",
            |asked, all| match asked.range() {
                Some(range) => part(all, range, &[&FIELDS[..], &[("Content-Encoding", "gzip")]].concat()),
                None => honest(asked, all, TAG),
            },
            5,
            "",
        ),
        case(
            "ends short, always",
            |_, all| reply("200 OK", &[], all)[..LARGE / 2].to_vec(),
            3,
            "trying again",
        ),
        case(
            "ends parts short, at first",
            |asked, all| match asked.number {
                0..6 => {
                    let mut whole = honest(asked, all, TAG);
                    whole.truncate(whole.len() / 2);
                    whole
                }
                _ => honest(asked, all, TAG),
            },
            0,
            "",
        ),
        case(
            "is busy at first, and says when to come back",
            |asked, all| match asked.number {
                1..4 => reply("503 Service Unavailable", &[("Retry-After", "0")], b"busy"),
                _ => honest(asked, all, TAG),
            },
            0,
            "",
        ),
        case(
            "fails at first",
            |asked, all| match asked.number {
                0..2 => reply("500 Oops", &[], b"<h1>oops</h1>"),
                _ => honest(asked, all, TAG),
            },
            0,
            "answers 500",
        ),
        case("is always busy", |_, _| reply("429 Slow Down", &[], b"no"), 3, "wants to be left alone"),
        case(
            "says nonsense of its length",
            |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nabc".to_vec(),
            3,
            "lost 127.0.0.1",
        ),
        case(
            "says more than any disk has",
            |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 4611686018427387904\r\n\r\nabc".to_vec(),
            7,
            "file",
        ),
        case("speaks something else", |_, _| b"SSH-2.0-OpenSSH\r\n".to_vec(), 3, "lost 127.0.0.1"),
    ];
    let all = content(LARGE);
    for (what, answer, code, words) in cases {
        let scene = Scene::new();
        let own = all.clone();
        let server = Mischief::start(move |asked| answer(asked, &own));
        let done = get(&scene, &["--retry-for", if code == 3 { "1" } else { "60" }, &server.url("/file")]);
        // An encoded part is none; all of it, in one, is got again.
        let code = if what == "encodes parts" { 0 } else { code };
        assert_eq!(done.code, Some(code), "{what}: {}", done.err());
        assert!(done.err().contains(words), "{what}: {}", done.err());
        match code {
            0 => assert!(read(&scene.dst.join("file")) == *all && listing(&scene.dst).len() == 1, "{what}"),
            _ => assert_nothing(&scene),
        }
    }
}

#[test]
fn bodies_without_a_length_and_encoded_ones_are_stored_as_they_come() {
    let scene = Scene::new();
    let chunked = |asked: &Asked| match asked.line.as_str() {
        "GET /chunked HTTP/1.1" => {
            let mut all = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in noise(3, MIB).chunks(100_000) {
                all.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                all.extend_from_slice(piece);
                all.extend_from_slice(b"\r\n");
            }
            [all, b"0\r\n\r\n".to_vec()].concat()
        }
        "GET /cut HTTP/1.1" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".to_vec(),
        "GET /open HTTP/1.1" => b"HTTP/1.1 200 OK\r\n\r\nall there is".to_vec(),
        "GET /empty HTTP/1.1" => reply("200 OK", &[], b""),
        _ => reply(
            "200 OK",
            &[("Content-Encoding", "gzip"), ("ETag", TAG), ("Accept-Ranges", "bytes")],
            b"\x1f\x8b",
        ),
    };
    let server = Mischief::start(chunked);
    get(&scene, &[&server.url("/chunked"), &server.url("/empty")]).expect_code(0);
    assert_eq!(read(&scene.dst.join("chunked")), noise(3, MIB));
    assert_eq!(read(&scene.dst.join("empty")), b"");
    let open = get(&scene, &[&server.url("/open")]);
    open.expect_code(0);
    assert!(open.err().contains("does not say how long the file is"), "{}", open.err());
    assert_eq!(read(&scene.dst.join("open")), b"all there is");
    let encoded = get(&scene, &[&server.url("/encoded")]);
    encoded.expect_code(0);
    assert!(encoded.err().contains("sends it encoded (gzip)"), "{}", encoded.err());
    get(&scene, &["--retry-for", "0", &server.url("/cut")]).expect_code(3);
    assert!(!scene.dst.join("cut").exists());
}

/// A server that breaks off each answer after so many bytes until it is told to go on.
fn breaking(all: Arc<Vec<u8>>, tag: &'static str, after: usize) -> Mischief {
    Mischief::start(move |asked| {
        let mut whole = honest(asked, &all, tag);
        whole.truncate(after);
        whole
    })
}

#[test]
fn an_interrupted_file_goes_on_with_what_proves_right_and_nothing_else() {
    for (tag, resumes) in [(TAG, true), ("W/\"weak\"", false)] {
        let scene = Scene::new();
        let all = content(LARGE);
        let server = breaking(all.clone(), tag, 13 * MIB);
        let port = server.addr;
        get(&scene, &["--retry-for", "0", "--max-connections", "1", &server.url("/file")]).expect_code(3);
        drop(server);
        assert_nothing(&scene);
        let parts: Vec<PathBuf> = listing(&scene.dst).iter().map(|name| scene.dst.join(name)).collect();
        let data = parts.iter().find(|path| !path.to_str().unwrap().contains(".values.")).unwrap();
        // One byte of what is there turns round.
        let mut bytes = read(data);
        bytes[5 * MIB] ^= 1;
        fs::write(data, bytes).unwrap();
        let own = all.clone();
        let listener = Mischief::start_at(port, move |asked| honest(asked, &own, tag));
        get(&scene, &["--max-connections", "1", &listener.url("/file")]).expect_code(0);
        assert_only(&scene, "file", &all);
        let ranges: Vec<_> = listener.asked().iter().filter_map(Asked::range).collect();
        if resumes {
            let asked_for: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            // Three pieces were noted, of which one is not right any more.
            assert_eq!(asked_for, LARGE as u64 - 2 * 4 * MIB as u64, "{ranges:?}");
            assert!(ranges.contains(&(4 * MIB as u64..8 * MIB as u64)), "{ranges:?}");
        } else {
            assert!(ranges.is_empty(), "{ranges:?}");
        }
    }
}

#[test]
fn a_hash_is_asked_of_the_file_and_a_wrong_one_leaves_nothing() {
    let scene = Scene::new();
    let all = content(3 * MIB);
    let sha256 = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (blake3, sha256) = (blake3::hash(&all).to_string(), hex(sha256(&all).as_ref()));
    let own = all.clone();
    let server = Mischief::start(move |asked| {
        use base64::Engine;
        let told = base64::engine::general_purpose::STANDARD
            .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &own));
        match asked.line.as_str() {
            "GET /told HTTP/1.1" => reply("200 OK", &[("Repr-Digest", &format!("sha-256=:{told}:"))], &own),
            "GET /lie HTTP/1.1" => {
                reply("200 OK", &[("Repr-Digest", &format!("sha-256=:{told}:"))], &own[1..])
            }
            _ => honest(asked, &own, TAG),
        }
    });
    let wrong = "0".repeat(64);
    for (name, flags, code) in [
        ("a", vec!["--blake3", &blake3], 0),
        ("b", vec!["--sha256", &sha256], 0),
        ("c", vec!["--blake3", &wrong], 6),
        ("d", vec!["--sha256", &wrong], 6),
        ("told", vec![], 0),
        ("lie", vec![], 6),
    ] {
        let done = get(&scene, &[&flags[..], &[&server.url(&format!("/{name}"))]].concat());
        done.expect_code(code);
        assert_eq!(scene.dst.join(name).exists(), code == 0, "{name}");
        if code == 0 {
            assert!(done.out().ends_with(", verified\n"), "{}", done.out());
        }
    }
    assert_eq!(listing(&scene.dst), ["a", "b", "told"]);
    // The same again: it is there already, and shown to be.
    let again = get(&scene, &["--sha256", &sha256, &server.url("/b")]);
    again.expect_success();
    assert!(again.out().contains("  b (already there)\n"), "{}", again.out());
}

#[test]
fn what_is_there_stays_unless_the_user_says_otherwise() {
    let scene = Scene::new();
    let server = Mischief::start(|asked| honest(asked, b"new", TAG));
    fs::write(scene.dst.join("file"), "old").unwrap();
    let url = server.url("/file");
    get(&scene, &[&url]).expect_complaint(5, &["file"]);
    assert_only(&scene, "file", b"old");
    get(&scene, &["--rename", &url]).expect_code(0);
    assert_eq!(read(&scene.dst.join("file (1)")), b"new");
    get(&scene, &["--overwrite", &url]).expect_code(0);
    assert_eq!(read(&scene.dst.join("file")), b"new");
    for path in ["/.bashrc", "/", "/..%2f..%2f", "/.ssh%2f.profile"] {
        get(&scene, &[&server.url(path)]).expect_complaint(2, &["there is no name for"]);
    }
    get(&scene, &[&server.url("/..%2f..%2fpasswd")]).expect_code(0);
    assert_eq!(listing(&scene.dst), ["file", "file (1)", "passwd"]);
}

#[test]
fn redirections_are_followed_and_secrets_stay_behind() {
    let scene = Scene::new();
    let elsewhere = Mischief::start(|asked| honest(asked, b"content", TAG));
    let to = elsewhere.url("/real");
    let server = Mischief::start(move |asked| match asked.line.as_str() {
        "GET /same HTTP/1.1" => reply("302 Found", &[("Location", "file")], b""),
        "GET /away HTTP/1.1" => reply("307 Temporary Redirect", &[("Location", &to)], b""),
        "GET /loop HTTP/1.1" => reply("301 Moved", &[("Location", "/loop")], b""),
        "GET /nowhere HTTP/1.1" => reply("301 Moved", &[("Location", "gopher://x/")], b""),
        _ => honest(asked, b"content", TAG),
    });
    let secrets = scene.path("fields");
    fs::write(&secrets, "Authorization: Basic c2VjcmV0\nX-Key: hidden\n").unwrap();
    fs::set_permissions(&secrets, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = secrets.to_str().unwrap();
    let fields = ["--header-file", file, "--header", "Cookie: a=b"];
    for (path, code) in [("/same", 0), ("/away", 0), ("/loop", 5), ("/nowhere", 5)] {
        let done = get(&scene, &[&fields[..], &[&server.url(path)]].concat());
        done.expect_code(code);
        assert_eq!(scene.dst.join(&path[1..]).exists(), code == 0, "{path}");
    }
    for asked in server.asked() {
        assert_eq!(asked.field("authorization"), Some("Basic c2VjcmV0"), "{asked:?}");
        assert_eq!((asked.field("x-key"), asked.field("cookie")), (Some("hidden"), Some("a=b")));
        assert_eq!(asked.field("accept-encoding"), Some("identity"));
    }
    let away = &elsewhere.asked()[0];
    assert_eq!((away.field("authorization"), away.field("x-key"), away.field("cookie")), (None, None, None));
}

#[test]
fn a_pinned_key_is_the_only_one_that_is_taken() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", LARGE);
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", TOKEN).args(["serve", "--listen", "0.0.0.0:0"]).arg(&scene.src);
    let server = WebServer::start_as(command);
    wait_until("it shows a link", PATIENCE, || server.process.stdout.text().contains("#sha256="));
    let out = server.process.stdout.text();
    let pin = out.lines().find_map(|line| line.trim().split_once("#sha256=")).unwrap().1;
    let url = format!("https://127.0.0.1:{}/file?t={TOKEN}", server.addr.port());
    get(&scene, &[&format!("{url}#sha256={pin}")]).expect_success();
    assert_only(&scene, "file", &read(&file));
    let wrong = format!("{url}#sha256={}", "A".repeat(43));
    get(&scene, &["-o", "x", &wrong]).expect_complaint(4, &["is not the server that was meant"]);
    get(&scene, &["-o", "x", &url]).expect_complaint(4, &["is not the server that was meant"]);
    assert_only(&scene, "file", &read(&file));
}

#[test]
fn a_proxy_of_the_environment_is_used_and_left_out_where_it_says_so() {
    let scene = Scene::new();
    let proxy = Mischief::start(|asked| honest(asked, b"by proxy", TAG));
    let server = Mischief::start(|asked| honest(asked, b"directly", TAG));
    let by = |url: &str, no: &str, name: &str| {
        let mut command = get_as(&scene, &["-o", name, url]);
        command.env("http_proxy", format!("http://user:pw@{}", proxy.addr)).env("no_proxy", no);
        Process::spawn(command).finish(PATIENCE).expect_code(0);
        read(&scene.dst.join(name))
    };
    assert_eq!(by("http://files.example/x", "", "a"), b"by proxy");
    assert_eq!(by(&server.url("/x"), "127.0.0.1", "b"), b"directly");
    let asked = proxy.asked();
    assert_eq!(asked[0].line, "GET http://files.example/x HTTP/1.1");
    assert_eq!(asked[0].field("proxy-authorization"), Some("Basic dXNlcjpwdw=="));
}

#[test]
fn a_script_hears_of_each_file_and_by_what_it_was_verified() {
    let scene = Scene::new();
    let server = Mischief::start(|asked| match asked.line.as_str() {
        "GET /none HTTP/1.1" => reply("404 Not Found", &[], b""),
        _ => honest(asked, b"content", TAG),
    });
    let done = get(&scene, &["--json", &server.url("/a"), &server.url("/none")]);
    assert_eq!(done.code, Some(5));
    let events = done.events();
    let files = of_kind(&events, "file");
    assert_eq!((files[0]["status"].as_str(), files[0]["verified"].as_str()), (Some("sent"), Some("no")));
    assert_eq!(files[0]["blake3"].as_str(), Some(blake3::hash(b"content").to_string().as_str()));
    assert_eq!((files[1]["status"].as_str(), files[1]["cause"].as_str()), (Some("failed"), Some("source")));
    let hash = blake3::hash(b"content").to_string();
    let proved = get(&scene, &["--json", "-o", "b", "--blake3", &hash, &server.url("/a")]).events();
    assert_eq!(of_kind(&proved, "file")[0]["verified"].as_str(), Some("BLAKE3"));
    let unreachable = get(&scene, &["--json", "--retry-for", "0", "http://127.0.0.1:1/x"]);
    unreachable.expect_code(3);
    assert_eq!(kinds(&unreachable.events()), ["start", "error"]);
}

#[test]
fn wrong_arguments_are_told_without_what_is_secret() {
    let scene = Scene::new();
    for (args, words) in [
        (&["nas/file"][..], "this is no address"),
        (&["http://user:hidden@nas/x"], "shows it to every user"),
        (&["--sha256", "abc", "http://nas/x"], "64 hexadecimal digits"),
        (&["--header", "no colon", "http://nas/x"], "Name: value"),
        (&["--blake3", &"0".repeat(64), "http://nas/x", "http://nas/y"], "a hash is that of one file"),
        (&["-o", "file", "http://nas/x", "http://nas/y"], "is no folder"),
    ] {
        let done = get(&scene, args);
        assert_eq!(done.code, Some(2), "{args:?}");
        assert!(done.err().contains(words), "{args:?}: {}", done.err());
        assert!(!done.err().contains("hidden"), "{}", done.err());
    }
}
