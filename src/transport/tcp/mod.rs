//! The TCP pool.
//!
//! Everything goes to one port. The first connection of a session is its control connection, which tokio drives;
//! the receiver answers it with the session's name. With that name, and keys from that connection's TLS, the sender opens its data connections, each of
//! which belongs to one blocking thread at either end. Their streams run one way only, from sender to receiver.

pub mod address;
mod admission;
mod admit;
pub mod connect;
mod control;
mod data_connections;
mod door;
pub mod enter;
mod enter_error;
mod guests;
mod hosting;
pub mod knock;
mod ledger;
pub mod listen;
mod measure;
pub mod path;
mod pool;
mod receive;
mod send;
mod strangers;
mod tcp_info;
mod tune;
mod turn;
mod watch;

pub use door::Order;
pub use ledger::{Ledger, Present, Reason, Sums};
pub use measure::{MeasureError, Measured, Trial, measure, probe_connections};
pub use receive::{Manner, ServeError, ServeOptions, serve};
pub use send::{Connections, SendError, SendOutcome, Transfer, send};
pub use watch::{Caller, Receptionist, SessionWatch};
