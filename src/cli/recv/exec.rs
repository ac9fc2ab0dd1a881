//! `recv --exec`: a program of the receiver's own user that is run for what has arrived. It hears of it in a
//! file, so that no name of a sender is ever an argument, and nothing that it does reaches a sender.

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;

use super::metrics::Counters;
use crate::cli::args::recv::RecvArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::name::{Escaped, RelativePath};
use crate::os::program::{Unfit, command};
use crate::os::said::Said;
use crate::os::threads;
use crate::session::{FileReport, FileStatus, ReportKind};

/// The variable with the path of the list.
const LIST_VARIABLE: &str = "LANX_LIST";

/// Runs that may wait for their turn. A program that is slower than what comes would otherwise fill the disk
/// with lists.
const WAITING_MAX: usize = 1000;

/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is run, and for what.
pub struct Programs {
    /// Once for each transfer, and once for each file.
    transfer: Option<PathBuf>,
    file: Option<PathBuf>,
    waiting: Sender<Run>,
    stop: Arc<Stop>,
    runner: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
}

/// How the waiting for programs ends.
#[derive(Default)]
struct Stop {
    /// No more is begun.
    now: AtomicBool,
    /// Until when what runs may go on.
    until: Mutex<Option<Instant>>,
}

/// A program to be run for what this list holds.
struct Run {
    program: PathBuf,
    list: NamedTempFile,
}

/// What one transfer has published so far.
pub struct Published {
    programs: Arc<Programs>,
    folder: PathBuf,
    list: Mutex<Option<BufWriter<NamedTempFile>>>,
}

impl Programs {
    /// What these arguments ask for; `None` for nothing.
    ///
    /// # Errors
    /// A program is missing.
    pub fn start(args: &RecvArgs, counters: Arc<Counters>) -> Result<Option<Arc<Programs>>, Failure> {
        if args.exec.is_none() && args.exec_each.is_none() {
            return Ok(None);
        }
        for program in [&args.exec, &args.exec_each].into_iter().flatten() {
            if !is_there(program) {
                let program = Escaped::path(program);
                let error = anyhow!(
                    "--exec: {program} is no program that can be run here; give its path, and see that it is executable"
                );
                return Err(Failure::new(Exit::Usage, error));
            }
        }
        let (waiting, to_run) = bounded(WAITING_MAX);
        let stop = Arc::<Stop>::default();
        let runner =
            Runner { to_run, stop: stop.clone(), patience: args.exec_timeout, counters: counters.clone() };
        let spawned = threads::named("exec").spawn(move || runner.run_all());
        let runner = spawned.map_err(|error| {
            Failure::new(
                Exit::Other,
                anyhow!("cannot start a thread: {}; close a program and try again", Said(&error)),
            )
        })?;
        let (transfer, file) = (args.exec.clone(), args.exec_each.clone());
        let runner = Mutex::new(Some(runner));
        Ok(Some(Arc::new(Programs { transfer, file, waiting, stop, runner, counters })))
    }

    /// What a transfer into `folder` publishes.
    pub fn follow(self: &Arc<Self>, folder: &Path) -> Published {
        // A program may have another working folder.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
        Published { programs: self.clone(), folder, list: Mutex::default() }
    }

    fn ask(&self, program: &Path, list: NamedTempFile) {
        match self.waiting.try_send(Run { program: program.into(), list }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.counters.program("left_out");
                let program = Escaped::path(program);
                tracing::warn!(
                    "{program} is not run: {WAITING_MAX} runs wait already; see why it takes so long"
                );
            }
            // It is ending.
            Err(TrySendError::Disconnected(_)) => self.counters.program("left_out"),
        }
    }

    fn lost(&self, error: &io::Error) {
        self.counters.program("failed");
        tracing::warn!(
            "cannot note what arrived for --exec: {}; check the space in {}",
            Said(error),
            Escaped::path(&env::temp_dir())
        );
    }

    /// Waits until all that was asked for has run. `patience`: for so long, where the user wants an end.
    pub fn finish(&self, patience: Option<Duration>) {
        if let Some(patience) = patience {
            *self.stop.until.lock() = Some(Instant::now() + patience);
        }
        self.stop.now.store(true, Ordering::Relaxed);
        if let Some(runner) = self.runner.lock().take() {
            let _ = runner.join();
        }
    }
}

