//! The sender's chunk path: read, hash, seal, write. One thread runs this for each data connection.
//!
//! A thread owns its buffer, which stays in its core's cache from the read to the write. In the loop there is no
//! channel, no allocation, and no lock held across I/O.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dealer::{Attempt, Outgoing, Run};
use super::lanes::Line;
use super::{Lanes, Sending};
use crate::content::chunk::ChunkIndex;
use crate::content::tree::{Hash, chunk_value};
use crate::limits::PACE_LOOK;
use crate::session::frames::{ChunkBuffer, FrameWriter, lost};
use crate::session::stage_clock::Clock;
use crate::session::{End, PeerMisbehaved};
use crate::source::{Content, OpenSource, SourceError, Stream};
use crate::wire::frame::{HEADER_BYTES, Header, Kind};
use crate::wire::seal::{Sealer, TAG_BYTES};
use crate::wire::stage_times::Stage;

/// Sends chunks over `stream` until the session is closed or the connection is.
///
/// # Errors
/// [`End::Lost`] where the stream fails, [`End::Misbehaved`] where the receiver asked for a chunk twice.
pub fn send_chunks<W: Write>(sending: &Sending, line: &Line, stream: W, sealer: Sealer) -> Result<(), End> {
    let writer = FrameWriter::new(stream, sealer);
    let clock = Clock::new(&sending.stages, Stage::Wait);
    let mut worker = Worker { sending, line, writer, buffer: ChunkBuffer::new(), clock };
    let mut held = None;
    while let Some(index) = worker.next(&mut held)? {
        if let Some(run) = &held {
            worker.send(run, index)?;
        }
    }
    worker.writer.flush().map_err(|e| lost(&e))
}

/// Hashes what the receiver compares until the session is closed, also while every connection is busy sending.
///
/// # Errors
/// [`End::Misbehaved`] where the receiver asked for a value twice.
pub fn compare_chunks(sending: &Sending) -> Result<(), End> {
    let mut buffer = ChunkBuffer::new();
    let mut clock = Clock::new(&sending.stages, Stage::Wait);
    let mut held = None;
    loop {
        let rest = || {
            clock.turn_to(Stage::Wait);
            Ok(())
        };
        let next = sending.next(&mut held, Lanes::Compare, None, rest).map_err(|e| lost(&e))?;
        let (Some(index), Some(run)) = (next, &held) else { return Ok(()) };
        if let Some(Content { value, .. }) = read(sending, run, index, &mut buffer, &mut clock) {
            sending.say_value(&run.attempt, index, value)?;
        }
    }
}

struct Worker<'a, W: Write> {
    sending: &'a Sending,
    line: &'a Line,
    writer: FrameWriter<W>,
    buffer: ChunkBuffer,
    clock: Clock<'a>,
}

