//! What cannot work is told in a line or two that name it, with the right exit code, and leaves nothing behind.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::common::*;

/// A receiver's address for calls that must fail before anybody is connected.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_missing_path_is_named() {
    let scene = Scene::new();
    scene
        .send(&["no such file"], NOBODY)
        .expect_complaint(5, &["lanx: no such file: no such file or folder"]);
}

#[test]
fn a_missing_path_with_an_odd_name_is_named_harmlessly() {
    let scene = Scene::new();
    let output = scene.send(&["\x1b[31m\u{202e}gone\n"], NOBODY);
    output.expect_complaint(5, &["\\x1b[31m\\u{202e}gone\\n: "]);
}

#[test]
fn what_is_no_file_cannot_be_sent() {
    let scene = Scene::new();
    let fifo = scene.src.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("nowhere", scene.src.join("dangling")).unwrap();
    scene.send(&["fifo"], NOBODY).expect_complaint(5, &["fifo: skipped: a pipe\n", "| lanx send -"]);
    scene
        .send(&["/dev/null"], NOBODY)
        .expect_complaint(5, &["/dev/null: skipped: a device\n", "| lanx send -"]);
    scene.send(&["dangling"], NOBODY).expect_complaint(5, &["dangling: no such file or folder"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_hides_its_size_does_not_arrive_empty() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let empty = make(&scene.src, "empty", 0);
    let output = scene.send(&[Path::new("/proc/version"), &empty], receiver.addr);
    output
        .expect_complaint(5, &["/proc/version: ", "`lanx send -`"])
        .expect_out(&["1 file, ", "1 file failed"]);
    assert_arrived(&[&empty], &scene.dst);
    assert_eq!(listing(&scene.dst), ["empty"]);
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_the_others_arrive() {
    let scene = Scene::new();
    let (secret, open) = (make(&scene.src, "secret", 10), make(&scene.src, "open", 10));
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let receiver = scene.receiver_with(&["--open"]);
    let mut command = scene.lanx_unprivileged();
    command.args(["send", "secret", "open", &receiver.addr.to_string()]);
    let output = Process::spawn(command).finish(PATIENCE);
    output.expect_complaint(5, &["secret: ", "permission denied"]).expect_out(&["1 file, ", "1 file failed"]);
    assert_arrived(&[&open], &scene.dst);
    assert_eq!(listing(&scene.dst), ["open"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named_at_the_start() {
    let scene = Scene::new();
    let mut command = scene.lanx_unprivileged();
    fs::set_permissions(&scene.dst, Permissions::from_mode(0o555)).unwrap();
    command.args(["recv", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let output = Process::spawn(command).finish(PATIENCE);
    let dst = scene.dst.to_str().unwrap();
    output.expect_complaint(7, &[dst, "permission"]);
    assert_eq!(output.out(), "");
}

#[test]
fn a_folder_in_which_no_file_can_be_made_is_named_to_both_sides() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 10);
    let mut command = scene.lanx();
    command.args(["recv", "--once", "--listen", "127.0.0.1:0", "/proc"]);
    if !rustix::process::geteuid().is_root() {
        Process::spawn(command).finish(PATIENCE).expect_complaint(7, &["/proc"]);
        return;
    }
    // Root may write everywhere, as far as anybody can tell without trying.
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &["--once"], "/proc".as_ref());
    scene.send(&[&file], receiver.addr).expect_complaint(7, &["/proc/file"]);
    receiver.process.finish(PATIENCE).expect_complaint(7, &["/proc/file"]);
}

#[test]
fn a_folder_without_its_parent_is_not_made() {
    let scene = Scene::new();
    let dir = scene.path("a/b/c");
    let output = scene.run(["recv".as_ref(), "--listen=127.0.0.1:0".as_ref(), dir.as_os_str()]);
    output.expect_complaint(7, &[dir.to_str().unwrap(), "mkdir -p"]);
    assert!(!scene.path("a").exists());
}

#[test]
fn a_file_in_the_place_of_the_folder_is_named() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 1);
    let path = file.to_str().unwrap();
    scene.run(["recv", path]).expect_complaint(7, &[path, "not a folder"]);
    let beneath = format!("{path}/dir");
    scene.run(["recv", &beneath]).expect_complaint(7, &[&beneath]);
}

#[test]
fn a_port_in_use_is_named() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let addr = receiver.addr.to_string();
    let output = scene.run(["recv", "--listen", &addr, "."]);
    output.expect_complaint(1, &[&addr, "taken", "--listen"]);
    assert_eq!(output.out(), "");
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    let scene = Scene::new();
    let output = scene.run(["recv", "--listen", "192.0.2.1:0", "."]);
    output.expect_complaint(1, &["192.0.2.1:0", "not an address of this machine"]);
}

#[test]
fn a_host_that_is_none_is_a_wrong_command_line() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    for host in ["", ":1", "host:0", "host:65536", "host:x", "[::1", "a:b:c", "./other-file", "a b"] {
        let output = scene.send(&["file"], host);
        output.expect_complaint(2, &["the last argument is the host", &format!("'{host}'")]);
    }
    for host in ["\x1b[31mhost", "host:\x07", "fe80::1%\x1b[2J", "\u{202e}host"] {
        scene.send(&["file"], host).expect_complaint(2, &["the last argument is the host"]);
    }
}

#[test]
fn a_value_that_is_refused_is_told_what_is_expected() {
    let scene = Scene::new();
    for (line, words) in [
        (&["send", "a", "b", "--timeout", "abc"][..], "expected a number from 5 to 86400 seconds"),
        (&["doctor", "--timeout", "0"], "expected a number from 5 to 86400 seconds"),
        (&["send", "a", "b", "-c", "17"], "expected a number from 1 to 16\n"),
        (&["recv", "--max-transfers", "-1x"], ""),
        (&["recv", "--listen", "127.0.0.1"], "expected a port or ADDR:PORT, as in 8000 or 127.0.0.1:8000"),
        (&["recv", "--metrics", "9000"], "expected ADDR:PORT"),
        (&["recv", "--nonsense"], "unexpected argument"),
    ] {
        let output = scene.run(line);
        output.expect_code(2);
        let text = output.err();
        assert!(text.starts_with("lanx: ") && text.contains(words), "{text}");
        assert!(!text.contains("invalid digit") && !text.contains("syntax"), "{text}");
    }
}

#[test]
fn a_stream_without_a_host_is_asked_for_one() {
    let scene = Scene::new();
    scene.run(["send", "-"]).expect_complaint(2, &["no host was given", "lanx send - HOST --name NAME"]);
}

#[test]
fn a_host_that_does_not_resolve_is_named() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let output = scene.send(&["file"], "no-such-host.invalid");
    output.expect_complaint(3, &["cannot find no-such-host.invalid", "check the name"]);
}

