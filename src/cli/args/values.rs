//! Values on the command line, refused in words that say what is expected.

use std::fmt::Display;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::content::compress::Method;
use crate::limits::{INTO_BYTES_MAX, ZSTD_LEVEL_DEFAULT, ZSTD_LEVEL_MAX};
use crate::name::RelativePath;
use crate::session::sender::compress::Compress;

/// A number in this range, of whatever `unit`, which may be nothing.
pub fn number<T>(
    range: RangeInclusive<T>,
    unit: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let space = if unit.is_empty() { "" } else { " " };
            Err(format!("expected a number from {} to {}{space}{unit}", range.start(), range.end()))
        }
    }
}

/// So many seconds.
pub fn seconds(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    number(range, "seconds")
}

/// Where to listen: at a port of this machine, or at one of its addresses.
pub fn listen_at(text: &str) -> Result<SocketAddr, String> {
    let port =
        text.strip_prefix(':').unwrap_or(text).parse().map(|port| (Ipv6Addr::UNSPECIFIED, port).into());
    port.or_else(|_| socket(text))
        .map_err(|_| "expected a port or ADDR:PORT, as in 8000 or 127.0.0.1:8000".into())
}

/// An address with its port.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDR:PORT, as in 127.0.0.1:7269 or [::]:7269".into())
}

/// A folder beneath another one. Slashes at its end mean nothing.
pub fn subfolder(text: &str) -> Result<RelativePath, String> {
    let bare = text.trim_end_matches('/');
    if text.starts_with('/') {
        return Err(
            "it is a path beneath the receiver's folder, so it begins with no /; as in backups/monday".into(),
        );
    }
    match RelativePath::from_wire(bare.as_bytes()) {
        Ok(path) if bare.len() <= INTO_BYTES_MAX => Ok(path),
        Ok(_) => Err(format!("it is longer than {INTO_BYTES_MAX} bytes; choose a shorter one")),
        Err(bad) => Err(bad.to_string()),
    }
}

/// How to compress.
pub fn compress(text: &str) -> Result<Compress, String> {
    let level = |level: &str| level.parse().ok().filter(|level| (1..=ZSTD_LEVEL_MAX).contains(level));
    let method = match text {
        "auto" => return Ok(Compress::Auto),
        "no" => return Ok(Compress::No),
        "lz4" => Some(Method::Lz4),
        "zstd" => Some(Method::Zstd(ZSTD_LEVEL_DEFAULT)),
        _ => text.strip_prefix("zstd:").and_then(level).map(Method::Zstd),
    };
    let expected = format!("expected lz4, zstd, zstd:N with N from 1 to {ZSTD_LEVEL_MAX}, no or auto");
    method.map(Compress::Always).ok_or(expected)
}
