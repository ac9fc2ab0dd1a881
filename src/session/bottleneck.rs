//! The name of the limit: what a transfer was waiting for, from what the threads of both ends did with their
//! time.
//!
//! Chunks go through a row of stages, and the slowest has no rest: those before it wait to hand on, those
//! behind it for something to come. So the limit is the stage in which its threads spent most of their time,
//! and the network is, where the sender's threads waited to send while the receiver's waited for something to
//! come. A machine whose CPUs had no rest, and not for others only, is the limit whatever its threads were
//! doing, as then each stage also waits for a CPU.

use crate::wire::stage_times::{Spent, Stage};

/// What a transfer was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// The rate that the sender's user has set.
    Limit,
    /// The rate that the receiver's user has set for all senders together.
    ReceiverLimit,
    /// Reading what is sent.
    Source,
    SenderCpu,
    Network,
    ReceiverCpu,
    /// Storing what comes, and reading what is there.
    Destination,
}

/// A limit, and how much of the time it was in use, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub bottleneck: Bottleneck,
    pub share: u16,
}

/// What both ends did with their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub sender: Spent,
    pub receiver: Spent,
}

impl Accounts {
    /// What the transfer was waiting for, where that is clear.
    pub fn bottleneck(&self) -> Option<Verdict> {
        bottleneck(&self.sender, &self.receiver)
    }
}

/// CPUs without rest, in thousandths: what is left goes to starting and ending.
const BUSY: u16 = 900;

/// Of that, what must be the transfer's own: with less it is at most held up by what else runs there.
const OWN: u16 = 200;

/// Below this share, in thousandths, nothing was the limit: several stages were about as slow.
const CLEAR: u16 = 400;

fn bottleneck(sender: &Spent, receiver: &Spent) -> Option<Verdict> {
    let share_of = |spent: &Spent, stages: &[Stage]| {
        // What a thread without work did is no part of the work.
        let all: u64 = spent.nanos.iter().fold(0, |sum, nanos| sum.saturating_add(*nanos));
        let all = all.saturating_sub(spent.of(Stage::Wait));
        let these = stages.iter().fold(0, |sum: u64, stage| sum.saturating_add(spent.of(*stage)));
        // Times of weeks in nanoseconds fit 128 bits a thousand times over.
        (u128::from(these) * 1000).checked_div(all.into()).map_or(0, |share| share.min(1000) as u16)
    };
    for (bottleneck, end) in [(Bottleneck::Limit, sender), (Bottleneck::ReceiverLimit, receiver)] {
        let share = share_of(end, &[Stage::Limit]);
        if share >= CLEAR {
            return Some(Verdict { bottleneck, share });
        }
    }
    let busy = [(Bottleneck::ReceiverCpu, receiver.busy), (Bottleneck::SenderCpu, sender.busy)];
    let without_rest = busy.into_iter().filter_map(|(which, busy)| {
        busy.filter(|busy| busy.machine >= BUSY && busy.own >= OWN).map(|busy| (which, busy.machine))
    });
    if let Some((bottleneck, share)) = without_rest.max_by_key(|(_, share)| *share) {
        return Some(Verdict { bottleneck, share });
    }
    let waits = share_of(sender, &[Stage::Send]).min(share_of(receiver, &[Stage::Receive]));
    let shares = [
        (Bottleneck::Source, share_of(sender, &[Stage::Read])),
        (Bottleneck::SenderCpu, share_of(sender, &[Stage::Hash, Stage::Compress, Stage::Seal])),
        (Bottleneck::Network, waits),
        (Bottleneck::ReceiverCpu, share_of(receiver, &[Stage::Open, Stage::Decompress, Stage::Hash])),
        (Bottleneck::Destination, share_of(receiver, &[Stage::Write, Stage::Read])),
    ];
    let (bottleneck, share) = shares.into_iter().max_by_key(|(_, share)| *share)?;
    (share >= CLEAR).then_some(Verdict { bottleneck, share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stage_times::{Busy, STAGES};

    fn spent(machine: Option<u16>, times: &[(Stage, u64)]) -> Spent {
        let busy = machine.map(|machine| Busy { machine, own: 400 });
        let mut nanos = [0; STAGES];
        times.iter().for_each(|(stage, time)| nanos[*stage as usize] = *time);
        Spent { nanos, busy }
    }

    fn judged(sender: &Spent, receiver: &Spent) -> Option<(Bottleneck, u16)> {
        bottleneck(sender, receiver).map(|verdict| (verdict.bottleneck, verdict.share))
    }

    #[test]
    fn the_stage_without_rest_is_the_limit() {
        let sending = spent(Some(300), &[(Stage::Send, 950), (Stage::Read, 30), (Stage::Hash, 20)]);
        let receiving = spent(Some(300), &[(Stage::Receive, 940), (Stage::Write, 60)]);
        assert_eq!(judged(&sending, &receiving), Some((Bottleneck::Network, 940)));
        let writing = spent(Some(300), &[(Stage::Receive, 70), (Stage::Write, 930)]);
        assert_eq!(judged(&sending, &writing), Some((Bottleneck::Destination, 930)));
        let reading = spent(None, &[(Stage::Read, 900), (Stage::Send, 100)]);
        assert_eq!(judged(&reading, &receiving), Some((Bottleneck::Source, 900)));
        let hashing = spent(None, &[(Stage::Hash, 500), (Stage::Seal, 300), (Stage::Send, 200)]);
        assert_eq!(judged(&hashing, &receiving), Some((Bottleneck::SenderCpu, 800)));
        let opening = spent(None, &[(Stage::Hash, 500), (Stage::Open, 300), (Stage::Receive, 200)]);
        assert_eq!(judged(&sending, &opening), Some((Bottleneck::ReceiverCpu, 800)));
    }

    #[test]
    fn a_rate_that_the_user_has_set_comes_first_and_cpus_without_rest_come_next() {
        let limited = spent(Some(990), &[(Stage::Limit, 800), (Stage::Send, 200)]);
        let waiting = spent(Some(990), &[(Stage::Receive, 1000)]);
        assert_eq!(judged(&limited, &waiting), Some((Bottleneck::Limit, 800)));
        let sending = spent(Some(950), &[(Stage::Send, 1000)]);
        assert_eq!(
            judged(&sending, &spent(Some(990), &[(Stage::Receive, 1)])),
            Some((Bottleneck::ReceiverCpu, 990))
        );
        assert_eq!(
            judged(&sending, &spent(Some(100), &[(Stage::Receive, 1)])),
            Some((Bottleneck::SenderCpu, 950))
        );
    }

    #[test]
    fn cpus_that_others_keep_busy_are_not_the_limit() {
        let sending = Spent {
            busy: Some(Busy { machine: 990, own: 50 }),
            ..spent(None, &[(Stage::Send, 950), (Stage::Read, 50)])
        };
        let receiving = spent(Some(100), &[(Stage::Receive, 1000)]);
        assert_eq!(judged(&sending, &receiving), Some((Bottleneck::Network, 950)));
    }

    #[test]
    fn where_nothing_stands_out_or_nothing_was_done_there_is_no_limit() {
        let even = spent(None, &[(Stage::Read, 300), (Stage::Hash, 350), (Stage::Send, 350)]);
        let also = spent(None, &[(Stage::Receive, 390), (Stage::Write, 310), (Stage::Open, 300)]);
        assert_eq!(judged(&even, &also), None);
        assert_eq!(judged(&Spent::default(), &Spent::default()), None);
        let huge = Spent { nanos: [u64::MAX; STAGES], busy: None };
        assert_eq!(judged(&huge, &huge), None);
    }
}
