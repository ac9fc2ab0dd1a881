//! How much there is to send in all, where only a walk through folders can tell: a second walk, which waits
//! for nothing and so is far ahead of the one that offers.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::cli::ui::summary::Tally;
use crate::os::background;
use crate::os::threads;
use crate::session::Progress;
use crate::source::{Feed, Survey};

/// A transfer that is over sooner does not pay for a second walk.
const SURVEY_AFTER: Duration = Duration::from_secs(1);

/// Nor does one that gets through so many files in that time without a byte of them: a second walk would
/// hardly be faster.
const SURVEY_FILES: u64 = 20_000;

/// Those who want to know it, one for each receiver.
pub type Expecting = Vec<(Weak<Progress>, Arc<Tally>)>;

/// Tells how much there is in `feed`: at once the bytes where those are known, and all of it after a walk
/// that begins when the transfer has lasted for [`SURVEY_AFTER`] and is not going through files that need not
/// be sent.
pub fn expect(feed: &Feed, total: Option<u64>, expecting: Expecting) {
    if let Some(total) = total {
        expecting.iter().filter_map(|(progress, _)| progress.upgrade()).for_each(|one| one.expect(total));
    }
    let Some(survey) = feed.survey() else { return };
    let builder = threads::named("survey").stack_size(4 * threads::WORKER_STACK_BYTES);
    // Nobody waits for it: it ends with the transfers, or with the program.
    if let Err(error) = builder.spawn(move || look_ahead(survey, &expecting)) {
        tracing::info!("nobody can look ahead for how much there is: {error}");
    }
}

/// How many files are done, and how many bytes of them went to the receivers.
fn so_far(expecting: &Expecting) -> (u64, u64) {
    let running = expecting.iter().filter_map(|(progress, _)| progress.upgrade());
    let counts = running.map(|progress| (Progress::get(&progress.files_done), progress.crossed()));
    counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

fn look_ahead(survey: Survey, expecting: &Expecting) {
    let over = || expecting.iter().all(|(progress, _)| progress.strong_count() == 0);
    let (mut files, mut bytes) = (0, 0);
    loop {
        thread::sleep(SURVEY_AFTER);
        let (files_before, bytes_before) = (files, bytes);
        (files, bytes) = so_far(expecting);
        let only_looks = bytes == bytes_before && files >= files_before + SURVEY_FILES;
        if over() || !only_looks {
            break;
        }
    }
    // What only tells how much there is must not hold up who sends it.
    background::yield_to_others();
    let Some((files, bytes)) = survey.count(over) else { return };
    for (progress, tally) in expecting {
        tally.expect(files);
        if let Some(progress) = progress.upgrade() {
            progress.expect(bytes);
        }
    }
}
