//! Another program that is run: what a sender sends the output of, or a receiver hands files to.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use parking_lot::Mutex;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::said::Said;

/// What only lanx itself is to know of its environment: codes and tokens.
const SECRETS: [&str; 2] = ["LANX_CODE", "LANX_TOKEN"];

/// Why what a program wrote is not to be used, or that it did not do what it was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    NotStarted(Errno),
    Exited(i32),
    Killed(i32),
    /// How it ended nobody knows.
    Lost(Errno),
}

impl Unfit {
    /// What this status says against a program.
    pub fn of(status: ExitStatus) -> Option<Unfit> {
        match (status.code(), status.signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(Unfit::Exited(code)),
            (None, signal) => Some(Unfit::Killed(signal.unwrap_or_default())),
        }
    }

    /// That it could not be started.
    pub fn not_started(error: &io::Error) -> Unfit {
        Unfit::NotStarted(Errno::from_io_error(error).unwrap_or(Errno::INVAL))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NotStarted(Errno::NOENT) => f.write_str("cannot be run: no such program"),
            Unfit::NotStarted(errno) => write!(f, "cannot be run: {}", Said(&io::Error::from(*errno))),
            Unfit::Exited(code) => write!(f, "ended with exit code {code}"),
            Unfit::Killed(signal) => write!(f, "was ended by signal {signal}"),
            Unfit::Lost(errno) => {
                write!(f, "ended, and nobody knows how: {}", Said(&io::Error::from(*errno)))
            }
        }
    }
}

/// `program`, to be run without what only lanx is to know.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for secret in SECRETS {
        command.env_remove(secret);
    }
    command
}

/// A program whose output is read. It ends at the latest when it is told to.
#[derive(Default)]
pub struct Program(Mutex<Option<Running>>);

struct Running {
    child: Child,
    /// It leads a group of its own, with all that it starts.
    has_group: bool,
}

impl Running {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // One that has ended by itself is nobody to tell.
        let _ = if self.has_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

impl Program {
    /// Starts it: the program and its arguments, by no shell. Returns its standard output; the others are
    /// ours.
    ///
    /// # Errors
    /// [`Unfit::NotStarted`].
    pub fn start(&self, line: &[OsString]) -> Result<OwnedFd, Unfit> {
        let (program, arguments) = line.split_first().ok_or(Unfit::NotStarted(Errno::NOENT))?;
        let mut command = command(program);
        command.args(arguments).stdout(Stdio::piped());
        // One that may ask something at the terminal has to stay in the terminal's group; Ctrl-C reaches it
        // there.
        let has_group = !io::stdin().is_terminal();
        if has_group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|error| Unfit::not_started(&error))?;
        let output = child.stdout.take().ok_or(Unfit::NotStarted(Errno::PIPE))?;
        *self.0.lock() = Some(Running { child, has_group });
        Ok(output.into())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Unfit`] where that is not a good one.
    pub fn wait(&self) -> Result<(), Unfit> {
        let Some(pid) = self.0.lock().as_ref().map(|running| Pid::from_child(&running.child)) else {
            return Ok(());
        };
        // Not under the lock, and it stays there to be told to end: its number is nobody else's until it is
        // waited for below.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(pid), options)).map_err(Unfit::Lost)?;
        let Some(mut running) = self.0.lock().take() else { return Ok(()) };
        let status = running
            .child
            .wait()
            .map_err(|error| Unfit::Lost(Errno::from_io_error(&error).unwrap_or(Errno::CHILD)))?;
        Unfit::of(status).map_or(Ok(()), Err)
    }

    /// Tells it to end, if it runs.
    pub fn end(&self) {
        if let Some(running) = &*self.0.lock() {
            running.signal(Signal::TERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn run(line: &[&str]) -> (Result<(), Unfit>, String) {
        let program = Program::default();
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let output = match program.start(&line) {
            Ok(output) => output,
            Err(unfit) => return (Err(unfit), String::new()),
        };
        let mut said = String::new();
        std::fs::File::from(output).read_to_string(&mut said).unwrap();
        (program.wait(), said)
    }

    #[test]
    fn how_a_program_ended_is_told_and_no_shell_reads_its_arguments() {
        assert_eq!(run(&["echo", "a;b $HOME"]), (Ok(()), "a;b $HOME\n".into()));
        assert_eq!(run(&["sh", "-c", "echo half; exit 3"]), (Err(Unfit::Exited(3)), "half\n".into()));
        assert_eq!(run(&["sh", "-c", "kill -9 $$"]).0, Err(Unfit::Killed(9)));
        assert_eq!(run(&["/nonexistent"]).0, Err(Unfit::NotStarted(Errno::NOENT)));
        assert_eq!(run(&[]).0, Err(Unfit::NotStarted(Errno::NOENT)));
    }

    #[test]
    fn one_that_never_ends_ends_when_it_is_told_to() {
        let program = Program::default();
        let _output = program.start(&["sleep".into(), "1000".into()]).unwrap();
        program.end();
        assert_eq!(program.wait(), Err(Unfit::Killed(Signal::TERM.as_raw())));
        program.end();
    }
}
