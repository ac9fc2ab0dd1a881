//! `lanx recv` in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Captured, PATIENCE, Process, Scene, wait_until};

/// A running receiver. It is killed when this is dropped.
pub struct Receiver {
    pub process: Process,
    /// Where it listens, as it says itself.
    pub addr: SocketAddr,
}

impl Receiver {
    pub fn start(scene: &Scene, listen: &str, flags: &[&str], dir: &Path) -> Receiver {
        Receiver::start_as(scene.lanx(), listen, flags, dir)
    }

    /// Starts it by a command that takes the program's arguments, and waits until it listens. It is not announced, wherever
    /// it listens: the network of whoever runs the tests is not to hear of them.
    pub fn start_as(command: Command, listen: &str, flags: &[&str], dir: &Path) -> Receiver {
        Receiver::start_announced(command, listen, &[flags, &["--no-announce"]].concat(), dir)
    }

    /// The same, announced on the networks that it listens on.
    pub fn start_announced(mut command: Command, listen: &str, flags: &[&str], dir: &Path) -> Receiver {
        command.args(["recv", "--listen", listen]).args(flags).arg(dir);
        let mut process = Process::spawn(command);
        let mut addr = None;
        wait_until("the receiver listens", PATIENCE, || {
            addr = listening_on(&process.stdout.text());
            addr.is_some() || !process.is_running()
        });
        let addr = addr.or_else(|| listening_on(&process.stdout.text()));
        let addr = addr.unwrap_or_else(|| panic!("a receiver did not start: {}", process.story()));
        Receiver { process, addr }
    }

    /// Starts `lanx recv -` with `stdout` as its standard output.
    pub fn to_output(scene: &Scene, flags: &[&str], stdout: impl Into<Stdio>) -> Receiver {
        let mut command = scene.lanx();
        command.args(["recv", "-", "--no-announce", "--listen", "127.0.0.1:0"]).args(flags);
        let mut process = Process::spawn_between(command, Stdio::null(), stdout);
        wait_until("the receiver listens", PATIENCE, || {
            listening_on(&process.stderr.text()).is_some() || !process.is_running()
        });
        let addr = listening_on(&process.stderr.text());
        let addr = addr.unwrap_or_else(|| panic!("a receiver did not start: {}", process.story()));
        Receiver { process, addr }
    }

    /// Waits until its standard error holds `words`.
    #[track_caller]
    pub fn wait_for_stderr(&self, words: &str) {
        self.wait_for(words, &self.process.stderr);
    }

    /// Waits until its standard output holds `words`.
    #[track_caller]
    pub fn wait_for_stdout(&self, words: &str) {
        self.wait_for(words, &self.process.stdout);
    }

    #[track_caller]
    fn wait_for(&self, words: &str, stream: &Captured) {
        let started = Instant::now();
        while !stream.text().contains(words) {
            assert!(started.elapsed() < PATIENCE, "it never said {words:?}: {}", self.process.story());
            // Only how often it looks.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The address in the line `listening on ADDR`, or in the event, once that line is complete.
pub fn listening_on(stdout: &str) -> Option<SocketAddr> {
    if stdout.starts_with('{') {
        let (line, _) = stdout.split_once('\n')?;
        return super::event(line)["addr"].as_str()?.parse().ok();
    }
    let (_, rest) = stdout.split_once("listening on ")?;
    let (addr, _) = rest.split_once('\n')?;
    addr.trim().parse().ok()
}
