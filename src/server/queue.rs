//! Who is served, who waits, and how many data connections each may have: of senders, and of uploads to the
//! web door, which have pieces on the way instead.
//!
//! A receiver has so many places, and each place has a data connection of its own, so that whoever is served
//! always gets on. The other data connections of the receiver are shared: equally among parties, and equally
//! among the transfers of one party. When somebody comes or goes the shares change; what somebody has to give
//! back first is given to nobody before it is back. So the bound on data connections, and with it on threads
//! and memory, holds at every moment. Memory for what is under way is shared beside them: each place has its
//! own, and the rest is lent.
//!
//! Whoever finds no place waits. A free place goes to the party that has the fewest, and among those to who
//! came first. The last places are for parties that have none, so that nobody waits behind all transfers of
//! one party.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::{DATA_CONNECTIONS_MAX, MEMORY_BYTES, PLACES_RESERVED, SESSION_BYTES, WAITING_MAX};
use crate::session::receiver::memory::Reserve;
use crate::trust::fingerprint::Fingerprint;
use crate::wire::message::Waiting;

/// Whom transfers belong to, as far as sharing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    Key(Fingerprint),
    /// Where everybody is let in keys cost nothing, so there it is the network that counts.
    Network(IpAddr),
}

/// Where somebody stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnState {
    Waiting(Waiting),
    Served,
    /// Nobody will be served any more.
    Closed,
}

/// The places of a receiver.
pub struct Admission {
    slots: Mutex<Slots>,
}

struct Slots {
    places: usize,
    may_wait: usize,
    /// Data connections of all places together.
    connections: usize,
    came: u64,
    served: BTreeMap<u64, Seat>,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiter>,
}

struct Seat {
    party: Party,
    /// Data connections that are wanted, may be had, and are there. There may be more than may be had, until
    /// those are closed that have become too many.
    wanted: u8,
    allowed: u8,
    open: u8,
    /// Bytes of memory beyond those that each place has.
    memory: usize,
}

struct Waiter {
    party: Party,
    wanted: u8,
    standing: watch::Sender<TurnState>,
}

/// A place, or one in the queue. Given back when it is dropped.
pub struct Slot {
    admission: Arc<Admission>,
    number: u64,
    standing: watch::Receiver<TurnState>,
}

/// A data connection that counts. No more when it is dropped.
pub struct Counted(Arc<Slot>);

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.number).finish()
    }
}

impl Admission {
    /// `places`: how many are served at once. Nobody waits for the only one there is to standard output.
    pub fn new(places: usize, queue: bool) -> Arc<Admission> {
        let may_wait = if queue { WAITING_MAX } else { 0 };
        Admission::with(places, may_wait, DATA_CONNECTIONS_MAX.into())
    }

    /// The same with so many that may wait, and so many data connections in all: one for each place, and
    /// others to share.
    #[must_use]
    pub fn with(places: usize, may_wait: usize, connections: usize) -> Arc<Admission> {
        let (served, waiting) = (BTreeMap::new(), BTreeMap::new());
        let slots = Slots { places, may_wait, connections, came: 0, served, waiting };
        Arc::new(Admission { slots: Mutex::new(slots) })
    }

    /// Whether whoever comes now is sent away, whoever that is.
    pub fn is_full(&self) -> bool {
        let slots = self.slots.lock();
        slots.served.len() >= slots.places && slots.waiting.len() >= slots.may_wait
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.slots.lock().waiting.len()
    }

    /// Gives somebody who wants so many data connections a place, or one in the queue. `None`: neither is
    /// free.
    pub fn enter(self: &Arc<Self>, party: Party, wanted: u8) -> Option<Slot> {
        let mut slots = self.slots.lock();
        let seated = slots.has_place_for(party);
        if !seated && !slots.has_room_to_wait(party) {
            return None;
        }
        slots.came += 1;
        let number = slots.came;
        let nothing = Waiting { serving: 0, own: 0, before: 0 };
        let (sender, standing) =
            watch::channel(if seated { TurnState::Served } else { TurnState::Waiting(nothing) });
        if seated {
            slots.seat(number, party, wanted);
        } else {
            slots.waiting.insert(number, Waiter { party, wanted, standing: sender });
        }
        slots.arrange();
        Some(Slot { admission: self.clone(), number, standing })
    }

