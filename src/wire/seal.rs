//! Sealing of the data connections' frames.
//!
//! A data connection has no handshake of its own. Its keys come from the [`SessionSecret`], which both ends
//! take from the TLS exporter of the control connection:
//!
//! ```text
//! key = HKDF-SHA256(salt "lanx/2 data keys", key SessionSecret,
//!                   info "lanx/2 data key" || cipher (1) || session id (16) || connection, big endian (4)
//!                        || direction (1: 1 = sender to receiver, 2 = receiver to sender))   -> 32 bytes
//! nonce = 0 0 0 0 || counter, big endian (8)
//! sealed frame = header || AEAD(key, nonce, associated data = header, payload) || tag (16)
//! ```
//!
//! A key and a nonce never meet twice: each direction of each connection has its own key, the session secret
//! is new with every TLS connection, a [`Sealer`] owns its key, cannot be cloned and only counts up, and it
//! stops long before the counter wraps. One rule is left to the session, which must keep it: **a connection
//! number is used once**. The sender never gives one out again, and the receiver refuses one that it has seen
//! under the same secret, whether the first connection still lives or not. Otherwise whoever recorded a
//! connection could play it once more.
//!
//! The frame with counter 0 is the *hello*: an empty payload sealed with the hello's bytes as its header
//! ([`Sealer::prove`], [`Opener::check_proof`]). It proves that the peer knows the session, before anything
//! is allocated for it. Everything else begins at counter 1.

use std::fmt;

use aws_lc_rs::{aead as aws, hkdf};
use ring::aead as ring_aead;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::limits;

/// Bytes of a [`SessionSecret`].
pub const SECRET_BYTES: usize = 32;

/// Bytes of a session's id.
pub const SESSION_ID_BYTES: usize = 16;

/// Bytes after each sealed payload; both ciphers have the same.
pub const TAG_BYTES: usize = 16;

const KEY_BYTES: usize = 32;
const BLOCK_BYTES: u64 = 16;
const SALT: &[u8] = b"lanx/2 data keys";
const INFO: &[u8] = b"lanx/2 data key";

/// The tag of one sealed frame.
pub type Tag = [u8; TAG_BYTES];

/// How frames are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM (NIST SP 800-38D), where both CPUs have instructions for it.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439), elsewhere.
    ChaCha20Poly1305,
}

/// Why a frame cannot be sealed or is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The frame is not what the peer sealed at this place.
    #[error(
        "a frame was changed, repeated or reordered on its way, or comes from somebody who does not know this session"
    )]
    Forged,
    /// An earlier frame was refused, so nothing after it can be believed.
    #[error("this connection had a forged frame before and must be closed")]
    Broken,
    /// The key has sealed as much as is safe.
    #[error("the key of this connection is used up; open another connection")]
    KeyUsedUp,
    /// Frames before the hello, or a second hello.
    #[error("expected the hello as the first frame of a connection, and there only")]
    HelloOrder,
    /// The peer named a cipher that does not exist.
    #[error(
        "expected cipher 1 (AES-256-GCM) or 2 (ChaCha20-Poly1305), got {0}; use the same version of lanx on both machines"
    )]
    UnknownCipher(u8),
    /// The cryptographic library failed.
    #[error("cannot seal: the cryptographic library failed")]
    Crypto,
}

impl Cipher {
    /// The faster one on this machine. AES-GCM without its two instructions is slow, and slow in a way that
    /// tells about the key.
    pub fn preferred() -> Self {
        #[cfg(target_arch = "x86_64")]
        let fast = std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
        // On this architecture the feature includes the multiplication (FEAT_PMULL).
        #[cfg(target_arch = "aarch64")]
        let fast = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let fast = false;
        if fast { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// Its byte on the wire.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }
}

impl TryFrom<u8> for Cipher {
    type Error = SealError;

    fn try_from(byte: u8) -> Result<Self, SealError> {
        match byte {
            1 => Ok(Self::Aes256Gcm),
            2 => Ok(Self::ChaCha20Poly1305),
            other => Err(SealError::UnknownCipher(other)),
        }
    }
}

/// What both ends of one TLS connection know and nobody else. Cleared when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SessionSecret([u8; SECRET_BYTES]);

impl SessionSecret {
    /// Takes the exporter value.
    pub fn new(value: [u8; SECRET_BYTES]) -> Self {
        Self(value)
    }

    /// The keys of both directions of data connection number `connection`.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn data_keys(
        &self,
        cipher: Cipher,
        session_id: &[u8; SESSION_ID_BYTES],
        connection: u32,
    ) -> Result<DataKeys, SealError> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.0);
        let key = |direction: u8| {
            let (cipher_byte, number) = ([cipher.to_byte()], connection.to_be_bytes());
            let direction = [direction];
            let info = [INFO, &cipher_byte, session_id, &number, &direction];
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            secret
                .expand(&info, hkdf::HKDF_SHA256)
                .and_then(|expanded| expanded.fill(bytes.as_mut_slice()))
                .map_err(|_| SealError::Crypto)?;
            Key::new(cipher, bytes.as_slice()).map(Counter::new)
        };
        Ok(DataKeys { to_receiver: key(1)?, to_sender: key(2)? })
    }

    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionSecret(hidden)")
    }
}

