//! Whether chunks are compressed, and how: what the user says, what a file is like, and what makes the
//! transfer faster.
//!
//! Where the user does not say, a transfer begins without and goes up one step at a time: off, lz4, zstd 1,
//! zstd 3. A step is tried where those who send wait for the network or for `--limit` and the CPUs have time
//! for it, and it stays only if the bytes of
//! *files* then come faster. Where compressing has become what they wait for, the step below is tried in the same way. While
//! nothing is compressed, as in a film, a step costs nothing and says nothing; it is judged when something is.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::content::compress::{Codecs, Method};
use crate::limits::{
    CHUNK_BYTES, COMPRESS_PAUSE_FIRST, COMPRESS_PAUSE_MAX, COMPRESS_WAITS, COMPRESS_WAITS_LITTLE,
};
use crate::name::Name;

/// Chunks of a file that are not even probed after as many misses as it takes to come this far: 1, 2, 4 and
/// so on. 16 MiB, so that a file in which something else begins is compressed a moment later.
const COMPRESS_SKIP_MAX: u32 = 64;

/// Chunks that are not probed of a file whose name says that it is compressed already. Names lie, so it is
/// only a first guess.
const COMPRESS_SKIP_SEED: u32 = 16;

/// How long a step of `--compress auto` may take to show in the rate before that is measured.
const COMPRESS_SETTLE: Duration = Duration::from_millis(100);

/// For how long a rate is measured at least.
const COMPRESS_MEASURE: Duration = Duration::from_millis(300);

/// And how many bytes have to travel meanwhile: eight chunks, as a rate that is counted in fewer jumps.
const COMPRESS_MEASURE_BYTES: u64 = 8 * CHUNK_BYTES as u64;

/// How much faster the bytes of files must come for a step to stay: what a busy machine's rates vary by.
const COMPRESS_GAIN: f64 = 1.05;

/// Something was compressed where the wire had this part of the bytes of files less: half of what one
/// compressed chunk saves.
const COMPRESSED_SHOWS: f64 = 1.0 / 16.0;

/// What of a CPU may always be spent on a step, however busy the machine is: others have their share of the
/// time in any case, and at 100 Mbit/s no step takes more.
const COMPRESS_CPU_FREE: f64 = 0.25;

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// What makes the transfer faster.
    #[default]
    Auto,
    No,
    Always(Method),
}

impl Compress {
    /// The same where nothing is compressed that the user does not want to be.
    pub fn if_wished(self) -> Compress {
        match self {
            Compress::Auto => Compress::No,
            wished => wished,
        }
    }

    /// What of it can be had where the receiver takes these codecs.
    pub fn granted(self, codecs: Codecs) -> Compress {
        match self {
            Compress::Auto if codecs.is_empty() => Compress::No,
            Compress::Always(method) if !codecs.has(method.codec()) => Compress::No,
            granted => granted,
        }
    }
}

impl std::fmt::Display for Compress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Compress::Auto => f.write_str("auto"),
            Compress::No => f.write_str("no"),
            Compress::Always(method) => method.fmt(f),
        }
    }
}

/// What chunks are compressed with at present, for every thread that sends.
#[derive(Debug, Default)]
pub struct Present(AtomicU8);

impl Present {
    pub fn set(&self, method: Option<Method>) {
        let byte = match method {
            None => 0,
            Some(Method::Lz4) => 1,
            Some(Method::Zstd(level)) => level.saturating_add(1),
        };
        self.0.store(byte, Ordering::Relaxed);
    }

    pub fn method(&self) -> Option<Method> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Method::Lz4),
            byte => Some(Method::Zstd(byte - 1)),
        }
    }
}

// What a file is like.

/// Endings of names of what is compressed already, in small letters.
const COMPRESSED_KINDS: [&str; 49] = [
    "7z", "aac", "apk", "avi", "avif", "br", "bz2", "cab", "deb", "docx", "epub", "flac", "flv", "gif", "gz",
    "heic", "jar", "jpeg", "jpg", "jxl", "lz", "lz4", "lzma", "m4a", "m4v", "mkv", "mov", "mp3", "mp4",
    "mpg", "odt", "ogg", "opus", "png", "pptx", "rar", "rpm", "tgz", "txz", "webm", "webp", "whl", "wma",
    "wmv", "woff2", "xlsx", "xz", "zip", "zst",
];

/// How much of a file is not even looked at, as nothing was saved of late.
#[derive(Debug, Default)]
pub struct Guess {
    /// Chunks that are left out yet.
    left: AtomicU32,
    /// How many are after the next miss.
    next: AtomicU32,
}

impl Guess {
    /// The first one, from the name alone.
    pub fn of(name: &Name) -> Guess {
        let name = name.as_bytes().to_ascii_lowercase();
        let kind = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let guess = Guess::default();
        if COMPRESSED_KINDS.iter().any(|known| known.as_bytes() == kind) && kind.len() < name.len() {
            guess.left.store(COMPRESS_SKIP_SEED, Ordering::Relaxed);
            guess.next.store(COMPRESS_SKIP_SEED, Ordering::Relaxed);
        }
        guess
    }

    /// Whether the next chunk is to be looked at.
    pub fn is_worth_a_look(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }

