//! One file from its first request to its name, over as many tries as that takes. It gets its name when every
//! byte that the server told of is there, and is what was to be expected.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Response, Uri};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::dial::{Connection, DialError, Dialer, with_cause};
use super::head::{Seen, Wrong};
use super::job::{
    BUSY_DEFAULT, BUSY_MAX, Done, Ended, Expected, Failed, Job, LOOK, PAUSE_FIRST, PAUSE_MAX, runtime,
};
use super::proof::Hashes;
use super::target::{join, origin};
use super::transfer::Transfer;
use crate::content::entry::Metadata;
use crate::content::tree::Hash;
use crate::limits::CHUNK_BYTES;
use crate::name::RelativePath;
use crate::session::Progress;
use crate::store::{Existing, ExistingFile, Found, Part, Published, SinkError, Verified};
use crate::web::certificate::Pin;

/// How often a file that changes meanwhile is begun anew.
const CHANGES_MAX: u32 = 3;

/// Redirections that are followed.
const REDIRECTS_MAX: u32 = 10;

/// An answer, and where it came from in the end.
pub(super) struct Opened {
    pub answer: Response<Incoming>,
    pub uri: Uri,
}

/// Gets one file after another, over a connection that stays where the server lets it.
pub struct Getter {
    kept: Option<Connection>,
    dialer: Arc<Dialer>,
    runtime: Runtime,
}

impl Getter {
    /// # Errors
    /// [`Failed::Dial`] where there can be no TLS, [`Failed::Thread`] where there can be nothing to wait with.
    pub fn new(pin: Option<Pin>, silence: Duration) -> Result<Getter, Failed> {
        let dialer = Arc::new(Dialer::new(pin, silence)?);
        Ok(Getter { kept: None, dialer, runtime: runtime().map_err(Failed::Thread)? })
    }

    /// Gets the file. Blocks until it is there, or is not to be had.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn get(&mut self, job: &Arc<Job>) -> Result<Done, Failed> {
        let Getter { kept, dialer, runtime } = self;
        runtime.block_on(job.run(dialer, kept))
    }

    /// Gets a page of the listing of a folder.
    pub(super) fn list(&mut self, job: &Job, uri: &Uri) -> Result<Vec<u8>, Failed> {
        let Getter { kept, dialer, runtime } = self;
        runtime.block_on(job.persist(kept, async |kept, _| job.list(dialer, kept, uri).await))
    }
}

impl Job {
    async fn run(
        self: &Arc<Self>,
        dialer: &Arc<Dialer>,
        kept: &mut Option<Connection>,
    ) -> Result<Done, Failed> {
        self.persist(kept, async |kept, divide| self.attempt(dialer, kept, divide).await).await
    }

    /// Tries, for as long as the next try may do better.
    async fn persist<T>(
        &self,
        kept: &mut Option<Connection>,
        mut attempt: impl AsyncFnMut(&mut Option<Connection>, bool) -> Result<T, Ended>,
    ) -> Result<T, Failed> {
        let (mut changes, mut divide, mut pause) = (0, true, PAUSE_FIRST);
        let (mut reached, mut end) = (0, Instant::now() + self.retry_for);
        // What was told last: said once, not at each try.
        let mut said = None;
        loop {
            let ended = match attempt(kept, divide).await {
                Ok(done) => return Ok(done),
                Err(ended) => ended,
            };
            // Whatever is on the way there is for nobody any more.
            *kept = None;
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::Interrupted);
            }
            // Further than ever: what is got again and again is no progress.
            if self.progress.arrived() > reached {
                (reached, pause, end) =
                    (self.progress.arrived(), PAUSE_FIRST, Instant::now() + self.retry_for);
                said = None;
            }
            let (wait, why) = match ended {
                Ended::Over(failed) => return Err(failed),
                Ended::Changed if changes == CHANGES_MAX => {
                    return Err(Failed::Changing { url: self.url() });
                }
                Ended::Changed => {
                    changes += 1;
                    (self.told)("the file has changed at its server; it is got anew");
                    (Duration::ZERO, None)
                }
                Ended::NoRanges => {
                    divide = false;
                    (self.told)("the server does not give parts as it says; all of the file is got in one");
                    (Duration::ZERO, None)
                }
                Ended::Astray => {
                    let what = "the address that it led to is no good any more".to_owned();
                    (pause, Some(DialError::Lost { host: self.host(), what }))
                }
                Ended::Busy(after) => {
                    let what = "it wants to be left alone (429 or 503)".to_owned();
                    let error = DialError::Lost { host: self.host(), what };
                    (after.unwrap_or(BUSY_DEFAULT).clamp(PAUSE_FIRST, BUSY_MAX), Some(error))
                }
                Ended::Lost(error) => (pause, Some(error)),
            };
            if let Some(error) = why {
                if Instant::now() + wait >= end {
                    return Err(error.into());
                }
                let why = format!("{error}; trying again for up to {} s", self.retry_for.as_secs());
                if said.as_ref() != Some(&why) {
                    (self.told)(&why);
                    said = Some(why);
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            self.begin_again();
            self.rest(wait).await;
        }
    }

