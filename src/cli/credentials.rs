//! Who we are and what code we know: from the configuration folder, the environment, a file, or a person.

use std::env;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use rustix::termios::{QueueSelector, tcflush};
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

use super::error::Failure;
use super::exit::Exit;
use super::send::{places, targets};
use super::ui::events::{By, Event, Whom};
use super::ui::out::Audience;
use super::ui::{events, out, screen};
use crate::client::Connections;
use crate::client::handshake::{Acquaintance, EnterError, Link, PutWhere, SessionRequest, enter, knock};
use crate::limits::{CODE_TEXT_MAX_BYTES, SMALL_SEGMENT_BYTES};
use crate::name::RelativePath;
use crate::net::Door;
use crate::net::address::Peer;
use crate::net::tcp::dial::ConnectError;
use crate::os::clock::Moment;
use crate::os::said::Said;
use crate::os::threads;
use crate::trust::code::Code;
use crate::trust::dir::ConfigDir;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::guesses::GuessBook;
use crate::trust::identity::Identity;
use crate::trust::peer_store::PeerStore;
use crate::trust::policy::{AuthPolicy, ClientAuth, FirstSight};
use crate::units;
use crate::wire::message::{SessionId, Waiting, Wishes};

/// How often a person may type a code: after three wrong ones the receiver makes up a new one.
const CODE_TRIES: u32 = 3;

/// Where a code may stand in the environment.
pub const CODE_VARIABLE: &str = "LANX_CODE";

fn other(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Other, error)
}

/// For what the user has to change: a service manager that starts it again would only hear the same (exit
/// code 2).
fn configuration(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Usage, error)
}

/// Our identity, made if this is the first time, and what we remember of others.
pub fn ourselves() -> Result<(Identity, PeerStore), Failure> {
    let folder = ConfigDir::open(|name| env::var_os(name)).map_err(configuration)?;
    let identity = Identity::load_or_create(&folder).map_err(other)?;
    Ok((identity, PeerStore::new(&folder)))
}

/// What this machine calls itself.
pub fn own_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The code in the first line of a file that is read while others are served.
pub fn code_again(path: &Path) -> Result<Code, Failure> {
    Code::from_regular_file(path).map_err(configuration)
}

