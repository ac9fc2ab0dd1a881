//! The way out for all that is said on standard output and standard error. While files move a thread writes each of them, so
//! that a reader that is late, a terminal that is held or a pipe that is full holds up nobody else.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::fstat;
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use tracing::Level;

use super::progress::Ink;
use crate::cli::recv::systemd::mark;
use crate::limits::{
    OUTPUT_PAUSE, OUTPUT_WRITE_BYTES, READER_PATIENCE, SCREEN_PATIENCE, UNREAD_BYTES_MAX, WORKER_STACK_BYTES,
};
use crate::units;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Says something, as whole lines. While files move nobody waits for that: what finds [`UNREAD_BYTES_MAX`] unread is left out, and
/// all that comes until those are read. Then a line says how much that was.
pub fn say(to: Stream, text: Vec<u8>) {
    let outlet = outlet(to);
    outlet.say(outlet.state.lock(), to, text);
}

/// The same of what must not be left out. Nobody waits here either, so whoever has much to say asks for room before it
/// comes to that: [`has_room`].
pub fn keep(to: Stream, text: Vec<u8>) {
    let outlet = outlet(to);
    outlet.keep(outlet.state.lock(), to, text);
}

/// The same of what is out of date once there is something newer: nothing is said where there is no room.
pub fn say_if_room(to: Stream, text: Vec<u8>) {
    let outlet = outlet(to);
    let state = outlet.state.lock();
    if state.has_room(&text) {
        outlet.keep(state, to, text);
    }
}

/// Whether less than [`UNREAD_BYTES_MAX`] is unread.
pub fn has_room(to: Stream) -> bool {
    outlet(to).state.lock().bytes < UNREAD_BYTES_MAX
}

/// From now on files move, and threads write what is said. Without threads it is written by whoever says it.
pub fn start() {
    for (outlet, name) in [(&STDERR, "stderr"), (&STDOUT, "stdout")] {
        if name == "stderr" || !is_one_place() {
            outlet.start(name);
        }
    }
}

/// Waits until all that was said there is written, or nobody has read any of it for [`READER_PATIENCE`], also counted from
/// `end`, when the program began to end. Whatever is said afterwards is written by who says it, and where nobody reads, not at all.
pub fn finish(to: Stream, end: Instant) {
    if !outlet(to).finish(end) && to == Stream::Stdout {
        written(Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")));
    }
}

/// Has the screen drawn anew when all that was said is written.
pub fn redraw() {
    STDERR.redraw();
}

/// Waits until there is nothing to write or to draw, but no longer than `patience`.
pub fn settle(patience: Duration) {
    let until = Instant::now() + patience;
    STDERR.wait_idle(&mut STDERR.state.lock(), |_| until);
}

/// What first kept something from stdout.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Remembers what became of a write to stdout, which is told at the end: a transfer does not depend on it. A reader that has
/// left wanted no more.
pub fn written(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error);
    }
}

/// What kept something from stdout, if anything did.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

static STDERR: LazyLock<Outlet> = LazyLock::new(Outlet::default);
static STDOUT: LazyLock<Outlet> = LazyLock::new(Outlet::default);

/// Where both streams lead to one place they share an outlet, so that their lines stay in order.
fn outlet(to: Stream) -> &'static Outlet {
    match to {
        Stream::Stdout if !is_one_place() => &STDOUT,
        _ => &STDERR,
    }
}

fn is_one_place() -> bool {
    static ONE: OnceLock<bool> = OnceLock::new();
    let place = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    *ONE.get_or_init(|| {
        let (out, err) = (io::stdout(), io::stderr());
        // A terminal may have several names.
        (out.is_terminal() && err.is_terminal())
            || place(out.as_fd()).is_some_and(|there| place(err.as_fd()) == Some(there))
    })
}

#[derive(Default)]
struct Outlet {
    state: Mutex<State>,
    /// There is something to do for the writer.
    news: Condvar,
    /// The writer has done something.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    writer: Writer,
    unread: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    /// Lines that were left out since the unread ones.
    missing: u64,
    /// The screen is to be drawn anew.
    stale: bool,
    /// Since when nothing was written, if there is something to write.
    still_since: Option<Instant>,
    /// The writer has written, and gathers for a moment what comes next.
    pausing: bool,
}

