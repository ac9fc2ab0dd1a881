//! The page of `lanx serve` in a real browser. Ignored by default, as not every machine has one: `make test-browser` runs them all,
//! and `.ci/run` those that are called smoke.

use std::fs;
use std::io::Write;

use crate::common::*;

const MIB: usize = 1 << 20;

/// The hash that the page shows of a file.
fn shown_hash(browser: &Browser, name: &str) -> String {
    let script = format!(
        "return [...document.querySelectorAll('.upload')].find((row) => row.querySelector('.name').textContent === {})\
         ?.querySelector('.hash').textContent ?? ''",
        serde_json::json!(name)
    );
    browser.run(&script).as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn smoke_what_is_chosen_arrives_with_the_hash_that_the_page_shows_and_can_be_had_again() {
    let scene = Scene::new();
    let hostile = "<img src=x onerror=\"document.title='owned'\">&amp;\u{202e}gnp.exe";
    let files: Vec<_> = [
        ("empty", 0),
        ("one", 1),
        ("below the border", 4 * MIB - 1),
        ("border", 4 * MIB),
        ("above the border", 4 * MIB + 1),
        ("large.bin", 37 * MIB + 12_345),
        (hostile, 1000),
    ]
    .into_iter()
    .map(|(name, size)| make(&scene.src, name, size))
    .collect();
    let (server, browser) = opened(&scene, &[]);
    assert!(!browser.url().contains(TOKEN), "the address is {}", browser.url());
    browser.choose("#files", &files);
    browser.wait_for(files.len(), "done");
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(read(&scene.dst.join(name)) == read(file), "{name}");
        let shown = name.replace('\u{202e}', "\\u{202e}");
        assert_eq!(shown_hash(&browser, &shown), blake3::hash(&read(file)).to_string(), "{name}");
    }
    assert!(browser.sum().starts_with("7 of 7 files stored and verified"), "{}", browser.sum());
    // It is listed, no markup came of any name, and what is clicked comes back.
    browser.wait("the list shows it", "return document.querySelectorAll('#list tbody tr').length === 7");
    assert!(browser.run("return document.title").as_str().unwrap().starts_with("dst on "));
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), 0);
    browser.click("a[href='./large.bin']");
    let back = browser.downloads.join("large.bin");
    wait_until("the file is there again", PATIENCE, || {
        fs::read(&back).is_ok_and(|content| content == read(&files[5]))
    });
    drop(server);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn smoke_a_page_that_is_loaded_anew_sends_only_what_is_missing() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    let before = relay.carried();
    browser.reload();
    browser.wait("the page is ready", "return document.documentElement.dataset.ready === '1'");
    assert!(browser.text("#note").contains("film"), "{}", browser.text("#note"));
    relay.release();
    browser.choose("#files", std::slice::from_ref(&file));
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    let again = relay.carried() - before;
    assert!(again < 48 * MIB as u64, "{again} bytes were sent after {before} of 64 MiB");
    assert_eq!(finished(&scene.dst), ["film"]);
    assert!(parts_of(&scene.dst, "film").is_empty());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_server_that_is_killed_and_started_again_gets_the_rest() {
    let scene = Scene::new();
    let (server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    let addr = server.addr.to_string();
    drop(server);
    browser.wait_for(1, "lost");
    // At the same port, for which the browser has its cookie.
    let mut command = scene.lanx();
    command.env("LANX_TOKEN", TOKEN).args(["serve", "--listen", &addr, "--put", "--get"]).arg(&scene.dst);
    let _server = WebServer::start_as(command);
    let before = relay.carried();
    relay.release();
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    assert!(relay.carried() - before < 60 * MIB as u64, "all of it was sent again");
    assert!(parts_of(&scene.dst, "film").is_empty());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_the_network_cuts_goes_on_when_it_is_back() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    relay.cut();
    browser.wait_for(1, "lost");
    assert!(browser.text(".upload .what").starts_with("Interrupted"), "{}", browser.text(".upload .what"));
    relay.release();
    relay.mend();
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    assert!(relay.carried() < 104 * MIB as u64, "{} bytes for 64 MiB", relay.carried());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_bit_that_is_turned_on_the_way_is_found_and_its_piece_sent_again() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = make(&scene.src, "film", 32 * MIB);
    relay.flip_at(relay.carried() + 20 * MIB as u64);
    browser.choose("#files", std::slice::from_ref(&file));
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    assert!(relay.carried() > 33 * MIB as u64, "nothing was sent again");
    // A small one gets no name.
    let small = make(&scene.src, "small", 3 * MIB);
    relay.flip_at(relay.carried() + 2 * MIB as u64);
    browser.choose("#files", &[small]);
    browser.wait_for(1, "failed");
    assert_eq!(finished(&scene.dst), ["film"]);
    browser.click(".upload[data-state=failed] .retry");
    browser.wait_for(2, "done");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn without_a_websocket_all_of_it_works_by_plain_requests() {
    let scene = Scene::new();
    let server = WebServer::start(&scene, &["--put", "--get"], &scene.dst);
    let relay = WebRelay::to(server.addr);
    relay.refuse_sockets();
    let browser = Browser::start(&scene);
    visit(&browser, &relay.url(""));
    let file = half_sent(&scene, &relay, &browser);
    browser.reload();
    relay.release();
    browser.wait("the page is ready", "return document.documentElement.dataset.ready === '1'");
    browser.choose("#files", std::slice::from_ref(&file));
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    assert!(parts_of(&scene.dst, "film").is_empty(), "the page that was loaded anew did not go on with it");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_conversation_that_says_nothing_any_more_is_left() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    relay.mute_sockets();
    relay.release();
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn two_pages_with_one_file_do_not_disturb_each_other() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    let first = browser.new_window();
    relay.release();
    visit(&browser, &relay.url(""));
    browser.choose("#files", std::slice::from_ref(&file));
    browser.wait_for(1, "done");
    browser.switch_to(&first);
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    wait_until("nothing else is left", PATIENCE, || listing(&scene.dst) == ["film"]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_folder_arrives_with_all_that_is_in_it() {
    let scene = Scene::new();
    let tree = scene.src.join("trip");
    for n in 0..30 {
        let day = tree.join(format!("day {}", n % 3));
        fs::create_dir_all(&day).unwrap();
        make(&day, format!("{n}.jpg"), 10_000 + n);
    }
    let (_server, browser) = opened(&scene, &[]);
    browser.choose("#folder", std::slice::from_ref(&tree));
    browser.wait_for(30, "done");
    for n in 0..30 {
        let below = format!("trip/day {}/{n}.jpg", n % 3);
        assert!(read(&scene.dst.join(&below)) == read(&scene.src.join(&below)), "{below}");
    }
    browser.wait("the folder is listed", "return document.querySelector(\"a[href='./trip/']\") !== null");
    browser.click("a[href='./trip/']");
    browser.wait("it is shown", "return document.querySelectorAll('#list tbody tr').length === 3");
    // What is chosen in a folder goes there.
    browser.choose("#files", &[make(&scene.src, "note", 5)]);
    browser.wait_for(1, "done");
    assert!(scene.dst.join("trip/note").is_file());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_is_there_is_left_alone_and_said_so() {
    let scene = Scene::new();
    for name in ["small", "large"] {
        make(&scene.dst, name, if name == "small" { 5 } else { 9 * MIB });
    }
    let same = [make(&scene.src, "small", 5), make(&scene.src, "large", 9 * MIB)];
    let (_server, browser) = opened(&scene, &[]);
    browser.choose("#files", &same);
    browser.wait_for(2, "done");
    assert!(browser.text(".upload .what").contains("was there already"), "{}", browser.text(".upload .what"));
    let others: Vec<_> = [("small", 6), ("large", 9 * MIB)]
        .map(|(name, size)| make_of(&scene.path("home"), name, &noise(99, size)))
        .into();
    browser.choose("#files", &others);
    browser.wait_for(2, "failed");
    let said = browser.run("return document.querySelector('[data-state=failed] .what').textContent");
    assert_eq!(said, "Failed · the server says: another file has that name here");
    for file in &same {
        assert!(read(&scene.dst.join(file.file_name().unwrap())) == read(file));
    }
    assert_eq!(listing(&scene.dst), ["large", "small"]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn pause_go_on_cancel_and_a_file_that_changes_meanwhile() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    browser.click(".upload .pause");
    browser.wait_for(1, "paused");
    relay.release();
    browser.click(".upload .go");
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    // One that is changed while it is sent is told, and one that is given up leaves nothing.
    let changing = make(&scene.src, "changing", 64 * MIB);
    relay.hold_after(relay.carried() + 20 * MIB as u64);
    browser.choose("#files", std::slice::from_ref(&changing));
    relay.wait_until_carried(relay.carried() + 1);
    fs::write(&changing, noise(7, 64 * MIB)).unwrap();
    relay.release();
    browser.wait_for(1, "failed");
    let said = browser.run("return document.querySelector('[data-state=failed] .what').textContent");
    assert!(said.as_str().unwrap().contains("was changed"), "{said}");
    let given_up = make(&scene.src, "given up", 64 * MIB);
    let begin = relay.carried();
    relay.hold_after(begin + 20 * MIB as u64);
    browser.choose("#files", &[given_up]);
    relay.wait_until_carried(begin + 20 * MIB as u64);
    browser.click("[data-state=sending] .cancel");
    browser.wait_for(1, "cancelled");
    relay.release();
    wait_until("nothing of it is left", PATIENCE, || parts_of(&scene.dst, "given up").is_empty());
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn without_scripts_there_is_the_list_and_what_is_clicked_comes() {
    let scene = Scene::new();
    let file = make(&scene.dst, "a b.txt", 5000);
    let server = WebServer::start(&scene, &["--put", "--get"], &scene.dst);
    let options = BrowserOptions { without_scripts: true, ..BrowserOptions::default() };
    let browser = Browser::start_with(&scene, options);
    browser.open(&server.url(&format!("/?t={TOKEN}")));
    let source = browser.source();
    assert!(source.contains("curl -T FILE LINK") && source.contains("data-size=\"5000\""), "{source}");
    browser.click("a[href='./a%20b.txt']");
    let back = browser.downloads.join("a b.txt");
    wait_until("the file is there", PATIENCE, || fs::read(&back).is_ok_and(|content| content == read(&file)));
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn over_https_with_a_certificate_of_its_own_all_works_as_well() {
    let scene = Scene::new();
    let mut command = scene.lanx();
    command
        .env("LANX_TOKEN", TOKEN)
        .args(["serve", "--listen", "0.0.0.0:0", "--put", "--get"])
        .arg(&scene.dst);
    let server = WebServer::start_as(command);
    let browser = Browser::start(&scene);
    visit(&browser, &format!("https://127.0.0.1:{}", server.addr.port()));
    let file = make(&scene.src, "film", 20 * MIB + 1);
    browser.choose("#files", std::slice::from_ref(&file));
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    let cookie = browser.run("return document.cookie");
    assert_eq!(cookie, "", "a script can read the cookie");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_wrong_token_opens_nothing() {
    let scene = Scene::new();
    make(&scene.dst, "secret", 5);
    let server = WebServer::start(&scene, &["--put", "--get"], &scene.dst);
    let browser = Browser::start(&scene);
    for link in ["/?t=wrong-horse", "/"] {
        browser.open(&server.url(link));
        let said = browser.run("return document.body.innerText").to_string();
        assert!(said.contains("token") && !said.contains("secret"), "{said}");
    }
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn the_list_is_searched_sorted_and_kept_up() {
    let scene = Scene::new();
    for (name, size) in [("b10", 5), ("b9", 3000), ("Alpha", 70), ("<b>bold", 1)] {
        make(&scene.dst, name, size);
    }
    fs::create_dir(scene.dst.join("zoo")).unwrap();
    let (_server, browser) = opened(&scene, &[]);
    let names = || {
        let script = "return [...document.querySelectorAll('#list tbody tr:not([hidden]) td:first-child')].map((cell) => cell.textContent)";
        browser
            .run(script)
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["zoo/", "<b>bold", "Alpha", "b9", "b10"]);
    browser.click("th[data-sort=size] button");
    assert_eq!(names(), ["zoo/", "<b>bold", "b10", "Alpha", "b9"]);
    browser.click("th[data-sort=size] button");
    assert_eq!(names(), ["zoo/", "b9", "Alpha", "b10", "<b>bold"]);
    browser.type_into("#search", "B1");
    assert_eq!(names(), ["b10"]);
    assert_eq!(browser.text("#say"), "1 match");
    // Each that arrives is listed by itself.
    browser.choose("#files", &[make(&scene.src, "b11", 5)]);
    browser.wait_for(1, "done");
    browser.wait("it is listed", "return [...document.querySelectorAll('#list td:first-child')].some((cell) => cell.textContent === 'b11')");
    assert_eq!(names(), ["b10", "b11"]);
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_thousand_small_files_take_no_longer_than_they_must() {
    let scene = Scene::new();
    let files: Vec<_> = (0..1000).map(|n| make(&scene.src, format!("{n:04}.txt"), 100 + n)).collect();
    let (_server, browser) = opened(&scene, &[]);
    let began = std::time::Instant::now();
    browser.choose("#files", &files);
    browser.wait(
        "all of them are stored",
        "return document.querySelector('#sum').textContent.startsWith('1,000 of 1,000 files')",
    );
    eprintln!("1,000 files in {:?}", began.elapsed());
    for file in &files {
        assert!(read(&scene.dst.join(file.file_name().unwrap())) == read(file));
    }
    assert!(browser.run("return document.querySelectorAll('.upload').length").as_u64() < Some(100));
}

/// A phone that locks its screen stops what the page does, and takes its connections away.
#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_page_that_was_asleep_goes_on_when_it_wakes() {
    let scene = Scene::new();
    let (_server, relay, browser) = behind_relay(&scene, &[]);
    let file = half_sent(&scene, &relay, &browser);
    browser.set_life("frozen");
    relay.cut();
    relay.release();
    relay.mend();
    let asleep = relay.carried();
    browser.set_life("active");
    browser.wait_for(1, "done");
    assert!(read(&scene.dst.join("film")) == read(&file));
    let again = relay.carried() - asleep;
    assert!(again < 60 * MIB as u64, "{again} bytes were sent again");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn many_pages_at_once_take_the_server_no_more_memory_than_one() {
    let scene = Scene::new();
    let (server, browser) = opened(&scene, &[]);
    let files: Vec<_> = (0..6).map(|n| make(&scene.src, format!("film {n}"), 48 * MIB)).collect();
    browser.choose("#files", &files[..1]);
    browser.wait_for(1, "done");
    let of_one = server.process.memory_peak();
    let mut pages = Vec::new();
    for file in &files[1..] {
        pages.push(browser.new_window());
        visit(&browser, &server.url(""));
        browser.choose("#files", std::slice::from_ref(file));
    }
    browser.wait_for(1, "done");
    for page in &pages[1..] {
        browser.switch_to(page);
        browser.wait_for(1, "done");
    }
    for file in &files {
        assert!(read(&scene.dst.join(file.file_name().unwrap())) == read(file));
    }
    let of_many = server.process.memory_peak();
    assert!(of_many < of_one + 32 * MIB as u64, "{of_one} bytes of memory, and {of_many}");
}

/// 64 MiB, or `LANX_BROWSER_MIB`.
#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_large_file_goes_both_ways_and_the_server_stays_small() {
    let mib = std::env::var("LANX_BROWSER_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(64);
    let scene = Scene::new();
    let path = scene.src.join("film");
    let mut file = fs::File::create(&path).unwrap();
    let mut hasher = blake3::Hasher::new();
    for n in 0..mib {
        let block = noise(n as u64, MIB);
        hasher.update(&block);
        file.write_all(&block).unwrap();
    }
    let hash = hasher.finalize().to_string();
    let (server, browser) = opened(&scene, &[]);
    browser.choose("#files", std::slice::from_ref(&path));
    wait_until("it is stored", 10 * PATIENCE, || !browser.text(".upload[data-state=done]").is_empty());
    eprintln!("up: {}", browser.text(".upload .what"));
    assert_eq!(shown_hash(&browser, "film"), hash);
    let peak = server.process.memory_peak();
    assert!(peak < 100 << 20, "{peak} bytes of memory");
    browser.wait("it is listed", "return document.querySelector(\"a[href='./film']\") !== null");
    browser.click("a[href='./film']");
    let back = browser.downloads.join("film");
    let began = std::time::Instant::now();
    wait_until("it is there again", 10 * PATIENCE, || {
        fs::metadata(&back).is_ok_and(|found| found.len() == mib as u64 * MIB as u64)
    });
    eprintln!("down: {mib} MiB in {:?}", began.elapsed());
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(&back).unwrap()).unwrap();
    assert_eq!(hasher.finalize().to_string(), hash);
}
