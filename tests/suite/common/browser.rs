//! A real browser: Debian's chromium, asked by way of its chromedriver (W3C WebDriver, which is JSON over HTTP). Not by the DevTools
//! protocol, whose view of the network would slow down what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, PATIENCE, Process, Scene, TOKEN, WebServer, make, wait_until};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no character of their own (W3C WebDriver, section 17.4.2).
pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';

/// A browser with one window at first. It ends when this is dropped.
pub struct Browser {
    driver: Process,
    addr: SocketAddr,
    session: String,
    /// Where it puts what it gets.
    pub downloads: PathBuf,
}

/// How it is started.
#[derive(Clone, Copy, Default)]
pub struct BrowserOptions {
    pub without_scripts: bool,
    /// What its user has set for all pages.
    pub dark: bool,
    pub little_motion: bool,
}

impl Browser {
    pub fn start(scene: &Scene) -> Browser {
        Browser::start_with(scene, BrowserOptions::default())
    }

    /// # Panics
    /// Where chromium and its driver are not installed.
    pub fn start_with(scene: &Scene, options: BrowserOptions) -> Browser {
        let downloads = scene.path("downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        let start = || {
            let mut command = Command::new("chromedriver");
            command.arg("--port=0");
            scene.isolate(&mut command);
            Process::spawn(command)
        };
        let mut driver = start();
        let mut port = None;
        wait_until("chromedriver listens (apt-get install chromium chromium-driver)", PATIENCE, || {
            // It takes a port that is free, and ends where another program was faster.
            if !driver.is_running() {
                driver = start();
            }
            let said = driver.stdout.text();
            port = said
                .split("started successfully on port ")
                .nth(1)
                .and_then(|rest| rest.split('.').next()?.parse().ok());
            port.is_some()
        });
        let addr = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
        let profile =
            tempfile::Builder::new().prefix("profile-").tempdir_in(scene.path("home")).unwrap().keep();
        let scripts = if options.without_scripts { 2 } else { 1 };
        let flag = |is_set: bool, flag: &'static str| is_set.then(|| flag.to_owned());
        let own = flag(options.dark, "--blink-settings=preferredColorScheme=0").into_iter();
        let own = own.chain(flag(options.little_motion, "--force-prefers-reduced-motion"));
        let usual = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
        ];
        let usual = usual.into_iter().map(str::to_owned);
        let args: Vec<String> =
            usual.chain([format!("--user-data-dir={}", profile.display())]).chain(own).collect();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "unhandledPromptBehavior": { "default": "accept", "beforeUnload": "accept" },
            "goog:chromeOptions": {
                "args": args,
                "prefs": {
                    "download.default_directory": downloads, "download.prompt_for_download": false,
                    "profile.managed_default_content_settings.javascript": scripts,
                    "profile.default_content_setting_values.automatic_downloads": 1,
                },
            },
        } } });
        let mut browser = Browser { driver, addr, session: String::new(), downloads };
        let made = browser.call("POST", "/session", &capabilities);
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    /// One command, and its value.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_call(method, path, body);
        assert!(answer.get("error").is_none(), "{method} {path}: {}\n{}", answer, self.driver.story());
        answer
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        // It leaves the connection open, whatever it was asked.
        let (mut bytes, mut some) = (Vec::new(), vec![0; 64 * 1024]);
        let answer = loop {
            let came = stream.read(&mut some).unwrap_or_default();
            bytes.extend_from_slice(&some[..came]);
            let answer = Answer::read(&bytes).filter(|answer| {
                answer
                    .field("content-length")
                    .parse::<usize>()
                    .is_ok_and(|length| answer.body.len() >= length)
            });
            match answer {
                Some(answer) => break answer,
                None => assert!(came > 0, "no answer to {method} {path}"),
            }
        };
        answer.json()["value"].clone()
    }

    fn ask(&self, method: &str, command: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{command}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.ask("POST", "url", &json!({ "url": url }));
    }

    pub fn reload(&self) {
        self.ask("POST", "refresh", &json!({}));
    }

    pub fn url(&self) -> String {
        self.ask("GET", "url", &Value::Null).as_str().unwrap().to_owned()
    }

    pub fn source(&self) -> String {
        self.ask("GET", "source", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Runs a script in the page, and has what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that calls `done` when it is done.
    pub fn run_async(&self, script: &str) {
        let script = format!("const done = arguments[0]; {script}");
        self.ask("POST", "execute/async", &json!({ "script": script, "args": [] }));
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("POST", "element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks, once more where the page has drawn it anew meanwhile.
    pub fn click(&self, selector: &str) {
        wait_until("it can be clicked", PATIENCE, || {
            let path = format!("/session/{}/element/{}/click", self.session, self.element(selector));
            let answer = self.try_call("POST", &path, &json!({}));
            let error = answer["error"].as_str();
            assert!(matches!(error, None | Some("stale element reference")), "{selector}: {answer}");
            error.is_none()
        });
    }

    /// Types into an element; into one for files it is paths, each on a line.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses these keys one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let strokes = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key })));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>() });
        self.ask("POST", "actions", &json!({ "actions": [keyboard] }));
    }

    /// What somebody who does not see the page is told each of these elements is called.
    pub fn labels(&self, selector: &str) -> Vec<String> {
        let found = self.ask("POST", "elements", &json!({ "using": "css selector", "value": selector }));
        let found =
            found.as_array().unwrap().iter().map(|element| element[ELEMENT].as_str().unwrap().to_owned());
        let label =
            |element: String| self.ask("GET", &format!("element/{element}/computedlabel"), &Value::Null);
        found.map(|element| label(element).as_str().unwrap().to_owned()).collect()
    }

    /// Chooses files as a person does.
    pub fn choose<P: AsRef<Path>>(&self, selector: &str, paths: &[P]) {
        let paths: Vec<_> = paths.iter().map(|path| path.as_ref().to_str().unwrap()).collect();
        self.type_into(selector, &paths.join("\n"));
    }

    /// Drops files and folders on an element. WebDriver has no word for it but the browser's own.
    pub fn drop_on<P: AsRef<Path>>(&self, selector: &str, paths: &[P]) {
        let script = format!(
            "const {{ x, y, width, height }} = document.querySelector({}).getBoundingClientRect(); return [x + width / 2, y + height / 2]",
            json!(selector)
        );
        let at = self.run(&script);
        let paths: Vec<_> = paths.iter().map(|path| path.as_ref().to_str().unwrap()).collect();
        let data = json!({ "items": [], "files": paths, "dragOperationsMask": 1 });
        for kind in ["dragEnter", "dragOver", "drop"] {
            let params = json!({ "type": kind, "x": at[0], "y": at[1], "data": data });
            let command = json!({ "cmd": "Input.dispatchDragEvent", "params": params });
            self.ask("POST", "goog/cdp/execute", &command);
        }
    }

    /// Opens a further window, and goes on in it. Returns the one before, for [`Browser::switch_to`].
    pub fn new_window(&self) -> String {
        let before = self.ask("GET", "window", &Value::Null).as_str().unwrap().to_owned();
        let made = self.ask("POST", "window/new", &json!({ "type": "tab" }));
        self.switch_to(made["handle"].as_str().unwrap());
        before
    }

    pub fn switch_to(&self, window: &str) {
        self.ask("POST", "window", &json!({ "handle": window }));
    }

    /// What becomes of a page that nobody sees: `frozen`, and `active` again. WebDriver has no word for it but the browser's own.
    pub fn set_life(&self, state: &str) {
        let command = json!({ "cmd": "Page.setWebLifecycleState", "params": { "state": state } });
        self.ask("POST", "goog/cdp/execute", &command);
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.ask("POST", "window/rect", &json!({ "width": width, "height": height }));
    }

    /// What the window shows, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        STANDARD.decode(self.ask("GET", "screenshot", &Value::Null).as_str().unwrap()).unwrap()
    }

    /// What the page says of all files.
    pub fn sum(&self) -> String {
        self.text("#sum")
    }

    /// The text of the first element, empty where there is none.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.textContent ?? ''", json!(selector));
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a script returns true.
    pub fn wait(&self, what: &str, script: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.run(script) != Value::Bool(true) {
            assert!(
                std::time::Instant::now() < deadline,
                "waited in vain until {what}; the page says: {}",
                self.run("return document.body.innerText")
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until so many files have come to this end: `done`, `failed` and the like.
    pub fn wait_for(&self, files: usize, state: &str) {
        let script =
            format!("return document.querySelectorAll('.upload[data-state={state}]').length === {files}");
        self.wait(&format!("{files} of the files are {state}"), &script);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It ends the browser, which would otherwise outlive its driver.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.try_call("DELETE", &format!("/session/{}", self.session), &Value::Null)
            }));
        }
    }
}

