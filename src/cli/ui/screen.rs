//! The last lines of a terminal: a bar of indicatif for each transfer under way, by a template that suits the
//! width.

use std::io::{self, IsTerminal, Write};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::{env, iter};

use console::{measure_text_width, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;

use super::keys::in_foreground;
use super::view::{View, percent_of};
use super::{keys, out, paint};
use crate::limits::SCREEN_PATIENCE;
use crate::session::snapshot::{FileUnderWay, UnderWay};
use crate::units;

/// Lines that are shown of transfers under way, however many there are and however high the terminal is.
const LINES_MAX: usize = 12;

/// What a terminal has that does not say how large it is.
const USUAL_SIZE: Size = Size { columns: 80, rows: 24 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: usize,
    rows: usize,
}

/// As it is now: a window may be made larger or smaller at any time.
fn size() -> Size {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => USUAL_SIZE,
    }
}

/// Whether stderr is a terminal on which lines can be drawn anew.
pub fn can_draw() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let able = || env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    *CAN.get_or_init(|| io::stderr().is_terminal() && able())
}

// What is to be drawn.

static WANTED: Mutex<Wanted> = Mutex::new(Wanted { views: Vec::new(), state: Drawing::Shown });

struct Wanted {
    views: Vec<View>,
    state: Drawing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawing {
    Shown,
    /// Somebody is to type.
    Hidden,
    /// The program is about to end, and nothing leads back from there.
    Left,
}

impl Wanted {
    /// Has nothing there from now on, for the reason that `state` gives.
    fn take_away(&mut self, state: Drawing) {
        self.views.clear();
        if self.state != Drawing::Left {
            self.state = state;
        }
        keys::unmute();
    }

    /// Nobody types any more.
    fn typed(&mut self) {
        if self.state == Drawing::Hidden {
            self.state = Drawing::Shown;
        }
    }
}

/// Has these transfers shown.
pub fn show(views: Vec<View>) {
    let mut wanted = WANTED.lock();
    if wanted.state == Drawing::Shown {
        if !views.is_empty() {
            keys::mute();
        }
        wanted.views = views;
        drop(wanted);
        out::redraw();
    }
}

/// Takes them away for as long as what is handed out lives: somebody is to type there.
pub fn hide() -> Hidden {
    WANTED.lock().take_away(Drawing::Hidden);
    out::redraw();
    out::hold(true);
    Hidden
}

/// See [`hide`].
pub struct Hidden;

impl Drop for Hidden {
    fn drop(&mut self) {
        out::hold(false);
        WANTED.lock().typed();
    }
}

/// Takes them away until some are shown again. Waits for no terminal that takes nothing.
pub fn clear() {
    WANTED.lock().views.clear();
    out::redraw();
    out::settle(SCREEN_PATIENCE);
}

/// Takes them away for good, as the program is about to end.
pub fn leave() {
    WANTED.lock().take_away(Drawing::Left);
    out::redraw();
}

// What a line says.

/// A line about a transfer, and what stands below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    before: String,
    /// Columns of the bar; none where there is no room for one.
    bar: usize,
    after: String,
    /// The files under way.
    below: Option<String>,
    reached: (u64, u64),
}

/// Between two parts of a line.
const GAP: &str = "  ";
/// What the bar may have, so that its end does not move as the numbers beside it do.
const BARS: [usize; 4] = [40, 30, 20, 10];
/// From this width on there is a bar, and numbers keep their columns as they grow.
const BAR_FROM: usize = 60;

/// All transfers, as far as there is room.
fn lines(size: Size, views: &[View]) -> Vec<Line> {
    let room = (size.rows / 2).clamp(1, LINES_MAX);
    // No line reaches the last column, where terminals differ.
    let width = size.columns.saturating_sub(1);
    let one = |view| line(width, view, room >= 2 * views.len());
    if views.len() <= room {
        return views.iter().map(one).collect();
    }
    let others = views.len() - (room - 1);
    let more = Line { before: short(&format!("{others} more transfers"), width), ..Line::default() };
    views.iter().take(room - 1).map(one).chain(iter::once(more)).collect()
}

