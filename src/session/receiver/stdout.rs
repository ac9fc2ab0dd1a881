//! A file that goes to the standard output: chunks that come early wait here for their turn.
//!
//! The receiver says how far the sender may go ([`ReceiverMessage::SendUpTo`]), so no more than
//! [`IN_ORDER_WINDOW_CHUNKS`] of them wait at once, and no data connection ever waits for another's chunk or for whoever
//! reads the output: one thread writes, and it alone decides what becomes of the file.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::Receiving;
use super::incoming::{Extent, Offered};
use crate::content::chunk::ChunkIndex;
use crate::content::entry::{Cause, Failure};
use crate::content::tree::{ChunkValue, Hash, Tree};
use crate::limits::{IN_ORDER_STEP_CHUNKS, IN_ORDER_WINDOW_CHUNKS, WORKER_STACK_BYTES};
use crate::os::said::Said;
use crate::session::ending::{End, PeerMisbehaved};
use crate::session::frames::ChunkBuffer;
use crate::session::progress::Progress;
use crate::session::report::FileStatus;
use crate::session::snapshot::FileUnderWay;
use crate::session::stage_clock::Clock;
use crate::store::Output;
use crate::wire::message::ReceiverMessage;
use crate::wire::stage_times::Stage;

/// A file on its way to the output.
pub(crate) struct InOrder {
    pub offered: Offered,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Chunks that came and are not written.
    early: BTreeMap<u64, Chunk>,
    /// Buffers of chunks that are written, for those that come.
    spare: Vec<ChunkBuffer>,
    /// The chunk to be written next.
    next: u64,
    /// The sender may send the chunks below this one.
    end: u64,
    extent: Extent,
    tree: Tree,
    theirs: Option<Hash>,
    /// Why the rest does not come.
    failure: Option<Failure>,
    /// Nobody waits for it any more.
    over: bool,
}

/// The bytes of a chunk, in a buffer that may be longer.
struct Chunk {
    buffer: ChunkBuffer,
    len: usize,
}

/// What the writing thread does next.
enum Step {
    Write(Chunk),
    Compare { ours: Hash, theirs: Hash },
    Fail(Failure),
    Leave,
}

impl InOrder {
    pub fn new(offered: Offered) -> InOrder {
        let state = State {
            early: BTreeMap::new(),
            spare: Vec::new(),
            next: 0,
            end: IN_ORDER_WINDOW_CHUNKS.min(offered.layout.chunks()),
            extent: Extent::new(offered.id, offered.layout),
            tree: Tree::new(offered.layout),
            theirs: None,
            failure: None,
            over: false,
        };
        InOrder { offered, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Asks for the file, as far as there is room for it.
    pub fn ask(&self) -> ReceiverMessage {
        let file = self.offered.id;
        match self.offered.layout.is_single() {
            true => ReceiverMessage::Send { file },
            false => ReceiverMessage::SendUpTo { file, end: ChunkIndex(self.state.lock().end) },
        }
    }

    /// Takes a chunk of `len` bytes in, and with it the buffer that it is in; the caller gets another one.
    pub fn take(
        &self,
        index: ChunkIndex,
        value: ChunkValue,
        len: usize,
        buffer: &mut ChunkBuffer,
    ) -> Result<(), PeerMisbehaved> {
        let wrong = PeerMisbehaved::WrongChunk { file: self.offered.id.0, chunk: index.0 };
        let mut state = self.state.lock();
        if state.over {
            return Ok(());
        }
        state.extent.admit(index, len)?;
        if index.0 >= state.end {
            let got = "a chunk that there is no room for yet";
            return Err(PeerMisbehaved::Unexpected { got, expected: "those that it was asked for" });
        }
        if index.0 < state.next || state.early.contains_key(&index.0) {
            return Err(wrong);
        }
        state.tree.insert(index, value).map_err(|_| wrong)?;
        let spare = state.spare.pop().unwrap_or_else(ChunkBuffer::new);
        let buffer = std::mem::replace(buffer, spare);
        state.early.insert(index.0, Chunk { buffer, len });
        self.changed.notify_one();
        Ok(())
    }

    /// How far it has come.
    pub fn under_way(&self) -> FileUnderWay {
        let state = self.state.lock();
        FileUnderWay::new(self.offered.path.clone(), state.next, state.extent.layout())
    }

    /// The sender's hash of the file.
    pub fn root(&self, hash: Hash) -> Result<(), PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.extent.layout().is_open() {
            if state.over {
                return Ok(());
            }
            let got = "the hash of a stream";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its length before" });
        }
        if state.theirs.replace(hash).is_some() {
            let got = "a second hash of a file";
            return Err(PeerMisbehaved::Unexpected { got, expected: "one hash for each file" });
        }
        self.changed.notify_one();
        Ok(())
    }

    /// The stream has ended.
    pub fn length(&self, bytes: u64, progress: &Progress) -> Result<(), PeerMisbehaved> {
        let mut state = self.state.lock();
        if state.over {
            return Ok(());
        }
        let layout = state.extent.end(bytes)?;
        progress.stream_ended(bytes);
        let wrong =
            |chunk: ChunkIndex| PeerMisbehaved::WrongChunk { file: self.offered.id.0, chunk: chunk.0 };
        state.tree.close(layout).map_err(|misplaced| wrong(misplaced.0))?;
        self.changed.notify_one();
        Ok(())
    }

    /// The rest does not come.
    pub fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
        self.changed.notify_one();
    }

