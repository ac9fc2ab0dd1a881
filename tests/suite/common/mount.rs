//! File systems that are mounted for a test. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs of `bytes`.
    pub fn tmpfs(at: &Path, bytes: usize) -> Mount {
        let size = format!("size={bytes},mode=0755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "lanx-test"]).arg(at).status();
        assert!(status.unwrap().success(), "cannot mount; this test needs root");
        Mount(at.to_owned())
    }

    /// An ext4 of `bytes` in the file `image`, where space can be taken ahead.
    pub fn ext4(image: &Path, at: &Path, bytes: usize) -> Mount {
        let made = Mount::made(&["mkfs.ext4", "-q", "-F", "-m", "0"], image, bytes);
        assert!(made, "this test needs mkfs.ext4");
        Mount::image(image, at).expect("cannot mount; this test needs root and loop devices")
    }

    /// Makes a file system of `bytes` in the file `image`. False where this machine cannot.
    pub fn made(mkfs: &[&str], image: &Path, bytes: usize) -> bool {
        fs::File::create(image).unwrap().set_len(bytes as u64).unwrap();
        let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(image).output();
        made.is_ok_and(|made| made.status.success())
    }

    /// The file system in the file `image`. None where this user may not mount it.
    pub fn image(image: &Path, at: &Path) -> Option<Mount> {
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Mount(at.to_owned()))
    }

    /// Unmounts it, so that all is in the image that was changed.
    pub fn unmount(self) {
        let status = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(status.success(), "it is in use");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
