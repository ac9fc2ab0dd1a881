//! What kind of file system something is on.

use std::os::fd::AsFd;

/// NFS, CIFS as it was and is, SMB, 9P, Ceph, AFS, Lustre, GPFS, FUSE, BeeGFS, OrangeFS and the shared
/// folders of VirtualBox: numbers from linux/magic.h, and of those that are not there from their own headers.
#[cfg(target_os = "linux")]
const SHARED: [u64; 13] = [
    0x6969,
    0xFF53_4D42,
    0xFE53_4D42,
    0x517B,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x0BD0_0BD0,
    0x4750_4653,
    0x6573_5546,
    0x1983_0326,
    0x2003_0528,
    0x786F_4256,
];

/// Whether other machines may have it as well. One that is in user space may be anything.
#[cfg(target_os = "linux")]
#[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)] // The widths differ by system.
pub fn is_shared(fd: impl AsFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|fs| SHARED.contains(&(fs.f_type as u64 & 0xFFFF_FFFF)))
}

#[cfg(not(target_os = "linux"))]
pub fn is_shared(_: impl AsFd) -> bool {
    false
}
