//! What the running kernel can be relied on for, where no call tells.

use std::sync::OnceLock;

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
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-21-amd64"), (6, 1));
        assert_eq!(version("5.10-rc1"), (5, 10));
        assert_eq!(version("odd"), (0, 0));
        assert!(is_at_least(2, 6) && !is_at_least(u32::MAX, 0));
    }
}
