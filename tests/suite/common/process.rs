//! A process of the program under test, with what it says and a bound on how long it may take.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What a stream has said so far.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn follow(mut stream: impl Read + Send + 'static) -> (Captured, JoinHandle<()>) {
        let captured = Captured::default();
        let all = captured.clone();
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut some) {
                all.0.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        (captured, reader)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// A running process. It is killed when this is dropped.
pub struct Process {
    command: String,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Process {
    pub fn spawn(command: Command) -> Process {
        Process::spawn_fed(command, Stdio::null())
    }

    /// The same with something to read.
    pub fn spawn_fed(mut command: Command, stdin: impl Into<Stdio>) -> Process {
        let shown = format!("{command:?}");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        let (stdout, out) = Captured::follow(child.stdout.take().unwrap());
        let (stderr, err) = Captured::follow(child.stderr.take().unwrap());
        Process { command: shown, child, readers: vec![out, err], stdout, stderr }
    }

    /// The same between ends that the test holds: what it writes to `stdout` is not followed.
    pub fn spawn_between(mut command: Command, stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Process {
        let shown = format!("{command:?}");
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        let (stderr, err) = Captured::follow(child.stderr.take().unwrap());
        Process { command: shown, child, readers: vec![err], stdout: Captured::default(), stderr }
    }

    /// The same with both of its outputs in the test's hands.
    pub fn spawn_onto(mut command: Command, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Process {
        let shown = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        let (stdout, stderr) = (Captured::default(), Captured::default());
        Process { command: shown, child, readers: Vec::new(), stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot send {signal:?}: {e}"));
    }

    /// The most memory that it has used so far, in bytes (`VmHWM` of proc(5)).
    /// 0 once it has ended.
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:") << 10
    }

    /// The memory that it uses now, in bytes (`VmRSS`). 0 once it has ended.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") << 10
    }

    /// Of that, what are pages of files, above all of the program (`RssFile`).
    pub fn memory_of_files(&self) -> u64 {
        self.status("RssFile:") << 10
    }

    fn status(&self, what: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix(what)?.trim().strip_suffix(" kB"));
        kib.map_or(0, |kib| kib.parse().unwrap())
    }

    /// Bytes that it has read so far, of whatever (`rchar` of proc(5)).
    pub fn bytes_read(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it was, and all it has said: for the message of a failed test.
    pub fn story(&self) -> String {
        format!("{}\nstdout: {}\nstderr: {}", self.command, self.stdout.text(), self.stderr.text())
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it has not within `deadline`; it is killed then.
    pub fn finish(mut self, deadline: Duration) -> Output {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < deadline, "hung for {deadline:?}: {}", self.story());
            // Only how often it looks.
            thread::sleep(Duration::from_millis(2));
        };
        // The pipes end with the process, and only then is all of its output here.
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Output {
            command: self.command.clone(),
            code: status.code(),
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    fn story(&self) -> String {
        let command: String = self.command.chars().take(500).collect();
        let (out, err) = (shortened(&self.out()), shortened(&self.err()));
        format!("{command}\nexit code {:?}\nstdout: {out}\nstderr: {err}", self.code)
    }

    /// Demands this exit code, and output that a terminal shows as it is.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Output {
        assert_eq!(self.code, Some(code), "wrong exit code from {}", self.story());
        assert_harmless(&self.stdout, &self.command);
        assert_harmless(&self.stderr, &self.command);
        self
    }

    /// Demands a success about which stderr says nothing.
    #[track_caller]
    pub fn expect_success(&self) -> &Output {
        self.expect_code(0);
        assert!(self.stderr.is_empty(), "a success that complains: {}", self.story());
        self
    }

    /// Demands this exit code and one or two lines on stderr that hold each of `words`.
    #[track_caller]
    pub fn expect_complaint(&self, code: i32, words: &[&str]) -> &Output {
        self.expect_code(code);
        let text = self.err();
        assert!((1..=2).contains(&text.lines().count()), "not one or two lines: {}", self.story());
        for word in words {
            assert!(text.contains(word), "does not say {word:?}: {}", self.story());
        }
        self
    }

    /// Demands that stdout holds each of `words`.
    #[track_caller]
    pub fn expect_out(&self, words: &[&str]) -> &Output {
        for word in words {
            assert!(self.out().contains(word), "stdout does not say {word:?}: {}", self.story());
        }
        self
    }
}

/// The first lines of an output, as a failed test shows them.
fn shortened(text: &str) -> String {
    let more = if text.lines().count() > 12 { "\n..." } else { "" };
    text.lines().take(12).collect::<Vec<_>>().join("\n") + more
}

/// Demands that printing `output` cannot do anything to a terminal but show text: no control characters but the
/// newline, none that turn the direction of writing or hide, and nothing that is not UTF-8.
#[track_caller]
pub fn assert_harmless(output: &[u8], whose: &str) {
    let text = std::str::from_utf8(output).unwrap_or_else(|e| panic!("{whose} printed no UTF-8: {e}"));
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(c) = text.chars().find(|c| harmful(*c)) {
        panic!("{whose} printed {c:?} raw: {text:?}");
    }
}
