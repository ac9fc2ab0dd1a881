//! The sender's chunk path: read, hash, seal, write. One thread runs this for each data connection.
//!
//! A thread owns its buffer, which stays in its core's cache from the read to the write. In the loop there is no
//! channel, no allocation, and no lock held across I/O.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::{Attempt, Outgoing, Run};
use super::lanes::Line;
use super::{Lanes, Sending};
use crate::content::chunk::ChunkIndex;
use crate::content::compress::{COMPRESSED_ROOM_BYTES, Codec, Compressor, Method};
use crate::content::tree::{Hash, chunk_value};
use crate::content::zeros::value_of_zeros;
use crate::limits::{CHUNK_BYTES, PACE_LOOK};
use crate::session::ending::{End, PeerMisbehaved};
use crate::session::frames::{ChunkBuffer, FrameWriter, lost};
use crate::session::progress::Progress;
use crate::session::stage_clock::Clock;
use crate::source::{Content, OpenSource, SourceError, Stream};
use crate::wire::frame::{Header, Kind};
use crate::wire::seal::Sealer;
use crate::wire::stage_times::Stage;

/// Sends chunks over `stream` until the session is closed or the connection is.
///
/// # Errors
/// [`End::Lost`] where the stream fails, [`End::Misbehaved`] where the receiver asked for a chunk twice.
pub fn send_chunks<W: Write>(sending: &Sending, line: &Line, stream: W, sealer: Sealer) -> Result<(), End> {
    let writer = FrameWriter::new(stream, sealer);
    let clock = Clock::new(&sending.stages, Stage::Wait);
    let (compressor, packed) = (Compressor::default(), None);
    let mut worker = Worker { sending, line, writer, buffer: ChunkBuffer::new(), compressor, packed, clock };
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
    compressor: Compressor,
    /// What chunks are compressed into; made for the first one.
    packed: Option<ChunkBuffer>,
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
        let packed = self.sending.compress.method().and_then(|method| self.pack(attempt, &content, method));
        let header = header(attempt, index, &content, packed);
        // A hole counts as what it stands for: a rate that the user has set is not for making files of holes faster.
        let hole = if content.hole { content.len as u64 } else { 0 };
        // What is not written after all is the last of this connection: what was compressed later would build on it.
        if !self.wait_for_turn(header.frame_bytes() + hole)? {
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
        self.write(&header, &content)
    }

    /// Compresses a chunk where that is worth it. Returns how, and how long it became.
    fn pack(&mut self, attempt: &Attempt, content: &Content, method: Method) -> Option<(Codec, usize)> {
        let file = &attempt.file;
        // The receiver of a stream takes what is compressed for a full chunk.
        if content.hole
            || (file.layout.is_open() && content.len < CHUNK_BYTES)
            || !file.guess().is_worth_a_look()
        {
            return None;
        }
        self.clock.turn_to(Stage::Compress);
        let Worker { compressor, buffer, packed, .. } = self;
        let packed = packed.get_or_insert_with(|| ChunkBuffer::with_room(COMPRESSED_ROOM_BYTES));
        let (content, room) = (buffer.content(content.len), packed.content(COMPRESSED_ROOM_BYTES));
        let worthwhile = compressor.is_worthwhile(content, room);
        let packed = if worthwhile { compressor.compress(method, content, room) } else { None };
        file.guess().looked(packed.is_some());
        packed
    }

    /// Waits until a frame of `bytes` may be sent. False where the connection or the session is to end meanwhile.
    fn wait_for_turn(&mut self, bytes: u64) -> Result<bool, End> {
        let Some(pace) = &self.sending.pace else { return Ok(true) };
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

    fn write(&mut self, header: &Header, content: &Content) -> Result<(), End> {
        let buffer = match (header.codec, &mut self.packed) {
            (Some(_), Some(packed)) => packed,
            _ => &mut self.buffer,
        };
        let payload = match header.kind {
            Kind::Whole => buffer.whole(header.content_bytes, &content.value),
            Kind::Chunk | Kind::Zeros | Kind::Probe => buffer.content(header.content_bytes),
        };
        self.clock.turn_to(Stage::Seal);
        self.writer.write(header, payload, || self.clock.turn_to(Stage::Send))?;
        let bytes = if header.kind == Kind::Zeros { 0 } else { content.len as u64 };
        self.sending.sent.fetch_add(bytes, Ordering::Relaxed);
        Progress::add(&self.sending.progress.wire, header.frame_bytes());
        Ok(())
    }
}

/// That of the frame for a chunk; `packed` says how it was compressed, and how long it became.
fn header(attempt: &Attempt, chunk: ChunkIndex, content: &Content, packed: Option<(Codec, usize)>) -> Header {
    let file = &attempt.file;
    let kind = match (file.layout.is_single(), content.hole) {
        (true, _) => Kind::Whole,
        (false, true) => Kind::Zeros,
        (false, false) => Kind::Chunk,
    };
    let plain = if kind == Kind::Zeros { 0 } else { content.len };
    let content_bytes = packed.map_or(plain, |(_, len)| len);
    Header { kind, file: file.id, chunk, content_bytes, codec: packed.map(|(codec, _)| codec) }
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
    // What is known without reading it needs no other session.
    if let Some(open) = open.filter(|open| open.is_hole(file.layout, index)) {
        clock.turn_to(Stage::Hash);
        let value = value_of_zeros(file.layout, index)?;
        let unchanged = check_again(open, run);
        let content = unchanged.map(|()| Content { value, len, hole: true });
        return content.map_err(|error| sending.withdraw(&run.attempt, &error)).ok();
    }
    let mut read = |content: &mut [u8]| {
        match open {
            Some(open) => read_part(open, run, index, content)?,
            None => source.read_whole(file.layout, content)?,
        }
        clock.turn_to(Stage::Hash);
        Ok(Content { value: chunk_value(file.layout, index, content), len, hole: false })
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

/// Reads a chunk of a file that has several.
fn read_part(open: &OpenSource, run: &Run, index: ChunkIndex, content: &mut [u8]) -> Result<(), SourceError> {
    open.read_chunk(run.attempt.file.layout, index, content)?;
    check_again(open, run)
}

/// What is read again must be what was read before.
fn check_again(open: &OpenSource, run: &Run) -> Result<(), SourceError> {
    if run.again { open.check_unchanged() } else { Ok(()) }
}
