//! What is left out.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::name::Escaped;
use crate::os::said::Said;

/// What is left out: patterns as in `.gitignore`, seen from each folder that the user named.
#[derive(Clone)]
pub struct Excludes(Gitignore);

impl Default for Excludes {
    /// Nothing is left out.
    fn default() -> Excludes {
        Excludes(Gitignore::empty())
    }
}

impl Excludes {
    /// The patterns in `files`, then `globs`; of those that fit the last one counts.
    ///
    /// # Errors
    /// What is wrong, for the user.
    pub fn new(files: &[PathBuf], globs: &[String]) -> Result<Excludes, String> {
        let mut builder = GitignoreBuilder::new("");
        let mut add = |line: &str| match line.trim_end() {
            "!" => Ok(()),
            _ => builder.add_line(None, &within_names(line)).map(drop).map_err(|error| error.to_string()),
        };
        for file in files {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("{}: {}", Escaped::path(file), Said(&error)))?;
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            text.lines()
                .try_for_each(&mut add)
                .map_err(|error| format!("{}: {error}", Escaped::path(file)))?;
        }
        globs.iter().try_for_each(|glob| add(glob))?;
        builder.build().map(Excludes).map_err(|error| error.to_string())
    }

    pub(super) fn has(&self, path: &Path, is_folder: bool) -> bool {
        self.0.matched(path, is_folder).is_ignore()
    }

    /// What stands at `path`, seen from the folder `root`.
    pub(super) fn has_below(&self, root: &Path, path: &Path, is_folder: bool) -> bool {
        !self.0.is_empty() && self.has(path.strip_prefix(root).unwrap_or(path), is_folder)
    }
}

/// The pattern, with classes as git has them: `[!a]` never matches a `/` (to the crate it is a character like
/// any other), and `[[:alpha:]]` and its like are classes.
fn within_names(line: &str) -> String {
    if line.starts_with('#') {
        return line.into();
    }
    let (not, glob) = line.strip_prefix('!').map_or(("", line), |glob| ("!", glob));
    let (mut out, mut rest, mut fenced) = (String::new(), glob, false);
    while let Some(at) = rest.find(['[', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let class = rest.starts_with('[').then(|| Class::at(rest)).flatten();
        let taken = match &class {
            Some(class) => {
                class.write(&mut out);
                fenced |= class.negated;
                class.bytes
            }
            // What is escaped is no beginning of anything.
            None => rest
                .char_indices()
                .nth(if rest.starts_with('\\') { 2 } else { 1 })
                .map_or(rest.len(), |(at, _)| at),
        };
        if class.is_none() {
            out.push_str(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    out.push_str(rest);
    // A `/` says that the pattern is about a whole path, and the one in a class must not.
    let about_names = fenced && !glob.trim_end().trim_end_matches('/').contains('/');
    format!("{not}{}{out}", if about_names { "**/" } else { "" })
}

/// A class of characters in a pattern.
struct Class<'a> {
    negated: bool,
    content: &'a str,
    /// How long it is, with its brackets.
    bytes: usize,
}

/// The classes of POSIX that have a use in names, as ranges.
const POSIX: [(&str, &str); 8] = [
    ("[:alnum:]", "a-zA-Z0-9"),
    ("[:alpha:]", "a-zA-Z"),
    ("[:blank:]", " \t"),
    ("[:digit:]", "0-9"),
    ("[:lower:]", "a-z"),
    ("[:space:]", " \t\r\n"),
    ("[:upper:]", "A-Z"),
    ("[:xdigit:]", "0-9a-fA-F"),
];

impl Class<'_> {
    /// The one that `text` begins with, if it ends.
    fn at(text: &str) -> Option<Class<'_>> {
        let inner = text.strip_prefix('[')?;
        let negated = inner.starts_with(['!', '^']);
        let inner = if negated { &inner[1..] } else { inner };
        // One at the beginning is a character.
        let mut end = usize::from(inner.starts_with(']'));
        loop {
            let rest = inner.get(end..)?;
            let posix = POSIX.iter().find(|(name, _)| rest.starts_with(name));
            end += match (posix, rest.chars().next()?) {
                (Some((name, _)), _) => name.len(),
                (None, ']') => break,
                (None, '\\') => 1 + rest[1..].chars().next()?.len_utf8(),
                (None, other) => other.len_utf8(),
            };
        }
        let bytes = 1 + usize::from(negated) + end + 1;
        Some(Class { negated, content: &inner[..end], bytes })
    }

    fn write(&self, out: &mut String) {
        let mut content = self.content.to_owned();
        POSIX.iter().for_each(|(name, ranges)| content = content.replace(name, ranges));
        out.push('[');
        if self.negated {
            out.push('!');
            // Behind a bracket that would otherwise end the class.
            let at = usize::from(content.starts_with(']'));
            content.insert(at, '/');
        }
        out.push_str(&content);
        out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(globs: &[&str], path: &str) -> bool {
        let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
        let excludes = Excludes::new(&[], &globs).unwrap();
        // A folder that is left out takes what is in it along.
        let mut above = Path::new(path).ancestors().collect::<Vec<_>>();
        above.pop();
        above.iter().rev().any(|part| excludes.has(part, *part != Path::new(path)))
    }

    #[test]
    fn classes_are_those_of_git_and_stay_within_a_name() {
        // Each as `git check-ignore` has it.
        for (glob, path, expected) in [
            ("log[!0-9]*", "logx", true),
            ("log[!0-9]*", "log7", false),
            ("log[!0-9]*", "log/keep", false),
            ("log[^0-9]*", "sub/log/keep", false),
            ("log[!0-9]*", "sub/logs", true),
            ("/log[!0-9]", "sub/logs", false),
            ("sub/log[!0-9]", "sub/logs", true),
            ("sub/log[!0-9]", "x/sub/logs", false),
            ("a[!]b]c", "axc", true),
            ("a[!]b]c", "a]c", false),
            ("x[!a]/", "xb/file", true),
            ("x[!a]/", "xb", false),
            ("f[[:digit:]]", "f7", true),
            ("f[[:digit:]]", "fx", false),
            ("f[![:digit:]]", "fx", true),
            ("\\[!a]", "[!a]", true),
            ("a\\[!b", "a[!b", true),
            ("#[!a]", "#b", false),
            ("[ab]", "sub/a", true),
        ] {
            assert_eq!(excluded(&[glob], path), expected, "{glob} {path}");
        }
        assert!(!excluded(&["*.o", "!a[!b].o"], "ax.o"));
        assert!(excluded(&["*.o", "!a[!b].o"], "ab.o"));
        assert!(excluded(&["*.o", "!"], "ab.o"));
    }
}