/// Who writes.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Whoever has something to say.
    #[default]
    Anybody,
    Thread,
    /// As nobody reads.
    Nobody,
}

/// What the thread has to do.
enum Task {
    Write(Stream, Vec<u8>),
    /// So many lines are missing.
    TellGap(u64),
    Draw,
}

impl State {
    fn has_room(&self, text: &[u8]) -> bool {
        // Once something was left out, all before it is to be read first.
        self.missing == 0 && (self.bytes == 0 || self.bytes + cost(text) <= UNREAD_BYTES_MAX)
    }

    fn is_idle(&self) -> bool {
        self.still_since.is_none()
    }

    fn task(&mut self) -> Option<Task> {
        if let Some((to, mut text)) = self.unread.pop_front() {
            self.bytes -= cost(&text);
            while let Some((next_to, next)) = self.unread.front()
                && *next_to == to
                && text.len() + next.len() <= OUTPUT_WRITE_BYTES
            {
                self.bytes -= cost(next);
                text.extend_from_slice(next);
                self.unread.pop_front();
            }
            return Some(Task::Write(to, text));
        }
        if self.missing > 0 {
            return Some(Task::TellGap(std::mem::take(&mut self.missing)));
        }
        std::mem::take(&mut self.stale).then_some(Task::Draw)
    }
}

/// What an unread text takes of the memory.
fn cost(text: &[u8]) -> usize {
    text.len() + size_of::<(Stream, Vec<u8>)>()
}

impl Outlet {
    fn say(&self, mut state: MutexGuard<'_, State>, to: Stream, text: Vec<u8>) {
        if state.writer == Writer::Thread && !state.has_room(&text) {
            state.missing += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        } else {
            self.keep(state, to, text);
        }
    }

    fn keep(&self, mut state: MutexGuard<'_, State>, to: Stream, text: Vec<u8>) {
        match state.writer {
            Writer::Nobody => {}
            Writer::Anybody => {
                drop(state);
                write(to, &text);
            }
            Writer::Thread => {
                state.bytes += cost(&text);
                state.unread.push_back((to, text));
                self.wake(state);
            }
        }
    }

    fn redraw(&self) {
        let mut state = self.state.lock();
        if state.writer == Writer::Thread {
            state.stale = true;
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        state.still_since.get_or_insert_with(Instant::now);
        if !state.pausing {
            self.news.notify_one();
        }
    }

    fn start(&'static self, name: &str) {
        let mut state = self.state.lock();
        let builder = thread::Builder::new().name(name.into()).stack_size(WORKER_STACK_BYTES);
        if builder.spawn(|| self.write_all()).is_ok() {
            state.writer = Writer::Thread;
        }
    }

    /// Writes whatever there is to write, for as long as the program lives.
    fn write_all(&self) {
        let mut drawn = Drawn::default();
        loop {
            let task = self.next();
            if !matches!(task, Task::Draw) && drawn.clear() {
                self.redraw();
            }
            match task {
                Task::Write(to, text) => write(to, &text),
                Task::TellGap(lines) => self.tell_gap(lines),
                Task::Draw => drawn.draw(wanted()),
            }
        }
    }

    /// Waits for the next task, as the one before is done. What is said soon after that is gathered: the lines of ten
    /// thousand files would be as many writes otherwise, and wake their reader as often.
    fn next(&self) -> Task {
        let mut state = self.state.lock();
        let mut paused = false;
        loop {
            let task = state.task();
            state.still_since = task.as_ref().map(|_| Instant::now());
            self.moved.notify_all();
            match task {
                Some(task) => return task,
                None if paused => self.news.wait(&mut state),
                None => {
                    state.pausing = true;
                    self.news.wait_for(&mut state, OUTPUT_PAUSE);
                    state.pausing = false;
                    paused = true;
                }
            }
        }
    }

    fn tell_gap(&self, lines: u64) {
        let (mark, lines) = (mark(Level::WARN), units::count(lines, "line"));
        let here = std::ptr::eq(self, &*STDERR);
        let (what, place) = if here { ("this", "here") } else { ("standard output", "there") };
        let text = format!("{mark}nobody read {what} for a while; missing {place}: {lines}\n").into_bytes();
        if here { write(Stream::Stderr, &text) } else { say(Stream::Stderr, text) }
    }

    /// Waits until there is nothing left to do, or for the moment that `until` says of the one when something was done last.
    fn wait_idle(&self, state: &mut MutexGuard<'_, State>, until: impl Fn(Instant) -> Instant) {
        while state.writer == Writer::Thread
            && let Some(still_since) = state.still_since
        {
            if state.pausing {
                self.news.notify_one();
            }
            let until = until(still_since);
            if Instant::now() >= until {
                return;
            }
            self.moved.wait_until(state, until);
        }
    }

    /// Whether all was written.
    fn finish(&self, end: Instant) -> bool {
        let mut state = self.state.lock();
        self.wait_idle(&mut state, |still_since| still_since.max(end) + READER_PATIENCE);
        if state.writer == Writer::Thread {
            state.writer = if state.is_idle() { Writer::Anybody } else { Writer::Nobody };
        }
        self.moved.notify_all();
        state.writer == Writer::Anybody
    }
}

fn write(to: Stream, text: &[u8]) {
    match to {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            written(out.write_all(text).and_then(|()| out.flush()));
        }
        // Whoever read it is gone, and nobody is left to be told.
        Stream::Stderr => drop(io::stderr().lock().write_all(text)),
    }
}