fn line(width: usize, view: &View, files_too: bool) -> Line {
    let wide = width + 1 >= BAR_FROM;
    let who = view.who.to_string();
    let who = match &view.who.name {
        Some(name) if measure_text_width(&who) > width / 3 => name.clone(),
        _ => who,
    };
    let who = view.named.then(|| short(&who, (width / 3).max(8)));
    let before = who.into_iter().chain([view.doing().into()]).collect::<Vec<_>>().join(GAP);
    let mut room = width.saturating_sub(measure_text_width(&before));
    let bar_too = wide && view.total.is_some();
    if bar_too {
        room -= GAP.len() + BARS[BARS.len() - 1];
    }
    let mut after = String::new();
    for part in numbers(view, wide).into_iter().flatten() {
        if let Some(rest) = room.checked_sub(GAP.len() + measure_text_width(&part)) {
            room = rest;
            after += GAP;
            after += &part;
        }
    }
    let bar = BARS.into_iter().find(|bar| bar_too && bar - BARS[BARS.len() - 1] <= room);
    let below = files(view).filter(|_| files_too).map(|files| short(&format!("{GAP}{files}"), width));
    let reached = (view.arrived, view.total.unwrap_or(0));
    Line { before: short(&before, width), bar: bar.unwrap_or(0), after, below, reached }
}

/// The numbers of a line, the most important first: they are left out from the end.
fn numbers(view: &View, wide: bool) -> [Option<String>; 6] {
    let reached = view.reached();
    let rate = if wide { view.speed() } else { view.speed_in_short() };
    let (done, all) = view.files;
    let files = match all {
        Some(all @ 2..) => Some(format!("{done}/{all} files")),
        _ => (done > 1).then(|| format!("{done} files")),
    };
    let connections = view.under_way.as_ref().map_or(0, |under_way| under_way.connections);
    [
        Some(if wide { format!("{reached:>4}") } else { reached }),
        rate.map(|rate| if wide { format!("{rate:>9}") } else { rate }),
        view.left(),
        view.bytes(),
        files,
        (connections > 0).then(|| units::count(connections as u64, "connection")),
    ]
}

/// The files under way that travel in pieces.
fn files(view: &View) -> Option<String> {
    let UnderWay { files, .. } = view.under_way.as_ref()?;
    let file = |FileUnderWay { path, chunks, of }: &FileUnderWay| match of {
        Some(of) => format!("{path} {}%", percent_of(*chunks, *of)),
        None => path.to_string(),
    };
    let files: Vec<String> = files.iter().map(file).collect();
    (!files.is_empty()).then(|| files.join(", "))
}

/// A text without control characters in at most so many columns.
fn short(text: &str, columns: usize) -> String {
    truncate_str(text, columns, if paint::has_unicode() { "…" } else { "..." }).into_owned()
}

// How it is drawn.

/// What is drawn, by whoever writes to the terminal.
#[derive(Default)]
struct Screen {
    canvas: Canvas,
    bars: Vec<Bar>,
    all: MultiProgress,
}

struct Bar {
    line: Arc<Mutex<Line>>,
    template: String,
    bar: ProgressBar,
}

/// From now on files move: see [`out::start`].
pub fn start() {
    out::start(Screen::default());
}

impl out::Picture for Screen {
    fn draw(&mut self) {
        let views = WANTED.lock().views.clone();
        self.put(lines(size(), &views));
    }

    fn clear(&mut self) -> bool {
        let anything = !self.bars.is_empty();
        self.put(Vec::new());
        anything
    }
}

impl Screen {
    fn put(&mut self, lines: Vec<Line>) {
        if !in_foreground() {
            // What others wrote meanwhile stands below it.
            return self.begin(0);
        }
        let height =
            |lines: &mut dyn Iterator<Item = bool>| lines.map(|two| 1 + usize::from(two)).sum::<usize>();
        let before = height(&mut self.bars.iter().map(|bar| bar.line.lock().below.is_some()));
        if lines.len() != self.bars.len()
            || height(&mut lines.iter().map(|line| line.below.is_some())) != before
        {
            if before > 0 {
                let _ = self.all.clear();
            }
            self.begin(lines.len());
        }
        let last = lines.len().saturating_sub(1);
        for (at, (bar, line)) in self.bars.iter_mut().zip(lines).enumerate() {
            self.canvas.0.ready.store(at == last, Ordering::Relaxed);
            bar.show(line);
        }
    }

