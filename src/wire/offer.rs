//! What a sender offers, and what becomes of it, as bytes.

use std::sync::Arc;

use super::fields::{DecodeError, Reader, Writer};
use crate::content::chunk::FileId;
use crate::content::entry::{
    Archive, Attributes, BadAttributes, Cause, EntryKind, Failure, Metadata, Outcome,
};
use crate::limits::{
    LINK_TARGET_BYTES_MAX, OFFER_BYTES_BASE, TEXT_BYTES_MAX, WIRE_NAME_BYTES_MAX, WIRE_PATH_BYTES_MAX,
};
use crate::name::Text;

/// An entry that the sender would like to leave with the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub file: FileId,
    pub kind: EntryKind,
    pub metadata: Metadata,
    /// Unchecked: only [`crate::name::RelativePath`] makes a path of it. Empty for the destination itself,
    /// which only a folder can be.
    pub path: Vec<u8>,
}

impl Offer {
    /// What it counts for as long as it is open, in bytes: what a receiver keeps of it.
    pub fn weight(&self) -> usize {
        let further = match &self.kind {
            EntryKind::Symlink { target: path } | EntryKind::HardLink { to: path } => path.len(),
            EntryKind::File { .. } | EntryKind::Folder | EntryKind::Stream | EntryKind::ParentFolder => 0,
        };
        let archive = self.metadata.archive.as_ref();
        let attributes = archive.map_or(0, |archive| archive.attributes.encoded().len());
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
        w.u32(archive.uid).u32(archive.gid).bytes(archive.attributes.encoded());
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
        let what = "a list of attributes";
        let (attributes, rest) = Attributes::decode(r.rest()).map_err(|bad| match bad {
            BadAttributes::Truncated => DecodeError::Truncated { what },
            BadAttributes::TooMany { got, limit } => {
                DecodeError::TooLong { what, got: got as u64, limit: limit as u64 }
            }
            BadAttributes::Name => {
                DecodeError::BadValue { what: "the name of an attribute", why: EMPTY_OR_NUL.into() }
            }
        })?;
        r.bytes(r.rest().len() - rest.len(), what)?;
        Ok(Archive { uid, gid, attributes })
    }
}

const EMPTY_OR_NUL: &str = "it is empty or holds a NUL byte";

fn target(r: &mut Reader) -> Result<Vec<u8>, DecodeError> {
    let target = r.string(LINK_TARGET_BYTES_MAX, "the target of a link")?;
    if target.is_empty() || target.contains(&0) {
        let why = EMPTY_OR_NUL.into();
        return Err(DecodeError::BadValue { what: "the target of a link", why });
    }
    Ok(target.to_vec())
}

pub(super) fn text(r: &mut Reader) -> Result<Text, DecodeError> {
    let bytes = r.string(TEXT_BYTES_MAX, "a text")?;
    Ok(Text::from_foreign(bytes))
}

pub(super) fn put_text(w: &mut Writer, text: &Text) {
    w.string(text.truncated(TEXT_BYTES_MAX).as_bytes(), TEXT_BYTES_MAX);
}

impl Failure {
    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(match self.cause {
            Cause::Refused => 1,
            Cause::Storage => 2,
            Cause::Source | Cause::Changed => 3,
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
            Outcome::Remembered => drop(w.u8(7)),
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
            7 => Outcome::Remembered,
            tag => return Err(DecodeError::UnknownTag { what: "an outcome", tag }),
        })
    }
}
