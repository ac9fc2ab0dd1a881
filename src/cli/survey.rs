//! How much there is to send in all, where only a walk through folders can tell: a second walk, which waits for nothing and so
//! is far ahead of the one that offers.

use std::sync::{Arc, Weak};
use std::thread;

use crate::limits::{SURVEY_AFTER, WORKER_STACK_BYTES};
use crate::session::Progress;
use crate::source::{Feed, Survey};

/// Tells `progress`, one for each receiver, how much there is in `feed`: at once where that is known, and otherwise after a walk
/// that begins when the transfer has lasted for [`SURVEY_AFTER`].
pub fn start(feed: &Feed, total: Option<u64>, progress: &[Arc<Progress>]) {
    if let Some(total) = total {
        return progress.iter().for_each(|one| one.expect(total));
    }
    let Some(survey) = feed.survey() else { return };
    let progress: Vec<Weak<Progress>> = progress.iter().map(Arc::downgrade).collect();
    let builder = thread::Builder::new().name("survey".into()).stack_size(4 * WORKER_STACK_BYTES);
    // Nobody waits for it: it ends with the transfers, or with the program.
    if let Err(error) = builder.spawn(move || look_ahead(survey, &progress)) {
        tracing::info!("nobody can look ahead for how much there is: {error}");
    }
}

fn look_ahead(survey: Survey, progress: &[Weak<Progress>]) {
    thread::sleep(SURVEY_AFTER);
    let over = || progress.iter().all(|one| one.strong_count() == 0);
    if let Some(bytes) = survey.bytes(over) {
        progress.iter().filter_map(Weak::upgrade).for_each(|one| one.expect(bytes));
    }
}
