//! The BLAKE3 hash of a whole file from the chaining values of its chunks, in any order.
//!
//! A chunk of 256 KiB is a complete BLAKE3 subtree of 2^8 leaves, so its chaining value can be computed from
//! its bytes alone while they are in cache ([`blake3::hazmat`]). Siblings are merged as soon as both are
//! known, so a [`Tree`] holds only the roots of the finished subtrees: about (chunks under way) x
//! log2(chunks) values. The shape of the tree is that of the BLAKE3 specification, section 2.1: a left
//! subtree is always complete and as large as can be.
//!
//! The tree of a stream grows while nobody knows its end. Until then the subtrees at the left edge stay
//! apart: any two of them may be all there is, and then they merge into the root, which is another function.
//! All others are merged at once, so here, too, no more is held.

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use super::chunk::{ChunkIndex, Layout};
use crate::limits::BLAKE3_LEAF_BYTES;

/// The BLAKE3 hash of a whole file, as `b3sum` prints it.
pub type Hash = blake3::Hash;

/// What one chunk contributes to the hash of its file: its chaining value, or the hash of the whole file
/// where the chunk is all of it.
pub type ChunkValue = [u8; 32];

/// The value of chunk `index` of a file laid out as `layout`, from its bytes.
pub fn chunk_value(layout: Layout, index: ChunkIndex, bytes: &[u8]) -> ChunkValue {
    debug_assert!(layout.is_open() || layout.len_of(index) == Some(bytes.len()));
    let mut hasher = Hasher::new();
    if layout.is_single() {
        return *hasher.update(bytes).finalize().as_bytes();
    }
    hasher.set_input_offset(layout.offset_of(index).unwrap_or_default());
    hasher.update(bytes).finalize_non_root()
}

/// A value that cannot be: no such chunk, or one that is there already.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("chunk {} was hashed twice or does not exist", .0.0)]
pub struct Misplaced(pub ChunkIndex);

/// A subtree: the chunks from `index << level` on, `1 << level` of them or as many as the file still has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    level: u8,
    index: u64,
}

/// A whole subtree of a file's tree, and its value: the chunks from `first` on, 2^`level` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    pub first: ChunkIndex,
    pub level: u8,
    pub value: ChunkValue,
}

impl Subtree {
    pub fn of_chunk(chunk: ChunkIndex, value: ChunkValue) -> Subtree {
        Subtree { first: chunk, level: 0, value }
    }
}

/// Merges the values of a file's chunks into its hash.
pub struct Tree {
    /// How many there are; while it is open, how many there can be.
    chunks: u64,
    open: bool,
    /// No hash map, as that would keep the memory of what was there once.
    pending: BTreeMap<Node, ChainingValue>,
    root: Option<Hash>,
}

impl Tree {
    pub fn new(layout: Layout) -> Tree {
        Tree { chunks: layout.chunks(), open: layout.is_open(), pending: BTreeMap::new(), root: None }
    }

    /// Adds the value of one chunk. Returns the hash of the file once every chunk has been added.
    ///
    /// # Errors
    /// [`Misplaced`] for a chunk that the file does not have, or that waits to be merged already. A repeated chunk
    /// that was merged before is the caller's to exclude: the tree does not remember it.
    pub fn insert(&mut self, chunk: ChunkIndex, value: ChunkValue) -> Result<Option<Hash>, Misplaced> {
        if chunk.0 >= self.chunks || self.root.is_some() {
            return Err(Misplaced(chunk));
        }
        if self.chunks == 1 {
            self.root = Some(Hash::from_bytes(value));
            return Ok(self.root);
        }
        self.merge(Node { level: 0, index: chunk.0 }, value)
    }

