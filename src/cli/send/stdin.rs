//! `lanx send -`: the standard input instead of files.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, stat};
use rustix::process::umask;

use crate::cli::args::SendArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::content::entry::Metadata;
use crate::name::{Name, shown};
use crate::os::said::Said;
use crate::source::{Feed, Stream};

fn usage<T>(error: anyhow::Error) -> Result<T, Failure> {
    Err(Failure::new(Exit::Usage, error))
}

/// The name that the standard input is to get, where it is sent to so many receivers: a path `-` says so. `None` where files
/// are sent.
///
/// # Errors
/// What is given besides and makes no sense with it, or is missing.
pub fn name(args: &SendArgs, paths: &[PathBuf], receivers: usize) -> Result<Option<Name>, Failure> {
    if paths.iter().all(|path| path.as_os_str() != "-") {
        return match args.name {
            None => Ok(None),
            Some(_) => usage(anyhow!(
                "--name is for what comes from standard input; send that with - as the path, or leave --name out"
            )),
        };
    }
    if paths.len() > 1 {
        return usage(anyhow!(
            "- is standard input, which is sent by itself; send the files by another command (a file of that name is ./-)"
        ));
    }
    if receivers > 1 {
        return usage(anyhow!(
            "standard input can be read only once, so it goes to one receiver; write it to a file and send that"
        ));
    }
    if let Some(flag) = args.against_stdin() {
        return usage(anyhow!(
            "`send -` reads standard input, and {flag} is for files; leave one of them out"
        ));
    }
    let Some(name) = &args.name else {
        return usage(anyhow!("standard input has no name; give it one: lanx send - HOST --name NAME"));
    };
    match Name::from_local(name) {
        Ok(name) => Ok(Some(name)),
        Err(bad) => {
            let (name, fault) = (shown(name.as_bytes()), bad.fault());
            usage(anyhow!("--name: the file name \"{name}\" {fault}; give another one"))
        }
    }
}

/// The standard input, to be sent under this name.
///
/// # Errors
/// It cannot be read.
pub fn feed(name: Name) -> Result<Feed, Failure> {
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
    let other = |error: io::Error| {
        let text = anyhow!("cannot read standard input: {}; try again", Said(&error));
        Failure::new(Exit::Other, text)
    };
    let stream = stdin.as_fd().try_clone_to_owned().and_then(Stream::start).map_err(other)?;
    Ok(Feed::of_stream(stream, name.into(), metadata()))
}

/// Whether this standard stream was closed when the program began. Before `main` Rust's runtime opens /dev/null there, for
/// reading and writing, so that no file that is opened later can take its place. Who means /dev/null opens it for one of the
/// two, as a shell does for `</dev/null` and `>/dev/null`.
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
        mode: 0o666 & !mask.bits(),
        mtime_seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
        mtime_nanos: now.subsec_nanos(),
        archive: None,
    }
}
