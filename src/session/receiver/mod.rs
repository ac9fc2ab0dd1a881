//! The receiver's side of a session: what it makes of each offer, and when a file is published.

mod compare;
pub mod finish;
pub mod incoming;
pub mod memory;
mod outcomes;
pub mod room;
mod stdout;
pub mod worker;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::destination;
use super::destination::Mark;
use super::rate_limit::Pace;
use super::snapshot::{FileUnderWay, UnderWay};
use super::stage_clock::Stages;
use crate::cache::Cache;
use crate::content::chunk::FileId;
use crate::content::compress::{Codec, Codecs};
use crate::content::entry::{Cause, EntryKind, Failure, Outcome};
use crate::content::tree::Hash;
use crate::limits::{
    CONNECTIONS_MAX, FILE_BYTES_MAX, FILES_IN_FLIGHT_MAX, LARGE_FILES_IN_FLIGHT_MAX, OBSERVER_LOOK,
    STREAM_CONFIRM_CHUNKS,
};
use crate::name::RelativePath;
use crate::os::cpu::CpuShares;
use crate::session::ending::{End, Ending, PeerMisbehaved};
use crate::session::outbox::Outbox;
use crate::session::progress::Progress;
use crate::session::report::{FileStatus, Observer};
use crate::store::{Destination, Existing, ExistingFile, Found, Part, Sink, SinkError};
use crate::wire::message::{Against, Offer, ReceiverMessage, SenderMessage, SessionId};
use crate::wire::stage_times::Spent;
use compare::CompareQueue;
use finish::{Diligence, Finisher};
use incoming::{Bytes, Incoming, Offered, Plan};
use memory::{Budget, Reserve};
use room::Room;
use stdout::InOrder;

/// The receiver's side of a session, shared by its threads.
pub struct Receiving {
    pub(super) to: Arc<Destination>,
    pub(super) files: Mutex<Files>,
    pub(super) terms: Terms,
    compare: CompareQueue,
    finisher: Finisher,
    pub(super) outbox: Outbox<ReceiverMessage>,
    memory: Arc<Budget>,
    /// The bounds on what may be stored.
    pub room: Room,
    /// Where hashes of files are remembered.
    pub cache: Option<Arc<Cache>>,
    /// How fast chunks may come, where the receiver's user has set that.
    pub pace: Option<Arc<Pace>>,
    pub(super) observer: Arc<dyn Observer>,
    pub progress: Arc<Progress>,
    /// How many data connections the session may have at present: how much of this machine is its.
    share: AtomicU8,
    /// Frames of streams that were taken in.
    streamed: AtomicU64,
    /// What the threads that receive and compare do with their time.
    pub(super) stages: Stages,
    /// What the thread that writes to the standard output does.
    pub(super) output_stages: Stages,
    pub(super) probed: OnceLock<Instant>,
    pub ending: Ending,
}

#[derive(Default)]
pub(super) struct Files {
    pub(super) offered: u64,
    /// The hash that the sender remembers of the file that it offers next.
    pub(super) remembered: Option<(FileId, Hash)>,
    /// Files that arrive whole in one frame.
    pub(super) singles: HashMap<FileId, Offered>,
    /// Files that arrive in pieces.
    pub(super) incoming: HashMap<FileId, Arc<Incoming>>,
    /// The file that goes to the standard output.
    pub(super) in_order: Option<Arc<InOrder>>,
    /// Files that failed while the sender was still sending them: their late chunks are discarded.
    pub(super) failed: BTreeSet<FileId>,
    /// Files without an outcome.
    pub(super) open: usize,
    pub(super) large: usize,
    /// Files whose outcome is not queued for the sender yet.
    pub(super) untold: usize,
    pub(super) finished: bool,
    pub(super) closed: bool,
}

/// How files are received in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub diligence: Diligence,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Of a file that differs from an existing one only what differs is sent.
    pub delta: bool,
    /// There are no files, but probes.
    pub measure: bool,
    /// What chunks may be compressed with.
    pub codecs: Codecs,
}

/// What a data connection's chunk belongs to.
pub(super) enum Target {
    Incoming(Arc<Incoming>),
    InOrder(Arc<InOrder>),
    /// Too late; to be discarded.
    Failed,
}

