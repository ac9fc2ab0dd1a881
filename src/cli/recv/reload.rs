//! How long a receiver serves: what signals ask of it, and what it does about that.

use std::env;
use std::ffi::OsString;
use std::future::pending;
use std::process;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::options::receive_options;
use super::systemd;
use crate::cli::args::line::{self, Command};
use crate::cli::args::recv::RecvArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::signals::{Asked, Requests};
use crate::cli::ui::out::Audience;
use crate::cli::ui::{out, screen};
use crate::cli::{credentials, signals};
use crate::limits::{SCREEN_PATIENCE, SETTINGS_PATIENCE};
use crate::net::discovery::Announcement;
use crate::os::background::aside;
use crate::server::state::{Order, ReceiveOptions};
use crate::server::stats::Ledger;
use crate::trust::code::Code;
use crate::trust::policy::AuthPolicy;
use crate::units;

/// Hears signals and passes on what follows from them.
pub struct Keeper {
    pub requests: Requests,
    pub orders: mpsc::UnboundedSender<Order>,
    /// What ended the receiver, once that has been asked for.
    pub asked: Arc<OnceLock<Asked>>,
    /// How long transfers under way may take to end.
    pub grace: Duration,
    pub ledger: Arc<Ledger>,
    pub settings: Settings,
    /// What tells the network of this receiver, until its end begins.
    pub announced: Option<Announcement>,
}

/// What is read again at SIGHUP.
pub struct Settings {
    pub auth: Arc<AuthPolicy>,
    /// As the receiver was started with them: what only a restart changes still stands as it does here.
    pub args: RecvArgs,
    pub audience: Audience,
}

/// What was read at SIGHUP.
struct Again {
    args: RecvArgs,
    /// None for a receiver that writes to standard output: what it wrote is there.
    how: Option<ReceiveOptions>,
    code: Option<Code>,
    /// No code file is named any more, so its code has ended.
    revoked: bool,
    /// Machines that may send here. They are read for each that comes; here it is only seen that they can be.
    paired: usize,
}

impl Keeper {
    /// Keeps the list of who may come for as long as the receiver runs.
    ///
    /// The first SIGTERM lets what is under way come to its end, for as long as the grace says. A signal
    /// meanwhile cuts that short. One after that ends the program on the spot.
    pub async fn keep(mut self) {
        match self.wait_for_the_end().await {
            Asked::Leave => self.leave().await,
            _ => {
                signals::stopping(self.settings.audience);
                self.order(Order::Stop);
            }
        }
        while self.requests.next().await == Asked::Reload {}
        screen::leave();
        out::settle(SCREEN_PATIENCE);
        process::exit(Exit::Interrupted.code().into());
    }

    async fn wait_for_the_end(&mut self) -> Asked {
        let asked = loop {
            match self.requests.next().await {
                Asked::Reload => {
                    if let Some(asked) = self.reload().await {
                        break asked;
                    }
                }
                asked => break asked,
            }
        };
        let _ = self.asked.set(asked);
        systemd::stopping();
        if let Some(announced) = self.announced.take() {
            // Saying goodbye takes a moment, for which the end of the runtime waits.
            tokio::task::spawn_blocking(move || drop(announced));
        }
        asked
    }

    /// Has what was changed in the settings hold from the next transfer on: all of it, or where anything is
    /// wrong, nothing. Returns what was asked meanwhile that ends the receiver.
    async fn reload(&mut self) -> Option<Asked> {
        systemd::reloading();
        let Settings { auth, args, .. } = &self.settings;
        let (auth, started) = (auth.clone(), args.clone());
        // A disk may keep one waiting.
        let reading = aside(move || read_again(&auth, &started));
        let read = tokio::select! {
            read = timeout(SETTINGS_PATIENCE, reading) => read,
            asked = self.requests.next_end() => return Some(asked),
        };
        let read = match read {
            Ok(Ok(read)) => read,
            _ => Err(Failure::new(
                Exit::Other,
                anyhow!("the settings could not be read in time; see whether their disk answers"),
            )),
        };
        match read {
            Ok(again) => self.apply(again),
            Err(failure) => {
                failure.tell(Audience { json: false, ..self.settings.audience });
                self.settings.audience.note(format_args!("settings stay as they were"));
            }
        }
        systemd::ready();
        None
    }

