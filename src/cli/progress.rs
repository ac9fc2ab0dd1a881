//! Progress on a terminal: bytes that the receiver has written, never bytes queued.

use std::io::IsTerminal;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::limits::{PROGRESS_INTERVAL, WORKER_STACK_BYTES};
use crate::session::Progress;

const TEMPLATE: &str = "{prefix}{bar:24} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  eta {eta}";

/// A bar that follows a session until it is dropped. There is none where stderr is no terminal.
pub struct Bar {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bar {
    /// Shows `progress`, which is to reach `total` bytes; what is offered so far where nobody knows the total.
    pub fn follow(progress: Arc<Progress>, total: Option<u64>, prefix: String, quiet: bool) -> Bar {
        if quiet || !std::io::stderr().is_terminal() {
            return Bar { running: None };
        }
        let bar = output::bars().add(ProgressBar::new(total.unwrap_or(0)));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_prefix(prefix);
        let (stop, stopped) = bounded::<()>(0);
        let follow = move || {
            // Ends when the other end of the channel is dropped.
            while stopped.recv_timeout(PROGRESS_INTERVAL).is_err_and(|e| e.is_timeout()) {
                bar.set_length(total.unwrap_or_else(|| Progress::get(&progress.offered)));
                bar.set_position(progress.arrived());
            }
            bar.finish_and_clear();
            output::bars().remove(&bar);
        };
        let thread =
            thread::Builder::new().name("progress".into()).stack_size(4 * WORKER_STACK_BYTES).spawn(follow);
        Bar { running: thread.ok().map(|thread| (stop, thread)) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
