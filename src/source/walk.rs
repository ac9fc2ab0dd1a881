//! The walk through what the user named: folders are gone through as they are met, and nothing is held longer than the
//! way from the top down to where the walk is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{FileType, Metadata as FileMetadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crossbeam_channel::Sender;
use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;
use walkdir::{DirEntry, IntoIter, WalkDir};

use super::error::SourceError;
use super::excludes::Excludes;
use super::file::Source;
use super::item::{FirstName, Folder, Item, What, Within};
use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX};
use crate::name::{Escaped, Name, RelativePath};
use crate::os::direct::Direct;
use crate::wire::message::{Archive, Attribute, Metadata};

/// How to walk.
#[derive(Clone)]
pub struct Options {
    /// Send what symbolic links point to, and not the links.
    pub follow: bool,
    /// Take owners, attributes and further names of a file along.
    pub archive: bool,
    pub excludes: Excludes,
    /// Read past the page cache.
    pub direct: Option<Arc<Direct>>,
}

/// Something that the user named.
#[derive(Clone)]
pub struct Root {
    path: PathBuf,
    /// The name it gets at the receiver; `None` where only what is in it is sent.
    pub name: Option<Name>,
    metadata: FileMetadata,
}

impl Root {
    /// Looks at what `path` names, following symbolic links as `scp` does. A folder whose path ends in `/` or a dot stands
    /// for what is in it.
    ///
    /// # Errors
    /// [`SourceError`] for what is missing, may not be read, or has a name that cannot be sent.
    pub fn inspect(path: &Path) -> Result<Root, SourceError> {
        let io = |doing| move |source| SourceError::Io { path: path.into(), doing, source };
        let metadata = std::fs::metadata(path).map_err(io("look at"))?;
        let is_folder = metadata.is_dir();
        if !is_folder && !metadata.is_file() {
            return Err(SourceError::NotRegular { path: path.into(), what: special(metadata.file_type()) });
        }
        rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(|errno| io("read")(errno.into()))?;
        let name = match name_of(path) {
            Some(name) => Some(Name::from_local(&name).map_err(|reason| bad_name(path, reason))?),
            None => None,
        };
        Ok(Root { path: path.into(), name, metadata })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_folder(&self) -> bool {
        self.metadata.is_dir()
    }

    /// Bytes in the file; 0 for what is none.
    pub fn size(&self) -> u64 {
        if self.metadata.is_file() { self.metadata.size() } else { 0 }
    }
}

/// What it is that is neither file nor folder nor link.
fn special(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn bad_name(path: &Path, reason: crate::name::BadName) -> SourceError {
    SourceError::BadName { path: path.into(), reason }
}

/// The name that what stands at `path` gets at the receiver; `None` for a path that stands for what is in a folder.
pub fn name_of(path: &Path) -> Option<OsString> {
    let bytes = path.as_os_str().as_bytes();
    let contents = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    path.file_name().filter(|_| !contents).map(OsString::from)
}

/// Something on the way that is not sent.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Failed(SourceError),
    /// A pipe, a socket or a device.
    #[error(
        "{}: skipped, as it is {what}; only files can be sent, and folders with what is in them",
        Escaped::path(path)
    )]
    Skipped { path: PathBuf, what: &'static str },
}

impl Trouble {
    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Trouble::Failed(error) => error.path(),
            Trouble::Skipped { path, .. } => path,
        }
    }
}

/// A walk in progress.
pub(super) struct Walk {
    roots: vec::IntoIter<Root>,
    options: Options,
    ready: Sender<Item>,
    current: Option<Current>,
    /// Files with several names, by device and inode, and how many of their names have not been met.
    names: HashMap<(u64, u64), (Arc<FirstName>, u64)>,
}

/// The folder that the user named and the walk is in.
struct Current {
    root: PathBuf,
    entries: IntoIter,
    /// The folders from the top down to where the walk is, with their paths at the receiver.
    way: Vec<(Within, Option<RelativePath>)>,
}

impl Walk {
    /// `ready` is where folders and links go once what they wait for is done.
    pub fn new(roots: Vec<Root>, options: Options, ready: Sender<Item>) -> Walk {
        Walk { roots: roots.into_iter(), options, ready, current: None, names: HashMap::new() }
    }

