//! Text that may come from the other side.

use std::fmt;

use crate::name::Sentence;

/// A sentence for a person that holds nothing a terminal would act on: what a peer wrote is escaped on its
/// way in, so that it is safe wherever it is printed, logged or quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// From bytes that a peer sent.
    pub fn from_foreign(bytes: &[u8]) -> Text {
        Text(Sentence(bytes).to_string())
    }

    /// The longest beginning of it that takes at most `limit` bytes.
    pub fn truncated(&self, limit: usize) -> &str {
        let mut end = self.0.len().min(limit);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        &self.0[..end]
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::from_foreign(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from_foreign(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_act_on() {
        let text = Text::from_foreign(b"red \x1b[31m\r\n\x07 \xe2\x80\xae \xff C:\\x");
        assert_eq!(text.to_string(), "red \\x1b[31m\\r\\n\\x07 \\u{202e} \\xff C:\\x");
    }

    #[test]
    fn is_cut_between_characters() {
        assert_eq!(Text::from("aé").truncated(2), "a");
        assert_eq!(Text::from("aé").truncated(3), "aé");
    }
}
