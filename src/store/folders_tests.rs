use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::limits::FOLDER_HANDLES_MAX;
use crate::store::folders::FindMode;

fn mode(room: &Room, text: &str) -> u32 {
    entry(room, text).mode() & 0o7777
}

fn publish(room: &Room, text: &str) {
    room.filled(text, b"x").publish(&metadata(), Existing::Refuse).expect("published");
}

#[test]
fn folders_on_the_way_are_made_for_us_alone_until_they_are_dressed() {
    for room in Room::both() {
        assert!(matches!(room.sink.look(&path("a/b/c"), 1), Ok(Found::Nothing)));
        assert!(!room.path("a").exists(), "looking makes nothing");
        let part = room.filled("a/b/c", b"x");
        assert_eq!(part.path(), room.path("a/b/c"));
        assert_eq!(part.part_path(), room.path("a/b").join(part_of("c")));
        assert_eq!(part.name(), &name("c"));
        part.publish(&metadata(), Existing::Refuse).expect("published");
        assert_eq!(fs::read(room.path("a/b/c")).expect("there"), b"x");
        assert_eq!((mode(&room, "a"), mode(&room, "a/b")), (0o1700, 0o1700), "marked as begun");

        let open = Metadata { mode: 0o40_751, ..metadata() };
        assert_eq!(room.sink.folder(Some(&path("a/b")), &open).expect("dressed"), Made::New);
        assert_eq!(room.sink.folder(Some(&path("a")), &open).expect("dressed"), Made::New);
        assert_eq!((mode(&room, "a"), mode(&room, "a/b")), (0o751, 0o751));
        for text in ["a", "a/b"] {
            assert_eq!((entry(&room, text).mtime(), entry(&room, text).mtime_nsec()), (1_000_000_000, 5));
        }
        assert_eq!(room.sink.folder(Some(&path("a")), &open).expect("dressed"), Made::Identical);
        assert!(matches!(room.sink.look(&path("a/b/c"), 1), Ok(Found::SameSize(file)) if file.size() == 1));
    }
}

#[test]
fn a_folder_of_its_own_is_made_and_one_that_is_there_stays_with_what_is_in_it() {
    for room in Room::both() {
        let empty = path("x/empty");
        assert_eq!(room.sink.would_make(&empty, &EntryKind::Folder).ok(), Some(true));
        assert_eq!(room.sink.folder(Some(&empty), &metadata()).expect("made"), Made::New);
        assert_eq!(mode(&room, "x/empty"), 0o640);
        assert_eq!(room.sink.would_make(&path("x"), &EntryKind::Folder).ok(), Some(false));
        room.made("old");
        fs::write(room.path("old/file"), "kept").expect("written");
        fs::set_permissions(room.path("old"), fs::Permissions::from_mode(0o750)).expect("set");
        let before = entry(&room, "old");
        assert_eq!(room.sink.folder(Some(&path("old")), &metadata()).expect("left"), Made::Identical);
        let after = entry(&room, "old");
        assert_eq!(
            (after.mode(), after.mtime(), after.ctime()),
            (before.mode(), before.mtime(), before.ctime())
        );
        let overwrite = room.again(Existing::Overwrite);
        assert_eq!(overwrite.folder(Some(&path("old")), &metadata()).expect("dressed"), Made::Identical);
        assert_eq!((mode(&room, "old"), entry(&room, "old").mtime()), (0o640, 1_000_000_000));
        assert_eq!(fs::read_dir(room.path("old")).expect("read").count(), 1);
    }
}

#[test]
fn a_folder_that_a_killed_transfer_has_begun_is_finished_by_the_next() {
    let room = Room::new();
    publish(&room, "a/b");
    let next = room.again(Existing::Refuse);
    let open = Metadata { mode: 0o40_751, ..metadata() };
    assert_eq!(next.folder(Some(&path("a")), &open).expect("dressed"), Made::New);
    assert_eq!((mode(&room, "a"), entry(&room, "a").mtime()), (0o751, 1_000_000_000));
    let shut = Metadata { mode: 0, ..metadata() };
    assert_eq!(room.again(Existing::Refuse).folder(Some(&path("a")), &shut).expect("left"), Made::Identical);
    assert_eq!(mode(&room, "a"), 0o751);
}

#[test]
fn the_destination_itself_gets_its_time_at_most() {
    let room = Room::new();
    fs::set_permissions(room.folder.path(), fs::Permissions::from_mode(0o750)).expect("set");
    let wide = Metadata { mode: 0o777, archive: Some(Arc::default()), ..metadata() };
    let before = fs::metadata(room.folder.path()).expect("there").mtime();
    assert_eq!(room.sink.folder(None, &wide).expect("left"), Made::Identical);
    assert_eq!(fs::metadata(room.folder.path()).expect("there").mtime(), before);
    let overwrite = room.again(Existing::Overwrite);
    assert_eq!(overwrite.folder(None, &wide).expect("dressed"), Made::Identical);
    let meta = fs::metadata(room.folder.path()).expect("there");
    assert_eq!(meta.mode() & 0o7777, 0o750);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
}

