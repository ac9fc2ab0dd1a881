//! Where a receiver puts what it gets, as its user named it. DIR is a name and no folder: each session opens
//! it anew, so what is mounted there meanwhile is used, and nothing is held while nobody sends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::Dev;

use super::destination::Destination;
use super::dir::Dir;
use super::dressed::{Dressed, DressedBeneath};
use super::error::SinkError;
use super::existing::Existing;
use super::folders::Folders;
use super::owner::Owner;
use super::place::Left;
use super::sink::Sink;
use super::stdout::Output;
use crate::name::{Escaped, RelativePath};
use crate::os::clock::Moment;
use crate::os::direct::Direct;

/// What a receiver was told about where to put things.
#[derive(Debug)]
pub enum Target {
    Folder(Folder),
    /// One file, in order.
    Output(Arc<Output>),
}

/// A folder that is opened for each session.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    options: FolderOptions,
    last: Mutex<Option<(Dev, u64)>>,
    dressed: Arc<Dressed>,
    left: Arc<Left>,
}

/// How a folder is received into.
#[derive(Debug, Clone, Copy, Default)]
pub struct FolderOptions {
    pub existing: Existing,
    /// Whether to write past the page cache where that is possible.
    pub direct: bool,
    /// Whether something has to be mounted there.
    pub mounted: bool,
    /// Whether access control lists are taken from senders.
    pub access_lists: bool,
}

/// How one session gets in.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Whose unfinished files its sender's are.
    pub owner: Owner,
    /// The folder beneath DIR that it is for and does not leave.
    pub into: Option<RelativePath>,
    /// Whether that is made where it is missing.
    pub makes: bool,
    /// Whether nothing is replaced, whatever the folder's own rule is.
    pub keeps_existing: bool,
    /// When its sender began to read what it sends, if that was before now.
    pub began: Option<Moment>,
}

impl Target {
    /// Opens it for one session.
    ///
    /// # Errors
    /// Those of [`Folder::enter`].
    pub fn open(&self, entry: Entry) -> Result<Destination, SinkError> {
        match self {
            Target::Folder(folder) => folder.enter(entry).map(Destination::Folder),
            Target::Output(output) => Ok(Destination::Output(output.clone())),
        }
    }

    #[must_use]
    pub fn output(&self) -> Option<&Output> {
        match self {
            Target::Folder(_) => None,
            Target::Output(output) => Some(output),
        }
    }
}

impl Folder {
    #[must_use]
    pub fn new(path: &Path, options: FolderOptions) -> Folder {
        Folder {
            path: path.to_owned(),
            options,
            last: Mutex::default(),
            dressed: Arc::default(),
            left: Arc::default(),
        }
    }

    /// As the user wrote it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sees that it can be received into, and makes it when only its last part is missing.
    ///
    /// # Errors
    /// Those of [`Sink::open`], and [`SinkError::NotMounted`].
    pub fn prepare(&self) -> Result<(), SinkError> {
        let sink = Sink::open(&self.path, self.options.existing)?;
        self.check(sink.root())?;
        *self.last.lock() = Some(sink.identity);
        Ok(())
    }

    /// Opens it as it is now.
    ///
    /// # Errors
    /// As for [`Folder::prepare`]; one that is gone is not made again.
    pub fn open(&self, owner: Owner) -> Result<Sink, SinkError> {
        self.enter(Entry { owner, ..Entry::default() })
    }

    /// The same for one session.
    ///
    /// # Errors
    /// As for [`Folder::open`], and [`SinkError::InTheWay`] where something on the way to
    /// the folder beneath it is none, as a symbolic link is.
    pub fn enter(
        &self,
        Entry { owner, into, makes, keeps_existing, began }: Entry,
    ) -> Result<Sink, SinkError> {
        let root = Dir::open_existing_root(&self.path)?;
        self.check(&root)?;
        let identity = root.identity()?;
        let before = self.last.lock().replace(identity);
        if before.is_some_and(|before| before != identity) {
            tracing::warn!(
                "{} is another folder than before (mounted or unmounted?); files arrive in it as it is now",
                Escaped::path(&self.path)
            );
            self.dressed.clear();
        }
        let beneath = into.as_ref().map(|into| root.root_beneath(into, makes)).transpose()?;
        // Where nothing is made, nothing is in what is missing.
        let is_absent = matches!(beneath, Some(None));
        let root = beneath.flatten().unwrap_or(root);
        let identity = root.identity()?;
        let beneath = into.as_ref().map_or(&b""[..], |into| into.as_bytes());
        root.remember_dressed(DressedBeneath::new(self.dressed.clone(), beneath));
        root.remember_left(self.left.clone());
        root.began_at(began.unwrap_or_else(Moment::now));
        root.take_access_lists(self.options.access_lists);
        let direct = self.options.direct.then(Direct::new);
        let existing = match self.options.existing {
            Existing::Overwrite if keeps_existing => Existing::Refuse,
            existing => existing,
        };
        Ok(Sink {
            folders: Arc::new(Folders::new(root, false)),
            existing,
            direct,
            identity,
            owner,
            is_absent,
        })
    }

    fn check(&self, root: &Dir) -> Result<(), SinkError> {
        if self.options.mounted && !root.is_mount_point()? {
            return Err(SinkError::NotMounted { path: self.path.clone() });
        }
        Ok(())
    }
}
