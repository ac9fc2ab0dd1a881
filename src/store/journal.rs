//! What is remembered of a part file whose sender cannot be asked for values: a file beside it, in which the
//! caller notes the values of what was written. They are believed of nothing: the caller hashes the part file
//! and compares.

use std::fs::File;
use std::io::ErrorKind;

use rustix::fs::{Mode, OFlags, Stat};

use super::dir::kind_of;
use super::error::{FileKind, SinkError};
use super::part::{PART_MODE, Part};
use crate::limits::NAME_BYTES_MAX;
use crate::name::PART_SUFFIX;

/// Before the ending of a part file's name.
const MARK: &[u8] = b".values";

impl Part {
    /// The journal of this part file, made where there is none; `None` where its name would be too long, or
    /// something else has that name.
    ///
    /// # Errors
    /// What the system said.
    pub fn journal(&self) -> Result<Option<File>, SinkError> {
        let Some(name) = self.journal_name() else { return Ok(None) };
        let failed = |errno| SinkError::system("open", self.dir.path_of(&name), errno);
        let is_ours = |stat: &Stat| {
            kind_of(stat) == FileKind::Regular
                && stat.st_nlink <= 1
                && stat.st_uid == rustix::process::geteuid().as_raw()
        };
        // Looked at before it is opened, as opening a device can have effects of its own.
        if self.dir.stat(&name).map_err(failed)?.is_some_and(|stat| !is_ours(&stat)) {
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self.dir.open(&name, flags, Mode::from_raw_mode(PART_MODE)).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        Ok(is_ours(&stat).then(|| File::from(file)))
    }

    /// Removes the journal: the file is complete, or what was noted proved wrong.
    pub fn forget_journal(&self) {
        let Some(name) = self.journal_name() else { return };
        match self.dir.unlink(&name) {
            Err(errno) if errno.kind() != ErrorKind::NotFound => {
                tracing::debug!(%errno, "could not remove what was noted of a part file");
            }
            _ => {}
        }
    }

    fn journal_name(&self) -> Option<Vec<u8>> {
        let name = self.part_name.strip_suffix(PART_SUFFIX)?;
        let name = [name, MARK, PART_SUFFIX].concat();
        (name.len() <= NAME_BYTES_MAX).then_some(name)
    }
}
