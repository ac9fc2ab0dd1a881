//! How much there is to send in all, where only a walk through folders can tell: a second walk, which waits for nothing and so
//! is far ahead of the one that offers.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::cli::ui::summary::Tally;
use crate::limits::WORKER_STACK_BYTES;
use crate::os::background;
use crate::session::Progress;
use crate::source::{Feed, Survey};

/// A transfer that is over sooner does not pay for a second walk.
const SURVEY_AFTER: Duration = Duration::from_secs(1);

/// Those who want to know it, one for each receiver.
pub type Expecting = Vec<(Weak<Progress>, Arc<Tally>)>;

/// Tells how much there is in `feed`: at once the bytes where those are known, and all of it after a walk that begins when the
/// transfer has lasted for [`SURVEY_AFTER`].
pub fn expect(feed: &Feed, total: Option<u64>, expecting: Expecting) {
    if let Some(total) = total {
        expecting.iter().filter_map(|(progress, _)| progress.upgrade()).for_each(|one| one.expect(total));
    }
    let Some(survey) = feed.survey() else { return };
    let builder = thread::Builder::new().name("survey".into()).stack_size(4 * WORKER_STACK_BYTES);
    // Nobody waits for it: it ends with the transfers, or with the program.
    if let Err(error) = builder.spawn(move || look_ahead(survey, &expecting)) {
        tracing::info!("nobody can look ahead for how much there is: {error}");
    }
}

fn look_ahead(survey: Survey, expecting: &Expecting) {
    thread::sleep(SURVEY_AFTER);
    // What only tells how much there is must not hold up who sends it.
    background::yield_to_others();
    let over = || expecting.iter().all(|(progress, _)| progress.strong_count() == 0);
    let Some((files, bytes)) = survey.count(over) else { return };
    for (progress, tally) in expecting {
        tally.expect(files);
        if let Some(progress) = progress.upgrade() {
            progress.expect(bytes);
        }
    }
}
