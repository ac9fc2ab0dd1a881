//! The values of chunks and subtrees that hold nothing but zeros, each computed once or known beforehand.
//!
//! Each leaf of a BLAKE3 tree is hashed with its place in the file, so zeros have another value at each
//! place. But they have the same in every file, and a thousand disk images with holes have them at the same
//! places. And they have the same for ever: `zeros.bin` holds the values of whole GiB, in order, so that a
//! hole in the first TiB of a file costs the hashing of what is left at its ends.

use std::sync::OnceLock;

use blake3::hazmat::{Mode, merge_subtrees_non_root};

use super::chunk::{ChunkIndex, Layout};
use super::tree::{ChunkValue, Subtree, chunk_value};
use crate::limits::CHUNK_BYTES;

/// Values that are kept together: those of 1 GiB, at 160 KiB.
const BLOCK: usize = 1 << BLOCK_LEVEL;

/// Blocks that there may be: those of the first 64 GiB of a file, at 10 MiB. What lies behind is computed
/// each time.
const BLOCKS: usize = 64;

/// The level in the tree of a subtree of 1 GiB.
const BLOCK_LEVEL: u8 = 12;

/// The values of the subtrees of 1 GiB of zeros, from the beginning of a file on. A test says how they are
/// made.
static TABLE: &[u8] = include_bytes!("zeros.bin");

type Block = Box<[OnceLock<ChunkValue>]>;

static KNOWN: [OnceLock<Block>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// The value of chunk `index` of a file laid out as `layout`, if that holds nothing but zeros; `None` where
/// the file has no such chunk.
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

/// The values of `count` chunks from `first` on that hold nothing but zeros, in subtrees as large as can be,
/// but of no more than 1 GiB. `None` where the file has no such chunks, or is a stream.
#[must_use]
pub fn subtrees_of_zeros(layout: Layout, first: ChunkIndex, count: u64) -> Option<Vec<Subtree>> {
    let end = first.0.checked_add(count).filter(|end| *end <= layout.chunks())?;
    if layout.is_open() {
        return None;
    }
    // A last chunk that is short is no part of a full subtree, and what is all of the file has a hash and no
    // value.
    let whole = layout.size() / CHUNK_BYTES as u64;
    let mut subtrees = Vec::new();
    let mut at = first.0;
    while at < end {
        let level = (0..=BLOCK_LEVEL).rev().find(|level| {
            let chunks = 1 << level;
            at.is_multiple_of(chunks) && at + chunks <= end.min(whole) && chunks < layout.chunks()
        });
        let (first, level) = (ChunkIndex(at), level.unwrap_or_default());
        subtrees.push(Subtree { first, level, value: value_of_subtree(layout, first, level)? });
        at += 1 << level;
    }
    Some(subtrees)
}

/// That of a full subtree; as deep as there are levels in a GiB.
fn value_of_subtree(layout: Layout, first: ChunkIndex, level: u8) -> Option<ChunkValue> {
    let Some(below) = level.checked_sub(1) else { return value_of_zeros(layout, first) };
    if level == BLOCK_LEVEL
        && let Some(known) = in_table(first.0 >> BLOCK_LEVEL)
    {
        return Some(known);
    }
    let right = ChunkIndex(first.0 + (1 << below));
    let (left, right) = (value_of_subtree(layout, first, below)?, value_of_subtree(layout, right, below)?);
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn in_table(block: u64) -> Option<ChunkValue> {
    let (values, _) = TABLE.as_chunks();
    values.get(usize::try_from(block).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::tree::Tree;
    use proptest::prelude::*;

    const C: u64 = CHUNK_BYTES as u64;
    const GIB: u64 = 1 << 30;

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

    /// The hash of so many zeros, in stretches that end at multiples of `step` chunks.
    fn hash_of_zeros(size: u64, step: u64) -> blake3::Hash {
        let layout = Layout::new(size);
        let mut tree = Tree::new(layout);
        let mut root = None;
        let mut at = 0;
        while at < layout.chunks() {
            let count = (step - at % step).min(layout.chunks() - at);
            for subtree in subtrees_of_zeros(layout, ChunkIndex(at), count).unwrap() {
                assert_eq!(root, None, "the root came before the last subtree");
                root = tree.insert_subtree(subtree).unwrap();
            }
            at += count;
        }
        root.unwrap()
    }

    #[test]
    fn a_hole_of_two_gibibytes_has_the_hash_of_so_many_zeros() {
        let mut hasher = blake3::Hasher::new();
        (0..2 * GIB / C).for_each(|_| _ = hasher.update(&ZEROS));
        assert_eq!(hash_of_zeros(2 * GIB, BLOCK as u64), hasher.finalize());
        assert_eq!(hash_of_zeros(2 * GIB + 1, BLOCK as u64), hasher.update(&[0]).finalize());
    }

    #[test]
    fn what_is_no_part_of_the_file_has_no_value() {
        let layout = Layout::new(9 * C + 1);
        assert!(subtrees_of_zeros(layout, ChunkIndex(0), 10).is_some());
        for (first, count) in [(0, 11), (9, 2), (10, 1), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(subtrees_of_zeros(layout, ChunkIndex(first), count), None, "{count} from {first}");
        }
        assert_eq!(subtrees_of_zeros(Layout::open(), ChunkIndex(0), 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn a_hole_of_any_size_in_any_stretches(size in 0u64..70 * C, step in 1u64..80) {
            prop_assert_eq!(hash_of_zeros(size, step), blake3::hash(&vec![0; size as usize]));
        }
    }

    /// The value of a GiB of zeros, computed of its chunks.
    fn computed(block: u64) -> ChunkValue {
        let mut hasher = blake3::Hasher::new();
        blake3::hazmat::HasherExt::set_input_offset(&mut hasher, block * GIB);
        (0..GIB / C).for_each(|_| _ = hasher.update(&ZEROS));
        blake3::hazmat::HasherExt::finalize_non_root(&hasher)
    }

    #[test]
    fn the_table_has_what_zeros_are_hashed_to() {
        assert_eq!(TABLE.len(), 1024 * 32);
        for block in [0, 1, 517, 1023] {
            assert_eq!(in_table(block), Some(computed(block)), "GiB {block}");
        }
        assert_eq!((in_table(1024), in_table(u64::MAX)), (None, None));
    }

    /// How the table was made: it takes minutes. Where it is not right, the right one is left in the folder
    /// for temporary files.
    #[test]
    #[ignore = "hashes a TiB of zeros"]
    fn all_of_the_table_is_right() {
        let half = |from: u64| move || (from..1024).step_by(2).map(computed).collect::<Vec<_>>();
        let odd = std::thread::spawn(half(1));
        let (even, odd) = (half(0)(), odd.join().unwrap());
        let right: Vec<u8> = even.into_iter().zip(odd).flat_map(|(even, odd)| [even, odd].concat()).collect();
        if right != TABLE {
            let path = std::env::temp_dir().join("zeros.bin");
            std::fs::write(&path, right).unwrap();
            panic!("the table is to be {}", path.display());
        }
    }
}
