use std::os::unix::fs::symlink;

use super::*;

#[test]
fn nothing_same_size_and_different_are_told_apart() {
    for room in Room::both() {
        let found = |size| room.sink.look(&path("a"), size).expect("looked");
        assert!(matches!(found(3), Found::Nothing));
        fs::write(room.path("a"), "abc").expect("written");
        assert!(matches!(found(2), Found::Different));
        assert!(matches!(found(4), Found::Different));
        assert!(matches!(found(u64::MAX), Found::Different));
        let Found::SameSize(file) = found(3) else {
            panic!("same size");
        };
        assert_eq!(file.size(), 3);
        assert_eq!(file.path(), room.path("a"));
        let mut two = [0; 2];
        file.read_at(&mut two, 1).expect("read");
        assert_eq!(&two, b"bc");
    }
}

#[test]
fn reading_past_the_end_of_an_existing_file_is_its_own_error() {
    let room = Room::new();
    fs::write(room.path("a"), "abc").expect("written");
    let Ok(Found::SameSize(file)) = room.sink.look(&path("a"), 3) else {
        panic!("same size");
    };
    let error = file.read_at(&mut [0; 3], 2).expect_err("too far");
    assert!(matches!(error, SinkError::UnexpectedEnd { offset: 2, wanted: 3, got: 1, .. }), "{error}");
}

#[test]
fn what_is_no_regular_file_is_named_and_never_opened() {
    for room in Room::both() {
        fs::create_dir(room.path("dir")).expect("made");
        // Opening a FIFO for reading would wait for a writer that never comes.
        make_fifo(&room.path("fifo"));
        let _socket = std::os::unix::net::UnixListener::bind(room.path("sock")).expect("bound");
        for (text, kind) in
            [("dir", FileKind::Directory), ("fifo", FileKind::Fifo), ("sock", FileKind::Socket)]
        {
            let error = room.sink.look(&path(text), 0).expect_err("in the way");
            assert!(
                matches!(&error, SinkError::InTheWay { what, path, .. } if *what == kind && *path == room.path(text)),
                "{error}"
            );
            assert_eq!(error.kind(), SinkErrorKind::Policy);
            assert!(error.to_string().contains(&kind.to_string()), "{error}");
        }
    }
}

#[test]
fn a_symlink_is_different_whatever_it_points_to() {
    for room in Room::both() {
        fs::write(room.path("target"), "abc").expect("written");
        symlink("target", room.path("good")).expect("linked");
        symlink("nowhere", room.path("dangling")).expect("linked");
        symlink("loop", room.path("loop")).expect("linked");
        for text in ["good", "dangling", "loop"] {
            let found = room.sink.look(&path(text), 3).expect("looked");
            assert!(matches!(found, Found::Different), "{text}");
        }
    }
}

#[test]
fn an_open_refuses_a_symlink_that_was_swapped_in_after_the_look() {
    use rustix::fs::{Mode, OFlags};
    for room in Room::both() {
        fs::write(room.path("target"), "abc").expect("written");
        symlink("target", room.path("a")).expect("linked");
        let opened = room.sink.root().open(b"a", OFlags::RDONLY, Mode::empty());
        assert_eq!(opened.expect_err("a symlink"), rustix::io::Errno::LOOP);
    }
}

#[test]
fn a_file_that_may_not_be_read_counts_as_different() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    fs::write(room.path("a"), "abc").expect("written");
    fs::set_permissions(room.path("a"), fs::Permissions::from_mode(0o000)).expect("set");
    match room.sink.look(&path("a"), 3).expect("looked") {
        Found::Different => assert!(!rustix::process::geteuid().is_root()),
        Found::SameSize(_) => assert!(rustix::process::geteuid().is_root()),
        Found::Nothing => panic!("it is there"),
    }
}

#[test]
fn an_open_does_not_wait_at_a_fifo_that_was_swapped_in_after_the_look() {
    use rustix::fs::{Mode, OFlags};
    for room in Room::both() {
        make_fifo(&room.path("a"));
        let dir = Arc::clone(room.sink.root());
        let (done, waiting) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(dir.open(b"a", OFlags::RDONLY, Mode::empty())));
        let opened = waiting.recv_timeout(std::time::Duration::from_secs(10));
        opened.expect("returned at once").expect("opened");
    }
}
