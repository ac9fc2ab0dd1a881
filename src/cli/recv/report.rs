//! What a receiver tells of those who come: who is let in or sent away, and how each session goes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep_until;

use super::banner::tell_code;
use super::exec::{Programs, Published};
use super::metrics::Counters;
use crate::cli::credentials;
use crate::cli::exit::Exit;
use crate::cli::ui::events;
use crate::cli::ui::events::{By, File, SessionEvents, Sum, Ticker};
use crate::cli::ui::out::Audience;
use crate::cli::ui::paint::Stream;
use crate::cli::ui::paint::sign;
use crate::cli::ui::progress::{Shown, Subject};
use crate::cli::ui::summary::{Counts, Crossed, Tally};
use crate::cli::ui::view::Who;
use crate::limits::{REFUSALS_SHOWN_MAX, REFUSALS_WINDOW};
use crate::name::RelativePath;
use crate::server::events::{Caller, Receptionist, SessionWatch};
use crate::session::{End, FileReport, FileStatus, Observer, Progress};
use crate::store::{NO_ROOM, Output, Target};
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;
use crate::units;

/// Stands at the door and tells the user who comes.
pub struct Doorman {
    audience: Audience,
    to: Arc<Target>,
    /// Whether the code is on the screen.
    shows_code: bool,
    refusals: Arc<Mutex<Refusals>>,
    /// Sessions so far; a number for each.
    sessions: AtomicU64,
    /// How the first transfer ended, for `--once`.
    result: Arc<Mutex<Option<Exit>>>,
    counters: Arc<Counters>,
    /// What is run for what arrives.
    programs: Option<Arc<Programs>>,
}

/// Tells of those who were refused, but not of each of a flood.
#[derive(Default)]
struct Refusals {
    /// When the current [`REFUSALS_WINDOW`] began, and how many it has seen that were told of or are still to
    /// be.
    since: Option<Instant>,
    seen: u32,
}

impl Refusals {
    /// Tells of one, or counts it. Returns when to tell how many were counted, where this is the first of
    /// them.
    fn tell(&mut self, now: Instant, text: std::fmt::Arguments<'_>) -> Option<Instant> {
        let since = match self.since.filter(|since| now.duration_since(*since) < REFUSALS_WINDOW) {
            Some(since) => since,
            None => {
                self.tell_rest();
                *self = Refusals { since: Some(now), seen: 0 };
                now
            }
        };
        self.seen += 1;
        if self.seen <= REFUSALS_SHOWN_MAX {
            tracing::warn!("{text}");
        }
        (self.seen == REFUSALS_SHOWN_MAX + 1).then(|| since + REFUSALS_WINDOW)
    }

    /// Tells how many were counted and not told of.
    fn tell_rest(&mut self) {
        let rest = self.seen.saturating_sub(REFUSALS_SHOWN_MAX);
        if rest > 0 {
            tracing::warn!("refused {rest} more");
        }
        self.seen -= rest;
    }
}

/// Tells the user how one session goes.
struct Watch {
    who: Who,
    audience: Audience,
    to: Arc<Target>,
    connections: u8,
    tally: Arc<Tally>,
    started: Instant,
    progress: Arc<Progress>,
    /// Dropped at the end of the session.
    followers: Mutex<Option<(Shown, Option<Ticker>)>>,
    events: Option<Arc<SessionEvents>>,
    result: Arc<Mutex<Option<Exit>>>,
    counters: Arc<Counters>,
    /// That there is no room was told.
    no_room: AtomicBool,
    published: Option<Published>,
}

impl Doorman {
    pub fn new(
        audience: Audience,
        to: Arc<Target>,
        shows_code: bool,
        counters: Arc<Counters>,
        programs: Option<Arc<Programs>>,
    ) -> Doorman {
        Doorman {
            audience,
            to,
            shows_code,
            refusals: Arc::default(),
            sessions: AtomicU64::new(0),
            result: Arc::default(),
            counters,
            programs,
        }
    }

    /// Tells of somebody who did not come in, or counts it, and sees to it that the count is told.
    fn tell(&self, text: std::fmt::Arguments<'_>) {
        let end = self.refusals.lock().tell(Instant::now(), text);
        let Some(end) = end else { return };
        let refusals = self.refusals.clone();
        // Perhaps nobody comes after them with whom it could be told.
        tokio::spawn(async move {
            sleep_until(end.into()).await;
            refusals.lock().tell_rest();
        });
    }

    /// Tells at the end what there still is to tell.
    pub fn leave(&self) {
        self.refusals.lock().tell_rest();
    }

    /// How the first transfer ended, if one has.
    pub fn result(&self) -> Option<Exit> {
        *self.result.lock()
    }
}

impl Receptionist for Doorman {
    fn started(&self, caller: Caller, progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        let Caller { ip: peer, name, connections, dry_run, folder } = caller;
        let published = self.programs.as_ref().zip(folder).map(|(programs, folder)| programs.follow(&folder));
        let who = Who { name, address: peer.to_string() };
        let number = 1 + self.sessions.fetch_add(1, Ordering::Relaxed);
        let events = self.audience.json.then(|| Arc::new(SessionEvents::new(Some(number), peer.to_string())));
        let tally = Arc::new(if dry_run { Tally::of_dry_run() } else { Tally::default() });
        let subject = Subject {
            progress: progress.clone(),
            total: None,
            tally: tally.clone(),
            who: who.clone(),
            named: true,
            receives: true,
        };
        let shown = Shown::new(subject, self.audience);
        let ticker = events.clone().map(|events| Ticker::follow(events, progress.clone(), None));
        Arc::new(Watch {
            who,
            audience: self.audience,
            to: self.to.clone(),
            connections,
            tally,
            started: Instant::now(),
            progress,
            followers: Mutex::new(Some((shown, ticker))),
            events,
            // Whoever only looks leaves `--once` to whoever sends.
            result: if dry_run { Arc::default() } else { self.result.clone() },
            counters: self.counters.clone(),
            no_room: AtomicBool::default(),
            published,
        })
    }