#[test]
fn a_folder_keeps_the_group_that_it_hands_on() {
    let room = Room::new();
    room.made("shared");
    fs::set_permissions(room.path("shared"), fs::Permissions::from_mode(0o2775)).expect("set");
    let sticky = Metadata { mode: 0o1755, ..metadata() };
    room.again(Existing::Overwrite).folder(Some(&path("shared")), &sticky).expect("dressed");
    assert_eq!(mode(&room, "shared"), 0o2755);
}

#[test]
fn a_symlink_on_the_way_is_named_and_never_followed() {
    for room in Room::both() {
        let outside = tempfile::tempdir().expect("a folder");
        room.made("a/inside");
        symlink(outside.path(), room.path("a/out")).expect("linked");
        symlink("inside", room.path("a/in")).expect("linked");
        for text in ["a/out", "a/in"] {
            let inner = path(format!("{text}/x/y"));
            let link = Metadata::default();
            let errors = [
                room.sink.look(&inner, 1).expect_err("in the way"),
                room.sink.part(&inner, 1, false).expect_err("in the way"),
                room.sink.folder(Some(&inner), &link).expect_err("in the way"),
                room.sink.folder(Some(&path(text)), &link).expect_err("in the way"),
                room.sink.symlink(&inner, b"t", &link).expect_err("in the way"),
                room.sink.hard_link(&inner, &path("a")).expect_err("in the way"),
                room.sink.hard_link(&path("b"), &inner).expect_err("in the way"),
                room.sink.would_make(&inner, &EntryKind::Folder).expect_err("in the way"),
            ];
            for error in &errors[..5] {
                assert_eq!(error.path(), room.path(text), "{error}");
            }
            // Of two paths the first that is looked at: `a` is no regular file.
            assert!(errors[5].to_string().contains("is a folder"), "{}", errors[5]);
            for error in errors[..5].iter().chain(&errors[6..]) {
                let expected = FileKind::Directory;
                assert!(
                    matches!(error, SinkError::InTheWay { what: FileKind::Symlink, expected: e, .. } if *e == expected),
                    "{error}"
                );
                assert_eq!(error.kind(), SinkErrorKind::Policy);
            }
        }
        assert_eq!(fs::read_dir(outside.path()).expect("read").count(), 0);
        assert_eq!(fs::read_dir(room.path("a/inside")).expect("read").count(), 0);
    }
}

#[test]
fn a_file_where_a_folder_must_be_and_the_reverse_are_told_apart() {
    for room in Room::both() {
        fs::write(room.path("file"), "x").expect("written");
        room.made("folder");
        let error = room.sink.part(&path("file/a"), 1, false).expect_err("in the way");
        let text = error.to_string();
        assert!(text.contains("/file is a regular file there, not a folder"), "{text}");
        let error = room.sink.folder(Some(&path("file")), &metadata()).expect_err("in the way");
        assert!(matches!(error, SinkError::InTheWay { what: FileKind::Regular, .. }), "{error}");
        let error = room.sink.look(&path("folder"), 1).expect_err("in the way");
        let text = error.to_string();
        assert!(text.contains("/folder is a folder there, not a regular file"), "{text}");
        make_fifo(&room.path("fifo"));
        let error = room.sink.look(&path("fifo/a"), 1).expect_err("in the way");
        assert!(matches!(error, SinkError::InTheWay { what: FileKind::Fifo, .. }), "{error}");
    }
}

#[test]
fn a_folder_swapped_for_a_symlink_is_not_followed_however_fresh_its_handle_is() {
    for room in Room::both() {
        let outside = tempfile::tempdir().expect("a folder");
        publish(&room, "a/one");
        fs::rename(room.path("a"), room.path("moved")).expect("moved");
        symlink(outside.path(), room.path("a")).expect("linked");
        // Within the handle's time the file goes to the folder that was meant, afterwards it is refused.
        match room.sink.part(&path("a/two"), 0, false) {
            Ok(part) => drop(part.publish(&metadata(), Existing::Refuse).expect("published")),
            Err(error) => assert!(matches!(error, SinkError::InTheWay { .. }), "{error}"),
        }
        room.sink.folders.forget(b"a");
        let error = room.sink.part(&path("a/three"), 0, false).expect_err("a symlink");
        assert!(matches!(error, SinkError::InTheWay { what: FileKind::Symlink, .. }), "{error}");
        assert_eq!(fs::read_dir(outside.path()).expect("read").count(), 0);
    }
}

