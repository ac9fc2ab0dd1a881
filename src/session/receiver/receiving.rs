//! The receiver's side of a session: what it makes of what the sender says, and of each offer.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::compare::{CompareQueue, Compares, compare};
use super::entries::{dress_destination, make_parent_folder, offer_entry};
use super::files::Target;
use super::finish::Finisher;
use super::incoming::{Bytes, Incoming, Next, Plan, Settled};
use super::offered::Offered;
use super::outcomes::Outcomes;
use super::stdout::offer_to_output;
use crate::cache::Cache;
use crate::content::chunk::FileId;
use crate::content::compress::{Codec, Codecs};
use crate::content::entry::{Cause, EntryKind, Failure, Outcome};
use crate::limits::{CONNECTIONS_MAX, FILE_BYTES_MAX, OBSERVER_LOOK, PROBE_BYTES_MAX, STREAM_CONFIRM_CHUNKS};
use crate::name::RelativePath;
use crate::os::cpu::CpuShares;
use crate::session::destination;
use crate::session::destination::Mark;
use crate::session::ending::{End, Ending, PeerMisbehaved};
use crate::session::progress::Progress;
use crate::session::rate_limit::Pace;
use crate::session::report::FileStatus;
use crate::session::snapshot::{FileUnderWay, UnderWay};
use crate::session::stage_clock::Stages;
use crate::store::{Destination, Existing, ExistingFile, Found, Part, SinkError};
use crate::wire::message::{Against, Offer, ReceiverMessage, SenderMessage, SessionId};
use crate::wire::stage_times::Spent;

/// How long probes may come at a receiver: twice what all phases take at most, with connections that are slow
/// to open.
const PROBE_SESSION_MAX: Duration = Duration::from_secs(60);

/// The receiver's side of a session, shared by its threads.
pub struct Receiving {
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) finisher: Finisher,
    compare: CompareQueue,
    /// How fast chunks may come, where the receiver's user has set that.
    pub(super) pace: Option<Arc<Pace>>,
    /// How many data connections the session may have at present: how much of this machine is its.
    share: AtomicU8,
    /// Frames of streams that were taken in.
    streamed: AtomicU64,
    /// What the threads that receive and compare do with their time.
    pub(super) stages: Stages,
    /// What the thread that writes to the standard output does.
    output_stages: Arc<Stages>,
    probed: OnceLock<Instant>,
}

impl Receiving {
    pub fn new(outcomes: Outcomes, pace: Option<Arc<Pace>>) -> Receiving {
        let outcomes = Arc::new(outcomes);
        Receiving {
            finisher: Finisher::new(outcomes.clone()),
            outcomes,
            compare: CompareQueue::default(),
            pace,
            share: AtomicU8::new(CONNECTIONS_MAX),
            streamed: AtomicU64::new(0),
            stages: Stages::default(),
            output_stages: Arc::default(),
            probed: OnceLock::new(),
        }
    }

    /// How the session ends.
    pub fn ending(&self) -> &Ending {
        &self.outcomes.ending
    }

