//! The page of `lanx serve` for whoever has no mouse, does not see it, sees little, or reads from right to left; and what it looks
//! like in each state. Ignored by default: `make test-browser`.

use std::fs;

use serde_json::json;

use crate::common::*;

const MIB: usize = 1 << 20;

/// A server with a few files, a relay before it, and a browser that is set like this.
fn set(scene: &Scene, options: BrowserOptions) -> (WebServer, WebRelay, Browser) {
    for (name, size) in [("a.txt", 5), ("b.jpg", 70_000)] {
        make(&scene.dst, name, size);
    }
    fs::create_dir(scene.dst.join("folder")).unwrap();
    let server = WebServer::start(scene, &["--put", "--get"], &scene.dst);
    let relay = WebRelay::to(server.addr);
    let browser = Browser::start_with(scene, options);
    visit(&browser, &relay.url(""));
    (server, relay, browser)
}

/// One file in each state at once: sending, paused, failed, done.
fn in_all_states(scene: &Scene, relay: &WebRelay, browser: &Browser) {
    browser.choose("#files", &[make(&scene.src, "a.txt", 6), make(&scene.src, "done.bin", 100_000)]);
    browser.wait_for(1, "failed");
    browser.wait_for(1, "done");
    relay.hold_after(relay.carried() + 4 * MIB as u64);
    browser.choose("#files", &[make(&scene.src, "paused.bin", 30 * MIB)]);
    browser.wait_for(1, "sending");
    browser.click("[data-state=sending] .pause");
    browser.wait_for(1, "paused");
    browser.choose("#files", &[make(&scene.src, "sending.bin", 40 * MIB)]);
    browser.wait_for(1, "sending");
}

