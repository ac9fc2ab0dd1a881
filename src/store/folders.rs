//! The folders beneath the destination: found without following a symlink, made where they are missing, and
//! kept open for a moment, so that many small files of one folder find it once.
//!
//! A handle is resolved beneath the destination by the kernel in one step (openat2), or from folder to folder
//! where it cannot do that. It then means that folder wherever somebody moves it, so it is looked up anew
//! after [`FOLDER_HANDLE_AGE_MAX`]. Only whoever moves a folder out of the destination within that time has
//! files arrive in it there.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::dir::{Dir, not_entered};
use super::error::SinkError;
use super::refused::not_named;
use crate::limits::{FOLDER_HANDLES_MAX, FOLDER_LEVELS_MADE_MAX, FOLDERS_MADE_MAX};
use crate::os::rlimit;

/// How long an open folder stands for its path before that is looked up again, and a missing one counts as
/// missing: long enough for thousands of small files, too short for anybody to be surprised where files
/// arrive after a folder was moved.
const FOLDER_HANDLE_AGE_MAX: Duration = Duration::from_secs(1);

/// Files that may be open for each folder that is held open: those are a convenience, and may take an eighth.
const DESCRIPTORS_PER_FOLDER_HANDLE: u64 = 8;

/// The destination and the folders beneath it.
#[derive(Debug)]
pub(super) struct Folders {
    root: Arc<Dir>,
    open: Mutex<HashMap<Box<[u8]>, Held>>,
    /// The one that was last looked for in vain: of a folder that is to come, many files are offered in a
    /// row.
    missing: Mutex<Option<(Box<[u8]>, Instant)>>,
    /// How many of them are held open.
    most: usize,
    made: Made,
}

/// An open folder.
#[derive(Debug)]
struct Held {
    dir: Arc<Dir>,
    since: Instant,
    used: Instant,
}

/// The folders that were made here and have not been dressed, or synced, since. Only marks (hashes of paths):
/// that two share one costs a wrong word in a report or a sync for nothing.
#[derive(Debug, Default)]
struct Made {
    marks: RandomState,
    undressed: Mutex<HashSet<u64>>,
    unsynced: Mutex<HashSet<u64>>,
    /// There were too many, and some are forgotten: any folder may be new.
    unsynced_lost: AtomicBool,
}

/// What may be done about a folder that refuses us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FindMode {
    /// Nothing.
    Look,
    /// Nothing; and one that was missing a moment ago need not be looked for.
    Glance,
    /// Its owner, when that is us, gets access to it.
    Enter,
}

impl Folders {
    /// `is_new`: it was made just now.
    pub(super) fn new(root: Dir, is_new: bool) -> Self {
        let made = Made::default();
        if is_new {
            made.note_unsynced(b"");
        }
        Self {
            root: Arc::new(root),
            open: Mutex::default(),
            most: rlimit::at_most(FOLDER_HANDLES_MAX, DESCRIPTORS_PER_FOLDER_HANDLE),
            missing: Mutex::default(),
            made,
        }
    }

    /// The destination itself.
    pub(super) fn root(&self) -> &Arc<Dir> {
        &self.root
    }

    /// The folder at `below` (names with `/` between them; empty for the destination itself), `None` when it
    /// or one on the way is missing.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] for what stands in its place or on the way and is no directory.
    pub(super) fn find(&self, below: &[u8], mode: FindMode) -> Result<Option<Arc<Dir>>, SinkError> {
        if below.is_empty() {
            return Ok(Some(Arc::clone(&self.root)));
        }
        if let Some(dir) = self.held(below) {
            return Ok(Some(dir));
        }
        if mode == FindMode::Glance && self.was_missing(below) {
            return Ok(None);
        }
        let found = match self.root.open_folder(below) {
            Ok(dir) => Some(dir),
            Err(Errno::NOENT) => None,
            // Either there is no such call, or only the way from folder to folder tells what is wrong.
            Err(_) => walk(&self.root, below, mode)?,
        };
        if mode == FindMode::Glance && found.is_none() {
            *self.missing.lock() = Some((below.into(), Instant::now()));
        }
        Ok(found.map(|dir| self.hold(dir)))
    }

