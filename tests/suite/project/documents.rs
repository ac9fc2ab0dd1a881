//! Every command in README.md and in docs/ does what it says, or at least ends well: they are run as they stand, section by
//! section, with the machines in them played by receivers on this one, and their files by small ones. Links lead somewhere,
//! the README is short, and the reference is complete.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::*;

/// What begins a line that is not run here.
const LEFT_OUT: &[(&str, &str)] = &[
    ("make ", "is checked to be a target of the Makefile"),
    ("sudo make ", "is checked to be a target of the Makefile"),
    ("cargo install ", "takes minutes, and installs"),
    (".ci/run", "runs this test"),
    ("install ", "as root"),
    ("systemd-sysusers", "as root"),
    ("systemctl ", "needs systemd, and root"),
    ("sudo -u lanx ", "needs root, and that user"),
    ("podman ", "needs podman, and what it downloads"),
    ("cargo test ", "this is one of those tests"),
    ("ssh ", "needs another machine"),
    ("scp ", "needs another machine"),
];

/// A section of a document: the text under one heading, as far as it is commands.
struct Section {
    title: String,
    commands: Vec<String>,
}

/// The commands in the indented blocks of a document. Where a block has lines that begin with `$ `, those are the
/// commands and the others what they print.
fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section { title: String::new(), commands: Vec::new() }];
    let mut fenced = false;
    let mut block: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if let Some(code) = line.strip_prefix("    ").filter(|_| !fenced) {
            block.push(code);
            continue;
        }
        let section = sections.last_mut().unwrap();
        section.commands.extend(commands(&std::mem::take(&mut block)));
        if line.starts_with('#') {
            sections.push(Section { title: line.trim_matches(['#', ' ']).to_owned(), commands: Vec::new() });
        }
    }
    sections.retain(|section| !section.commands.is_empty());
    sections
}

fn commands(block: &[&str]) -> Vec<String> {
    let typed: Vec<String> =
        block.iter().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect();
    let events = block.iter().all(|line| line.starts_with('{'));
    match typed.is_empty() {
        _ if events => Vec::new(),
        true => block.iter().map(|line| (*line).to_owned()).collect(),
        false => typed,
    }
}

/// Whether a command is left out. One that is a target of make must be one.
fn is_left_out(command: &str) -> bool {
    let Some((prefix, _)) = LEFT_OUT.iter().find(|(prefix, _)| command.starts_with(prefix)) else {
        return false;
    };
    if prefix.ends_with("make ") {
        let target = command[prefix.len()..].split_whitespace().find(|word| !word.contains('=')).unwrap();
        let makefile = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile"));
        let makefile = String::from_utf8(makefile).unwrap();
        let rule = format!("{target}:");
        assert!(makefile.lines().any(|line| line.starts_with(&rule)), "{command}: no such target");
    }
    true
}

/// The line of a crontab without the times.
fn without_times(command: &str) -> &str {
    let is_time = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '*');
    let mut rest = command;
    for _ in 0..5 {
        match rest.split_once(' ') {
            Some((word, after)) if is_time(word) => rest = after,
            _ => return command,
        }
    }
    rest
}

/// The functions that the commands of a section are run by, for bash.
const PRELUDE: &str = r#"
receiver=
stop() {
    [ -n "$receiver" ] || return 0
    kill -INT "$(cat "$SCENE/receiver.pid")" 2>/dev/null
    wait "$receiver"
    receiver=
    rm -f "$SCENE/port"
}
trap stop EXIT
# The other machine, in its own folder. It serves until the next one takes its place.
there() {
    stop
    echo "there: $1"
    [ ! -f code ] || cp -p code "$SCENE/nas/"
    # What the one before said has to be gone by the time that this one is listened for.
    : >"$SCENE/nas.log"
    (cd "$SCENE/nas" && HOME=$SCENE/nas && eval "$1") >>"$SCENE/nas.log" 2>&1 &
    receiver=$!
    port=
    until [ -n "$port" ]; do
        kill -0 "$receiver" 2>/dev/null || { cat "$SCENE/nas.log"; exit 1; }
        port=$(sed -n 's/.*127\.0\.0\.1:\([0-9][0-9]*\).*/\1/p' "$SCENE/nas.log" | head -n 1)
        sleep 0.01
    done
    echo "$port" >"$SCENE/port"
    case $1 in *--once* | *"recv - "*) once=1 ;; *) once= ;; esac
}
here() {
    echo "here: $1"
    eval "$1" || { code=$?; echo "ended with $code: $1"; cat "$SCENE/nas.log"; exit 1; }
    case $1 in *"lanx send"*) ;; *) return 0 ;; esac
    if [ -n "$receiver" ] && [ -n "$once" ]; then
        wait "$receiver" || { code=$?; echo "the other machine ended with $code"; cat "$SCENE/nas.log"; exit 1; }
        receiver=
        rm -f "$SCENE/port"
    fi
}
"#;

