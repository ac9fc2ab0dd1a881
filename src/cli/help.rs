//! `lanx help`: of a command what its `--help` says, and texts about what all commands have in common. And the manual pages.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::anyhow;
use clap::ValueHint;
use clap::builder::{PossibleValuesParser, StyledStr};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::examples;
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use crate::limits::HELP_COLUMNS;
use crate::name::Escaped;
use crate::os::said::Said;

/// Print help about a command, or about exit-codes, json, config
#[derive(clap::Args, Debug)]
#[command(after_help = examples::HELP)]
pub struct HelpArgs {
    /// A command, or one of the topics exit-codes, json and config
    #[arg(value_name = "TOPIC", hide_possible_values = true)]
    about: Option<String>,
}

/// What is no command, or more than what its `--help` says.
const TOPICS: [&str; 3] = ["exit-codes", "json", "config"];

/// The form of the configuration file, for people.
const CONFIG: &str = include_str!("../../docs/config.md");
/// The events for scripts, for people.
const JSON: &str = include_str!("../../docs/json.md");

/// The same parser, which knows what there is help about.
pub fn with_topics(command: clap::Command) -> clap::Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = shown.map(|command| command.get_name().to_owned());
    let topics =
        TOPICS.into_iter().map(str::to_owned).filter(|topic| command.find_subcommand(topic).is_none());
    let names: Vec<String> = commands.chain(topics).collect();
    let known = PossibleValuesParser::new(names);
    command.mut_subcommand("help", |help| help.mut_arg("about", |arg| arg.value_parser(known)))
}

pub fn run(args: &HelpArgs, mut parser: clap::Command) -> Result<Exit, Failure> {
    match args.about.as_deref() {
        Some("exit-codes") => out::line(exit_codes().trim_end()),
        Some("json") => out::line(plain(JSON, HELP_COLUMNS).trim_end()),
        Some("config") => out::line(plain(CONFIG, HELP_COLUMNS).trim_end()),
        about => {
            parser.build();
            let about = about.and_then(|about| parser.find_subcommand_mut(about).cloned());
            out::written(about.unwrap_or(parser).print_long_help());
        }
    }
    Ok(Exit::Success)
}

/// What each exit code means.
pub fn exit_list() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::all() {
        let _ = writeln!(text, "  {:<5}{}", exit.code(), exit.meaning());
    }
    text
}

/// What each exit code means, what to do then, and which of several wins.
fn exit_codes() -> String {
    let failures: Vec<Exit> = Exit::failures().collect();
    let order: Vec<String> = failures.iter().map(|exit| exit.code().to_string()).collect();
    let mut text = String::from("# Exit codes\n\n| code | meaning |\n");
    for exit in Exit::all() {
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
    }
    text += "\n# What to do, the gravest first\n\n| code | next step |\n";
    for exit in failures {
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.hint());
    }
    let _ = write!(
        text,
        "\n# One of several\n\nIf several files failed for different reasons, 6 comes before 7 and 7 before 5. With \
         several receivers the program ends with the gravest of their codes, which is the first of these that is there: \
         {}; with 0 only if every receiver has everything. `recv` without `--once` and `-` runs until it is told to end: with \
         Ctrl-C it ends with 130, with SIGTERM with 0.",
        order.join(", ")
    );
    plain(&text, HELP_COLUMNS)
}

// Manual pages.

