use proptest::prelude::*;

use super::*;

/// Somebody from a network of their own.
fn party(n: u8) -> Party {
    Party::Network(IpAddr::from([10, 0, 0, n]))
}

fn enter(admission: &Arc<Admission>, n: u8, wanted: u8) -> Arc<Slot> {
    Arc::new(admission.enter(party(n), wanted).unwrap())
}

fn waits(slot: &Slot) -> Option<u32> {
    match slot.standing() {
        TurnState::Waiting(waiting) => Some(waiting.before),
        TurnState::Served => None,
        TurnState::Closed => panic!("closed"),
    }
}

#[test]
fn one_alone_gets_what_it_wants() {
    let admission = Admission::new(128, true);
    let slot = enter(&admission, 1, 16);
    assert_eq!(slot.allowed(), 16);
    let open: Vec<_> = (0..16).map(|_| slot.open().unwrap()).collect();
    assert!(slot.open().is_none());
    drop(open);
    assert!(slot.open().is_some());
}

#[test]
fn shares_shrink_as_others_come_and_grow_as_they_go() {
    let admission = Admission::new(128, true);
    let first: Vec<_> = (0..16).map(|n| enter(&admission, n, 16)).collect();
    // 16 of their own and 128 to share.
    assert!(first.iter().all(|slot| slot.allowed() == 9));
    let second: Vec<_> = (16..64).map(|n| enter(&admission, n, 16)).collect();
    assert!(first.iter().chain(&second).all(|slot| slot.allowed() == 3));
    drop(second);
    assert!(first.iter().all(|slot| slot.allowed() == 9));
}

#[test]
fn a_newcomer_has_its_first_connection_before_anybody_gives_one_back() {
    let admission = Admission::new(128, true);
    let old: Vec<_> = (0..16).map(|n| enter(&admission, n, 16)).collect();
    let mut open: Vec<_> = old.iter().flat_map(|slot| (0..9).map(|_| slot.open().unwrap())).collect();
    let newcomer = enter(&admission, 99, 4);
    assert_eq!((newcomer.allowed(), old[0].allowed(), old[15].allowed()), (1, 9, 8));
    let _first = newcomer.open().unwrap();
    assert!(newcomer.open().is_none());
    // As the others close what has become too much, it gets its share.
    for (_, last) in [13, 14, 15].map(|n| (n, 9 * n + 8)).into_iter().rev() {
        open.remove(last);
    }
    assert_eq!(newcomer.allowed(), 4);
}

#[test]
fn a_party_with_many_transfers_has_no_more_than_one_with_few() {
    let admission = Admission::new(100, true);
    let many: Vec<_> = (0..80).map(|_| enter(&admission, 1, 16)).collect();
    let few: Vec<_> = (0..5).map(|_| enter(&admission, 2, 16)).collect();
    let sum = |places: &[Arc<Slot>]| places.iter().map(|slot| usize::from(slot.allowed())).sum::<usize>();
    // Five cannot want more than eighty.
    assert_eq!((sum(&few), sum(&many)), (80, 161));
}

#[test]
fn a_free_place_goes_to_the_party_with_the_fewest_and_then_to_who_came_first() {
    let admission = Admission::new(4, true);
    let mut served: Vec<_> = (0..4).map(|_| enter(&admission, 1, 1)).collect();
    let greedy: Vec<_> = (0..3).map(|_| enter(&admission, 1, 1)).collect();
    let (second, third) = (enter(&admission, 2, 1), enter(&admission, 3, 1));
    let again = enter(&admission, 2, 1);
    let all = || [&greedy[0], &greedy[1], &greedy[2], &second, &third, &again].map(|slot| waits(slot));
    assert_eq!(all(), [Some(3), Some(4), Some(5), Some(0), Some(1), Some(2)]);
    let TurnState::Waiting(Waiting { serving, own, .. }) = again.standing() else { panic!() };
    assert_eq!((serving, own), (4, 0));
    served.pop();
    assert_eq!(all(), [Some(2), Some(3), Some(4), None, Some(0), Some(1)]);
    served.pop();
    assert_eq!(all(), [Some(1), Some(2), Some(3), None, None, Some(0)]);
}

#[test]
fn the_last_places_are_for_parties_that_have_none() {
    let admission = Admission::new(16, true);
    let greedy: Vec<_> = (0..20).map(|_| enter(&admission, 1, 1)).collect();
    assert_eq!(greedy.iter().filter(|slot| waits(slot).is_none()).count(), 14);
    let newcomer = enter(&admission, 2, 1);
    assert_eq!(waits(&newcomer), None);
    // Its second one has to wait, but not behind all those.
    assert_eq!(waits(&enter(&admission, 2, 1)), Some(0));
}