#[test]
fn a_port_that_refuses_is_named_with_the_question_to_ask() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let (_held, addr) = refusing();
    scene.send(&["file"], addr).expect_complaint(3, &[&addr.to_string(), "refused", "lanx recv"]);
}

#[test]
fn every_address_of_a_name_that_refuses_is_named() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let (_held, addr) = refusing();
    let port = addr.port();
    let output = scene.send(&["file"], format!("localhost:{port}"));
    output.expect_complaint(3, &[&format!("localhost:{port}"), &format!("127.0.0.1:{port} refused")]);
}

/// Something that is not lanx: it does `talk` with whoever connects.
fn stranger(talk: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(talk));
    addr
}

/// Reads until the other side is through with it, so that what was written to it is not lost.
fn drain(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn a_peer_that_never_answers_is_left_after_a_bounded_wait() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    // Nobody accepts, but the kernel takes connections all the same.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let output = scene.send(&["file"], addr);
    output.expect_complaint(3, &[&addr.to_string(), "said nothing for 10 s"]);
}

#[test]
fn a_peer_that_answers_byte_by_byte_is_left_after_a_bounded_wait() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let addr = stranger(|mut stream| {
        let _ = stream.write_all(b"lanx");
        drain(stream);
    });
    scene.send(&["file"], addr).expect_complaint(3, &[&addr.to_string(), "said nothing for 10 s"]);
}

#[test]
fn a_peer_that_is_not_lanx_is_told_so() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    for greeting in
        [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0; 64], &[0xff; 8]]
    {
        let addr = stranger(move |mut stream| {
            let _ = stream.write_all(greeting);
            drain(stream);
        });
        let output = scene.send(&["file"], addr);
        output.expect_complaint(3, &[&addr.to_string(), "is not lanx; give the port"]);
    }
}

#[test]
fn a_peer_that_hangs_up_is_named() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let at_once = stranger(drop);
    scene.send(&["file"], at_once).expect_complaint(3, &[&at_once.to_string(), "hung up"]);
    let after_some = stranger(|mut stream| drop(stream.write_all(b"lan")));
    scene.send(&["file"], after_some).expect_complaint(3, &[&after_some.to_string(), "hung up"]);
}

