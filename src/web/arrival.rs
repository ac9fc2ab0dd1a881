//! How the body of a request becomes a file: by pieces that a thread writes, and at its end by a rename.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bounds::Share;
use super::refused::{Refused, Stored};
use crate::content::entry::Metadata;
use crate::content::tree::Hash;
use crate::name::RelativePath;
use crate::store::{Existing, ExistingFile, Found, Part, Published, Sink, SinkError, Verified};

/// Pieces that wait for the disk, each of at most 64 KiB as the connection reads them: 16 MiB for all
/// uploads.
pub(super) const PIECES_WAITING: usize = 4;

/// Who sends less than this in so much time is given up: as who takes less, see [`guarded`](super::guarded).
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_BYTES: usize = 32 * 1024;

/// What the connection hands on.
pub(super) enum Fed {
    Data(Bytes),
    /// HTTP has shown that all of it came.
    End,
}

/// Hands the body on, as fast as the disk takes it.
pub(super) async fn feed(mut body: Incoming, to: mpsc::Sender<Fed>, share: &Share) -> Result<(), Refused> {
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
        // No slowness of ours is the client's.
        window += share.take(data.len() as u64).await;
        if to.send(Fed::Data(data)).await.is_err() {
            return Ok(());
        }
        // Behind the disk, whose slowness is not the client's.
        if came >= WINDOW_BYTES {
            (window, came) = (tokio::time::Instant::now() + WINDOW, 0);
        }
    }
}

/// What stands there and may be the same file.
pub(super) fn look(
    sink: &Sink,
    path: &RelativePath,
    size: Option<u64>,
    new_only: bool,
) -> Result<Option<ExistingFile>, Refused> {
    match sink.look(path, size.unwrap_or_default())? {
        Found::Nothing => Ok(None),
        _ if new_only => Err(Refused::Unwanted),
        Found::SameSize(file) if size.is_some() => Ok(Some(file)),
        _ if sink.existing() == Existing::Refuse => Err(Refused::Taken),
        _ => Ok(None),
    }
}

/// A file of which all bytes are there.
pub(super) struct Arrival<'a> {
    pub path: &'a RelativePath,
    pub size: u64,
    pub hash: Hash,
    pub mode: u32,
    /// Now, where the client does not say.
    pub modified: Option<SystemTime>,
    /// Whether nothing may be there.
    pub new_only: bool,
}

/// Gives a file its name, unless the `existing` one has the same bytes.
pub(super) fn settle(
    sink: &Sink,
    part: &Part,
    existing: Option<&ExistingFile>,
    arrival: Arrival<'_>,
) -> Result<Stored, Refused> {
    let Arrival { path, size, hash, .. } = arrival;
    if let Some(existing) = existing
        && existing.size() == size
        && existing.hash(|| true)? == Some(hash)
    {
        return identical(part, path, size, hash);
    }
    sink.check_place()?;
    let modified = arrival.modified.unwrap_or_else(SystemTime::now);
    let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    part.dress(&Metadata {
        mode: arrival.mode,
        mtime_seconds: i64::try_from(age.as_secs()).unwrap_or_default(),
        mtime_nanos: age.subsec_nanos(),
        archive: None,
    });
    let policy = if arrival.new_only { Existing::Refuse } else { sink.existing() };
    let verified = Verified { hash, sync: false, go_on: &|| true };
    let published = match part.publish_dressed(policy, &verified) {
        Ok(published) => published.ok_or(Refused::Taken)?,
        // Somebody else was faster, maybe with the same file.
        Err(SinkError::Exists { .. } | SinkError::Newer { .. }) => match look(sink, path, Some(size), false)?
        {
            Some(file) if file.hash(|| true)? == Some(hash) => {
                Published { name: path.name(), renamed: false, existed: true }
            }
            _ => return Err(Refused::Taken),
        },
        Err(error) => return Err(error.into()),
    };
    Ok(Stored { path: path.clone(), size, hash, published })
}

/// The file is there already, and what came of it goes.
pub(super) fn identical(part: &Part, path: &RelativePath, size: u64, hash: Hash) -> Result<Stored, Refused> {
    part.discard()?;
    let published = Published { name: path.name(), renamed: false, existed: true };
    Ok(Stored { path: path.clone(), size, hash, published })
}