// Lines for a person: results to stdout, errors to stderr; with `--json` events to stdout instead.

/// Who reads what the program says.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// Nothing but errors is wanted.
    pub quiet: bool,
    /// Stdout is for events; an error that is one is not told to a person as well if `quiet`.
    pub json: bool,
    /// Stdout is for the bytes of a file, so that results go to stderr.
    pub bytes: bool,
}

impl Audience {
    /// A line of result for a person.
    pub fn line(self, text: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            self.result(text);
        }
    }

    /// A line of result, also where nothing but errors is wanted.
    pub fn result(self, text: impl std::fmt::Display) {
        if self.bytes { plain_error(text) } else { line(text) }
    }

    /// A line to know, neither a result nor an error.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.quiet {
            note(text);
        }
    }

    /// An error that is told as an event, too, where there are events.
    pub fn error(self, text: impl std::fmt::Display) {
        if !(self.quiet && self.json) {
            error(text);
        }
    }
}

/// A line of result, to stdout.
pub fn line(text: impl std::fmt::Display) {
    say(Stream::Stdout, format!("{text}\n").into_bytes());
}

/// Tells whether something that was said on stdout is lost.
pub fn tell_lost() -> bool {
    let lost = lost();
    if let Some(cause) = lost {
        error(format_args!(
            "standard output could not be written: {cause}, so some of it is missing; redirect it elsewhere"
        ));
    }
    lost.is_some()
}

/// A line to know, to stderr: neither a result nor an error.
pub fn note(text: impl std::fmt::Display) {
    plain_error(format_args!("{}{text}", mark(Level::INFO)));
}

/// A line of error, to stderr.
pub fn error(text: impl std::fmt::Display) {
    plain_error(format_args!("{}{text}", mark(Level::ERROR)));
}

fn plain_error(text: impl std::fmt::Display) {
    ask(format_args!("{text}\n"));
}

/// A question, or what surrounds one, to stderr: whoever answers does so in the same line.
pub fn ask(text: impl std::fmt::Display) {
    say(Stream::Stderr, text.to_string().into_bytes());
}

// The last lines of a terminal, which are drawn anew again and again while others are printed above them.

/// Where a terminal does not say how large it is.
const USUAL_SIZE: Size = Size { columns: 80, rows: 24 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// What is to stand below all other lines on stderr.
static WANTED: Mutex<Wanted> = Mutex::new(Wanted { lines: Vec::new(), state: Drawing::Shown });

struct Wanted {
    lines: Vec<String>,
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
    /// Has no lines there from now on, for the reason that `state` gives.
    fn take_away(&mut self, state: Drawing) {
        self.lines.clear();
        if self.state != Drawing::Left {
            self.state = state;
        }
    }

    /// Nobody types any more.
    fn typed(&mut self) {
        if self.state == Drawing::Hidden {
            self.state = Drawing::Shown;
        }
    }
}

/// Whether stderr is a terminal on which lines can be drawn anew.
pub fn can_draw() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let able = || env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    *CAN.get_or_init(|| io::stderr().is_terminal() && able())
}

