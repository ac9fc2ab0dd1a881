//! The receiver's chunk path: read, open, check, hash, write. One thread runs this for each data connection.
//!
//! Nothing is believed before it was checked against what was agreed: the file must be under way, the chunk
//! must be one of its chunks that nobody has written, and the length must be that chunk's. As at the sender
//! there is no channel, no allocation, and no lock held across I/O in the loop over chunks.

use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::Stat;

use super::compare::Compares;
use super::files::Target;
use super::in_order::InOrder;
use super::incoming::{Incoming, WriteTo};
use super::offered::Offered;
use super::receiving::Receiving;
use crate::content::compress::{Codec, Decompressor};
use crate::content::tree::{Hash, Subtree, chunk_value};
use crate::content::zeros::{subtrees_of_zeros, value_of_zeros};
use crate::limits::{CHUNK_BYTES, PACE_LOOK, STRAIGHT_BYTES};
use crate::session::ending::{End, PeerMisbehaved};
use crate::session::frames::{ChunkBuffer, FrameReader};
use crate::session::progress::Progress;
use crate::session::report::FileStatus;
use crate::session::stage_clock::Clock;
use crate::store::{Part, SinkError};
use crate::wire::frame::{HASH_BYTES, Header, Kind, chunks_of_hole};
use crate::wire::seal::Opener;
use crate::wire::stage_times::Stage;

/// Receives chunks from `stream` until it ends between two frames, and counts in `frames` those that were
/// taken in.
///
/// # Errors
/// [`End::Lost`] where the stream fails or ends inside a frame, [`End::Misbehaved`] where the sender breaks the
/// protocol. What the disk refuses fails only the file.
pub fn receive_frames<R: Read>(
    session: &Arc<Receiving>,
    stream: R,
    opener: Opener,
    frames: &AtomicU64,
) -> Result<(), End> {
    let reader = FrameReader::new(Paced { stream, session, waited: Duration::ZERO }, opener);
    let clock = Clock::new(&session.stages, Stage::Receive);
    let buffer = ChunkBuffer::new();
    let (packed, decompressor) = (None, Decompressor::default());
    let mut worker =
        Worker { session, reader, buffer, packed, decompressor, current: None, of_stream: false, clock };
    while let Some(header) = worker.reader.header()? {
        session.wait_for_room();
        match header.kind {
            Kind::Whole => worker.receive_whole(&header)?,
            Kind::Chunk | Kind::Zeros => worker.receive_chunk(&header)?,
            Kind::Probe => worker.receive_probe(&header)?,
            Kind::Hole => worker.receive_hole(&header)?,
        }
        Progress::add(&session.progress().wire, header.frame_bytes());
        frames.fetch_add(1, Ordering::Release);
        if std::mem::take(&mut worker.of_stream) {
            session.took_in_of_stream();
        }
        worker.clock.turn_to(Stage::Receive);
        let waited = std::mem::take(&mut worker.reader.stream().waited);
        worker.clock.reckon(waited, Stage::Receive, Stage::Limit);
    }
    Ok(())
}

/// A stream that is read no faster than the receiver's `--limit` lets it: what was read is paid for before
/// more is read. So each of many connections goes on, if only a little at a time, and none seems dead to its
/// sender.
struct Paced<'a, R> {
    stream: R,
    session: &'a Receiving,
    /// How long that took since somebody asked.
    waited: Duration,
}

/// How much of a limited stream is read at once.
const PACED_BYTES: usize = 64 * 1024;

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Some(pace) = &self.session.pace else { return self.stream.read(to) };
        let most = to.len().min(PACED_BYTES);
        let read = self.stream.read(&mut to[..most])?;
        while let Some(wait) = pace.take(read as u64).filter(|_| self.session.ending().get().is_none()) {
            let wait = wait.min(PACE_LOOK);
            thread::sleep(wait);
            self.waited += wait;
        }
        Ok(read)
    }
}

