//! A session without files: the sender wants to know how fast the network is, from memory to memory.
//!
//! Its data connections carry probes, which the receiver opens as it opens chunks, counts as progress and
//! forgets. The sender takes the speed from what the receiver says that it has taken in, as nothing else
//! tells what has arrived.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::cpu_speed::Speeds;
use super::ending::{End, Ending, PeerMisbehaved};
use super::frames::{ChunkBuffer, FrameWriter, lost};
use super::outbox::Outbox;
use super::report::{FileReport, Observer};
use crate::limits::{CHUNK_BYTES, PROBE_BYTES_MAX};
use crate::wire::frame::Header;
use crate::wire::message::{ReceiverMessage, SenderMessage};
use crate::wire::seal::Sealer;

/// Hears of files where there are none.
pub struct NoFiles;

impl Observer for NoFiles {
    fn file(&self, _report: &FileReport) {}
}

/// What arrived in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub bytes: u64,
    pub time: Duration,
}

/// The sender's side, shared by its threads.
pub struct Probing {
    outbox: Outbox<SenderMessage>,
    /// Bytes in the probes that were or are just being sent.
    sent: AtomicU64,
    /// How many data connections the receiver allows at present.
    share: AtomicU8,
    /// The data connections with lower numbers were given up.
    given_up: AtomicU32,
    over: AtomicBool,
    state: Mutex<State>,
    pub ending: Ending,
}

#[derive(Default)]
struct State {
    /// The receiver's first and last word since the count began: when, and how many bytes in all.
    first: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
    /// The most that it has ever claimed.
    claimed: u64,
    speeds: Option<Speeds>,
    /// Of the connections that were given up, how many the receiver has ended.
    ended: u32,
    finished: bool,
}

impl Probing {
    pub fn new(outbox: Outbox<SenderMessage>, share: u8) -> Probing {
        Probing {
            outbox,
            sent: AtomicU64::new(0),
            share: AtomicU8::new(share),
            given_up: AtomicU32::new(0),
            over: AtomicBool::new(false),
            state: Mutex::default(),
            ending: Ending::default(),
        }
    }

    /// Hears what the receiver says, `now`.
    ///
    /// # Errors
    /// The [`End`] of the session: [`End::Complete`] when all is said, [`End::PeerLeft`], [`End::Lost`] where a data
    /// connection has ended, or [`End::Misbehaved`].
    pub fn handle(&self, message: ReceiverMessage, now: Instant) -> Result<(), End> {
        let mut state = self.state.lock();
        match message {
            ReceiverMessage::Progress { written, .. } => {
                if written < state.claimed || written > self.sent.load(Ordering::Acquire) {
                    let got = "a count of bytes that were not sent";
                    return Err(
                        PeerMisbehaved::Unexpected { got, expected: "how many of those that were" }.into()
                    );
                }
                state.claimed = written;
                state.first.get_or_insert((now, written));
                state.last = Some((now, written));
                Ok(())
            }
            ReceiverMessage::Speeds { hash, seal, cores } if state.speeds.is_none() => {
                state.speeds = Some(Speeds { hash, seal, cores });
                Ok(())
            }
            ReceiverMessage::Share { connections } => {
                self.share.store(connections, Ordering::Relaxed);
                Ok(())
            }
            // Its threads did nothing that a transfer does.
            ReceiverMessage::Spent(_) if state.finished => Ok(()),
            ReceiverMessage::Confirmed { .. } => Ok(()),
            ReceiverMessage::HungUp { .. } if self.is_over() => Ok(()),
            ReceiverMessage::HungUp { connection, .. } if connection < self.given_up() => {
                state.ended += 1;
                Ok(())
            }
            ReceiverMessage::HungUp { connection, .. } if !self.allows(connection) => Ok(()),
            ReceiverMessage::HungUp { .. } => Err(End::Lost("a data connection ended".into())),
            ReceiverMessage::Leave { text } => Err(End::PeerLeft(text)),
            ReceiverMessage::Misplaced { text } => Err(End::Misplaced(text)),
            ReceiverMessage::Revoked => Err(End::Revoked),
            ReceiverMessage::Away => Err(End::Away),
            ReceiverMessage::Bye if state.finished => Err(End::Complete),
            _ => {
                let expected = "how far the probes have come";
                Err(PeerMisbehaved::Unexpected { got: "another message", expected }.into())
            }
        }
    }

    /// How many data connections the receiver allows at present.
    pub fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    /// How many data connections were given up: those with lower numbers.
    pub fn given_up(&self) -> u32 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether data connection `number` was not given up, and is none too many.
    pub fn allows(&self, number: u32) -> bool {
        number.checked_sub(self.given_up()).is_some_and(|position| position < self.share().into())
    }

    /// Gives up the oldest data connection. `hangs` says that its end would not reach the receiver, which is
    /// told of it.
    pub fn give_up(&self, hangs: bool) {
        let connection = self.given_up.fetch_add(1, Ordering::Relaxed);
        if hangs {
            self.outbox.send(&SenderMessage::HangUp { connection });
        }
    }

    /// Whether the receiver has ended all that were given up.
    pub fn are_ended(&self) -> bool {
        self.state.lock().ended >= self.given_up()
    }

    /// What the receiver says of its own machine.
    pub fn speeds(&self) -> Option<Speeds> {
        self.state.lock().speeds
    }

