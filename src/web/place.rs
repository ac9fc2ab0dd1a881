//! What is served: the files and folders that the user named, and nothing that a symbolic link leads to.
//!
//! A folder is opened beneath its handle, the last name of a path by itself, so that nothing which is swapped
//! meanwhile leads anywhere else. What stands there is looked at before it is opened, as opening a device can
//! have effects of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::name::{Escaped, Name, RelativePath, looks_like_part};
use crate::os::said::Said;
use crate::os::stamp::Stamp;
use crate::source::beneath::{Beneath, Recent};

/// All that is served.
#[derive(Debug)]
pub struct Place {
    top: Top,
    /// Of the one folder that is served.
    name: Option<Vec<u8>>,
    /// Whether names that begin with a dot are served.
    hidden: bool,
}

#[derive(Debug)]
enum Top {
    /// What is in one folder.
    Folder(Beneath),
    /// What the user named, by its name.
    Named(BTreeMap<Vec<u8>, Root>),
}

/// One of several that the user named.
#[derive(Debug)]
enum Root {
    Folder(Beneath),
    File(PathBuf),
}

/// Why the user's paths cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot serve {}: {}; name a file or a folder that is there", Escaped::path(path), Said(source))]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is neither a file nor a folder; name one that is", Escaped::path(.0))]
    Kind(PathBuf),
    #[error("{} has no name of its own; name the folder that it is in", Escaped::path(.0))]
    NoName(PathBuf),
    #[error("two of the paths are called {}; serve the folder that both are in", Escaped(.0))]
    Twice(Vec<u8>),
}

/// Why there is nothing to answer with.
#[derive(Debug)]
pub enum Missing {
    /// There is none, or none that is served.
    NotFound,
    /// This user may not read it.
    Forbidden,
    Failed(io::Error),
}

impl From<Errno> for Missing {
    fn from(errno: Errno) -> Missing {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO => {
                Missing::NotFound
            }
            Errno::ACCESS | Errno::PERM => Missing::Forbidden,
            errno => Missing::Failed(errno.into()),
        }
    }
}

/// What stands at a path.
#[derive(Debug)]
pub enum Found {
    File(OpenFile),
    Folder(Folder),
}

/// A regular file, open, as it was when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    pub file: Arc<File>,
    pub stamp: Stamp,
    pub mode: u32,
}

