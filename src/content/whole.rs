//! The hash of a file that is there, read from its beginning to its end.

use super::chunk::{ChunkIndex, Layout};
use super::tree::{Hash, Tree, chunk_value};
use super::zeros::subtrees_of_zeros;
use crate::limits::{CHUNK_BYTES, HOLE_CHUNKS_MAX};

/// Who reads it, and how.
pub trait Contents {
    type Error;

    /// Fills `to` with the bytes at `offset`.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, to: &mut [u8], offset: u64) -> Result<(), Self::Error>;

    /// How many chunks from this one on are known to be zeros and need not be read.
    fn zeros_at(&self, _: ChunkIndex) -> u64 {
        0
    }

    /// Whether the next so many bytes are to be hashed.
    fn go_on(&self, _: u64) -> bool {
        true
    }
}

/// The hash of what has this layout; `None` where that was given up.
///
/// # Errors
/// What the reader said.
pub fn hash<C: Contents>(layout: Layout, contents: &mut C) -> Result<Option<Hash>, C::Error> {
    let mut tree = Tree::new(layout);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut next = ChunkIndex(0);
    while next.0 < layout.chunks() {
        let (first, zeros) = (next, contents.zeros_at(next));
        let count = zeros.min(HOLE_CHUNKS_MAX - first.0 % HOLE_CHUNKS_MAX).max(1);
        next = ChunkIndex(first.0 + count);
        let bytes = layout.range_of(first, count).unwrap_or_default();
        if !contents.go_on(bytes.end - bytes.start) {
            return Ok(None);
        }
        // Each chunk comes once, so none is misplaced.
        if zeros > 0 {
            for subtree in subtrees_of_zeros(layout, first, count).unwrap_or_default() {
                let _ = tree.insert_subtree(subtree);
            }
        } else {
            let content = &mut buffer[..layout.len_of(first).unwrap_or_default()];
            contents.read(content, bytes.start)?;
            let _ = tree.insert(first, chunk_value(layout, first, content));
        }
    }
    Ok(tree.root())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which some are said to be zeros, and after so many of which nobody wants to know.
    struct Some<'a>(&'a [u8], std::ops::Range<u64>, u64);

    impl Contents for Some<'_> {
        type Error = ();

        fn read(&mut self, to: &mut [u8], offset: u64) -> Result<(), ()> {
            assert!(!self.1.contains(&(offset / CHUNK_BYTES as u64)), "zeros were read");
            to.copy_from_slice(&self.0[offset as usize..][..to.len()]);
            Ok(())
        }

        fn zeros_at(&self, chunk: ChunkIndex) -> u64 {
            if self.1.contains(&chunk.0) { self.1.end - chunk.0 } else { 0 }
        }

        fn go_on(&self, bytes: u64) -> bool {
            bytes <= self.2
        }
    }

    #[test]
    fn it_is_that_of_all_bytes_whether_zeros_are_read_or_known() {
        for size in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES + 7] {
            let mut bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let zeros = if size > 8 * CHUNK_BYTES { 2..7 } else { 0..0 };
            bytes[(zeros.start as usize * CHUNK_BYTES)..(zeros.end as usize * CHUNK_BYTES)].fill(0);
            let layout = Layout::new(size as u64);
            let wanted = blake3::hash(&bytes);
            assert_eq!(hash(layout, &mut Some(&bytes, zeros.clone(), u64::MAX)), Ok(Option::Some(wanted)));
            assert_eq!(hash(layout, &mut Some(&bytes, 0..0, u64::MAX)), Ok(Option::Some(wanted)));
        }
    }

    #[test]
    fn it_is_given_up_where_nobody_wants_to_know() {
        let bytes = vec![1; 3 * CHUNK_BYTES];
        assert_eq!(hash(Layout::new(bytes.len() as u64), &mut Some(&bytes, 0..0, 7)), Ok(None));
    }
}
