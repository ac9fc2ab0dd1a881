//! Numbers of bytes in what is told of the destination.

use std::fmt;

/// A number of bytes for people: `17 B`, `1.5 GiB`. Powers of 1,024, one decimal, rounded down.
pub struct Human(pub u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = "B";
        // Tenths, so that the one decimal needs no floating point.
        let mut tenths = u128::from(self.0) * 10;
        for next in UNITS {
            if tenths < 10 * 1024 {
                break;
            }
            tenths /= 1024;
            unit = next;
        }
        if unit == "B" {
            write!(f, "{} B", self.0)
        } else {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}
