//! The sender's chunk path: read, hash, seal, write. One thread runs this for each data connection.
//!
//! A thread owns its buffer, which stays in its core's cache from the read to the write. In the loop there is
//! no channel, no allocation, and no lock held across I/O.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::{Attempt, Dealt, Outgoing, Run};
use super::dealer::Work;
use super::lanes::DataConnection;
use super::sending::Sending;
use crate::content::chunk::ChunkIndex;
use crate::content::compress::{COMPRESSED_ROOM_BYTES, Codec, Compressor, Method};
use crate::content::tree::{ChunkValue, Hash, Subtree, chunk_value};
use crate::content::zeros::{subtrees_of_zeros, value_of_zeros};
use crate::limits::{CHUNK_BYTES, PACE_LOOK};
use crate::session::ending::{End, PeerMisbehaved};
use crate::session::frames::{ChunkBuffer, FrameWriter, lost};
use crate::session::progress::Progress;
use crate::session::stage_clock::Clock;
use crate::source::{OpenSource, SourceError, Stream};
use crate::wire::frame::{Header, Kind};
use crate::wire::seal::Sealer;
use crate::wire::stage_times::Stage;

/// Sends chunks over `stream` until the session is closed or the connection is.
///
/// # Errors
/// [`End::Lost`] where the stream fails, [`End::Misbehaved`] where the receiver asked for a chunk twice.
pub fn send_chunks<W: Write>(
    sending: &Sending,
    connection: &DataConnection,
    stream: W,
    sealer: Sealer,
) -> Result<(), End> {
    let writer = FrameWriter::new(stream, sealer);
    let clock = Clock::new(&sending.stages, Stage::Wait);
    let (compressor, packed) = (Compressor::default(), None);
    let mut worker =
        Worker { sending, connection, writer, buffer: ChunkBuffer::new(), compressor, packed, clock };
    let mut held = None;
    while let Some(dealt) = worker.next(&mut held)? {
        match &held {
            Some(run) if dealt.is_hole && !run.to_hash => worker.send_hole(run, dealt)?,
            Some(run) => worker.send(run, dealt)?,
            None => {}
        }
    }
    worker.writer.flush().map_err(|e| lost(&e))
}

/// Hashes what the receiver compares until the session is closed, also while every connection is busy
/// sending.
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
        let next = sending.dealer.next(&mut held, Work::Compare, None, rest).map_err(|e| lost(&e))?;
        let (Some(dealt), Some(run)) = (next, &held) else { return Ok(()) };
        if let Some(Content { value, .. }) = read(sending, run, dealt, &mut buffer, &mut clock) {
            sending.say_value(&run.attempt, dealt.first, value)?;
        }
    }
}

struct Worker<'a, W: Write> {
    sending: &'a Sending,
    connection: &'a DataConnection,
    writer: FrameWriter<W>,
    buffer: ChunkBuffer,
    compressor: Compressor,
    /// What chunks are compressed into; made for the first one.
    packed: Option<ChunkBuffer>,
    clock: Clock<'a>,
}

