//! `config.toml`: read as carefully as the list of who is trusted, as it can open the door as well.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::option::{Form, Setting, is_for_one_run};
use super::origin::{Lookup, Origin, SettingError};
use crate::limits::{ALIKE_MIN, SETTINGS_BYTES_MAX};
use crate::name::escape;
use crate::trust::dir;
use crate::trust::dir::{ConfigDir, Guard};

/// The file in the configuration folder.
pub const FILE_NAME: &str = "config.toml";

/// What the file says. Every line of it was checked.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    entries: Vec<Entry>,
}

/// One option of it.
#[derive(Debug)]
struct Entry {
    /// The command; `None` above all tables.
    table: Option<String>,
    key: String,
    line: usize,
    values: Vec<String>,
}

impl File {
    /// Reads the file; `None` if there is none.
    pub fn load(lookup: Lookup<'_>, settings: &[Setting<'_>]) -> Result<Option<File>, SettingError> {
        let Some(path) = ConfigDir::file(lookup, FILE_NAME)? else { return Ok(None) };
        let bytes = match dir::read(&path, Guard::Trusted, SETTINGS_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => File::parse(&path, text, settings).map(Some),
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                Err(wrong(&path, line, "not valid UTF-8; rewrite it as UTF-8".into()))
            }
        }
    }

    /// Where it would be; `None` where no variable says.
    pub fn place(lookup: Lookup<'_>) -> Option<PathBuf> {
        ConfigDir::place(lookup, FILE_NAME)
    }

    fn parse(path: &Path, text: &str, settings: &[Setting<'_>]) -> Result<File, SettingError> {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let what = error.message().replace('\n', ", ");
            wrong(path, line(at), format!("{}; `lanx help config` shows how it is written", escape(what)))
        })?;
        for (key, value) in table.get_ref() {
            let is_known = settings.iter().any(|setting| setting.command == Some(key.get_ref()));
            if matches!(value.get_ref(), DeValue::Table(_)) && !is_known {
                return Err(wrong(path, line(key.span().start), unknown_table(key.get_ref(), settings)));
            }
        }
        let entries = statements(table.get_ref()).into_iter().map(|Statement { table, key, value }| {
            let line = line(key.span().start);
            let key = key.get_ref();
            let values = values(table, key, value, settings).map_err(|what| wrong(path, line, what))?;
            Ok(Entry { table: table.map(str::to_owned), key: key.to_string(), line, values })
        });
        Ok(File { path: path.to_owned(), entries: entries.collect::<Result<_, SettingError>>()? })
    }

    /// What it says of an option in the table of its command, or above all tables.
    pub fn get(&self, table: Option<&str>, key: &str) -> Option<(Origin, Vec<String>)> {
        let entry = self.entries.iter().find(|entry| entry.table.as_deref() == table && entry.key == key)?;
        Some((Origin::File { path: self.path.clone(), line: entry.line }, entry.values.clone()))
    }
}

/// A key with its value, as it stands in the file.
struct Statement<'a> {
    table: Option<&'a str>,
    key: &'a Spanned<Cow<'a, str>>,
    value: &'a DeValue<'a>,
}

/// All keys with their values, from the first line to the last.
fn statements<'a>(file: &'a DeTable<'a>) -> Vec<Statement<'a>> {
    let mut statements = Vec::new();
    for (key, value) in file {
        match value.get_ref() {
            DeValue::Table(inner) => {
                let table = Some(key.get_ref().as_ref());
                let inner = inner.iter().map(|(key, value)| Statement { table, key, value: value.get_ref() });
                statements.extend(inner);
            }
            value => statements.push(Statement { table: None, key, value }),
        }
    }
    statements.sort_by_key(|statement| statement.key.span().start);
    statements
}

fn wrong(path: &Path, line: usize, what: String) -> SettingError {
    SettingError::Wrong { place: Origin::File { path: path.to_owned(), line }, what }
}

/// The values of a key, if the command has such an option (above all tables: any command) and its parser
/// takes them.
fn values(
    table: Option<&str>,
    key: &str,
    value: &DeValue<'_>,
    settings: &[Setting<'_>],
) -> Result<Vec<String>, String> {
    let fits = |setting: &&Setting<'_>| table.is_none() || setting.command == table;
    let known: Vec<&Setting<'_>> = settings.iter().filter(fits).collect();
    let same: Vec<&&Setting<'_>> = known.iter().filter(|setting| setting.key == key).collect();
    let Some(first) = same.first() else { return Err(unknown(table, key, &known, settings)) };
    let values = read(value, first.form).ok_or_else(|| expected(key, value, first.form))?;
    match same.iter().find_map(|setting| setting.complaint(&values)) {
        Some(complaint) => {
            Err(format!("{complaint}; `lanx help {}` tells what it takes", first.command.unwrap_or("send")))
        }
        None => Ok(values),
    }
}

fn unknown_table(table: &str, settings: &[Setting<'_>]) -> String {
    let meant = meant(table, settings.iter().filter_map(|setting| setting.command));
    format!("there are no options for [{}]; {meant}", escape(table))
}

/// What to say of a key that no command has, or not this one.
pub fn unknown(table: Option<&str>, key: &str, known: &[&Setting<'_>], settings: &[Setting<'_>]) -> String {
    let shown = escape(key);
    let elsewhere = settings.iter().find(|setting| setting.key == key);
    if is_for_one_run(key) {
        return format!("{shown} is about one run and cannot be set; give it on the command line");
    }
    match (table, elsewhere.map(|setting| setting.command)) {
        (Some(table), Some(Some(command))) => {
            format!("{table} has no option {shown}; that is one of [{command}]")
        }
        (_, Some(_)) => format!("{shown} is for all commands; put it above all tables"),
        (table, None) => {
            let of = table.map_or("no command has an".into(), |table| format!("{table} has no"));
            let meant = meant(key, known.iter().map(|setting| setting.key));
            format!("{of} option {shown} that can be set; {meant}")
        }
    }
}

fn meant<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> String {
    let alike = words.map(|known| (strsim::jaro(word, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match alike {
        Some((alike, known)) if alike > ALIKE_MIN => format!("did you mean {known}?"),
        _ => "`lanx config` lists what can be set".into(),
    }
}

/// The value as its parser takes it; `None` if it is of the wrong kind.
fn read(value: &DeValue<'_>, form: Form) -> Option<Vec<String>> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    };
    match (value, form) {
        (DeValue::Boolean(on), Form::Switch) => Some(vec![on.to_string()]),
        (DeValue::Integer(_), Form::Count) => one(value).map(|value| vec![value]),
        (DeValue::Array(values), Form::Many) => values.iter().map(|value| one(value.get_ref())).collect(),
        (_, Form::One | Form::Many) => one(value).map(|value| vec![value]),
        _ => None,
    }
}

fn expected(key: &str, value: &DeValue<'_>, form: Form) -> String {
    let wanted = match form {
        Form::Switch => "true or false",
        Form::Count => "a number",
        Form::One => "a text or a number",
        Form::Many => "a text or a list of texts",
    };
    format!("{key} has a value of the type {}; {wanted} is expected", value.type_str())
}