    /// One was looked at, and `saved` enough or not. Two threads that miss at once only leave out more.
    pub fn looked(&self, saved: bool) {
        if saved {
            return self.next.store(0, Ordering::Relaxed);
        }
        let skip = self.next.load(Ordering::Relaxed).clamp(1, COMPRESS_SKIP_MAX);
        self.left.store(skip, Ordering::Relaxed);
        self.next.store(skip.saturating_mul(2), Ordering::Relaxed);
    }
}

// What makes the transfer faster.

/// The steps, and how many bytes a second one core compresses so, about: it only says what is not worth
/// trying.
const STEPS: [(Method, f64); 3] = [(Method::Lz4, 400e6), (Method::Zstd(1), 300e6), (Method::Zstd(3), 170e6)];

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Bytes of files that were sent, and of the frames that they were sent in.
    pub files: u64,
    pub wire: u64,
    /// Nanoseconds that those who send waited for the network or for their turn, and had something to do in
    /// all.
    pub waited: u64,
    pub busy: u64,
}

/// Finds out which step is worth taking.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<(Method, f64)>,
    /// How many of them are taken.
    now: usize,
    /// What is on trial: where it began, and the rate there in bytes of files a second.
    trial: Option<(usize, f64)>,
    /// Where the last verdict left it, while nothing is compressed.
    unproven: Option<usize>,
    phase: Phase,
    pause: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is measured before this.
    Until(Instant),
    Measure {
        since: Instant,
        from: Counted,
    },
}

/// What came of a measurement.
struct Measured {
    rate: f64,
    /// Whether anything was compressed.
    compressed: bool,
    /// The part of their time that those who send waited.
    waits: f64,
}

impl Steps {
    /// Those that the receiver has granted.
    pub fn new(codecs: Codecs, now: Instant) -> Steps {
        let steps = STEPS.into_iter().filter(|(method, _)| codecs.has(method.codec())).collect();
        let phase = Phase::Until(now + COMPRESS_SETTLE);
        Steps { steps, now: 0, trial: None, unproven: None, phase, pause: COMPRESS_PAUSE_FIRST }
    }

    /// What to compress with.
    pub fn method(&self) -> Option<Method> {
        self.now.checked_sub(1).and_then(|at| self.steps.get(at)).map(|(method, _)| *method)
    }

    /// Whether a step is on trial, so that nothing else must change.
    pub fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Something else has changed or is about to: what was measured means nothing.
    pub fn disturbed(&mut self, now: Instant) {
        if let Phase::Measure { .. } = self.phase {
            self.settle(now);
        }
    }

    /// To be called now and then with what was counted so far, and how many CPUs have nothing to do.
    pub fn step(&mut self, counted: Counted, idle: f64, now: Instant) {
        match self.phase {
            Phase::Until(until) if now >= until => self.phase = Phase::Measure { since: now, from: counted },
            Phase::Measure { since, from } if now.duration_since(since) >= COMPRESS_MEASURE => {
                let of = |now: u64, before: u64| now.saturating_sub(before) as f64;
                let (files, wire) = (of(counted.files, from.files), of(counted.wire, from.wire));
                if wire < COMPRESS_MEASURE_BYTES as f64 {
                    return;
                }
                let measured = Measured {
                    rate: files / now.duration_since(since).as_secs_f64(),
                    compressed: wire < files * (1.0 - COMPRESSED_SHOWS),
                    waits: of(counted.waited, from.waited) / of(counted.busy, from.busy).max(1.0),
                };
                self.phase = Phase::Measure { since: now, from: counted };
                self.measured(&measured, idle, now);
            }
            _ => {}
        }
    }

    fn measured(&mut self, measured: &Measured, idle: f64, now: Instant) {
        if let Some((from, rate)) = self.trial.take() {
            if self.now > from && !measured.compressed {
                self.unproven = Some(from);
                return;
            }
            if measured.rate < rate * COMPRESS_GAIN {
                self.now = from;
                self.phase = Phase::Until(now + self.pause);
                self.pause = COMPRESS_PAUSE_MAX.min(2 * self.pause);
                return;
            }
            self.pause = COMPRESS_PAUSE_FIRST;
        }
        if let Some(from) = self.unproven {
            if measured.compressed {
                // Now it can be judged, against what is without it.
                self.unproven = None;
                self.now = from;
                self.settle(now);
            }
            return;
        }
        let waits = measured.waits >= COMPRESS_WAITS;
        let next = if waits && self.can_go_up(measured.rate, idle) {
            Some(self.now + 1)
        } else if measured.compressed && measured.waits < COMPRESS_WAITS_LITTLE {
            self.now.checked_sub(1)
        } else {
            None
        };
        if let Some(next) = next {
            self.trial = Some((self.now, measured.rate));
            self.now = next;
            self.settle(now);
        }
    }

    /// Whether there is a step above, and what it takes more of CPUs at this rate is idle or next to nothing.
    fn can_go_up(&self, rate: f64, idle: f64) -> bool {
        let seconds = |steps: usize| {
            steps.checked_sub(1).and_then(|at| self.steps.get(at)).map(|(_, speed)| 1.0 / speed)
        };
        let Some(above) = seconds(self.now + 1) else { return false };
        let more = rate * (above - seconds(self.now).unwrap_or_default());
        more <= idle.max(COMPRESS_CPU_FREE)
    }

    fn settle(&mut self, now: Instant) {
        self.phase = Phase::Until(now + COMPRESS_SETTLE);
    }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
