//! Options that are not on the command line: from the environment and from a file.
//!
//! What there is to be set is what the parser of the command line knows: every long option, by its name, with
//! the same values. So a new option can be set without a word here. What is set becomes the default of its
//! option, and the command line is parsed once more. `docs/config.md` tells the rules to people.

mod file;
mod layers;
mod option;
mod origin;
mod show;

use std::ffi::OsString;

use clap::ArgMatches;

pub use layers::check as check_variables;
pub use option::{takes_settings, with_negations};
pub use origin::Lookup;
pub use show::{ConfigArgs, run};

use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use file::File;
use layers::{Chosen, choose};
use option::settings;
use origin::{Origin, SettingError};

/// Why there are no arguments to go on with.
#[derive(Debug)]
pub enum Refused {
    /// What clap says: of a wrong command line, or where help was asked for.
    CommandLine(clap::Error),
    /// What is set cannot be used.
    Setting(SettingError),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::CommandLine(error) => Failure::new(Exit::Usage, error),
            Refused::Setting(error) => Failure::new(Exit::Usage, error),
        }
    }
}

/// What the command line says to the parser, and beneath that what the environment and the file set.
///
/// # Errors
/// The command line is wrong or asks for help, or something is set that cannot be.
pub fn matches(
    parser: fn() -> clap::Command,
    line: &[OsString],
    lookup: Lookup<'_>,
) -> Result<ArgMatches, Refused> {
    let mut command = parser();
    let mut matches = command.try_get_matches_from_mut(line).map_err(Refused::CommandLine)?;
    if let Some((name, given)) = matches.subcommand().filter(|(name, _)| option::takes_settings(name)) {
        let chosen = match in_force(&command, name, given, lookup) {
            // Where the folder cannot be trusted, nor can what else is in it.
            Err(error) if option::goes_on(name) && !matches!(error, SettingError::Folder(_)) => {
                out::error(format_args!("{error} (this command goes on without what is set)"));
                Vec::new()
            }
            chosen => chosen.map_err(Refused::Setting)?,
        };
        if chosen.iter().any(|chosen| chosen.origin != Origin::Flag) {
            let set = with_defaults(parser(), name, &chosen);
            matches = set.try_get_matches_from(line).map_err(Refused::CommandLine)?;
        }
    }
    Ok(matches)
}

/// What is set for the command `name`, of which `given` is on the command line.
fn in_force<'a>(
    command: &'a clap::Command,
    name: &str,
    given: &ArgMatches,
    lookup: Lookup<'_>,
) -> Result<Vec<Chosen<'a>>, SettingError> {
    let settings = settings(command);
    let file = File::load(lookup, &settings)?;
    choose(command.find_subcommand(name).unwrap_or(command), &settings, given, file.as_ref(), lookup)
}

/// The same command with what was chosen as defaults.
fn with_defaults(command: clap::Command, name: &str, chosen: &[Chosen<'_>]) -> clap::Command {
    let preset = |command: clap::Command, globals: bool| {
        command.mut_args(|arg| {
            let set = chosen.iter().find(|chosen| {
                let setting = chosen.setting;
                chosen.origin != Origin::Flag
                    && setting.command.is_none() == globals
                    && setting.id() == arg.get_id()
            });
            match set {
                Some(chosen) => arg.default_values(chosen.values.iter().map(OsString::from)),
                None => arg,
            }
        })
    };
    preset(command, true).mut_subcommand(name, |command| preset(command, false))
}
