use std::thread;

use proptest::prelude::*;

use super::*;

fn attempt() -> Arc<Attempt> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outgoing = Outgoing::new(FileId(0), Item::of_file(file.path()), None);
    Arc::new(Attempt::new(Arc::new(outgoing), Against::Part))
}

/// What each of `threads` threads is dealt, asking at once until there is nothing more.
fn dealt(run: &Run, threads: usize) -> Vec<Vec<u64>> {
    thread::scope(|scope| {
        let deal = || std::iter::from_fn(|| run.deal()).map(|chunk| chunk.0).collect();
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
    assert_eq!(run.deal(), Some(ChunkIndex(0)));
    attempt.end();
    assert_eq!(run.deal(), None);
}