/// A server into and from `dst`, and a browser that has its page open.
pub fn opened(scene: &Scene, flags: &[&str]) -> (WebServer, Browser) {
    let server = WebServer::start(scene, &[&["--put", "--get"], flags].concat(), &scene.dst);
    let browser = Browser::start(scene);
    visit(&browser, &server.url(""));
    (server, browser)
}

/// Opens the page by its link.
pub fn visit(browser: &Browser, url: &str) {
    browser.open(&format!("{url}/?t={TOKEN}"));
    browser.wait("the page is ready", "return document.documentElement.dataset.ready === '1'");
}

/// A page of a server behind a relay.
pub fn behind_relay(scene: &Scene, flags: &[&str]) -> (WebServer, WebRelay, Browser) {
    let server = WebServer::start(scene, &[&["--put", "--get"], flags].concat(), &scene.dst);
    let relay = WebRelay::to(server.addr);
    let browser = Browser::start(scene);
    visit(&browser, &relay.url(""));
    (server, relay, browser)
}

/// A file of 64 MiB of which the browser has sent so much that the rest is held back.
pub fn half_sent(scene: &Scene, relay: &WebRelay, browser: &Browser) -> std::path::PathBuf {
    let file = make(&scene.src, "film", 64 << 20);
    relay.hold_after(40 << 20);
    browser.choose("#files", std::slice::from_ref(&file));
    relay.wait_until_carried(40 << 20);
    file
}

