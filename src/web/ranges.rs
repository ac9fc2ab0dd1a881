//! Which bytes of a file a request asks for: `Range` of RFC 9110, section 14.
//!
//! One range is answered, and clamped to the file. Of several the whole file is sent, as the RFC allows:
//! whoever asks for ten thousand of them costs no more than anybody else.

use std::ops::Range;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: nothing else was asked for, or nothing that can be understood.
    Whole,
    /// These bytes, of which there is at least one.
    Part(Range<u64>),
    /// Nothing: the file has no such bytes.
    Unsatisfiable,
}

/// What of a file of `size` bytes a header field asks for.
#[must_use]
pub fn select(header: &str, size: u64) -> Selection {
    let Some((unit, set)) = header.split_once('=') else { return Selection::Whole };
    // Several ranges have a comma between them.
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selection::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    match (first, last) {
        ("", "") => Selection::Whole,
        ("", suffix) => match number(suffix) {
            None => Selection::Whole,
            Some(0) => Selection::Unsatisfiable,
            // No range can say that it is all of an empty file.
            Some(_) if size == 0 => Selection::Whole,
            Some(wanted) => Selection::Part(size.saturating_sub(wanted)..size),
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first > last => Selection::Whole,
            (Some(first), Some(_)) if first >= size => Selection::Unsatisfiable,
            (Some(first), Some(last)) => Selection::Part(first..last.saturating_add(1).min(size)),
            _ => Selection::Whole,
        },
    }
}

/// Digits and nothing else. More than any file has bytes is as good as all of them.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_is_clamped_and_what_is_none_is_ignored() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (header, size, selection) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-5", 10, Part(2..6)),
            ("bytes=2-", 10, Part(2..10)),
            ("bytes=2-99", 10, Part(2..10)),
            ("bytes=9-9", 10, Part(9..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("BYTES=0-1", 10, Part(0..2)),
            ("bytes=0-99999999999999999999999", 10, Part(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-11", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
            ("bytes=5-2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 -2", 10, Whole),
            ("bytes=0x1-2", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=0-1,", 10, Whole),
        ] {
            assert_eq!(select(header, size), selection, "{header} of {size}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_no_byte_lies_outside(header in "(bytes=)?[0-9, -]{0,24}|.{0,40}", size: u64) {
            if let Selection::Part(range) = select(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
            }
        }
    }
}
