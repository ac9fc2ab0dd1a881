//! `send --report FILE`: what became of each entry, a line for each. The file gets its name when every entry
//! has its outcome.

use std::path::Path;

use parking_lot::Mutex;

use super::Draft;
use super::record::{NotOffered, Told, line};
use crate::cli::error::Failure;
use crate::session::FileReport;
use crate::source::Trouble;

/// A report that is being written, for all receivers together.
pub struct Report(Mutex<State>);

struct State {
    /// Receivers at which not every entry has its outcome.
    open: usize,
    draft: Option<Draft>,
    /// What went wrong with it.
    failed: Option<Failure>,
}

impl Report {
    /// Of what goes to so many receivers.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(path: &Path, receivers: usize) -> Result<Report, Failure> {
        let draft = Some(Draft::new(path)?);
        Ok(Report(Mutex::new(State { open: receivers, draft, failed: None })))
    }

    /// Writes what became of one entry. What goes wrong is told at the end.
    pub fn add(&self, report: &FileReport, peer: &str) {
        if let Some(told) = Told::of(report, peer) {
            self.write(&line(&told));
        }
    }

    /// The same of what could not even be offered.
    pub fn not_offered(&self, trouble: &Trouble, peer: &str) {
        self.write(&line(&NotOffered::of(trouble, peer)));
    }

    fn write(&self, line: &[u8]) {
        let mut state = self.0.lock();
        let written = state.draft.as_mut().map(|draft| draft.write(line));
        if let Some(Err(failure)) = written {
            (state.draft, state.failed) = (None, Some(failure));
        }
    }

    /// Every entry has its outcome at one more receiver.
    pub fn done(&self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
    }

    /// Gives it its name, if all has its outcome. What lacks some is no report, and goes.
    ///
    /// # Errors
    /// It could not be written.
    pub fn publish(&self) -> Result<(), Failure> {
        let mut state = self.0.lock();
        match (state.failed.take(), state.draft.take()) {
            (Some(failure), _) => Err(failure),
            (None, Some(draft)) if state.open == 0 => draft.publish(),
            (None, _) => Ok(()),
        }
    }
}
