//! How fast to send, and how much may be on its way: chosen from what the path shows, not from what anybody
//! typed.
//!
//! All streams of a connection share one congestion window, so that what decides about it matters more than
//! over TCP, where a pool has several. On a path of a millisecond and more it is BBR, which does not take a
//! packet that the network lost for a jam. On a shorter one, which loses packets only where a buffer is full,
//! it is CUBIC, which takes less CPU time.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Bbr, BbrConfig, Controller, ControllerFactory, Cubic, CubicConfig};
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::limits::CHUNK_BYTES;

/// Bytes in a UDP packet at most: what fits into 9,000 bytes of Ethernet with the headers of IPv4.
pub const PAYLOAD_BYTES_MAX: u16 = 8972;

/// Bytes on one stream that the receiver has not read. More than that costs connections (quinn issue 2809).
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Data connections that one QUIC connection carries before a sender opens a second one of the session. All
/// packets of a connection are made by one thread, so that more of them need another one where they are to
/// help.
pub const LANES_OF_ONE: usize = 8;

/// Bytes of a connection that the receiver has not read, before it has shown that it belongs here.
pub const STRANGERS_WINDOW_BYTES: u32 = 64 << 10;

/// The same of all that have, each of which gets no more than 8 streams may have and no less than two chunks.
/// Whoever has it in full does not read, which its workers do but for a disk that is slow.
const WINDOWS_BYTES: u32 = 64 << 20;
const WINDOW_BYTES_MAX: u32 = 8 * STREAM_WINDOW_BYTES;
const WINDOW_BYTES_MIN: u32 = 2 * CHUNK_BYTES as u32;

/// Bytes that wait at the sender, sent or not, until they are acknowledged: twice what may be on its way, and
/// some for the workers.
const SEND_WINDOW_SPARE_BYTES: u64 = 2 << 20;
const SEND_WINDOW_BYTES_MAX: u64 = 32 << 20;

/// From here on a path is long: its ends are not in one room.
const LONG_PATH: Duration = Duration::from_millis(1);

/// A path that was short and takes so long is another one.
const MOVED_AWAY: Duration = Duration::from_millis(10);

/// What is taken for the round trip until one was seen. A packet of the handshake is sent again after three
/// of them.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// For how long the receiver may gather acknowledgements.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// Bytes that are sent to a neighbour before the first acknowledgement: 100 packets.
const NEAR_WINDOW_BYTES: u64 = 100 * 1452;

/// Bytes that are sent on any path before the first acknowledgement (RFC 6928).
const FIRST_WINDOW_BYTES: u64 = 10 * 1200;

/// When packets of full size were lost in a row, smaller ones are sent for so long before larger ones are
/// tried again. Loss alone may look like that.
const MTU_COOLDOWN: Duration = Duration::from_secs(5);

/// How often larger packets are tried where they were lost before.
const MTU_INTERVAL: Duration = Duration::from_secs(60);

/// What both ends say and do at first. `patience`: how long a silent peer is waited for.
pub fn transport(patience: Duration) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(PAYLOAD_BYTES_MAX).black_hole_cooldown(MTU_COOLDOWN).interval(MTU_INTERVAL);
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(STRANGERS_WINDOW_BYTES))
        .send_window(SEND_WINDOW_SPARE_BYTES)
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle(patience))
        .congestion_controller_factory(Arc::new(Choice));
    config
}

/// The session itself finds out sooner that nobody answers, and says so in better words.
fn idle(patience: Duration) -> Option<IdleTimeout> {
    IdleTimeout::try_from(patience + patience / 2).ok()
}

/// How much may be unread at a receiver with so many `sessions`, whose UDP socket holds `buffer` bytes of
/// packets, on a path of this round trip. Across a room all that may be unread can come at once, and what
/// does not fit into the socket is lost.
pub fn window(buffer: usize, sessions: usize, round_trip: Duration) -> u32 {
    let near = u32::try_from(4 * buffer).unwrap_or(u32::MAX);
    let most = if round_trip < LONG_PATH { near } else { WINDOW_BYTES_MAX };
    let share = WINDOWS_BYTES / u32::try_from(sessions.max(1)).unwrap_or(u32::MAX);
    most.min(share).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}

/// How much may wait at the sender where `window` bytes may be on their way.
pub fn send_window(window: u64) -> u64 {
    window.saturating_mul(2).saturating_add(SEND_WINDOW_SPARE_BYTES).min(SEND_WINDOW_BYTES_MAX)
}

