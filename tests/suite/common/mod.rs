//! What the integration tests share: the real program in real processes, real files and real sockets.
//!
//! Nothing here sleeps for luck. Every wait is for a condition and has a deadline, and whatever a process said is in
//! the message when one is missed.

#[cfg(target_os = "linux")]
pub mod bad_disk;
mod browser;
pub mod datagrams;
pub mod ends;
mod events;
mod files;
pub mod hostile;
mod lan;
mod mount;
pub mod pair;
pub mod peer;
mod people;
mod process;
mod receiver;
mod relay;
mod scene;
mod several;
mod sockets;
mod tap;
mod terminal;
pub mod weather;
mod web;
pub mod web_mischief;

pub use browser::*;
pub use events::*;
pub use files::*;
pub use lan::*;
pub use mount::*;
pub use people::*;
pub use process::*;
pub use receiver::*;
pub use relay::*;
pub use scene::*;
pub use several::*;
pub use sockets::*;
pub use tap::*;
pub use terminal::*;
pub use web::*;

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine, so that only what hangs ever meets it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; the message says `what` was waited for.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain until {what}");
        // Only how often the condition is looked at; nothing depends on it.
        thread::sleep(Duration::from_millis(5));
    }
}
