//! Events for scripts: with `--json` one JSON object a line on stdout. What each field means stands in
//! `docs/json.md`, its form in `docs/events.schema.json`. Nothing else writes them, and nothing below this
//! room knows of them.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use super::out;
use super::paint::Stream;
use super::summary::{Counts, Crossed, LimitReport};
use crate::cli::exit::Exit;
use crate::content::entry::Cause;
use crate::limits::{PROGRESS_EVENT_INTERVAL, PROGRESS_INTERVAL};
use crate::name::is_unsafe_to_show;
use crate::os::threads;
use crate::session::bottleneck::Accounts;
use crate::session::sender::compress::Compress;
use crate::session::{FileReport, FileStatus, Progress, ReportKind};
use crate::source::Trouble;
use crate::units;

/// Which session an event is about. Absent where it is about none.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Whom<'a> {
    /// At a receiver: numbers its sessions from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The other machine: at a sender as the user wrote it, at a receiver its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The receiver takes connections here.
    Listening {
        addr: SocketAddr,
        port: u16,
        /// Over UDP.
        #[serde(skip_serializing_if = "Option::is_none")]
        quic: Option<bool>,
    },
    /// Other machines find the receiver by this name.
    Announced { name: &'a str },
    /// A server has what it was told to serve here.
    Serving {
        addr: SocketAddr,
        port: u16,
        /// Whether nobody needs a token.
        open: bool,
        links: &'a [String],
    },
    /// A server has answered a request.
    Request {
        peer: std::net::IpAddr,
        method: &'a str,
        path: &'a str,
        status: u16,
        bytes: u64,
        complete: bool,
        seconds: f64,
    },
    /// A receiver that answers on this network.
    Receiver {
        name: &'a str,
        addrs: &'a [SocketAddr],
        port: u16,
        paired: bool,
        may_send_here: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u16>,
        quic: bool,
    },
    /// A web server that answers on this network.
    Server { name: &'a str, addrs: &'a [SocketAddr], port: u16, scheme: &'static str },
    /// The other machine's key is known from now on.
    Paired {
        #[serde(flatten)]
        whom: Whom<'a>,
        key: String,
        by: By,
    },
    /// The receiver serves others first.
    Waiting {
        #[serde(flatten)]
        whom: Whom<'a>,
        /// Transfers that it serves, and how many of them are of the same key.
        serving: u32,
        own: u32,
        /// Senders that come first.
        before: u32,
    },
    /// A session began.
    Start {
        #[serde(flatten)]
        whom: Whom<'a>,
        /// At a sender: the address of the receiver that was reached.
        #[serde(skip_serializing_if = "Option::is_none")]
        addr: Option<SocketAddr>,
        /// At a sender: how chunks are compressed, as far as the receiver takes that.
        #[serde(skip_serializing_if = "Option::is_none")]
        compress: Option<String>,
    },
    Progress {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        reached: Reached,
    },
    File {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        file: File<'a>,
    },
    /// The receiver was lost and is looked for.
    Lost {
        #[serde(flatten)]
        whom: Whom<'a>,
        message: &'a str,
        retry_for: u64,
    },
    /// A session came to its end: every file has its outcome.
    Done {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        sum: Sum,
    },
    /// How fast something is.
    Measured {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        figure: Figure,
    },
    /// What the user can do, or should know.
    Advice {
        #[serde(flatten)]
        whom: Whom<'a>,
        topic: &'a str,
        text: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        commands: &'a [String],
    },
    /// All was measured: what transfers can be expected to reach.
    #[serde(rename = "done")]
    Examined {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sending: Option<Prospect>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receiving: Option<Prospect>,
        code: u8,
    },
    /// An option in force.
    Setting(Shown<'a>),
    /// A session, or without `session` the program, ended before its end.
    Error {
        #[serde(flatten)]
        whom: Whom<'a>,
        code: u8,
        /// Whether the same command may go through later, without anybody doing anything about it.
        retryable: bool,
        message: &'a str,
        hint: &'a str,
    },
}

/// An option in force, for a script.
#[derive(Serialize)]
pub struct Shown<'a> {
    /// Absent for options of all commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    pub option: &'a str,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    pub origin: &'static str,
    /// The variable of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<&'a str>,
    /// The file and its line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// How fast one part is.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Figure {
    pub what: &'static str,
    pub bytes_per_second: u64,
    /// What was moved, and in what time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u8>,
    /// Of a disk: whether it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,
    /// Of a machine, each of which is so fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
}

impl Figure {
    pub fn moved(what: &'static str, bytes: u64, time: Duration) -> Figure {
        let bytes_per_second = units::per_second(bytes, time) as u64;
        let seconds = Some(to_the_microsecond(time));
        Figure { what, bytes_per_second, bytes: Some(bytes), seconds, ..Figure::default() }
    }

    pub fn of_core(what: &'static str, bytes_per_second: u64, cores: u32) -> Figure {
        Figure { what, bytes_per_second, cores: Some(cores), ..Figure::default() }
    }
}

/// A rate to be expected, and what keeps it from being higher.
#[derive(Serialize, Clone, Copy)]
pub struct Prospect {
    bytes_per_second: u64,
    limit: &'static str,
}

impl Prospect {
    pub fn new(rate: f64, limit: &'static str) -> Prospect {
        Prospect { bytes_per_second: rate as u64, limit }
    }
}

/// What a key is trusted for.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Both machines proved that they know the code.
    Code,
    /// The receiver lets everybody in and was seen for the first time.
    FirstSight,
}