    /// How far it has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.outcomes.progress
    }

    /// Where hashes of files are remembered.
    pub fn cache(&self) -> Option<&Arc<Cache>> {
        self.outcomes.cache.as_ref()
    }

    /// What the sender's open offers may weigh.
    pub fn offers_max(&self) -> u32 {
        u32::try_from(self.outcomes.memory.offers_max()).unwrap_or(u32::MAX)
    }

    /// Demands that the sender may use this codec.
    pub(super) fn check_codec(&self, codec: Codec) -> Result<(), PeerMisbehaved> {
        if self.outcomes.terms.codecs.has(codec) {
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
        self.outcomes.memory.open(offer.weight())
    }

    /// Waits until the sender has read what it was told, or the session is closed.
    pub fn wait_for_room(&self) {
        self.outcomes.outbox.wait_for_room();
    }

    /// Whether it has.
    pub fn has_room(&self) -> bool {
        self.outcomes.outbox.has_room()
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
            SenderMessage::Offer(_) if self.outcomes.terms.measure => {
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
                self.outcomes.files.lock().remembered = Some((file, hash));
                Ok(())
            }
            SenderMessage::Value { file, chunk, value } => match self.target(file)? {
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.value(chunk, value)?),
                Target::Failed => Ok(()),
            },
            SenderMessage::Root { file, hash } => match self.target(file)? {
                Target::Incoming(incoming)
                    if incoming.offered.layout.is_single() && incoming.output().is_some() =>
                {
                    let got = "a hash by itself";
                    Err(PeerMisbehaved::Unexpected { got, expected: "one with the file" }.into())
                }
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.root(hash)?),
                Target::Failed => Ok(()),
            },
            SenderMessage::Length { file, bytes } => match self.target(file)? {
                Target::Incoming(incoming) => self.go_on(&incoming, incoming.length(bytes, self.progress())?),
                Target::Failed => Ok(()),
            },
            SenderMessage::Withdraw { file, failure } => self.withdraw(file, failure),
            SenderMessage::Finish { files } => self.finish(files),
            SenderMessage::Total { bytes } => {
                self.outcomes.progress.expect(bytes);
                Ok(())
            }
            // Those about connections are for whoever has the connections.
            SenderMessage::Beat | SenderMessage::HangUp { .. } => Ok(()),
            SenderMessage::Leave { text } => Err(End::PeerLeft(text)),
        }
    }

    /// Tells the sender something about its connections.
    pub fn say(&self, message: ReceiverMessage) {
        self.outcomes.outbox.send(&message);
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
        self.outcomes.terms.codecs
    }

    /// Whether one file goes to the standard output.
    pub fn writes_to_output(&self) -> bool {
        self.outcomes.to.output().is_some()
    }

    /// Whether the sender may say what it remembers. Where each file is to be on the device, or read back
    /// from there, it is read in any case.
    pub fn remembers(&self) -> bool {
        self.outcomes.cache.is_some()
            && self.outcomes.to.folder().is_some()
            && !self.outcomes.terms.diligence.takes_time()
    }

    /// Whether only the changed parts of changed files are sent.
    pub fn takes_deltas(&self) -> bool {
        self.outcomes.terms.delta
    }

    /// The mark of the folder that it receives into, where it is one.
    pub fn destination(&self, session: SessionId) -> Option<Mark> {
        let (device, inode) = self.outcomes.to.folder()?.identity();
        destination::mark(session, device, inode)
    }

    /// Whether the session has no files, but measures.
    pub fn measures(&self) -> bool {
        self.outcomes.terms.measure
    }

    /// What the threads have done with their time so far, on a machine that was so `busy` meanwhile. Where a
    /// file is written in order that is for one thread to say: the others are waiting for it as well.
    pub fn spent(&self, busy: Option<CpuShares>) -> Spent {
        match self.outcomes.to.output() {
            Some(_) => self.output_stages.spent(busy),
            None => self.stages.spent(busy),
        }
    }

    /// Whether anything was offered: whether this was a transfer at all.
    pub fn had_offers(&self) -> bool {
        let files = self.outcomes.files.lock();
        files.offered > 0 || files.finished
    }

    /// Ends all that is under way. What was received of each file stays in its part file, except of a stream:
    /// nobody could go on with it.
    pub fn close(&self) {
        self.outcomes.close();
        self.compare.close();
        self.finisher.close();
    }

    /// Waits until the observer keeps up, or the session is closed.
    pub fn wait_for_observer(&self) {
        while !self.outcomes.observer.keeps_up() && !self.outcomes.is_closed() {
            thread::sleep(OBSERVER_LOOK);
        }
    }

    /// The threads that finish files and still hold some, to be waited for after [`Receiving::close`].
    pub fn threads(&self) -> Vec<JoinHandle<()>> {
        self.finisher.threads()
    }

    fn withdraw(&self, file: FileId, failure: Failure) -> Result<(), End> {
        let single = self.outcomes.files.lock().singles.remove(&file);
        if let Some(offered) = single {
            self.outcomes.fail(&offered, failure);
            return Ok(());
        }
        match self.target(file)? {
            Target::Incoming(incoming) => self.outcomes.fail_incoming(&incoming, failure)?,
            Target::Failed => {}
        }
        Ok(())
    }

    fn finish(&self, count: u64) -> Result<(), End> {
        let mut files = self.outcomes.files.lock();
        if files.finished || count != files.offered {
            let expected = "one end that counts the files that were offered";
            return Err(PeerMisbehaved::Unexpected { got: "an end of the offers", expected }.into());
        }
        files.finished = true;
        let complete = files.untold == 0;
        drop(files);
        if complete {
            self.outcomes.complete();
        }
        Ok(())
    }

    // ---- for the workers ----

    /// A frame of a stream was taken in. Its sender holds what it has not heard of, so it hears of each few
    /// at once, whichever data connection they came over.
    pub(super) fn took_in_of_stream(&self) {
        let before = self.streamed.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(STREAM_CONFIRM_CHUNKS) {
            self.outcomes.outbox.nudge();
        }
    }

    /// Counts a probe of so many bytes.
    pub(super) fn took_probe(&self, bytes: u64) -> Result<(), PeerMisbehaved> {
        if !self.outcomes.terms.measure {
            let expected = "a chunk, as it did not wish to measure";
            return Err(PeerMisbehaved::Unexpected { got: "a probe", expected });
        }
        Progress::add(&self.outcomes.progress.written, bytes);
        if Progress::get(&self.outcomes.progress.written) > PROBE_BYTES_MAX {
            let limit = usize::try_from(PROBE_BYTES_MAX).unwrap_or(usize::MAX);
            return Err(PeerMisbehaved::TooMany { what: "bytes of probes", limit });
        }
        if self.probed.get_or_init(Instant::now).elapsed() > PROBE_SESSION_MAX {
            let limit = PROBE_SESSION_MAX.as_secs() as usize;
            return Err(PeerMisbehaved::TooMany { what: "seconds of probes", limit });
        }
        Ok(())
    }

    /// What a chunk of this file belongs to.
    pub(super) fn target(&self, file: FileId) -> Result<Target, PeerMisbehaved> {
        self.outcomes.files.lock().target(file)
    }

    /// Takes the file that arrives whole in one frame, for the caller alone.
    pub(super) fn take_single(&self, file: FileId) -> Result<Offered, PeerMisbehaved> {
        self.outcomes.files.lock().singles.remove(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))
    }
}

