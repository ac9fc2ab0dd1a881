//! Files that clients put here: through the same store as those of `lanx recv`, so that a name stands for
//! what was there before or for all of the new file.
//!
//! A thread for each upload writes and hashes what the connection hands it, so a slow disk holds up nobody
//! else. What ends short, or is not what its digest says, leaves a part file at most and no name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::header::{self, HeaderMap};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::arrival::{Arrival, Fed, PIECES_WAITING, feed, look, settle};
use super::bounds::{Counted, LOOK_BYTES, Room, Share, Taken};
use super::pieces::{OF_ONE_MAX, ON_THE_WAY_MAX, Pieces, Plan, Upload};
use super::refused::{Hears, Refused, Stored, Waits};
use crate::content::tree::Hash;
use crate::name::RelativePath;
use crate::os::background::aside;
use crate::os::threads;
use crate::server::queue::{Admission, Party, Slot, TurnState};
use crate::store::{Folder, Owner, Part, Sink};
use crate::trust::guesses::network_of;

/// Uploads at once: each has a part file, and a thread or some pieces on their way. One in eight is for
/// clients that have none.
const UPLOADS_MAX: usize = 64;

/// Further ones that wait for their turn.
const WAITING_MAX: usize = 256;

/// How long a request waits for that. A conversation waits for as long as it lasts.
const WAIT_PATIENCE: Duration = Duration::from_secs(20);

/// How often whoever waits hears where it stands, and it is looked who has left.
const WAIT_LOOK: Duration = Duration::from_millis(250);

/// Where files are put.
#[derive(Debug)]
pub struct Uploads {
    folder: Folder,
    owner: Owner,
    taken: Arc<Taken>,
    /// Permission bits of a new file.
    mode: u32,
    admission: Arc<Admission>,
    /// Those that come in pieces.
    pub pieces: Pieces,
}

/// An upload under way.
struct Work {
    sink: Sink,
    path: RelativePath,
    /// Bytes, where the client says.
    size: Option<u64>,
    digest: Option<Digest>,
    modified: Option<SystemTime>,
    /// Whether nothing may be there.
    new_only: bool,
    mode: u32,
    from: mpsc::Receiver<Fed>,
    counted: Counted,
    _place: Slot,
}

impl Uploads {
    #[must_use]
    pub fn new(folder: Folder, owner: Owner, mode: u32, room: Room) -> Uploads {
        let admission = Admission::with(UPLOADS_MAX, WAITING_MAX, UPLOADS_MAX + ON_THE_WAY_MAX);
        Uploads { folder, owner, taken: Taken::new(room), mode, admission, pieces: Pieces::default() }
    }

    /// How many wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.admission.waiting()
    }

    /// A place for one more upload of `peer`, once it is its turn: of the network with the fewest, and among
    /// those of who came first, as senders have theirs at a receiver. `hears` is told meanwhile, and waits
    /// for as long as it takes.
    async fn place(
        &self,
        peer: IpAddr,
        plan: Option<&Plan>,
        mut hears: Option<Hears>,
    ) -> Result<Slot, Refused> {
        let party = Party::Network(network_of(peer));
        let place = self.admission.enter(party, OF_ONE_MAX).ok_or(Refused::Busy)?;
        let (end, mut told) = (Instant::now() + WAIT_PATIENCE, None);
        loop {
            let waits = match place.standing() {
                TurnState::Served => return Ok(place),
                TurnState::Closed => return Err(Refused::Busy),
                TurnState::Waiting(at) => Waits { serving: at.serving, own: at.own, before: at.before },
            };
            match &mut hears {
                Some(hears) if told.replace(waits) != Some(waits) => hears(waits),
                Some(_) => {}
                None if Instant::now() >= end => return Err(Refused::Waits(waits)),
                None => {}
            }
            let _ = timeout(WAIT_LOOK, place.turn()).await;
            if let Some(plan) = plan {
                self.pieces.make_way(plan).await;
            }
        }
    }

    /// Begins with a file that comes in pieces.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn begin(
        self: &Arc<Self>,
        peer: IpAddr,
        plan: Plan,
        hears: Option<Hears>,
    ) -> Result<Arc<Upload>, Refused> {
        self.pieces.make_way(&plan).await;
        let place = self.place(peer, Some(&plan), hears).await?;
        let uploads = self.clone();
        let work = move || {
            let sink = uploads.folder.open(uploads.owner)?;
            let existing = look(&sink, &plan.path, Some(plan.size), false)?;
            let counted = uploads.taken.count(uploads.folder.path(), plan.size)?;
            uploads.pieces.begin(sink, existing, counted, place, plan)
        };
        aside(work).await.map_err(Refused::Thread)?
    }

    /// Gives a file that came in pieces its name.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn complete(self: &Arc<Self>, upload: &Arc<Upload>, hash: Hash) -> Result<Stored, Refused> {
        let (uploads, upload) = (self.clone(), upload.clone());
        let work = move || uploads.pieces.complete(&upload, hash, uploads.mode);
        aside(work).await.map_err(Refused::Thread)?
    }

    /// Takes a body for the file at `path`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn put(
        &self,
        peer: IpAddr,
        path: RelativePath,
        modified: Option<SystemTime>,
        headers: &HeaderMap,
        body: Incoming,
        share: Share,
    ) -> Result<Stored, Refused> {
        if headers.contains_key(header::CONTENT_RANGE) {
            return Err(Refused::Request("all of a file is put, and no range"));
        }
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Refused::Request("a file is put as it is, and not encoded"));
        }
        let new_only = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
        let digest = digest_of(headers)?;
        let place = self.place(peer, None, None).await?;
        let (to, from) = mpsc::channel(PIECES_WAITING);
        let sink = self.folder.open(self.owner)?;
        let (size, mode) = (body.size_hint().exact(), self.mode);
        let counted = self.taken.count(self.folder.path(), size.unwrap_or_default())?;
        let work = Work { sink, path, size, digest, modified, new_only, mode, from, counted, _place: place };
        let (ready, begun) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let run = move || drop(done.send(work.run(ready)));
        threads::named("upload").spawn(run).map_err(Refused::Thread)?;
        // Refused before a byte of it is asked for, where the client waits for that (Expect: 100-continue).
        let has_begun = begun.await.is_ok();
        let fed = if has_begun { feed(body, to, &share).await } else { Ok(()) };
        let stored = result.await.map_err(|_| Refused::Short)?;
        match (fed, stored) {
            (Err(refused), Err(Refused::Short)) => Err(refused),
            (_, stored) => stored,
        }
    }
}

