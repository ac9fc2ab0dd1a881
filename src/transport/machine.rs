//! How busy this machine is, and how much of that is this program's doing.

use std::fs;

use crate::protocol::spent::Busy;

/// Times since the machine or the program started, in ticks, as far as the system tells them.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Of all CPUs: those that were not idle, and all.
    busy: u64,
    all: u64,
    /// Of this program.
    own: u64,
}

/// Watches how busy the machine is from now on.
#[derive(Debug)]
pub struct Load {
    since: Option<Times>,
}

impl Load {
    pub fn watch() -> Load {
        Load { since: times() }
    }

    /// How busy the machine was since then; `None` where the system does not tell.
    pub fn so_far(&self) -> Option<Busy> {
        share(self.since?, times()?)
    }
}

fn share(before: Times, now: Times) -> Option<Busy> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    let thousandths = |before: u64, now: u64| {
        u16::try_from(now.saturating_sub(before).min(all).saturating_mul(1000) / all).ok()
    };
    Some(Busy { machine: thousandths(before.busy, now.busy)?, own: thousandths(before.own, now.own)? })
}

fn times() -> Option<Times> {
    let (busy, all) = of_machine(&fs::read_to_string("/proc/stat").ok()?)?;
    let own = of_program(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(Times { busy, all, own })
}

/// The first line of Linux's /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)). Guests are in
/// user. Time that other machines took from this one counts as busy: it could not be used.
fn of_machine(text: &str) -> Option<(u64, u64)> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    let all = ticks.iter().fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
    Some((all.saturating_sub(idle), all))
}

/// Fields 14 and 15 of Linux's /proc/self/stat: user and system time (proc_pid_stat(5)). The second field, the program's
/// name in parentheses, may hold anything.
fn of_program(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()?.saturating_add(ticks()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_idle_is_busy() {
        let times = |machine, own| {
            let (busy, all) = of_machine(machine).unwrap();
            Times { busy, all, own }
        };
        let before = times("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3", 10);
        let now = times("cpu  150 10 120 720 110 5 3 2 0 0\n", 40);
        // 50 + 10 + 20 + 5 + 3 + 2 of 120, and 30 of 120.
        assert_eq!(share(before, now), Some(Busy { machine: 750, own: 250 }));
        assert_eq!(share(before, before), None);
    }

    #[test]
    fn a_program_of_any_name_is_found() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 100 1 1";
        assert_eq!(of_program(line), Some(42));
    }

    #[test]
    fn what_is_no_such_file_says_nothing() {
        for text in ["", "cpu", "cpu  1 2", "cpu  a b c d e", "intr 5"] {
            assert!(of_machine(text).is_none() && of_program(text).is_none(), "{text}");
        }
    }
}
