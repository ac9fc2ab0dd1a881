//! The receiver's side of a comparison: hash what is here and tell the sender, piece by piece, so that what
//! differs flows while the rest is still being compared.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::Receiving;
use super::incoming::{Bytes, Incoming};
use super::outcomes::storage_failure;
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::chunk_value;
use crate::limits::{
    CHUNK_BYTES, COMPARERS_MAX, MISSING_PER_FILE_MAX, VALUES_PER_MESSAGE_MAX, WORKER_STACK_BYTES,
};
use crate::session::End;
use crate::session::frames::Pages;
use crate::session::stage_clock::Clock;
use crate::store::SinkError;
use crate::wire::stage_times::Stage;

/// What the comparing threads of a session have to do.
#[derive(Default)]
pub(super) struct CompareQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Arc<Job>>,
    threads: usize,
    closed: bool,
}

/// One file to compare: the chunks that are there, dealt in batches.
struct Job {
    incoming: Arc<Incoming>,
    ranges: Mutex<VecDeque<Range<u64>>>,
}

impl Job {
    /// The next chunks to compare: at most as many as one message holds.
    fn deal(&self) -> Option<Range<u64>> {
        let mut ranges = self.ranges.lock();
        let front = ranges.front_mut()?;
        let end = front.end.min(front.start + VALUES_PER_MESSAGE_MAX as u64);
        let batch = front.start..end;
        front.start = end;
        if front.is_empty() {
            ranges.pop_front();
        }
        Some(batch)
    }
}

impl CompareQueue {
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// The job at the front and its next batch; waits for one. `None` once the session is closed, or where there are more
    /// than `most` threads.
    fn next(&self, most: usize) -> Option<(Arc<Job>, Range<u64>)> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.threads > most {
                state.threads -= 1;
                return None;
            }
            if let Some(job) = state.jobs.front() {
                if let Some(batch) = job.deal() {
                    return Some((job.clone(), batch));
                }
                state.jobs.pop_front();
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}

/// Begins to compare a file: says what is surely missing and queues the rest.
pub(super) fn start(session: &Arc<Receiving>, incoming: Arc<Incoming>, bytes: &Bytes) {
    let layout = incoming.offered.layout;
    let present = present_chunks(layout, bytes);
    let mut missing_from = 0;
    let mut say_missing = |end: u64, then: u64| {
        if missing_from < end {
            incoming.ask_for(missing_from..end, &session.outbox);
        }
        missing_from = then;
    };
    present.iter().for_each(|range| say_missing(range.start, range.end));
    say_missing(layout.chunks(), layout.chunks());
    let job = Arc::new(Job { incoming, ranges: Mutex::new(present.into()) });
    session.compare.state.lock().jobs.push_back(job);
    start_threads(session);
    session.compare.changed.notify_all();
}

/// Threads for the first comparison of a session; most sessions never need any.
fn start_threads(session: &Arc<Receiving>) {
    let wanted = thread::available_parallelism().map_or(1, |n| n.get().min(COMPARERS_MAX)).min(most(session));
    let mut state = session.compare.state.lock();
    while state.threads < wanted {
        let worker = session.clone();
        let builder = thread::Builder::new().name("compare".into()).stack_size(WORKER_STACK_BYTES);
        match builder.spawn(move || compare(&worker)) {
            Ok(_) => state.threads += 1,
            // One is enough to go on with.
            Err(_) if state.threads > 0 => return,
            Err(error) => return session.ending.decide(End::Exhausted(format!("no thread: {error}"))),
        }
    }
}

/// The chunks of which something is there. Few enough that what lies between can be told in
/// [`MISSING_PER_FILE_MAX`] messages.
fn present_chunks(layout: Layout, bytes: &Bytes) -> Vec<Range<u64>> {
    let Bytes::Part(part) = bytes else { return vec![Range { start: 0, end: layout.chunks() }] };
    let mut present: Vec<Range<u64>> = Vec::new();
    for extent in part.data_extents() {
        let first = extent.start / CHUNK_BYTES as u64;
        let end = extent.end.div_ceil(CHUNK_BYTES as u64).min(layout.chunks());
        let room = present.len() + 1 < MISSING_PER_FILE_MAX;
        match present.last_mut() {
            Some(last) if first <= last.end => last.end = last.end.max(end),
            _ if room => present.push(first..end),
            _ => {
                present.push(first..layout.chunks());
                break;
            }
        }
    }
    present
}

/// How many threads may compare: as many as data connections, so that both are bounded together.
fn most(session: &Receiving) -> usize {
    session.share().max(1).into()
}

/// Compares until the session is closed.
fn compare(session: &Receiving) {
    let mut buffer = Pages::new(CHUNK_BYTES);
    let mut clock = Clock::new(&session.stages, Stage::Wait);
    while let Some((job, batch)) = session.compare.next(most(session)) {
        session.wait_for_room();
        if let Err(error) = compare_batch(session, &job.incoming, batch, &mut buffer, &mut clock) {
            let failed = session.fail_incoming(&job.incoming, storage_failure(&error));
            if let Err(misbehaved) = failed {
                session.ending.decide(misbehaved.into());
            }
        }
        clock.turn_to(Stage::Wait);
    }
}

fn compare_batch(
    session: &Receiving,
    incoming: &Incoming,
    batch: Range<u64>,
    buffer: &mut [u8],
    clock: &mut Clock<'_>,
) -> Result<(), SinkError> {
    let layout = incoming.offered.layout;
    let Some(bytes) = incoming.bytes_when_room() else { return Ok(()) };
    let first = ChunkIndex(batch.start);
    let mut values = Vec::with_capacity(VALUES_PER_MESSAGE_MAX);
    for index in batch.map(ChunkIndex) {
        let (Some(len), Some(offset)) = (layout.len_of(index), layout.offset_of(index)) else { break };
        let content = &mut buffer[..len];
        clock.turn_to(Stage::Read);
        match &bytes {
            Bytes::Existing(file) => file.read_at(content, offset)?,
            Bytes::Part(part) => part.read_at(content, offset)?,
        }
        clock.turn_to(Stage::Hash);
        values.push(chunk_value(layout, index, content));
    }
    incoming.announce(first, values, &session.outbox);
    Ok(())
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
