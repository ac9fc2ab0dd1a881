//! What the keys of the terminal do while transfers are drawn on it.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::process::{Signal, getpgrp};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

/// Whether the terminal is ours to draw on. A job in the background would draw over what others write.
pub fn in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
}

/// How the terminal was before what is typed was kept from it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Has the terminal not show what is typed, which would stand in the middle of what is drawn. Ctrl-C and its
/// kin work as ever.
pub fn mute() {
    let mut before = BEFORE.lock();
    if before.is_some() || !io::stdin().is_terminal() || !in_foreground() {
        return;
    }
    if let Ok(now) = tcgetattr(io::stdin()) {
        let mut muted = now.clone();
        muted.local_modes.remove(LocalModes::ECHO);
        *before = tcsetattr(io::stdin(), OptionalActions::Now, &muted).is_ok().then_some(now);
    }
}

/// Has the terminal show again what is typed.
pub fn unmute() {
    let before = BEFORE.lock().take();
    // In the background, that would stop the program; whoever put it there has a terminal of his own.
    if let Some(before) = before.filter(|_| in_foreground()) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

// Ctrl-Z while transfers are shown: what is drawn goes before the program stops, so that the shell finds its
// line free.

/// What the signal handler and whoever draws tell each other.
struct Suspension {
    /// Nothing is drawn: the program may stop at once.
    idle: Arc<AtomicBool>,
    wanted: Arc<AtomicBool>,
}

fn suspension() -> &'static Suspension {
    static SUSPENSION: OnceLock<Suspension> = OnceLock::new();
    SUSPENSION.get_or_init(|| {
        let (idle, wanted) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
        let stop = Signal::TSTP.as_raw();
        let heard = flag::register_conditional_default(stop, idle.clone())
            .and_then(|_| flag::register(stop, wanted.clone()));
        if let Err(error) = heard {
            tracing::debug!("Ctrl-Z will leave what is drawn where it is: {error}");
        }
        Suspension { idle, wanted }
    })
}

/// Somebody draws from now on, and looks at [`stop_if_wanted`] again and again; or nobody does.
pub fn draws(somebody: bool) {
    let Suspension { idle, wanted } = suspension();
    wanted.store(false, Ordering::Relaxed);
    idle.store(!somebody, Ordering::Relaxed);
}

/// Stops the program where the user has asked for it, until it is to go on; `clear` takes away what is drawn.
pub fn stop_if_wanted(clear: impl FnOnce()) {
    if suspension().wanted.swap(false, Ordering::Relaxed) {
        clear();
        unmute();
        if let Err(error) = emulate_default_handler(Signal::TSTP.as_raw()) {
            tracing::debug!("cannot stop: {error}");
        }
    }
}