struct Worker<'a, R: Read> {
    session: &'a Arc<Receiving>,
    reader: FrameReader<Paced<'a, R>>,
    buffer: ChunkBuffer,
    /// Where compressed content waits until it is known how long it becomes; made when the first of it comes.
    packed: Option<ChunkBuffer>,
    decompressor: Decompressor,
    /// The file of the last chunk: most often also that of the next.
    current: Option<Arc<Incoming>>,
    /// Whether the frame was of a stream.
    of_stream: bool,
    clock: Clock<'a>,
}

impl<R: Read> Worker<'_, R> {
    /// Opens it as if it were a chunk, and forgets it.
    fn receive_probe(&mut self, header: &Header) -> Result<(), End> {
        self.reader.payload(self.buffer.content(header.content_bytes), || ())?;
        Ok(self.session.took_probe(header.content_bytes as u64)?)
    }

    /// Reads what travels compressed, and makes of it what it was: in the buffer, and with the header that it
    /// would have had then. Also of a file that has failed, as what follows on the connection may build on
    /// it.
    fn unpack(&mut self, header: &Header, codec: Codec) -> Result<Header, End> {
        let packed = self.packed.get_or_insert_with(ChunkBuffer::new);
        let payload = match header.kind {
            Kind::Whole => packed.whole(header.content_bytes, &[0; HASH_BYTES]),
            _ => packed.content(header.content_bytes),
        };
        self.reader.payload(payload, || self.clock.turn_to(Stage::Open))?;
        self.session.check_codec(codec)?;
        self.clock.turn_to(Stage::Decompress);
        let (from, to) = (packed.content(header.content_bytes), self.buffer.content(CHUNK_BYTES));
        let len = self.decompressor.decompress(codec, from, to).map_err(|error| {
            PeerMisbehaved::BadlyCompressed { file: header.file.0, chunk: header.chunk.0, error }
        })?;
        if header.kind == Kind::Whole {
            let _ = self.buffer.whole(len, &packed.hash());
        }
        self.clock.turn_to(Stage::Hash);
        Ok(Header { content_bytes: len, codec: None, ..*header })
    }

    fn receive_chunk(&mut self, header: &Header) -> Result<(), End> {
        // The decoder has bounded the length by that of a chunk; everything else waits until the frame is
        // known to be the sender's.
        let unpacked = header.codec.map(|codec| self.unpack(header, codec)).transpose()?;
        if unpacked.is_none() {
            let content = self.buffer.content(header.content_bytes);
            self.reader.payload(content, || self.clock.turn_to(Stage::Open))?;
            self.clock.turn_to(Stage::Hash);
        }
        let header = &unpacked.unwrap_or(*header);
        let incoming = match self.current.take().filter(|incoming| incoming.offered.id == header.file) {
            Some(incoming) => incoming,
            None => match self.session.target(header.file)? {
                Target::Incoming(incoming) => incoming,
                Target::Failed => return Ok(()),
            },
        };
        self.receive_part_of(&incoming, header)?;
        self.current = Some(incoming);
        Ok(())
    }

    /// The content of a frame that carries one chunk of several; of zeros only where it belongs.
    fn content_of(&mut self, offered: &Offered, header: &Header) -> Result<&mut [u8], PeerMisbehaved> {
        let Offered { id, layout, .. } = *offered;
        let wrong = PeerMisbehaved::WrongChunk { file: id.0, chunk: header.chunk.0 };
        self.of_stream = layout.is_open();
        let expected = layout.len_of(header.chunk).filter(|_| !layout.is_single()).ok_or(wrong)?;
        if header.kind == Kind::Zeros {
            return Ok(self.buffer.content(expected));
        }
        // Of a stream any chunk may be the last, as long as its length is not known; but none is empty, as
        // nothing has no value.
        if !layout.is_open() || header.content_bytes == 0 {
            check_length(header, expected as u64)?;
        }
        Ok(self.buffer.content(header.content_bytes))
    }

    fn receive_part_of(&mut self, incoming: &Arc<Incoming>, header: &Header) -> Result<(), End> {
        let session = self.session;
        let layout = incoming.offered.layout;
        let len = self.content_of(&incoming.offered, header)?.len();
        let Some(place) = incoming.target_for(header.chunk, len)? else { return Ok(()) };
        incoming.claim(header.chunk)?;
        let part = match place {
            WriteTo::Part(part) => part,
            WriteTo::Output(queue) => return self.put_in_order(incoming, &queue, header, len),
        };
        let (content, len) = (self.buffer.content(len), len as u64);
        if layout.is_open()
            && let Some(failure) = session.outcomes.no_room_for_chunk(&incoming.offered, header.chunk.0, len)
        {
            return Ok(session.outcomes.fail_incoming(incoming, failure)?);
        }
        let value = match header.kind {
            Kind::Zeros => value_of_zeros(layout, header.chunk)
                .ok_or(PeerMisbehaved::WrongChunk { file: incoming.offered.id.0, chunk: header.chunk.0 })?,
            _ => chunk_value(layout, header.chunk, content),
        };
        let offset = layout.offset_of(header.chunk).unwrap_or_default();
        self.clock.turn_to(Stage::Write);
        let written = match header.kind {
            Kind::Zeros => part.write_zeros(offset, len),
            _ => part.write_at(content, offset),
        };
        if session.outcomes.terms.diligence.sync && incoming.write_back_is_due(len) {
            session.finisher.write_back(part);
        }
        if let Err(error) = written {
            return Ok(session.outcomes.fail_incoming(incoming, error.failure())?);
        }
        // The outcome of the last chunk has the sender told what all took.
        self.clock.count();
        Progress::add(&session.progress().written, len);
        let stored = Subtree::of_chunk(header.chunk, value);
        session.go_on(incoming, incoming.stored(&[stored], &session.outcomes.outbox)?)
    }

    /// As many chunks of zeros as the frame says.
    fn receive_hole(&mut self, header: &Header) -> Result<(), End> {
        let Worker { session, reader, buffer, clock, .. } = self;
        let payload = buffer.content(header.content_bytes);
        reader.payload(payload, || clock.turn_to(Stage::Open))?;
        clock.turn_to(Stage::Hash);
        let (first, bad) = (header.chunk, |error| PeerMisbehaved::BadHole { file: header.file.0, error });
        let count = chunks_of_hole(payload).map_err(bad)?;
        let Target::Incoming(incoming) = session.target(header.file)? else { return Ok(()) };
        let layout = incoming.offered.layout;
        if layout.is_open() || !incoming.offered.sparse {
            let got = "a hole in a file that has none";
            return Err(PeerMisbehaved::Unexpected { got, expected: "its chunks" }.into());
        }
        let wrong = || PeerMisbehaved::WrongChunk { file: header.file.0, chunk: first.0 };
        let bytes = layout.range_of(first, count).ok_or_else(wrong)?;
        let Some(part) = incoming.part_for_hole(first, count)? else { return Ok(()) };
        let subtrees = subtrees_of_zeros(layout, first, count).ok_or_else(wrong)?;
        clock.turn_to(Stage::Write);
        let len = bytes.end - bytes.start;
        if let Err(error) = part.write_zeros(bytes.start, len) {
            return Ok(session.outcomes.fail_incoming(&incoming, error.failure())?);
        }
        clock.count();
        Progress::add(&session.progress().written, len);
        session.go_on(&incoming, incoming.stored(&subtrees, &session.outcomes.outbox)?)
    }

    /// A file that is one chunk.
    fn receive_whole(&mut self, header: &Header) -> Result<(), End> {
        let unpacked = header.codec.map(|codec| self.unpack(header, codec)).transpose()?;
        let Worker { session, reader, buffer, clock, .. } = self;
        let len = HASH_BYTES + header.content_bytes;
        let to_output = session.outcomes.to.output().is_some();
        let in_place = match unpacked {
            Some(_) => None,
            None if !to_output && len < STRAIGHT_BYTES => {
                Some(reader.payload_in_place(len, || clock.turn_to(Stage::Open))?)
            }
            None => {
                let payload = buffer.whole(header.content_bytes, &[0; HASH_BYTES]);
                reader.payload(payload, || clock.turn_to(Stage::Open))?;
                None
            }
        };
        clock.turn_to(Stage::Hash);
        let header = &unpacked.unwrap_or(*header);
        if to_output {
            return self.receive_whole_in_order(header);
        }
        let payload = match in_place {
            Some(payload) => &*payload,
            None => buffer.as_whole(header.content_bytes),
        };
        let (hash, content) = payload.split_at(HASH_BYTES);
        let mut theirs = [0; HASH_BYTES];
        theirs.copy_from_slice(hash);
        let theirs = Hash::from_bytes(theirs);
        let offered = session.take_single(header.file)?;
        check_length(header, offered.layout.size())?;
        let ours = Hash::from_bytes(chunk_value(offered.layout, header.chunk, content));
        clock.turn_to(Stage::Write);
        let stored = store_whole(session, &offered, content, ours == theirs);
        clock.count();
        match stored {
            Ok(stored) => {
                Progress::add(&session.progress().written, offered.layout.size());
                match stored {
                    Stored::Made(made) => {
                        session.outcomes.remember_written(&offered, ours, &made);
                        session.outcomes.report(&offered, Some(ours), FileStatus::Stored);
                    }
                    Stored::Part(part) => session.finisher.publish(&offered, Arc::new(part), ours, theirs),
                }
            }
            Err(error) => session.outcomes.fail(&offered, error.failure()),
        }
        Ok(())
    }

    /// One that goes to the standard output.
    fn receive_whole_in_order(&mut self, header: &Header) -> Result<(), End> {
        let Target::Incoming(incoming) = self.session.target(header.file)? else { return Ok(()) };
        let Offered { id, layout, .. } = incoming.offered;
        if !layout.is_single() {
            return Err(PeerMisbehaved::WrongChunk { file: id.0, chunk: 0 }.into());
        }
        check_length(header, layout.size())?;
        self.session.go_on(&incoming, incoming.root(Hash::from_bytes(self.buffer.hash()))?)?;
        let len = header.content_bytes;
        let Some(WriteTo::Output(queue)) = incoming.target_for(header.chunk, len)? else { return Ok(()) };
        incoming.claim(header.chunk)?;
        self.put_in_order(&incoming, &queue, header, len)
    }

    /// A claimed chunk whose turn may not have come. What it hashes to is told first: what is known to be
    /// wrong is not written.
    fn put_in_order(
        &mut self,
        incoming: &Arc<Incoming>,
        queue: &InOrder,
        header: &Header,
        len: usize,
    ) -> Result<(), End> {
        let (session, content) = (self.session, self.buffer.content(len));
        if header.kind == Kind::Zeros {
            content.fill(0);
        }
        let value = chunk_value(incoming.offered.layout, header.chunk, content);
        let stored = Subtree::of_chunk(header.chunk, value);
        session.go_on(incoming, incoming.stored(&[stored], &session.outcomes.outbox)?)?;
        Ok(queue.put(header.chunk, len, &mut self.buffer)?)
    }
}