    /// Adds the value of a whole subtree, as [`insert`](Self::insert) adds that of a chunk.
    ///
    /// # Errors
    /// [`Misplaced`] as there, and where the file has no such subtree below its root.
    pub fn insert_subtree(&mut self, subtree: Subtree) -> Result<Option<Hash>, Misplaced> {
        let Subtree { first, level, value } = subtree;
        if level == 0 {
            return self.insert(first, value);
        }
        let chunks = 1u64.checked_shl(level.into()).filter(|chunks| first.0.is_multiple_of(*chunks));
        let end = chunks.and_then(|chunks| first.0.checked_add(chunks));
        let is_within = end.is_some_and(|end| end <= self.chunks) && !self.covers_all(level);
        if !is_within || self.open || self.root.is_some() {
            return Err(Misplaced(first));
        }
        self.merge(Node { level, index: first.0 >> level }, value)
    }

    /// The end of an open tree is known now. Returns the hash of the file if every chunk has been added.
    ///
    /// # Errors
    /// [`Misplaced`] where the tree was not open, where there is only one chunk, whose value would not be that of a part,
    /// or for a chunk behind the end that waits to be merged.
    pub fn close(&mut self, layout: Layout) -> Result<Option<Hash>, Misplaced> {
        let chunks = layout.chunks();
        if !self.open || layout.is_open() || chunks < 2 || chunks > self.chunks {
            return Err(Misplaced(ChunkIndex(chunks)));
        }
        (self.open, self.chunks) = (false, chunks);
        for (node, value) in std::mem::take(&mut self.pending) {
            // A node of one chunk may be the last one; all others were merged of as many chunks as they stand
            // for.
            let last = ((node.index + 1) << node.level) - 1;
            if last >= chunks || self.root.is_some() {
                return Err(Misplaced(ChunkIndex(last)));
            }
            self.merge(node, value)?;
        }
        Ok(self.root)
    }

    /// Merges a subtree with what is there as far as can be.
    fn merge(&mut self, mut node: Node, mut value: ChainingValue) -> Result<Option<Hash>, Misplaced> {
        let first = ChunkIndex(node.index << node.level);
        loop {
            // Two at the left edge may be all of it.
            if self.open && node.index < 2 {
                return self.hold(node, value, first);
            }
            let sibling = Node { level: node.level, index: node.index ^ 1 };
            let sibling_exists = sibling.index << sibling.level < self.chunks;
            if sibling_exists {
                let Some(other) = self.pending.remove(&sibling) else {
                    return self.hold(node, value, first);
                };
                let (left, right) = if node.index < sibling.index { (value, other) } else { (other, value) };
                if self.covers_all(node.level + 1) {
                    self.root = Some(merge_subtrees_root(&left, &right, Mode::Hash));
                    return Ok(self.root);
                }
                value = merge_subtrees_non_root(&left, &right, Mode::Hash);
            }
            // Without a sibling the subtree at the right edge moves up unchanged.
            node = Node { level: node.level + 1, index: node.index / 2 };
        }
    }

    fn hold(
        &mut self,
        node: Node,
        value: ChainingValue,
        chunk: ChunkIndex,
    ) -> Result<Option<Hash>, Misplaced> {
        match self.pending.insert(node, value) {
            None => Ok(None),
            Some(_) => Err(Misplaced(chunk)),
        }
    }

    /// How many subtrees wait for what they are merged with.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// The hash of the file, once every chunk has been added.
    pub fn root(&self) -> Option<Hash> {
        self.root
    }

    fn covers_all(&self, level: u8) -> bool {
        self.chunks <= 1 << level
    }
}

/// A stretch of a file that is a whole subtree of its BLAKE3 tree, hashed as its bytes come.
#[derive(Debug)]
pub struct Stretch {
    hasher: Hasher,
    is_all: bool,
}

impl Stretch {
    /// Of `bytes` bytes from `at`, in a file of `size`. `None` where these are no subtree: one is all of the
    /// file, or a power of two long from a multiple of that on, or what is left behind such a place. None is
    /// shorter than a leaf but the last.
    #[must_use]
    pub fn new(size: u64, at: u64, bytes: u64) -> Option<Stretch> {
        let end = at.checked_add(bytes).filter(|end| *end <= size)?;
        let is_all = bytes == size;
        let is_full = bytes.is_power_of_two() && bytes >= BLAKE3_LEAF_BYTES as u64;
        let room = bytes.max(BLAKE3_LEAF_BYTES as u64).checked_next_power_of_two()?;
        let is_subtree = bytes > 0 && (is_full || end == size) && at.is_multiple_of(room);
        let mut hasher = Hasher::new();
        if !is_all {
            hasher.set_input_offset(is_subtree.then_some(at)?);
        }
        Some(Stretch { hasher, is_all })
    }

