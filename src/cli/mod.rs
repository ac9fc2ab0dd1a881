//! What a person or a script sees: arguments, progress, reports, exit codes. The only room that prints.

mod advice;
mod announcing;
mod args;
mod clean;
mod complaint;
mod dash;
mod doctor;
mod doorman;
mod examples;
mod exit;
mod failure;
mod figures;
mod introduction;
mod invitation;
mod json;
mod layout;
mod limit_report;
mod list;
mod logging;
mod manual;
mod markdown;
mod meter;
mod metrics;
mod outlet;
mod output;
mod pick;
mod progress;
mod receivers;
mod recv;
mod reporter;
mod results;
mod scrape;
mod screen;
mod send;
mod service;
mod serving;
mod session_events;
mod settings;
mod several;
mod signals;
mod stdin;
mod survey;
mod suspend;
mod tally;
mod topics;
mod trust;
mod units;
mod values;
mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, Command};
use exit::Exit;
use failure::Failure;
use outlet::Stream;
use output::Audience;
use settings::Refused;

/// Runs the program that the command line asks for.
pub fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    let (exit, moves_files) = match settings::arguments(&line, &|name| std::env::var_os(name)) {
        Ok(args) => (run(&args), matches!(args.command, Command::Send(_) | Command::Recv(_))),
        Err(refused) => (tell_refused(refused, &line), false),
    };
    let end = Instant::now();
    outlet::finish(Stream::Stdout, end);
    let lost = output::tell_lost();
    outlet::finish(Stream::Stderr, end);
    // Of a transfer the exit code says what became of the files; any other command is done when its answer is out.
    let exit = if lost && exit == Exit::Success && !moves_files { Exit::Other } else { exit };
    exit.into()
}

fn run(args: &Args) -> Exit {
    logging::start(args.verbosity());
    let audience = Audience { quiet: args.quiet, json: args.json(), bytes: args.bytes() };
    if let Err(failure) = settings::check_variables(&args.command) {
        return failure.tell(audience);
    }
    let result = match &args.command {
        Command::Send(send) => send::run(send, audience),
        Command::Recv(recv) => recv::run(recv, audience),
        Command::List(list) => list::run(list, audience),
        Command::Doctor(doctor) => doctor::run(doctor, audience),
        Command::Trust(trust) => trust::run(trust),
        Command::Config(config) => settings::run(config),
        Command::Completions(completions) => manual::completions(completions),
        Command::Man(man) => manual::man(man),
        Command::Help(help) => topics::run(help),
    };
    result.unwrap_or_else(|failure| failure.tell(audience))
}

/// Tells why there is nothing to run: something is wrong, or help was asked for.
fn tell_refused(refused: Refused, line: &[OsString]) -> Exit {
    let json = complaint::want_json(line.iter().cloned());
    match refused {
        Refused::CommandLine(error) => {
            // clap's own exit code is 2 for a wrong command line, 0 for --help and --version.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            if exit == Exit::Usage && json {
                json::error(None, None, exit, &complaint::complaint(&error), exit.hint());
            }
            match complaint::told(&error) {
                Some(text) => output::error(text),
                None => {
                    let printed = error.print();
                    // What goes to stderr has nowhere else to be told.
                    if exit == Exit::Success {
                        outlet::written(printed);
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
