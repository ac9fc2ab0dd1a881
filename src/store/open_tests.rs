use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn open(path: &Path) -> Result<Sink, SinkError> {
    Sink::open(path, Existing::Refuse)
}

#[test]
fn a_missing_last_part_of_dir_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let sink = Sink::open(&dir, Existing::Rename).expect("made");
    assert!(dir.is_dir());
    assert_eq!(sink.path(), dir);
    assert_eq!(sink.existing(), Existing::Rename);
    open(&folder.path().join("slash/")).expect("a slash at the end changes nothing");
}

#[test]
fn a_missing_parent_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("no/such");
    let error = open(&dir).expect_err("no parent");
    assert!(matches!(&error, SinkError::NoParent { path } if *path == dir), "{error}");
    assert!(error.to_string().contains("mkdir -p"), "{error}");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn a_file_in_the_place_of_dir_or_its_parent_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("written");
    let error = open(&file).expect_err("a file");
    assert!(matches!(error, SinkError::NotADirectory { what: FileKind::Regular, .. }), "{error}");
    let error = open(&file.join("below")).expect_err("a file above");
    assert!(matches!(error, SinkError::NoParent { .. }), "{error}");
}

#[test]
fn dir_may_be_a_symlink_to_a_directory_but_not_to_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("real")).expect("made");
    let link = folder.path().join("link");
    symlink("real", &link).expect("linked");
    let sink = open(&link).expect("the user's own word");
    let part = sink.part(&path("a"), 0, false).expect("a part");
    part.publish(&metadata(), Existing::Refuse).expect("published");
    assert!(folder.path().join("real/a").is_file());

    let dangling = folder.path().join("dangling");
    symlink("nowhere", &dangling).expect("linked");
    let error = open(&dangling).expect_err("leads nowhere");
    assert!(matches!(error, SinkError::NotADirectory { what: FileKind::Symlink, .. }), "{error}");
}

#[test]
fn a_fifo_in_the_place_of_dir_is_told_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let error = open(&fifo).expect_err("a fifo");
    assert!(matches!(error, SinkError::NotADirectory { what: FileKind::Fifo, .. }), "{error}");
}

#[test]
fn a_directory_without_write_permission_is_told_when_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("locked");
    fs::create_dir(&dir).expect("made");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).expect("set");
    match open(&dir) {
        Err(error) => {
            assert!(matches!(error, SinkError::Permission { .. }), "{error}");
            assert!(error.to_string().contains("permissions"), "{error}");
            assert_eq!(error.path(), dir);
        }
        // Root may write there, and then it must work.
        Ok(sink) => {
            assert!(rustix::process::geteuid().is_root());
            sink.part(&path("a"), 0, false).expect("root may");
        }
    }
}

/// /proc lets nobody make a file: others are told by its mode when opening, root by the first part.
#[cfg(target_os = "linux")]
#[test]
fn a_place_where_nothing_can_be_made_is_a_storage_error_that_names_it() {
    let error = match open(Path::new("/proc")) {
        Err(error) => error,
        Ok(sink) => sink.part(&path("a"), 1, false).expect_err("nothing can be made there"),
    };
    assert_eq!(error.kind(), SinkErrorKind::Storage);
    assert!(error.to_string().contains("/proc"), "{error}");
}

#[test]
fn the_handle_stays_with_the_directory_when_its_path_is_swapped() {
    for room in Room::both() {
        let dir = room.path("dir");
        let sink = open(&dir).expect("made");
        fs::rename(&dir, room.path("moved")).expect("moved");
        fs::create_dir(room.path("elsewhere")).expect("made");
        symlink("elsewhere", &dir).expect("linked");
        let part = sink.part(&path("a"), 0, false).expect("a part");
        part.publish(&metadata(), Existing::Refuse).expect("published");
        assert!(room.path("moved/a").is_file());
        assert!(!room.path("elsewhere/a").exists());
    }
}

#[test]
fn the_kernels_own_fence_is_used_where_it_exists() {
    use rustix::fs::{Mode, OFlags};
    let [fenced, portable] = Room::both();
    fs::create_dir(fenced.path("sub")).expect("made");
    let up = |room: &Room| room.sink.root().open(b"..", OFlags::RDONLY, Mode::empty());
    if cfg!(target_os = "linux") {
        assert_eq!(up(&fenced).expect_err("fenced"), rustix::io::Errno::XDEV);
    }
    // The portable way has no fence but Name, which is the door for every name.
    assert!(up(&portable).is_ok());
}