impl Work {
    fn run(mut self, ready: oneshot::Sender<()>) -> Result<Stored, Refused> {
        let existing = look(&self.sink, &self.path, self.size, self.new_only)?;
        let part = match self.size {
            Some(size) => self.sink.part(&self.path, size, false)?,
            None => self.sink.part_of_stream(&self.path)?,
        };
        let _ = ready.send(());
        let (size, hash) = self.write(&part)?;
        part.end_at(size);
        let Work { path, mode, modified, new_only, counted, .. } = self;
        let arrival = Arrival { path: &path, size, hash, mode, modified, new_only };
        let stored = settle(&self.sink, &part, existing.as_ref(), arrival)?;
        counted.keep_of(&stored);
        Ok(stored)
    }

    fn write(&mut self, part: &Part) -> Result<(u64, Hash), Refused> {
        let mut blake3 = blake3::Hasher::new();
        let is_sha256 = matches!(self.digest, Some(Digest::Sha256(_)));
        let mut sha256 = is_sha256.then(|| digest::Context::new(&digest::SHA256));
        let (mut at, mut looked) = (0u64, 0);
        loop {
            if self.size.is_none() && at - looked >= LOOK_BYTES {
                self.counted.grow(self.sink.path(), at - looked)?;
                looked = at;
            }
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
        let blake3 = blake3.finalize();
        let holds = match (self.digest, sha256) {
            (Some(Digest::Sha256(expected)), Some(context)) => context.finish().as_ref() == expected,
            (Some(Digest::Blake3(expected)), _) => blake3 == expected,
            _ => true,
        };
        if !holds {
            part.discard()?;
            return Err(Refused::Digest);
        }
        Ok((at, blake3))
    }
}

/// A hash of the whole file.
#[derive(Clone, Copy)]
enum Digest {
    Sha256([u8; 32]),
    Blake3([u8; 32]),
}

/// The hash that the client tells (RFC 9530, and `blake3` beside its algorithms). One that cannot be read is
/// refused: whoever sends it wants it checked.
fn digest_of(headers: &HeaderMap) -> Result<Option<Digest>, Refused> {
    for name in ["content-digest", "repr-digest"] {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let Some((algorithm, text)) = item.trim().split_once('=') else { continue };
            let kind = match algorithm {
                "sha-256" => Digest::Sha256,
                "blake3" => Digest::Blake3,
                _ => continue,
            };
            let digits = text.strip_prefix(':').and_then(|text| text.split(':').next());
            let bytes = digits.and_then(|digits| STANDARD.decode(digits).ok()?.try_into().ok());
            let bytes = bytes.ok_or(Refused::Request("a digest is sha-256=:BASE64: or blake3=:BASE64:"))?;
            return Ok(Some(kind(bytes)));
        }
    }
    Ok(None)
}
