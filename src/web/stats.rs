//! What was asked for and what was sent: counted as it happens, told to whoever watches.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::refused::Stored;

/// A request that has its answer.
#[derive(Clone, Debug)]
pub struct Answered {
    pub peer: IpAddr,
    pub method: String,
    /// What was asked for, without the query, where a token may stand. As it came.
    pub path: String,
    pub status: u16,
    /// Bytes of the answer, without its head, that were handed to the connection.
    pub bytes: u64,
    /// Whether these are all that the head told of.
    pub complete: bool,
    pub took: Duration,
}

/// Hears of requests. Called where bytes move: it must be quick.
pub trait Observer: Send + Sync {
    /// An answer of so many bytes begins. What is returned is told what of it was sent.
    fn begins(&self, peer: IpAddr, bytes: u64) -> Option<Arc<dyn Sent>>;
    /// A file was put here.
    fn stored(&self, peer: IpAddr, stored: &Stored);
    /// An answer is over, of which the head told so many bytes.
    fn answered(&self, answered: &Answered, promised: u64);
}

/// Hears of one answer.
pub trait Sent: Send + Sync {
    /// So many bytes were handed to the connection.
    fn sent(&self, bytes: u64);
}

/// Sums since the server was started.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections: AtomicU64,
    pub refused: AtomicU64,
    pub open: AtomicU64,
    requests: AtomicU64,
    active: AtomicU64,
    bytes: AtomicU64,
    /// Files that were put here, and bytes in them.
    pub stored_files: AtomicU64,
    pub stored_bytes: AtomicU64,
    /// By the first digit of their status: 2xx to 5xx.
    by_class: [AtomicU64; 4],
    short: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sums {
    pub uptime_seconds: u64,
    /// Connections that came, that were sent away because there were too many, and that are open.
    pub connections: u64,
    pub connections_refused: u64,
    pub connections_open: u64,
    pub requests: u64,
    /// Answers under way.
    pub requests_active: u64,
    pub sent_bytes: u64,
    pub stored_files: u64,
    pub stored_bytes: u64,
    /// Uploads that wait for their turn.
    pub uploads_waiting: u64,
    pub status_2xx: u64,
    pub status_3xx: u64,
    pub status_4xx: u64,
    pub status_5xx: u64,
    /// Answers that ended before all that their head told of was sent.
    pub short: u64,
}

impl Counters {
    #[must_use]
    pub fn read(&self, since: Instant) -> Sums {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [ok, redirected, refused, failed] = &self.by_class;
        Sums {
            uptime_seconds: since.elapsed().as_secs(),
            connections: read(&self.connections),
            connections_refused: read(&self.refused),
            connections_open: read(&self.open),
            requests: read(&self.requests),
            requests_active: read(&self.active),
            sent_bytes: read(&self.bytes),
            stored_files: read(&self.stored_files),
            stored_bytes: read(&self.stored_bytes),
            uploads_waiting: 0,
            status_2xx: read(ok),
            status_3xx: read(redirected),
            status_4xx: read(refused),
            status_5xx: read(failed),
            short: read(&self.short),
        }
    }
}

impl Sums {
    /// For Prometheus, in the text format 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut page = String::new();
        let mut add = |name: &str, kind: &str, help: &str, value: u64| {
            page += &format!(
                "# HELP lanx_web_{name} {help}\n# TYPE lanx_web_{name} {kind}\nlanx_web_{name} {value}\n"
            );
        };
        add("uptime_seconds", "gauge", "How long the server has run", self.uptime_seconds);
        add("connections_total", "counter", "Connections that came", self.connections);
        add(
            "connections_refused_total",
            "counter",
            "Connections that were too many",
            self.connections_refused,
        );
        add("connections_open", "gauge", "Connections that are open", self.connections_open);
        add("requests_total", "counter", "Requests that were answered", self.requests);
        add("requests_active", "gauge", "Answers under way", self.requests_active);
        add("sent_bytes_total", "counter", "Bytes of answers", self.sent_bytes);
        add("stored_files_total", "counter", "Files that were put here", self.stored_files);
        add("stored_bytes_total", "counter", "Bytes in the files that were put here", self.stored_bytes);
        add("uploads_waiting", "gauge", "Uploads that wait for their turn", self.uploads_waiting);
        add("answers_2xx_total", "counter", "Answers that gave what was asked for", self.status_2xx);
        add("answers_3xx_total", "counter", "Answers that led elsewhere", self.status_3xx);
        add("answers_4xx_total", "counter", "Answers that refused", self.status_4xx);
        add("answers_5xx_total", "counter", "Answers that failed", self.status_5xx);
        add("answers_short_total", "counter", "Answers that ended before their end", self.short);
        page
    }
}

/// Counts one answer, and tells of it when it is dropped.
pub struct Meter {
    counters: Arc<Counters>,
    observer: Arc<dyn Observer>,
    answered: Answered,
    sent: Option<Arc<dyn Sent>>,
    began: Instant,
    promised: u64,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.answered.fmt(f)
    }
}

impl Meter {
    /// Begins with an answer whose head tells of so many bytes.
    pub fn new(
        counters: &Arc<Counters>,
        observer: &Arc<dyn Observer>,
        answered: Answered,
        began: Instant,
        promised: u64,
    ) -> Meter {
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.active.fetch_add(1, Ordering::Relaxed);
        let sent = observer.begins(answered.peer, promised);
        let answered = Answered { complete: promised == 0, ..answered };
        Meter { counters: counters.clone(), observer: observer.clone(), answered, sent, began, promised }
    }

    /// So many bytes were handed to the connection; `all` of them, or not.
    pub fn sent(&mut self, bytes: u64, all: bool) {
        self.answered.bytes = self.answered.bytes.saturating_add(bytes);
        self.answered.complete |= all;
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(sent) = &self.sent {
            sent.sent(bytes);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.answered.took = self.began.elapsed();
        self.counters.active.fetch_sub(1, Ordering::Relaxed);
        let class = usize::from(self.answered.status / 100).checked_sub(2);
        if let Some(counter) = class.and_then(|class| self.counters.by_class.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if !self.answered.complete {
            self.counters.short.fetch_add(1, Ordering::Relaxed);
        }
        self.observer.answered(&self.answered, self.promised);
    }
}
