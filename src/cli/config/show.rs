//! `lanx config`: what is in force, and where it comes from.

use std::env;
use std::ffi::OsString;

use anyhow::anyhow;
use clap::builder::Resettable;
use clap::{Arg, Id};

use super::file::File;
use super::layers::{Chosen, choose};
use super::option::{Form, Setting, settings, takes_settings};
use super::origin::{Lookup, Origin, SettingError};
use crate::cli::args::complaint::complaint;
use crate::cli::args::{examples, group};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::events::{Event, Shown};
use crate::cli::ui::{events, out};
use crate::name::{Escaped, escape};

/// Show which options are in force, and where they come from
///
/// An option on the command line comes first, then the environment, then the configuration file, then the
/// default.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::CONFIG)]
pub struct ConfigArgs {
    /// Print one JSON object per line, for scripts
    #[arg(long, help_heading = group::OUTPUT)]
    pub json: bool,
    /// A command, with options as you would give them to it
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    line: Vec<OsString>,
}

pub fn run(args: &ConfigArgs, parser: fn() -> clap::Command) -> Result<Exit, Failure> {
    let lookup: Lookup<'_> = &|name| env::var_os(name);
    let usage = |error: SettingError| Failure::new(Exit::Usage, error);
    let mut command = parser();
    command.build();
    let known = settings(&command);
    let file = File::load(lookup, &known).map_err(usage)?;
    let wanted = args.line.first().map(|name| name.to_string_lossy().into_owned());
    let mut sections: Vec<(&str, Vec<Chosen<'_>>)> = Vec::new();
    for command in command.get_subcommands() {
        let name = command.get_name();
        if !takes_settings(name) || wanted.as_deref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let given = match given(parser(), name, args.line.get(1..).unwrap_or_default()) {
            Ok(given) => given,
            Err(error) => return refused(name, &error),
        };
        let chosen = choose(command, &known, &given, file.as_ref(), lookup).map_err(usage)?;
        sections.push((name, complete(&known, name, chosen)));
    }
    if let (Some(wanted), true) = (wanted, sections.is_empty()) {
        let error =
            anyhow!("{} is no command that has options to set; `lanx config` lists them", escape(wanted));
        return Err(Failure::new(Exit::Usage, error));
    }
    tell(&sections, &place(file.as_ref(), lookup), args.json);
    Ok(Exit::Success)
}

/// The command line `lanx NAME OPTIONS`, on which nothing has to stand that only a run needs.
fn given(parser: clap::Command, name: &str, options: &[OsString]) -> Result<clap::ArgMatches, clap::Error> {
    let relax = |arg: Arg| arg.required(false).required_unless_present(Resettable::<Id>::Reset);
    let relaxed = parser.mut_subcommand(name, |command| command.mut_args(relax));
    let line = ["lanx", name].map(OsString::from);
    let matches = relaxed.try_get_matches_from(line.iter().chain(options))?;
    Ok(matches.subcommand().map(|(_, given)| given.clone()).unwrap_or_default())
}

/// Tells what clap says of these options, which may be the help that was asked for.
fn refused(name: &str, error: &clap::Error) -> Result<Exit, Failure> {
    if error.use_stderr() {
        let error = anyhow!("{}; `lanx help {name}` tells its options", complaint(error));
        return Err(Failure::new(Exit::Usage, error));
    }
    out::written(error.print());
    Ok(Exit::Success)
}

/// All options of the command `name`, those that nobody chose with their defaults.
fn complete<'a>(known: &[Setting<'a>], name: &str, mut chosen: Vec<Chosen<'a>>) -> Vec<Chosen<'a>> {
    let all = known.iter().filter(|setting| setting.is_of(name)).map(|setting| {
        let same = |chosen: &Chosen<'_>| chosen.setting.id() == setting.id();
        match chosen.iter().position(same).map(|at| chosen.swap_remove(at)) {
            Some(Chosen { origin, values, .. }) if values.is_empty() => {
                Chosen { setting: *setting, origin, values: setting.defaults() }
            }
            Some(chosen) => chosen,
            None => Chosen { setting: *setting, origin: Origin::Default, values: setting.defaults() },
        }
    });
    all.collect()
}

/// The file, also where it is not there yet: somebody may want to write one.
fn place(file: Option<&File>, lookup: Lookup<'_>) -> String {
    match (file, File::place(lookup)) {
        (Some(file), _) => Escaped::path(&file.path).to_string(),
        (None, Some(path)) => format!("{} (none)", Escaped::path(&path)),
        (None, None) => "(none)".into(),
    }
}

fn tell(sections: &[(&str, Vec<Chosen<'_>>)], place: &str, json: bool) {
    if !json {
        out::line(format_args!("file: {place}"));
    }
    for (name, chosen) in sections {
        if !json {
            out::line(format_args!("\n{name}:"));
        }
        for one in chosen {
            if json {
                events::write(&Event::Setting(shown(name, one)));
            } else {
                out::line(described(one));
            }
        }
    }
}

/// One line for a person.
fn described(Chosen { setting, origin, values }: &Chosen<'_>) -> String {
    let values: Vec<String> = values.iter().map(escape).collect();
    let value = if values.is_empty() { "-".into() } else { values.join(", ") };
    let place = match origin {
        Origin::File { line, .. } => format!("line {line}"),
        origin => origin.to_string(),
    };
    format!("  {:<17} {value:<15} {place}", setting.key)
}

/// The same for a script.
fn shown<'a>(name: &'a str, Chosen { setting, origin, values }: &'a Chosen<'a>) -> Shown<'a> {
    let first = values.first().map(String::as_str);
    let value = match setting.form {
        Form::Switch => first.map(|value| serde_json::Value::Bool(value == "true")),
        Form::Count => first.and_then(|value| value.parse::<u8>().ok()).map(Into::into),
        Form::One => first.map(Into::into),
        Form::Many => Some(values.clone().into()),
    };
    let shown = Shown {
        command: Some(name),
        option: setting.key,
        value,
        origin: "",
        variable: None,
        file: None,
        line: None,
    };
    match origin {
        Origin::Flag => Shown { origin: "flag", ..shown },
        Origin::Environment(variable) => Shown { origin: "environment", variable: Some(variable), ..shown },
        Origin::File { path, line } => Shown {
            origin: "file",
            file: Some(path.to_string_lossy().into_owned()),
            line: Some(*line),
            ..shown
        },
        Origin::Default => Shown { origin: "default", ..shown },
    }
}
