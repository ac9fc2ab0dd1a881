//! The service that is announced and looked for, and the thread that does it.

use std::collections::HashMap;

use mdns_sd::{DaemonStatus, IfKind, Receiver, ServiceDaemon};

use crate::limits::HEARD_MAX;

/// Timers that weigh as much as a record: 16 bytes each. Every record that is heard makes two, also if it was
/// known.
const TIMERS_PER_RECORD: i64 = 16;

/// What one announces, or looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lanx recv`.
    Receiver,
    /// `lanx serve`.
    Web,
}

impl Kind {
    /// The service, as DNS-SD calls it.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Kind::Receiver => "_lanx._tcp.local.",
            Kind::Web => "_lanx-web._tcp.local.",
        }
    }
}

/// In TXT: the version of the protocol.
pub(super) const TXT_VERSION: &str = "v";

/// In TXT: the fingerprint of the receiver's key.
pub(super) const TXT_KEY: &str = "key";

/// In TXT, with the value 1: senders may come over QUIC as well.
pub(super) const TXT_QUIC: &str = "quic";

/// In TXT of a web server: `https` or `http`.
pub(super) const TXT_SCHEME: &str = "scheme";

/// Why nobody can be found here.
#[derive(Debug, thiserror::Error)]
#[error("nobody can be looked for here: {0}; name the other machine by its address")]
pub struct DiscoveryError(#[from] mdns_sd::Error);

/// Starts the thread, on all interfaces but loopback.
pub(super) fn daemon() -> Result<ServiceDaemon, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    daemon
        .disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])
        .inspect_err(|_| drop(stop(&daemon)))?;
    Ok(daemon)
}

/// Has the thread say goodbye and end; how soon it did, the receiver tells.
pub(super) fn stop(daemon: &ServiceDaemon) -> Option<Receiver<DaemonStatus>> {
    daemon.shutdown().inspect_err(|error| tracing::debug!("the mDNS thread is gone: {error}")).ok()
}

/// Whether the thread holds more of what others say than it should: by its own counts of records, names and
/// timers.
pub(super) fn overgrown(counts: &HashMap<String, i64>) -> bool {
    let held = |(name, n): (&String, &i64)| match name.as_str() {
        "timer" => n / TIMERS_PER_RECORD,
        name if name.starts_with("cached-") || name.starts_with("dns-registry-") => *n,
        _ => 0,
    };
    counts.iter().map(held).fold(0, i64::saturating_add) > HEARD_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_and_what_was_done_does_not() {
        let counts = |names: &[&str], n| names.iter().map(|name| ((*name).to_owned(), n)).collect();
        assert!(!overgrown(&HashMap::new()));
        assert!(!overgrown(&counts(&["cached-ptr", "dns-registry-probe"], HEARD_MAX / 2)));
        assert!(overgrown(&counts(&["cached-ptr", "cached-txt", "dns-registry-probe"], HEARD_MAX / 2)));
        assert!(!overgrown(&counts(&["timer"], HEARD_MAX * TIMERS_PER_RECORD)));
        assert!(overgrown(&counts(&["timer"], (HEARD_MAX + 1) * TIMERS_PER_RECORD)));
        assert!(!overgrown(&counts(&["respond", "browse", "cache-refresh-ptr"], HEARD_MAX * 2)));
    }
}
