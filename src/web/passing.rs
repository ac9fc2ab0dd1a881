//! The values of pieces that somebody is sent anyway. Whoever wants the hash of a file mostly gets the file at
//! the same time; what is read for one is hashed for the other, and not read from the disk twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::pieces::PIECE_BYTES;
use crate::content::tree::{ChunkValue, Stretch};
use crate::os::stamp::Stamp;

/// How long a piece is waited for while its file is being sent. Eight connections of 1 Gbit/s together take
/// 270 ms for a piece each; where they are slower there is time to read it for its value alone.
const PATIENCE: Duration = Duration::from_millis(300);

/// The files whose values somebody wants just now.
#[derive(Debug, Default)]
pub struct Passing(Mutex<HashMap<Stamp, Weak<Watched>>>);

/// What is known of the pieces of one of them.
#[derive(Debug, Default)]
pub struct Watched {
    values: Mutex<BTreeMap<u64, ChunkValue>>,
    /// Answers that send some of it and hash that.
    senders: AtomicUsize,
    news: Notify,
}

impl Passing {
    /// Has whoever sends the file hash what it sends, for as long as somebody holds this.
    #[must_use]
    pub fn watch(&self, stamp: &Stamp) -> Arc<Watched> {
        let mut files = self.0.lock();
        files.retain(|_, watched| watched.strong_count() > 0);
        files.get(stamp).and_then(Weak::upgrade).unwrap_or_else(|| {
            let watched = Arc::default();
            files.insert(*stamp, Arc::downgrade(&watched));
            watched
        })
    }

    fn watched(&self, stamp: &Stamp) -> Option<Arc<Watched>> {
        self.0.lock().get(stamp).and_then(Weak::upgrade)
    }
}

impl Watched {
    /// The value of the piece from `at`. `None` where it has to be read for that.
    pub async fn value(&self, at: u64) -> Option<ChunkValue> {
        let end = Instant::now() + PATIENCE;
        loop {
            let news = self.news.notified();
            if let Some(value) = self.values.lock().get(&at) {
                return Some(*value);
            }
            if self.senders.load(Ordering::Acquire) == 0 || timeout_at(end, news).await.is_err() {
                return None;
            }
        }
    }
}

/// Hashes what one answer sends of a file, while that is wanted.
#[derive(Debug)]
pub struct Passer {
    passing: Arc<Passing>,
    stamp: Stamp,
    sender: Option<Sender>,
    /// The piece under way: its value so far, where it begins, and the bytes that are still to come.
    piece: Option<(Box<Stretch>, u64, u64)>,
}

/// One of those that are waited for. Only whoever wants the values keeps them.
#[derive(Debug)]
struct Sender(Weak<Watched>);

impl Sender {
    fn of(watched: &Arc<Watched>) -> Sender {
        watched.senders.fetch_add(1, Ordering::AcqRel);
        Sender(Arc::downgrade(watched))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(watched) = self.0.upgrade() {
            watched.senders.fetch_sub(1, Ordering::AcqRel);
            watched.news.notify_waiters();
        }
    }
}

impl Passer {
    #[must_use]
    pub fn new(passing: &Arc<Passing>, stamp: Stamp) -> Passer {
        Passer { passing: passing.clone(), stamp, sender: None, piece: None }
    }

