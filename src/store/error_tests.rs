use rustix::io::Errno;

use super::*;
use crate::store::space::refused;

/// What a system error in the middle of writing becomes.
fn on_write(errno: Errno) -> SinkError {
    let room = Room::new();
    let part = room.filled("a\n", &[1; 10]);
    let file = std::os::fd::AsFd::as_fd(&part.file);
    refused("write", file, 1 << 40, &part.path(), errno)
}

#[test]
fn a_full_disk_and_a_full_quota_are_no_space_and_told_apart() {
    let disk = on_write(Errno::NOSPC);
    let quota = on_write(Errno::DQUOT);
    assert!(disk.is_no_space() && quota.is_no_space());
    assert!(matches!(disk, SinkError::NoSpace { limit: SpaceLimit::Disk, .. }));
    assert!(matches!(quota, SinkError::NoSpace { limit: SpaceLimit::Quota, .. }));
    assert!(quota.to_string().contains("quota"), "{quota}");
    assert!(!disk.to_string().contains("quota"), "{disk}");
    assert!(disk.to_string().contains("1.10 TB needed"), "{disk}");
    let of_stream =
        SinkError::NoSpace { path: "x".into(), needed: 0, free: 0, limit: SpaceLimit::Disk }.to_string();
    assert!(of_stream.contains("no room for x: 0 B free"), "{of_stream}");
}

#[test]
fn each_system_error_gets_the_type_a_user_can_act_on() {
    assert!(matches!(on_write(Errno::FBIG), SinkError::TooLarge { .. }));
    assert!(matches!(on_write(Errno::ROFS), SinkError::ReadOnly { .. }));
    assert!(matches!(on_write(Errno::ACCESS), SinkError::Permission { .. }));
    assert!(matches!(on_write(Errno::PERM), SinkError::Permission { .. }));
    assert!(matches!(on_write(Errno::IO), SinkError::Io { .. }));
    assert!(matches!(on_write(Errno::NAMETOOLONG), SinkError::NameUnstorable { .. }));
}

#[test]
fn every_message_is_one_escaped_line_with_the_path_and_what_to_do() {
    for errno in [Errno::NOSPC, Errno::FBIG, Errno::ROFS, Errno::ACCESS, Errno::IO, Errno::ILSEQ] {
        let error = on_write(errno);
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert!(text.contains(r"/a\n"), "{text}");
        assert!(text.contains("; "), "what to do next: {text}");
        assert!(error.path().ends_with("a\n"));
    }
}
