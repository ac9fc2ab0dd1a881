//! Whose an unfinished file is.

use std::fmt::{self, Write};

use crate::limits::PART_OWNER_BYTES;

/// Whose an unfinished file is: the key of the sender, which TLS has shown to be its own. Nobody else's
/// session compares, tells of or removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner([u8; PART_OWNER_BYTES]);

impl Owner {
    /// The beginning of its fingerprint stands for a key.
    #[must_use]
    pub fn of_key(fingerprint: &[u8; 32]) -> Owner {
        let mut own = [0; PART_OWNER_BYTES];
        own.iter_mut().zip(fingerprint).for_each(|(own, byte)| *own = *byte);
        Owner(own)
    }
}

/// As it stands in the name of a part file: the version of such names, and the key in base32 (RFC 4648), in
/// small letters as some file systems know no others.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v2-")?;
        let bits = self.0.iter().fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        (0..PART_OWNER_BYTES * 8 / 5).rev().try_for_each(|n| {
            let digit = (bits >> (5 * n)) as u8 & 31;
            f.write_char(char::from(if digit < 26 { b'a' + digit } else { b'2' + digit - 26 }))
        })
    }
}