/// And such that are hashed and that wait: the page never hears the hash of one, and four are under way.
fn in_each_state(scene: &Scene, relay: &WebRelay, browser: &Browser) {
    browser.run(
        "const post = Worker.prototype.postMessage;\
         Worker.prototype.postMessage = function (job) { if (job.blob.size !== 3100000) post.call(this, job); }",
    );
    let other = [make(&scene.src, "a.txt", 6), make(&scene.src, "harbour.jpg", 3_900_000)];
    browser.choose("#files", &other);
    browser.wait_for(1, "failed");
    browser.wait_for(1, "done");
    browser.choose("#files", &[make(&scene.src, "scan of the contract.pdf", 3_100_000)]);
    browser.wait_for(1, "hashing");
    let some_is_there = |bytes: usize| {
        let script = format!(
            "return Number(document.querySelector('[data-state=sending] progress')?.value) > {bytes}"
        );
        browser.wait("some of it is there", &script);
    };
    relay.hold_after(relay.carried() + 20 * MIB as u64);
    browser.choose("#files", &[make(&scene.src, "talk.webm", 30 * MIB)]);
    some_is_there(0);
    browser.click("[data-state=sending] .pause");
    browser.wait_for(1, "paused");
    relay.hold_after(relay.carried() + 40 * MIB as u64);
    browser.choose("#files", &[make(&scene.src, "wedding.mov", 64 * MIB)]);
    some_is_there(8 * MIB);
    for name in ["concert.mov", "garden.mov", "boat.mov"] {
        browser.choose("#files", &[make(&scene.src, name, 9 * MIB)]);
    }
    browser.wait_for(3, "sending");
    browser.wait_for(1, "waiting");
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn all_of_it_can_be_done_by_keys_in_the_order_in_which_it_stands_there() {
    let scene = Scene::new();
    let (_server, relay, browser) = set(&scene, BrowserOptions::default());
    let script = "const { x, y, width } = document.activeElement.getBoundingClientRect();\
                  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);\
                  return [document.activeElement.textContent, Math.round(y + scrollY), x, width > 0 && outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2]";
    let (mut order, mut at) = (Vec::new(), (0, 0.0));
    for _ in 0..11 {
        browser.press(&TAB.to_string());
        let focus = browser.run(script);
        let (y, x) = (focus[1].as_i64().unwrap(), focus[2].as_f64().unwrap());
        // From above to below, and from left to right in one line.
        assert!(y > at.0 + 8 || x > at.1, "{order:?}, then {focus}");
        assert_eq!(focus[3], true, "nobody sees where the focus is: {focus}");
        (order, at) = ([order, vec![focus[0].as_str().unwrap().to_owned()]].concat(), (y, x));
    }
    let expected = [
        "Choose files",
        "Choose a folder",
        "",
        "Download all (tar)",
        "Name",
        "Size",
        "Modified",
        "folder/",
        "Download (tar)",
        "a.txt",
        "b.jpg",
    ];
    assert_eq!(order, expected);
    // What a person does with a file that is sent: the focus goes on with its buttons.
    relay.hold_after(relay.carried() + 12 * MIB as u64);
    browser.run("files.addEventListener('click', (event) => { document.title = 'asked for files'; event.preventDefault(); })");
    browser.run("document.getElementById('choose-files').focus()");
    browser.press(&ENTER.to_string());
    browser.wait("the key asks for files", "return document.title === 'asked for files'");
    browser.choose("#files", &[make(&scene.src, "film", 40 * MIB)]);
    browser.wait_for(1, "sending");
    let focus = |wanted: &str| {
        browser.wait(
            &format!("{wanted} has the focus"),
            &format!(
                "return [...document.activeElement.classList, document.activeElement.id].includes('{wanted}')"
            ),
        );
    };
    browser.run("document.getElementById('choose-folder').focus()");
    browser.press(&TAB.to_string());
    focus("stop");
    browser.press(" ");
    browser.wait_for(1, "paused");
    focus("start");
    browser.press(&TAB.to_string());
    focus("go");
    browser.press(&ENTER.to_string());
    browser.wait_for(1, "sending");
    focus("pause");
    browser.press(&format!("{TAB} "));
    browser.wait_for(1, "cancelled");
    focus("retry");
    browser.press(&format!("{TAB} "));
    browser
        .wait("it is not in the queue any more", "return document.querySelectorAll('.upload').length === 0");
    focus("choose-files");
    relay.release();
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn whoever_does_not_see_it_hears_what_each_thing_is_and_what_has_happened() {
    let scene = Scene::new();
    let (_server, relay, browser) = set(&scene, BrowserOptions::default());
    browser.run(
        "window.said = []; new MutationObserver(() => said.push(say.textContent)).observe(say, { childList: true })",
    );
    in_all_states(&scene, &relay, &browser);
    let visible = "button, a, input, progress, [role], section, table, h1";
    let script = format!(
        "document.querySelectorAll('{visible}').forEach((element) => {{ element.dataset.tested = element.checkVisibility() ? 1 : 0 }})"
    );
    browser.run(&script);
    let labels = browser.labels(":is(button, a, input, progress, section)[data-tested='1']");
    assert!(labels.len() > 20 && labels.iter().all(|label| !label.is_empty()), "{labels:?}");
    for label in [
        "Choose files",
        "Search",
        "Pause: sending.bin",
        "Resume: paused.bin",
        "Rename…: a.txt",
        "Hide: done.bin",
        "sending.bin",
        "All files",
        "Download (tar): folder",
    ] {
        assert!(labels.iter().any(|own| own == label), "{label} is not in {labels:?}");
    }
    // One line says it, and not at every step.
    assert_eq!(browser.run("return document.querySelectorAll('[aria-live], [role=alert], [role=status], [role=log], output').length"), 1);
    // Before anything goes on: nothing is over twice.
    browser.click("[data-state=paused] .go");
    browser.wait_for(2, "sending");
    relay.release();
    browser.wait_for(3, "done");
    browser.wait("the end is said", "return say.textContent.startsWith('all is over: 3 stored, 1 failed')");
    let said = browser.run("return said");
    let said = said.as_array().unwrap();
    assert!(said.len() <= 6, "{said:?}");
    assert_eq!(browser.run("return document.documentElement.lang"), "en");
}

/// Of each text that is shown, how it stands out from what is behind it (WCAG 2.2, 1.4.3), if by less than 4.5 to 1.
const CONTRAST: &str = "
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parts(getComputedStyle(at).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
      }
      return [255, 255, 255];
    };
    const bad = [], seen = new Set();
    const judge = (element, colour, least, what) => {
      const [a, b] = [luminance(parts(colour)), luminance(behind(element))].sort((a, b) => b - a);
      const ratio = (a + 0.05) / (b + 0.05);
      seen.add(colour);
      if (ratio < least) bad.push([what, colour, ratio.toFixed(2)]);
    };
    for (const element of document.querySelectorAll('body *')) {
      if (!element.checkVisibility()) continue;
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      const style = getComputedStyle(element);
      if (own) judge(element, style.color, 4.5, element.textContent);
      if (element.placeholder) judge(element, getComputedStyle(element, '::placeholder').color, 4.5, 'placeholder');
      if (element.matches('#actions button:not(.main), input')) judge(element.parentElement, style.borderTopColor, 3, 'border');
    }
    return [bad, seen.size, getComputedStyle(document.body).backgroundColor]";

#[test]
#[ignore = "needs chromium: make test-browser"]
fn all_text_stands_out_in_the_light_and_in_the_dark() {
    for dark in [false, true] {
        let scene = Scene::new();
        let (_server, relay, browser) = set(&scene, BrowserOptions { dark, ..BrowserOptions::default() });
        in_each_state(&scene, &relay, &browser);
        let first = browser.run(CONTRAST);
        relay.cut();
        browser.wait_for(3, "lost");
        let found = browser.run(CONTRAST);
        assert_eq!([&first[0], &found[0]], [&json!([]), &json!([])], "dark: {dark}");
        assert!(found[1].as_u64() >= Some(6), "{found}");
        assert_eq!(found[2], if dark { "rgb(21, 23, 26)" } else { "rgb(251, 251, 249)" });
    }
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn nothing_moves_where_that_is_not_wanted() {
    for little_motion in [false, true] {
        let scene = Scene::new();
        let (_server, relay, browser) =
            set(&scene, BrowserOptions { little_motion, ..BrowserOptions::default() });
        in_all_states(&scene, &relay, &browser);
        let script = "return [...document.querySelectorAll('*')].filter((element) => {\
            const { transitionDuration, animationName } = getComputedStyle(element);\
            return animationName !== 'none' || !/^(0s(, )?)+$/.test(transitionDuration) }).map((element) => element.id)";
        let expected = if little_motion { json!([]) } else { json!(["drop"]) };
        assert_eq!(browser.run(script), expected, "little motion: {little_motion}");
        relay.release();
    }
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn what_becomes_of_a_file_moves_nothing_else() {
    for width in [360, 1000] {
        let scene = Scene::new();
        let (_server, relay, browser) = set(&scene, BrowserOptions::default());
        browser.resize(width, 900);
        relay.hold_after(relay.carried() + 30 * MIB as u64);
        let heights =
            || browser.run("return [...document.querySelectorAll('.upload')].map((row) => row.offsetHeight)");
        let below = || browser.run("return document.getElementById('there').offsetTop");
        browser.choose("#files", &[make(&scene.src, "film with a name", 64 * MIB)]);
        browser.wait_for(1, "sending");
        let (height, top) = (heights(), below());
        browser.wait(
            "it says how fast it is",
            "return document.querySelector('.what').textContent.includes('bit/s')",
        );
        assert_eq!((heights(), below()), (height.clone(), top.clone()), "{width}: {}", browser.text(".what"));
        for (button, state) in [(".pause", "paused"), (".cancel", "cancelled"), (".retry", "sending")] {
            browser.click(&format!(".upload {button}"));
            browser.wait_for(1, state);
            assert_eq!((heights(), below()), (height.clone(), top.clone()), "{width}, {state}");
        }
        relay.release();
        browser.wait_for(1, "done");
        assert_eq!((heights(), below()), (height, top), "{width}, done");
    }
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn names_from_right_to_left_turn_nothing_round() {
    let scene = Scene::new();
    let hebrew = "\u{5e9}\u{5dc}\u{5d5}\u{5dd} 2.txt";
    let (_server, relay, browser) = set(&scene, BrowserOptions::default());
    browser.choose("#files", &[make(&scene.src, "a\u{202e}gnp.exe", 5)]);
    browser.wait_for(1, "done");
    relay.hold_after(relay.carried() + 10 * MIB as u64);
    browser.choose("#files", &[make(&scene.src, hebrew, 30 * MIB)]);
    browser.wait_for(1, "sending");
    // Each name is for itself, and what would turn round the rest is told by its number.
    let script = "return [...document.querySelectorAll('.upload .name, #list td:first-child bdi')].map((name) => [name.textContent, getComputedStyle(name).unicodeBidi])";
    browser.wait("it is listed", "return document.querySelectorAll('#list tbody tr').length === 4");
    let names = browser.run(script);
    assert!(names.as_array().unwrap().iter().all(|name| name[1] == "isolate"), "{names}");
    for name in [hebrew, "a\\u{202e}gnp.exe"] {
        assert!(names.to_string().contains(&json!(name).to_string()), "{name}: {names}");
    }
    let mirrored = browser.run("return document.body.innerHTML").as_str().unwrap().contains('\u{202e}');
    assert!(!mirrored);
    // The buttons stand behind the name, as with every other one.
    let is_behind = "const [name, buttons] = document.querySelector('.upload[data-state=sending]').children;\
                     return name.getBoundingClientRect().left < buttons.getBoundingClientRect().left";
    browser.resize(1000, 900);
    assert_eq!(browser.run(is_behind), true);
    browser.reload();
    browser.wait("the page is ready", "return document.documentElement.dataset.ready === '1'");
    assert!(browser.text("#note").contains(&format!(": {hebrew}. Choose")), "{}", browser.text("#note"));
    assert_eq!(browser.run("return document.querySelector('#note bdi').textContent"), hebrew);
    relay.release();
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn whoever_waits_for_a_place_is_told_why_and_until_when() {
    let scene = Scene::new();
    let (server, browser) = opened(&scene, &[]);
    let others = queued(&scene, &server, &browser);
    let words = "Waiting · 9.4 MB · the server takes 56 files just now, this one is next";
    browser.wait(
        "it says why",
        &format!("return document.querySelector('.what').textContent === {}", json!(words)),
    );
    unqueue(&server, &others);
    browser.wait_for(1, "done");
}

/// What the page looks like in each state, at three widths, in the light and in the dark: `make page-pictures`.
#[test]
#[ignore = "writes pictures: make page-pictures"]
fn pictures_of_each_state() {
    let Some(folder) = std::env::var_os("LANX_PICTURES") else { return };
    let folder = std::path::PathBuf::from(folder);
    fs::create_dir_all(&folder).unwrap();
    for dark in [false, true] {
        let scene = Scene::new();
        let (_server, relay, browser) = set(&scene, BrowserOptions { dark, ..BrowserOptions::default() });
        let take = |state: &str| {
            for width in [360, 800, 1600] {
                // As high as the page is; a frame around it counts as well.
                browser.resize(width, 400);
                let high = browser.run("return document.body.scrollHeight + outerHeight - innerHeight + 32");
                browser.resize(width, u32::try_from(high.as_u64().unwrap()).unwrap().max(600));
                browser.run_async("requestAnimationFrame(() => requestAnimationFrame(done))");
                let name = format!("{state}-{width}{}.png", if dark { "-dark" } else { "" });
                fs::write(folder.join(name), browser.picture()).unwrap();
            }
        };
        take("empty");
        in_each_state(&scene, &relay, &browser);
        take("all");
        relay.cut();
        browser.wait_for(3, "lost");
        take("interrupted");
        relay.mend();
        relay.release();
        browser.click("[data-state=paused] .go");
        browser.click("[data-state=hashing] .cancel");
        browser.wait_for(6, "done");
        browser.wait("all are listed", "return document.querySelectorAll('#list tbody tr').length === 9");
        take("done");
    }
}