    /// Begins anew, with so many bars.
    fn begin(&mut self, count: usize) {
        // Bars that go would draw themselves once more.
        self.all.set_draw_target(ProgressDrawTarget::hidden());
        self.bars.clear();
        self.all =
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(self.canvas.clone())));
        self.canvas.0.ready.store(true, Ordering::Relaxed);
        let bar = |_| Bar {
            line: Arc::default(),
            template: String::new(),
            bar: self.all.add(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden())),
        };
        self.bars = (0..count).map(bar).collect();
    }
}

impl Bar {
    fn show(&mut self, line: Line) {
        let template = template(&line);
        let (done, of) = line.reached;
        *self.line.lock() = line;
        if template != self.template
            && let Ok(style) = ProgressStyle::with_template(&template)
        {
            let key = |part: fn(&Line) -> &str| {
                let line = self.line.clone();
                move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(part(&line.lock()));
                }
            };
            let style =
                style.with_key("before", key(|line| &line.before)).with_key("after", key(|line| &line.after));
            let style = style.with_key("below", key(|line| line.below.as_deref().unwrap_or_default()));
            self.bar.set_style(style.progress_chars(if paint::has_unicode() { "━╸─" } else { "=>-" }));
            self.template = template;
        }
        self.bar.update(|state| {
            state.set_len(of);
            state.set_pos(done);
        });
    }
}

/// The template of indicatif for such a line.
fn template(line: &Line) -> String {
    let bar = if line.bar > 0 { format!("{GAP}{{bar:{}.green/dim}}", line.bar) } else { String::new() };
    let below = if line.below.is_some() { "\n{below:.dim}" } else { "" };
    format!("{{before}}{bar}{{after}}{below}")
}

/// Where indicatif draws: each frame goes out in one write, at whose end the cursor stands at the beginning
/// of the first line. When a window is made narrower, terminals wrap what they show and keep the cursor where
/// it is in it, so nobody has to know how many rows that takes by then.
#[derive(Clone, Debug, Default)]
struct Canvas(Arc<Frame>);

