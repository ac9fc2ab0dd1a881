//! Which connection gets which chunks. Each has a stretch of the file to go through from its beginning; one
//! that is done takes the second half of whoever has most left. So all end together, and the tail is not left
//! to a connection that is slow.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::limits::CHUNK_BYTES;
use crate::web::pieces::PIECE_BYTES;

/// Chunks of a stretch that are worth a request of their own: 1 MiB.
const HALVED_MIN: u64 = 8;

/// From this length on a stretch begins with a whole piece: those are what a server of our own has values of,
/// and it hashes them on their way.
const WHOLE_FROM: u64 = 4 * PIECE_CHUNKS;

/// Chunks of a piece.
const PIECE_CHUNKS: u64 = PIECE_BYTES / CHUNK_BYTES as u64;

/// A connection from which nothing has come for so long has its stretch taken away by one that has nothing to
/// do.
const STALLED: Duration = Duration::from_secs(2);

/// The same where something comes, but no whole chunk for so long: one that drips holds up the end for
/// nobody.
const DRIPPING: Duration = Duration::from_secs(10);

/// Who has what.
#[derive(Debug)]
pub struct Shares {
    /// Chunks that somebody has read, so that nobody else writes them.
    claimed: Vec<u64>,
    missing: u64,
    /// Stretches that nobody has.
    free: Vec<Range<u64>>,
    /// By the number of the connection.
    held: Vec<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    left: Range<u64>,
    /// When something came, and when a whole chunk did.
    since: Instant,
    whole: Instant,
}

impl Shares {
    /// Of a file of so many chunks, of which these are there, in their order.
    #[must_use]
    pub fn new(chunks: u64, there: impl IntoIterator<Item = Range<u64>>) -> Shares {
        let words = usize::try_from(chunks.div_ceil(64)).unwrap_or_default();
        let mut shares =
            Shares { claimed: vec![0; words], missing: chunks, free: Vec::new(), held: Vec::new() };
        let mut at = 0;
        for there in there {
            let there = there.start.max(at)..there.end.min(chunks);
            if there.is_empty() {
                continue;
            }
            if at < there.start {
                shares.free.push(at..there.start);
            }
            at = there.end;
            there.for_each(|chunk| {
                shares.claim(chunk);
            });
        }
        if at < chunks {
            shares.free.push(at..chunks);
        }
        shares
    }

    /// Whether all chunks were read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Chunks that nobody has read.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// A stretch for a connection: what it has, what is free, or half of what another one has.
    pub fn take(&mut self, who: usize, now: Instant) -> Option<Range<u64>> {
        if self.held.len() <= who {
            self.held.resize(who + 1, None);
        }
        let own = self.held.get(who).cloned().flatten().map(|held| held.left).filter(|left| !left.is_empty());
        let left = own.or_else(|| self.take_free()).or_else(|| self.take_over(who, now));
        let held = left.clone().map(|left| Held { left, since: now, whole: now });
        if let Some(place) = self.held.get_mut(who) {
            *place = held;
        }
        left
    }

    fn take_free(&mut self) -> Option<Range<u64>> {
        let largest = self.free.iter().enumerate().max_by_key(|(_, free)| free.end - free.start);
        largest.map(|(at, _)| at).map(|at| self.free.swap_remove(at))
    }

    fn take_over(&mut self, who: usize, now: Instant) -> Option<Range<u64>> {
        let others = self.held.iter_mut().enumerate().filter(|(other, _)| *other != who);
        let others = others.filter_map(|(_, held)| held.as_mut()).filter(|held| !held.left.is_empty());
        let stalled = |held: &Held| {
            now.duration_since(held.since) >= STALLED || now.duration_since(held.whole) >= DRIPPING
        };
        let most = others.max_by_key(|held| (stalled(held), held.left.end - held.left.start))?;
        let length = most.left.end - most.left.start;
        let from = match stalled(most) {
            true => most.left.start,
            false if length >= WHOLE_FROM => (most.left.start + length / 2).next_multiple_of(PIECE_CHUNKS),
            false if length >= HALVED_MIN => most.left.start + length / 2,
            false => return None,
        };
        let taken = from..most.left.end;
        most.left.end = from;
        Some(taken)
    }

    /// A connection has read a chunk. Whether it is the first, and so the one that writes it; and whether the
    /// stretch goes on.
    pub fn read(&mut self, who: usize, chunk: u64, now: Instant) -> (bool, bool) {
        let first = self.claim(chunk);
        let Some(held) = self.held.get_mut(who).and_then(Option::as_mut) else { return (first, false) };
        (held.since, held.whole) = (now, now);
        let is_own = held.left.contains(&chunk);
        if is_own {
            held.left.start = chunk + 1;
        }
        (first, is_own && !held.left.is_empty())
    }

    /// Where the stretch of a connection ends by now.
    #[must_use]
    pub fn left(&self, who: usize) -> Range<u64> {
        self.held.get(who).and_then(Option::as_ref).map_or(0..0, |held| held.left.clone())
    }

    /// Something came over a connection, if not a whole chunk.
    pub fn came(&mut self, who: usize, now: Instant) {
        if let Some(held) = self.held.get_mut(who).and_then(Option::as_mut) {
            held.since = now;
        }
    }

