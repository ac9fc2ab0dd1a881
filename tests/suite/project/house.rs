//! Which room of the house imports which: the table in ARCHITECTURE.md, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::common::read;

/// What every room may use.
const EVERYBODYS: [&str; 3] = ["limits", "units", "name"];

/// Of each room what it may import, as the table says: its first column names the room, the last one the others.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"));
    let text = String::from_utf8(text).unwrap();
    let table = text.split("| room | what is in it | imports |").nth(1).expect("the table of rooms");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let room = |row: &str| {
        let cells: Vec<_> = row.split(" | ").collect();
        let name = cells[0].trim_matches(['|', ' ', '`', '/']).to_owned();
        let imports = cells[cells.len() - 1].trim_matches(['|', ' ', '-']);
        (name, imports.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    rows.map(room).filter(|(name, _): &(String, _)| !name.contains("limits")).collect()
}

/// What a source names, as segments: each path of it but for those of its tests, and each name that a `use` lists.
fn paths(source: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    collect(source.parse().unwrap(), &[], &mut found);
    found
}

/// Whether an attribute leaves what stands behind it to tests.
fn is_for_tests(attribute: &str) -> bool {
    ["[cfg(test)]", "[cfg(all(test,"].iter().any(|begin| attribute.starts_with(begin))
}

fn collect(tokens: TokenStream, prefix: &[String], found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if is_for_tests(&group.to_string().replace(' ', "")) => {
                let ends = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(punct) => punct.as_char() == ';',
                    _ => false,
                };
                at += tokens[at..].iter().position(ends).map_or(0, |item| item + 1);
            }
            TokenTree::Group(group) => collect(group.stream(), prefix, found),
            TokenTree::Ident(first) => {
                let mut path = [prefix, &[first.to_string()]].concat();
                while is(at, ':') && is(at + 1, ':') {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(list)) => {
                            // The names in the list count, and what stands before it does not.
                            collect(list.stream(), &std::mem::take(&mut path), found);
                            at += 3;
                            break;
                        }
                        _ => {
                            path.push("*".into());
                            break;
                        }
                    }
                    at += 3;
                }
                // One word alone is a name of the file's own, or the `super` of `pub(super)`.
                if path.len() > 1 {
                    found.insert(path);
                }
            }
            _ => {}
        }
    }
}

/// The rooms that this source imports.
fn imports(source: &str) -> BTreeSet<String> {
    let of_crate =
        |path: Vec<String>| path.iter().position(|segment| segment == "crate").map(|at| path[at + 1].clone());
    paths(source).into_iter().filter_map(of_crate).collect()
}

/// The module that a file of `src` is.
fn module(file: &str) -> Vec<String> {
    let mut module: Vec<_> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    module.pop_if(|last| last == "mod");
    module
}

/// The module that `path` leads to, as `of` names it: the longest beginning of it that is a file.
fn target(of: &[String], path: &[String], modules: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|segment| *segment == "super").count();
    let mut full = match path.first().map(String::as_str)? {
        "crate" => path[1..].to_vec(),
        "super" => [of.get(..of.len().checked_sub(ups)?)?, &path[ups..]].concat(),
        "self" => [of, &path[1..]].concat(),
        child if modules.contains_key(&[of, &[child.to_owned()]].concat()) => [of, path].concat(),
        _ => return None,
    };
    while !full.is_empty() && !modules.contains_key(&full) {
        full.pop();
    }
    (!full.is_empty() && full != of).then_some(full)
}

/// Every source of a room, but for its tests.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match (path.is_dir(), name.as_str()) {
            (true, "tests") => Vec::new(),
            (true, _) => sources(&path),
            (false, name) if name.ends_with("_tests.rs") || !name.ends_with(".rs") => Vec::new(),
            (false, _) => vec![(path.display().to_string(), String::from_utf8(read(&path)).unwrap())],
        }
    };
    entries.flat_map(of).collect()
}

#[test]
fn rooms_import_what_the_table_says_and_nothing_else() {
    let (allowed, mut wrong, mut arrows) = (allowed(), Vec::new(), BTreeSet::new());
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, may) in &allowed {
        for (path, source) in sources(&src.join(room)) {
            for other in imports(&source).into_iter().filter(|other| other != room) {
                if !may.contains(&other) && !EVERYBODYS.contains(&other.as_str()) {
                    wrong.push(format!("{path} imports {other}"));
                }
                arrows.insert((room, other));
            }
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md does not allow this:\n{}", wrong.join("\n"));
    let drawn = allowed.iter().flat_map(|(room, may)| may.iter().map(move |other| (room, other.clone())));
    let idle: Vec<_> = drawn.filter(|arrow| !arrows.contains(arrow)).collect();
    assert!(idle.is_empty(), "ARCHITECTURE.md allows what nobody does: {idle:?}");
    let folders = fs::read_dir(&src).unwrap().map(|entry| entry.unwrap());
    let rooms =
        folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let rooms: BTreeSet<_> = rooms.filter(|room| !EVERYBODYS.contains(&room.as_str())).collect();
    assert_eq!(rooms, allowed.into_keys().collect(), "a room is missing in the table, or has gone");
}

#[test]
fn no_file_needs_another_that_needs_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = sources(&src).into_iter().map(|(path, source)| {
        let file = Path::new(&path).strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        (module(&file), (file, source))
    });
    let sources: BTreeMap<_, _> =
        sources.filter(|(module, _)| *module != ["lib"] && *module != ["main"]).collect();
    let files: BTreeMap<_, _> =
        sources.iter().map(|(module, (file, _))| (module.clone(), file.clone())).collect();
    let arrows: BTreeMap<_, BTreeSet<_>> = sources
        .iter()
        .map(|(of, (_, source))| {
            (of, paths(source).iter().filter_map(|path| target(of, path, &files)).collect())
        })
        .collect();
    let reached = |from: &Vec<String>| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            next.extend(arrows[&module].iter().filter(|other| seen.insert((*other).clone())).cloned());
        }
        seen
    };
    let reach: BTreeMap<_, _> = files.keys().map(|module| (module, reached(module))).collect();
    let circles = arrows.iter().flat_map(|(from, others)| others.iter().map(move |to| (*from, to)));
    let circles = circles.filter(|(from, to)| reach[to].contains(*from));
    let circles: Vec<_> = circles.map(|(from, to)| format!("{} -> {}", files[from], files[to])).collect();
    assert!(circles.is_empty(), "{} arrows go in circles:\n{}", circles.len(), circles.join("\n"));
}
