//! Transfers under way, as a terminal or a log shows them: bytes that the receiver has written, never bytes queued.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;
use unicode_width::UnicodeWidthChar;

use super::out;
use super::out::{Audience, can_draw, ink};
use crate::limits::{
    DOING_WINDOW, ETA_AFTER, ETA_MOST, ETA_SETTLE, FILES_SHOWN_MAX, LOG_INTERVAL, RATE_AFTER, RATE_WINDOW,
    SCREEN_AFTER, SCREEN_INTERVAL, SCREEN_LINES_MAX, TRANSFERS_LOGGED_MAX, WORKER_STACK_BYTES,
};
use crate::session::Progress;
use crate::session::snapshot::{FileUnderWay, UnderWay};
use crate::units;

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
        draws(true);
    }
    loop {
        thread::sleep(SCREEN_INTERVAL);
        let mut board = BOARD.lock();
        if board.transfers.is_empty() {
            board.attended = false;
            if can_draw() {
                stop_if_wanted();
                draws(false);
            }
            return;
        }
        drop(board);
        if can_draw() {
            stop_if_wanted();
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

/// Held from the look at the transfers until it is handed on, so that none is drawn that has ended. No session is asked while
/// the screen is held: it may be telling something just then.
static DRAWING: Mutex<()> = Mutex::new(());

fn draw() {
    if can_draw() {
        let _drawing = DRAWING.lock();
        let views = views();
        out::show(|size| block(size.columns, size.rows, &views, ink()));
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

// What is shown of transfers under way, laid out for a terminal of any size: sizes and counts in, lines out.

/// One transfer at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The machine at the other end, where it is to be named.
    pub who: Option<Who>,
    /// Whether this machine gets what is moved.
    pub receives: bool,
    pub reading: Reading,
    /// Bytes that were there already.
    pub kept: u64,
    /// Bytes that are where they belong, those included.
    pub arrived: u64,
    /// Nothing while nobody knows.
    pub total: Option<u64>,
    pub files_done: u64,
    pub under_way: Option<UnderWay>,
}

/// A machine, with whatever names it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub name: Option<String>,
    pub address: String,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Colours,
}

impl Ink {
    fn colour(self, code: u8, text: &str) -> String {
        match self {
            Ink::Colours if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.into(),
        }
    }
}

const GREEN: u8 = 32;
const DIM: u8 = 2;

/// Between two parts of a line.
const GAP: usize = 2;
const BAR_MIN: usize = 10;
const BAR_MAX: usize = 40;
/// From this width on numbers keep their columns as they grow.
const COLUMNS_KEPT_FROM: usize = 60;
/// What stands before the name of a file: its percentage.
const FILE_INDENT: usize = 8;

/// All transfers on a terminal of so many columns and rows: a line for each, and below it the files that it moves, as far as
/// there is room. No line reaches the last column, where terminals differ.
pub fn block(columns: usize, rows: usize, views: &[View], ink: Ink) -> Vec<String> {
    let width = columns.saturating_sub(1);
    let room = (rows / 2).clamp(1, SCREEN_LINES_MAX);
    if views.len() > room {
        let shown = views.iter().take(room - 1).map(|view| header(width, view, ink));
        let others = (views.len() - (room - 1)) as u64;
        return shown.chain([more(width, &format!("{others} more transfers"), ink)]).collect();
    }
    let each = (room - views.len()).checked_div(views.len()).unwrap_or(0);
    let lines = |view| {
        let files = files(width, each, view, ink);
        std::iter::once(header(width, view, ink)).chain(files)
    };
    views.iter().flat_map(lines).collect()
}

/// A line about a whole transfer. What there is no room for is left out, the least important first.
fn header(width: usize, view: &View, ink: Ink) -> String {
    let Reading { rate, left, .. } = view.reading;
    let padded = width >= COLUMNS_KEPT_FROM;
    let mut row = Row::new(width);
    match percent(view) {
        Some(percent) if padded => row.put(Slot::Percent, &[&format!("{percent:>3}%")]),
        Some(percent) => row.put(Slot::Percent, &[&format!("{percent}%")]),
        None => row.put(Slot::Bytes, &[&units::bytes(view.arrived)]),
    }
    if let Some(who) = &view.who {
        let short = elided(who.name.as_ref().unwrap_or(&who.address), (width / 3).max(8));
        match who.to_string() {
            long if columns_of(&long) <= width / 3 => row.put(Slot::Who, &[&long]),
            _ => row.put(Slot::Who, &[&short]),
        }
    }
    row.put(Slot::Doing, doing(view));
    if let Some(rate) = rate.filter(|_| view.reading.doing != Doing::Waiting) {
        let text = units::rate_of(rate);
        row.put(Slot::Rate, &[&if padded { format!("{text:>10}") } else { text }]);
    }
    row.put_if(Slot::Left, left.map(|left| format!("{} left", until(left))));
    if let Some(total) = view.total {
        row.put(Slot::Bar, &[&" ".repeat(BAR_MIN)]);
        row.put(Slot::Bytes, &[&of(view.arrived, total)]);
    }
    if let Some(UnderWay { connections: n @ 1.., .. }) = view.under_way {
        row.put(Slot::Connections, &[&units::count(n as u64, "connection"), &format!("{n} conn.")]);
    }
    let several = view.files_done > 1;
    row.put_if(Slot::Files, several.then(|| format!("{} done", units::count(view.files_done, "file"))));
    row.line(|room| bar(room, view, ink))
}

/// The files that a transfer moves, in at most `room` lines.
fn files(width: usize, room: usize, view: &View, ink: Ink) -> Vec<String> {
    let Some(UnderWay { files, others, .. }) = &view.under_way else { return Vec::new() };
    let all = files.len() + others;
    // A line that says how many more there are takes the place of a file.
    let shown = if *others == 0 && all <= room { all } else { files.len().min(room.saturating_sub(1)) };
    let mut lines: Vec<String> = files.iter().take(shown).map(|file| file_line(width, file)).collect();
    let rest = (all - shown) as u64;
    if rest > 0 && lines.len() < room {
        let text = if shown == 0 { units::count(rest, "file") } else { format!("{rest} more") };
        lines.push(more(width, &format!("{text} under way"), ink));
    }
    lines
}

fn file_line(width: usize, file: &FileUnderWay) -> String {
    let percent = file.of.map(|of| format!("{}%", part_of(100, file.chunks, of)));
    let name = elided(&file.path.to_string(), width.saturating_sub(FILE_INDENT));
    let text = format!("{:>6}  {name}", percent.unwrap_or_default());
    if columns_of(&text) <= width { text } else { String::new() }
}

fn more(width: usize, text: &str, ink: Ink) -> String {
    ink.colour(DIM, &elided(&format!("{:FILE_INDENT$}{text}", ""), width))
}

/// What is being done, in fewer words where there is less room.
fn doing(view: &View) -> &'static [&'static str] {
    match (view.reading.doing, view.receives) {
        (Doing::Comparing, _) => &["comparing"],
        (Doing::Both, false) => &["comparing and sending", "comparing"],
        (Doing::Both, true) => &["comparing and receiving", "comparing"],
        (Doing::Moving, false) => &["sending"],
        (Doing::Moving, true) => &["receiving"],
        (Doing::Waiting, _) => &["connecting"],
    }
}

/// Whole ones only, and not all of them before the end.
fn percent(view: &View) -> Option<u64> {
    view.total.map(|total| part_of(100, view.arrived, total).min(99))
}

fn part_of(whole: u64, n: u64, of: u64) -> u64 {
    if of == 0 {
        return 0;
    }
    let part = u128::from(n.min(of)) * u128::from(whole) / u128::from(of);
    u64::try_from(part).unwrap_or(whole)
}

/// `#` for what crossed the network, `=` before it for what was there already.
fn bar(columns: usize, view: &View, ink: Ink) -> String {
    let inner = columns.saturating_sub(2);
    let total = view.total.unwrap_or(0);
    let filled = part_of(inner as u64, view.arrived, total);
    let kept = part_of(inner as u64, view.kept, total).min(filled);
    let signs = |sign: &str, n: u64| sign.repeat(usize::try_from(n).unwrap_or(0));
    let (kept, moved) = (signs("=", kept), signs("#", filled - kept));
    let rest = " ".repeat(inner.saturating_sub(kept.len() + moved.len()));
    format!("[{}{}{rest}]", ink.colour(DIM, &kept), ink.colour(GREEN, &moved))
}

/// `1.68 of 4.00 GiB`.
fn of(n: u64, total: u64) -> String {
    let (n, total) = (units::bytes(n.min(total)), units::bytes(total));
    match (n.split_once(' '), total.split_once(' ')) {
        (Some((n, unit)), Some((_, same))) if unit == same => format!("{n} of {total}"),
        _ => format!("{n} of {total}"),
    }
}

/// A time to come, in steps that nobody has to count.
fn until(left: Duration) -> String {
    let seconds = left.as_secs_f64().ceil().max(1.0) as u64;
    let seconds = if seconds > 60 { seconds.next_multiple_of(5) } else { seconds };
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What a log is told of all transfers: nothing that a terminal would act on.
pub fn log(views: &[View]) -> Vec<String> {
    if views.len() > TRANSFERS_LOGGED_MAX {
        let rate: f64 = views.iter().filter_map(|view| view.reading.rate).sum();
        return vec![format!("{} transfers under way, {}", views.len(), units::rate_of(rate))];
    }
    let one = |view: &View| {
        let doing = doing(view).first().copied().unwrap_or_default();
        let amount = match view.total {
            Some(total) => {
                format!("{}%, {}", percent(view).unwrap_or_default(), of(view.arrived, total))
            }
            None => units::bytes(view.arrived),
        };
        let Reading { rate, left, .. } = view.reading;
        let who = view.who.as_ref().map(|who| format!("{who}: "));
        let rate = rate.map(|rate| format!(", {}", units::rate_of(rate)));
        let left = left.map(|left| format!(", {} left", until(left)));
        [who, Some(format!("{doing}: {amount}")), rate, left].into_iter().flatten().collect()
    };
    views.iter().map(one).collect()
}

/// Where the parts of a line stand, from left to right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Who,
    Doing,
    Bar,
    Percent,
    Bytes,
    Rate,
    Connections,
    Files,
    Left,
}

/// A line that takes in what there is room for.
struct Row {
    width: usize,
    used: usize,
    parts: Vec<(Slot, String)>,
}

impl Row {
    fn new(width: usize) -> Row {
        Row { width, used: 0, parts: Vec::new() }
    }

    /// Takes in the first of the texts, which say the same in fewer and fewer words, that there is room for.
    fn put(&mut self, slot: Slot, texts: &[&str]) {
        let gap = if self.parts.is_empty() { 0 } else { GAP };
        let room = self.width.saturating_sub(self.used + gap);
        if let Some(text) = texts.iter().find(|text| columns_of(text) <= room) {
            self.used += gap + columns_of(text);
            self.parts.push((slot, (*text).into()));
        }
    }

    fn put_if(&mut self, slot: Slot, text: Option<String>) {
        if let Some(text) = text {
            self.put(slot, &[&text]);
        }
    }

    /// The whole line. The bar gets what is left of it.
    fn line(mut self, bar: impl Fn(usize) -> String) -> String {
        self.parts.sort_by_key(|(slot, _)| *slot);
        let spare = self.width - self.used;
        let part = |(slot, text)| match slot {
            Slot::Bar => bar((BAR_MIN + spare).min(BAR_MAX)),
            _ => text,
        };
        self.parts.into_iter().map(part).collect::<Vec<String>>().join(&" ".repeat(GAP))
    }
}

/// Columns that a terminal takes for a text without control characters.
pub fn columns_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// A text in at most `room` columns: where it has more, its middle is left out. Names differ at their ends.
pub fn elided(text: &str, room: usize) -> String {
    const DOTS: &str = "...";
    if columns_of(text) <= room {
        return text.into();
    }
    let Some(rest) = room.checked_sub(DOTS.len()) else { return ".".repeat(room) };
    let (mut head, mut taken) = (0, 0);
    for (at, c) in text.char_indices() {
        if taken + columns(c) > rest.div_ceil(2) {
            break;
        }
        taken += columns(c);
        head = at + c.len_utf8();
    }
    let (mut tail, mut room) = (text.len(), rest - taken);
    for (at, c) in text.char_indices().rev() {
        let Some(less) = room.checked_sub(columns(c)) else { break };
        room = less;
        // A mark without a column of its own goes with what it stands on, so it begins nothing.
        if columns(c) > 0 {
            tail = at;
        }
    }
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    format!("{}{DOTS}{}", part(0..head), part(tail.max(head)..text.len()))
}

// How fast a transfer goes and how long it will take: over a few seconds, so that neither jumps.

/// What the bytes do that were counted of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// They cross the network.
    #[default]
    Moving,
    /// They turn out to be there already.
    Comparing,
    Both,
    /// There is no session that could do anything.
    Waiting,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    pub doing: Doing,
    /// Bytes a second; nothing before there is enough to go by.
    pub rate: Option<f64>,
    /// Time that it will take; nothing while that is a guess.
    pub left: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    kept: u64,
    moved: u64,
}

