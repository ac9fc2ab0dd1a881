//! Names with a number, for what is received beside something of the same name.

use super::dir::Dir;
use super::error::SinkError;
use crate::limits::{EXTENSION_BYTES_MAX, NAME_BYTES_MAX, RENAME_NUMBER_MAX};
use crate::name::{Name, shorten};

/// The first of the numbered names of `name` that `take` could have (`Ok(true)`).
pub(super) fn first_free(
    dir: &Dir,
    name: &Name,
    take: impl Fn(&Name) -> Result<bool, SinkError>,
) -> Result<Name, SinkError> {
    for number in 1..=RENAME_NUMBER_MAX {
        if let Some(name) = numbered(name, number)
            && take(&name)?
        {
            return Ok(name);
        }
    }
    Err(SinkError::NoFreeName { path: dir.path_of(name.as_bytes()), tried: RENAME_NUMBER_MAX })
}

/// `photo.jpg` with its number: `photo (1).jpg`. The stem is shortened where the whole would be too long.
/// `None` when no name comes of it.
pub(super) fn numbered(name: &Name, number: u32) -> Option<Name> {
    let (stem, ending) = split_ending(name.as_bytes());
    let number = format!(" ({number})");
    let room = NAME_BYTES_MAX.checked_sub(number.len() + ending.len())?;
    let stem = shorten(stem, room);
    Name::from_wire(&[stem, number.as_bytes(), ending].concat()).ok()
}

/// Splits a name into its stem and its ending with the dot, as file managers do: the last ending, or both of
/// `.tar.gz` and its like. A name that only begins with dots has no ending.
fn split_ending(name: &[u8]) -> (&[u8], &[u8]) {
    let whole = name.split_at(name.len());
    let Some((stem, ending)) = split_last_dot(name) else {
        return whole;
    };
    match split_last_dot(stem) {
        Some((short, tar)) if tar.eq_ignore_ascii_case(b".tar") => {
            name.split_at_checked(short.len()).unwrap_or(whole)
        }
        _ => (stem, ending),
    }
}

fn split_last_dot(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = name.iter().rposition(|&byte| byte == b'.')?;
    let (stem, ending) = name.split_at_checked(at)?;
    let has_stem = stem.iter().any(|&byte| byte != b'.');
    let is_type =
        (2..=EXTENSION_BYTES_MAX + 1).contains(&ending.len()) && !ending.iter().any(u8::is_ascii_whitespace);
    (has_stem && is_type).then_some((stem, ending))
}
