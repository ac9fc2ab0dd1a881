//! The events of one session, in their order: start, then progress and files, then done or an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use super::exit::Exit;
use super::json::{self, Event, Reached, Whom};
use super::results::{File, Sum};
use crate::limits::{PROGRESS_EVENT_INTERVAL, PROGRESS_INTERVAL, WORKER_STACK_BYTES};
use crate::session::Progress;

/// Writes the events of one session.
pub struct SessionEvents {
    session: Option<u64>,
    peer: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    started: bool,
    reached: Reached,
}

impl SessionEvents {
    /// `session` is its number at a receiver.
    pub fn new(session: Option<u64>, peer: String) -> SessionEvents {
        SessionEvents { session, peer, state: Mutex::default() }
    }

    fn whom(&self) -> Whom<'_> {
        Whom { session: self.session, peer: Some(&self.peer) }
    }

    /// Writes the start, unless that was done before. `addr` is where a sender reached its receiver.
    pub fn start(&self, addr: Option<SocketAddr>) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.started, true) {
            // Under the lock: nobody else may speak before it is written.
            json::write(&Event::Start { whom: self.whom(), addr });
        }
    }

    pub fn file(&self, file: File) {
        json::write(&Event::File { whom: self.whom(), file });
    }

    pub fn lost(&self, message: &str, retry_for: Duration) {
        json::write(&Event::Lost { whom: self.whom(), message, retry_for: retry_for.as_secs() });
    }

    pub fn done(&self, sum: Sum) {
        json::write(&Event::Done { whom: self.whom(), sum });
    }

    pub fn error(&self, exit: Exit, message: &str, hint: &str) {
        json::error(self.session, Some(&self.peer), exit, message, hint);
    }

    fn progress(&self, progress: &Progress, total: Option<u64>) {
        let now = (Progress::get(&progress.files_done), progress.arrived());
        let total = total.or_else(|| progress.known());
        let mut state = self.state.lock();
        state.reached = state.reached.next(now.0, now.1, total);
        let reached = state.reached;
        drop(state);
        json::write_if_room(&Event::Progress { whom: self.whom(), reached });
    }
}

impl Reached {
    /// What to tell now. After a loss the counters start at the last file that was complete, and the total of a receiver
    /// grows with each offer; what was told stands until there is more. There is no total while a stream has not ended.
    fn next(self, files: u64, bytes: u64, total: Option<u64>) -> Reached {
        let files = self.files.max(files);
        let Some(total) = total else {
            return Reached { files, bytes: self.bytes.max(bytes), total: None, percent: None, ..self };
        };
        let total = self.most.0.max(total).max(self.bytes);
        let bytes = self.bytes.max(bytes.min(total));
        let tenths = if total == 0 { 0 } else { u128::from(bytes) * 1000 / u128::from(total) };
        let percent = self.most.1.max(tenths.min(999) as f64 / 10.0);
        Reached { files, bytes, total: Some(total), percent: Some(percent), most: (total, percent) }
    }
}

/// Tells of a session's progress until it is dropped.
pub struct Ticker {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ticker {
    /// Follows `progress`, which is to reach `total` bytes; what is offered so far where nobody knows the total.
    pub fn follow(events: Arc<SessionEvents>, progress: Arc<Progress>, total: Option<u64>) -> Ticker {
        let (stop, stopped) = bounded::<()>(0);
        let follow = move || {
            // At a receiver a session starts with its first offer: a peer that looks in and leaves is none.
            let mut told = Instant::now();
            while stopped.recv_timeout(PROGRESS_INTERVAL).is_err_and(|e| e.is_timeout()) {
                if total.is_none() && progress.is_idle() {
                    continue;
                }
                events.start(None);
                if told.elapsed() >= PROGRESS_EVENT_INTERVAL {
                    told = Instant::now();
                    events.progress(&progress, total);
                }
            }
        };
        let builder = thread::Builder::new().name("events".into()).stack_size(4 * WORKER_STACK_BYTES);
        let thread = builder.spawn(follow);
        if let Err(error) = &thread {
            tracing::warn!("there will be no progress events: cannot start a thread: {error}");
        }
        Ticker { running: thread.ok().map(|thread| (stop, thread)) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_runs_backwards_whatever_the_counters_do(
            readings in proptest::collection::vec((0..9u64, 0..300u64, proptest::option::of(0..200u64)), 1..50),
        ) {
            let mut before = Reached::default();
            let (mut most, mut furthest) = (0, 0.0);
            for (files, bytes, total) in readings {
                let now = before.next(files, bytes, total);
                prop_assert!(now.files >= before.files && now.bytes >= before.bytes);
                prop_assert_eq!((now.total.is_some(), now.percent.is_some()), (total.is_some(), total.is_some()));
                if let (Some(total), Some(percent)) = (now.total, now.percent) {
                    prop_assert!(total >= most && percent >= furthest);
                    prop_assert!(now.bytes <= total && percent < 100.0);
                    (most, furthest) = (total, percent);
                }
                before = now;
            }
        }
    }

    #[test]
    fn percent_is_in_tenths_and_rounded_down() {
        for (bytes, total, percent) in
            [(0, 0, 0.0), (1, 3, 33.3), (2, 3, 66.6), (9999, 10000, 99.9), (5, 5, 99.9)]
        {
            let reached = Reached::default().next(0, bytes, Some(total));
            assert_eq!(reached.percent, Some(percent), "{bytes} of {total}");
        }
        assert_eq!(Reached::default().next(0, u64::MAX / 2, Some(u64::MAX)).percent, Some(49.9));
    }
}