/// The keys of one data connection. Each end takes its half by consuming them, so no key is used from two
/// places.
#[derive(Debug)]
pub struct DataKeys {
    to_receiver: Counter,
    to_sender: Counter,
}

impl DataKeys {
    /// What the sender of the files seals and opens with.
    pub fn for_sender(self) -> (Sealer, Opener) {
        (Sealer(self.to_receiver), Opener::new(self.to_sender))
    }

    /// What the receiver of the files seals and opens with.
    pub fn for_receiver(self) -> (Sealer, Opener) {
        (Sealer(self.to_sender), Opener::new(self.to_receiver))
    }
}

/// Seals the frames of one direction of one connection.
#[derive(Debug)]
pub struct Sealer(Counter);

impl Sealer {
    /// The tag of the hello, whose bytes are `hello`.
    ///
    /// # Errors
    /// It is not the first frame.
    pub fn prove(&mut self, hello: &[u8]) -> Result<Tag, SealError> {
        self.0.expect_hello(true)?;
        self.seal_next(hello, &mut [])
    }

    /// Encrypts `payload` in place and returns the tag to send after it. `header` goes in the clear and
    /// cannot be changed on the way. Allocates nothing.
    ///
    /// # Errors
    /// No hello was sent yet, or the key is used up.
    pub fn seal(&mut self, header: &[u8], payload: &mut [u8]) -> Result<Tag, SealError> {
        self.0.expect_hello(false)?;
        self.seal_next(header, payload)
    }

    fn seal_next(&mut self, header: &[u8], payload: &mut [u8]) -> Result<Tag, SealError> {
        // The counter moves first: should sealing fail half way, its nonce is spent all the same.
        let nonce = self.0.advance(header, payload)?;
        self.0.key.seal(nonce, header, payload)
    }
}

/// Opens the frames of one direction of one connection, in the order in which they were sealed.
#[derive(Debug)]
pub struct Opener {
    counter: Counter,
    broken: bool,
}

impl Opener {
    fn new(counter: Counter) -> Self {
        Self { counter, broken: false }
    }

    /// Checks the hello, whose bytes are `hello`.
    ///
    /// # Errors
    /// The peer does not know this session, or it is not the first frame.
    pub fn check_proof(&mut self, hello: &[u8], tag: &Tag) -> Result<(), SealError> {
        self.counter.expect_hello(true)?;
        self.open_next(hello, &mut [], tag)
    }

    /// Decrypts `payload` in place. Allocates nothing.
    ///
    /// # Errors
    /// The frame is not the next one that the peer sealed. `payload` then holds nothing of use, and every later
    /// call is refused: there is no honest way on from there, and a forger gets one try.
    pub fn open(&mut self, header: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), SealError> {
        self.counter.expect_hello(false)?;
        self.open_next(header, payload, tag)
    }

    fn open_next(&mut self, header: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), SealError> {
        if self.broken {
            return Err(SealError::Broken);
        }
        let nonce = self.counter.advance(header, payload)?;
        let opened = self.counter.key.open(nonce, header, payload, tag);
        self.broken = opened.is_err();
        opened
    }
}

/// A key and the number of frames it has sealed.
struct Counter {
    key: Key,
    frames: u64,
    blocks: u64,
}

impl Counter {
    fn new(key: Key) -> Self {
        Self { key, frames: 0, blocks: 0 }
    }

    fn expect_hello(&self, hello: bool) -> Result<(), SealError> {
        if (self.frames == 0) == hello { Ok(()) } else { Err(SealError::HelloOrder) }
    }

