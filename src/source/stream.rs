//! A stream: what can be read once, from its beginning to an end that nobody knows, as a pipe is.
//!
//! A thread of its own reads ahead into a window of chunks. Each stays there until every receiver is known to
//! have it, as it cannot be read again: a data connection may die with it. The thread ends with the stream or
//! with the program; nobody waits for it, since whoever writes to the pipe may never write again.
//!
//! What a command writes is a stream too. It ends well only where the command does, so nothing that was half
//! written gets a name.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};

use super::error::SourceError;
use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX, STREAM_WINDOW_CHUNKS};
use crate::os::program::{Program, Unfit};
use crate::os::threads;

/// Bytes asked for in the pipe that a stream is read from: four chunks, and what Linux lets everybody have
/// (`fs.pipe-max-size`). The usual 64 KiB make reader and writer take turns four times for each chunk.
#[cfg(target_os = "linux")]
const STREAM_PIPE_BYTES: usize = 1 << 20;

/// What it is called where it fails.
pub const STANDARD_INPUT: &str = "standard input";

/// Where a stream comes from.
pub enum Input {
    /// The standard input, or another descriptor.
    Open(OwnedFd),
    /// The program to run and its arguments. It starts when a receiver has let us in: before, whoever is
    /// asked for a code would share the terminal with it.
    Command(Vec<OsString>),
}

/// One receiver's view of a stream that is read once for all of them.
pub struct Stream {
    shared: Arc<Shared>,
    /// Which of the receivers it is.
    me: usize,
}

/// A set of receivers, a bit for each.
type Readers = u64;

struct Shared {
    name: PathBuf,
    is_command: bool,
    state: Mutex<State>,
    /// Waited on by the thread that reads: for room, for somebody to read for, or for there being nobody any
    /// more.
    changed: Condvar,
    program: Program,
}

#[derive(Default)]
struct State {
    /// Chunks that were read and are not known to have arrived everywhere.
    held: HashMap<u64, Held>,
    /// Buffers of those that have.
    spare: Vec<Box<[u8]>>,
    /// Chunks that were read.
    chunks: u64,
    /// Whether there is more than one.
    is_long: bool,
    end: Option<Result<u64, Fault>>,
    /// Who wants to hear of all that changes here.
    wake: HashMap<usize, Arc<dyn Fn() + Send + Sync>>,
    /// A session has begun.
    begun: bool,
    /// The receivers that the stream is still for.
    readers: Readers,
    /// For how long reading it took.
    reading: Duration,
}

/// A chunk, and those that are not known to have it.
struct Held {
    chunk: Arc<StreamChunk>,
    missing: Readers,
}

/// Why the rest cannot be read.
#[derive(Clone, Copy)]
enum Fault {
    Io(Errno),
    TooLong,
    Unfit(Unfit),
}

impl Fault {
    fn error(self, name: &Path) -> SourceError {
        let path = name.into();
        match self {
            Fault::Io(errno) => SourceError::Io { path, doing: "read", source: errno.into() },
            Fault::TooLong => SourceError::TooLarge { path, size: FILE_BYTES_MAX + 1 },
            Fault::Unfit(unfit) => SourceError::Command { path, unfit },
        }
    }
}

/// A chunk of a stream.
pub struct StreamChunk {
    buffer: Box<[u8]>,
    len: usize,
}

