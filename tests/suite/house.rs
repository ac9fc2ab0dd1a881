//! Which room of the house imports which: the table in ARCHITECTURE.md, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

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

/// The rooms that this source imports, without its tests and comments.
fn imports(source: &str) -> BTreeSet<String> {
    let is_test = |at: &usize| source[*at..].lines().nth(1).is_some_and(|module| module.ends_with('{'));
    // A module of tests in a file of its own is only named here, and what stands behind that counts.
    let end = source.match_indices("#[cfg(test)]\nmod").map(|(at, _)| at).find(is_test);
    let lines =
        source[..end.unwrap_or(source.len())].lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = |line: &str| {
        let rooms = line.split("crate::").skip(1);
        let rooms = rooms.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        rooms.flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    lines.flat_map(named).collect()
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
