use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::limits::CHUNK_BYTES;
use crate::os::clock::Moment;
use crate::store::moves::link_new;

fn read(room: &Room, name: &str) -> String {
    fs::read_to_string(room.path(name)).expect("readable")
}

#[test]
fn a_published_file_has_its_bytes_mode_and_time_and_no_part_is_left() {
    let room = Room::new();
    let part = room.filled("a", b"abc");
    let done = part.publish(&metadata(), Existing::Refuse).expect("published");
    assert_eq!(done, Published { name: name("a"), renamed: false, existed: false });
    assert_eq!(room.listing(), ["a"]);
    let meta = fs::metadata(room.path("a")).expect("there");
    assert_eq!(meta.mode() & 0o7777, 0o640);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
}

#[test]
fn a_time_before_1970_keeps_its_nanoseconds() {
    let room = Room::new();
    let meta = Metadata { mode: 0o600, mtime_seconds: -2, mtime_nanos: 999_999_999, archive: None };
    room.filled("a", b"x").publish(&meta, Existing::Refuse).expect("published");
    let meta = fs::metadata(room.path("a")).expect("there");
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 999_999_999));
}

#[test]
fn setuid_setgid_and_sticky_are_not_taken_over() {
    let room = Room::new();
    let meta = Metadata { mode: 0o107_751, mtime_seconds: 0, mtime_nanos: 0, archive: None };
    room.filled("a", b"x").publish(&meta, Existing::Refuse).expect("published");
    assert_eq!(fs::metadata(room.path("a")).expect("there").mode() & 0o7777, 0o751);
}

#[test]
fn times_that_the_file_system_cannot_hold_do_not_lose_the_file() {
    let room = Room::new();
    for (text, seconds) in [("past", i64::MIN), ("future", i64::MAX)] {
        let meta = Metadata { mode: 0o600, mtime_seconds: seconds, mtime_nanos: 0, archive: None };
        room.filled(text, b"x").publish(&meta, Existing::Refuse).expect("published");
        assert_eq!(read(&room, text), "x");
    }
}

#[test]
fn an_empty_file_is_published() {
    let room = Room::new();
    let part = room.sink.part(&path("a"), 0, false).expect("a part");
    part.publish(&metadata(), Existing::Refuse).expect("published");
    assert_eq!(fs::metadata(room.path("a")).expect("there").len(), 0);
}

#[test]
fn refuse_leaves_a_file_that_appeared_meanwhile_and_no_part() {
    let room = Room::new();
    assert!(matches!(room.sink.look(&path("a"), 3), Ok(Found::Nothing)));
    let part = room.filled("a", b"new");
    fs::write(room.path("a"), "appeared").expect("written");
    let error = part.publish(&metadata(), Existing::Refuse).expect_err("taken");
    assert!(matches!(&error, SinkError::Exists { path } if *path == room.path("a")), "{error}");
    assert_eq!(error.kind(), SinkErrorKind::Policy);
    assert_eq!(read(&room, "a"), "appeared");
    assert_eq!(room.listing(), ["a"]);
}

#[test]
fn refuse_leaves_symlinks_and_directories_as_well() {
    let room = Room::new();
    symlink("nowhere", room.path("link")).expect("linked");
    fs::create_dir(room.path("dir")).expect("made");
    for text in ["link", "dir"] {
        let error = room.filled(text, b"x").publish(&metadata(), Existing::Refuse);
        assert!(matches!(error, Err(SinkError::Exists { .. })), "{error:?}");
    }
    assert!(fs::symlink_metadata(room.path("link")).expect("there").is_symlink());
    assert!(!room.path("nowhere").exists());
}

#[test]
fn overwrite_replaces_a_file_and_a_symlink_itself() {
    let room = Room::new();
    fs::write(room.path("file"), "old").expect("written");
    fs::write(room.path("target"), "precious").expect("written");
    symlink("target", room.path("link")).expect("linked");
    room.age();
    for text in ["file", "link"] {
        let done = room.filled(text, b"new").publish(&metadata(), Existing::Overwrite);
        assert!(!done.expect("published").renamed);
        assert_eq!(read(&room, text), "new");
    }
    assert!(fs::symlink_metadata(room.path("link")).expect("there").is_file());
    assert_eq!(read(&room, "target"), "precious");
}

