//! Unfinished files that nobody goes on with: `lanx recv --clean`, and `--part-age` while a receiver runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use tokio::time::interval;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::out::{self, Audience};
use crate::limits::{PART_AGE_MIN, PART_SWEEP_PAUSE_MAX};
use crate::name::Escaped;
use crate::os::background::aside;
use crate::os::said::Said;
use crate::store::{Existing, Folder, FolderOptions, Owner, Removal, Sink, SinkError, StalePart};
use crate::units;

/// Lists the part files in `dir` and the folders beneath, and removes those that no transfer uses: with an
/// `age` only those that were last written to before that.
pub fn clean(dir: &Path, age: Option<Duration>) -> Result<Exit, Failure> {
    // A folder that is not there has no part files, and must not be made for the answer.
    if let Err(error) = std::fs::metadata(dir) {
        return Err(Failure::new(Exit::Other, anyhow!("{}: {}", Escaped::path(dir), Said(&error))));
    }
    let (mut removed, mut young, mut bytes, mut exit) = (0, 0, 0, Exit::Success);
    let sink = Sink::open(dir, Existing::Refuse).map_err(|error| Failure::new(Exit::Storage, error))?;
    let swept = sweep(&sink, age, |fate| match fate {
        Fate::Of(part, Removal::Removed) => {
            removed += 1;
            bytes += part.bytes;
            out::line(format_args!("removed {}", shown(part)));
        }
        Fate::Of(part, Removal::InUse) => {
            out::line(format_args!("left {}, a transfer is using it", shown(part)));
        }
        Fate::Of(_, Removal::Gone) => {}
        Fate::Young(part) => {
            young += 1;
            out::line(format_args!("left {}", shown(part)));
        }
        Fate::Failed(error) => {
            out::error(&error);
            exit = Exit::Storage;
        }
    });
    swept.map_err(|error| Failure::new(Exit::Storage, error))?;
    let left = match (young, age) {
        (0, _) | (_, None) => String::new(),
        (_, Some(age)) => {
            format!(", {} left that had been written to within {}", young, units::duration(age))
        }
    };
    let removed = units::count(removed, "part file");
    out::line(format_args!("{removed} removed, {} freed{left}", units::bytes(bytes)));
    Ok(exit)
}

/// Removes the part files in `dir` that are older than `age`, now and for as long as the receiver runs.
pub async fn keep_clean(dir: PathBuf, age: Duration, audience: Audience) {
    let mut pause = interval(age.clamp(PART_AGE_MIN, PART_SWEEP_PAUSE_MAX));
    loop {
        pause.tick().await;
        let dir = dir.clone();
        let swept = aside(move || {
            // One that is away for a moment, as a disk may be, is not made anew.
            let sink = Folder::new(&dir, FolderOptions::default()).open(Owner::default())?;
            sweep(&sink, Some(age), |fate| match fate {
                Fate::Of(part, Removal::Removed) => {
                    audience.note(format_args!("removed {}", shown(part)));
                }
                Fate::Failed(error) => tracing::warn!("{error}"),
                Fate::Of(..) | Fate::Young(_) => {}
            })
        });
        match swept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("could not look for old part files: {error}"),
            Err(error) => tracing::warn!("could not look for old part files: no thread: {error}"),
        }
    }
}

/// What becomes of a part file that was found.
enum Fate<'a> {
    Of(&'a StalePart, Removal),
    /// It was written to not long ago.
    Young(&'a StalePart),
    /// Of it or of a folder.
    Failed(SinkError),
}

fn sweep(sink: &Sink, age: Option<Duration>, mut tell: impl FnMut(Fate<'_>)) -> Result<(), SinkError> {
    let found = sink.part_files()?;
    found.unread.into_iter().for_each(|error| tell(Fate::Failed(error)));
    for part in &found.parts {
        if age.is_some_and(|age| age_of(part) < age) {
            tell(Fate::Young(part));
            continue;
        }
        tell(match sink.remove_part(part) {
            Ok(removal) => Fate::Of(part, removal),
            Err(error) => Fate::Failed(error),
        });
    }
    Ok(())
}

/// How long ago it was written to. One from the future, where a clock was wrong, is new.
fn age_of(part: &StalePart) -> Duration {
    SystemTime::now().duration_since(part.modified).unwrap_or_default()
}

fn shown(part: &StalePart) -> String {
    let (size, age) = (units::bytes(part.bytes), units::duration(age_of(part)));
    format!("{}: {size}, last written {age} ago", Escaped::path(&part.path))
}
