use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::limits;
use crate::limits::{FILE_BYTES_MAX, PARTS_PER_NAME_MAX};

const CHUNK: u64 = limits::CHUNK_BYTES as u64;

#[test]
fn a_new_part_is_fresh_private_and_hidden() {
    for room in Room::both() {
        let part = room.sink.part(&path("a"), 5, false).expect("a part");
        assert!(part.is_fresh());
        assert_eq!((part.existing_len(), part.size()), (0, 5));
        assert_eq!(part.path(), room.path("a"));
        assert_eq!(part.part_path(), room.path(part_of("a")));
        let mode = fs::metadata(part.part_path()).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_dropped_part_with_bytes_waits_to_be_resumed() {
    for room in Room::both() {
        drop(room.filled("a", b"abc"));
        assert_eq!(room.listing(), [part_of("a")]);
        let part = room.sink.part(&path("a"), 9, false).expect("the same part");
        assert!(!part.is_fresh());
        assert_eq!(part.existing_len(), 3);
        let mut bytes = [0; 3];
        part.read_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"abc");
        drop(part);
        assert_eq!(room.listing(), [part_of("a")], "kept though nothing was written this time");
    }
}

#[test]
fn a_part_into_which_nothing_was_written_goes_with_its_value() {
    let room = Room::new();
    for size in [0, 1, 4 * CHUNK] {
        let part = room.sink.part(&path("a"), size, false).expect("a part");
        part.write_at(&[], 0).expect("nothing to write");
        assert_eq!(room.listing(), [part_of("a")]);
        drop(part);
        assert_eq!(room.listing(), [""; 0]);
    }
}

#[test]
fn a_discarded_part_is_removed_but_nothing_that_took_its_name() {
    let room = Room::new();
    room.filled("a", b"abc").discard().expect("removed");
    assert_eq!(room.listing(), [""; 0]);

    let part = room.filled("a", b"abc");
    fs::remove_file(part.part_path()).expect("removed");
    fs::write(part.part_path(), "other").expect("written");
    part.discard().expect("nothing of ours is left");
    assert_eq!(fs::read(room.path(part_of("a"))).expect("there"), b"other");
}

#[test]
fn an_untouched_part_does_not_remove_what_took_its_name() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 3, false).expect("a part");
    fs::remove_file(part.part_path()).expect("removed");
    fs::write(part.part_path(), "other").expect("written");
    drop(part);
    assert_eq!(fs::read(room.path(part_of("a"))).expect("there"), b"other");
}

#[test]
fn a_stale_longer_part_is_cut_to_the_size() {
    let room = Room::new();
    drop(room.filled("a", b"abcdef"));
    let part = room.sink.part(&path("a"), 4, false).expect("the part");
    assert_eq!(part.existing_len(), 4);
    assert_eq!(fs::read(part.part_path()).expect("there"), b"abcd");
    part.publish(&metadata(), Existing::Refuse).expect("exactly the size");
    assert_eq!(fs::read(room.path("a")).expect("there"), b"abcd");
}

#[test]
fn a_part_in_use_is_never_shared() {
    let room = Room::new();
    let first = room.filled("a", b"first");
    let second = room.filled("a", b"second");
    assert_eq!(second.part_path(), room.path(part_of_number("a", 1)));
    assert!(second.is_fresh());
    let other_sink = Sink::open(room.folder.path(), Existing::Refuse).expect("opened again");
    let third = other_sink.part(&path("a"), 1, false).expect("a part");
    assert_eq!(third.part_path(), room.path(part_of_number("a", 2)));
    assert_eq!(fs::read(first.part_path()).expect("there"), b"first");
    drop(first);
    let again = room.sink.part(&path("a"), 5, false).expect("free again");
    assert_eq!(again.part_path(), room.path(part_of("a")));
}

