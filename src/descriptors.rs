//! How many files this process may have open, and what part of that those may take who come in any number.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// As many as `most`, or one for each `each` of the files that may be open where those are fewer; one at least.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fewer_where_few_files_may_be_open_and_never_none() {
        assert_eq!(within(None, 512, 4), 512);
        assert_eq!(within(Some(20_000), 512, 4), 512);
        assert_eq!(within(Some(1024), 512, 4), 256);
        assert_eq!(within(Some(3), 512, 4), 1);
    }
}
