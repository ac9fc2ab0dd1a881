//! Where identity and peers live.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use zeroize::Zeroizing;

use crate::os::said::Said;

/// The folder of this user's lanx: `$LANX_CONFIG_DIR`, else `$XDG_CONFIG_HOME/lanx`, else
/// `$HOME/.config/lanx` (XDG Base Directory Specification 0.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDir(PathBuf);

/// Why there is no usable folder.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDirError {
    /// No variable says where.
    #[error(
        "neither LANX_CONFIG_DIR, XDG_CONFIG_HOME nor HOME is set; set LANX_CONFIG_DIR to a folder of your own"
    )]
    Nowhere,
    /// The folder cannot be made or looked at.
    #[error("cannot {doing} the configuration folder {}: {}; change its owner or permissions, or set LANX_CONFIG_DIR to a folder of your own", path.display(), Said(source))]
    Io {
        /// `create` or `look at`.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something else stands there.
    #[error("{} is not a folder; move it away or set LANX_CONFIG_DIR to a folder of your own", .0.display())]
    NotAFolder(PathBuf),
    /// Others could replace the files in it.
    #[error("the configuration folder {path} can be changed by other users (mode {mode:03o}), who could then let themselves in; run: chmod go-w '{path}'", path = path.display())]
    WritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the configuration folder {} belongs to user {owner}, but lanx runs as user {me}; run it as that user, or set LANX_CONFIG_DIR to a folder of your own", path.display())]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// The numeric user that owns it.
        owner: u32,
        /// The numeric user that asked.
        me: u32,
    },
}

impl ConfigDir {
    /// Finds the folder from environment variables, which `lookup` reads (`std::env::var_os` outside of
    /// tests), and makes it with mode 0700 if it is missing.
    ///
    /// # Errors
    /// No variable names a folder, it cannot be made, or others than its user may write to it.
    pub fn open(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigDirError> {
        Self::at(&locate(lookup)?)
    }

    /// The path of a file in the folder, which is looked at in the same way; `None` if no such file is there.
    /// Nothing is made.
    ///
    /// # Errors
    /// Others than its user may write to the folder.
    pub fn file(
        lookup: impl Fn(&str) -> Option<OsString>,
        name: &str,
    ) -> Result<Option<PathBuf>, ConfigDirError> {
        let Ok(folder) = locate(lookup) else { return Ok(None) };
        let path = folder.join(name);
        // Any other error is told by whoever opens it.
        match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            _ => Self::at(&folder).map(|_| Some(path)),
        }
    }

    /// The folder if it is there, looked at in the same way. Nothing is made.
    ///
    /// # Errors
    /// Others than its user may write to it.
    pub fn existing(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, ConfigDirError> {
        let Ok(folder) = locate(lookup) else { return Ok(None) };
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            _ => Self::at(&folder).map(Some),
        }
    }

    /// Where a file of the folder would be, whether it is there or not; `None` where no variable says.
    pub fn place(lookup: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
        locate(lookup).ok().map(|folder| folder.join(name))
    }

