//! `lanx send`.

mod job;
mod many;
mod pick;
pub mod places;
mod report;
pub mod stdin;
mod survey;
pub mod targets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;

use super::acquaintances::Acquaintances;
use super::args::send::{SendArgs, WhatArgs};
use super::credentials::Introduction;
use super::dataset::report::Report;
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use super::ui::out::Audience;
use super::ui::screen;
use super::{credentials, signals};
use crate::cache::Cache;
use crate::net::address::Peer;
use crate::os::clock::Moment;
use crate::os::direct::Direct;
use crate::session::rate_limit::Pace;
use crate::session::sender::TransferOptions;
use crate::session::{Observer, Progress};
use crate::source::{Excludes, Feed, List, Options, Root, SourceError, Trouble};
use crate::wire::message::Wishes;
use job::{SendOptions, TransferJob, interrupted};
use pick::pick;
use report::{Reporter, Told};
use stdin::Streamed;
use survey::expect;
use targets::{no_host, split};

pub fn run(args: &SendArgs, audience: Audience) -> Result<Exit, Failure> {
    screen::start();
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
        let jobs = jobs(args, reporters, feeds, total, &introduction);
        set_off(jobs, stop, audience).await
    };
    // Also where it was broken off: then nothing stays of it.
    let published = report.map_or(Ok(()), |report| report.publish());
    let exit = exit?;
    published.map(|()| exit)
}

/// What is to be done for each receiver.
fn jobs(
    args: &SendArgs,
    reporters: Vec<Arc<Reporter>>,
    feeds: Vec<Feed>,
    total: Option<u64>,
    introduction: &Introduction,
) -> Vec<TransferJob> {
    let options = SendOptions {
        connections: args.connections,
        max_connections: args.max_connections,
        delta: args.delta,
        transfer: TransferOptions {
            dry_run: args.what.dry_run,
            pace: args.limit.map(|rate| Arc::new(Pace::new(rate))),
            cache: Cache::of_user().map(Arc::new),
            checksum: args.checksum,
            compress: args.compress,
        },
        patience: args.patience.timeout(),
        retry_for: args.patience.retry_for(),
    };
    let progress: Vec<Arc<Progress>> = feeds.iter().map(|_| Arc::default()).collect();
    let counts = progress.iter().zip(&reporters);
    let expecting =
        counts.map(|(progress, reporter)| (Arc::downgrade(progress), reporter.tally.clone())).collect();
    feeds.first().inspect(|feed| expect(feed, total, expecting));
    let jobs =
        reporters.into_iter().zip(feeds).zip(progress).map(|((reporter, feed), progress)| TransferJob {
            reporter,
            feed,
            total,
            progress,
            introduction: introduction.clone(),
            options: options.clone(),
            group: None,
        });
    jobs.collect()
}

async fn set_off(
    mut jobs: Vec<TransferJob>,
    stop: impl Future<Output = ()>,
    audience: Audience,
) -> Result<Exit, Failure> {
    match jobs.pop() {
        Some(last) if jobs.is_empty() => {
            let peer = last.reporter.peer.clone();
            job::transfer(last, stop).await.map_err(|failure| failure.about(peer))
        }
        last => {
            jobs.extend(last);
            Ok(many::run(jobs, stop, audience).await)
        }
    }
}

/// Finds out where the receivers are that only this network knows, and has the user pick one if none was
/// named.
async fn find(args: &SendArgs, peers: &mut Vec<Peer>) -> Result<(), Failure> {
    if !peers.is_empty() {
        // Where the host stands before the file, what stands last is no name to look for.
        if args.to.is_empty() && peers.iter().any(|peer| Path::new(&peer.host).exists()) {
            return Ok(());
        }
        let missing = targets::missing_hosts(args);
        return targets::find(peers).await.map_err(|failure| match missing.is_empty() {
            true => failure,
            false => failure.with_hint(missing),
        });
    }
    peers.push(pick(&Acquaintances::load()?).await?);
    targets::find(peers).await
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
