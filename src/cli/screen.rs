//! The last lines of a terminal, which are drawn anew again and again while others are printed above them.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use super::layout::Ink;
use super::outlet;
use crate::limits::SCREEN_PATIENCE;

/// Where a terminal does not say how large it is.
const USUAL_SIZE: Size = Size { columns: 80, rows: 24 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// What is to stand below all other lines on stderr.
static WANTED: Mutex<Wanted> = Mutex::new(Wanted { lines: Vec::new(), state: State::Shown });

struct Wanted {
    lines: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Shown,
    /// Somebody is to type.
    Hidden,
    /// The program is about to end, and nothing leads back from there.
    Left,
}

impl Wanted {
    /// Has no lines there from now on, for the reason that `state` gives.
    fn take_away(&mut self, state: State) {
        self.lines.clear();
        if self.state != State::Left {
            self.state = state;
        }
    }

    /// Nobody types any more.
    fn typed(&mut self) {
        if self.state == State::Hidden {
            self.state = State::Shown;
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
    if wanted.state == State::Shown {
        wanted.lines = lines(size());
        drop(wanted);
        outlet::redraw();
    }
}

/// Takes the lines away for as long as what is handed out lives: somebody is to type there.
pub fn hide() -> Hidden {
    WANTED.lock().take_away(State::Hidden);
    outlet::redraw();
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
    outlet::redraw();
    outlet::settle(SCREEN_PATIENCE);
}

/// Takes the lines away for good, as the program is about to end.
pub fn leave() {
    WANTED.lock().take_away(State::Left);
    outlet::redraw();
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
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_at_the_first_line_and_all_below_it_goes() {
        let lines = ["one".to_string(), "two".to_string()];
        assert_eq!(frame(&lines), "\r\x1b[?7l\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[J\x1b[?7h\x1b[2A");
        assert_eq!(no_lines(1), "\r\x1b[?7l\x1b[K\r\n\x1b[J\x1b[?7h\x1b[1A");
    }

    #[test]
    fn lines_that_made_room_for_a_question_come_back_and_those_that_are_gone_for_good_do_not() {
        let mut wanted = Wanted { lines: vec!["one".into()], state: State::Shown };
        wanted.take_away(State::Hidden);
        assert!(wanted.lines.is_empty());
        wanted.typed();
        assert_eq!(wanted.state, State::Shown);
        wanted.take_away(State::Hidden);
        // Ctrl-C at the question.
        wanted.take_away(State::Left);
        wanted.typed();
        assert_eq!(wanted.state, State::Left);
        wanted.take_away(State::Hidden);
        wanted.typed();
        assert_eq!(wanted.state, State::Left);
    }
}