/// A folder that can be listed.
#[derive(Debug)]
pub struct Folder {
    place: Arc<Place>,
    /// `None` for the names that the user gave.
    fd: Option<OwnedFd>,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub is_folder: bool,
    pub mode: u32,
    pub stamp: Stamp,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Not blocking: a FIFO that took the file's place would otherwise hold us for ever.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Place {
    /// What these paths lead to. They may be symbolic links: they are the user's own word.
    ///
    /// # Errors
    /// One is not there, cannot be read, or has the name of another.
    pub fn new(paths: &[PathBuf], hidden: bool) -> Result<Place, PlaceError> {
        let recent = Recent::default();
        let open = |path: &Path| {
            let failed = |errno: Errno| PlaceError::Unreadable { path: path.into(), source: errno.into() };
            let stat = rustix::fs::stat(path).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    Beneath::open_root(path, false, &recent).map(Root::Folder).map_err(failed)
                }
                FileType::RegularFile => {
                    let file = retry_on_intr(|| rustix::fs::open(path, FILE, Mode::empty()));
                    file.map(|_| Root::File(path.into())).map_err(failed)
                }
                _ => Err(PlaceError::Kind(path.into())),
            }
        };
        if let [path] = paths
            && let Root::Folder(folder) = open(path)?
        {
            let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
            let name = whole.file_name().map(|name| name.as_bytes().to_vec());
            return Ok(Place { top: Top::Folder(folder), name, hidden });
        }
        let mut named = BTreeMap::new();
        for path in paths {
            let name = path.file_name().ok_or_else(|| PlaceError::NoName(path.clone()))?;
            if named.insert(name.as_bytes().to_vec(), open(path)?).is_some() {
                return Err(PlaceError::Twice(name.as_bytes().to_vec()));
            }
        }
        Ok(Place { top: Top::Named(named), name: None, hidden })
    }

    /// What the folder is called whose files are served. There is none where several paths are, or the root
    /// of the disk.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// Opens what stands at `path`; `None` is the top.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn open(self: &Arc<Self>, path: Option<&RelativePath>) -> Result<Found, Missing> {
        let Some(path) = path else {
            let fd = match &self.top {
                Top::Folder(beneath) => Some(beneath.open_folder(Path::new(""))?),
                Top::Named(_) => None,
            };
            return Ok(Found::Folder(Folder { place: self.clone(), fd }));
        };
        let below = path.as_bytes();
        let (first, rest) = split(below);
        match &self.top {
            Top::Folder(beneath) => self.open_beneath(beneath, below),
            // The user has named it, so it is not hidden.
            Top::Named(named) => match (named.get(first).ok_or(Missing::NotFound)?, rest) {
                (Root::Folder(beneath), None) => {
                    let fd = beneath.open_folder(Path::new(""))?;
                    Ok(Found::Folder(Folder { place: self.clone(), fd: Some(fd) }))
                }
                (Root::Folder(beneath), Some(rest)) => self.open_beneath(beneath, rest),
                (Root::File(path), None) => {
                    let fd = retry_on_intr(|| rustix::fs::open(path, FILE, Mode::empty()))?;
                    OpenFile::of(fd).map(Found::File)
                }
                (Root::File(_), Some(_)) => Err(Missing::NotFound),
            },
        }
    }

    fn open_beneath(self: &Arc<Self>, beneath: &Beneath, below: &[u8]) -> Result<Found, Missing> {
        if below.split(|byte| *byte == b'/').any(|name| !self.serves(name)) {
            return Err(Missing::NotFound);
        }
        let at = below.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = at.map_or((&b""[..], below), |at| (&below[..at], &below[at + 1..]));
        let fd = beneath.open_folder(Path::new(OsStr::from_bytes(folder)))?;
        let folder = Folder { place: self.clone(), fd: Some(fd) };
        let stat = folder.stat(name)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => folder.folder(name).map(Found::Folder),
            FileType::RegularFile => folder.file(name).map(Found::File),
            _ => Err(Missing::NotFound),
        }
    }

    /// Whether something of this name in a folder is served. What is in a part file is not verified, and
    /// somebody else's.
    fn serves(&self, name: &[u8]) -> bool {
        (self.hidden || !name.starts_with(b".")) && !looks_like_part(name)
    }
}

fn split(below: &[u8]) -> (&[u8], Option<&[u8]>) {
    match below.iter().position(|byte| *byte == b'/') {
        Some(at) => (&below[..at], Some(&below[at + 1..])),
        None => (below, None),
    }
}

impl OpenFile {
    fn of(fd: OwnedFd) -> Result<OpenFile, Missing> {
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Missing::NotFound);
        }
        Ok(OpenFile { file: Arc::new(File::from(fd)), stamp: Stamp::of(&stat), mode: mode_of(&stat) })
    }
}

fn mode_of(stat: &Stat) -> u32 {
    // Its width differs by system.
    #[allow(clippy::useless_conversion)]
    let bits = u32::from(Mode::from_raw_mode(stat.st_mode).bits());
    bits & 0o777
}

