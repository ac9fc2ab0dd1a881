//! The whole command line: the options of all commands, and which command it is.

use std::ffi::OsString;

use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::examples;
use super::group::OUTPUT;
use super::recv::RecvArgs;
use super::send::SendArgs;
use crate::cli::cache::CacheArgs;
use crate::cli::completions::CompletionsArgs;
use crate::cli::config::{self, ConfigArgs, Lookup, Refused, with_negations};
use crate::cli::dataset::manifest::ManifestArgs;
use crate::cli::dataset::verify::VerifyArgs;
use crate::cli::doctor::DoctorArgs;
use crate::cli::get::GetArgs;
use crate::cli::help::{self, HelpArgs, ManArgs};
use crate::cli::list::ListArgs;
use crate::cli::serve::ServeArgs;
use crate::cli::trust::TrustArgs;
use crate::limits::HELP_COLUMNS;

/// Moves files between machines on a local network, and proves that they arrived.
///
/// Run `lanx recv DIR` on the machine that gets the files. On the other run `lanx send FILE`, which lists the receivers
/// on this network to pick from, or `lanx send FILE HOST`, with the name or an address that recv shows.
#[derive(Parser, Debug)]
#[command(
    name = "lanx",
    version,
    max_term_width = HELP_COLUMNS,
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = examples::LANX,
    arg_required_else_help = true
)]
pub struct Args {
    /// Print nothing but errors
    ///
    /// With --json, errors that are events are left out too. recv still shows the code it made up and the warning
    /// of --open.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,
    /// Print more; -vv for much more
    ///
    /// RUST_LOG sets the level for each part of the program.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
    /// That of the command, as it is typed.
    #[arg(skip)]
    pub name: String,
}

/// The arguments of this program: those of `line`, and beneath them what the environment and the file set. Each call reads the
/// file anew.
///
/// # Errors
/// The command line is wrong or asks for help, or something is set that cannot be.
pub fn parse(line: &[OsString], lookup: Lookup<'_>) -> Result<Args, Refused> {
    let matches = config::matches(command, line, lookup)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let args = Args::from_arg_matches(&matches).map_err(Refused::CommandLine)?;
    Ok(Args { name, ..args })
}

/// The parser of the command line.
pub fn command() -> clap::Command {
    with_negations(plain_command())
}

/// The same without the options that take others back, which nobody is shown.
pub fn plain_command() -> clap::Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).global(true);
    let help = help.help("Print help: -h in brief, --help in full");
    let version =
        Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version");
    let last = |arg: Arg| arg.help_heading(OUTPUT).display_order(usize::MAX);
    help::with_topics(Args::command())
        .version(version_line())
        .after_long_help(format!("{}\n\n{}", examples::LANX, help::exit_list()))
        .args([help, version].map(last))
}

/// The version, what it was built from and for, and what it speaks.
fn version_line() -> String {
    let (version, commit, target) = (env!("CARGO_PKG_VERSION"), env!("LANX_COMMIT"), env!("LANX_TARGET"));
    format!("{version} (commit {commit}, protocol {}, {target})", crate::wire::VERSION)
}

impl Args {
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether stdout is for the bytes of a file.
    pub fn bytes(&self) -> bool {
        matches!(&self.command, Command::Recv(recv) if recv.to_stdout())
    }

    /// Whether stdout is for a script.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Send(send) => send.json,
            Command::Recv(recv) => recv.json,
            Command::Serve(serve) => serve.json,
            Command::Get(get) => get.json,
            Command::List(list) => list.json,
            Command::Doctor(doctor) => doctor.json,
            Command::Config(config) => config.json,
            Command::Manifest(_)
            | Command::Verify(_)
            | Command::Trust(_)
            | Command::Cache(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Help(_) => false,
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Send(SendArgs),
    Recv(RecvArgs),
    Serve(ServeArgs),
    Get(GetArgs),
    List(ListArgs),
    Manifest(ManifestArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Trust(TrustArgs),
    Cache(CacheArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Help(HelpArgs),
}