/// The first eight bytes of a connection in version 999 of the protocol.
const OTHER_VERSION: [u8; 8] = *b"lanx\xe7\x03\x01\x00";

#[test]
fn a_receiver_of_another_version_is_told_apart() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    let addr = stranger(|mut stream| {
        let _ = stream.write_all(&OTHER_VERSION);
        drain(stream);
    });
    let output = scene.send(&["file"], addr);
    output.expect_complaint(3, &[&addr.to_string(), "version 999", "install the newer lanx here"]);
}

#[test]
fn a_sender_of_another_version_is_told_apart_and_hears_so() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let mut stream = TcpStream::connect(receiver.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&OTHER_VERSION).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.len(), &answer[..4]), (8, &b"lanx"[..]));
    assert_eq!(answer[6..], [1, 0], "another version is spoken here");
    receiver.wait_for_stderr("it speaks version 999 of the protocol");
    assert_harmless(&receiver.process.stderr.bytes(), "the receiver");
}

#[test]
fn a_wrong_command_line_is_explained_with_exit_code_2() {
    let scene = Scene::new();
    make(&scene.src, "file", 1);
    for args in [
        &["send"][..],
        &["send", "file"],
        &["send", "-c", "0", "file", NOBODY],
        &["send", "-c", "17", "file", NOBODY],
        &["send", "-c", "x", "file", NOBODY],
        &["send", "-c", "-1", "file", NOBODY],
        &["send", "-c"],
        &["send", "--no-such-flag", "file", NOBODY],
        &["send", "-q", "-v", "file", NOBODY],
        &["recv", "--listen", "nonsense"],
        &["recv", "--listen", "127.0.0.1"],
        &["recv", "--overwrite", "--rename"],
        &["recv", "a", "b"],
        &[],
    ] {
        let output = scene.run(args);
        output.expect_code(2);
        assert!(output.err().contains("--help"), "{args:?}: {}", output.err());
        assert_eq!(output.out(), "");
    }
}

#[test]
fn help_and_version_are_no_mistake_and_help_tells_the_exit_codes() {
    let scene = Scene::new();
    for code in [0, 1, 2, 3, 5, 6, 7, 130] {
        scene.run(["--help"]).expect_success().expect_out(&[&format!("\n  {code} ")]);
    }
    scene.run(["send", "--help"]).expect_success().expect_out(&["lanx send [OPTIONS] PATH... HOST[:PORT]"]);
    scene.run(["recv", "--help"]).expect_success().expect_out(&["--overwrite", "--rename"]);
    let version = concat!("lanx ", env!("CARGO_PKG_VERSION"), " (commit ");
    scene.run(["--version"]).expect_success().expect_out(&[
        version,
        ", protocol 2, ",
        std::env::consts::ARCH,
    ]);
}

#[test]
fn two_paths_with_one_file_name_are_a_mistake_before_anything_is_sent() {
    let scene = Scene::new();
    for dir in ["a", "b"] {
        fs::create_dir(scene.src.join(dir)).unwrap();
        make(&scene.src.join(dir), "x.txt", 1);
    }
    let output = scene.send(&["a/x.txt", "b/x.txt"], NOBODY);
    output.expect_complaint(2, &["a/x.txt", "b/x.txt", "same file name"]);
    scene.send(&["a/x.txt", "./a/x.txt"], NOBODY).expect_complaint(2, &["same file name"]);
}

#[test]
fn the_good_files_of_a_call_arrive_and_each_bad_one_is_named() {
    let scene = Scene::new();
    let good = [make(&scene.src, "first", 10), make(&scene.src, "last", 2 * CHUNK)];
    let receiver = scene.receiver();
    let output = scene.send(&["first", "missing", "last"], receiver.addr);
    output.expect_complaint(5, &["missing: "]).expect_out(&["2 files, ", "1 file failed"]);
    assert_arrived(&good, &scene.dst);
    assert_eq!(listing(&scene.dst), ["first", "last"]);
}

#[test]
fn a_name_of_a_part_file_is_not_sent() {
    let scene = Scene::new();
    make(&scene.src, ".notes.lanx-part", 1);
    scene.send(&[".notes.lanx-part"], NOBODY).expect_complaint(5, &[".notes.lanx-part", "rename it"]);
}

