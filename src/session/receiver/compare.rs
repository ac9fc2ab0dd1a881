//! The receiver's side of a comparison: hash what is here and hold it against the values that the sender
//! says, so that what differs flows while the rest is still being compared. Nothing is read before its value
//! has come: comparing costs whoever asks for it as much as us.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::incoming::{Here, Incoming, Next};
use super::outcomes::Outcomes;
use crate::content::chunk::ChunkIndex;
use crate::content::tree::{ChunkValue, chunk_value};
use crate::content::zeros::value_of_zeros;
use crate::limits::CHUNK_BYTES;
use crate::os::cpu::cores;
use crate::os::threads;
use crate::session::ending::End;
use crate::session::frames::Pages;
use crate::session::progress::Progress;
use crate::session::stage_clock::{Clock, Stages};
use crate::store::SinkError;
use crate::wire::stage_times::Stage;

/// Threads that compare what is there with what is offered, at each end of a session; at the receiver no more
/// than its share of the data connections.
const COMPARERS_MAX: usize = 4;

/// A session whose files are compared.
pub trait Compares: Send + Sync + 'static {
    fn outcomes(&self) -> &Outcomes;
    fn queue(&self) -> &CompareQueue;
    /// How many threads may compare.
    fn threads_max(&self) -> usize;
    fn stages(&self) -> &Stages;
    /// Does what follows for a file of which a chunk was compared.
    fn go_on(self: &Arc<Self>, incoming: &Arc<Incoming>, next: Next) -> Result<(), End>;
}

/// What the comparing threads of a session have to do.
#[derive(Default)]
pub struct CompareQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// As many threads as there is work for.
    wanted: OnceLock<usize>,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    threads: usize,
    closed: bool,
}

/// One chunk to compare.
struct Job {
    incoming: Arc<Incoming>,
    chunk: ChunkIndex,
    theirs: ChunkValue,
}

impl CompareQueue {
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.jobs.clear();
        self.changed.notify_all();
    }

    /// The next job; waits for one. `None` once the session is closed, or where there are more than `most`
    /// threads.
    fn next(&self, most: usize) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.threads > most {
                state.threads -= 1;
                return None;
            }
            match state.jobs.pop_front() {
                Some(job) => return Some(job),
                None => self.changed.wait(&mut state),
            }
        }
    }
}

/// Has a chunk compared with the sender's value of it.
pub fn compare<S: Compares>(
    session: &Arc<S>,
    incoming: Arc<Incoming>,
    chunk: ChunkIndex,
    theirs: ChunkValue,
) {
    let queue = session.queue();
    let mut state = queue.state.lock();
    if !state.closed {
        state.jobs.push_back(Job { incoming, chunk, theirs });
    }
    drop(state);
    start_threads(session);
    queue.changed.notify_one();
}

/// Threads for the first comparison of a session; most sessions never need any.
fn start_threads<S: Compares>(session: &Arc<S>) {
    let queue = session.queue();
    let wanted = (*queue.wanted.get_or_init(|| cores().min(COMPARERS_MAX))).min(session.threads_max());
    let mut state = queue.state.lock();
    while state.threads < wanted && !state.closed {
        let worker = session.clone();
        let builder = threads::worker("compare");
        match builder.spawn(move || compare_all(&worker)) {
            Ok(_) => state.threads += 1,
            // One is enough to go on with.
            Err(_) if state.threads > 0 => return,
            Err(error) => {
                return session.outcomes().ending.decide(End::Exhausted(format!("no thread: {error}")));
            }
        }
    }
}

/// Compares until the session is closed.
fn compare_all<S: Compares>(session: &Arc<S>) {
    let outcomes = session.outcomes();
    let mut buffer = Pages::new(CHUNK_BYTES);
    let mut clock = Clock::new(session.stages(), Stage::Wait);
    while let Some(job) = session.queue().next(session.threads_max()) {
        outcomes.outbox.wait_for_room();
        let done = compare_chunk(outcomes, &job, &mut buffer, &mut clock)
            .and_then(|next| session.go_on(&job.incoming, next));
        if let Err(end) = done {
            session.outcomes().ending.decide(end);
        }
        clock.turn_to(Stage::Wait);
    }
}

fn compare_chunk(
    outcomes: &Outcomes,
    job: &Job,
    buffer: &mut [u8],
    clock: &mut Clock<'_>,
) -> Result<Next, End> {
    let Job { incoming, chunk, theirs } = job;
    let layout = incoming.offered.layout;
    let (Some(here), Some(len), Some(offset)) =
        (incoming.here(*chunk), layout.len_of(*chunk), layout.offset_of(*chunk))
    else {
        return Ok(Next::Nothing);
    };
    let content = &mut buffer[..len];
    clock.turn_to(Stage::Read);
    // What is a hole here need not be read, nor hashed where that was done for another file.
    let is_hole = incoming.offered.sparse && here.is_hole(offset, len as u64);
    let zeros = if is_hole { value_of_zeros(layout, *chunk) } else { None };
    let read = match &here {
        _ if zeros.is_some() => Ok(()),
        Here::Existing(file) => file.read_at(content, offset),
        Here::Part(part) => part.read_at(content, offset),
        Here::Older(older, _) => older.read_at(content, offset),
    };
    let failed = |error: &SinkError| {
        outcomes.fail_incoming(incoming, error.failure())?;
        Ok(Next::Nothing)
    };
    match (read, &here) {
        (Ok(()), _) => {}
        // It is only a way to have less sent.
        (Err(error), Here::Older(..)) => {
            tracing::debug!("{error}");
            return Ok(incoming.is_wrong(*chunk, &outcomes.outbox));
        }
        (Err(error), _) => return failed(&error),
    }
    clock.turn_to(Stage::Hash);
    if zeros.unwrap_or_else(|| chunk_value(layout, *chunk, content)) != *theirs {
        return Ok(incoming.is_wrong(*chunk, &outcomes.outbox));
    }
    incoming.claim(*chunk)?;
    if let Here::Older(older, part) = &here {
        clock.turn_to(Stage::Write);
        if let Err(error) = part.take_over(older, content, offset) {
            return failed(&error);
        }
    }
    let next = incoming.is_right(*chunk, *theirs, &outcomes.outbox)?;
    Progress::add(&outcomes.progress.kept, len as u64);
    Ok(next)
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