impl Folder {
    fn stat(&self, name: &[u8]) -> Result<Stat, Missing> {
        let fd = self.fd.as_ref().ok_or(Missing::NotFound)?;
        Ok(rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// A folder in this one.
    ///
    /// # Errors
    /// [`Missing`], also where the name is one of a link by now.
    pub fn folder(&self, name: &[u8]) -> Result<Folder, Missing> {
        match (&self.fd, &self.place.top) {
            (Some(fd), _) => {
                let fd = retry_on_intr(|| rustix::fs::openat(fd, name, FOLDER, Mode::empty()))?;
                Ok(Folder { place: self.place.clone(), fd: Some(fd) })
            }
            (None, _) => match self.named(name)? {
                Found::Folder(folder) => Ok(folder),
                Found::File(_) => Err(Missing::NotFound),
            },
        }
    }

    /// A file in this one.
    ///
    /// # Errors
    /// As [`Folder::folder`].
    pub fn file(&self, name: &[u8]) -> Result<OpenFile, Missing> {
        match &self.fd {
            Some(fd) => {
                let flags = FILE | OFlags::NOFOLLOW;
                OpenFile::of(retry_on_intr(|| rustix::fs::openat(fd, name, flags, Mode::empty()))?)
            }
            None => match self.named(name)? {
                Found::File(file) => Ok(file),
                Found::Folder(_) => Err(Missing::NotFound),
            },
        }
    }

    fn named(&self, name: &[u8]) -> Result<Found, Missing> {
        let path = RelativePath::from_wire(name).map_err(|_| Missing::NotFound)?;
        self.place.open(Some(&path))
    }

    /// The first names behind `after`, in the order of their bytes, and whether there are more. No more than
    /// `most` are held at any moment, however large the folder is.
    ///
    /// # Errors
    /// What the system said.
    pub fn names(&self, after: Option<&[u8]>, most: usize) -> io::Result<(Vec<Vec<u8>>, bool)> {
        let after = after.unwrap_or_default();
        let Some(fd) = &self.fd else {
            let Top::Named(named) = &self.place.top else { return Ok((Vec::new(), false)) };
            let behind = (Bound::Excluded(after.to_vec()), Bound::Unbounded);
            let mut names: Vec<Vec<u8>> =
                named.range(behind).map(|(name, _)| name.clone()).take(most + 1).collect();
            let more = names.len() > most;
            names.truncate(most);
            return Ok((names, more));
        };
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut more = false;
        for entry in Dir::read_from(fd.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_wanted = name > after && self.place.serves(name) && Name::from_wire(name).is_ok();
            let last = names.last().filter(|_| names.len() >= most);
            if !is_wanted || last.is_some_and(|last| name > last.as_slice()) {
                more |= is_wanted;
                continue;
            }
            names.insert(name.to_vec());
            if names.len() > most {
                names.pop_last();
                more = true;
            }
        }
        Ok((names.into_iter().collect(), more))
    }

    /// The folder itself, without its name; `None` for the names that the user gave.
    #[must_use]
    pub fn own(&self) -> Option<Entry> {
        let stat = rustix::fs::fstat(self.fd.as_ref()?).ok()?;
        Some(Entry { name: Vec::new(), is_folder: true, mode: mode_of(&stat), stamp: Stamp::of(&stat) })
    }

    /// What stands under a name of this folder; `None` for what is neither a file nor a folder, or is gone.
    #[must_use]
    pub fn entry(&self, name: &[u8]) -> Option<Entry> {
        let stat = match (&self.fd, &self.place.top) {
            (Some(_), _) => self.stat(name).ok()?,
            (None, Top::Named(named)) => match named.get(name)? {
                Root::File(path) => rustix::fs::stat(path).ok()?,
                Root::Folder(folder) => rustix::fs::fstat(folder.open_folder(Path::new("")).ok()?).ok()?,
            },
            (None, Top::Folder(_)) => return None,
        };
        let is_folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => return None,
        };
        Some(Entry { name: name.to_vec(), is_folder, mode: mode_of(&stat), stamp: Stamp::of(&stat) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::from_wire(text.as_bytes()).unwrap()
    }

    fn serves(place: &Arc<Place>, below: &str) -> bool {
        place.open(Some(&path(below))).is_ok()
    }

    #[test]
    fn links_hidden_names_and_what_is_no_file_are_not_served() {
        let room = tempfile::tempdir().unwrap();
        let (inside, outside) = (room.path().join("in"), room.path().join("out"));
        fs::create_dir_all(inside.join("a/.git")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        for file in ["a/file", "a/.hidden", "a/.git/config", "a/.file.v2-x.lanx-part"] {
            fs::write(inside.join(file), "x").unwrap();
        }
        symlink(&outside, inside.join("folder-link")).unwrap();
        symlink(outside.join("secret"), inside.join("link")).unwrap();
        symlink("a/file", inside.join("inner-link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let plain = Arc::new(Place::new(std::slice::from_ref(&inside), false).unwrap());
        let all = Arc::new(Place::new(std::slice::from_ref(&inside), true).unwrap());
        for (below, seen, seen_by_all) in [
            ("a/file", true, true),
            ("a", true, true),
            ("a/.hidden", false, true),
            ("a/.git/config", false, true),
            ("a/none", false, false),
            ("a/file/x", false, false),
            ("link", false, false),
            ("inner-link", false, false),
            ("folder-link", false, false),
            ("folder-link/secret", false, false),
            ("pipe", false, false),
        ] {
            assert_eq!((serves(&plain, below), serves(&all, below)), (seen, seen_by_all), "{below}");
        }
        let Ok(Found::Folder(top)) = plain.open(None) else { panic!() };
        let names = top.names(None, 10).unwrap().0;
        let shown: Vec<_> = names.iter().filter_map(|name| top.entry(name)).map(|entry| entry.name).collect();
        assert_eq!(shown, [b"a".to_vec()]);
        assert!(top.folder(b"folder-link").is_err() && top.file(b"link").is_err());
    }

    #[test]
    fn a_large_folder_is_told_in_pages() {
        let room = tempfile::tempdir().unwrap();
        for n in 0..25 {
            fs::write(room.path().join(format!("{n:02}")), "x").unwrap();
        }
        let place = Arc::new(Place::new(&[room.path().into()], false).unwrap());
        let Ok(Found::Folder(top)) = place.open(None) else { panic!() };
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (names, more) = top.names(after.as_deref(), 10).unwrap();
            assert!(names.len() <= 10);
            after = names.last().cloned();
            all.extend(names);
            if !more {
                break;
            }
        }
        assert_eq!(all, (0..25).map(|n| format!("{n:02}").into_bytes()).collect::<Vec<_>>());
        assert!(!top.names(None, 25).unwrap().1);
    }

    #[test]
    fn several_paths_are_served_by_their_names() {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir_all(room.path().join("x/photos")).unwrap();
        fs::create_dir_all(room.path().join("y/photos")).unwrap();
        fs::write(room.path().join("x/photos/sea"), "x").unwrap();
        fs::write(room.path().join(".notes"), "x").unwrap();
        let paths = [room.path().join("x/photos"), room.path().join(".notes")];
        let place = Arc::new(Place::new(&paths, false).unwrap());
        assert!(serves(&place, "photos/sea") && serves(&place, ".notes") && serves(&place, "photos"));
        assert!(!serves(&place, "sea") && !serves(&place, ".notes/x"));
        let Ok(Found::Folder(top)) = place.open(None) else { panic!() };
        assert_eq!(top.names(None, 10).unwrap(), (vec![b".notes".to_vec(), b"photos".to_vec()], false));
        assert!(top.entry(b"photos").unwrap().is_folder && !top.entry(b".notes").unwrap().is_folder);
        assert!(top.folder(b"photos").unwrap().file(b"sea").is_ok());
        let twice = [room.path().join("x/photos"), room.path().join("y/photos")];
        assert!(matches!(Place::new(&twice, false), Err(PlaceError::Twice(_))));
        let none = [room.path().join("none")];
        assert!(matches!(Place::new(&none, false), Err(PlaceError::Unreadable { .. })));
    }
}