    /// The next bytes, no more of them than it has.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Its chaining value; of all of a file the hash of the file.
    #[must_use]
    pub fn value(&self) -> ChunkValue {
        if self.is_all { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}

/// The hash of a file of `size` bytes from the values of stretches, by where each begins, with its length.
/// `None` where they do not cover it.
#[must_use]
pub fn joined(size: u64, stretches: &BTreeMap<u64, (u64, ChunkValue)>) -> Option<Hash> {
    joined_of(size, &|at| stretches.get(&at).copied())
}

/// The same, where `stretch_at` tells of the stretch that begins there.
#[must_use]
pub fn joined_of(size: u64, stretch_at: &impl Fn(u64) -> Option<(u64, ChunkValue)>) -> Option<Hash> {
    let root = match stretch_at(0) {
        Some((bytes, value)) if bytes == size => value,
        _ if size <= BLAKE3_LEAF_BYTES as u64 => return None,
        _ => {
            let left = left_subtree_len(size);
            let (left, right) = (part_of(stretch_at, 0, left)?, part_of(stretch_at, left, size - left)?);
            *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
        }
    };
    Some(Hash::from_bytes(root))
}

/// The value of the subtree of so many bytes from `at`. As deep as the tree: 36 levels at most.
fn part_of(
    stretch_at: &impl Fn(u64) -> Option<(u64, ChunkValue)>,
    at: u64,
    bytes: u64,
) -> Option<ChainingValue> {
    match stretch_at(at)? {
        (own, value) if own == bytes => Some(value),
        (own, _) if own > bytes || bytes <= BLAKE3_LEAF_BYTES as u64 => None,
        _ => {
            let left = left_subtree_len(bytes);
            let (left, right) =
                (part_of(stretch_at, at, left)?, part_of(stretch_at, at + left, bytes - left)?);
            Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHUNK_BYTES;
    use proptest::prelude::*;

    /// Bytes that differ from place to place, so that swapped chunks show (as BLAKE3's own vectors do).
    fn painted(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn hash_in_order(data: &[u8], order: &[u64]) -> Hash {
        let layout = Layout::new(data.len() as u64);
        let mut tree = Tree::new(layout);
        let mut root = None;
        for &i in order {
            let index = ChunkIndex(i);
            let start = layout.offset_of(index).unwrap() as usize;
            let bytes = &data[start..start + layout.len_of(index).unwrap()];
            assert_eq!(root, None, "the root came before the last chunk");
            root = tree.insert(index, chunk_value(layout, index, bytes)).unwrap();
        }
        assert_eq!(root, tree.root());
        root.unwrap()
    }

    #[test]
    fn equals_blake3_at_every_boundary_in_any_order() {
        let mut sizes = vec![0, 1, 1023, 1024, 1025];
        for chunks in [1, 2, 3, 4, 5, 7, 8, 9, 16, 17] {
            let n = chunks * CHUNK_BYTES;
            sizes.extend([n - 1, n, n + 1]);
        }
        for size in sizes {
            let data = painted(size);
            let expected = blake3::hash(&data);
            let forward: Vec<u64> = (0..Layout::new(size as u64).chunks()).collect();
            let backward: Vec<u64> = forward.iter().rev().copied().collect();
            let mut odd_first = forward.clone();
            odd_first.sort_by_key(|i| (i % 2 == 0, i.wrapping_mul(7919) % 13));
            for order in [forward, backward, odd_first] {
                assert_eq!(hash_in_order(&data, &order), expected, "{size} bytes in order {order:?}");
            }
        }
    }

    #[test]
    fn swapped_chunks_change_the_hash() {
        let mut data = painted(4 * CHUNK_BYTES);
        let before = hash_in_order(&data, &[0, 1, 2, 3]);
        let (a, b) = data.split_at_mut(CHUNK_BYTES);
        a.swap_with_slice(&mut b[..CHUNK_BYTES]);
        assert_ne!(hash_in_order(&data, &[3, 1, 0, 2]), before);
    }

    #[test]
    fn refuses_a_chunk_twice_or_outside() {
        let layout = Layout::new(3 * CHUNK_BYTES as u64);
        let mut tree = Tree::new(layout);
        tree.insert(ChunkIndex(0), [1; 32]).unwrap();
        assert_eq!(tree.insert(ChunkIndex(0), [1; 32]), Err(Misplaced(ChunkIndex(0))));
        assert_eq!(tree.insert(ChunkIndex(3), [1; 32]), Err(Misplaced(ChunkIndex(3))));
        assert_eq!(tree.insert(ChunkIndex(u64::MAX), [1; 32]), Err(Misplaced(ChunkIndex(u64::MAX))));
    }

    #[test]
    fn memory_stays_at_chunks_under_way_times_depth() {
        let layout = Layout::new((1 << 16) * CHUNK_BYTES as u64);
        let mut tree = Tree::new(layout);
        let mut most = 0;
        for i in 0..layout.chunks() {
            tree.insert(ChunkIndex(i ^ 3), [i as u8; 32]).unwrap();
            most = most.max(tree.pending.len());
        }
        assert!(most <= 4 * 17, "{most} values were held at once");
    }

    /// The hash of a stream whose end becomes known after `known_at` chunks.
    fn hash_of_stream(data: &[u8], order: &[u64], known_at: usize) -> Hash {
        let (layout, open) = (Layout::new(data.len() as u64), Layout::open());
        let mut tree = Tree::new(open);
        let mut root = None;
        for (n, &i) in order.iter().enumerate() {
            if n == known_at {
                assert_eq!(tree.close(layout), Ok(None), "the root came before the last chunk");
            }
            let index = ChunkIndex(i);
            let start = layout.offset_of(index).unwrap() as usize;
            let bytes = &data[start..start + layout.len_of(index).unwrap()];
            assert_eq!(root, None, "the root came before the last chunk");
            root = tree.insert(index, chunk_value(open, index, bytes)).unwrap();
        }
        if known_at == order.len() {
            assert_eq!(root, None, "the root came before the end was known");
            root = tree.close(layout).unwrap();
        }
        assert_eq!(root, tree.root());
        root.unwrap()
    }

    #[test]
    fn a_stream_has_the_hash_of_the_file_wherever_its_end_becomes_known() {
        for chunks in [2, 3, 4, 5, 7, 8, 9, 16, 17] {
            for size in [chunks * CHUNK_BYTES, chunks * CHUNK_BYTES - 1, (chunks - 1) * CHUNK_BYTES + 1] {
                let data = painted(size);
                let expected = blake3::hash(&data);
                let forward: Vec<u64> = (0..chunks as u64).collect();
                let backward: Vec<u64> = forward.iter().rev().copied().collect();
                for order in [forward, backward] {
                    for known_at in [0, 1, chunks / 2, chunks - 1, chunks] {
                        let hash = hash_of_stream(&data, &order, known_at);
                        assert_eq!(hash, expected, "{size} bytes in order {order:?}, known at {known_at}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_open_tree_holds_no_more_than_its_depth() {
        let mut tree = Tree::new(Layout::open());
        let mut most = 0;
        for i in 0..1 << 16 {
            tree.insert(ChunkIndex(i ^ 3), [i as u8; 32]).unwrap();
            most = most.max(tree.pending.len());
        }
        assert!(most <= 4 * 17, "{most} values were held at once");
    }

    #[test]
    fn an_end_that_cannot_be_is_refused() {
        let layout = |chunks: u64| Layout::new(chunks * CHUNK_BYTES as u64);
        let with = |chunks: &[u64]| {
            let mut tree = Tree::new(Layout::open());
            for chunk in chunks {
                tree.insert(ChunkIndex(*chunk), [1; 32]).unwrap();
            }
            tree
        };
        // Before a chunk that was added, also where it was merged with its neighbour.
        assert!(with(&[5]).close(layout(5)).is_err() && with(&[4, 5]).close(layout(5)).is_err());
        assert!(with(&[5]).close(layout(6)).is_ok());
        assert!(with(&[0]).close(layout(1)).is_err() && with(&[]).close(Layout::open()).is_err());
        let mut twice = with(&[0, 1]);
        assert!(twice.close(layout(3)).is_ok() && twice.close(layout(3)).is_err());
        assert!(Tree::new(layout(3)).close(layout(3)).is_err(), "it was never open");
        assert!(with(&[0]).insert(ChunkIndex(0), [1; 32]).is_err(), "a chunk twice");
    }

    #[test]
    fn stretches_of_many_lengths_join_to_the_hash_of_the_file() {
        const MIB: usize = 1 << 20;
        for size in [0, 1, 1024, 1025, MIB, MIB + 1, 3 * MIB, 7 * MIB - 5, 8 * MIB, 9 * MIB + 1, 13 * MIB + 7]
        {
            let data = painted(size);
            for longest in [MIB, 2 * MIB, 4 * MIB, 16 * MIB] {
                let mut stretches = BTreeMap::new();
                let mut at = 0;
                while at < size || stretches.is_empty() {
                    // As long as can be from there.
                    let aligned = if at == 0 { longest } else { longest.min(1 << at.trailing_zeros()) };
                    let bytes = aligned.min(size - at);
                    let mut stretch = Stretch::new(size as u64, at as u64, bytes as u64).unwrap();
                    data[at..at + bytes].chunks(1000).for_each(|bytes| stretch.update(bytes));
                    stretches.insert(at as u64, (bytes as u64, stretch.value()));
                    at += bytes;
                }
                assert_eq!(joined(size as u64, &stretches), Some(blake3::hash(&data)), "{size} by {longest}");
                stretches.pop_last();
                assert_eq!(joined(size as u64, &stretches), None);
            }
        }
    }

    #[test]
    fn what_is_no_subtree_is_no_stretch() {
        const MIB: u64 = 1 << 20;
        for (at, bytes) in [(0, 4), (4, 4), (8, 1), (8, 2), (0, 8), (6, 2), (10, 1), (8, 3), (0, 11)] {
            assert!(Stretch::new(11 * MIB, at * MIB, bytes * MIB).is_some(), "{bytes} MiB from {at}");
        }
        for (at, bytes) in [(1, 2), (2, 4), (0, 3), (4, 7), (7, 4), (8, 4), (10, 2), (0, 0), (11, 0), (12, 1)]
        {
            assert!(Stretch::new(11 * MIB, at * MIB, bytes * MIB).is_none(), "{bytes} MiB from {at}");
        }
        assert!(Stretch::new(u64::MAX, u64::MAX, 1).is_none() && Stretch::new(5000, 10, 512).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_stream_of_any_size_in_any_order(size in CHUNK_BYTES + 1..40 * CHUNK_BYTES, at: usize, seed: u64) {
            let data = painted(size);
            let mut order: Vec<u64> = (0..Layout::new(size as u64).chunks()).collect();
            order.sort_by_key(|i| blake3::hash(&(i ^ seed).to_le_bytes()).as_bytes()[..8].to_vec());
            let known_at = at % (order.len() + 1);
            prop_assert_eq!(hash_of_stream(&data, &order, known_at), blake3::hash(&data));
        }

        #[test]
        fn any_size_in_any_order(size in 0usize..40 * CHUNK_BYTES, seed: u64) {
            let data = painted(size);
            let mut order: Vec<u64> = (0..Layout::new(size as u64).chunks()).collect();
            order.sort_by_key(|i| blake3::hash(&(i ^ seed).to_le_bytes()).as_bytes()[..8].to_vec());
            prop_assert_eq!(hash_in_order(&data, &order), blake3::hash(&data));
        }
    }
}
