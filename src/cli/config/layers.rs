//! Which of several values counts: the command line before the environment, that before the file, and in both
//! what is said of one command before what is said of all.

use std::env;
use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::file::{File, unknown};
use super::option::{Form, Setting, goes_on, is_about_itself, settings};
use super::origin::{Lookup, Origin, SettingError};
use crate::cli::args::dash;
use crate::cli::credentials::CODE_VARIABLE;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::token::TOKEN_VARIABLE;
use crate::cli::ui::out;
use crate::limits::ALIKE_MIN;
use crate::name::escape;

/// An option with the value that counts. No values: what would be set is taken back on the command line.
#[derive(Debug)]
pub struct Chosen<'a> {
    pub setting: Setting<'a>,
    pub origin: Origin,
    pub values: Vec<String>,
}

/// What is set for a command that was parsed, so that it has the options of all commands as well. `given` is
/// what the command line has of it.
///
/// # Errors
/// A variable cannot be used, or two options of the same layer exclude each other.
pub fn choose<'a>(
    command: &'a clap::Command,
    settings: &[Setting<'a>],
    given: &ArgMatches,
    file: Option<&File>,
    lookup: Lookup<'_>,
) -> Result<Vec<Chosen<'a>>, SettingError> {
    let name = command.get_name();
    let settings: Vec<Setting<'_>> = settings.iter().filter(|setting| setting.is_of(name)).copied().collect();
    let odds = Odds(command);
    let mut chosen: Vec<Chosen<'_>> =
        settings.iter().filter_map(|setting| on_command_line(setting, given)).collect();
    let set_aside = dash::set_aside(name, given);
    for table in [Some(name), None] {
        let layer = settings.iter().filter_map(|setting| in_environment(setting, table, lookup).transpose());
        odds.add(&mut chosen, layer.collect::<Result<_, _>>()?, &set_aside)?;
    }
    // A code in the environment is nearer to this run than the name of a file with one.
    let has_code = lookup(CODE_VARIABLE).is_some_and(|code| !code.is_empty());
    let settings = settings.iter().filter(|setting| !(has_code && setting.key == "code-file"));
    for table in [Some(name), None] {
        let layer = settings.clone().filter_map(|setting| {
            let (origin, values) = file?.get(table, setting.key)?;
            Some(Chosen { setting: *setting, origin, values })
        });
        odds.add(&mut chosen, layer.collect(), &set_aside)?;
    }
    Ok(chosen)
}

fn on_command_line<'a>(setting: &Setting<'a>, given: &ArgMatches) -> Option<Chosen<'a>> {
    let is_given = |id: &str| {
        given.try_contains_id(id).is_ok() && given.value_source(id) == Some(ValueSource::CommandLine)
    };
    let id = setting.id().as_str();
    let values = if is_given(id) {
        match setting.form {
            Form::Switch => vec!["true".into()],
            Form::Count => vec![given.get_count(id).to_string()],
            Form::One | Form::Many => {
                let raw = given.get_raw(id).into_iter().flatten();
                raw.map(|value| value.to_string_lossy().into_owned()).collect()
            }
        }
    } else if is_given(&setting.negation()) {
        Vec::new()
    } else {
        return None;
    };
    Some(Chosen { setting: *setting, origin: Origin::Flag, values })
}

/// The variable of an option: `LANX_SEND_LIMIT` for one command, `LANX_LIMIT` for all that have it.
pub fn variable(table: Option<&str>, key: &str) -> String {
    let words = ["lanx"].into_iter().chain(table).chain([key]);
    words.collect::<Vec<_>>().join("_").replace('-', "_").to_uppercase()
}