/// Colours, unless the user wants none: no-color.org, and CLICOLOR=0.
pub fn ink() -> Ink {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("CLICOLOR").is_some_and(|value| value == "0");
    if unwanted { Ink::Plain } else { Ink::Colours }
}

/// As it is now: a window may be made larger or smaller at any time.
pub fn size() -> Size {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => USUAL_SIZE,
    }
}

/// Whether the terminal is ours to draw on. A job in the background would draw over what others write.
fn in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
}

/// Shows these lines, as they are for a terminal of some size, instead of those that are there.
pub fn show(lines: impl FnOnce(Size) -> Vec<String>) {
    let mut wanted = WANTED.lock();
    if wanted.state == Drawing::Shown {
        wanted.lines = lines(size());
        drop(wanted);
        redraw();
    }
}

/// Takes the lines away for as long as what is handed out lives: somebody is to type there.
pub fn hide() -> Hidden {
    WANTED.lock().take_away(Drawing::Hidden);
    redraw();
    Hidden
}

/// See [`hide`].
pub struct Hidden;

impl Drop for Hidden {
    fn drop(&mut self) {
        WANTED.lock().typed();
    }
}

/// Takes the lines away until some are shown again. Waits for no terminal that takes nothing.
pub fn clear() {
    WANTED.lock().lines.clear();
    redraw();
    settle(SCREEN_PATIENCE);
}

/// Takes the lines away for good, as the program is about to end.
pub fn leave() {
    WANTED.lock().take_away(Drawing::Left);
    redraw();
}

/// What is to be there now.
pub fn wanted() -> Vec<String> {
    WANTED.lock().lines.clone()
}

/// The lines that are there, with the cursor at the beginning of the first. When a window is made narrower, terminals wrap
/// what they show and keep the cursor where it is in it, so nobody has to know how many rows that takes by then.
#[derive(Default)]
pub struct Drawn(Vec<String>);

impl Drawn {
    /// Has `lines` be there.
    pub fn draw(&mut self, lines: Vec<String>) {
        if !in_foreground() {
            // What others wrote meanwhile stands below it.
            self.0.clear();
        } else if lines.is_empty() {
            self.clear();
        } else if lines != self.0 {
            put(&frame(&lines));
            self.0 = lines;
        }
    }

    /// Takes them out of the way of other lines. Whether there were any.
    pub fn clear(&mut self) -> bool {
        let count = std::mem::take(&mut self.0).len();
        if count > 0 && in_foreground() {
            put(&no_lines(count));
        }
        count > 0
    }
}

fn put(frame: &str) {
    // In one write, so that nobody sees half of it. When the terminal is gone, nobody sees it at all.
    let _ = io::stderr().lock().write_all(frame.as_bytes());
}

/// What to write for these lines to be there instead of those that are, with the cursor at the beginning of the first.
/// Terminals may hear of a new width before we do, so none of the lines may wrap meanwhile. Each is cleared by itself, as
/// some terminals keep in their history what goes when the whole screen is cleared.
fn frame(lines: &[String]) -> String {
    let mut text = String::from("\r\x1b[?7l");
    for line in lines {
        let _ = write!(text, "\x1b[K{line}\r\n");
    }
    let _ = write!(text, "\x1b[J\x1b[?7h\x1b[{}A", lines.len());
    text
}

/// What to write for so many lines to go.
fn no_lines(count: usize) -> String {
    frame(&vec![String::new(); count])
}

#[cfg(test)]
#[path = "out_tests.rs"]
mod tests;

#[cfg(test)]
mod screen_tests {
    use super::*;

    #[test]
    fn the_cursor_stays_at_the_first_line_and_all_below_it_goes() {
        let lines = ["one".to_string(), "two".to_string()];
        assert_eq!(frame(&lines), "\r\x1b[?7l\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[J\x1b[?7h\x1b[2A");
        assert_eq!(no_lines(1), "\r\x1b[?7l\x1b[K\r\n\x1b[J\x1b[?7h\x1b[1A");
    }

    #[test]
    fn lines_that_made_room_for_a_question_come_back_and_those_that_are_gone_for_good_do_not() {
        let mut wanted = Wanted { lines: vec!["one".into()], state: Drawing::Shown };
        wanted.take_away(Drawing::Hidden);
        assert!(wanted.lines.is_empty());
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