/// `lanx`, with the machines that the documents name where they can be found here.
const LANX: &str = r#"#!/bin/bash
nas=127.0.0.1:$(cat "$SCENE/port" 2>/dev/null || echo "$NAS")
web=127.0.0.1:$(cat "$SCENE/port" 2>/dev/null || echo "$WEB")
arguments=()
for argument; do
    case $argument in
    nas | nas:9000 | 192.168.1.20 | "[fd00::20]:9000" | fe80::1%eth0) argument=$nas ;;
    attic | attic:9000) argument=127.0.0.1:$ATTIC ;;
    "HOST[:PORT]") argument=box:7269 ;;
    esac
    arguments+=("${argument//nas:7270/$web}")
done
# Where a person would pick one of the machines that are listed.
[ "$*" = "send disk.img" ] && arguments+=("$nas")
if [ "$1" = recv ] || [ "$1" = serve ]; then
    echo $$ >"$SCENE/receiver.pid"
    case " $* " in *" --listen "* | *" --clean "*) ;; *) arguments+=(--listen 127.0.0.1:0) ;; esac
fi
exec "$LANX" "${arguments[@]}"
"#;

/// `curl`, which finds the server of nas here, where there is no TLS.
const CURL: &str = r#"#!/bin/bash
nas=http://127.0.0.1:$(cat "$SCENE/port")
PATH=${PATH#*:}
command -v curl >/dev/null || exit 0
exec curl -sf "${@//https:\/\/nas:7270/$nas}"
"#;

/// Paired machines and a receiver for the commands that are about them.
const PEERS: &str = r#"
format = 1

[[allowed_sender]]
fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
name = "OLD"
paired_unix_seconds = 1
last_address = "192.168.1.30"

[[allowed_sender]]
fingerprint = "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg"
name = "NAME"
paired_unix_seconds = 1
last_address = "192.168.1.31"

[[known_host]]
address = "box:7269"
fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
"#;

/// Programs that the documents join lanx to, which need not be installed.
const STAND_INS: &[(&str, &str)] = &[
    ("lanx", LANX),
    ("curl", CURL),
    ("pg_dump", "#!/bin/sh\nseq 1 100000\n"),
    ("psql", "#!/bin/sh\n[ \"$1 $2\" = '-q -f' ] && seq 1 100000 | cmp - \"$3\"\n"),
    ("zstd", "#!/bin/sh\ncat\n"),
];

/// The files that the commands name.
fn furnish(scene: &Scene) {
    for (name, text) in STAND_INS {
        let path = scene.path("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let write = |path: &str, size: usize| {
        let path = scene.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; size]).unwrap();
    };
    for name in ["disk.img", "a.iso", "b.iso", "image.tar"] {
        write(&format!("src/{name}"), 600_000);
    }
    for name in ["notes.txt", "photos/sea.jpg", "photos/2026/hills.jpg", "project/main.c", "project/main.o"] {
        write(&format!("src/{name}"), 5_000);
    }
    let mut tar = Command::new("tar");
    scene.isolate(&mut tar);
    assert!(tar.args(["cf", "photos.tar", "photos"]).status().unwrap().success());
    write("home/srv/dataset/readings.csv", 400_000);
    write("home/srv/dataset/scratch.tmp", 10);
    write("home/sdb", 300_000);
    write("nas/photos/sea.jpg", 5_000);
    write("nas/disk.img", 5_000);
    write("nas/film.mkv", 600_000);
    write("nas/notes.txt", 5_000);
    for dir in ["src/downloads", "nas/srv", "nas/dumps", "nas/incoming", "standing", "attic"] {
        fs::create_dir_all(scene.path(dir)).unwrap();
    }
    fs::write(scene.path("src/hosts"), "nas\nattic\n").unwrap();
    fs::write(scene.path("src/shard1"), "readings.csv\n").unwrap();
    fs::write(scene.path("config/peers.toml"), PEERS).unwrap();
    fs::set_permissions(scene.path("config/peers.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    for code in ["src/code", "nas/code"] {
        fs::write(scene.path(code), "a code for a test\n").unwrap();
        fs::set_permissions(scene.path(code), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn run_section(document: &str, section: &Section) {
    let scene = Scene::new();
    furnish(&scene);
    // Machines that are always there, for commands that say nothing of how theirs was started.
    let nas = Receiver::start(&scene, "127.0.0.1:0", &["--rename"], &scene.path("standing"));
    let attic = Receiver::start(&scene, "127.0.0.1:0", &["--rename"], &scene.path("attic"));
    let web = WebServer::open(&scene, &[], &scene.path("nas"));
    let mut script = PRELUDE.to_owned();
    for command in section.commands.iter().filter(|command| !is_left_out(command)) {
        let command = without_times(command).replace("/srv/", "~/srv/").replace("/dev/sdb", "~/sdb");
        let receives = (command.contains("lanx recv") || command.contains("lanx serve"))
            && !command.contains(" --clean");
        let place = if receives { "there" } else { "here" };
        writeln!(script, "{place} '{}'", command.replace('\'', r"'\''")).unwrap();
    }
    let mut bash = Command::new("bash");
    scene.isolate(&mut bash);
    bash.args(["-c", &script])
        .env("PATH", format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap()))
        .env("SCENE", scene.path(""))
        .env("LANX", env!("CARGO_BIN_EXE_lanx"))
        .env("NAS", nas.addr.port().to_string())
        .env("WEB", web.addr.port().to_string())
        .env("ATTIC", attic.addr.port().to_string());
    let done = Process::spawn(bash).finish(Duration::from_secs(240));
    let [said, complained] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!(done.code, Some(0), "{document}, {}:\n{said}{complained}", section.title);
}

fn run(document: &str) {
    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(document));
    let sections = sections(&String::from_utf8(text).unwrap());
    assert!(!sections.is_empty(), "{document} has no commands");
    for section in sections {
        run_section(document, &section);
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    run("README.md");
}

#[test]
fn the_commands_of_the_guide_work() {
    run("docs/guide.md");
}

#[test]
fn the_commands_of_the_reference_work() {
    run("docs/reference.md");
}

#[test]
fn the_commands_of_the_other_documents_work() {
    for document in [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/config.md",
        "docs/json.md",
        "docs/service.md",
        "docs/windows.md",
    ] {
        run(document);
    }
}

/// The documents that have no command.
const WITHOUT_COMMANDS: &[&str] =
    &["clusters.md", "compared.md", "design.md", "measurements.md", "out-of-scope.md"];

/// A document that this file does not know would be one whose commands nobody ran.
#[test]
fn every_document_is_known_here() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut names: Vec<String> = fs::read_dir(&docs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    let known = [
        "clusters.md",
        "compared.md",
        "config.md",
        "design.md",
        "guide.md",
        "json.md",
        "measurements.md",
        "out-of-scope.md",
        "reference.md",
        "service.md",
        "windows.md",
    ];
    assert_eq!(names, known);
    for name in WITHOUT_COMMANDS {
        assert!(
            sections(&text(&format!("docs/{name}"))).is_empty(),
            "{name} has commands, which nobody runs"
        );
    }
}

fn text(document: &str) -> String {
    String::from_utf8(read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(document))).unwrap()
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let lines = text("README.md").lines().count();
    assert!(lines <= 150, "{lines} lines; what is detail goes to docs/guide.md or docs/reference.md");
}

/// The words of a line of output, without keys, codes, hashes and figures, which differ from run to run.
fn shape(line: &str) -> String {
    let is_word = |word: &&str| {
        word.len() > 3 && !word.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase())
    };
    line.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}

/// `make picture` runs the program for the picture; the README shows the same run.
#[test]
fn the_readme_shows_output_that_the_picture_has() {
    let svg = text("docs/terminals.svg");
    let mut picture = String::new();
    for line in svg.lines().filter(|line| line.starts_with("<text")) {
        let body = line.split_once('>').unwrap().1.trim_end_matches("</text>");
        picture += &format!("{}\n", shape(body));
    }
    let readme = text("README.md");
    let before = readme.split("\n## ").next().unwrap();
    let code = before.lines().filter_map(|line| line.strip_prefix("    "));
    let shown: Vec<&str> =
        code.filter(|line| !line.starts_with("$ ") && !line.starts_with("make ")).collect();
    assert_eq!(shown.len(), 8, "four lines of each terminal");
    for line in shown {
        assert!(picture.contains(&shape(line)), "{line} is not in the picture:\n{picture}");
    }
}

/// What of a heading a link names, as forges make it: letters, digits, `-` and `_`, in small letters.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// Whether a document has a heading that a link names.
fn has_heading(document: &str, name: &str) -> bool {
    let mut fenced = false;
    document.lines().any(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#') && anchor(line) == name
    })
}

