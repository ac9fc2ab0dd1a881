//! By what a file that came is shown to be the right one: the values of its pieces, where a lanx tells them,
//! or the hash of all of it.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use hyper::header::{self, HeaderMap};
use hyper::{StatusCode, Uri};

use super::dial::{Connection, Dialer};
use super::head::{Seen, Wrong};
use super::job::{Ended, Expected, Failed, Job, Values};
use super::transfer::Transfer;
use crate::content::tree::{ChunkValue, Hash, Stretch};
use crate::limits::CHUNK_BYTES;
use crate::store::SinkError;
use crate::units;
use crate::web::pieces::PIECE_BYTES;

/// How often a piece that came wrong is got once more.
const MENDS_MAX: u32 = 3;

/// What a file is.
pub(super) struct Hashes {
    pub blake3: Hash,
    pub sha256: Option<[u8; 32]>,
}

impl Hashes {
    /// Reads it, in order.
    pub fn of(
        size: u64,
        with_sha256: bool,
        stop: &AtomicBool,
        read: impl Fn(&mut [u8], u64) -> Result<(), SinkError>,
    ) -> Result<Hashes, Ended> {
        let (mut blake3, mut sha256) = (blake3::Hasher::new(), digest::Context::new(&digest::SHA256));
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < size {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Over(Failed::Interrupted));
            }
            let most = usize::try_from(size - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            read(now, at)?;
            blake3.update(now);
            if with_sha256 {
                sha256.update(now);
            }
            at += most as u64;
        }
        let sha256 = with_sha256.then(|| sha256.finish().as_ref().try_into().ok()).flatten();
        Ok(Hashes { blake3: blake3.finalize(), sha256 })
    }

    pub fn are(&self, expected: Expected) -> bool {
        match expected {
            Expected::Blake3(hash) => self.blake3 == hash,
            Expected::Sha256(hash) => self.sha256 == Some(hash),
        }
    }

    pub fn shown(&self, expected: Expected) -> String {
        match expected {
            Expected::Blake3(_) => self.blake3.to_string(),
            Expected::Sha256(_) => Hash::from_bytes(self.sha256.unwrap_or_default()).to_string(),
        }
    }
}

impl Transfer {
    /// Holds what came against the values that a lanx tells of its file. What is wrong is got once more. The
    /// hash of the file, where that was done; `None` where nobody tells any values.
    pub async fn prove(&self, kept: &mut Option<Connection>) -> Result<Option<Hash>, Ended> {
        let told = self.values.lock().take();
        let told = match told {
            None => self.job.values_told(&self.dialer, kept, &self.seen, &self.uri).await?,
            told => told,
        };
        let Some(values) = told else { return Ok(None) };
        let Some(hash) = values.hash() else { return Ok(None) };
        if self.root() == Some(hash) {
            return Ok(Some(hash));
        }
        let mut wrong = 0;
        for (at, bytes, value) in values.pieces() {
            let mut tries = 0;
            while self.value_at(at, bytes)? != value {
                wrong += u32::from(tries == 0);
                if tries == MENDS_MAX {
                    self.part.forget_journal();
                    self.part.discard()?;
                    let why = "some of it comes wrong again and again; what had come was removed";
                    return Err(self.job.ended(Wrong::Refused(why.into())));
                }
                tries += 1;
                self.get_again(kept, at, bytes).await?;
            }
        }
        (self.job.told)(&format!(
            "{} came wrong, and were got once more",
            units::count(wrong.into(), "piece")
        ));
        Ok(Some(hash))
    }

    /// The value of what is in the part file.
    fn value_at(&self, at: u64, bytes: u64) -> Result<ChunkValue, Ended> {
        let stretch = Stretch::new(self.layout.size(), at, bytes);
        let mut stretch =
            stretch.ok_or_else(|| self.job.ended(Wrong::Refused("its values are none".into())))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        for from in (at..at + bytes).step_by(CHUNK_BYTES) {
            let most = usize::try_from(at + bytes - from).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let now = buffer.get_mut(..most).unwrap_or_default();
            self.part.read_at(now, from)?;
            stretch.update(now);
        }
        Ok(stretch.value())
    }

    /// Gets a piece once more.
    async fn get_again(&self, kept: &mut Option<Connection>, at: u64, bytes: u64) -> Result<(), Ended> {
        let chunk = CHUNK_BYTES as u64;
        let answer = self.ask(kept, &(at / chunk..(at + bytes).div_ceil(chunk))).await?;
        let mut body = answer.into_body();
        let mut from = at;
        while let Some(data) = self.job.next(&mut body).await? {
            self.job.pace(data.len()).await;
            if data.len() as u64 > at + bytes - from {
                return Err(self.job.ended(Wrong::Refused("more came than it is long".into())));
            }
            self.part.write_at(&data, from)?;
            from += data.len() as u64;
        }
        Ok(())
    }
}

impl Job {
    /// The values of the pieces of this state of the file, where its server is a lanx.
    pub(super) async fn values_told(
        &self,
        dialer: &Dialer,
        kept: &mut Option<Connection>,
        seen: &Seen,
        uri: &Uri,
    ) -> Result<Option<Values>, Ended> {
        let (true, Some(tag), Some(size)) = (seen.has_tree, seen.strong_tag(), seen.size) else {
            return Ok(None);
        };
        let mut parts = uri.clone().into_parts();
        let address = format!("/.lanx/tree{}", uri.path());
        parts.path_and_query = address.parse().ok();
        let Ok(uri) = Uri::from_parts(parts) else { return Ok(None) };
        let opened = self.open(dialer, kept, &uri, &HeaderMap::new()).await?;
        let headers = opened.answer.headers();
        let is_same = headers.get(header::ETAG).is_some_and(|own| own.as_bytes() == tag.as_bytes());
        if opened.answer.status() != StatusCode::OK {
            *kept = None;
            return Ok(None);
        }
        if !is_same {
            return Err(Ended::Changed);
        }
        let most = size.div_ceil(PIECE_BYTES).max(1).saturating_mul(32);
        let mut body = opened.answer.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = self.next(&mut body).await? {
            bytes.extend_from_slice(&data);
            if bytes.len() as u64 > most {
                *kept = None;
                return Ok(None);
            }
        }
        Ok(Some(Values { size, bytes }))
    }
}
