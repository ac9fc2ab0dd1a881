//! How a session is carried from one machine to the other.
//!
//! [`tcp`] is the pool: one control connection and up to 16 data connections, all to one port.

mod machine;
pub mod tcp;
