//! What tests against a peer that breaks the rules have in common.

use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;

use lanx::content::chunk::{ChunkIndex, FileId};
use lanx::content::entry::{Archive, Attributes, EntryKind, Metadata, Outcome};
use lanx::wire::message::{Offer, ReceiverMessage, SenderMessage, put_framed};
use lanx::wire::seal::Sealer;

use super::peer::{HandReceiver, HandSender, Talk, identity, welcome, whole_frame};
use super::{Output, PATIENCE, Process, Receiver, Scene, make};

/// What every offer here says besides its name and size.
pub const METADATA: Metadata = Metadata { mode: 0o644, mtime_seconds: 1, mtime_nanos: 2, archive: None };

/// An offer of a file of `size` bytes.
pub fn offer(file: u64, name: impl AsRef<[u8]>, size: u64) -> SenderMessage {
    let name = name.as_ref().to_vec();
    let kind = EntryKind::File { size, sparse: false };
    SenderMessage::Offer(Offer { file: FileId(file), kind, metadata: METADATA, path: name })
}

/// Offers with as many attributes as there may be, of these files.
pub fn heavy_offers(files: Range<u64>, name: impl Fn(u64) -> String) -> Vec<SenderMessage> {
    let attributes: Vec<_> = (0..512).map(|n| (format!("user.{n:04}").into_bytes(), vec![1])).collect();
    let archive = Archive { uid: 0, gid: 0, attributes: Attributes::new(&attributes).unwrap() };
    let metadata = Metadata { mode: 0o644, archive: Some(Arc::new(archive)), ..Metadata::default() };
    let offer = |n| {
        let (kind, metadata) = (EntryKind::File { size: 5, sparse: false }, metadata.clone());
        SenderMessage::Offer(Offer { file: FileId(n), kind, metadata, path: name(n).into() })
    };
    files.map(offer).collect()
}

/// The receiver's own user, sending by hand.
pub fn intruder(scene: &Scene, receiver: &Receiver) -> HandSender {
    HandSender::enter(&identity(&scene.path("config")), receiver.addr, 4)
}

impl HandSender {
    /// Says all of these, as far as the receiver listens.
    pub fn blurt(&mut self, messages: &[SenderMessage]) {
        // One that has heard enough hangs up in the middle, and has said why before.
        let _ = messages.iter().try_for_each(|message| self.talk.say(message));
    }

    /// What the receiver said until it left, and its reason.
    pub fn dismissal(&mut self) -> (Vec<ReceiverMessage>, String) {
        let mut heard = Vec::new();
        loop {
            match self.hear() {
                Ok(ReceiverMessage::Leave { text }) => return (heard, text.to_string()),
                Ok(message) => heard.push(message),
                Err(error) => panic!("it left without a word ({error}); before that it said {heard:?}"),
            }
        }
    }
}

/// A real sender that has been let in by a receiver driven by hand, and all that is needed to talk to it.
pub struct Captive {
    /// Keeps the files there.
    _scene: Scene,
    pub sender: Process,
    pub talk: Talk,
    // Data connections wait in its backlog, and must not be refused.
    _receiver: HandReceiver,
}

impl Captive {
    /// A sender of files of these sizes, called `file-0` and so on. Its offers have been heard.
    pub fn of(sizes: &[usize]) -> Captive {
        let scene = Scene::new();
        let receiver = HandReceiver::listen(identity(&scene.path("config")));
        let files: Vec<_> =
            sizes.iter().enumerate().map(|(n, len)| make(&scene.src, format!("file-{n}"), *len)).collect();
        let sender = scene.start_send(&["--retry-for", "0", "--timeout", "5"], &files, receiver.addr);
        let mut talk = receiver.accept().unwrap();
        assert!(matches!(talk.hear(), Ok(SenderMessage::Hello(_))));
        talk.say(&welcome()).unwrap();
        let captive = Captive { _scene: scene, sender, talk, _receiver: receiver };
        captive.after_offers(sizes.len())
    }

    fn after_offers(mut self, offers: usize) -> Captive {
        for _ in 0..offers {
            self.hear_until(|message| matches!(message, SenderMessage::Offer(_)));
        }
        self
    }

    /// Says all of these, as far as the sender listens.
    pub fn blurt(&mut self, messages: &[ReceiverMessage]) {
        let _ = messages.iter().try_for_each(|message| self.talk.say(message));
    }

    /// Waits for a message that is `wanted`; all others are passed over.
    pub fn hear_until(&mut self, wanted: impl Fn(&SenderMessage) -> bool) -> SenderMessage {
        loop {
            let message = self.talk.hear().unwrap();
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Hears until the sender leaves, and sees it end.
    pub fn end(mut self) -> Output {
        while self.talk.hear::<SenderMessage>().is_ok_and(|said| !matches!(said, SenderMessage::Leave { .. }))
        {
        }
        // It waits for our side of the goodbye.
        drop(self.talk);
        self.sender.finish(PATIENCE)
    }
}

/// A sender with one data connection, for files of one frame.
pub struct Frames {
    pub sender: HandSender,
    sealer: Sealer,
    stream: TcpStream,
}

impl Frames {
    pub fn of(sender: HandSender) -> Frames {
        let (sealer, stream) = sender.open_data(0);
        Frames { sender, sealer, stream }
    }

    /// The outcome of a file that was offered and, if it is wanted, sent.
    pub fn outcome_of(&mut self, id: u64, name: &[u8], content: &[u8]) -> Outcome {
        self.sender.blurt(&[offer(id, name, content.len() as u64)]);
        loop {
            match self.sender.hear().unwrap() {
                ReceiverMessage::Outcome { outcome, .. } => return outcome,
                ReceiverMessage::Send { .. } => {
                    self.stream.write_all(&whole_frame(&mut self.sealer, id, content)).unwrap();
                }
                _ => {}
            }
        }
    }
}

/// A message as it travels.
pub fn bytes_of(message: &SenderMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_framed(message, &mut bytes);
    bytes
}

pub const fn chunk(n: u64) -> ChunkIndex {
    ChunkIndex(n)
}

pub const fn file(n: u64) -> FileId {
    FileId(n)
}