impl Receiving {
    /// What is under way, with no more than `most` of its files; whoever has the connections counts them.
    pub fn under_way(&self, most: usize, connections: usize) -> UnderWay {
        let files = self.outcomes.files.lock();
        let in_pieces = |file: &&Arc<Incoming>| !file.offered.layout.is_single() || file.output().is_some();
        let large = files.incoming.values().filter(in_pieces);
        let mut large: Vec<Arc<Incoming>> = large.cloned().collect();
        let (open, all_offered) = (files.open, files.finished);
        drop(files);
        large.sort_unstable_by_key(|file| file.offered.id);
        let files: Vec<FileUnderWay> = large.iter().map(|file| file.under_way()).take(most).collect();
        UnderWay { connections, others: open.saturating_sub(files.len()), files, all_offered }
    }
}

// What the receiver makes of each offer.

impl Receiving {
    pub(super) fn offer(self: &Arc<Self>, offer: &Offer) -> Result<(), End> {
        let layout = offer.kind.layout();
        self.outcomes.files.lock().count(offer.file, !layout.is_single())?;
        Progress::add(&self.outcomes.progress.offered, offer.kind.size().min(FILE_BYTES_MAX));
        if offer.kind == EntryKind::Folder && offer.path.is_empty() {
            dress_destination(&self.outcomes, offer);
            return Ok(());
        }
        let path = match RelativePath::from_wire(&offer.path) {
            Ok(path) => path,
            Err(bad) => {
                let failure = Failure::new(Cause::Refused, bad.to_string());
                self.outcomes.say_outcome(
                    offer.file,
                    !layout.is_single(),
                    offer.weight(),
                    Outcome::Failed(failure),
                );
                return Ok(());
            }
        };
        match offer.kind {
            EntryKind::File { sparse, .. } => {
                self.offer_file(Offered::new(offer, path, sparse));
            }
            EntryKind::Stream => {
                self.outcomes.progress.stream_began();
                self.offer_file(Offered::new(offer, path, false));
            }
            EntryKind::ParentFolder => make_parent_folder(&self.outcomes, offer, &path),
            _ => offer_entry(&self.outcomes, &self.finisher, offer, path),
        }
        Ok(())
    }

    fn offer_file(self: &Arc<Self>, offered: Offered) {
        let size = offered.layout.size();
        if size > FILE_BYTES_MAX {
            let text = format!("{}: {size} bytes are more than lanx stores in one file", offered.path);
            self.outcomes.fail(&offered, Failure::new(Cause::Storage, text));
            return;
        }
        if let Destination::Output(output) = &*self.outcomes.to {
            return offer_to_output(&self.outcomes, offered, output, &self.output_stages);
        }
        let remembered = self.outcomes.files.lock().remembered.take().filter(|(file, _)| *file == offered.id);
        if let Some((_, hash)) = remembered.filter(|(_, hash)| self.outcomes.has_remembered(&offered, *hash))
        {
            return self.outcomes.report(&offered, Some(hash), FileStatus::Remembered);
        }
        let looked_at = self.outcomes.to.folder().and_then(|sink| sink.stamp_at(&offered.path));
        let offered = Offered { looked_at, ..offered };
        // A stream has no size that a file could share: whatever is there differs.
        let size = offered.layout.known_size().unwrap_or(u64::MAX);
        match self.outcomes.sink(&offered.path).and_then(|sink| sink.look(&offered.path, size)) {
            Ok(Found::SameSize(existing)) => self.compare_existing(offered, Some(existing)),
            Ok(Found::Different) if self.outcomes.to.existing() == Existing::Refuse => {
                match offered.layout.is_open() {
                    true => self.outcomes.refuse_existing(&offered),
                    // As if it had the same size, which the sender has not shown that it knows.
                    false => self.compare_existing(offered, None),
                }
            }
            Ok(Found::Nothing) => self.start_receiving(offered),
            Ok(Found::Different) => self.start_receiving(Offered { replaces: true, ..offered }),
            // With a number behind it the name is free.
            Err(SinkError::InTheWay { .. }) if self.outcomes.to.existing() == Existing::Rename => {
                self.start_receiving(offered)
            }
            Err(error) => self.outcomes.fail(&offered, error.failure()),
        }
    }

