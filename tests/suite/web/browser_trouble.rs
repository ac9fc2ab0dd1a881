//! The page of `lanx serve` where something goes wrong: at the server, in the browser, or in what is sent. Ignored by default:
//! `make test-browser`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

#[cfg(target_os = "linux")]
use crate::common::bad_disk::{ENOSPC, call, on_a_bad_disk};
use crate::common::*;

const MIB: usize = 1 << 20;

/// What the first row in this state says.
fn said(browser: &Browser, state: &str) -> String {
    browser.text(&format!(".upload[data-state={state}] .what"))
}

/// Starts a server anew at the address of one that has ended.
fn again(scene: &Scene, addr: &str, token: &str) -> WebServer {
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", token).args(["serve", "--listen", addr, "--put", "--get"]).arg(&scene.dst);
    WebServer::start_as(command)
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_link_that_ends_meanwhile_is_told_and_leaves_no_file() {
    let scene = Scene::new();
    let (server, relay, browser) = behind_relay(&scene, &["--expire", "15s"]);
    half_sent(&scene, &relay, &browser);
    wait_until("the time of the link is over", PATIENCE, || {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n",
            server.addr
        );
        server.ask_raw(head).status == 401
    });
    relay.release();
    browser.wait_for(1, "failed");
    let words = said(&browser, "failed");
    assert!(words.contains("open a new one, and choose the file again"), "{words}");
    assert_eq!(finished(&scene.dst), [] as [&str; 0]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_server_that_comes_back_without_what_it_had_gets_all_of_it() {
    let scene = Scene::new();
    let (server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    let addr = server.addr.to_string();
    drop(server);
    browser.wait_for(1, "lost");
    for part in parts_of(&scene.dst, "film") {
        fs::remove_file(scene.dst.join(part)).unwrap();
    }
    let _server = again(&scene, &addr, TOKEN);
    relay.release();
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_server_that_comes_back_with_another_file_of_that_name_keeps_it() {
    let scene = Scene::new();
    let (server, relay, browser) = behind_relay(&scene, &[]);
    half_sent(&scene, &relay, &browser);
    let addr = server.addr.to_string();
    drop(server);
    browser.wait_for(1, "lost");
    make(&scene.dst, "film", 7);
    let _server = again(&scene, &addr, TOKEN);
    relay.release();
    browser.wait_for(1, "failed");
    assert_eq!(said(&browser, "failed"), "Failed · the server says: another file has that name here");
    browser.run("window.prompt = (_, name) => `my ${name}`");
    browser.click("[data-state=failed] .rename");
    browser.wait_for(1, "done");
    assert_eq!(finished(&scene.dst), ["film", "my film"]);
    assert_eq!(read(&scene.dst.join("film")).len(), 7);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_server_that_comes_back_with_another_token_takes_nothing() {
    let scene = Scene::new();
    let (server, relay, browser) = behind_relay(&scene, &[]);
    half_sent(&scene, &relay, &browser);
    let addr = server.addr.to_string();
    drop(server);
    browser.wait_for(1, "lost");
    let _server = again(&scene, &addr, "another-horse");
    relay.release();
    browser.wait_for(1, "failed");
    assert!(said(&browser, "failed").contains("not valid any more"), "{}", said(&browser, "failed"));
    assert_eq!(finished(&scene.dst), [] as [&str; 0]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_file_that_vanishes_while_it_is_sent_is_told_and_cannot_be_tried_again() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    fs::remove_file(file).unwrap();
    let small = make(&scene.src, "small", 1000);
    browser.run(
        "window.post = Worker.prototype.postMessage; window.held = [];\
                 Worker.prototype.postMessage = function (job) { held.push([this, job]); }",
    );
    browser.choose("#files", std::slice::from_ref(&small));
    browser.wait_for(1, "hashing");
    fs::remove_file(small).unwrap();
    browser
        .run("for (const [worker, job] of held) post.call(worker, job); Worker.prototype.postMessage = post");
    relay.release();
    browser.wait_for(2, "failed");
    assert_eq!(
        said(&browser, "failed"),
        "Failed · the file was changed or removed here meanwhile; choose it again"
    );
    assert_eq!(
        browser.run(
            "return [...document.querySelectorAll('.retry')].some((button) => button.checkVisibility())"
        ),
        false
    );
    assert_eq!(finished(&scene.dst), [] as [&str; 0]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_there_is_no_room_for_is_told_with_what_to_do() {
    let scene = Scene::new();
    let (_server, browser) = opened(&scene, &["--max-bytes", "10M"]);
    let large = make(&scene.src, "large", 9 * MIB);
    browser.choose("#files", std::slice::from_ref(&large));
    browser.wait_for(1, "done");
    browser.choose("#files", &[make(&scene.src, "more", 5 * MIB), make(&scene.src, "small", 3 * MIB)]);
    browser.wait_for(2, "failed");
    let words = said(&browser, "failed");
    assert_eq!(
        words,
        "Failed · the server says: no more may be put here; ask whoever runs it for room, then try again"
    );
    // What failed counts as well: not all of it is here.
    assert_eq!(browser.sum(), "1 of 3 files stored · 9.4 MB of 18 MB");
    assert_eq!(browser.text("#kinds"), "2 failed");
    assert_eq!(finished(&scene.dst), ["large"]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn names_that_no_file_can_have_here_are_told_and_others_come_as_they_are() {
    let scene = Scene::new();
    let (_server, browser) = opened(&scene, &[]);
    let long = "n".repeat(255);
    let fine = ["a%2fb", "#?&;", " space ", "new\u{85}line", "C:\\x", "-rf", &long, "💾", "javascript:1"];
    let files: Vec<_> = fine.iter().map(|name| make(&scene.src, name, 10)).collect();
    browser.drop_on("#drop", &files);
    browser.wait_for(fine.len(), "done");
    for name in fine {
        assert!(scene.dst.join(name).is_file(), "{name:?}");
    }
    let large = make(&scene.src, format!("{}large", "m".repeat(250)), 5 * MIB);
    browser.choose("#files", std::slice::from_ref(&large));
    browser.wait_for(fine.len() + 1, "done");
    browser.choose("#files", &[make(&scene.src, ".hidden", 10), make(&scene.src, ".lanx", 5 * MIB)]);
    browser.wait_for(2, "failed");
    assert!(
        said(&browser, "failed").ends_with("names that begin with a dot are not taken here"),
        "{}",
        said(&browser, "failed")
    );
    // It is renamed in the page, and sent as it is.
    browser.run("window.prompt = (_, name) => name.replace('.hidden', 'seen?')");
    browser.click("[data-state=failed] .rename");
    browser.wait_for(1, "failed");
    browser.wait(
        "it is there",
        "return [...document.querySelectorAll('.name')].some((name) => name.textContent === 'seen?')",
    );
    browser.wait_for(fine.len() + 2, "done");
    assert_eq!(read(&scene.dst.join("seen?")), read(&scene.src.join(".hidden")));
    assert_eq!(finished(&scene.dst).len(), fine.len() + 2);
}

/// A slow server takes what the network has taken already only bit by bit, and nothing is heard meanwhile.
#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_server_that_takes_little_at_a_time_is_waited_for() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &["--limit", "300kB"]);
    let files: Vec<_> = (0..4).map(|n| make(&scene.src, format!("{n}"), 3 * MIB)).collect();
    browser.choose("#files", &files);
    wait_until("all are stored", 2 * PATIENCE, || {
        browser.run("return document.querySelectorAll('[data-state=done]').length") == json!(4)
    });
    assert!(relay.carried() < 13 * MIB as u64, "{} bytes for 12 MiB", relay.carried());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_waits_for_its_place_can_be_paused_and_cancelled() {
    let scene = Scene::new();
    let (server, browser) = opened(&scene, &[]);
    let others = queued(&scene, &server, &browser);
    browser.wait("it waits", "return document.querySelector('.what').textContent.includes('is next')");
    browser.choose("#files", &[make(&scene.src, "kept", 9 * MIB)]);
    browser.wait("both wait", "return [...document.querySelectorAll('.what')].filter((what) => what.textContent.includes('just now')).length === 2");
    browser.click(".upload:last-child .pause");
    browser.wait_for(1, "paused");
    browser.click("[data-state=waiting] .cancel");
    browser.wait_for(1, "cancelled");
    unqueue(&server, &others);
    // Neither is sent behind its user's back, nor keeps a place.
    wait_until("no part is left of the one that was cancelled", PATIENCE, || {
        parts_of(&scene.dst, "film").is_empty()
    });
    browser.click(".go");
    browser.wait_for(1, "done");
    browser.wait_for(1, "cancelled");
    assert!(read(&scene.dst.join("kept")) == read(&scene.src.join("kept")));
    wait_until("nothing else is there", PATIENCE, || listing(&scene.dst) == ["kept"]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_is_dropped_is_sent_and_what_cannot_be_is_told() {
    let scene = Scene::new();
    let (_server, browser) = opened(&scene, &[]);
    let tree = scene.src.join("trip");
    fs::create_dir_all(tree.join("day/empty")).unwrap();
    make(&tree, "day/one.jpg", 10);
    let lone = make(&scene.src, "lone", 20);
    browser.drop_on("#drop", &[tree, lone.clone()]);
    browser.wait_for(2, "done");
    assert!(scene.dst.join("trip/day/one.jpg").is_file() && scene.dst.join("lone").is_file());
    assert_eq!(browser.text("#note"), "");
    let hollow = scene.src.join("hollow");
    fs::create_dir(&hollow).unwrap();
    browser.drop_on("#drop", std::slice::from_ref(&hollow));
    browser
        .wait("it is told", "return !note.hidden && note.textContent.includes('empty folders are not sent')");
    // Chosen twice while it is under way.
    symlink("nowhere", hollow.join("dangling")).unwrap();
    let paused = make(&scene.src, "paused", 9 * MIB);
    browser.run("Worker.prototype.postMessage = () => {}");
    browser.choose("#files", std::slice::from_ref(&paused));
    browser.choose("#files", &[paused]);
    assert_eq!(browser.text("#note"), "1 file was in the list already, and will not be sent twice.");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn ten_thousand_small_files_in_one_folder_all_arrive() {
    let scene = Scene::new();
    let tree = scene.src.join("many");
    fs::create_dir(&tree).unwrap();
    for n in 0..10_000 {
        fs::write(tree.join(format!("{n:05}")), n.to_string()).unwrap();
    }
    let (_server, browser) = opened(&scene, &[]);
    let began = std::time::Instant::now();
    browser.drop_on("#drop", &[tree]);
    wait_until("all are stored", 5 * PATIENCE, || {
        browser.sum().starts_with("10,000 of 10,000 files stored and verified")
    });
    eprintln!("10,000 files in {:?}", began.elapsed());
    let arrived = scene.dst.join("many");
    for n in 0..10_000 {
        assert_eq!(fs::read_to_string(arrived.join(format!("{n:05}"))).unwrap(), n.to_string());
    }
}

/// What is hashed, what is sent and what is waited for are told apart, also at the very end.
#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_hash_that_is_not_there_yet_is_waited_for_in_words() {
    let scene = Scene::new();
    let (_server, browser) = opened(&scene, &[]);
    browser.run(
        "window.post = Worker.prototype.postMessage; window.held = [];\
                 Worker.prototype.postMessage = function (job) { held.push([this, job]); }",
    );
    browser.choose("#files", &[make(&scene.src, "film", 5 * MIB)]);
    browser.wait(
        "all is sent",
        "return document.querySelector('.steps')?.textContent === 'all of it is sent; this device still computes checksums'",
    );
    assert_eq!(listing(&scene.dst).len(), 1, "it has its name, and nobody has said that it is right");
    browser
        .run("Worker.prototype.postMessage = post; for (const [worker, job] of held) post.call(worker, job)");
    browser.wait_for(1, "done");
    let words = said(&browser, "done");
    assert!(words.starts_with("Stored and verified · 5.2 MB in "), "{words}");
    let label = browser.text(".upload .proof");
    assert_eq!(label, format!("BLAKE3 {}", blake3::hash(&read(&scene.src.join("film")))));
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn the_sums_leave_out_what_was_cancelled_and_count_time_for_what_comes_by_itself() {
    let scene = Scene::new();
    let (_server, browser) = opened(&scene, &[]);
    let script = "(async () => {\
        const { sums } = await import('/.lanx/sums.js');\
        const file = (state, size, shown) => ({ state, size, shown });\
        window.all = sums([file('done', 10, 3), file('sending', 100, 40), file('waiting', 50, 0), file('paused', 70, 20),\
            file('failed', 1000, 500), file('cancelled', 2000, 700), file('lost', 30, 31)]);\
        done(); })()";
    browser.run_async(script);
    let expected = json!({ "files": 6, "stored": 1, "size": 1260, "done": 600, "left": 110, "active": 3, "kinds": {
        "stored": 1, "sending": 1, "waiting": 1, "paused": 1, "failed": 1, "cancelled": 1, "interrupted": 1 } });
    assert_eq!(browser.run("return all"), expected);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_disk_that_is_full_in_the_middle_fails_its_file_alone_and_says_so() {
    let scene = Scene::new();
    let failing = [(call::PWRITE64, Some(8 * MIB as u64))];
    let start = || WebServer::start(&scene, &["--put", "--get"], &scene.dst);
    let server = on_a_bad_disk(&failing, ENOSPC, start);
    let browser = Browser::start(&scene);
    visit(&browser, &server.url(""));
    browser.choose("#files", &[make(&scene.src, "film", 20 * MIB), make(&scene.src, "fits", 7 * MIB)]);
    browser.wait_for(1, "failed");
    browser.wait_for(1, "done");
    let words = said(&browser, "failed");
    assert!(words.contains("the disk is full here; ask whoever runs it for room"), "{words}");
    assert_eq!(finished(&scene.dst), ["fits"]);
}
