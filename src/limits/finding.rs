//! Finding receivers on the network.

use std::time::Duration;

/// Bytes in the name of a receiver: one label of DNS (RFC 1035, section 2.3.4).
pub const RECEIVER_NAME_MAX_BYTES: usize = 63;

/// Receivers that are kept of those that answer: more than anybody picks from, and less than 1 MiB of what strangers say.
pub const FOUND_MAX: usize = 256;

/// Addresses of one receiver that are kept: each is tried when it is sent to.
pub const FOUND_ADDRESSES_MAX: usize = 16;

/// Names under which a receiver tells that it is announced. Somebody who claims each of them makes it take another one.
pub const NAMES_TOLD_MAX: usize = 4;

/// Records that may be held of what is said on a network, as many as Avahi keeps: some thousand machines, and with what a
/// packet holds at most less than 40 MiB.
pub const HEARD_MAX: i64 = 4096;

/// Timers that weigh as much as a record: 16 bytes each. Every record that is heard makes two, also if it was known.
pub const TIMERS_PER_RECORD: i64 = 16;

/// How often what is held is counted. A receiver that only waits wakes up for it, and a flood has so long.
pub const HEARD_LOOK: Duration = Duration::from_millis(500);

/// How long a receiver is not announced after too much was heard; it doubles up to [`OVERGROWN_PAUSE_MAX`], so that a flood
/// that lasts costs next to nothing, and is forgotten when an announcement has stood for that long.
pub const OVERGROWN_PAUSE_FIRST: Duration = Duration::from_secs(1);

/// See [`OVERGROWN_PAUSE_FIRST`].
pub const OVERGROWN_PAUSE_MAX: Duration = Duration::from_secs(64);

/// How long `lanx list` looks, and at least: a receiver that was just asked is silent for a second (RFC 6762, section 6), after
/// which it is asked again.
pub const LIST_FOR: Duration = Duration::from_secs(2);

/// How long a HOST that the resolver does not know is looked for among receivers.
pub const FIND_FOR: Duration = Duration::from_secs(3);
const _: () = assert!(LIST_FOR.as_millis() <= FIND_FOR.as_millis());

/// How long more of a receiver's addresses are waited for when its first are there, and others of the same name.
pub const FIND_SETTLE: Duration = Duration::from_millis(250);

/// Lines that are shown to a person who is to pick one: each receiver, and a few changes.
pub const MENU_LINES_MAX: usize = 4 * FOUND_MAX;

/// After how long without a receiver a person who is to pick one is told what to do.
pub const PICK_HINT_AFTER: Duration = FIND_FOR;

/// How long an announcement may take to be heard of before it counts as failed. It takes a second: three probes 250 ms
/// apart (RFC 6762, section 8.1).
pub const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of an announcement may take: it is a packet for each interface.
pub const WITHDRAW_PATIENCE: Duration = Duration::from_millis(500);

/// How often, in seconds, an announcement looks for interfaces that have come or gone: each look wakes an idle receiver, and
/// a laptop that wakes up should be found soon.
pub const ANNOUNCE_LOOK_SECONDS: u32 = 10;
