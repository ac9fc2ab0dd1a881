//! `lanx get -r`: a folder of `lanx serve` with all that is in it, and folders of servers that mean harm.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::common::web_mischief::{Asked, Mischief, Reply, reply};
use crate::common::*;

const MIB: usize = 1 << 20;

fn get_as(scene: &Scene, args: &[&str]) -> std::process::Command {
    let mut command = crate::common::get_as(scene, &[&["-r"], args].concat());
    command.env("LANX_TOKEN", TOKEN);
    command
}

fn get(scene: &Scene, args: &[&str]) -> Output {
    Process::spawn(get_as(scene, args)).finish(PATIENCE)
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// A tree with what is odd in it: modes, times, names, depths and sizes.
fn tree(scene: &Scene) -> PathBuf {
    let top = scene.src.join("photos");
    fs::create_dir_all(top.join("a b/c/d")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    make(&top, "large", 9 * MIB + 3);
    make(&top.join("a b"), "?&#=%\u{e4}\u{202e}", 70_000);
    make(&top.join("a b/c/d"), "deep", 0);
    fs::write(top.join("a b/colon:x"), "x").unwrap();
    #[allow(clippy::disallowed_methods)]
    fs::write(top.join(OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    for n in 0..40 {
        make(&top.join("a b/c"), format!("small-{n}"), 100 + n);
    }
    fs::set_permissions(top.join("large"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(top.join("a b/c"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    for (n, path) in ["large", "a b/c/d/deep", "a b/c/d", "a b/c", "a b", "empty", ""].iter().enumerate() {
        age(&top.join(path), 1_000_000_000 + n as u64);
    }
    top
}

/// What is there, with modes and times.
fn described(top: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(top).sort_by_file_name().into_iter().map(Result::unwrap);
    let entries = entries.filter(|entry| !entry.file_type().is_symlink());
    let describe = |entry: walkdir::DirEntry| {
        let look = entry.metadata().unwrap();
        let content =
            if look.is_file() { blake3::hash(&read(entry.path())).to_string() } else { "folder".into() };
        let path = entry.path().strip_prefix(top).unwrap().to_owned();
        format!("{path:?} {:o} {}.{} {content}", look.mode() & 0o777, look.mtime(), look.mtime_nsec())
    };
    entries.map(describe).collect()
}

#[test]
fn a_folder_comes_whole_with_times_and_modes_and_once() {
    let scene = Scene::new();
    let top = tree(&scene);
    let server = WebServer::start(&scene, &[], &scene.src);
    let url = server.url("/photos/");
    let done = get(&scene, &[&url]);
    done.expect_success();
    assert_eq!(described(&scene.dst.join("photos")), described(&top));
    assert_eq!(listing(&scene.dst), ["photos"]);
    assert!(done.out().contains("45 files, ") && done.out().ends_with(", verified\n"), "{}", done.out());
    let stats = server.ask("GET", "/.lanx/stats", &[]).json();
    let (connections, requests) =
        (stats["connections"].as_u64().unwrap(), stats["requests"].as_u64().unwrap());
    assert!(connections < 25 && requests > 45, "{connections} connections for {requests} requests");
    // The same again: nothing is stored, and all of it is shown to be there.
    let again = get(&scene, &[url.trim_end_matches('/')]);
    again.expect_success();
    assert_eq!(again.out().matches(" (already there)\n").count(), 45, "{}", again.out());
    assert_eq!(described(&scene.dst.join("photos")), described(&top));
    // What is another file stays, and is told of; the others are there.
    fs::write(scene.dst.join("photos/large"), "mine").unwrap();
    fs::remove_file(scene.dst.join("photos/a b/colon:x")).unwrap();
    let differs = get(&scene, &[&url]);
    differs.expect_code(5);
    assert!(differs.err().contains("photos/large"), "{}", differs.err());
    assert_eq!(read(&scene.dst.join("photos/large")), b"mine");
    assert_eq!(read(&scene.dst.join("photos/a b/colon:x")), b"x");
    get(&scene, &["--overwrite", &url]).expect_code(0);
    assert_eq!(described(&scene.dst.join("photos")), described(&top));
}

#[test]
fn it_goes_where_it_is_told_and_the_root_of_a_server_comes_without_a_name() {
    let scene = Scene::new();
    let top = tree(&scene);
    let server = WebServer::start(&scene, &[], &top);
    get(&scene, &["-o", "into", &server.url("/")]).expect_success();
    let without_top = |all: Vec<String>| all[1..].to_vec();
    assert_eq!(without_top(described(&scene.dst.join("into"))), without_top(described(&top)));
    get(&scene, &["-o", "other", &server.url("/a%20b/c/")]).expect_success();
    assert_eq!(described(&scene.dst.join("other/c")), described(&top.join("a b/c")));
    // Hidden files are no part of it unless the server says so, and never come straight into the destination.
    make(&top, ".bashrc", 10);
    make(&top.join("empty"), ".hidden", 10);
    let all = WebServer::start(&scene, &["--all"], &top);
    let got = get(&scene, &["-o", "hidden", &all.url("/")]);
    got.expect_code(5);
    assert!(got.err().contains(".bashrc was left out"), "{}", got.err());
    assert!(!scene.dst.join("hidden/.bashrc").exists() && scene.dst.join("hidden/empty/.hidden").exists());
    drop(all);
    get(&scene, &["--sha256", &"0".repeat(64), &server.url("/")]).expect_code(2);
    get(&scene, &[&server.url("/large")]).expect_complaint(5, &["/large"]);
    get(&scene, &[&server.url("/none/")]).expect_complaint(5, &["404"]);
    let mut wrong = get_as(&scene, &[&server.url("/a%20b/")]);
    wrong.env("LANX_TOKEN", "another-token");
    Process::spawn(wrong).finish(PATIENCE).expect_complaint(4, &["does not let this in (401)"]);
}

#[test]
fn a_script_hears_of_each_entry() {
    let scene = Scene::new();
    tree(&scene);
    let server = WebServer::start(&scene, &[], &scene.src);
    let done = get(&scene, &["--json", &server.url("/photos/")]);
    done.expect_success();
    let events = done.events();
    let files = of_kind(&events, "file");
    let of = |kind: &str| files.iter().filter(|file| file["kind"] == kind).count();
    assert_eq!((of("file"), of("folder")), (45, 5));
    assert!(files.iter().all(|file| file["status"] == "sent" || file["kind"] == "folder"), "{files:?}");
    assert!(files.iter().filter(|file| file["kind"] == "file").all(|file| file["verified"] == "BLAKE3"));
    let done = &of_kind(&events, "done")[0];
    assert_eq!(
        (done["files"].as_u64(), done["folders"].as_u64(), done["failed"].as_u64()),
        (Some(45), Some(5), Some(0))
    );
}

#[test]
fn what_was_interrupted_goes_on_with_what_is_missing() {
    let scene = Scene::new();
    let top = tree(&scene);
    make(&top, "larger", 40 * MIB);
    let server = WebServer::start(&scene, &["--limit", "20M"], &scene.src);
    let url = server.url("/photos/");
    let mut first = Process::spawn(get_as(&scene, &[&url]));
    let part = scene.dst.join("photos");
    // Two pieces of it are noted, behind a key.
    let is_noted = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(".larger.")
            && name.contains(".values.")
            && fs::metadata(path).unwrap().len() >= 32 + 2 * 40
    };
    wait_until("something of the larger file is there", PATIENCE, || {
        part.is_dir() && listing(&part).iter().any(|name| is_noted(part.join(name)))
    });
    first.kill();
    drop(first);
    assert!(!part.join("larger").exists());
    let addr = server.addr;
    drop(server);
    // An unfinished file belongs to its address.
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", TOKEN).args(["serve", "--listen", &addr.to_string()]).arg(&scene.src);
    let server = WebServer::start_as(command);
    let done = get(&scene, &["--json", &url]);
    done.expect_success();
    assert_eq!(described(&part), described(&top));
    let crossed = of_kind(&done.events(), "done")[0]["sent_bytes"].as_u64().unwrap();
    let files = walkdir::WalkDir::new(&top).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let all: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(crossed <= all - 8 * MIB as u64, "{crossed} of {all} bytes came again");
    drop(server);
}

/// A listing as `serve` has it.
fn page(entries: &[serde_json::Value], next: Option<&str>) -> Reply {
    let mut page =
        json!({ "path": "/x/", "mtime_seconds": 7, "mtime_nanos": 9, "mode": 0o755, "entries": entries });
    if let Some(next) = next {
        page["next"] = next.into();
    }
    reply("200 OK", &[("Content-Type", "application/json")], page.to_string().as_bytes())
}

fn entry(name: &str, kind: &str) -> serde_json::Value {
    json!({ "name": name, "href": "http://127.0.0.1:1/evil", "kind": kind, "size": 4, "mtime_seconds": 5, "mtime_nanos": 6, "mode": 0o4777 })
}

fn is_for(asked: &Asked, path: &str) -> bool {
    asked.line == format!("GET {path} HTTP/1.1")
}

#[test]
fn a_listing_leads_nowhere_but_beneath_its_folder() {
    let scene = Scene::new();
    fs::write(scene.path("victim"), "mine").unwrap();
    let server = Mischief::start(|asked| {
        let odd = json!({ "name": "x", "name_bytes": STANDARD.encode("../victim"), "href": "./x", "kind": "file", "mode": 0 });
        let entries = [
            entry("../victim", "file"),
            entry("..", "folder"),
            entry("/etc/evil", "file"),
            entry("a/b", "file"),
            entry("", "file"),
            entry(".", "folder"),
            entry("nul\0", "file"),
            entry(".good.v2-x.lanx-part", "file"),
            entry("\u{1b}[31mred", "link"),
            odd,
            entry("good", "file"),
            entry("sub", "folder"),
            entry("sub", "file"),
        ];
        match () {
            () if is_for(asked, "/x/") => page(&entries, None),
            () if is_for(asked, "/x/sub/") => {
                page(&[entry("in", "file")], Some("http://127.0.0.1:1/elsewhere"))
            }
            () => reply("200 OK", &[], b"evil"),
        }
    });
    let done = get(&scene, &[&server.url("/x/")]);
    done.expect_code(5);
    assert!(!done.err().contains('\u{1b}'), "{}", done.err());
    assert_eq!(done.err().matches(" was left out: ").count(), 10, "{}", done.err());
    assert_eq!(read(&scene.path("victim")), b"mine");
    assert_eq!(listing(&scene.dst), ["x"]);
    assert_eq!(listing(&scene.dst.join("x")), ["good", "sub"]);
    assert_eq!(read(&scene.dst.join("x/sub/in")), b"evil");
    assert_eq!(fs::metadata(scene.dst.join("x/good")).unwrap().mode() & 0o7777, 0o777, "no special bit");
    let asked: Vec<String> = server.asked().iter().map(|asked| asked.line.clone()).collect();
    assert!(asked.iter().all(|line| line.starts_with("GET /x/")), "{asked:?}");
}

#[test]
fn a_link_that_takes_a_folders_place_leads_nothing_out() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(scene.dst.join("x")).unwrap();
    symlink(&outside, scene.dst.join("x/sub")).unwrap();
    let server = Mischief::start(|asked| match () {
        () if is_for(asked, "/x/") => page(&[entry("sub", "folder")], None),
        () if is_for(asked, "/x/sub/") => page(&[entry("in", "file")], None),
        () => reply("200 OK", &[], b"evil"),
    });
    let done = get(&scene, &["--overwrite", &server.url("/x/")]);
    assert_ne!(done.code, Some(0), "{}", done.err());
    assert_eq!(listing(&outside).len(), 0);
}

#[test]
fn folders_without_an_end_have_one() {
    for (what, code, words) in [
        ("deep", 5, "more than 64 folders within each other"),
        ("pages of nothing", 0, ""),
        ("no listing", 5, "no folder of a lanx serve"),
        ("a list that goes on", 5, "has no end"),
    ] {
        let scene = Scene::new();
        let server = Mischief::start(move |asked| {
            let path = asked.line.split(' ').nth(1).unwrap();
            match what {
                "deep" => page(&[entry("d", "folder")], None),
                "pages of nothing" => page(&[], Some("?after=x")),
                "no listing" if path.ends_with('/') => {
                    reply("200 OK", &[("Content-Type", "text/html")], b"<h1>index</h1>")
                }
                "a list that goes on" => {
                    let head =
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"entries\":[".to_vec();
                    [head, vec![b' '; 33 * MIB]].concat()
                }
                _ => reply("404 Not Found", &[], b""),
            }
        });
        let done = get(&scene, &["--retry-for", "0", &server.url("/x/")]);
        assert_eq!(done.code, Some(code), "{what}: {}", done.err());
        assert!(done.err().contains(words), "{what}: {}", done.err());
    }
}

#[test]
fn a_server_that_is_lost_in_the_midst_ends_it_and_not_each_file_for_itself() {
    let scene = Scene::new();
    let server = Mischief::start(|asked| match () {
        () if is_for(asked, "/x/") => {
            page(&(0..300).map(|n| entry(&format!("f{n}"), "file")).collect::<Vec<_>>(), None)
        }
        () if asked.number < 50 => reply("200 OK", &[], b"evil"),
        () => Vec::new(),
    });
    let done = get(&scene, &["--retry-for", "1", &server.url("/x/")]);
    assert_eq!(done.code, Some(3), "{}", done.err());
    assert!(listing(&scene.dst.join("x")).len() >= 40);
    let asked = server.asked().len();
    assert!(asked < 150, "{asked} requests");
}