#[test]
fn a_folder_that_was_removed_is_made_again() {
    for room in Room::both() {
        publish(&room, "a/b/one");
        fs::remove_dir_all(room.path("a")).expect("removed");
        publish(&room, "a/b/two");
        assert!(room.path("a/b/two").is_file());
        fs::remove_dir_all(room.path("a")).expect("removed");
        room.sink.symlink(&path("a/b/three"), b"t", &metadata()).expect("linked");
        assert_eq!(read_link(&room, "a/b/three"), b"t");
    }
}

#[test]
fn folders_held_open_are_few_and_one_that_is_dressed_is_let_go() {
    let room = Room::new();
    for number in 0..2 * FOLDER_HANDLES_MAX {
        publish(&room, &format!("{number}/file"));
        assert!(room.sink.folders.held_now() <= FOLDER_HANDLES_MAX);
    }
    assert_eq!(room.sink.folders.held_now(), FOLDER_HANDLES_MAX);
    let last = path(format!("{}", 2 * FOLDER_HANDLES_MAX - 1));
    room.sink.folder(Some(&last), &metadata()).expect("dressed");
    assert_eq!(room.sink.folders.held_now(), FOLDER_HANDLES_MAX - 1);
}

#[test]
fn a_folder_that_was_missing_is_seen_once_it_was_made() {
    let room = Room::new();
    let look = |text| room.sink.look(&path(text), 1).expect("looked");
    assert!(matches!(look("a/b/file"), Found::Nothing) && matches!(look("a/b/other"), Found::Nothing));
    publish(&room, "a/b/file");
    // Until nothing of it is held.
    for number in 0..2 * FOLDER_HANDLES_MAX {
        publish(&room, &format!("{number}/file"));
    }
    assert!(matches!(look("a/b/file"), Found::SameSize(_)));
}

#[test]
fn a_tree_of_many_hundred_folders_is_received() {
    // Without openat2 each way is walked from the start.
    for (room, depth) in Room::both().into_iter().zip([800, 200]) {
        let folder = vec!["d"; depth].join("/");
        let file = format!("{folder}/f");
        for levels in (200..depth).step_by(200) {
            publish(&room, &format!("{}/f", vec!["d"; levels].join("/")));
        }
        publish(&room, &file);
        assert!(matches!(room.sink.look(&path(&file), 1), Ok(Found::SameSize(_))));
        let mut at = folder.len();
        while at > 0 {
            let below = path(&folder[..at]);
            assert_eq!(room.sink.folder(Some(&below), &metadata()).expect("dressed"), Made::New);
            at = at.saturating_sub(2);
        }
        assert!(room.sink.folders.find(folder.as_bytes(), FindMode::Look).expect("looked").is_some());
    }
}

#[test]
fn threads_that_make_the_same_folders_at_once_all_arrive() {
    for room in Room::both() {
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for id in 0..8 {
                let (room, barrier) = (&room, &barrier);
                scope.spawn(move || {
                    for round in 0..20 {
                        barrier.wait();
                        publish(room, &format!("{round}/a/b/{id}"));
                    }
                });
            }
        });
        for round in 0..20 {
            assert_eq!(fs::read_dir(room.path(format!("{round}/a/b"))).expect("read").count(), 8);
        }
    }
}

