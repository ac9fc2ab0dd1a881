//! The server, as far as requests go: what it serves, to whom, and what it has counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::access::Access;
use super::body::Pool;
use super::bounds::Rates;
use super::hashes::Known;
use super::hosts::Hosts;
use super::place::Place;
use super::refused::{Refused, Stored};
use super::stats::{Counters, Observer, Sums};
use super::upload::Uploads;
use crate::name::RelativePath;

/// Folders that are sent as tar files at once: each has a thread.
const ARCHIVES_MAX: usize = 16;

/// What clients may do.
#[derive(Debug)]
pub struct Rights {
    /// Have what is served.
    pub get: bool,
    /// Put files where these go.
    pub put: Option<Arc<Uploads>>,
    /// Whether names that begin with a dot may be put.
    pub hidden: bool,
}

impl Rights {
    /// The methods that are of use, for `Allow`.
    pub(super) fn methods(&self) -> &'static str {
        match (self.get, &self.put) {
            (_, None) => "GET, HEAD",
            (true, Some(_)) => "GET, HEAD, PUT",
            (false, Some(_)) => "PUT",
        }
    }
}

/// The server, as far as requests go.
pub struct Site {
    pub(super) place: Arc<Place>,
    pub(super) rights: Rights,
    pub(super) access: Access,
    pub(super) hosts: Hosts,
    /// Whether it is asked over TLS.
    pub(super) secure: bool,
    pub(super) rates: Rates,
    pub(super) known: Known,
    pub counters: Arc<Counters>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) pool: Arc<Pool>,
    pub(super) archives: Arc<Semaphore>,
    pub(super) started: Instant,
}

impl Site {
    #[must_use]
    pub fn new(
        place: Place,
        rights: Rights,
        access: Access,
        hosts: Hosts,
        secure: bool,
        rates: Rates,
        observer: Arc<dyn Observer>,
    ) -> Site {
        Site {
            place: Arc::new(place),
            rights,
            access,
            hosts,
            secure,
            rates,
            known: Known::default(),
            counters: Arc::default(),
            observer,
            pool: Arc::default(),
            archives: Arc::new(Semaphore::new(ARCHIVES_MAX)),
            started: Instant::now(),
        }
    }

    /// Whether a file may be put under this name.
    pub(super) fn check_name(&self, path: &RelativePath) -> Result<(), Refused> {
        match !self.rights.hidden && path.names().any(|name| name.starts_with(b".")) {
            true => Err(Refused::Hidden),
            false => Ok(()),
        }
    }

    /// Counts and tells of a file that was put here.
    pub(super) fn note(&self, peer: IpAddr, stored: &Stored) {
        if !stored.published.existed {
            self.counters.stored_files.fetch_add(1, Ordering::Relaxed);
            self.counters.stored_bytes.fetch_add(stored.size, Ordering::Relaxed);
        }
        self.observer.stored(peer, stored);
    }

    pub(super) fn sums(&self) -> Sums {
        let waiting = self.rights.put.as_ref().map_or(0, |uploads| uploads.waiting());
        Sums { uploads_waiting: waiting as u64, ..self.counters.read(self.started) }
    }
}
