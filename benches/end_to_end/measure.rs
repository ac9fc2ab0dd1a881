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
use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::contestants::{Contestant, Host};
use crate::site::Site;

/// How long a server may take to listen, and what it leaves behind to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a command has ended. It notes by itself when that was.
const LOOK: Duration = Duration::from_millis(20);

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

/// Runs `command` in a shell and writes what it took to the file `report`. Stops it when our standard input
/// ends.
pub fn child(args: &[String]) {
    let [report, command] = args else { panic!("--measure REPORT COMMAND") };
    // Ctrl-C is for the command too, and what it took is told all the same.
    on_stop_signals(&Arc::default());
    inherit_orphans();
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
    wait_for_orphans();
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

/// A server that is stopped may leave the process behind that served the client, as sshd does. What that took
/// is counted once somebody waits for it: we.
fn inherit_orphans() {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("allowed to everybody");
}

fn wait_for_orphans() {
    let deadline = Instant::now() + PATIENCE;
    // The error is that there are none.
    while rustix::process::wait(WaitOptions::NOHANG).is_ok() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Has the flag set by Ctrl-C and SIGTERM, instead of ending this process. What it starts is not touched by
/// that.
pub fn on_stop_signals(flag: &Arc<AtomicBool>) {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, flag.clone()).expect("the signal can be handled");
    }
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

/// Runs the program once, and stops it when the flag is set.
///
/// # Errors
/// Why it did not do what it should.
pub fn run(site: &Site, contestant: &Contestant, stopped: &AtomicBool) -> Result<Run, String> {
    contestant.prepare(site);
    let server = contestant.server_command(site).map(|command| start(site, "server", &command));
    if server.is_some() {
        wait_for_port(site.port, contestant.server_host(), stopped)?;
    }
    // The destination, and what the sockets and the page cache take.
    let warmed = Command::new(std::env::current_exe().unwrap())
        .args(["--warm", &(site.bytes / (1 << 20) + 512).to_string()])
        .status();
    if !warmed.unwrap().success() {
        return Err("there is no memory for it".into());
    }
    let client = end(start(site, "client", &contestant.client_command(site)), site, "client", stopped);
    // Of a client that failed a server may wait for the rest for ever.
    let stop_it = AtomicBool::new(true);
    let stopped = if contestant.server_ends && client.succeeded { stopped } else { &stop_it };
    let server = server.map(|server| end(server, site, "server", stopped));
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

/// Waits for the end of a command; stops it when the flag is set.
fn end(mut child: Child, site: &Site, role: &str, stopped: &AtomicBool) -> Taken {
    let report = site.path(role);
    let mut stdin = child.stdin.take();
    let status = loop {
        if stopped.load(Ordering::Relaxed) {
            stdin = None;
        }
        match (&stdin, child.try_wait().unwrap()) {
            (_, Some(status)) => break status,
            (None, None) => break child.wait().unwrap(),
            (Some(_), None) => thread::sleep(LOOK),
        }
    };
    assert!(status.success());
    let taken = read(&report);
    fs::remove_file(report).unwrap();
    taken
}

fn read(report: &Path) -> Taken {
    serde_json::from_slice(&fs::read(report).unwrap()).unwrap()
}

/// Waits until somebody listens, or with UDP can be sent to. To connect would be enough for some servers to
/// end.
fn wait_for_port(port: u16, host: Host, stopped: &AtomicBool) -> Result<(), String> {
    let files = "/proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6";
    let look = format!("{} cat {files} 2>/dev/null", host.runner());
    // The local address ends in the port; 0A is LISTEN, and 07 a UDP socket that is open to all
    // (Documentation/networking/proc_net_tcp.rst of Linux).
    let wanted = format!(":{port:04X}");
    let listens = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&wanted))
            && matches!(fields.nth(1), Some("0A" | "07"))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = Command::new("sh").arg("-c").arg(&look).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).lines().any(listens) {
            return Ok(());
        }
        if Instant::now() > deadline || stopped.load(Ordering::Relaxed) {
            return Err("its server does not listen".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
