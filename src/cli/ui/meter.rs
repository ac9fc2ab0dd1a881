//! How fast a transfer goes and how long it will take: over a few seconds, so that neither jumps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate that is shown is that of so long: the buffers on the way make single moments say little. How long
/// it will take is told once there are samples for all of it.
const WINDOW: Duration = Duration::from_secs(4);

/// From this on there is enough to tell a rate.
const RATE_AFTER: Duration = Duration::from_millis(500);

/// What a transfer did in so long is what it is doing.
const DOING_WINDOW: Duration = Duration::from_secs(1);

/// A transfer that has not moved for so long stands still: more than the pauses of a healthy one, and of a
/// slow `--limit`.
const STALL_AFTER: Duration = Duration::from_secs(5);

/// In so long what is told of the end moves to where the rate says it is.
const SETTLE: Duration = Duration::from_secs(5);

/// What is told of the end is never more than so many times off what the rate says.
const OFF_MOST: f64 = 2.0;

/// An end that is further away than this is none that could be told: rates do not stay as they are.
const LEFT_MOST: Duration = Duration::from_secs(30 * 86_400);

/// What the bytes do that were counted of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// They cross the network.
    #[default]
    Moving,
    /// They turn out to be there already.
    Comparing,
    Both,
    /// There is no session that could do anything.
    Waiting,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    pub doing: Doing,
    /// Bytes a second; nothing before there is enough to go by, and while it stands still.
    pub rate: Option<f64>,
    /// Time that it will take; nothing while that is a guess.
    pub left: Option<Duration>,
    /// For how long it has stood still.
    pub stalled: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    kept: u64,
    moved: u64,
}

impl Sample {
    /// Seconds, and bytes of both kinds, since `earlier`.
    fn since(self, earlier: Sample) -> (f64, u64, u64) {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        (seconds, self.kept.saturating_sub(earlier.kept), self.moved.saturating_sub(earlier.moved))
    }
}

/// Follows the counters of one transfer.
#[derive(Default)]
pub struct Meter {
    /// Those of the last [`WINDOW`], the oldest first.
    samples: VecDeque<Sample>,
    doing: Doing,
    /// When a byte was last seen to move.
    moved_at: Option<Instant>,
    /// Since when bytes have come at the rate that they come at.
    steady_since: Option<Instant>,
    /// When it will be over, as it was told last, and when that was.
    told: Option<(Instant, Instant)>,
}

impl Meter {
    /// Takes the counters in: bytes that were there already and bytes that crossed the network, so far.
    /// `left` are those that are missing, where that is known.
    pub fn read(&mut self, now: Instant, kept: u64, moved: u64, left: Option<u64>) -> Reading {
        let sample = Sample { at: now, kept, moved };
        if self.samples.back().is_some_and(|last| kept < last.kept || moved < last.moved) {
            // A session was lost, and the next one counts anew.
            *self = Meter::default();
        }
        if let Some(stalled) = self.stalled(sample, left) {
            return Reading { doing: self.doing, stalled: Some(stalled), ..Reading::default() };
        }
        self.samples.push_back(sample);
        self.look(sample);
        let old = |sample: &Sample| now.saturating_duration_since(sample.at) > WINDOW;
        while self.samples.len() > 2 && self.samples.front().is_some_and(old) {
            self.samples.pop_front();
        }
        let rate = self.rate(sample);
        let left = self.left(now, rate, left);
        Reading { doing: self.doing, rate, left, stalled: None }
    }

    /// There is no session.
    pub fn pause(&mut self) -> Reading {
        *self = Meter::default();
        Reading { doing: Doing::Waiting, ..Reading::default() }
    }

    /// For how long it has stood still, if that is long. Then nothing from before counts any more.
    fn stalled(&mut self, now: Sample, left: Option<u64>) -> Option<Duration> {
        let still = self.samples.back().is_some_and(|last| (last.kept, last.moved) == (now.kept, now.moved));
        // Where all is there, or nobody knows how much is to come, nothing may be on its way.
        if !still || left.is_none_or(|left| left == 0) {
            self.moved_at = Some(now.at);
        }
        let stalled = now.at.saturating_duration_since(self.moved_at?);
        if stalled < STALL_AFTER {
            return None;
        }
        let Meter { doing, moved_at, .. } = *self;
        *self = Meter { doing, moved_at, samples: VecDeque::from([now]), ..Meter::default() };
        Some(stalled)
    }

