//! The ciphers, each from the library that has it fastest on this CPU.
//!
//! aws-lc-rs has AES-GCM for AVX-512 and for CPUs with no vector AES at all, and ring has it for those in between: VAES with
//! 256 bits, as in AMD's Zen 3 and Intel's smaller cores. There it is more than twice as fast (ARCHITECTURE.md, *Measured*).
//! What they make of a frame is the same, so the two ends need not agree on one.

use aws_lc_rs::aead as aws;
use ring::aead as ring_aead;

use super::seal::{Cipher, SealError, TAG_BYTES, Tag};

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
mod tests {
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
