//! One thing to offer, and what waits for it to be done.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::file::Source;
use super::stream::Stream;
use crate::content::chunk::Layout;
use crate::content::entry::{EntryKind, Metadata};
use crate::name::RelativePath;

/// One thing to offer.
pub struct Item {
    /// Where it goes; `None` for the destination itself.
    pub path: Option<RelativePath>,
    pub what: What,
    pub metadata: Metadata,
    /// Whether the user named it, rather than a folder that it is in.
    pub named: bool,
    within: Mutex<Within>,
    /// What it is the first name of, where it has several.
    first: Mutex<Option<Arc<FirstName>>>,
}

/// What is offered.
pub enum What {
    File(Source),
    /// A file whose end nobody knows: more than one chunk.
    Stream(Arc<Stream>),
    Folder,
    /// A folder that the receiver is to make before what is in it; it comes again, as a folder.
    ParentFolder,
    Symlink {
        target: Vec<u8>,
    },
    /// A further name of the file `to`. Should that not arrive, or the receiver be unable to give it further
    /// names, this one is sent as a file of its own.
    HardLink {
        to: Arc<FirstName>,
        source: Source,
    },
}

impl Item {
    pub(super) fn new(path: Option<RelativePath>, what: What, metadata: Metadata, within: Within) -> Item {
        Item { path, what, metadata, named: false, within: Mutex::new(within), first: Mutex::default() }
    }

    /// The file at `path`, as a user names it.
    #[cfg(test)]
    pub fn of_file(path: &std::path::Path) -> Arc<Item> {
        use super::{Feed, Next, Options, Root};
        match Feed::new(vec![Root::inspect(path).unwrap()], Options::default()).next() {
            Next::Item(item) => item,
            _ => panic!("{path:?} is no file"),
        }
    }

    pub(super) fn named(self) -> Item {
        Item { named: true, ..self }
    }

    pub(super) fn with_further_names(self, first: Arc<FirstName>) -> Item {
        Item { first: Mutex::new(Some(first)), ..self }
    }

    /// The file, where it is one.
    pub fn source(&self) -> Option<&Source> {
        match &self.what {
            What::File(source) => Some(source),
            _ => None,
        }
    }

    /// The stream, where it is one.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.what {
            What::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Whether it is more than a name and what goes with it.
    pub fn has_content(&self) -> bool {
        matches!(self.what, What::File(_) | What::Stream(_))
    }

    /// How its content falls into chunks.
    pub fn layout(&self) -> Layout {
        self.kind().layout()
    }

    /// Bytes of content; 0 where nobody knows.
    pub fn size(&self) -> u64 {
        self.source().map_or(0, Source::size)
    }

    /// What is said of it on the wire.
    pub fn kind(&self) -> EntryKind {
        match &self.what {
            What::File(source) => EntryKind::File { size: source.size(), sparse: source.is_sparse() },
            What::Stream(_) => EntryKind::Stream,
            What::Folder => EntryKind::Folder,
            What::ParentFolder => EntryKind::ParentFolder,
            What::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            What::HardLink { to, .. } => EntryKind::HardLink { to: to.path().as_bytes().to_vec() },
        }
    }

    /// Has this further name of a file come out of the feed as a file of its own. `false` where it is none.
    pub fn become_a_file(&self) -> bool {
        let What::HardLink { to, source } = &self.what else { return false };
        let within = std::mem::take(&mut *self.within.lock());
        let (path, what) = (self.path.clone(), What::File(source.clone()));
        let file = Item::new(path, what, self.metadata.clone(), within);
        // Refused once the feed is gone: then nobody offers anything any more.
        let _ = to.ready.send(Item { named: self.named, ..file });
        true
    }

    /// It has its outcome: under `arrived` it is there now, or nowhere. What waited for it comes out of the
    /// feed.
    pub fn done(&self, arrived: Option<&RelativePath>) {
        if let Some(first) = self.first.lock().take() {
            first.settle(arrived);
        }
        self.within.lock().leave();
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({:?})", self.path)
    }
}

/// A folder whose content is under way. It is offered, with its times, when all of that has its outcome:
/// writing into it would change them again.
pub(super) struct Folder {
    path: Option<RelativePath>,
    metadata: Metadata,
    parent: Within,
    named: bool,
}

/// Membership in a folder: as long as it lasts, the folder is not offered.
#[derive(Default)]
pub(super) struct Within {
    folder: Option<Arc<Open>>,
}

/// A folder and how many things within it are not done.
struct Open {
    members: AtomicUsize,
    folder: Mutex<Option<Folder>>,
    ready: Sender<Item>,
}

impl Folder {
    pub fn new(path: Option<RelativePath>, metadata: Metadata, parent: Within, named: bool) -> Folder {
        Folder { path, metadata, parent, named }
    }

    /// Opens it: the walk is its first member, until it has gone through it.
    pub fn open(self, ready: Sender<Item>) -> Within {
        let open = Open { members: AtomicUsize::new(1), folder: Mutex::new(Some(self)), ready };
        Within { folder: Some(Arc::new(open)) }
    }
}

impl Within {
    /// A further membership in the same folder.
    pub fn join(&self) -> Within {
        if let Some(open) = &self.folder {
            open.members.fetch_add(1, Ordering::Relaxed);
        }
        Within { folder: self.folder.clone() }
    }

    fn leave(&mut self) {
        let Some(open) = self.folder.take() else { return };
        // Whoever sees 0 must see all that the others did before they left.
        if open.members.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Some(Folder { path, metadata, parent, named }) = open.folder.lock().take() {
            let item = Item::new(path, What::Folder, metadata, parent);
            // Refused once the feed is gone: then nobody offers anything any more.
            let _ = open.ready.send(Item { named, ..item });
        }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The first of several names of one file. The others are offered as links once it has arrived.
pub struct FirstName {
    state: Mutex<First>,
    ready: Sender<Item>,
}

struct First {
    path: RelativePath,
    /// Whether it is there.
    arrived: bool,
    /// Its other names, while it is under way; `None` once it has its outcome.
    waiting: Option<Vec<Item>>,
}

impl FirstName {
    pub(super) fn new(path: RelativePath, ready: Sender<Item>) -> Arc<FirstName> {
        Arc::new(FirstName {
            state: Mutex::new(First { path, arrived: false, waiting: Some(Vec::new()) }),
            ready,
        })
    }

    /// Where the file is, or would have been.
    pub fn path(&self) -> RelativePath {
        self.state.lock().path.clone()
    }

    /// Has `link` come out of the feed once the file has its outcome.
    pub(super) fn follow(&self, link: Item) {
        let mut state = self.state.lock();
        let arrived = state.arrived;
        match &mut state.waiting {
            Some(waiting) => waiting.push(link),
            None => self.let_go(link, arrived),
        }
    }

    fn let_go(&self, link: Item, arrived: bool) {
        let link = match link.what {
            What::HardLink { source, .. } if !arrived => Item { what: What::File(source), ..link },
            what => Item { what, ..link },
        };
        // Refused once the feed is gone: then nobody offers anything any more.
        let _ = self.ready.send(link);
    }

    fn settle(&self, arrived: Option<&RelativePath>) {
        let mut state = self.state.lock();
        if let Some(path) = arrived {
            state.path = path.clone();
            state.arrived = true;
        }
        let waiting = state.waiting.take().unwrap_or_default();
        drop(state);
        for link in waiting {
            self.let_go(link, arrived.is_some());
        }
    }
}
