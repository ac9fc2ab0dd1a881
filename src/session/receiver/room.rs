//! How much may be stored: what the user of a receiver keeps free, how long one file may be, and what one
//! sender may have there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::offered::Offered;
use crate::limits::CHUNK_BYTES;
use crate::name::RelativePath;
use crate::store::Sink;
use crate::units;

/// How much of a disk stays free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// So many hundredths of it.
    Percent(u8),
    Bytes(u64),
}

/// The bounds of one session.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// Bytes of the largest file.
    pub max_file: Option<u64>,
    pub min_free: Option<MinFree>,
    /// What is left to the sender, over all of its sessions.
    pub quota: Option<Arc<Quota>>,
}

/// How much may lie where a sender sends to, and how much does. What is replaced or removed meanwhile is
/// still counted, until all sessions of the sender have ended and it is counted anew.
#[derive(Debug)]
pub struct Quota {
    most: u64,
    used: AtomicU64,
}

impl Quota {
    pub fn new(most: u64, used: u64) -> Quota {
        Quota { most, used: AtomicU64::new(used) }
    }

    /// Counts so many bytes more, if they fit.
    fn take(&self, bytes: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    pub fn most(&self) -> u64 {
        self.most
    }

    fn left(&self) -> u64 {
        self.most.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// A stream looks at the disk once for so many of its chunks: 16 MiB.
const CHUNKS_PER_LOOK: u64 = 64;

impl Room {
    /// Makes room for a file, of which the sender has some there already. Returns what was counted for it.
    ///
    /// # Errors
    /// Why there is none, and what to do about that.
    pub(super) fn take(&self, offered: &Offered, sink: &Sink) -> Result<u64, String> {
        let path = &offered.path;
        let size = offered.layout.known_size().unwrap_or(0);
        if let Some(most) = self.max_file.filter(|most| size > *most) {
            return Err(too_large(path, Some(size), most));
        }
        let there =
            if self.min_free.is_some() || self.quota.is_some() { sink.unfinished_bytes(path) } else { 0 };
        let needed = size.saturating_sub(there);
        self.look(path, needed, sink)?;
        let Some(quota) = &self.quota else { return Ok(0) };
        if quota.take(needed) { Ok(needed) } else { Err(over_quota(path, Some(size), quota)) }
    }

    /// A file that room was made for was not stored.
    pub(super) fn give_back(&self, offered: &Offered) {
        if let Some(quota) = &self.quota {
            quota.give_back(offered.counted);
        }
    }

    /// Whether the disk has room for so many bytes more.
    fn look(&self, path: &RelativePath, needed: u64, sink: &Sink) -> Result<(), String> {
        let (Some(min_free), Some((free, all))) = (self.min_free, sink.disk_bytes()) else { return Ok(()) };
        let keep = match min_free {
            // A hundredth first: no disk is so large that the product would be.
            MinFree::Percent(percent) => all / 100 * u64::from(percent),
            MinFree::Bytes(bytes) => bytes,
        };
        if free.saturating_sub(needed) >= keep {
            return Ok(());
        }
        let (free, keep) = (units::bytes(free), units::bytes(keep));
        Err(format!(
            "no room for {path}: {free} free, and the receiver keeps {keep} (--min-free); make room there, then send again"
        ))
    }

    /// Makes room for a chunk of a stream, whose length nobody knows.
    pub(super) fn take_chunk(
        &self,
        offered: &Offered,
        chunk: u64,
        len: u64,
        sink: &Sink,
    ) -> Result<(), String> {
        let path = &offered.path;
        let end = chunk.saturating_mul(CHUNK_BYTES as u64).saturating_add(len);
        if let Some(most) = self.max_file.filter(|most| end > *most) {
            return Err(too_large(path, None, most));
        }
        if chunk.is_multiple_of(CHUNKS_PER_LOOK) {
            self.look(path, len, sink)?;
        }
        match &self.quota {
            Some(quota) if !quota.take(len) => Err(over_quota(path, None, quota)),
            _ => Ok(()),
        }
    }
}

fn too_large(path: &RelativePath, size: Option<u64>, most: u64) -> String {
    let (size, most) = (size.map_or("it".into(), units::bytes), units::bytes(most));
    format!(
        "{path}: {size} is more than the {most} that the receiver takes as one file (--max-file); split it, or ask there"
    )
}

fn over_quota(path: &RelativePath, size: Option<u64>, quota: &Quota) -> String {
    let (size, left, most) =
        (size.map_or("it".into(), units::bytes), units::bytes(quota.left()), units::bytes(quota.most));
    format!(
        "no room for {path}: {size} is more than the {left} that are left of this machine's {most} at the receiver; remove something \
         there, or ask there (`lanx trust set`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_never_exceeded_and_what_is_given_back_can_be_taken_again() {
        let quota = Quota::new(100, 30);
        assert!(quota.take(70) && !quota.take(1));
        quota.give_back(20);
        assert!(!quota.take(21) && quota.take(20));
        quota.give_back(u64::MAX);
        assert!(!quota.take(u64::MAX) && quota.left() == 100);
        // Where more lies there than may.
        assert!(!Quota::new(10, 20).take(0) && Quota::new(10, 20).left() == 0);
    }
}