    pub(super) fn start_receiving(self: &Arc<Self>, offered: Offered) {
        let Some(offered) = self.outcomes.make_room(offered) else { return };
        if self.outcomes.terms.dry_run {
            self.outcomes.report(&offered, None, FileStatus::Wanted);
            return;
        }
        if let Err(error) =
            self.outcomes.sink(&offered.path).and_then(|sink| sink.check_storable(&offered.path))
        {
            return self.outcomes.fail(&offered, error.failure());
        }
        if offered.layout.is_single() {
            let file = offered.id;
            self.outcomes.files.lock().singles.insert(file, offered);
            self.outcomes.outbox.send(&ReceiverMessage::Send { file });
            return;
        }
        match self.open_part(&offered) {
            Ok((part, plan)) if plan.is_empty() => {
                let file = offered.id;
                self.outcomes.insert(Arc::new(Incoming::new(
                    offered,
                    Bytes::Part(Arc::new(part)),
                    plan,
                    &self.outcomes.memory,
                )));
                self.outcomes.outbox.send(&ReceiverMessage::Send { file });
            }
            Ok((part, plan)) => {
                self.start_comparing(offered, Bytes::Part(Arc::new(part)), plan, Against::Part)
            }
            Err(error) => self.outcomes.fail(&offered, error.failure()),
        }
    }

    /// The part file of what was offered, and what of it may be there.
    fn open_part(&self, offered: &Offered) -> Result<(Part, Plan), SinkError> {
        let Offered { path, layout, sparse, looked_at, .. } = offered;
        let sink = self.outcomes.sink(path)?;
        if layout.is_open() {
            return Ok((sink.part_of_stream(path)?.in_place_of(*looked_at), Plan::default()));
        }
        let older = if offered.replaces && self.outcomes.terms.delta { sink.older(path) } else { None };
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
        let incoming = Arc::new(Incoming::new(offered, bytes, plan, &self.outcomes.memory));
        self.outcomes.insert(incoming.clone());
        self.outcomes.outbox.send(&ReceiverMessage::Compare { file, against });
        incoming.begin_comparing(&self.outcomes.outbox);
    }
}

// What follows when more is known of a file.

impl Compares for Receiving {
    fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    fn queue(&self) -> &CompareQueue {
        &self.compare
    }

    /// As many as data connections, so that both are bounded together.
    fn threads_max(&self) -> usize {
        self.share().max(1).into()
    }

    fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Does what follows for a file.
    fn go_on(self: &Arc<Self>, incoming: &Arc<Incoming>, next: Next) -> Result<(), End> {
        match next {
            Next::Nothing => Ok(()),
            Next::Compare(chunk, value) => {
                compare(self, incoming.clone(), chunk, value);
                Ok(())
            }
            Next::Settle(settled) => self.settle(&incoming.offered, settled),
            Next::Differs => {
                self.differs(&incoming.offered);
                Ok(())
            }
        }
    }
}

impl Receiving {
    /// The existing file is another one.
    fn differs(self: &Arc<Self>, offered: &Offered) {
        self.outcomes.files.lock().incoming.remove(&offered.id);
        match self.outcomes.to.existing() {
            Existing::Refuse => self.outcomes.refuse_existing(offered),
            Existing::Overwrite | Existing::Rename => {
                self.start_receiving(Offered { replaces: true, ..offered.clone() });
            }
        }
    }

    /// Publishes a file whose chunks are all there, if it is the file that was sent.
    fn settle(self: &Arc<Self>, offered: &Offered, settled: Settled) -> Result<(), End> {
        let Settled { bytes, layout, ours, theirs } = settled;
        let offered = &Offered { layout, ..offered.clone() };
        if !matches!(bytes, Bytes::Output(_)) {
            self.outcomes.files.lock().incoming.remove(&offered.id);
        }
        let part = match bytes {
            Bytes::Existing(Some(there)) if ours == theirs => {
                self.finisher.identical(offered, there, ours);
                return Ok(());
            }
            Bytes::Existing(_) => {
                let got = "a hash that the chunks it agreed to do not have";
                return Err(PeerMisbehaved::Unexpected { got, expected: "their hash" }.into());
            }
            Bytes::Part(part) => part,
            Bytes::Output(queue) => {
                queue.compare(ours, theirs);
                return Ok(());
            }
        };
        self.finisher.publish(offered, part, ours, theirs);
        Ok(())
    }
}
