//! Work that several threads do side by side, handed out and taken in by one.

use std::thread;

use crate::os::cpu::cores;
use crate::os::threads;
use anyhow::anyhow;
use crossbeam_channel::{bounded, unbounded};

/// What there is to hand out.
pub enum Next<J> {
    Job(J),
    /// Nothing until something that is under way is done.
    Later,
    End,
}

/// Does `work` on each job that `next` hands out, as many at once as there are CPUs, and has `take` take in
/// each result. `next` and `take` are called by this thread.
///
/// # Errors
/// The first error of `take`, or that there is no thread to be had.
pub fn side_by_side<J: Send, R: Send>(
    mut next: impl FnMut() -> Next<J>,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let threads = cores();
    let (jobs, to_do) = bounded::<J>(threads);
    let (results, done) = unbounded::<R>();
    let work = &work;
    // All ends of the channels go with the closure: then the threads end.
    thread::scope(move |scope| {
        for n in 0..threads {
            let (to_do, results) = (to_do.clone(), results.clone());
            let builder = threads::named("hash");
            let spawned = builder.spawn_scoped(scope, move || {
                for job in to_do {
                    // Refused where the others have given up.
                    if results.send(work(job)).is_err() {
                        return;
                    }
                }
            });
            if let (Err(error), 0) = (spawned, n) {
                return Err(anyhow!("cannot start a thread: {error}; let this user have more of them"));
            }
        }
        drop((to_do, results));
        let (mut under_way, mut ended) = (0, false);
        loop {
            while !ended && under_way < 2 * threads {
                match next() {
                    Next::Job(job) => {
                        under_way += 1;
                        // Its receivers live as long as this does.
                        drop(jobs.send(job));
                    }
                    Next::Later if under_way > 0 => break,
                    Next::Later | Next::End => ended = true,
                }
            }
            if under_way == 0 {
                return Ok(());
            }
            match done.recv() {
                Ok(result) => take(result)?,
                Err(_) => return Err(anyhow!("a thread has ended; run the same command again")),
            }
            under_way -= 1;
        }
    })
}
