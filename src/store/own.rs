//! Part files where no lock tells who writes to one: where the file system has no locks, has them for each machine by itself, or only seems
//! to have them.
//!
//! There each session makes a part file of its own, `.{name}.v2-{key}.{random}.lanx-part`, and nobody else ever writes to it: what others
//! of the same key have left is only read, and taken over where a comparison shows that it is right. So it does not matter who of them is
//! still there. What a session of this very program has left nobody else writes to either, so the next one goes on with it in place.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Dev, Dir as Entries, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::SinkError;
use super::existing::ExistingFile;
use super::folders::Manner;
use super::part::{
    Form, Locked, MAKING, Owner, PART_MODE, Part, Size, is_our_kind, not_opened, part_name_in,
};
use super::{Sink, folders, space};
use crate::limits::{PART_RACES_MAX, PARTS_PER_NAME_MAX};
use crate::name::{Name, PART_SUFFIX, RelativePath, looks_like_part};
use crate::os::file_system;

/// Part files that are remembered of ended sessions: some 500 KiB.
const LEFT_MAX: usize = 4096;

/// Names of part files that are remembered of one folder, and folders of which they are.
const NAMES_MAX: usize = 10_000;
const FOLDERS_MAX: usize = 256;

/// After so long without a change a part file counts as left by a session that is no more. Should it be there after all, it only sends that
/// file again.
pub(super) const REST: Duration = Duration::from_secs(600);

/// Whether a lock that one session has on a part file in this folder keeps all others from it.
pub(super) fn locks_decide(dir: &Dir) -> Result<bool, Errno> {
    let device = rustix::fs::fstat(dir.fd())?.st_dev;
    Ok(*dir.place().locks.lock().entry(device).or_insert_with(|| have_effect(dir)))
}

/// Locks the folder twice: the second time has to fail.
fn have_effect(dir: &Dir) -> bool {
    if file_system::is_shared(dir.fd()) {
        return false;
    }
    let lock = || -> Result<(OwnedFd, bool), Errno> {
        let folder = dir.open(b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok((folder, true)),
            Err(Errno::WOULDBLOCK) => Ok((folder, false)),
            Err(errno) => Err(errno),
        }
    };
    match lock() {
        Ok((_first, true)) => lock().is_ok_and(|(_, locked)| !locked),
        // Somebody else has it.
        Ok((_, false)) => true,
        Err(_) => false,
    }
}

/// What ended sessions of this program have left, and where.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<HashMap<Place, LeftPart>>);

/// The name of a part file, and which file that is.
type LeftPart = (Vec<u8>, (Dev, u64));

/// Names of part files by the folder that they are in.
pub(super) type PartNames = HashMap<Box<[u8]>, Arc<Vec<Vec<u8>>>>;

/// A folder, and the name that a part file would have there where locks decide.
type Place = ((Dev, u64), Vec<u8>);

fn place_of(dir: &Dir, name: &Name, owner: Owner) -> Result<Place, Errno> {
    let stat = rustix::fs::fstat(dir.fd())?;
    Ok(((stat.st_dev, stat.st_ino), part_name_in(dir, name, owner, 0)))
}

impl Left {
    fn has(&self, place: &Place) -> bool {
        self.0.lock().contains_key(place)
    }

    /// For the caller alone.
    fn take(&self, place: &Place) -> Option<LeftPart> {
        self.0.lock().remove(place)
    }

    fn put(&self, place: Place, part: LeftPart) {
        let mut left = self.0.lock();
        if left.len() < LEFT_MAX {
            left.insert(place, part);
        }
    }
}

impl Part {
    /// Opens what a session of this program has left, otherwise makes a new one, which no other session opens to write.
    pub(super) fn open_own(
        dir: &Arc<Dir>,
        name: &Name,
        owner: Owner,
        size: Size,
        form: Form,
    ) -> Result<Part, SinkError> {
        let target = dir.path_of(name.as_bytes());
        let refused = |action, errno| not_opened(dir, &target, size.room(), (action, errno));
        let place = place_of(dir, name, owner).map_err(|errno| refused("look at the folder of", errno))?;
        let left = dir.left().and_then(|left| left.take(&place));
        if let Some((part_name, locked)) = left.and_then(|left| open_left(dir, left)) {
            return Part::begin(dir, name, owner, part_name, locked, size, form);
        }
        for _ in 0..PART_RACES_MAX {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|_| refused(MAKING, Errno::IO))?;
            let part_name = part_name_in(dir, name, owner, Which::Own(u64::from_le_bytes(random)));
            let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            match dir.open(&part_name, new, Mode::from_raw_mode(PART_MODE)) {
                Ok(file) => {
                    let stat = rustix::fs::fstat(&file).map_err(|errno| refused(MAKING, errno))?;
                    return Part::begin(dir, name, owner, part_name, Locked { file, stat }, size, form);
                }
                Err(Errno::EXIST | Errno::LOOP) => {}
                Err(errno) => return Err(refused(MAKING, errno)),
            }
        }
        Err(SinkError::PartsBusy { path: target, tried: PART_RACES_MAX })
    }

    /// Notes what stays of it for the next session of this program.
    pub(super) fn note_left(&self) {
        if let (Some(left), Ok(place)) = (self.dir.left(), place_of(&self.dir, &self.name, self.owner))
            && matches!(locks_decide(&self.dir), Ok(false))
        {
            left.put(place, (self.part_name.clone(), self.identity));
        }
    }

    /// Removes what other sessions have left of this file, once it has its name and they are surely gone.
    pub(super) fn remove_left_by_others(&self) {
        if !matches!(locks_decide(&self.dir), Ok(false)) {
            return;
        }
        let Some(now) = self.stat() else { return };
        for other in names_of(&self.dir, &self.name, self.owner) {
            let at_rest = |stat: &Stat| {
                is_our_kind(stat, false) && stat.st_ctime < now.st_ctime - REST.as_secs() as i64
            };
            if matches!(self.dir.stat(&other), Ok(Some(stat)) if at_rest(&stat)) {
                let _ = self.dir.unlink(&other);
            }
        }
    }
}

