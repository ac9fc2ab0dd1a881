//! A sender that says and sends whatever it likes, to the receiver's side of a session over a real folder.
//!
//! Whatever it does: no panic, one outcome at most for each file, and under a final name only what was there
//! before or bytes whose hash the sender said.
#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lanx::content::chunk::{ChunkIndex, FileId, Layout};
use lanx::content::tree::chunk_value;
use lanx::limits::CHUNK_BYTES;
use lanx::session::frames::FrameWriter;
use lanx::session::receiver::outcomes::Outcomes;
use lanx::session::receiver::worker::receive_frames;
use lanx::session::receiver::{Receiving, Terms};
use lanx::session::{Diligence, End, OutboxReader, Progress, outbox};
use lanx::store::{Destination, Existing, Owner, Sink};
use lanx::wire::frame::{Header, Kind};
use lanx::content::entry::{Cause, EntryKind, Failure, Metadata};
use lanx::wire::message::{Message, Offer, ReceiverMessage, SenderMessage};
use lanx_fuzz::{Counting, SIZES, Script, keys, messages, painted};
use libfuzzer_sys::fuzz_target;

#[path = "receiving/case.rs"]
mod case;

use case::{Case, NAMES, Step, There};

/// Chunks of the largest file whose bytes are known, and more.
const CHUNKS_MAX: u64 = 64;

/// Longer than a comparison of a chunk takes: who has heard nothing for so long is wanted for nothing.
const QUIET: Duration = Duration::from_millis(20);

/// What the receiver wants of a chunk.
#[derive(Clone, Copy)]
enum Wanted {
    Value,
    Bytes,
}

struct Scene {
    session: Arc<Receiving>,
    reader: OutboxReader<ReceiverMessage>,
    /// The sizes that were offered, by file.
    sizes: Vec<u64>,
    /// What the receiver wants and has not got.
    asked: HashMap<u64, BTreeMap<u64, Wanted>>,
    /// The chunks that it has spoken of since its last answer.
    named: HashMap<u64, HashSet<u64>>,
    /// Those that it was told the value of, or sent, as it wanted.
    done: HashMap<u64, HashSet<u64>>,
    over: HashSet<u64>,
    /// The hashes of all that may stand under a final name.
    allowed: HashSet<blake3::Hash>,
    connections: u32,
    /// What the stream that is offered next will have.
    stream_size: u64,
    /// Streams whose length was not said.
    streams: HashSet<u64>,
}

impl Scene {
    /// Hears what the receiver has said. Returns whether that was anything.
    fn listen(&mut self) -> bool {
        let mut bytes = Vec::new();
        self.reader.take_rest(&mut bytes);
        messages(&bytes).into_iter().for_each(|message| self.hear(message));
        !bytes.is_empty()
    }

    fn hear(&mut self, message: ReceiverMessage) {
        let sizes = self.sizes.clone();
        let chunks = |file: FileId| Layout::new(sizes[file.0 as usize]).chunks();
        match message {
            ReceiverMessage::Send { file } => {
                self.begin(file);
                self.wants(file, 0..chunks(file).min(CHUNKS_MAX), Wanted::Bytes);
            }
            ReceiverMessage::Compare { file, .. } => {
                self.begin(file);
                if chunks(file) == 1 {
                    self.wants(file, 0..1, Wanted::Value);
                }
            }
            ReceiverMessage::Missing { file, first, count } => {
                self.wants(file, first.0..first.0 + count, Wanted::Bytes);
            }
            ReceiverMessage::Hash { file, first, count } => {
                self.wants(file, first.0..first.0 + count, Wanted::Value);
            }
            ReceiverMessage::Differs { file, chunk } => {
                assert!(self.named[&file.0].contains(&chunk.0), "it was not compared");
                self.asked.entry(file.0).or_default().insert(chunk.0, Wanted::Bytes);
            }
            ReceiverMessage::Outcome { file, .. } => {
                assert!(self.over.insert(file.0), "a second outcome for file {}", file.0);
            }
            _ => {}
        }
    }

    /// The receiver has given an answer: the first, or another one.
    fn begin(&mut self, file: FileId) {
        self.asked.remove(&file.0);
        self.named.remove(&file.0);
        self.done.remove(&file.0);
    }

    fn wants(&mut self, file: FileId, chunks: std::ops::Range<u64>, wanted: Wanted) {
        for chunk in chunks {
            let is_new = self.named.entry(file.0).or_default().insert(chunk);
            assert!(is_new, "chunk {chunk} of file {} is named twice", file.0);
            self.asked.entry(file.0).or_default().insert(chunk, wanted);
        }
    }