#[derive(Debug, Default)]
struct Frame {
    text: Mutex<String>,
    /// Whether the frame is complete: every bar has one drawn.
    ready: AtomicBool,
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        size().columns.try_into().unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        size().rows.try_into().unwrap_or(u16::MAX)
    }

    // Each frame begins where the cursor is.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.text.lock().push_str(text);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let lines = take(&mut *self.0.text.lock());
        if !self.0.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Each line is filled to the end of its row.
        let rows = measure_text_width(&lines).div_ceil(self.width().into());
        let up = if rows > 1 { format!("\x1b[{}A", rows - 1) } else { String::new() };
        // In one write, so that nobody sees half of it. When the terminal is gone, nobody sees it at all.
        let _ = io::stderr().lock().write_all(format!("{lines}\x1b[J\r{up}").as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::Reading;
    use super::*;
    use crate::name::RelativePath;
    use std::time::Duration;

    fn file(name: &str, chunks: u64, of: u64) -> FileUnderWay {
        FileUnderWay { path: RelativePath::from_wire(name.as_bytes()).unwrap(), chunks, of: Some(of) }
    }

    /// With files under way.
    fn view() -> View {
        View {
            files: (290, Some(405)),
            under_way: Some(UnderWay {
                connections: 4,
                files: vec![file("disk.img", 8191, 16384), file("big.iso", 1, 4)],
                others: 7,
                all_offered: true,
            }),
            ..View::half_way()
        }
    }

    fn from_ann() -> View {
        View { named: true, receives: true, ..view() }
    }

    fn shown(columns: usize, view: &View) -> String {
        let line = lines(Size { columns, rows: 24 }, std::slice::from_ref(view)).remove(0);
        let bar = if line.bar > 0 { format!("{GAP}[{}]", line.bar) } else { String::new() };
        format!("{}{bar}{}", line.before, line.after)
    }

    #[test]
    fn a_line_tells_as_much_as_there_is_room_for_and_the_least_important_goes_first() {
        assert_eq!(
            [20, 40, 60, 80, 120, 200].map(|columns| shown(columns, &view())),
            [
                "sending  49%",
                "sending  49%  1.17 GB/s  2:05 left",
                "sending  [20]   49%  1.17 GB/s  2:05 left",
                "sending  [10]   49%  1.17 GB/s  2:05 left  2.00/4.00 GB  290/405 files",
                "sending  [30]   49%  1.17 GB/s  2:05 left  2.00/4.00 GB  290/405 files  4 connections",
                "sending  [40]   49%  1.17 GB/s  2:05 left  2.00/4.00 GB  290/405 files  4 connections",
            ]
        );
        assert_eq!(
            [40, 80, 200].map(|columns| shown(columns, &from_ann())),
            [
                "ann  receiving  49%  1.17 GB/s",
                "ann (192.168.1.20)  receiving  [20]   49%  1.17 GB/s  2:05 left",
                "ann (192.168.1.20)  receiving  [40]   49%  1.17 GB/s  2:05 left  2.00/4.00 GB  290/405 files  4 connections",
            ]
        );
    }

    #[test]
    fn no_line_reaches_the_last_column_and_a_small_terminal_is_not_filled() {
        for columns in (4..=250).chain([10_000]) {
            for rows in [1, 4, 24, 60] {
                for views in [vec![view()], vec![from_ann(); 2], vec![view(); 40]] {
                    let lines = lines(Size { columns, rows }, &views);
                    for line in &lines {
                        let bar = if line.bar > 0 { GAP.len() + line.bar } else { 0 };
                        let texts = measure_text_width(&line.before) + bar + measure_text_width(&line.after);
                        let below = measure_text_width(line.below.as_deref().unwrap_or_default());
                        assert!(texts.max(below) < columns, "{columns}: {line:?}");
                    }
                    let height: usize = lines.iter().map(|line| 1 + usize::from(line.below.is_some())).sum();
                    assert!(height <= (rows / 2).clamp(1, LINES_MAX), "{rows}: {lines:?}");
                }
            }
        }
        let lines = lines(Size { columns: 80, rows: 10 }, &vec![view(); 9]);
        assert_eq!(lines.last().unwrap().before, "5 more transfers");
    }

    #[test]
    fn a_total_that_nobody_knows_is_not_made_up() {
        let mut view = View { total: None, files: (1234, None), ..view() };
        view.reading.left = None;
        assert_eq!(shown(80, &view), "sending  2.00 GB  1.17 GB/s  1234 files  4 connections");
        view.files = (1, Some(1));
        assert_eq!(shown(80, &view), "sending  2.00 GB  1.17 GB/s  4 connections");
    }

    #[test]
    fn what_stands_still_says_for_how_long_instead_of_a_rate() {
        let stalled = Some(Duration::from_secs(8));
        let view = View { reading: Reading { stalled, ..Reading::default() }, ..view() };
        assert_eq!(shown(80, &view), "sending  [20]   49%  no answer from ann for 8 s  2.00/4.00 GB");
    }

    #[test]
    fn the_files_under_way_have_one_line_and_do_nothing_to_the_terminal() {
        let below =
            |view: &View| lines(Size { columns: 80, rows: 24 }, std::slice::from_ref(view)).remove(0).below;
        assert_eq!(below(&view()).unwrap(), "  disk.img 49%, big.iso 25%");
        let hostile = file("\x1b[2J\u{202e}gpj.exe\n日本", 1, 2);
        let under_way = UnderWay { files: vec![hostile], ..UnderWay::default() };
        let view = View { under_way: Some(under_way), ..view() };
        assert_eq!(below(&view).unwrap(), "  \\x1b[2J\\u{202e}gpj.exe\\n日本 50%");
    }

    #[test]
    fn lines_that_made_room_for_a_question_come_back_and_those_that_are_gone_for_good_do_not() {
        let mut wanted = Wanted { views: vec![view()], state: Drawing::Shown };
        wanted.take_away(Drawing::Hidden);
        assert!(wanted.views.is_empty());
        wanted.typed();
        assert_eq!(wanted.state, Drawing::Shown);
        wanted.take_away(Drawing::Hidden);
        // Ctrl-C at the question.
        wanted.take_away(Drawing::Left);
        wanted.typed();
        assert_eq!(wanted.state, Drawing::Left);
        wanted.take_away(Drawing::Hidden);
        wanted.typed();
        assert_eq!(wanted.state, Drawing::Left);
    }
}
