//! The sender's chunk path: read, hash, seal, write. One thread runs this for each data connection.
//!
//! A thread owns its buffer, which stays in its core's cache from the read to the write. In the loop there is no
//! channel, no allocation, and no lock held across I/O.

use std::io::Write;
use std::sync::Arc;

use super::End;
use super::framing::{ChunkBuffer, FrameWriter, lost};
use super::run::Run;
use super::sending::{Lanes, Sending};
use crate::chunk::ChunkIndex;
use crate::protocol::frame::{Header, Kind};
use crate::protocol::message::Against;
use crate::protocol::seal::Sealer;
use crate::tree::{ChunkValue, Hash, chunk_value};

/// Sends chunks over `stream` until the session is closed.
///
/// # Errors
/// [`End::Lost`] where the stream fails, [`End::Misbehaved`] where the receiver asked for a chunk twice.
pub fn send_chunks<W: Write>(sending: &Sending, stream: W, sealer: Sealer) -> Result<(), End> {
    let mut writer = FrameWriter::new(stream, sealer);
    let mut buffer = ChunkBuffer::new();
    let mut held = None;
    while let Some(index) = sending.next(&mut held, Lanes::All, || writer.flush()).map_err(|e| lost(&e))? {
        if let Some(run) = &held {
            send_chunk(sending, run, index, &mut buffer, &mut writer)?;
        }
    }
    writer.flush().map_err(|e| lost(&e))
}

/// Compares chunks until the session is closed, so that comparing goes on while every connection is busy sending.
///
/// # Errors
/// [`End::Misbehaved`] where the receiver announced a chunk twice.
pub fn compare_chunks(sending: &Sending) -> Result<(), End> {
    let mut buffer = ChunkBuffer::new();
    let mut held = None;
    while let Some(index) = sending.next(&mut held, Lanes::Compare, || Ok(())).map_err(|e| lost(&e))? {
        let Some(run) = &held else { continue };
        let Some(value) = read(sending, run, index, &mut buffer) else { continue };
        match verdict(run, index, &value) {
            Verdict::Keep => keep(sending, run, index, value)?,
            Verdict::Send => sending.resend(&run.attempt, index),
            Verdict::OtherFile => sending.differs(&run.attempt),
        }
    }
    Ok(())
}

enum Verdict {
    Keep,
    Send,
    OtherFile,
}

fn verdict(run: &Run, index: ChunkIndex, value: &ChunkValue) -> Verdict {
    match run.value(index) {
        Some(theirs) if theirs == value => Verdict::Keep,
        _ if run.attempt.against == Against::Existing => Verdict::OtherFile,
        _ => Verdict::Send,
    }
}

fn send_chunk<W: Write>(
    sending: &Sending,
    run: &Arc<Run>,
    index: ChunkIndex,
    buffer: &mut ChunkBuffer,
    writer: &mut FrameWriter<W>,
) -> Result<(), End> {
    let Some(value) = read(sending, run, index, buffer) else { return Ok(()) };
    match verdict(run, index, &value) {
        Verdict::Keep => return keep(sending, run, index, value),
        Verdict::OtherFile => {
            sending.differs(&run.attempt);
            return Ok(());
        }
        Verdict::Send => {}
    }
    let file = &run.attempt.file;
    let content_bytes = file.layout.len_of(index).unwrap_or_default();
    let whole = file.layout.is_single();
    let kind = if whole { Kind::Whole } else { Kind::Chunk };
    let header = Header { kind, file: file.id, chunk: index, content_bytes };
    if whole {
        let _ = file.root.set(Hash::from_bytes(value));
        writer.write(&header, buffer.whole(content_bytes, &value))?;
    } else {
        writer.write(&header, buffer.content(content_bytes))?;
    }
    sending.hashed(&run.attempt, index, value, whole)
}

fn keep(sending: &Sending, run: &Run, index: ChunkIndex, value: ChunkValue) -> Result<(), End> {
    sending.keep(&run.attempt, index);
    sending.hashed(&run.attempt, index, value, false)
}

/// Reads a chunk into `buffer` and hashes it. Where the source cannot be read the file is withdrawn.
fn read(sending: &Sending, run: &Run, index: ChunkIndex, buffer: &mut ChunkBuffer) -> Option<ChunkValue> {
    let file = &run.attempt.file;
    let content = buffer.content(file.layout.len_of(index)?);
    if file.layout.is_single() {
        return match file.source.read_whole(file.layout, content) {
            Ok(()) => Some(chunk_value(file.layout, index, content)),
            Err(error) => {
                sending.withdraw(&run.attempt, &error);
                None
            }
        };
    }
    let failed = match file.open() {
        Ok(source) => match source.read_chunk(file.layout, index, content) {
            Ok(()) => return Some(chunk_value(file.layout, index, content)),
            Err(error) => error,
        },
        Err(error) => {
            sending.withdraw(&run.attempt, error);
            return None;
        }
    };
    sending.withdraw(&run.attempt, &failed);
    None
}
