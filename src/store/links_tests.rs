use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

fn link(room: &Sink, text: &str, target: &[u8]) -> Result<Made, SinkError> {
    room.symlink(&path(text), target, &metadata())
}

#[test]
fn a_symlink_arrives_with_any_target_and_its_time() {
    for room in Room::both() {
        let mut targets = vec![b"a/b".to_vec(), b"../../x".to_vec(), b"/etc/passwd".to_vec(), b" ".to_vec()];
        targets.push(vec![b'x'; 1000]);
        if cfg!(target_os = "linux") {
            targets.extend([b"new\nline\xff".to_vec(), vec![b'y'; 4095]]);
        }
        for (number, target) in targets.iter().enumerate() {
            let text = format!("in/{number}");
            let kind = EntryKind::Symlink { target: target.clone() };
            assert_eq!(room.sink.would_make(&path(&text), &kind).ok(), Some(true));
            assert_eq!(link(&room.sink, &text, target).expect("made"), Made::New);
            assert_eq!(&read_link(&room, &text), target);
            let meta = entry(&room, &text);
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
            assert_eq!(link(&room.sink, &text, target).expect("there"), Made::Identical);
            assert_eq!(room.sink.would_make(&path(&text), &kind).ok(), Some(false));
        }
    }
}

#[test]
fn an_identical_symlink_gets_the_time_that_an_interruption_kept_from_it() {
    let room = Room::new();
    symlink("t", room.path("a")).expect("linked");
    assert_eq!(link(&room.sink, "a", b"t").expect("there"), Made::Identical);
    assert_eq!(entry(&room, "a").mtime(), 1_000_000_000);
}

#[test]
fn a_name_that_is_taken_is_dealt_with_as_the_user_said() {
    for room in Room::both() {
        fs::write(room.path("file"), "old").expect("written");
        fs::write(room.path("target"), "precious").expect("written");
        symlink("target", room.path("link")).expect("linked");
        room.made("folder");
        let kind = EntryKind::Symlink { target: b"new".to_vec() };
        for text in ["file", "link", "folder"] {
            let error = link(&room.sink, text, b"new").expect_err("refused");
            assert!(matches!(error, SinkError::Exists { .. }), "{error}");
            let error = room.sink.would_make(&path(text), &kind).expect_err("refused");
            assert!(matches!(error, SinkError::Exists { .. }), "{error}");
        }
        let rename = room.again(Existing::Rename);
        for text in ["file", "link", "folder"] {
            assert_eq!(rename.would_make(&path(text), &kind).ok(), Some(true));
            let numbered = format!("{text} (1)");
            let made = link(&rename, text, b"new").expect("numbered");
            assert_eq!(made, Made::Renamed(name(&numbered)));
            assert_eq!(read_link(&room, &numbered), b"new");
        }
        room.age();
        let overwrite = room.again(Existing::Overwrite);
        for text in ["file", "link"] {
            assert_eq!(overwrite.would_make(&path(text), &kind).ok(), Some(true));
            assert_eq!(link(&overwrite, text, b"new").expect("replaced"), Made::New);
            assert_eq!(read_link(&room, text), b"new");
        }
        let errors = [
            link(&overwrite, "folder", b"new").map(drop),
            overwrite.would_make(&path("folder"), &kind).map(drop),
        ];
        for error in errors {
            let error = error.expect_err("a folder");
            assert!(matches!(error, SinkError::InTheWay { what: FileKind::Directory, .. }), "{error}");
            assert!(error.to_string().contains("not a symbolic link"), "{error}");
        }
        assert_eq!(fs::read(room.path("target")).expect("there"), b"precious");
        let names = ["file", "file (1)", "folder", "folder (1)", "link", "link (1)", "target"];
        assert_eq!(room.listing(), names, "nothing made for a moment is left");
    }
}

#[test]
fn a_hard_link_is_the_same_file_in_another_folder() {
    for room in Room::both() {
        room.filled("a/one", b"x").publish(&metadata(), Existing::Refuse).expect("published");
        let (two, one) = (path("b/c/two"), path("a/one"));
        let kind = EntryKind::HardLink { to: b"a/one".to_vec() };
        assert_eq!(room.sink.would_make(&two, &kind).ok(), Some(true));
        assert_eq!(room.sink.hard_link(&two, &one).expect("linked"), Made::New);
        assert_eq!(room.sink.hard_link(&two, &one).expect("linked"), Made::Identical);
        assert_eq!(room.sink.would_make(&two, &kind).ok(), Some(false));
        let (a, b) = (entry(&room, "a/one"), entry(&room, "b/c/two"));
        assert_eq!((a.ino(), a.nlink(), b.nlink()), (b.ino(), 2, 2));
    }
}

