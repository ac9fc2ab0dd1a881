//! The end of a transfer: all chunks are dealt, and one connection that is far slower than the others still has some. Sent
//! again over the others they arrive sooner.

use std::time::Duration;

use crate::limits::{STRAGGLER_FACTOR, STRAGGLER_PATIENCE};

/// How a connection is doing.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Frames on it that the receiver has not confirmed.
    pub backlog: usize,
    /// Frames a second that it confirms.
    pub rate: f64,
}

impl Speed {
    fn time(&self, rate: f64) -> Duration {
        Duration::try_from_secs_f64(self.backlog as f64 / rate).unwrap_or(Duration::MAX)
    }
}

/// Which connection, if any, is worth giving up: what is on it would come much sooner over the others. Only the slowest: once
/// it is gone the others have its share of the way.
pub fn straggler(all: &[Speed]) -> Option<usize> {
    let slow = all.iter().enumerate().filter(|(_, this)| is_straggler(this, all));
    slow.max_by_key(|(_, this)| this.time(this.rate)).map(|(at, _)| at)
}

fn is_straggler(this: &Speed, all: &[Speed]) -> bool {
    let others = all.iter().map(|speed| speed.rate).sum::<f64>() - this.rate;
    if this.backlog == 0 || others <= 0.0 {
        return false;
    }
    let (stays, goes) = (this.time(this.rate), this.time(others));
    stays > goes.saturating_mul(STRAGGLER_FACTOR).saturating_add(STRAGGLER_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(speeds: &[(usize, f64)]) -> Vec<bool> {
        let all: Vec<Speed> = speeds.iter().map(|&(backlog, rate)| Speed { backlog, rate }).collect();
        all.iter().map(|this| is_straggler(this, &all)).collect()
    }

    #[test]
    fn only_the_one_that_holds_the_others_up_is_given_up() {
        assert_eq!(judged(&[(2, 400.0), (3, 380.0), (20, 40.0)]), [false, false, true]);
        assert_eq!(judged(&[(20, 400.0), (20, 400.0), (20, 390.0)]), [false; 3]);
    }

    #[test]
    fn one_that_stands_still_is_given_up_and_the_only_one_that_moves_is_not() {
        assert_eq!(judged(&[(0, 100.0), (1, 0.0)]), [false, true]);
        assert_eq!(judged(&[(50, 1.0), (1, 0.0)]), [false, true]);
        assert_eq!(judged(&[(50, 1.0)]), [false]);
        assert_eq!(judged(&[(5, 0.0), (5, 0.0)]), [false, false]);
    }

    #[test]
    fn of_several_the_slowest_is_given_up_first() {
        let speed = |backlog, rate| Speed { backlog, rate };
        assert_eq!(straggler(&[speed(0, 400.0), speed(3, 4.0), speed(3, 2.0), speed(3, 4.0)]), Some(2));
        assert_eq!(straggler(&[speed(2, 400.0), speed(2, 400.0)]), None);
    }

    #[test]
    fn what_is_nearly_through_is_left_alone() {
        assert_eq!(judged(&[(0, 400.0), (4, 40.0)]), [false, false]);
    }
}