impl Receiving {
    pub fn new(
        to: Arc<Destination>,
        terms: Terms,
        outbox: Outbox<ReceiverMessage>,
        reserve: Arc<dyn Reserve>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
    ) -> Receiving {
        Receiving {
            to,
            files: Mutex::default(),
            terms,
            compare: CompareQueue::default(),
            finisher: Finisher::default(),
            outbox,
            memory: Arc::new(Budget::new(reserve)),
            room: Room::default(),
            cache: None,
            pace: None,
            observer,
            progress,
            share: AtomicU8::new(CONNECTIONS_MAX),
            streamed: AtomicU64::new(0),
            stages: Stages::default(),
            output_stages: Stages::default(),
            probed: OnceLock::new(),
            ending: Ending::default(),
        }
    }

    /// What the sender's open offers may weigh.
    pub fn offers_max(&self) -> u32 {
        u32::try_from(self.memory.offers_max()).unwrap_or(u32::MAX)
    }

    /// Demands that the sender may use this codec.
    pub(super) fn check_codec(&self, codec: Codec) -> Result<(), PeerMisbehaved> {
        if self.terms.codecs.has(codec) {
            return Ok(());
        }
        let (got, expected) = ("a chunk in a codec", "a plain one, as that was not granted");
        Err(PeerMisbehaved::Unexpected { got, expected })
    }

    /// Counts an offer as open, before it waits to be heard.
    ///
    /// # Errors
    /// The sender's open offers weigh more than they may.
    pub fn admit(&self, offer: &Offer) -> Result<(), PeerMisbehaved> {
        self.memory.open(offer.weight())
    }

    /// Waits until the sender has read what it was told, or the session is closed.
    pub fn wait_for_room(&self) {
        self.outbox.wait_for_room();
    }

