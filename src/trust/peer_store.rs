//! The remembered machines on disk.
//!
//! `peers.toml` is replaced as a whole, so a reader sees one state or the next and needs no lock. Whoever
//! changes it holds `peers.lock` (flock(2)) from reading to replacing, so that two processes do not lose each
//! other's entries. The lock is a file of its own, as the other one gets a new inode with each change.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::dir;
use super::dir::{ConfigDir, Draft, FileError, Guard};
use super::fingerprint::Fingerprint;
use super::peers::{Peer, Peers, PeersError, Rights};
use crate::limits;

/// The file in the configuration folder.
pub const FILE_NAME: &str = "peers.toml";
const LOCK_NAME: &str = "peers.lock";

/// The remembered machines of one configuration folder.
#[derive(Debug, Clone)]
pub struct PeerStore {
    file: PathBuf,
    lock: PathBuf,
    /// What was read last, and what the file was then: whoever comes costs a look at it, and not that it is
    /// understood anew, also where it is damaged.
    read: Arc<Mutex<Option<(Stamp, Understood)>>>,
}

/// What a file says, or why it says nothing. Shared, as a full list is long.
type Understood = Result<Arc<Peers>, PeersError>;

/// What tells whether a file that is replaced as a whole is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Stamp> {
        let stat = std::fs::symlink_metadata(file).ok()?;
        Some(Stamp {
            device: stat.dev(),
            inode: stat.ino(),
            bytes: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        })
    }
}

/// Why the remembered machines cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum PeerStoreError {
    /// The file or the lock cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what lanx wrote.
    #[error("{} cannot be understood: {what}; repair it, or move it away and pair again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        what: PeersError,
    },
    /// The file is one of a later lanx, and nothing is wrong with it.
    #[error("{} cannot be read: {what}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        what: PeersError,
    },
    /// Another process holds the lock.
    #[error("another lanx has been changing {} for {} s; end it and try again", .0.display(), limits::PEERS_LOCK_WAIT_MILLIS / 1000)]
    Locked(PathBuf),
    /// The change itself is refused.
    #[error(transparent)]
    Refused(#[from] PeersError),
}

impl PeerStore {
    /// The store in `folder`. Nothing is read yet.
    pub fn new(folder: &ConfigDir) -> Self {
        Self {
            file: folder.path().join(FILE_NAME),
            lock: folder.path().join(LOCK_NAME),
            read: Arc::default(),
        }
    }

    /// What is remembered now. Nothing, if there is no file yet.
    ///
    /// # Errors
    /// The file cannot be read, others can change it, it is too large, or anything in it is not understood.
    pub fn load(&self) -> Result<Arc<Peers>, PeerStoreError> {
        let stamp = Stamp::of(&self.file);
        let read = self.read.lock().clone().filter(|(before, _)| stamp == Some(*before));
        let understood = match read {
            Some((_, understood)) => understood,
            None => {
                let understood = self.load_anew()?;
                // Looked at before it was read: if it was replaced in between, the next look says so.
                *self.read.lock() = stamp.map(|stamp| (stamp, understood.clone()));
                understood
            }
        };
        understood.map_err(|what| match what {
            PeersError::Format(_) => PeerStoreError::Newer { path: self.file.clone(), what },
            what => PeerStoreError::Damaged { path: self.file.clone(), what },
        })
    }

    fn load_anew(&self) -> Result<Understood, FileError> {
        let bytes = match dir::read(&self.file, Guard::Trusted, limits::PEERS_FILE_MAX_BYTES) {
            Err(error) if error.is_not_found() => return Ok(Ok(Arc::default())),
            other => other?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| PeersError::not_text(&bytes, error));
        Ok(text.and_then(Peers::from_toml).map(Arc::new))
    }

