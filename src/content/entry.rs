//! What is told of an entry of a folder besides its bytes, and what becomes of it: the types that a source, a
//! store and a session have in common. How they travel is the business of `wire`.

use std::sync::Arc;

use super::chunk::Layout;
use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX};
use crate::name::Text;

/// What an entry has besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits as in `st_mode`; the receiver takes no others than `0o777`, and those beyond only
    /// together with the owner.
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

/// Extended attributes as they travel: their number, then the name and the value of each behind a length, all
/// lengths and the number of 16 bits, little-endian. From the wire to the disk they are one block of memory,
/// as thousands of offers wait at once and each may have hundreds of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(Box<[u8]>);

/// One extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// With its namespace, as in `user.comment`: 1 to 255 bytes without NUL.
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// Why bytes are no extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAttributes {
    Truncated,
    /// So many of them, or so many bytes in all or of one, where `limit` may be.
    TooMany {
        got: usize,
        limit: usize,
    },
    /// A name that is empty or holds a NUL byte.
    Name,
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
    /// A folder so deep that it is made before what is in it: one offer makes only so many. It is offered
    /// again, as a folder.
    ParentFolder,
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

impl Default for Attributes {
    fn default() -> Attributes {
        Attributes([0; 2].into())
    }
}

impl Attributes {
    /// `None` where they are more than may travel, or one of them is none.
    pub fn new(attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<Attributes> {
        let mut block = u16::try_from(attributes.len()).ok()?.to_le_bytes().to_vec();
        for bytes in attributes.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_le_bytes());
            block.extend_from_slice(bytes);
        }
        Attributes::decode(&block).ok().map(|(attributes, _)| attributes)
    }

    /// Takes attributes off the front of `bytes`. Returns the rest as well.
    ///
    /// # Errors
    /// [`BadAttributes`]; nothing is kept of what is too much.
    pub fn decode(bytes: &[u8]) -> Result<(Attributes, &[u8]), BadAttributes> {
        let (count, mut rest) = take_u16(bytes)?;
        if count > ATTRIBUTES_MAX {
            return Err(BadAttributes::TooMany { got: count, limit: ATTRIBUTES_MAX });
        }
        let mut total = 0;
        for _ in 0..count {
            let (attribute, behind) = Attribute::take(rest)?;
            total += attribute.name.len() + attribute.value.len();
            if total > ATTRIBUTES_BYTES_MAX {
                return Err(BadAttributes::TooMany { got: total, limit: ATTRIBUTES_BYTES_MAX });
            }
            rest = behind;
        }
        let block = bytes.strip_suffix(rest).unwrap_or(bytes);
        Ok((Attributes(block.into()), rest))
    }

    /// As they travel.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    pub fn iter(&self) -> impl Iterator<Item = Attribute<'_>> {
        let (count, mut rest) = take_u16(&self.0).unwrap_or_default();
        (0..count).map_while(move |_| {
            let (attribute, behind) = Attribute::take(rest).ok()?;
            rest = behind;
            Some(attribute)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> Attribute<'a> {
    fn take(bytes: &'a [u8]) -> Result<(Attribute<'a>, &'a [u8]), BadAttributes> {
        let (name, rest) = take_string(bytes, NAME_BYTES_MAX)?;
        let (value, rest) = take_string(rest, ATTRIBUTES_BYTES_MAX)?;
        if name.is_empty() || name.contains(&0) {
            return Err(BadAttributes::Name);
        }
        Ok((Attribute { name, value }, rest))
    }
}

fn take_u16(bytes: &[u8]) -> Result<(usize, &[u8]), BadAttributes> {
    let (number, rest) = bytes.split_first_chunk().ok_or(BadAttributes::Truncated)?;
    Ok((u16::from_le_bytes(*number).into(), rest))
}

fn take_string(bytes: &[u8], limit: usize) -> Result<(&[u8], &[u8]), BadAttributes> {
    let (len, rest) = take_u16(bytes)?;
    if len > limit {
        return Err(BadAttributes::TooMany { got: len, limit });
    }
    rest.split_at_checked(len).ok_or(BadAttributes::Truncated)
}

// What became of a file.

/// Whose doing it is that a file did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The receiver would have to overwrite something, or may not use that name.
    Refused,
    /// The receiver could not store it.
    Storage,
    /// The sender could not read it.
    Source,
    /// It changed or went away while the sender read it. Only the sender tells that from the one before: the
    /// next try may find it at rest.
    Changed,
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
    /// Both ends remember that the receiver has it: nobody has touched it since, and nobody read it.
    Remembered,
    /// The receiver would take it, had this not been a dry run.
    Wanted,
    Failed(Failure),
    /// A further name is not to be had here, or a file has it: the sender offers it as a file.
    Unlinked {
        /// Whether that is due to the file system.
        unable: bool,
    },
}

impl Failure {
    pub fn new(cause: Cause, text: impl Into<Text>) -> Failure {
        Failure { cause, text: text.into() }
    }
}
