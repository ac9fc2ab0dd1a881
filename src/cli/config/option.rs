//! What can be set: the long options of the parser.

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Id};

use crate::cli::args::complaint::complaint;
use crate::cli::args::recv;
use crate::cli::serve;

/// Options that are about one run, or would give the other arguments another meaning.
const FOR_ONE_RUN: [&str; 7] = ["blake3", "clean", "dry-run", "name", "output", "sha256", "to"];

/// Commands that do nothing but tell about the program itself, so that they also work where what is set is
/// wrong.
const WITHOUT: [&str; 4] = [CONFIG, "completions", "man", "help"];

const CONFIG: &str = "config";

/// The command that does its work also without them, so that whoever may send here can be taken off the list
/// whatever a file of options says.
const GOES_ON: &str = "trust";

/// Whether `key` is an option that nobody can set.
pub fn is_for_one_run(key: &str) -> bool {
    FOR_ONE_RUN.contains(&key)
}

/// Whether the command `name` goes on where what is set is wrong.
pub fn goes_on(name: &str) -> bool {
    name == GOES_ON
}

/// Whether the command `name` tells about the program alone, and not about what is set.
pub fn is_about_itself(name: &str) -> bool {
    name != CONFIG && WITHOUT.contains(&name)
}

/// Whether settings apply to the command `name`.
pub fn takes_settings(name: &str) -> bool {
    !WITHOUT.contains(&name)
}

/// An option that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The command that has it; `None` for those that all have.
    pub command: Option<&'a str>,
    /// Its long name.
    pub key: &'a str,
    pub form: Form,
    pub arg: &'a Arg,
}

/// What values it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `true` or `false`.
    Switch,
    /// How often it is given.
    Count,
    /// One value, as on the command line.
    One,
    /// Any number of them.
    Many,
}

impl Form {
    fn of(action: &ArgAction) -> Option<Form> {
        match action {
            ArgAction::SetTrue => Some(Form::Switch),
            ArgAction::Count => Some(Form::Count),
            ArgAction::Set => Some(Form::One),
            ArgAction::Append => Some(Form::Many),
            _ => None,
        }
    }
}

impl<'a> Setting<'a> {
    fn of(command: Option<&'a str>, arg: &'a Arg) -> Option<Setting<'a>> {
        // A command that was parsed has those of all commands, too.
        if command.is_some() == arg.is_global_set() {
            return None;
        }
        let key = arg.get_long().filter(|key| !arg.is_hide_set() && !FOR_ONE_RUN.contains(key))?;
        let form = Form::of(arg.get_action())?;
        Some(Setting { command, key, form, arg })
    }

    /// Whether it is one of the command `name`.
    pub fn is_of(&self, name: &str) -> bool {
        self.command.is_none_or(|command| command == name)
    }

    pub fn id(&self) -> &'a Id {
        self.arg.get_id()
    }

    /// Its values where nobody says any.
    pub fn defaults(&self) -> Vec<String> {
        let values = self.arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
        let values: Vec<String> = values.collect();
        match self.form {
            Form::Switch if values.is_empty() => vec!["false".into()],
            Form::Count if values.is_empty() => vec!["0".into()],
            // Not one for the parser, as a receiver has to know whether anybody has said where to listen.
            Form::One if self.key == "listen" && self.command == Some("serve") => {
                vec![serve::listen_default().to_string()]
            }
            Form::One if self.key == "listen" => vec![recv::LISTEN_DEFAULT.to_string()],
            _ => values,
        }
    }

    /// The option that takes it back: `--no-NAME`, or for `--no-NAME` itself `--NAME`.
    pub fn negation(&self) -> String {
        self.key.strip_prefix("no-").map_or_else(|| format!("no-{}", self.key), str::to_owned)
    }

    /// Whether these values ask for anything, so that another option can be at odds with it.
    pub fn is_on(&self, values: &[String]) -> bool {
        match self.form {
            Form::Switch => values.iter().any(|value| value == "true"),
            Form::Count => values.iter().any(|value| value != "0"),
            Form::One | Form::Many => !values.is_empty(),
        }
    }

    /// What its parser says against the values, as on the command line.
    pub fn complaint(&self, values: &[String]) -> Option<String> {
        match self.form {
            Form::Switch => values
                .iter()
                .all(|value| value != "true" && value != "false")
                .then(|| "true or false is expected".into()),
            Form::Count => values
                .iter()
                .any(|value| value.parse::<u8>().is_err())
                .then(|| "a number from 0 to 255 is expected".into()),
            Form::One | Form::Many => {
                let Setting { key, arg, .. } = self;
                // Other options are not there, so nothing can be said of them.
                let arg = (*arg)
                    .clone()
                    .conflicts_with(Resettable::<Id>::Reset)
                    .overrides_with(Resettable::<Id>::Reset)
                    .requires(Resettable::<Id>::Reset)
                    .required(false);
                let parser = clap::Command::new("lanx").no_binary_name(true).disable_help_flag(true).arg(arg);
                let line = values.iter().map(|value| format!("--{key}={value}"));
                let error = parser.try_get_matches_from(line).err()?;
                Some(complaint(&error))
            }
        }
    }
}

/// All that can be set.
pub fn settings(command: &clap::Command) -> Vec<Setting<'_>> {
    let own = command.get_arguments().filter_map(|arg| Setting::of(None, arg));
    let commands = command.get_subcommands().filter(|command| takes_settings(command.get_name()));
    let theirs = commands.flat_map(|command| {
        command.get_arguments().filter_map(|arg| Setting::of(Some(command.get_name()), arg))
    });
    own.chain(theirs).collect()
}

/// The same commands, of which each option that can be set can be taken back. Whichever is last on the
/// command line counts.
pub fn with_negations(command: clap::Command) -> clap::Command {
    let negated = |command: clap::Command, name: Option<&str>| {
        let settings = command.get_arguments().filter_map(|arg| Setting::of(name, arg));
        let pairs: Vec<(Id, String)> =
            settings.map(|setting| (setting.id().clone(), setting.negation())).collect();
        let negations = pairs.iter().map(|(id, negation)| {
            Arg::new(negation.clone())
                .long(negation.clone())
                .action(ArgAction::SetTrue)
                .hide(true)
                .global(name.is_none())
                .overrides_with(id.clone())
        });
        let command = command.mut_args(|arg| match pairs.iter().find(|(id, _)| id == arg.get_id()) {
            Some((_, negation)) => arg.overrides_with(negation.clone()),
            None => arg,
        });
        command.args(negations)
    };
    negated(command, None).mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        if takes_settings(&name) { negated(command, Some(&name)) } else { command }
    })
}
