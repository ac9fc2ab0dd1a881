//! A file that arrives whole. Where the file system can (Linux, O_TMPFILE), it has no name until all of it is there: that
//! takes half as many system calls as a part file, and leaves nothing behind when the machine stops.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::bytes::write_all_at;
use super::dir::Dir;
use super::error::SinkError;
use super::part::part_file_name;
use super::{dress, space};
use crate::name::Name;
use crate::protocol::message::Metadata;

/// Makes the file `name` of these bytes, in a folder that may be `new`. `false` where it has to go by way of a part file:
/// something has that name, an earlier transfer left a part file that is to be used up, or the file system knows no files
/// without a name.
pub(super) fn store(
    dir: &Dir,
    name: &Name,
    content: &[u8],
    metadata: &Metadata,
    new: bool,
) -> Result<bool, SinkError> {
    let path = || dir.path_of(name.as_bytes());
    let size = content.len() as u64;
    if !new && !matches!(dir.stat(&part_file_name(name, 0)), Ok(None)) {
        return Ok(false);
    }
    let Some(file) = dir.open_unnamed() else { return Ok(false) };
    write_all_at(file.as_fd(), content, 0)
        .map_err(|(_, errno)| space::refused("write", file.as_fd(), size, &path(), errno))?;
    dress::dress(dir, file.as_fd(), metadata, dress::Of::File, &path);
    match dir.name_unnamed(file.as_fd(), name.as_bytes()) {
        Ok(()) => Ok(true),
        // Making the part file says what is wrong, and can do something about it.
        Err(Errno::EXIST | Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(space::refused("make", file.as_fd(), size, &path(), errno)),
    }
}
