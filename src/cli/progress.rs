//! Progress on a terminal: bytes that the receiver has written, never bytes queued.

use std::io::IsTerminal;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::limits::{PROGRESS_INTERVAL, WORKER_STACK_BYTES};
use crate::session::Progress;

/// While a stream has not ended nobody knows of how much.
const TEMPLATE_ENDLESS: &str = "{prefix}{msg} {spinner}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}";

const TEMPLATE: &str = "{prefix}{msg} {bar:20} {percent:>3}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  eta {eta}";

/// What the bytes do that were counted last: cross the network, or turn out to be there already.
fn doing(progress: &Progress, kept_before: &mut u64, written_before: &mut u64) -> &'static str {
    let (kept, written) = (Progress::get(&progress.kept), Progress::get(&progress.written));
    let compares = kept != std::mem::replace(kept_before, kept);
    let sends = written != std::mem::replace(written_before, written);
    match (compares, sends) {
        (true, true) => "comparing and sending",
        (true, false) => "comparing",
        _ => "sending",
    }
}

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
        set_template(&bar, TEMPLATE);
        bar.set_prefix(prefix);
        let (stop, stopped) = bounded::<()>(0);
        let follow = move || {
            let (mut kept, mut written, mut endless) = (0, 0, false);
            // Ends when the other end of the channel is dropped.
            while stopped.recv_timeout(PROGRESS_INTERVAL).is_err_and(|e| e.is_timeout()) {
                let total = total.or_else(|| progress.whole());
                if total.is_none() != std::mem::replace(&mut endless, total.is_none()) {
                    set_template(&bar, if endless { TEMPLATE_ENDLESS } else { TEMPLATE });
                }
                bar.set_length(total.unwrap_or(0));
                bar.set_message(doing(&progress, &mut kept, &mut written));
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

fn set_template(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
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