    /// The same for a folder that is already known.
    ///
    /// # Errors
    /// It cannot be made, or others than its user may write to it.
    pub fn at(path: &Path) -> Result<Self, ConfigDirError> {
        let failed = |doing| move |source| ConfigDirError::Io { doing, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
        let metadata = fs::metadata(path).map_err(failed("look at"))?;
        if !metadata.is_dir() {
            return Err(ConfigDirError::NotAFolder(path.to_owned()));
        }
        judge(path, metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw())?;
        Ok(Self(path.to_owned()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Whoever may write to the folder can put another identity or another list of peers into it.
fn judge(path: &Path, mode: u32, owner: u32, me: u32) -> Result<(), ConfigDirError> {
    if owner != me {
        return Err(ConfigDirError::ForeignOwner { path: path.to_owned(), owner, me });
    }
    if mode & 0o022 != 0 {
        return Err(ConfigDirError::WritableByOthers { path: path.to_owned(), mode: mode & 0o777 });
    }
    Ok(())
}

/// An empty variable counts as unset, and a relative XDG_CONFIG_HOME is ignored, as the XDG specification
/// asks.
fn locate(lookup: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ConfigDirError> {
    let variable = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("LANX_CONFIG_DIR") {
        return Ok(folder);
    }
    if let Some(base) = variable("XDG_CONFIG_HOME").filter(|base| base.is_absolute()) {
        return Ok(base.join("lanx"));
    }
    variable("HOME").map(|home| home.join(".config").join("lanx")).ok_or(ConfigDirError::Nowhere)
}

// Files that only their user may touch: opened without following links, checked by handle, read to a bound,
// and written so that a reader sees the old content or the new one.

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
    #[error("cannot {doing} {}: {}; see whose it is and what it allows, and try again", path.display(), Said(source))]
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

/// The user who may do everything.
const ROOT: u32 = 0;

/// Reads a file of at most `max` bytes that belongs to this user, or is a secret that root owns, and is
/// guarded as `guard` says.
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
    // What root has put there for us is as good: root can do what it likes in any case.
    let is_given = guard == Guard::Secret && metadata.uid() == ROOT;
    if metadata.uid() != me && !is_given {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), me });
    }
    judge_mode(path, guard, &metadata)?;
    read_bounded(file, path, max)
}

/// Refuses permission bits that let others do more than `guard` allows. A secret of root's may be read by its
/// group: so orchestrators mount them (0440, 0640), often where nobody can change that.
pub(crate) fn judge_mode(path: &Path, guard: Guard, metadata: &Metadata) -> Result<(), FileError> {
    let mode = metadata.mode();
    let (forbidden, what) = match guard {
        Guard::Secret if metadata.uid() == ROOT => (0o037, "read or changed"),
        Guard::Secret => (0o077, "read or changed"),
        Guard::Trusted => (0o022, "changed"),
    };
    if mode & forbidden != 0 {
        return Err(FileError::OpenToOthers { path: path.to_owned(), what, mode: mode & 0o777 });
    }
    Ok(())
}

/// Reads all of `file`, refusing more than `max` bytes. No copy of a secret is left behind in freed memory: a
/// buffer that turns out to be too small is wiped.
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn located(variables: &[(&str, &str)]) -> Result<PathBuf, ConfigDirError> {
        locate(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn own_variable_comes_before_xdg_and_xdg_before_home() {
        let all = [("LANX_CONFIG_DIR", "/l"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(located(&all).unwrap(), Path::new("/l"));
        assert_eq!(located(&all[1..]).unwrap(), Path::new("/x/lanx"));
        assert_eq!(located(&all[2..]).unwrap(), Path::new("/h/.config/lanx"));
    }

    #[test]
    fn empty_variables_and_a_relative_xdg_count_as_unset() {
        let variables = [("LANX_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "here"), ("HOME", "/h")];
        assert_eq!(located(&variables).unwrap(), Path::new("/h/.config/lanx"));
        let variables = [("XDG_CONFIG_HOME", ""), ("HOME", "/h")];
        assert_eq!(located(&variables).unwrap(), Path::new("/h/.config/lanx"));
    }

    #[test]
    fn without_any_variable_the_error_names_the_one_to_set() {
        let error = located(&[("HOME", "")]).unwrap_err();
        assert!(error.to_string().contains("LANX_CONFIG_DIR"), "{error}");
    }

    #[test]
    fn a_new_folder_is_for_its_user_alone() {
        let base = tempfile::tempdir().unwrap();
        let wanted = base.path().join("a/lanx");
        let folder = ConfigDir::at(&wanted).unwrap();
        assert_eq!(folder.path(), wanted);
        assert_eq!(fs::metadata(&wanted).unwrap().mode() & 0o777, 0o700);
        assert!(ConfigDir::at(&wanted).is_ok(), "the second start failed");
    }

    #[test]
    fn a_folder_that_is_only_looked_for_is_not_made() {
        let base = tempfile::tempdir().unwrap();
        let wanted = base.path().join("a/lanx");
        let existing = || ConfigDir::existing(|_| Some(wanted.clone().into_os_string()));
        assert_eq!(existing().unwrap(), None);
        assert!(!base.path().join("a").exists());
        let made = ConfigDir::at(&wanted).unwrap();
        assert_eq!(existing().unwrap(), Some(made));
        fs::set_permissions(&wanted, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(existing().is_err());
        assert_eq!(ConfigDir::existing(|_| None).unwrap(), None);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused_with_the_remedy() {
        let base = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o777] {
            fs::set_permissions(base.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = ConfigDir::at(base.path()).unwrap_err();
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ConfigDir::at(base.path()).is_ok());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let error = judge(Path::new("/x"), 0o700, 1000, 0).unwrap_err();
        assert!(matches!(error, ConfigDirError::ForeignOwner { owner: 1000, me: 0, .. }));
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("lanx");
        fs::write(&file, "").unwrap();
        assert!(ConfigDir::at(&file).is_err());
    }
}

#[cfg(test)]
mod private_file_tests {
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
        for mode in [0o644, 0o604, 0o620, 0o601] {
            let (_folder, path) = file_with_mode(mode);
            let error = read(&path, Guard::Secret, 100).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        let (_folder, path) = file_with_mode(0o600);
        assert_eq!(read(&path, Guard::Secret, 100).unwrap().as_slice(), b"content");
        // What root owns may be read by its group, and what anybody else owns may not.
        let by_root = rustix::process::geteuid().is_root();
        for mode in [0o440, 0o640] {
            let (_folder, path) = file_with_mode(mode);
            assert_eq!(read(&path, Guard::Secret, 100).is_ok(), by_root, "{mode:o}");
        }
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
