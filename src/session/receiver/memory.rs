//! What a session at the receiver keeps in memory for its sender: so much in any case, and more out of what
//! all sessions of the receiver share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{KEPT_BYTES_FILE, KEPT_BYTES_MIN, OFFERS_BYTES_MAX, OFFERS_BYTES_MIN};
use crate::session::ending::PeerMisbehaved;

/// More is taken in pieces of this size.
const KEPT_BYTES_STEP: usize = 64 << 10;

/// What is kept of one file is counted in units of so many bytes, as it changes with each chunk.
const KEPT_BYTES_UNIT: usize = 1 << 10;

/// What all sessions share beyond what each has in any case.
pub trait Reserve: Send + Sync {
    /// Takes so many bytes for this session; false where it may not have them now.
    fn take(&self, bytes: usize) -> bool;
    fn give_back(&self, bytes: usize);
}

/// Nothing beyond what a session has in any case.
impl Reserve for () {
    fn take(&self, _bytes: usize) -> bool {
        false
    }

    fn give_back(&self, _bytes: usize) {}
}

/// The memory of one session.
pub struct Budget {
    reserve: Arc<dyn Reserve>,
    /// What its open offers may weigh, which its sender is told with the welcome.
    offers_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offers: usize,
    kept: usize,
    /// What was taken from the reserve for what is kept.
    taken: usize,
}

impl Budget {
    pub fn new(reserve: Arc<dyn Reserve>) -> Budget {
        let mut more = OFFERS_BYTES_MAX - OFFERS_BYTES_MIN;
        while more > 0 && !reserve.take(more) {
            more /= 2;
        }
        Budget { reserve, offers_max: OFFERS_BYTES_MIN + more, state: Mutex::default() }
    }

    pub fn offers_max(&self) -> usize {
        self.offers_max
    }

    /// An offer that weighs so much has come.
    pub fn open(&self, weight: usize) -> Result<(), PeerMisbehaved> {
        let mut state = self.state.lock();
        state.offers = state.offers.saturating_add(weight);
        match state.offers <= self.offers_max {
            true => Ok(()),
            false => Err(PeerMisbehaved::TooMany { what: "bytes in open offers", limit: self.offers_max }),
        }
    }

    /// An offer that weighs so much has its outcome.
    pub fn close(&self, weight: usize) {
        let mut state = self.state.lock();
        state.offers = state.offers.saturating_sub(weight);
    }

    /// Whether so many bytes more may be kept.
    pub fn keep(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        while state.kept + bytes > KEPT_BYTES_MIN + state.taken {
            if !self.reserve.take(KEPT_BYTES_STEP) {
                return false;
            }
            state.taken += KEPT_BYTES_STEP;
        }
        state.kept += bytes;
        true
    }

    /// So many bytes are kept no longer.
    pub fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.kept = state.kept.saturating_sub(bytes);
        // A step is left, as what was needed a moment ago will be again.
        while state.taken >= 2 * KEPT_BYTES_STEP
            && state.kept + 2 * KEPT_BYTES_STEP <= KEPT_BYTES_MIN + state.taken
        {
            state.taken -= KEPT_BYTES_STEP;
            self.reserve.give_back(KEPT_BYTES_STEP);
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.reserve.give_back(self.offers_max - OFFERS_BYTES_MIN + self.state.get_mut().taken);
    }
}

/// What is kept of one large file, beyond the [`KEPT_BYTES_FILE`] that each may have in any case.
pub struct Kept {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Kept {
    pub fn nothing(budget: &Arc<Budget>) -> Kept {
        Kept { budget: budget.clone(), bytes: 0 }
    }

    /// From now on it is so many bytes; false where these are more than may be, and then it is as it was.
    pub fn set(&mut self, bytes: usize) -> bool {
        let bytes = bytes.saturating_sub(KEPT_BYTES_FILE).next_multiple_of(KEPT_BYTES_UNIT);
        match bytes.checked_sub(self.bytes) {
            Some(0) => return true,
            Some(more) if !self.budget.keep(more) => return false,
            Some(_) => {}
            None => self.budget.release(self.bytes - bytes),
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Purse(AtomicUsize);

    impl Reserve for Purse {
        fn take(&self, bytes: usize) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
        }

        fn give_back(&self, bytes: usize) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn purse(bytes: usize) -> Arc<Purse> {
        Arc::new(Purse(AtomicUsize::new(bytes)))
    }

    #[test]
    fn offers_have_what_there_is_and_never_less_than_their_own() {
        for (free, most) in
            [(0, OFFERS_BYTES_MIN), (OFFERS_BYTES_MAX, OFFERS_BYTES_MAX), (KEPT_BYTES_STEP, OFFERS_BYTES_MIN)]
        {
            let purse = purse(free);
            let budget = Budget::new(purse.clone());
            let most = most.max(budget.offers_max());
            assert!(
                budget.offers_max() >= OFFERS_BYTES_MIN && budget.offers_max() - OFFERS_BYTES_MIN <= free
            );
            assert_eq!(budget.open(most), Ok(()));
            assert!(budget.open(1).is_err());
            drop(budget);
            assert_eq!(purse.0.load(Ordering::Relaxed), free);
        }
    }

    #[test]
    fn what_an_offer_weighs_is_free_again_with_its_outcome() {
        let budget = Budget::new(purse(0));
        for _ in 0..3 {
            budget.open(OFFERS_BYTES_MIN).unwrap();
            budget.close(OFFERS_BYTES_MIN);
        }
    }

    #[test]
    fn more_is_kept_as_long_as_there_is_more_and_all_is_given_back() {
        let purse = purse(0);
        let budget = Budget::new(purse.clone());
        purse.0.store(3 * KEPT_BYTES_STEP, Ordering::Relaxed);
        assert!(budget.keep(KEPT_BYTES_MIN));
        assert!((0..3).all(|_| budget.keep(KEPT_BYTES_STEP)));
        assert!(!budget.keep(1));
        budget.release(3 * KEPT_BYTES_STEP);
        assert_eq!(purse.0.load(Ordering::Relaxed), 2 * KEPT_BYTES_STEP);
        assert!(budget.keep(1));
        drop(budget);
        assert_eq!(purse.0.load(Ordering::Relaxed), 3 * KEPT_BYTES_STEP);
    }

    #[test]
    fn what_was_kept_of_a_file_is_free_when_it_is_over() {
        let budget = Arc::new(Budget::new(Arc::new(())));
        let (mut one, mut other) = (Kept::nothing(&budget), Kept::nothing(&budget));
        let (own, all, unit) = (KEPT_BYTES_FILE, KEPT_BYTES_FILE + KEPT_BYTES_MIN, KEPT_BYTES_UNIT);
        assert!(one.set(all - unit) && other.set(own + 1));
        assert!(!one.set(all) && !other.set(own + unit + 1) && other.set(own));
        assert!(one.set(own + 1) && other.set(all - unit));
        drop(other);
        assert!(one.set(all));
    }
}
