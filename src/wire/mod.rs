//! What travels between a sender and a receiver, as bytes. No I/O and no clock.
//!
//! `PROTOCOL.md` tells the whole conversation; the layouts stand beside the types they belong to:
//! [`preface`] (the first bytes of every connection), [`message`] (the control connection) and
//! [`frame`] (data connections). All integers are little-endian.

pub mod fields;
pub mod frame;
mod greeting;
pub mod message;
mod offer;
pub mod options;
pub mod preface;
pub mod seal;
pub mod stage_times;

pub use fields::DecodeError;

/// The version of everything in this room. Two programs whose versions differ do not talk to each other. What
/// can be told in [`options`] needs no other one.
pub const VERSION: u16 = 2;

/// What both sides agree to speak inside TLS (RFC 7301). It binds the version in the clear preface to the
/// handshake: nobody in between can make two programs believe that they speak another.
pub const ALPN: &[u8] = b"lanx/2";