    /// Counts from the receiver's next word on.
    pub fn count(&self) {
        let mut state = self.state.lock();
        (state.first, state.last) = (None, None);
    }

    /// What has arrived since, from the receiver's first word to its last; `None` before it has said two.
    pub fn counted(&self) -> Option<Counted> {
        let state = self.state.lock();
        let ((from, before), (to, after)) = (state.first?, state.last?);
        (to > from).then(|| Counted { bytes: after - before, time: to - from })
    }

    /// Sends the threads home, and tells the receiver that there is nothing more.
    pub fn finish(&self) {
        self.stop();
        self.state.lock().finished = true;
        self.outbox.send(&SenderMessage::Finish { files: 0 });
    }

    /// Sends the threads home.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Takes the right to send so many bytes more, up to what a session may have.
    fn take(&self, bytes: u64) -> bool {
        self.sent.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes) <= PROBE_BYTES_MAX
    }
}

/// Sends probes over `stream`, data connection `number`, until it is over or there may not be so many
/// connections any more.
///
/// # Errors
/// [`End::Lost`] where the stream fails, [`End::Exhausted`] where the key is used up.
pub fn send_probes<W: Write>(probing: &Probing, number: u32, stream: W, sealer: Sealer) -> Result<(), End> {
    let mut writer = FrameWriter::new(stream, sealer);
    // Sealed in place again and again, so from the second probe on it is as good as random.
    let mut buffer = ChunkBuffer::new();
    let header = Header::probe(CHUNK_BYTES);
    while !probing.is_over() && probing.allows(number) && probing.take(CHUNK_BYTES as u64) {
        writer.write(&header, buffer.content(CHUNK_BYTES), || ())?;
    }
    writer.flush().map_err(|e| lost(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outbox;
    use crate::wire::message::{Barred, SessionId};
    use crate::wire::seal::Cipher;

    fn probing(sent: u64) -> Probing {
        let probing = Probing::new(outbox().0, 4);
        assert!(probing.take(sent));
        probing
    }

    fn progress(written: u64) -> ReceiverMessage {
        ReceiverMessage::Progress { written, kept: 0 }
    }

    #[test]
    fn what_counts_lies_between_the_first_and_the_last_word_of_a_count() {
        let (probing, start) = (probing(1000), Instant::now());
        let say = |written, ms| probing.handle(progress(written), start + Duration::from_millis(ms)).unwrap();
        say(100, 0);
        probing.count();
        assert_eq!(probing.counted(), None);
        say(300, 90);
        assert_eq!(probing.counted(), None);
        say(400, 190);
        say(700, 390);
        assert_eq!(probing.counted(), Some(Counted { bytes: 400, time: Duration::from_millis(300) }));
    }

    #[test]
    fn a_receiver_cannot_claim_what_was_not_sent_or_take_it_back() {
        let probing = probing(1000);
        probing.handle(progress(1000), Instant::now()).unwrap();
        for wrong in [999, 1001, u64::MAX] {
            assert!(
                matches!(probing.handle(progress(wrong), Instant::now()), Err(End::Misbehaved(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn whatever_is_about_files_or_comes_too_early_or_twice_ends_it() {
        let file = crate::content::chunk::FileId(0);
        let speeds = ReceiverMessage::Speeds { hash: 1, seal: 2, cores: 3 };
        let welcome = ReceiverMessage::Welcome {
            session: SessionId([0; 16]),
            connections: 1,
            cipher: Cipher::preferred(),
            options: crate::wire::options::Options::default(),
        };
        let probing = probing(1);
        probing.handle(speeds.clone(), Instant::now()).unwrap();
        assert_eq!(probing.speeds(), Some(Speeds { hash: 1, seal: 2, cores: 3 }));
        let barred = ReceiverMessage::Barred(Barred::Busy);
        for wrong in [speeds, welcome, barred, ReceiverMessage::Send { file }, ReceiverMessage::Bye] {
            let heard = probing.handle(wrong.clone(), Instant::now());
            assert!(matches!(heard, Err(End::Misbehaved(_))), "{wrong:?}");
        }
        probing.finish();
        assert_eq!(probing.handle(ReceiverMessage::Bye, Instant::now()), Err(End::Complete));
    }

    #[test]
    fn a_connection_that_ends_is_a_loss_unless_it_was_to_end() {
        let probing = probing(1);
        let hung_up = |connection| ReceiverMessage::HungUp { connection, frames: 0 };
        assert!(matches!(probing.handle(hung_up(0), Instant::now()), Err(End::Lost(_))));
        probing.handle(ReceiverMessage::Share { connections: 1 }, Instant::now()).unwrap();
        probing.handle(hung_up(1), Instant::now()).unwrap();
        assert_eq!((probing.allows(0), probing.allows(1)), (true, false));
        probing.give_up(true);
        assert_eq!((probing.allows(0), probing.allows(1), probing.are_ended()), (false, true, false));
        probing.handle(hung_up(0), Instant::now()).unwrap();
        assert!(probing.are_ended());
        assert!(matches!(probing.handle(hung_up(1), Instant::now()), Err(End::Lost(_))));
        probing.stop();
        probing.handle(hung_up(0), Instant::now()).unwrap();
    }

    #[test]
    fn no_more_is_sent_than_a_session_may_have() {
        let probing = probing(PROBE_BYTES_MAX);
        assert!(!probing.take(1));
    }
}
