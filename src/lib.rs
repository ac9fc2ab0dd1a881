//! lanx moves files between machines on a local network and proves that they arrived.
//!
//! This is the map of the crate; `ARCHITECTURE.md` tells how the rooms fit together.
//!
//! - [`limits`]: every number with its unit and reason
//! - [`chunk`], [`tree`]: chunk arithmetic, and the BLAKE3 hash of a file from its chunks
//! - [`descriptors`]: how many files may be open, and for what
//! - [`direct`]: reads and writes past the page cache
//! - [`kernel`]: what the running kernel can be relied on for
//! - [`name`]: the only door for a foreign file name, and for foreign text
//! - [`protocol`]: what travels, as bytes
//! - [`source`], [`sink`]: the files to send, and the folder they arrive in
//! - [`trust`]: who one is, who may come in, and how two machines meet
//! - [`session`]: what to say next, given what was heard
//! - [`transport`]: how it is carried: TCP
//! - [`cli`]: arguments, progress, reports, exit codes: the only room that prints

pub mod chunk;
pub mod cli;
pub mod descriptors;
pub mod direct;
pub mod kernel;
pub mod limits;
pub mod name;
pub mod protocol;
pub mod session;
pub mod sink;
pub mod source;
pub mod transport;
pub mod tree;
pub mod trust;
