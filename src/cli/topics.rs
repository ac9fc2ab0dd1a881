//! `lanx help`: of a command what its `--help` says, and texts about what all commands have in common.

use std::fmt::Write;

use clap::builder::PossibleValuesParser;

use super::exit::Exit;
use super::markdown::plain;
use super::{Failure, args, examples, outlet, output};
use crate::limits::HELP_COLUMNS;

/// Print help about a command, or about exit-codes, json, config
#[derive(clap::Args, Debug)]
#[command(after_help = examples::HELP)]
pub struct HelpArgs {
    /// A command, or one of the topics exit-codes, json and config
    #[arg(value_name = "TOPIC", hide_possible_values = true)]
    about: Option<String>,
}

/// What is no command, or more than what its `--help` says.
const TOPICS: [&str; 3] = ["exit-codes", "json", "config"];

/// The form of the configuration file, for people.
const CONFIG: &str = include_str!("../../docs/config.md");
/// The events for scripts, for people.
const JSON: &str = include_str!("../../docs/json.md");

/// The same parser, which knows what there is help about.
pub fn with_topics(command: clap::Command) -> clap::Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = shown.map(|command| command.get_name().to_owned());
    let topics =
        TOPICS.into_iter().map(str::to_owned).filter(|topic| command.find_subcommand(topic).is_none());
    let names: Vec<String> = commands.chain(topics).collect();
    let known = PossibleValuesParser::new(names);
    command.mut_subcommand("help", |help| help.mut_arg("about", |arg| arg.value_parser(known)))
}

pub fn run(args: &HelpArgs) -> Result<Exit, Failure> {
    match args.about.as_deref() {
        Some("exit-codes") => output::line(exit_codes().trim_end()),
        Some("json") => output::line(plain(JSON, HELP_COLUMNS).trim_end()),
        Some("config") => output::line(plain(CONFIG, HELP_COLUMNS).trim_end()),
        about => {
            let mut command = args::command();
            command.build();
            let about = about.and_then(|about| command.find_subcommand_mut(about).cloned());
            outlet::written(about.unwrap_or(command).print_long_help());
        }
    }
    Ok(Exit::Success)
}

/// What each exit code means.
pub fn exit_list() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::all() {
        let _ = writeln!(text, "  {:<5}{}", exit.code(), exit.meaning());
    }
    text
}

/// What each exit code means, what to do then, and which of several wins.
fn exit_codes() -> String {
    let failures: Vec<Exit> = Exit::failures().collect();
    let order: Vec<String> = failures.iter().map(|exit| exit.code().to_string()).collect();
    let mut text = String::from("# Exit codes\n\n| code | meaning |\n");
    for exit in Exit::all() {
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
    }
    text += "\n# What to do, the gravest first\n\n| code | next step |\n";
    for exit in failures {
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.hint());
    }
    let _ = write!(
        text,
        "\n# One of several\n\nIf several files failed for different reasons, 6 comes before 7 and 7 before 5. With \
         several receivers the program ends with the gravest of their codes, which is the first of these that is there: \
         {}; with 0 only if every receiver has everything. `recv` without `--once` and `-` runs until it is told to end: with \
         Ctrl-C it ends with 130, with SIGTERM with 0.",
        order.join(", ")
    );
    plain(&text, HELP_COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_same_exit_codes() {
        let readme = include_str!("../../README.md");
        let rows = Exit::all().map(|exit| format!("| {} | {} |\n", exit.code(), exit.meaning())).concat();
        assert!(readme.contains(&format!("| code | meaning |\n|---|---|\n{rows}\n")), "{rows}");
        let order: Vec<String> = Exit::failures().map(|exit| exit.code().to_string()).collect();
        assert!(readme.contains(&format!("the first of these that is there: {};", order.join(", "))));
    }

    #[test]
    fn the_exit_codes_are_told_in_the_readmes_words() {
        let text = exit_codes();
        assert!(text.lines().all(|line| line.chars().count() <= HELP_COLUMNS), "{text}");
        let words = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let readme = include_str!("../../README.md");
        let told = words(&text);
        for sentence in [
            "If several files failed for different reasons, 6 comes before 7 and 7 before 5.",
            "with 0 only if every receiver has everything. recv without --once and - runs until it is told to end: with \
             Ctrl-C it ends with 130, with SIGTERM with 0.",
        ] {
            assert!(words(readme).contains(sentence) && told.contains(sentence), "{sentence}");
        }
    }
}