#[test]
fn links_lead_to_files_and_headings() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> = Vec::new();
    for folder in [project.to_owned(), project.join("docs")] {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    let mut broken = Vec::new();
    let mut links = 0;
    for document in &documents {
        let source = String::from_utf8(read(document)).unwrap();
        for link in source.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, name) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let leads = target.exists()
                && (name.is_empty() || has_heading(&String::from_utf8(read(&target)).unwrap(), name));
            if !leads {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(links > 40, "{links} links");
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

/// The long options that the help of a command lists, without their dashes. Each begins a line, behind its short form.
fn options(command: &str) -> Vec<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_lanx")).args([command, "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let lines = help.lines().filter_map(|line| {
        let (before, option) = line.trim_start().split_once("--")?;
        let begins = before.is_empty() || before.len() == "-x, ".len() && before.starts_with('-');
        begins.then(|| {
            option
                .split(|c: char| c != '-' && !c.is_ascii_lowercase() && !c.is_ascii_digit())
                .next()
                .unwrap()
                .to_owned()
        })
    });
    lines.collect()
}

/// The reference is complete: whoever adds an option describes it there.
#[test]
fn the_reference_has_every_option() {
    let reference = text("docs/reference.md");
    let words: Vec<&str> = reference.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).collect();
    for command in ["send", "recv", "serve", "get", "list", "manifest", "verify", "doctor"] {
        let options = options(command);
        assert!(options.len() >= 3, "{command} has {options:?}");
        let missing: Vec<&String> =
            options.iter().filter(|option| !words.contains(&format!("--{option}").as_str())).collect();
        assert!(
            missing.is_empty(),
            "options of lanx {command} that docs/reference.md does not tell of: {missing:?}"
        );
    }
}

