use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::content::chunk::{ChunkIndex, FileId};
use crate::session::sender::attempt::Outgoing;
use crate::source::Item;
use crate::wire::message::Against;

/// Notes whether it was ended, and has delivered so many bytes; 0 where nobody knows.
#[derive(Clone, Default)]
struct Wired(Arc<AtomicBool>, Arc<AtomicU64>);

impl ConnectionHandle for Wired {
    fn hang_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn is_dead(&self) -> bool {
        false
    }
    fn delivered(&self) -> Option<u64> {
        Some(self.1.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

fn attempt() -> Arc<Attempt> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outgoing = Outgoing::new(FileId(0), Item::of_file(file.path()), None);
    Arc::new(Attempt::new(Arc::new(outgoing), Against::Part))
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Note,
    /// A count, as far from the truth as this.
    Confirm(i64),
    Stuck,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![4 => Just(Event::Note), 2 => (-3i64..4).prop_map(Event::Confirm), 1 => Just(Event::Stuck)];
    proptest::collection::vec(event, 0..50)
}

#[test]
fn one_is_stuck_when_nothing_reaches_the_other_side_for_half_of_the_patience() {
    let (wire, patience) = (Wired::default(), Duration::from_secs(10));
    let start = Instant::now();
    let connection = DataConnection::new(0, start, Arc::new(wire.clone()));
    let after = |seconds| start + Duration::from_secs(seconds);
    let arrives = |bytes| wire.1.store(bytes, Ordering::Relaxed);
    arrives(1);
    for (seconds, bytes, stuck) in [
        (4, 2, false),
        (6, 3, false),
        (11, 4, false),
        (15, 4, false),
        (17, 4, false),
        (20, 4, false),
        (21, 4, true),
    ] {
        arrives(bytes);
        assert_eq!(connection.is_stuck(after(seconds), patience), stuck, "after {seconds} s");
    }
    // Where nobody knows what arrives the answer alone counts.
    let (unknown, patience) =
        (DataConnection::new(0, start, Arc::new(Wired::default())), Duration::from_secs(10));
    assert!(!unknown.is_stuck(after(9), patience) && unknown.is_stuck(after(10), patience));
}

proptest! {
    #[test]
    fn what_was_not_confirmed_is_given_back_in_order_and_nothing_else(events in events(), extra in 0u64..4) {
        let (wire, attempt, now) = (Wired::default(), attempt(), Instant::now());
        let connection = DataConnection::new(3, now, Arc::new(wire.clone()));
        let (mut noted, mut confirmed) = (0u64, 0u64);
        for event in events {
            match event {
                Event::Note => {
                    prop_assert!(connection.note(&attempt, Dealt::one(ChunkIndex(noted))));
                    noted += 1;
                }
                Event::Confirm(by) => {
                    let Some(frames) = confirmed.checked_add_signed(by) else { continue };
                    let right = frames >= confirmed && frames <= noted;
                    prop_assert_eq!(connection.confirm(frames).is_ok(), right);
                    confirmed = if right { frames } else { confirmed };
                }
                // Never while less than the patience has passed.
                Event::Stuck => prop_assert!(!connection.is_stuck(now, Duration::from_secs(5))),
            }
        }
        let frames = confirmed + extra;
        match connection.close(frames) {
            Ok(lost) => {
                prop_assert!(frames <= noted);
                let lost: Vec<u64> = lost.into_iter().map(|(_, dealt)| dealt.first.0).collect();
                prop_assert_eq!(lost, (frames..noted).collect::<Vec<_>>());
                prop_assert!(wire.0.load(Ordering::Relaxed) && connection.is_closed());
                prop_assert!(!connection.note(&attempt, Dealt::one(ChunkIndex(noted))), "a closed connection takes nothing");
            }
            Err(_) => prop_assert!(frames > noted),
        }
    }
}
