//! What a person or a script sees: arguments, progress, reports, exit codes. The only room that prints.

mod args;
mod clean;
mod exit;
mod introduction;
mod logging;
mod output;
mod progress;
mod recv;
mod send;
mod signals;
mod tally;
mod trust;
mod units;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::Exit;

/// An error that ends the program: a line for the user, and the exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }
}

/// Runs the program that the command line asks for.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // clap's own exit code is 2 for a wrong command line, 0 for --help and --version.
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return exit.into();
        }
    };
    logging::start(args.verbosity());
    let result = match args.command {
        Command::Send(ref send) => send::run(send, args.quiet),
        Command::Recv(ref recv) => recv::run(recv, args.quiet),
        Command::Trust(ref trust) => trust::run(trust),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            output::error(&error);
            exit.into()
        }
    }
}
