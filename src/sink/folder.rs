//! Folders that arrive: made if they are missing, and dressed when everything in them is there.

use super::Sink;
use super::dir::Dir;
use super::dress::{self, Of};
use super::error::SinkError;
use super::folders::Manner;
use crate::name::{Name, RelativePath};
use crate::protocol::message::Metadata;

/// What became of a folder or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It was not there before.
    New,
    /// It was there. A folder is dressed all the same.
    Identical,
    /// It got this name, as its own was taken.
    Renamed(Name),
}

impl Sink {
    /// Makes the folder if it is missing and gives it mode and time, and with [`Metadata::archive`] owner and
    /// attributes, as far as the file system and our rights allow; what is refused is only a warning. Its time is right
    /// as long as nothing is made in it afterwards. A folder that is there stays, with what is in it; setuid, setgid
    /// and sticky bits are the sender's only where the owner is.
    ///
    /// `None` is the destination itself. It gets its time only: mode and owner say who may use the receiver's own folder,
    /// and that is not for a sender to decide.
    ///
    /// [`Made::New`] where it was missing, or was made by [`Sink::part`] and the like for what is in it.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] where something else stands there or on the way; otherwise what the system said.
    pub fn folder(&self, path: Option<&RelativePath>, metadata: &Metadata) -> Result<Made, SinkError> {
        let Some(path) = path else {
            dress::set_time(self.root(), metadata);
            return Ok(Made::Identical);
        };
        self.folders.within(path.as_bytes(), |dir| dress_folder(dir, metadata))?;
        // Nothing more is expected in there.
        self.folders.forget(path.as_bytes());
        let is_new = self.folders.take_undressed(path.as_bytes());
        Ok(if is_new { Made::New } else { Made::Identical })
    }

    /// Whether a folder would be made, without changing anything.
    pub(super) fn would_make_folder(&self, path: &RelativePath) -> Result<bool, SinkError> {
        match self.folders.find(path.as_bytes(), Manner::Look) {
            Ok(found) => Ok(found.is_none()),
            Err(error) => Err(error),
        }
    }
}

fn dress_folder(dir: &Dir, metadata: &Metadata) -> Result<(), SinkError> {
    let stat = rustix::fs::fstat(dir.fd())
        .map_err(|errno| SinkError::system("look at", dir.path().into(), errno))?;
    // Its width differs by system.
    #[allow(clippy::useless_conversion)]
    let of = Of::Folder { special: u32::from(stat.st_mode) };
    dress::dress(dir, dir.fd(), metadata, of, &|| dir.path().into());
    Ok(())
}
