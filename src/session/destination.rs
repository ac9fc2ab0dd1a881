//! How a sender recognises the folder that its receiver puts files into, where both run on one machine: it
//! must not send what it has just received, one level deeper each time.
//!
//! The receiver tells a mark: BLAKE3 in its key derivation mode over the boot of this machine, the session,
//! and device and inode of the folder. Whoever does not have that folder before it learns nothing from that.

use std::fs;
use std::sync::OnceLock;

use crate::wire::message::SessionId;

/// Tells one folder of a machine in one session from all others.
pub type Mark = [u8; 16];

/// BLAKE3's context for this use (BLAKE3 specification, section 6.2).
const CONTEXT: &str = "lanx 2026-11-30 mark of the destination";

/// The mark of a folder; `None` where the system does not tell which boot this is, so that machines could be
/// mixed up.
#[must_use]
pub fn mark(session: SessionId, device: u64, inode: u64) -> Option<Mark> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()).as_ref()?;
    Some(mark_of(boot.trim(), session, device, inode))
}

fn mark_of(boot: &str, session: SessionId, device: u64, inode: u64) -> Mark {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&session.0).update(&device.to_le_bytes()).update(&inode.to_le_bytes());
    hasher.update(boot.as_bytes());
    let mut mark = Mark::default();
    hasher.finalize_xof().fill(&mut mark);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_folder_of_one_machine_in_one_session() {
        let (one, other) = (SessionId([1; 16]), SessionId([2; 16]));
        let mark = mark_of("boot", one, 3, 4);
        assert_eq!(mark, mark_of("boot", one, 3, 4));
        let others = [mark_of("boot2", one, 3, 4), mark_of("boot", other, 3, 4), mark_of("boot", one, 4, 3)];
        assert!(!others.contains(&mark));
    }
}
