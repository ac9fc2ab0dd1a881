//! The figures of `lanx doctor`, as events have them.

use std::time::Duration;

use serde::Serialize;

use super::results::to_the_microsecond;
use super::units;

/// How fast one part is.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Figure {
    pub what: &'static str,
    pub bytes_per_second: u64,
    /// What was moved, and in what time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u8>,
    /// Of a disk: whether it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,
    /// Of a machine, each of which is so fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
}

impl Figure {
    pub fn moved(what: &'static str, bytes: u64, time: Duration) -> Figure {
        let bytes_per_second = units::per_second(bytes, time) as u64;
        let seconds = Some(to_the_microsecond(time));
        Figure { what, bytes_per_second, bytes: Some(bytes), seconds, ..Figure::default() }
    }

    pub fn of_core(what: &'static str, bytes_per_second: u64, cores: u32) -> Figure {
        Figure { what, bytes_per_second, cores: Some(cores), ..Figure::default() }
    }
}

/// A rate to be expected, and what keeps it from being higher.
#[derive(Serialize, Clone, Copy)]
pub struct Prospect {
    bytes_per_second: u64,
    limit: &'static str,
}

impl Prospect {
    pub fn new(rate: f64, limit: &'static str) -> Prospect {
        Prospect { bytes_per_second: rate as u64, limit }
    }
}
