//! What is offered next, over all sessions of a transfer.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use super::file::Source;
use super::item::{Item, What, Within};
use super::stream::{Start, Stream};
use super::walk::{IsDestination, Options, Root, Trouble, Walk};
use crate::content::chunk::Layout;
use crate::content::entry::Metadata;
use crate::name::RelativePath;

/// Hands out items one after another.
pub struct Feed {
    /// What a lost session left over.
    again: VecDeque<Arc<Item>>,
    /// Folders and links whose time has come. The walk holds a sender as long as it lasts, and so does
    /// everything that may still come: when the last one is gone, that is the end.
    ready: Receiver<Item>,
    walk: Option<Walk>,
    /// The stream that was not handed out yet.
    stream: Option<Coming>,
    chunks: Option<u64>,
    survey: Option<Survey>,
}

/// A walk for nothing but finding out how much there is.
#[derive(Clone)]
pub struct Survey {
    roots: Vec<Root>,
    options: Options,
}

impl Survey {
    /// All files that a walk finds now, and the bytes in them; `None` where `stop` said before that nobody
    /// wants to know any more.
    pub fn count(self, stop: impl Fn() -> bool) -> Option<(u64, u64)> {
        // Folders have no bytes, so nobody hears of them.
        let (nobody, _) = unbounded();
        let mut walk = Walk::new(self.roots, self.options, nobody);
        let (mut files, mut bytes): (u64, u64) = (0, 0);
        while let Some(step) = walk.next() {
            if stop() {
                return None;
            }
            if let Ok(item) = step {
                files += u64::from(item.has_content());
                bytes = bytes.saturating_add(item.size());
            }
        }
        Some((files, bytes))
    }
}

/// A stream, and what it will be.
struct Coming {
    stream: Arc<Stream>,
    path: RelativePath,
    metadata: Metadata,
}

/// What the feed has.
pub enum Next {
    Item(Arc<Item>),
    /// Something that the user must hear of, and that is not sent.
    Trouble(Trouble),
    /// Nothing until something that was handed out is done.
    Later,
    /// Nothing any more.
    End,
}

impl Feed {
    pub fn new(roots: Vec<Root>, options: Options) -> Feed {
        let known = roots.iter().all(|root| !root.is_folder());
        let chunks = roots.iter().map(|root| Layout::new(root.size()).chunks()).fold(0, u64::saturating_add);
        let (sender, ready) = unbounded();
        let read_again = options.list.as_ref().is_none_or(|list| !list.is_read_once());
        let survey =
            (!known && read_again).then(|| Survey { roots: roots.clone(), options: options.clone() });
        let walk = Some(Walk::new(roots, options, sender));
        Feed { again: VecDeque::new(), ready, walk, stream: None, chunks: known.then_some(chunks), survey }
    }

    /// One stream, which is to be the file at `path`. It comes out as soon as it is known whether it is
    /// longer than a chunk: what is not is offered as any other file.
    pub fn of_stream(stream: Arc<Stream>, path: RelativePath, metadata: Metadata) -> Feed {
        let (_, ready) = unbounded();
        let stream = Some(Coming { stream, path, metadata });
        Feed { again: VecDeque::new(), ready, walk: None, stream, chunks: None, survey: None }
    }

    /// The stream that was not handed out yet.
    pub fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref().map(|coming| &coming.stream)
    }

    fn next_of_stream(&mut self) -> Option<Next> {
        let what = match self.stream.as_ref()?.stream.known() {
            Start::Unknown => return Some(Next::Later),
            Start::Failed(error) => Err(error),
            Start::Short(bytes) => {
                Ok(What::File(Source::of_bytes(self.stream.as_ref()?.stream.name(), bytes)))
            }
            Start::Long => Ok(What::Stream(self.stream.as_ref()?.stream.clone())),
        };
        let Coming { path, metadata, .. } = self.stream.take()?;
        Some(match what {
            Ok(what) => {
                Next::Item(Arc::new(Item::new(Some(path), what, metadata, Within::default()).named()))
            }
            Err(error) => Next::Trouble(Trouble::Failed(error)),
        })
    }

    /// From now on leaves out the folder that the receiver puts files into, where it is one of those that are
    /// walked through.
    pub fn leave_out(&mut self, is_destination: IsDestination) {
        if let Some(walk) = &mut self.walk {
            walk.leave_out(is_destination);
        }
    }

    /// How many chunks all of it has; `None` where only the walk could tell.
    pub fn chunks(&self) -> Option<u64> {
        self.chunks
    }

    /// What finds out how many bytes all of it has, where only a walk can tell.
    pub fn survey(&self) -> Option<Survey> {
        self.survey.clone()
    }

    #[allow(clippy::should_implement_trait, reason = "what is there later is no end of an iterator")]
    pub fn next(&mut self) -> Next {
        if let Some(item) = self.again.pop_front() {
            return Next::Item(item);
        }
        if let Some(next) = self.next_of_stream() {
            return next;
        }
        // Before the walk goes on: whatever waits takes memory.
        if let Ok(item) = self.ready.try_recv() {
            return Next::Item(Arc::new(item));
        }
        if let Some(walk) = &mut self.walk {
            match walk.next() {
                Some(Ok(item)) => return Next::Item(Arc::new(item)),
                Some(Err(trouble)) => return Next::Trouble(trouble),
                None => self.walk = None,
            }
        }
        match self.ready.try_recv() {
            Ok(item) => Next::Item(Arc::new(item)),
            Err(error) if error.is_disconnected() => Next::End,
            Err(_) => Next::Later,
        }
    }

    /// Takes back what a lost session had no outcome for.
    pub fn again(&mut self, items: Vec<Arc<Item>>) {
        for item in items.into_iter().rev() {
            self.again.push_front(item);
        }
    }
}
