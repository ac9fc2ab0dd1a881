//! `lanx manifest`: one list of all entries of a dataset, in the order of their paths, with one hash over all
//! of it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use clap::ValueHint;

use super::record::{First, Last, Record, Told, VERSION, line};
use super::side_by_side::{Next, side_by_side};
use super::sort::Sorter;
use super::{Draft, verify};
use crate::cli::args::{examples, group};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::signals;
use crate::cli::ui::events::{Kind, Status};
use crate::cli::ui::out::Audience;
use crate::name::Escaped;
use crate::os::said::Said;
use crate::source::{self, Feed, Item, Options, Root, SourceError, Trouble, What};
use crate::units;

/// List all files of a dataset with their hashes.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::MANIFEST)]
pub struct ManifestArgs {
    /// Folders to read, and reports of `lanx send --report`
    ///
    /// Paths are relative to each folder, and in a report as they are at the receiver. Of several entries
    /// with one path the last counts.
    #[arg(required = true, value_name = "FOLDER|REPORT", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// Write the list to FILE
    #[arg(short, long, value_name = "FILE", required = true, help_heading = group::OUTPUT, value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

pub fn run(args: &ManifestArgs, audience: Audience) -> Result<Exit, Failure> {
    let stop = signals::noted();
    let mut draft = Draft::new(&args.output)?;
    let mut list = List { sorter: Sorter::default(), failed: 0, stop, audience };
    let other = |error: anyhow::Error| Failure::new(Exit::Other, error);
    for input in &args.inputs {
        list.read(input).map_err(other)?;
        if list.stop.load(Ordering::Relaxed) {
            return Err(Failure::new(
                Exit::Interrupted,
                anyhow!("interrupted; nothing was written; run it again"),
            ));
        }
    }
    let (mut hasher, mut records, mut files, mut bytes) = (blake3::Hasher::new(), 0, 0, 0);
    draft.write(&line(&First { manifest: VERSION }))?;
    let each = |_: &[u8], record: &[u8]| {
        let Record { kind, size, .. } = serde_json::from_slice(record)?;
        records += 1;
        files += u64::from(kind == Kind::File);
        bytes += size.unwrap_or(0);
        hasher.update(record);
        draft.write(record).map_err(Failure::into_error)
    };
    list.sorter.each(each).map_err(other)?;
    let hash = hasher.finalize().to_hex().to_string();
    draft.write(&line(&Last { records, blake3: hash.clone() }))?;
    draft.publish()?;
    audience.line(format_args!("{hash}  {}", Escaped::path(&args.output)));
    audience.line(format_args!("{}, {}", units::count(files, "file"), units::bytes(bytes)));
    Ok(if list.failed > 0 { Exit::SomeFailed } else { Exit::Success })
}

/// What was listed so far.
struct List {
    sorter: Sorter,
    /// Entries that are not in it.
    failed: u64,
    stop: Arc<AtomicBool>,
    audience: Audience,
}

impl List {
    fn read(&mut self, input: &Path) -> anyhow::Result<()> {
        let shown = Escaped::path(input);
        let kind = input.metadata().map_err(|error| anyhow!("{shown}: {}; check the path", Said(&error)))?;
        if kind.is_dir() { self.folder(input) } else { self.report(input) }
    }

    /// Everything in a folder.
    fn folder(&mut self, path: &Path) -> anyhow::Result<()> {
        // What is in it, whatever its own name is.
        let root = Root::inspect(&path.join(""))?;
        let mut feed = Feed::new(vec![root], Options::default());
        let (stop, audience, sorter) = (self.stop.clone(), self.audience, &mut self.sorter);
        let (mut untold, mut failed) = (0, 0);
        let next = || loop {
            if stop.load(Ordering::Relaxed) {
                return Next::End;
            }
            match feed.next() {
                source::Next::Item(item) => return Next::Job(item),
                source::Next::Later => return Next::Later,
                source::Next::End => return Next::End,
                source::Next::Trouble(trouble) => {
                    untold += u64::from(matches!(trouble, Trouble::Failed(_)));
                    audience.error(&trouble);
                }
            }
        };
        let take = |(item, hash): (Arc<Item>, Result<Option<String>, SourceError>)| {
            // Nothing waits in vain for what could not be read.
            item.done(item.path.as_ref());
            match (hash, &item.path) {
                (Err(error), _) => {
                    failed += 1;
                    audience.error(&error);
                }
                (Ok(hash), Some(path)) if !matches!(item.what, What::ParentFolder) => {
                    let record = Record::new(path, &item.what, &item.metadata, hash);
                    sorter.add(path.as_bytes(), line(&record)).context("cannot hold the list")?;
                }
                (Ok(_), _) => {}
            }
            Ok(())
        };
        side_by_side(next, |item| (item.clone(), hash(&item, &stop)), take)?;
        self.failed += untold + failed;
        Ok(())
    }

    /// What a report says is in place.
    fn report(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = Escaped::path(path);
        let file = File::open(path).map_err(|error| anyhow!("{shown}: {}", Said(&error)))?;
        let mut lines = BufReader::new(file);
        let mut number = 0;
        while let Some(text) = verify::next_line(&mut lines).map_err(|error| anyhow!("{shown}: {error}"))? {
            number += 1;
            let wrong = |what: String| {
                anyhow!("{shown}, line {number}: {what}; give folders and reports of `lanx send --report`")
            };
            #[derive(serde::Deserialize)]
            struct Outcome {
                status: Status,
            }
            let Outcome { status } =
                serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
            if !status.is_there() {
                self.failed += u64::from(matches!(status, Status::Failed));
                continue;
            }
            let told: Told = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
            let path = told.record.path().map_err(wrong)?;
            if told.record.kind == Kind::File && told.record.blake3.is_none() {
                bail!("{shown}, line {number}: a file has no hash; send it again with --report");
            }
            self.sorter.add(path.as_bytes(), line(&told.record)).context("cannot hold the list")?;
        }
        Ok(())
    }
}

/// The hash of a file; nothing of what is none.
fn hash(item: &Item, stop: &AtomicBool) -> Result<Option<String>, SourceError> {
    let Some(source) = item.source() else { return Ok(None) };
    let hash = source.hash(|_| !stop.load(Ordering::Relaxed))?;
    Ok(hash.map(|hash| hash.to_string()))
}
