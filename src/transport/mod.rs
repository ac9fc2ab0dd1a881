//! How a session is carried from one machine to the other, and how one finds the other.
//!
//! [`tcp`] is the pool: one control connection and up to 16 data connections, all to one port. [`discovery`] is mDNS:
//! receivers that announce themselves.

pub mod aside;
pub mod discovery;
mod machine;
pub mod tcp;
