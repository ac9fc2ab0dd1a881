//! QUIC: one UDP flow that carries the same session.
//!
//! The first stream in both directions is the control connection, preface included. Each stream from the
//! sender to the receiver is a data connection, with its hello, proof and frames as over TCP. So whatever
//! stands above the seam knows of no difference. There are no tickets and there is no early data: an exporter
//! value belongs to one handshake.
//!
//! [`endpoint`] has the sockets and the threads, `profile` how fast to send, `connection` the two kinds of
//! connection, [`dial`] reaches a receiver, [`listen`] lets senders come, and [`stats`] counts what they meet
//! with.

mod connection;
pub mod dial;
pub mod endpoint;
pub mod listen;
mod profile;
pub mod stats;