    /// Waits, but not where nobody wants it any more.
    pub(super) async fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stop.load(Ordering::Relaxed) {
            sleep(LOOK.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// The address for a message: nothing of the query, where secrets may stand.
    pub(super) fn url(&self) -> String {
        let uri = &self.target.uri;
        let (scheme, path) = (uri.scheme_str().unwrap_or_default(), uri.path());
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        crate::name::escape(format!("{scheme}://{authority}{path}"))
    }

    pub(super) fn host(&self) -> String {
        self.target.uri.host().unwrap_or_default().to_owned()
    }

    pub(super) fn ended(&self, wrong: Wrong) -> Ended {
        match wrong {
            Wrong::Changed => Ended::Changed,
            Wrong::NoRanges => Ended::NoRanges,
            Wrong::Busy(after) => Ended::Busy(after),
            Wrong::Failing(status) => {
                let what = format!("it answers {}", status.as_u16());
                Ended::Lost(DialError::Lost { host: self.host(), what })
            }
            Wrong::NotLetIn(status) => {
                Ended::Over(Failed::NotLetIn { host: self.host(), status: status.as_u16() })
            }
            Wrong::Refused(why) => Ended::Over(Failed::Refused { url: self.url(), why }),
        }
    }

    /// Asks for something, and follows where that leads. What is secret goes to nobody but the server that
    /// was named. The answer comes over the connection that is `kept`.
    pub(super) async fn open(
        &self,
        dialer: &Dialer,
        kept: &mut Option<Connection>,
        from: &Uri,
        extra: &HeaderMap,
    ) -> Result<Opened, Ended> {
        let refused = |why: &str| Ended::Over(Failed::Refused { url: self.url(), why: why.to_owned() });
        let mut uri = from.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut fields = extra.clone();
            if origin(&uri) == origin(&self.target.uri) {
                fields.extend(self.fields.clone());
            }
            let answer = ask(dialer, kept, &uri, &fields).await?;
            let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirects {
                return Ok(Opened { answer, uri });
            }
            *kept = None;
            let to = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = to.and_then(|to| join(&uri, to)).ok_or_else(|| refused("it is said to be nowhere"))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(refused("it is said to be where there is no TLS, so anybody could change it"));
            }
            uri = next;
        }
        Err(refused("it is said to be elsewhere again and again"))
    }

    async fn attempt(
        self: &Arc<Self>,
        dialer: &Arc<Dialer>,
        kept: &mut Option<Connection>,
        divide: bool,
    ) -> Result<Done, Ended> {
        let Opened { answer, uri } = self.open(dialer, kept, &self.target.uri, &HeaderMap::new()).await?;
        let mut seen = Seen::of(&answer).map_err(|wrong| self.ended(wrong))?;
        seen.ranges &= divide;
        if let Some(encoding) = &seen.encoding {
            (self.told)(&format!(
                "the server sends it encoded ({}); it is stored as it comes",
                crate::name::escape(encoding)
            ));
        }
        let by_address = || self.target.name().or_else(|| seen.name.clone()).map(RelativePath::from);
        let path = self.path.clone().or_else(by_address);
        let path = path.ok_or_else(|| Ended::Over(Failed::NoName { url: self.url() }))?;
        let Some(size) = seen.size else {
            return self.stream(&path, &seen, kept, answer).await;
        };
        // What is asked meanwhile goes another way, as the answer to this is still to come.
        let held = kept.take();
        let looked = self.look(&path, size, &seen, dialer, kept, &uri).await?;
        *kept = held;
        if let Some(done) = looked {
            self.leave(kept, answer, size).await;
            return Ok(done);
        }
        let part = self.sink.part(&path, size, false)?;
        let transfer = Transfer::new(self.clone(), dialer.clone(), part, seen, uri)?;
        let connections = transfer.run(kept, answer).await?;
        let told = transfer.seen.blake3.map(Hash::from_bytes);
        let proved = match told.is_some() && transfer.root() == told {
            true => told,
            false => transfer.prove(kept).await?,
        };
        self.publish(&path, &transfer, proved, connections)
    }

