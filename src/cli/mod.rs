//! What a person or a script sees: arguments, progress, reports, exit codes. The only room that prints.

mod advice;
mod args;
mod clean;
mod doctor;
mod event_queue;
mod exit;
mod failure;
mod figures;
mod introduction;
mod json;
mod limit_report;
mod logging;
mod output;
mod progress;
mod receivers;
mod recv;
mod send;
mod session_events;
mod several;
mod signals;
mod stdin;
mod tally;
mod trust;
mod units;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::Exit;
use failure::Failure;
use output::Audience;

/// Runs the program that the command line asks for.
pub fn main() -> ExitCode {
    let exit = run();
    event_queue::finish();
    exit.into()
}

fn run() -> Exit {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // clap's own exit code is 2 for a wrong command line, 0 for --help and --version.
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            if exit == Exit::Usage && args::want_json(std::env::args_os()) {
                json::error(None, None, exit, &args::complaint(&error), exit.hint());
            }
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return exit;
        }
    };
    logging::start(args.verbosity());
    let audience = Audience { quiet: args.quiet, json: args.json(), bytes: args.bytes() };
    let result = match args.command {
        Command::Send(ref send) => send::run(send, audience),
        Command::Recv(ref recv) => recv::run(recv, audience),
        Command::Doctor(ref doctor) => doctor::run(doctor, audience),
        Command::Trust(ref trust) => trust::run(trust),
    };
    result.unwrap_or_else(|failure| failure.tell(audience))
}