/// What an earlier transfer of read-only folders left.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_of_ours_that_we_may_not_write_to_or_enter_is_opened_to_us() {
    for room in Room::both() {
        let closed = ["read-only", "sealed", "sealed/inner"];
        for text in closed {
            room.made(text);
        }
        if rustix::process::geteuid().is_root() {
            for text in [&closed[..], &["."]].concat() {
                std::os::unix::fs::chown(room.path(text), Some(12345), None).expect("root may");
            }
        }
        let set = |text, mode| fs::set_permissions(room.path(text), fs::Permissions::from_mode(mode));
        as_a_user(|| {
            set("sealed/inner", 0o000).expect("ours");
            set("sealed", 0o400).expect("ours");
            set("read-only", 0o555).expect("ours");
            assert!(matches!(room.sink.look(&path("sealed/inner/a"), 1), Ok(Found::Nothing)));
            room.sink.would_make(&path("sealed/inner/a"), &EntryKind::Folder).expect_err("may not look");
            assert_eq!(mode(&room, "sealed"), 0o400, "looking changes nothing");
            publish(&room, "read-only/a");
            publish(&room, "sealed/inner/a");
            set("read-only", 0o555).expect("ours");
            room.sink.symlink(&path("read-only/link"), b"t", &metadata()).expect("linked");
            set("read-only", 0o555).expect("ours");
            room.sink.hard_link(&path("read-only/b"), &path("read-only/a")).expect("linked");
            set("read-only", 0o555).expect("ours");
            room.sink.folder(Some(&path("read-only/new")), &metadata()).expect("made");
            let shut = Metadata { mode: 0o555, ..metadata() };
            room.sink.folder(Some(&path("read-only")), &shut).expect("dressed");
            assert_eq!(mode(&room, "read-only"), 0o555);
            let dark = Metadata { mode: 0o300, ..metadata() };
            room.sink.folder(Some(&path("sealed/inner")), &dark).expect("dressed");
            room.sink.sync_entries([(&path("sealed/inner"), true)]).expect("synced by what it is in");
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_was_opened_for_a_moment_is_closed_again_also_after_a_kill() {
    for killed in [false, true] {
        for existing in [Existing::Refuse, Existing::Overwrite] {
            let room = Room::new();
            room.made("shut");
            if rustix::process::geteuid().is_root() {
                for text in ["shut", "."] {
                    std::os::unix::fs::chown(room.path(text), Some(12345), None).expect("root may");
                }
            }
            as_a_user(|| {
                fs::set_permissions(room.path("shut"), fs::Permissions::from_mode(0o2555)).expect("ours");
                let sink = room.again(existing);
                let part = sink.part(&path("shut/a"), 1, false).expect("a part");
                part.write_at(b"x", 0).expect("written");
                part.publish(&metadata(), Existing::Refuse).expect("published");
                assert_eq!(mode(&room, "shut") & 0o777, 0o755);
                if killed {
                    std::mem::forget(sink);
                    let next = room.again(existing);
                    let shut = Metadata { mode: 0o755, ..metadata() };
                    next.folder(Some(&path("shut")), &shut).expect("dressed");
                    let wanted = if existing == Existing::Refuse { 0o2555 } else { 0o2755 };
                    assert_eq!(mode(&room, "shut"), wanted);
                } else {
                    drop((sink, part));
                    assert_eq!(mode(&room, "shut"), 0o2555);
                }
            });
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_of_somebody_else_and_the_destination_itself_stay_closed() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can give a folder away");
        return;
    }
    for room in Room::both() {
        room.made("theirs");
        fs::set_permissions(room.folder.path(), fs::Permissions::from_mode(0o555)).expect("set");
        std::os::unix::fs::chown(room.folder.path(), Some(12345), None).expect("root may");
        as_a_user(|| {
            for text in ["theirs/a", "a"] {
                let error = room.sink.part(&path(text), 1, false).expect_err("closed");
                assert!(matches!(error, SinkError::Permission { .. }), "{error}");
            }
        });
        assert_eq!(fs::metadata(room.folder.path()).expect("there").mode() & 0o777, 0o555);
    }
}

#[test]
fn names_are_synced_in_one_folder_and_in_many() {
    let room = Room::new();
    let parts = ["a/b/1", "a/b/2", "3", "c/4"].map(|text| room.filled(text, b"x"));
    room.sink.sync_together(&parts).expect("synced");
    for part in &parts {
        part.publish(&metadata(), Existing::Refuse).expect("published");
    }
    room.sink.sync_names(&parts[..2]).expect("synced");
    assert!(!room.sink.folders.take_unsynced(b"a/b") && !room.sink.folders.take_unsynced(b"a"));
    room.sink.sync_names(&parts).expect("synced");
    room.sink.sync_names([]).expect("nothing to do");
    let [link, folder, missing] = [path("link"), path("c"), path("no/a")];
    room.sink.sync_entries([(&link, false), (&folder, true)]).expect("synced");
    let error = room.sink.sync_entries([(&missing, false)]);
    assert!(matches!(error, Err(SinkError::Io { .. })), "{error:?}");
}

#[test]
fn one_offer_makes_at_most_256_levels_of_folders() {
    for room in [Room::new(), Room::portable()] {
        let deep = |levels: usize| path(vec!["d"; levels].join("/"));
        for make in [
            |sink: &Sink, at: &RelativePath| sink.folder(Some(at), &metadata()).map(drop),
            |sink: &Sink, at: &RelativePath| {
                sink.part(&at.join("file".as_ref()).expect("a path"), 1, false).map(drop)
            },
        ] {
            let error = make(&room.sink, &deep(257)).expect_err("refused");
            assert!(matches!(error, SinkError::TooDeep { .. }), "{error}");
            assert_eq!(error.kind(), SinkErrorKind::Policy);
            assert_eq!(room.listing(), Vec::<String>::new());
        }
        room.sink.folder(Some(&deep(256)), &metadata()).expect("made");
        room.sink.folder(Some(&deep(257)), &metadata()).expect("of those 256 are there");
    }
}