/// Write the manual pages into a folder
#[derive(clap::Args, Debug)]
#[command(hide = true)]
pub struct ManArgs {
    /// The folder, created if only its last part is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

/// `lanx man`.
pub fn man(args: &ManArgs, mut parser: clap::Command) -> Result<Exit, Failure> {
    let failed = |path: &Path, error: io::Error| {
        let error = anyhow!("cannot write {}: {}; give another folder", Escaped::path(path), Said(&error));
        Failure::new(Exit::Other, error)
    };
    match fs::create_dir(&args.dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&args.dir, error)),
        _ => {}
    }
    parser.build();
    for command in with_theirs(&parser) {
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

const ENVIRONMENT: [(&str, &str); 5] = [
    ("LANX_CONFIG_DIR", "The folder of key, trusted machines and config.toml."),
    ("LANX_CODE", "The code that a sender proves and a receiver asks for."),
    ("LANX_TOKEN", "The token of the link that lanx serve shows."),
    ("LANX_OPTION, LANX_COMMAND_OPTION", "An option, as in LANX_TIMEOUT or LANX_SEND_LIMIT."),
    ("RUST_LOG", "What is logged, in detail."),
];

// The texts of `docs/` on a terminal: filled to its width, and without the marks that only a page needs.
//
// This knows as much of Markdown as those texts use. What they say is theirs alone: nothing is said twice.

/// A part of a text, between empty lines or of its own form.
enum Block<'a> {
    Heading(&'a str),
    /// Filled, behind this at the first line and as many spaces at the others.
    Filled(&'a str, String),
    /// As it is, but for what it is indented by.
    Code(Vec<&'a str>),
    Table(Vec<Vec<String>>),
}

/// `text` in at most `columns` columns, but for code, which stays as it is.
pub fn plain(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut in_list = false;
    for block in blocks(text) {
        let is_item = matches!(block, Block::Filled(first, _) if !first.is_empty());
        if !(out.is_empty() || in_list && is_item) {
            out.push('\n');
        }
        in_list = is_item;
        match block {
            Block::Heading(text) => out.extend([text.to_uppercase().as_str(), "\n"]),
            Block::Filled(first, text) => {
                fill(&mut out, first, &" ".repeat(first.len()), &words(&text), columns);
            }
            Block::Code(lines) => {
                let code = lines.iter().map(|line| format!("    {line}").trim_end().to_owned() + "\n");
                out.extend([code.collect::<String>().trim_end(), "\n"]);
            }
            Block::Table(rows) => table(&mut out, &rows, columns),
        }
    }
    out
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    // Whether the last line belongs to a paragraph that goes on, or an item of a list.
    let mut open = false;
    let mut fenced = false;
    for line in text.lines() {
        let code = if fenced { Some(line) } else { line.strip_prefix("    ") };
        match (line, blocks.last_mut()) {
            (line, _) if line.starts_with("```") => {
                fenced = !fenced;
                open = false;
                if fenced {
                    blocks.push(Block::Code(Vec::new()));
                }
            }
            ("", Some(Block::Code(lines))) => lines.push(""),
            ("", _) => open = false,
            (line, Some(Block::Filled(_, text))) if open && item(line).is_none() => {
                let _ = write!(text, " {}", line.trim());
            }
            (_, Some(Block::Code(lines))) if code.is_some() => lines.extend(code),
            (_, _) if code.is_some() => blocks.push(Block::Code(code.into_iter().collect())),
            (line, _) if line.starts_with('#') => {
                blocks.push(Block::Heading(line.trim_start_matches(['#', ' '])));
            }
            (line, last) if line.starts_with('|') => match last {
                Some(Block::Table(rows)) => rows.push(cells(line)),
                _ => blocks.push(Block::Table(vec![cells(line)])),
            },
            (line, _) => {
                let (first, text) = item(line).unwrap_or(("", line));
                blocks.push(Block::Filled(first, text.into()));
                open = true;
            }
        }
    }
    blocks
}

/// An item of a list: what begins it, and the rest.
fn item(line: &str) -> Option<(&str, &str)> {
    let (mark, text) = line.split_once(' ')?;
    let is_number = mark.strip_suffix('.').is_some_and(|digits| digits.parse::<u8>().is_ok());
    (mark == "-" || is_number).then(|| (&line[..=mark.len()], text))
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| words(cell.trim())).collect()
}

/// `text` without the marks inside of a line: `**`, backquotes, and links but for their text.
fn words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['[', '*', '`']) {
        let (before, mark) = rest.split_at(at);
        out += before;
        let link = mark.strip_prefix('[').and_then(|link| {
            let (text, link) = link.split_once("](")?;
            Some((text, link.split_once(')')?.1))
        });
        rest = match (link, mark.strip_prefix("**")) {
            (Some((text, rest)), _) if !text.contains(']') => {
                out += &words(text);
                rest
            }
            (_, Some(rest)) => rest,
            _ if mark.starts_with('`') => {
                // Code ends at the next backquote, and nothing in it is a mark.
                let (code, rest) = mark[1..].split_once('`').unwrap_or((&mark[1..], ""));
                out += code;
                rest
            }
            _ => {
                out += &mark[..1];
                &mark[1..]
            }
        };
    }
    out + rest
}