    /// These bytes are sent, which stand in the file from `at` on: those behind the last ones.
    pub fn sees(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if at.is_multiple_of(PIECE_BYTES) {
                self.begin(at);
            }
            let to_border = PIECE_BYTES - at % PIECE_BYTES;
            let count = usize::try_from(to_border).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            self.update(now);
            (at, bytes) = (at + now.len() as u64, later);
        }
    }

    /// The piece from here on is hashed if somebody wants its value and nobody knows it.
    fn begin(&mut self, at: u64) {
        self.piece = None;
        let Some(watched) = self.passing.watched(&self.stamp) else {
            self.sender = None;
            return;
        };
        let is_own = self.sender.as_ref().is_some_and(|own| own.0.as_ptr() == Arc::as_ptr(&watched));
        if !is_own {
            self.sender = Some(Sender::of(&watched));
        }
        if watched.values.lock().contains_key(&at) {
            return;
        }
        let length = PIECE_BYTES.min(self.stamp.size - at);
        self.piece = Stretch::new(self.stamp.size, at, length).map(|stretch| (Box::new(stretch), at, length));
    }

    fn update(&mut self, bytes: &[u8]) {
        let Some((stretch, at, left)) = &mut self.piece else { return };
        stretch.update(bytes);
        *left = left.saturating_sub(bytes.len() as u64);
        if *left > 0 {
            return;
        }
        if let Some(watched) = self.sender.as_ref().and_then(|own| own.0.upgrade()) {
            watched.values.lock().insert(*at, stretch.value());
            watched.news.notify_waiters();
        }
        self.piece = None;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::web::hashes::Known;
    use crate::web::place::{Found, OpenFile, Place};

    const SIZE: u64 = 2 * PIECE_BYTES + 5000;

    fn open(folder: &std::path::Path) -> OpenFile {
        fs::write(folder.join("file"), vec![0; usize::try_from(SIZE).unwrap()]).unwrap();
        let place = Arc::new(Place::new(&[folder.join("file")], false).unwrap());
        match place.open(Some(&crate::name::RelativePath::from_wire(b"file").unwrap())) {
            Ok(Found::File(file)) => file,
            other => panic!("{other:?}"),
        }
    }

    fn value_of(byte: u8, at: u64) -> ChunkValue {
        let length = PIECE_BYTES.min(SIZE - at);
        let mut stretch = Stretch::new(SIZE, at, length).unwrap();
        stretch.update(&vec![byte; usize::try_from(length).unwrap()]);
        stretch.value()
    }

    /// Has it send ones from there to there, in parts that end nowhere in particular.
    fn send(passer: &mut Passer, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let count = 250_001.min(to - at);
            passer.sees(at, &vec![1; usize::try_from(count).unwrap()]);
            at += count;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_not_read_once_more_and_the_rest_is() {
        let room = tempfile::tempdir().unwrap();
        let (known, file) = (Known::default(), open(room.path()));
        let watched = known.passing.watch(&file.stamp);
        let mut passer = Passer::new(&known.passing, file.stamp);
        // Not from its border on, so of no use; then all of the second piece, and the end.
        send(&mut passer, 300_000, SIZE);
        // The file has zeros: what was read for its value alone is seen by that.
        let expected = [value_of(0, 0), value_of(1, PIECE_BYTES), value_of(1, 2 * PIECE_BYTES)];
        let hashes = known.hash(Ipv4Addr::LOCALHOST.into(), &file, false, None).await.unwrap();
        assert_eq!(hashes.values, expected.concat());
        drop(watched);
        assert!(known.passing.watched(&file.stamp).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_waited_for_while_somebody_sends_and_for_no_longer_than_that() {
        let (passing, stamp) = (Arc::<Passing>::default(), Stamp { size: SIZE, ..Stamp::default() });
        let began = Instant::now();
        let watched = passing.watch(&stamp);
        assert_eq!(watched.value(0).await, None);
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody sends");
        let mut passer = Passer::new(&passing, stamp);
        send(&mut passer, 0, 1000);
        assert_eq!(watched.value(0).await, None);
        assert_eq!(began.elapsed(), PATIENCE, "it stalls");
        let other = watched.clone();
        let waits = tokio::spawn(async move { other.value(0).await });
        tokio::task::yield_now().await;
        send(&mut passer, 1000, PIECE_BYTES);
        assert_eq!(waits.await.unwrap(), Some(value_of(1, 0)));
        send(&mut passer, PIECE_BYTES, PIECE_BYTES + 1000);
        drop(passer);
        let before = Instant::now();
        assert_eq!(watched.value(PIECE_BYTES).await, None);
        assert_eq!(before.elapsed(), Duration::ZERO, "it has gone");
    }

    #[test]
    fn another_state_of_the_file_is_another_file() {
        let passing = Arc::<Passing>::default();
        let stamp = Stamp { size: SIZE, ..Stamp::default() };
        let watched = passing.watch(&stamp);
        send(&mut Passer::new(&passing, Stamp { ctime_nanos: 1, ..stamp }), 0, SIZE);
        assert!(watched.values.lock().is_empty());
        send(&mut Passer::new(&passing, stamp), 0, SIZE);
        assert_eq!(watched.values.lock().len(), 3);
    }
}
