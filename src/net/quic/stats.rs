//! What is counted of the door over UDP, for whoever watches a receiver from outside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::{Connection, ConnectionError};

/// Sums that only grow, and the connections of this moment.
#[derive(Default)]
pub struct QuicStats {
    /// First packets that were sent back, to see whether their address is real.
    pub(super) retries: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    handshake_nanos: AtomicU64,
    pub(super) streams: AtomicU64,
    first_stream_nanos: AtomicU64,
    pub(super) address_changes: AtomicU64,
    lost: AtomicU64,
    connections: Mutex<HashMap<usize, Connection>>,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuicSums {
    pub retries: u64,
    pub handshakes: u64,
    pub handshakes_failed: u64,
    /// All of them together.
    pub handshake_time: Duration,
    pub streams: u64,
    /// From the end of the handshake to the first data connection, of all connections together.
    pub first_stream_time: Duration,
    pub address_changes: u64,
    /// Connections that ended as nobody answered any more.
    pub connections_lost: u64,
    pub connections: usize,
    /// Of the connections of this moment, on average.
    pub round_trip: Duration,
}

impl QuicStats {
    pub fn read(&self) -> QuicSums {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let connections = self.connections.lock();
        let round_trips: Duration = connections.values().map(Connection::rtt).sum();
        let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        QuicSums {
            retries: get(&self.retries),
            handshakes: get(&self.handshakes),
            handshakes_failed: get(&self.handshakes_failed),
            handshake_time: Duration::from_nanos(get(&self.handshake_nanos)),
            streams: get(&self.streams),
            first_stream_time: Duration::from_nanos(get(&self.first_stream_nanos)),
            address_changes: get(&self.address_changes),
            connections_lost: get(&self.lost),
            connections: connections.len(),
            round_trip: round_trips.checked_div(count).unwrap_or_default(),
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake that began then is over.
    pub(super) fn shook_hands(&self, began: Instant, succeeded: bool) {
        QuicStats::add(if succeeded { &self.handshakes } else { &self.handshakes_failed });
        if succeeded {
            self.handshake_nanos.fetch_add(nanos(began), Ordering::Relaxed);
        }
    }

    /// The first data connection of one that was let in then.
    pub(super) fn first_stream(&self, began: Instant) {
        self.first_stream_nanos.fetch_add(nanos(began), Ordering::Relaxed);
    }

    pub(super) fn begin(&self, connection: &Connection) {
        self.connections.lock().insert(connection.stable_id(), connection.clone());
    }

    pub(super) fn end(&self, connection: &Connection) {
        self.connections.lock().remove(&connection.stable_id());
        if matches!(connection.close_reason(), Some(ConnectionError::TimedOut | ConnectionError::Reset)) {
            QuicStats::add(&self.lost);
        }
    }
}

fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
