//! The only door for a foreign file name, and the one place where foreign text is made fit to be shown.
//!
//! A [`Name`] is one path component that is safe to hand to the kernel beneath a directory handle. It keeps
//! its bytes as they came: an odd name is still the user's name. What is odd about it is dealt with where it
//! is shown, by [`Escaped`]. A [`RelativePath`] is made of names.

mod component;
mod path;
mod shown;

#[cfg(test)]
mod tests;

pub use component::{BadName, Name, NameFault};
pub(crate) use component::{PART_PREFIX, PART_SUFFIX, looks_like_part, shorten, shown};
pub use path::RelativePath;
pub(crate) use shown::is_unsafe_to_show;
pub use shown::{Escaped, Sentence, Text, escape};