    /// Whether it has.
    pub fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Hears what the sender says. Looks at files and makes them, so it may take as long as the disk does.
    ///
    /// # Errors
    /// The [`End`] of the session: [`End::PeerLeft`] or [`End::Misbehaved`].
    pub fn handle(self: &Arc<Self>, message: SenderMessage) -> Result<(), End> {
        match message {
            SenderMessage::Hello(_) | SenderMessage::Pake { .. } | SenderMessage::Proof { .. } => {
                let got = "a part of the greeting";
                Err(PeerMisbehaved::Unexpected { got, expected: "an offer" }.into())
            }
            SenderMessage::Offer(_) if self.terms.measure => {
                let expected = "probes and nothing else, as it wished";
                Err(PeerMisbehaved::Unexpected { got: "an offer", expected }.into())
            }
            SenderMessage::Offer(offer) => self.offer(&offer),
            SenderMessage::Remembered { .. } if !self.remembers() => {
                let got = "a hash that it remembers";
                Err(PeerMisbehaved::Unexpected {
                    got,
                    expected: "an offer, as hashes are not remembered here",
                }
                .into())
            }
            SenderMessage::Remembered { file, hash } => {
                self.files.lock().remembered = Some((file, hash));
                Ok(())
            }
            SenderMessage::Value { file, chunk, value } => match self.target(file)? {
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.value(chunk, value)?),
                Target::InOrder(_) => {
                    let got = "a value of a file that is not compared";
                    Err(PeerMisbehaved::Unexpected { got, expected: "its chunks" }.into())
                }
                Target::Failed => Ok(()),
            },
            SenderMessage::Root { file, hash } => match self.target(file)? {
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.root(hash)?),
                Target::InOrder(incoming) if incoming.offered.layout.is_single() => {
                    let got = "a hash by itself";
                    Err(PeerMisbehaved::Unexpected { got, expected: "one with the file" }.into())
                }
                Target::InOrder(incoming) => Ok(incoming.root(hash)?),
                Target::Failed => Ok(()),
            },
            SenderMessage::Length { file, bytes } => match self.target(file)? {
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.length(bytes, &self.progress)?),
                Target::InOrder(incoming) => Ok(incoming.length(bytes, &self.progress)?),
                Target::Failed => Ok(()),
            },
            SenderMessage::Withdraw { file, failure } => self.withdraw(file, failure),
            SenderMessage::Finish { files } => self.finish(files),
            // Those about connections are for whoever has the connections.
            SenderMessage::Total { bytes } => {
                self.progress.expect(bytes);
                Ok(())
            }
            SenderMessage::Beat | SenderMessage::HangUp { .. } => Ok(()),
            SenderMessage::Leave { text } => Err(End::PeerLeft(text)),
        }
    }

    /// Tells the sender something about its connections.
    pub fn say(&self, message: ReceiverMessage) {
        self.outbox.send(&message);
    }

    /// How many data connections the session may have at present.
    pub fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    pub fn set_share(&self, connections: u8) {
        self.share.store(connections, Ordering::Relaxed);
    }

    /// What chunks may come compressed with.
    pub fn codecs(&self) -> Codecs {
        self.terms.codecs
    }

    /// Whether one file goes to the standard output.
    pub fn writes_to_output(&self) -> bool {
        self.to.output().is_some()
    }

    /// Whether the sender may say what it remembers. Where each file is to be on the device, or read back from there, it is read in
    /// any case.
    pub fn remembers(&self) -> bool {
        self.cache.is_some() && self.to.folder().is_some() && !self.terms.diligence.takes_time()
    }

    /// Whether only the changed parts of changed files are sent.
    pub fn takes_deltas(&self) -> bool {
        self.terms.delta
    }

    /// The mark of the folder that it receives into, where it is one.
    pub fn destination(&self, session: SessionId) -> Option<Mark> {
        let (device, inode) = self.to.folder()?.identity();
        destination::mark(session, device, inode)
    }

    /// Whether the session has no files, but measures.
    pub fn measures(&self) -> bool {
        self.terms.measure
    }

    /// What the threads have done with their time so far, on a machine that was so `busy` meanwhile. Where a file is written in
    /// order that is for one thread to say: the others are waiting for it as well.
    pub fn spent(&self, busy: Option<CpuShares>) -> Spent {
        match self.to.output() {
            Some(_) => self.output_stages.spent(busy),
            None => self.stages.spent(busy),
        }
    }

    /// Whether anything was offered: whether this was a transfer at all.
    pub fn had_offers(&self) -> bool {
        let files = self.files.lock();
        files.offered > 0 || files.finished
    }

    /// Ends all that is under way. What was received of each file stays in its part file, except of a stream: nobody
    /// could go on with it.
    pub fn close(&self) {
        let mut files = self.files.lock();
        files.closed = true;
        files.singles.clear();
        let incoming = std::mem::take(&mut files.incoming);
        let in_order = files.in_order.take();
        drop(files);
        in_order.inspect(|file| file.end());
        for file in incoming.values() {
            file.end();
        }
        self.compare.close();
        self.finisher.close();
        self.outbox.close();
    }

    /// Waits until the observer keeps up, or the session is closed.
    pub fn wait_for_observer(&self) {
        while !self.observer.keeps_up() && !self.files.lock().closed {
            thread::sleep(OBSERVER_LOOK);
        }
    }

    /// The threads that finish files and still hold some, to be waited for after [`Receiving::close`].
    pub fn threads(&self) -> Vec<JoinHandle<()>> {
        self.finisher.threads()
    }

    fn withdraw(&self, file: FileId, failure: Failure) -> Result<(), End> {
        let single = self.files.lock().singles.remove(&file);
        if let Some(offered) = single {
            self.fail(&offered, failure);
            return Ok(());
        }
        match self.target(file)? {
            Target::Incoming(incoming) => self.fail_incoming(&incoming, failure)?,
            Target::InOrder(incoming) => incoming.fail(failure),
            Target::Failed => {}
        }
        Ok(())
    }

    fn finish(&self, count: u64) -> Result<(), End> {
        let mut files = self.files.lock();
        if files.finished || count != files.offered {
            let expected = "one end that counts the files that were offered";
            return Err(PeerMisbehaved::Unexpected { got: "an end of the offers", expected }.into());
        }
        files.finished = true;
        let complete = files.untold == 0;
        drop(files);
        if complete {
            self.complete();
        }
        Ok(())
    }

    /// The folder, which `path` needs.
    pub(super) fn sink(&self, path: &RelativePath) -> Result<&Sink, SinkError> {
        self.to
            .folder()
            .ok_or_else(|| SinkError::NoFolder { path: OsStr::from_bytes(path.as_bytes()).into() })
    }

    // ---- for the workers ----

    /// A frame of a stream was taken in. Its sender holds what it has not heard of, so it hears of each few at once,
    /// whichever data connection they came over.
    pub(super) fn took_in_of_stream(&self) {
        let before = self.streamed.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(STREAM_CONFIRM_CHUNKS) {
            self.outbox.nudge();
        }
    }

    pub(super) fn target(&self, file: FileId) -> Result<Target, PeerMisbehaved> {
        let files = self.files.lock();
        if let Some(in_order) = files.in_order.as_ref().filter(|in_order| in_order.offered.id == file) {
            return Ok(Target::InOrder(in_order.clone()));
        }
        match files.incoming.get(&file) {
            Some(incoming) => Ok(Target::Incoming(incoming.clone())),
            None if files.failed.contains(&file) => Ok(Target::Failed),
            None => Err(PeerMisbehaved::UnknownFile(file.0)),
        }
    }

    /// Takes the file that arrives whole in one frame, for the caller alone.
    pub(super) fn take_single(&self, file: FileId) -> Result<Offered, PeerMisbehaved> {
        self.files.lock().singles.remove(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))
    }
}

