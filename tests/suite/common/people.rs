//! Users of different machines: the same scene with identities of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Process, Receiver, Scene};

/// A code that both sides of a test know.
pub const CODE: &str = "correct horse battery staple";

impl Scene {
    /// The program as a user without privileges, whoever runs the tests. What the test has made so far is theirs.
    pub fn lanx_unprivileged(&self) -> Command {
        if !rustix::process::geteuid().is_root() {
            return self.lanx();
        }
        const NOBODY_ID: u32 = 65_534;
        // The folder that the program was built in need not be open to everybody. Copied by a process of its own: a file
        // that is open for writing here may be inherited by what another test starts, and cannot be run until that ends.
        let program = self.path("lanx");
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_lanx")).arg(&program).status().unwrap().success());
        fs::set_permissions(self.path(""), Permissions::from_mode(0o755)).unwrap();
        for name in ["home", "src", "dst"] {
            chown(self.path(name), Some(NOBODY_ID), Some(NOBODY_ID)).unwrap();
        }
        let mut command = Command::new(program);
        self.isolate(&mut command);
        // An identity belongs to one user.
        command.env("LANX_CONFIG_DIR", self.path("home"));
        command.uid(NOBODY_ID).gid(NOBODY_ID);
        command
    }

    /// The program, run by the user whose configuration folder is called `who`; it is made on first use.
    pub fn lanx_as(&self, who: &str) -> Command {
        let mut command = self.lanx();
        command.env("LANX_CONFIG_DIR", self.path(who));
        command
    }

    /// A receiver into `dst` of the user `who`, with these flags and with `code` in LANX_CODE.
    pub fn receiver_of(&self, who: &str, flags: &[&str], code: Option<&str>) -> Receiver {
        let mut command = self.lanx_as(who);
        code.map(|code| command.env("LANX_CODE", code));
        Receiver::start_as(command, "127.0.0.1:0", flags, &self.dst)
    }

    /// Starts `lanx send FLAGS FILE HOST` by the user `who`, with `code` in LANX_CODE.
    pub fn start_send_by(
        &self,
        who: &str,
        flags: &[&str],
        code: Option<&str>,
        file: &Path,
        host: impl ToString,
    ) -> Process {
        let mut command = self.lanx_as(who);
        code.map(|code| command.env("LANX_CODE", code));
        command.arg("send").args(flags).arg(file).arg(host.to_string());
        Process::spawn(command)
    }

    /// Runs `lanx send FILE HOST` by the user `who` to its end.
    pub fn send_by(&self, who: &str, code: Option<&str>, file: &Path, host: impl ToString) -> super::Output {
        self.start_send_by(who, &[], code, file, host).finish(super::PATIENCE)
    }

    /// Pairs the user `sender` with the user `receiver`, whose receivers let it in from then on.
    pub fn pair(&self, sender: &str, receiver: &str) {
        let folder = self.path("for pairing");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = self.lanx_as(receiver);
        command.env("LANX_CODE", CODE);
        let receiver = Receiver::start_as(command, "127.0.0.1:0", &[], &folder);
        let file = self.path("for pairing.txt");
        std::fs::write(&file, "hello").unwrap();
        self.send_by(sender, Some(CODE), &file, receiver.addr).expect_code(0);
    }
}