    /// Tells all who wait that their turn will not come.
    pub fn close(&self) {
        let waiting = std::mem::take(&mut self.slots.lock().waiting);
        for waiter in waiting.values() {
            waiter.standing.send_replace(TurnState::Closed);
        }
    }
}

impl Slot {
    pub fn standing(&self) -> TurnState {
        *self.standing.borrow()
    }

    /// Waits until the waiting is over.
    pub async fn turn(&self) -> TurnState {
        let mut standing = self.standing.clone();
        let turn = standing.wait_for(|standing| !matches!(standing, TurnState::Waiting(_))).await;
        // The other end of the channel goes only after it has said how the waiting ended.
        turn.map_or(TurnState::Closed, |standing| *standing)
    }

    /// Somebody else of the same party goes on at this place, and wants so many data connections.
    pub fn hand_over(&self, wanted: u8) {
        let mut slots = self.admission.slots.lock();
        if let Some(seat) = slots.served.get_mut(&self.number) {
            seat.wanted = wanted;
            slots.arrange();
        }
    }

    /// How many data connections there may be now.
    pub fn allowed(&self) -> u8 {
        self.admission.slots.lock().served.get(&self.number).map_or(1, |seat| seat.allowed)
    }

    /// Counts a data connection; `None` where there are as many as there may be.
    pub fn open(self: &Arc<Self>) -> Option<Counted> {
        let mut slots = self.admission.slots.lock();
        let seat = slots.served.get_mut(&self.number).filter(|seat| seat.open < seat.allowed)?;
        seat.open += 1;
        Some(Counted(self.clone()))
    }
}

/// A party may have as much as it leaves: alone the half, with another one a third. So there is always some
/// for whoever comes, and nobody has to give back what it uses.
impl Reserve for Slot {
    fn take(&self, bytes: usize) -> bool {
        let mut slots = self.admission.slots.lock();
        let Some(party) = slots.served.get(&self.number).map(|seat| seat.party) else { return false };
        let of_party = |seat: &&Seat| seat.party == party;
        let own: usize = slots.served.values().filter(of_party).map(|seat| seat.memory).sum();
        let taken: usize = slots.served.values().map(|seat| seat.memory).sum();
        let all = MEMORY_BYTES.saturating_sub(slots.places * SESSION_BYTES);
        let may = own + bytes <= all.saturating_sub(taken + bytes);
        if let Some(seat) = slots.served.get_mut(&self.number).filter(|_| may) {
            seat.memory += bytes;
        }
        may
    }

    fn give_back(&self, bytes: usize) {
        if let Some(seat) = self.admission.slots.lock().served.get_mut(&self.number) {
            seat.memory = seat.memory.saturating_sub(bytes);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.admission.slots.lock();
        slots.served.remove(&self.number);
        slots.waiting.remove(&self.number);
        slots.arrange();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut slots = self.0.admission.slots.lock();
        if let Some(seat) = slots.served.get_mut(&self.0.number) {
            seat.open = seat.open.saturating_sub(1);
            slots.share();
        }
    }
}

impl Slots {
    fn served_of(&self, party: Party) -> usize {
        self.served.values().filter(|seat| seat.party == party).count()
    }

    fn has_place_for(&self, party: Party) -> bool {
        let free = self.places.saturating_sub(self.served.len());
        free > reserved(self.places) || (free > 0 && self.served_of(party) == 0)
    }

    fn has_room_to_wait(&self, party: Party) -> bool {
        let free = self.may_wait.saturating_sub(self.waiting.len());
        let waits = || self.waiting.values().any(|waiter| waiter.party == party);
        free > reserved(self.may_wait) || (free > 0 && !waits())
    }

    fn seat(&mut self, number: u64, party: Party, wanted: u8) {
        self.served.insert(number, Seat { party, wanted, allowed: 1, open: 0, memory: 0 });
    }

