//! What a person or a script sees: arguments, progress, reports, exit codes. The only room that prints.

mod acquaintances;
mod announce;
mod args;
mod cache;
mod completions;
mod config;
mod credentials;
mod dataset;
pub mod doctor;
mod error;
mod exit;
mod get;
mod help;
mod list;
mod recv;
mod send;
mod serve;
mod signals;
mod token;
mod trust;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use args::line::{Args, Command, command, parse, plain_command};
use config::Refused;
use error::Failure;
use exit::Exit;
use ui::out::Audience;
use ui::paint::Stream;

/// Runs the program that the command line asks for.
pub fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    let (exit, moves_files) = match parse(&line, &|name| std::env::var_os(name)) {
        Ok(args) => (
            run(&args),
            matches!(args.command, Command::Send(_) | Command::Recv(_) | Command::Serve(_) | Command::Get(_)),
        ),
        Err(refused) => (tell_refused(refused, &line), false),
    };
    let end = Instant::now();
    ui::out::finish(Stream::Stdout, end);
    let lost = ui::out::tell_lost();
    ui::out::finish(Stream::Stderr, end);
    // Of a transfer the exit code says what became of the files; any other command is done when its answer is
    // out.
    let exit = if lost && exit == Exit::Success && !moves_files { Exit::Other } else { exit };
    exit.into()
}

fn run(args: &Args) -> Exit {
    ui::paint::start();
    ui::log::start(args.verbosity());
    let audience = Audience { quiet: args.quiet, json: args.json(), bytes: args.bytes() };
    if let Err(failure) = config::check_variables(&args.name, &plain_command()) {
        return failure.tell(audience);
    }
    let result = match &args.command {
        Command::Send(send) => send::run(send, audience),
        Command::Recv(recv) => recv::run(recv, audience),
        Command::Serve(serve) => serve::run(serve, audience),
        Command::Get(get) => get::run(get, audience),
        Command::List(list) => list::run(list, audience),
        Command::Manifest(manifest) => dataset::manifest::run(manifest, audience),
        Command::Verify(verify) => dataset::verify::run(verify, audience),
        Command::Doctor(doctor) => doctor::run(doctor, audience),
        Command::Trust(trust) => trust::run(trust),
        Command::Cache(cache) => cache::run(cache),
        Command::Config(config) => config::run(config, command),
        Command::Completions(completions) => completions::run(completions, &plain_command()),
        Command::Man(man) => help::man(man, plain_command()),
        Command::Help(help) => help::run(help, command()),
    };
    result.unwrap_or_else(|failure| failure.tell(audience))
}

/// Tells why there is nothing to run: something is wrong, or help was asked for.
fn tell_refused(refused: Refused, line: &[OsString]) -> Exit {
    let json = args::complaint::want_json(line.iter().cloned());
    match refused {
        Refused::CommandLine(error) => {
            // clap's own exit code is 2 for a wrong command line, 0 for --help and --version.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            if exit == Exit::Usage && json {
                ui::events::error(None, None, exit, &args::complaint::complaint(&error), exit.hint());
            }
            match args::complaint::told(&error) {
                Some(text) => ui::out::error(text),
                None => {
                    let printed = error.print();
                    // What goes to stderr has nowhere else to be told.
                    if exit == Exit::Success {
                        ui::out::written(printed);
                    }
                }
            }
            exit
        }
        Refused::Setting(error) => {
            Failure::new(Exit::Usage, error).tell(Audience { quiet: false, json, bytes: false })
        }
    }
}
