//! How a session is carried from one machine to the other, and how one finds the other.
//!
//! [`tcp`] and [`quic`] reach and listen, [`control`] is a control connection, [`discovery`] is mDNS:
//! receivers that announce themselves.

pub mod address;
pub mod control;
pub mod discovery;
pub mod quic;
pub mod tcp;

/// What a sender goes to a receiver by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// A pool of TCP connections.
    #[default]
    Tcp,
    /// The streams of one QUIC connection.
    Quic,
}

impl Door {
    /// That of whoever wants QUIC or does not.
    pub fn over(quic: bool) -> Door {
        if quic { Door::Quic } else { Door::Tcp }
    }
}
