//! What a package or an image is made of is all there: what the program is built from, and what its documents point at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// The same path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leads out of the project", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

/// What stands between `before` and the next `end`, each time.
fn between<'a>(text: &'a str, before: &str, end: char) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn the_image_is_built_from_all_that_the_program_includes() {
    let containerfile = text("contrib/Containerfile");
    let copies = containerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied: Vec<PathBuf> = copies
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let mut words: Vec<_> = line.split_whitespace().map(PathBuf::from).collect();
            words.pop();
            words
        })
        .collect();
    let is_copied = |path: &Path| copied.iter().any(|copied| path.starts_with(copied));
    for needed in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "src/main.rs", "benches"] {
        assert!(is_copied(Path::new(needed)), "{needed} is not copied");
    }
    let mut included = 0;
    for entry in walkdir::WalkDir::new(project().join("src")) {
        let path = entry.unwrap().into_path();
        let path = path.strip_prefix(project()).unwrap();
        if path.extension().is_none_or(|ending| ending != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let source = text(path);
        let program = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for macro_name in ["include_str!(\"", "include_bytes!(\"", "include!(\""] {
            for file in between(program, macro_name, '"') {
                let file = plain(&path.parent().unwrap().join(file));
                assert!(
                    is_copied(&file),
                    "{} includes {}, which is not copied",
                    path.display(),
                    file.display()
                );
                included += 1;
            }
        }
    }
    assert!(included >= 2, "docs/config.md and docs/json.md at least");
}

/// The files of the Debian package that are in the repository, with the place where each one goes.
fn packed() -> BTreeMap<PathBuf, PathBuf> {
    let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut packed = BTreeMap::new();
    for asset in assets {
        let (from, to) = (Path::new(asset[0].as_str().unwrap()), asset[1].as_str().unwrap());
        if from.starts_with("target") {
            continue;
        }
        let pattern = from.file_name().unwrap().to_str().unwrap();
        let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        let folder = from.parent().unwrap();
        let mut found = 0;
        for entry in fs::read_dir(project().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with(start) && name.ends_with(end) && project().join(folder).join(&name).is_file()
            {
                let place = if to.ends_with('/') { Path::new(to).join(&name) } else { PathBuf::from(to) };
                packed.entry(folder.join(&name)).or_insert(place);
                found += 1;
            }
        }
        assert!(found > 0, "nothing is {}", from.display());
    }
    packed
}

#[test]
fn what_the_packed_documents_point_at_is_packed_where_they_point() {
    let packed = packed();
    let mut links = 0;
    for (document, place) in packed.iter().filter(|(from, _)| from.extension().is_some_and(|e| e == "md")) {
        for link in between(&text(document), "](", ')') {
            let file = link.split('#').next().unwrap();
            if file.is_empty() || file.starts_with("https://") {
                continue;
            }
            let target = plain(&document.parent().unwrap().join(file));
            let expected = plain(&place.parent().unwrap().join(file));
            let mut there = packed.iter().filter(|(from, _)| from.starts_with(&target));
            assert!(
                there.any(|(_, place)| place.starts_with(&expected)),
                "{} points at {link}, which is not packed as {}",
                document.display(),
                expected.display()
            );
            links += 1;
        }
    }
    assert!(links > 10, "{links} links");
    let unit = text("contrib/lanx.service");
    let named = between(&unit, "Documentation=file:///", '\n');
    assert!(packed.values().any(|place| Path::new(named[0]) == place), "{named:?}");
}

/// The tarball has whole folders, so that nothing of them can be forgotten.
#[test]
fn the_tarball_has_the_folders_that_documents_point_into() {
    let script = text("scripts/dist.sh");
    for packed in
        ["./*.md", "docs/*.md docs/*.json docs/*.svg docs/*.png", "docs/examples/*.sh", "contrib/lanx*"]
    {
        assert!(script.contains(packed), "{packed}");
    }
}
