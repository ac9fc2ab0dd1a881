//! Which folders were made here and have their time, over all sessions of a receiver. What is made in such a
//! folder afterwards changes that time, as where several senders share a tree; then the sender that it came
//! from may set it again, and nothing else of it.
//!
//! Only marks (hashes of paths) are kept: that two share one costs a wrong time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::owner::Owner;
use crate::limits::FOLDERS_MADE_MAX;

/// Those of one session, which may be for a folder beneath the destination.
#[derive(Debug)]
pub(super) struct DressedBeneath {
    all: Arc<Dressed>,
    /// Where that is, and empty for the destination itself.
    beneath: Box<[u8]>,
}

impl DressedBeneath {
    pub fn new(all: Arc<Dressed>, beneath: &[u8]) -> DressedBeneath {
        DressedBeneath { all, beneath: beneath.into() }
    }

    /// The path beneath the destination of what is at `below` for this session.
    fn whole(&self, below: &[u8]) -> Vec<u8> {
        match (self.beneath.is_empty(), below.is_empty()) {
            (true, _) => below.into(),
            (_, true) => self.beneath.to_vec(),
            (false, false) => [&self.beneath, &b"/"[..], below].concat(),
        }
    }

    /// The folder at `below`, which was made here, has its time now.
    pub fn note(&self, below: &[u8], owner: Owner) {
        self.all.note(&self.whole(below), owner);
    }

    /// Something was made in the folder at `below`, or went.
    pub fn outdate(&self, below: &[u8]) {
        match self.beneath.is_empty() {
            true => self.all.outdate(below),
            false => self.all.outdate(&self.whole(below)),
        }
    }

    /// Whether the time of the folder at `below` is to be set again. It counts as set from now on.
    pub fn take_outdated(&self, below: &[u8], owner: Owner) -> bool {
        self.all.take_outdated(&self.whole(below), owner)
    }
}

/// The folders that were made and dressed here.
#[derive(Debug, Default)]
pub(super) struct Dressed {
    marks: RandomState,
    folders: Mutex<HashMap<u64, State>>,
}

/// One of them.
#[derive(Debug)]
struct State {
    /// Whose it is.
    owner: Owner,
    /// Something was made in it since.
    outdated: bool,
}

impl Dressed {
    /// The folder at `below`, which was made here, has its time now.
    fn note(&self, below: &[u8], owner: Owner) {
        let mut folders = self.folders.lock();
        // Those that are forgotten count as the user's own.
        if folders.len() >= FOLDERS_MADE_MAX {
            folders.clear();
        }
        folders.insert(self.marks.hash_one(below), State { owner, outdated: false });
    }

    /// Something was made in the folder at `below`, or went.
    fn outdate(&self, below: &[u8]) {
        let mut folders = self.folders.lock();
        if !folders.is_empty()
            && let Some(folder) = folders.get_mut(&self.marks.hash_one(below))
        {
            folder.outdated = true;
        }
    }

    /// Whether the time of the folder at `below` is to be set again. It counts as set from now on.
    fn take_outdated(&self, below: &[u8], owner: Owner) -> bool {
        let mut folders = self.folders.lock();
        let folder = folders.get_mut(&self.marks.hash_one(below)).filter(|folder| folder.owner == owner);
        folder.is_some_and(|folder| std::mem::take(&mut folder.outdated))
    }

    /// All are forgotten: the destination is another one.
    pub(super) fn clear(&self) {
        self.folders.lock().clear();
    }
}
