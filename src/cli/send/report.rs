//! What a sender tells of each file and of the end.

use std::collections::HashSet;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use parking_lot::Mutex;

use crate::cli::credentials::tell_large_lost;
use crate::cli::dataset::report::Report;
use crate::cli::exit::Exit;
use crate::cli::ui::events::{File, SessionEvents, Status, Sum};
use crate::cli::ui::out::Audience;
use crate::cli::ui::paint::{Paint, paint, sign};
use crate::cli::ui::summary::{Crossed, Tally};
use crate::cli::ui::{events, paint, summary};
use crate::client::transfer::SendOutcome;
use crate::content::entry::Cause;
use crate::limits::{LIMIT_TOLD_AFTER, TOLD_ONCE_MAX};
use crate::name::Escaped;
use crate::net::address::Peer;
use crate::session::{End, FileReport, FileStatus, Observer};
use crate::source::{Stream, Trouble};
use crate::store::NO_ROOM;
use crate::units;

/// Texts that were told once and need not be told again for the next receiver.
#[derive(Default)]
pub struct Told(Mutex<HashSet<String>>);

impl Told {
    /// Whether this is told for the first time. Past [`TOLD_ONCE_MAX`] texts everything counts as new.
    pub fn is_new(&self, text: &str) -> bool {
        let mut told = self.0.lock();
        if told.contains(text) {
            return false;
        }
        if told.len() < TOLD_ONCE_MAX {
            told.insert(text.into());
        }
        true
    }
}

/// Tells the user about each file and counts it.
pub struct Reporter {
    pub peer: Peer,
    pub tally: Arc<Tally>,
    pub audience: Audience,
    dry_run: bool,
    no_room: AtomicBool,
    pub events: Option<Arc<SessionEvents>>,
    /// What was said already, where there are several receivers.
    told: Option<Arc<Told>>,
    /// Where what became of each entry is written, where the user wants that.
    report: Option<Arc<Report>>,
}

impl Reporter {
    pub fn new(
        peer: &Peer,
        audience: Audience,
        dry_run: bool,
        told: Option<Arc<Told>>,
        report: Option<Arc<Report>>,
    ) -> Reporter {
        let events = audience.json.then(|| Arc::new(SessionEvents::new(None, peer.to_string())));
        let tally = Arc::new(if dry_run { Tally::of_dry_run() } else { Tally::default() });
        Reporter {
            peer: peer.clone(),
            tally,
            audience,
            dry_run,
            no_room: AtomicBool::default(),
            events,
            told,
            report,
        }
    }

    /// A line of result, with the receiver that it is about where there are several.
    fn line(&self, text: impl Display) {
        match &self.told {
            Some(_) => self.audience.line(format_args!("{}: {text}", self.peer)),
            None => self.audience.line(text),
        }
    }

    /// Something that is as true of every receiver: told once.
    fn error_here(&self, text: impl Display) {
        self.new_here(text).inspect(|text| self.audience.error(text));
    }

    fn note_here(&self, text: impl Display) {
        self.new_here(text).inspect(|text| self.audience.note(text));
    }

    fn new_here(&self, text: impl Display) -> Option<String> {
        Some(text.to_string()).filter(|text| self.told.as_ref().is_none_or(|told| told.is_new(text)))
    }

    /// The same of something that is left out and no error.
    fn skip_here(&self, text: impl Display) {
        self.new_here(text).inspect(|text| self.audience.skip(text));
    }

    /// Whether this is one more file for which there is no room: whoever has heard it once knows.
    fn is_told(&self, text: &str) -> bool {
        text.starts_with(NO_ROOM) && self.no_room.swap(true, Ordering::Relaxed)
    }

    /// Files that the user named each get a line, as `b3sum` would print it; those in folders are too many
    /// for that.
    fn success(&self, report: &FileReport) {
        let FileReport { path, hash: Some(hash), named, .. } = report else { return };
        let what = match &report.status {
            FileStatus::Identical | FileStatus::Remembered => " (already there)".into(),
            FileStatus::Renamed(new) => format!(" (stored as {new})"),
            _ => String::new(),
        };
        if !*named {
            tracing::info!("{hash}  {path}{what}");
            return;
        }
        let line = format!("{}  {path}", paint(paint::Stream::Stdout, Paint::Dim, hash));
        match &self.told {
            None => self.audience.line(line + &what),
            Some(told) => {
                if told.is_new(&line) {
                    self.audience.line(line);
                }
                if !what.is_empty() {
                    self.line(format_args!("{path}{what}"));
                }
            }
        }
    }

    /// Tells that a command has written nothing: as a backup that is worth a look.
    pub fn tell_silent(&self, stream: &Stream) {
        if let Some(command) = stream.silent_command() {
            let command = Escaped::path(command);
            self.note_here(format_args!(
                "{command} wrote nothing and ended well, so what it was sent as is empty"
            ));
        }
    }