/// Takes all places that uploads have here, and has one more wait.
pub fn queued(scene: &Scene, server: &WebServer, browser: &Browser) -> Vec<String> {
    let begin = |n: usize| {
        let head = format!(
            "POST /.lanx/upload/other{n}?size=10 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nConnection: close\r\n\r\n",
            server.addr
        );
        server.ask_raw(head).json()["id"].as_str().unwrap().to_owned()
    };
    let others = (0..56).map(begin).collect();
    browser.choose("#files", &[make(&scene.src, "film", 9 << 20)]);
    others
}

/// Gives these places back.
pub fn unqueue(server: &WebServer, others: &[String]) {
    for id in others {
        let head = format!(
            "DELETE /.lanx/pieces/{id} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nLanx: 1\r\nConnection: close\r\n\r\n",
            server.addr
        );
        server.ask_raw(head);
    }
}

/// What stands between the browser and the server, and can be cut, hold bytes back, and turn bits.
pub struct WebRelay {
    pub addr: SocketAddr,
    shared: Arc<RelayState>,
}

struct RelayState {
    target: SocketAddr,
    open: Mutex<Vec<TcpStream>>,
    is_cut: AtomicBool,
    refuses_sockets: AtomicBool,
    mutes_sockets: AtomicBool,
    /// Bytes that went to the server, and how many may.
    carried: AtomicU64,
    allowed: AtomicU64,
    /// The bit of the byte at this place that is turned once.
    flip_at: AtomicU64,
}

