use std::os::unix::fs::MetadataExt;

use super::*;
use crate::limits::{CHUNK_BYTES, HOLE_BLOCK_BYTES};
use crate::store::space::{Stretch, stretches};

const CHUNK: u64 = CHUNK_BYTES as u64;
const BLOCK: usize = HOLE_BLOCK_BYTES;

/// File systems whose holes are known to take no room: ext4, XFS, Btrfs, tmpfs.
#[cfg(target_os = "linux")]
fn knows_holes(part: &Part) -> bool {
    let known = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];
    known.contains(&(rustix::fs::fstatfs(&part.file).expect("a file system").f_type as u32))
}

#[cfg(not(target_os = "linux"))]
fn knows_holes(_part: &Part) -> bool {
    false
}

fn occupied(part: &Part) -> u64 {
    fs::metadata(part.part_path()).expect("there").blocks() * 512
}

/// A room on the disk and one in memory, where there is such.
fn rooms() -> Vec<Room> {
    let mut rooms = vec![Room::new()];
    if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
        let sink = Sink::open(folder.path(), Existing::Refuse).expect("opened");
        rooms.push(Room { folder, sink });
    }
    rooms
}

#[test]
fn a_buffer_falls_into_whole_blocks_of_zeros_and_the_rest() {
    let told = |buf: &[u8], offset, ends| {
        stretches(buf, offset, ends).map(|s: Stretch| (s.range, s.is_zeros)).collect::<Vec<_>>()
    };
    let zeros = vec![0; 3 * BLOCK];
    assert_eq!(told(&[], 0, true), []);
    assert_eq!(told(&zeros, 0, false), [(0..3 * BLOCK, true)]);
    // Only the blocks that it covers altogether.
    let [head, tail] = [BLOCK - 100, 3 * BLOCK - 100];
    assert_eq!(told(&zeros, 100, false), [(0..head, false), (head..tail, true), (tail..3 * BLOCK, false)]);
    assert_eq!(told(&zeros, 100, true), [(0..head, false), (head..3 * BLOCK, true)]);
    assert_eq!(told(&zeros[..10], 0, false), [(0..10, false)]);
    assert_eq!(told(&zeros[..10], 0, true), [(0..10, true)]);
    assert_eq!(told(&zeros[..10], 5, true), [(0..10, false)]);
    for at in [0, 1, 63, 64, BLOCK - 1] {
        let mut mixed = zeros.clone();
        mixed[BLOCK + at] = 1;
        let expected = [(0..BLOCK, true), (BLOCK..2 * BLOCK, false), (2 * BLOCK..3 * BLOCK, true)];
        assert_eq!(told(&mixed, 8 * BLOCK as u64, false), expected, "{at}");
    }
}

#[test]
fn a_sparse_file_takes_room_for_its_data_only_and_may_be_longer_than_the_disk() {
    for room in rooms() {
        let size = (1 << 40) + 5;
        let part = room.sink.part(&path("a"), size, true).expect("no question of room");
        let mut chunk = vec![0; CHUNK_BYTES];
        chunk[100_000..100_010].fill(7);
        part.write_at(&chunk, CHUNK).expect("written");
        part.write_zeros(2 * CHUNK, CHUNK).expect("a hole");
        part.write_at(&[0; 5], size - 5).expect("a hole at the end");
        assert_eq!(fs::metadata(part.part_path()).expect("there").len(), size);
        if knows_holes(&part) {
            assert!(occupied(&part) <= 64 * 1024, "{} bytes", occupied(&part));
            let extents: Vec<_> = part.data_extents().collect();
            assert!(extents.len() == 1 && extents[0].contains(&(CHUNK + 100_000)), "{extents:?}");
        }
        part.publish(&metadata(), Existing::Refuse).expect("published");
        use std::os::unix::fs::FileExt;
        let file = fs::File::open(room.path("a")).expect("there");
        let mut back = vec![1; CHUNK_BYTES];
        file.read_exact_at(&mut back, CHUNK).expect("read");
        assert!(back == chunk);
    }
}

