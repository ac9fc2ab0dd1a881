//! `lanx verify`: reads a copy of a dataset, and holds it against the list of `lanx manifest`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{anyhow, bail};
use clap::ValueHint;
use parking_lot::Mutex;

use super::record::{First, LINE_BYTES_MAX, Last, Record, VERSION};
use super::side_by_side::{Next, side_by_side};
use crate::cli::args::{examples, group, values};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::signals;
use crate::cli::ui::events::Kind;
use crate::cli::ui::out::Audience;
use crate::limits::PACE_LOOK;
use crate::name::Escaped;
use crate::os::said::Said;
use crate::session::rate_limit::Pace;
use crate::source::{Copied, Copy, SourceError};
use crate::units;

/// Prove that a copy of a dataset is complete.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::VERIFY)]
pub struct VerifyArgs {
    /// The list, as `lanx manifest` wrote it
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The copy
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Read at most RATE a second: 50M, 400mbit
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = group::SPEED)]
    limit: Option<u64>,
}

/// What is wrong with an entry of the copy.
enum Fault {
    Missing,
    /// It is something else than it was, or has other bytes.
    Differs(String),
    /// Nobody can tell.
    Unread(SourceError),
}

/// How many entries are so.
#[derive(Default)]
struct Counts {
    right: u64,
    bytes: u64,
    missing: u64,
    differ: u64,
    unread: u64,
}

pub fn run(args: &VerifyArgs, audience: Audience) -> Result<Exit, Failure> {
    let stop = signals::noted();
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let mut records = Records::open(&args.manifest).map_err(usage)?;
    let copy = Copy::open(&args.dir).map_err(|error| Failure::new(Exit::Usage, error))?;
    let pace = args.limit.map(Pace::new);
    let counts = Mutex::new(Counts::default());
    let mut broken = None;
    let next = || match records.next() {
        _ if stop.load(Ordering::Relaxed) => Next::End,
        Ok(Some(record)) => Next::Job(record),
        Ok(None) => Next::End,
        Err(error) => {
            broken = Some(error);
            Next::End
        }
    };
    let work = |record: Record| {
        let fault = check(&record, &copy, pace.as_ref(), &stop);
        (record, fault)
    };
    let take = |(record, fault): (Record, Option<Fault>)| {
        count(&record, fault, &mut counts.lock(), audience);
        Ok(())
    };
    side_by_side(next, work, take).map_err(|error| Failure::new(Exit::Other, error))?;
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::new(
            Exit::Interrupted,
            anyhow!("interrupted; what was read so far proves nothing; run it again"),
        ));
    }
    if let Some(error) = broken {
        return Err(usage(error));
    }
    Ok(told(&counts.into_inner(), audience))
}

fn count(record: &Record, fault: Option<Fault>, counts: &mut Counts, audience: Audience) {
    let path = record.path().map_or_else(|bad| bad, |path| path.to_string());
    match fault {
        None => {
            counts.right += 1;
            counts.bytes += record.size.unwrap_or(0);
        }
        Some(Fault::Missing) => {
            counts.missing += 1;
            audience.error(format_args!("{path}: missing"));
        }
        Some(Fault::Differs(how)) => {
            counts.differ += 1;
            audience.error(format_args!("{path}: {how}"));
        }
        Some(Fault::Unread(error)) => {
            counts.unread += 1;
            audience.error(error);
        }
    }
}

fn told(counts: &Counts, audience: Audience) -> Exit {
    let Counts { right, bytes, missing, differ, unread } = *counts;
    let entries = |n: u64| if n == 1 { "1 entry".into() } else { format!("{n} entries") };
    let mut text = format!("{}, {} verified", entries(right), units::bytes(bytes));
    for (n, what) in [(missing, "missing"), (differ, "not as listed"), (unread, "not to be read")] {
        if n > 0 {
            text += &format!("; {n} {what}");
        }
    }
    audience.line(text);
    match (missing + differ, unread) {
        (0, 0) => Exit::Success,
        (0, _) => Exit::SomeFailed,
        _ => Exit::Verification,
    }
}

