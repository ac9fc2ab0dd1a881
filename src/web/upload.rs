//! Files that clients put here: through the same store as those of `lanx recv`, so that a name stands for what was there before
//! or for all of the new file.
//!
//! A thread for each upload writes and hashes what the connection hands it, so a slow disk holds up nobody else. What ends
//! short, or is not what its digest says, leaves a part file at most and no name.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::header::{self, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::content::entry::Metadata;
use crate::content::tree::Hash;
use crate::limits::CHUNK_BYTES;
use crate::name::RelativePath;
use crate::store::{
    Existing, ExistingFile, Folder, Found, Owner, Part, Published, Sink, SinkError, Verified,
};

/// Uploads at once: each has a thread.
const UPLOADS_MAX: usize = 64;

/// Pieces that wait for the disk, each of at most 64 KiB as the connection reads them: 16 MiB for all uploads.
const PIECES_WAITING: usize = 4;

/// Who sends less than this in so much time is given up: as who takes less, see [`guarded`](super::guarded).
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_BYTES: usize = 32 * 1024;

/// Where files are put.
#[derive(Debug)]
pub struct Uploads {
    folder: Folder,
    owner: Owner,
    /// Permission bits of a new file.
    mode: u32,
    places: Arc<Semaphore>,
}

/// A file that is in place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub path: RelativePath,
    pub size: u64,
    pub hash: Hash,
    pub published: Published,
}

/// Why it is not.
#[derive(Debug)]
pub enum Refused {
    /// What was sent cannot be taken so.
    Request(&'static str),
    /// Something is there.
    Taken,
    /// Something is there, and the client wanted nothing to be.
    Unwanted,
    /// It is not what its digest says.
    Digest,
    /// It ended short, or too little came for too long.
    Short,
    /// There are too many.
    Busy,
    Store(SinkError),
    Thread(io::Error),
}

impl From<SinkError> for Refused {
    fn from(error: SinkError) -> Refused {
        match error {
            SinkError::Exists { .. } => Refused::Taken,
            error => Refused::Store(error),
        }
    }
}

/// What the connection hands on.
enum Fed {
    Data(Bytes),
    /// HTTP has shown that all of it came.
    End,
}

/// An upload under way.
struct Work {
    sink: Sink,
    path: RelativePath,
    /// Bytes, where the client says.
    size: Option<u64>,
    sha256: Option<[u8; 32]>,
    /// Whether nothing may be there.
    new_only: bool,
    mode: u32,
    from: mpsc::Receiver<Fed>,
    _place: OwnedSemaphorePermit,
}

impl Uploads {
    #[must_use]
    pub fn new(folder: Folder, owner: Owner, mode: u32) -> Uploads {
        Uploads { folder, owner, mode, places: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    /// Takes a body for the file at `path`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn put(
        &self,
        path: RelativePath,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Stored, Refused> {
        if headers.contains_key(header::CONTENT_RANGE) {
            return Err(Refused::Request("all of a file is put, and no range"));
        }
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Refused::Request("a file is put as it is, and not encoded"));
        }
        let new_only = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
        let sha256 = digest_of(headers)?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refused::Busy)?;
        let (to, from) = mpsc::channel(PIECES_WAITING);
        let sink = self.folder.open(self.owner)?;
        let (size, mode) = (body.size_hint().exact(), self.mode);
        let work = Work { sink, path, size, sha256, new_only, mode, from, _place: place };
        let (ready, begun) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let run = move || drop(done.send(work.run(ready)));
        thread::Builder::new().name("upload".into()).spawn(run).map_err(Refused::Thread)?;
        // Refused before a byte of it is asked for, where the client waits for that (Expect: 100-continue).
        let has_begun = begun.await.is_ok();
        let fed = if has_begun { feed(body, to).await } else { Ok(()) };
        let stored = result.await.map_err(|_| Refused::Short)?;
        match (fed, stored) {
            (Err(refused), Err(Refused::Short)) => Err(refused),
            (_, stored) => stored,
        }
    }
}