    /// [`Peers::remember_peer`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn remember_peer(
        &self,
        fingerprint: Fingerprint,
        name: &str,
        address: &str,
        now_unix_seconds: u64,
    ) -> Result<(), PeerStoreError> {
        self.change(|peers| peers.remember_peer(fingerprint, name, address, now_unix_seconds))
    }

    /// [`Peers::rename_peer`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn rename_peer(&self, wanted: &str, name: &str) -> Result<Peer, PeerStoreError> {
        self.change(|peers| peers.rename_peer(wanted, name))
    }

    /// [`Peers::note_seen`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn note_seen(
        &self,
        fingerprint: &Fingerprint,
        address: &str,
        now_unix_seconds: u64,
    ) -> Result<(), PeerStoreError> {
        self.change(|peers| peers.note_seen(fingerprint, address, now_unix_seconds))
    }

    /// [`Peers::change_rights`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn change_rights(
        &self,
        wanted: &str,
        change: impl FnOnce(&mut Rights),
    ) -> Result<Peer, PeerStoreError> {
        self.change(|peers| peers.change_rights(wanted, change))
    }

    /// [`Peers::prune`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn prune(&self, then_unix_seconds: u64, now_unix_seconds: u64) -> Result<Vec<Peer>, PeerStoreError> {
        self.change(|peers| Ok(peers.prune(then_unix_seconds, now_unix_seconds)))
    }

    /// [`Peers::remove_peer`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn remove_peer(&self, wanted: &str) -> Result<Peer, PeerStoreError> {
        self.change(|peers| peers.remove_peer(wanted))
    }

    /// [`Peers::remember_host`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn remember_host(&self, address: &str, fingerprint: Fingerprint) -> Result<(), PeerStoreError> {
        self.change(|peers| peers.remember_host(address, fingerprint))
    }

    /// [`Peers::forget_host`], on disk when it returns.
    ///
    /// # Errors
    /// See [`PeerStoreError`].
    pub fn forget_host(&self, address: &str) -> Result<bool, PeerStoreError> {
        self.change(|peers| Ok(peers.forget_host(address)))
    }

    /// Reads, changes and replaces the file while holding the lock.
    fn change<Out>(
        &self,
        change: impl FnOnce(&mut Peers) -> Result<Out, PeersError>,
    ) -> Result<Out, PeerStoreError> {
        let _lock = self.acquire(Duration::from_millis(limits::PEERS_LOCK_WAIT_MILLIS))?;
        let before = self.load()?;
        let mut after = Peers::clone(&before);
        let out = change(&mut after)?;
        // A sender that comes again from the same address changes nothing, and needs no write.
        if after != *before {
            let text = after.to_toml()?;
            Draft::write(&self.file, text.as_bytes())?.publish_over(&self.file)?;
        }
        Ok(out)
    }

    /// Takes the lock, which ends when the file is dropped. flock(2) cannot wait with a bound, so it is asked
    /// again and again.
    fn acquire(&self, patience: Duration) -> Result<File, PeerStoreError> {
        let file = open_lock(&self.lock).map_err(FileError::io("open", &self.lock))?;
        let end = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(FileError::io("lock", &self.lock)(error.into()).into()),
            }
            if Instant::now() >= end {
                return Err(PeerStoreError::Locked(self.file.clone()));
            }
            std::thread::sleep(Duration::from_millis(limits::PEERS_LOCK_RETRY_MILLIS));
        }
    }
}

