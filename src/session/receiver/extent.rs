//! How long a file under way is, as far as that is known, and so which chunks can be its own.
//!
//! Of a stream only the last chunk may be short, and which one is the last is known when its length is. Until
//! then a short chunk is taken on trust, once; the length must bear it out.

use crate::content::chunk::{ChunkIndex, FileId, Layout};
use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX};
use crate::session::ending::PeerMisbehaved;

/// The length of one file.
pub(super) struct Extent {
    file: FileId,
    layout: Layout,
    /// While the end is not known: the furthest chunk that came, and the one that was short, with their
    /// bytes.
    furthest: Option<(ChunkIndex, usize)>,
    short: Option<(ChunkIndex, usize)>,
}

impl Extent {
    pub fn new(file: FileId, layout: Layout) -> Extent {
        Extent { file, layout, furthest: None, short: None }
    }

    /// How the file falls into chunks.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes note of a chunk of `len` bytes, which the file may have.
    pub fn admit(&mut self, index: ChunkIndex, len: usize) -> Result<(), PeerMisbehaved> {
        let full = self.layout.len_of(index).ok_or_else(|| self.wrong_chunk(index))?;
        if len != full {
            if !self.layout.is_open() || len == 0 || len > full || self.short.is_some() {
                return Err(self.wrong_length(len, full));
            }
            self.short = Some((index, len));
        }
        if self.layout.is_open() && self.furthest.is_none_or(|(furthest, _)| furthest < index) {
            self.furthest = Some((index, len));
        }
        Ok(())
    }

    /// The stream has ended. What came of it must be in the right places.
    pub fn end(&mut self, bytes: u64) -> Result<Layout, PeerMisbehaved> {
        if !self.layout.is_open() {
            let got = "a length";
            return Err(PeerMisbehaved::Unexpected { got, expected: "one for each stream" });
        }
        if bytes <= CHUNK_BYTES as u64 || bytes > FILE_BYTES_MAX {
            let got = "the length of no stream";
            return Err(PeerMisbehaved::Unexpected {
                got,
                expected: "more than a chunk, and no more than a file",
            });
        }
        let layout = Layout::new(bytes);
        for (index, len) in [self.furthest, self.short].into_iter().flatten() {
            let expected = layout.len_of(index).ok_or_else(|| self.wrong_chunk(index))?;
            if len != expected {
                return Err(self.wrong_length(len, expected));
            }
        }
        self.layout = layout;
        Ok(layout)
    }

    fn wrong_chunk(&self, index: ChunkIndex) -> PeerMisbehaved {
        PeerMisbehaved::WrongChunk { file: self.file.0, chunk: index.0 }
    }

    fn wrong_length(&self, got: usize, expected: usize) -> PeerMisbehaved {
        PeerMisbehaved::WrongLength { file: self.file.0, got: got as u64, expected: expected as u64 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const C: u64 = CHUNK_BYTES as u64;

    /// Lengths that a chunk may claim to have.
    fn lens() -> impl Strategy<Value = usize> {
        prop_oneof![4 => Just(CHUNK_BYTES), 1 => Just(1), 1 => Just(CHUNK_BYTES - 1), 1 => Just(0)]
    }

    proptest! {
        #[test]
        fn what_is_admitted_fits_the_length_and_what_fits_is_admitted(
            chunks in proptest::collection::btree_map(0..6u64, lens(), 0..6),
            at in 0..7usize,
            length in prop_oneof![0..7 * C, (0..7u64).prop_map(|n| n * C), (0..7u64).prop_map(|n| n * C + 1)],
        ) {
            let mut extent = Extent::new(FileId(0), Layout::open());
            let mut result = Ok(());
            for (n, (index, len)) in chunks.iter().enumerate() {
                if n == at {
                    result = result.and_then(|()| extent.end(length).map(drop));
                }
                result = result.and_then(|()| extent.admit(ChunkIndex(*index), *len));
            }
            if chunks.len() <= at {
                result = result.and_then(|()| extent.end(length).map(drop));
            }
            let layout = Layout::new(length);
            let fits = chunks.iter().all(|(index, len)| layout.len_of(ChunkIndex(*index)) == Some(*len));
            prop_assert_eq!(result.is_ok(), fits && !layout.is_single());
        }
    }

    #[test]
    fn a_length_comes_once_and_only_for_a_stream() {
        let mut extent = Extent::new(FileId(0), Layout::open());
        assert!(extent.end(u64::MAX).is_err() && extent.end(FILE_BYTES_MAX + 1).is_err());
        assert_eq!(extent.end(2 * C), Ok(Layout::new(2 * C)));
        assert!(extent.end(2 * C).is_err());
        assert!(Extent::new(FileId(0), Layout::new(2 * C)).end(2 * C).is_err());
    }

    #[test]
    fn two_short_chunks_are_one_too_many_whatever_the_length() {
        let mut extent = Extent::new(FileId(7), Layout::open());
        extent.admit(ChunkIndex(1), 5).unwrap();
        let expected = PeerMisbehaved::WrongLength { file: 7, got: 5, expected: C };
        assert_eq!(extent.admit(ChunkIndex(2), 5), Err(expected));
    }
}
