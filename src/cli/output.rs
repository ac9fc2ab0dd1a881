//! Lines for a person: results to stdout, errors to stderr, none of them through a progress bar; with `--json` events
//! to stdout instead.

use std::io::{self, Write};
use std::sync::OnceLock;

use indicatif::{MultiProgress, ProgressDrawTarget};

/// All progress bars of this program, so that lines can be printed above them.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Runs `print` while no progress bar is in the way.
pub fn above_progress<T>(print: impl FnOnce() -> T) -> T {
    bars().suspend(print)
}

/// Keeps the progress bars from the terminal for as long as it lives: somebody is to type there.
pub struct BarsHidden(());

impl BarsHidden {
    pub fn hide() -> BarsHidden {
        bars().set_draw_target(ProgressDrawTarget::hidden());
        BarsHidden(())
    }
}

impl Drop for BarsHidden {
    fn drop(&mut self) {
        bars().set_draw_target(ProgressDrawTarget::stderr());
    }
}

/// Who reads what the program says.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// Nothing but errors is wanted.
    pub quiet: bool,
    /// Stdout is for events; an error that is one is not told to a person as well if `quiet`.
    pub json: bool,
    /// Stdout is for the bytes of a file, so that results go to stderr.
    pub bytes: bool,
}

impl Audience {
    /// A line of result for a person.
    pub fn line(self, text: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            self.result(text);
        }
    }

    /// A line of result, also where nothing but errors is wanted.
    pub fn result(self, text: impl std::fmt::Display) {
        if self.bytes { plain_error(text) } else { line(text) }
    }

    /// A line to know, neither a result nor an error.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.quiet {
            note(text);
        }
    }

    /// An error that is told as an event, too, where there are events.
    pub fn error(self, text: impl std::fmt::Display) {
        if !(self.quiet && self.json) {
            error(text);
        }
    }
}

/// A line of result, to stdout.
pub fn line(text: impl std::fmt::Display) {
    line_of(format!("{text}\n").as_bytes());
}

/// A line of bytes with its end, to stdout, in one write where the pipe takes it.
pub fn line_of(bytes: &[u8]) {
    above_progress(|| {
        let mut out = io::stdout().lock();
        // Whoever read our output has left; the transfer does not depend on it.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    });
}

/// A line to know, to stderr: neither a result nor an error.
pub fn note(text: impl std::fmt::Display) {
    error(text);
}

/// A line of error, to stderr.
pub fn error(text: impl std::fmt::Display) {
    plain_error(format_args!("lanx: {text}"));
}

fn plain_error(text: impl std::fmt::Display) {
    above_progress(|| {
        let _ = writeln!(io::stderr().lock(), "{text}");
    });
}
