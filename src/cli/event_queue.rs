//! Events on their way to stdout. A thread of their own writes them, so that a script that reads the first one and then
//! waits for something else does not hold up the transfer that it waits for.

use std::sync::OnceLock;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::output;
use crate::limits::{EVENTS_WAITING_MAX, READER_PATIENCE, WORKER_STACK_BYTES};

struct Queue {
    lines: Mutex<Option<Sender<Vec<u8>>>>,
    /// Has a word for each line that was written, and ends with the writer.
    written: Receiver<()>,
}

/// Made for the first event.
static QUEUE: OnceLock<Queue> = OnceLock::new();

fn queue() -> &'static Queue {
    QUEUE.get_or_init(|| {
        let (sender, lines) = bounded(EVENTS_WAITING_MAX);
        let (progress, written) = bounded(1);
        let builder = thread::Builder::new().name("stdout".into()).stack_size(WORKER_STACK_BYTES);
        // Without a thread each event is written by whoever has it.
        let writer = builder.spawn(move || write_all(&lines, &progress));
        Queue { lines: Mutex::new(writer.is_ok().then_some(sender)), written }
    })
}

/// Writes what is queued, until nobody can queue anything any more.
fn write_all(lines: &Receiver<Vec<u8>>, progress: &Sender<()>) {
    for line in lines {
        output::line_of(&line);
        // One word is enough to say that something moves.
        let _ = progress.try_send(());
    }
}

/// Queues a line. Waits only where [`EVENTS_WAITING_MAX`] are queued already.
pub fn put(line: Vec<u8>) {
    let sender = queue().lines.lock().clone();
    match sender {
        Some(sender) => drop(sender.send(line)),
        None => output::line_of(&line),
    }
}

/// Waits until all that was put has been written, or nobody has read any of it for [`READER_PATIENCE`].
pub fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    drop(queue.lines.lock().take());
    loop {
        match queue.written.recv_timeout(READER_PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                output::error("nobody reads the events on standard output; the last ones are lost");
                return;
            }
        }
    }
}
