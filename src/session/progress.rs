//! How far a transfer has come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::snapshot::{Scene, UnderWay};

/// How far a transfer has come, over all its sessions. Bytes are counted where the receiver has written them;
/// at the sender that is the receiver's word, so sums of them never wrap.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes in the files offered so far. Those of a stream come in when it has ended.
    pub offered: AtomicU64,
    /// Bytes that all files will have, also those that were not offered yet, as far as anybody can tell; 0
    /// while nobody can.
    expected: AtomicU64,
    /// Streams under way whose end is not known: while there are any, nobody knows the whole.
    pub endless: AtomicU64,
    /// Bytes that crossed the network and were written, in this session.
    pub written: AtomicU64,
    /// Bytes that were at the receiver already and proved to be right, in this session.
    pub kept: AtomicU64,
    /// Bytes of the frames that carried all that, as they travelled, in all sessions.
    pub wire: AtomicU64,
    /// Files that have an outcome.
    pub files_done: AtomicU64,
    /// Bytes in the files that have an outcome.
    pub bytes_done: AtomicU64,
    /// Bytes that crossed the network in sessions that were lost.
    pub written_before: AtomicU64,
    /// Bytes in the files that had an outcome when this session began.
    pub done_before: AtomicU64,
    /// The session, while there is one.
    scene: Mutex<Option<Weak<dyn Scene>>>,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// A stream began.
    pub(crate) fn stream_began(&self) {
        Progress::add(&self.endless, 1);
    }

    /// A stream has so many bytes; none where it failed before anybody knew.
    pub(crate) fn stream_ended(&self, bytes: u64) {
        // The bytes first: at no moment is the whole known and too little.
        Progress::add(&self.offered, bytes);
        self.endless.fetch_sub(1, Ordering::Release);
    }

    /// Bytes in all files that are known of: those offered so far, or more where more are expected; `None`
    /// while nobody knows.
    pub fn known(&self) -> Option<u64> {
        let endless = self.endless.load(Ordering::Acquire) > 0;
        (!endless).then(|| Progress::get(&self.offered).max(Progress::get(&self.expected)))
    }

    /// The same where those are all files: `all_offered`, or expected.
    pub fn whole(&self, all_offered: bool) -> Option<u64> {
        self.known().filter(|_| all_offered || Progress::get(&self.expected) > 0)
    }

    /// All files together will have so many bytes.
    pub fn expect(&self, bytes: u64) {
        self.expected.store(bytes, Ordering::Relaxed);
    }

    /// What this session is to bring of what is expected; `None` while nobody can tell.
    pub(crate) fn expected_of_session(&self) -> Option<u64> {
        let expected = Progress::get(&self.expected).checked_sub(Progress::get(&self.done_before))?;
        (expected > 0).then_some(expected)
    }

    /// Whether nothing that has bytes was offered yet.
    pub fn is_idle(&self) -> bool {
        self.endless.load(Ordering::Acquire) == 0 && Progress::get(&self.offered) == 0
    }

    /// Reads one of the counters.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Bytes that crossed the network and were written, in all sessions.
    pub fn crossed(&self) -> u64 {
        Progress::get(&self.written_before).saturating_add(Progress::get(&self.written))
    }

    /// Bytes that are where they belong.
    pub fn arrived(&self) -> u64 {
        let here = Progress::get(&self.written).saturating_add(Progress::get(&self.kept));
        let told = Progress::get(&self.done_before).saturating_add(here);
        // The outcome of a file may be heard before the progress that it was part of.
        told.max(Progress::get(&self.bytes_done))
    }

    /// From now on this session is the one to look at.
    pub fn follow<S: Scene + 'static>(&self, scene: &Arc<S>) {
        let scene: Weak<S> = Arc::downgrade(scene);
        *self.scene.lock() = Some(scene);
    }

    /// What is under way, with no more than `most` of its files; `None` while there is no session.
    pub fn under_way(&self, most: usize) -> Option<UnderWay> {
        let scene = self.scene.lock().as_ref()?.upgrade()?;
        Some(scene.under_way(most))
    }

    /// A session was lost; the next one counts from 0, and offers again what has no outcome.
    pub(crate) fn begin_again(&self) {
        let written = self.written.swap(0, Ordering::Relaxed);
        Progress::add(&self.written_before, written);
        self.kept.store(0, Ordering::Relaxed);
        let done = Progress::get(&self.bytes_done);
        self.done_before.store(done, Ordering::Relaxed);
        self.offered.store(done, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_again_after_a_loss_is_not_counted_twice() {
        let progress = Progress::default();
        Progress::add(&progress.offered, 150);
        Progress::add(&progress.bytes_done, 30);
        progress.begin_again();
        assert_eq!((progress.whole(true), progress.arrived()), (Some(30), 30));
        Progress::add(&progress.offered, 120);
        assert_eq!((progress.whole(true), progress.whole(false)), (Some(150), None));
    }

    #[test]
    fn what_is_expected_is_the_whole_until_more_has_come() {
        let progress = Progress::default();
        Progress::add(&progress.offered, 10);
        assert_eq!((progress.whole(false), progress.known()), (None, Some(10)));
        progress.expect(150);
        assert_eq!((progress.whole(false), progress.expected_of_session()), (Some(150), Some(150)));
        Progress::add(&progress.bytes_done, 10);
        progress.begin_again();
        assert_eq!((progress.whole(false), progress.expected_of_session()), (Some(150), Some(140)));
        Progress::add(&progress.offered, 200);
        assert_eq!(progress.whole(false), Some(210));
        progress.stream_began();
        assert_eq!((progress.whole(true), progress.known()), (None, None));
    }
}