    /// Seats who can be seated, shares, and tells those who wait where they stand.
    fn arrange(&mut self) {
        while let Some(number) = self.next_to_seat()
            && let Some(Waiter { party, wanted, standing }) = self.waiting.remove(&number)
        {
            self.seat(number, party, wanted);
            standing.send_replace(TurnState::Served);
        }
        self.share();
        self.tell();
    }

    fn next_to_seat(&self) -> Option<u64> {
        let order = self.order();
        order
            .into_iter()
            .find(|(number, _)| {
                self.waiting.get(number).is_some_and(|waiter| self.has_place_for(waiter.party))
            })
            .map(|(number, _)| number)
    }

    /// Those who wait, in the order in which they will be served if nobody else comes, each with the number
    /// of places that its party has now.
    ///
    /// The party with the fewest places is next. Its second in the queue comes when it has one place more,
    /// and so on: who is the n-th of its party counts as if the party had n places more already.
    fn order(&self) -> Vec<(u64, usize)> {
        let mut places: HashMap<Party, usize> = HashMap::new();
        self.served.values().for_each(|seat| *places.entry(seat.party).or_default() += 1);
        let mut before: HashMap<Party, usize> = HashMap::new();
        let mut order = Vec::with_capacity(self.waiting.len());
        for (number, waiter) in &self.waiting {
            let own = places.get(&waiter.party).copied().unwrap_or_default();
            let ahead = before.entry(waiter.party).or_default();
            order.push((own + *ahead, *number, own));
            *ahead += 1;
        }
        order.sort_unstable();
        order.into_iter().map(|(_, number, own)| (number, own)).collect()
    }

    fn tell(&self) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        for (before, (number, own)) in self.order().into_iter().enumerate() {
            let waiting =
                Waiting { serving: count(self.served.len()), own: count(own), before: count(before) };
            if let Some(waiter) = self.waiting.get(&number) {
                waiter.standing.send_if_modified(|standing| {
                    let told = std::mem::replace(standing, TurnState::Waiting(waiting));
                    told != *standing
                });
            }
        }
    }

    /// Shares the data connections anew: takes at once, and gives what is free.
    fn share(&mut self) {
        let all = self.connections.saturating_sub(self.places);
        let fair = self.fair_shares(all);
        let mut taken = 0;
        for (seat, fair) in self.served.values_mut().zip(&fair) {
            seat.allowed = seat.allowed.min(*fair);
            taken += usize::from(seat.allowed.max(seat.open).saturating_sub(1));
        }
        let mut free = all.saturating_sub(taken);
        for (seat, fair) in self.served.values_mut().zip(&fair) {
            while seat.allowed < *fair {
                // One that is still open from before costs nothing.
                let costs = usize::from(seat.allowed >= seat.open.max(1));
                if costs > free {
                    break;
                }
                free -= costs;
                seat.allowed += 1;
            }
        }
    }

    /// How many data connections each of those who are served should have, in their order: one, and of `all`
    /// others the next always goes to the party that has the fewest, and there to the transfer that has the
    /// fewest.
    fn fair_shares(&self, all: usize) -> Vec<u8> {
        let wanted: usize = self.served.values().map(|seat| usize::from(seat.wanted.saturating_sub(1))).sum();
        if wanted <= all {
            return self.served.values().map(|seat| seat.wanted.max(1)).collect();
        }
        let mut of_party: HashMap<Party, usize> = HashMap::new();
        self.served.values().for_each(|seat| *of_party.entry(seat.party).or_default() += 1);
        let mut shares = vec![1; self.served.len()];
        for _ in 0..all {
            let can_take = self.served.values().zip(&shares).enumerate();
            let can_take = can_take.filter(|(_, (seat, share))| **share < seat.wanted);
            let has = |party: &Party| of_party.get(party).copied().unwrap_or_default();
            let next = can_take.min_by_key(|(at, (seat, share))| (has(&seat.party), **share, *at));
            let Some((at, (seat, _))) = next else { break };
            *of_party.entry(seat.party).or_default() += 1;
            shares[at] += 1;
        }
        shares
    }
}

/// How many of so many places are for parties that have none.
fn reserved(places: usize) -> usize {
    places / PLACES_RESERVED
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
