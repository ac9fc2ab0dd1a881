//! What a sender offers: a path, what stands there, and what it has besides its bytes.

use std::sync::Arc;

use super::codec::{DecodeError, Reader, Text, Writer};
use crate::content::chunk::{FileId, Layout};
use crate::limits::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, LINK_TARGET_BYTES_MAX, NAME_BYTES_MAX, OFFER_BYTES_BASE,
    TEXT_BYTES_MAX, WIRE_NAME_BYTES_MAX, WIRE_PATH_BYTES_MAX,
};

/// What an entry has besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits as in `st_mode`; the receiver takes no others than `0o777`, and those beyond only together with the
    /// owner.
    pub mode: u32,
    /// Modification time in seconds since 1970-01-01 UTC, negative before.
    pub mtime_seconds: i64,
    /// Nanoseconds of the modification time, below 10^9.
    pub mtime_nanos: u32,
    /// What only `--archive` takes along.
    pub archive: Option<Arc<Archive>>,
}

/// What `--archive` takes along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// Numeric IDs of the owner; a receiver that is not root leaves them.
    pub uid: u32,
    pub gid: u32,
    pub attributes: Attributes,
}

/// Extended attributes, as they travel: their number, and each behind it. From the wire to the disk they are one block of
/// memory, as thousands of offers wait at once and each may have hundreds of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(Box<[u8]>);

/// One extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// With its namespace, as in `user.comment`: 1 to 255 bytes without NUL.
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes. `sparse`: it takes less room than that, and should there as well.
    File { size: u64, sparse: bool },
    /// A folder, offered when everything in it has its outcome.
    Folder,
    /// A symbolic link: its target is text, never followed.
    Symlink { target: Vec<u8> },
    /// Another name of a file that was offered before and has arrived under this path.
    HardLink { to: Vec<u8> },
    /// A regular file of more than one chunk whose size nobody knows yet: it is read as it is sent.
    Stream,
    /// A folder so deep that it is made before what is in it: one offer makes only so many. It is offered again, as a folder.
    ParentFolder,
}

/// An entry that the sender would like to leave with the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub file: FileId,
    pub kind: EntryKind,
    pub metadata: Metadata,
    /// Unchecked: only [`crate::name::RelativePath`] makes a path of it. Empty for the destination itself, which only a
    /// folder can be.
    pub path: Vec<u8>,
}

