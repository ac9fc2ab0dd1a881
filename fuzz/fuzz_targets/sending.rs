//! A receiver that says whatever it likes, to the sender's side of a session over real files.
//!
//! Whatever it says: no panic, every frame that is sent is a chunk of an offered file with the right bytes,
//! and a file is told of at most once.
#![no_main]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use lanx::content::chunk::{ChunkIndex, FileId};
use lanx::limits::CHUNK_BYTES;
use lanx::name::RelativePath;
use lanx::session::frames::FrameReader;
use lanx::session::sender::{Sending, TransferOptions};
use lanx::session::link::ConnectionHandle;
use lanx::session::sender::lanes::DataConnection;
use lanx::session::sender::worker::send_chunks;
use lanx::session::{End, Progress, outbox};
use lanx::source::{Feed, Input, Item, Next, Options, Root, Stream};
use lanx::wire::frame::Kind;
use lanx::content::entry::{Cause, Failure, Metadata, Outcome};
use lanx::wire::message::{Against, Message, ReceiverMessage, SenderMessage};
use lanx_fuzz::{Counting, SIZES, Script, keys, messages, painted};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Case {
    files: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Send {
        file: u8,
    },
    Compare {
        file: u8,
        existing: bool,
    },
    Missing {
        file: u8,
        first: u8,
        count: u8,
    },
    Hash {
        file: u8,
        first: u8,
        count: u8,
    },
    Differs {
        file: u8,
        chunk: u8,
    },
    Outcome {
        file: u8,
        outcome: u8,
    },
    Confirmed {
        connection: u8,
        frames: u8,
    },
    HungUp {
        connection: u8,
        frames: u8,
    },
    Bye,
    Say(Vec<u8>),
    /// A data connection takes what there is to send.
    Work,
}

impl Case {
    fn read(mut script: Script) -> Case {
        let files = (0..script.below(FILES)).map(|_| script.below(SIZES.len() as u8 + 2)).collect();
        let mut steps = Vec::new();
        while !script.is_over() && steps.len() < STEPS_MAX {
            steps.push(Step::read(&mut script));
        }
        Case { files, steps }
    }
}

impl Step {
    fn read(script: &mut Script) -> Step {
        match script.below(10) {
            0 => Step::Send { file: script.below(FILES) },
            1 => Step::Compare { file: script.below(FILES), existing: script.flag() },
            2 => Step::Missing { file: script.below(FILES), first: script.below(8), count: script.below(8) },
            3 => match (script.below(FILES), script.below(8), script.below(8), script.flag()) {
                (file, first, count, false) => Step::Hash { file, first, count },
                (file, chunk, _, true) => Step::Differs { file, chunk },
            },
            4 => Step::Outcome { file: script.below(FILES), outcome: script.below(5) },
            5 => Step::Confirmed { connection: script.below(8), frames: script.below(16) },
            6 => Step::HungUp { connection: script.below(8), frames: script.below(16) },
            7 => Step::Bye,
            8 => Step::Say(script.string().to_vec()),
            _ => Step::Work,
        }
    }
}

/// The files to offer, one of each size. They stay for the whole run.
fn items() -> &'static [Arc<Item>] {
    static ITEMS: OnceLock<Vec<Arc<Item>>> = OnceLock::new();
    ITEMS.get_or_init(|| {
        let dir: PathBuf = tempfile::tempdir().unwrap().keep();
        let make = |(n, size): (usize, &u64)| {
            let path = dir.join(format!("file-{n}"));
            fs::write(&path, painted(0, *size)).unwrap();
            item(&path)
        };
        SIZES.iter().enumerate().map(make).collect()
    })
}

/// The file of the largest size, as a stream that was read to its end, so that each run is the same.
fn stream() -> (Arc<Stream>, Arc<Item>) {
    let (largest, _) = SIZES.iter().enumerate().max_by_key(|(_, size)| **size).unwrap();
    let path = items()[largest].source().unwrap().path();
    let input = Input::Open(fs::File::open(path).unwrap().into());
    let stream = Stream::start(input, 1).unwrap().remove(0);
    while stream.reached().end.is_none() {
        std::thread::yield_now();
    }
    let name = RelativePath::from_wire(b"stream").unwrap();
    match Feed::of_stream(stream.clone(), name, Metadata::default()).next() {
        Next::Item(item) => (stream, item),
        _ => panic!("no item"),
    }
}

fn item(path: &Path) -> Arc<Item> {
    match Feed::new(vec![Root::inspect(path).unwrap()], Options::default()).next() {
        Next::Item(item) => item,
        _ => panic!("no item"),
    }
}

const STEPS_MAX: usize = 64;

/// Steps speak of as many files, one more than there are.
const FILES: u8 = 5;

struct NoWire;

impl ConnectionHandle for NoWire {
    fn hang_up(&self) {}
    fn is_dead(&self) -> bool {
        false
    }
}

/// A stream that ends as soon as there is nothing more to write, so that its worker comes home.
struct UntilIdle<'a>(&'a mut Vec<u8>);

impl Write for UntilIdle<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

struct Scene {
    sending: Arc<Sending>,
    sizes: Vec<u64>,
    connections: u32,
    /// Answers to the offer of each file that the sender took.
    answers: Vec<usize>,
}

