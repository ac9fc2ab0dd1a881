//! Sizes, rates and times for people. One system everywhere: powers of 1,000, as disks and networks are sold.

use std::time::Duration;

/// `1 file`, `2 files`.
pub fn count(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// Three figures, as nobody reads more: `17 B`, `1.50 GB`, `381 MB`.
fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would be printed as 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, _) => 0,
        (_, v) if v < 9.995 => 2,
        (_, v) if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

/// `4.29 GB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `2.00/4.00 GB`, or each with its unit where that is not the same.
pub fn part(n: u64, of: u64) -> String {
    let (n, of) = (bytes(n), bytes(of));
    match (n.split_once(' '), of.split_once(' ')) {
        (Some((n, unit)), Some((_, same))) if unit == same => format!("{n}/{of}"),
        _ => format!("{n}/{of}"),
    }
}

/// The same in a sentence: `249 of 381 MB`.
pub fn of(n: u64, of: u64) -> String {
    part(n, of).replacen('/', " of ", 1)
}

/// A time to come, in steps that nobody has to count: `2:05`.
pub fn until(left: Duration) -> String {
    let seconds = left.as_secs_f64().ceil().max(1.0) as u64;
    let seconds = if seconds > 60 { seconds.next_multiple_of(5) } else { seconds };
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Bytes a second: `2.22 GB/s`.
pub fn rate(bytes: u64, time: Duration) -> String {
    rate_of(per_second(bytes, time))
}

/// The same where the division is done.
pub fn rate_of(per_second: f64) -> String {
    scaled(per_second, &["B/s", "kB/s", "MB/s", "GB/s"])
}

/// So many bytes a second, as bits: `17.8 Gbit/s`.
pub fn bit_rate_of(per_second: f64) -> String {
    scaled(8.0 * per_second, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s"])
}

/// Bytes a second.
pub fn per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-6)
}

/// `0.012 s`, `3.45 s`, `2 min 5 s`, `3 h 7 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{:.3} s", time.as_secs_f64()),
        1..60 => format!("{:.2} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes a second, from `50M` (10^6 bytes), `50Mi` (2^20), `1.5GB`, `400mbit`, each with or without `/s`.
/// Upper or lower case mean the same: nobody sends a thousandth of a byte.
pub fn rate_from(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("/s").unwrap_or(&text);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (unit, parts) = match unit.trim().strip_suffix("bit") {
        Some(unit) => (unit, 8.0),
        None => (unit.trim().strip_suffix('b').unwrap_or(unit.trim()), 1.0),
    };
    let power = |base: f64, prefix: &str| {
        ["", "k", "m", "g", "t"].iter().position(|p| *p == prefix).map(|n| base.powi(n as i32))
    };
    let factor = match unit.strip_suffix('i') {
        Some(prefix) if !prefix.is_empty() => power(1024.0, prefix)?,
        _ => power(1000.0, unit)?,
    };
    let rate = number.parse::<f64>().ok()? * factor / parts;
    (1.0..1e15).contains(&rate).then_some(rate as u64)
}

/// A time from `7d`, `12h`, `30m` or `90s`.
pub fn age_from(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number = number.parse::<u32>().ok()?;
    Some(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod units_tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, rate) in [
            ("50M", 50_000_000),
            ("50m", 50_000_000),
            ("50MB/s", 50_000_000),
            ("50Mi", 50 << 20),
            ("1.5GiB", 3 << 29),
            ("400mbit", 50_000_000),
            ("1 Gbit/s", 125_000_000),
            ("100kbit", 12_500),
            ("64000", 64_000),
            ("64000b", 64_000),
        ] {
            assert_eq!(rate_from(text), Some(rate), "{text}");
        }
        for text in
            ["", "M", "-1M", "1x", "1.2.3M", "i", "1i", "nan", "inf", "1e9", "0", "99999999999999999999T"]
        {
            assert_eq!(rate_from(text), None, "{text}");
        }
    }

    #[test]
    fn ages_have_a_unit() {
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("30m", 1800), (" 90s", 90), ("0d", 0)] {
            assert_eq!(age_from(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "7", "d", "-1d", "1.5h", "7 d", "7w", "7dd", "99999999999d", "7é"] {
            assert_eq!(age_from(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_read_well_at_every_scale() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (10_240, "10.2 kB"),
            (381_000_000, "381 MB"),
            (999_600_000, "1.00 GB"),
            (4 << 30, "4.29 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn rates_count_in_thousands_and_survive_no_time_at_all() {
        assert_eq!(rate(2_220_000_000, Duration::from_secs(1)), "2.22 GB/s");
        assert_eq!(bit_rate_of(125e6), "1.00 Gbit/s");
        assert_eq!(rate(0, Duration::ZERO), "0 B/s");
    }

    #[test]
    fn plurals_and_durations() {
        assert_eq!((count(0, "file"), count(1, "file")), ("0 files".into(), "1 file".into()));
        assert_eq!(duration(Duration::from_millis(12)), "0.012 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(11_220)), "3 h 7 min");
    }

    #[test]
    fn times_to_come_are_told_in_steps() {
        for (seconds, text) in [
            (0, "0:01"),
            (59, "0:59"),
            (61, "1:05"),
            (125, "2:05"),
            (3_598, "1 h 00 min"),
            (3_900, "1 h 05 min"),
            (400_000, "4 days"),
        ] {
            assert_eq!(until(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            (part(1, 2_000_000), of(249_000_000, 381_000_000)),
            ("1 B/2.00 MB".into(), "249 of 381 MB".into())
        );
    }
}
