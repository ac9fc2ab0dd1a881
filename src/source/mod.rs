//! What is sent: the walk through the folders, the files' bytes, and whether they stay as they were.
//!
//! - [`Feed`] hands out one [`Item`] after another: what the walk finds, each folder behind all that is in
//!   it, and what a
//!   lost session left over. It never holds a list of all of them.
//! - [`Source`] is a regular file, [`OpenSource`] its bytes.
//! - [`Stream`] is what can be read only once, as the standard input or what a command writes.

pub(crate) mod beneath;
mod copy;
mod error;
mod excludes;
mod feed;
mod file;
mod item;
mod listed;
mod stream;
mod walk;

#[cfg(test)]
mod walk_tests;

pub use copy::{Copied, Copy};
pub use error::{Change, SourceError};
pub use excludes::Excludes;
pub use feed::{Feed, Next, Survey};
pub use file::{OpenSource, Source};
pub use item::{Item, What};
pub use listed::List;
pub use stream::{Input, Reached, STANDARD_INPUT, Stream};
pub use walk::{IsDestination, Options, Root, Trouble, name_of};