    fn was_missing(&self, below: &[u8]) -> bool {
        let missing = self.missing.lock();
        missing
            .as_ref()
            .is_some_and(|(path, since)| **path == *below && since.elapsed() <= FOLDER_HANDLE_AGE_MAX)
    }

    /// The same, and makes what is missing.
    ///
    /// # Errors
    /// [`SinkError::TooDeep`] where that is more than [`FOLDER_LEVELS_MADE_MAX`] folders; none is made then.
    pub(super) fn make(&self, below: &[u8]) -> Result<Arc<Dir>, SinkError> {
        let (mut end, mut dir, mut missing) = (below.len(), None, 0);
        while dir.is_none() {
            if missing > FOLDER_LEVELS_MADE_MAX {
                return Err(SinkError::TooDeep { path: self.root.path_of(below) });
            }
            missing += 1;
            dir = self.find(upto(below, end), FindMode::Enter)?;
            if dir.is_none() {
                end = parent(upto(below, end)).len();
            }
        }
        let mut dir = dir.unwrap_or_else(|| Arc::clone(&self.root));
        while end < below.len() {
            let rest = below.get(end..).unwrap_or_default();
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let name = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
            end = below.len() - rest.len() + name.len();
            dir = self.make_in(&dir, name)?;
        }
        Ok(dir)
    }

    fn make_in(&self, parent: &Dir, name: &[u8]) -> Result<Arc<Dir>, SinkError> {
        match parent.make_folder(name) {
            Ok(()) => {}
            // Somebody was faster; what it is will be seen.
            Err(Errno::EXIST) => return self.enter_in(parent, name),
            Err(errno) => {
                let path = parent.path_of(name);
                return Err(not_named("make the folder", parent, 0, path, errno));
            }
        }
        let dir = self.enter_in(parent, name)?;
        self.made.note(dir.below());
        Ok(dir)
    }

    fn enter_in(&self, parent: &Dir, name: &[u8]) -> Result<Arc<Dir>, SinkError> {
        match enter(parent, name, FindMode::Enter)? {
            Some(dir) => Ok(self.hold(dir)),
            None => Err(SinkError::system("open the folder", parent.path_of(name), Errno::NOENT)),
        }
    }

    /// Does something in the folder at `below`, which is made if it is missing; once more should it turn out
    /// that the folder, or one on the way, was removed meanwhile.
    pub(super) fn within<T>(
        &self,
        below: &[u8],
        act: impl Fn(&Arc<Dir>) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let attempt = || act(&self.make(below)?);
        let result = match attempt() {
            Err(error) if error.is_gone() && !below.is_empty() => {
                self.open.lock().retain(|held, _| !below.starts_with(held));
                attempt()
            }
            result => result,
        };
        result.map_err(|error| match error.is_gone() && self.root.is_removed() {
            true => SinkError::Removed { path: self.root.path().into() },
            false => error,
        })
    }

    /// Closes the folder as soon as nobody uses it.
    pub(super) fn forget(&self, below: &[u8]) {
        self.open.lock().remove(below);
    }

    /// Whether the folder was made here and not asked for since.
    pub(super) fn take_undressed(&self, below: &[u8]) -> bool {
        let mark = self.made.mark(below);
        self.made.undressed.lock().remove(&mark)
    }

    /// Whether the folder was made here a moment ago, so that nothing is in it but what came since.
    pub(super) fn is_new(&self, below: &[u8]) -> bool {
        let undressed = self.made.undressed.lock();
        !undressed.is_empty() && undressed.contains(&self.made.mark(below))
    }

