//! What several targets need: the two ends of a data connection, and files whose bytes are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lanx::limits::{CHUNK_BYTES, MESSAGE_BYTES_MAX};
use lanx::session::{FileReport, Observer};
use lanx::wire::DecodeError;
use lanx::wire::message::{Message, take_framed};
use lanx::wire::seal::{Cipher, Opener, Sealer, SessionSecret};

/// Sizes at which something changes: no byte, one frame, the first that takes two, several and a rest.
pub const SIZES: [u64; 6] =
    [0, 5, CHUNK_BYTES as u64, CHUNK_BYTES as u64 + 1, 3 * CHUNK_BYTES as u64, 4 * CHUNK_BYTES as u64 + 7];

/// The two ends of data connection `number`, past their hello.
pub fn keys(number: u32) -> (Sealer, Opener) {
    let secret = SessionSecret::new([7; 32]);
    let keys = || secret.data_keys(Cipher::Aes256Gcm, &[9; 16], number).unwrap();
    let (mut sealer, _) = keys().for_sender();
    let (_, mut opener) = keys().for_receiver();
    opener.check_proof(b"hello", &sealer.prove(b"hello").unwrap()).unwrap();
    (sealer, opener)
}

/// `len` bytes that differ from place to place and from `kind` to `kind`.
pub fn painted(kind: u8, len: u64) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ kind).collect()
}

/// Demands that what decodes is written as it is understood: read again, it says the same. Foreign text is escaped, and
/// cut where that makes it too long, once.
pub fn round_trip<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let written = |message: &M| {
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        bytes
    };
    if let Ok(message) = M::take(bytes) {
        let first = M::take(&written(&message)).expect("what lanx says, lanx understands");
        assert_eq!(M::take(&written(&first)).as_ref(), Ok(&first));
    }
    let framed: Result<Option<(M, usize)>, DecodeError> = take_framed(bytes, MESSAGE_BYTES_MAX);
    if let Ok(Some((_, taken))) = framed {
        assert!(taken <= bytes.len());
    }
}

/// Takes numbers and strings from a fuzzer's bytes, one after another, so that a seed can be written by hand and a byte
/// that changes changes one step.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Whether there is nothing left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A choice of `count`.
    pub fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |sum, _| sum << 8 | u64::from(self.byte()))
    }

    /// Bytes behind their count.
    pub fn string(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

/// The messages that an outbox gave.
pub fn messages<M: Message>(mut bytes: &[u8]) -> Vec<M> {
    let mut all = Vec::new();
    while let Some((message, taken)) =
        take_framed(bytes, MESSAGE_BYTES_MAX).expect("what lanx says, lanx understands")
    {
        all.push(message);
        bytes = &bytes[taken..];
    }
    assert!(bytes.is_empty());
    all
}

/// Counts the files that it is told of.
#[derive(Default)]
pub struct Counting(AtomicU64);

impl Counting {
    pub fn new() -> Arc<Counting> {
        Arc::default()
    }

    pub fn files(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for Counting {
    fn file(&self, _report: &FileReport) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
