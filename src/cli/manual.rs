//! What other programs are told of the command line: completions for shells, and manual pages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::builder::StyledStr;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exit::Exit;
use super::outlet::{self, Stream};
use super::{Failure, args, examples};
use crate::name::Escaped;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = shell, hide_possible_values = true)]
    shell: Shell,
}

/// Write the manual pages into a folder
#[derive(clap::Args, Debug)]
#[command(hide = true)]
pub struct ManArgs {
    /// The folder, created if only its last part is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

fn shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("bash, zsh or fish is expected".into()),
    }
}

/// `lanx completions`.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::plain_command(), "lanx", &mut script);
    outlet::say(Stream::Stdout, script);
    Ok(Exit::Success)
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