    /// Whether the name of the folder was made here and its parent not synced since.
    pub(super) fn take_unsynced(&self, below: &[u8]) -> bool {
        let mut unsynced = self.made.unsynced.lock();
        let is_marked = !unsynced.is_empty() && unsynced.remove(&self.made.mark(below));
        is_marked || self.made.unsynced_lost.load(Ordering::Relaxed)
    }

    fn held(&self, below: &[u8]) -> Option<Arc<Dir>> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let held = open.get_mut(below)?;
        if now.duration_since(held.since) > FOLDER_HANDLE_AGE_MAX {
            open.remove(below);
            return None;
        }
        held.used = now;
        Some(Arc::clone(&held.dir))
    }

    fn hold(&self, dir: Dir) -> Arc<Dir> {
        let now = Instant::now();
        let dir = Arc::new(dir);
        let held = Held { dir: Arc::clone(&dir), since: now, used: now };
        self.missing.lock().take_if(|(path, _)| **path == *dir.below());
        let mut open = self.open.lock();
        if open.len() >= self.most {
            open.retain(|_, held| now.duration_since(held.since) <= FOLDER_HANDLE_AGE_MAX);
        }
        if open.len() >= self.most
            && let Some(oldest) = open.iter().min_by_key(|(_, held)| held.used).map(|(key, _)| key.clone())
        {
            open.remove(&oldest);
        }
        open.insert(dir.below().into(), held);
        dir
    }

    /// Gives the folders that were opened to us for a moment the modes that they had.
    fn close_opened(&self) {
        for below in self.root.opened() {
            match self.find(&below, FindMode::Look) {
                Ok(Some(dir)) => {
                    if let Ok(stat) = rustix::fs::fstat(dir.fd()) {
                        dir.close_again(&stat);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn held_now(&self) -> usize {
        self.open.lock().len()
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        self.close_opened();
    }
}

impl Made {
    fn mark(&self, below: &[u8]) -> u64 {
        self.marks.hash_one(below)
    }

    fn note(&self, below: &[u8]) {
        let mut undressed = self.undressed.lock();
        // Transfers that broke off leave marks that nobody takes.
        if undressed.len() >= FOLDERS_MADE_MAX {
            undressed.clear();
        }
        undressed.insert(self.mark(below));
        drop(undressed);
        self.note_unsynced(below);
    }

    fn note_unsynced(&self, below: &[u8]) {
        let mut unsynced = self.unsynced.lock();
        if unsynced.len() >= FOLDERS_MADE_MAX {
            unsynced.clear();
            self.unsynced_lost.store(true, Ordering::Relaxed);
        }
        unsynced.insert(self.mark(below));
    }
}

/// The folder that the last name of `below` is in; empty for the destination itself.
pub(super) fn parent(below: &[u8]) -> &[u8] {
    let at = below.iter().rposition(|&byte| byte == b'/');
    upto(below, at.unwrap_or(0))
}

fn upto(below: &[u8], end: usize) -> &[u8] {
    below.get(..end).unwrap_or(below)
}

/// From folder to folder, each opened in the one before, and none through a symlink.
fn walk(root: &Dir, below: &[u8], mode: FindMode) -> Result<Option<Dir>, SinkError> {
    let mut last: Option<Dir> = None;
    for name in below.split(|&byte| byte == b'/') {
        match enter(last.as_ref().unwrap_or(root), name, mode)? {
            Some(dir) => last = Some(dir),
            None => return Ok(None),
        }
    }
    Ok(last)
}

fn enter(parent: &Dir, name: &[u8], mode: FindMode) -> Result<Option<Dir>, SinkError> {
    let opened = match parent.open_folder(name) {
        Err(Errno::ACCESS) if mode == FindMode::Enter => {
            // Either it may not be read, or the one that it is in not be searched.
            if !parent.admit_us_to(name) && parent.admit_us() {
                parent.admit_us_to(name);
            }
            parent.open_folder(name)
        }
        opened => opened,
    };
    match opened {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(not_entered(parent, name, errno)),
    }
}
