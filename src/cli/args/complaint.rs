//! A command line that could not be understood, as a script is told.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Whether a command line that could not be understood asks for events. What is set beside it cannot be asked: it may be just that
/// which is wrong.
pub fn want_json(args: impl Iterator<Item = OsString>) -> bool {
    let said = args.take_while(|arg| arg != "--").filter(|arg| arg == "--json" || arg == "--no-json");
    said.last().is_some_and(|arg| arg == "--json")
}

/// What is wrong with a command line, as a person is told: in the words of clap, and begun like all else that lanx says. `None`
/// where help was asked for.
pub fn told(error: &clap::Error) -> Option<String> {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ")?;
    Some(habit(error).unwrap_or_else(|| text.trim_end().to_owned()))
}

/// What to do about an option that other programs have and lanx does not need: scp, rsync, nc and croc for `send` and `recv`, curl,
/// wget and aria2 for `get`, miniserve for `serve`.
fn habit(error: &clap::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => option(error),
        ErrorKind::InvalidSubcommand => command(error),
        _ => None,
    }
}

/// What to do about a first word that is no command: a file, as croc takes one, or what other programs call theirs.
fn command(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let shown = crate::name::escape(word);
    Some(match word.as_str() {
        "code" => {
            "there is no command 'code'; `lanx recv` shows the code, and `lanx send` asks for it".into()
        }
        _ if Path::new(word).exists() => {
            format!("{shown} is no command; a file is sent by: lanx send {shown} HOST")
        }
        _ if error.get(ContextKind::SuggestedSubcommand).is_some() => return None,
        _ => format!(
            "there is no command '{shown}'; `lanx send` and `lanx recv` move files, and `lanx help` names all commands"
        ),
    })
}

fn option(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let command = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => {
            usage.to_string().split_whitespace().skip_while(|word| *word != "lanx").nth(1).map(str::to_owned)
        }
        _ => None,
    };
    let option = option.split('=').next().unwrap_or(option);
    let instead = match (command.as_deref().unwrap_or_default(), option) {
        ("send", "-P") => "the port stands behind the host: lanx send FILE HOST:PORT",
        (_, "--progress") => "progress is always shown on a terminal, so leave it out",
        ("send", "-z" | "-C") => {
            "`--compress zstd` compresses, and without it lanx does so where that is faster"
        }
        ("send", "-p" | "-t") => "modes and times always go along, so leave it out",
        ("send", "-u" | "--update") => "what is the same is left alone in any case, so leave it out",
        ("send", "-l" | "--bwlimit") => "`--limit 5M` holds a rate",
        ("send", "-e" | "--rsh" | "-i") => {
            "it needs no ssh, as each machine has a key of its own; leave it out"
        }
        ("send", "--partial") => "what was interrupted always goes on when it is sent again, so leave it out",
        ("send", "--delete") => "it removes nothing at the receiver",
        ("send", "--code") => {
            "the code is asked for, or comes from LANX_CODE or --code-file, where nobody else on this machine can read it"
        }
        ("recv", "-l") => "it always listens, and -p PORT is where: lanx recv -p 8000",
        ("get", "-O" | "--remote-name") => {
            "a file always gets the name that it has in the URL, so leave it out"
        }
        ("get", "-L" | "--location") => "redirects are always followed, so leave it out",
        ("get", "-c" | "-C" | "--continue" | "--continue-at") => {
            "what was interrupted always goes on, so leave it out"
        }
        ("get", "-k" | "--insecure") => {
            "the link that `lanx serve` shows pins its certificate: URL#sha256=..."
        }
        ("get", "-H") => "a field is given by --header: --header 'NAME: VALUE'",
        ("get", "-u" | "--user") => {
            "a password goes into a field: --header-file FILE with Authorization: Basic ..."
        }
        ("get", "-x" | "-s" | "--split") => "`--max-connections N` is how many connections there may be",
        ("recv", "--code") => {
            "it makes a code up and shows it; one of your own comes from LANX_CODE or --code-file, where nobody else on this machine can read it"
        }
        ("get", "-F" | "-T" | "-d" | "-X" | "--data" | "--upload-file" | "--form") => {
            "get only fetches: `lanx send` sends, and so does `curl -T FILE URL` to a `lanx serve --put`"
        }
        ("get", "-N" | "--timestamping") => "what is there and the same is left alone, so leave it out",
        // The first letter of wget's -np.
        ("get", "-n" | "--no-parent") => "-r never leaves the folder that the URL names, so leave it out",
        ("get", "-I" | "--head") => {
            "get fetches all of a file; what a server says of one is shown by: curl -I URL"
        }
        ("serve", "--bind" | "-i" | "--interfaces") => "`--listen ADDR:PORT` is where it listens",
        ("serve", "-u" | "--upload-files") => "`--put` lets clients put files there",
        _ => return None,
    };
    Some(format!("there is no option {option}; {instead}"))
}

/// What is wrong with a command line, as one line.
pub fn complaint(error: &clap::Error) -> String {
    if let Some(text) = habit(error) {
        return text;
    }
    let text = error.render().to_string();
    // The usage follows behind an empty line.
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).into()
}