    /// Does all that the receiver wants until it wants nothing more for a while, and says the hash.
    fn obey(&mut self, file: u8) -> Result<(), End> {
        let number = u64::from(file);
        let content = self.content(file, 0);
        let layout = Layout::new(content.len() as u64);
        let mut rest = Instant::now();
        while !self.over.contains(&number) && rest.elapsed() < QUIET && self.session.ending().get().is_none() {
            if self.listen() {
                rest = Instant::now();
            }
            let asked = self.asked.remove(&number).unwrap_or_default();
            if asked.is_empty() {
                std::thread::yield_now();
                continue;
            }
            for (chunk, wanted) in asked {
                let was_last = {
                    let done = self.done.entry(number).or_default();
                    done.insert(chunk) && done.len() as u64 == layout.chunks()
                };
                let index = ChunkIndex(chunk);
                let ours = content.chunks(CHUNK_BYTES).nth(chunk as usize).unwrap_or_default();
                match wanted {
                    _ if layout.len_of(index).is_none() => continue,
                    Wanted::Value if layout.is_single() => {}
                    Wanted::Value => {
                        let value = chunk_value(layout, index, ours);
                        self.handle(SenderMessage::Value { file: id(file), chunk: index, value })?;
                    }
                    Wanted::Bytes if layout.is_single() => {
                        self.step(&Step::Whole { file, kind: 0, wrong: false })?;
                        continue;
                    }
                    Wanted::Bytes => self.step(&Step::Chunk { file, chunk: chunk as u8, kind: 0, odd: 0 })?,
                }
                if was_last {
                    if self.streams.remove(&number) {
                        self.step(&Step::Length { file, odd: 0 })?;
                    }
                    self.step(&Step::Root { file, wrong: false })?;
                }
            }
        }
        Ok(())
    }

    fn content(&self, file: u8, kind: u8) -> Vec<u8> {
        painted(
            kind,
            self.sizes.get(usize::from(file)).copied().filter(|size| SIZES.contains(size)).unwrap_or(9),
        )
    }

    fn handle(&mut self, message: SenderMessage) -> Result<(), End> {
        match &message {
            SenderMessage::Offer(Offer { kind: EntryKind::Stream, .. }) => {
                self.streams.insert(self.sizes.len() as u64);
                self.sizes.push(self.stream_size);
            }
            SenderMessage::Offer(offer) => self.sizes.push(offer.kind.size()),
            SenderMessage::Length { file, .. } => drop(self.streams.remove(&file.0)),
            SenderMessage::Root { hash, .. } => drop(self.allowed.insert(*hash)),
            _ => {}
        }
        self.session.handle(message)
    }

    fn frame(&mut self, header: &Header, payload: &mut [u8]) -> Result<(), End> {
        let (sealer, opener) = keys(self.connections);
        self.connections += 1;
        let mut stream = Vec::new();
        let mut writer = FrameWriter::new(&mut stream, sealer);
        writer.write(header, payload, || ()).unwrap();
        writer.flush().unwrap();
        drop(writer);
        receive_frames(&self.session, &stream[..], opener, &AtomicU64::new(0))
    }

    fn step(&mut self, step: &Step) -> Result<(), End> {
        let metadata = Metadata { mode: 0o644, mtime_seconds: 1_000_000_000, ..Metadata::default() };
        let kind = |size| EntryKind::File { size, sparse: false };
        match step {
            Step::Offer { name, size } => {
                let name = NAMES[usize::from(*name) % NAMES.len()].as_bytes().to_vec();
                let size = SIZES[usize::from(*size) % SIZES.len()];
                let file = FileId(self.sizes.len() as u64);
                self.handle(SenderMessage::Offer(Offer { file, kind: kind(size), metadata, path: name }))
            }
            Step::OddOffer { file, size, name } => {
                let offer = Offer { file: id(*file), kind: kind(*size), metadata, path: name.clone() };
                self.handle(SenderMessage::Offer(offer))
            }
            Step::Value { file, chunk, kind } => {
                let (content, index) = (self.content(*file, *kind), ChunkIndex((*chunk).into()));
                let layout = Layout::new(content.len() as u64);
                let ours = content.chunks(CHUNK_BYTES).nth((*chunk).into()).unwrap_or_default();
                let value =
                    if layout.len_of(index).is_some() { chunk_value(layout, index, ours) } else { [1; 32] };
                self.handle(SenderMessage::Value { file: id(*file), chunk: index, value })
            }
            Step::Root { file, wrong } => {
                let hash = blake3::hash(&self.content(*file, u8::from(*wrong)));
                self.handle(SenderMessage::Root { file: id(*file), hash })
            }
            Step::Withdraw { file } => {
                let failure = Failure::new(Cause::Source, "gone");
                self.handle(SenderMessage::Withdraw { file: id(*file), failure })
            }
            Step::Finish { more } => {
                self.handle(SenderMessage::Finish { files: self.sizes.len() as u64 + u64::from(*more) })
            }
            Step::Obey { file } => self.obey(*file),
            Step::Chunk { file, chunk, kind, odd } => {
                let content = self.content(*file, *kind);
                let mut payload =
                    content.chunks(CHUNK_BYTES).nth((*chunk).into()).unwrap_or_default().to_vec();
                payload.resize((payload.len() + usize::from(odd.saturating_sub(250))).min(CHUNK_BYTES), 0);
                let header = Header {
                    kind: Kind::Chunk,
                    file: id(*file),
                    chunk: ChunkIndex((*chunk).into()),
                    content_bytes: payload.len(),
                    codec: None,
                };
                self.frame(&header, &mut payload)
            }
            Step::Whole { file, kind, wrong } => {
                let mut content = self.content(*file, *kind);
                content.truncate(CHUNK_BYTES);
                let hash = blake3::hash(&content[usize::from(*wrong && !content.is_empty())..]);
                self.allowed.insert(hash);
                let header = Header {
                    kind: Kind::Whole,
                    file: id(*file),
                    chunk: ChunkIndex(0),
                    content_bytes: content.len(),
                    codec: None,
                };
                self.frame(&header, &mut [hash.as_bytes(), &content[..]].concat())
            }
            Step::OfferStream { name, size } => {
                let name = NAMES[usize::from(*name) % NAMES.len()].as_bytes().to_vec();
                self.stream_size = SIZES[usize::from(*size) % SIZES.len()];
                let file = FileId(self.sizes.len() as u64);
                self.handle(SenderMessage::Offer(Offer {
                    file,
                    kind: EntryKind::Stream,
                    metadata,
                    path: name,
                }))
            }
            Step::Length { file, odd } => {
                let bytes = self.content(*file, 0).len() as u64 + u64::from(odd.saturating_sub(250));
                self.handle(SenderMessage::Length { file: id(*file), bytes })
            }
            Step::Probe { len } => self.frame(&Header::probe((*len).into()), &mut vec![7; (*len).into()]),
            Step::Say(bytes) => SenderMessage::take(bytes).map_or(Ok(()), |message| self.handle(message)),
            Step::Send(bytes) => {
                let (_, opener) = keys(self.connections);
                self.connections += 1;
                let _ = receive_frames(&self.session, &bytes[..], opener, &AtomicU64::new(0));
                Ok(())
            }
        }
    }
}