#[test]
fn a_part_that_is_let_go_of_while_it_is_waited_for_is_gone_on_with() {
    let room = Room::new();
    let mut first = Some(room.filled("a", b"first"));
    let let_go = |_| drop(first.take());
    let locked = super::super::part::lock_by(
        room.sink.root(),
        part_of("a").as_bytes(),
        std::time::Duration::MAX,
        let_go,
    );
    let locked = locked.expect("no error").expect("it is ours now");
    assert!(first.is_none(), "it was not waited for");
    assert_eq!(locked.stat.st_size, 5);
}

#[test]
fn threads_that_want_one_name_at_once_each_get_a_part_of_their_own() {
    let room = Room::new();
    const THREADS: usize = 8;
    const ROUNDS: usize = 50;
    let barrier = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for id in 0..THREADS {
            let (room, barrier) = (&room, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..ROUNDS {
                    let mine = format!("{id:04}{round:04}");
                    let part = room.filled("a", mine.as_bytes());
                    let mut back = [0; 8];
                    part.read_at(&mut back, 0).expect("read");
                    assert_eq!(back, mine.as_bytes());
                    // Publishing and discarding by turns, so that names change hands under the others.
                    if round % 2 == 0 {
                        // One that another thread has published meanwhile is not replaced.
                        match part.publish(&metadata(), Existing::Overwrite) {
                            Ok(_) | Err(SinkError::Newer { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    } else {
                        part.discard().expect("removed");
                    }
                }
            });
        }
    });
    assert_eq!(room.listing(), ["a"]);
}

#[test]
fn what_is_no_regular_file_at_the_part_name_is_left_alone() {
    for room in Room::both() {
        fs::write(room.path("victim"), "precious").expect("written");
        symlink("victim", room.path(part_of("link"))).expect("linked");
        symlink("made-by-link", room.path(part_of("dangling"))).expect("linked");
        fs::create_dir(room.path(part_of("dir"))).expect("made");
        make_fifo(&room.path(part_of("fifo")));
        for text in ["link", "dangling", "dir", "fifo"] {
            let part = room.filled(text, b"x");
            assert_eq!(part.part_path(), room.path(part_of_number(text, 1)));
        }
        assert_eq!(fs::read(room.path("victim")).expect("there"), b"precious");
        assert!(!room.path("made-by-link").exists());
    }
}

#[test]
fn a_part_with_a_second_name_is_not_used() {
    for room in Room::both() {
        fs::write(room.path("victim"), "precious").expect("written");
        fs::hard_link(room.path("victim"), room.path(part_of("a"))).expect("linked");
        let part = room.filled("a", b"x");
        assert_eq!(part.part_path(), room.path(part_of_number("a", 1)));
        assert_eq!(fs::read(room.path("victim")).expect("there"), b"precious");
    }
}

#[test]
fn a_part_of_somebody_else_is_not_used() {
    let room = Room::new();
    fs::write(room.path(part_of("a")), "theirs").expect("written");
    let given_away = std::os::unix::fs::chown(room.path(part_of("a")), Some(12345), None).is_ok();
    let part = room.filled("a", b"x");
    // Only root can give a file away; for everybody else it stays their own, and is used.
    let wanted = if given_away { part_of_number("a", 1) } else { part_of("a") };
    assert_eq!(part.part_path(), room.path(wanted));
}

#[test]
fn parts_that_are_all_in_use_are_an_error_and_not_an_endless_search() {
    let room = Room::new();
    let held: Vec<Part> =
        (0..PARTS_PER_NAME_MAX).map(|_| room.sink.part(&path("a"), 0, false).expect("a part")).collect();
    let error = room.sink.part(&path("a"), 0, false).expect_err("one too many");
    assert!(matches!(error, SinkError::PartsBusy { .. }), "{error}");
    drop(held);
    assert_eq!(room.listing(), [""; 0]);
}