impl Sample {
    /// Seconds, and bytes of both kinds, since `earlier`.
    fn since(self, earlier: Sample) -> (f64, u64, u64) {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        (seconds, self.kept.saturating_sub(earlier.kept), self.moved.saturating_sub(earlier.moved))
    }
}

/// Follows the counters of one transfer.
#[derive(Default)]
pub struct Meter {
    /// Those of the last [`RATE_WINDOW`], the oldest first.
    samples: VecDeque<Sample>,
    doing: Doing,
    /// Since when bytes have come at the rate that they come at.
    steady_since: Option<Instant>,
    /// When it will be over, as it was told last, and when that was.
    told: Option<(Instant, Instant)>,
}

impl Meter {
    /// Takes the counters in: bytes that were there already and bytes that crossed the network, so far. `left` are those
    /// that are missing, where that is known.
    pub fn read(&mut self, now: Instant, kept: u64, moved: u64, left: Option<u64>) -> Reading {
        let sample = Sample { at: now, kept, moved };
        if self.samples.back().is_some_and(|last| kept < last.kept || moved < last.moved) {
            // A session was lost, and the next one counts anew.
            *self = Meter::default();
        }
        self.samples.push_back(sample);
        self.look(sample);
        let old = |sample: &Sample| now.saturating_duration_since(sample.at) > RATE_WINDOW;
        while self.samples.len() > 2 && self.samples.front().is_some_and(old) {
            self.samples.pop_front();
        }
        let rate = self.rate(sample);
        let left = self.left(now, rate, left);
        Reading { doing: self.doing, rate, left }
    }

