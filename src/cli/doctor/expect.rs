//! What a transfer is to be expected to reach, and what holds it up, from what was measured.

use std::fmt;

use crate::session::cpu_speed::Speeds;

/// What was measured, in bytes a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub disk_write: Option<f64>,
    pub disk_read: Option<f64>,
    pub here: Option<Speeds>,
    /// What the other machine says of itself.
    pub there: Option<Speeds>,
    /// By number of connections.
    pub network: Vec<(u8, f64)>,
    /// Both ends share the cores of one machine.
    pub same_machine: bool,
}

/// What is slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    DiskRead,
    DiskWrite,
    CpuHere,
    CpuThere,
    Network,
}

impl Limit {
    /// For scripts.
    pub fn name(self) -> &'static str {
        match self {
            Limit::DiskRead => "disk_read",
            Limit::DiskWrite => "disk_write",
            Limit::CpuHere => "cpu",
            Limit::CpuThere => "peer_cpu",
            Limit::Network => "network",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Limit::DiskRead => "reading from this machine's disk",
            Limit::DiskWrite => "writing to this machine's disk",
            Limit::CpuHere => "this machine's CPU",
            Limit::CpuThere => "the other machine's CPU",
            Limit::Network => "the network",
        })
    }
}

/// A rate in bytes a second, and what keeps it from being higher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub rate: f64,
    pub limit: Limit,
}

impl Figures {
    /// The fastest that the network was, and over how many connections; fewer where more bring nothing.
    pub fn best_network(&self) -> Option<(u8, f64)> {
        let most = self.network.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        self.network.iter().find(|(_, rate)| *rate >= WORTH_MORE * most).copied()
    }

    /// What a transfer from this machine reaches. Without a network that was measured: what this machine can
    /// do.
    pub fn sending(&self) -> Option<Expected> {
        let network = self.best_network();
        let threads = network.map(|(connections, _)| connections);
        slowest([
            (self.disk_read, Limit::DiskRead),
            (network.map(|(_, rate)| rate), Limit::Network),
            (self.cpu(self.here, threads), Limit::CpuHere),
            (self.cpu(self.there, threads), Limit::CpuThere),
        ])
    }

    /// What a transfer to this machine reaches, as far as this machine goes.
    pub fn receiving(&self) -> Option<Expected> {
        slowest([(self.disk_write, Limit::DiskWrite), (self.cpu(self.here, None), Limit::CpuHere)])
    }

    /// What the cores of one end hash and seal, with a thread for each connection.
    fn cpu(&self, speeds: Option<Speeds>, connections: Option<u8>) -> Option<f64> {
        let Speeds { hash, seal, cores } = speeds.filter(|speeds| speeds.hash > 0 && speeds.seal > 0)?;
        let cores = f64::from(cores.max(1)) / if self.same_machine { 2.0 } else { 1.0 };
        let threads = connections.map_or(cores, |connections| cores.min(connections.into()));
        Some(threads / (1.0 / hash as f64 + 1.0 / seal as f64))
    }
}

/// More connections are worth naming where they are so much faster: they were measured one after another, and
/// no two moments of a network are alike.
const WORTH_MORE: f64 = 0.95;

/// The first of the slowest.
fn slowest<const N: usize>(rates: [(Option<f64>, Limit); N]) -> Option<Expected> {
    let rates = rates.into_iter().filter_map(|(rate, limit)| Some(Expected { rate: rate?, limit }));
    rates.reduce(|a, b| if b.rate < a.rate { b } else { a })
}

// The figures of `lanx doctor`, as events have them.

#[cfg(test)]
mod tests {
    use super::*;

    fn fast() -> Figures {
        let cpu = Speeds { hash: 4_000_000_000, seal: 4_000_000_000, cores: 4 };
        Figures {
            disk_write: Some(9e9),
            disk_read: Some(9e9),
            here: Some(cpu),
            there: Some(cpu),
            network: vec![(1, 1.1e9), (2, 1.17e9), (4, 1.18e9), (8, 1.1e9)],
            same_machine: false,
        }
    }

    fn limit(figures: &Figures) -> (f64, Limit) {
        let expected = figures.sending().unwrap();
        // Sums of fractions are a hair off.
        (expected.rate.round(), expected.limit)
    }

    #[test]
    fn the_slowest_part_is_the_limit() {
        assert_eq!(limit(&fast()), (1.17e9, Limit::Network));
        assert_eq!(limit(&Figures { disk_read: Some(2e8), ..fast() }), (2e8, Limit::DiskRead));
        let weak = Speeds { hash: 500_000_000, seal: 500_000_000, cores: 2 };
        assert_eq!(limit(&Figures { here: Some(weak), ..fast() }), (5e8, Limit::CpuHere));
        assert_eq!(limit(&Figures { there: Some(weak), ..fast() }), (5e8, Limit::CpuThere));
        // What was not measured limits nothing.
        let alone = Figures { network: vec![], there: None, ..fast() };
        assert_eq!(limit(&alone), (8e9, Limit::CpuHere));
        assert_eq!(alone.receiving().map(|expected| expected.limit), Some(Limit::CpuHere));
        let slow = Figures { disk_write: Some(1e8), ..alone };
        assert_eq!(slow.receiving(), Some(Expected { rate: 1e8, limit: Limit::DiskWrite }));
        assert_eq!(Figures::default().sending(), None);
    }

    #[test]
    fn no_more_cores_work_than_there_are_connections_and_two_ends_share_one_machine() {
        let single = Figures { network: vec![(1, 5e9)], ..fast() };
        assert_eq!(limit(&single), (2e9, Limit::CpuHere));
        let both = Figures { network: vec![(8, 9e9)], same_machine: true, ..fast() };
        assert_eq!(limit(&both), (4e9, Limit::CpuHere));
    }

    #[test]
    fn fewer_connections_are_named_where_more_bring_nothing() {
        assert_eq!(fast().best_network(), Some((2, 1.17e9)));
        let long = Figures { network: vec![(1, 1e8), (2, 2e8), (4, 4e8), (8, 8e8)], ..fast() };
        assert_eq!(long.best_network(), Some((8, 8e8)));
    }

    #[test]
    fn a_peer_that_claims_nothing_or_too_much_breaks_nothing() {
        for speeds in [(0, 0, 0), (u64::MAX, u64::MAX, u32::MAX), (1, u64::MAX, 0)] {
            let there = Some(Speeds { hash: speeds.0, seal: speeds.1, cores: speeds.2 });
            let rate = Figures { there, ..fast() }.sending().unwrap().rate;
            assert!(rate.is_finite() && rate > 0.0, "{speeds:?}: {rate}");
        }
    }
}
