//! What is to be seen of a transfer at one moment, in words.

#[cfg(test)]
use std::time::Duration;

use super::meter::{Doing, Reading};
use crate::session::snapshot::UnderWay;
use crate::units;

/// One transfer at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub who: Who,
    pub named: bool,
    pub receives: bool,
    pub reading: Reading,
    /// Bytes that are where they belong, also those that were there already.
    pub arrived: u64,
    /// Nothing while nobody knows.
    pub total: Option<u64>,
    /// Files that have an outcome, and all there are, where somebody knows.
    pub files: (u64, Option<u64>),
    pub under_way: Option<UnderWay>,
}

/// A machine, with whatever names it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub name: Option<String>,
    pub address: String,
}

impl Who {
    /// The name, or without one the address.
    pub fn short(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.address)
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.address),
            None => f.write_str(&self.address),
        }
    }
}

impl View {
    /// What is being done.
    pub fn doing(&self) -> &'static str {
        match (self.reading.doing, self.receives) {
            (Doing::Comparing, _) => "comparing",
            (Doing::Both, _) => "updating",
            (Doing::Moving, false) => "sending",
            (Doing::Moving, true) => "receiving",
            (Doing::Waiting, _) => "connecting",
        }
    }

    /// Whole ones only, and not all of them before the end.
    pub fn percent(&self) -> Option<u64> {
        self.total.map(|total| percent_of(self.arrived, total).min(99))
    }

    /// `49%`, or so many bytes while nobody knows how many there will be.
    pub fn reached(&self) -> String {
        self.percent().map_or_else(|| units::bytes(self.arrived), |percent| format!("{percent}%"))
    }

    /// `2.00/4.00 GB`.
    pub fn bytes(&self) -> Option<String> {
        self.total.map(|total| units::part(self.arrived.min(total), total))
    }

    /// How fast it goes, or that it does not.
    pub fn speed(&self) -> Option<String> {
        self.speed_or(&format!("no answer from {}", self.who.short()))
    }

    /// The same in fewer words.
    pub fn speed_in_short(&self) -> Option<String> {
        self.speed_or("no answer")
    }

    fn speed_or(&self, silence: &str) -> Option<String> {
        let Reading { doing, rate, stalled, .. } = self.reading;
        match stalled {
            Some(time) => Some(format!("{silence} for {} s", time.as_secs())),
            None => rate.filter(|_| doing != Doing::Waiting).map(units::rate_of),
        }
    }

    pub fn left(&self) -> Option<String> {
        self.reading.left.map(|left| format!("{} left", units::until(left)))
    }
}

pub fn percent_of(n: u64, of: u64) -> u64 {
    let percent = (u128::from(n.min(of)) * 100).checked_div(of.into()).unwrap_or(0);
    u64::try_from(percent).unwrap_or(100)
}

#[cfg(test)]
impl View {
    /// Half of 4 GB from ann, at a steady rate.
    pub fn half_way() -> View {
        View {
            who: Who { name: Some("ann".into()), address: "192.168.1.20".into() },
            named: false,
            receives: false,
            reading: Reading {
                doing: Doing::Moving,
                rate: Some(1.17e9),
                left: Some(Duration::from_secs(125)),
                stalled: None,
            },
            arrived: 1_999_999_999,
            total: Some(4_000_000_000),
            files: (0, None),
            under_way: None,
        }
    }
}
