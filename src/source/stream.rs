//! A stream: what can be read once, from its beginning to an end that nobody knows, as a pipe is.
//!
//! A thread of its own reads ahead into a window of chunks. Each stays there until the receiver is known to have it, as it
//! cannot be read again: a data connection may die with it. The thread ends with the stream or with the program; nobody
//! waits for it, since whoever writes to the pipe may never write again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};

use super::error::SourceError;
use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX, STREAM_WINDOW_CHUNKS, WORKER_STACK_BYTES};

/// What it is called where it fails.
pub const STANDARD_INPUT: &str = "standard input";

/// The standard input, or another descriptor, that is read as it is sent.
pub struct Stream {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// Chunks that were read and are not known to have arrived.
    held: HashMap<u64, Arc<StreamChunk>>,
    /// Buffers of those that have.
    spare: Vec<Box<[u8]>>,
    /// Chunks that were read.
    chunks: u64,
    /// Whether there is more than one.
    is_long: bool,
    end: Option<Result<u64, Fault>>,
    /// Who wants to hear of all that changes here.
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    /// For how long reading it took.
    reading: Duration,
}

/// Why the rest cannot be read.
#[derive(Clone, Copy)]
enum Fault {
    Io(Errno),
    TooLong,
}

impl Fault {
    fn error(self) -> SourceError {
        let path = PathBuf::from(STANDARD_INPUT);
        match self {
            Fault::Io(errno) => SourceError::Io { path, doing: "read", source: errno.into() },
            Fault::TooLong => SourceError::TooLarge { path, size: FILE_BYTES_MAX + 1 },
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
    /// Begins to read.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(input: OwnedFd) -> io::Result<Arc<Stream>> {
        let stream = Arc::new(Stream { state: Mutex::default(), room: Condvar::new() });
        let own = stream.clone();
        let builder = thread::Builder::new().name("stdin".into()).stack_size(WORKER_STACK_BYTES);
        builder.spawn(move || own.end(own.read_all(&input)))?;
        Ok(stream)
    }

    /// Has `wake` called from now on whenever more is known of the stream; whoever was to be called before is not.
    pub fn attach(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.state.lock().wake = Some(Arc::new(wake));
    }

    /// What is known of its length.
    pub fn known(&self) -> Start {
        let state = self.state.lock();
        match state.end {
            _ if state.is_long => Start::Long,
            None => Start::Unknown,
            Some(Err(fault)) => Start::Failed(fault.error()),
            Some(Ok(_)) => Start::Short(state.held.get(&0).map_or(&[][..], |chunk| chunk.bytes()).into()),
        }
    }

    /// How far it was read.
    pub fn reached(&self) -> Reached {
        let state = self.state.lock();
        let end = state.end.map(|end| end.map_err(Fault::error));
        Reached { chunks: state.chunks, end }
    }

    /// How long reading it has taken so far.
    pub fn reading(&self) -> Duration {
        self.state.lock().reading
    }

    /// A chunk that was read and not released.
    pub fn chunk(&self, index: u64) -> Option<Arc<StreamChunk>> {
        self.state.lock().held.get(&index).cloned()
    }

    /// The receiver has this chunk: it makes room for another one.
    pub fn release(&self, index: u64) {
        let mut state = self.state.lock();
        let Some(chunk) = state.held.remove(&index) else { return };
        // Whoever still looks at it keeps it, and a new one is made.
        state.spare.extend(Arc::into_inner(chunk).map(|chunk| chunk.buffer));
        drop(state);
        self.room.notify_one();
    }

    fn read_all(&self, input: &OwnedFd) -> Result<u64, Fault> {
        widen(input);
        let mut bytes = 0;
        loop {
            let mut buffer = self.wait_for_room();
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
                    let index = state.chunks;
                    state.held.insert(index, Arc::new(StreamChunk { buffer, len }));
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
        let wake = state.wake.clone();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
    }

    fn wait_for_room(&self) -> Box<[u8]> {
        let mut state = self.state.lock();
        while state.held.len() >= STREAM_WINDOW_CHUNKS {
            self.room.wait(&mut state);
        }
        state.spare.pop().unwrap_or_else(|| vec![0; CHUNK_BYTES].into())
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

/// Makes a pipe hold more, so that reader and writer need not take turns so often. Where it is none, or may not hold so
/// much, it stays as it is.
#[cfg(target_os = "linux")]
fn widen(input: impl AsFd) {
    use crate::limits::STREAM_PIPE_BYTES;
    if let Err(errno) = rustix::pipe::fcntl_setpipe_size(input, STREAM_PIPE_BYTES) {
        tracing::debug!(%errno, "standard input keeps its buffer");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_input: impl AsFd) {}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
