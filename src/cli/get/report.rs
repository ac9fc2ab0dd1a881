//! What is told of files that were got.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cli::error::message_and_hint;
use crate::cli::exit::Exit;
use crate::cli::ui::events::{File, SessionEvents, Status, Sum, Ticker};
use crate::cli::ui::out::Audience;
use crate::cli::ui::progress::{Shown, Subject};
use crate::cli::ui::summary::{Crossed, Tally};
use crate::cli::ui::view::Who;
use crate::content::entry::{Cause, Failure};
use crate::name::{Escaped, RelativePath};
use crate::session::{FileReport, FileStatus, Progress, ReportKind};
use crate::store::{Made, SinkErrorKind};
use crate::units;
use crate::web::fetch::dial::DialError;
use crate::web::fetch::folder::Heard;
use crate::web::fetch::job::{Done, Failed, Job};
use crate::web::fetch::target::Target;

/// Tells of each file and of all.
pub struct Reporter {
    audience: Audience,
    tally: Arc<Tally>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    crossed: u64,
    connections: u8,
    unverified: u64,
    exits: Vec<Exit>,
    /// Whether what ended it was told as an event, which is the last one then.
    ended_by_error: bool,
    events: Option<Arc<SessionEvents>>,
}

impl Reporter {
    pub fn new(audience: Audience) -> Reporter {
        Reporter { audience, tally: Arc::default(), began: Instant::now(), state: Mutex::default() }
    }

    /// A file begins. It is shown until what is returned is dropped.
    pub fn begin(&self, target: &Target, progress: &Arc<Progress>) -> (Shown, Option<Ticker>) {
        let host = target.uri.host().unwrap_or_default().to_owned();
        let who = Who { name: None, address: host.clone() };
        let subject = Subject {
            progress: progress.clone(),
            total: None,
            tally: self.tally.clone(),
            who,
            named: true,
            receives: true,
        };
        let shown = Shown::new(subject, self.audience);
        let events = self.audience.json.then(|| Arc::new(SessionEvents::new(None, host)));
        let ticker = events.clone().map(|events| {
            events.start(None);
            Ticker::follow(events, progress.clone(), None)
        });
        self.state.lock().events = events;
        (shown, ticker)
    }

    /// What an address names has its outcome: a file, or a folder all of which was heard of.
    pub fn end(&self, job: &Job, ended: Result<Option<Done>, Failed>) -> Exit {
        let mut state = self.state.lock();
        state.crossed = state.crossed.saturating_add(job.progress.crossed());
        let exit = match &ended {
            Ok(Some(done)) => self.success(&mut state, done),
            Ok(None) => Exit::Success,
            Err(failed) => self.failure(&mut state, job, failed),
        };
        state.exits.push(exit);
        exit
    }

    /// Something in a folder has its outcome.
    pub fn hear(&self, heard: Heard<'_>) {
        let mut state = self.state.lock();
        let exit = match heard {
            Heard::File(_, Ok(done)) => self.success(&mut state, &done),
            Heard::File(job, Err(failed)) => self.failure(&mut state, job, &failed),
            Heard::Folder(path, Ok(made)) => {
                let status = if made == Made::New { FileStatus::Stored } else { FileStatus::Identical };
                self.tell(&state, path, ReportKind::Folder, status);
                Exit::Success
            }
            Heard::Folder(path, Err(error)) => {
                let failed = Failed::Store(error);
                let (exit, cause) = judge(&failed);
                let text = failed.to_string();
                self.audience.error(&text);
                let cause = cause.unwrap_or(Cause::Storage);
                let failure = Failure { cause, text: text.as_str().into() };
                self.tell(&state, path, ReportKind::Folder, FileStatus::Failed(failure));
                exit
            }
            Heard::Unusable { path, why } => {
                self.audience.error(format!("{} was left out: {why}", Escaped(&path)));
                self.tally.fail();
                if let Some(events) = &state.events {
                    events.file(File::not_offered(&path, Status::Failed, why));
                }
                Exit::SomeFailed
            }
        };
        state.exits.push(exit);
    }

