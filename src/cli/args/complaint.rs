//! A command line that could not be understood, as a script is told.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

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

/// What to do about an option that other programs have and lanx does not need.
fn habit(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let instead = match option.as_str() {
        "-P" => "the port stands behind the host: lanx send FILE HOST:PORT",
        "--progress" => "progress is always shown on a terminal, so leave it out",
        "-z" => "`--compress zstd` compresses, and without it lanx does so where that is faster",
        _ => return None,
    };
    Some(format!("lanx has no {option}; {instead}"))
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