fn open_left(dir: &Dir, (part_name, identity): LeftPart) -> Option<(Vec<u8>, Locked)> {
    let file = dir.open(&part_name, OFlags::RDWR, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let is_it = (stat.st_dev, stat.st_ino) == identity && is_our_kind(&stat, false);
    is_it.then_some((part_name, Locked { file, stat }))
}

/// Which of the part files of one name and key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Where locks decide: the first that nobody has.
    Number(u32),
    /// That of one session.
    Own(u64),
}

impl From<u32> for Which {
    fn from(number: u32) -> Which {
        Which::Number(number)
    }
}

impl Which {
    /// As it stands behind the key in the name of a part file.
    pub fn tail(self) -> String {
        match self {
            Which::Number(0) => String::new(),
            Which::Number(number) => format!(".{number}"),
            Which::Own(random) => format!(".{random:016x}"),
        }
    }

    /// What the name of a part file ends in.
    fn of(part_name: &[u8]) -> Option<Which> {
        let stem = part_name.strip_suffix(PART_SUFFIX)?;
        let (_, last) = stem.split_at(stem.iter().rposition(|&byte| byte == b'.')? + 1);
        let text = std::str::from_utf8(last).ok()?;
        match text.len() {
            16 if !text.contains('+') => u64::from_str_radix(text, 16).ok().map(Which::Own),
            _ => None,
        }
    }
}

/// The part files of this name and key that were there when the folder was looked through, in this session.
fn names_of(dir: &Dir, name: &Name, owner: Owner) -> Vec<Vec<u8>> {
    let all = part_names(dir);
    let own = all
        .iter()
        .filter(|part| Which::of(part).is_some_and(|which| part_name_in(dir, name, owner, which) == ***part));
    let numbered = (0..PARTS_PER_NAME_MAX).map(|number| part_name_in(dir, name, owner, number));
    own.cloned().chain(numbered.filter(|part| all.contains(part))).collect()
}

/// All names of part files in a folder. Looked through once, as it may have a million of others.
fn part_names(dir: &Dir) -> Arc<Vec<Vec<u8>>> {
    let mut known = dir.place().part_names.lock();
    if let Some(names) = known.get(dir.below()) {
        return names.clone();
    }
    let entries = Entries::read_from(dir.fd()).into_iter().flatten().flatten();
    let names =
        entries.map(|entry| entry.file_name().to_bytes().to_vec()).filter(|name| looks_like_part(name));
    let names = Arc::new(names.take(NAMES_MAX).collect::<Vec<_>>());
    if known.len() >= FOLDERS_MAX {
        known.clear();
    }
    known.insert(dir.below().into(), names.clone());
    names
}

impl Sink {
    /// What another session has left of the file at `path`, where locks decide nothing: that of which most is there. `None` where
    /// there is none, or this program has it itself.
    pub fn left_by_another(&self, path: &RelativePath) -> Option<ExistingFile> {
        let dir = self.folders.find(folders::parent(path.as_bytes()), Manner::Glance).ok()??;
        if locks_decide(&dir).ok()? {
            return None;
        }
        let (name, owner) = (path.name(), self.owner);
        let place = place_of(&dir, &name, owner).ok()?;
        if dir.left().is_some_and(|left| left.has(&place)) {
            return None;
        }
        let parts = names_of(&dir, &name, owner).into_iter().filter_map(|part| {
            let stat = dir.stat(&part).ok()?.filter(|stat| is_our_kind(stat, false))?;
            Some((stat.st_blocks, part))
        });
        let (_, part) = parts.filter(|(blocks, _)| *blocks > 0).max()?;
        let fd = dir.open(&part, OFlags::RDONLY, Mode::empty()).ok()?;
        let size = space::length(&rustix::fs::fstat(&fd).ok().filter(|stat| is_our_kind(stat, false))?);
        Some(ExistingFile::left(fd, Arc::clone(&self.folders), path.clone(), size))
    }
}