/// The lock has no content, so nothing is lost by leaving what is there.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::trust::peers::HostKey;

    fn store() -> (tempfile::TempDir, PeerStore) {
        let base = tempfile::tempdir().unwrap();
        let store = PeerStore::new(&ConfigDir::at(&base.path().join("lanx")).unwrap());
        (base, store)
    }

    fn key(byte: u8) -> Fingerprint {
        Fingerprint([byte; 32])
    }

    #[test]
    fn what_was_remembered_is_there_for_the_next_process() {
        let (_base, store) = store();
        assert_eq!(*store.load().unwrap(), Peers::default());
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        store.remember_host("nas:1", key(2)).unwrap();
        store.rename_peer("laptop", "mine").unwrap();
        let next = store.clone().load().unwrap();
        assert!(next.is_paired(&key(1)));
        assert_eq!(next.senders()[0].name, "mine");
        assert_eq!(next.host("nas:1", &key(2)), HostKey::Same);
        assert_eq!(fs::metadata(&store.file).unwrap().mode() & 0o777, 0o600);

        assert_eq!(store.remove_peer("mine").unwrap().fingerprint, key(1));
        assert!(store.forget_host("nas:1").unwrap());
        assert_eq!(*store.load().unwrap(), Peers::default());
    }

    #[test]
    fn the_list_is_understood_once_and_a_change_by_another_process_is_seen() {
        let (base, store) = store();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        let first = store.load().unwrap();
        assert!(Arc::ptr_eq(&first, &store.clone().load().unwrap()));

        let other = PeerStore::new(&ConfigDir::at(&base.path().join("lanx")).unwrap());
        other.remove_peer("laptop").unwrap();
        assert!(!store.load().unwrap().is_paired(&key(1)));
        fs::remove_file(&store.file).unwrap();
        assert_eq!(*store.load().unwrap(), Peers::default());
    }

    #[test]
    fn changes_made_at_the_same_time_are_all_kept() {
        let (_base, store) = store();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for entry in 0..8 {
                        let key = key(thread * 8 + entry);
                        store.remember_peer(key, "laptop", "10.0.0.1", 5).unwrap();
                    }
                });
            }
        });
        let peers = store.load().unwrap();
        assert!((0..64).all(|byte| peers.is_paired(&key(byte))));
        assert_eq!(peers.senders().len(), 64);
    }

    #[test]
    fn damage_is_an_error_with_the_path_and_no_change_writes_over_it() {
        let (_base, store) = store();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        let good = fs::read_to_string(&store.file).unwrap();
        let unknown = format!("surprise = true\n{good}");
        for bad in [&b""[..], b"\xff", unknown.as_bytes(), &good.as_bytes()[..good.len() - 3]] {
            fs::write(&store.file, bad).unwrap();
            for error in [store.load().unwrap_err(), store.remember_peer(key(2), "x", "a:1", 0).unwrap_err()]
            {
                assert!(matches!(error, PeerStoreError::Damaged { .. }), "{error}");
                assert!(error.to_string().contains(&store.file.display().to_string()), "{error}");
            }
            assert_eq!(fs::read(&store.file).unwrap(), bad);
        }
    }

    #[test]
    fn a_file_of_a_newer_lanx_is_told_from_a_damaged_one_and_left_alone() {
        let (_base, store) = store();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        let newer = fs::read_to_string(&store.file).unwrap().replace("format = 1", "format = 3\nlater = 1");
        fs::write(&store.file, &newer).unwrap();
        for error in [store.load().unwrap_err(), store.remember_peer(key(2), "x", "a:1", 0).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("peers.toml cannot be read: a newer lanx wrote it"), "{text}");
        }
        assert_eq!(fs::read_to_string(&store.file).unwrap(), newer);
    }

    #[test]
    fn a_file_that_is_too_large_or_that_others_can_change_is_refused() {
        let (_base, store) = store();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        fs::set_permissions(&store.file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(store.load().unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&store.file, fs::Permissions::from_mode(0o600)).unwrap();
        let long = vec![b'#'; limits::PEERS_FILE_MAX_BYTES + 1];
        fs::write(&store.file, long).unwrap();
        let error = store.load().unwrap_err();
        assert!(matches!(error, PeerStoreError::File(FileError::TooLong { .. })), "{error}");
    }

    #[test]
    fn a_lock_that_is_held_is_waited_for_and_then_reported() {
        let (_base, store) = store();
        let held = store.acquire(Duration::ZERO).unwrap();
        let error = store.acquire(Duration::ZERO).unwrap_err();
        assert!(matches!(error, PeerStoreError::Locked(_)), "{error}");
        drop(held);
        assert!(store.acquire(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_change_that_is_refused_or_changes_nothing_leaves_the_file_alone() {
        let (_base, store) = store();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 5).unwrap();
        let inode = fs::metadata(&store.file).unwrap().ino();
        store.remember_peer(key(1), "laptop", "10.0.0.1", 9).unwrap();
        assert!(store.remove_peer("nobody").is_err());
        assert_eq!(fs::metadata(&store.file).unwrap().ino(), inode);
        store.remember_peer(key(1), "laptop", "10.0.0.2", 9).unwrap();
        assert_ne!(fs::metadata(&store.file).unwrap().ino(), inode);
    }
}
