//! The seam between a session and what carries it: what a connection is, without a word on how it is made.
//!
//! A [`Lane`] is a data connection, a [`Control`] the control connection. Whoever has one of them sees the
//! rest of it through its [`ConnectionHandle`]. How connections come to be is told in
//! [`carrier`](super::carrier).

use std::future::ready;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::wire::seal::SessionSecret;

/// One data connection, as the thread has it that moves chunks over it. Reading and writing block, and end
/// with an error when somebody hangs up. `flush` says that there is nothing to write for now.
pub trait Lane: Read + Write + Send + 'static {
    /// The same connection once more, for those who look at it while the thread is blocked in it.
    ///
    /// # Errors
    /// Those of the system, which may have no descriptor left.
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>>;
}

/// A connection beside whoever reads and writes it.
pub trait ConnectionHandle: Send + Sync {
    /// Ends it under whoever is blocked in it.
    fn hang_up(&self);
    /// Whether the other side has ended it. Whoever writes to it finds out only then.
    fn is_dead(&self) -> bool;
    /// Whether anybody is at the other end, who is asked where nothing else would tell: over UDP a program
    /// that was killed goes without a word.
    fn answers(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(ready(!self.is_dead()))
    }
    /// Says that nothing more will be written.
    fn finish(&self) {}
    /// A number that grows for as long as anything reaches the other machine, where anybody knows.
    fn delivered(&self) -> Option<u64> {
        None
    }
    /// How it shows that it sends the same again and again, and that nothing of it arrives as it is too
    /// large; nothing where it goes on.
    fn swallowed(&self) -> Option<String> {
        None
    }
    /// Whether the other side was heard a moment ago.
    fn is_heard(&self) -> bool {
        false
    }
    /// What went wrong on it and was mended.
    fn troubles(&self) -> Troubles {
        Troubles::default()
    }
    /// What passes on it and what does not; nothing where nobody knows.
    fn traffic(&self) -> Option<Traffic> {
        None
    }
    /// The way that it takes.
    fn path(&self) -> Path {
        Path::default()
    }
    /// Has what is sent spread over time, for a limit of so many bytes a second.
    fn pace(&self, _limit: u64) {}
}

/// One control connection, whose handshake is complete.
pub struct Control {
    pub stream: Box<dyn Duplex>,
    pub handle: Arc<dyn ConnectionHandle>,
    pub far_end: FarEnd,
}

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for S {}

/// Who is at the other end of a control connection, and what only the two ends know.
pub struct FarEnd {
    pub addr: SocketAddr,
    /// The fingerprint of its key, which it has proved to hold.
    pub key: [u8; 32],
    /// What pairing is bound to.
    pub binding: Zeroizing<[u8; 32]>,
    /// What data connections take their keys from.
    pub secret: SessionSecret,
}

/// What went wrong on the way and was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Segments that we sent once more.
    pub retransmits: u64,
    /// Segments that came out of order, as they do behind one that was lost: how a receiver sees what its
    /// sender sends once more.
    pub out_of_order: u64,
    /// Packets of QUIC that we sent and that were lost.
    pub lost_packets: u64,
}

impl Troubles {
    pub fn plus(self, other: Troubles) -> Troubles {
        Troubles {
            retransmits: self.retransmits.saturating_add(other.retransmits),
            out_of_order: self.out_of_order.saturating_add(other.out_of_order),
            lost_packets: self.lost_packets.saturating_add(other.lost_packets),
        }
    }
}

/// What passes on a connection, and what does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of a segment that is sent, at most, and of the packet around it.
    pub segment_bytes: u32,
    pub packet_bytes: u32,
    /// Segments that were sent and are not acknowledged.
    pub unacknowledged: u32,
    /// How often in a row the first of those was sent once more as nothing had come for it.
    pub timeouts: u32,
    /// Bytes that the other machine has acknowledged.
    pub acknowledged: u64,
    /// Bytes that have come from it in order, and segments that came out of order.
    pub received: u64,
    pub out_of_order: u32,
    /// How long nothing has come in order.
    pub silent: Duration,
}

/// The way to another machine, seen from this end. Nothing where the system does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Both ends are this machine.
    pub same_machine: bool,
    pub interface: Option<Interface>,
    /// Bytes of a segment that is sent: what both ends, and what lies between, can take.
    pub segment_bytes: Option<u32>,
    /// What decides how fast to send.
    pub congestion: Option<String>,
    /// The limits of this system's socket buffers in bytes, where they are below what lanx would ask for.
    pub receive_clamp: Option<u64>,
    pub send_clamp: Option<u64>,
}

/// What the way leaves this machine by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mtu: Option<u32>,
    /// In Mbit/s.
    pub speed: Option<u32>,
    /// Both directions at once.
    pub full_duplex: Option<bool>,
    pub wireless: bool,
}
