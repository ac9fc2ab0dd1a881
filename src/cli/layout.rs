//! What is shown of transfers under way, laid out for a terminal of any size: sizes and counts in, lines out.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use super::meter::{Doing, Reading};
use super::units;
use crate::limits::{SCREEN_LINES_MAX, TRANSFERS_LOGGED_MAX};
use crate::session::under_way::{FileUnderWay, UnderWay};

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

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
