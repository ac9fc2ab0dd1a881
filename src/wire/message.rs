//! Messages on the control connection. Each travels as a 32-bit length of what follows, a tag byte, and its
//! fields in the order in which they stand here. The two directions have their own tags: what only a sender
//! may say cannot be parsed from a receiver.

use super::fields::{DecodeError, Reader, Writer};
pub use super::greeting::{Barred, Hello, PakeMessage, PakeProof, SessionId, Waiting, Wishes};
use super::greeting::{cipher, connections};
pub use super::offer::Offer;
use super::offer::{put_text, text};
use super::options::Options;
use super::seal::Cipher;
use super::stage_times::Spent;
use crate::content::chunk::{ChunkIndex, FileId};
use crate::content::entry::{Failure, Outcome};
use crate::content::tree::{ChunkValue, Hash};
use crate::name::Text;

/// What a receiver has that may be, in part, what is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// A part file, and with `--delta` an older version of the file: chunks that differ are sent.
    Part,
    /// The file under the final name: one chunk that differs decides that it is another file.
    Existing,
}

/// What a sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderMessage {
    /// First of all.
    Hello(Hello),
    /// A file or another entry to send. They are counted from 0.
    Offer(Offer),
    /// The file that is offered next has this hash, as far as the sender remembers: it has not read it.
    Remembered { file: FileId, hash: Hash },
    /// The value of a chunk, which the receiver has asked for.
    Value { file: FileId, chunk: ChunkIndex, value: ChunkValue },
    /// Every chunk has been read and the source did not change meanwhile: this is the hash of the file.
    Root { file: FileId, hash: Hash },
    /// The file will not come.
    Withdraw { file: FileId, failure: Failure },
    /// Everything has been offered: so many files.
    Finish { files: u64 },
    /// Still here.
    Beat,
    /// The sender gives up the session.
    Leave { text: Text },
    /// The sender's SPAKE2 message, when a code is wanted.
    Pake { message: PakeMessage },
    /// The sender's proof that it knows the code.
    Proof { proof: PakeProof },
    /// A data connection is dead: how far did it come?
    HangUp { connection: u32 },
    /// The stream has ended, and is so long in all.
    Length { file: FileId, bytes: u64 },
    /// All files of this session together are expected to have so many bytes. For people only: more or less
    /// may come.
    Total { bytes: u64 },
}

/// What a receiver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverMessage {
    /// Come in: the session's name, how many data connections it may have for now, and how their frames are
    /// sealed.
    Welcome { session: SessionId, connections: u8, cipher: Cipher, options: Options },
    /// Send the whole file.
    Send { file: FileId },
    /// Something is there. What is missing follows, and what is to be hashed, each chunk once; where the file
    /// is one chunk, this alone asks for its hash.
    Compare { file: FileId, against: Against },
    /// These chunks are not there.
    Missing { file: FileId, first: ChunkIndex, count: u64 },
    /// Say the values of these chunks. The receiver never says its own, so that nobody learns from them what
    /// it has.
    Hash { file: FileId, first: ChunkIndex, count: u64 },
    /// A file is done with.
    Outcome { file: FileId, outcome: Outcome },
    /// So many bytes have been written, and so many were there already. Also says: still here.
    Progress { written: u64, kept: u64 },
    /// The receiver gives up the session.
    Leave { text: Text },
    /// Every file has its outcome.
    Bye,
    /// You are not known here: prove the code.
    CodeWanted,
    /// The receiver's SPAKE2 message.
    Pake { message: PakeMessage },
    /// The receiver's proof that it knows the code. The welcome follows.
    Proof { proof: PakeProof },
    /// You may not come in.
    Barred(Barred),
    /// So many frames of a data connection have been taken in: they will not be asked for again.
    Confirmed { connection: u32, frames: u64 },
    /// A data connection has ended, and so many of its frames have been taken in.
    HungUp { connection: u32, frames: u64 },
    /// Send the chunks of the file below `end`: they are needed in order, and there is no room for more. The
    /// next one of these goes on from there.
    SendUpTo { file: FileId, end: ChunkIndex },
    /// You may come in when it is your turn. Said again whenever that changes, and to say: still here.
    Waiting(Waiting),
    /// What one thread of this machine hashes and seals a second, in bytes, and how many threads it runs at
    /// once; said once, where the sender measures.
    Speeds { hash: u64, seal: u64, cores: u32 },
    /// From now on the session may have so many data connections: others came or went.
    Share { connections: u8 },
    /// What the threads that receive did with their time. Said at the end, before the goodbye.
    Spent(Spent),
    /// The receiver is being stopped or restarted, and ends the session. It may be back in a moment.
    Away,
    /// What was stored does not lie where it should, or nothing can be stored there. Ends the session, or
    /// stands in the place of the welcome.
    Misplaced { text: Text },
    /// The sender may not send here any more. Ends the session.
    Revoked,
    /// What is here of this chunk has another value than the one that was said: send it.
    Differs { file: FileId, chunk: ChunkIndex },
}

