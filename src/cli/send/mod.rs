//! `lanx send`.

mod many;
mod pick;
pub mod places;
mod report;
pub mod stdin;
pub mod targets;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::args::{SendArgs, WhatArgs};
use super::credentials::{Acquaintances, Introduction};
use super::dataset::report::Report;
use super::error::Failure;
use super::exit::Exit;
use super::ui::events::Ticker;
use super::ui::out;
use super::ui::out::Audience;
use super::ui::progress::{Shown, Subject, Who};
use super::ui::summary::{Crossed, Tally};
use super::{credentials, signals};
use crate::cache::Cache;
use crate::client::Connections;
use crate::client::transfer::{SendError, SendOutcome, Transfer, send};
use crate::limits::WORKER_STACK_BYTES;
use crate::net::Door;
use crate::net::address::Peer;
use crate::net::tcp::tune;
use crate::os::background;
use crate::os::clock::Moment;
use crate::os::direct::Direct;
use crate::session::rate_limit::Pace;
use crate::session::sender::compress::Compress;
use crate::session::{Observer, Progress};
use crate::source::{Excludes, Feed, List, Options, Root, SourceError, Survey, Trouble};
use crate::wire::message::Wishes;
use many::{Company, Told};
use pick::pick;
use report::{Reporter, broken};
use stdin::Streamed;
use targets::{no_host, split};

/// How to send, to each receiver alike.
#[derive(Clone)]
pub(super) struct Manner {
    connections: Option<u8>,
    max_connections: Option<u8>,
    dry_run: bool,
    delta: bool,
    pace: Option<Arc<Pace>>,
    cache: Option<Arc<Cache>>,
    checksum: bool,
    compress: Compress,
    patience: Duration,
    retry_for: Duration,
}

/// One receiver, and what it gets.
pub(super) struct Errand {
    pub reporter: Arc<Reporter>,
    pub feed: Feed,
    /// The size of all that is sent, where it is known.
    pub total: Option<u64>,
    pub progress: Arc<Progress>,
    pub introduction: Introduction,
    pub manner: Manner,
    /// Its part in what all receivers do together, where there are several.
    pub company: Option<Company>,
}

pub fn run(args: &SendArgs, audience: Audience) -> Result<Exit, Failure> {
    out::start();
    let (peers, paths) = split(args)?;
    if peers.is_empty() && !credentials::can_ask() {
        return Err(no_host(args.words()));
    }
    let streamed = stdin::streamed(args, &paths)?;
    let wishes = Wishes { dry_run: args.what.dry_run, delta: args.delta, measure: false };
    // While Ctrl-C still ends the program by itself: a pipe with a code may keep one waiting.
    let mut introduction = Introduction::new(
        args.code_file.as_deref(),
        args.patience.timeout(),
        args.patience.retry_for(),
        wishes,
        args.door(),
    )?;
    introduction.into = args.into.clone();
    introduction.began = streamed.is_some().then(Moment::now);
    introduction.is_nameless = streamed.as_ref().is_some_and(|streamed| streamed.name.is_none());
    let runtime = signals::runtime()?;
    let sent = runtime.block_on(deliver(args, peers, &paths, streamed, introduction, audience));
    signals::leave(runtime);
    sent
}

/// Finds the receivers and sends to each, unless Ctrl-C comes, whenever that is.
async fn deliver(
    args: &SendArgs,
    mut peers: Vec<Peer>,
    paths: &[PathBuf],
    streamed: Option<Streamed>,
    introduction: Introduction,
    audience: Audience,
) -> Result<Exit, Failure> {
    let stop = signals::interrupted(audience);
    tokio::pin!(stop);
    let picks = peers.is_empty();
    tokio::select! {
        found = find(args, &mut peers) => found?,
        () = &mut stop => {
            if picks {
                // The question stands there without a line end.
                out::ask("\n");
            }
            return Err(interrupted());
        }
    }
    let what = &args.what;
    let told = (peers.len() > 1).then(Arc::<Told>::default);
    let report = args.report.as_deref().map(|path| Report::new(path, peers.len())).transpose()?;
    let report = report.map(Arc::new);
    let reporter = |peer| Arc::new(Reporter::new(peer, audience, what.dry_run, told.clone(), report.clone()));
    let reporters: Vec<Arc<Reporter>> = peers.iter().map(reporter).collect();
    let (feeds, total) = feeds(args, paths, streamed, &reporters)?;
    let exit = if feeds.is_empty() {
        Ok(Exit::gravest(reporters.iter().map(|reporter| reporter.nothing())))
    } else {
        let errands = errands(args, reporters, feeds, total, &introduction);
        set_off(errands, stop, audience).await
    };
    // Also where it was broken off: then nothing stays of it.
    let published = report.map_or(Ok(()), |report| report.publish());
    let exit = exit?;
    published.map(|()| exit)
}

