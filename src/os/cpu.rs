//! How busy the CPUs are that this program may use, and how much of that is its own doing.

use std::fs;
use std::thread::available_parallelism;

/// The cores that this program may use.
#[must_use]
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// How busy the CPUs were, in thousandths of their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShares {
    pub machine: u16,
    /// Of that, what was this program's.
    pub own: u16,
}

/// Times since the machine or the program started, in ticks, as far as the system tells them.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Of the CPUs that this program may use: when they were not idle, and all.
    busy: u64,
    all: u64,
    /// Of this program.
    own: u64,
    /// How many CPUs these are.
    cpus: u64,
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
    pub fn so_far(&self) -> Option<CpuShares> {
        let quota = available_parallelism().map_or(u64::MAX, |cpus| cpus.get() as u64);
        share(self.since?, times()?, quota)
    }
}

/// How busy the CPUs were. A program may be allowed the time of fewer of them, `quota`, than it may run on;
/// it then has no rest when it has used up that.
fn share(before: Times, now: Times, quota: u64) -> Option<CpuShares> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    let thousandths = |before: u64, now: u64, all: u64| {
        let share = now.saturating_sub(before).min(all).saturating_mul(1000).checked_div(all)?;
        u16::try_from(share).ok()
    };
    let allowed = all.saturating_mul(quota.min(now.cpus)).checked_div(now.cpus)?;
    let own = thousandths(before.own, now.own, allowed)?;
    Some(CpuShares { machine: thousandths(before.busy, now.busy, all)?.max(own), own })
}

fn times() -> Option<Times> {
    let may_use = usable();
    let (busy, all, cpus) = of_machine(&fs::read_to_string("/proc/stat").ok()?, may_use)?;
    let own = of_program(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(Times { busy, all, own, cpus })
}

/// Which CPUs this program may run on.
#[cfg(target_os = "linux")]
fn usable() -> impl Fn(usize) -> bool {
    let set = rustix::thread::sched_getaffinity(None).ok();
    move |cpu| set.is_none_or(|set| cpu >= rustix::thread::CpuSet::MAX_CPU || set.is_set(cpu))
}

#[cfg(not(target_os = "linux"))]
fn usable() -> impl Fn(usize) -> bool {
    |_| true
}

/// The lines of the CPUs in Linux's /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal
/// (proc_stat(5)). Guests are in user. Time that other machines took from this one counts as busy: it could
/// not be used. The sums of those that `may_use` picks, and how many they are.
fn of_machine(text: &str, may_use: impl Fn(usize) -> bool) -> Option<(u64, u64, u64)> {
    let mut sums = (0_u64, 0_u64, 0_u64);
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let cpu = fields.next().and_then(|name| name.strip_prefix("cpu")).and_then(|cpu| cpu.parse().ok());
        if !cpu.is_some_and(&may_use) {
            continue;
        }
        let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
        let all = ticks.iter().fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
        sums = (
            sums.0.saturating_add(all.saturating_sub(idle)),
            sums.1.saturating_add(all),
            sums.2.saturating_add(1),
        );
    }
    (sums.2 > 0).then_some(sums)
}

/// Fields 14 and 15 of Linux's /proc/self/stat: user and system time (proc_pid_stat(5)). The second field,
/// the program's name in parentheses, may hold anything.
fn of_program(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()?.saturating_add(ticks()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(machine: &str, own: u64) -> Times {
        let (busy, all, cpus) = of_machine(machine, |cpu| cpu != 1).unwrap();
        Times { busy, all, own, cpus }
    }

    const BEFORE: &str =
        "cpu  9 9 9 9 9 9 9 9\ncpu0 100 0 100 700 100 0 0 0 0 0\ncpu1 1 1 1 1 1 1 1 1\nintr 5";

    #[test]
    fn what_is_not_idle_is_busy() {
        let before = times(BEFORE, 10);
        let now = times("cpu0 150 10 120 720 110 5 3 2 0 0\ncpu1 9 9 9 9 9 9 9 9", 40);
        // 50 + 10 + 20 + 5 + 3 + 2 of 120, and 30 of 120.
        assert_eq!(share(before, now, 1), Some(CpuShares { machine: 750, own: 250 }));
        assert_eq!(share(before, now, 64), Some(CpuShares { machine: 750, own: 250 }));
        assert_eq!(share(before, before, 1), None);
    }

    #[test]
    fn who_has_used_up_what_it_is_allowed_has_no_rest() {
        let before = times(&format!("{BEFORE}\ncpu2 0 0 0 0 0 0 0 0"), 10);
        let now = times("cpu0 150 0 100 750 100 0 0 0 0 0\ncpu2 0 0 0 100 0 0 0 0", 106);
        assert_eq!(share(before, now, 1), Some(CpuShares { machine: 960, own: 960 }));
        assert_eq!(share(before, now, 2), Some(CpuShares { machine: 480, own: 480 }));
    }

    #[test]
    fn a_program_of_any_name_is_found() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 100 1 1";
        assert_eq!(of_program(line), Some(42));
    }

    #[test]
    fn what_is_no_such_file_says_nothing() {
        for text in ["", "cpu", "cpu  1 2 3 4 5", "cpu0 1 2", "cpu0  a b c d e", "intr 5"] {
            assert!(of_machine(text, |_| true).is_none() && of_program(text).is_none(), "{text}");
        }
    }
}