fn file(r: &mut Reader) -> Result<FileId, DecodeError> {
    r.u64("a file").map(FileId)
}

fn chunk(r: &mut Reader) -> Result<ChunkIndex, DecodeError> {
    r.u64("a chunk index").map(ChunkIndex)
}

/// A message that can cross the control connection.
pub trait Message: Sized {
    /// Appends the tag and the fields.
    fn put(&self, to: &mut Vec<u8>);

    /// Reads a whole message: its tag and fields and nothing more.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`Message::put`] would not have written.
    fn take(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl Message for SenderMessage {
    fn put(&self, to: &mut Vec<u8>) {
        let mut w = Writer(to);
        match self {
            Self::Hello(hello) => hello.put(w.u8(1)),
            Self::Offer(offer) => offer.put(w.u8(2)),
            Self::Value { file, chunk, value } => drop(w.u8(3).u64(file.0).u64(chunk.0).bytes(value)),
            Self::Root { file, hash } => drop(w.u8(5).u64(file.0).bytes(hash.as_bytes())),
            Self::Withdraw { file, failure } => failure.put(w.u8(6).u64(file.0)),
            Self::Finish { files } => drop(w.u8(7).u64(*files)),
            Self::Beat => drop(w.u8(8)),
            Self::Leave { text } => put_text(w.u8(9), text),
            Self::Pake { message } => drop(w.u8(10).bytes(message)),
            Self::Proof { proof } => drop(w.u8(11).bytes(proof)),
            Self::HangUp { connection } => drop(w.u8(12).u32(*connection)),
            Self::Length { file, bytes } => drop(w.u8(13).u64(file.0).u64(*bytes)),
            Self::Total { bytes } => drop(w.u8(14).u64(*bytes)),
            Self::Remembered { file, hash } => drop(w.u8(15).u64(file.0).bytes(hash.as_bytes())),
        }
    }

    fn take(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let message = match r.u8("a message")? {
            1 => Self::Hello(Hello::take(&mut r)?),
            2 => Self::Offer(Offer::take(&mut r)?),
            3 => Self::Value {
                file: file(&mut r)?,
                chunk: chunk(&mut r)?,
                value: r.array("a chaining value")?,
            },
            5 => Self::Root { file: file(&mut r)?, hash: Hash::from_bytes(r.array("a hash")?) },
            6 => Self::Withdraw { file: file(&mut r)?, failure: Failure::take(&mut r)? },
            7 => Self::Finish { files: r.u64("a number of files")? },
            8 => Self::Beat,
            9 => Self::Leave { text: text(&mut r)? },
            10 => Self::Pake { message: r.array("a SPAKE2 message")? },
            11 => Self::Proof { proof: r.array("a proof")? },
            12 => Self::HangUp { connection: r.u32("a connection")? },
            13 => Self::Length { file: file(&mut r)?, bytes: r.u64("a length")? },
            14 => Self::Total { bytes: r.u64("a total")? },
            15 => Self::Remembered { file: file(&mut r)?, hash: Hash::from_bytes(r.array("a hash")?) },
            tag => return Err(DecodeError::UnknownTag { what: "a sender's message", tag }),
        };
        r.end()?;
        Ok(message)
    }
}

impl Message for ReceiverMessage {
    fn put(&self, to: &mut Vec<u8>) {
        let mut w = Writer(to);
        match self {
            Self::Welcome { session, connections, cipher, options } => {
                w.u8(1).bytes(&session.0).u8(*connections).u8(cipher.to_byte());
                options.put(&mut w);
            }
            Self::Send { file } => drop(w.u8(2).u64(file.0)),
            Self::Compare { file, against } => {
                w.u8(3).u64(file.0).u8(match against {
                    Against::Part => 1,
                    Against::Existing => 2,
                });
            }
            Self::Missing { file, first, count } => drop(w.u8(4).u64(file.0).u64(first.0).u64(*count)),
            Self::Hash { file, first, count } => drop(w.u8(5).u64(file.0).u64(first.0).u64(*count)),
            Self::Outcome { file, outcome } => outcome.put(w.u8(6).u64(file.0)),
            Self::Progress { written, kept } => drop(w.u8(7).u64(*written).u64(*kept)),
            Self::Leave { text } => put_text(w.u8(8), text),
            Self::Bye => drop(w.u8(9)),
            Self::CodeWanted => drop(w.u8(10)),
            Self::Pake { message } => drop(w.u8(11).bytes(message)),
            Self::Proof { proof } => drop(w.u8(12).bytes(proof)),
            Self::Barred(barred) => barred.put(w.u8(13)),
            Self::Confirmed { connection, frames } => drop(w.u8(14).u32(*connection).u64(*frames)),
            Self::HungUp { connection, frames } => drop(w.u8(15).u32(*connection).u64(*frames)),
            Self::SendUpTo { file, end } => drop(w.u8(16).u64(file.0).u64(end.0)),
            Self::Waiting(waiting) => waiting.put(w.u8(17)),
            Self::Share { connections } => drop(w.u8(18).u8(*connections)),
            Self::Spent(spent) => spent.put(w.u8(19)),
            Self::Speeds { hash, seal, cores } => drop(w.u8(20).u64(*hash).u64(*seal).u32(*cores)),
            Self::Away => drop(w.u8(21)),
            Self::Misplaced { text } => put_text(w.u8(22), text),
            Self::Revoked => drop(w.u8(23)),
            Self::Differs { file, chunk } => drop(w.u8(24).u64(file.0).u64(chunk.0)),
        }
    }

    fn take(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let message = match r.u8("a message")? {
            1 => {
                let (session, connections) = (SessionId(r.array("a session")?), connections(&mut r)?);
                let (cipher, options) = (cipher(&mut r)?, Options::take(&mut r)?);
                Self::Welcome { session, connections, cipher, options }
            }
            2 => Self::Send { file: file(&mut r)? },
            3 => Self::Compare { file: file(&mut r)?, against: against(&mut r)? },
            4 => Self::Missing {
                file: file(&mut r)?,
                first: chunk(&mut r)?,
                count: r.u64("a number of chunks")?,
            },
            5 => {
                Self::Hash { file: file(&mut r)?, first: chunk(&mut r)?, count: r.u64("a number of chunks")? }
            }
            6 => Self::Outcome { file: file(&mut r)?, outcome: Outcome::take(&mut r)? },
            7 => Self::Progress { written: r.u64("a number of bytes")?, kept: r.u64("a number of bytes")? },
            8 => Self::Leave { text: text(&mut r)? },
            9 => Self::Bye,
            10 => Self::CodeWanted,
            11 => Self::Pake { message: r.array("a SPAKE2 message")? },
            12 => Self::Proof { proof: r.array("a proof")? },
            13 => Self::Barred(Barred::take(&mut r)?),
            14 => {
                Self::Confirmed { connection: r.u32("a connection")?, frames: r.u64("a number of frames")? }
            }
            15 => Self::HungUp { connection: r.u32("a connection")?, frames: r.u64("a number of frames")? },
            16 => Self::SendUpTo { file: file(&mut r)?, end: chunk(&mut r)? },
            17 => Self::Waiting(Waiting::take(&mut r)?),
            18 => Self::Share { connections: connections(&mut r)? },
            19 => Self::Spent(Spent::take(&mut r)?),
            20 => {
                let (hash, seal) = (r.u64("a speed")?, r.u64("a speed")?);
                Self::Speeds { hash, seal, cores: r.u32("a number of cores")? }
            }
            21 => Self::Away,
            22 => Self::Misplaced { text: text(&mut r)? },
            23 => Self::Revoked,
            24 => Self::Differs { file: file(&mut r)?, chunk: chunk(&mut r)? },
            tag => return Err(DecodeError::UnknownTag { what: "a receiver's message", tag }),
        };
        r.end()?;
        Ok(message)
    }
}

fn against(r: &mut Reader) -> Result<Against, DecodeError> {
    match r.u8("a comparison")? {
        1 => Ok(Against::Part),
        2 => Ok(Against::Existing),
        tag => Err(DecodeError::UnknownTag { what: "a comparison", tag }),
    }
}

/// Appends a message as it travels: behind its length.
pub fn put_framed(message: &impl Message, to: &mut Vec<u8>) {
    let at = to.len();
    to.extend_from_slice(&[0; 4]);
    message.put(to);
    let len = (to.len() - at - 4) as u32;
    to[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// The first whole message in `bytes` and how many bytes it takes there; `None` while there is less than one.
///
/// # Errors
/// [`DecodeError`] as soon as the length is seen to be past `limit`, or the message is malformed.
pub fn take_framed<M: Message>(bytes: &[u8], limit: usize) -> Result<Option<(M, usize)>, DecodeError> {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > limit {
        let limit = limit as u64;
        return Err(DecodeError::TooLong { what: "a message", got: len as u64, limit });
    }
    match rest.get(..len) {
        Some(body) => Ok(Some((M::take(body)?, len + 4))),
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
