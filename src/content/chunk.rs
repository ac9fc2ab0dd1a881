//! Chunk arithmetic: how a file of a given size falls into chunks.

use std::ops::Range;

use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX};

/// Which chunk of a file, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkIndex(pub u64);

/// Which file of a session: the sender counts them from 0 in the order of its offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// The chunks of a file of `size` bytes. Every chunk but the last has [`CHUNK_BYTES`] bytes; an empty
/// file has one empty chunk, so that every file has something to send and to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    /// Whether that is only what it cannot exceed.
    open: bool,
}

impl Layout {
    pub fn new(size: u64) -> Layout {
        Layout { size, open: false }
    }

    /// Of a stream whose end is not known: more than one chunk, and every chunk is full as far as anybody
    /// knows. Only the last one may turn out to be shorter.
    pub fn open() -> Layout {
        Layout { size: FILE_BYTES_MAX, open: true }
    }

    /// Whether the end is not known.
    pub fn is_open(self) -> bool {
        self.open
    }

    /// Bytes in the file; the most that it can have where the end is not known.
    pub fn size(self) -> u64 {
        self.size
    }

    /// Bytes in the file, where that is known.
    pub fn known_size(self) -> Option<u64> {
        (!self.open).then_some(self.size)
    }

    /// Chunks in the file, at least 1.
    pub fn chunks(self) -> u64 {
        self.size.div_ceil(CHUNK_BYTES as u64).max(1)
    }

    /// Whether the whole file is one chunk, which travels in one frame together with its hash.
    pub fn is_single(self) -> bool {
        self.size <= CHUNK_BYTES as u64
    }

    /// Bytes in chunk `index`; `None` where the file has no such chunk.
    pub fn len_of(self, index: ChunkIndex) -> Option<usize> {
        if index.0 >= self.chunks() {
            return None;
        }
        let rest = self.size - index.0 * CHUNK_BYTES as u64;
        Some(rest.min(CHUNK_BYTES as u64) as usize)
    }

    /// Where `count` chunks from `first` on begin and end, in bytes; `None` for none, or where the file has
    /// not all of them.
    pub fn range_of(self, first: ChunkIndex, count: u64) -> Option<Range<u64>> {
        let end = first.0.checked_add(count).filter(|end| count > 0 && *end <= self.chunks())?;
        let last = ChunkIndex(end - 1);
        Some(self.offset_of(first)?..self.offset_of(last)? + self.len_of(last)? as u64)
    }

    /// Where chunk `index` begins, in bytes; `None` where the file has no such chunk.
    pub fn offset_of(self, index: ChunkIndex) -> Option<u64> {
        (index.0 < self.chunks()).then(|| index.0 * CHUNK_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const C: u64 = CHUNK_BYTES as u64;

    #[test]
    fn lengths_add_up_to_the_size() {
        for size in [0, 1, C - 1, C, C + 1, 5 * C - 1, 5 * C, 5 * C + 1] {
            let layout = Layout::new(size);
            let lens = (0..layout.chunks()).map(|i| layout.len_of(ChunkIndex(i)).unwrap() as u64);
            assert_eq!(lens.sum::<u64>(), size);
            assert_eq!(layout.len_of(ChunkIndex(layout.chunks())), None);
            assert_eq!(layout.offset_of(ChunkIndex(layout.chunks())), None);
        }
    }

    #[test]
    fn a_range_ends_where_its_last_chunk_does() {
        let layout = Layout::new(3 * C + 7);
        assert_eq!(layout.range_of(ChunkIndex(1), 2), Some(C..3 * C));
        assert_eq!(layout.range_of(ChunkIndex(0), 4), Some(0..3 * C + 7));
        for (first, count) in [(0, 0), (0, 5), (4, 1), (3, u64::MAX), (u64::MAX, 1)] {
            assert_eq!(layout.range_of(ChunkIndex(first), count), None, "{count} from {first}");
        }
    }

    #[test]
    fn no_index_overflows_at_the_largest_size() {
        let layout = Layout::new(u64::MAX);
        let last = ChunkIndex(layout.chunks() - 1);
        assert_eq!(layout.offset_of(last).unwrap() + (layout.len_of(last).unwrap() as u64 - 1), u64::MAX - 1);
        assert_eq!(layout.len_of(ChunkIndex(u64::MAX)), None);
    }

    #[test]
    fn while_the_end_is_open_every_chunk_is_full_and_none_is_all_of_it() {
        let layout = Layout::open();
        assert!(layout.is_open() && !layout.is_single() && layout.known_size().is_none());
        for index in [0, 1, layout.chunks() - 1] {
            assert_eq!(layout.len_of(ChunkIndex(index)), Some(CHUNK_BYTES));
        }
        assert_eq!(layout.len_of(ChunkIndex(layout.chunks())), None);
    }

    #[test]
    fn only_up_to_one_chunk_is_single() {
        assert!(Layout::new(0).is_single() && Layout::new(C).is_single());
        assert!(!Layout::new(C + 1).is_single());
    }
}