/// What a document has in backquotes, outside of fenced blocks.
fn code_spans(document: &str) -> Vec<String> {
    let mut spans = Vec::new();
    for (number, part) in text(document).split("```").enumerate() {
        if number % 2 == 0 {
            spans.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

/// A map that names what is not there leads nowhere: whoever moves a file or a function moves it there as well.
#[test]
fn the_map_of_the_code_names_what_is_there() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for entry in walkdir::WalkDir::new(project.join("src")) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            code += &String::from_utf8(read(&path)).unwrap();
        }
    }
    let mut missing = Vec::new();
    let mut named = 0;
    for document in ["ARCHITECTURE.md", "docs/design.md"] {
        for span in code_spans(document) {
            let is_path = (span.ends_with(".rs") || span.ends_with('/')) && !span.contains([' ', '*', '~']);
            let there = match span.rsplit_once("::") {
                _ if is_path => project.join("src").join(&span).exists() || project.join(&span).exists(),
                Some((_, function)) => code.contains(&format!("fn {function}")),
                None => continue,
            };
            named += 1;
            if !there {
                missing.push(format!("{document}: {span}"));
            }
        }
    }
    assert!(named > 100, "{named} names");
    assert!(missing.is_empty(), "there is no such thing any more:\n{}", missing.join("\n"));
}
