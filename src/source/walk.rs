//! The walk through what the user named: folders are gone through as they are met, and nothing is held longer
//! than the way from the top down to where the walk is.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crossbeam_channel::Sender;
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

use super::beneath::{Beneath, Recent, identity};
use super::error::{Change, SourceError, Unsent};
use super::excludes::Excludes;
use super::file::Source;
use super::item::{FirstName, Folder, Item, What, Within};
use super::listed::{List, Listed};
use crate::content::entry::{Archive, Attributes, Metadata};
use crate::limits::{ATTRIBUTES_BYTES_MAX, FOLDER_LEVELS_MADE_MAX};
use crate::name::{Escaped, Name, RelativePath, looks_like_part};
use crate::os::direct::Direct;

/// How to walk. By default everything is taken, as it is.
#[derive(Clone, Default)]
pub struct Options {
    /// Send what symbolic links point to, and not the links.
    pub follow: bool,
    /// Take owners, attributes and further names of a file along.
    pub archive: bool,
    pub excludes: Excludes,
    /// Leave out what is neither file nor folder nor link, and do not count it as missing.
    pub skip_special: bool,
    /// Of a folder where another file system is mounted take nothing but the folder.
    pub one_file_system: bool,
    /// Read past the page cache.
    pub direct: Option<Arc<Direct>>,
    /// What is sent of each folder that the user named, instead of all that is in it.
    pub list: Option<List>,
}

/// Something that the user named.
#[derive(Clone)]
pub struct Root {
    path: PathBuf,
    /// The name it gets at the receiver; `None` where only what is in it is sent.
    pub name: Option<Name>,
    stat: Stat,
}

impl Root {
    /// Looks at what `path` names, following symbolic links as `scp` does. A folder whose path ends in `/` or
    /// a dot stands for what is in it.
    ///
    /// # Errors
    /// [`SourceError`] for what is missing, may not be read, or has a name that cannot be sent.
    pub fn inspect(path: &Path) -> Result<Root, SourceError> {
        let io = |doing| move |errno| io_error(path, doing, errno);
        let stat = rustix::fs::stat(path).map_err(io("look at"))?;
        if !matches!(kind_of(&stat), FileType::Directory | FileType::RegularFile) {
            return Err(SourceError::NotRegular { path: path.into(), what: special(kind_of(&stat)) });
        }
        // The working folder of a script may have been deleted under it.
        if kind_of(&stat) == FileType::Directory && stat.st_nlink == 0 {
            return Err(io("look at")(Errno::NOENT));
        }
        rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(io("read"))?;
        let name = match name_of(path) {
            Some(name) => Some(Name::from_local(&name).map_err(|reason| bad_name(path, reason))?),
            None => None,
        };
        Ok(Root { path: path.into(), name, stat })
    }