    /// The next thing to offer at once; `None` at the end of the walk.
    pub fn next(&mut self) -> Option<Result<Item, Trouble>> {
        loop {
            if self.current.is_none() {
                let root = self.roots.next()?;
                if let Some(step) = self.enter(root) {
                    return Some(step);
                }
                continue;
            }
            let Some(current) = &mut self.current else { continue };
            let Some(entry) = current.entries.next() else {
                // Leaves what it is in, the innermost first.
                while current.way.pop().is_some() {}
                self.current = None;
                continue;
            };
            match entry {
                Ok(entry) => {
                    while current.way.len() > entry.depth() {
                        current.way.pop();
                    }
                    if let Some(step) = self.meet(&entry) {
                        return Some(step);
                    }
                }
                Err(error) => return Some(Err(Trouble::Failed(walk_error(&error)))),
            }
        }
    }

    fn enter(&mut self, root: Root) -> Option<Result<Item, Trouble>> {
        let Root { path, name, metadata } = root;
        if !metadata.is_dir() {
            let name = name?;
            if self.options.excludes.has(Path::new(name.as_os_str()), false) {
                return None;
            }
            let step = self.leaf(&path, name.into(), &metadata, Within::default());
            return step.map(|step| step.map(Item::named));
        }
        let entries = WalkDir::new(&path).follow_links(self.options.follow).min_depth(1).into_iter();
        let to = name.map(RelativePath::from);
        let metadata = match describe(&path, &metadata, self.options.archive) {
            Ok(metadata) => metadata,
            Err(error) => return Some(Err(Trouble::Failed(error))),
        };
        let folder = Folder::new(to.clone(), metadata, Within::default(), true);
        let way = vec![(folder.open(self.ready.clone()), to)];
        self.current = Some(Current { root: path, entries, way });
        None
    }

    /// Takes in an entry of the folder at the end of the way.
    fn meet(&mut self, entry: &DirEntry) -> Option<Result<Item, Trouble>> {
        let path = entry.path();
        let is_folder = entry.file_type().is_dir();
        let current = self.current.as_mut()?;
        if self.options.excludes.has_below(&current.root, path, is_folder) {
            if is_folder {
                current.entries.skip_current_dir();
            }
            return None;
        }
        let (within, folder) = current.way.last().map(|(within, folder)| (within.join(), folder.as_ref()))?;
        let to = match place(folder, entry) {
            Ok(to) => to,
            Err(error) => {
                if is_folder {
                    current.entries.skip_current_dir();
                }
                return Some(Err(Trouble::Failed(error)));
            }
        };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                // What is in it would be taken for what is beside it.
                if is_folder {
                    current.entries.skip_current_dir();
                }
                return Some(Err(Trouble::Failed(walk_error(&error))));
            }
        };
        if !is_folder {
            return self.leaf(path, to, &metadata, within);
        }
        match describe(path, &metadata, self.options.archive) {
            Ok(metadata) => {
                let folder = Folder::new(Some(to.clone()), metadata, within, false);
                current.way.push((folder.open(self.ready.clone()), Some(to)));
                None
            }
            Err(error) => {
                current.entries.skip_current_dir();
                Some(Err(Trouble::Failed(error)))
            }
        }
    }

    /// What is no folder.
    fn leaf(
        &mut self,
        path: &Path,
        to: RelativePath,
        metadata: &FileMetadata,
        within: Within,
    ) -> Option<Result<Item, Trouble>> {
        let kind = metadata.file_type();
        let what = if kind.is_file() {
            let source = Source::new(path, metadata);
            source.map(|source| What::File(source.directly(self.options.direct.clone())))
        } else if kind.is_symlink() {
            let io = |source| SourceError::Io { path: path.into(), doing: "read", source };
            let target = std::fs::read_link(path).map_err(io);
            target.map(|target| What::Symlink { target: target.as_os_str().as_bytes().to_vec() })
        } else {
            return Some(Err(Trouble::Skipped { path: path.into(), what: special(kind) }));
        };
        let described = what.and_then(|what| Ok((what, describe(path, metadata, self.options.archive)?)));
        match described {
            Ok((what, described)) => self.name(to, what, described, metadata, within).map(Ok),
            Err(error) => Some(Err(Trouble::Failed(error))),
        }
    }

    /// Makes an item of it, or a further name of one that was met before; that comes out of the feed later.
    fn name(
        &mut self,
        to: RelativePath,
        what: What,
        described: Metadata,
        metadata: &FileMetadata,
        within: Within,
    ) -> Option<Item> {
        let several = self.options.archive && metadata.nlink() > 1 && metadata.is_file();
        if !several {
            return Some(Item::new(Some(to), what, described, within));
        }
        let item = |what| Item::new(Some(to.clone()), what, described.clone(), within);
        let inode = (metadata.dev(), metadata.ino());
        if let Some((first, unmet)) = self.names.get_mut(&inode) {
            let first = first.clone();
            *unmet -= 1;
            if *unmet == 0 {
                self.names.remove(&inode);
            }
            match what {
                What::File(source) => first.follow(item(What::HardLink { to: first.clone(), source })),
                what => return Some(item(what)),
            }
            return None;
        }
        let first = FirstName::new(to.clone(), self.ready.clone());
        self.names.insert(inode, (first.clone(), metadata.nlink() - 1));
        Some(item(what).with_further_names(first))
    }
}