#[test]
fn a_hard_link_at_a_taken_name_is_dealt_with_as_the_user_said() {
    let room = Room::new();
    fs::write(room.path("one"), "new").expect("written");
    fs::write(room.path("two"), "old").expect("written");
    room.made("folder");
    let error = room.sink.hard_link(&path("two"), &path("one")).expect_err("taken");
    assert!(matches!(error, SinkError::NotLinked { fault: LinkFault::Taken, .. }), "{error}");
    let kind = EntryKind::HardLink { to: b"one".to_vec() };
    let error = room.sink.would_make(&path("two"), &kind).expect_err("taken");
    assert!(matches!(error, SinkError::NotLinked { fault: LinkFault::Taken, .. }), "{error}");
    let error = room.sink.hard_link(&path("folder"), &path("one")).expect_err("taken by no file");
    assert!(matches!(error, SinkError::Exists { .. }), "{error}");
    let rename = room.again(Existing::Rename);
    let made = rename.hard_link(&path("two"), &path("one")).expect("numbered");
    assert_eq!(made, Made::Renamed(name("two (1)")));
    let again = rename.hard_link(&path("two"), &path("one")).expect("there");
    assert_eq!(again, Made::Renamed(name("two (1)")), "the one that is there");
    let overwrite = room.again(Existing::Overwrite);
    assert_eq!(overwrite.hard_link(&path("two"), &path("one")).expect("replaced"), Made::New);
    assert_eq!(entry(&room, "two").ino(), entry(&room, "one").ino());
    assert_eq!(entry(&room, "one").nlink(), 3);
    let error = overwrite.hard_link(&path("folder"), &path("one")).expect_err("a folder");
    assert!(matches!(error, SinkError::InTheWay { what: FileKind::Directory, .. }), "{error}");
    assert_eq!(room.listing(), ["folder", "one", "two", "two (1)"]);
}

#[test]
fn a_hard_link_to_what_is_no_file_here_says_why() {
    for room in Room::both() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("secret"), "s").expect("written");
        symlink(outside.path().join("secret"), room.path("link")).expect("linked");
        room.made("folder");
        for (to, why) in [
            ("link", "it is a symbolic link, not a regular file"),
            ("folder", "it is a folder"),
            ("missing", "it is not there"),
            ("no/folder", "it is not there"),
        ] {
            let error = room.sink.hard_link(&path("a"), &path(to)).expect_err("not linked");
            assert!(matches!(error, SinkError::NotLinked { .. }), "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.kind(), SinkErrorKind::Policy);
        }
        for bad in [&b"../x"[..], b"/etc/passwd", b""] {
            let kind = EntryKind::HardLink { to: bad.to_vec() };
            let error = room.sink.would_make(&path("a"), &kind).expect_err("a bad path");
            assert!(matches!(error, SinkError::NotLinked { fault: LinkFault::BadName(_), .. }), "{error}");
        }
        assert!(!room.path("a").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hard_link_to_another_file_system_is_not_possible() {
    use crate::store::dir::Dir;
    let (Ok(memory), Ok(disk)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir_in(".")) else {
        return;
    };
    let device = |folder: &Path| fs::metadata(folder).expect("there").dev();
    if device(memory.path()) == device(disk.path()) {
        skipped("one file system");
        return;
    }
    fs::write(memory.path().join("a"), "x").expect("written");
    let [from, to] = [&memory, &disk].map(|folder| Dir::open_root(folder.path()).expect("opened").0);
    assert_eq!(to.link(&from, b"a", b"a"), Err(rustix::io::Errno::XDEV));
    let fault = LinkFault::Unsupported(rustix::io::Errno::XDEV.into());
    let error = SinkError::NotLinked { path: "a\n".into(), to: "b".into(), fault };
    let text = error.to_string();
    assert!(
        text.starts_with("cannot make a\\n another name of b: the file system cannot do that ("),
        "{text}"
    );
}

#[test]
fn a_dry_run_tells_of_files_and_changes_nothing() {
    let room = Room::new();
    fs::write(room.path("a"), "abc").expect("written");
    room.made("folder");
    let file = |size| EntryKind::File { size, sparse: false };
    let tell = |sink: &Sink, text: &str, size| sink.would_make(&path(text), &file(size));
    assert_eq!(tell(&room.sink, "new/b", 1).ok(), Some(true));
    assert_eq!(tell(&room.sink, "a", 3).ok(), Some(true));
    assert!(matches!(tell(&room.sink, "a", 4), Err(SinkError::Exists { .. })));
    assert!(matches!(tell(&room.sink, "a/b", 4), Err(SinkError::InTheWay { .. })));
    let rename = room.again(Existing::Rename);
    assert_eq!((tell(&rename, "a", 4).ok(), tell(&rename, "folder", 4).ok()), (Some(true), Some(true)));
    assert!(matches!(tell(&rename, "a/b", 4), Err(SinkError::InTheWay { .. })));
    assert!(matches!(tell(&room.sink, "folder", 4), Err(SinkError::InTheWay { .. })));
    assert_eq!(room.listing(), ["a", "folder"]);
}
