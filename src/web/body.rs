//! The bytes of an answer. Those of a file go from the page cache into a buffer that is used again and again,
//! and from there to the connection.
//!
//! What is in memory already is read at once, as that takes less time than to hand it to another thread; for
//! a disk a thread waits, so that nobody else who is served does. After each read the file is looked at: if
//! it is not what the head of the answer told any more, the answer ends short, and its reader sees that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::bounds::Share;
use super::passing::{Passer, Passing};
use super::place::OpenFile;
use super::stats::Meter;
use crate::limits::CHUNK_BYTES;
use crate::os::background::aside;
use crate::os::stamp::Stamp;
use crate::store::space::lives_in_memory;

/// Bytes of a buffer. As large as a chunk: fewer system calls save nothing that can be measured, and 200 busy
/// clients take 50 MiB.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Buffers that are kept for the next answer. As many as are in use at once in most places; more would be
/// memory for nothing.
const KEPT_MAX: usize = 8;

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Box<[u8]>>>);

impl Pool {
    fn take(&self) -> Box<[u8]> {
        let kept = self.0.lock().pop();
        kept.unwrap_or_else(|| vec![0; PIECE_BYTES].into_boxed_slice())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

/// Bytes on their way to a connection.
#[derive(Debug)]
pub enum Data {
    Text(Bytes),
    Piece(Piece),
}

/// A part of a buffer, which goes back to its pool.
#[derive(Debug)]
pub struct Piece {
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    pool: Arc<Pool>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Data::Text(text) => text.remaining(),
            Data::Piece(piece) => piece.end - piece.at,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Data::Text(text) => text.chunk(),
            Data::Piece(piece) => piece.buffer.get(piece.at..piece.end).unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Data::Text(text) => text.advance(count),
            Data::Piece(piece) => piece.at = piece.end.min(piece.at + count),
        }
    }
}

/// The body of an answer, and what is counted of it until it is dropped.
#[derive(Debug)]
pub struct Body {
    content: Content,
    left: u64,
    meter: Option<Meter>,
    share: Share,
    paced: Option<Paced>,
}