fn id(file: u8) -> FileId {
    FileId(file.into())
}

/// Puts what is to be there before into the folder; returns the hashes of what has a final name.
fn furnish(dir: &Path, there: &[There]) -> HashSet<blake3::Hash> {
    let mut allowed = HashSet::new();
    for There { name, size, kind, is_part } in there {
        let name = NAMES[usize::from(*name)];
        let content = painted(*kind, SIZES[usize::from(*size)]);
        if *is_part {
            fs::write(dir.join(format!(".{name}.{}.lanx-part", Owner::default())), content).unwrap();
        } else {
            allowed.insert(blake3::hash(&content));
            fs::write(dir.join(name), content).unwrap();
        }
    }
    allowed
}

fuzz_target!(|bytes: &[u8]| {
    let case = Case::read(Script(bytes));
    let dir = tempfile::tempdir().unwrap();
    let allowed = furnish(dir.path(), &case.there);
    let existing = [Existing::Refuse, Existing::Overwrite, Existing::Rename][usize::from(case.existing)];
    let to = Arc::new(Destination::Folder(Sink::open(dir.path(), existing).unwrap()));
    let (outbox, reader) = outbox();
    let observer = Counting::new();
    let diligence = Diligence { sync: false, reread: case.reread };
    let terms = Terms { diligence, measure: case.measure, delta: case.reread, ..Terms::default() };
    let progress = Arc::new(Progress::default());
    let outcomes = Outcomes::new(to, terms, outbox, Arc::new(()), observer.clone(), progress);
    let session = Arc::new(Receiving::new(outcomes, None));
    let mut scene = Scene {
        session: session.clone(),
        reader,
        sizes: Vec::new(),
        asked: HashMap::new(),
        named: HashMap::new(),
        done: HashMap::new(),
        over: HashSet::new(),
        allowed,
        connections: 0,
        stream_size: 0,
        streams: HashSet::new(),
    };
    for step in &case.steps {
        match scene.step(step) {
            Ok(()) => drop(scene.listen()),
            Err(End::Complete | End::Stopped | End::Away | End::Silent(_)) => {
                panic!("a sender cannot end a session so")
            }
            Err(_) => break,
        }
    }
    session.close();
    session.threads().into_iter().for_each(|thread| thread.join().unwrap());
    assert!(observer.files() <= scene.sizes.len() as u64);
    check(dir.path(), &scene.allowed);
});

/// Demands that every file under a final name is one that was promised. What a link points to is none of
/// ours.
fn check(folder: &Path, allowed: &HashSet<blake3::Hash>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            check(&entry.path(), allowed);
        } else if kind.is_file() && !entry.file_name().to_string_lossy().ends_with(".lanx-part") {
            let hash = blake3::hash(&fs::read(entry.path()).unwrap());
            assert!(allowed.contains(&hash), "nobody promised what is in {:?}", entry.path());
        }
    }
}