/// Where a file of one chunk is.
enum Stored {
    /// It has its name.
    Made(Stat),
    Part(Part),
}

/// Stores a file that is one chunk. It gets its name at once only where it is `right` and nothing else is to
/// be done first.
fn store_whole(
    session: &Receiving,
    offered: &Offered,
    content: &[u8],
    right: bool,
) -> Result<Stored, SinkError> {
    let sink = session.outcomes.sink(&offered.path)?;
    let at_once =
        right && !offered.sparse && !offered.replaces && !session.outcomes.terms.diligence.takes_time();
    if at_once && let Some(made) = sink.store_whole(&offered.path, content, &offered.metadata)? {
        return Ok(Stored::Made(made));
    }
    let part = sink.part(&offered.path, offered.layout.size(), offered.sparse)?;
    let part = part.in_place_of(offered.looked_at);
    match part.write_at(content, 0) {
        Ok(()) => Ok(Stored::Part(part)),
        Err(error) => {
            // The first error is the one that tells the user something.
            let _ = part.discard();
            Err(error)
        }
    }
}

fn check_length(header: &Header, expected: u64) -> Result<(), PeerMisbehaved> {
    let got = header.content_bytes as u64;
    if got == expected {
        return Ok(());
    }
    Err(PeerMisbehaved::WrongLength { file: header.file.0, got, expected })
}
