//! What the program is told, and what it says to a person or a script.

use std::time::Duration;

/// Columns of the help and of the texts that it shows: what every terminal has, and what is easy to read.
pub const HELP_COLUMNS: usize = 80;

/// Bytes of the configuration file. All options take less than 2 KiB; the rest is for comments and long lists of what to
/// exclude.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// How alike two words have to be (Jaro, of 1) for one to be meant by the other: misspelt options of lanx have 0.82 and more, other
/// words ('nonsense' and 'connections') less than 0.78.
pub const ALIKE_MIN: f64 = 0.8;

/// Lines that a terminal shows of transfers under way, however many there are and however high it is.
pub const SCREEN_LINES_MAX: usize = 12;

/// Files that are shown of one transfer: most that move at once fit, and nobody reads more.
pub const FILES_SHOWN_MAX: usize = 4;

/// Transfers that a log has a line for each time; of more only how many.
pub const TRANSFERS_LOGGED_MAX: usize = 4;

/// Refused connections that the user is told of in each [`REFUSALS_WINDOW`]; of the others only how many, at its end.
pub const REFUSALS_SHOWN_MAX: u32 = 3;

/// See [`REFUSALS_SHOWN_MAX`].
pub const REFUSALS_WINDOW: Duration = Duration::from_secs(10);

/// Texts that are told once for all receivers, such as why a file cannot be read; further ones are told for each.
pub const TOLD_ONCE_MAX: usize = 4096;

/// What is said and not read yet, in bytes, for each of standard output and standard error: the events or lines of some 100,000
/// files, and little beside what a transfer takes.
pub const UNREAD_BYTES_MAX: usize = 16 << 20;

/// How much of what waits goes out in one write, in bytes, where it is more than one text: what a pipe holds.
pub const OUTPUT_WRITE_BYTES: usize = 64 << 10;

/// How long what is said is gathered after something was written: nobody sees it, and a hundred writes a second wake nobody too
/// often.
pub const OUTPUT_PAUSE: Duration = Duration::from_millis(10);