/// What is to be done for each receiver.
fn errands(
    args: &SendArgs,
    reporters: Vec<Arc<Reporter>>,
    feeds: Vec<Feed>,
    total: Option<u64>,
    introduction: &Introduction,
) -> Vec<Errand> {
    let manner = Manner {
        connections: args.connections,
        max_connections: args.max_connections,
        dry_run: args.what.dry_run,
        delta: args.delta,
        pace: args.limit.map(|rate| Arc::new(Pace::new(rate))),
        cache: Cache::of_user().map(Arc::new),
        checksum: args.checksum,
        compress: args.compress,
        patience: args.patience.timeout(),
        retry_for: args.patience.retry_for(),
    };
    let progress: Vec<Arc<Progress>> = feeds.iter().map(|_| Arc::default()).collect();
    let counts = progress.iter().zip(&reporters);
    let expecting =
        counts.map(|(progress, reporter)| (Arc::downgrade(progress), reporter.tally.clone())).collect();
    feeds.first().inspect(|feed| expect(feed, total, expecting));
    let errands = reporters.into_iter().zip(feeds).zip(progress).map(|((reporter, feed), progress)| Errand {
        reporter,
        feed,
        total,
        progress,
        introduction: introduction.clone(),
        manner: manner.clone(),
        company: None,
    });
    errands.collect()
}

async fn set_off(
    mut errands: Vec<Errand>,
    stop: impl Future<Output = ()>,
    audience: Audience,
) -> Result<Exit, Failure> {
    match errands.pop() {
        Some(last) if errands.is_empty() => {
            let peer = last.reporter.peer.clone();
            transfer(last, stop).await.map_err(|failure| failure.about(peer))
        }
        last => {
            errands.extend(last);
            Ok(many::run(errands, stop, audience).await)
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        anyhow!("interrupted before anything was sent; run the same command again"),
    )
}

/// Finds out where the receivers are that only this network knows, and has the user pick one if none was named.
async fn find(args: &SendArgs, peers: &mut Vec<Peer>) -> Result<(), Failure> {
    if !peers.is_empty() {
        // Where the host stands before the file, what stands last is no name to look for.
        if args.to.is_empty() && peers.iter().any(|peer| Path::new(&peer.host).exists()) {
            return Ok(());
        }
        return targets::find(peers).await;
    }
    peers.push(pick(&Acquaintances::load()?).await?);
    Ok(())
}

/// What each receiver gets, if anything can be sent, and the size of that where it is known.
fn feeds(
    args: &SendArgs,
    paths: &[PathBuf],
    streamed: Option<Streamed>,
    reporters: &[Arc<Reporter>],
) -> Result<(Vec<Feed>, Option<u64>), Failure> {
    let what = &args.what;
    let excludes = Excludes::new(&what.exclude_from, &what.exclude)
        .map_err(|error| Failure::new(Exit::Usage, anyhow!("what to exclude: {error}")))?;
    if let Some(streamed) = streamed {
        return Ok((streamed.feeds(reporters.len())?, None));
    }
    let roots = inspect(args, paths, reporters)?;
    if roots.is_empty() {
        return Ok((Vec::new(), None));
    }
    let size = roots.iter().map(Root::size).fold(0, u64::saturating_add);
    let total = roots.iter().all(|root| !root.is_folder()).then_some(size);
    let list = list(what, &roots, reporters.len())?;
    let direct = args.direct.then(Direct::new);
    let options = Options {
        follow: what.follow,
        archive: what.archive,
        excludes,
        direct,
        list,
        skip_special: what.skip_special,
        one_file_system: what.one_file_system,
    };
    let feed = |_| Feed::new(roots.clone(), options.clone());
    Ok((reporters.iter().map(feed).collect(), total))
}

/// The list of what is sent of the folder, where the user gave one.
fn list(what: &WhatArgs, roots: &[Root], receivers: usize) -> Result<Option<List>, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let Some(path) = what.files_from.clone() else { return Ok(None) };
    if roots.len() != 1 || !roots.iter().all(Root::is_folder) {
        return Err(usage(anyhow!(
            "--files-from lists what is sent of one folder; give that: lanx send --files-from FILE FOLDER/ HOST"
        )));
    }
    let list = List { path, ends_in_nul: what.from0, recursive: what.recursive };
    if list.is_read_once() && receivers > 1 {
        return Err(usage(anyhow!(
            "a list that comes through a pipe can be read only once, so it serves one receiver; write it to a file"
        )));
    }
    if !list.is_read_once() {
        list.open().map_err(|error| usage(anyhow!("--files-from: {error}")))?;
    }
    Ok(Some(list))
}

