//! Variables of the environment that look like options and are none: whoever sets one means something by it.

use std::env;
use std::ffi::OsString;

use super::file::unknown;
use super::layers::variable;
use super::option::{Setting, settings};
use super::{Origin, SettingError};
use crate::cli::args::{self, Command};
use crate::cli::exit::Exit;
use crate::cli::{Failure, output};
use crate::limits::ALIKE_MIN;
use crate::name::escape;

/// Demands that no variable is meant for a command that has no such option. Commands that tell about the program itself do not
/// look.
pub fn check(command: &Command) -> Result<(), Failure> {
    let goes_on = match command {
        Command::Completions(_) | Command::Man(_) | Command::Help(_) => return Ok(()),
        Command::Trust(_) => true,
        _ => false,
    };
    let parser = args::plain_command();
    match doubtful(env::vars_os(), &settings(&parser)) {
        Ok(warnings) => warnings.iter().for_each(|text| tracing::warn!("{text}")),
        Err(error) if goes_on => {
            output::error(format_args!("{error} (this command goes on without what is set)"))
        }
        Err(error) => return Err(Failure::new(Exit::Usage, error)),
    }
    Ok(())
}

/// What to warn of: variables that are spelt almost like one for all commands. Others may be somebody else's.
///
/// # Errors
/// One begins like those of a command, which has no such option.
fn doubtful(
    variables: impl Iterator<Item = (OsString, OsString)>,
    settings: &[Setting<'_>],
) -> Result<Vec<String>, SettingError> {
    let mut warnings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("LANX_")) else { continue };
        // An empty one counts as unset.
        if value.is_empty() || settings.iter().any(|setting| is_of(name, setting, settings)) {
            continue;
        }
        let table = commands(settings).find(|command| name.starts_with(&variable(Some(command), "")));
        let key = name.strip_prefix(&variable(table, "")).unwrap_or(name).to_lowercase().replace('_', "-");
        if is_of_a_service(&key) {
            continue;
        }
        if table.is_some() {
            let known: Vec<&Setting<'_>> =
                settings.iter().filter(|setting| setting.command == table).collect();
            let what = unknown(table, &key, &known, settings);
            return Err(SettingError::Wrong { place: Origin::Environment(escape(name)), what });
        }
        let meant = settings.iter().find(|setting| strsim::jaro(&key, setting.key) > ALIKE_MIN);
        if let Some(meant) = meant.filter(|_| !OTHERS.contains(&name)) {
            let (name, meant) = (escape(name), variable(None, meant.key));
            warnings.push(format!("{name} is no option, so it does not count; did you mean {meant}?"));
        }
    }
    Ok(warnings)
}

/// Whether Kubernetes makes such a variable for a service, which may be called like one of our commands.
fn is_of_a_service(key: &str) -> bool {
    key == "port" || ["service-", "port-"].iter().any(|begin| key.starts_with(begin))
}

/// What is read elsewhere.
const OTHERS: [&str; 2] = ["LANX_CODE", "LANX_CONFIG_DIR"];

fn commands<'a>(settings: &[Setting<'a>]) -> impl Iterator<Item = &'a str> {
    settings.iter().filter_map(|setting| setting.command)
}

/// Whether this variable sets that option, which may be one of all commands.
fn is_of(name: &str, setting: &Setting<'_>, settings: &[Setting<'_>]) -> bool {
    let is = |command| name == variable(command, setting.key);
    match setting.command {
        Some(command) => is(None) || is(Some(command)),
        None => is(None) || commands(settings).any(|command| is(Some(command))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, value: &str) -> Result<Vec<String>, String> {
        let parser = args::plain_command();
        let variables = [(name.into(), value.into())].into_iter();
        doubtful(variables, &settings(&parser)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_what_is_of_others_are_no_matter_of_doubt() {
        for name in [
            "LANX_LIMIT",
            "LANX_SEND_LIMIT",
            "LANX_SEND_QUIET",
            "LANX_RECV_NO_ANNOUNCE",
            "LANX_CODE",
            "LANX_CONFIG_DIR",
            "LANX_TEST_SEED",
            "LANX_KILL_ROUNDS",
            "LANX_KILL_MIB",
            "LANX_KILL_FILES",
            "LANX_SERVICE_HOST",
            "LANX_RECV_SERVICE_HOST",
            "LANX_RECV_PORT_7269_TCP_ADDR",
            "RUST_LOG",
            "XLANX_SEND_LIMT",
        ] {
            assert_eq!(told(name, "x"), Ok(vec![]), "{name}");
        }
        assert_eq!(told("LANX_SEND_LIMT", ""), Ok(vec![]));
    }

    #[test]
    fn what_is_meant_for_a_command_is_an_error_and_what_is_almost_an_option_a_warning() {
        let error = told("LANX_SEND_LIMT", "3M").unwrap_err();
        assert!(error.starts_with("LANX_SEND_LIMT: send has no option limt"), "{error}");
        assert!(told("LANX_RECV_CLEAN", "true").unwrap_err().contains("about one run"));
        assert!(told("LANX_RECV_\x1b", "1").unwrap_err().starts_with("LANX_RECV_\\x1b: "));
        let warning = told("LANX_TIMEUOT", "5").unwrap().concat();
        assert!(warning.contains("LANX_TIMEUOT") && warning.contains("LANX_TIMEOUT"), "{warning}");
    }
}
