//! Whether a file is still the one that a client has seen: entity tags and conditional requests of RFC 9110,
//! section 13.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use crate::os::stamp::Stamp;

/// BLAKE3's context for this use (BLAKE3 specification, section 6.2): a tag tells nobody the inode.
const CONTEXT: &str = "lanx 2026-11-30 entity tag";

/// Hexadecimal digits of a tag: 128 bits, so that no two files have the same.
const TAG_DIGITS: usize = 32;

/// How long a file has to have been left alone before its times prove anything. A kernel takes them from its
/// tick, of 10 ms at most: of two writes within one the second changes no time.
const TICK: Duration = Duration::from_millis(20);

/// The same where a file system keeps whole seconds, or every other one (FAT).
const COARSE_TICK: Duration = Duration::from_secs(2);

/// What tells one state of a file from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    tag: String,
    /// Whether bytes of two answers with this tag belong together.
    strong: bool,
    modified: SystemTime,
}

/// What conditions leave to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Serve,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Validators {
    /// Of a file that is as `stamp` says at the moment `now`.
    #[must_use]
    pub fn of(stamp: &Stamp, now: SystemTime) -> Validators {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for word in [stamp.device, stamp.inode, stamp.size] {
            hasher.update(&word.to_le_bytes());
        }
        for word in [stamp.mtime_seconds, stamp.mtime_nanos, stamp.ctime_seconds, stamp.ctime_nanos] {
            hasher.update(&word.to_le_bytes());
        }
        let digits: String = hasher.finalize().to_hex().chars().take(TAG_DIGITS).collect();
        let changed = time(stamp.ctime_seconds, stamp.ctime_nanos);
        let tick = if stamp.mtime_nanos == 0 && stamp.ctime_nanos == 0 { COARSE_TICK } else { TICK };
        // A clock that was set back proves nothing either.
        let strong = now.duration_since(changed).is_ok_and(|age| age >= tick);
        let tag = if strong { format!("\"{digits}\"") } else { format!("W/\"{digits}\"") };
        Validators { tag, strong, modified: time(stamp.mtime_seconds, stamp.mtime_nanos) }
    }

    /// Whether it tells this state from all others.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.strong
    }

    /// As `ETag` has it.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// As `Last-Modified` has it; nothing of a time that HTTP cannot say.
    #[must_use]
    pub fn modified(&self) -> Option<String> {
        let seconds = self.modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
        (seconds < YEAR_10000).then(|| httpdate::fmt_http_date(self.modified))
    }

    /// What the conditions of a request come to, in the order of section 13.2.2.
    #[must_use]
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        let since = |name: HeaderName| {
            let date =
                headers.get(name)?.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok())?;
            Some(self.seconds_modified() > date)
        };
        match self.is_listed(headers, &IF_MATCH, true) {
            Some(false) => return Verdict::Failed,
            Some(true) => {}
            None if since(IF_UNMODIFIED_SINCE) == Some(true) => return Verdict::Failed,
            None => {}
        }
        match self.is_listed(headers, &IF_NONE_MATCH, false) {
            Some(true) => Verdict::NotModified,
            Some(false) => Verdict::Serve,
            None if since(IF_MODIFIED_SINCE) == Some(false) => Verdict::NotModified,
            None => Verdict::Serve,
        }
    }

    /// Whether a range may be answered with a part. A date is never enough: within its second a file can
    /// change again.
    #[must_use]
    pub fn allow_range(&self, headers: &HeaderMap) -> bool {
        match headers.get(IF_RANGE) {
            None => true,
            Some(value) => self.strong && value.as_bytes().trim_ascii() == self.tag.as_bytes(),
        }
    }

    /// HTTP dates have no fractions.
    fn seconds_modified(&self) -> SystemTime {
        let age = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(age.as_secs())
    }

    /// Whether a list of tags has this one; `None` where there is no such list.
    fn is_listed(&self, headers: &HeaderMap, name: &HeaderName, strongly: bool) -> Option<bool> {
        if !headers.contains_key(name) {
            return None;
        }
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        let is_this = |tag: &str| match strongly {
            true => self.strong && tag == self.tag,
            false => opaque(tag) == opaque(&self.tag),
        };
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        // A comma may stand in a tag, but not in one of ours, so pieces of others match nothing.
        Some(values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| tag == "*" || is_this(tag)))
    }
}

/// From here on a date has more digits than HTTP has places.
pub(super) const YEAR_10000: u64 = 253_402_300_800;