/// The code that the user gave in a file or in the environment. The file wins: it was named for this very
/// run, as one in the settings does not count beside a code in the environment.
fn given_code(file: Option<&Path>) -> Result<Option<Code>, Failure> {
    if let Some(path) = file {
        return Code::from_file(path).map(Some).map_err(configuration);
    }
    let Some(text) = env::var_os(CODE_VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = text.to_str().ok_or_else(|| {
        configuration(anyhow!(
            "{CODE_VARIABLE} is not valid UTF-8; set it to the code that the receiver shows"
        ))
    })?;
    let code = Code::from_text(text).map_err(|error| configuration(anyhow!("{CODE_VARIABLE}: {error}")))?;
    Ok(Some(code))
}

/// The receiver's door, and whether its code is to be shown. Without a code from the user, and without a
/// terminal to show one on, none is offered: nobody could know it.
pub fn auth(code_file: Option<&Path>, open: bool, audience: Audience) -> Result<(AuthPolicy, bool), Failure> {
    let (identity, store) = ourselves()?;
    // Read for each that comes; here it is only seen that it can be, before everybody is sent away.
    store.load().map_err(other)?;
    let somebody_looks =
        if audience.json || audience.bytes { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let (book, shown) = match given_code(code_file)? {
        Some(code) => (Some(GuessBook::fixed(code)), false),
        None if !open && somebody_looks => (Some(GuessBook::generated().map_err(other)?), true),
        None => (None, false),
    };
    let auth = AuthPolicy::new(&identity, store, open, book).map_err(other)?;
    Ok((auth, shown))
}

/// A sender's way to be let in. Clones ask one after another.
#[derive(Clone)]
pub struct Introduction {
    visitor: ClientAuth,
    name: String,
    patience: Duration,
    /// How long a receiver that has heard too many wrong codes is waited for.
    retry_for: Duration,
    wishes: Wishes,
    door: Door,
    /// The folder beneath the receiver's own that files go to.
    pub into: Option<RelativePath>,
    /// What is sent has no name, so only a receiver that writes to its standard output can have it.
    pub is_nameless: bool,
    /// When what is sent began to be read; nothing before the first receiver has let it in, unless it comes
    /// through a pipe.
    pub began: Option<Moment>,
    asking: Arc<Mutex<()>>,
    /// Where the receiver is, if it is not where it was last.
    elsewhere: Option<Peer>,
}

impl Introduction {
    pub fn new(
        code_file: Option<&Path>,
        patience: Duration,
        retry_for: Duration,
        wishes: Wishes,
        door: Door,
    ) -> Result<Introduction, Failure> {
        let (identity, store) = ourselves()?;
        let mut visitor = ClientAuth::new(&identity, store, given_code(code_file)?).map_err(other)?;
        // A person is asked; a script cannot be, and whoever runs a receiver for everybody knows that.
        visitor.first_sight = if can_ask() { FirstSight::None } else { FirstSight::Named };
        let (name, asking) = (own_name(), Arc::default());
        let (into, is_nameless, began, elsewhere) = (None, false, None, None);
        Ok(Introduction {
            visitor,
            name,
            patience,
            retry_for,
            wishes,
            door,
            into,
            is_nameless,
            began,
            asking,
            elsewhere,
        })
    }

    /// What it goes by.
    pub fn door(&self) -> Door {
        self.door
    }

    /// Connects, is let in and waits for its turn, without asking anybody.
    pub async fn try_to_enter(
        &self,
        peer: &Peer,
        resumes: Option<SessionId>,
        wanted: Connections,
        audience: Audience,
    ) -> Result<Link, EnterError> {
        let Introduction { name, wishes, patience, .. } = self;
        let waits = |waiting: &Waiting| tell_waiting(peer, waiting, audience);
        // What is measured says it by itself, and better.
        let large_lost = || {
            if !wishes.measure {
                tell_large_lost(peer, audience)
            }
        };
        let (wishes, patience, door) = (*wishes, *patience, self.door);
        let place = PutWhere { into: self.into.as_ref(), needs_output: self.is_nameless };
        let (waits, large_lost) = (&waits, &large_lost);
        let began = self.began;
        let request =
            SessionRequest { name, resumes, began, wishes, door, place, patience, waits, large_lost };
        enter(self.elsewhere.as_ref().unwrap_or(peer), &self.visitor, &request, wanted).await
    }

    /// Connects and is let in; asks the user where there is something to ask and somebody to ask.
    pub async fn enter(
        &mut self,
        peer: &Peer,
        wanted: Connections,
        audience: Audience,
    ) -> Result<Link, Failure> {
        let began = Instant::now();
        let mut typed = 0;
        loop {
            let place = self.elsewhere.clone().unwrap_or_else(|| peer.clone());
            match knock(async || self.try_to_enter(peer, None, wanted, audience).await).await {
                Err(error) if error.is_about_the_place() && place.named_before().is_some() => {
                    tracing::info!("{peer} is not where it was: {error}");
                    self.elsewhere = Some(targets::find_anew(&place).await?);
                }
                Ok(link) => {
                    places::remember(&place, link.addr).await;
                    self.visitor.agreed = Some(link.receiver);
                    self.began.get_or_insert_with(Moment::now);
                    tell(peer, &link, audience);
                    return Ok(link);
                }
                // The connection is closed while the user thinks: a receiver does not wait for strangers.
                Err(EnterError::CodeWanted { .. }) if can_ask() => self.ask_code(peer, &mut typed).await?,
                Err(EnterError::WrongCode { .. }) if (1..CODE_TRIES).contains(&typed) => {
                    out::error(format_args!("that is not the code that {peer} shows"));
                    self.ask_code(peer, &mut typed).await?;
                }
                // It may have been somebody else who guessed wrong.
                Err(EnterError::Later { peer, seconds })
                    if began.elapsed() + Duration::from_secs(seconds.into()) <= self.retry_for =>
                {
                    audience.note(format_args!("{peer} was given too many wrong codes; waiting {seconds} s"));
                    sleep(Duration::from_secs(seconds.into())).await;
                }
                Err(EnterError::CodeWanted { peer }) => {
                    return Err(Failure::new(Exit::NotLetIn, EnterError::NoCode { peer }));
                }
                Err(error @ EnterError::FirstSight { key, .. }) if can_ask() => {
                    let asking = self.asking.clone();
                    let _turn = asking.lock().await;
                    out::error(&error);
                    // What was typed before that could be read is no answer to it.
                    forget_typed();
                    let answer = ask("Send to it, and remember its key? [y/N] ".into()).await?;
                    if !matches!(answer.trim(), "y" | "Y" | "yes") {
                        return Err(Failure::new(
                            Exit::NotLetIn,
                            anyhow!("nothing was sent; answer y to send"),
                        ));
                    }
                    self.visitor.agreed = Some(key);
                }
                Err(EnterError::Connect(ConnectError::Unknown { host, .. })) if Path::new(&host).exists() => {
                    let error = anyhow!(
                        "{host} is a file here and no host that can be found; name the host last: lanx send FILE HOST"
                    );
                    return Err(Failure::new(Exit::Usage, error));
                }
                Err(error) => return Err(Failure::new(exit(&error), error)),
            }
        }
    }
}

impl Introduction {
    /// Asks for the code, again where what is typed cannot be one, until `typed` have been.
    async fn ask_code(&mut self, peer: &Peer, typed: &mut u32) -> Result<(), Failure> {
        let asking = self.asking.clone();
        let _turn = asking.lock().await;
        loop {
            let again = if *typed == 0 { "First transfer to" } else { "Once more for" };
            let answer = ask(format!("{again} {peer}. The code it shows: ")).await?;
            *typed += 1;
            match Code::from_text(&answer) {
                Ok(code) => {
                    self.visitor.code = Some(code);
                    return Ok(());
                }
                Err(error) if *typed < CODE_TRIES => out::error(error),
                Err(error) => return Err(Failure::new(Exit::NotLetIn, error)),
            }
        }
    }
}

/// The exit code for a sender that did not get in.
pub fn exit(error: &EnterError) -> Exit {
    match error {
        EnterError::Connect(_) | EnterError::Handshake { .. } | EnterError::HungUpOnCode { .. } => {
            Exit::Unreachable
        }
        EnterError::Store(_) | EnterError::NoSubfolder { to_output: false, .. } => Exit::Other,
        EnterError::NoSubfolder { .. } | EnterError::NeedsName { .. } => Exit::Usage,
        EnterError::Storage { .. } => Exit::Storage,
        EnterError::KeyChanged { .. }
        | EnterError::OtherKey { .. }
        | EnterError::NotTheSame { .. }
        | EnterError::Namesake { .. }
        | EnterError::OnlyFound { .. }
        | EnterError::CodeWanted { .. }
        | EnterError::FirstSight { .. }
        | EnterError::NoCode { .. }
        | EnterError::SentAway { .. }
        | EnterError::WrongCode { .. }
        | EnterError::Impostor { .. }
        | EnterError::Later { .. }
        | EnterError::Pairing(_) => Exit::NotLetIn,
    }
}

fn tell(peer: &Peer, link: &Link, audience: Audience) {
    let key = link.receiver;
    let by = match link.acquaintance {
        Acquaintance::Old => return,
        Acquaintance::Paired if link.forgets => {
            audience.note(format_args!(
                "{peer} ({key}) let this machine in by its code, and will want the code again"
            ));
            return;
        }
        Acquaintance::Paired => {
            audience.note(format_args!("paired with {peer} ({key}); no code is needed from now on"));
            By::Code
        }
        Acquaintance::FirstSight => {
            audience.note(format_args!("{peer} is new here; its key {key} is remembered from now on"));
            By::FirstSight
        }
    };
    if audience.json {
        tell_paired(&peer.to_string(), &key, by);
    }
}

/// Tells a script that the key of `peer` is known from now on.
pub fn tell_paired(peer: &str, key: &Fingerprint, by: By) {
    let whom = Whom { session: None, peer: Some(peer) };
    events::write(&Event::Paired { whom, key: key.to_string(), by });
}

/// Tells that the network has a fault that makes every transfer slower, and what helps.
pub fn tell_large_lost(peer: &Peer, audience: Audience) {
    audience.note(format_args!(
        "{peer}: large packets are lost on the way (an MTU is too large at a machine, a switch, a tunnel or a VPN); going on with \
         segments of {SMALL_SEGMENT_BYTES} bytes, and `lanx doctor {peer}` says what to do"
    ));
}

/// Tells why nothing happens yet.
fn tell_waiting(peer: &Peer, waiting: &Waiting, audience: Audience) {
    let Waiting { serving, own, before } = *waiting;
    if audience.json {
        let whom = Whom { session: None, peer: Some(&peer.to_string()) };
        return events::write(&Event::Waiting { whom, serving, own, before });
    }
    let transfers = units::count(serving.into(), "transfer");
    let own = match own {
        0 => String::new(),
        own if own == serving => " from here".into(),
        own => format!(", {own} of them from here"),
    };
    let turn = match before {
        0 => "next in line".into(),
        before => format!("{before} before this one"),
    };
    audience.note(format_args!("{peer} is serving {transfers}{own}; waiting for a turn, {turn}"));
}

/// Whether there is a person who sees a question and can answer it.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal what has to be answered.
async fn ask(question: String) -> Result<String, Failure> {
    ask_line(question).await?.ok_or_else(|| {
        Failure::new(
            Exit::NotLetIn,
            anyhow!("nothing was sent, as the question was not answered; send again and answer"),
        )
    })
}

/// Asks on the terminal; `None` where that has ended. A thread of its own waits for the answer, so that
/// Ctrl-C is still heard; where the answer never comes, it ends with the program.
pub async fn ask_line(question: String) -> Result<Option<String>, Failure> {
    let _hidden = screen::hide();
    let (answered, answer) = oneshot::channel();
    out::ask(question);
    let wait = move || {
        let _ = answered.send(read_answer(&mut io::stdin().lock()));
    };
    threads::named("ask").spawn(wait).map_err(other)?;
    match answer.await {
        Ok(Ok(line)) => Ok(Some(line).filter(|line| !line.is_empty())),
        Ok(Err(error)) => Err(other(anyhow!("cannot read from the terminal: {}; {ASK_AGAIN}", Said(&error)))),
        Err(_) => Err(other(anyhow!("cannot read from the terminal; {ASK_AGAIN}"))),
    }
}

/// One line; nothing at the end. Of a line that is too long for any answer the rest is not left to answer the
/// next question.
fn read_answer(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    let bytes = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if bytes as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    // It may have been cut within a character, and is none that is asked for in any case.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Forgets what was typed at the terminal and not read yet, also a line that is not complete.
pub fn forget_typed() {
    if let Err(error) = tcflush(io::stdin(), QueueSelector::IFlush) {
        tracing::debug!("what was typed stays: {error}");
    }
}

/// What to do where a terminal gives no answer.
const ASK_AGAIN: &str = "run it again in a terminal that works";

/// Bytes of an answer that are read: a code and its line end, and enough more to see that it is too long.
const LINE_BYTES_MAX: u64 = 2 * CODE_TEXT_MAX_BYTES as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_an_answer_does_not_answer_the_next_question() {
        let long = "é".repeat(LINE_BYTES_MAX as usize);
        let exact = "x".repeat(LINE_BYTES_MAX as usize - 1);
        let typed = format!("{long}y\n{exact}\nno\nend");
        let mut typed = typed.as_bytes();
        let mut answer = || read_answer(&mut typed).unwrap();
        assert!(answer().len() as u64 >= LINE_BYTES_MAX);
        assert_eq!(answer(), exact + "\n");
        assert_eq!([answer(), answer(), answer()], ["no\n", "end", ""]);
    }
}
