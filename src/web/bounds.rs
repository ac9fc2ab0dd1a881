//! What clients may take of this machine: bytes a second, and room on the disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::refused::{Refused, Stored};
use crate::session::rate_limit::Pace;
use crate::store::space::free_bytes;

/// Addresses whose rates are known at once. Those that are not in use go when there are more.
const CLIENTS_MAX: usize = 4096;

/// How often a file of which nobody said how long it will be is held against what may be taken, in bytes.
pub const LOOK_BYTES: u64 = 16 << 20;

/// Bytes a second, in both directions: of all together, and of each address.
#[derive(Debug, Default)]
pub struct Rates {
    all: Option<Arc<Pace>>,
    of_client: Option<u64>,
    clients: Mutex<HashMap<IpAddr, Arc<Pace>>>,
}

/// What one request may take at a time.
#[derive(Clone, Debug, Default)]
pub struct Share(Vec<Arc<Pace>>);

impl Rates {
    #[must_use]
    pub fn new(all: Option<u64>, of_client: Option<u64>) -> Rates {
        Rates { all: all.map(|rate| Arc::new(Pace::new(rate))), of_client, clients: Mutex::default() }
    }

    /// What a request of this address may take.
    #[must_use]
    pub fn of(&self, peer: IpAddr) -> Share {
        let own = self.of_client.map(|rate| {
            let mut clients = self.clients.lock();
            if clients.len() >= CLIENTS_MAX {
                clients.retain(|_, pace| Arc::strong_count(pace) > 1);
            }
            clients.entry(peer).or_insert_with(|| Arc::new(Pace::new(rate))).clone()
        });
        Share(own.into_iter().chain(self.all.clone()).collect())
    }
}

impl Share {
    /// Whether anything is bounded.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        !self.0.is_empty()
    }

    /// Waits until so many bytes may be taken, no more than a chunk. Returns how long that was.
    pub async fn take(&self, bytes: u64) -> Duration {
        let mut waited = Duration::ZERO;
        for pace in &self.0 {
            while let Some(wait) = pace.take(bytes) {
                sleep(wait).await;
                waited += wait;
            }
        }
        waited
    }
}

/// What may be put here in all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Bytes that stay free on the disk, whatever comes.
    pub keep_free: u64,
    /// Files and bytes of this run.
    pub files: Option<u64>,
    pub bytes: Option<u64>,
}

/// What has been taken of it.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    files: u64,
    bytes: u64,
}

/// A file that is counted, and no more when this is dropped, unless it was [kept](Counted::keep).
#[derive(Debug)]
pub struct Counted {
    taken: Arc<Taken>,
    bytes: u64,
}

impl Taken {
    #[must_use]
    pub fn new(room: Room) -> Arc<Taken> {
        Arc::new(Taken { room, sums: Mutex::default() })
    }

    /// Counts a file of so many bytes that is about to come into `folder`.
    ///
    /// # Errors
    /// [`Refused::Quota`] where there may be no more, [`Refused::Full`] where the disk would be too full.
    pub fn count(self: &Arc<Self>, folder: &Path, bytes: u64) -> Result<Counted, Refused> {
        self.add(folder, 1, bytes)?;
        Ok(Counted { taken: self.clone(), bytes })
    }

    fn add(&self, folder: &Path, files: u64, bytes: u64) -> Result<(), Refused> {
        self.check_disk(folder, bytes)?;
        let mut sums = self.sums.lock();
        let (files, bytes) = (sums.files.saturating_add(files), sums.bytes.saturating_add(bytes));
        if self.room.files.is_some_and(|most| files > most)
            || self.room.bytes.is_some_and(|most| bytes > most)
        {
            return Err(Refused::Quota);
        }
        (sums.files, sums.bytes) = (files, bytes);
        Ok(())
    }

    fn check_disk(&self, folder: &Path, bytes: u64) -> Result<(), Refused> {
        let free = std::fs::File::open(folder).ok().and_then(free_bytes);
        let needed = bytes.saturating_add(self.room.keep_free);
        if self.room.keep_free > 0 && free.is_some_and(|free| free < needed) {
            return Err(Refused::Full);
        }
        Ok(())
    }
}

impl Counted {
    /// What was counted is what was stored; one that was there already takes nothing.
    pub fn keep_of(self, stored: &Stored) {
        if !stored.published.existed {
            self.keep(stored.size);
        }
    }

    /// Counts more bytes of a file of which nobody said how long it will be.
    ///
    /// # Errors
    /// As [`Taken::count`].
    pub fn grow(&mut self, folder: &Path, bytes: u64) -> Result<(), Refused> {
        self.taken.add(folder, 0, bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Whether the disk still has the room that is to stay.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn check(&self, folder: &Path) -> Result<(), Refused> {
        self.taken.check_disk(folder, 0)
    }

    /// The file is stored, and has so many bytes.
    pub fn keep(mut self, bytes: u64) {
        let mut sums = self.taken.sums.lock();
        sums.bytes = sums.bytes.saturating_sub(self.bytes).saturating_add(bytes);
        sums.files += 1;
        self.bytes = 0;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sums = self.taken.sums.lock();
        sums.files = sums.files.saturating_sub(1);
        sums.bytes = sums.bytes.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stored_is_given_back_and_what_is_counts() {
        let here = std::env::temp_dir();
        let taken = Taken::new(Room { keep_free: 1, files: Some(2), bytes: Some(100) });
        let mut first = taken.count(&here, 60).unwrap();
        assert!(matches!(taken.count(&here, 41), Err(Refused::Quota)));
        assert!(matches!(first.grow(&here, 41), Err(Refused::Quota)));
        first.grow(&here, 10).unwrap();
        drop(first);
        let whole = taken.count(&here, 100).unwrap();
        whole.keep(90);
        let second = taken.count(&here, 10).unwrap();
        assert!(matches!(taken.count(&here, 0), Err(Refused::Quota)), "a third file");
        second.keep(10);
        assert!(matches!(taken.count(&here, 0), Err(Refused::Quota)));
        let full = Taken::new(Room { keep_free: u64::MAX, ..Room::default() });
        assert!(matches!(full.count(&here, 1), Err(Refused::Full)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_a_rate_of_its_own_and_all_have_one_together() {
        let rates = Rates::new(None, Some(1_000_000));
        assert!(
            rates.of([127, 0, 0, 1].into()).is_bounded()
                && !Rates::default().of([127, 0, 0, 1].into()).is_bounded()
        );
        for n in 0..=u32::try_from(CLIENTS_MAX).unwrap() {
            let _ = rates.of(IpAddr::V4(n.into()));
        }
        assert!(rates.clients.lock().len() <= CLIENTS_MAX);
    }
}