    /// There is no session.
    pub fn pause(&mut self) -> Reading {
        *self = Meter::default();
        Reading { doing: Doing::Waiting, ..Reading::default() }
    }

    /// Finds out what is being done.
    fn look(&mut self, now: Sample) {
        let recent = |sample: &&Sample| now.at.saturating_duration_since(sample.at) <= DOING_WINDOW;
        let Some((_, kept, moved)) = self.samples.iter().find(recent).map(|first| now.since(*first)) else {
            return;
        };
        let before = self.doing;
        self.doing = match (kept, moved) {
            (0, 0) => before,
            (0, _) => Doing::Moving,
            (_, 0) => Doing::Comparing,
            (_, _) => Doing::Both,
        };
        if (kept, moved) != (0, 0) && self.steady_since.is_none() {
            self.steady_since = Some(now.at);
        }
        // How fast it compared says nothing about how fast it sends, nor the other way round.
        if before != self.doing {
            self.samples.retain(|sample| recent(&sample));
            self.steady_since = Some(now.at);
        }
    }

    fn rate(&self, now: Sample) -> Option<f64> {
        let (seconds, kept, moved) = now.since(*self.samples.front()?);
        let bytes = match self.doing {
            Doing::Comparing => kept,
            Doing::Both => kept.saturating_add(moved),
            Doing::Moving | Doing::Waiting => moved,
        };
        (seconds >= RATE_AFTER.as_secs_f64()).then(|| bytes as f64 / seconds)
    }

