//! The sender as a client: it reaches a receiver, is let in, and keeps a pool of data connections open.
//!
//! Everything goes to one port. The first connection of a session is its control connection, which tokio
//! drives; the receiver answers it with the session's name. With that name, and keys from that connection's
//! TLS, the sender opens its data connections, each of which belongs to one blocking thread at either end.
//! Their streams run one way only, from sender to receiver.

pub mod handshake;
mod pool;
pub mod probe;
mod retry;
pub mod transfer;

pub use pool::Connections;
pub use probe::{MeasureError, Measured, Trial, measure, probe_connections};
pub use transfer::{SendError, SendOutcome, Transfer, send};
