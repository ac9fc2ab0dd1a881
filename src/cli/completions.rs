//! `lanx completions`: what a shell offers behind what was typed. The scripts ask lanx itself for the machines that this user knows.

use std::fmt::Write;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ValueHint};
use clap_complete::Shell;

use super::acquaintances::Acquaintances;
use super::args::examples;
use super::config::takes_settings;
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use super::ui::paint::Stream;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(offers()).map(|word| Offer::of(&word)))]
    offer: Offer,
}

/// What is printed.
#[derive(Clone, Copy, Debug)]
enum Offer {
    Script(Shell),
    /// For the scripts: whom files were sent to, and who may send here. One a line.
    Hosts,
    Machines,
}

/// The shells that the tests run.
const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

fn offers() -> Vec<PossibleValue> {
    let shells = SHELLS.iter().map(|(name, _)| PossibleValue::new(*name));
    shells.chain(["hosts", "machines"].map(|known| PossibleValue::new(known).hide(true))).collect()
}

impl Offer {
    fn of(word: &str) -> Offer {
        let shell = SHELLS.iter().find(|(name, _)| *name == word);
        shell.map_or(if word == "hosts" { Offer::Hosts } else { Offer::Machines }, |(_, shell)| {
            Offer::Script(*shell)
        })
    }
}

pub fn run(args: &CompletionsArgs, parser: &clap::Command) -> Result<Exit, Failure> {
    let lines = |names: Vec<String>| names.iter().map(|name| format!("{name}\n")).collect();
    let text = match args.offer {
        Offer::Script(shell) => script(shell, parser),
        Offer::Hosts => lines(Acquaintances::load()?.hosts()),
        Offer::Machines => lines(Acquaintances::load()?.machines()),
    };
    out::say(Stream::Stdout, text.into_bytes());
    Ok(Exit::Success)
}

fn script(shell: Shell, parser: &clap::Command) -> String {
    let mut command = offered(parser);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "lanx", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script.replace("(__fish_print_hostnames)", FISH_HOSTS) + &fish(&command),
        Shell::Zsh => zsh(&script),
        _ => script,
    }
}

/// The parser as a shell may offer it: without what is hidden, which clap_complete writes down like all else,
/// and with the commands that `lanx config` takes, of which the parser knows only that a command line
/// follows.
fn offered(plain: &clap::Command) -> clap::Command {
    let names = plain.get_subcommands().map(clap::Command::get_name).filter(|name| takes_settings(name));
    let with_options = PossibleValuesParser::new(names.map(str::to_owned));
    let shown = plain.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown = shown.map(|command| command.mut_args(without_colon));
    let shown = shown.map(|command| match command.get_name() {
        "completions" => command.mut_arg("offer", |offer| offer.value_parser(SHELLS.map(|(name, _)| name))),
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

/// zsh takes what stands behind a colon in the name of a value, as in `HOST[:PORT]`, for a command that
/// completes it.
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

/// clap_complete offers in bash all options of a command where no word was begun, and then bash offers no files. Of machines it knows
/// nothing. A machine to send to stands where a file may stand as well.
const BASH: &str = r#"
_lanx_known() {
    local word
    # A name may have spaces in it.
    while read -r word; do
        [[ "${word}" == "$2"* ]] && COMPREPLY+=("$(printf %q "${word}")")
    done < <(lanx completions "$1" 2>/dev/null)
}
_lanx_words() {
    local word words=()
    _lanx "$@"
    case "${COMP_WORDS[1]} $3" in
        "send --to") COMPREPLY=(); _lanx_known hosts "$2"; return ;;
        "trust name" | "trust set" | "trust remove") COMPREPLY=(); _lanx_known machines "$2"; return ;;
    esac
    [[ "$2" == -* ]] && return
    for word in "${COMPREPLY[@]}"; do
        [[ "${word}" == -* ]] || words+=("${word}")
    done
    COMPREPLY=("${words[@]}")
    case "${COMP_WORDS[1]}" in
        send | doctor) (( COMP_CWORD > 2 )) || [[ "${COMP_WORDS[1]}" == doctor ]] || return ;;
        *) return ;;
    esac
    _lanx_known hosts "$2"
    if [[ "${COMP_WORDS[1]}" == send ]] && (( ${#COMPREPLY[@]} )); then
        while read -r word; do COMPREPLY+=("${word}"); done < <(compgen -f -- "$2")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _lanx_words -o bashdefault -o default lanx
"#;

/// In zsh a function stands for each kind of value.
const ZSH: &str = r#"#compdef lanx

_lanx_hosts() {
    local -a known=(${(f)"$(lanx completions hosts 2>/dev/null)"})
    compadd -a known
    _hosts
}
_lanx_machines() {
    local -a known=(${(f)"$(lanx completions machines 2>/dev/null)"})
    compadd -a known
}
_lanx_files_or_hosts() {
    _alternative 'files:file:_files' 'hosts:machine:_lanx_hosts'
}
"#;

fn zsh(script: &str) -> String {
    let lines = script.lines().map(|line| {
        let machine = ["':machine --", "'::machine --"].iter().any(|start| line.starts_with(start));
        let line = if machine { line.replace(":_default'", ":_lanx_machines'") } else { line.to_owned() };
        let ends_with_host = line.starts_with("'*::paths_and_host --");
        let line = if ends_with_host { line.replace(":_files'", ":_lanx_files_or_hosts'") } else { line };
        line.replace(":_hosts'", ":_lanx_hosts'") + "\n"
    });
    lines.collect::<String>().replacen("#compdef lanx\n", ZSH, 1)
}

const FISH_HOSTS: &str = "(lanx completions hosts 2>/dev/null; __fish_print_hostnames)";

/// For fish clap_complete leaves out the values of what is no option.
fn fish(command: &clap::Command) -> String {
    let mut script = String::new();
    for command in command.get_subcommands() {
        let here = format!("__fish_lanx_using_subcommand {}", command.get_name());
        offer_in_fish(&mut script, command, &here);
        for inner in command.get_subcommands() {
            let here = format!("{here}; and __fish_seen_subcommand_from {}", inner.get_name());
            offer_in_fish(&mut script, inner, &here);
        }
    }
    script
}

fn offer_in_fish(script: &mut String, command: &clap::Command, here: &str) {
    for arg in command.get_positionals() {
        let Some(values) = values_in_fish(arg) else { continue };
        // Where a file may stand as well, files are offered beside them.
        let only = if arg.get_value_hint() == ValueHint::AnyPath { "" } else { "-f " };
        let _ = writeln!(script, "complete -c lanx -n \"{here}\" {only}-a \"{values}\"");
    }
}

fn values_in_fish(arg: &Arg) -> Option<String> {
    let values = arg.get_possible_values();
    match (arg.get_id().as_str(), arg.get_value_hint()) {
        ("machine", _) => Some("(lanx completions machines 2>/dev/null)".into()),
        ("paths_and_host", _) | (_, ValueHint::Hostname) => Some(FISH_HOSTS.into()),
        _ if values.is_empty() => None,
        _ => Some(values.iter().map(PossibleValue::get_name).collect::<Vec<_>>().join(" ")),
    }
}