impl Receiving {
    /// What is under way, with no more than `most` of its files; whoever has the connections counts them.
    pub fn under_way(&self, most: usize, connections: usize) -> UnderWay {
        let files = self.files.lock();
        let large = files.incoming.values().filter(|file| !file.offered.layout.is_single());
        let mut large: Vec<Arc<Incoming>> = large.cloned().collect();
        let (in_order, open, all_offered) = (files.in_order.clone(), files.open, files.finished);
        drop(files);
        large.sort_unstable_by_key(|file| file.offered.id);
        let large = large.iter().map(|file| file.under_way());
        let files: Vec<FileUnderWay> =
            in_order.iter().map(|file| file.under_way()).chain(large).take(most).collect();
        UnderWay { connections, others: open.saturating_sub(files.len()), files, all_offered }
    }
}

// What the receiver makes of each offer.

impl Receiving {
    pub(super) fn offer(self: &Arc<Self>, offer: &Offer) -> Result<(), End> {
        let layout = offer.kind.layout();
        self.count_offer(offer, !layout.is_single())?;
        if offer.kind == EntryKind::Folder && offer.path.is_empty() {
            self.dress_destination(offer);
            return Ok(());
        }
        let path = match RelativePath::from_wire(&offer.path) {
            Ok(path) => path,
            Err(bad) => {
                let failure = Failure::new(Cause::Refused, bad.to_string());
                self.say_outcome(offer.file, !layout.is_single(), offer.weight(), Outcome::Failed(failure));
                return Ok(());
            }
        };
        match offer.kind {
            EntryKind::File { sparse, .. } => {
                self.offer_file(Offered::new(offer, path, sparse));
            }
            EntryKind::Stream => {
                self.progress.stream_began();
                self.offer_file(Offered::new(offer, path, false));
            }
            EntryKind::ParentFolder => self.make_parent_folder(offer, &path),
            _ => self.offer_entry(offer, path),
        }
        Ok(())
    }

    fn offer_file(self: &Arc<Self>, offered: Offered) {
        let size = offered.layout.size();
        if size > FILE_BYTES_MAX {
            let text = format!("{}: {size} bytes are more than lanx stores in one file", offered.path);
            self.fail(&offered, Failure::new(Cause::Storage, text));
            return;
        }
        if let Destination::Output(output) = &*self.to {
            return self.offer_to_output(offered, output);
        }
        let remembered = self.files.lock().remembered.take().filter(|(file, _)| *file == offered.id);
        if let Some((_, hash)) = remembered.filter(|(_, hash)| self.has_remembered(&offered, *hash)) {
            return self.report(&offered, Some(hash), FileStatus::Remembered);
        }
        let looked_at = self.to.folder().and_then(|sink| sink.stamp_at(&offered.path));
        let offered = Offered { looked_at, ..offered };
        // A stream has no size that a file could share: whatever is there differs.
        let size = offered.layout.known_size().unwrap_or(u64::MAX);
        match self.sink(&offered.path).and_then(|sink| sink.look(&offered.path, size)) {
            Ok(Found::SameSize(existing)) => self.compare_existing(offered, Some(existing)),
            Ok(Found::Different) if self.to.existing() == Existing::Refuse => {
                match offered.layout.is_open() {
                    true => self.refuse_existing(&offered),
                    // As if it had the same size, which the sender has not shown that it knows.
                    false => self.compare_existing(offered, None),
                }
            }
            Ok(Found::Nothing) => self.start_receiving(offered),
            Ok(Found::Different) => self.start_receiving(Offered { replaces: true, ..offered }),
            // With a number behind it the name is free.
            Err(SinkError::InTheWay { .. }) if self.to.existing() == Existing::Rename => {
                self.start_receiving(offered)
            }
            Err(error) => self.fail(&offered, error.failure()),
        }
    }

