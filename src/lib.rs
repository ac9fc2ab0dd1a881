//! lanx moves files between machines on a local network and proves that they arrived.
//!
//! This is the map of the crate; `ARCHITECTURE.md` tells how the rooms fit together.
//!
//! - [`limits`], [`units`]: numbers that several rooms share; bytes and times for people
//! - [`name`]: the only door for a foreign file name, and for foreign text
//! - [`content`]: chunk arithmetic, and the BLAKE3 hash of a file from its chunks
//! - [`os`]: what is asked of the system: threads, direct I/O, how many files may be open, how busy the CPUs
//!   are
//! - [`wire`]: what travels, as bytes
//! - [`source`], [`store`]: the files to send, and the folder they arrive in
//! - [`trust`]: who one is, who may come in, and how two machines meet
//! - [`session`]: what to say next, given what was heard
//! - [`net`]: how it is carried: TCP; how one finds the other
//! - [`web`]: the other door: files over HTTP
//! - [`client`], [`server`]: the sender is let in and keeps its pool; the receiver lets in and serves
//! - [`cli`]: arguments, progress, reports, exit codes: the only room that prints

pub mod cache;
pub mod cli;
pub mod client;
pub mod content;
pub mod limits;
pub mod name;
pub mod net;
pub mod os;
pub mod server;
pub mod session;
pub mod source;
pub mod store;
pub mod trust;
pub mod units;
pub mod web;
pub mod wire;
