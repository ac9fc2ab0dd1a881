//! Receivers and web servers that announce themselves on the network (mDNS, RFC 6762, and DNS-SD, RFC 6763),
//! and whoever looks for them.
//!
//! Nothing here is secret and nothing is believed: what is found says where to try, and the handshake decides
//! who it is. Loopback is never announced on or looked at.
//!
//! The crate drives one thread for each [`Announcement`] or [`Browse`]. It is told to end and not waited for
//! longer than a goodbye takes. It keeps whatever it hears for as long as that claims to be valid, so both
//! have an eye on how much that is, and leave it rather than have it grow.

mod announce;
mod browse;
pub mod locate;
mod record;
mod service;

pub use announce::{Announce, Announcement, News, What};
pub use browse::{Browse, Change};
pub use locate::{LocateError, locate};
pub use record::{Sighting, plain_name};
pub use service::{DiscoveryError, Kind};