    /// The same, to be called `name` at the receiver.
    pub fn named(self, name: Name) -> Root {
        Root { name: Some(name), ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_folder(&self) -> bool {
        kind_of(&self.stat) == FileType::Directory
    }

    /// Bytes in the file; 0 for what is none.
    pub fn size(&self) -> u64 {
        if self.is_folder() { 0 } else { u64::try_from(self.stat.st_size).unwrap_or(0) }
    }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether what is in this folder are no files on any disk, but what the kernel says of processes and
/// devices.
#[cfg(target_os = "linux")]
fn is_made_up(folder: OwnedFd) -> bool {
    // PROC_SUPER_MAGIC and SYSFS_MAGIC of linux/magic.h; their width differs by system.
    const MADE_UP: [u32; 2] = [0x9fa0, 0x6265_6572];
    rustix::fs::fstatfs(folder).is_ok_and(|fs| MADE_UP.contains(&(fs.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_made_up(_: OwnedFd) -> bool {
    false
}

/// What it is that is neither file nor folder nor link.
fn special(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

fn io_error(path: &Path, doing: &'static str, errno: Errno) -> SourceError {
    SourceError::Io { path: path.into(), doing, source: io::Error::from(errno) }
}

fn bad_name(path: &Path, reason: crate::name::BadName) -> SourceError {
    SourceError::BadName { path: path.into(), reason, unsent: Unsent::default() }
}

/// The name that what stands at `path` gets at the receiver; `None` for a path that stands for what is in a
/// folder.
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
    #[error("{}: skipped: {what}", Escaped::path(path))]
    Skipped { path: PathBuf, what: &'static str },
    /// Nothing that anybody would want sent.
    #[error("{}: left out: {why}", Escaped::path(path))]
    LeftOut { path: PathBuf, why: &'static str },
}

impl Trouble {
    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Trouble::Failed(error) => error.path(),
            Trouble::Skipped { path, .. } | Trouble::LeftOut { path, .. } => path,
        }
    }
}

/// Finds out whether a folder, by device and inode, is the one that the receiver puts files into.
pub type IsDestination = Arc<dyn Fn(u64, u64) -> bool + Send + Sync>;

/// A walk in progress.
pub(super) struct Walk {
    roots: vec::IntoIter<Root>,
    options: Options,
    ready: Sender<Item>,
    current: Option<Current>,
    /// Files with several names, by device and inode, and how many of their names have not been met.
    names: HashMap<(u64, u64), (Arc<FirstName>, u64)>,
    is_destination: Option<IsDestination>,
    recent: Recent,
}

/// The folder that the user named and the walk is in.
struct Current {
    path: PathBuf,
    tree: Arc<Beneath>,
    /// The folders from the top down to where the walk is.
    way: Vec<Level>,
    /// What is sent of it, where a list says that.
    listed: Option<Listed>,
    /// The path in the list that the walk is on its way to.
    next: Option<PathBuf>,
}

/// A folder on the way.
struct Level {
    /// Its path beneath the one that the user named.
    below: PathBuf,
    within: Within,
    /// Its path at the receiver.
    to: Option<RelativePath>,
    device: u64,
    inode: u64,
    entries: Entries,
}

/// What is still to come of a folder.
enum Entries {
    /// As the system hands it out.
    Open(Dir),
    /// Read ahead, so that the folder need not stay open.
    Names(vec::IntoIter<OsString>),
    /// What is in it comes out of the list. The folder, where it is open.
    Listed(Option<Dir>),
}

/// Folders on the way that are open at once. Above them names are read ahead.
const OPEN_FOLDERS_MAX: usize = 8;

/// Why the walk looks at an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is in a folder of which everything is sent.
    Within,
    /// The list names it.
    Named,
    /// It is on the way to what the list names.
    OnTheWay,
}

/// Something met on the way.
struct Met {
    why: Why,
    path: PathBuf,
    below: PathBuf,
    to: RelativePath,
    within: Within,
    looked: Looked,
}

/// What is seen of an entry in its folder.
struct Looked {
    stat: Stat,
    attributes: Result<Option<Attributes>, SourceError>,
    /// Where a symbolic link leads.
    target: Option<Result<CString, Errno>>,
}

impl Walk {
    /// `ready` is where folders and links go once what they wait for is done.
    pub fn new(roots: Vec<Root>, options: Options, ready: Sender<Item>) -> Walk {
        let roots = roots.into_iter();
        Walk {
            roots,
            options,
            ready,
            current: None,
            names: HashMap::new(),
            is_destination: None,
            recent: Recent::default(),
        }
    }

    /// From now on leaves out the folder that the receiver puts files into.
    pub fn leave_out(&mut self, is_destination: IsDestination) {
        self.is_destination = Some(is_destination);
    }

    /// The next thing to offer at once; `None` at the end of the walk.
    pub fn next(&mut self) -> Option<Result<Item, Trouble>> {
        loop {
            let Some(current) = &mut self.current else {
                let root = self.roots.next()?;
                if let Some(step) = self.enter(root) {
                    return Some(step);
                }
                continue;
            };
            let Some(level) = current.way.last_mut() else {
                self.current = None;
                continue;
            };
            let step = match level.entries.next() {
                None => match (&level.entries, &mut current.listed) {
                    (Entries::Listed(_), Some(listed)) => {
                        match current.next.take().map(Ok).or_else(|| listed.next()) {
                            Some(Ok(path)) => self.approach(path),
                            Some(Err(error)) => Some(Err(Trouble::Failed(error))),
                            None => {
                                current.way.clear();
                                continue;
                            }
                        }
                    }
                    _ => {
                        current.way.pop();
                        continue;
                    }
                },
                Some(Ok(name)) => self.meet(name, Why::Within),
                Some(Err(errno)) => {
                    let path = current.path.join(&level.below);
                    current.way.pop();
                    Some(Err(Trouble::Failed(io_error(&path, "read", errno))))
                }
            };
            if step.is_some() {
                return step;
            }
        }
    }

    fn enter(&mut self, root: Root) -> Option<Result<Item, Trouble>> {
        let Root { path, name, stat } = root;
        if kind_of(&stat) != FileType::Directory {
            let name = name?;
            if self.options.excludes.has(Path::new(name.as_os_str()), false) {
                return None;
            }
            // It may be a link: the user's own word.
            let attributes = self.options.archive.then(|| {
                let opened = open_at(rustix::fs::CWD, path.as_os_str(), OFlags::empty());
                attributes_of(opened, &stat, &path)
            });
            let step = match attributes.transpose() {
                Ok(attributes) => {
                    self.file(name.into(), Source::new(&path, &stat), &stat, attributes, Within::default())
                }
                Err(error) => Some(Err(Trouble::Failed(error))),
            };
            return step.map(|step| step.map(Item::named));
        }
        if self.is_destination(&stat) {
            return Some(Err(destination(path)));
        }
        let tree = match Beneath::open_root(&path, self.options.follow, &self.recent) {
            Ok(tree) => Arc::new(tree),
            Err(errno) => return Some(Err(Trouble::Failed(io_error(&path, "read", errno)))),
        };
        let attributes =
            self.options.archive.then(|| attributes_of(tree.open_folder(Path::new("")), &stat, &path));
        let metadata = match attributes.transpose().map(|attributes| describe(&stat, attributes)) {
            Ok(metadata) => metadata,
            Err(error) => return Some(Err(Trouble::Failed(error))),
        };
        let listed = match self.options.list.as_ref().map(List::open).transpose() {
            Ok(listed) => listed,
            Err(error) => return Some(Err(Trouble::Failed(error))),
        };
        let why = if listed.is_some() { Why::OnTheWay } else { Why::Within };
        let to = name.map(RelativePath::from);
        let folder = Folder::new(to.clone(), metadata, Within::default(), true);
        let within = folder.open(self.ready.clone());
        self.current = Some(Current { path, tree, way: Vec::new(), listed, next: None });
        self.descend(PathBuf::new(), &stat, within, to, why)
    }

    /// Goes one folder towards what the list names, or looks at it where it is in the last one on the way.
    fn approach(&mut self, path: PathBuf) -> Option<Result<Item, Trouble>> {
        let current = self.current.as_mut()?;
        // The topmost is what all paths begin in.
        while current.way.len() > 1
            && current.way.last().is_some_and(|level| level.below == path || !path.starts_with(&level.below))
        {
            current.way.pop();
        }
        let mut names = path.strip_prefix(&current.way.last()?.below).ok()?.components();
        let name = names.next()?.as_os_str().to_owned();
        if names.next().is_none() {
            return self.meet(name, Why::Named);
        }
        let levels = current.way.len();
        let step = self.meet(name, Why::OnTheWay);
        let current = self.current.as_mut()?;
        // Otherwise it is left out, or none that one can go into.
        if current.way.len() > levels {
            current.next = Some(path);
        }
        step
    }

    /// Goes into a folder on the way.
    fn descend(
        &mut self,
        below: PathBuf,
        stat: &Stat,
        within: Within,
        to: Option<RelativePath>,
        why: Why,
    ) -> Option<Result<Item, Trouble>> {
        let goes_whole = self.options.list.as_ref().is_none_or(|list| list.recursive && why != Why::OnTheWay);
        let current = self.current.as_mut()?;
        let path = current.path.join(&below);
        let failed = |errno| Some(Err(Trouble::Failed(io_error(&path, "read", errno))));
        let (device, inode) = identity(stat);
        // Those far above would take a descriptor each.
        if let Some(above) = current.way.len().checked_sub(OPEN_FOLDERS_MAX)
            && let Some(level) = current.way.get_mut(above)
            && let Err(errno) = level.entries.read_ahead()
        {
            return failed(errno);
        }
        let opened = current.tree.open_folder(&below).and_then(|fd| {
            let now = rustix::fs::fstat(&fd)?;
            // Another folder in its place is one that was never met.
            if identity(&now) == (device, inode) { Dir::new(fd) } else { Err(Errno::NOENT) }
        });
        match opened {
            Ok(dir) => {
                let parent = parent_folder(to.as_ref(), stat, &within);
                let entries = if goes_whole { Entries::Open(dir) } else { Entries::Listed(Some(dir)) };
                current.way.push(Level { below, within, to, device, inode, entries });
                parent.map(Ok)
            }
            Err(errno) => failed(errno),
        }
    }

    /// Takes in an entry of the folder at the end of the way.
    fn meet(&mut self, name: OsString, why: Why) -> Option<Result<Item, Trouble>> {
        let current = self.current.as_ref()?;
        let level = current.way.last()?;
        let below = level.below.join(&name);
        let path = current.path.join(&below);
        let Options { follow, archive, .. } = self.options;
        let looked = level.folder(&current.tree, |folder| {
            let stat = current.tree.stat(folder, name.as_bytes())?;
            let attributes = archive.then(|| attributes_in(folder, &name, &stat, &path, follow)).transpose();
            let is_link = kind_of(&stat) == FileType::Symlink;
            let target = is_link.then(|| rustix::fs::readlinkat(folder, &name, Vec::new()));
            Ok(Looked { stat, attributes, target })
        });
        let looked = match looked {
            Ok(looked) => looked,
            Err(errno) => {
                let excluded = self.options.excludes.has_below(&current.path, &path, false);
                return (!excluded).then(|| Err(Trouble::Failed(io_error(&path, "read", errno))));
            }
        };
        let is_folder = kind_of(&looked.stat) == FileType::Directory;
        if self.options.excludes.has_below(&current.path, &path, is_folder) {
            return None;
        }
        if looks_like_part(name.as_bytes()) {
            let why = "it is an unfinished file of lanx";
            return Some(Err(Trouble::LeftOut { path, why }));
        }
        if is_folder && self.is_destination(&looked.stat) {
            return Some(Err(destination(path)));
        }
        if why == Why::OnTheWay && !is_folder {
            return Some(Err(Trouble::Failed(io_error(&path, "read", Errno::NOTDIR))));
        }
        match place(level.to.as_ref(), &name) {
            Ok(to) => {
                let (within, tree) = (level.within.join(), current.tree.clone());
                self.take_in(Met { why, path, below, to, within, looked }, tree)
            }
            Err(reason) => {
                // Nobody is to think that it is about one name.
                let unsent =
                    is_folder.then(|| level.folder(&current.tree, |folder| Ok(unsent_in(folder, &name))));
                let unsent = unsent.and_then(Result::ok).unwrap_or_default();
                Some(Err(Trouble::Failed(SourceError::BadName { path, reason, unsent })))
            }
        }
    }

    fn take_in(&mut self, met: Met, tree: Arc<Beneath>) -> Option<Result<Item, Trouble>> {
        let Met { why, path, below, to, within, looked: Looked { stat, attributes, target } } = met;
        let attributes = match attributes {
            Ok(attributes) => attributes,
            Err(error) => return Some(Err(Trouble::Failed(error))),
        };
        match (kind_of(&stat), target) {
            (FileType::Directory, _) => {
                if self.leads_back(&stat) {
                    return Some(Err(Trouble::Failed(SourceError::Loop { path })));
                }
                let folder = Folder::new(Some(to.clone()), describe(&stat, attributes), within, false);
                let within = folder.open(self.ready.clone());
                if let Some(why) = self.stays_outside(&stat, &tree, &below) {
                    // The folder itself is offered, as nothing in it is waited for.
                    return Some(Err(Trouble::LeftOut { path, why }));
                }
                self.descend(below, &stat, within, Some(to), why)
            }
            (FileType::RegularFile, _) => {
                let source = Source::new(&path, &stat).map(|source| source.beneath(tree, &below));
                self.file(to, source, &stat, attributes, within)
            }
            (_, Some(Ok(target))) => {
                let what = What::Symlink { target: target.into_bytes() };
                self.name(to, what, describe(&stat, attributes), &stat, within).map(Ok)
            }
            (_, Some(Err(errno))) => Some(Err(Trouble::Failed(io_error(&path, "read", errno)))),
            (kind, None) if self.options.skip_special => {
                Some(Err(Trouble::LeftOut { path, why: special(kind) }))
            }
            (kind, None) => Some(Err(Trouble::Skipped { path, what: special(kind) })),
        }
    }

    /// Why the walk does not go into a folder where something is mounted.
    fn stays_outside(&self, stat: &Stat, tree: &Beneath, below: &Path) -> Option<&'static str> {
        let above = self.current.as_ref()?.way.last()?.device;
        if identity(stat).0 == above {
            return None;
        }
        if self.options.one_file_system {
            return Some("what is in it is on another file system");
        }
        let made_up = tree.open_folder(below).is_ok_and(is_made_up);
        made_up.then_some("what is in it is no files, but what the system says of itself")
    }

    /// A regular file.
    fn file(
        &mut self,
        to: RelativePath,
        source: Result<Source, SourceError>,
        stat: &Stat,
        attributes: Option<Attributes>,
        within: Within,
    ) -> Option<Result<Item, Trouble>> {
        match source {
            Ok(source) => {
                let what = What::File(source.directly(self.options.direct.clone()));
                self.name(to, what, describe(stat, attributes), stat, within).map(Ok)
            }
            Err(error) => Some(Err(Trouble::Failed(error))),
        }
    }

    /// Whether a link that was followed leads to a folder on the way.
    fn leads_back(&self, stat: &Stat) -> bool {
        let on_the_way = |level: &Level| (level.device, level.inode) == identity(stat);
        self.options.follow && self.current.as_ref().is_some_and(|current| current.way.iter().any(on_the_way))
    }

    fn is_destination(&self, stat: &Stat) -> bool {
        let (device, inode) = identity(stat);
        self.is_destination.as_ref().is_some_and(|is_destination| is_destination(device, inode))
    }

    /// Makes an item of it, or a further name of one that was met before; that comes out of the feed later.
    fn name(
        &mut self,
        to: RelativePath,
        what: What,
        described: Metadata,
        stat: &Stat,
        within: Within,
    ) -> Option<Item> {
        let names = links(stat);
        let several = self.options.archive && names > 1 && kind_of(stat) == FileType::RegularFile;
        if !several {
            return Some(Item::new(Some(to), what, described, within));
        }
        let item = |what| Item::new(Some(to.clone()), what, described.clone(), within);
        let inode = identity(stat);
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
        self.names.insert(inode, (first.clone(), names - 1));
        Some(item(what).with_further_names(first))
    }
}

/// The offer of a folder before what is in it, where the receiver would otherwise have to make more folders
/// for one offer than it does.
fn parent_folder(to: Option<&RelativePath>, stat: &Stat, within: &Within) -> Option<Item> {
    let depth = to?.as_bytes().split(|&byte| byte == b'/').count();
    let is_due = depth.is_multiple_of(FOLDER_LEVELS_MADE_MAX);
    is_due.then(|| Item::new(to.cloned(), What::ParentFolder, describe(stat, None), within.join()))
}

impl Level {
    /// Does something in the folder, which may have to be opened for that.
    fn folder<T>(
        &self,
        tree: &Beneath,
        act: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match &self.entries {
            Entries::Open(dir) | Entries::Listed(Some(dir)) => act(dir.fd()?),
            Entries::Names(_) | Entries::Listed(None) => act(tree.open_folder(&self.below)?.as_fd()),
        }
    }
}

impl Entries {
    /// The next name; an error is the last.
    fn next(&mut self) -> Option<Result<OsString, Errno>> {
        match self {
            Entries::Names(names) => names.next().map(Ok),
            Entries::Listed(_) => None,
            Entries::Open(dir) => loop {
                match dir.read()? {
                    Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                    Ok(entry) => return Some(Ok(OsString::from_vec(entry.file_name().to_bytes().to_vec()))),
                    Err(errno) => return Some(Err(errno)),
                }
            },
        }
    }

    fn read_ahead(&mut self) -> Result<(), Errno> {
        if let Entries::Listed(open) = self {
            *open = None;
            return Ok(());
        }
        let mut names = Vec::new();
        while let Some(name) = self.next() {
            names.push(name?);
        }
        *self = Entries::Names(names.into_iter());
        Ok(())
    }
}

fn destination(path: PathBuf) -> Trouble {
    Trouble::LeftOut { path, why: "the receiver puts files there, and it would be sent what it receives" }
}

/// How many names it has.
#[allow(clippy::useless_conversion)] // The width differs by system.
fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

/// How deep and how much is counted of what is not sent.
const COUNTED_LEVELS_MAX: usize = 128;
const COUNTED_MAX: u64 = 1_000_000;

/// What is in the folder `name` of `folder`, also where no path leads there any more.
fn unsent_in(folder: BorrowedFd<'_>, name: &OsStr) -> Unsent {
    let open = |at: BorrowedFd<'_>, name: &[u8]| -> Result<Dir, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Dir::new(rustix::fs::openat(at, name, flags, Mode::empty())?)
    };
    let mut unsent = Unsent::default();
    let mut way = Vec::from_iter(open(folder, name.as_bytes()));
    while let Some(dir) = way.last_mut() {
        let entry = match dir.read() {
            None => {
                way.pop();
                continue;
            }
            Some(Ok(entry)) if !matches!(entry.file_name().to_bytes(), b"." | b"..") => entry,
            Some(Ok(_)) => continue,
            Some(Err(_)) => return Unsent { more: true, ..unsent },
        };
        unsent.entries += 1;
        let is_deep = way.len() >= COUNTED_LEVELS_MAX;
        if unsent.entries >= COUNTED_MAX {
            return Unsent { more: true, ..unsent };
        }
        if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            continue;
        }
        let inner = way.last().and_then(|dir| open(dir.fd().ok()?, entry.file_name().to_bytes()).ok());
        match inner {
            Some(inner) if !is_deep => way.push(inner),
            Some(_) => unsent.more = true,
            // No folder, where the file system does not say what it is.
            None => unsent.more |= entry.file_type() == FileType::Directory,
        }
    }
    unsent
}

/// Where an entry of the folder at `folder` goes.
fn place(folder: Option<&RelativePath>, name: &OsStr) -> Result<RelativePath, crate::name::BadName> {
    match folder {
        Some(folder) => folder.join(name),
        None => Name::from_local(name).map(RelativePath::from),
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // The widths differ by system.
fn describe(stat: &Stat, attributes: Option<Attributes>) -> Metadata {
    let archive =
        attributes.map(|attributes| Arc::new(Archive { uid: stat.st_uid, gid: stat.st_gid, attributes }));
    // Below 10^9 by stat(2); a file system that says otherwise loses its fraction of a second.
    let nanos = u32::try_from(stat.st_mtime_nsec).ok().filter(|n| *n < 1_000_000_000);
    Metadata {
        mode: u32::from(stat.st_mode) & 0o7777,
        mtime_seconds: stat.st_mtime as i64,
        mtime_nanos: nanos.unwrap_or(0),
        archive,
    }
}

// What `--archive` takes along besides the owner: extended attributes.

/// The attributes of `name` in `folder`, which is as `stat` says.
fn attributes_in(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    path: &Path,
    follow: bool,
) -> Result<Attributes, SourceError> {
    match kind_of(stat) {
        FileType::RegularFile | FileType::Directory => {
            let flags = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
            attributes_of(open_at(folder, name, flags), stat, path)
        }
        FileType::Symlink => {
            // It cannot be opened for reading. The way there is the open folder and not its path, which may
            // lead elsewhere by now.
            let way = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            let names = |names: &mut [u8]| llistxattr(&way, names);
            told(read(names, |name, value| lgetxattr(&way, name, value)), path)
        }
        // It is not sent.
        _ => Ok(Attributes::default()),
    }
}

/// Opens what is to be looked at, without waiting for anything.
fn open_at(folder: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
    rustix::io::retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()))
}

/// The attributes of what was opened at `path`, which has to be what was seen there: whatever took its place
/// has others.
fn attributes_of(
    opened: Result<OwnedFd, Errno>,
    stat: &Stat,
    path: &Path,
) -> Result<Attributes, SourceError> {
    let replaced = || SourceError::Changed { path: path.into(), change: Change::Replaced };
    let file = opened.map_err(|errno| match errno {
        Errno::LOOP => replaced(),
        errno => io_error(path, "open", errno),
    })?;
    let now = rustix::fs::fstat(&file).map_err(|errno| io_error(path, "look at", errno))?;
    if identity(&now) != identity(stat) {
        return Err(replaced());
    }
    told(read(|names| flistxattr(&file, names), |name, value| fgetxattr(&file, name, value)), path)
}

/// # Errors
/// [`SourceError::Io`] for attributes that cannot be read, [`SourceError::TooManyAttributes`] for more than travel.
fn told(read: Result<Option<Attributes>, Errno>, path: &Path) -> Result<Attributes, SourceError> {
    match read {
        Ok(attributes) => attributes.ok_or_else(|| SourceError::TooManyAttributes { path: path.into() }),
        // A file system without attributes has none.
        Err(errno) if errno == Errno::OPNOTSUPP || errno == Errno::NOTSUP => Ok(Attributes::default()),
        Err(errno) => Err(io_error(path, "read the attributes of", errno)),
    }
}

/// `None` where they are more than may travel.
fn read(
    list: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Option<Attributes>, Errno> {
    // The kernel's own bound on a list of names (XATTR_LIST_MAX of linux/limits.h) is 64 KiB.
    let mut names = vec![0; 64 * 1024];
    let len = list(&mut names)?;
    names.truncate(len);
    let mut attributes = Vec::new();
    let mut bytes = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let len = match get(name, &mut value) {
            Ok(len) => len,
            // Removed a moment ago.
            Err(Errno::NODATA) => continue,
            Err(Errno::RANGE) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        value.truncate(len);
        bytes += name.len() + value.len();
        // Many more would only take memory.
        if bytes > ATTRIBUTES_BYTES_MAX {
            return Ok(None);
        }
        attributes.push((name.to_vec(), value));
    }
    // In one order, whatever the file system's: the same file makes the same offer.
    attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Attributes::new(&attributes))
}

#[cfg(all(test, target_os = "linux"))]
mod attributes_tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    #[test]
    fn attributes_are_those_of_what_was_met_and_of_nothing_that_takes_its_place() {
        let room = tempfile::tempdir().unwrap();
        let (file, other) = (room.path().join("file"), room.path().join("other"));
        for (path, value) in [(&file, "ours"), (&other, "secret")] {
            fs::write(path, "x").unwrap();
            if setxattr(path, "user.lanx", value.as_bytes(), XattrFlags::empty()).is_err() {
                // This file system has none.
                return;
            }
        }
        let folder = open_at(rustix::fs::CWD, room.path().as_os_str(), OFlags::DIRECTORY).unwrap();
        let met = rustix::fs::stat(&file).unwrap();
        let read = |follow| attributes_in(folder.as_fd(), OsStr::new("file"), &met, &file, follow);
        let ours = Attributes::new(&[(b"user.lanx".to_vec(), b"ours".to_vec())]);
        assert_eq!(read(false).ok(), ours);

        fs::rename(&file, room.path().join("moved")).unwrap();
        symlink(&other, &file).unwrap();
        for follow in [false, true] {
            let error = read(follow).unwrap_err();
            assert!(matches!(error, SourceError::Changed { change: Change::Replaced, .. }), "{error}");
        }
        fs::rename(&other, &file).unwrap();
        let error = read(false).unwrap_err();
        assert!(matches!(error, SourceError::Changed { change: Change::Replaced, .. }), "{error}");
    }
}