#[test]
fn a_party_cannot_take_the_whole_queue() {
    let admission = Admission::new(1, true);
    let served = enter(&admission, 1, 1);
    let mut waiting: Vec<_> = std::iter::from_fn(|| admission.enter(party(1), 1)).collect();
    assert_eq!(waiting.len(), WAITING_MAX - WAITING_MAX / PLACES_RESERVED);
    assert!(!admission.is_full());
    let others = (2..).map_while(|n| admission.enter(party(n), 1));
    waiting.extend(others);
    assert_eq!(waiting.len(), WAITING_MAX);
    assert!(admission.is_full());
    drop(waiting.pop());
    assert!(!admission.is_full());
    drop(served);
}

#[test]
fn nobody_waits_for_the_standard_output() {
    let admission = Admission::new(1, false);
    let slot = enter(&admission, 1, 16);
    assert_eq!(slot.allowed(), 16);
    assert!(admission.is_full() && admission.enter(party(2), 1).is_none());
    drop(slot);
    assert!(!admission.is_full() && admission.enter(party(2), 1).is_some());
}

#[tokio::test]
async fn whoever_waits_hears_of_its_turn_and_of_the_end() {
    let admission = Admission::new(1, true);
    let (served, next, last) = (enter(&admission, 1, 1), enter(&admission, 1, 1), enter(&admission, 1, 1));
    drop(served);
    assert_eq!(next.turn().await, TurnState::Served);
    admission.close();
    assert_eq!(last.turn().await, TurnState::Closed);
}

#[test]
fn a_place_that_is_handed_over_keeps_what_is_open() {
    let admission = Admission::new(1, true);
    let slot = enter(&admission, 1, 4);
    let open: Vec<_> = (0..4).map(|_| slot.open().unwrap()).collect();
    let heir = slot.clone();
    heir.hand_over(2);
    drop(slot);
    let other = enter(&admission, 1, 1);
    assert!(heir.open().is_none() && waits(&other) == Some(0));
    drop(open);
    assert!(heir.open().is_some());
    drop(heir);
    assert_eq!(waits(&other), None);
}

#[derive(Clone, Debug)]
enum Event {
    Enter { party: u8, wanted: u8 },
    Leave(usize),
    Open(usize),
    Close(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..5u8, 1..=16u8).prop_map(|(party, wanted)| Event::Enter { party, wanted }),
        2 => any::<usize>().prop_map(Event::Leave),
        6 => any::<usize>().prop_map(Event::Open),
        3 => any::<usize>().prop_map(Event::Close),
    ];
    proptest::collection::vec(event, 0..300)
}

proptest! {
    /// Whatever happens: the bounds hold, everybody who is served may have a data connection, nobody waits
    /// for a place that is free for it, and all places come back.
    #[test]
    fn the_bounds_hold_and_nobody_waits_in_vain(events in events(), places in 1..40usize) {
        let admission = Admission::new(places, true);
        let (mut here, mut open): (Vec<Arc<Slot>>, Vec<Counted>) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Enter { party: n, wanted } => here.extend(admission.enter(party(n), wanted).map(Arc::new)),
                Event::Leave(n) if !here.is_empty() => drop(here.swap_remove(n % here.len())),
                Event::Open(n) if !here.is_empty() => open.extend(here[n % here.len()].open()),
                Event::Close(n) if !open.is_empty() => drop(open.swap_remove(n % open.len())),
                _ => {}
            }
            let slots = admission.slots.lock();
            prop_assert!(slots.served.len() <= places && slots.waiting.len() <= WAITING_MAX);
            let seats = slots.served.values();
            let reach: usize = seats.clone().map(|seat| usize::from(seat.allowed.max(seat.open))).sum();
            prop_assert!(reach <= usize::from(DATA_CONNECTIONS_MAX), "{reach}");
            prop_assert!(seats.clone().all(|seat| (1..=seat.wanted).contains(&seat.allowed)));
            prop_assert!(slots.waiting.values().all(|waiter| !slots.has_place_for(waiter.party)));
        }
        drop((here, open));
        let slots = admission.slots.lock();
        prop_assert!(slots.served.is_empty() && slots.waiting.is_empty());
    }
}
