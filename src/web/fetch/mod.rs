//! The web door's other side: a file of any HTTP server, over several connections where that is of use, and
//! never a wrong one.
//!
//! - [`target`] is an address, with what of it is no server's business; [`dial`] connects to it.
//! - [`head`] judges what a server says of a file, first and with every part.
//! - [`download`] gets a file over as many tries as that takes, and gives it its name; `transfer` is one of
//!   them, over several
//!   connections, to which [`shares`] deals the chunks.
//! - [`folder`] walks through a folder of a lanx, and gets each of its files so.
//! - [`proof`] shows that what came is right; `notes` says what of a part file need not be got again.

pub mod dial;
pub mod download;
pub mod folder;
pub mod head;
pub mod job;
mod notes;
pub mod proof;
pub mod shares;
pub mod target;
pub mod transfer;
