//! How a part file is kept from others: by a lock where that has an effect, and otherwise by a name of its
//! own.
//!
//! Here is the second way, for file systems that have no locks, have them for each machine by itself, or only
//! seem to have them.
//!
//! There each session makes a part file of its own, `.{name}.v2-{key}.{random}.lanx-part`, and nobody else
//! ever writes to it: what others of the same key have left is only read, and taken over where a comparison
//! shows that it is right. So it does not matter who of them is still there. What a session of this very
//! program has left nobody else writes to either, so the next one goes on with it in place.

use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::SinkError;
use super::locks::locks_decide;
use super::owner::Owner;
use super::part::{Form, Locked, MAKING, PART_MODE, Part, Size, is_our_kind, not_opened, open_numbered};
use super::part_name::{Which, part_name_in, place_of};
use super::place::LeftPart;
use crate::limits::{FILE_BYTES_MAX, PART_RACES_MAX};
use crate::name::Name;

impl Part {
    /// Opens or makes the part file for `name`, and makes room for `size` bytes. For a stream, what is there
    /// goes.
    pub(super) fn open(
        dir: &Arc<Dir>,
        name: &Name,
        owner: Owner,
        size: Size,
        form: Form,
    ) -> Result<Self, SinkError> {
        let target = dir.path_of(name.as_bytes());
        let bytes = size.room();
        if bytes > FILE_BYTES_MAX {
            return Err(SinkError::TooLarge { path: target, size: bytes });
        }
        let locks =
            locks_decide(dir).map_err(|errno| SinkError::system("look at the folder of", target, errno))?;
        let (part_name, locked) = match locks {
            true => open_numbered(dir, name, owner, bytes)?,
            false => open_own(dir, name, owner, bytes)?,
        };
        Part::begin(dir, name, owner, part_name, locked, size, form)
    }
}

/// Opens what a session of this program has left, otherwise makes a new one, which no other session opens to
/// write.
fn open_own(dir: &Dir, name: &Name, owner: Owner, room: u64) -> Result<(Vec<u8>, Locked), SinkError> {
    let target = dir.path_of(name.as_bytes());
    let refused = |action, errno| not_opened(dir, &target, room, (action, errno));
    let place = place_of(dir, name, owner).map_err(|errno| refused("look at the folder of", errno))?;
    let left = dir.left().and_then(|left| left.take(&place));
    if let Some(left) = left.and_then(|left| open_left(dir, left)) {
        return Ok(left);
    }
    for _ in 0..PART_RACES_MAX {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| refused(MAKING, Errno::IO))?;
        let part_name = part_name_in(dir, name, owner, Which::Own(u64::from_le_bytes(random)));
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        match dir.open(&part_name, new, Mode::from_raw_mode(PART_MODE)) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file).map_err(|errno| refused(MAKING, errno))?;
                return Ok((part_name, Locked { file, stat }));
            }
            Err(Errno::EXIST | Errno::LOOP) => {}
            Err(errno) => return Err(refused(MAKING, errno)),
        }
    }
    Err(SinkError::PartsBusy { path: target, tried: PART_RACES_MAX })
}

fn open_left(dir: &Dir, (part_name, identity): LeftPart) -> Option<(Vec<u8>, Locked)> {
    let file = dir.open(&part_name, OFlags::RDWR, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let is_it = (stat.st_dev, stat.st_ino) == identity && is_our_kind(&stat, false);
    is_it.then_some((part_name, Locked { file, stat }))
}