    /// Nobody waits for it any more: late chunks are dropped.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.over = true;
        state.early.clear();
        state.spare.clear();
        self.changed.notify_one();
    }

    fn step(&self) -> Step {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return Step::Leave;
            }
            if let Some(failure) = state.failure.take() {
                return Step::Fail(failure);
            }
            let next = state.next;
            let written = next == state.extent.layout().chunks();
            // Known to be wrong, it is not written any further.
            if let (Some(ours), Some(theirs)) = (state.tree.root(), state.theirs)
                && (written || ours != theirs)
            {
                return Step::Compare { ours, theirs };
            }
            if let Some(chunk) = state.early.remove(&next) {
                state.next += 1;
                return Step::Write(chunk);
            }
            self.changed.wait(&mut state);
        }
    }

    /// A chunk was written. Returns how far the sender may go now, where that is worth telling.
    fn wrote(&self, chunk: Chunk) -> Option<ChunkIndex> {
        let mut state = self.state.lock();
        state.spare.push(chunk.buffer);
        let chunks = state.extent.layout().chunks();
        let end = (state.next + IN_ORDER_WINDOW_CHUNKS).min(chunks);
        let last = end == chunks;
        let due = end >= state.end + if last { 1 } else { IN_ORDER_STEP_CHUNKS };
        due.then(|| {
            state.end = end;
            ChunkIndex(end)
        })
    }
}

impl Receiving {
    /// Takes a file for the output, if that is free.
    pub(super) fn offer_to_output(self: &Arc<Self>, offered: Offered, output: &Arc<Output>) {
        if self.terms.dry_run {
            return self.report(&offered, None, FileStatus::Wanted);
        }
        if !output.promise() {
            let text = format!(
                "{}: the receiver writes one file to its standard output, and has another one; send them one by one, or \
                 to `lanx recv DIR`",
                offered.path
            );
            return self.fail(&offered, Failure::new(Cause::Refused, text));
        }
        let file = Arc::new(InOrder::new(offered));
        let mut files = self.files.lock();
        if files.closed {
            return;
        }
        files.in_order = Some(file.clone());
        drop(files);
        let ask = file.ask();
        let (session, output) = (self.clone(), output.clone());
        let builder = thread::Builder::new().name("output".into()).stack_size(WORKER_STACK_BYTES);
        // Nobody waits for this thread: whoever reads the output may hold it up for ever.
        match builder.spawn(move || write_out(&session, &file, &output)) {
            Ok(_) => self.outbox.send(&ask),
            Err(error) => self.ending.decide(End::Exhausted(error.to_string())),
        }
    }

    fn wrote_out(&self, file: &InOrder, hash: Option<Hash>, status: FileStatus) {
        file.end();
        let mut files = self.files.lock();
        // Its session is over, and has told how.
        if files.in_order.take().is_none() {
            return;
        }
        if let FileStatus::Failed(_) = status {
            files.failed.insert(file.offered.id);
        }
        drop(files);
        let layout = file.state.lock().extent.layout();
        self.report(&Offered { layout, ..file.offered.clone() }, hash, status);
    }
}

/// Writes the chunks of a file as their turn comes, and tells what became of it.
fn write_out(session: &Receiving, file: &InOrder, output: &Output) {
    let mut clock = Clock::new(&session.output_stages, Stage::Receive);
    let mut written = 0;
    let failure = loop {
        clock.turn_to(Stage::Receive);
        match file.step() {
            Step::Write(mut chunk) => {
                clock.turn_to(Stage::Write);
                if let Err((done, error)) = output.write(chunk.buffer.content(chunk.len)) {
                    written += done as u64;
                    break not_written(file, written, &error);
                }
                written += chunk.len as u64;
                Progress::add(&session.progress.written, chunk.len as u64);
                if let Some(end) = file.wrote(chunk) {
                    session.outbox.send(&ReceiverMessage::SendUpTo { file: file.offered.id, end });
                }
            }
            Step::Compare { ours, theirs } if ours == theirs => {
                return session.wrote_out(file, Some(ours), FileStatus::Stored);
            }
            Step::Compare { ours, theirs } => break not_verified(file, written, ours, theirs),
            Step::Fail(failure) => break failure,
            Step::Leave => return,
        }
    };
    session.wrote_out(file, None, FileStatus::Failed(failure));
}

fn not_written(file: &InOrder, written: u64, error: &io::Error) -> Failure {
    let path = &file.offered.path;
    let text = match error.kind() {
        io::ErrorKind::BrokenPipe => {
            format!("{path}: whoever read the receiver's standard output closed it after {}", bytes(written))
        }
        _ => format!(
            "{path}: cannot write to the receiver's standard output: {}; see where it goes, then start both again",
            Said(error)
        ),
    };
    Failure::new(Cause::Storage, text)
}

fn not_verified(file: &InOrder, written: u64, ours: Hash, theirs: Hash) -> Failure {
    let taken_back = match written {
        0 => "nothing of it was written to standard output".into(),
        _ => format!(
            "{written} bytes were written to standard output and cannot be taken back, do not use them"
        ),
    };
    let text = format!(
        "{}: what arrived is not what was sent (BLAKE3 {ours} here, {theirs} there); {taken_back}; start both again",
        file.offered.path
    );
    Failure::new(Cause::Verification, text)
}

fn bytes(n: u64) -> String {
    if n == 1 { "1 byte".into() } else { format!("{n} bytes") }
}
