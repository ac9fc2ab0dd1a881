use std::os::unix::fs::MetadataExt;

use super::*;
use crate::content::entry::{Archive, Attributes};

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped("only root may");
    }
    is_root
}

fn archive(uid: u32, gid: u32, attributes: &[(&str, &[u8])]) -> Metadata {
    let attribute = |(name, value): &(&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
    let attributes: Vec<_> = attributes.iter().map(attribute).collect();
    let attributes = Attributes::new(&attributes).unwrap();
    let archive = Some(Arc::new(Archive { uid, gid, attributes }));
    Metadata { mode: 0o106_755, archive, ..metadata() }
}

fn ours() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn publish(room: &Room, text: &str, metadata: &Metadata) {
    room.age();
    let sink = room.again(Existing::Overwrite);
    let part = sink.part(&path(text), 1, false).expect("a part");
    part.write_at(b"x", 0).expect("written");
    part.publish(metadata, Existing::Overwrite).expect("published");
}

#[cfg(target_os = "linux")]
fn attribute(room: &Room, text: &str, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(4096);
    rustix::fs::lgetxattr(room.path(text), name, rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(value)
}

#[test]
fn owner_and_special_bits_come_together_and_only_for_root() {
    let room = Room::new();
    let (uid, gid) = ours();
    publish(&room, "file", &archive(12345, 23456, &[]));
    room.sink.folder(Some(&path("folder")), &archive(12345, 23456, &[])).expect("made");
    for text in ["file", "folder"] {
        let meta = entry(&room, text);
        let got = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
        let expected = if is_root() { (12345, 23456, 0o6755) } else { (uid, gid, 0o755) };
        assert_eq!(got, expected, "{text}");
    }
    assert_eq!(entry(&room, "file").mtime(), 1_000_000_000);
}

/// To chown(2) that number means that the owner stays, and it would succeed.
#[test]
fn an_owner_that_cannot_be_set_leaves_no_setuid_file_of_ours() {
    let room = Room::new();
    let (ours, _) = ours();
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
        publish(&room, "a", &archive(uid, gid, &[]));
        room.sink.symlink(&path("link"), b"t", &archive(uid, gid, &[])).expect("made");
        let meta = entry(&room, "a");
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (ours, 0o755));
        assert_eq!(entry(&room, "link").uid(), ours);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn whoever_is_not_root_takes_neither_owner_nor_special_bits() {
    let room = Room::new();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(room.folder.path(), Some(12345), None).expect("root may");
    }
    as_a_user(|| {
        publish(&room, "a", &archive(0, 0, &[("trusted.x", b"1"), ("user.x", b"2")]));
        let folder = Metadata { mode: 0o555, ..archive(0, 0, &[("user.x", b"3")]) };
        for _ in 0..2 {
            room.sink.folder(Some(&path("folder")), &folder).expect("made, then dressed while read-only");
        }
    });
    let meta = entry(&room, "a");
    assert_eq!(meta.mode() & 0o7777, 0o755);
    assert_ne!(meta.uid(), 0);
    assert_eq!(attribute(&room, "a", "trusted.x"), None);
    assert_eq!(entry(&room, "folder").mode() & 0o7777, 0o555);
    if let Some(value) = attribute(&room, "a", "user.x") {
        assert_eq!((value, attribute(&room, "folder", "user.x")), (b"2".to_vec(), Some(b"3".to_vec())));
    }
}

#[test]
fn the_owner_of_a_symlink_is_its_own() {
    let room = Room::new();
    fs::write(room.path("target"), "x").expect("written");
    room.sink.symlink(&path("link"), b"target", &archive(12345, 23456, &[])).expect("made");
    if is_root() {
        assert_eq!((entry(&room, "link").uid(), entry(&room, "link").gid()), (12345, 23456));
    }
    assert_eq!(entry(&room, "target").uid(), ours().0);
    assert_ne!(entry(&room, "target").mtime(), 1_000_000_000);
}

/// Attributes of any bytes, at files and folders; a namespace that is refused or unknown fails nothing.
#[cfg(target_os = "linux")]
#[test]
fn attributes_arrive_and_those_refused_do_not_hurt() {
    let room = Room::new();
    let (uid, gid) = ours();
    let long = vec![b'v'; 2000];
    let odd = [
        ("user.empty", &b""[..]),
        ("user.bytes", b"\0\xff\n"),
        ("user.long", &long),
        ("nonsense", b"x"),
        ("system.nonsense", b"x"),
        ("unknown.x", b"x"),
        ("trusted.lanx", b"t"),
    ];
    publish(&room, "file", &archive(uid, gid, &odd));
    room.sink.folder(Some(&path("folder")), &archive(uid, gid, &odd)).expect("made");
    let probe = rustix::fs::setxattr(room.path("file"), "user.probe", b"1", rustix::fs::XattrFlags::empty());
    for text in ["file", "folder"] {
        assert_eq!(entry(&room, text).mtime(), 1_000_000_000);
        if probe.is_err() {
            skipped("this file system has no attributes");
            continue;
        }
        for (name, value) in odd.iter().take(3) {
            assert_eq!(attribute(&room, text, name).as_deref(), Some(*value), "{name} of {text}");
        }
        assert_eq!(attribute(&room, text, "system.nonsense"), None);
        if is_root() {
            assert_eq!(attribute(&room, text, "trusted.lanx").as_deref(), Some(&b"t"[..]));
        }
    }
    let kinds = room.sink.root().place().refused.load(std::sync::atomic::Ordering::Relaxed);
    assert_ne!(kinds, 0, "the user was told of what was refused");
}

/// An access control list as the kernel stores it: version 2, then tag, permissions, ID for each entry.
#[cfg(target_os = "linux")]
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[cfg(target_os = "linux")]
#[test]
fn an_access_control_list_and_the_mode_agree_as_they_did_at_the_sender() {
    const ANY: u32 = u32::MAX;
    let room = Room::new();
    let (uid, gid) = ours();
    // user::rw-, user:12345:rwx, group::r--, mask::rwx, other::---
    let list = acl(&[(1, 6, ANY), (2, 7, 12345), (4, 4, ANY), (16, 7, ANY), (32, 0, ANY)]);
    let (access, default) = ("system.posix_acl_access", "system.posix_acl_default");
    let wanted = Metadata { mode: 0o670, ..archive(uid, gid, &[(access, &list), (default, &list)]) };
    publish(&room, "file", &wanted);
    room.sink.folder(Some(&path("folder")), &wanted).expect("made");
    if attribute(&room, "file", access).is_none() {
        skipped("this file system has no access control lists");
        return;
    }
    for text in ["file", "folder"] {
        assert_eq!(attribute(&room, text, access), Some(list.clone()));
        assert_eq!(entry(&room, text).mode() & 0o7777, 0o670);
    }
    assert_eq!(attribute(&room, "folder", default), Some(list));
    assert_eq!(attribute(&room, "file", default), None);

    // What the folder hands on is not what the sender has: then the sender's counts.
    publish(&room, "folder/plain", &Metadata { mode: 0o640, ..archive(uid, gid, &[]) });
    room.sink
        .folder(Some(&path("folder/in")), &Metadata { mode: 0o750, ..archive(uid, gid, &[]) })
        .expect("made");
    for text in ["folder/plain", "folder/in"] {
        assert_eq!(attribute(&room, text, access), None, "{text}");
        assert_eq!(attribute(&room, text, default), None, "{text}");
    }
    assert_eq!(entry(&room, "folder/plain").mode() & 0o7777, 0o640);
}
