//! Buffers that the system gets back whole.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// So many bytes, all zero at first. They are pages of their own, beside the allocator: what the buffers of a hundred
/// connections leave behind in its arenas would otherwise stay there.
pub(super) struct Pages(Memory);

enum Memory {
    Mapped(MmapMut),
    /// Where the system has no mapping left.
    Allocated(Vec<u8>),
}

impl Pages {
    pub fn new(len: usize) -> Pages {
        Pages(MmapMut::map_anon(len).map_or_else(|_| Memory::Allocated(vec![0; len]), Memory::Mapped))
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Mapped(pages) => pages,
            Memory::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Mapped(pages) => pages,
            Memory::Allocated(bytes) => bytes,
        }
    }
}
