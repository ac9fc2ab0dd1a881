//! Whether what has a name already is the file that was received.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::bytes::read_exact_at;
use super::dir::kind_of;
use super::error::{FileKind, SinkError};
use super::part::Part;
use super::publish::Verified;
use super::space::length;
use crate::chunk::{ChunkIndex, Layout};
use crate::name::Name;
use crate::tree::{Tree, chunk_value};

/// What stands at a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A file with the bytes of the part.
    Same,
    /// Anything else, and what cannot be read, so that nobody can show that it is the same.
    Other,
    /// It was not to be read to its end.
    Unknown,
}

impl Part {
    /// Whether something has the name that it is to get.
    #[must_use]
    pub fn is_name_taken(&self) -> bool {
        !matches!(self.dir.stat(self.name.as_bytes()), Ok(None))
    }

    /// What stands at `name`. Reads only a file of the same size, and of that no more than up to the first chunk that
    /// differs.
    pub(super) fn standing(&self, name: &Name, verified: &Verified<'_>) -> Standing {
        let there = match self.of_same_size(name) {
            Ok(Some(there)) => there,
            Ok(None) => return Standing::Other,
            Err(errno) => {
                tracing::debug!(path = %self.shown(name), %errno, "could not compare a file");
                return Standing::Other;
            }
        };
        self.compare(name, &there, verified).unwrap_or_else(|error| {
            tracing::debug!("{error}");
            Standing::Other
        })
    }

    /// A file of the size of this one, if that is what stands there.
    fn of_same_size(&self, name: &Name) -> Result<Option<OwnedFd>, Errno> {
        let is_like_ours = |stat: &Stat| kind_of(stat) == FileKind::Regular && length(stat) == self.size();
        // Asked before opening, as opening a device or a FIFO can have effects of its own.
        if !self.dir.stat(name.as_bytes())?.as_ref().is_some_and(is_like_ours) {
            return Ok(None);
        }
        let there = self.dir.open(name.as_bytes(), OFlags::RDONLY, Mode::empty())?;
        let stat = rustix::fs::fstat(&there)?;
        Ok(is_like_ours(&stat).then_some(there))
    }

    fn compare(&self, name: &Name, there: &OwnedFd, verified: &Verified<'_>) -> Result<Standing, SinkError> {
        let layout = Layout::new(self.size());
        let mut tree = Tree::new(layout);
        let most = layout.len_of(ChunkIndex(0)).unwrap_or_default();
        let (mut theirs, mut ours) = (vec![0; most], vec![0; most]);
        for index in (0..layout.chunks()).map(ChunkIndex) {
            if !(verified.go_on)() {
                return Ok(Standing::Unknown);
            }
            let (Some(len), Some(offset)) = (layout.len_of(index), layout.offset_of(index)) else { break };
            let (theirs, ours) = (&mut theirs[..len], &mut ours[..len]);
            read_exact_at(there.as_fd(), theirs, offset, || self.dir.path_of(name.as_bytes()))?;
            self.read_at(ours, offset)?;
            if theirs != ours {
                return Ok(Standing::Other);
            }
            // Each chunk comes once, so none is misplaced.
            let _ = tree.insert(index, chunk_value(layout, index, theirs));
        }
        // Ours was verified as it arrived, and not as it was read just now.
        if tree.root() != Some(verified.hash) {
            return Ok(Standing::Other);
        }
        if verified.sync {
            let failed = |errno| SinkError::system("sync", self.dir.path_of(name.as_bytes()), errno);
            // One that cannot be is no reason to do without ours.
            rustix::fs::fsync(there).map_err(failed)?;
        }
        Ok(Standing::Same)
    }

    fn shown(&self, name: &Name) -> String {
        crate::name::Escaped::path(&self.dir.path_of(name.as_bytes())).to_string()
    }
}
