//! The destination: one directory, beneath which files arrive as part files and get their final names only
//! when they are complete and verified.
//!
//! - [`Sink::open`] takes the directory handle; everything afterwards is relative to it and follows no
//!   symlink.
//! - [`Sink::look`] says what stands at a final name.
//! - [`Sink::part`] gives the locked part file to write into, new or left by an earlier transfer.
//! - [`Sink::part_of_stream`] gives one whose length is known at its end.
//! - [`Sink::store_whole`] makes a small file at once.
//! - [`Part::dress`] sets mode, time and the like, and [`Part::publish_dressed`] renames.
//! - [`Output`] is the other destination: the standard output, for one file.
//! - [`Sink::symlink`] and [`Sink::hard_link`] make links, and [`Sink::folder`] makes and dresses folders.
//!
//! Everything is safe to use from many threads at once, and several processes may share a directory.

mod abilities;
mod clean;
mod destination;
mod dir;
mod dressed;
mod durable;
mod entries;
mod error;
mod existing;
mod folders;
mod io;
mod journal;
mod locks;
mod metadata;
mod moves;
mod owner;
mod part;
mod part_name;
mod place;
mod publish;
mod receive;
mod refused;
mod scarcity;
mod sink;
pub mod space;
mod stdout;
mod target;
mod unlocked;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

pub use clean::{PartFiles, Removal, StalePart};
pub use destination::Destination;
pub use entries::Made;
pub use error::{FileKind, LinkFault, NO_ROOM, SinkError, SinkErrorKind, SpaceLimit};
pub use existing::{Existing, ExistingFile, Found};
pub use io::DataExtents;
pub use owner::Owner;
pub use part::Part;
pub use publish::{Published, Verified};
pub use sink::Sink;
pub use stdout::Output;
pub use target::{Entry, Folder, FolderOptions, Target};