/// Where an entry of the folder at `folder` goes.
fn place(folder: Option<&RelativePath>, entry: &DirEntry) -> Result<RelativePath, SourceError> {
    let name = entry.file_name();
    let place = match folder {
        Some(folder) => folder.join(name),
        None => Name::from_local(name).map(RelativePath::from),
    };
    place.map_err(|reason| bad_name(entry.path(), reason))
}

fn describe(path: &Path, metadata: &FileMetadata, all: bool) -> Result<Metadata, SourceError> {
    let archive = if all { Some(archive(path, metadata)?) } else { None };
    // Below 10^9 by stat(2); a file system that says otherwise loses its fraction of a second.
    let nanos = u32::try_from(metadata.mtime_nsec()).ok().filter(|n| *n < 1_000_000_000);
    Ok(Metadata {
        mode: metadata.mode() & 0o7777,
        mtime_seconds: metadata.mtime(),
        mtime_nanos: nanos.unwrap_or(0),
        archive,
    })
}

fn walk_error(error: &walkdir::Error) -> SourceError {
    let path = error.path().unwrap_or(Path::new("")).to_path_buf();
    if error.loop_ancestor().is_some() {
        return SourceError::Loop { path };
    }
    let source = error.io_error().map_or(std::io::ErrorKind::Other.into(), |e| match e.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => e.kind().into(),
    });
    SourceError::Io { path, doing: "read", source }
}

// What `--archive` takes along: owner and extended attributes.

/// The owner and the attributes of what stands at `path` and has this `metadata`: of a symbolic link only where
/// that says that it is one.
///
/// # Errors
/// [`SourceError::Io`] for attributes that cannot be read, [`SourceError::TooManyAttributes`] for more than travel.
pub(super) fn archive(path: &Path, metadata: &FileMetadata) -> Result<Arc<Archive>, SourceError> {
    let io = |errno: Errno| SourceError::Io {
        path: path.into(),
        doing: "read the attributes of",
        source: errno.into(),
    };
    let attributes = match read(path, metadata.is_symlink()) {
        Ok(attributes) => attributes.ok_or_else(|| SourceError::TooManyAttributes { path: path.into() })?,
        // A file system without attributes has none.
        Err(errno) if errno == Errno::OPNOTSUPP || errno == Errno::NOTSUP => Vec::new(),
        Err(errno) => return Err(io(errno)),
    };
    Ok(Arc::new(Archive { uid: metadata.uid(), gid: metadata.gid(), attributes }))
}

/// `None` where they are more than may travel.
fn read(path: &Path, is_link: bool) -> Result<Option<Vec<Attribute>>, Errno> {
    // The kernel's own bound on a list of names (XATTR_LIST_MAX of linux/limits.h) is 64 KiB.
    let mut names = vec![0; 64 * 1024];
    let len = if is_link { llistxattr(path, &mut names) } else { listxattr(path, &mut names) }?;
    names.truncate(len);
    let mut attributes = Vec::new();
    let mut bytes = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let got = if is_link { lgetxattr(path, name, &mut value) } else { getxattr(path, name, &mut value) };
        let len = match got {
            Ok(len) => len,
            // Removed a moment ago.
            Err(Errno::NODATA) => continue,
            Err(Errno::RANGE) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        value.truncate(len);
        bytes += name.len() + value.len();
        if bytes > ATTRIBUTES_BYTES_MAX || attributes.len() == ATTRIBUTES_MAX || name.len() > NAME_BYTES_MAX {
            return Ok(None);
        }
        attributes.push(Attribute { name: name.to_vec(), value });
    }
    // In one order, whatever the file system's: the same file makes the same offer.
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(attributes))
}