/// What is wrong with an entry of the copy; `None` where nothing is.
fn check(record: &Record, copy: &Copy, pace: Option<&Pace>, stop: &AtomicBool) -> Option<Fault> {
    let differs = |how: &str| Some(Fault::Differs(how.into()));
    let path = match record.path() {
        Ok(path) => path,
        Err(bad) => return Some(Fault::Differs(bad)),
    };
    let there = match copy.look(&path) {
        Ok(Some(there)) => there,
        Ok(None) => return Some(Fault::Missing),
        Err(error) => return Some(Fault::Unread(error)),
    };
    match (record.kind, there) {
        (Kind::Folder, Copied::Folder) => None,
        (Kind::Symlink, Copied::Symlink(target)) => match record.target() {
            Some(wanted) if wanted == target => None,
            _ => Some(Fault::Differs(format!("leads to {}", Escaped(&target)))),
        },
        // Its bytes are listed under the first of its names.
        (Kind::HardLink, Copied::File(_)) => None,
        (Kind::File, Copied::File(source)) => {
            if Some(source.size()) != record.size {
                return Some(Fault::Differs(format!(
                    "has {} bytes, not {}",
                    source.size(),
                    record.size.unwrap_or(0)
                )));
            }
            let go_on = |bytes: usize| {
                while let Some(wait) = pace.and_then(|pace| pace.take(bytes as u64)) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::sleep(wait.min(PACE_LOOK));
                }
                !stop.load(Ordering::Relaxed)
            };
            match source.hash(go_on) {
                Ok(Some(hash)) if Some(hash.to_string()) == record.blake3 => None,
                Ok(Some(_)) => differs("has other bytes"),
                // Interrupted: nobody is told.
                Ok(None) => None,
                Err(error) => Some(Fault::Unread(error)),
            }
        }
        (_, there) => Some(Fault::Differs(format!("is {there}"))),
    }
}

/// The records of a manifest, whose hash was found right before the first is handed out.
struct Records {
    lines: BufReader<File>,
    left: u64,
    shown: String,
}

impl Records {
    fn open(path: &Path) -> anyhow::Result<Records> {
        let shown = Escaped::path(path).to_string();
        let file = File::open(path).map_err(|error| anyhow!("{shown}: {}; check the path", Said(&error)))?;
        let mut lines = BufReader::new(file);
        let read =
            |lines: &mut BufReader<File>| next_line(lines).map_err(|error| anyhow!("{shown}: {error}"));
        let foreign = || anyhow!("{shown} is no manifest; make one: lanx manifest FOLDER -o FILE");
        let first = read(&mut lines)?.ok_or_else(foreign)?;
        let First { manifest } = serde_json::from_slice(&first).map_err(|_| foreign())?;
        if manifest != VERSION {
            bail!("{shown} is a manifest of version {manifest}, which this lanx does not know; update it");
        }
        let (mut hasher, mut records) = (blake3::Hasher::new(), 0);
        let mut before: Option<Vec<u8>> = None;
        while let Some(line) = read(&mut lines)? {
            if let Some(record) = before.replace(line) {
                hasher.update(&record);
                records += 1;
            }
        }
        let last: Option<Last> = before.and_then(|line| serde_json::from_slice(&line).ok());
        let Some(last) = last else { bail!("{shown} is cut off: its last line is missing; get it again") };
        if last.records != records || last.blake3 != hasher.finalize().to_hex().as_str() {
            bail!("{shown} was changed: its lines do not have the hash in its last line; get it again");
        }
        lines.rewind().map_err(|error| anyhow!("{shown}: {}", Said(&error)))?;
        read(&mut lines)?;
        Ok(Records { lines, left: records, shown })
    }

    fn next(&mut self) -> anyhow::Result<Option<Record>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let shown = &self.shown;
        let line = next_line(&mut self.lines).map_err(|error| anyhow!("{shown}: {error}"))?;
        let line = line.ok_or_else(|| anyhow!("{shown} was changed while it was read; run it again"))?;
        let record = serde_json::from_slice(&line)
            .map_err(|error| anyhow!("{shown}: {error}; make it again with this lanx"))?;
        Ok(Some(record))
    }
}

/// The next line, with its end.
///
/// # Errors
/// What the system said, or that it is too long to be one.
pub(super) fn next_line(lines: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let said = |error: io::Error| Said(&error).to_string();
    lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(said)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err("its last line has no end, or is too long to be one; make it again".into()),
    }
}