impl StreamChunk {
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// What is known of the length of a stream.
pub enum Start {
    /// Nothing yet.
    Unknown,
    /// It ended within one chunk: this is all of it.
    Short(Arc<[u8]>),
    /// It has more than one chunk.
    Long,
    Failed(SourceError),
}

/// How far a stream was read.
pub struct Reached {
    /// Chunks, counted from the first. All are full but the last of a stream that has ended.
    pub chunks: u64,
    /// Its length in bytes, once it has ended.
    pub end: Option<Result<u64, SourceError>>,
}

impl Stream {
    /// Begins to read for so many receivers, at most 64. What is returned is one view for each.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(input: Input, readers: usize) -> io::Result<Vec<Arc<Stream>>> {
        let name = match &input {
            Input::Open(_) => STANDARD_INPUT.into(),
            Input::Command(line) => line.first().map_or(PathBuf::new(), PathBuf::from),
        };
        let all = (0..readers).fold(0, |all, reader| all | bit(reader));
        let state = Mutex::new(State { readers: all, ..State::default() });
        let is_command = matches!(input, Input::Command(_));
        let shared = Shared { name, is_command, state, changed: Condvar::new(), program: Program::default() };
        let shared = Arc::new(shared);
        let own = shared.clone();
        let builder = threads::worker("stdin");
        builder.spawn(move || own.end(own.run(input)))?;
        Ok((0..readers).map(|me| Arc::new(Stream { shared: shared.clone(), me })).collect())
    }

    /// What it is called where it fails.
    pub fn name(&self) -> &Path {
        &self.shared.name
    }

    /// The command that has ended well without a byte, where it is one.
    pub fn silent_command(&self) -> Option<&Path> {
        let ended_empty = matches!(self.shared.state.lock().end, Some(Ok(0)));
        (self.shared.is_command && ended_empty).then_some(&self.shared.name)
    }

    /// Has `wake` called from now on whenever more is known of the stream; whoever was to be called before is
    /// not. A command starts now.
    pub fn attach(&self, wake: impl Fn() + Send + Sync + 'static) {
        let mut state = self.shared.state.lock();
        state.wake.insert(self.me, Arc::new(wake));
        state.begun = true;
        drop(state);
        self.shared.changed.notify_one();
    }

    /// What is known of its length.
    pub fn known(&self) -> Start {
        let state = self.shared.state.lock();
        match state.end {
            _ if state.is_long => Start::Long,
            None => Start::Unknown,
            Some(Err(fault)) => Start::Failed(fault.error(&self.shared.name)),
            Some(Ok(_)) => Start::Short(state.held.get(&0).map_or(&[][..], |held| held.chunk.bytes()).into()),
        }
    }

    /// How far it was read.
    pub fn reached(&self) -> Reached {
        let state = self.shared.state.lock();
        let end = state.end.map(|end| end.map_err(|fault| fault.error(&self.shared.name)));
        Reached { chunks: state.chunks, end }
    }

    /// How long reading it has taken so far.
    pub fn reading(&self) -> Duration {
        self.shared.state.lock().reading
    }

    /// A chunk that was read and not released.
    pub fn chunk(&self, index: u64) -> Option<Arc<StreamChunk>> {
        let state = self.shared.state.lock();
        let held = state.held.get(&index).filter(|held| held.missing & bit(self.me) != 0)?;
        Some(held.chunk.clone())
    }

    /// The receiver has this chunk. Where all have it, it makes room for another one.
    pub fn release(&self, index: u64) {
        self.shared.state.lock().release(index, self.me);
        self.shared.changed.notify_one();
    }
}

/// This receiver has all that it wants: nobody waits for it any more. With the last one a command ends that
/// still runs.
impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.wake.remove(&self.me);
        state.readers &= !bit(self.me);
        let left: Vec<u64> = state.held.keys().copied().collect();
        left.into_iter().for_each(|index| state.release(index, self.me));
        let is_last = state.readers == 0;
        drop(state);
        self.shared.changed.notify_one();
        if is_last {
            self.shared.program.end();
        }
    }
}

fn bit(reader: usize) -> Readers {
    1 << reader
}

impl State {
    fn release(&mut self, index: u64, reader: usize) {
        let Some(held) = self.held.get_mut(&index) else { return };
        held.missing &= !bit(reader);
        if held.missing == 0
            && let Some(held) = self.held.remove(&index)
        {
            // Whoever still looks at it keeps it, and a new one is made.
            self.spare.extend(Arc::into_inner(held.chunk).map(|chunk| chunk.buffer));
        }
    }
}

