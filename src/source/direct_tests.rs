use memmap2::MmapMut;

use super::*;
use crate::limits::CHUNK_BYTES;

const SIZE: usize = 3 * CHUNK_BYTES + 1000;

#[allow(clippy::print_stderr)]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// A file that is read past the page cache, and what is in it; `None` where this file system refuses that.
fn direct_source(dir: &Path) -> Option<(OpenSource, Vec<u8>)> {
    let path = dir.join("file");
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let source = Source::new(&path, &rustix::fs::stat(&path).unwrap()).unwrap().directly(Some(Direct::new()));
    let open = source.open().unwrap();
    if open.direct.is_none() {
        skipped("the temporary folder refuses direct I/O");
        return None;
    }
    Some((open, bytes))
}

/// All of it, read into buffers that begin so many bytes behind a page.
fn read_all(open: &OpenSource, behind: usize) -> Vec<u8> {
    let layout = Layout::new(SIZE as u64);
    let mut pages = MmapMut::map_anon(behind + CHUNK_BYTES).unwrap();
    let mut all = Vec::new();
    for index in (0..layout.chunks()).map(ChunkIndex) {
        let content = &mut pages[behind..behind + layout.len_of(index).unwrap()];
        open.read_chunk(layout, index, content).unwrap();
        all.extend_from_slice(content);
    }
    all
}

#[test]
fn whole_blocks_and_the_rest_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let Some((open, bytes)) = direct_source(dir.path()) else { return };
    assert!(read_all(&open, 0) == bytes);
    assert!(!open.direct.unwrap().is_refused());
}

#[test]
fn a_device_that_refuses_in_the_middle_is_read_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut open, bytes)) = direct_source(dir.path()) else { return };
    open.direct = open.direct.map(DirectFile::lying);
    assert!(read_all(&open, 1) == bytes);
    if !open.direct.unwrap().is_refused() {
        skipped("this file system takes direct I/O of any shape");
    }
}

#[test]
fn a_file_that_was_cut_meanwhile_is_told_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let Some((open, _)) = direct_source(dir.path()) else { return };
    File::options().write(true).open(dir.path().join("file")).unwrap().set_len(1000).unwrap();
    let layout = Layout::new(SIZE as u64);
    let mut pages = MmapMut::map_anon(CHUNK_BYTES).unwrap();
    let read = open.read_chunk(layout, ChunkIndex(1), &mut pages);
    assert!(matches!(read, Err(SourceError::Changed { change: Change::Shrank { .. }, .. })), "{read:?}");
}
