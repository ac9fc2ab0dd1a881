//! Transfers under way, as a terminal or a log shows them: bytes that the receiver has written, never bytes queued.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use super::layout::{self, View, Who};
use super::meter::Meter;
use super::output::{self, Audience};
use super::screen::{self, can_draw, ink};
use super::suspend;
use crate::limits::{FILES_SHOWN_MAX, LOG_INTERVAL, SCREEN_AFTER, SCREEN_INTERVAL, WORKER_STACK_BYTES};
use crate::session::Progress;

/// All transfers that are shown, in the order in which they began, and whether a thread shows them.
static BOARD: Mutex<Board> = Mutex::new(Board { transfers: Vec::new(), attended: false });

struct Board {
    transfers: Vec<Arc<Transfer>>,
    attended: bool,
}

struct Transfer {
    progress: Arc<Progress>,
    /// Bytes that it is to reach, where that is known from the start.
    total: Option<u64>,
    who: Option<Who>,
    receives: bool,
    began: Instant,
    meter: Mutex<Meter>,
}

/// A transfer that is shown until this is dropped.
pub struct Shown {
    transfer: Option<Arc<Transfer>>,
}

/// Has a transfer shown that sends `total` bytes, where that is known. `who` gets them, where that is to be told.
pub fn sends(progress: &Arc<Progress>, total: Option<u64>, who: Option<Who>, audience: Audience) -> Shown {
    Shown::new(progress, total, who, false, audience)
}

/// Has a transfer shown that `who` sends here.
pub fn receives(progress: &Arc<Progress>, who: Who, audience: Audience) -> Shown {
    Shown::new(progress, None, Some(who), true, audience)
}

impl Shown {
    fn new(
        progress: &Arc<Progress>,
        total: Option<u64>,
        who: Option<Who>,
        receives: bool,
        audience: Audience,
    ) -> Shown {
        // A script that reads events needs no lines in its log.
        if audience.quiet || (audience.json && !can_draw()) {
            return Shown { transfer: None };
        }
        let (progress, meter) = (progress.clone(), Mutex::default());
        let transfer = Arc::new(Transfer { progress, total, who, receives, began: Instant::now(), meter });
        let mut board = BOARD.lock();
        board.transfers.push(transfer.clone());
        if !board.attended {
            let thread = thread::Builder::new().name("progress".into()).stack_size(4 * WORKER_STACK_BYTES);
            board.attended = thread.spawn(attend).is_ok();
        }
        Shown { transfer: Some(transfer) }
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
        suspend::draws(true);
    }
    loop {
        thread::sleep(SCREEN_INTERVAL);
        let mut board = BOARD.lock();
        if board.transfers.is_empty() {
            board.attended = false;
            if can_draw() {
                suspend::stop_if_wanted();
                suspend::draws(false);
            }
            return;
        }
        drop(board);
        if can_draw() {
            suspend::stop_if_wanted();
            draw();
            continue;
        }
        // Also where nothing is told: a rate is taken from many looks.
        let views = views();
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            layout::log(&views).iter().for_each(output::note);
        }
    }
}

/// Held from the look at the transfers until it is handed on, so that none is drawn that has ended. No session is asked while
/// the screen is held: it may be telling something just then.
static DRAWING: Mutex<()> = Mutex::new(());

fn draw() {
    if can_draw() {
        let _drawing = DRAWING.lock();
        let views = views();
        screen::show(|size| layout::block(size.columns, size.rows, &views, ink()));
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
        let progress = &*self.progress;
        let (kept, crossed, arrived) =
            (Progress::get(&progress.kept), progress.crossed(), progress.arrived());
        let under_way = progress.under_way(FILES_SHOWN_MAX);
        // While folders are walked through nobody knows the whole, unless somebody has looked ahead.
        let all_offered = under_way.as_ref().is_some_and(|scene| scene.all_offered);
        let total = self.total.or_else(|| progress.whole(all_offered));
        let left = total.map(|total| total.saturating_sub(arrived));
        let mut meter = self.meter.lock();
        let reading = match under_way {
            Some(_) => meter.read(now, kept, crossed, left),
            None => meter.pause(),
        };
        let young = now.saturating_duration_since(self.began) < SCREEN_AFTER;
        let idle = self.receives && progress.is_idle() && Progress::get(&progress.files_done) == 0;
        (!young && !idle).then(|| View {
            who: self.who.clone(),
            receives: self.receives,
            reading,
            kept,
            arrived,
            total,
            files_done: Progress::get(&progress.files_done),
            under_way,
        })
    }
}
