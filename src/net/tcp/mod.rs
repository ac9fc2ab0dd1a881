//! TCP: reaching a listener, listening, the connections themselves, and what sockets are tuned to.

pub mod connection;
pub mod dial;
pub mod large_packets;
pub mod listen;
pub mod reach;
pub mod tune;
