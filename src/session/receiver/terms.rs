//! How files are received in a session.

use crate::content::compress::Codecs;

/// How files are received in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub diligence: Diligence,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Of a file that differs from an existing one only what differs is sent.
    pub delta: bool,
    /// There are no files, but probes.
    pub measure: bool,
    /// What chunks may be compressed with.
    pub codecs: Codecs,
}

/// What must have happened to a file before the sender hears that it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diligence {
    /// Data, name and folder are on the device.
    pub sync: bool,
    /// It was read back from the device and had the right hash.
    pub reread: bool,
}

impl Diligence {
    /// Whether there is anything to wait for.
    pub fn takes_time(self) -> bool {
        self.sync || self.reread
    }
}
