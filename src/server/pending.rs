//! Connections that have not shown yet that they belong here.
//!
//! Their number is bounded. When there are too many, one has to go: the one that has taken longest among
//! those of the network that most come from. Whoever belongs is through in milliseconds and comes alone, so a
//! flood from one machine crowds out nobody but itself, however fast it is.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tokio::task::AbortHandle;

use crate::limits::STRANGERS_MAX;
use crate::os::rlimit;
use crate::trust::guesses::network_of;

/// Files that may be open for each stranger: it takes two descriptors, and half of all is for those who
/// belong.
const DESCRIPTORS_PER_STRANGER: u64 = 4;

/// The strangers at one port.
pub(super) struct Strangers {
    most: usize,
    came: u64,
    waiting: BTreeMap<u64, (IpAddr, AbortHandle)>,
}

impl Strangers {
    /// Nobody yet, and room for as many as leave files to open for those who belong.
    pub fn new() -> Strangers {
        Strangers::at_most(rlimit::at_most(STRANGERS_MAX, DESCRIPTORS_PER_STRANGER))
    }

    fn at_most(most: usize) -> Strangers {
        Strangers { most, came: 0, waiting: BTreeMap::new() }
    }

    /// Makes room for one more, and gives it a number. Say with [`Strangers::came_in`] what it runs in.
    pub fn announce(&mut self) -> u64 {
        if self.waiting.len() >= self.most {
            self.send_one_away();
        }
        self.came += 1;
        self.came
    }

    pub fn came_in(&mut self, number: u64, address: IpAddr, task: AbortHandle) {
        self.waiting.insert(number, (network_of(address), task));
    }

    /// It belongs here, or is gone.
    pub fn settle(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// Ends all of them.
    pub fn send_all_away(&mut self) {
        std::mem::take(&mut self.waiting).values().for_each(|(_, task)| task.abort());
    }

    /// Ends the oldest of those that come from where most come from. Whether there was one.
    pub fn send_one_away(&mut self) -> bool {
        let mut from: HashMap<IpAddr, usize> = HashMap::new();
        self.waiting.values().for_each(|(network, _)| *from.entry(*network).or_default() += 1);
        let most = from.values().copied().max();
        let crowded = |network: &IpAddr| from.get(network).copied() == most;
        let oldest =
            self.waiting.iter().find(|(_, (network, _))| crowded(network)).map(|(number, _)| *number);
        let sent = oldest.and_then(|number| self.waiting.remove(&number));
        sent.inspect(|(_, task)| task.abort()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Lets one in, and returns what it runs in.
    fn come(strangers: &mut Strangers, from: &str) -> JoinHandle<()> {
        let task = tokio::spawn(pending());
        let number = strangers.announce();
        strangers.came_in(number, address(from), task.abort_handle());
        task
    }

    async fn was_sent_away(task: JoinHandle<()>) -> bool {
        tokio::task::yield_now().await;
        task.is_finished()
    }

    #[tokio::test]
    async fn a_flood_from_one_machine_sends_only_its_own_away() {
        let mut strangers = Strangers::at_most(STRANGERS_MAX);
        let alone = come(&mut strangers, "10.0.0.1");
        let flood: Vec<_> = (0..2 * STRANGERS_MAX).map(|_| come(&mut strangers, "10.0.0.2")).collect();
        let late = come(&mut strangers, "10.0.0.3");
        let more: Vec<_> = (0..STRANGERS_MAX).map(|_| come(&mut strangers, "10.0.0.2")).collect();
        assert_eq!(strangers.waiting.len(), STRANGERS_MAX);
        for one in flood {
            assert!(was_sent_away(one).await);
        }
        assert!(!was_sent_away(alone).await && !was_sent_away(late).await);
        drop(more);
    }

    #[tokio::test]
    async fn the_addresses_of_one_ipv6_network_count_as_one() {
        let mut strangers = Strangers::at_most(STRANGERS_MAX);
        let alone = come(&mut strangers, "fd00:0:0:1::1");
        let flood: Vec<_> =
            (0..STRANGERS_MAX).map(|n| come(&mut strangers, &format!("fd00::{n:x}"))).collect();
        assert!(!was_sent_away(alone).await);
        assert!(was_sent_away(flood.into_iter().next().unwrap()).await);
    }

    #[tokio::test]
    async fn of_many_machines_with_one_each_the_oldest_is_sent_away() {
        let mut strangers = Strangers::at_most(STRANGERS_MAX);
        let come_from = |n: usize| format!("10.0.{}.{}", n / 256, n % 256);
        let mut all: Vec<_> = (0..=STRANGERS_MAX).map(|n| come(&mut strangers, &come_from(n))).collect();
        let last = all.pop().unwrap();
        assert!(was_sent_away(all.remove(0)).await && !was_sent_away(all.remove(0)).await);
        assert!(!was_sent_away(last).await);
    }

    #[tokio::test]
    async fn whoever_was_settled_is_not_sent_away() {
        let mut strangers = Strangers::at_most(STRANGERS_MAX);
        let accepted = come(&mut strangers, "10.0.0.2");
        strangers.settle(strangers.came);
        let _flood: Vec<_> = (0..2 * STRANGERS_MAX).map(|_| come(&mut strangers, "10.0.0.2")).collect();
        assert!(!was_sent_away(accepted).await);
    }
}
