//! TCP: reaching a listener, listening, and what sockets are tuned to.

pub mod dial;
pub mod large_packets;
pub mod listen;
pub mod tune;