impl Shared {
    fn run(&self, input: Input) -> Result<u64, Fault> {
        match input {
            Input::Open(input) => self.read_all(&input),
            Input::Command(line) => {
                let mut state = self.state.lock();
                while !state.begun && state.readers != 0 {
                    self.changed.wait(&mut state);
                }
                // Nobody has let us in, and nobody will.
                if state.readers == 0 {
                    return Ok(0);
                }
                drop(state);
                let output = self.program.start(&line).map_err(Fault::Unfit)?;
                // Its last receiver may have gone in between, and found nothing to end.
                if self.state.lock().readers == 0 {
                    self.program.end();
                }
                let bytes = self.read_all(&output)?;
                // It has written all that it will. Whether that is all it was to write only its end tells.
                drop(output);
                self.program.wait().map_err(Fault::Unfit)?;
                Ok(bytes)
            }
        }
    }

    fn read_all(&self, input: &OwnedFd) -> Result<u64, Fault> {
        widen(input);
        let mut bytes = 0;
        loop {
            let mut buffer = self.wait_for_room()?;
            let mut len = 0;
            while let Some(rest) = buffer.get_mut(len..)
                && !rest.is_empty()
            {
                let began = Instant::now();
                let got = read_some(input, rest).map_err(Fault::Io)?;
                self.state.lock().reading += began.elapsed();
                if got == 0 {
                    break;
                }
                // The first byte behind a chunk.
                if len == 0 && bytes == CHUNK_BYTES as u64 {
                    self.change(|state| state.is_long = true);
                }
                len += got;
            }
            bytes += len as u64;
            if bytes > FILE_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            if len > 0 {
                self.change(|state| {
                    let (index, missing) = (state.chunks, state.readers);
                    if missing != 0 {
                        let chunk = Arc::new(StreamChunk { buffer, len });
                        state.held.insert(index, Held { chunk, missing });
                    }
                    state.chunks += 1;
                });
            }
            if len < CHUNK_BYTES {
                return Ok(bytes);
            }
        }
    }

    fn end(&self, end: Result<u64, Fault>) {
        self.change(|state| state.end = Some(end));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let wake: Vec<_> = state.wake.values().cloned().collect();
        drop(state);
        wake.iter().for_each(|wake| wake());
    }

    /// A buffer for one more chunk; an error that nobody hears where there is nobody left to read for.
    fn wait_for_room(&self) -> Result<Box<[u8]>, Fault> {
        let mut state = self.state.lock();
        while state.held.len() >= STREAM_WINDOW_CHUNKS {
            self.changed.wait(&mut state);
        }
        if state.readers == 0 {
            return Err(Fault::Io(Errno::CANCELED));
        }
        Ok(state.spare.pop().unwrap_or_else(|| vec![0; CHUNK_BYTES].into()))
    }
}

/// Reads what there is, at least a byte; 0 at the end.
fn read_some(input: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match retry_on_intr(|| rustix::io::read(input, &mut *buffer)) {
            // Another program that has the same pipe or terminal may have made it so.
            Err(Errno::AGAIN) => {
                let mut waiting = [PollFd::new(input, PollFlags::IN)];
                retry_on_intr(|| poll(&mut waiting, None))?;
            }
            result => return result,
        }
    }
}

/// Makes a pipe hold more, so that reader and writer need not take turns so often. Where it is none, or may
/// not hold so much, it stays as it is.
#[cfg(target_os = "linux")]
fn widen(input: impl AsFd) {
    use STREAM_PIPE_BYTES;
    if let Err(errno) = rustix::pipe::fcntl_setpipe_size(input, STREAM_PIPE_BYTES) {
        tracing::debug!(%errno, "standard input keeps its buffer");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_input: impl AsFd) {}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
