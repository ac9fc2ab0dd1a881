use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::Ordering;

use super::*;

/// Not every file system can.
fn stores_at_once(room: &Room) -> bool {
    room.sink.store_whole(&path("probe"), b"", &metadata()).expect("no error").is_some()
}

#[test]
fn a_file_made_at_once_has_its_bytes_mode_and_time_and_nothing_else_is_there() {
    let room = Room::new();
    if !stores_at_once(&room) {
        return skipped("this file system knows no files without a name");
    }
    assert!(room.sink.store_whole(&path("d/a"), b"abc", &metadata()).expect("stored").is_some());
    assert_eq!(fs::read(room.path("d/a")).expect("there"), b"abc");
    let meta = fs::metadata(room.path("d/a")).expect("there");
    assert_eq!(meta.mode() & 0o7777, 0o640);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(fs::read_dir(room.path("d")).expect("there").count(), 1);
}

#[test]
fn whatever_has_the_name_is_left_alone() {
    let room = Room::new();
    fs::write(room.path("file"), "old").expect("written");
    fs::create_dir(room.path("folder")).expect("made");
    symlink("nowhere", room.path("link")).expect("made");
    for name in ["file", "folder", "link"] {
        assert!(
            room.sink.store_whole(&path(name), b"new", &metadata()).expect("no error").is_none(),
            "{name}"
        );
    }
    assert_eq!(fs::read(room.path("file")).expect("there"), b"old");
    assert!(fs::read_dir(room.path("folder")).expect("there").next().is_none());
    assert!(fs::symlink_metadata(room.path("link")).expect("there").is_symlink());
    assert_eq!(room.listing(), ["file", "folder", "link"]);
}

#[test]
fn the_part_file_of_an_earlier_transfer_is_left_to_be_used_up() {
    let room = Room::new();
    fs::write(room.path(part_of("a")), "old").expect("written");
    assert!(room.sink.store_whole(&path("a"), b"new", &metadata()).expect("no error").is_none());
    assert_eq!(room.listing(), [part_of("a")]);
}

#[test]
fn without_handles_that_can_be_named_the_way_is_proc_and_without_both_a_part_file() {
    let room = Room::new();
    if !stores_at_once(&room) {
        return skipped("this file system knows no files without a name");
    }
    let by = |how, name| {
        room.sink.root().place().unnamed.store(how, Ordering::Relaxed);
        room.sink.store_whole(&path(name), b"x", &metadata()).expect("no error").is_some()
    };
    assert!(by(1, "by proc"));
    assert!(!by(2, "not at all"));
    assert_eq!(room.listing(), ["by proc", "probe"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_user_who_is_not_root_finds_the_way_that_is_open_to_him() {
    let room = Room::new();
    if !stores_at_once(&room) {
        return skipped("this file system knows no files without a name");
    }
    fs::set_permissions(room.folder.path(), fs::Permissions::from_mode(0o777)).expect("allowed");
    as_a_user(|| {
        let sink = room.again(Existing::Refuse);
        for name in ["first", "second"] {
            assert!(sink.store_whole(&path(name), b"x", &metadata()).expect("stored").is_some(), "{name}");
        }
    });
    assert_eq!(room.listing(), ["first", "probe", "second"]);
}
