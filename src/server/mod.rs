//! The receiver as a server: who comes in, who waits, and the sessions of those who are in.

pub mod accept;
pub mod events;
pub mod handshake;
mod lanes;
mod pending;
pub mod queue;
mod session;
mod sessions;
pub mod stats;