impl<W: Write> Worker<'_, W> {
    fn next(&mut self, held: &mut Option<Arc<Run>>) -> Result<Option<ChunkIndex>, End> {
        let Worker { sending, line, writer, clock, .. } = self;
        let rest = || {
            clock.turn_to(Stage::Send);
            let flushed = writer.flush();
            clock.turn_to(Stage::Wait);
            flushed
        };
        sending.next(held, Lanes::All, Some(line), rest).map_err(|e| lost(&e))
    }

    fn send(&mut self, run: &Arc<Run>, index: ChunkIndex) -> Result<(), End> {
        let attempt = &run.attempt;
        let content = read(self.sending, run, index, &mut self.buffer, &mut self.clock);
        let Some(content) = content else { return Ok(()) };
        let value = content.value;
        if run.to_hash {
            return self.sending.say_value(attempt, index, value);
        }
        let whole = attempt.file.layout.is_single();
        if whole {
            let _ = attempt.root.set(Hash::from_bytes(value));
        }
        if !self.wait_for_turn(content.len)? {
            if run.again {
                self.sending.deal_again(attempt, index);
            } else {
                self.sending.resend(attempt, index);
            }
            return Ok(());
        }
        // Before it is written: should the connection die under it, it is dealt again as one that was hashed.
        if !run.again {
            self.sending.hashed(attempt, index, value, whole)?;
        }
        if !self.line.note(attempt, index) {
            self.sending.deal_again(attempt, index);
            return Ok(());
        }
        self.write(attempt, index, &content)
    }

    /// Waits until a chunk of `len` bytes may be sent. False where the connection or the session is to end meanwhile.
    fn wait_for_turn(&mut self, len: usize) -> Result<bool, End> {
        let Some(pace) = &self.sending.pace else { return Ok(true) };
        let bytes = HEADER_BYTES + TAG_BYTES + len;
        while let Some(wait) = pace.take(bytes) {
            self.clock.turn_to(Stage::Limit);
            // What was gathered need not wait as well.
            self.writer.flush().map_err(|e| lost(&e))?;
            if self.line.is_closed() || self.line.is_retired() || self.sending.is_closed() {
                return Ok(false);
            }
            std::thread::sleep(wait.min(PACE_LOOK));
        }
        Ok(true)
    }

    fn write(&mut self, attempt: &Attempt, index: ChunkIndex, content: &Content) -> Result<(), End> {
        let file = &attempt.file;
        let len = content.len;
        let (kind, content_bytes, payload) = if file.layout.is_single() {
            (Kind::Whole, len, self.buffer.whole(len, &content.value))
        } else if content.hole {
            (Kind::Zeros, 0, self.buffer.content(0))
        } else {
            (Kind::Chunk, len, self.buffer.content(len))
        };
        self.clock.turn_to(Stage::Seal);
        let header = Header { kind, file: file.id, chunk: index, content_bytes };
        self.writer.write(&header, payload, || self.clock.turn_to(Stage::Send))?;
        self.sending.sent.fetch_add(content_bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads a chunk into `buffer` and hashes it, or takes it from a session that has. Where the source cannot be read the file
/// is withdrawn.
fn read(
    sending: &Sending,
    run: &Run,
    index: ChunkIndex,
    buffer: &mut ChunkBuffer,
    clock: &mut Clock<'_>,
) -> Option<Content> {
    clock.turn_to(Stage::Read);
    let file = &run.attempt.file;
    if let Some(stream) = file.item.stream() {
        return read_stream(sending, file, stream, index, buffer);
    }
    let source = file.item.source()?;
    let len = file.layout.len_of(index)?;
    let content = buffer.content(len);
    // Also where it comes from another session: that it did not change is checked here.
    let open = file.is_large().then(|| file.open(source)).transpose();
    let open = match open {
        Ok(open) => open,
        Err(error) => {
            sending.withdraw(&run.attempt, error);
            return None;
        }
    };
    let mut read = |content: &mut [u8]| {
        let hole = match open {
            Some(open) => read_part(open, run, index, content)?,
            None => source.read_whole(file.layout, content).map(|()| false)?,
        };
        clock.turn_to(Stage::Hash);
        Ok(Content { value: chunk_value(file.layout, index, content), len, hole })
    };
    let result = match &sending.shared {
        Some(shared) if run.is_shared() && source.size() > 0 => shared.read(source, index, content, read),
        _ => read(content),
    };
    result.map_err(|error| sending.withdraw(&run.attempt, &error)).ok()
}

/// Copies a chunk of a stream into `buffer`, as it is sealed there, and hashes it. The stream keeps it for the case that it
/// does not arrive.
fn read_stream(
    sending: &Sending,
    file: &Outgoing,
    stream: &Stream,
    index: ChunkIndex,
    buffer: &mut ChunkBuffer,
) -> Option<Content> {
    let Some(chunk) = stream.chunk(index.0) else {
        // Only what the receiver has is not there any more.
        sending.ending.decide(PeerMisbehaved::WrongChunk { file: file.id.0, chunk: index.0 }.into());
        return None;
    };
    let len = chunk.bytes().len();
    let content = buffer.content(len);
    content.copy_from_slice(chunk.bytes());
    Some(Content { value: chunk_value(file.layout, index, content), len, hole: false })
}

/// Reads a chunk of a file that has several. Returns whether it lies in a hole.
fn read_part(
    open: &OpenSource,
    run: &Run,
    index: ChunkIndex,
    content: &mut [u8],
) -> Result<bool, SourceError> {
    let layout = run.attempt.file.layout;
    let hole = open.is_hole(layout, index);
    if hole {
        content.fill(0);
    } else {
        open.read_chunk(layout, index, content)?;
    }
    // What is read again must be what was read before.
    if run.again {
        open.check_unchanged()?;
    }
    Ok(hole)
}
