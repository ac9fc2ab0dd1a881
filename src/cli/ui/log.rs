//! Diagnostics for those who ask: warnings always, more with -v or RUST_LOG.

use std::{env, io};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::out;
use super::paint::{Stream, in_journal, mark};

/// Writes each line to stderr behind this.
struct Behind(String);

impl io::Write for Behind {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        out::say(Stream::Stderr, [self.0.as_bytes(), line].concat());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks each line as the other lines for a user are, by its level where that is for the journal.
struct Marked;

impl MakeWriter<'_> for Marked {
    type Writer = Behind;

    fn make_writer(&self) -> Behind {
        Behind(mark(Level::INFO))
    }

    fn make_writer_for(&self, what: &Metadata<'_>) -> Behind {
        Behind(mark(*what.level()))
    }
}

/// Starts logging to stderr.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0 => "lanx=warn",
        1 => "lanx=info",
        _ => "lanx=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Behind(String::new()))
        .with_ansi(false);
    // Fails only where a logger was started before, which then serves as well.
    let _ = match verbosity {
        // As every other line for a user. Whoever sets RUST_LOG looks for where a line comes from.
        0 | 1 if env::var_os("RUST_LOG").is_none() => {
            log.without_time().with_target(false).with_level(false).with_writer(Marked).try_init()
        }
        // The journal knows time and level.
        _ if in_journal() => log.without_time().with_level(false).with_writer(Marked).try_init(),
        _ => log.try_init(),
    };
}