/// What a variable says of an option. An empty one counts as unset.
fn in_environment<'a>(
    setting: &Setting<'a>,
    table: Option<&str>,
    lookup: Lookup<'_>,
) -> Result<Option<Chosen<'a>>, SettingError> {
    let name = variable(table, setting.key);
    let Some(text) = lookup(&name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let origin = Origin::Environment(name);
    let values = text_of(text).map(|text| match setting.form {
        Form::Many => text.lines().map(str::to_owned).collect(),
        _ => vec![text],
    });
    let wrong = match &values {
        Ok(values) => setting.complaint(values),
        Err(shown) => Some(format!("{shown} is no UTF-8 text")),
    };
    match (values, wrong) {
        (Ok(values), None) => Ok(Some(Chosen { setting: *setting, origin, values })),
        (_, wrong) => {
            let what = format!("{}; change the variable or unset it", wrong.unwrap_or_default());
            Err(SettingError::Wrong { place: origin, what })
        }
    }
}

fn text_of(text: OsString) -> Result<String, String> {
    text.into_string().map_err(|text| escape(text.as_encoded_bytes()))
}

/// Which options of one command exclude each other.
struct Odds<'a>(&'a clap::Command);

impl Odds<'_> {
    fn exclude(&self, one: &Setting<'_>, other: &Setting<'_>) -> bool {
        let named = |one: &Setting<'_>, other: &Setting<'_>| {
            let arg = self.0.get_arguments().find(|arg| arg.get_id() == one.id());
            arg.is_some_and(|arg| {
                self.0.get_arg_conflicts_with(arg).iter().any(|arg| arg.get_id() == other.id())
            })
        };
        named(one, other) || named(other, one)
    }

    /// Adds a layer beneath those that are there. What is at odds with something above it is left out, and
    /// two of the same layer may not be.
    fn add<'a>(
        &self,
        chosen: &mut Vec<Chosen<'a>>,
        layer: Vec<Chosen<'a>>,
        set_aside: &[&str],
    ) -> Result<(), SettingError> {
        let is_on = |chosen: &Chosen<'_>| chosen.setting.is_on(&chosen.values);
        for (number, one) in layer.iter().enumerate().filter(|(_, one)| is_on(one)) {
            let other = layer
                .iter()
                .take(number)
                .find(|other| is_on(other) && self.exclude(&one.setting, &other.setting));
            if let Some(other) = other {
                let (one_key, other_key) = (&one.setting.key, &other.setting.key);
                let what = format!(
                    "{one_key} cannot be used with {other_key} ({}); leave one of them out",
                    other.origin
                );
                return Err(SettingError::Wrong { place: one.origin.clone(), what });
            }
        }
        let above = chosen.len();
        for one in layer {
            let (over, _) = chosen.split_at(above);
            let is_said = over.iter().any(|over| over.setting.id() == one.setting.id());
            let at_odds = over.iter().any(|over| is_on(over) && self.exclude(&one.setting, &over.setting));
            let aside = set_aside.contains(&one.setting.key);
            if !(is_said || is_on(&one) && (at_odds || aside)) {
                chosen.push(one);
            }
        }
        Ok(())
    }
}

// Variables of the environment that look like options and are none: whoever sets one means something by it.

/// Demands that no variable is meant for a command that has no such option. Commands that tell about the
/// program itself do not look.
pub fn check(name: &str, parser: &clap::Command) -> Result<(), Failure> {
    if is_about_itself(name) {
        return Ok(());
    }
    match doubtful(env::vars_os(), &settings(parser)) {
        Ok(warnings) => warnings.iter().for_each(|text| tracing::warn!("{text}")),
        Err(error) if goes_on(name) => {
            out::error(format_args!("{error} (this command goes on without what is set)"))
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
        // An empty one counts as unset, and the token is no option.
        if value.is_empty()
            || name == TOKEN_VARIABLE
            || settings.iter().any(|setting| is_of(name, setting, settings))
        {
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
mod variables_tests {
    use super::*;

    fn told(name: &str, value: &str) -> Result<Vec<String>, String> {
        let parser = crate::cli::args::line::plain_command();
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
