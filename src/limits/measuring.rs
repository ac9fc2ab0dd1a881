//! What `lanx doctor` measures with.

use std::time::Duration;

/// Numbers of data connections that are measured, one after another.
pub const PROBE_CONNECTIONS: [u8; 4] = [1, 2, 4, 8];

/// For how long probes travel before they count: TCP has found its speed by then on any local network.
pub const PROBE_WARM_UP: Duration = Duration::from_millis(300);

/// For how long they count: a dozen of the receiver's words about its progress.
pub const PROBE_TIME: Duration = Duration::from_millis(1200);

/// How long the receiver's words are waited for where they come too seldom to say anything, as on a link of a few Mbit/s.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of probes in one session: more than 100 Gbit/s carry in the time of all phases.
pub const PROBE_BYTES_MAX: u64 = 128 << 30;

/// How long probes may come at a receiver: twice what all phases take at most, with connections that are slow to open.
pub const PROBE_SESSION_MAX: Duration = Duration::from_secs(60);

/// For how long a program that is asked to measures its hashing, and its sealing.
pub const KERNEL_TIME: Duration = Duration::from_millis(150);

/// The same at a receiver, whose other sessions wait for the core.
pub const KERNEL_TIME_BRIEF: Duration = Duration::from_millis(4);

/// The longest file that a disk is tried with: enough for the caches of most disks to matter little, and soon written.
pub const DISK_TRIAL_BYTES_MAX: u64 = 512 << 20;

/// Of the free space a trial takes one part in so many at most.
pub const DISK_TRIAL_SHARE: u64 = 10;

/// What a trial writes before it counts, and then before it first waits for the disk. Each later piece is as long as all
/// before it.
pub const DISK_TRIAL_PIECE_BYTES: u64 = 4 << 20;

/// After so long no further piece is begun.
pub const DISK_TRIAL_TIME: Duration = Duration::from_millis(1500);
