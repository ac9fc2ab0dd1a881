//! A copy that somebody else made: what stands in it, by paths that a list names.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::beneath::{Beneath, Recent};
use super::error::SourceError;
use super::file::Source;
use crate::name::RelativePath;

/// A folder with a copy in it. Nothing outside of it is looked at, and no link is followed.
pub struct Copy {
    path: PathBuf,
    tree: Arc<Beneath>,
}

/// What stands somewhere in it.
pub enum Copied {
    File(Source),
    Folder,
    Symlink(Vec<u8>),
    /// A pipe, a socket or a device.
    Special,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Copied::File(_) => "a file",
            Copied::Folder => "a folder",
            Copied::Symlink(_) => "a symbolic link",
            Copied::Special => "a pipe, a socket or a device",
        })
    }
}

impl Copy {
    /// # Errors
    /// It is no folder that can be read.
    pub fn open(path: &Path) -> Result<Copy, SourceError> {
        let tree =
            Beneath::open_root(path, false, &Recent::default()).map_err(|errno| failed(path, errno))?;
        Ok(Copy { path: path.into(), tree: Arc::new(tree) })
    }

    /// What stands at `path`; `None` where nothing does, or something on the way is no folder.
    ///
    /// # Errors
    /// What the system said, or that it is larger than any file.
    pub fn look(&self, path: &RelativePath) -> Result<Option<Copied>, SourceError> {
        let below = Path::new(OsStr::from_bytes(path.as_bytes()));
        let full = self.path.join(below);
        let parent = below.parent().unwrap_or(Path::new(""));
        let folder = match self.tree.open_folder(parent) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            opened => opened.map_err(|errno| failed(&full, errno))?,
        };
        let name = path.name();
        let stat = match self.tree.stat(folder.as_fd(), name.as_bytes()) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.map_err(|errno| failed(&full, errno))?,
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                Copied::File(Source::new(&full, &stat)?.beneath(self.tree.clone(), below))
            }
            FileType::Directory => Copied::Folder,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, name.as_bytes(), Vec::new());
                Copied::Symlink(target.map_err(|errno| failed(&full, errno))?.into_bytes())
            }
            _ => Copied::Special,
        }))
    }
}

fn failed(path: &Path, errno: Errno) -> SourceError {
    SourceError::Io { path: path.into(), doing: "read", source: io::Error::from(errno) }
}
