//! What is offered next, over all sessions of a transfer.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use super::item::Item;
use super::walk::{Options, Root, Trouble, Walk};
use crate::chunk::Layout;

/// Hands out items one after another.
pub struct Feed {
    /// What a lost session left over.
    again: VecDeque<Arc<Item>>,
    /// Folders and links whose time has come. The walk holds a sender as long as it lasts, and so does everything that
    /// may still come: when the last one is gone, that is the end.
    ready: Receiver<Item>,
    walk: Option<Walk>,
    chunks: Option<u64>,
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
        let walk = Some(Walk::new(roots, options, sender));
        Feed { again: VecDeque::new(), ready, walk, chunks: known.then_some(chunks) }
    }

    /// How many chunks all of it has; `None` where only the walk could tell.
    pub fn chunks(&self) -> Option<u64> {
        self.chunks
    }

    #[allow(clippy::should_implement_trait, reason = "what is there later is no end of an iterator")]
    pub fn next(&mut self) -> Next {
        if let Some(item) = self.again.pop_front() {
            return Next::Item(item);
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
