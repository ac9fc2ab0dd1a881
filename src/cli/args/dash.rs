//! `-` in place of a folder or a file, and what does not go with it.

use std::ffi::OsString;

use clap::ArgMatches;

use super::recv::{RecvArgs, Verify};
use super::send::SendArgs;
use crate::limits::TRANSFERS_DEFAULT;

/// What makes no sense with a dash, as it stands on the command line, and whether it does.
type Against<Args> = (&'static str, fn(&Args) -> bool);

const WITH_STDOUT: [Against<RecvArgs>; 16] = [
    ("--clean", |args| args.clean),
    ("--overwrite", |args| args.overwrite),
    ("--rename", |args| args.rename),
    ("--delta", |args| args.delta),
    ("--max-transfers", |args| args.max_transfers != TRANSFERS_DEFAULT),
    ("--part-age", |args| args.part_age.is_some()),
    ("--sync", |args| args.sync),
    ("--verify=reread", |args| args.verify == Verify::Reread),
    ("--direct", |args| args.direct),
    ("--mounted", |args| args.mounted),
    ("--exec", |args| args.exec.is_some()),
    ("--exec-each", |args| args.exec_each.is_some()),
    ("--min-free", |args| args.min_free.is_some()),
    ("--max-file", |args| args.max_file.is_some()),
    ("--archive", |args| args.archive),
    ("--json", |args| args.json),
];

const WITH_STDIN: [Against<SendArgs>; 10] = [
    ("--dry-run", |args| args.what.dry_run),
    ("--archive", |args| args.what.archive),
    ("--follow", |args| args.what.follow),
    ("--exclude", |args| !args.what.exclude.is_empty()),
    ("--exclude-from", |args| !args.what.exclude_from.is_empty()),
    ("--files-from", |args| args.what.files_from.is_some()),
    ("--skip-special", |args| args.what.skip_special),
    ("--one-file-system", |args| args.what.one_file_system),
    ("--delta", |args| args.delta),
    ("--direct", |args| args.direct),
];

/// Options that make no sense with what else is on the command line of `name`: where they are set elsewhere, they do not count.
pub fn set_aside(name: &str, given: &ArgMatches) -> Vec<&'static str> {
    let is_dash = |id| given.get_raw(id).into_iter().flatten().any(|text| text == "-");
    match name {
        "recv" if is_dash("dir") => names(&WITH_STDOUT),
        "send" if is_dash("paths_and_host") || given.contains_id("command") && given.contains_id("name") => {
            names(&WITH_STDIN)
        }
        _ => Vec::new(),
    }
}

fn names<Args>(against: &[Against<Args>]) -> Vec<&'static str> {
    let name = |(flag, _): &Against<Args>| flag.trim_start_matches('-').split('=').next();
    against.iter().filter_map(name).collect()
}

impl RecvArgs {
    /// What is given besides and makes no sense with stdout.
    pub fn against_stdout(&self) -> Option<&'static str> {
        WITH_STDOUT.into_iter().find(|(_, given)| given(self)).map(|(flag, _)| flag)
    }
}

impl SendArgs {
    /// Whether what stands behind `--` is a command. Otherwise it is more paths, as whoever has files that begin with a dash
    /// writes them.
    pub fn runs_a_command(&self) -> bool {
        !self.command.is_empty() && (self.name.is_some() || !self.paths_and_host.is_empty())
    }

    /// The paths and perhaps the host.
    pub fn words(&self) -> &[OsString] {
        if self.command.is_empty() || self.runs_a_command() { &self.paths_and_host } else { &self.command }
    }

    /// What is given besides and makes no sense with standard input or a command.
    pub fn against_stdin(&self) -> Option<&'static str> {
        WITH_STDIN.into_iter().find(|(_, given)| given(self)).map(|(flag, _)| flag)
    }
}
