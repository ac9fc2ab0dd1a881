//! The values of chunks that hold nothing but zeros, each computed once.
//!
//! Each leaf of a BLAKE3 tree is hashed with its place in the file, so zeros have another value at each place. But they have the same in every file,
//! and a thousand disk images with holes have them at the same places.

use std::sync::OnceLock;

use super::chunk::{ChunkIndex, Layout};
use super::tree::{ChunkValue, chunk_value};
use crate::limits::CHUNK_BYTES;

/// Values that are kept together: those of 1 GiB, at 160 KiB.
const BLOCK: usize = 4096;

/// Blocks that there may be: those of the first 64 GiB of a file, at 10 MiB. What lies behind is computed each time.
const BLOCKS: usize = 64;

type Block = Box<[OnceLock<ChunkValue>]>;

static KNOWN: [OnceLock<Block>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// The value of chunk `index` of a file laid out as `layout`, if that holds nothing but zeros; `None` where the file has no such chunk.
#[must_use]
pub fn value_of_zeros(layout: Layout, index: ChunkIndex) -> Option<ChunkValue> {
    let zeros = ZEROS.get(..layout.len_of(index)?)?;
    let compute = || chunk_value(layout, index, zeros);
    if zeros.len() < CHUNK_BYTES || layout.is_single() {
        return Some(compute());
    }
    let at = usize::try_from(index.0).ok()?;
    let block = KNOWN
        .get(at / BLOCK)
        .map(|block| block.get_or_init(|| (0..BLOCK).map(|_| OnceLock::new()).collect()));
    let known = block.and_then(|block| block.get(at % BLOCK));
    Some(known.map_or_else(compute, |known| *known.get_or_init(compute)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = CHUNK_BYTES as u64;

    #[test]
    fn zeros_have_the_value_that_they_are_hashed_to() {
        let far = (BLOCKS * BLOCK) as u64;
        for size in [0, 1, C, C + 1, 3 * C, 3 * C + 7, far * C, far * C + C + 3] {
            let layout = Layout::new(size);
            let last = layout.chunks() - 1;
            for index in [0, 1, last / 2, last.saturating_sub(1), last].map(ChunkIndex) {
                let Some(len) = layout.len_of(index) else {
                    assert_eq!(value_of_zeros(layout, index), None);
                    continue;
                };
                let expected = chunk_value(layout, index, &vec![0; len]);
                // Computed, and known.
                for _ in 0..2 {
                    assert_eq!(value_of_zeros(layout, index), Some(expected), "chunk {} of {size}", index.0);
                }
            }
            assert_eq!(value_of_zeros(layout, ChunkIndex(last + 1)), None);
        }
        assert_eq!(
            value_of_zeros(Layout::open(), ChunkIndex(5)),
            value_of_zeros(Layout::new(9 * C), ChunkIndex(5))
        );
    }
}
