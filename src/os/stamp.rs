//! What tells one state of a file from every other.

use rustix::fs::Stat;

/// What tells whether a file is still the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime_seconds: i64,
    pub mtime_nanos: i64,
    /// The change time proves no change by itself: a backup that links the file, a chmod or a rename moves
    /// it, too. But nobody can put it back, so while it stands still, nothing was written.
    pub ctime_seconds: i64,
    pub ctime_nanos: i64,
}

impl Stamp {
    /// Whether it is the same file with the same bytes, whatever else has changed of it.
    pub fn has_content_of(&self, other: &Stamp) -> bool {
        let content =
            |stamp: &Stamp| (stamp.device, stamp.inode, stamp.size, stamp.mtime_seconds, stamp.mtime_nanos);
        content(self) == content(other)
    }

    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)] // The widths differ by system.
    pub fn of(stat: &Stat) -> Stamp {
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime_seconds: stat.st_mtime as i64,
            mtime_nanos: stat.st_mtime_nsec as i64,
            ctime_seconds: stat.st_ctime as i64,
            ctime_nanos: stat.st_ctime_nsec as i64,
        }
    }
}