    /// Moves what was told towards what is true now, so that a rate that varies does not make it dance.
    fn left(&mut self, now: Instant, rate: Option<f64>, left: Option<u64>) -> Option<Duration> {
        // How much of it will have to be sent, nobody knows while it compares.
        let known = self.doing != Doing::Comparing;
        let steady = self.steady_since.is_some_and(|since| now.saturating_duration_since(since) >= ETA_AFTER);
        let rate = rate.filter(|rate| known && steady && *rate > 0.0);
        let seconds = rate.zip(left).map(|(rate, left)| left as f64 / rate);
        let Some(seconds) = seconds.filter(|seconds| *seconds <= ETA_MOST.as_secs_f64()) else {
            self.told = None;
            return None;
        };
        let shown = match self.told {
            None => seconds,
            Some((end, at)) => {
                let told = end.saturating_duration_since(now).as_secs_f64();
                let passed = now.saturating_duration_since(at).as_secs_f64();
                told + (seconds - told) * (passed / ETA_SETTLE.as_secs_f64()).min(1.0)
            }
        };
        let shown = Duration::from_secs_f64(shown.max(0.0));
        self.told = Some((now + shown, now));
        Some(shown)
    }
}

// Ctrl-Z while transfers are shown: what is drawn goes before the program stops, so that the shell finds its line free.

