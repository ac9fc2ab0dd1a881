//! What is noted beside a part file whose server cannot be asked for values: enough to know which of its
//! bytes need not be got again. Nothing of it is believed: the bytes are hashed again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::ops::Range;

use hyper::Uri;

use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::{ChunkValue, chunk_value};
use crate::store::{Part, SinkError};

/// Chunks of a piece that is noted: 4 MiB.
const PIECE_CHUNKS: u64 = 16;

/// What is noted of a part file: the value of each piece of 4 MiB that was written, behind a key that says of
/// which file.
#[derive(Default)]
pub(super) struct Notes {
    file: Option<File>,
    /// Values of the chunks of pieces that are not complete.
    begun: BTreeMap<u64, Vec<(u64, ChunkValue)>>,
}

/// Bytes of a key, and of a note: the number of a piece and its value.
const KEY_BYTES: u64 = 32;
const NOTE_BYTES: u64 = 40;

impl Notes {
    /// What stands for a file in this state of it: its address, its length, and its strong tag.
    pub fn key(uri: &Uri, size: u64, tag: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("lanx 2026-11-30 notes of a part file");
        for text in [uri.to_string().as_bytes(), &size.to_le_bytes(), tag.as_bytes()] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        *hasher.finalize().as_bytes()
    }

    /// Opens them. Those of another file, or of another state of it, go.
    pub fn open(part: &Part, key: [u8; 32]) -> Result<Notes, SinkError> {
        let Some(mut file) = part.journal()? else { return Ok(Notes::default()) };
        let mut found = [0; KEY_BYTES as usize];
        let is_ours = file.read_exact(&mut found).is_ok() && found == key;
        if !is_ours {
            let begun = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(&key));
            if let Err(error) = begun {
                tracing::info!("nothing will be noted of the part file: {error}");
                return Ok(Notes::default());
            }
        }
        Ok(Notes { file: Some(file), begun: BTreeMap::new() })
    }

    /// The pieces that were noted, and their values. Whether they are right shows [`check`].
    pub fn noted(&mut self, layout: Layout) -> BTreeMap<u64, [u8; 32]> {
        let Some(file) = &mut self.file else { return BTreeMap::new() };
        let pieces = layout.chunks().div_ceil(PIECE_CHUNKS);
        // Twice as many notes as pieces come from two runs at most; more are nonsense.
        let most = pieces.saturating_mul(2).saturating_mul(NOTE_BYTES);
        let mut notes = BTreeMap::new();
        let mut reader = BufReader::new(Read::by_ref(file).take(most));
        let (mut number, mut value) = ([0; 8], [0; 32]);
        while reader.read_exact(&mut number).and_then(|()| reader.read_exact(&mut value)).is_ok() {
            let number = u64::from_le_bytes(number);
            if number < pieces {
                notes.insert(number, value);
            }
        }
        if file.seek(io::SeekFrom::End(0)).is_err() {
            return BTreeMap::new();
        }
        notes
    }

    /// A chunk was written; where that completes a piece it is noted.
    pub fn add(&mut self, chunk: u64, value: ChunkValue, layout: Layout) {
        let Some(file) = &mut self.file else { return };
        let piece = chunk / PIECE_CHUNKS;
        let values = self.begun.entry(piece).or_default();
        values.push((chunk, value));
        if values.len() as u64 != chunks_of(piece, layout).count() as u64 {
            return;
        }
        let mut values = self.begun.remove(&piece).unwrap_or_default();
        values.sort_unstable_by_key(|(chunk, _)| *chunk);
        let note = [&piece.to_le_bytes()[..], &piece_value(&values)].concat();
        if let Err(error) = file.write_all(&note) {
            tracing::info!("nothing more is noted of the part file: {error}");
            self.file = None;
        }
    }
}

/// The chunks of a piece, where its bytes in the part file have the value that was noted.
pub(super) fn check(
    part: &Part,
    layout: Layout,
    piece: u64,
    noted: [u8; 32],
    buffer: &mut [u8],
) -> Option<Vec<(u64, ChunkValue)>> {
    let value = |chunk| {
        let index = ChunkIndex(chunk);
        let now = buffer.get_mut(..layout.len_of(index)?)?;
        part.read_at(now, layout.offset_of(index)?).ok()?;
        Some((chunk, chunk_value(layout, index, now)))
    };
    let values: Vec<_> = chunks_of(piece, layout).map(value).collect::<Option<_>>()?;
    (piece_value(&values) == noted).then_some(values)
}

pub(super) fn chunks_of(piece: u64, layout: Layout) -> Range<u64> {
    let first = piece.saturating_mul(PIECE_CHUNKS);
    first..(first + PIECE_CHUNKS).min(layout.chunks())
}

/// What stands for the bytes of a piece: the hash of the values of its chunks.
fn piece_value(values: &[(u64, ChunkValue)]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (chunk, value) in values {
        hasher.update(&chunk.to_le_bytes()).update(value);
    }
    *hasher.finalize().as_bytes()
}
