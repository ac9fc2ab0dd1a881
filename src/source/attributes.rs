//! What `--archive` takes along: owner and extended attributes.

use std::fs::Metadata as FileMetadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use super::error::SourceError;
use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX};
use crate::protocol::message::{Archive, Attribute};

/// The owner and the attributes of what stands at `path` and has this `metadata`: of a symbolic link only where
/// that says that it is one.
///
/// # Errors
/// [`SourceError::Io`] for attributes that cannot be read, [`SourceError::TooManyAttributes`] for more than travel.
pub(super) fn archive(path: &Path, metadata: &FileMetadata) -> Result<Arc<Archive>, SourceError> {
    let io = |errno: Errno| SourceError::Io {
        path: path.into(),
        doing: "read the attributes of",
        source: errno.into(),
    };
    let attributes = match read(path, metadata.is_symlink()) {
        Ok(attributes) => attributes.ok_or_else(|| SourceError::TooManyAttributes { path: path.into() })?,
        // A file system without attributes has none.
        Err(errno) if errno == Errno::OPNOTSUPP || errno == Errno::NOTSUP => Vec::new(),
        Err(errno) => return Err(io(errno)),
    };
    Ok(Arc::new(Archive { uid: metadata.uid(), gid: metadata.gid(), attributes }))
}

/// `None` where they are more than may travel.
fn read(path: &Path, is_link: bool) -> Result<Option<Vec<Attribute>>, Errno> {
    // The kernel's own bound on a list of names (XATTR_LIST_MAX of linux/limits.h) is 64 KiB.
    let mut names = vec![0; 64 * 1024];
    let len = if is_link { llistxattr(path, &mut names) } else { listxattr(path, &mut names) }?;
    names.truncate(len);
    let mut attributes = Vec::new();
    let mut bytes = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let got = if is_link { lgetxattr(path, name, &mut value) } else { getxattr(path, name, &mut value) };
        let len = match got {
            Ok(len) => len,
            // Removed a moment ago.
            Err(Errno::NODATA) => continue,
            Err(Errno::RANGE) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        value.truncate(len);
        bytes += name.len() + value.len();
        if bytes > ATTRIBUTES_BYTES_MAX || attributes.len() == ATTRIBUTES_MAX || name.len() > NAME_BYTES_MAX {
            return Ok(None);
        }
        attributes.push(Attribute { name: name.to_vec(), value });
    }
    // In one order, whatever the file system's: the same file makes the same offer.
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(attributes))
}
