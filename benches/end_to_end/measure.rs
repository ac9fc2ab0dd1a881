//! Running a command and noting what it took.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::contestants::Contestant;
use crate::site::Site;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command took, with all the processes that it started.
#[derive(Serialize, Deserialize, Clone, Copy, Default)]
struct Taken {
    /// Nanoseconds since 1970.
    began: u128,
    ended: u128,
    cpu_seconds: f64,
    /// Of its largest process.
    peak_mib: f64,
    succeeded: bool,
}

/// One run of one program.
#[derive(Clone, Copy)]
pub struct Run {
    pub seconds: f64,
    /// Of both ends.
    pub cpu_seconds: f64,
    pub sender_mib: f64,
    pub receiver_mib: f64,
}

/// Runs `command` in a shell and writes what it took to the file `report`. Stops it when our standard input ends.
pub fn child(args: &[String]) {
    let [report, command] = args else { panic!("--measure REPORT COMMAND") };
    let began = now();
    let mut child = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).spawn().expect("sh runs");
    let pid = rustix::process::Pid::from_child(&child);
    let stopped = Arc::new(AtomicBool::new(false));
    let stops = stopped.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stops.store(true, Ordering::Relaxed);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    });
    let status = child.wait().expect("it ends");
    let ended = now();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let taken = Taken {
        began,
        ended,
        cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak_mib: usage.max_rss() as f64 / 1024.0,
        // A server that was stopped did what it should.
        succeeded: status.success() || stopped.load(Ordering::Relaxed),
    };
    fs::write(report, serde_json::to_vec(&taken).expect("JSON")).expect("written");
}

fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos()
}

/// Touches so many MiB of memory and gives them back.
pub fn warm(mib: usize) {
    let mut memory = vec![0_u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// Runs the program once.
///
/// # Errors
/// Why it did not do what it should.
pub fn run(site: &Site, contestant: &Contestant) -> Result<Run, String> {
    contestant.prepare(site);
    let server = contestant.server(site).map(|command| start(site, "server", &command));
    if server.is_some() {
        wait_for_port(site.port, if contestant.sends { "BENCH_RECEIVER" } else { "BENCH_SENDER" })?;
    }
    // The destination, and what the sockets and the page cache take.
    let warmed = Command::new(std::env::current_exe().unwrap())
        .args(["--warm", &(site.bytes / (1 << 20) + 512).to_string()])
        .status();
    assert!(warmed.unwrap().success(), "there is memory for this");
    let client = end(start(site, "client", &contestant.client(site)), site, "client", true);
    let server = server.map(|server| end(server, site, "server", contestant.server_ends));
    if !client.succeeded || server.is_some_and(|server| !server.succeeded) {
        return Err("it failed".into());
    }
    let ended = server
        .filter(|_| contestant.server_ends)
        .map_or(client.ended, |server| server.ended.max(client.ended));
    let server = server.unwrap_or_default();
    let (sender, receiver) = if contestant.sends { (client, server) } else { (server, client) };
    Ok(Run {
        seconds: (ended - client.began) as f64 / 1e9,
        cpu_seconds: client.cpu_seconds + server.cpu_seconds,
        sender_mib: sender.peak_mib,
        receiver_mib: receiver.peak_mib,
    })
}

fn start(site: &Site, role: &str, command: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("--measure")
        .arg(site.path(role))
        .arg(command)
        .env("LANX_CONFIG_DIR", site.path("lanx"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for the end of a command; stops it where it does not end `by_itself`.
fn end(mut child: Child, site: &Site, role: &str, by_itself: bool) -> Taken {
    let report = site.path(role);
    let stdin = child.stdin.take();
    if !by_itself {
        drop(stdin);
    }
    assert!(child.wait().unwrap().success());
    let taken = read(&report);
    fs::remove_file(report).unwrap();
    taken
}

fn read(report: &Path) -> Taken {
    serde_json::from_slice(&fs::read(report).unwrap()).unwrap()
}

/// Waits until somebody listens. To connect would be enough for some servers to end.
fn wait_for_port(port: u16, runner: &str) -> Result<(), String> {
    let runner = std::env::var(runner).unwrap_or_default();
    // The local address ends in the port; 0A is LISTEN (Documentation/networking/proc_net_tcp.rst of Linux).
    let wanted = format!(":{port:04X} ");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{runner} cat /proc/net/tcp /proc/net/tcp6 2>/dev/null"))
            .output()
            .unwrap();
        let listens = |line: &str| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1).map(|local| format!("{local} "));
            local.is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
        };
        if String::from_utf8_lossy(&output.stdout).lines().any(listens) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("its server does not listen".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
