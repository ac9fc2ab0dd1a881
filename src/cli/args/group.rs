//! What several commands have: the headings of their help, and how long they wait.

use std::time::Duration;

use super::values::seconds;
use crate::limits::{RETRY_FOR, SILENCE_TIMEOUT, SILENCE_TIMEOUT_MIN};

// What options are grouped under in the help.
pub const WHAT: &str = "What to send";
pub const FILES: &str = "Files";
pub const DOOR: &str = "Serving";
pub const SPEED: &str = "Speed";
pub const TRUST: &str = "Trust";
pub const PATIENCE: &str = "Waiting";
pub const MEASURED: &str = "What to measure";
pub const OUTPUT: &str = "Output";

/// How long to wait for the other side.
#[derive(clap::Args, Clone, Debug)]
pub struct PatienceArgs {
    /// Give up on a peer silent this long
    ///
    /// From 5 to 86400 seconds.
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = seconds(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    timeout: u64,
    /// Keep trying a lost peer for this long
    ///
    /// With 0 a lost connection ends the transfer at once.
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = RETRY_FOR.as_secs(),
        value_parser = seconds(0..=86_400 * 365))]
    retry_for: u64,
}

impl PatienceArgs {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub fn retry_for(&self) -> Duration {
        Duration::from_secs(self.retry_for)
    }
}
