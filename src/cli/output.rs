//! Lines for a person: results to stdout, errors to stderr; with `--json` events to stdout instead.

use tracing::Level;

use super::outlet::{self, Stream};
use super::service::mark;

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
    outlet::say(Stream::Stdout, format!("{text}\n").into_bytes());
}

/// Tells whether something that was said on stdout is lost.
pub fn tell_lost() -> bool {
    let lost = outlet::lost();
    if let Some(cause) = lost {
        error(format_args!(
            "standard output could not be written: {cause}, so some of it is missing; redirect it elsewhere"
        ));
    }
    lost.is_some()
}

/// A line to know, to stderr: neither a result nor an error.
pub fn note(text: impl std::fmt::Display) {
    plain_error(format_args!("{}{text}", mark(Level::INFO)));
}

/// A line of error, to stderr.
pub fn error(text: impl std::fmt::Display) {
    plain_error(format_args!("{}{text}", mark(Level::ERROR)));
}

fn plain_error(text: impl std::fmt::Display) {
    ask(format_args!("{text}\n"));
}

/// A question, or what surrounds one, to stderr: whoever answers does so in the same line.
pub fn ask(text: impl std::fmt::Display) {
    outlet::say(Stream::Stderr, text.to_string().into_bytes());
}
