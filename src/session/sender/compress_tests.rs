use super::*;
use crate::limits::CHUNK_BYTES;

const TICK: Duration = Duration::from_millis(100);

/// A transfer on paper: a network, cores at both ends together, and files.
struct Paper {
    /// Bytes a second.
    network: f64,
    cores: f64,
    /// Into how many of its parts a chunk goes with each step; nothing where it stays plain.
    ratios: [f64; 3],
}

const LOG: [f64; 3] = [3.4, 5.0, 5.4];
const FILM: [f64; 3] = [1.0; 3];

impl Paper {
    /// Bytes of files a second with so many steps, and what of the cores is idle.
    fn rate(&self, steps: usize) -> (f64, f64) {
        let (ratio, speed) = match steps.checked_sub(1) {
            Some(step) => (self.ratios[step], if self.ratios[step] > 1.0 { STEPS[step].1 } else { 4e9 }),
            None => (1.0, f64::INFINITY),
        };
        // Reading, hashing, sealing and the like: a second of a core for 2 GB.
        let seconds = 1.0 / speed + 1.0 / 2e9;
        let rate = (self.network * ratio).min(self.cores / seconds);
        (rate, self.cores - rate * seconds)
    }

    /// Runs `steps` for so long. Returns what each tick was compressed with.
    fn run(&self, steps: &mut Steps, counted: &mut Counted, from: Instant, time: Duration) -> Vec<usize> {
        let ticks = u32::try_from(time.as_millis() / TICK.as_millis()).unwrap();
        let mut taken = Vec::new();
        for tick in 1..=ticks {
            taken.push(steps.now);
            let (rate, idle) = self.rate(steps.now);
            let ratio = steps.now.checked_sub(1).map_or(1.0, |step| self.ratios[step]);
            let nanos = TICK.as_nanos() as f64;
            counted.files += (rate * TICK.as_secs_f64()) as u64;
            counted.wire += (rate / ratio * TICK.as_secs_f64()) as u64;
            counted.busy += nanos as u64;
            counted.waited += (nanos * (idle / self.cores)) as u64;
            steps.step(*counted, idle, from + TICK * tick);
        }
        taken
    }
}

fn taken(paper: &Paper, seconds: u64) -> Vec<usize> {
    let start = Instant::now();
    let mut steps = Steps::new(Codecs::ALL, start);
    paper.run(&mut steps, &mut Counted::default(), start, Duration::from_secs(seconds))
}

#[test]
fn goes_up_step_by_step_where_the_network_is_the_limit() {
    let taken = taken(&Paper { network: 12.5e6, cores: 2.0, ratios: LOG }, 10);
    let mut order = taken.clone();
    order.dedup();
    assert_eq!(order, [0, 1, 2, 3]);
    assert!(taken[..10].contains(&2), "within a second: {taken:?}");
}

#[test]
fn a_step_that_brings_less_than_a_twentieth_is_taken_back_and_tried_ever_more_rarely() {
    let ratios = [1.9, 2.5, 2.55];
    let taken = taken(&Paper { network: 12.5e6, cores: 2.0, ratios }, 60);
    let mut order = taken.clone();
    order.dedup();
    assert_eq!(order[..6], [0, 1, 2, 3, 2, 3]);
    assert!(order.len() <= 13, "{order:?}");
    let tried = taken.iter().filter(|step| **step == 3).count();
    assert!(tried * 10 < taken.len(), "{tried} of {}", taken.len());
}

/// As where both ends are one machine, or the network is faster than CPUs.
#[test]
fn tries_nothing_where_no_cpu_has_time_for_it() {
    assert_eq!(taken(&Paper { network: f64::INFINITY, cores: 2.0, ratios: LOG }, 20), [0; 200]);
    assert_eq!(taken(&Paper { network: 1.25e9, cores: 2.0, ratios: LOG }, 20), [0; 200]);
    let busy = Paper { network: 118e6, cores: 0.1, ratios: LOG };
    assert_eq!(taken(&busy, 20), [0; 200]);
}