    /// What was to be there is not right, and is missing after all.
    pub fn put_back(&mut self, chunks: Range<u64>) {
        for chunk in chunks.clone() {
            let word = usize::try_from(chunk / 64).ok().and_then(|word| self.claimed.get_mut(word));
            let Some(word) = word else { continue };
            let bit = 1 << (chunk % 64);
            self.missing += u64::from(*word & bit != 0);
            *word &= !bit;
        }
        self.free.push(chunks);
    }

    /// A connection leaves what it has to others.
    pub fn give_up(&mut self, who: usize) {
        if let Some(held) = self.held.get_mut(who).and_then(Option::take)
            && !held.left.is_empty()
        {
            self.free.push(held.left);
        }
    }

    fn claim(&mut self, chunk: u64) -> bool {
        let word = usize::try_from(chunk / 64).ok().and_then(|word| self.claimed.get_mut(word));
        let Some(word) = word else { return false };
        let bit = 1 << (chunk % 64);
        let first = *word & bit == 0;
        *word |= bit;
        self.missing = self.missing.saturating_sub(u64::from(first));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_is_done_takes_half_of_what_is_left() {
        let now = Instant::now();
        let mut shares = Shares::new(60, []);
        assert_eq!(shares.take(0, now), Some(0..60));
        assert_eq!(shares.take(1, now), Some(30..60));
        assert_eq!((shares.take(2, now), shares.left(1)), (Some(45..60), 30..45));
        for chunk in 0..20 {
            assert_eq!(shares.read(0, chunk, now), (true, true));
        }
        // The longest is that of 1 or 2 by now.
        assert_eq!(shares.take(3, now), Some(52..60));
        shares.give_up(3);
        assert_eq!((shares.take(4, now), shares.left(0)), (Some(52..60), 20..30));
        // Where there is enough, a whole piece is the first.
        let mut many = Shares::new(1000, []);
        assert_eq!((many.take(0, now), many.take(1, now)), (Some(0..1000), Some(512..1000)));
        // Five chunks are not worth a request.
        let mut few = Shares::new(5, []);
        assert_eq!((few.take(0, now), few.take(1, now)), (Some(0..5), None));
    }

    #[test]
    fn what_stalls_is_taken_away_and_read_once() {
        let now = Instant::now();
        let mut shares = Shares::new(3, []);
        shares.take(0, now);
        assert_eq!(shares.take(1, now), None);
        let later = now + STALLED;
        assert_eq!((shares.take(1, later), shares.left(0)), (Some(0..3), 0..0));
        assert_eq!(shares.read(1, 0, later), (true, true));
        // It comes after all.
        assert_eq!(shares.read(0, 0, later), (false, false));
        assert_eq!(shares.missing(), 2);
    }

    #[test]
    fn what_comes_drop_by_drop_is_taken_away_at_last() {
        let now = Instant::now();
        let mut shares = Shares::new(3, []);
        shares.take(0, now);
        for second in 1..10 {
            let later = now + Duration::from_secs(second);
            shares.came(0, later);
            assert_eq!(shares.take(1, later), None, "after {second} s");
        }
        assert_eq!(shares.take(1, now + DRIPPING), Some(0..3));
    }

    #[test]
    fn only_what_is_missing_is_dealt() {
        let now = Instant::now();
        let mut shares = Shares::new(10, [0..2, 5..6, 9..100]);
        assert_eq!((shares.missing(), shares.take(0, now), shares.take(1, now)), (6, Some(6..9), Some(2..5)));
        assert_eq!(shares.take(2, now), None);
        assert!(Shares::new(2, [0..1, 0..2]).is_complete() && !Shares::new(1, []).is_complete());
        shares.put_back(0..2);
        assert_eq!((shares.missing(), shares.take(2, now)), (8, Some(0..2)));
        assert_eq!((shares.read(2, 0, now), shares.read(2, 1, now)), ((true, true), (true, false)));
    }

    proptest! {
        #[test]
        fn every_chunk_is_read_once_whatever_the_connections_do(
            chunks in 1..300u64,
            there in proptest::collection::btree_set(0..300u64, 0..40),
            steps in proptest::collection::vec((0..5usize, 0..4u8, 0..3000u64), 0..600),
        ) {
            let mut shares = Shares::new(chunks, there.iter().map(|chunk| *chunk..chunk + 1));
            let mut read = vec![0; chunks as usize];
            there.iter().filter(|chunk| **chunk < chunks).for_each(|chunk| read[*chunk as usize] = 1);
            let mut now = Instant::now();
            let finish = (0..2000).map(|n| (n % 5, if n % 2 == 0 { 0 } else { 1 }, 100));
            for (who, what, millis) in steps.into_iter().chain(finish) {
                now += Duration::from_millis(millis);
                match what {
                    0 => drop(shares.take(who, now)),
                    3 => shares.give_up(who),
                    _ => {
                        let left = shares.left(who);
                        for chunk in left.clone().take(if what == 1 { 300 } else { 3 }) {
                            let (first, goes_on) = shares.read(who, chunk, now);
                            read[chunk as usize] += i32::from(first);
                            if !goes_on { break }
                        }
                    }
                }
            }
            prop_assert!(shares.is_complete(), "{shares:?}");
            prop_assert!(read.iter().all(|times| *times == 1), "{read:?}");
        }
    }
}
