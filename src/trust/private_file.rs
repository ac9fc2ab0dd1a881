//! Files that only their user may touch: opened without following links, checked by handle, read to a bound,
//! and written so that a reader sees the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// What others may do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nothing: it holds a secret.
    Secret,
    /// Read it: it decides who is let in, but hides nothing.
    Trusted,
}

/// Why a private file could not be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {doing} {}: {source}; see whose it is and what it allows, and try again", path.display())]
    Io {
        /// The verb: `open`, `read`, `create` ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link could lead to a file that somebody else controls.
    #[error("{} is a symbolic link; put the file itself there", .0.display())]
    Link(PathBuf),
    /// A folder or a device.
    #[error("{} is not a regular file; move it away", .0.display())]
    NotAFile(PathBuf),
    /// It belongs to somebody else.
    #[error("{path} belongs to user {owner}, but lanx runs as user {me}; run: chown {me} '{path}'", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The numeric user that owns it.
        owner: u32,
        /// The numeric user that asked.
        me: u32,
    },
    /// Its permission bits let others in.
    #[error("{path} can be {what} by other users (mode {mode:03o}); run: chmod 600 '{path}'", path = path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// `read or changed`, or `changed`.
        what: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than anything lanx wrote.
    #[error("{} is longer than {max} bytes, so it is not what lanx expects there; move it away or name another file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        max: usize,
    },
}

impl FileError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file of at most `max` bytes that belongs to this user and is guarded as `guard` says.
pub(crate) fn read(path: &Path, guard: Guard, max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // O_NONBLOCK keeps a named pipe from hanging the open; it means nothing for a regular file.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(
        |source| match source.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => FileError::Link(path.to_owned()),
            _ => FileError::io("open", path)(source),
        },
    )?;
    let metadata = file.metadata().map_err(FileError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), me });
    }
    judge_mode(path, guard, metadata.mode())?;
    read_bounded(file, path, max)
}

/// Refuses permission bits that let others do more than `guard` allows.
pub(crate) fn judge_mode(path: &Path, guard: Guard, mode: u32) -> Result<(), FileError> {
    let (forbidden, what) = match guard {
        Guard::Secret => (0o077, "read or changed"),
        Guard::Trusted => (0o022, "changed"),
    };
    if mode & forbidden != 0 {
        return Err(FileError::OpenToOthers { path: path.to_owned(), what, mode: mode & 0o777 });
    }
    Ok(())
}

/// Reads all of `file`, refusing more than `max` bytes. No copy of a secret is left behind in freed memory: a buffer
/// that turns out to be too small is wiped.
pub(crate) fn read_bounded(file: File, path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // A pipe has no length, and a file may grow.
    let len = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(max));
    let mut bytes = Zeroizing::new(vec![0; if len == 0 { max } else { len.min(max) } + 1]);
    let mut filled = 0;
    let mut file = file;
    loop {
        if filled == bytes.len() && filled <= max {
            let mut larger = Zeroizing::new(vec![0; max + 1]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) else { break };
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", path)(error)),
        }
    }
    if filled > max {
        return Err(FileError::TooLong { path: path.to_owned(), max });
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A complete file, mode 0600 and on disk, that has no final name yet. It is removed when dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    renamed: bool,
}

impl Draft {
    /// Writes `bytes` beside `final_path`, under a name that no other process takes.
    pub(crate) fn write(final_path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| FileError::io("draw a name beside", final_path)(io::ErrorKind::Other.into()))?;
        let mut name = final_path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", u64::from_le_bytes(random)));
        let path = final_path.with_file_name(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::io("create", &path))?;
        let draft = Self { path, renamed: false };
        file.write_all(bytes).map_err(FileError::io("write", &draft.path))?;
        file.sync_all().map_err(FileError::io("sync", &draft.path))?;
        Ok(draft)
    }

    /// Gives the file its name unless another process was faster. Says whether this one won.
    pub(crate) fn publish_if_absent(self, final_path: &Path) -> Result<bool, FileError> {
        match fs::hard_link(&self.path, final_path) {
            Ok(()) => sync_folder_of(final_path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(FileError::io("create", final_path)(error)),
        }
    }

    /// Gives the file its name, in place of what had it.
    pub(crate) fn publish_over(mut self, final_path: &Path) -> Result<(), FileError> {
        fs::rename(&self.path, final_path).map_err(FileError::io("replace", final_path))?;
        self.renamed = true;
        sync_folder_of(final_path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here, if any, is the one worth telling.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A rename survives a power cut only once its folder is on disk.
fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(FileError::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file_with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's");
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let (_folder, path) = file_with_mode(mode);
            let error = read(&path, Guard::Secret, 100).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        let (_folder, path) = file_with_mode(0o600);
        assert_eq!(read(&path, Guard::Secret, 100).unwrap().as_slice(), b"content");
    }

    #[test]
    fn a_trusted_file_may_be_read_but_not_changed_by_others() {
        let (_folder, path) = file_with_mode(0o644);
        assert!(read(&path, Guard::Trusted, 100).is_ok());
        let (_folder, path) = file_with_mode(0o646);
        assert!(read(&path, Guard::Trusted, 100).is_err());
    }

    #[test]
    fn links_folders_and_pipes_are_refused_without_waiting() {
        let (folder, path) = file_with_mode(0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, Guard::Secret, 100), Err(FileError::Link(_))));
        assert!(matches!(read(folder.path(), Guard::Secret, 100), Err(FileError::NotAFile(_))));
        let pipe = folder.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        assert!(matches!(read(&pipe, Guard::Secret, 100), Err(FileError::NotAFile(_))));
    }

    #[test]
    fn a_file_is_read_up_to_the_bound_and_not_past_it() {
        let (_folder, path) = file_with_mode(0o600);
        assert_eq!(read(&path, Guard::Secret, 7).unwrap().as_slice(), b"content");
        assert!(matches!(read(&path, Guard::Secret, 6), Err(FileError::TooLong { max: 6, .. })));
    }

    #[test]
    fn of_two_drafts_the_first_keeps_the_name_and_neither_leaves_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        let (one, two) = (Draft::write(&path, b"1").unwrap(), Draft::write(&path, b"2").unwrap());
        assert!(one.publish_if_absent(&path).unwrap());
        assert!(!two.publish_if_absent(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"1");
        Draft::write(&path, b"3").unwrap().publish_over(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
