//! The folders and the environment of one test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Output, PATIENCE, Process, Receiver};

/// A place of its own for each test, removed with it.
pub struct Scene {
    temp: TempDir,
    /// Where the files to send are; the sender's working directory.
    pub src: PathBuf,
    /// Where they arrive.
    pub dst: PathBuf,
}

impl Scene {
    pub fn new() -> Scene {
        let temp = tempfile::Builder::new().prefix("lanx-test-").tempdir().unwrap();
        let dir = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (src, dst) = (dir("src"), dir("dst"));
        dir("home");
        fs::set_permissions(dir("config"), Permissions::from_mode(0o700)).unwrap();
        Scene { temp, src, dst }
    }

    /// A path in the scene, outside of what is sent and received.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Settings of the user who runs the tests must not reach the program, nor the other way round.
    pub fn isolate(&self, command: &mut Command) {
        command
            .current_dir(&self.src)
            .env("LANX_CONFIG_DIR", self.path("config"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.temp.path());
        for name in ["RUST_LOG", "LANX_CODE", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
    }

    /// The program.
    pub fn lanx(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanx"));
        self.isolate(&mut command);
        command
    }

    /// The program, run to its end with `args`.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        let mut command = self.lanx();
        command.args(args);
        Process::spawn(command).finish(PATIENCE)
    }

    /// Starts `lanx send FLAGS PATHS HOST`.
    pub fn start_send<P: AsRef<Path>>(&self, flags: &[&str], paths: &[P], host: impl ToString) -> Process {
        let mut command = self.lanx();
        command.arg("send").args(flags).args(paths.iter().map(|p| p.as_ref())).arg(host.to_string());
        Process::spawn(command)
    }

    /// Runs `lanx send FLAGS PATHS HOST` to its end.
    pub fn send_with<P: AsRef<Path>>(&self, flags: &[&str], paths: &[P], host: impl ToString) -> Output {
        self.start_send(flags, paths, host).finish(PATIENCE)
    }

    /// Runs `lanx send PATHS HOST` to its end.
    pub fn send<P: AsRef<Path>>(&self, paths: &[P], host: impl ToString) -> Output {
        self.send_with(&[], paths, host)
    }

    /// A receiver into `dst`.
    pub fn receiver(&self) -> Receiver {
        self.receiver_with(&[])
    }

    /// A receiver into `dst`, with these flags.
    pub fn receiver_with(&self, flags: &[&str]) -> Receiver {
        Receiver::start(self, "127.0.0.1:0", flags, &self.dst)
    }
}
