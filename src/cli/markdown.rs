//! The texts of `docs/` on a terminal: filled to its width, and without the marks that only a page needs.
//!
//! This knows as much of Markdown as those texts use. What they say is theirs alone: nothing is said twice.

use std::fmt::Write;

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

/// The columns but the last are as wide as what is in them, the last is filled. Where they would take most of the width it
/// stands below them.
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
