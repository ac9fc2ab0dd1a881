//! Packets that are lost because they are large: somewhere on the way less fits through than both ends
//! believe, and what is in between swallows the rest and says nothing. What TCP shows of it, and the
//! addresses to which packets are kept small for it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::interval;

use super::tune::{is_within_machine, traffic};
use crate::limits::{
    HEARD_LATELY, LOST_SILENCE, LOST_TIMEOUTS_HANDSHAKE, LOST_TIMEOUTS_SESSION, SMALL_SEGMENT_BYTES,
};
use crate::session::link::Traffic;

/// How often a handshake is looked at, whether it stands still.
const LOST_LOOK: Duration = Duration::from_millis(250);

/// How long the first of the packets that come may be missing: several times what TCP takes to send it again.
const LOST_GAP: Duration = Duration::from_secs(1);

/// The addresses to which large packets were lost, or from which. It is a matter of the network and not of a
/// transfer, so the whole program knows of it, and each connection that it opens.
static LOST: Mutex<BTreeSet<IpAddr>> = Mutex::new(BTreeSet::new());

/// Bytes of a segment to this address, where they have to be few.
pub fn segment_bytes(addr: SocketAddr) -> Option<u32> {
    LOST.lock().contains(&addr.ip().to_canonical()).then_some(SMALL_SEGMENT_BYTES)
}

/// Has every later connection to this address keep to small segments. False where they do already.
pub fn keep_small(addr: SocketAddr) -> bool {
    LOST.lock().insert(addr.ip().to_canonical())
}

/// Bytes of the IP and TCP headers around the largest segment that may be asked for.
pub fn headers_bytes(addr: SocketAddr) -> u32 {
    if addr.ip().to_canonical().is_ipv4() { 40 } else { 60 }
}

/// How it shows that packets do not get through, where small ones did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// What was sent is not acknowledged.
    Unacknowledged { times: u32, segment_bytes: u32 },
    /// What comes is behind something that does not.
    Gap { packets: u32 },
    /// All that was sent is acknowledged, and nothing comes.
    Silence { time: Duration },
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sign::Unacknowledged { times, segment_bytes } => write!(
                f,
                "a packet that was sent {times} times was not acknowledged (segments have up to {segment_bytes} bytes)"
            ),
            Sign::Gap { packets: 1 } => write!(f, "a packet came, and the one before it did not"),
            Sign::Gap { packets } => write!(f, "{packets} packets came, and the one before them did not"),
            Sign::Silence { time } => {
                let seconds = time.as_secs();
                write!(f, "all that was sent was acknowledged, and for {seconds} s nothing came back")
            }
        }
    }
}

/// What a connection is like on which a handshake goes on.
struct Handshake {
    before: Traffic,
    /// When something last moved.
    moved: Instant,
}

impl Handshake {
    /// Whether it has come to a stop, and how that shows.
    fn look(&mut self, now: Traffic, at: Instant) -> Option<Sign> {
        let Traffic { acknowledged, received, .. } = self.before;
        if now.acknowledged > acknowledged || now.received > received {
            *self = Handshake { before: now, moved: at };
            return None;
        }
        let time = at.saturating_duration_since(self.moved);
        let packets = now.out_of_order.saturating_sub(self.before.out_of_order);
        if now.unacknowledged > 0 {
            let sign = Sign::Unacknowledged { times: now.timeouts + 1, segment_bytes: now.segment_bytes };
            return (now.timeouts >= LOST_TIMEOUTS_HANDSHAKE).then_some(sign);
        }
        if packets > 0 && time >= LOST_GAP {
            return Some(Sign::Gap { packets });
        }
        (time >= LOST_SILENCE).then_some(Sign::Silence { time })
    }
}

/// Completes when the handshake on this connection stands still. Within a machine nothing is lost, so that it
/// never does there.
pub async fn stalled(socket: &impl AsFd, addr: SocketAddr) -> Sign {
    let before = traffic(socket).filter(|_| !is_within_machine(addr));
    let Some(before) = before else { return std::future::pending().await };
    let mut handshake = Handshake { before, moved: Instant::now() };
    let mut look = interval(LOST_LOOK);
    loop {
        look.tick().await;
        let sign = traffic(socket).and_then(|now| handshake.look(now, Instant::now()));
        if let Some(sign) = sign {
            return sign;
        }
    }
}

/// How it shows that a connection has come to a stop, as what it sends is larger than need be and does not
/// arrive; `None` where it goes on.
pub fn swallowed(socket: &impl AsFd) -> Option<Sign> {
    let Traffic { unacknowledged, timeouts, segment_bytes, .. } = traffic(socket)?;
    let stands =
        unacknowledged > 0 && timeouts >= LOST_TIMEOUTS_SESSION && segment_bytes > SMALL_SEGMENT_BYTES;
    stands.then_some(Sign::Unacknowledged { times: timeouts + 1, segment_bytes })
}

/// Whether the other side was heard a moment ago on this connection, on which it speaks again and again.
pub fn is_heard(socket: &impl AsFd) -> bool {
    traffic(socket).is_some_and(|traffic| traffic.silent <= HEARD_LATELY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Traffic = Traffic {
        segment_bytes: 1448,
        packet_bytes: 1500,
        unacknowledged: 1,
        timeouts: 0,
        acknowledged: 9,
        received: 8,
        out_of_order: 0,
        silent: Duration::ZERO,
    };

    /// What is seen of a handshake that began with [`START`] and then was like this, so many milliseconds
    /// later.
    fn seen(looks: &[(u64, Traffic)]) -> Option<Sign> {
        let moved = Instant::now();
        let mut handshake = Handshake { before: START, moved };
        let mut look =
            |(millis, now): &(u64, Traffic)| handshake.look(*now, moved + Duration::from_millis(*millis));
        looks.iter().map(&mut look).last().unwrap()
    }

    #[test]
    fn a_hello_that_is_sent_in_vain_a_gap_and_silence_are_signs_and_what_moves_is_none() {
        let once = Traffic { timeouts: 1, ..START };
        assert_eq!(seen(&[(900, once)]), None, "a single loss");
        let again = Traffic { timeouts: 2, ..START };
        assert_eq!(seen(&[(900, again)]), Some(Sign::Unacknowledged { times: 3, segment_bytes: 1448 }));
        let taken = Traffic { unacknowledged: 0, acknowledged: 1422, ..START };
        assert_eq!(seen(&[(100, taken), (3000, taken)]), None);
        let silence = Sign::Silence { time: Duration::from_secs(3) };
        assert_eq!(seen(&[(100, taken), (3100, taken)]), Some(silence));
        let gap = Traffic { out_of_order: 2, ..taken };
        assert_eq!(seen(&[(100, taken), (900, gap)]), None, "it may come late");
        assert_eq!(seen(&[(100, taken), (1100, gap)]), Some(Sign::Gap { packets: 2 }));
        let mended = Traffic { received: 2500, ..gap };
        assert_eq!(seen(&[(100, taken), (900, mended), (2000, mended)]), None);
    }

    #[test]
    fn an_address_is_remembered_also_where_it_is_written_as_one_of_ipv6() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(segment_bytes(addr("192.0.2.77:1")), None);
        assert!(keep_small(addr("192.0.2.77:1")));
        assert!(!keep_small(addr("[::ffff:192.0.2.77]:2")));
        assert_eq!(segment_bytes(addr("[::ffff:192.0.2.77]:3")), Some(SMALL_SEGMENT_BYTES));
    }
}
