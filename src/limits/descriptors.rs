//! What may be done with the files that a process may have open (`ulimit -n`), where those are few.

use std::time::Duration;

/// Files that must be allowed to be open at least. A transfer of one file at a time was seen to need 20 at either end; below 8
/// the runtime that hears signals cannot even begin, and in between files fail one by one, and some transfers hang.
pub const DESCRIPTORS_MIN: u64 = 32;

/// Files that may be open for each stranger: it takes two descriptors, and half of all is for those who belong.
pub const DESCRIPTORS_PER_STRANGER: u64 = 4;

/// Files that may be open for each transfer: 16 large files, its connections, folders and files that are open for moments, and those who
/// wait. With two transfers of large files at 64 some failed.
pub const DESCRIPTORS_PER_TRANSFER: u64 = 48;

/// Files that may be open for each folder that is held open: those are a convenience, and may take an eighth.
pub const DESCRIPTORS_PER_FOLDER_HANDLE: u64 = 8;

/// Files that may be open for each one that waits for the device: while a batch does the next one gathers, and each may hold
/// its folder.
pub const DESCRIPTORS_PER_FINISHED_FILE: u64 = 32;

/// How long a file is waited for to be closed where no more may be open: those of a session are open for moments.
pub const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(1);

/// How long nothing is waited for after that was in vain: each of many files would.
pub const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(10);

/// How often it is tried meanwhile.
pub const DESCRIPTOR_LOOK: Duration = Duration::from_millis(2);
