//! TCP: reaching a listener, listening, who arrives, the connections themselves, and what sockets are tuned to.

pub mod arrivals;
mod connection;
pub mod dial;
pub mod large_packets;
pub mod listen;
pub mod reach;
pub mod tune;
