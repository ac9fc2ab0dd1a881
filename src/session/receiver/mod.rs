//! The receiver's side of a session: what it makes of each offer, and when a file is published.
//!
//! [`Receiving`] hears the sender, [`worker`] takes chunks in. Both hand a file on when all of it is there:
//! to the finisher, which names it, or to whoever writes the standard output. What became of it is said to
//! [`outcomes::Outcomes`] alone.

mod claims;
mod compare;
mod entries;
mod extent;
mod files;
mod finish;
mod in_order;
pub mod incoming;
pub mod memory;
mod offered;
pub mod outcomes;
mod receiving;
pub mod room;
mod stdout;
mod terms;
pub mod worker;

pub use receiving::Receiving;
pub use terms::{Diligence, Terms};