/// How far a session has come. None of these ever runs backwards.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Reached {
    /// Files that have an outcome.
    pub files: u64,
    /// Bytes that are where they belong, in files that have an outcome or not.
    pub bytes: u64,
    /// Bytes of the frames that brought them, as they travelled.
    pub wire_bytes: u64,
    /// Bytes in all files that are known of so far; absent while a stream has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Of `total`, in steps of 0.1; below 100, as only the end of the session is the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The most that was told of both.
    #[serde(skip)]
    pub most: (u64, f64),
}

/// Escapes whatever could do something to a terminal or hide in it. JSON alone would let most of that pass;
/// for who parses it, it is the same text.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        // Nearly all of it; character by character it would take longer than all the rest of a small file's
        // event.
        if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
            return out.write_all(text.as_bytes());
        }
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe_to_show(*c)) {
            let (plain, from) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &from[c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

fn encode(event: &Event) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    event.serialize(&mut Serializer::with_formatter(&mut line, Harmless))?;
    line.push(b'\n');
    Ok(line)
}

/// Writes one event. A reader that has left misses it; the transfer does not depend on that.
pub fn write(event: &Event) {
    hand_out(event, out::keep);
}

/// The same of one that says no more than a later one will, and so is left out where many are unread.
pub fn write_if_room(event: &Event) {
    hand_out(event, out::say_if_room);
}

fn hand_out(event: &Event, out: fn(Stream, Vec<u8>)) {
    match encode(event) {
        Ok(line) => out(Stream::Stdout, line),
        Err(error) => tracing::error!("an event cannot be written as JSON: {error}"),
    }
}

/// Whether there are few events that nobody has read yet.
pub fn has_room() -> bool {
    out::has_room(Stream::Stdout)
}

/// Writes what ended the session, or without one the program.
pub fn error(session: Option<u64>, peer: Option<&str>, exit: Exit, message: &str, hint: &str) {
    let (code, retryable) = (exit.code(), exit.is_retryable());
    write(&Event::Error { whom: Whom { session, peer }, code, retryable, message, hint });
}

// What became of files, as events tell it: of one file, and of all files of a session.

/// What became of one file.
#[derive(Serialize)]
pub struct File<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Absent where nobody could look.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    /// By what a file of any server was shown to be the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'static str>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

/// What it is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
}

