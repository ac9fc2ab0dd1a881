//! The hashes of what is served: the values of each piece of 4 MiB, by which a client proves what it got and
//! finds what is wrong, and SHA-256 for whoever wants that. They are computed when somebody asks, and kept
//! for as long as the file is the same.
//!
//! What is being sent meanwhile is hashed on its way. All else is read for its hash: a piece at a time, two at
//! most, and one at most for each network of clients. So one that asks for a thousand files waits for itself
//! alone, and nobody waits until a large file is through.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::passing::Passing;
use super::pieces::PIECE_BYTES;
use super::place::{Missing, OpenFile};
use super::validators::Validators;
use crate::content::tree::{ChunkValue, Hash, Stretch, joined};
use crate::limits::CHUNK_BYTES;
use crate::os::background::{aside, yield_to_others};
use crate::os::stamp::Stamp;
use crate::trust::guesses::network_of;

/// Pieces that are hashed at once: a disk is read no faster by more, and others are served meanwhile.
const HASHED_MAX: usize = 2;

/// Networks whose turns are known at once. Those that are not in use go when there are more.
const CLIENTS_MAX: usize = 4096;

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
    turns: Semaphore,
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    /// Where whoever sends a file looks whether its values are wanted.
    pub passing: Arc<Passing>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            files: Mutex::default(),
            turns: Semaphore::new(HASHED_MAX),
            clients: Mutex::default(),
            passing: Arc::default(),
        }
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

    /// Hashes a file for `peer`, unless that was done before. `told` gets the value of each piece as soon as
    /// it is known.
    ///
    /// # Errors
    /// It cannot be read, has changed meanwhile, or nobody waits for it any more.
    pub async fn hash(
        &self,
        peer: IpAddr,
        open: &OpenFile,
        with_sha256: bool,
        told: Option<&mpsc::Sender<io::Result<Bytes>>>,
    ) -> Result<Hashes, Missing> {
        let stamp = open.stamp;
        if let Some(known) = self.of(&stamp).filter(|known| !with_sha256 || known.sha256.is_some()) {
            return Ok(known);
        }
        let own = self.turns_of(peer);
        let passed = (!with_sha256).then(|| self.passing.watch(&stamp));
        let mut hashing = Hashing::new(open, with_sha256);
        while !hashing.is_done() {
            if let Some(passed) = &passed
                && let Some(value) = passed.value(hashing.at).await
            {
                hashing.add(value);
                tell(told, value).await?;
                continue;
            }
            let turn = (own.acquire().await, self.turns.acquire().await);
            let work = move || {
                // Whoever is sent something comes first.
                yield_to_others();
                hashing.piece().map(|value| (hashing, value))
            };
            let (next, value) = aside(work).await.and_then(|hashed| hashed).map_err(Missing::Failed)?;
            drop(turn);
            hashing = next;
            tell(told, value).await?;
        }
        let hashes = hashing.finish().map_err(Missing::Failed)?;
        // Within one tick of its clock a file can change and leave no trace.
        if Validators::of(&stamp, SystemTime::now()).is_strong() {
            self.keep(stamp, hashes.clone());
        }
        Ok(hashes)
    }

    /// One at a time for all who come from there.
    fn turns_of(&self, peer: IpAddr) -> Arc<Semaphore> {
        let mut clients = self.clients.lock();
        if clients.len() >= CLIENTS_MAX {
            clients.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        clients.entry(network_of(peer)).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
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

/// A file that is hashed from its beginning on.
struct Hashing {
    file: Arc<File>,
    stamp: Stamp,
    at: u64,
    values: Vec<u8>,
    pieces: BTreeMap<u64, (u64, ChunkValue)>,
    sha256: Option<digest::Context>,
}

fn changed() -> io::Error {
    io::Error::other("it has changed while it was hashed")
}

async fn tell(told: Option<&mpsc::Sender<io::Result<Bytes>>>, value: ChunkValue) -> Result<(), Missing> {
    let Some(told) = told else { return Ok(()) };
    let sent = told.send(Ok(value.to_vec().into())).await;
    sent.map_err(|_| Missing::Failed(io::Error::other("nobody waits for it any more")))
}

impl Hashing {
    fn new(open: &OpenFile, with_sha256: bool) -> Hashing {
        Hashing {
            file: open.file.clone(),
            stamp: open.stamp,
            at: 0,
            values: Vec::new(),
            pieces: BTreeMap::new(),
            sha256: with_sha256.then(|| digest::Context::new(&digest::SHA256)),
        }
    }

    /// An empty file has one piece as well.
    fn is_done(&self) -> bool {
        self.at >= self.stamp.size && !self.pieces.is_empty()
    }

    /// Hashes the next piece.
    fn piece(&mut self) -> io::Result<ChunkValue> {
        let Stamp { size, .. } = self.stamp;
        let bytes = PIECE_BYTES.min(size - self.at);
        let mut stretch = Stretch::new(size, self.at, bytes).ok_or_else(changed)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut done = 0;
        while done < bytes {
            let most = usize::try_from(bytes - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            self.file.read_exact_at(now, self.at + done)?;
            stretch.update(now);
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(now);
            }
            done += most as u64;
        }
        // Behind the read: whatever was written before it was done has moved a time or the size.
        if Stamp::of(&rustix::fs::fstat(&*self.file)?) != self.stamp {
            return Err(changed());
        }
        let value = stretch.value();
        self.add(value);
        Ok(value)
    }

    /// That of the next piece is known.
    fn add(&mut self, value: ChunkValue) {
        let bytes = PIECE_BYTES.min(self.stamp.size - self.at);
        self.values.extend_from_slice(&value);
        self.pieces.insert(self.at, (bytes, value));
        self.at += bytes;
    }

    fn finish(self) -> io::Result<Hashes> {
        let blake3 = joined(self.stamp.size, &self.pieces).ok_or_else(changed)?;
        let sha256 = self.sha256.and_then(|sha256| sha256.finish().as_ref().try_into().ok());
        Ok(Hashes { blake3, values: self.values.into(), sha256 })
    }
}
