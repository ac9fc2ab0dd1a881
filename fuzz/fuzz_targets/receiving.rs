//! A sender that says and sends whatever it likes, to the receiver's side of a session over a real folder.
//!
//! Whatever it does: no panic, one outcome at most for each file, and under a final name only what was there before or
//! bytes whose hash the sender said.
#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lanx::content::chunk::{ChunkIndex, FileId, Layout};
use lanx::limits::CHUNK_BYTES;
use lanx::wire::frame::{Header, Kind};
use lanx::wire::message::{Cause, EntryKind, Failure, Message, Metadata, Offer, ReceiverMessage, SenderMessage};
use lanx::session::frames::FrameWriter;
use lanx::session::receiver::worker::receive_chunks;
use lanx::session::receiver::{Receiving, Terms};
use lanx::session::{Diligence, End, OutboxReader, Progress, outbox};
use lanx::store::{Destination, Existing, Owner, Sink};
use lanx::content::tree::{ChunkValue, chunk_value};
use lanx_fuzz::{Counting, SIZES, Script, keys, messages, painted};
use libfuzzer_sys::fuzz_target;

#[path = "receiving/case.rs"]
mod case;

use case::{Case, NAMES, Step, There};

/// Chunks of the largest file whose bytes are known, and more.
const CHUNKS_MAX: u64 = 64;

/// Longer than any comparison of these files takes.
const PATIENCE: Duration = Duration::from_secs(20);

type Asked = BTreeMap<u64, Option<ChunkValue>>;

struct Scene {
    session: Arc<Receiving>,
    reader: OutboxReader<ReceiverMessage>,
    /// The sizes that were offered, by file.
    sizes: Vec<u64>,
    /// Chunks that the receiver has still to speak of, where it compares.
    owed: HashMap<u64, u64>,
    /// What it said of each chunk: its value, or that it is missing.
    asked: HashMap<u64, Asked>,
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
    /// Hears the receiver until it has said all that it has to say about what it compares.
    fn listen(&mut self) {
        let started = Instant::now();
        loop {
            let mut bytes = Vec::new();
            self.reader.take_rest(&mut bytes);
            messages(&bytes).into_iter().for_each(|message| self.hear(message));
            if self.owed.is_empty() || self.session.ending.get().is_some() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the receiver owes an answer: {:?}", self.owed);
            std::thread::yield_now();
        }
    }

    fn hear(&mut self, message: ReceiverMessage) {
        let chunks = |file: FileId| Layout::new(self.sizes[file.0 as usize]).chunks();
        match message {
            ReceiverMessage::Send { file } => {
                self.asked
                    .insert(file.0, (0..chunks(file).min(CHUNKS_MAX)).map(|chunk| (chunk, None)).collect());
            }
            ReceiverMessage::Compare { file, .. } => {
                self.owed.insert(file.0, chunks(file));
                self.asked.insert(file.0, Asked::new());
            }
            ReceiverMessage::Missing { file, first, count } => {
                self.told(file, (first.0..first.0 + count).map(|chunk| (chunk, None)));
            }
            ReceiverMessage::Values { file, first, values } => {
                self.told(file, (first.0..).zip(values.into_iter().map(Some)));
            }
            ReceiverMessage::Outcome { file, .. } => {
                self.owed.remove(&file.0);
                assert!(self.over.insert(file.0), "a second outcome for file {}", file.0);
            }
            _ => {}
        }
    }

    fn told(&mut self, file: FileId, chunks: impl Iterator<Item = (u64, Option<ChunkValue>)>) {
        let asked = self.asked.entry(file.0).or_default();
        let mut count = 0;
        for (chunk, value) in chunks {
            assert!(asked.insert(chunk, value).is_none(), "chunk {chunk} of file {} is named twice", file.0);
            count += 1;
        }
        let Some(owed) = self.owed.get_mut(&file.0) else { return };
        *owed -= count;
        if *owed == 0 {
            self.owed.remove(&file.0);
        }
    }

    /// Keeps what is right, sends the rest, and says the hash.
    fn obey(&mut self, file: u8) -> Result<(), End> {
        let asked = self.asked.remove(&u64::from(file)).unwrap_or_default();
        let content = self.content(file, 0);
        let layout = Layout::new(content.len() as u64);
        if asked.len() as u64 != layout.chunks() {
            return Ok(());
        }
        for (chunk, value) in asked {
            let index = ChunkIndex(chunk);
            let ours = content.chunks(CHUNK_BYTES).nth(chunk as usize).unwrap_or_default();
            match value {
                Some(theirs) if theirs == chunk_value(layout, index, ours) => {
                    self.handle(SenderMessage::Keep { file: id(file), chunk: index })?;
                }
                _ if layout.is_single() => return self.step(&Step::Whole { file, kind: 0, wrong: false }),
                _ => self.step(&Step::Chunk { file, chunk: chunk as u8, kind: 0, odd: 0 })?,
            }
        }
        if self.streams.remove(&u64::from(file)) {
            self.step(&Step::Length { file, odd: 0 })?;
        }
        self.step(&Step::Root { file, wrong: false })
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
            SenderMessage::Differs { file } => drop(self.owed.remove(&file.0)),
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
        receive_chunks(&self.session, &stream[..], opener, &AtomicU64::new(0))
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
            Step::Keep { file, chunk } => {
                self.handle(SenderMessage::Keep { file: id(*file), chunk: ChunkIndex((*chunk).into()) })
            }
            Step::Differs { file } => self.handle(SenderMessage::Differs { file: id(*file) }),
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
                };
                self.frame(&header, &mut [hash.as_bytes(), &content[..]].concat())
            }
            Step::OfferStream { name, size } => {
                let name = NAMES[usize::from(*name) % NAMES.len()].as_bytes().to_vec();
                self.stream_size = SIZES[usize::from(*size) % SIZES.len()];
                let file = FileId(self.sizes.len() as u64);
                self.handle(SenderMessage::Offer(Offer { file, kind: EntryKind::Stream, metadata, path: name }))
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
                let _ = receive_chunks(&self.session, &bytes[..], opener, &AtomicU64::new(0));
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
    let terms = Terms { diligence, measure: case.measure, ..Terms::default() };
    let progress = Arc::new(Progress::default());
    let session = Arc::new(Receiving::new(to, terms, outbox, Arc::new(()), observer.clone(), progress));
    let mut scene = Scene {
        session: session.clone(),
        reader,
        sizes: Vec::new(),
        owed: HashMap::new(),
        asked: HashMap::new(),
        over: HashSet::new(),
        allowed,
        connections: 0,
        stream_size: 0,
        streams: HashSet::new(),
    };
    for step in &case.steps {
        match scene.step(step) {
            Ok(()) => scene.listen(),
            Err(End::Complete | End::Stopped | End::Away | End::Silent(_)) => panic!("a sender cannot end a session so"),
            Err(_) => break,
        }
    }
    session.close();
    session.threads().into_iter().for_each(|thread| thread.join().unwrap());
    assert!(observer.files() <= scene.sizes.len() as u64);
    check(dir.path(), &scene.allowed);
});

/// Demands that every file under a final name is one that was promised. What a link points to is none of ours.
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
