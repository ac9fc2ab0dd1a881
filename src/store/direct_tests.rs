use memmap2::MmapMut;

use super::*;
use crate::limits::CHUNK_BYTES;

const SIZE: usize = 4 * CHUNK_BYTES + 1000;

/// Bytes that differ from chunk to chunk, at the beginning of a page.
fn pages(len: usize) -> MmapMut {
    let mut pages = MmapMut::map_anon(len).expect("memory");
    pages.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
    pages
}

/// A part that is written past the page cache; `None` where this file system refuses that.
fn direct_part(room: &Room) -> Option<Part> {
    let sink = Folder::new(room.folder.path(), FolderOptions { direct: true, ..FolderOptions::default() })
        .open(Owner::default())
        .expect("opened");
    let part = sink.part(&path("a"), SIZE as u64, false).expect("a part");
    if part.direct.is_none() {
        skipped("the temporary folder refuses direct I/O");
    }
    part.direct.is_some().then_some(part)
}

#[test]
fn only_large_files_without_holes_are_written_past_the_page_cache() {
    let room = Room::new();
    if direct_part(&room).is_none() {
        return;
    }
    let sink = Folder::new(room.folder.path(), FolderOptions { direct: true, ..FolderOptions::default() })
        .open(Owner::default())
        .expect("opened");
    for (size, sparse) in [(CHUNK_BYTES, false), (SIZE, true)] {
        assert!(sink.part(&path("b"), size as u64, sparse).expect("a part").direct.is_none());
    }
    assert!(room.sink.part(&path("c"), SIZE as u64, false).expect("a part").direct.is_none());
}

#[test]
fn whole_blocks_and_the_rest_end_up_in_one_file() {
    let room = Room::new();
    let Some(part) = direct_part(&room) else { return };
    let bytes = pages(SIZE);
    // The rest first, and then backwards: no order is needed.
    for at in (0..SIZE).step_by(CHUNK_BYTES).rev() {
        part.write_at(&bytes[at..SIZE.min(at + CHUNK_BYTES)], at as u64).expect("written");
    }
    assert!(!part.direct.as_ref().expect("there").is_refused());
    assert!(fs::read(part.part_path()).expect("readable") == bytes[..]);
}

#[test]
fn a_device_that_refuses_in_the_middle_loses_no_byte() {
    let room = Room::new();
    let Some(mut part) = direct_part(&room) else { return };
    part.direct = part.direct.take().map(crate::os::direct::DirectFile::lying);
    let is_refused = |part: &Part| part.direct.as_ref().expect("there").is_refused();
    let (bytes, odd) = (pages(SIZE), pages(SIZE + 1));
    part.write_at(&bytes[..CHUNK_BYTES], 0).expect("written");
    assert!(!is_refused(&part));
    // At an odd address, to an offset and of a length that no block has.
    let (from, to) = (CHUNK_BYTES, 2 * CHUNK_BYTES + 100);
    let mut shifted = odd;
    shifted.copy_within(from..to, 1);
    part.write_at(&shifted[1..1 + to - from], from as u64).expect("written another way");
    if !is_refused(&part) {
        return skipped("this file system takes direct I/O of any shape");
    }
    part.write_at(&bytes[to..], to as u64).expect("written");
    assert!(fs::read(part.part_path()).expect("readable") == bytes[..]);
}