/// What the signal handler and whoever draws tell each other.
struct Suspension {
    /// Nothing is drawn: the program may stop at once.
    idle: Arc<AtomicBool>,
    wanted: Arc<AtomicBool>,
}

fn suspension() -> &'static Suspension {
    static SUSPENSION: OnceLock<Suspension> = OnceLock::new();
    SUSPENSION.get_or_init(|| {
        let (idle, wanted) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
        let stop = Signal::TSTP.as_raw();
        let heard = flag::register_conditional_default(stop, idle.clone())
            .and_then(|_| flag::register(stop, wanted.clone()));
        if let Err(error) = heard {
            tracing::debug!("Ctrl-Z will leave what is drawn where it is: {error}");
        }
        Suspension { idle, wanted }
    })
}

/// Somebody draws from now on, and looks at [`stop_if_wanted`] again and again; or nobody does.
pub fn draws(somebody: bool) {
    let Suspension { idle, wanted } = suspension();
    wanted.store(false, Ordering::Relaxed);
    idle.store(!somebody, Ordering::Relaxed);
}

/// Stops the program where the user has asked for it, until it is to go on.
pub fn stop_if_wanted() {
    if suspension().wanted.swap(false, Ordering::Relaxed) {
        out::clear();
        if let Err(error) = emulate_default_handler(Signal::TSTP.as_raw()) {
            tracing::debug!("cannot stop: {error}");
        }
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod layout_tests;

#[cfg(test)]
mod meter_tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const TICK: Duration = Duration::from_millis(200);

    /// A transfer that is looked at each [`TICK`].
    struct Run {
        meter: Meter,
        now: Instant,
        kept: u64,
        moved: u64,
    }

    impl Run {
        fn new() -> Run {
            let mut run = Run { meter: Meter::default(), now: Instant::now(), kept: 0, moved: 0 };
            run.look(None);
            run
        }

        fn look(&mut self, total: Option<u64>) -> Reading {
            let left = total.map(|total| total.saturating_sub(self.kept + self.moved));
            self.meter.read(self.now, self.kept, self.moved, left)
        }

        /// Goes on for so long at these bytes a second; what there was to see.
        fn go(&mut self, seconds: f64, kept: u64, moved: u64, total: u64) -> Vec<Reading> {
            let ticks = (seconds / TICK.as_secs_f64()).round() as usize;
            (0..ticks)
                .map(|_| {
                    self.now += TICK;
                    self.kept += kept / 5;
                    self.moved += moved / 5;
                    self.look(Some(total))
                })
                .collect()
        }
    }

    fn near(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= 0.02 * wanted
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut run = Run::new();
        let all = run.go(10.0, 0, 100 * MB, 10_000 * MB);
        assert_eq!(all[0].rate, None, "one tick is too little to go by");
        assert!(all[5..].iter().all(|reading| near(reading.rate.unwrap(), 1e8)), "{all:?}");
        let slower: Vec<f64> =
            run.go(6.0, 0, 20 * MB, 10_000 * MB).iter().map(|reading| reading.rate.unwrap()).collect();
        assert!(slower.is_sorted_by(|a, b| a >= b), "{slower:?}");
        let step = slower.windows(2).map(|pair| pair[0] - pair[1]).fold(0.0, f64::max);
        assert!(step < 6e6, "a jump of {step}");
        assert!(near(slower[slower.len() - 1], 2e7), "{slower:?}");
        let stalled = run.go(6.0, 0, 0, 10_000 * MB);
        assert_eq!(stalled.last().map(|reading| (reading.rate, reading.left)), Some((Some(0.0), None)));
    }

    #[test]
    fn there_is_no_end_in_sight_before_it_means_something_and_then_it_comes_nearer_by_the_second() {
        let mut run = Run::new();
        let all = run.go(20.0, 0, 100 * MB, 6_000 * MB);
        let first = all.iter().position(|reading| reading.left.is_some()).unwrap();
        assert!(
            TICK * first as u32 >= ETA_AFTER - TICK && TICK * first as u32 <= ETA_AFTER + TICK,
            "{first}"
        );
        for (n, reading) in all.iter().enumerate().skip(first) {
            let wanted = 60.0 - (TICK * (n as u32 + 1)).as_secs_f64();
            assert!(near(reading.left.unwrap().as_secs_f64(), wanted), "{n}: {reading:?}");
        }
    }

    #[test]
    fn a_rate_that_varies_does_not_make_the_end_dance() {
        let mut run = Run::new();
        run.go(6.0, 0, 100 * MB, 100_000 * MB);
        let mut before = run.go(TICK.as_secs_f64(), 0, 100 * MB, 100_000 * MB)[0].left.unwrap();
        for round in 0..60 {
            let rate = if round % 2 == 0 { 60 * MB } else { 140 * MB };
            for reading in run.go(1.0, 0, rate, 100_000 * MB) {
                let left = reading.left.unwrap();
                let jump = left.as_secs_f64() - before.as_secs_f64();
                assert!(jump.abs() < 0.02 * before.as_secs_f64(), "{before:?} to {left:?}");
                before = left;
            }
        }
    }

    #[test]
    fn comparing_and_sending_are_told_apart_and_do_not_count_for_each_other() {
        let mut run = Run::new();
        let compared = run.go(5.0, 2_000 * MB, 0, 20_000 * MB);
        assert!(compared.iter().all(|r| r.doing == Doing::Comparing && r.left.is_none()), "{compared:?}");
        assert!(near(compared[24].rate.unwrap(), 2e9), "{compared:?}");
        let both = run.go(5.0, 1_000 * MB, 100 * MB, 20_000 * MB);
        assert_eq!(both.last().map(|r| r.doing), Some(Doing::Both));
        let mut run = Run::new();
        run.go(5.0, 2_000 * MB, 0, 20_000 * MB);
        let sent = run.go(8.0, 0, 100 * MB, 20_000 * MB);
        let moving: Vec<&Reading> = sent.iter().skip_while(|r| r.doing != Doing::Moving).collect();
        assert!(
            moving.len() > 30 && moving.iter().all(|r| r.rate.is_none_or(|rate| rate < 1.1e8)),
            "{moving:?}"
        );
        // 10 GB compared; of the rest 9.2 GB are left at 100 MB a second.
        assert!(near(sent.last().unwrap().left.unwrap().as_secs_f64(), 92.0), "{sent:?}");
    }

    #[test]
    fn a_session_that_counts_anew_or_is_missing_begins_anew() {
        let mut run = Run::new();
        run.go(5.0, 2_000 * MB, 100 * MB, 20_000 * MB);
        run.kept = 0;
        run.now += TICK;
        assert_eq!(run.look(Some(MB)), Reading::default());
        assert_eq!(run.meter.pause().doing, Doing::Waiting);
        // Nor does a clock that stands still, or an end out of all measure, do any harm.
        for _ in 0..3 {
            assert_eq!(run.look(Some(u64::MAX)).left, None);
        }
        let readings = run.go(9.0, 0, 5, u64::MAX);
        assert!(readings.iter().all(|reading| reading.left.is_none()));
    }
}