/// The columns but the last are as wide as what is in them, the last is filled. Where they would take most of
/// the width it stands below them.
fn table(out: &mut String, rows: &[Vec<String>], columns: usize) {
    let rule = |row: &Vec<String>| row.iter().all(|cell| cell.trim_matches('-').is_empty());
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| !rule(row)) {
        let Some((last, firsts)) = row.split_last() else { continue };
        let mut first = String::from("  ");
        for (column, cell) in firsts.iter().enumerate() {
            let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
            let widest = rows.iter().map(width).max().unwrap_or(0);
            let _ = write!(first, "{cell:<widest$}  ");
        }
        let width = first.chars().count();
        if width <= columns / 2 {
            fill(out, &first, &" ".repeat(width), last, columns);
        } else {
            fill(out, "  ", "    ", &firsts.join(" - "), columns);
            fill(out, "      ", "      ", last, columns);
        }
        if number == 0 {
            out.push('\n');
        }
    }
}

/// Adds `text` in lines of at most `columns` columns, behind `first` and then behind `further`.
fn fill(out: &mut String, first: &str, further: &str, text: &str, columns: usize) {
    let mut line = first.to_owned();
    let mut width = first.chars().count();
    let mut begun = false;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if begun && width + 1 + length > columns {
            out.extend([line.trim_end(), "\n"]);
            line = further.to_owned();
            (width, begun) = (further.chars().count(), false);
        }
        if begun {
            line.push(' ');
            width += 1;
        }
        line += word;
        width += length;
        begun = true;
    }
    out.extend([line.trim_end(), "\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_the_same_exit_codes() {
        let reference = include_str!("../../docs/reference.md");
        let rows = Exit::all().map(|exit| format!("| {} | {} |\n", exit.code(), exit.meaning())).concat();
        assert!(reference.contains(&format!("| code | meaning |\n|---|---|\n{rows}\n")), "{rows}");
        let order: Vec<String> = Exit::failures().map(|exit| exit.code().to_string()).collect();
        assert!(reference.contains(&format!("the first of these that is there: {};", order.join(", "))));
    }

    #[test]
    fn the_exit_codes_are_told_in_the_words_of_the_reference() {
        let text = exit_codes();
        assert!(text.lines().all(|line| line.chars().count() <= HELP_COLUMNS), "{text}");
        let words = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let reference = include_str!("../../docs/reference.md");
        let told = words(&text);
        for sentence in [
            "If several files failed for different reasons, 6 comes before 7 and 7 before 5.",
            "with 0 only if every receiver has everything. recv without --once and - runs until it is told to end: with \
             Ctrl-C it ends with 130, with SIGTERM with 0.",
        ] {
            assert!(words(reference).contains(sentence) && told.contains(sentence), "{sentence}");
        }
    }
}

#[cfg(test)]
mod markdown_tests {
    use super::*;

    #[test]
    fn a_text_is_filled_and_its_marks_are_gone() {
        let text = "# A *b*\n\nSome `code *here*` and a [link](to/where.md) that is **told**\nof.\n\n- one two\n  three\n- four\n\n```toml\nas it  is\n\n[x]\n```\n\n    as it is\n\nLast [x] 2 * 3.\n";
        let expected = "A *B*\n\nSome code *here*\nand a link that is\ntold of.\n\n- one two three\n- four\n\n    as it  is\n\n    [x]\n\n    as it is\n\nLast [x] 2 * 3.\n";
        assert_eq!(plain(text, 18), expected);
    }

    #[test]
    fn tables_have_columns() {
        let text = "| a | what |\n|---|---|\n| `long` | one two three four |\n";
        assert_eq!(plain(text, 20), "  a     what\n\n  long  one two\n        three four\n");
        let text = "| a | b | c |\n|---|---|---|\n| one | two three | four five six |\n";
        assert_eq!(plain(text, 18), "  a - b\n      c\n\n  one - two three\n      four five\n      six\n");
    }

    #[test]
    fn the_documents_fit_and_lose_no_word() {
        for document in [include_str!("../../docs/json.md"), include_str!("../../docs/config.md")] {
            let text = plain(document, 80);
            for line in text.lines().filter(|line| !line.starts_with("    ")) {
                assert!(line.chars().count() <= 80, "too wide: {line}");
                let marks = line.contains("**") || line.contains("](") || line.trim().starts_with('|');
                assert!(!marks, "marks are left: {line}");
            }
            let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
            // The addresses of links are no words.
            let parts = document.split("](").enumerate();
            let words = parts.map(|(n, part)| if n == 0 { part } else { part.split_once(')').unwrap().1 });
            let words: Vec<&str> = words.collect();
            let words = words.concat().replace("```toml", "");
            assert_eq!(letters(&text).to_lowercase(), letters(&words).to_lowercase());
        }
    }
}
