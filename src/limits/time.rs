//! How long things may take, and how often they happen.

use std::time::Duration;

/// How long one address may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after one address the next of the same name is tried beside it (RFC 8305, section 5: 250 ms).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);

/// How long a peer may take to say who it is.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often each side says something on the control connection, be it only that it lives.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(2);

/// After how much silence a peer counts as lost, where the user does not say.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest that a user may say: a peer speaks every [`BEAT_INTERVAL`].
pub const SILENCE_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// For how long a lost receiver is looked for again, where the user does not say.
pub const RETRY_FOR: Duration = Duration::from_secs(60);

/// Pause before the first try after a loss; it doubles up to [`RETRY_PAUSE_MAX`], and a random part of it is left out, so
/// that many senders do not come back in the same moment.
pub const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// How often a receiver that hangs up in the handshake is tried, with pauses from [`RETRY_PAUSE_FIRST`] on that double: 1.5 s
/// in all, which somebody who named the wrong port can wait.
pub const KNOCKS: u32 = 5;

/// See [`RETRY_PAUSE_FIRST`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long, all in all, receivers wait for one that is behind before it has to read by itself. Longer than a busy machine
/// leaves a thread without its turn, and short enough that nobody notices.
pub const SHARED_WAIT_MAX: Duration = Duration::from_millis(500);

/// Waiting is forgotten in so many times the time it took: it makes nobody slower by more than a 16th.
pub const SHARED_WAIT_PART: u32 = 16;

/// How long a receiver that is ready waits for the others, so that they begin together. No longer than between two beats, as
/// nothing is said meanwhile.
pub const BEGIN_TOGETHER: Duration = BEAT_INTERVAL;

/// How often a sender looks at its data connections: whether one is stuck, or more of them would help.
pub const CLIMB_INTERVAL: Duration = Duration::from_millis(100);

/// How long new data connections may take to come up to their speed before it is measured.
pub const CLIMB_SETTLE: Duration = Duration::from_millis(200);

/// For how long a rate is measured: longer than the buffers of sockets take to fill, short enough for a transfer of seconds.
pub const CLIMB_MEASURE: Duration = Duration::from_millis(400);

/// How much faster twice the connections must be to be kept: what a busy machine's rates vary by.
pub const CLIMB_GAIN: f64 = 1.05;

/// Pause after a try that brought nothing; it doubles up to [`CLIMB_PAUSE_MAX`].
pub const CLIMB_PAUSE_FIRST: Duration = Duration::from_secs(4);

/// See [`CLIMB_PAUSE_FIRST`].
pub const CLIMB_PAUSE_MAX: Duration = Duration::from_secs(60);

/// From this on, in thousandths, CPUs have no rest and more threads cannot help.
pub const CLIMB_BUSY: u16 = 950;

/// How many times as long as over the others the rest of a data connection must take to be sent over those instead.
pub const STRAGGLER_FACTOR: u32 = 2;

/// And by how much longer: the time in which confirmations come, and a new connection.
pub const STRAGGLER_PATIENCE: Duration = Duration::from_millis(300);

/// From this time on a transfer's summary says what it was waiting for.
pub const LIMIT_TOLD_AFTER: Duration = Duration::from_millis(500);

/// How often the receiver reports what it has written.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How often transfers are looked at, and drawn anew on a terminal: often enough to seem alive, slow enough to be read.
pub const SCREEN_INTERVAL: Duration = Duration::from_millis(200);

/// How long a transfer lasts before a terminal shows it: what is over sooner would only flash.
pub const SCREEN_AFTER: Duration = Duration::from_millis(300);

/// How long a transfer of folders lasts before somebody looks ahead for how much there is: what is over sooner is not held up by
/// a second walk.
pub const SURVEY_AFTER: Duration = Duration::from_secs(1);

/// How often a line tells of transfers where there is no terminal, as in a log: two a minute do not bury the rest.
pub const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The rate that is shown is that of so long: the buffers on the way make single moments say little.
pub const RATE_WINDOW: Duration = Duration::from_secs(4);

/// From this on there is enough to tell a rate.
pub const RATE_AFTER: Duration = Duration::from_millis(500);

/// What a transfer did in so long is what it is doing.
pub const DOING_WINDOW: Duration = Duration::from_secs(1);

const _: () = assert!(2 * SCREEN_INTERVAL.as_millis() <= DOING_WINDOW.as_millis());
const _: () = assert!(DOING_WINDOW.as_millis() < RATE_WINDOW.as_millis());

/// After so long at some rate it is told how long a transfer will take.
pub const ETA_AFTER: Duration = Duration::from_secs(3);

/// In so long what is told of the end moves to where the rate says it is.
pub const ETA_SETTLE: Duration = Duration::from_secs(5);

/// An end that is further away than this is none that could be told: rates do not stay as they are.
pub const ETA_MOST: Duration = Duration::from_secs(30 * 86_400);

/// From when on a program that was interrupted says that it has not ended yet, and how to end it at once.
pub const STOPPING_TOLD_AFTER: Duration = Duration::from_millis(500);

/// How long Ctrl-Z, and a signal that ends the program on the spot, wait for a terminal that takes nothing.
pub const SCREEN_PATIENCE: Duration = Duration::from_millis(200);

/// How often `--json` tells the progress of a session: what a script can act on, and a line each is cheap to keep.
pub const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How long reading the settings again may take.
pub const SETTINGS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a side may take to say goodbye before it is left.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long transfers under way may take to end after a SIGTERM, where the user does not say: most end within it, and
/// nobody who stops a machine likes to wait longer.
pub const GRACE: Duration = Duration::from_secs(30);

/// How often a service manager is told how many transfers there are, if that has changed: for a person who looks.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long asking for metrics may take, from the connection to the end of the answer.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a session looks whether somebody has read what it had to tell: nobody is waiting for it but its own next file.
pub const OBSERVER_LOOK: Duration = Duration::from_millis(20);

/// How long, at the end of the program, whoever should read what it says may read none of it. A script that only waits for
/// the end must not wait for ever.
pub const READER_PATIENCE: Duration = Duration::from_secs(10);
