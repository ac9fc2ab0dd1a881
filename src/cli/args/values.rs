//! Values on the command line, refused in words that say what is expected.

use std::fmt::Display;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::content::compress::Method;
use crate::limits::{INTO_BYTES_MAX, LIMIT_MIN, PART_AGE_MIN, ZSTD_LEVEL_DEFAULT, ZSTD_LEVEL_MAX};
use crate::name::RelativePath;
use crate::session::receiver::room::MinFree;
use crate::session::sender::compress::Compress;
use crate::units::{age_from, rate_from};

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

/// A time that passes.
pub fn span(text: &str) -> Result<Duration, String> {
    let span = age_from(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| "expected a number and a unit, as in 1h, 30m or 90s".into())
}

/// A number of bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let is_rate =
        text.trim().to_ascii_lowercase().ends_with("/s") || text.to_ascii_lowercase().ends_with("bit");
    rate_from(text)
        .filter(|bytes| *bytes > 0 && !is_rate)
        .ok_or_else(|| "expected a number and a unit, as in 500G, 1.5Ti or 800M".into())
}

/// How much of a disk is to stay free: a part of it, or so many bytes.
pub fn min_free(text: &str) -> Result<MinFree, String> {
    let percent = text.strip_suffix('%').map(|number| number.trim().parse::<u8>().ok());
    match percent {
        Some(percent) => percent.filter(|percent| (1..=99).contains(percent)).map(MinFree::Percent),
        None => size(text).ok().map(MinFree::Bytes),
    }
    .ok_or_else(|| "expected a part of the disk or a size, as in 5% or 20G".into())
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

pub fn rate(text: &str) -> Result<u64, String> {
    match rate_from(text) {
        Some(rate) if rate >= LIMIT_MIN => Ok(rate),
        Some(_) => {
            let bare = text.bytes().all(|byte| byte.is_ascii_digit());
            let unit =
                if bare { format!("; the unit stands in the same word: {text}M") } else { String::new() };
            Err(format!(
                "the lowest rate is {LIMIT_MIN} bytes a second, as a slower sender would seem dead{unit}"
            ))
        }
        None => Err("expected a number and a unit, as in 50M, 1.5Gi or 400mbit".into()),
    }
}

/// So many bytes, or none.
pub fn size_or_zero(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let is_rate = text.ends_with("bit") || text.ends_with("/s");
    let size = if text == "0" { Some(0) } else { rate_from(text).filter(|_| !is_rate) };
    size.ok_or_else(|| "expected a number and a unit, as in 500M or 20G".into())
}

/// A time, of a second at least.
pub fn time(text: &str) -> Result<Duration, String> {
    let time = age_from(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "expected a number and a unit, as in 1d, 12h, 30m or 90s".into())
}

pub fn age(text: &str) -> Result<Duration, String> {
    match age_from(text) {
        Some(age) if age >= PART_AGE_MIN => Ok(age),
        _ => Err("expected a number and a unit, as in 7d, 12h, 30m or 90s".into()),
    }
}
