//! Counting guesses at a receiver's code.
//!
//! Every attempt to pair carries the *generation* it began in, and a wrong guess that uses up a code's
//! allowance ends the generation. An attempt of an older generation never succeeds, even with the right code,
//! so guessing on many connections at once gains nothing over guessing one after another.
//!
//! - A generated code is replaced after three wrong guesses. Guessing 45 bits three at a time, with a new
//!   code
//!   each time, succeeds in one of 10^13 rounds.
//! - A fixed code cannot be replaced, so from the third wrong guess on each one ends the generation.
//! - Either way everybody then waits, first a second and twice as long each time up to five minutes. Without
//!   that,
//!   a guesser with many addresses would replace a generated code faster than its owner can type it.
//!
//! A right guess does *not* replace the code: like the PIN of a meeting it lets further machines in for as
//! long as the receiver runs. Nor does it forgive the wrong guesses of others.
//!
//! An attempt that is dropped without a verdict counts as nothing. Until the receiver has answered a
//! confirmation the guesser has seen one SPAKE2 message, which is equally likely under every code (a uniform
//! point), and it has to commit to a guess before it hears more. What hanging up costs the receiver is
//! bounded by the number of attempts in flight. Where all of those are taken, the oldest of the network (an
//! IPv4 address, a /64 of IPv6) that has most of them goes: whoever knows the code is through in
//! milliseconds, so that half-open attempts keep out nobody at another address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::code::{Code, CodeError};
use crate::limits;

/// Wrong guesses after which a generated code is replaced, and after which a fixed one makes everybody wait.
/// Three, as people mistype twice.
const GUESSES_PER_CODE: u32 = 3;

/// First pause after a wrong guess; it doubles with each further one. Shorter than typing the code again.
const GUESS_PAUSE_FIRST_SECONDS: u64 = 1;

/// What to wait when all attempts are taken.
const GUESS_BUSY_SECONDS: u64 = 1;

/// The receiver's code and what has been guessed at it. Cheap to clone; clones share one book.
#[derive(Debug, Clone)]
pub struct GuessBook(Arc<Mutex<State>>);

/// One guess that may be made. Decide it with [`CodeGuess::right`] or [`CodeGuess::wrong`].
#[derive(Debug)]
pub struct CodeGuess {
    book: GuessBook,
    code: Arc<Code>,
    generation: u64,
    number: u64,
}

/// No guess may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; try again in {} s", wait.as_secs_f64().ceil())]
pub struct Wait {
    /// For how long at least.
    pub wait: Duration,
    /// Because of what.
    pub reason: WaitReason,
}

/// Why a guess has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitReason {
    /// Several guesses were wrong, from wherever.
    #[error("too many wrong codes")]
    Everybody,
    /// Too many attempts of this address are under way.
    #[error("too many attempts to pair from this address are under way")]
    Busy,
}

/// What a wrong guess led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterWrong {
    /// It was counted.
    Counted,
    /// The code was replaced: show this one. Everybody waits for `pause`.
    NewCode {
        /// The code that holds from now on.
        code: Arc<Code>,
        /// How long nobody may guess.
        pause: Duration,
    },
    /// The code stays, and everybody waits.
    Paused(Duration),
}

/// The code that an attempt began with no longer holds: the guess is refused whether it was right or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the code was guessed at by somebody else in the same moment and no longer holds; pair again with the code on the screen"
)]
pub struct Outdated;

#[derive(Debug)]
struct State {
    code: Arc<Code>,
    generated: bool,
    generation: u64,
    /// Wrong guesses since the generation's code was new, or since the last quiet hour.
    wrong: u32,
    /// Pauses of everybody so far, for the length of the next.
    pauses: u32,
    paused_until: Option<Instant>,
    last_wrong: Option<Instant>,
    /// Attempts so far.
    offered: u64,
    /// In the order in which they began.
    in_flight: Vec<(u64, Guesser)>,
}

/// An IPv4 address, or the network half of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guesser(IpAddr);

impl Guesser {
    fn new(address: IpAddr) -> Self {
        Self(network_of(address))
    }
}

/// What one machine has for itself at least: an IPv4 address, or a /64 of IPv6 addresses.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

