//! How fast this machine hashes and seals: one thread, a chunk that stays in the cache.

use std::time::{Duration, Instant};

use super::frames::ChunkBuffer;
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::compress::{COMPRESSED_ROOM_BYTES, Compressor, Method};
use crate::content::tree::chunk_value;
use crate::limits::CHUNK_BYTES;
use crate::os::cpu::cores;
use crate::wire::frame::Header;
use crate::wire::seal::{Cipher, SECRET_BYTES, SealError, SessionSecret};

/// What one thread does, in bytes a second, and how many threads there can be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speeds {
    pub hash: u64,
    pub seal: u64,
    pub cores: u32,
}

/// Measures both, each for `time`.
///
/// # Errors
/// The cryptographic library failed.
pub fn speeds(cipher: Cipher, time: Duration) -> Result<Speeds, SealError> {
    let mut buffer = ChunkBuffer::new();
    // The key seals nothing that anybody ever sees.
    let secret = SessionSecret::new([0; SECRET_BYTES]);
    let (mut sealer, _) = secret.data_keys(cipher, &[0; 16], 0)?.for_sender();
    let header = Header::probe(CHUNK_BYTES).encode();
    // Nothing is sealed before the first proof.
    sealer.prove(&[])?;
    let mut failed = None;
    let layout = Layout::new(2 * CHUNK_BYTES as u64);
    let hash = rate(time, || {
        std::hint::black_box(chunk_value(layout, ChunkIndex(0), buffer.content(CHUNK_BYTES)));
    });
    let seal = rate(time, || failed = sealer.seal(&header, buffer.content(CHUNK_BYTES)).err().or(failed));
    match failed {
        Some(error) => Err(error),
        None => Ok(Speeds { hash, seal, cores: u32::try_from(cores()).unwrap_or(u32::MAX) }),
    }
}

/// How many bytes of text one core compresses a second, with each step that a transfer may take by itself;
/// each measured for `time`.
pub fn compression(time: Duration) -> [(Method, u64); 3] {
    let lines = (0_u32..).flat_map(|n| {
        let number = n.wrapping_mul(0x9e37_79b9);
        format!(
            "{:02}:{:02} worker {} took {number} ms for /static/page-{n}.html\n",
            n / 60 % 24,
            n % 60,
            number >> 29
        )
        .into_bytes()
    });
    let text: Vec<u8> = lines.take(CHUNK_BYTES).collect();
    let (mut compressor, mut room) = (Compressor::default(), ChunkBuffer::with_room(COMPRESSED_ROOM_BYTES));
    [Method::Lz4, Method::Zstd(1), Method::Zstd(3)].map(|method| {
        let compress = || {
            std::hint::black_box(compressor.compress(method, &text, room.content(COMPRESSED_ROOM_BYTES)));
        };
        (method, rate(time, compress))
    })
}

/// Does `work`, which treats one chunk, for `time`, and once before.
fn rate(time: Duration, mut work: impl FnMut()) -> u64 {
    work();
    let started = Instant::now();
    let mut bytes = 0;
    loop {
        work();
        bytes += CHUNK_BYTES as u64;
        let elapsed = started.elapsed();
        if elapsed >= time {
            return (bytes as f64 / elapsed.as_secs_f64().max(1e-6)) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ciphers_and_the_hash_have_a_speed() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let Speeds { hash, seal, cores } = speeds(cipher, Duration::from_millis(1)).unwrap();
            assert!(hash > 0 && seal > 0 && cores > 0);
        }
        assert!(compression(Duration::from_millis(1)).iter().all(|(_, rate)| *rate > 0));
    }
}