    /// What stands at its name already: the file itself, or something that is not to be replaced.
    async fn look(
        &self,
        path: &RelativePath,
        size: u64,
        seen: &Seen,
        dialer: &Dialer,
        kept: &mut Option<Connection>,
        uri: &Uri,
    ) -> Result<Option<Done>, Ended> {
        let found = self.sink.look(path, size)?;
        if let Found::SameSize(file) = &found {
            let mut expected = self.expected.or(seen.blake3.map(|hash| Expected::Blake3(hash.into())));
            if expected.is_none() {
                let told = self.values_told(dialer, kept, seen, uri).await?;
                expected = told.and_then(|told| told.hash()).map(Expected::Blake3);
            }
            if let Some(expected) = expected {
                let read = |buffer: &mut [u8], at| file.read_at(buffer, at);
                let hashes = Hashes::of(size, matches!(expected, Expected::Sha256(_)), &self.stop, read)?;
                if hashes.are(expected) {
                    return self.is_there(path, size, &hashes, expected, file).map(Some);
                }
            }
        }
        if matches!(found, Found::Nothing) || self.sink.existing() != Existing::Refuse {
            return Ok(None);
        }
        Err(SinkError::Exists { path: self.sink.path().join(OsStr::from_bytes(path.as_bytes())) }.into())
    }

    fn is_there(
        &self,
        path: &RelativePath,
        size: u64,
        hashes: &Hashes,
        expected: Expected,
        file: &ExistingFile,
    ) -> Result<Done, Ended> {
        if let Some(metadata) = &self.dress {
            file.dress(metadata)?;
        }
        self.count(|progress| &progress.offered, size);
        self.count(|progress| &progress.kept, size);
        Ok(Done {
            path: path.clone(),
            published: Published { name: path.name(), renamed: false, existed: true },
            size,
            hash: hashes.blake3,
            verified_by: Some(expected.kind()),
            identical: true,
            connections: 1,
        })
    }

    /// Has no use for an answer. The connection stays good where there is little of it to read past.
    async fn leave(&self, kept: &mut Option<Connection>, answer: Response<Incoming>, size: u64) {
        let mut body = answer.into_body();
        let mut ended = false;
        if size <= CHUNK_BYTES as u64 {
            ended = loop {
                match self.next(&mut body).await {
                    Ok(Some(_)) => {}
                    ended => break ended.is_ok(),
                }
            };
        }
        if !ended {
            *kept = None;
        }
    }

    /// Counts bytes of this file, and so of all.
    pub(super) fn count(&self, counter: impl Fn(&Progress) -> &AtomicU64, bytes: u64) {
        for progress in std::iter::once(&self.progress).chain(&self.whole) {
            Progress::add(counter(progress), bytes);
        }
    }

    /// This file is begun anew, and the others go on.
    fn begin_again(&self) {
        if let Some(whole) = &self.whole {
            let [offered, written, kept] =
                [&self.progress.offered, &self.progress.written, &self.progress.kept].map(Progress::get);
            whole.offered.fetch_sub(offered, Ordering::Relaxed);
            whole.written.fetch_sub(written, Ordering::Relaxed);
            whole.kept.fetch_sub(kept, Ordering::Relaxed);
            Progress::add(&whole.written_before, written);
        }
        self.progress.begin_again();
    }

    fn publish(
        &self,
        path: &RelativePath,
        transfer: &Transfer,
        proved: Option<Hash>,
        connections: u8,
    ) -> Result<Done, Ended> {
        let part = &transfer.part;
        let hash = proved.or(transfer.root());
        // Every chunk was inserted once, so there is a root.
        let hash = hash.ok_or_else(|| self.ended(Wrong::Refused("it has no end".into())))?;
        let size = part.size();
        let verified_by =
            match self.check(path, size, hash, &transfer.seen, |buffer, at| part.read_at(buffer, at)) {
                Ok(verified_by) => verified_by.or(proved.map(|_| "BLAKE3")),
                Err(error) => {
                    // Of what was wrong nothing is to be gone on with.
                    part.forget_journal();
                    part.discard()?;
                    return Err(error);
                }
            };
        let published = self.name_part(part, &transfer.seen, hash)?;
        part.forget_journal();
        Ok(Done { path: path.clone(), published, size, hash, verified_by, identical: false, connections })
    }

    fn name_part(&self, part: &Part, seen: &Seen, hash: Hash) -> Result<Published, Ended> {
        self.sink.check_place()?;
        let modified = seen.modified().unwrap_or_else(SystemTime::now);
        let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        part.dress(&self.dress.clone().unwrap_or(Metadata {
            mode: self.mode,
            mtime_seconds: i64::try_from(age.as_secs()).unwrap_or_default(),
            mtime_nanos: age.subsec_nanos(),
            archive: None,
        }));
        let go_on = || !self.stop.load(Ordering::Relaxed);
        let verified = Verified { hash, sync: false, go_on: &go_on };
        let published = part.publish_dressed(self.sink.existing(), &verified)?;
        published.ok_or(Ended::Over(Failed::Interrupted))
    }