    /// Finds out what is being done.
    fn look(&mut self, now: Sample) {
        let recent = |sample: &&Sample| now.at.saturating_duration_since(sample.at) <= DOING_WINDOW;
        let Some((_, kept, moved)) = self.samples.iter().find(recent).map(|first| now.since(*first)) else {
            return;
        };
        let before = self.doing;
        self.doing = match (kept, moved) {
            (0, 0) => before,
            (0, _) => Doing::Moving,
            (_, 0) => Doing::Comparing,
            (_, _) => Doing::Both,
        };
        if (kept, moved) != (0, 0) && self.steady_since.is_none() {
            self.steady_since = Some(now.at);
        }
        // How fast it compared says nothing about how fast it sends, nor the other way round.
        if before != self.doing {
            self.samples.retain(|sample| recent(&sample));
            self.steady_since = Some(now.at);
        }
    }

    fn rate(&self, now: Sample) -> Option<f64> {
        let (seconds, kept, moved) = now.since(*self.samples.front()?);
        let bytes = match self.doing {
            Doing::Comparing => kept,
            Doing::Both => kept.saturating_add(moved),
            Doing::Moving | Doing::Waiting => moved,
        };
        (seconds >= RATE_AFTER.as_secs_f64()).then(|| bytes as f64 / seconds)
    }

