//! Which chunks of a file are there: stretches of them, as they come nearly in order. There are no more
//! stretches than subtrees that wait to be merged.

use std::ops::Range;

use parking_lot::Mutex;
use rangemap::RangeSet;

use crate::content::chunk::ChunkIndex;

/// The chunks that somebody has taken.
#[derive(Default)]
pub(super) struct Claims(Mutex<RangeSet<u64>>);

impl Claims {
    /// Takes a chunk for the caller alone; false where somebody has it.
    pub fn take(&self, index: ChunkIndex) -> bool {
        let mut taken = self.0.lock();
        let new = index.0 < u64::MAX && !taken.contains(&index.0);
        if new {
            taken.insert(index.0..index.0 + 1);
        }
        new
    }

    /// Takes all of these chunks; false where somebody has one of them, and then none.
    pub fn take_all(&self, chunks: Range<u64>) -> bool {
        let mut taken = self.0.lock();
        let new = !chunks.is_empty() && !taken.overlaps(&chunks);
        if new {
            taken.insert(chunks);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_chunk_is_taken_once(chunks in proptest::collection::vec(
            prop_oneof![0..70u64, Just(u64::MAX)], 0..200
        )) {
            let claims = Claims::default();
            let mut taken = HashSet::new();
            for chunk in chunks {
                prop_assert_eq!(claims.take(ChunkIndex(chunk)), chunk != u64::MAX && taken.insert(chunk));
            }
        }
    }
}