#[test]
fn host_and_port_as_two_words_get_the_one_word_that_helps() {
    let scene = Scene::new();
    make(&scene.src, "file", 10);
    for (host, whole) in [("127.0.0.1", "127.0.0.1:8000"), ("nas", "nas:8000"), ("::1", "[::1]:8000")] {
        scene.run(["send", "file", host, "8000"]).expect_complaint(2, &["is a port", whole]);
    }
    scene.run(["send", "file", "8000"]).expect_complaint(2, &["8000 is a number and no host", "HOST:PORT"]);
}

#[test]
fn a_pipe_is_told_the_way_by_standard_input() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let pipe = scene.src.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    scene.send(&[&pipe], receiver.addr).expect_complaint(5, &["a pipe", "lanx send - HOST"]);
}

#[test]
fn a_working_folder_that_was_deleted_is_an_error_at_both_ends() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let gone = |name: &str, arguments: &[&str]| {
        let folder = scene.path(name);
        fs::create_dir(&folder).unwrap();
        let mut shell = std::process::Command::new("sh");
        scene.isolate(&mut shell);
        let program = env!("CARGO_BIN_EXE_lanx");
        shell
            .current_dir(&folder)
            .args(["-c", "rmdir \"$PWD\"; exec \"$0\" \"$@\"", program])
            .args(arguments);
        Process::spawn(shell).finish(PATIENCE)
    };
    let host = receiver.addr.to_string();
    gone("from here", &["send", ".", &host]).expect_complaint(5, &["no such file or folder"]);
    gone("to here", &["recv", "--listen", "127.0.0.1:0"]).expect_complaint(7, &["was removed"]);
}

#[test]
fn a_receiver_within_what_is_sent_is_not_sent_what_it_receives() {
    let scene = Scene::new();
    let tree = scene.src.join("tree");
    let inside = tree.join("incoming");
    fs::create_dir_all(&inside).unwrap();
    make(&tree, "file", 1000);
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &[], &inside);
    for _ in 0..2 {
        let sent = scene.send(&[&tree], receiver.addr);
        sent.expect_code(0);
        assert!(sent.err().contains("incoming: left out: the receiver puts files there"), "{}", sent.err());
        assert_eq!(listing(&inside.join("tree")), ["file"]);
    }
}