/// What decides how fast to send on a path of this round trip, by its name.
pub fn congestion(round_trip: Duration) -> &'static str {
    if round_trip < LONG_PATH { "cubic" } else { "bbr" }
}

/// Makes a [`Chosen`] for each connection.
struct Choice;

impl ControllerFactory for Choice {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Chosen::Undecided(bbr(FIRST_WINDOW_BYTES, mtu), now, mtu))
    }
}

/// Who decides how much may be on its way: BBR, or CUBIC once the first acknowledgement has shown that the
/// path is short, until it is no longer.
enum Chosen {
    Undecided(Box<dyn Controller>, Instant, u16),
    Near(Box<dyn Controller>, u16),
    Far(Box<dyn Controller>),
}

impl Chosen {
    fn controller(&self) -> &dyn Controller {
        match self {
            Chosen::Undecided(controller, ..) | Chosen::Near(controller, _) | Chosen::Far(controller) => {
                &**controller
            }
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match self {
            Chosen::Undecided(controller, ..) | Chosen::Near(controller, _) | Chosen::Far(controller) => {
                &mut **controller
            }
        }
    }

    /// `shortest` is the shortest round trip of the path, `now` what it takes these days.
    fn decide(&mut self, shortest: Duration, now: Duration) {
        let decided = match self {
            Chosen::Undecided(_, began, mtu) if shortest < LONG_PATH => {
                let mut config = CubicConfig::default();
                config.initial_window(NEAR_WINDOW_BYTES);
                Chosen::Near(Box::new(Cubic::new(Arc::new(config), *began, *mtu)), *mtu)
            }
            Chosen::Undecided(bbr, ..) => Chosen::Far(bbr.clone_box()),
            // The sender has moved, or a queue has grown, which BBR keeps short.
            Chosen::Near(cubic, mtu) if now >= MOVED_AWAY => Chosen::Far(bbr(cubic.window(), *mtu)),
            Chosen::Near(..) | Chosen::Far(_) => return,
        };
        *self = decided;
    }
}

fn bbr(window: u64, mtu: u16) -> Box<dyn Controller> {
    let mut config = BbrConfig::default();
    config.initial_window(window);
    Box::new(Bbr::new(Arc::new(config), mtu))
}

impl Controller for Chosen {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.controller_mut().on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.decide(rtt.min(), rtt.get());
        self.controller_mut().on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.controller_mut().on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.controller_mut().on_congestion_event(now, sent, persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        if let Chosen::Undecided(_, _, known) | Chosen::Near(_, known) = self {
            *known = mtu;
        }
        self.controller_mut().on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.controller().window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(match self {
            Chosen::Undecided(controller, began, mtu) => {
                Chosen::Undecided(controller.clone_box(), *began, *mtu)
            }
            Chosen::Near(controller, mtu) => Chosen::Near(controller.clone_box(), *mtu),
            Chosen::Far(controller) => Chosen::Far(controller.clone_box()),
        })
    }

    fn initial_window(&self) -> u64 {
        self.controller().initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen() -> Chosen {
        let now = Instant::now();
        Chosen::Undecided(bbr(FIRST_WINDOW_BYTES, 1200), now, 1200)
    }

    #[test]
    fn a_path_is_judged_by_its_first_round_trip_and_once_more_when_it_grows() {
        let (short, long) = (Duration::from_micros(200), Duration::from_millis(40));
        let mut far = chosen();
        far.decide(long, long);
        far.decide(short, short);
        assert!(matches!(far, Chosen::Far(_)));
        let mut near = chosen();
        near.decide(short, short);
        assert!(matches!(near, Chosen::Near(..)) && near.window() == NEAR_WINDOW_BYTES);
        near.decide(short, 2 * LONG_PATH);
        assert!(matches!(near, Chosen::Near(..)), "a queue may be as long");
        near.decide(short, long);
        assert!(matches!(near, Chosen::Far(_)) && near.window() == NEAR_WINDOW_BYTES);
    }

    #[test]
    fn what_may_be_unread_is_bounded_by_sessions_socket_and_path() {
        let (short, long) = (Duration::from_micros(200), Duration::from_millis(40));
        assert_eq!(window(208 << 10, 1, short), 4 * (208 << 10));
        assert_eq!(window(208 << 10, 1, long), WINDOW_BYTES_MAX);
        assert_eq!(window(4 << 20, 8, long), WINDOWS_BYTES / 8);
        assert_eq!(window(4 << 20, 1000, long), WINDOW_BYTES_MIN);
    }
}