    fn measured(&self, peer: IpAddr, bytes: u64, end: &End) {
        let bytes = units::bytes(bytes);
        match end {
            End::Complete => {
                self.audience.line(format_args!("{peer} ran a speed test ({bytes}); nothing was stored"));
            }
            end => tracing::warn!("{peer} began a speed test ({bytes}): {end}"),
        }
    }

    fn refused(&self, peer: IpAddr, why: &str) {
        self.tell(format_args!("refused {peer}: {why}"));
    }

    fn disconnected(&self, peer: IpAddr, why: &str) {
        self.tell(format_args!("{peer} disconnected: {why}"));
    }

    fn paired(&self, peer: IpAddr, key: &Fingerprint, remembered: bool) {
        self.counters.paired();
        if !remembered {
            return self.audience.line(format_args!("{peer} ({key}) proved the code, and is not remembered"));
        }
        self.audience.line(format_args!("paired with {peer} ({key}); no code is needed from now on"));
        if self.audience.json {
            credentials::tell_paired(&peer.to_string(), key, By::Code);
        }
    }

    fn new_code(&self, code: &Code) {
        if self.shows_code {
            tell_code(self.audience, "three wrong codes were tried, so there is a new one: ", code);
        }
    }
}

impl Observer for Watch {
    fn file(&self, report: &FileReport) {
        self.tally.add(report);
        self.counters.file(report);
        self.published.iter().for_each(|published| published.note(report));
        if let Some(events) = &self.events {
            events.start(None);
            events.file(File::of(report));
        }
        match (&report.status, report.hash) {
            (FileStatus::Failed(_), _) if self.reader_is_gone() => {}
            // Whoever has heard it once knows.
            (FileStatus::Failed(failure), _)
                if failure.text.to_string().starts_with(NO_ROOM)
                    && self.no_room.swap(true, Ordering::Relaxed) =>
            {
                tracing::info!("{}: {}", self.who, failure.text);
            }
            (FileStatus::Failed(failure), _) => {
                self.audience.error(format_args!("{}: {}", self.who, failure.text))
            }
            (status, Some(hash)) => {
                let what = match status {
                    FileStatus::Identical | FileStatus::Remembered => " (already there)".into(),
                    FileStatus::Renamed(new) => format!(" (stored as {new})"),
                    _ => String::new(),
                };
                tracing::info!("{hash}  {}{what}", report.path);
            }
            (_, None) => {}
        }
    }

    fn keeps_up(&self) -> bool {
        self.events.is_none() || events::has_room()
    }
}

impl SessionWatch for Watch {
    fn ended(&self, end: &End) {
        let file = self.followers.lock().take().and_then(|(shown, _)| shown.file());
        let counts = self.tally.counts();
        self.counters.session(end, &counts);
        self.published.iter().for_each(Published::ended);
        let exit = Exit::of_broken(end);
        // Those that `--once` interrupts end later and do not count; one that came back after a loss does.
        let mut result = self.result.lock();
        if result.is_none_or(|earlier| earlier == Exit::Unreachable) {
            *result = Some(exit.unwrap_or_else(|| counts.exit()));
        }
        drop(result);
        self.tell_end(end, &counts, Crossed::of(&self.progress), self.started.elapsed(), file);
    }
}

impl Watch {
    /// Whether whoever read our output has left. They know, and nobody else wants to hear of it.
    fn reader_is_gone(&self) -> bool {
        self.to.output().is_some_and(Output::reader_is_gone)
    }

    /// How far it had come.
    fn stopped(&self, counts: &Counts, file: Option<RelativePath>) -> String {
        let arrived = self.progress.arrived();
        let at = self.progress.known().filter(|total| *total > 0);
        let at = at.map_or_else(|| units::bytes(arrived), |total| units::of(arrived.min(total), total));
        let file = file.map_or(String::new(), |file| format!(" ({file})"));
        let done = match counts.arrived {
            0 => String::new(),
            n => format!(", {} arrived", units::count(n, "file")),
        };
        format!("stopped at {at}{file}{done}")
    }

    fn tell_end(
        &self,
        end: &End,
        counts: &Counts,
        crossed: Crossed,
        time: Duration,
        file: Option<RelativePath>,
    ) {
        let summary = counts.summary(crossed, time, None);
        if let Some(events) = &self.events {
            events.start(None);
        }
        let Some(exit) = Exit::of_broken(end) else {
            if let Some(events) = &self.events {
                events.done(Sum::of(counts, crossed, time, self.connections));
            }
            if self.reader_is_gone() {
                return;
            }
            let name = counts.only_name().map_or(String::new(), |name| format!("{name}: "));
            let sign = sign(Stream::Stdout, counts.exit() == Exit::Success);
            return self.audience.line(format_args!("{sign}from {}: {name}{summary}", self.who));
        };
        let stopped = self.stopped(counts, file);
        let kept = match self.to.output() {
            // A stream was under way.
            None if self.progress.known().is_none() => "what had come of a stream was removed; send it again",
            None => &*format!("it resumes when {} sends again", self.who.short()),
            Some(_) => "what was written to standard output stands and is not all; start both again",
        };
        if let Some(events) = &self.events {
            events.error(exit, &format!("{end}; {stopped}"), kept);
        }
        self.audience.error(format_args!("{}: {end}; {stopped}; {kept}", self.who));
    }
}
