use super::*;
use crate::limits;

const CHUNK: u64 = limits::CHUNK_BYTES as u64;

#[test]
fn many_threads_write_one_part_at_their_offsets() {
    let room = Room::new();
    let size = 8 * CHUNK;
    let part = room.sink.part(&path("a"), size, false).expect("a part");
    std::thread::scope(|scope| {
        for turn in 0..8u8 {
            let part = &part;
            scope.spawn(move || {
                let chunk = vec![turn; limits::CHUNK_BYTES];
                part.write_at(&chunk, u64::from(turn) * CHUNK).expect("written");
            });
        }
    });
    part.publish(&metadata(), Existing::Refuse).expect("published");
    let bytes = fs::read(room.path("a")).expect("readable");
    assert_eq!(bytes.len() as u64, size);
    for (turn, chunk) in bytes.chunks(limits::CHUNK_BYTES).enumerate() {
        assert!(chunk.iter().all(|&byte| usize::from(byte) == turn));
    }
}

#[test]
fn a_write_outside_of_the_agreed_size_is_refused_and_writes_nothing() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 10, false).expect("a part");
    for (bytes, offset) in [(11, 0), (1, 10), (2, 9), (1, u64::MAX), (1, u64::MAX - 1)] {
        let error = part.write_at(&vec![1; bytes], offset).expect_err("outside");
        assert!(matches!(error, SinkError::OutOfRange { size: 10, .. }), "{error}");
    }
    assert_eq!(fs::metadata(part.part_path()).expect("there").len(), 0);
    part.write_at(&[7; 10], 0).expect("a good write still works");
    part.publish(&metadata(), Existing::Refuse).expect("published");
    assert_eq!(fs::read(room.path("a")).expect("readable"), [7; 10]);
}

#[test]
fn a_part_is_read_back_exactly_and_its_end_is_an_error_of_its_own() {
    let room = Room::new();
    let part = room.filled("a", b"abcdef");
    let mut three = [0; 3];
    part.read_at(&mut three, 2).expect("read");
    assert_eq!(&three, b"cde");
    let error = part.read_at(&mut three, 5).expect_err("too far");
    assert!(matches!(error, SinkError::UnexpectedEnd { offset: 5, wanted: 3, got: 1, .. }), "{error}");
}

#[test]
fn a_failing_write_names_the_file_and_keeps_a_part_that_has_bytes_but_not_an_empty_one() {
    for already in [0, 5] {
        let room = Room::new();
        let mut part = room.sink.part(&path("a"), 10, false).expect("a part");
        part.write_at(&vec![1; already], 0).expect("written");
        let good = std::mem::replace(
            &mut part.file,
            fs::File::open(room.path(part_of("a"))).expect("readable").into(),
        );
        let error = part.write_at(&[2; 5], 5).expect_err("not writable");
        assert!(matches!(error, SinkError::Io { .. }), "{error}");
        assert_eq!(error.path(), room.path("a"));
        drop(part);
        assert_eq!(room.listing().len(), usize::from(already > 0));
        drop(good);
    }
}

/// Extents are a hint, so a file system that knows no holes may call all of it data; but data must be in it.
#[test]
fn extents_are_in_order_within_the_size_and_cover_all_data() {
    let room = Room::new();
    let size = 64 * CHUNK + 5;
    let part = room.sink.part(&path("a"), size, false).expect("a part");
    part.write_at(&[1; 100], 0).expect("written");
    part.write_at(&[1; 100], 20 * CHUNK + 7).expect("written");
    part.write_at(&[1], size - 1).expect("written");
    let extents: Vec<_> = part.data_extents().collect();
    assert!(extents.iter().all(|e| e.start < e.end && e.end <= size), "{extents:?}");
    assert!(extents.is_sorted_by(|a, b| a.end < b.start), "{extents:?}");
    for at in [0, 99, 20 * CHUNK + 7, size - 1] {
        assert!(extents.iter().any(|e| e.contains(&at)), "{at} in {extents:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn chunks_never_written_show_as_holes_on_the_common_file_systems() {
    let room = Room::new();
    let size = 64 * CHUNK;
    let part = room.sink.part(&path("a"), size, false).expect("a part");
    // ext4, xfs, btrfs, tmpfs: known to report holes, in preallocated ranges as well.
    let known = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];
    let magic = rustix::fs::fstatfs(&part.file).expect("a file system").f_type as u32;
    let extents: Vec<_> = part.data_extents().collect();
    if known.contains(&magic) {
        assert_eq!(extents, []);
    } else {
        assert!(extents.iter().all(|e| e.end <= size));
    }
}

#[test]
fn an_empty_part_has_no_extents() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 0, false).expect("a part");
    assert_eq!(part.data_extents().count(), 0);
}

#[test]
fn extents_end_at_the_agreed_size_whatever_was_appended() {
    let room = Room::new();
    let part = room.filled("a", b"abc");
    fs::write(part.part_path(), [1; 100]).expect("written");
    let extents: Vec<_> = part.data_extents().collect();
    assert_eq!(extents, [std::ops::Range { start: 0, end: 3 }]);
}
