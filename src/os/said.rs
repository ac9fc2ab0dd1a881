//! What the system says of an error, as people are told it.

use std::fmt;
use std::io;

/// Shows what the system said without its number, and as part of a sentence: `permission denied`.
pub struct Said<'a>(pub &'a io::Error);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        // One word for folder.
        let text =
            text.split_once(" (os error").map_or(&*text, |(text, _)| text).replace("directory", "folder");
        let mut chars = text.chars();
        let first = chars.next().map(|first| first.to_ascii_lowercase());
        // `RDMA` and its like stay as they are.
        match chars.clone().next().is_some_and(char::is_uppercase) {
            true => f.write_str(&text),
            false => write!(f, "{}{}", first.map_or(String::new(), String::from), chars.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_heard_without_its_number() {
        assert_eq!(Said(&io::Error::from_raw_os_error(13)).to_string(), "permission denied");
        assert_eq!(Said(&io::Error::from_raw_os_error(122)).to_string(), "disk quota exceeded");
        assert_eq!(Said(&io::Error::from_raw_os_error(5)).to_string(), "input/output error");
        assert_eq!(Said(&io::Error::from_raw_os_error(2)).to_string(), "no such file or folder");
        assert_eq!(Said(&io::Error::other("RFC 1 says no")).to_string(), "RFC 1 says no");
    }
}
