//! The words of the most common messages, as they are typed for. Those of two machines are in `errors`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::*;

#[test]
fn the_most_common_messages_are_these_word_for_word() {
    let scene = Scene::new();
    for folder in ["folder", "sub"] {
        fs::create_dir(scene.src.join(folder)).unwrap();
    }
    for name in ["notes.txt", "sub/notes.txt"] {
        make(&scene.src, name, 2);
    }
    fs::write(scene.src.join("code"), "short\n").unwrap();
    fs::set_permissions(scene.src.join("code"), fs::Permissions::from_mode(0o600)).unwrap();
    let pipe = scene.src.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    symlink("nowhere", scene.src.join("dangling")).unwrap();
    for (line, code, golden) in [
        (
            "send nowhere.txt",
            2,
            "lanx: nowhere.txt: no such file or folder, and no host was given; give both: lanx send FILE HOST",
        ),
        ("send nowhere.txt 127.0.0.1:1", 5, "lanx: nowhere.txt: no such file or folder"),
        ("send dangling 127.0.0.1:1", 5, "lanx: dangling: no such file or folder"),
        (
            "send pipe 127.0.0.1:1",
            5,
            "lanx: pipe: skipped: a pipe\nwhat a command writes goes this way: COMMAND | lanx send - HOST --name NAME",
        ),
        (
            "send notes.txt",
            2,
            "lanx: no host was given; it comes last: lanx send FILE HOST (`lanx list` shows the receivers that answer, `lanx send --help` tells more)",
        ),
        (
            "send notes.txt folder",
            2,
            "lanx: no host was given, as folder is a file here; if it is a host as well, use --to folder",
        ),
        (
            "send notes.txt 127.0.0.1:1",
            3,
            "lanx: cannot reach 127.0.0.1:1: it refused the connection; start `lanx recv` there, or give the port that it shows, as HOST:PORT",
        ),
        (
            "send notes.txt nas:0",
            2,
            "lanx: the last argument is the host, and 'nas:0' is none: '0' is not a port; a port is a number from 1 to 65535",
        ),
        (
            "send notes.txt a:b:c",
            2,
            "lanx: the last argument is the host, and 'a:b:c' is none: 'a:b:c' is not an IPv6 address; a name or IPv4 address has at most one ':', before its port",
        ),
        (
            "send notes.txt [::1",
            2,
            "lanx: the last argument is the host, and '[::1' is none: '[::1' lacks its ']'; an IPv6 address with a port is written [::1]:7269",
        ),
        (
            "send notes.txt sub/notes.txt 127.0.0.1:1",
            2,
            "lanx: notes.txt and sub/notes.txt have the same file name; send them one after the other, or rename one",
        ),
        (
            "send notes.txt other --to 127.0.0.1:1",
            2,
            "lanx: no file is called other, and with --to all arguments are files and folders; if it is a host, use --to other",
        ),
        (
            "send notes.txt --to 127.0.0.1:1 --to 127.0.0.1:1",
            2,
            "lanx: --to 127.0.0.1:1 is there twice; name each receiver once",
        ),
        ("send --files-from nowhere . 127.0.0.1:1", 2, "lanx: --files-from: nowhere: no such file or folder"),
        (
            "send - 127.0.0.1:1 --name a/b",
            2,
            "lanx: --name: the file name \"a/b\" contains '/', which no single name has; give another one",
        ),
        (
            "send - notes.txt 127.0.0.1:1 --name x",
            2,
            "lanx: - is standard input, which is sent by itself; send the files by another command (a file of that name is ./-)",
        ),
        (
            "send notes.txt folder 127.0.0.1:1 --name x",
            2,
            "lanx: --name is for one file; send it by itself, or leave --name out",
        ),
        ("verify nowhere", 2, "lanx: nowhere: no such file or folder; check the path"),
        (
            "send --limit 1 notes.txt nas",
            2,
            "lanx: invalid value '1' for '--limit <RATE>': the lowest rate is 64000 bytes a second, as a slower sender would seem dead; the unit stands in the same word: 1M",
        ),
        (
            "send --limit fast notes.txt nas",
            2,
            "lanx: invalid value 'fast' for '--limit <RATE>': expected a number and a unit, as in 50M, 1.5Gi or 400mbit",
        ),
        (
            "send -c 17 notes.txt nas",
            2,
            "lanx: invalid value '17' for '--connections <N>': expected a number from 1 to 16",
        ),
        (
            "send --timeout 1 notes.txt nas",
            2,
            "lanx: invalid value '1' for '--timeout <SECONDS>': expected a number from 5 to 86400 seconds",
        ),
        (
            "send --code-file nowhere notes.txt nas",
            2,
            "lanx: there is no file nowhere to read a code from; make one that is yours alone (mode 600), or give another",
        ),
        (
            "send --code-file code notes.txt nas",
            2,
            "lanx: the first line of code is no code: expected a code of at least 8 characters, got 5; the receiving machine shows its code when `lanx recv` starts",
        ),
        (
            "send --code-file folder notes.txt nas",
            2,
            "lanx: folder is a folder and not a regular file; give a file with the code in its first line",
        ),
        (
            "send --exclude-from nowhere notes.txt 127.0.0.1:1",
            2,
            "lanx: what to exclude: nowhere: no such file or folder",
        ),
        ("recv notes.txt", 7, "lanx: notes.txt is a regular file, not a folder; choose another folder"),
        (
            "recv nowhere/below",
            7,
            "lanx: cannot make nowhere/below: the folder that should hold it is missing; make it first (mkdir -p) or choose another folder",
        ),
        (
            "recv --listen 192.0.2.1:80 folder",
            1,
            "lanx: 192.0.2.1:80 is not an address of this machine; choose one with --listen ADDR:PORT, or leave it out to use all",
        ),
        (
            "recv --listen nonsense folder",
            2,
            "lanx: invalid value 'nonsense' for '--listen <[ADDR:]PORT>': expected a port or ADDR:PORT, as in 8000 or 127.0.0.1:8000",
        ),
        (
            "recv --overwrite --rename folder",
            2,
            "lanx: the argument '--overwrite' cannot be used with '--rename'",
        ),
        (
            "recv --mounted folder",
            7,
            "lanx: nothing is mounted at folder; mount it, or receive without --mounted",
        ),
        (
            "recv --part-age 1x folder",
            2,
            "lanx: invalid value '1x' for '--part-age <AGE>': expected a number and a unit, as in 7d, 12h, 30m or 90s",
        ),
        (
            "recv - --sync",
            2,
            "lanx: `recv -` writes to standard output, and --sync is for a folder; leave one of them out",
        ),
        ("recv --clean nowhere", 1, "lanx: nowhere: no such file or folder"),
        (
            "trust name nobody x",
            1,
            "lanx: no paired machine has the name or fingerprint \"nobody\"; `lanx trust` lists them",
        ),
        (
            "trust remove nobody",
            1,
            "lanx: neither a paired machine nor a known receiver is called nobody; `lanx trust` lists both",
        ),
        (
            "doctor --dir nowhere",
            2,
            "lanx: there is no folder nowhere; give one whose disk to measure with --dir DIR",
        ),
        (
            "config nonsense",
            2,
            "lanx: nonsense is no command that has options to set; `lanx config` lists them",
        ),
        (
            "list --wait 1",
            2,
            "lanx: invalid value '1' for '--wait <SECONDS>': expected a number from 2 to 86400 seconds",
        ),
        (
            "nonsense",
            2,
            "lanx: there is no command 'nonsense'; `lanx send` and `lanx recv` move files, and `lanx help` names all commands",
        ),
    ] {
        let output = scene.run(line.split(' '));
        let text = output.err().replace(scene.src.to_str().unwrap(), "DIR");
        // What clap says of the usage stands below.
        assert_eq!(text.split("\n\n").next().unwrap().trim_end(), golden, "{line}");
        output.expect_code(code);
        assert!(!text.contains("os error") && !text.contains("directory"), "{text}");
    }
}