    fn tell(&self, state: &State, path: &RelativePath, kind: ReportKind, status: FileStatus) {
        let path = path.clone();
        let report = FileReport { path, kind, named: true, size: None, hash: None, status, item: None };
        self.tally.add(&report);
        if let Some(events) = &state.events {
            events.file(File::of(&report));
        }
    }

    fn success(&self, state: &mut State, done: &Done) -> Exit {
        state.connections = state.connections.max(done.connections);
        state.unverified += u64::from(done.verified_by.is_none());
        let Done { path, published, size, hash, verified_by, identical, .. } = done;
        let (status, what) = match () {
            () if *identical || published.existed => (FileStatus::Identical, " (already there)".to_owned()),
            () if published.renamed => {
                let what = format!(" (stored as {})", Escaped(published.name.as_bytes()));
                (FileStatus::Renamed(published.name.clone()), what)
            }
            () => (FileStatus::Stored, String::new()),
        };
        self.audience.line(format_args!("{hash}  {path}{what}"));
        let report = FileReport {
            path: path.clone(),
            kind: ReportKind::File,
            named: true,
            size: Some(*size),
            hash: Some(*hash),
            status,
            item: None,
        };
        self.tally.add(&report);
        if let Some(events) = &state.events {
            events.file(File::of(&report).verified(verified_by.unwrap_or("no")));
        }
        Exit::Success
    }

    fn failure(&self, state: &mut State, job: &Job, failed: &Failed) -> Exit {
        let (exit, cause) = judge(failed);
        let text = failed.to_string();
        self.audience.error(&text);
        let path = job.path.clone().or_else(|| job.target.name().map(RelativePath::from));
        if let (Some(path), Some(cause)) = (path, cause) {
            let failure = Failure { cause, text: text.as_str().into() };
            self.tell(state, &path, ReportKind::File, FileStatus::Failed(failure));
        } else if let Some(events) = state.events.clone() {
            let (message, hint) = message_and_hint(&text, exit);
            events.error(exit, message, hint);
            state.ended_by_error = true;
        }
        exit
    }

    /// Tells how it all went, and the exit code.
    pub fn done(&self) -> Exit {
        let state = self.state.lock();
        let exit = Exit::gravest(state.exits.iter().copied());
        let (counts, time) = (self.tally.counts(), self.began.elapsed());
        if let Some(events) = &state.events
            && !state.ended_by_error
        {
            let crossed = Crossed { bytes: state.crossed, wire: state.crossed };
            events.done(Sum::of(&counts, crossed, time, state.connections));
        }
        if counts.arrived > 0 {
            self.audience.line(summary(counts.arrived, counts.bytes, counts.failed, &state, time));
        }
        exit
    }
}

fn summary(files: u64, bytes: u64, failed: u64, state: &State, time: Duration) -> String {
    let mut text =
        format!("{}, {} in {}", units::count(files, "file"), units::bytes(bytes), units::duration(time));
    if state.crossed > 0 {
        let connections = units::count(state.connections.into(), "connection");
        text += &format!(": {} over {connections}", units::rate(state.crossed, time));
    }
    if failed > 0 {
        text += &format!("; {failed} failed");
    }
    text + match state.unverified {
        0 => ", verified",
        unverified if unverified == files => ", not verified",
        _ => ", some of it not verified",
    }
}

/// The exit code, and whose fault it is where it is about one file.
fn judge(failed: &Failed) -> (Exit, Option<Cause>) {
    match failed {
        Failed::Dial(error) if error.may_pass() || matches!(error, DialError::NoHttp { .. }) => {
            (Exit::Unreachable, None)
        }
        Failed::Dial(_) | Failed::NotLetIn { .. } => (Exit::NotLetIn, None),
        Failed::Refused { .. } | Failed::Changing { .. } => (Exit::SomeFailed, Some(Cause::Source)),
        Failed::NoName { .. } => (Exit::Usage, None),
        Failed::Mismatch { .. } => (Exit::Verification, Some(Cause::Verification)),
        Failed::Store(error) if error.kind() == SinkErrorKind::Policy => {
            (Exit::SomeFailed, Some(Cause::Refused))
        }
        Failed::Store(_) => (Exit::Storage, Some(Cause::Storage)),
        Failed::Interrupted => (Exit::Interrupted, None),
        Failed::Thread(_) => (Exit::Other, None),
    }
}
