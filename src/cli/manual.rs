//! What other programs are told of the command line: completions for shells, and manual pages.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::{Arg, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exit::Exit;
use super::outlet::{self, Stream};
use super::settings::takes_settings;
use super::{Failure, args, examples};
use crate::name::Escaped;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(SHELLS).try_map(|shell| shell.parse::<Shell>()))]
    shell: Shell,
}

/// Write the manual pages into a folder
#[derive(clap::Args, Debug)]
#[command(hide = true)]
pub struct ManArgs {
    /// The folder, created if only its last part is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

/// The shells that the tests run.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// `lanx completions`.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut command = offered();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "lanx", &mut script);
    match args.shell {
        Shell::Bash => script.extend_from_slice(BASH.as_bytes()),
        Shell::Fish => script.extend(fish(&command).into_bytes()),
        _ => {}
    }
    outlet::say(Stream::Stdout, script);
    Ok(Exit::Success)
}

/// The parser as a shell may offer it: without what is hidden, which clap_complete writes down like all else, and with the
/// commands that `lanx config` takes, of which the parser knows only that a command line follows.
fn offered() -> clap::Command {
    let plain = args::plain_command();
    let names = plain.get_subcommands().map(clap::Command::get_name).filter(|name| takes_settings(name));
    let with_options = PossibleValuesParser::new(names.map(str::to_owned));
    let shown = plain.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown = shown.map(|command| command.mut_args(without_colon));
    let shown = shown.map(|command| match command.get_name() {
        "config" => command.mut_arg("line", |line| line.value_parser(with_options.clone())),
        _ => command,
    });
    clap::Command::new("lanx")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args(plain.get_arguments().cloned())
        .subcommands(shown)
}

/// zsh takes what stands behind a colon in the name of a value, as in `HOST[:PORT]`, for a command that completes it.
fn without_colon(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let short = |name: &str| name.split(['[', ':']).next().unwrap_or_default().to_owned();
    match names.iter().any(|name| name.contains(':')) {
        true => {
            let names: Vec<String> = names.iter().map(|name| short(name)).collect();
            arg.value_names(names)
        }
        false => arg,
    }
}

/// clap_complete offers in bash all options of a command where no word was begun, and then bash offers no files.
const BASH: &str = r#"
_lanx_words() {
    local word words=()
    _lanx "$@"
    if [[ "$2" != -* ]]; then
        for word in "${COMPREPLY[@]}"; do
            [[ "${word}" == -* ]] || words+=("${word}")
        done
        COMPREPLY=("${words[@]}")
    fi
}
complete -F _lanx_words -o bashdefault -o default lanx
"#;

/// For fish clap_complete leaves out the values of what is no option.
fn fish(command: &clap::Command) -> String {
    let mut script = String::new();
    for command in command.get_subcommands() {
        for arg in command.get_positionals() {
            if let Some(values) = values_in_fish(arg) {
                let name = command.get_name();
                let _ = writeln!(
                    script,
                    "complete -c lanx -n \"__fish_lanx_using_subcommand {name}\" -f -a \"{values}\""
                );
            }
        }
    }
    script
}

fn values_in_fish(arg: &Arg) -> Option<String> {
    let values = arg.get_possible_values();
    match arg.get_value_hint() {
        ValueHint::Hostname => Some("(__fish_print_hostnames)".into()),
        _ if values.is_empty() => None,
        _ => Some(values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join(" ")),
    }
}

/// `lanx man`.
pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let failed = |path: &Path, error: io::Error| {
        let error = anyhow!("cannot write {}: {error}; give another folder", Escaped::path(path));
        Failure::new(Exit::Other, error)
    };
    match fs::create_dir(&args.dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&args.dir, error)),
        _ => {}
    }
    let mut command = args::plain_command();
    command.build();
    for command in with_theirs(&command) {
        let man =
            Man::new(command.clone()).source(format!("lanx {}", env!("CARGO_PKG_VERSION"))).manual("lanx");
        let path = args.dir.join(man.get_filename());
        page(&man, command).and_then(|page| fs::write(&path, page)).map_err(|error| failed(&path, error))?;
    }
    Ok(Exit::Success)
}

/// A command and those below it, but for those that are hidden.
fn with_theirs(command: &clap::Command) -> Vec<&clap::Command> {
    let theirs = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(with_theirs);
    std::iter::once(command).chain(theirs).collect()
}

fn page(man: &Man, command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    common(command.get_after_help()).to_writer(&mut page)?;
    Ok(page)
}

/// The end of each page: examples, and what all commands have in common.
fn common(examples: Option<&StyledStr>) -> Roff {
    let mut roff = Roff::new();
    if let Some(examples) = examples {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.to_string().lines().skip(1) {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::all() {
        roff.control("TP", ["5"]).text([bold(exit.code().to_string())]).text([roman(exit.meaning())]);
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []).text([bold("~/.config/lanx")]).text([roman(
        "Key, trusted machines and config.toml, which has options. $LANX_CONFIG_DIR or $XDG_CONFIG_HOME/lanx come before it.",
    )]);
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, text) in ENVIRONMENT {
        roff.control("TP", []).text([bold(name)]).text([roman(text)]);
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(
        "lanx help exit-codes, lanx help json, lanx help config; lanx(1), lanx-send(1), lanx-recv(1)",
    )]);
    roff
}

const ENVIRONMENT: [(&str, &str); 4] = [
    ("LANX_CONFIG_DIR", "The folder of key, trusted machines and config.toml."),
    ("LANX_CODE", "The code that a sender proves and a receiver asks for."),
    ("LANX_OPTION, LANX_COMMAND_OPTION", "An option, as in LANX_TIMEOUT or LANX_SEND_LIMIT."),
    ("RUST_LOG", "What is logged, in detail."),
];