    fn count_offer(&self, offer: &Offer, large: bool) -> Result<(), PeerMisbehaved> {
        let mut files = self.files.lock();
        if files.finished || offer.file.0 != files.offered {
            let expected = "each file to be offered once, in order, before the end";
            return Err(PeerMisbehaved::Unexpected { got: "an offer", expected });
        }
        if files.open >= FILES_IN_FLIGHT_MAX {
            return Err(PeerMisbehaved::TooMany { what: "files at once", limit: FILES_IN_FLIGHT_MAX });
        }
        if large && files.large >= LARGE_FILES_IN_FLIGHT_MAX {
            return Err(PeerMisbehaved::TooMany {
                what: "large files at once",
                limit: LARGE_FILES_IN_FLIGHT_MAX,
            });
        }
        files.offered += 1;
        files.open += 1;
        files.untold += 1;
        files.large += usize::from(large);
        drop(files);
        Progress::add(&self.progress.offered, offer.kind.size().min(FILE_BYTES_MAX));
        Ok(())
    }

    pub(super) fn start_receiving(self: &Arc<Self>, offered: Offered) {
        let Some(offered) = self.make_room(offered) else { return };
        if self.terms.dry_run {
            self.report(&offered, None, FileStatus::Wanted);
            return;
        }
        if let Err(error) = self.sink(&offered.path).and_then(|sink| sink.check_storable(&offered.path)) {
            return self.fail(&offered, error.failure());
        }
        if offered.layout.is_single() {
            let file = offered.id;
            self.files.lock().singles.insert(file, offered);
            self.outbox.send(&ReceiverMessage::Send { file });
            return;
        }
        match self.open_part(&offered) {
            Ok((part, plan)) if plan.is_empty() => {
                let file = offered.id;
                self.insert(Arc::new(Incoming::new(
                    offered,
                    Bytes::Part(Arc::new(part)),
                    plan,
                    &self.memory,
                )));
                self.outbox.send(&ReceiverMessage::Send { file });
            }
            Ok((part, plan)) => {
                self.start_comparing(offered, Bytes::Part(Arc::new(part)), plan, Against::Part)
            }
            Err(error) => self.fail(&offered, error.failure()),
        }
    }

    /// The part file of what was offered, and what of it may be there.
    fn open_part(&self, offered: &Offered) -> Result<(Part, Plan), SinkError> {
        let Offered { path, layout, sparse, looked_at, .. } = offered;
        let sink = self.sink(path)?;
        if layout.is_open() {
            return Ok((sink.part_of_stream(path)?.in_place_of(*looked_at), Plan::default()));
        }
        let older = if offered.replaces && self.terms.delta { sink.older(path) } else { None };
        // What is the file itself, as far as it goes, rather than another version of it.
        let older = sink.left_by_another(path).or(older);
        let part = match older {
            Some(_) => sink.part_beside_older(path, layout.size(), *sparse)?,
            None => sink.part(path, layout.size(), *sparse)?,
        };
        let plan = Plan::of_part(*layout, &part, older);
        Ok((part.in_place_of(*looked_at), plan))
    }

    fn compare_existing(&self, offered: Offered, existing: Option<ExistingFile>) {
        let plan = Plan::of_existing(offered.layout);
        self.start_comparing(offered, Bytes::Existing(existing.map(Arc::new)), plan, Against::Existing);
    }

    fn start_comparing(&self, offered: Offered, bytes: Bytes, plan: Plan, against: Against) {
        let file = offered.id;
        let incoming = Arc::new(Incoming::new(offered, bytes, plan, &self.memory));
        self.insert(incoming.clone());
        self.outbox.send(&ReceiverMessage::Compare { file, against });
        incoming.begin_comparing(&self.outbox);
    }

    fn insert(&self, incoming: Arc<Incoming>) {
        let mut files = self.files.lock();
        if !files.closed {
            files.incoming.insert(incoming.offered.id, incoming);
        }
    }
}