impl WebRelay {
    pub fn to(target: SocketAddr) -> WebRelay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(RelayState {
            target,
            open: Mutex::default(),
            is_cut: AtomicBool::new(false),
            refuses_sockets: AtomicBool::new(false),
            mutes_sockets: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            allowed: AtomicU64::new(u64::MAX),
            flip_at: AtomicU64::new(u64::MAX),
        });
        let state = shared.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || state.carry(near));
            }
        });
        WebRelay { addr, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Ends all connections, and takes no more until it is mended.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    /// No WebSocket gets through.
    pub fn refuse_sockets(&self) {
        self.shared.refuses_sockets.store(true, Ordering::SeqCst);
    }

    /// What goes over a WebSocket is lost from now on, also its end.
    pub fn mute_sockets(&self) {
        self.shared.mutes_sockets.store(true, Ordering::SeqCst);
    }

    /// Holds what goes to the server back after so many bytes.
    pub fn hold_after(&self, bytes: u64) {
        self.shared.allowed.store(bytes, Ordering::SeqCst);
    }

    pub fn release(&self) {
        self.shared.allowed.store(u64::MAX, Ordering::SeqCst);
    }

    /// Turns a bit of the byte that goes to the server as the one of this number.
    pub fn flip_at(&self, byte: u64) {
        self.shared.flip_at.store(byte, Ordering::SeqCst);
    }

    /// Bytes that went to the server.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::SeqCst)
    }

    pub fn wait_until_carried(&self, bytes: u64) {
        wait_until("the browser has sent enough", PATIENCE, || self.carried() >= bytes);
    }
}

impl RelayState {
    fn carry(self: &Arc<Self>, mut near: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        let first = match near.read(&mut buffer) {
            Ok(first @ 1..) => first,
            _ => return,
        };
        let is_socket = buffer[..first].starts_with(b"GET /.lanx/talk");
        if self.is_cut.load(Ordering::SeqCst) || is_socket && self.refuses_sockets.load(Ordering::SeqCst) {
            return;
        }
        let target = self.target;
        let Ok(mut far) = TcpStream::connect(target) else { return };
        self.open.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let state = self.clone();
        thread::spawn(move || {
            let is_mute = || is_socket && state.mutes_sockets.load(Ordering::SeqCst);
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(came @ 1..) = back_from.read(&mut buffer) {
                if !is_mute() && back_to.write_all(&buffer[..came]).is_err() {
                    break;
                }
            }
            if !is_mute() {
                let _ = back_to.shutdown(std::net::Shutdown::Both);
            }
        });
        let mut came = first;
        loop {
            let begin = self.carried.fetch_add(came as u64, Ordering::SeqCst);
            // Of pieces alone: what is loaded or said meanwhile is not held.
            let is_free =
                is_socket || [&b"GET "[..], b"POST"].iter().any(|word| buffer[..came].starts_with(word));
            while !is_free
                && begin >= self.allowed.load(Ordering::SeqCst)
                && !self.is_cut.load(Ordering::SeqCst)
            {
                thread::sleep(Duration::from_millis(5));
            }
            let flip = self.flip_at.load(Ordering::SeqCst);
            if (begin..begin + came as u64).contains(&flip) {
                buffer[(flip - begin) as usize] ^= 4;
                self.flip_at.store(u64::MAX, Ordering::SeqCst);
            }
            let is_mute = is_socket && self.mutes_sockets.load(Ordering::SeqCst);
            if !is_mute && far.write_all(&buffer[..came]).is_err() {
                break;
            }
            came = match near.read(&mut buffer) {
                Ok(came @ 1..) => came,
                _ => break,
            };
        }
        let _ = far.shutdown(std::net::Shutdown::Both);
    }
}