fn time(seconds: i64, nanos: i64) -> SystemTime {
    let nanos = Duration::from_nanos(nanos.unsigned_abs().min(999_999_999));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Stamp = Stamp {
        device: 1,
        inode: 2,
        size: 3,
        mtime_seconds: 1_000_000_000,
        mtime_nanos: 5,
        ctime_seconds: 1_000_000_000,
        ctime_nanos: 5,
    };

    fn later(nanos: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000) + Duration::from_nanos(nanos)
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn each_of_what_makes_a_state_makes_another_tag() {
        let now = later(1 << 40);
        let tag = |stamp: &Stamp| Validators::of(stamp, now).tag().to_owned();
        let others = [
            Stamp { device: 9, ..OLD },
            Stamp { inode: 9, ..OLD },
            Stamp { size: 9, ..OLD },
            Stamp { mtime_seconds: 9, ..OLD },
            Stamp { mtime_nanos: 9, ..OLD },
            Stamp { ctime_seconds: 9, ..OLD },
            Stamp { ctime_nanos: 9, ..OLD },
        ];
        for other in others {
            assert_ne!(tag(&other), tag(&OLD), "{other:?}");
        }
        assert!(tag(&OLD).starts_with('"') && tag(&OLD).len() == TAG_DIGITS + 2);
    }

    #[test]
    fn a_file_that_may_have_changed_within_one_tick_has_no_strong_tag() {
        for (now, strong) in [(5, false), (19_000_000, false), (21_000_000, true), (0, false)] {
            assert_eq!(Validators::of(&OLD, later(now)).strong, strong, "{now}");
        }
        let coarse = Stamp { mtime_nanos: 0, ctime_nanos: 0, ..OLD };
        for (now, strong) in [(1_900_000_000, false), (2_100_000_000, true)] {
            let validators = Validators::of(&coarse, later(now));
            assert_eq!(validators.strong, strong, "{now}");
            assert_eq!(validators.tag().starts_with("W/"), !strong);
        }
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_the_rfc() {
        let file = Validators::of(&OLD, later(1 << 40));
        let (own, weak) = (file.tag().to_owned(), format!("W/{}", file.tag()));
        let (before, at, after) = (
            "Sun, 09 Sep 2001 01:46:39 GMT",
            "Sun, 09 Sep 2001 01:46:40 GMT",
            "Sun, 09 Sep 2001 01:46:41 GMT",
        );
        for (fields, verdict) in [
            (&[][..], Verdict::Serve),
            (&[(IF_NONE_MATCH, own.as_str())], Verdict::NotModified),
            (&[(IF_NONE_MATCH, weak.as_str())], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "*")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"a\", \"b\"")], Verdict::Serve),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, after)], Verdict::Serve),
            (&[(IF_MODIFIED_SINCE, at)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, before)], Verdict::Serve),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Serve),
            (&[(IF_MATCH, own.as_str())], Verdict::Serve),
            (&[(IF_MATCH, "*")], Verdict::Serve),
            (&[(IF_MATCH, weak.as_str())], Verdict::Failed),
            (&[(IF_MATCH, "\"a\"")], Verdict::Failed),
            (&[(IF_MATCH, own.as_str()), (IF_UNMODIFIED_SINCE, before)], Verdict::Serve),
            (&[(IF_UNMODIFIED_SINCE, before)], Verdict::Failed),
            (&[(IF_UNMODIFIED_SINCE, at)], Verdict::Serve),
            (&[(IF_MATCH, own.as_str()), (IF_NONE_MATCH, own.as_str())], Verdict::NotModified),
        ] {
            assert_eq!(file.judge(&headers(fields)), verdict, "{fields:?}");
        }
    }

    #[test]
    fn only_the_strong_tag_itself_allows_a_part() {
        let file = Validators::of(&OLD, later(1 << 40));
        let young = Validators::of(&OLD, later(5));
        let date = "Sun, 09 Sep 2001 01:46:40 GMT";
        for (validators, value, allowed) in [
            (&file, file.tag(), true),
            (&file, young.tag(), false),
            (&file, "\"other\"", false),
            (&file, date, false),
            (&young, young.tag(), false),
        ] {
            assert_eq!(validators.allow_range(&headers(&[(IF_RANGE, value)])), allowed, "{value}");
        }
        assert!(young.allow_range(&HeaderMap::new()));
    }

    #[test]
    fn a_time_that_http_cannot_say_is_left_out() {
        for seconds in [i64::MIN, -1, i64::MAX, 253_402_300_800] {
            let stamp = Stamp { mtime_seconds: seconds, ..OLD };
            assert_eq!(Validators::of(&stamp, later(0)).modified(), None, "{seconds}");
        }
        assert!(Validators::of(&OLD, later(0)).modified().is_some());
    }
}
