//! Transfers under way, as a terminal or a log shows them: bytes that the receiver has written, never bytes
//! queued.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::keys;
use super::meter::Meter;
use super::out::{self, Audience};
use super::screen::{self, can_draw};
use super::summary::Tally;
use super::view::{View, Who};
use crate::name::RelativePath;
use crate::os::threads;
use crate::session::Progress;
use crate::units;

/// How often transfers are looked at, and drawn anew on a terminal: often enough to seem alive, slow enough
/// to be read.
const INTERVAL: Duration = Duration::from_millis(200);

/// How long a transfer lasts before a terminal shows it: what is over sooner would only flash.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// How often a line tells of transfers where there is no terminal, as in a log: two a minute do not bury the
/// rest.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Transfers that a log has a line for each time; of more only how many.
const LOGGED_MAX: usize = 4;

/// Files that are looked for of one transfer: most that move at once fit, and no line has room for more.
const FILES_MAX: usize = 8;

/// All transfers that are shown, in the order in which they began, and whether a thread shows them.
static BOARD: Mutex<Board> = Mutex::new(Board { transfers: Vec::new(), attended: false });

struct Board {
    transfers: Vec<Arc<Transfer>>,
    attended: bool,
}

struct Transfer {
    subject: Subject,
    began: Instant,
    meter: Mutex<Meter>,
    /// The first of the files that were under way when it was looked at last.
    file: Mutex<Option<RelativePath>>,
}

/// A transfer that is shown until this is dropped.
pub struct Shown {
    transfer: Option<Arc<Transfer>>,
}

/// What is to be shown of a transfer.
pub struct Subject {
    pub progress: Arc<Progress>,
    /// Bytes that it is to reach, where that is known from the start.
    pub total: Option<u64>,
    /// Where its files are counted.
    pub tally: Arc<Tally>,
    /// The machine at the other end.
    pub who: Who,
    /// Whether that is to be named, as there may be others.
    pub named: bool,
    /// Whether this machine gets what is moved.
    pub receives: bool,
}

impl Shown {
    pub fn new(subject: Subject, audience: Audience) -> Shown {
        // A script that reads events needs neither lines in its log nor a picture.
        if audience.quiet || audience.json {
            return Shown { transfer: None };
        }
        let transfer = Arc::new(Transfer {
            subject,
            began: Instant::now(),
            meter: Mutex::default(),
            file: Mutex::default(),
        });
        let mut board = BOARD.lock();
        board.transfers.push(transfer.clone());
        if !board.attended {
            let thread = threads::named("progress").stack_size(4 * threads::WORKER_STACK_BYTES);
            board.attended = thread.spawn(attend).is_ok();
        }
        Shown { transfer: Some(transfer) }
    }
}

impl Shown {
    /// The file that it was at, also when the session is over.
    pub fn file(&self) -> Option<RelativePath> {
        self.transfer.as_ref()?.file.lock().clone()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Some(transfer) = self.transfer.take() else { return };
        let mut board = BOARD.lock();
        board.transfers.retain(|other| !Arc::ptr_eq(other, &transfer));
        drop(board);
        draw();
    }
}

/// Shows what there is for as long as there is something.
fn attend() {
    let mut logged = Instant::now();
    if can_draw() {
        keys::draws(true);
    }
    loop {
        thread::sleep(INTERVAL);
        let mut board = BOARD.lock();
        if board.transfers.is_empty() {
            board.attended = false;
            if can_draw() {
                keys::stop_if_wanted(screen::clear);
                keys::draws(false);
            }
            return;
        }
        drop(board);
        if can_draw() {
            keys::stop_if_wanted(screen::clear);
            draw();
            continue;
        }
        // Also where nothing is told: a rate is taken from many looks.
        let views = views();
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            log(&views).iter().for_each(out::note);
        }
    }
}

/// Held from the look at the transfers until it is handed on, so that none is drawn that has ended. No
/// session is asked while the screen is held: it may be telling something just then.
static DRAWING: Mutex<()> = Mutex::new(());

fn draw() {
    if can_draw() {
        let _drawing = DRAWING.lock();
        screen::show(views());
    }
}

fn views() -> Vec<View> {
    let transfers = BOARD.lock().transfers.clone();
    let now = Instant::now();
    transfers.iter().filter_map(|transfer| transfer.view(now)).collect()
}

impl Transfer {
    /// What is to be seen of it; nothing while it is too young, or nobody has offered anything.
    fn view(&self, now: Instant) -> Option<View> {
        let Subject { progress, total, tally, who, named, receives } = &self.subject;
        let (kept, crossed, arrived) =
            (Progress::get(&progress.kept), progress.crossed(), progress.arrived());
        let under_way = progress.under_way(FILES_MAX);
        // While folders are walked through nobody knows the whole, unless somebody has looked ahead.
        let all_offered = under_way.as_ref().is_some_and(|scene| scene.all_offered);
        let total = total.or_else(|| progress.whole(all_offered));
        let left = total.map(|total| total.saturating_sub(arrived));
        if let Some(first) = under_way.as_ref().and_then(|under_way| under_way.files.first()) {
            *self.file.lock() = Some(first.path.clone());
        }
        let mut meter = self.meter.lock();
        let reading = match under_way {
            Some(_) => meter.read(now, kept, crossed, left),
            None => meter.pause(),
        };
        let young = now.saturating_duration_since(self.began) < SHOWN_AFTER;
        let idle = *receives && progress.is_idle() && Progress::get(&progress.files_done) == 0;
        let view = View {
            who: who.clone(),
            named: *named,
            receives: *receives,
            reading,
            arrived,
            total,
            files: tally.files(),
            under_way,
        };
        (!young && !idle).then_some(view)
    }
}

/// What a log is told of all transfers: nothing that a terminal would act on.
fn log(views: &[View]) -> Vec<String> {
    if views.len() > LOGGED_MAX {
        let rate: f64 = views.iter().filter_map(|view| view.reading.rate).sum();
        return vec![format!("{} transfers under way, {}", views.len(), units::rate_of(rate))];
    }
    let one = |view: &View| {
        let who = if view.named { format!("{}: ", view.who) } else { String::new() };
        let reached = view.percent().map(|percent| format!("{percent}%"));
        let bytes = view.bytes().unwrap_or_else(|| units::bytes(view.arrived));
        let parts = [reached, Some(bytes), view.speed(), view.left()];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("{who}{}: {}", view.doing(), parts.join(", "))
    };
    views.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::meter::Reading;

    #[test]
    fn a_log_gets_plain_lines_and_not_many() {
        assert_eq!(log(&[View::half_way()]), ["sending: 49%, 2.00/4.00 GB, 1.17 GB/s, 2:05 left"]);
        let unknown = View {
            total: None,
            named: true,
            receives: true,
            reading: Reading::default(),
            ..View::half_way()
        };
        assert_eq!(log(&[unknown]), ["ann (192.168.1.20): receiving: 2.00 GB"]);
        assert_eq!(log(&vec![View::half_way(); 5]), ["5 transfers under way, 5.85 GB/s"]);
        assert!(log(&[]).is_empty());
    }
}