    /// The nonce of the next frame, which counts as sealed from here on.
    fn advance(&mut self, header: &[u8], payload: &[u8]) -> Result<[u8; NONCE_BYTES], SealError> {
        // AES-GCM uses one block for the tag besides those of header and payload.
        let blocks = |bytes: &[u8]| (bytes.len() as u64).div_ceil(BLOCK_BYTES);
        let blocks = self.blocks.saturating_add(blocks(header) + blocks(payload) + 1);
        if self.frames >= limits::SEALED_FRAMES_PER_KEY_MAX || blocks > limits::SEALED_BLOCKS_PER_KEY_MAX {
            return Err(SealError::KeyUsedUp);
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce[4..].copy_from_slice(&self.frames.to_be_bytes());
        self.frames += 1;
        self.blocks = blocks;
        Ok(nonce)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key hidden, {} frames", self.frames)
    }
}

// The ciphers, each from the library that has it fastest on this CPU.
//
// aws-lc-rs has AES-GCM for AVX-512 and for CPUs with no vector AES at all, and ring has it for those in
// between: VAES with 256 bits, as in AMD's Zen 3 and Intel's smaller cores. There it is more than twice as
// fast (docs/measurements.md, *Tried*). What they make of a frame is the same, so the two ends need not agree
// on one.

/// Bytes of the nonce of one frame.
pub(super) const NONCE_BYTES: usize = aws::NONCE_LEN;

/// The key of one direction of a connection.
pub(super) enum Key {
    AwsLc(aws::LessSafeKey),
    /// Twenty times as large as the other.
    Ring(Box<ring_aead::LessSafeKey>),
}

impl Key {
    /// A key of the fastest library.
    pub fn new(cipher: Cipher, bytes: &[u8]) -> Result<Key, SealError> {
        if cipher == Cipher::Aes256Gcm && has_vector_aes_but_no_avx512() {
            Key::of_ring(cipher, bytes)
        } else {
            Key::of_aws_lc(cipher, bytes)
        }
    }

    pub fn of_aws_lc(cipher: Cipher, bytes: &[u8]) -> Result<Key, SealError> {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &aws::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aws::CHACHA20_POLY1305,
        };
        let key = aws::UnboundKey::new(algorithm, bytes).map_err(|_| SealError::Crypto)?;
        Ok(Key::AwsLc(aws::LessSafeKey::new(key)))
    }

    pub fn of_ring(cipher: Cipher, bytes: &[u8]) -> Result<Key, SealError> {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &ring_aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &ring_aead::CHACHA20_POLY1305,
        };
        let key = ring_aead::UnboundKey::new(algorithm, bytes).map_err(|_| SealError::Crypto)?;
        Ok(Key::Ring(Box::new(ring_aead::LessSafeKey::new(key))))
    }

    /// Encrypts `payload` in place, and returns the tag.
    pub fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<Tag, SealError> {
        let mut tag = [0; TAG_BYTES];
        match self {
            Key::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, aws::Aad::from(header), payload);
                tag.copy_from_slice(sealed.map_err(|_| SealError::Crypto)?.as_ref());
            }
            Key::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, ring_aead::Aad::from(header), payload);
                tag.copy_from_slice(sealed.map_err(|_| SealError::Crypto)?.as_ref());
            }
        }
        Ok(tag)
    }

    /// Decrypts `payload` in place, if it is what was sealed.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        header: &[u8],
        payload: &mut [u8],
        tag: &Tag,
    ) -> Result<(), SealError> {
        match self {
            Key::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place_separate_tag(nonce, aws::Aad::from(header), tag, payload);
                opened.map(drop).map_err(|_| SealError::Forged)
            }
            Key::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let (header, tag) = (ring_aead::Aad::from(header), ring_aead::Tag::from(*tag));
                let opened = key.open_in_place_separate_tag(nonce, header, tag, payload, 0..);
                opened.map(drop).map_err(|_| SealError::Forged)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_vector_aes_but_no_avx512() -> bool {
    std::is_x86_feature_detected!("vaes")
        && std::is_x86_feature_detected!("avx2")
        && !std::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vector_aes_but_no_avx512() -> bool {
    false
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;

#[cfg(test)]
mod aead_tests {
    use super::*;
    use crate::limits::CHUNK_BYTES;

    #[test]
    fn what_one_library_seals_the_other_opens_and_nothing_else() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let keys =
                || [Key::of_aws_lc(cipher, &[7; 32]).unwrap(), Key::of_ring(cipher, &[7; 32]).unwrap()];
            for len in [0, 1, 15, 16, 17, 255, 4096, 4097, CHUNK_BYTES - 1, CHUNK_BYTES] {
                let plain: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
                let (nonce, header) = ([9; NONCE_BYTES], b"a header");
                let sealed = keys().map(|key| {
                    let mut payload = plain.clone();
                    let tag = key.seal(nonce, header, &mut payload).unwrap();
                    (payload, tag)
                });
                assert_eq!(sealed[0], sealed[1], "{cipher:?}, {len} bytes");
                for key in keys() {
                    let (mut payload, tag) = sealed[0].clone();
                    key.open(nonce, header, &mut payload, &tag).unwrap();
                    assert_eq!(payload, plain);
                    let (mut payload, mut tag) = sealed[0].clone();
                    tag[TAG_BYTES - 1] ^= 1;
                    assert_eq!(key.open(nonce, header, &mut payload, &tag), Err(SealError::Forged));
                    let (mut payload, tag) = sealed[0].clone();
                    assert_eq!(key.open(nonce, b"b header", &mut payload, &tag), Err(SealError::Forged));
                    if len > 0 {
                        let (mut payload, tag) = sealed[0].clone();
                        payload[len / 2] ^= 0x80;
                        assert_eq!(key.open(nonce, header, &mut payload, &tag), Err(SealError::Forged));
                    }
                }
            }
        }
    }
}
