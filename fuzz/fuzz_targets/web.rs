//! What HTTP brings from outside: at the server the path, the fields and the ranges of a request; at `get` an
//! address, where it is sent to, and the head of an answer.
#![no_main]

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, Uri};
use lanx::os::stamp::Stamp;
use lanx::web::fetch::head::Seen;
use lanx::web::fetch::target::{Target, harmless, join};
use lanx::web::hosts::Hosts;
use lanx::web::names::{attachment, in_url, wanted};
use lanx::web::ranges::{Selection, select};
use lanx::web::validators::Validators;
use libfuzzer_sys::fuzz_target;

const SIZE: u64 = 1 << 40;

/// Fields as they come, one on each line.
fn fields(bytes: &[u8]) -> HeaderMap {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        Some((name, HeaderValue::from_bytes(line.get(at + 1..)?.trim_ascii()).ok()?))
    });
    let mut map = HeaderMap::new();
    lines.take(64).for_each(|(name, value)| _ = map.append(name, value));
    map
}

fn request(text: &str, fields: &HeaderMap) {
    if let Ok(found) = wanted(text) {
        let names: Vec<&[u8]> = found.path.iter().flat_map(|path| path.names()).collect();
        assert!(names.iter().all(|name| !matches!(*name, b"" | b"." | b"..") && !name.contains(&b'/')));
        // What it is understood as can be said again.
        let again: String = names.iter().map(|name| format!("/{}", in_url(name))).collect();
        if let Some(path) = &found.path {
            assert_eq!(wanted(&again).unwrap().path.as_ref(), Some(path));
        }
    }
    for size in [0, 1, SIZE, u64::MAX] {
        if let Selection::Part(range) = select(text, size) {
            assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        }
    }
    let _ = Hosts::new("nas", &[]).allow(text);
    let stamp = Stamp { size: SIZE, ..Stamp::default() };
    for now in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(10)] {
        let validators = Validators::of(&stamp, now);
        let _ = (validators.judge(fields), validators.allow_range(fields));
    }
}

fn answer(status: u16, fields: HeaderMap) {
    let Ok(mut answer) = Response::builder().status(status).body(()) else { return };
    *answer.headers_mut() = fields;
    let asked = 4096..8192;
    if let Ok(seen) = Seen::of(&answer) {
        assert_eq!(status, 200);
        assert!(seen.size.is_some() || !seen.can_be_divided());
        if let Some(name) = seen.name {
            assert!(!name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b"."));
        }
    }
    let known = Response::builder().header("etag", "\"a\"").header("content-length", SIZE);
    let seen = Seen::of(&known.body(()).unwrap()).unwrap();
    if seen.judge_part(&answer, &asked).is_ok() {
        assert_eq!(status, 206);
        let range = answer.headers()["content-range"].to_str().unwrap();
        assert_eq!(range.trim(), format!("bytes 4096-8191/{SIZE}"));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((status, bytes)) = bytes.split_at_checked(2) else { return };
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(at);
    let text = String::from_utf8_lossy(line);
    let fields = fields(rest);
    request(&text, &fields);
    assert!(attachment(line).is_ascii());
    if let Some(name) = harmless(line) {
        assert!(!name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b"."));
    }
    if let Ok(target) = Target::parse(&text) {
        assert!(matches!(target.uri.scheme_str(), Some("http" | "https")));
        assert!(!target.uri.to_string().contains("t=SECRET"));
    }
    let base: Uri = "https://nas:7270/a/b?c".parse().unwrap();
    if let Some(to) = join(&base, &text) {
        assert!(matches!(to.scheme_str(), Some("http" | "https")) && to.host().is_some_and(|host| !host.is_empty()));
    }
    let status = u16::from_be_bytes([status[0], status[1]]);
    answer(status, fields.clone());
    answer(if status % 2 == 0 { 200 } else { 206 }, fields);
});
