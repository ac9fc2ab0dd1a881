//! `lanx cache`: the hashes of files that are remembered.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;

use super::args::{examples, group, values};
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use crate::cache::{Cache, CacheError, forget};
use crate::name::Escaped;
use crate::os::said::Said;
use crate::units;

/// Show and forget the hashes of files that are remembered.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::CACHE)]
pub struct CacheArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    Prune(PruneArgs),
    /// Forget all of them
    Forget,
}

/// Forget those of files that were not met for a while
#[derive(clap::Args, Debug)]
struct PruneArgs {
    /// Not met for so long: 90d, 12h
    ///
    /// Days are what is counted in.
    #[arg(long, value_name = "AGE", default_value = "90d", value_parser = values::age, help_heading = group::FILES)]
    older: Duration,
}

pub fn run(args: &CacheArgs) -> Result<Exit, Failure> {
    let other = |error: anyhow::Error| Failure::new(Exit::Other, error);
    let path = Cache::path().ok_or_else(|| other(CacheError::Nowhere.into()))?;
    let shown = Escaped::path(&path).to_string();
    if let Some(What::Forget) = args.what {
        let found =
            forget(&path).map_err(|error| other(anyhow!("cannot remove {shown}: {}", Said(&error))))?;
        out::line(if found { "forgotten" } else { "nothing was remembered" });
        return Ok(Exit::Success);
    }
    if !path.exists() {
        out::line(format_args!("{shown}: nothing is remembered yet"));
        return Ok(Exit::Success);
    }
    let cache = open(&path)?;
    let broken = |error| other(anyhow!("{shown}: {error}; `lanx cache forget` begins anew"));
    if let Some(What::Prune(PruneArgs { older })) = &args.what {
        let gone = cache.prune(older.as_secs() / 86_400).map_err(broken)?;
        out::line(format_args!("{} forgotten", units::count(gone, "file")));
    }
    let census = cache.census().map_err(broken)?;
    out::line(format_args!(
        "{shown}: {}, {}",
        units::count(census.files, "file"),
        units::bytes(census.bytes)
    ));
    Ok(Exit::Success)
}

fn open(path: &Path) -> Result<Cache, Failure> {
    Cache::open(path)
        .map_err(|error| Failure::new(Exit::Other, anyhow!("{error}; `lanx cache forget` begins anew")))
}
