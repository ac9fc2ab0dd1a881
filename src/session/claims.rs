//! Which chunks of a file are there: one bit for each, set once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chunk::{ChunkIndex, Layout};
use crate::limits::CLAIM_PIECE_WORDS;

/// Chunks in one piece.
const PIECE_CHUNKS: u64 = CLAIM_PIECE_WORDS as u64 * 64;

/// One bit for each chunk. Pieces that are never touched are never made: a file may be offered with any size, and a stream
/// with none.
pub(super) struct Claims {
    pieces: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Claims {
    pub fn new(layout: Layout) -> Claims {
        let pieces = layout.chunks().div_ceil(PIECE_CHUNKS);
        Claims { pieces: (0..pieces).map(|_| OnceLock::new()).collect() }
    }

    /// Takes a chunk for the caller alone; false where somebody has it, or it is far from any that the file has.
    pub fn take(&self, index: ChunkIndex) -> bool {
        let piece = usize::try_from(index.0 / PIECE_CHUNKS).ok().and_then(|n| self.pieces.get(n));
        let Some(piece) = piece else { return false };
        let words = piece.get_or_init(|| (0..CLAIM_PIECE_WORDS).map(|_| AtomicU64::new(0)).collect());
        let within = index.0 % PIECE_CHUNKS;
        let bit = 1 << (within % 64);
        words.get((within / 64) as usize).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
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
            prop_oneof![0..70u64, PIECE_CHUNKS - 3..PIECE_CHUNKS + 3, Just(u64::MAX)], 0..200
        )) {
            let claims = Claims::new(Layout::open());
            let mut taken = HashSet::new();
            for chunk in chunks {
                prop_assert_eq!(claims.take(ChunkIndex(chunk)), chunk != u64::MAX && taken.insert(chunk));
            }
        }
    }

    #[test]
    fn the_largest_file_takes_no_memory_for_what_is_not_there() {
        let claims = Claims::new(Layout::open());
        let last = ChunkIndex(Layout::open().chunks() - 1);
        assert!(claims.take(last) && !claims.take(last) && claims.take(ChunkIndex(0)));
        let made = claims.pieces.iter().filter(|piece| piece.get().is_some()).count();
        assert_eq!(made, 2);
        assert!(claims.pieces.len() * size_of::<OnceLock<Box<[AtomicU64]>>>() <= 256 << 10);
    }
}