    fn apply(&mut self, again: Again) {
        let Again { args, how, code, revoked, paired } = again;
        let Settings { auth, args: started, audience } = &self.settings;
        let later = args.held_until_the_next_start(started, auth.book.is_some());
        if let (Some(code), Some(book)) = (code, &auth.book) {
            book.change(code);
        }
        audience.note(format_args!(
            "settings were read again; {} paired",
            units::count(paired as u64, "machine")
        ));
        if revoked {
            audience.note(format_args!("no code-file is set any more, so its code lets nobody in"));
        }
        if !later.is_empty() {
            audience.note(format_args!("takes effect after a restart: {}", later.join(", ")));
        }
        self.grace = args.service.grace();
        if let Some(how) = how {
            self.order(Order::Change(how));
        }
    }

    async fn leave(&mut self) {
        let sessions = self.ledger.read().1.sessions;
        if sessions > 0 && !self.grace.is_zero() {
            let have = if sessions == 1 { "has" } else { "have" };
            let (sessions, seconds) = (units::count(sessions as u64, "transfer"), self.grace.as_secs());
            let audience = self.settings.audience;
            audience
                .note(format_args!("shutting down: no new senders; {sessions} {have} {seconds} s to finish"));
        }
        self.order(Order::Finish);
        let until = Instant::now().checked_add(self.grace);
        let over = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                // There is nothing left to reload for.
                asked = self.requests.next() => if asked != Asked::Reload { break },
            }
        }
        self.order(Order::Park);
    }

    fn order(&self, order: Order) {
        // A receiver that has ended by itself hears nothing any more.
        let _ = self.orders.send(order);
    }
}

fn read_again(auth: &AuthPolicy, started: &RecvArgs) -> Result<Again, Failure> {
    let line: Vec<OsString> = env::args_os().collect();
    let args = match line::parse(&line, &|name| env::var_os(name))?.command {
        Command::Recv(args) => args,
        // The line is the one that has led here.
        _ => started.clone(),
    };
    let revoked = auth.book.is_some() && started.code_file.is_some() && args.code_file.is_none();
    let code = match (&args.code_file, &auth.book) {
        (Some(path), Some(_)) => Some(credentials::code_again(path)?),
        // One that nobody has ever seen lets in nobody, and ends the guesses at the old one that are under
        // way.
        _ if revoked => Some(Code::generate().map_err(|error| Failure::new(Exit::Other, error))?),
        _ => None,
    };
    let peers = auth.store.load().map_err(|error| Failure::new(Exit::Other, error))?;
    let how = if args.to_stdout() { None } else { Some(receive_options(&args)?) };
    Ok(Again { args, how, code, revoked, paired: peers.senders().len() })
}

impl RecvArgs {
    /// What differs from how the receiver was `started` and cannot be changed while the receiver runs.
    fn held_until_the_next_start(&self, started: &RecvArgs, has_code: bool) -> Vec<&'static str> {
        let differs = [
            (self.listen != started.listen, "listen"),
            (self.no_announce != started.no_announce, "no-announce"),
            (self.once != started.once, "once"),
            (self.max_transfers != started.max_transfers, "max-transfers"),
            (self.part_age != started.part_age, "part-age"),
            (self.open != started.open, "open"),
            (self.code_file != started.code_file && !has_code, "code-file"),
            (self.patience.retry_for() != started.patience.retry_for(), "retry-for"),
            (self.service.metrics != started.service.metrics, "metrics"),
            (self.json != started.json, "json"),
        ];
        differs.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name).collect()
    }
}
