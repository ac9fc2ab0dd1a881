//! The folders and the environment of one test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::{Output, PATIENCE, Process, Receiver};

/// A place of its own for each test, removed with it.
pub struct Scene {
    temp: TempDir,
    /// Where the files to send are; the sender's working directory.
    pub src: PathBuf,
    /// Where they arrive.
    pub dst: PathBuf,
    /// Whether both sides use QUIC without being told so on the command line.
    pub over_quic: bool,
}

/// A thousand strangers are as many sockets here, and most systems allow no more at first.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it is refused a test that needs more says so.
    let _ = setrlimit(Resource::Nofile, raised);
}

impl Scene {
    pub fn new() -> Scene {
        allow_many_files();
        let temp = tempfile::Builder::new().prefix("lanx-test-").tempdir().unwrap();
        let dir = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (src, dst) = (dir("src"), dir("dst"));
        dir("home");
        fs::set_permissions(dir("config"), Permissions::from_mode(0o700)).unwrap();
        Scene { temp, src, dst, over_quic: std::env::var_os("LANX_TEST_QUIC").is_some() }
    }

    /// The same, but everything goes over QUIC. So does every test with `LANX_TEST_QUIC` set; those that look at TCP itself fail then.
    pub fn over_quic() -> Scene {
        Scene { over_quic: true, ..Scene::new() }
    }

    /// A path in the scene, outside of what is sent and received.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Settings of the user who runs the tests must not reach the program, nor the other way round.
    pub fn isolate(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LANX_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.src)
            .env("LANX_CONFIG_DIR", self.path("config"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.temp.path());
        for name in
            ["RUST_LOG", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS"]
        {
            command.env_remove(name);
        }
        if self.over_quic {
            let quic = ["LANX_SEND_QUIC", "LANX_RECV_QUIC", "LANX_DOCTOR_QUIC"];
            command.envs(quic.map(|name| (name, "true")));
        }
    }

    /// The program.
    pub fn lanx(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanx"));
        self.isolate(&mut command);
        command
    }

    /// The program, which may have so many files open and no more.
    pub fn lanx_with_descriptors(&self, most: u32) -> Command {
        let mut command = Command::new("sh");
        self.isolate(&mut command);
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_lanx")]);
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