/// What can be offered of what the user named. Each receiver misses the rest.
///
/// # Errors
/// `--name` is there for what it cannot be for.
fn inspect(args: &SendArgs, paths: &[PathBuf], reporters: &[Arc<Reporter>]) -> Result<Vec<Root>, Failure> {
    let told = |error| {
        let trouble = match error {
            SourceError::NotRegular { path, what: why } if args.what.skip_special => {
                Trouble::LeftOut { path, why }
            }
            SourceError::NotRegular { path, what } => Trouble::Skipped { path, what },
            error => Trouble::Failed(error),
        };
        reporters.iter().for_each(|reporter| reporter.unsent(&trouble));
        if let (Trouble::Skipped { .. }, Some(reporter)) = (&trouble, reporters.first()) {
            reporter
                .audience
                .note("what a command writes goes this way: COMMAND | lanx send - HOST --name NAME");
        }
    };
    let roots: Vec<Root> = paths.iter().filter_map(|path| Root::inspect(path).map_err(told).ok()).collect();
    let Some(name) = stdin::given_name(args)? else { return Ok(roots) };
    if paths.len() > 1 || roots.iter().any(Root::is_folder) {
        let error = anyhow!("--name is for one file; send it by itself, or leave --name out");
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(roots.into_iter().map(|root| root.named(name.clone())).collect())
}

/// Sends to one receiver.
pub(super) async fn transfer(errand: Errand, stop: impl Future<Output = ()>) -> Result<Exit, Failure> {
    let Errand { reporter, feed, total, progress, mut introduction, manner, company } = errand;
    let Reporter { peer, audience, events, .. } = &*reporter;
    signals::survive_file_size_limit();
    tokio::pin!(stop);
    let chunks = feed.chunks();
    let Manner { connections, max_connections, .. } = manner;
    let door = introduction.door();
    let wanted = Connections::wanted(chunks, connections, max_connections, door);
    let entered = async {
        let link = introduction.enter(peer, wanted, *audience).await;
        match &company {
            Some(company) => company.begin(peer, link).await,
            None => link,
        }
    };
    let link = tokio::select! {
        link = entered => link?,
        () = &mut stop => return Err(interrupted()),
    };
    if manner.delta && !link.grants_delta {
        let text = "changed files are sent whole, as the receiver does not run with --delta";
        audience.note(format_args!("{peer}: {text}"));
    }
    // What is typed or piped may be secret, and how long it becomes tells of it: only where the user wants that.
    let wished = if feed.stream().is_some() { manner.compress.if_wished() } else { manner.compress };
    let granted = wished.granted(link.codecs);
    if let (Compress::Always(_), Compress::No) = (wished, granted) {
        let text = "nothing is compressed, as the receiver is older or runs with --compress no";
        audience.note(format_args!("{peer}: {text}"));
    }
    let stream = feed.stream().cloned();
    let started = Instant::now();
    let ticker = events.as_ref().map(|events| {
        events.start(Some((link.addr, granted)));
        Ticker::follow(events.clone(), progress.clone(), total)
    });
    let subject = Subject {
        progress: progress.clone(),
        total,
        tally: reporter.tally.clone(),
        who: Who { name: None, address: peer.to_string() },
        named: company.is_some(),
        receives: false,
    };
    let shown = Shown::new(subject, *audience);
    let Manner { dry_run, pace, cache, checksum, patience, retry_for, .. } = manner;
    let transfer = Transfer {
        feed,
        dry_run,
        pace,
        cache,
        checksum,
        compress: wished,
        shared: company.map(|company| company.reads),
        observer: reporter.clone(),
        progress: progress.clone(),
        patience,
        retry_for,
    };
    let again = async |session| introduction.try_to_enter(peer, Some(session), wanted, *audience).await;
    let result = send(link, transfer, again, stop).await;
    drop((shown, ticker));
    let outcome = result.map_err(|error| match error {
        SendError::Enter(error) => Failure::new(credentials::exit(&error), error),
        error @ (SendError::Thread(_) | SendError::Walk) => Failure::new(Exit::Other, error),
    })?;
    if let Some(exit) = Exit::of_broken(&outcome.end) {
        let total = total.or_else(|| progress.whole(false));
        return Err(Failure::new(exit, broken(peer, &outcome, progress.arrived(), total)));
    }
    advise_quic(door, &outcome, started.elapsed(), peer, *audience);
    stream.iter().for_each(|stream| reporter.tell_silent(stream));
    Ok(reporter.done(Crossed::of(&progress), started.elapsed(), &outcome))
}

/// A transfer that is over sooner is not worth another way.
const ADVICE_AFTER: Duration = Duration::from_secs(10);

/// Tells of QUIC where packets were lost on the way and the system lets nobody have what would help TCP with that.
fn advise_quic(door: Door, outcome: &SendOutcome, took: Duration, peer: &Peer, audience: Audience) {
    if door == Door::Tcp && outcome.is_lossy && took >= ADVICE_AFTER && !tune::allows_bbr() {
        audience.note(format_args!(
            "{peer}: the network loses packets, and this system lets TCP not use bbr, which copes with that; `lanx recv --quic` there \
             and `lanx send --quic` may be faster"
        ));
    }
}

// How much there is to send in all, where only a walk through folders can tell: a second walk, which waits for nothing and so
// is far ahead of the one that offers.

/// A transfer that is over sooner does not pay for a second walk.
const SURVEY_AFTER: Duration = Duration::from_secs(1);

/// Nor does one that gets through so many files in that time without a byte of them: a second walk would hardly be faster.
const SURVEY_FILES: u64 = 20_000;

/// Those who want to know it, one for each receiver.
type Expecting = Vec<(Weak<Progress>, Arc<Tally>)>;

/// Tells how much there is in `feed`: at once the bytes where those are known, and all of it after a walk that begins when the
/// transfer has lasted for [`SURVEY_AFTER`] and is not going through files that need not be sent.
fn expect(feed: &Feed, total: Option<u64>, expecting: Expecting) {
    if let Some(total) = total {
        expecting.iter().filter_map(|(progress, _)| progress.upgrade()).for_each(|one| one.expect(total));
    }
    let Some(survey) = feed.survey() else { return };
    let builder = thread::Builder::new().name("survey".into()).stack_size(4 * WORKER_STACK_BYTES);
    // Nobody waits for it: it ends with the transfers, or with the program.
    if let Err(error) = builder.spawn(move || look_ahead(survey, &expecting)) {
        tracing::info!("nobody can look ahead for how much there is: {error}");
    }
}

/// How many files are done, and how many bytes of them went to the receivers.
fn so_far(expecting: &Expecting) -> (u64, u64) {
    let running = expecting.iter().filter_map(|(progress, _)| progress.upgrade());
    let counts = running.map(|progress| (Progress::get(&progress.files_done), progress.crossed()));
    counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

fn look_ahead(survey: Survey, expecting: &Expecting) {
    let over = || expecting.iter().all(|(progress, _)| progress.strong_count() == 0);
    let (mut files, mut bytes) = (0, 0);
    loop {
        thread::sleep(SURVEY_AFTER);
        let (files_before, bytes_before) = (files, bytes);
        (files, bytes) = so_far(expecting);
        let only_looks = bytes == bytes_before && files >= files_before + SURVEY_FILES;
        if over() || !only_looks {
            break;
        }
    }
    // What only tells how much there is must not hold up who sends it.
    background::yield_to_others();
    let Some((files, bytes)) = survey.count(over) else { return };
    for (progress, tally) in expecting {
        tally.expect(files);
        if let Some(progress) = progress.upgrade() {
            progress.expect(bytes);
        }
    }
}