#[test]
fn odd_and_long_names_get_a_part_and_arrive_byte_for_byte() {
    let room = Room::new();
    let mut odd = vec![b"-rf".to_vec(), b"new\nline".to_vec(), b" ".to_vec(), vec![b'x'; 255]];
    odd.push("é".repeat(127).into_bytes());
    if cfg!(target_os = "linux") {
        odd.extend([b"\xff\xfe".to_vec(), vec![0xff; 255]]);
    }
    for bytes in odd {
        let part = room.sink.part(&path(&bytes), 1, false).expect("a part");
        part.write_at(b"x", 0).expect("written");
        let done = part.publish(&metadata(), Existing::Refuse).expect("published");
        assert_eq!(done.name.as_bytes(), bytes);
        assert_eq!(fs::read(room.path(&bytes)).expect("there"), b"x");
    }
}

#[test]
fn a_size_beyond_any_offset_is_refused_before_anything_is_made() {
    let room = Room::new();
    for size in [FILE_BYTES_MAX + 1, u64::MAX] {
        let error = room.sink.part(&path("a"), size, false).expect_err("too large");
        assert!(matches!(error, SinkError::TooLarge { .. }), "{error}");
    }
    assert_eq!(room.listing(), [""; 0]);
}

#[test]
fn more_than_is_free_is_refused_at_once_and_leaves_nothing() {
    let room = Room::new();
    let free = crate::store::space::free_bytes(room.sink.root().fd()).expect("a real file system");
    for size in [FILE_BYTES_MAX, free.saturating_mul(2)] {
        let error = room.sink.part(&path("a"), size, false).expect_err("no room");
        assert!(error.is_no_space(), "{error}");
        assert!(
            matches!(error, SinkError::NoSpace { needed, free, .. } if needed == size && free < needed),
            "{error}"
        );
    }
    assert_eq!(room.listing(), [""; 0]);
}

#[test]
fn a_part_with_bytes_survives_a_resume_without_room() {
    let room = Room::new();
    drop(room.filled("a", b"abc"));
    let error = room.sink.part(&path("a"), FILE_BYTES_MAX, false).expect_err("no room");
    assert!(error.is_no_space(), "{error}");
    assert_eq!(fs::read(room.path(part_of("a"))).expect("kept"), b"abc");
}

#[test]
fn a_file_of_more_than_a_chunk_gets_its_length_at_once_and_a_small_one_does_not() {
    let room = Room::new();
    let length = |part: &Part| fs::metadata(part.part_path()).expect("there").len();
    let small = room.sink.part(&path("small"), CHUNK, false).expect("a part");
    assert_eq!(length(&small), 0);
    let large = room.sink.part(&path("large"), CHUNK + 1, false).expect("a part");
    assert_eq!(length(&large), CHUNK + 1);
}

/// The preallocation must be real where it is cheap, and must not fill memory on a tmpfs.
#[cfg(target_os = "linux")]
#[test]
fn space_is_taken_ahead_except_where_that_costs_memory() {
    let mut folders = vec![tempfile::tempdir().expect("a folder")];
    folders.extend(tempfile::tempdir_in("/dev/shm"));
    for folder in folders {
        let sink = Sink::open(folder.path(), Existing::Refuse).expect("opened");
        let size = 16 * CHUNK;
        let part = sink.part(&path("a"), size, false).expect("a part");
        let meta = fs::metadata(part.part_path()).expect("there");
        assert_eq!(meta.len(), size);
        match rustix::fs::fstatfs(&part.file).expect("asked").f_type as u32 {
            0xef53 | 0x5846_5342 => assert!(meta.blocks() * 512 >= size),
            0x0102_1994 => assert_eq!(meta.blocks(), 0),
            _ => {}
        }
    }
}

#[test]
fn a_part_left_readable_to_others_is_private_again_when_resumed() {
    let room = Room::new();
    drop(room.filled("a", b"abc"));
    let part = room.path(part_of("a"));
    fs::set_permissions(&part, fs::Permissions::from_mode(0o644)).expect("set");
    let _part = room.sink.part(&path("a"), 3, false).expect("resumed");
    assert_eq!(fs::metadata(&part).expect("there").mode() & 0o777, 0o600);
}