impl From<ReportKind> for Kind {
    fn from(kind: ReportKind) -> Kind {
        match kind {
            ReportKind::File => Kind::File,
            ReportKind::Folder => Kind::Folder,
            ReportKind::Symlink => Kind::Symlink,
            ReportKind::HardLink => Kind::HardLink,
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It crossed the network, is verified, and has its name.
    Sent,
    /// It was there already.
    Identical,
    /// The same, as both ends remember: nobody read it.
    Remembered,
    /// As sent, under another name, because its own was taken.
    Renamed,
    /// Only in a dry run: it would be sent.
    Wanted,
    /// It is of a kind that is not sent.
    Skipped,
    /// It is no part of what the user means to send.
    LeftOut,
    Failed,
}

impl Status {
    /// Of what was offered.
    pub fn of(status: &FileStatus) -> Status {
        match status {
            FileStatus::Stored => Status::Sent,
            FileStatus::Identical => Status::Identical,
            FileStatus::Remembered => Status::Remembered,
            FileStatus::Renamed(_) => Status::Renamed,
            FileStatus::Wanted => Status::Wanted,
            FileStatus::Failed(_) => Status::Failed,
        }
    }

    /// Of what could not even be offered.
    pub fn of_trouble(trouble: &Trouble) -> Status {
        match trouble {
            Trouble::Failed(_) => Status::Failed,
            Trouble::Skipped { .. } => Status::Skipped,
            Trouble::LeftOut { .. } => Status::LeftOut,
        }
    }

    /// Whether the file is in place.
    pub fn is_there(self) -> bool {
        matches!(self, Status::Sent | Status::Identical | Status::Remembered | Status::Renamed)
    }
}

/// All files of a session, added up.
#[derive(Serialize)]
pub struct Sum {
    /// Files that are in place, and the bytes in them; those that were there before are among them.
    files: u64,
    bytes: u64,
    /// Folders and links that are in place.
    folders: u64,
    links: u64,
    /// Bytes that crossed the network.
    sent_bytes: u64,
    /// What these took on the wire, with the frames around them.
    wire_bytes: u64,
    identical: u64,
    /// Of these, those that nobody read.
    remembered: u64,
    failed: u64,
    skipped: u64,
    seconds: f64,
    /// Bytes that crossed the network each second.
    bytes_per_second: u64,
    /// Data connections.
    connections: u8,
    /// The exit code of this session.
    code: u8,
    /// Whether the same command may do better, as nobody has to do anything about some of what failed.
    retryable: bool,
    #[serde(flatten)]
    limit: Option<LimitReport>,
}

impl<'a> File<'a> {
    pub fn of(report: &'a FileReport) -> File<'a> {
        let failure = match &report.status {
            FileStatus::Failed(failure) => Some(failure),
            _ => None,
        };
        let status = Status::of(&report.status);
        let (path, path_bytes) = lossless(report.path.as_bytes());
        let (new_path, new_path_bytes) = match &report.status {
            FileStatus::Renamed(new) => {
                let new = report.path.with_name(new);
                let (text, bytes) = lossless(new.as_bytes());
                (Some(text.into_owned().into()), bytes)
            }
            _ => (None, None),
        };
        File {
            path,
            path_bytes,
            kind: Some(report.kind.into()),
            size: report.size,
            blake3: report.hash.filter(|_| failure.is_none()).map(|hash| hash.to_string()),
            verified: None,
            status,
            new_path,
            new_path_bytes,
            cause: failure.map(|failure| cause(failure.cause)),
            reason: failure.map(|failure| failure.text.to_string().into()),
        }
    }

    /// The same with what it was verified by.
    pub fn verified(self, by: &'static str) -> File<'a> {
        File { verified: Some(by), ..self }
    }

    /// One that could not even be offered, under the path that the user gave.
    pub fn not_offered(path: &'a [u8], status: Status, reason: String) -> File<'a> {
        let (path, path_bytes) = lossless(path);
        File {
            path,
            path_bytes,
            kind: None,
            size: None,
            blake3: None,
            verified: None,
            status,
            new_path: None,
            new_path_bytes: None,
            cause: (!matches!(status, Status::LeftOut)).then(|| cause(Cause::Source)),
            reason: Some(reason.into()),
        }
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Refused => "refused",
        Cause::Storage => "storage",
        Cause::Source | Cause::Changed => "source",
        Cause::Verification => "verification",
    }
}

impl Sum {
    pub fn of(counts: &Counts, crossed: Crossed, time: std::time::Duration, connections: u8) -> Sum {
        let Crossed { bytes: sent_bytes, wire: wire_bytes } = crossed;
        Sum {
            files: counts.arrived,
            bytes: counts.bytes,
            folders: counts.folders,
            links: counts.links,
            sent_bytes,
            wire_bytes,
            identical: counts.identical,
            remembered: counts.remembered,
            failed: counts.failed,
            skipped: counts.skipped,
            seconds: to_the_microsecond(time),
            bytes_per_second: units::per_second(sent_bytes, time) as u64,
            connections,
            code: counts.exit().code(),
            retryable: counts.retryable,
            limit: None,
        }
    }

    /// The same with what it was waiting for.
    pub fn with(self, accounts: Option<&Accounts>) -> Sum {
        Sum { limit: accounts.map(LimitReport::of), ..self }
    }
}

/// Seconds. A microsecond is more than a clock between two machines means.
pub(crate) fn to_the_microsecond(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// A name as text, and in base64 as well where the text is not all of it: where it is not UTF-8. Each byte
/// sequence that is not stands in the text as U+FFFD.
pub fn lossless(name: &[u8]) -> (Cow<'_, str>, Option<String>) {
    match String::from_utf8_lossy(name) {
        text @ Cow::Borrowed(_) => (text, None),
        text @ Cow::Owned(_) => (text, Some(STANDARD.encode(name))),
    }
}

// The events of one session, in their order: start, then progress and files, then done or an error.

/// Writes the events of one session.
pub struct SessionEvents {
    session: Option<u64>,
    peer: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    started: bool,
    reached: Reached,
}

impl SessionEvents {
    /// `session` is its number at a receiver.
    pub fn new(session: Option<u64>, peer: String) -> SessionEvents {
        SessionEvents { session, peer, state: Mutex::default() }
    }

    fn whom(&self) -> Whom<'_> {
        Whom { session: self.session, peer: Some(&self.peer) }
    }

    /// Writes the start, unless that was done before. `reached` is where a sender reached its receiver, and
    /// how it compresses.
    pub fn start(&self, reached: Option<(SocketAddr, Compress)>) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.started, true) {
            // Under the lock: nobody else may speak before it is written.
            let (addr, compress) = (reached.map(|(addr, _)| addr), reached.map(|(_, how)| how.to_string()));
            write(&Event::Start { whom: self.whom(), addr, compress });
        }
    }

    pub fn file(&self, file: File) {
        write(&Event::File { whom: self.whom(), file });
    }

    pub fn lost(&self, message: &str, retry_for: Duration) {
        write(&Event::Lost { whom: self.whom(), message, retry_for: retry_for.as_secs() });
    }

    pub fn done(&self, sum: Sum) {
        write(&Event::Done { whom: self.whom(), sum });
    }

    pub fn error(&self, exit: Exit, message: &str, hint: &str) {
        error(self.session, Some(&self.peer), exit, message, hint);
    }

    fn progress(&self, progress: &Progress, total: Option<u64>) {
        let now = (Progress::get(&progress.files_done), progress.arrived());
        let wire_bytes = Progress::get(&progress.wire);
        let total = total.or_else(|| progress.known());
        let mut state = self.state.lock();
        state.reached = Reached { wire_bytes, ..state.reached.next(now.0, now.1, total) };
        let reached = state.reached;
        drop(state);
        write_if_room(&Event::Progress { whom: self.whom(), reached });
    }
}

impl Reached {
    /// What to tell now. After a loss the counters start at the last file that was complete, and the total of
    /// a receiver grows with each offer; what was told stands until there is more. There is no total while a
    /// stream has not ended.
    fn next(self, files: u64, bytes: u64, total: Option<u64>) -> Reached {
        let files = self.files.max(files);
        let Some(total) = total else {
            return Reached { files, bytes: self.bytes.max(bytes), total: None, percent: None, ..self };
        };
        let total = self.most.0.max(total).max(self.bytes);
        let bytes = self.bytes.max(bytes.min(total));
        let tenths = if total == 0 { 0 } else { u128::from(bytes) * 1000 / u128::from(total) };
        let percent = self.most.1.max(tenths.min(999) as f64 / 10.0);
        Reached { files, bytes, total: Some(total), percent: Some(percent), most: (total, percent), ..self }
    }
}

/// Tells of a session's progress until it is dropped.
pub struct Ticker {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ticker {
    /// Follows `progress`, which is to reach `total` bytes; what is offered so far where nobody knows the
    /// total.
    pub fn follow(events: Arc<SessionEvents>, progress: Arc<Progress>, total: Option<u64>) -> Ticker {
        let (stop, stopped) = bounded::<()>(0);
        let follow = move || {
            // At a receiver a session starts with its first offer: a peer that looks in and leaves is none.
            let mut told = Instant::now();
            while stopped.recv_timeout(PROGRESS_INTERVAL).is_err_and(|e| e.is_timeout()) {
                if total.is_none() && progress.is_idle() {
                    continue;
                }
                events.start(None);
                if told.elapsed() >= PROGRESS_EVENT_INTERVAL {
                    told = Instant::now();
                    events.progress(&progress, total);
                }
            }
        };
        let builder = threads::named("events").stack_size(4 * threads::WORKER_STACK_BYTES);
        let thread = builder.spawn(follow);
        if let Err(error) = &thread {
            tracing::warn!("there will be no progress events: cannot start a thread: {error}");
        }
        Ticker { running: thread.ok().map(|thread| (stop, thread)) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{Status, *};

    fn line(path: &[u8]) -> String {
        let file = File::not_offered(path, Status::Failed, "gone".into());
        let event = Event::File { whom: Whom { session: None, peer: Some("nas") }, file };
        String::from_utf8(encode(&event).unwrap()).unwrap()
    }

    #[test]
    fn the_line_of_a_receiver_that_listens_is_pinned() {
        let addr = "127.0.0.1:40123".parse().unwrap();
        let line = encode(&Event::Listening { addr, port: 40123, quic: None }).unwrap();
        assert_eq!(line, b"{\"event\":\"listening\",\"addr\":\"127.0.0.1:40123\",\"port\":40123}\n");
    }

    #[test]
    fn text_that_could_act_on_a_terminal_is_escaped_and_comes_back_whole() {
        let name = "a\u{1b}[31m\u{9b}2J\u{202e}\u{e0041}\u{7f}\n\"\\ö😀";
        let line = line(name.as_bytes());
        assert!(line.contains(r#""a\u001b[31m\u009b2J\u202e\udb40\udc41\u007f\n\"\\ö😀""#), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["path"], name);
        assert_eq!(parsed.get("path_bytes"), None);
    }

    #[test]
    fn a_name_that_is_no_text_comes_back_whole_from_its_bytes() {
        let name = b"caf\xe9\xff.txt";
        let parsed: serde_json::Value = serde_json::from_str(&line(name)).unwrap();
        assert_eq!(parsed["path"], "caf\u{fffd}\u{fffd}.txt");
        assert_eq!(STANDARD.decode(parsed["path_bytes"].as_str().unwrap()).unwrap(), name);
    }

    #[test]
    fn a_replacement_character_that_is_in_the_name_is_just_that() {
        let parsed: serde_json::Value = serde_json::from_str(&line("\u{fffd}".as_bytes())).unwrap();
        assert_eq!((&parsed["path"], parsed.get("path_bytes")), (&"\u{fffd}".into(), None));
    }
}

#[cfg(test)]
mod session_events_tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_runs_backwards_whatever_the_counters_do(
            readings in proptest::collection::vec((0..9u64, 0..300u64, proptest::option::of(0..200u64)), 1..50),
        ) {
            let mut before = Reached::default();
            let (mut most, mut furthest) = (0, 0.0);
            for (files, bytes, total) in readings {
                let now = before.next(files, bytes, total);
                prop_assert!(now.files >= before.files && now.bytes >= before.bytes);
                prop_assert_eq!((now.total.is_some(), now.percent.is_some()), (total.is_some(), total.is_some()));
                if let (Some(total), Some(percent)) = (now.total, now.percent) {
                    prop_assert!(total >= most && percent >= furthest);
                    prop_assert!(now.bytes <= total && percent < 100.0);
                    (most, furthest) = (total, percent);
                }
                before = now;
            }
        }
    }

    #[test]
    fn percent_is_in_tenths_and_rounded_down() {
        for (bytes, total, percent) in
            [(0, 0, 0.0), (1, 3, 33.3), (2, 3, 66.6), (9999, 10000, 99.9), (5, 5, 99.9)]
        {
            let reached = Reached::default().next(0, bytes, Some(total));
            assert_eq!(reached.percent, Some(percent), "{bytes} of {total}");
        }
        assert_eq!(Reached::default().next(0, u64::MAX / 2, Some(u64::MAX)).percent, Some(49.9));
    }
}