/// Data that waits until it may go.
struct Paced {
    data: Option<Data>,
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Paced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paced").field("data", &self.data).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Content {
    Text(Bytes),
    File(Reading),
    /// What a thread makes as it goes.
    Made(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body {
    #[must_use]
    pub fn empty() -> Body {
        Body::text(Bytes::new())
    }

    fn new(left: u64, content: Content) -> Body {
        Body { content, left, meter: None, share: Share::default(), paced: None }
    }

    #[must_use]
    pub fn text(text: impl Into<Bytes>) -> Body {
        let text = text.into();
        Body::new(text.len() as u64, Content::Text(text))
    }

    /// So many bytes of a file, from `at`.
    #[must_use]
    pub fn file(open: OpenFile, at: u64, bytes: u64, pool: &Arc<Pool>, passing: &Arc<Passing>) -> Body {
        let way = if lives_in_memory(&open.file) { Way::Memory } else { Way::Cache };
        let OpenFile { file, stamp, .. } = open;
        let passer = Passer::new(passing, stamp);
        let reading = Reading { file, stamp, at, way, waiting: None, pool: pool.clone(), passer };
        Body::new(bytes, Content::File(reading))
    }

    /// So many bytes that somebody else makes.
    #[must_use]
    pub fn made(pieces: mpsc::Receiver<io::Result<Bytes>>, bytes: u64) -> Body {
        Body::new(bytes, Content::Made(pieces))
    }

    /// The same, counted.
    #[must_use]
    pub fn counted(self, meter: Meter) -> Body {
        Body { meter: Some(meter), ..self }
    }

    /// The same, no faster than it may be.
    #[must_use]
    pub fn paced(self, share: Share) -> Body {
        Body { share, ..self }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// What is sent is counted.
    fn hand_over(&mut self, data: Data) -> Frame<Data> {
        let bytes = data.remaining() as u64;
        self.left = self.left.saturating_sub(bytes);
        if let Some(meter) = &mut self.meter {
            meter.sent(bytes, self.left == 0);
        }
        Frame::data(data)
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Data>> {
        match &mut self.content {
            // No more at a time than a limit can count.
            Content::Text(text) => Poll::Ready(Ok(Data::Text(text.split_to(text.len().min(CHUNK_BYTES))))),
            Content::File(reading) => reading.next(self.left, cx),
            Content::Made(pieces) => Poll::Ready(match ready!(pieces.poll_recv(cx)) {
                Some(Ok(piece)) if piece.len() as u64 <= self.left => Ok(Data::Text(piece)),
                Some(Ok(_)) => Err(changed()),
                Some(Err(error)) => Err(error),
                None => Err(changed()),
            }),
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("what is served has changed meanwhile")
}

impl HttpBody for Body {
    type Data = Data;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Data>>>> {
        let body = self.get_mut();
        if body.left == 0 {
            return Poll::Ready(None);
        }
        if body.paced.is_none() {
            let data = match ready!(body.next(cx)) {
                Ok(data) if body.share.is_bounded() => data,
                data => return Poll::Ready(Some(data.map(|data| body.hand_over(data)))),
            };
            let (share, bytes) = (body.share.clone(), data.remaining() as u64);
            let wait = Box::pin(async move {
                share.take(bytes).await;
            });
            body.paced = Some(Paced { data: Some(data), wait });
        }
        if let Some(paced) = &mut body.paced {
            ready!(paced.wait.as_mut().poll(cx));
        }
        let data = body.paced.take().and_then(|paced| paced.data);
        Poll::Ready(data.map(|data| Ok(body.hand_over(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A file that is being read.
struct Reading {
    file: Arc<File>,
    stamp: Stamp,
    at: u64,
    way: Way,
    waiting: Option<Waiting>,
    pool: Arc<Pool>,
    passer: Passer,
}

/// A buffer that a thread fills, and what came of it.
type Waiting = Pin<Box<dyn Future<Output = io::Result<(Box<[u8]>, io::Result<usize>)>> + Send>>;

/// How to read without keeping others waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All of the file is in memory.
    Memory,
    /// What is in the page cache at once, and the rest by a thread.
    Cache,
    /// By a thread, as the file system cannot tell what is in the page cache.
    Thread,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("at", &self.at).field("way", &self.way).finish_non_exhaustive()
    }
}

impl Reading {
    fn next(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<io::Result<Data>> {
        if let Some(waiting) = &mut self.waiting {
            let (buffer, read) = ready!(waiting.as_mut().poll(cx))?;
            self.waiting = None;
            return Poll::Ready(self.piece(buffer, read));
        }
        let mut buffer = self.pool.take();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let now = buffer.get_mut(..most).unwrap_or_default();
        let read = match self.way {
            Way::Memory => Some(self.file.read_at(now, self.at)),
            Way::Cache => read_cached(&self.file, now, self.at),
            Way::Thread => None,
        };
        match read {
            Some(Err(error)) if error.kind() == io::ErrorKind::Unsupported => self.way = Way::Thread,
            Some(read) => return Poll::Ready(self.piece(buffer, read)),
            None => {}
        }
        let (file, at) = (self.file.clone(), self.at);
        let waiting = aside(move || {
            let read = file.read_at(buffer.get_mut(..most).unwrap_or_default(), at);
            (buffer, read)
        });
        self.waiting = Some(Box::pin(waiting));
        self.next(left, cx)
    }

    fn piece(&mut self, buffer: Box<[u8]>, read: io::Result<usize>) -> io::Result<Data> {
        let piece = Piece { buffer, at: 0, end: read?, pool: self.pool.clone() };
        // Behind the read: whatever was written before it was done has moved a time or the size.
        let now = Stamp::of(&rustix::fs::fstat(&self.file)?);
        if piece.end == 0 || now != self.stamp {
            return Err(changed());
        }
        self.passer.sees(self.at, piece.buffer.get(..piece.end).unwrap_or_default());
        self.at += piece.end as u64;
        Ok(Data::Piece(piece))
    }
}

/// What of it is in the page cache: `None` where nothing is, [`io::ErrorKind::Unsupported`] where nobody can
/// tell.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffer: &mut [u8], at: u64) -> Option<io::Result<usize>> {
    use rustix::io::{Errno, ReadWriteFlags};
    let mut buffers = [io::IoSliceMut::new(buffer)];
    match rustix::io::preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT) {
        Ok(read) => Some(Ok(read)),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Some(Err(io::ErrorKind::Unsupported.into())),
        Err(errno) => Some(Err(errno.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> Option<io::Result<usize>> {
    Some(Err(io::ErrorKind::Unsupported.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::poll_fn;
    use std::path::Path;

    use super::*;
    use crate::web::place::{Found, Place};

    fn open(folder: &Path) -> OpenFile {
        let place = Arc::new(Place::new(&[folder.join("file")], false).unwrap());
        let path = crate::name::RelativePath::from_wire(b"file").unwrap();
        match place.open(Some(&path)) {
            Ok(Found::File(file)) => file,
            other => panic!("{other:?}"),
        }
    }

    async fn collect(mut body: Body) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            all.extend_from_slice(frame?.into_data().unwrap().chunk());
        }
        Ok(all)
    }

    #[tokio::test]
    async fn each_way_of_reading_gives_the_bytes_that_were_asked_for() {
        let room = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|n| (n % 251) as u8).collect();
        fs::write(room.path().join("file"), &content).unwrap();
        let pool = Arc::<Pool>::default();
        for way in [Way::Memory, Way::Cache, Way::Thread] {
            for range in [0..content.len(), 5..PIECE_BYTES + 6, content.len() - 1..content.len(), 7..7] {
                let mut body = Body::file(
                    open(room.path()),
                    range.start as u64,
                    range.len() as u64,
                    &pool,
                    &Arc::default(),
                );
                if let Content::File(reading) = &mut body.content {
                    reading.way = way;
                }
                assert_eq!(collect(body).await.unwrap(), content[range.clone()], "{way:?} {range:?}");
            }
        }
        assert!(pool.0.lock().len() <= KEPT_MAX);
    }

    #[tokio::test]
    async fn a_file_that_changes_ends_the_answer_short() {
        for change in ["grow", "shrink", "rewrite"] {
            let room = tempfile::tempdir().unwrap();
            let path = room.path().join("file");
            fs::write(&path, vec![1; 2 * PIECE_BYTES]).unwrap();
            let mut body =
                Body::file(open(room.path()), 0, 2 * PIECE_BYTES as u64, &Arc::default(), &Arc::default());
            let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            assert!(first.into_data().unwrap().remaining() > 0);
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            match change {
                "grow" => file.set_len(3 * PIECE_BYTES as u64).unwrap(),
                "shrink" => file.set_len(5).unwrap(),
                _ => {
                    file.write_all_at(&[2; 9], PIECE_BYTES as u64).unwrap();
                    file.set_modified(std::time::UNIX_EPOCH).unwrap();
                }
            }
            assert!(collect(body).await.is_err(), "{change}");
        }
    }
}
