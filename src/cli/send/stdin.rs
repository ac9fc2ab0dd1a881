//! `lanx send -` and `lanx send HOST -- COMMAND`: the standard input, or what a command writes, instead of
//! files.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, stat};
use rustix::process::umask;

use crate::cli::args::send::SendArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::content::entry::Metadata;
use crate::name::{Name, shown};
use crate::os::said::Said;
use crate::source::{Feed, Input, Stream};

fn usage<T>(error: anyhow::Error) -> Result<T, Failure> {
    Err(Failure::new(Exit::Usage, error))
}

/// What is sent where there are no files.
pub struct Streamed {
    /// What it is to be called; `None` where the receiver is to be one that needs no name.
    pub name: Option<Name>,
    /// The command whose output it is, and its arguments; none for the standard input.
    command: Vec<OsString>,
}

/// The name of this run that the user gave.
///
/// # Errors
/// It is no name.
pub fn given_name(args: &SendArgs) -> Result<Option<Name>, Failure> {
    let Some(name) = &args.name else { return Ok(None) };
    Name::from_local(name).map(Some).or_else(|bad| {
        let (name, fault) = (shown(name.as_bytes()), bad.fault());
        usage(anyhow!("--name: the file name \"{name}\" {fault}; give another one"))
    })
}

/// What is sent where that is no files: a path `-` says so, or a command. `None` where files are sent.
///
/// # Errors
/// What is given besides and makes no sense with it, or is missing.
pub fn streamed(args: &SendArgs, paths: &[PathBuf]) -> Result<Option<Streamed>, Failure> {
    let is_command = args.runs_a_command();
    if !is_command && paths.iter().all(|path| path.as_os_str() != "-") {
        return Ok(None);
    }
    if paths.len() > 1 {
        return usage(anyhow!(
            "- is standard input, which is sent by itself; send the files by another command (a file of that name is ./-)"
        ));
    }
    if let Some(flag) = args.against_stdin() {
        let what = if is_command {
            "what a command writes is sent as it comes"
        } else {
            "`send -` reads standard input"
        };
        return usage(anyhow!("{what}, and {flag} is for files; leave one of them out"));
    }
    let command = if is_command { args.command.clone() } else { Vec::new() };
    Ok(Some(Streamed { name: given_name(args)?, command }))
}

impl Streamed {
    /// What each of so many receivers is sent.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn feeds(self, receivers: usize) -> Result<Vec<Feed>, Failure> {
        let other = |error: io::Error| {
            let text = anyhow!("cannot read standard input: {}; try again", Said(&error));
            Failure::new(Exit::Other, text)
        };
        let input = if self.command.is_empty() {
            Input::Open(standard_input()?.as_fd().try_clone_to_owned().map_err(other)?)
        } else {
            Input::Command(self.command)
        };
        let name = match self.name {
            Some(name) => name,
            // Nobody will see it, but an offer has a path.
            None => Name::from_local(OsStr::new("stdin")).map_err(|bad| other(io::Error::other(bad)))?,
        };
        let metadata = metadata();
        let streams = Stream::start(input, receivers).map_err(other)?;
        let feed = |stream| Feed::of_stream(stream, name.clone().into(), metadata.clone());
        Ok(streams.into_iter().map(feed).collect())
    }
}

/// The standard input, where there is something to read.
fn standard_input() -> Result<io::Stdin, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return usage(anyhow!(
            "standard input is a terminal; give it something to send: tar c FOLDER | lanx send - HOST --name NAME"
        ));
    }
    if was_closed(stdin.as_fd()) {
        return usage(anyhow!(
            "standard input is closed, or /dev/null as if it were, so there is nothing to send; give it something: \
             tar c FOLDER | lanx send - HOST --name NAME"
        ));
    }
    Ok(stdin)
}

/// Whether this standard stream was closed when the program began. Before `main` Rust's runtime opens
/// /dev/null there, for reading and writing, so that no file that is opened later can take its place. Who
/// means /dev/null opens it for one of the two, as a shell does for `</dev/null` and `>/dev/null`.
pub(crate) fn was_closed(stream: BorrowedFd<'_>) -> bool {
    let (Ok(null), Ok(there), Ok(flags)) = (stat("/dev/null"), fstat(stream), fcntl_getfl(stream)) else {
        return false;
    };
    FileType::from_raw_mode(there.st_mode) == FileType::CharacterDevice
        && there.st_rdev == null.st_rdev
        && flags & OFlags::RWMODE == OFlags::RDWR
}

/// What a shell would give to a file that it makes here and now.
fn metadata() -> Metadata {
    // It can only be read by setting it. No other thread makes files yet.
    let mask = umask(Mode::RWXG | Mode::RWXO);
    umask(mask);
    // Before 1970 the clock is wrong anyway.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Metadata {
        // Its width differs by system.
        #[allow(clippy::useless_conversion)]
        mode: 0o666 & !u32::from(mask.bits()),
        mtime_seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
        mtime_nanos: now.subsec_nanos(),
        archive: None,
    }
}
