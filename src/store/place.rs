//! What is known of a destination: asked once, and taken to hold for the folders beneath it as well.

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::fs::{Dev, RawMode};

use super::dressed::DressedBeneath;
use super::scarcity::Scarcity;
use crate::os::clock::Moment;

/// Part files that are remembered of ended sessions: some 500 KiB.
const LEFT_MAX: usize = 4096;

/// What is asked of the destination once, and taken to hold for the folders beneath it as well.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Whether the kernel itself keeps opens beneath a handle (openat2).
    pub(super) beneath: bool,
    /// Whether preallocating here costs a write of every page; asked when first needed.
    pub(super) prealloc_is_costly: OnceLock<bool>,
    /// Which kinds of metadata were refused here; the user is told of the first of each kind only.
    pub(super) refused: AtomicU8,
    /// How a file that was made without a name gets one: see [`unnamed`].
    pub(super) unnamed: AtomicU8,
    /// When a part file was last waited for in vain: others are then transferred here at the same time.
    pub(super) waited_in_vain: Mutex<Option<Instant>>,
    /// When this session's sender began to read what it sends, by the clock of the machine.
    pub(super) run: OnceLock<Moment>,
    /// The same by the clock of the file system, in seconds and nanoseconds: when the first file of this
    /// session was made, less the time since. What has changed after that is never replaced: it is newer, or
    /// what the session itself has published.
    pub(super) began: OnceLock<(i64, i64)>,
    /// Marks of what the session has published, where the file system has no times of change that could tell
    /// (exFAT). In small letters, as those that lack these are the ones that take two spellings for one name.
    pub(super) published: Mutex<HashSet<u64>>,
    pub(super) marks: RandomState,
    /// Files that lost one of several names to what arrived: that changed them, but they are as old as they
    /// were.
    pub(super) left_over: Mutex<HashSet<(Dev, u64)>>,
    /// Held from the look at what is to be replaced until it is.
    pub(super) replacing: Mutex<()>,
    /// Whether locks keep sessions apart, by device; see [`super::unlocked`].
    pub(super) locks: Mutex<HashMap<Dev, bool>>,
    /// Names of the part files in folders, where they do not.
    pub(super) part_names: Mutex<PartNames>,
    /// What ended sessions have left where they do not.
    pub(super) left: OnceLock<Arc<Left>>,
    /// The folders that were made here, in whatever session.
    pub(super) dressed: OnceLock<DressedBeneath>,
    pub(super) abilities: Abilities,
    /// Whether access control lists are taken along.
    pub(super) access_lists: AtomicBool,
    /// Folders that were opened to us for a moment, and the mode that each had.
    pub(super) opened: Mutex<HashMap<Box<[u8]>, RawMode>>,
    pub(super) scarcity: Scarcity,
}

/// What is known of a file system. Asked when first needed.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    pub(super) renown: OnceLock<Renown>,
    pub(super) moves_safely: OnceLock<bool>,
    pub(super) name_bytes: OnceLock<usize>,
    /// The folder whose name was last found to be good: files of one folder come in a row.
    pub(super) good_folder: Mutex<Vec<u8>>,
}

/// What may be taken for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells which file system it is"))]
pub(super) enum Renown {
    /// One of those that take any name of 255 bytes in UTF-8.
    WellKnown,
    /// What is behind NFS nobody knows. Each question crosses the network, and most take the letters of all
    /// languages.
    Network,
    Unknown,
}

/// What ended sessions of this program have left, and where.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<HashMap<PartPlace, LeftPart>>);

/// The name of a part file, and which file that is.
pub(super) type LeftPart = (Vec<u8>, (Dev, u64));

/// Names of part files by the folder that they are in.
pub(super) type PartNames = HashMap<Box<[u8]>, Arc<Vec<Vec<u8>>>>;

/// A folder, and the name that a part file would have there where locks decide.
pub(super) type PartPlace = ((Dev, u64), Vec<u8>);

impl Left {
    pub(super) fn has(&self, place: &PartPlace) -> bool {
        self.0.lock().contains_key(place)
    }

    /// For the caller alone.
    pub(super) fn take(&self, place: &PartPlace) -> Option<LeftPart> {
        self.0.lock().remove(place)
    }

    pub(super) fn put(&self, place: PartPlace, part: LeftPart) {
        let mut left = self.0.lock();
        if left.len() < LEFT_MAX {
            left.insert(place, part);
        }
    }
}