    /// Tells how it all went, and the exit code.
    pub fn done(&self, crossed: Crossed, time: Duration, outcome: &SendOutcome) -> Exit {
        let counts = self.tally.counts();
        let SendOutcome { connections, accounts, in_order, .. } = outcome;
        if let Some(events) = &self.events {
            events.done(Sum::of(&counts, crossed, time, *connections).with(accounts.as_ref()));
        }
        let mut summary = counts.summary(crossed, time, Some(*connections));
        // A short one is over before anything has shown.
        let verdict =
            accounts.filter(|_| time >= LIMIT_TOLD_AFTER).and_then(|accounts| accounts.bottleneck());
        if let Some(verdict) = verdict {
            summary += &format!("; {}", summary::sentence(verdict, *in_order));
        }
        self.report.as_ref().inspect(|report| report.done());
        let exit = counts.exit();
        self.line(sign(paint::Stream::Stdout, exit == Exit::Success) + &summary);
        exit
    }

    /// Tells that there was nothing to send.
    pub fn nothing(&self) -> Exit {
        let counts = self.tally.counts();
        if let Some(events) = &self.events {
            events.done(Sum::of(&counts, Crossed::default(), Duration::ZERO, 0));
        }
        self.report.as_ref().inspect(|report| report.done());
        counts.exit()
    }
}

impl Observer for Reporter {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        if let Some(written) = &self.report {
            written.add(report, &self.peer.to_string());
        }
        if let Some(events) = &self.events {
            events.file(File::of(report));
        }
        let (audience, path) = (self.audience, &report.path);
        match &report.status {
            FileStatus::Failed(failure) if matches!(failure.cause, Cause::Source | Cause::Changed) => {
                self.error_here(&failure.text)
            }
            // Paths in it are those of the other machine.
            FileStatus::Failed(failure) if self.is_told(&failure.text.to_string()) => {
                tracing::info!("{}: {}", self.peer, failure.text)
            }
            FileStatus::Failed(failure) => audience.error(format_args!("{}: {}", self.peer, failure.text)),
            FileStatus::Wanted => {
                let size = report.size.map_or(String::new(), |size| format!(" ({})", units::bytes(size)));
                self.line(format_args!("would send {path}{size}"));
            }
            // Only the changes; the rest is counted.
            FileStatus::Identical | FileStatus::Remembered if self.dry_run => {
                tracing::info!("already there: {path}")
            }
            _ => self.success(report),
        }
    }

    fn unsent(&self, trouble: &Trouble) {
        self.tally.add_trouble(trouble);
        let status = Status::of_trouble(trouble);
        match trouble {
            Trouble::Failed(error) => self.error_here(error),
            Trouble::Skipped { .. } => self.skip_here(trouble),
            Trouble::LeftOut { .. } => self.note_here(trouble),
        }
        if let Some(written) = &self.report {
            written.not_offered(trouble, &self.peer.to_string());
        }
        if let Some(events) = &self.events {
            events.file(File::not_offered(
                trouble.path().as_os_str().as_bytes(),
                status,
                trouble.to_string(),
            ));
        }
    }

    fn keeps_up(&self) -> bool {
        self.events.is_none() || events::has_room()
    }

    fn large_lost(&self) {
        tell_large_lost(&self.peer, self.audience);
    }

    fn lost(&self, end: &End, retry_for: Duration) {
        if let Some(events) = &self.events {
            events.lost(&end.to_string(), retry_for);
        }
        let seconds = retry_for.as_secs();
        self.audience.error(format_args!("lost {}: {end}; retrying for up to {seconds} s", self.peer));
    }
}

/// What to tell of a session that did not come to its end.
pub fn broken(peer: &Peer, outcome: &SendOutcome, arrived: u64, total: Option<u64>) -> anyhow::Error {
    let SendOutcome { end, addr, in_order, reads_once, .. } = outcome;
    let arrived = total.map_or_else(|| units::bytes(arrived), |total| units::of(arrived.min(total), total));
    let progress = format!("{arrived} had arrived");
    let again = match (in_order, reads_once) {
        (false, false) if matches!(end, End::PeerLeft(_)) => {
            "start `lanx recv` there if it has ended, then run the same command again to go on"
        }
        (false, false) => "run the same command again to go on",
        // What it wrote to its standard output stands.
        (true, false) => "start the receiver anew, then run the same command again",
        (false, true) => "what was read of standard input is gone, so run what writes to it once more, too",
        (true, true) => "start the receiver anew, then this command with what writes to its standard input",
    };
    match end {
        End::Stopped => anyhow!("interrupted; {progress}; {again}"),
        End::PeerLeft(text) => anyhow!("{peer} gave up: {text}; {progress}; {again}"),
        End::Misplaced(text) => anyhow!("{peer}: {text}"),
        End::Revoked => {
            anyhow!("{peer} does not let this machine send any more; {progress}; pair again to go on")
        }
        End::Away => anyhow!("{peer} ({addr}) is shutting down or restarting; {progress}; {again}"),
        End::Lost(reason) => anyhow!("lost {peer} ({addr}): {reason}; {progress}; {again}"),
        End::Silent(time) => {
            let seconds = time.as_secs();
            anyhow!(
                "{peer} ({addr}) has said nothing for {seconds} s; is it frozen or unplugged? {progress}; {again}"
            )
        }
        end => anyhow!("sending to {peer} ({addr}) failed: {end}; {progress}; {again}"),
    }
}
