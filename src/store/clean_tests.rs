use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn part_files_are_found_in_all_folders_and_nothing_else_is() {
    for room in Room::both() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join(part_of("x")), "theirs").expect("written");
        symlink(outside.path(), room.path("out")).expect("linked");
        symlink("a", room.path(part_of("link"))).expect("linked");
        room.made(&part_of("folder"));
        let deep = vec!["d"; 200].join("/");
        for text in ["a", "b/a", &format!("{deep}/a")] {
            drop(room.filled(text, &[1; 10]));
        }
        room.made("sub");
        fs::write(room.path("sub/file"), "x").expect("written");
        let used = room.filled("sub/used", b"x");
        let found = room.sink.part_files().expect("looked");
        assert!(found.unread.is_empty());
        let paths: Vec<_> = found.parts.iter().map(|part| part.path.clone()).collect();
        let deep = format!("{deep}/{}", part_of("a"));
        let a = part_of("a");
        let expected = [a.clone(), format!("b/{a}"), deep, format!("sub/{}", part_of("used"))];
        assert_eq!(paths, expected.map(|text| room.path(text)));
        for part in &found.parts {
            let expected = if part.path == used.part_path() { Removal::InUse } else { Removal::Removed };
            assert_eq!(room.sink.remove_part(part).expect("tried"), expected);
        }
        assert_eq!(room.sink.remove_part(&found.parts[0]).expect("tried"), Removal::Gone);
        assert_eq!(room.sink.part_files().expect("looked").parts.len(), 1);
        assert!(outside.path().join(part_of("x")).exists());
        drop(used);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_may_not_be_read_is_told_and_the_others_are_looked_through() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    drop(room.filled("open/a", b"x"));
    room.made("closed");
    fs::set_permissions(room.path("closed"), fs::Permissions::from_mode(0o000)).expect("set");
    if rustix::process::geteuid().is_root() {
        for text in [".", "open", &format!("open/{}", part_of("a"))] {
            std::os::unix::fs::chown(room.path(text), Some(12345), None).expect("root may");
        }
    }
    as_a_user(|| {
        let found = room.sink.part_files().expect("looked");
        assert_eq!((found.parts.len(), found.unread.len()), (1, 1));
        assert_eq!(found.unread[0].path(), room.path("closed"));
    });
}

#[test]
fn the_folder_of_a_trial_goes_when_it_is_old_with_nothing_of_others_in_it() {
    let room = Room::new();
    let trial = |hex: &str, file: &str| {
        let text = format!(".try-{hex}.lanx-part");
        room.made(&text);
        fs::write(room.path(format!("{text}/CON")), file).expect("written");
        room.path(text)
    };
    let (empty, full) = (trial("0123456789abcdef", ""), trial("0123456789abcdee", "theirs"));
    trial("0123", "");
    let found = || room.sink.part_files().expect("looked").parts;
    let mut parts = found();
    assert_eq!(parts.iter().map(|part| &part.path).collect::<Vec<_>>(), [&full, &empty]);
    assert_eq!(room.sink.remove_part(&parts[1]).expect("tried"), Removal::InUse);
    for folder in [&empty, &full] {
        let hour = SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(folder).and_then(|open| open.set_modified(hour)).expect("set");
    }
    parts = found();
    assert_eq!(room.sink.remove_part(&parts[1]).expect("tried"), Removal::Removed);
    assert_eq!(room.sink.remove_part(&parts[0]).unwrap_err().path(), full);
    assert!(!empty.exists() && full.join("CON").exists());
}
