//! The receiver as a server: who comes in, who waits, and the sessions of those who are in.

pub mod accept;
pub mod events;
pub mod handshake;
mod host;
mod lanes;
mod pending;
pub mod queue;
mod session;
pub mod state;
pub mod stats;
