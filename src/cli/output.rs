//! Lines for a person: results to stdout, errors to stderr, none of them through a progress bar.

use std::io::{self, Write};
use std::sync::OnceLock;

use indicatif::MultiProgress;

/// All progress bars of this program, so that lines can be printed above them.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Runs `print` while no progress bar is in the way.
pub fn above_progress<T>(print: impl FnOnce() -> T) -> T {
    bars().suspend(print)
}

/// A line of result, to stdout.
pub fn line(text: impl std::fmt::Display) {
    above_progress(|| {
        let mut out = io::stdout().lock();
        // Whoever read our output has left; the transfer does not depend on it.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    });
}

/// A line to know, to stderr: neither a result nor an error.
pub fn note(text: impl std::fmt::Display) {
    error(text);
}

/// A line of error, to stderr.
pub fn error(text: impl std::fmt::Display) {
    above_progress(|| {
        let _ = writeln!(io::stderr().lock(), "lanx: {text}");
    });
}