    /// Moves what was told towards what is true now, so that a rate that varies does not make it dance.
    fn left(&mut self, now: Instant, rate: Option<f64>, left: Option<u64>) -> Option<Duration> {
        // How much of it will have to be sent, nobody knows while it compares.
        let known = self.doing != Doing::Comparing;
        let steady = self.steady_since.is_some_and(|since| now.saturating_duration_since(since) >= WINDOW);
        let rate = rate.filter(|rate| known && steady && *rate > 0.0);
        let seconds = rate.zip(left).map(|(rate, left)| left as f64 / rate);
        let Some(seconds) = seconds.filter(|seconds| *seconds <= LEFT_MOST.as_secs_f64()) else {
            self.told = None;
            return None;
        };
        let shown = match self.told {
            None => seconds,
            Some((end, at)) => {
                let told = end.saturating_duration_since(now).as_secs_f64();
                let passed = now.saturating_duration_since(at).as_secs_f64();
                told + (seconds - told) * (passed / SETTLE.as_secs_f64()).min(1.0)
            }
        };
        let shown = Duration::from_secs_f64(shown.clamp(seconds / OFF_MOST, seconds * OFF_MOST));
        self.told = Some((now + shown, now));
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const TICK: Duration = Duration::from_millis(200);

    /// A transfer that is looked at each [`TICK`].
    struct Run {
        meter: Meter,
        now: Instant,
        kept: u64,
        moved: u64,
    }

    impl Run {
        fn new() -> Run {
            let mut run = Run { meter: Meter::default(), now: Instant::now(), kept: 0, moved: 0 };
            run.look(None);
            run
        }

        fn look(&mut self, total: Option<u64>) -> Reading {
            let left = total.map(|total| total.saturating_sub(self.kept + self.moved));
            self.meter.read(self.now, self.kept, self.moved, left)
        }

        /// Goes on for so long at these bytes a second; what there was to see.
        fn go(&mut self, seconds: f64, kept: u64, moved: u64, total: u64) -> Vec<Reading> {
            let ticks = (seconds / TICK.as_secs_f64()).round() as usize;
            (0..ticks)
                .map(|_| {
                    self.now += TICK;
                    self.kept += kept / 5;
                    self.moved += moved / 5;
                    self.look(Some(total))
                })
                .collect()
        }
    }

    fn near(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= 0.02 * wanted
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut run = Run::new();
        let all = run.go(10.0, 0, 100 * MB, 10_000 * MB);
        assert_eq!(all[0].rate, None, "one tick is too little to go by");
        assert!(all[5..].iter().all(|reading| near(reading.rate.unwrap(), 1e8)), "{all:?}");
        let slower: Vec<f64> =
            run.go(6.0, 0, 20 * MB, 10_000 * MB).iter().map(|reading| reading.rate.unwrap()).collect();
        assert!(slower.is_sorted_by(|a, b| a >= b), "{slower:?}");
        let step = slower.windows(2).map(|pair| pair[0] - pair[1]).fold(0.0, f64::max);
        assert!(step < 6e6, "a jump of {step}");
        assert!(near(slower[slower.len() - 1], 2e7), "{slower:?}");
    }

    #[test]
    fn there_is_no_end_in_sight_before_it_means_something_and_then_it_comes_nearer_by_the_second() {
        let mut run = Run::new();
        let all = run.go(20.0, 0, 100 * MB, 6_000 * MB);
        let first = all.iter().position(|reading| reading.left.is_some()).unwrap();
        assert!(TICK * first as u32 >= WINDOW - TICK && TICK * first as u32 <= WINDOW + TICK, "{first}");
        for (n, reading) in all.iter().enumerate().skip(first) {
            let wanted = 60.0 - (TICK * (n as u32 + 1)).as_secs_f64();
            assert!(near(reading.left.unwrap().as_secs_f64(), wanted), "{n}: {reading:?}");
        }
    }

    #[test]
    fn a_rate_that_varies_does_not_make_the_end_dance() {
        let mut run = Run::new();
        run.go(6.0, 0, 100 * MB, 100_000 * MB);
        let mut before = run.go(TICK.as_secs_f64(), 0, 100 * MB, 100_000 * MB)[0].left.unwrap();
        for round in 0..60 {
            let rate = if round % 2 == 0 { 60 * MB } else { 140 * MB };
            for reading in run.go(1.0, 0, rate, 100_000 * MB) {
                let left = reading.left.unwrap();
                let jump = left.as_secs_f64() - before.as_secs_f64();
                assert!(jump.abs() < 0.02 * before.as_secs_f64(), "{before:?} to {left:?}");
                before = left;
            }
        }
    }

    #[test]
    fn a_stall_is_told_and_after_it_the_end_only_once_the_window_of_the_rate_is_full() {
        let mut run = Run::new();
        let all = 60_000 * MB;
        run.go(10.0, 0, 100 * MB, all);
        let still = run.go(12.0, 0, 0, all);
        let told: Vec<Option<u64>> =
            still.iter().map(|reading| reading.stalled.map(|time| time.as_secs())).collect();
        assert_eq!((told[20], told[40], told[59]), (None, Some(8), Some(12)), "{told:?}");
        assert!(still[30..].iter().all(|reading| reading.rate.is_none() && reading.left.is_none()));
        let again = run.go(20.0, 0, 20 * MB, all);
        let first = again.iter().position(|reading| reading.left.is_some()).unwrap();
        assert!(TICK * first as u32 >= WINDOW - TICK, "{first}");
        for reading in &again[first..] {
            let truth = (all - run.kept - run.moved) as f64 / reading.rate.unwrap();
            let told = reading.left.unwrap().as_secs_f64();
            assert!(told > truth / 2.1 && told < truth * 2.1, "{told} of {truth}");
        }
        // Where all is there, or nobody knows how much comes, nobody keeps anybody waiting.
        let mut run = Run::new();
        run.go(2.0, 0, 5 * MB, 10 * MB);
        assert!(run.go(20.0, 0, 0, 10 * MB).iter().all(|reading| reading.stalled.is_none()));
    }

    #[test]
    fn a_rate_that_falls_suddenly_leaves_no_end_that_is_more_than_twice_off() {
        let mut run = Run::new();
        run.go(10.0, 0, 100 * MB, 100_000 * MB);
        for _ in 0..100 {
            let reading = run.go(TICK.as_secs_f64(), 0, MB, 100_000 * MB)[0];
            let truth = (100_000 * MB - run.moved) as f64 / reading.rate.unwrap();
            let told = reading.left.unwrap().as_secs_f64() / truth;
            assert!((0.49..2.01).contains(&told), "{told}");
        }
    }

    #[test]
    fn comparing_and_sending_are_told_apart_and_do_not_count_for_each_other() {
        let mut run = Run::new();
        let compared = run.go(5.0, 2_000 * MB, 0, 20_000 * MB);
        assert!(compared.iter().all(|r| r.doing == Doing::Comparing && r.left.is_none()), "{compared:?}");
        assert!(near(compared[24].rate.unwrap(), 2e9), "{compared:?}");
        let both = run.go(5.0, 1_000 * MB, 100 * MB, 20_000 * MB);
        assert_eq!(both.last().map(|r| r.doing), Some(Doing::Both));
        let mut run = Run::new();
        run.go(5.0, 2_000 * MB, 0, 20_000 * MB);
        let sent = run.go(8.0, 0, 100 * MB, 20_000 * MB);
        let moving: Vec<&Reading> = sent.iter().skip_while(|r| r.doing != Doing::Moving).collect();
        assert!(
            moving.len() > 30 && moving.iter().all(|r| r.rate.is_none_or(|rate| rate < 1.1e8)),
            "{moving:?}"
        );
        // 10 GB compared; of the rest 9.2 GB are left at 100 MB a second.
        assert!(near(sent.last().unwrap().left.unwrap().as_secs_f64(), 92.0), "{sent:?}");
    }

    #[test]
    fn a_session_that_counts_anew_or_is_missing_begins_anew() {
        let mut run = Run::new();
        run.go(5.0, 2_000 * MB, 100 * MB, 20_000 * MB);
        run.kept = 0;
        run.now += TICK;
        assert_eq!(run.look(Some(MB)), Reading::default());
        assert_eq!(run.meter.pause().doing, Doing::Waiting);
        // Nor does a clock that stands still, or an end out of all measure, do any harm.
        for _ in 0..3 {
            assert_eq!(run.look(Some(u64::MAX)).left, None);
        }
        let readings = run.go(9.0, 0, 5, u64::MAX);
        assert!(readings.iter().all(|reading| reading.left.is_none()));
    }
}