impl Published {
    /// Takes in what became of a file.
    pub fn note(&self, report: &FileReport) {
        let path = match &report.status {
            FileStatus::Stored => report.path.clone(),
            FileStatus::Renamed(name) => report.path.with_name(name),
            _ => return,
        };
        if report.kind == ReportKind::Folder {
            return;
        }
        if let Some(program) = &self.programs.file {
            match self
                .begin()
                .and_then(|mut list| self.write(&mut list, &path).and(list.into_inner().map_err(Into::into)))
            {
                Ok(list) => self.programs.ask(program, list),
                Err(error) => self.programs.lost(&error),
            }
        }
        if self.programs.transfer.is_some() {
            let mut list = self.list.lock();
            let noted = match &mut *list {
                Some(list) => self.write(list, &path),
                none => self.begin().and_then(|new| self.write(none.insert(new), &path)),
            };
            if let Err(error) = noted {
                self.programs.lost(&error);
            }
        }
    }

    fn begin(&self) -> io::Result<BufWriter<NamedTempFile>> {
        let list = tempfile::Builder::new().prefix("lanx-list-").tempfile()?;
        Ok(BufWriter::new(list))
    }

    fn write(&self, list: &mut impl Write, path: &RelativePath) -> io::Result<()> {
        let path = self.folder.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        list.write_all(path.as_os_str().as_bytes())?;
        list.write_all(b"\0")
    }

    /// The transfer has ended, well or not.
    pub fn ended(&self) {
        let (Some(program), Some(list)) = (&self.programs.transfer, self.list.lock().take()) else { return };
        match list.into_inner() {
            Ok(list) => self.programs.ask(program, list),
            Err(error) => self.programs.lost(error.error()),
        }
    }
}

/// Whether this is a program that can be run, by its path or by its name in `PATH`.
fn is_there(program: &Path) -> bool {
    let can_be_run = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.as_os_str().as_bytes().contains(&b'/') {
        return can_be_run(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| can_be_run(&folder.join(program)))
}

/// Runs one program after another.
struct Runner {
    to_run: Receiver<Run>,
    stop: Arc<Stop>,
    patience: Duration,
    counters: Arc<Counters>,
}

impl Runner {
    fn run_all(self) {
        loop {
            match self.to_run.recv_timeout(LOOK) {
                Ok(run) if self.is_late() => self.leave_out(&run),
                Ok(run) => self.run(&run),
                Err(_) if self.stop.now.load(Ordering::Relaxed) && self.to_run.is_empty() => return,
                Err(error) if error.is_disconnected() => return,
                Err(_) => {}
            }
        }
    }

    fn is_late(&self) -> bool {
        self.stop.until.lock().is_some_and(|until| Instant::now() >= until)
    }

    fn leave_out(&self, run: &Run) {
        self.counters.program("left_out");
        tracing::warn!("{} is not run, as the receiver ends", Escaped::path(&run.program));
    }

    fn run(&self, run: &Run) {
        let program = Escaped::path(&run.program);
        let ended = start(run).map_err(|error| Unfit::not_started(&error).to_string());
        match ended.and_then(|child| self.wait(child)) {
            Ok(()) => self.counters.program("ok"),
            Err(why) => {
                self.counters.program("failed");
                tracing::warn!("{program} {why}; what it was run for stays as it arrived");
            }
        }
    }

    /// Waits for its end, and puts one to it where that takes too long.
    fn wait(&self, mut child: Child) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Unfit::of(status).map_or(Ok(()), |unfit| Err(unfit.to_string())),
                Ok(None) => {}
                Err(error) => return Err(format!("ended, and nobody knows how: {}", Said(&error))),
            }
            let is_slow = began.elapsed() >= self.patience;
            if is_slow || self.is_late() {
                // With all that it has started.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                let seconds = self.patience.as_secs();
                return Err(match is_slow {
                    true => format!("was killed, as it ran for {seconds} s (--exec-timeout)"),
                    false => "was killed, as the receiver ends".into(),
                });
            }
            thread::sleep(LOOK);
        }
    }
}

/// Starts a program. What it says goes where lanx complains: its standard output may be what a script reads
/// of lanx.
fn start(run: &Run) -> io::Result<Child> {
    let stderr = || io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let mut command = command(&run.program);
    command.env(LIST_VARIABLE, run.list.path()).env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stdout(stderr()?).stderr(stderr()?).process_group(0);
    command.spawn()
}
