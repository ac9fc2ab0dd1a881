//! How a session's connections come to be: a receiver has [`Arrivals`], a sender a [`Way`].
//!
//! Whatever carries them, they are told apart here no more. What differs between carriers costs one call for
//! each connection; the loops over chunks are compiled for each kind of [`Lane`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use super::ending::End;
use super::link::{ConnectionHandle, Control, Duplex, Lane};
use super::probe::{Probing, send_probes};
use super::receiver::Receiving;
use super::receiver::worker::receive_frames;
use super::sender::Sending;
use super::sender::lanes::DataConnection;
use super::sender::worker::send_chunks;
use crate::wire::seal::{Opener, Sealer};

/// What is done meanwhile.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A lane of any kind, with the loops of its thread.
pub trait AnyLane: Send {
    /// See [`Lane::handle`].
    ///
    /// # Errors
    /// Those of the system.
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>>;
    /// See [`send_chunks`].
    ///
    /// # Errors
    /// How it ended, or the session.
    fn send_chunks(
        self: Box<Self>,
        sending: &Sending,
        line: &DataConnection,
        sealer: Sealer,
    ) -> Result<(), End>;
    /// See [`send_probes`].
    ///
    /// # Errors
    /// How it ended.
    fn send_probes(self: Box<Self>, probing: &Probing, number: u32, sealer: Sealer) -> Result<(), End>;
    /// See [`receive_frames`].
    ///
    /// # Errors
    /// How it ended, or the session.
    fn receive_frames(
        self: Box<Self>,
        receiving: &Arc<Receiving>,
        opener: Opener,
        frames: &AtomicU64,
    ) -> Result<(), End>;
}

impl<L: Lane> AnyLane for L {
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>> {
        Lane::handle(self)
    }

    fn send_chunks(
        self: Box<Self>,
        sending: &Sending,
        line: &DataConnection,
        sealer: Sealer,
    ) -> Result<(), End> {
        send_chunks(sending, line, *self, sealer)
    }

    fn send_probes(self: Box<Self>, probing: &Probing, number: u32, sealer: Sealer) -> Result<(), End> {
        send_probes(probing, number, *self, sealer)
    }

    fn receive_frames(
        self: Box<Self>,
        receiving: &Arc<Receiving>,
        opener: Opener,
        frames: &AtomicU64,
    ) -> Result<(), End> {
        receive_frames(receiving, *self, opener, frames)
    }
}

/// A connection that came in and has not said what it is for. Its preface can be read, and answered.
pub trait Arrival: Duplex {
    /// Where it comes from.
    fn addr(&self) -> SocketAddr;
    /// What it is told is small, and somebody waits for it. A peer that is silent for `patience` is given up.
    ///
    /// # Errors
    /// Those of the system.
    fn speaks(&self, patience: Duration) -> io::Result<()>;
    /// Finishes the handshake of a control connection.
    ///
    /// # Errors
    /// Those of the network, and with a TLS error in it for what is not to be used.
    fn into_control(self: Box<Self>) -> Doing<'static, io::Result<Control>>;
    /// Makes a data connection of it.
    ///
    /// # Errors
    /// Those of the system.
    fn into_lane(self: Box<Self>, patience: Duration) -> io::Result<Box<dyn AnyLane>>;
}

/// Where connections come in.
pub trait Arrivals: Send {
    /// The next one. Cancelling it loses none.
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Arrival>>>;
}

/// Where a control connection went, and how data connections get there.
pub trait Way: Send + Sync {
    fn addr(&self) -> SocketAddr;
    /// Opens a data connection and says `hello` on it. `segment_bytes` bounds what is sent at once where
    /// large packets are lost.
    fn open(
        &self,
        hello: Vec<u8>,
        segment_bytes: Option<u32>,
        patience: Duration,
    ) -> Doing<'_, io::Result<Box<dyn AnyLane>>>;
    /// Bytes of a segment, where they have to be few: larger ones were lost on this way.
    fn segment_bytes(&self) -> Option<u32> {
        None
    }
    /// Has every later connection keep to small segments. False where they do already, or need not.
    fn keep_small(&self) -> bool {
        false
    }
    /// Bytes of the headers around a segment, at most.
    fn headers_bytes(&self) -> u32 {
        0
    }
}

/// A receiver that was reached, before anybody has looked who it is.
pub struct Reached {
    pub control: Control,
    pub way: Arc<dyn Way>,
    /// How long one round trip took.
    pub round_trip: Duration,
}
