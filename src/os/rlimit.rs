//! How many files this process may have open, and what part of that those may take who come in any number.

use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Files that must be allowed to be open at least. A transfer of one file at a time was seen to need 20 at
/// either end; below 8 the runtime that hears signals cannot even begin, and in between files fail one by
/// one, and some transfers hang.
const DESCRIPTORS_MIN: u64 = 32;

/// So few files may be open that nothing can be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {0} files open, and lanx needs {DESCRIPTORS_MIN} at least; raise the limit: ulimit -n 1024"
)]
pub struct TooFew(u64);

/// Checks that enough files may be open to begin with.
///
/// # Errors
/// [`TooFew`].
pub fn check() -> Result<(), TooFew> {
    enough(getrlimit(Resource::Nofile).current)
}

fn enough(open: Option<u64>) -> Result<(), TooFew> {
    match open {
        Some(open) if open < DESCRIPTORS_MIN => Err(TooFew(open)),
        _ => Ok(()),
    }
}

/// As many as `most`, or one for each `each` of the files that may be open where those are fewer; one at
/// least.
pub fn at_most(most: usize, each: u64) -> usize {
    within(getrlimit(Resource::Nofile).current, most, each)
}

fn within(open: Option<u64>, most: usize, each: u64) -> usize {
    let share = open.map_or(usize::MAX, |open| usize::try_from(open / each).unwrap_or(usize::MAX));
    most.min(share.max(1))
}

/// Whether this is the system's word that no more may be open.
pub fn are_used_up(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

// What the running kernel can be relied on for, where no call tells.

/// Whether it is Linux `major.minor` or later.
pub fn is_at_least(major: u32, minor: u32) -> bool {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| version(&rustix::system::uname().release().to_string_lossy())) >= (major, minor)
}

/// The first two numbers of a release such as `6.1.0-21-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_are_said_to_be_so_and_no_limit_is_none() {
        assert_eq!(enough(Some(DESCRIPTORS_MIN - 1)), Err(TooFew(DESCRIPTORS_MIN - 1)));
        assert_eq!(enough(Some(DESCRIPTORS_MIN)), Ok(()));
        assert_eq!(enough(None), Ok(()));
    }

    #[test]
    fn there_are_fewer_where_few_files_may_be_open_and_never_none() {
        assert_eq!(within(None, 512, 4), 512);
        assert_eq!(within(Some(20_000), 512, 4), 512);
        assert_eq!(within(Some(1024), 512, 4), 256);
        assert_eq!(within(Some(3), 512, 4), 1);
    }
}

#[cfg(test)]
mod kernel_tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-21-amd64"), (6, 1));
        assert_eq!(version("5.10-rc1"), (5, 10));
        assert_eq!(version("odd"), (0, 0));
        assert!(is_at_least(2, 6) && !is_at_least(u32::MAX, 0));
    }
}