/// The bytes of an earlier attempt must not show through where the file has a hole now.
#[test]
fn a_hole_over_old_data_is_zeros_and_gives_its_room_back() {
    for room in rooms() {
        let size = 4 * CHUNK;
        drop(room.filled("a", &vec![9; size as usize]));
        let part = room.sink.part(&path("a"), size, true).expect("resumed");
        assert_eq!(part.existing_len(), size);
        part.write_at(&vec![0; CHUNK_BYTES], 0).expect("a hole");
        part.write_zeros(CHUNK, CHUNK).expect("a hole");
        // From the middle of a block to the middle of another.
        part.write_at(&vec![0; CHUNK_BYTES - 200], 2 * CHUNK + 100).expect("mostly a hole");
        part.write_zeros(3 * CHUNK + 1, CHUNK - 2).expect("a hole but for its ends");
        if knows_holes(&part) {
            assert!(occupied(&part) <= 128 * 1024, "{} bytes", occupied(&part));
        }
        part.publish(&metadata(), Existing::Refuse).expect("published");
        let bytes = fs::read(room.path("a")).expect("there");
        let kept: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        let chunk = CHUNK_BYTES;
        let mut expected: Vec<usize> = (2 * chunk..2 * chunk + 100).collect();
        expected.extend(3 * chunk - 100..=3 * chunk);
        expected.push(4 * chunk - 1);
        assert_eq!(kept, expected);
    }
}

/// Space that a transfer which was not to be sparse took ahead reads as a hole, and is none.
#[test]
fn space_taken_ahead_is_given_back() {
    let room = Room::new();
    let size = 16 * CHUNK;
    let part = room.sink.part(&path("a"), size, false).expect("a part");
    part.write_at(b"x", 0).expect("written");
    drop(part);
    let part = room.sink.part(&path("a"), size, true).expect("resumed");
    part.write_zeros(CHUNK, size - CHUNK).expect("holes");
    if knows_holes(&part) {
        assert!(occupied(&part) <= 2 * CHUNK, "{} bytes", occupied(&part));
    }
}

#[test]
fn zeros_over_what_this_transfer_wrote_are_not_taken_for_a_hole() {
    for room in rooms() {
        let part = room.sink.part(&path("a"), CHUNK, true).expect("a part");
        part.write_at(&vec![9; CHUNK_BYTES], 0).expect("written");
        part.write_at(&vec![0; CHUNK_BYTES], 0).expect("zeros");
        let mut back = vec![1; CHUNK_BYTES];
        part.read_at(&mut back, 0).expect("read");
        assert!(back.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn zeros_in_a_file_that_is_not_sparse_are_written() {
    let room = Room::new();
    let size = CHUNK + 5;
    drop(room.filled("a", &vec![9; size as usize]));
    let part = room.sink.part(&path("a"), size, false).expect("resumed");
    part.write_zeros(1, size - 2).expect("zeros");
    assert!(occupied(&part) >= CHUNK);
    for (offset, bytes) in [(size, 1), (0, size + 1), (u64::MAX, 2)] {
        let error = part.write_zeros(offset, bytes).expect_err("outside");
        assert!(matches!(error, SinkError::OutOfRange { .. }), "{error}");
    }
    part.publish(&metadata(), Existing::Refuse).expect("published");
    let bytes = fs::read(room.path("a")).expect("there");
    let kept: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == 9).collect();
    assert_eq!((bytes.len() as u64, kept), (size, vec![0, size as usize - 1]));
}

#[test]
fn many_threads_write_a_sparse_file_at_once() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 16 * CHUNK, true).expect("a part");
    std::thread::scope(|scope| {
        for turn in 0..8u8 {
            let part = &part;
            scope.spawn(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                chunk[CHUNK_BYTES / 2..].fill(turn + 1);
                part.write_at(&chunk, 2 * u64::from(turn) * CHUNK).expect("written");
                part.write_zeros((2 * u64::from(turn) + 1) * CHUNK, CHUNK).expect("a hole");
            });
        }
    });
    part.publish(&metadata(), Existing::Refuse).expect("published");
    for (number, half) in fs::read(room.path("a")).expect("there").chunks(CHUNK_BYTES / 2).enumerate() {
        let expected = if number % 4 == 1 { number as u8 / 4 + 1 } else { 0 };
        assert!(half.iter().all(|&byte| byte == expected), "{number}");
    }
}

#[test]
fn a_small_sparse_file_of_zeros_has_its_length() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 5000, true).expect("a part");
    part.write_at(&[0; 5000], 0).expect("written");
    part.publish(&metadata(), Existing::Refuse).expect("published");
    assert_eq!(fs::read(room.path("a")).expect("there"), [0; 5000]);
}
