//! Where a receiver puts what it gets: a folder, or the standard output.

use std::sync::Arc;

use super::error::SinkError;
use super::existing::Existing;
use super::sink::Sink;
use super::stdout::Output;

/// Where a receiver puts what it gets.
#[derive(Debug)]
pub enum Destination {
    Folder(Sink),
    /// One file, in order.
    Output(Arc<Output>),
}

impl Destination {
    #[must_use]
    pub fn folder(&self) -> Option<&Sink> {
        match self {
            Destination::Folder(sink) => Some(sink),
            Destination::Output(_) => None,
        }
    }

    #[must_use]
    pub fn output(&self) -> Option<&Output> {
        match self {
            Destination::Folder(_) => None,
            Destination::Output(output) => Some(output),
        }
    }

    /// As [`Sink::check_place`]; the standard output has none.
    ///
    /// # Errors
    /// Those of [`Sink::check_place`].
    pub fn check_place(&self) -> Result<(), SinkError> {
        self.folder().map_or(Ok(()), Sink::check_place)
    }

    /// What to do when a name is taken. In the standard output there are no names.
    #[must_use]
    pub fn existing(&self) -> Existing {
        self.folder().map_or(Existing::Refuse, Sink::existing)
    }
}
