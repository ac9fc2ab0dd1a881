//! Looking for receivers, or for web servers.

use std::collections::HashMap;
use std::future::pending;

use if_addrs::IfAddr;
use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, sleep_until, timeout};

use super::record::Sighting;
use super::service::{DiscoveryError, Kind, daemon, overgrown, stop};
use crate::limits::{FOUND_MAX, HEARD_LOOK};

/// What has changed on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A receiver is there, or says something else than before. The text tells receivers apart and is not for
    /// showing.
    Here(String, Sighting),
    /// One that was there has said goodbye, or does not answer any more.
    Gone(String),
}

/// Looks for those of one kind until it is dropped.
pub struct Browse {
    daemon: ServiceDaemon,
    /// None once looking has ended, as too much was said.
    events: Option<Receiver<ServiceEvent>>,
    look_at: Instant,
    seen: Seen,
}

impl Browse {
    /// Begins to look.
    ///
    /// # Errors
    /// A thread or a descriptor cannot be had.
    pub fn start(kind: Kind) -> Result<Browse, DiscoveryError> {
        let daemon = daemon()?;
        let events = daemon.browse(kind.service()).inspect_err(|_| drop(stop(&daemon)))?;
        Ok(Browse {
            daemon,
            events: Some(events),
            look_at: Instant::now() + HEARD_LOOK,
            seen: Seen { kind, here: HashMap::new() },
        })
    }

    /// Waits for the next change. Nothing is lost when this is dropped before it is ready. Where too much is
    /// said on the network, this is told once and nothing changes any more.
    pub async fn next(&mut self) -> Change {
        while let Some(events) = &self.events {
            tokio::select! {
                event = events.recv_async() => match event {
                    Ok(event) => if let Some(change) = self.seen.hear(event) {
                        return change;
                    },
                    // More came at once than anybody could take.
                    Err(_) => self.end(),
                },
                () = sleep_until(self.look_at) => {
                    self.look_at = Instant::now() + HEARD_LOOK;
                    if self.is_overgrown().await {
                        self.end();
                    }
                }
            }
        }
        pending().await
    }

    async fn is_overgrown(&self) -> bool {
        let Ok(counts) = self.daemon.get_metrics() else { return true };
        match timeout(HEARD_LOOK, counts.recv_async()).await {
            Ok(Ok(counts)) => overgrown(&counts),
            _ => true,
        }
    }

    fn end(&mut self) {
        tracing::warn!("too much is announced on this network, so receivers are no longer looked for");
        self.events = None;
        drop(stop(&self.daemon));
    }

    /// All that are there now, by name.
    pub fn here(&self) -> Vec<&Sighting> {
        let mut here: Vec<&Sighting> = self.seen.here.values().collect();
        here.sort_by(|a, b| (&a.name, &a.addrs).cmp(&(&b.name, &b.addrs)));
        here
    }
}

impl Drop for Browse {
    fn drop(&mut self) {
        // Nobody hears of it, so nobody waits for it.
        drop(stop(&self.daemon));
    }
}

/// The networks that this machine is on.
fn networks() -> Vec<IfAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter().map(|interface| interface.addr).collect()
}

/// Those that are there; past [`FOUND_MAX`] none is taken in.
struct Seen {
    kind: Kind,
    here: HashMap<String, Sighting>,
}

impl Seen {
    fn hear(&mut self, event: ServiceEvent) -> Option<Change> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let sighting = Sighting::read(self.kind, &service, networks)?;
                let id = service.fullname;
                let known = self.here.get(&id);
                if known == Some(&sighting) || (known.is_none() && self.here.len() >= FOUND_MAX) {
                    return None;
                }
                self.here.insert(id.clone(), sighting.clone());
                Some(Change::Here(id, sighting))
            }
            ServiceEvent::ServiceRemoved(_, id) => self.here.remove(&id).map(|_| Change::Gone(id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    fn resolved(name: &str, port: u16) -> ServiceEvent {
        let service =
            ServiceInfo::new(Kind::Receiver.service(), name, "x.local.", "10.0.0.5", port, &[("v", "1")][..])
                .unwrap();
        ServiceEvent::ServiceResolved(Box::new(service.as_resolved_service()))
    }

    fn removed(name: &str) -> ServiceEvent {
        let service = Kind::Receiver.service();
        ServiceEvent::ServiceRemoved(service.into(), format!("{name}.{service}"))
    }

    #[test]
    fn the_networks_of_this_machine_are_known() {
        assert!(networks().iter().any(|network| network.ip().is_loopback()));
    }

    #[test]
    fn what_is_said_again_is_no_news() {
        let mut seen = Seen { kind: Kind::Receiver, here: HashMap::new() };
        assert!(matches!(seen.hear(resolved("nas", 1)), Some(Change::Here(..))));
        assert_eq!(seen.hear(resolved("nas", 1)), None);
        assert!(
            matches!(seen.hear(resolved("nas", 2)), Some(Change::Here(_, sighting)) if sighting.port == 2)
        );
        assert_eq!(seen.hear(removed("attic")), None);
        assert!(matches!(seen.hear(removed("nas")), Some(Change::Gone(_))));
        assert_eq!(seen.hear(removed("nas")), None);
    }

    #[test]
    fn of_a_flood_no_more_receivers_are_kept_than_can_be_shown() {
        let mut seen = Seen { kind: Kind::Receiver, here: HashMap::new() };
        for number in 0..10_000 {
            seen.hear(resolved(&format!("nas {number}"), 1));
        }
        assert_eq!(seen.here.len(), FOUND_MAX);
        assert!(matches!(seen.hear(removed("nas 0")), Some(Change::Gone(_))));
        assert!(matches!(seen.hear(resolved("attic", 1)), Some(Change::Here(..))));
    }
}