/// What is typed by somebody who knows other programs, and what is said then.
#[test]
fn habits_of_other_programs_get_a_hint_that_helps() {
    let scene = Scene::new();
    make(&scene.src, "notes.txt", 10);
    for (line, words) in [
        ("send 10.77.0.2 notes.txt", "lanx: the host comes last: lanx send notes.txt 10.77.0.2\n"),
        ("send nas notes.txt", "lanx: the host comes last: lanx send notes.txt nas\n"),
        ("send 10.77.0.2:/tmp/x notes.txt", "lanx: the host comes last: lanx send notes.txt 10.77.0.2\n"),
        ("send ann@nas: notes.txt", "lanx: the host comes last: lanx send notes.txt nas\n"),
        ("send nas:9000 notes.txt", "lanx: the host comes last: lanx send notes.txt nas:9000\n"),
        (
            "send notes.txt ann@nas:/tmp",
            "lanx needs no user, and the receiver chooses the folder: lanx recv DIR; send to nas: lanx send FILE nas\n",
        ),
        (
            "send notes.txt nas:/tmp/",
            "the receiver chooses the folder: lanx recv DIR; send to nas: lanx send FILE nas\n",
        ),
        ("send notes.txt ann@nas", "lanx needs no user; send to nas: lanx send FILE nas\n"),
        ("send notes.txt 10.77.0.2 9000", "write HOST:PORT as one word: 10.77.0.2:9000\n"),
        (
            "send -P 9000 notes.txt nas",
            "lanx: there is no option -P; the port stands behind the host: lanx send FILE HOST:PORT\n",
        ),
        (
            "send --progress notes.txt nas",
            "there is no option --progress; progress is always shown on a terminal, so leave it out\n",
        ),
        (
            "send -z notes.txt nas",
            "there is no option -z; `--compress zstd` compresses, and without it lanx does so where that is faster\n",
        ),
        ("send -e ssh notes.txt nas", "each machine has a key of its own; leave it out\n"),
        ("send --partial notes.txt nas", "always goes on when it is sent again, so leave it out\n"),
        ("send --delete notes.txt nas", "there is no option --delete; it removes nothing at the receiver\n"),
        ("send -l 800 notes.txt nas", "there is no option -l; `--limit 5M` holds a rate\n"),
        (
            "send --code=x notes.txt nas",
            "LANX_CODE or --code-file, where nobody else on this machine can read it\n",
        ),
        (
            "recv -l 9000",
            "there is no option -l; it always listens, and -p PORT is where: lanx recv -p 8000\n",
        ),
        ("get -O http://127.0.0.1:1/x", "always gets the name that it has in the URL, so leave it out\n"),
        ("get -L http://127.0.0.1:1/x", "redirects are always followed, so leave it out\n"),
        ("get -C - http://127.0.0.1:1/x", "what was interrupted always goes on, so leave it out\n"),
        ("get -k https://127.0.0.1:1/x", "`lanx serve` shows pins its certificate: URL#sha256=...\n"),
        (
            "get -F file=@notes.txt http://127.0.0.1:1/",
            "and so does `curl -T FILE URL` to a `lanx serve --put`\n",
        ),
        (
            "recv --code x",
            "comes from LANX_CODE or --code-file, where nobody else on this machine can read it\n",
        ),
        ("get -N http://127.0.0.1:1/x", "what is there and the same is left alone, so leave it out\n"),
        (
            "get -r -np http://127.0.0.1:1/",
            "-r never leaves the folder that the URL names, so leave it out\n",
        ),
        ("get -I http://127.0.0.1:1/x", "what a server says of one is shown by: curl -I URL\n"),
        ("code", "there is no command 'code'; `lanx recv` shows the code, and `lanx send` asks for it\n"),
        ("notes.txt nas", "notes.txt is no command; a file is sent by: lanx send notes.txt HOST\n"),
        (
            "push notes.txt nas",
            "`lanx send` and `lanx recv` move files, and `lanx help` names all commands\n",
        ),
        ("serve --bind 127.0.0.1 notes.txt", "`--listen ADDR:PORT` is where it listens\n"),
        (
            "recv 10.77.0.2",
            "recv takes a folder: lanx recv DIR, and lanx send FILE 10.77.0.2 there (a folder of that name is ./10.77.0.2)\n",
        ),
        (
            "recv K0D-5F9-391",
            "lanx: K0D-5F9-391 looks like a pairing code, which is typed where `lanx send` asks for it (a folder of that name is ./K0D-5F9-391)\n",
        ),
    ] {
        let output = scene.run(line.split(' '));
        output.expect_code(2);
        assert!(output.err().ends_with(words), "{line}: {}", output.err());
    }
    assert_eq!(listing(&scene.src), ["notes.txt"], "no folder was made");
}

#[test]
fn a_port_alone_says_where_to_listen_and_folders_go_whole_without_being_told() {
    let scene = Scene::new();
    std::fs::create_dir(scene.src.join("folder")).unwrap();
    make(&scene.src, "folder/file", 10);
    for option in [&["-p", "0"][..], &["--port", "0"], &["--listen", "0"], &["--listen", ":0"]] {
        let mut command = scene.lanx();
        command.args(["recv", "--once", "--no-announce"]).args(option).arg(&scene.dst);
        let receiver = Process::spawn(command);
        wait_until("it listens", PATIENCE, || listening_on(&receiver.stdout.text()).is_some());
        let addr = listening_on(&receiver.stdout.text()).unwrap();
        assert!(addr.ip().is_unspecified(), "{addr}");
        let host = format!("127.0.0.1:{}", addr.port());
        scene.send_with(&["-r"], &["folder"], &host).expect_success();
        receiver.finish(PATIENCE).expect_code(0);
    }
}

#[test]
fn several_hosts_in_a_row_get_the_way_to_name_them() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", 10);
    let name = file.file_name().unwrap().to_str().unwrap();
    scene
        .run(["send", name, "nas:7000", "backup"])
        .expect_complaint(2, &["nas:7000: no such file", "--to nas:7000 --to backup"]);
    scene
        .run(["send", name, "10.1.2.3", "10.1.2.4", "10.1.2.5"])
        .expect_complaint(2, &["10.1.2.3: no such file", "--to 10.1.2.3 --to 10.1.2.4 --to 10.1.2.5"]);
    // A plain word may be either.
    scene.run(["send", name, "nobody-a", "nobody-b"]).expect_complaint(
        3,
        &["cannot find nobody-b", "nobody-a is no file here", "--to nobody-a --to nobody-b"],
    );
    // A file that is missing is no host.
    scene.run(["send", name, "notes.txt", "127.0.0.1:1"]).expect_complaint(3, &["notes.txt: no such file"]);
}
