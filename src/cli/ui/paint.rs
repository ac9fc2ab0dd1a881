//! The two streams, and what stands beside the words on each of them: colours, signs, and for the journal a
//! level.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{LazyLock, OnceLock};

use tracing::Level;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// What is to be typed or copied.
    Bold = 1,
    /// What few read.
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Whether there are colours, on stdout and on stderr.
static COLOURS: LazyLock<[bool; 2]> = LazyLock::new(|| {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    // no-color.org, and CLICOLOR=0.
    let wanted = !is_set("NO_COLOR") && env::var_os("CLICOLOR").is_none_or(|value| value != "0");
    let able = is_set("TERM") && env::var_os("TERM").is_some_and(|term| term != "dumb");
    [io::stdout().is_terminal(), io::stderr().is_terminal()].map(|terminal| terminal && wanted && able)
});

static UNICODE: LazyLock<bool> = LazyLock::new(|| {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = names.iter().filter_map(env::var_os).find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    // The console of Linux has few characters.
    (locale.contains("utf-8") || locale.contains("utf8"))
        && env::var_os("TERM").is_none_or(|term| term != "linux")
});

/// Has indicatif colour as we do. It draws on stderr, and asks for stdout.
pub fn start() {
    console::set_colors_enabled(COLOURS[1]);
}

pub fn has_unicode() -> bool {
    *UNICODE
}

fn has_colours(to: Stream) -> bool {
    match to {
        Stream::Stdout => COLOURS[0],
        Stream::Stderr => COLOURS[1],
    }
}

/// The text in this colour.
pub fn paint(to: Stream, paint: Paint, text: impl Display) -> String {
    if has_colours(to) { format!("\x1b[{}m{text}\x1b[0m", paint as u8) } else { text.to_string() }
}

/// What stands before the last line of a transfer, where somebody looks at it: that all is well, or not.
pub fn sign(to: Stream, well: bool) -> String {
    let terminal = match to {
        Stream::Stdout => io::stdout().is_terminal(),
        Stream::Stderr => io::stderr().is_terminal(),
    };
    match (terminal && has_unicode(), well) {
        (false, _) => String::new(),
        (true, true) => paint(to, Paint::Green, "✓") + " ",
        (true, false) => paint(to, Paint::Red, "✗") + " ",
    }
}

/// Whether standard error is the journal's (`JOURNAL_STREAM` of systemd.exec(5)), which has the time of each
/// line, and from whom it is, by itself.
pub fn in_journal() -> bool {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    *JOURNAL.get_or_init(|| {
        let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
        let Some((device, inode)) = stream.split_once(':') else { return false };
        rustix::fs::fstat(io::stderr().as_fd())
            .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
    })
}

/// What stands before a line on standard error: for the journal its level (sd-daemon(3)), for others who
/// complains.
pub fn mark(level: Level) -> String {
    let colour = match level {
        Level::ERROR if !in_journal() => Paint::Red,
        Level::WARN if !in_journal() => Paint::Yellow,
        _ if !in_journal() => return String::new(),
        Level::ERROR => return "<3>".into(),
        Level::WARN => return "<4>".into(),
        Level::INFO => return "<6>".into(),
        _ => return "<7>".into(),
    };
    paint(Stream::Stderr, colour, "lanx:") + " "
}