impl GuessBook {
    /// With a code that is drawn now and replaced after wrong guesses.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generated() -> Result<Self, CodeError> {
        Ok(Self::new(Code::generate()?, true))
    }

    /// With a code that the user chose and that stays.
    pub fn fixed(code: Code) -> Self {
        Self::new(code, false)
    }

    fn new(code: Code, generated: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            code: Arc::new(code),
            generated,
            generation: 0,
            wrong: 0,
            pauses: 0,
            paused_until: None,
            last_wrong: None,
            offered: 0,
            in_flight: Vec::new(),
        })))
    }

    /// From now on the user's code is this one. What was guessed at another one does not count for it; the
    /// pauses stay.
    pub fn change(&self, code: Code) {
        let mut state = self.state();
        if *state.code != code {
            state.code = Arc::new(code);
            state.generation += 1;
            state.wrong = 0;
        }
    }

    /// The code that holds now.
    pub fn code(&self) -> Arc<Code> {
        Arc::clone(&self.state().code)
    }

    /// Lets `address` make one guess, if it is time. Call it when the sender's SPAKE2 message has come, and
    /// bound the time until its confirmation.
    ///
    /// # Errors
    /// Everybody has to wait, or too many attempts of this address are in flight.
    pub fn offer(&self, address: IpAddr, now: Instant) -> Result<CodeGuess, Wait> {
        let guesser = Guesser::new(address);
        let mut state = self.state();
        state.forget(now);
        state.check_pause(now)?;
        if state.in_flight_of(guesser) >= limits::GUESSES_IN_FLIGHT_PER_ADDRESS_MAX {
            let wait = Duration::from_secs(GUESS_BUSY_SECONDS);
            return Err(Wait { wait, reason: WaitReason::Busy });
        }
        if state.in_flight.len() >= limits::GUESSES_IN_FLIGHT_MAX {
            state.send_one_away();
        }
        state.offered += 1;
        let number = state.offered;
        state.in_flight.push((number, guesser));
        Ok(CodeGuess {
            book: self.clone(),
            code: Arc::clone(&state.code),
            generation: state.generation,
            number,
        })
    }

    /// A thread that panicked while holding the lock left counts that are at worst one off; refusing
    /// everybody from then on would be worse.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CodeGuess {
    /// The code to verify the guess against.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The confirmation was right. Call it before answering: only `Ok` means that the peer may be let in.
    ///
    /// # Errors
    /// The code was used up meanwhile, or the attempt made room for another, so the guess does not count.
    pub fn right(self) -> Result<(), Outdated> {
        let state = self.book.state();
        let is_there = state.in_flight.iter().any(|(number, _)| *number == self.number);
        if state.generation == self.generation && is_there { Ok(()) } else { Err(Outdated) }
    }

    /// The confirmation was wrong, or had the wrong shape.
    pub fn wrong(self, now: Instant) -> AfterWrong {
        let mut state = self.book.state();
        if state.generation != self.generation {
            // It could not have succeeded, so the code that holds now has not been guessed at.
            return AfterWrong::Counted;
        }
        state.wrong = state.wrong.saturating_add(1);
        state.last_wrong = Some(now);
        if state.wrong < GUESSES_PER_CODE {
            return AfterWrong::Counted;
        }
        state.end_generation(now)
    }
}

impl Drop for CodeGuess {
    fn drop(&mut self) {
        let mut state = self.book.state();
        state.in_flight.retain(|(number, _)| *number != self.number);
    }
}

impl State {
    fn check_pause(&self, now: Instant) -> Result<(), Wait> {
        let left = self.paused_until.map(|until| until.saturating_duration_since(now));
        match left.filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(Wait { wait, reason: WaitReason::Everybody }),
            None => Ok(()),
        }
    }

    fn in_flight_of(&self, guesser: Guesser) -> usize {
        self.in_flight.iter().filter(|(_, other)| *other == guesser).count()
    }

    /// Has the oldest attempt of those make room who have most.
    fn send_one_away(&mut self) {
        let most = self.in_flight.iter().map(|(_, guesser)| self.in_flight_of(*guesser)).max();
        let crowded = |guesser: Guesser| Some(self.in_flight_of(guesser)) == most;
        let oldest = self.in_flight.iter().position(|(_, guesser)| crowded(*guesser));
        oldest.map(|place| self.in_flight.remove(place));
    }

    fn forget(&mut self, now: Instant) {
        let quiet =
            |last: Instant| now.saturating_duration_since(last).as_secs() >= limits::GUESS_FORGET_SECONDS;
        if self.last_wrong.is_some_and(quiet) {
            self.last_wrong = None;
            self.pauses = 0;
            // The code itself has been guessed at, however long ago: only a fixed one, whose count does not
            // end, starts over.
            if !self.generated {
                self.wrong = 0;
            }
        }
    }

    fn end_generation(&mut self, now: Instant) -> AfterWrong {
        self.generation += 1;
        self.pauses = self.pauses.saturating_add(1);
        let pause = pause(self.pauses, limits::GUESS_EVERYBODY_PAUSE_MAX_SECONDS);
        self.paused_until = Some(now + pause);
        if !self.generated {
            return AfterWrong::Paused(pause);
        }
        match Code::generate() {
            Ok(code) => {
                self.code = Arc::new(code);
                self.wrong = 0;
                AfterWrong::NewCode { code: Arc::clone(&self.code), pause }
            }
            // No random numbers: the code stays, used up, so that each further wrong guess pauses everybody.
            Err(_) => AfterWrong::Paused(pause),
        }
    }
}

/// The pause after the `nth` event: it doubles each time, up to `max` seconds.
fn pause(nth: u32, max: u64) -> Duration {
    let doublings = nth.saturating_sub(1).min(32);
    Duration::from_secs((GUESS_PAUSE_FIRST_SECONDS << doublings).min(max))
}

#[cfg(test)]
#[path = "guesses_tests.rs"]
mod tests;
