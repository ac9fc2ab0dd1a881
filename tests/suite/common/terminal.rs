//! The program with a person in front of it: a terminal that shows what it says and in which a test types.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, wait_until};

/// A program on a terminal of its own, which `script` of util-linux makes: a pseudo-terminal that controls the
/// program's session, so that Ctrl-C typed here is a signal there.
pub struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    reader: JoinHandle<()>,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a command on a terminal.
    pub fn run(command: &Command) -> Terminal {
        Terminal::start(command, String::new())
    }

    /// Runs a command on a terminal of this size.
    pub fn run_sized(command: &Command, columns: u16, rows: u16) -> Terminal {
        Terminal::start(command, format!("stty cols {columns} rows {rows}; exec "))
    }

    fn start(command: &Command, before: String) -> Terminal {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line: Vec<String> = words.map(|word| quoted(word.to_str().unwrap())).collect();
        let line = before + &line.join(" ");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        script.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            script.spawn().unwrap_or_else(|e| panic!("these tests need `script` of util-linux: {e}"));
        let keys = child.stdin.take();
        let mut shown = child.stdout.take().unwrap();
        let screen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let all = screen.clone();
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = shown.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        Terminal { child, keys, reader, screen }
    }

    /// All that was ever shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).replace('\r', "")
    }

    /// What a terminal of this size shows now, line by line, and where there is nothing below, no more.
    pub fn shows(&self, columns: u16, rows: u16) -> Vec<String> {
        let mut parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        parser.process(&self.screen.lock().unwrap());
        let screen = parser.screen();
        let mut lines: Vec<String> = screen.rows(0, columns).map(|line| line.trim_end().to_owned()).collect();
        let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        lines.truncate(used);
        lines
    }

    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        self.wait_for_times(words, 1);
    }

    /// Waits until these words were shown so often.
    #[track_caller]
    pub fn wait_for_times(&self, words: &str, times: usize) {
        let started = Instant::now();
        while self.screen().matches(words).count() < times {
            assert!(started.elapsed() < PATIENCE, "{words:?} was never shown, only:\n{}", self.screen());
            // Only how often it looks.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The rest of the line that follows `words`, once it is complete.
    #[track_caller]
    pub fn wait_for_line(&self, words: &str) -> String {
        self.wait_for(words);
        let mut found = None;
        wait_until("the line is complete", PATIENCE, || {
            let screen = without_colours(&self.screen());
            let rest = screen.split_once(words).map(|(_, rest)| rest);
            found = rest.and_then(|rest| rest.split_once('\n')).map(|(line, _)| line.trim().to_owned());
            found.is_some()
        });
        found.unwrap()
    }

    pub fn type_keys(&mut self, keys: &str) {
        let to = self.keys.as_mut().unwrap();
        to.write_all(keys.as_bytes()).and_then(|()| to.flush()).unwrap();
    }

    /// Waits until what is shown on a terminal of this size is as it should be.
    #[track_caller]
    pub fn wait_until_shown(&self, columns: u16, rows: u16, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        let started = Instant::now();
        loop {
            let lines = self.shows(columns, rows);
            if fits(&lines) {
                return lines;
            }
            assert!(started.elapsed() < PATIENCE, "never shown, only:\n{}", lines.join("\n"));
            // Only how often it looks.
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn press_ctrl_c(&mut self) {
        self.type_keys("\x03");
    }

    /// Types Ctrl-S, and waits until the terminal takes nothing more from the program.
    #[track_caller]
    pub fn hold(&mut self) {
        self.type_keys("\x13");
        let script = self.child.id();
        let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        let program = children.split_whitespace().next().expect("script runs the program");
        let terminal = File::options().write(true).open(format!("/proc/{program}/fd/1")).unwrap();
        wait_until("the terminal is held", PATIENCE, || {
            let mut ready = [PollFd::new(&terminal, PollFlags::OUT)];
            poll(&mut ready, Some(&Timespec::default())).unwrap() == 0
        });
    }

    /// Waits until the program ends; its exit code, where a signal did not end it, and all that was shown.
    #[track_caller]
    pub fn finish(mut self) -> (Option<i32>, String) {
        (self.wait(), self.screen())
    }

    /// Waits until the program ends; its exit code, where a signal did not end it.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program on the terminal ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        wait_until("all that was shown has been read", PATIENCE, || self.reader.is_finished());
        status.unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A program that was started where nobody minds a hangup (nohup) does not end by that.
        let id = self.child.id();
        let programs = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for program in programs.split_whitespace().filter_map(|id| id.parse().ok()) {
            let _ = Pid::from_raw(program).map(|program| kill_process(program, Signal::KILL));
        }
        // Hangs up, upon which `script` ends its program.
        drop(self.keys.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same text without what colours it.
pub fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let bare = |part: &str| match part.split_once('m') {
        Some((code, rest)) if code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';') => {
            rest.to_owned()
        }
        _ => format!("\x1b[{part}"),
    };
    first + &parts.map(bare).collect::<String>()
}

/// As one word of a shell's command line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
