use std::os::unix::fs::FileExt;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::limits::CHUNK_BYTES;

fn attempt() -> Arc<Attempt> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outgoing = Outgoing::new(FileId(0), Item::of_file(file.path()), None);
    Arc::new(Attempt::new(Arc::new(outgoing), Against::Part))
}

/// What each of `threads` threads is dealt, asking at once until there is nothing more.
fn dealt(run: &Run, threads: usize) -> Vec<Vec<u64>> {
    thread::scope(|scope| {
        let deal = || std::iter::from_fn(|| run.deal(1)).map(|dealt| dealt.first.0).collect();
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(deal)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_chunk_is_dealt_to_one_thread_once(first in 0u64..1 << 40, count in 1u64..2000, threads in 1usize..9) {
        let run = Run::missing(attempt(), ChunkIndex(first), count);
        let dealt = dealt(&run, threads);
        for one in &dealt {
            prop_assert!(one.is_sorted(), "a thread goes forwards through its file");
        }
        let mut all = dealt.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (first..first + count).collect::<Vec<_>>());
        prop_assert!(run.is_exhausted());
    }
}

#[test]
fn nothing_is_dealt_of_an_attempt_that_is_over() {
    let attempt = attempt();
    let run = Run::missing(attempt.clone(), ChunkIndex(0), 10);
    assert_eq!(run.deal(1), Some(Dealt::one(ChunkIndex(0))));
    attempt.end();
    assert_eq!(run.deal(1), None);
}

#[test]
fn a_hole_is_dealt_together_up_to_a_boundary_and_what_is_data_by_itself() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let chunk = |n: u64| n * CHUNK_BYTES as u64;
    file.as_file().set_len(chunk(100) + 7).unwrap();
    file.as_file().write_all_at(b"here", chunk(40) + 9).unwrap();
    let outgoing = Arc::new(Outgoing::new(FileId(0), Item::of_file(file.path()), None));
    let attempt = Arc::new(Attempt::new(outgoing, Against::Part));
    let hole = |first, count| Dealt { first: ChunkIndex(first), count, is_hole: true };
    let all = |run: Run, together| std::iter::from_fn(|| run.deal(together)).collect::<Vec<_>>();
    let run = Run::missing(attempt.clone(), ChunkIndex(3), 98);
    let data = Dealt::one(ChunkIndex(40));
    assert_eq!(all(run, 32), [hole(3, 29), hole(32, 8), data, hole(41, 23), hole(64, 32), hole(96, 5)]);
    let alone = all(Run::missing(attempt.clone(), ChunkIndex(39), 3), 1);
    assert_eq!(alone, [hole(39, 1), data, hole(41, 1)]);
    // Each value is asked for by itself.
    assert_eq!(all(Run::to_hash(attempt, ChunkIndex(7), 2), 32), [hole(7, 1), hole(8, 1)]);
}