impl Scene {
    /// One more data connection, which sends what there is to send.
    fn work(&mut self) -> Result<(), End> {
        let number = self.connections;
        self.connections += 1;
        let (sealer, opener) = keys(number);
        let line = Arc::new(DataConnection::new(number, Instant::now(), Arc::new(NoWire)));
        self.sending.connections.add(line.clone());
        let mut stream = Vec::new();
        let result = send_chunks(&self.sending, &line, UntilIdle(&mut stream), sealer);
        let mut reader = FrameReader::new(&stream[..], opener);
        while let Some(header) = reader.header().expect("what lanx sends, lanx understands") {
            let size = self.sizes[header.file.0 as usize];
            let whole = painted(0, size);
            let mut expected =
                whole.chunks(CHUNK_BYTES).nth(header.chunk.0 as usize).unwrap_or_default().to_vec();
            if header.kind == Kind::Whole {
                expected.splice(0..0, *blake3::hash(&whole).as_bytes());
            }
            let mut payload = vec![0; expected.len()];
            reader.payload(&mut payload, || ()).unwrap();
            assert!(
                payload == expected,
                "chunk {} of file {} has other bytes",
                header.chunk.0,
                header.file.0
            );
        }
        match result {
            Err(End::Lost(_)) | Ok(()) => Ok(()),
            Err(end) => Err(end),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), End> {
        let id = |file: &u8| FileId((*file).into());
        let chunk = |first: &u8| ChunkIndex((*first).into());
        let message = match step {
            Step::Send { file } => ReceiverMessage::Send { file: id(file) },
            Step::Compare { file, existing } => {
                let against = if *existing { Against::Existing } else { Against::Part };
                ReceiverMessage::Compare { file: id(file), against }
            }
            Step::Missing { file, first, count } => {
                ReceiverMessage::Missing { file: id(file), first: chunk(first), count: (*count).into() }
            }
            Step::Hash { file, first, count } => {
                ReceiverMessage::Hash { file: id(file), first: chunk(first), count: (*count).into() }
            }
            Step::Differs { file, chunk: at } => {
                ReceiverMessage::Differs { file: id(file), chunk: chunk(at) }
            }
            Step::Outcome { file, outcome } => {
                let outcome = match outcome {
                    0 => Outcome::Stored,
                    1 => Outcome::Identical,
                    2 => Outcome::Renamed(b"other".to_vec()),
                    3 => Outcome::Unlinked { unable: true },
                    _ => Outcome::Failed(Failure::new(Cause::Storage, "full")),
                };
                ReceiverMessage::Outcome { file: id(file), outcome }
            }
            Step::Confirmed { connection, frames } => {
                ReceiverMessage::Confirmed { connection: (*connection).into(), frames: (*frames).into() }
            }
            Step::HungUp { connection, frames } => {
                ReceiverMessage::HungUp { connection: (*connection).into(), frames: (*frames).into() }
            }
            Step::Bye => ReceiverMessage::Bye,
            Step::Say(bytes) => match ReceiverMessage::take(bytes) {
                Ok(message) => message,
                Err(_) => return Ok(()),
            },
            Step::Work => return self.work(),
        };
        let answered = match &message {
            ReceiverMessage::Send { file }
            | ReceiverMessage::Compare { file, .. }
            | ReceiverMessage::SendUpTo { file, .. } => Some(*file),
            _ => None,
        };
        self.sending.handle(message)?;
        if let Some(answers) = answered.and_then(|file| self.answers.get_mut(file.0 as usize)) {
            *answers += 1;
        }
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let case = Case::read(Script(bytes));
    let (outbox, reader) = outbox();
    let observer = Counting::new();
    let sending =
        Arc::new(Sending::new(outbox, observer.clone(), Arc::new(Progress::default()), TransferOptions::default()));
    let mut scene =
        Scene { sending: sending.clone(), sizes: Vec::new(), connections: 0, answers: Vec::new() };
    for n in &case.files {
        match items().get(usize::from(*n)) {
            Some(source) => {
                scene.sizes.push(source.size());
                sending.offer(source.clone()).unwrap();
            }
            None => {
                let (stream, item) = stream();
                sending.follow(&stream);
                scene.sizes.push(SIZES.into_iter().max().unwrap());
                sending.offer(item).unwrap();
            }
        }
    }
    scene.answers = vec![0; scene.sizes.len()];
    sending.finish();
    let mut end = None;
    for step in &case.steps {
        if let Err(why) = scene.step(step) {
            end = Some(why);
            break;
        }
    }
    let done = sending.dealer.is_done();
    assert!(end != Some(End::Complete) || done, "complete before every file has its outcome");
    let rest = sending.close();
    assert!(observer.files() as usize + rest.len() <= scene.sizes.len());
    let mut bytes = Vec::new();
    reader.take_rest(&mut bytes);
    let said: Vec<SenderMessage> = messages(&bytes);
    // One for each answer to the offer, which may be a comparison and then another answer.
    for (file, answers) in scene.answers.iter().enumerate() {
        let is_root = |message: &&SenderMessage| matches!(message, SenderMessage::Root { file: of, .. } if of.0 == file as u64);
        let roots = said.iter().filter(is_root).count();
        assert!(roots <= *answers && roots <= 2, "{roots} roots of file {file} after {answers} answers");
    }
});
