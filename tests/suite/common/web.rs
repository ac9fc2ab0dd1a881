//! `lanx serve` in a process of its own, and requests as bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::{Output, PATIENCE, Process, Scene, listening_on, wait_until};

/// The token of every server in the tests.
pub const TOKEN: &str = "correct-horse";

/// `lanx get` in `dst`, whatever proxies the environment names.
pub fn get_as(scene: &Scene, args: &[&str]) -> Command {
    let mut command = scene.lanx();
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.current_dir(&scene.dst).arg("get").args(args);
    command
}

/// Runs it to its end.
pub fn get(scene: &Scene, args: &[&str]) -> Output {
    Process::spawn(get_as(scene, args)).finish(PATIENCE)
}

/// A running server. It is killed when this is dropped.
pub struct WebServer {
    pub process: Process,
    /// Where it listens, as it says itself.
    pub addr: SocketAddr,
}

impl WebServer {
    /// Serves a path to whoever has [`TOKEN`].
    pub fn start(scene: &Scene, flags: &[&str], path: &Path) -> WebServer {
        let mut command = scene.lanx();
        command.env("LANX_TOKEN", TOKEN).args(["serve", "--listen", "127.0.0.1:0"]).args(flags).arg(path);
        WebServer::start_as(command)
    }

    /// Serves a path to everybody.
    pub fn open(scene: &Scene, flags: &[&str], path: &Path) -> WebServer {
        WebServer::start(scene, &[&["--open"], flags].concat(), path)
    }

    /// Starts it by a whole command line, and waits until it listens.
    pub fn start_as(command: Command) -> WebServer {
        let mut process = Process::spawn(command);
        let mut addr = None;
        wait_until("the server listens", PATIENCE, || {
            addr = listening_on(&process.stdout.text());
            addr.is_some() || !process.is_running()
        });
        let addr = addr.unwrap_or_else(|| panic!("a server did not start: {}", process.story()));
        WebServer { process, addr }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Asks with these fields, beside `Host` and the token.
    pub fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.ask_raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n{fields}\r\n",
            self.addr
        ))
    }

    /// Sends these bytes and reads what comes back, to the end.
    pub fn ask_raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        // Whoever sends too much may find the connection closed behind the answer.
        let _ = stream.write_all(request.as_ref());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::read(&bytes).unwrap_or_else(|| panic!("no answer: {bytes:?}"))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// By their names in small letters.
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> Option<Answer> {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Some(Answer { status, fields, body: bytes[at + 4..].to_vec() })
    }

    /// A field; empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Runs another program to its end. `None` where it is not installed: `.ci/run` installs those that the tests use.
#[allow(clippy::print_stderr, reason = "says what it does not test")]
pub fn run_other(scene: &Scene, program: &str, args: &[&str]) -> Option<Output> {
    let found = Command::new(program).arg("--version").output();
    if found.is_err() {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let mut command = Command::new(program);
    scene.isolate(&mut command);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.args(args);
    Some(Process::spawn(command).finish(PATIENCE))
}