    /// Holds the file against what is known of it, and says by what it was proved.
    fn check(
        &self,
        path: &RelativePath,
        size: u64,
        hash: Hash,
        seen: &Seen,
        read: impl Fn(&mut [u8], u64) -> Result<(), SinkError>,
    ) -> Result<Option<&'static str>, Ended> {
        let sha256 = seen.sha256.filter(|_| seen.encoding.is_none()).map(Expected::Sha256);
        let blake3 =
            seen.blake3.filter(|_| seen.encoding.is_none()).map(|hash| Expected::Blake3(hash.into()));
        let mut verified_by = None;
        for expected in [self.expected, blake3, sha256].into_iter().flatten() {
            let got = match expected {
                Expected::Blake3(_) => Hashes { blake3: hash, sha256: None },
                Expected::Sha256(_) => Hashes::of(size, true, &self.stop, &read)?,
            };
            if !got.are(expected) {
                let (name, kind) = (path.clone(), expected.kind());
                return Err(Ended::Over(Failed::Mismatch { name, kind, got: got.shown(expected) }));
            }
            verified_by = verified_by.or(Some(expected.kind()));
        }
        Ok(verified_by)
    }

    /// Gets a file whose length nobody tells: in one, and anew after a loss.
    async fn stream(
        &self,
        path: &RelativePath,
        seen: &Seen,
        kept: &mut Option<Connection>,
        answer: Response<Incoming>,
    ) -> Result<Done, Ended> {
        if self.sink.existing() == Existing::Refuse && !matches!(self.sink.look(path, 0)?, Found::Nothing) {
            let path = self.sink.path().join(OsStr::from_bytes(path.as_bytes()));
            return Err(SinkError::Exists { path }.into());
        }
        if !answer.headers().contains_key(header::TRANSFER_ENCODING) {
            (self.told)(
                "the server does not say how long the file is, so nobody can tell whether all of it comes",
            );
        }
        let part = self.sink.part_of_stream(path)?;
        self.progress.stream_began();
        let written = self.write_stream(&part, answer.into_body()).await;
        *kept = None;
        let size = written.as_ref().map_or(0, |(size, _)| *size);
        self.progress.stream_ended(size);
        let (size, hash) = written?;
        part.end_at(size);
        let verified_by = match self.check(path, size, hash, seen, |buffer, at| part.read_at(buffer, at)) {
            Ok(verified_by) => verified_by,
            Err(error) => {
                part.discard()?;
                return Err(error);
            }
        };
        let published = self.name_part(&part, seen, hash)?;
        Ok(Done { path: path.clone(), published, size, hash, verified_by, identical: false, connections: 1 })
    }

    async fn write_stream(&self, part: &Part, mut body: Incoming) -> Result<(u64, Hash), Ended> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0u64;
        while let Some(data) = self.next(&mut body).await? {
            self.pace(data.len()).await;
            part.write_at(&data, at)?;
            hasher.update(&data);
            at += data.len() as u64;
            self.count(|progress| &progress.written, data.len() as u64);
        }
        Ok((at, hasher.finalize()))
    }

    /// The next bytes of a body; `None` at its end, which HTTP has shown to be one.
    pub(super) async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, Ended> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Ended::Over(Failed::Interrupted));
            }
            let lost = |what: String| Ended::Lost(DialError::Lost { host: self.host(), what });
            let silence = format!("it said nothing for {} s", self.silence.as_secs());
            match timeout(self.silence, body.frame()).await.map_err(|_| lost(silence))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(with_cause(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    pub(super) async fn pace(&self, bytes: usize) {
        while let Some(wait) = self.limit.as_ref().and_then(|limit| limit.take(bytes as u64)) {
            sleep(wait).await;
        }
    }
}

/// Asks over the connection that was kept, where it is to this server, or over a new one. One that was kept
/// may have been closed by its other end meanwhile, which says nothing.
async fn ask(
    dialer: &Dialer,
    kept: &mut Option<Connection>,
    uri: &Uri,
    fields: &HeaderMap,
) -> Result<Response<Incoming>, DialError> {
    if let Some(connection) = kept.as_mut().filter(|connection| connection.is_to(uri)) {
        match connection.get(uri, fields).await {
            Err(DialError::Lost { .. }) => {}
            answer => return answer,
        }
    }
    kept.insert(dialer.connect(uri).await?).get(uri, fields).await
}