/// Hands the body on, as fast as the disk takes it.
async fn feed(mut body: Incoming, to: mpsc::Sender<Fed>) -> Result<(), Refused> {
    let mut window = tokio::time::Instant::now() + WINDOW;
    let mut came = 0;
    loop {
        let left = window.saturating_duration_since(tokio::time::Instant::now());
        let frame = match timeout(left, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| Refused::Short)?,
            Ok(None) => {
                // Whoever writes says what became of it.
                let _ = to.send(Fed::End).await;
                return Ok(());
            }
            Err(_) => return Err(Refused::Short),
        };
        let Ok(data) = frame.into_data() else { continue };
        came += data.len();
        if to.send(Fed::Data(data)).await.is_err() {
            return Ok(());
        }
        // Behind the disk, whose slowness is not the client's.
        if came >= WINDOW_BYTES {
            (window, came) = (tokio::time::Instant::now() + WINDOW, 0);
        }
    }
}

impl Work {
    fn run(mut self, ready: oneshot::Sender<()>) -> Result<Stored, Refused> {
        let existing = self.look()?;
        let part = match self.size {
            Some(size) => self.sink.part(&self.path, size, false)?,
            None => self.sink.part_of_stream(&self.path)?,
        };
        let _ = ready.send(());
        let (size, hash) = self.write(&part)?;
        part.end_at(size);
        if let Some(existing) = existing
            && existing.size() == size
            && hash_of(&existing)? == hash
        {
            part.discard()?;
            let published = Published { name: self.path.name(), renamed: false, existed: true };
            return Ok(Stored { path: self.path, size, hash, published });
        }
        self.sink.check_place()?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        part.dress(&Metadata {
            mode: self.mode,
            mtime_seconds: i64::try_from(age.as_secs()).unwrap_or_default(),
            mtime_nanos: age.subsec_nanos(),
            archive: None,
        });
        let policy = if self.new_only { Existing::Refuse } else { self.sink.existing() };
        let verified = Verified { hash, sync: false, go_on: &|| true };
        let published = part.publish_dressed(policy, &verified)?.ok_or(Refused::Taken)?;
        Ok(Stored { path: self.path, size, hash, published })
    }

    /// What stands there and may be the same file.
    fn look(&self) -> Result<Option<ExistingFile>, Refused> {
        let found = self.sink.look(&self.path, self.size.unwrap_or_default())?;
        match found {
            Found::Nothing => Ok(None),
            _ if self.new_only => Err(Refused::Unwanted),
            Found::SameSize(file) if self.size.is_some() => Ok(Some(file)),
            _ if self.sink.existing() == Existing::Refuse => Err(Refused::Taken),
            _ => Ok(None),
        }
    }

    fn write(&mut self, part: &Part) -> Result<(u64, Hash), Refused> {
        let mut blake3 = blake3::Hasher::new();
        let mut sha256 = self.sha256.map(|_| digest::Context::new(&digest::SHA256));
        let mut at = 0u64;
        loop {
            match self.from.blocking_recv() {
                Some(Fed::Data(data)) => {
                    part.write_at(&data, at)?;
                    blake3.update(&data);
                    if let Some(sha256) = &mut sha256 {
                        sha256.update(&data);
                    }
                    at += data.len() as u64;
                }
                Some(Fed::End) if self.size.is_none_or(|size| size == at) => break,
                Some(Fed::End) | None => return Err(Refused::Short),
            }
        }
        if let (Some(context), Some(expected)) = (sha256, self.sha256)
            && context.finish().as_ref() != expected
        {
            part.discard()?;
            return Err(Refused::Digest);
        }
        Ok((at, blake3.finalize()))
    }
}

fn hash_of(file: &ExistingFile) -> Result<Hash, Refused> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < file.size() {
        let most = usize::try_from(file.size() - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let now = buffer.get_mut(..most).unwrap_or_default();
        file.read_at(now, at)?;
        hasher.update(now);
        at += most as u64;
    }
    Ok(hasher.finalize())
}

/// The SHA-256 that the client tells (RFC 9530). One that cannot be read is refused: whoever sends it wants it checked.
fn digest_of(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Refused> {
    for name in ["content-digest", "repr-digest"] {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let own =
            values.flat_map(|value| value.split(',')).find_map(|item| item.trim().strip_prefix("sha-256="));
        if let Some(text) = own {
            let digits = text.strip_prefix(':').and_then(|text| text.split(':').next());
            let bytes = digits.and_then(|digits| STANDARD.decode(digits).ok()?.try_into().ok());
            return bytes.map(Some).ok_or(Refused::Request("a digest is sha-256=:BASE64:"));
        }
    }
    Ok(None)
}