#[test]
fn takes_back_what_has_become_the_limit() {
    let start = Instant::now();
    let (mut steps, mut counted) = (Steps::new(Codecs::ALL, start), Counted::default());
    let slow = Paper { network: 12.5e6, cores: 2.0, ratios: LOG };
    slow.run(&mut steps, &mut counted, start, Duration::from_secs(10));
    assert_eq!(steps.method(), Some(Method::Zstd(3)));
    let fast = Paper { network: 1.25e9, ..slow };
    fast.run(&mut steps, &mut counted, start + Duration::from_secs(10), Duration::from_secs(60));
    assert_eq!(steps.method(), None);
}

#[test]
fn a_step_is_judged_when_something_is_compressed_and_not_before() {
    let start = Instant::now();
    let (mut steps, mut counted) = (Steps::new(Codecs::ALL, start), Counted::default());
    let film = Paper { network: 12.5e6, cores: 2.0, ratios: FILM };
    let during = film.run(&mut steps, &mut counted, start, Duration::from_secs(10));
    assert!(during[10..].iter().all(|step| *step == 1) && !steps.is_trying(), "{during:?}");
    let log = Paper { ratios: LOG, ..film };
    let after = log.run(&mut steps, &mut counted, start + Duration::from_secs(10), Duration::from_secs(3));
    assert!(after.contains(&0), "{after:?}");
    assert!(after[20..].iter().all(|step| *step >= 2), "within two seconds: {after:?}");
}

#[test]
fn only_what_was_granted_is_tried_and_nothing_while_it_is_disturbed() {
    let paper = Paper { network: 12.5e6, cores: 2.0, ratios: LOG };
    let start = Instant::now();
    let mut steps = Steps::new(Codecs::from_bits(1), start);
    paper.run(&mut steps, &mut Counted::default(), start, Duration::from_secs(10));
    assert_eq!(steps.method(), Some(Method::Lz4));
    let mut steps = Steps::new(Codecs::ALL, start);
    let mut counted = Counted::default();
    for tick in 1..100 {
        counted.files += CHUNK_BYTES as u64 * 100;
        counted.wire = counted.files;
        steps.step(counted, 2.0, start + TICK * tick);
        steps.disturbed(start + TICK * tick);
    }
    assert_eq!(steps.method(), None);
}

#[test]
fn what_the_receiver_does_not_take_is_not_used() {
    let (lz4, zstd) = (Compress::Always(Method::Lz4), Compress::Always(Method::Zstd(7)));
    let only_lz4 = Codecs::from_bits(1);
    assert_eq!([lz4, zstd, Compress::Auto].map(|how| how.granted(Codecs::NONE)), [Compress::No; 3]);
    assert_eq!(
        [lz4, zstd, Compress::Auto].map(|how| how.granted(only_lz4)),
        [lz4, Compress::No, Compress::Auto]
    );
    assert_eq!((lz4.if_wished(), Compress::Auto.if_wished()), (lz4, Compress::No));
}

#[test]
fn what_is_set_is_what_every_thread_finds() {
    let present = Present::default();
    assert_eq!(present.method(), None);
    for method in [Some(Method::Lz4), Some(Method::Zstd(1)), Some(Method::Zstd(12)), None] {
        present.set(method);
        assert_eq!(present.method(), method);
    }
}

/// Looks that are taken at so many chunks of which none is worth it.
fn looks(guess: &Guess, chunks: usize) -> Vec<usize> {
    let look = |at: &usize| {
        let looks = guess.is_worth_a_look();
        if looks {
            guess.looked(false);
        }
        looks && *at < chunks
    };
    (0..chunks).filter(look).collect()
}

#[test]
fn after_a_miss_ever_more_chunks_are_left_out_up_to_64() {
    let guess = Guess::default();
    assert_eq!(looks(&guess, 300), [0, 2, 5, 10, 19, 36, 69, 134, 199, 264]);
    while !guess.is_worth_a_look() {}
    guess.looked(true);
    assert_eq!(looks(&guess, 6), [0, 2, 5], "a hit begins anew");
}

#[test]
fn a_name_is_only_a_first_guess() {
    let of = |name: &str| Guess::of(&Name::from_wire(name.as_bytes()).unwrap());
    for name in ["a.zst", "a.b.JPG", "film.mp4"] {
        assert_eq!(looks(&of(name), 34), [16, 33], "{name}");
    }
    for name in ["zst", "a.txt", "a.zst.txt", "a.", "x", ".bashrc"] {
        assert_eq!(looks(&of(name), 1), [0], "{name}");
    }
}