#[test]
fn what_a_session_has_published_it_never_replaces() {
    let room = Room::new();
    room.filled("a", b"first").publish(&metadata(), Existing::Overwrite).expect("published");
    let part = room.filled("a", b"second");
    let error = part.publish(&metadata(), Existing::Overwrite).expect_err("refused");
    assert!(matches!(error, SinkError::Newer { .. }), "{error}");
    assert_eq!(error.kind(), SinkErrorKind::Policy);
    assert_eq!((read(&room, "a"), room.listing()), ("first".into(), vec!["a".into()]));
    room.age();
    let next = room.again(Existing::Overwrite);
    let part = next.part(&path("a"), 5, false).expect("a part");
    part.write_at(b"third", 0).expect("written");
    part.publish(&metadata(), Existing::Overwrite).expect("it is older than this session");
    assert_eq!(read(&room, "a"), "third");
}

#[test]
fn what_is_not_as_it_was_looked_at_is_not_replaced() {
    type Change = fn(&Room);
    let changes: [(&str, Change); 5] = [
        ("other bytes of the same length", |room| fs::write(room.path("a"), "OLD").expect("written")),
        ("another file in its place", |room| {
            fs::write(room.path("b"), "old").expect("written");
            fs::rename(room.path("b"), room.path("a")).expect("renamed");
        }),
        ("another mode", |room| {
            fs::set_permissions(room.path("a"), fs::Permissions::from_mode(0o640)).expect("set");
        }),
        ("a symlink", |room| {
            fs::remove_file(room.path("a")).expect("removed");
            symlink("elsewhere", room.path("a")).expect("linked");
        }),
        ("nothing", |room| fs::remove_file(room.path("a")).expect("removed")),
    ];
    for (what, change) in changes {
        let room = Room::new();
        fs::write(room.path("a"), "old").expect("written");
        room.age();
        let sink = room.again(Existing::Overwrite);
        let before = sink.stamp_at(&path("a"));
        change(&room);
        // So none of it is too young for what comes now.
        room.age();
        let part = sink.part(&path("a"), 3, false).expect("a part").in_place_of(before);
        part.write_at(b"new", 0).expect("written");
        let looked_at = sink.stamp_at(&path("a"));
        match (what, part.publish(&metadata(), Existing::Overwrite)) {
            // Nothing is lost by it.
            ("nothing", Ok(_)) => assert_eq!(read(&room, "a"), "new"),
            (_, Err(SinkError::Newer { .. })) => {
                assert_eq!(sink.stamp_at(&path("a")), looked_at, "{what}: it was touched");
            }
            (_, other) => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_is_younger_than_the_run_of_its_sender_is_not_replaced() {
    for (age, is_replaced) in [(Duration::ZERO, true), (Duration::from_secs(3600), false)] {
        let room = Room::new();
        fs::write(room.path("a"), "old").expect("written");
        room.age();
        let folder = Folder::new(
            room.folder.path(),
            FolderOptions { existing: Existing::Overwrite, ..FolderOptions::default() },
        );
        let began = Some(Moment::before(age));
        let sink = folder.enter(Entry { began, ..Entry::default() }).expect("opened");
        let part = sink.part(&path("a"), 3, false).expect("a part");
        part.write_at(b"new", 0).expect("written");
        let published = part.publish(&metadata(), Existing::Overwrite);
        assert_eq!(published.is_ok(), is_replaced, "{age:?}: {published:?}");
        assert_eq!(read(&room, "a"), if is_replaced { "new" } else { "old" });
    }
}

#[test]
fn every_name_of_an_older_file_is_replaced() {
    let room = Room::new();
    fs::write(room.path("a"), "old").expect("written");
    for other in ["b", "c"] {
        fs::hard_link(room.path("a"), room.path(other)).expect("linked");
    }
    room.age();
    let sink = room.again(Existing::Overwrite);
    let publish = |text: &str, content: &[u8]| {
        let part = sink.part(&path(text), content.len() as u64, false).expect("a part");
        part.write_at(content, 0).expect("written");
        part.publish(&metadata(), Existing::Overwrite)
    };
    // The first one takes a name from the others, which counts as a change of theirs.
    for text in ["a", "b", "c"] {
        publish(text, text.as_bytes()).expect("published");
    }
    assert_eq!(["a", "b", "c"].map(|text| read(&room, text)), ["a", "b", "c"]);
    for text in ["a", "b", "c"] {
        let error = publish(text, b"again").expect_err("it is of this session");
        assert!(matches!(error, SinkError::Newer { .. }), "{error}");
    }
}

#[test]
fn of_files_that_get_one_name_at_once_one_has_it() {
    const FILES: usize = 8;
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let room = Room::new();
    for text in &names {
        fs::write(room.path(text), "old").expect("written");
    }
    room.age();
    let sink = room.again(Existing::Overwrite);
    for text in &names {
        let part = |n| {
            let part = sink.part(&path(text), 1, false).expect("a part");
            part.write_at(&[n], 0).expect("written");
            part
        };
        let parts: Vec<Part> = (0..FILES as u8).map(part).collect();
        let (ready, published) = (Barrier::new(FILES), AtomicUsize::new(0));
        thread::scope(|scope| {
            for part in &parts {
                scope.spawn(|| {
                    ready.wait();
                    match part.publish(&metadata(), Existing::Overwrite) {
                        Ok(_) => drop(published.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert!(matches!(error, SinkError::Newer { .. }), "{error}"),
                    }
                });
            }
        });
        assert_eq!(published.into_inner(), 1);
    }
}

#[test]
fn overwrite_names_a_directory_in_the_way_even_an_empty_one() {
    let room = Room::new();
    fs::create_dir(room.path("a")).expect("made");
    let error = room.filled("a", b"x").publish(&metadata(), Existing::Overwrite);
    assert!(matches!(error, Err(SinkError::InTheWay { what: FileKind::Directory, .. })), "{error:?}");
    assert!(room.path("a").is_dir());
}

#[test]
fn rename_takes_the_first_free_number_past_anything_in_the_way() {
    let room = Room::new();
    let publish = |bytes: &str| {
        let part = room.filled("a.txt", bytes.as_bytes());
        part.publish(&metadata(), Existing::Rename).expect("published")
    };
    assert_eq!(publish("1"), Published { name: name("a.txt"), renamed: false, existed: false });
    fs::create_dir(room.path("a (1).txt")).expect("made");
    symlink("nowhere", room.path("a (2).txt")).expect("linked");
    assert_eq!(publish("2"), Published { name: name("a (3).txt"), renamed: true, existed: false });
    assert_eq!(publish("3").name, name("a (4).txt"));
    assert!(!room.path("nowhere").exists());
}

#[test]
fn rename_keeps_a_file_of_the_same_bytes_under_whichever_of_its_names() {
    for size in [0, 5, CHUNK_BYTES, 2 * CHUNK_BYTES + 1] {
        let room = Room::new();
        let content = |byte: u8| vec![byte; size];
        fs::write(room.path("a"), vec![1; size + 1]).expect("written");
        for (number, byte) in [(1, 2), (2, 3), (3, 4)] {
            if size > 0 || number == 1 {
                fs::write(room.path(format!("a ({number})")), content(byte)).expect("written");
            }
        }
        let wanted = if size > 0 { 3 } else { 2 };
        let before = room.listing();
        let done = room.filled("a", &content(wanted)).publish(&metadata(), Existing::Rename);
        let stands = name(format!("a ({})", wanted - 1));
        assert_eq!(done.expect("there"), Published { name: stands, renamed: true, existed: true });
        assert_eq!(room.listing(), before, "{size} bytes");
    }
}

#[test]
fn a_part_that_is_not_to_be_compared_any_longer_waits_for_the_next_transfer() {
    let room = Room::new();
    fs::write(room.path("a"), "old").expect("written");
    let part = room.filled("a", b"new");
    let verified = Verified { hash: blake3::hash(b"new"), sync: false, go_on: &|| false };
    assert_eq!(part.publish_dressed(Existing::Rename, &verified).expect("no error"), None);
    drop(part);
    assert_eq!(room.listing(), [part_of("a"), "a".into()]);
}

#[test]
fn a_file_that_is_like_the_part_and_not_what_was_verified_is_not_the_same() {
    let room = Room::new();
    fs::write(room.path("a"), "bad").expect("written");
    let part = room.filled("a", b"bad");
    let verified = Verified { hash: blake3::hash(b"new"), sync: false, go_on: &|| true };
    let done = part.publish_dressed(Existing::Rename, &verified).expect("published").expect("went on");
    assert_eq!(done, Published { name: name("a (1)"), renamed: true, existed: false });
}

#[test]
fn threads_that_publish_one_name_at_once_with_rename_lose_nothing() {
    let room = Room::new();
    std::thread::scope(|scope| {
        for id in 0..8 {
            let room = &room;
            scope.spawn(move || {
                let part = room.filled("a", format!("{id}").as_bytes());
                part.publish(&metadata(), Existing::Rename).expect("published")
            });
        }
    });
    let mut bytes: Vec<_> = room.listing().iter().map(|text| read(&room, text)).collect();
    bytes.sort();
    assert_eq!(bytes, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn threads_that_publish_one_name_at_once_with_refuse_have_one_winner() {
    let room = Room::new();
    let wins: usize = std::thread::scope(|scope| {
        let publish = |id: usize| {
            let part = room.filled("a", format!("{id}").as_bytes());
            usize::from(part.publish(&metadata(), Existing::Refuse).is_ok())
        };
        let threads: Vec<_> = (0..8).map(|id| scope.spawn(move || publish(id))).collect();
        threads.into_iter().map(|t| t.join().expect("joined")).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn a_part_swapped_for_a_symlink_or_a_file_is_not_published() {
    for existing in [Existing::Refuse, Existing::Overwrite, Existing::Rename] {
        let room = Room::new();
        fs::write(room.path("secret"), "secret").expect("written");
        let part = room.filled("a", b"abc");
        fs::remove_file(part.part_path()).expect("removed");
        symlink("secret", part.part_path()).expect("linked");
        let error = part.publish(&metadata(), existing);
        assert!(matches!(error, Err(SinkError::Swapped { .. })), "{error:?}");

        let part = room.filled("b", b"abc");
        fs::rename(part.part_path(), room.path("aside")).expect("moved");
        fs::write(part.part_path(), "bad").expect("written");
        let error = part.publish(&metadata(), existing);
        assert!(matches!(error, Err(SinkError::Swapped { .. })), "{error:?}");
        assert!(!room.path("a").exists() && !room.path("b").exists());
    }
}

#[test]
fn a_part_that_got_a_second_name_or_lost_its_own_is_not_published() {
    let room = Room::new();
    let part = room.filled("a", b"abc");
    fs::hard_link(part.part_path(), room.path("a")).expect("linked");
    let error = part.publish(&metadata(), Existing::Overwrite);
    assert!(matches!(error, Err(SinkError::Swapped { .. })), "{error:?}");

    let part = room.filled("b", b"abc");
    fs::remove_file(part.part_path()).expect("removed");
    let error = part.publish(&metadata(), Existing::Overwrite);
    assert!(matches!(error, Err(SinkError::Swapped { .. })), "{error:?}");
}

#[test]
fn a_part_of_the_wrong_length_is_not_published() {
    let room = Room::new();
    let part = room.sink.part(&path("short"), 4, false).expect("a part");
    part.write_at(b"abc", 0).expect("written");
    let error = part.publish(&metadata(), Existing::Refuse);
    assert!(matches!(error, Err(SinkError::WrongLength { expected: 4, actual: 3, .. })), "{error:?}");
    let part = room.filled("long", b"abc");
    let other = fs::OpenOptions::new().append(true).open(part.part_path());
    std::io::Write::write_all(&mut other.expect("opened"), b"d").expect("appended");
    let error = part.publish(&metadata(), Existing::Refuse);
    assert!(matches!(error, Err(SinkError::WrongLength { expected: 3, actual: 4, .. })), "{error:?}");
    assert!(!room.path("short").exists() && !room.path("long").exists());
}

#[test]
fn the_fall_back_by_hard_link_moves_a_file_and_never_replaces_one() {
    let room = Room::new();
    fs::write(room.path("from"), "new").expect("written");
    fs::write(room.path("taken"), "old").expect("written");
    let error = link_new(room.sink.root(), b"from", b"taken").expect_err("taken");
    assert_eq!(error, rustix::io::Errno::EXIST);
    assert_eq!(read(&room, "taken"), "old");
    link_new(room.sink.root(), b"from", b"free").expect("moved");
    assert_eq!(room.listing(), ["free", "taken"]);
    assert_eq!(read(&room, "free"), "new");
}

#[test]
fn a_whole_transfer_through_the_portable_calls_works() {
    let room = Room::portable();
    drop(room.filled("a", b"ab"));
    let part = room.sink.part(&path("a"), 3, false).expect("resumed");
    assert_eq!(part.existing_len(), 2);
    part.write_at(b"c", 2).expect("written");
    part.publish(&metadata(), Existing::Refuse).expect("published");
    assert_eq!(read(&room, "a"), "abc");
}