impl<W: Write> Worker<'_, W> {
    fn next(&mut self, held: &mut Option<Arc<Run>>) -> Result<Option<Dealt>, End> {
        let Worker { sending, connection, writer, clock, .. } = self;
        let rest = || {
            clock.turn_to(Stage::Send);
            let flushed = writer.flush();
            clock.turn_to(Stage::Wait);
            flushed
        };
        sending.dealer.next(held, Work::All, Some(connection), rest).map_err(|e| lost(&e))
    }

    fn send(&mut self, run: &Arc<Run>, dealt: Dealt) -> Result<(), End> {
        let (attempt, index) = (&run.attempt, dealt.first);
        let content = read(self.sending, run, dealt, &mut self.buffer, &mut self.clock);
        let Some(content) = content else { return Ok(()) };
        let value = content.value;
        if run.to_hash {
            return self.sending.say_value(attempt, index, value);
        }
        if attempt.file.layout.is_single() {
            let _ = attempt.root.set(Hash::from_bytes(value));
        }
        let packed = self.sending.compress.method().and_then(|method| self.pack(attempt, &content, method));
        let header = header(attempt, index, &content, packed);
        match self.may_write(run, dealt, &header, &[Subtree::of_chunk(index, value)])? {
            true => self.write(&header, &content),
            false => Ok(()),
        }
    }

    /// Sends chunks that nobody reads: to a receiver that takes them so in one frame, however many there are.
    fn send_hole(&mut self, run: &Arc<Run>, dealt: Dealt) -> Result<(), End> {
        let (file, sending) = (&run.attempt.file, self.sending);
        self.clock.turn_to(Stage::Hash);
        // It was opened to find the hole.
        let checked = match file.item.source().map(|source| file.open(source)) {
            Some(Ok(open)) => check_again(open, run),
            _ => Ok(()),
        };
        if let Err(error) = checked {
            sending.withdraw(&run.attempt, &error);
            return Ok(());
        }
        let Some(subtrees) = subtrees_of_zeros(file.layout, dealt.first, dealt.count) else { return Ok(()) };
        let header = match sending.dealer.dealt_together {
            1 => Header::zeros(file.id, dealt.first),
            _ => Header::hole(file.id, dealt.first),
        };
        if !self.may_write(run, dealt, &header, &subtrees)? {
            return Ok(());
        }
        let payload = self.buffer.content(header.content_bytes);
        if header.kind == Kind::Hole {
            payload.copy_from_slice(&dealt.count.to_le_bytes());
        }
        self.clock.turn_to(Stage::Seal);
        self.writer.write(&header, payload, || self.clock.turn_to(Stage::Send))?;
        Progress::add(&sending.progress.wire, header.frame_bytes());
        Ok(())
    }

    /// Waits for the turn of a frame, and takes note of what it carries, which has these values. False where
    /// it is not to be written: then it is dealt again.
    fn may_write(
        &mut self,
        run: &Run,
        dealt: Dealt,
        header: &Header,
        subtrees: &[Subtree],
    ) -> Result<bool, End> {
        let (attempt, sending) = (&run.attempt, self.sending);
        // What is not written after all is the last of this connection: what was compressed later would build
        // on it.
        if !self.wait_for_turn(header.frame_bytes())? {
            if run.again {
                sending.dealer.deal_again(attempt, dealt);
            } else {
                sending.dealer.resend(attempt, dealt);
            }
            return Ok(false);
        }
        // Before it is written: should the connection die under it, it is dealt again as one that was hashed.
        if !run.again {
            sending.hashed(attempt, subtrees, header.kind == Kind::Whole)?;
        }
        let noted = self.connection.note(attempt, dealt);
        if !noted {
            sending.dealer.deal_again(attempt, dealt);
        }
        Ok(noted)
    }

    /// Compresses a chunk where that is worth it. Returns how, and how long it became.
    fn pack(&mut self, attempt: &Attempt, content: &Content, method: Method) -> Option<(Codec, usize)> {
        let file = &attempt.file;
        // The receiver of a stream takes what is compressed for a full chunk.
        if (file.layout.is_open() && content.len < CHUNK_BYTES) || !file.guess().is_worth_a_look() {
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

    /// Waits until a frame of `bytes` may be sent. False where the connection or the session is to end
    /// meanwhile.
    fn wait_for_turn(&mut self, bytes: u64) -> Result<bool, End> {
        let Some(pace) = &self.sending.options.pace else { return Ok(true) };
        while let Some(wait) = pace.take(bytes) {
            self.clock.turn_to(Stage::Limit);
            // What was gathered need not wait as well.
            self.writer.flush().map_err(|e| lost(&e))?;
            if self.connection.is_closed() || self.connection.is_retired() || self.sending.dealer.is_closed()
            {
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
            _ => buffer.content(header.content_bytes),
        };
        self.clock.turn_to(Stage::Seal);
        self.writer.write(header, payload, || self.clock.turn_to(Stage::Send))?;
        self.sending.sent.fetch_add(content.len as u64, Ordering::Relaxed);
        Progress::add(&self.sending.progress.wire, header.frame_bytes());
        Ok(())
    }
}

/// What one chunk holds, besides its bytes.
#[derive(Clone, Copy)]
struct Content {
    value: ChunkValue,
    len: usize,
}

/// That of the frame for a chunk; `packed` says how it was compressed, and how long it became.
fn header(attempt: &Attempt, chunk: ChunkIndex, content: &Content, packed: Option<(Codec, usize)>) -> Header {
    let file = &attempt.file;
    let kind = if file.layout.is_single() { Kind::Whole } else { Kind::Chunk };
    let content_bytes = packed.map_or(content.len, |(_, len)| len);
    Header { kind, file: file.id, chunk, content_bytes, codec: packed.map(|(codec, _)| codec) }
}

/// Reads a chunk into `buffer` and hashes it, or takes it from a session that has. Where the source cannot be
/// read the file is withdrawn.
fn read(
    sending: &Sending,
    run: &Run,
    dealt: Dealt,
    buffer: &mut ChunkBuffer,
    clock: &mut Clock<'_>,
) -> Option<Content> {
    clock.turn_to(Stage::Read);
    let (file, index) = (&run.attempt.file, dealt.first);
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
    if dealt.is_hole {
        clock.turn_to(Stage::Hash);
        return Some(Content { value: value_of_zeros(file.layout, index)?, len });
    }
    let read = match open {
        Some(open) => read_part(open, run, index, content),
        None => source.read_whole(file.layout, content),
    };
    if let Err(error) = read {
        sending.withdraw(&run.attempt, &error);
        return None;
    }
    clock.turn_to(Stage::Hash);
    Some(Content { value: chunk_value(file.layout, index, content), len })
}

/// Copies a chunk of a stream into `buffer`, as it is sealed there, and hashes it. The stream keeps it for
/// the case that it does not arrive.
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
    Some(Content { value: chunk_value(file.layout, index, content), len })
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
