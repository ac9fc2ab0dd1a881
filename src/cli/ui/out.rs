//! The way out for all that is said on standard output and standard error. While files move a thread writes
//! each of them, so that a reader that is late, a terminal that is held or a pipe that is full holds up
//! nobody else.

use std::collections::VecDeque;
use std::io;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::fstat;
use tracing::Level;

use super::keys;
use super::paint::{Stream, mark};
use crate::limits::{OUTPUT_PAUSE, OUTPUT_WRITE_BYTES, READER_PATIENCE, UNREAD_BYTES_MAX};
use crate::os::said::Said;
use crate::os::threads;
use crate::units;

/// Says something, as whole lines. While files move nobody waits for that: what finds [`UNREAD_BYTES_MAX`]
/// unread is left out, and all that comes until those are read. Then a line says how much that was.
pub fn say(to: Stream, text: Vec<u8>) {
    let outlet = outlet(to);
    outlet.say(outlet.state.lock(), to, text);
}

/// The same of what must not be left out. Nobody waits here either, so whoever has much to say asks for room
/// before it comes to that: [`has_room`].
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

/// What is drawn below all that is said on stderr.
pub trait Picture: Send + 'static {
    /// Has it be there, as it is now.
    fn draw(&mut self);

    /// Takes it out of the way of other lines. Whether there was anything.
    fn clear(&mut self) -> bool;
}

/// From now on files move, and threads write what is said, with this picture below. Without threads it is
/// written by whoever says it.
pub fn start(picture: impl Picture) {
    STDERR.start("stderr", Some(Box::new(picture)));
    if !is_one_place() {
        STDOUT.start("stdout", None);
    }
}

/// Waits until all that was said there is written, or nobody has read any of it for [`READER_PATIENCE`], also
/// counted from `end`, when the program began to end. Whatever is said afterwards is written by who says it,
/// and where nobody reads, not at all.
pub fn finish(to: Stream, end: Instant) {
    keys::unmute();
    if !outlet(to).finish(end) && to == Stream::Stdout {
        written(Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")));
    }
}

/// Has the screen drawn anew when all that was said is written.
pub fn redraw() {
    STDERR.redraw();
}

/// Somebody is to answer a question from now on, or nobody is any more. Meanwhile only [`ask`] is heard.
pub fn hold(asking: bool) {
    STDERR.hold(asking);
}

/// Waits until there is nothing to write or to draw, but no longer than `patience`.
pub fn settle(patience: Duration) {
    let until = Instant::now() + patience;
    STDERR.wait_idle(&mut STDERR.state.lock(), |_| until);
}

/// What first kept something from stdout.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Remembers what became of a write to stdout, which is told at the end: a transfer does not depend on it. A
/// reader that has left wanted no more.
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
    /// The question that somebody is to answer, and all that was said before it.
    asked: VecDeque<(Stream, Vec<u8>)>,
    /// There is one: whatever else is said waits for the answer, as it would stand in the middle of it.
    asking: bool,
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
        if let Some((to, text)) = self.asked.pop_front() {
            self.bytes -= cost(&text);
            return Some(Task::Write(to, text));
        }
        if self.asking {
            return std::mem::take(&mut self.stale).then_some(Task::Draw);
        }
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

    fn hold(&self, asking: bool) {
        let mut state = self.state.lock();
        state.asking = asking;
        if asking {
            let before = std::mem::take(&mut state.unread);
            state.asked.extend(before);
        }
        self.wake(state);
    }

    fn ask(&self, text: Vec<u8>) {
        let mut state = self.state.lock();
        if state.writer != Writer::Thread || !state.asking {
            return self.say(state, Stream::Stderr, text);
        }
        state.bytes += cost(&text);
        state.asked.push_back((Stream::Stderr, text));
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        state.still_since.get_or_insert_with(Instant::now);
        if !state.pausing {
            self.news.notify_one();
        }
    }

    fn start(&'static self, name: &str, picture: Option<Box<dyn Picture>>) {
        let mut state = self.state.lock();
        let builder = threads::worker(name);
        if builder.spawn(|| self.write_all(picture)).is_ok() {
            state.writer = Writer::Thread;
        }
    }

    /// Writes whatever there is to write, for as long as the program lives.
    fn write_all(&self, mut picture: Option<Box<dyn Picture>>) {
        loop {
            let task = self.next();
            if !matches!(task, Task::Draw) && picture.as_mut().is_some_and(|picture| picture.clear()) {
                self.redraw();
            }
            match task {
                Task::Write(to, text) => write(to, &text),
                Task::TellGap(lines) => self.tell_gap(lines),
                Task::Draw => picture.iter_mut().for_each(|picture| picture.draw()),
            }
        }
    }

    /// Waits for the next task, as the one before is done. What is said soon after that is gathered: the
    /// lines of ten thousand files would be as many writes otherwise, and wake their reader as often.
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

    /// Waits until there is nothing left to do, or for the moment that `until` says of the one when something
    /// was done last.
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
        state.asking = false;
        if !state.unread.is_empty() {
            self.wake(state);
            state = self.state.lock();
        }
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

    /// Something that was left out, which is no error.
    pub fn skip(self, text: impl std::fmt::Display) {
        if !(self.quiet && self.json) {
            plain_error(format_args!("{}{text}", mark(Level::WARN)));
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
            "standard output could not be written: {}, so some of it is missing; redirect it elsewhere",
            Said(cause)
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
    say(Stream::Stderr, format!("{text}\n").into_bytes());
}

/// A question, or what surrounds one, to stderr: whoever answers does so in the same line.
pub fn ask(text: impl std::fmt::Display) {
    STDERR.ask(text.to_string().into_bytes());
}

#[cfg(test)]
#[path = "out_tests.rs"]
mod tests;
