//! The hashes of what is served: the values of each piece of 4 MiB, by which a client proves what it got and finds what is wrong, and
//! SHA-256 for whoever wants that. They are computed when somebody asks, by few at once, and kept for as long as the file is the same.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::pieces::PIECE_BYTES;
use super::place::{Missing, OpenFile};
use super::validators::Validators;
use crate::content::tree::{Hash, Stretch, joined};
use crate::limits::CHUNK_BYTES;
use crate::os::background::aside;
use crate::os::stamp::Stamp;

/// Files that are hashed at once: a disk is read no faster by more, and others are served meanwhile.
const HASHED_MAX: usize = 2;

/// Bytes of values that are kept: those of 2 TiB. The largest files go first.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Files whose hashes are kept.
const KEPT_FILES_MAX: usize = 10_000;

/// What is known of a file in one state of it.
#[derive(Clone, Debug)]
pub struct Hashes {
    pub blake3: Hash,
    /// One of 32 bytes for each piece.
    pub values: Bytes,
    pub sha256: Option<[u8; 32]>,
}

/// All that is known.
#[derive(Debug)]
pub struct Known {
    files: Mutex<BTreeMap<(u64, u64), (Stamp, Hashes)>>,
    turns: Arc<Semaphore>,
}

impl Default for Known {
    fn default() -> Known {
        Known { files: Mutex::default(), turns: Arc::new(Semaphore::new(HASHED_MAX)) }
    }
}

impl Known {
    /// What is known of a file that is as this says.
    #[must_use]
    pub fn of(&self, stamp: &Stamp) -> Option<Hashes> {
        let files = self.files.lock();
        let (known, hashes) = files.get(&(stamp.device, stamp.inode))?;
        (known == stamp).then(|| hashes.clone())
    }

    /// Hashes a file, unless that was done before. It ends when nobody waits for it any more.
    ///
    /// # Errors
    /// It cannot be read, or has changed meanwhile.
    pub async fn hash(&self, open: &OpenFile, with_sha256: bool) -> Result<Hashes, Missing> {
        let stamp = open.stamp;
        if let Some(known) = self.of(&stamp).filter(|known| !with_sha256 || known.sha256.is_some()) {
            return Ok(known);
        }
        let turn = self.turns.clone().acquire_owned().await;
        let file = open.file.clone();
        let (waits, watched) = oneshot::channel::<()>();
        let work = move || {
            let _turn = turn;
            read(&file, &stamp, with_sha256, &|| !waits.is_closed())
        };
        let hashes = aside(work).await.and_then(|hashes| hashes).map_err(Missing::Failed)?;
        drop(watched);
        // Within one tick of its clock a file can change and leave no trace.
        if Validators::of(&stamp, SystemTime::now()).is_strong() {
            self.keep(stamp, hashes.clone());
        }
        Ok(hashes)
    }

    fn keep(&self, stamp: Stamp, hashes: Hashes) {
        let mut files = self.files.lock();
        files.insert((stamp.device, stamp.inode), (stamp, hashes));
        let bytes = |files: &BTreeMap<_, (Stamp, Hashes)>| -> usize {
            files.values().map(|(_, hashes)| hashes.values.len()).sum()
        };
        while files.len() > KEPT_FILES_MAX || bytes(&files) > KEPT_BYTES_MAX {
            let largest = files.iter().max_by_key(|(_, (_, hashes))| hashes.values.len());
            let Some(key) = largest.map(|(key, _)| *key) else { break };
            files.remove(&key);
        }
    }
}

fn read(
    file: &std::fs::File,
    stamp: &Stamp,
    with_sha256: bool,
    go_on: &dyn Fn() -> bool,
) -> std::io::Result<Hashes> {
    let changed = || std::io::Error::other("it has changed while it was hashed");
    let mut sha256 = with_sha256.then(|| digest::Context::new(&digest::SHA256));
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut stretches, mut values) = (BTreeMap::new(), Vec::new());
    let mut at = 0;
    while at < stamp.size || stretches.is_empty() {
        let bytes = PIECE_BYTES.min(stamp.size - at);
        let mut stretch = Stretch::new(stamp.size, at, bytes).ok_or_else(changed)?;
        let mut done = 0;
        while done < bytes {
            if !go_on() {
                return Err(std::io::Error::other("nobody waits for it any more"));
            }
            let most = usize::try_from(bytes - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            file.read_exact_at(now, at + done)?;
            stretch.update(now);
            if let Some(sha256) = &mut sha256 {
                sha256.update(now);
            }
            done += most as u64;
        }
        values.extend_from_slice(&stretch.value());
        stretches.insert(at, (bytes, stretch.value()));
        at += bytes;
    }
    if Stamp::of(&rustix::fs::fstat(file)?) != *stamp {
        return Err(changed());
    }
    let blake3 = joined(stamp.size, &stretches).ok_or_else(changed)?;
    let sha256 = sha256.and_then(|sha256| sha256.finish().as_ref().try_into().ok());
    Ok(Hashes { blake3, values: values.into(), sha256 })
}