impl EntryKind {
    /// Bytes in the file; what is no file has none, and of a stream nobody knows.
    pub fn size(&self) -> u64 {
        match self {
            EntryKind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// How it falls into chunks.
    pub fn layout(&self) -> Layout {
        match self {
            EntryKind::Stream => Layout::open(),
            kind => Layout::new(kind.size()),
        }
    }
}

impl Offer {
    /// What it counts for as long as it is open, in bytes: what a receiver keeps of it.
    pub fn weight(&self) -> usize {
        let further = match &self.kind {
            EntryKind::Symlink { target: path } | EntryKind::HardLink { to: path } => path.len(),
            EntryKind::File { .. } | EntryKind::Folder | EntryKind::Stream | EntryKind::ParentFolder => 0,
        };
        let archive = self.metadata.archive.as_ref();
        let attributes = archive.map_or(0, |archive| archive.attributes.0.len());
        OFFER_BYTES_BASE + self.path.len() + further + attributes
    }

    pub(super) fn put(&self, w: &mut Writer) {
        w.u64(self.file.0);
        self.metadata.put(w);
        w.string(&self.path, WIRE_PATH_BYTES_MAX);
        match &self.kind {
            EntryKind::File { size, sparse } => drop(w.u8(1).u64(*size).u8(u8::from(*sparse))),
            EntryKind::Folder => drop(w.u8(2)),
            EntryKind::Symlink { target } => drop(w.u8(3).string(target, LINK_TARGET_BYTES_MAX)),
            EntryKind::HardLink { to } => drop(w.u8(4).string(to, WIRE_PATH_BYTES_MAX)),
            EntryKind::Stream => drop(w.u8(5)),
            EntryKind::ParentFolder => drop(w.u8(6)),
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Offer, DecodeError> {
        let file = FileId(r.u64("a file")?);
        let metadata = Metadata::take(r)?;
        let path = r.string(WIRE_PATH_BYTES_MAX, "a path")?.to_vec();
        let kind = match r.u8("a kind of entry")? {
            1 => EntryKind::File { size: r.u64("a size")?, sparse: r.flag("a mark of a sparse file")? },
            2 => EntryKind::Folder,
            3 => EntryKind::Symlink { target: target(r)? },
            4 => EntryKind::HardLink { to: r.string(WIRE_PATH_BYTES_MAX, "a path")?.to_vec() },
            5 => EntryKind::Stream,
            6 => EntryKind::ParentFolder,
            tag => return Err(DecodeError::UnknownTag { what: "a kind of entry", tag }),
        };
        Ok(Offer { file, kind, metadata, path })
    }
}

impl Metadata {
    fn put(&self, w: &mut Writer) {
        w.u32(self.mode).i64(self.mtime_seconds).u32(self.mtime_nanos);
        w.u8(u8::from(self.archive.is_some()));
        let Some(archive) = &self.archive else { return };
        w.u32(archive.uid).u32(archive.gid).bytes(&archive.attributes.0);
    }

    fn take(r: &mut Reader) -> Result<Metadata, DecodeError> {
        let mode = r.u32("a mode")?;
        let (mtime_seconds, mtime_nanos) = (r.i64("a time")?, r.u32("a time")?);
        if mtime_nanos >= 1_000_000_000 {
            let why = format!("{mtime_nanos} nanoseconds are more than a second");
            return Err(DecodeError::BadValue { what: "a time", why });
        }
        let archive = match r.flag("a mark of an archive")? {
            true => Some(Arc::new(Archive::take(r)?)),
            false => None,
        };
        Ok(Metadata { mode, mtime_seconds, mtime_nanos, archive })
    }
}

impl Archive {
    fn take(r: &mut Reader) -> Result<Archive, DecodeError> {
        let (uid, gid) = (r.u32("an owner")?, r.u32("a group")?);
        Ok(Archive { uid, gid, attributes: Attributes::take(r)? })
    }
}

impl Default for Attributes {
    fn default() -> Attributes {
        Attributes([0; 2].into())
    }
}

impl Attributes {
    /// `None` where they are more than may travel, or one of them is none.
    pub fn new(attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<Attributes> {
        let mut block = Vec::new();
        let mut w = Writer(&mut block);
        w.u16(u16::try_from(attributes.len()).ok()?);
        for (name, value) in attributes {
            w.string(name, u16::MAX.into()).string(value, u16::MAX.into());
        }
        let mut r = Reader::new(&block);
        let taken = Attributes::take(&mut r).ok()?;
        r.end().ok().map(|()| taken)
    }

    pub fn iter(&self) -> impl Iterator<Item = Attribute<'_>> {
        let mut r = Reader::new(&self.0);
        let count = r.u16("a number of attributes").unwrap_or_default();
        (0..count).map_while(move |_| Attribute::take(&mut r).ok())
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn take(r: &mut Reader) -> Result<Attributes, DecodeError> {
        let block = r.rest();
        let too_long = |got: usize, limit: usize| DecodeError::TooLong {
            what: "a list of attributes",
            got: got as u64,
            limit: limit as u64,
        };
        let count = usize::from(r.u16("a number of attributes")?);
        if count > ATTRIBUTES_MAX {
            return Err(too_long(count, ATTRIBUTES_MAX));
        }
        let mut bytes = 0;
        for _ in 0..count {
            let Attribute { name, value } = Attribute::take(r)?;
            bytes += name.len() + value.len();
            if bytes > ATTRIBUTES_BYTES_MAX {
                return Err(too_long(bytes, ATTRIBUTES_BYTES_MAX));
            }
        }
        let len = block.len() - r.rest().len();
        Ok(Attributes(block[..len].into()))
    }
}

impl<'a> Attribute<'a> {
    fn take(r: &mut Reader<'a>) -> Result<Attribute<'a>, DecodeError> {
        let name = r.string(NAME_BYTES_MAX, "the name of an attribute")?;
        let value = r.string(ATTRIBUTES_BYTES_MAX, "an attribute")?;
        if name.is_empty() || name.contains(&0) {
            let why = "it is empty or holds a NUL byte".into();
            return Err(DecodeError::BadValue { what: "the name of an attribute", why });
        }
        Ok(Attribute { name, value })
    }
}

fn target(r: &mut Reader) -> Result<Vec<u8>, DecodeError> {
    let target = r.string(LINK_TARGET_BYTES_MAX, "the target of a link")?;
    if target.is_empty() || target.contains(&0) {
        let why = "it is empty or holds a NUL byte".into();
        return Err(DecodeError::BadValue { what: "the target of a link", why });
    }
    Ok(target.to_vec())
}

// What became of a file.

/// Whose doing it is that a file did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The receiver would have to overwrite something, or may not use that name.
    Refused,
    /// The receiver could not store it.
    Storage,
    /// The sender could not read it, or it changed meanwhile.
    Source,
    /// What arrived is not what was sent.
    Verification,
}

/// Why a file did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    pub text: Text,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Verified, and there under its name.
    Stored,
    /// Verified, and there under this other name.
    Renamed(Vec<u8>),
    /// The receiver had it already.
    Identical,
    /// The receiver would take it, had this not been a dry run.
    Wanted,
    Failed(Failure),
    /// A further name is not to be had here, or a file has it: the sender offers it as a file.
    Unlinked {
        /// Whether that is due to the file system.
        unable: bool,
    },
}

pub(super) fn text(r: &mut Reader) -> Result<Text, DecodeError> {
    let bytes = r.string(TEXT_BYTES_MAX, "a text")?;
    Ok(Text::from_foreign(bytes))
}

pub(super) fn put_text(w: &mut Writer, text: &Text) {
    w.string(text.truncated(TEXT_BYTES_MAX).as_bytes(), TEXT_BYTES_MAX);
}

impl Failure {
    pub fn new(cause: Cause, text: impl Into<Text>) -> Failure {
        Failure { cause, text: text.into() }
    }

    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(match self.cause {
            Cause::Refused => 1,
            Cause::Storage => 2,
            Cause::Source => 3,
            Cause::Verification => 4,
        });
        put_text(w, &self.text);
    }

    pub(super) fn take(r: &mut Reader) -> Result<Failure, DecodeError> {
        let cause = match r.u8("a cause")? {
            1 => Cause::Refused,
            2 => Cause::Storage,
            3 => Cause::Source,
            4 => Cause::Verification,
            tag => return Err(DecodeError::UnknownTag { what: "a cause", tag }),
        };
        Ok(Failure { cause, text: text(r)? })
    }
}

impl Outcome {
    pub(super) fn put(&self, w: &mut Writer) {
        match self {
            Outcome::Stored => drop(w.u8(1)),
            Outcome::Renamed(name) => drop(w.u8(2).string(name, WIRE_NAME_BYTES_MAX)),
            Outcome::Identical => drop(w.u8(3)),
            Outcome::Failed(failure) => failure.put(w.u8(4)),
            Outcome::Wanted => drop(w.u8(5)),
            Outcome::Unlinked { unable } => drop(w.u8(6).u8((*unable).into())),
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Outcome, DecodeError> {
        Ok(match r.u8("an outcome")? {
            1 => Outcome::Stored,
            2 => Outcome::Renamed(r.string(WIRE_NAME_BYTES_MAX, "a name")?.to_vec()),
            3 => Outcome::Identical,
            4 => Outcome::Failed(Failure::take(r)?),
            5 => Outcome::Wanted,
            6 => Outcome::Unlinked { unable: r.flag("a mark of what the file system cannot do")? },
            tag => return Err(DecodeError::UnknownTag { what: "an outcome", tag }),
        })
    }
}
