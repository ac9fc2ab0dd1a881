//! Diagnostics for those who ask: warnings always, more with -v or RUST_LOG.

use std::io;

use tracing_subscriber::EnvFilter;

use super::output;

/// Writes each line to stderr behind this, above any progress bar.
struct Above(&'static str);

impl io::Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let whole = [self.0.as_bytes(), line].concat();
        output::above_progress(|| io::stderr().write_all(&whole)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Above("")).with_ansi(false);
    // Fails only where a logger was started before, which then serves as well.
    let _ = match verbosity {
        // As every other line for a user.
        0 => {
            log.without_time().with_target(false).with_level(false).with_writer(|| Above("lanx: ")).try_init()
        }
        _ => log.try_init(),
    };
}
