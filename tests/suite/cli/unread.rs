//! Readers that do not read: a full pipe or a held terminal keeps what is said from being seen, and nothing else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

use crate::common::*;
use rustix::fs::OFlags;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::Signal;

/// So that a receiver or sender that does not get on is lost soon.
const IMPATIENT: [&str; 2] = ["--timeout", "5"];

/// A pipe that holds little.
fn narrow_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    (reader, writer)
}

/// Writes into a pipe until it takes no more. Whoever else writes there waits from now on.
fn fill(pipe: &PipeWriter) {
    // Opened anew, as the flag would hold for the others as well.
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut own = File::options().write(true).custom_flags(flags).open(path).unwrap();
    loop {
        match own.write(b"-\n") {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            written => assert!(written.unwrap() > 0),
        }
    }
}

/// The lines that are left in a pipe, until nobody can write there any more, without what filled it.
fn rest(reader: impl Read) -> Vec<String> {
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    lines.filter(|line| line != "-").collect()
}

/// The numbers of the files that lines are about, in the order of the lines.
fn numbers(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.split_once("file-")?.1.get(..2)?.parse().ok();
    lines.iter().filter_map(number).collect()
}

/// Files, of which the receiver has every second one already, with other content.
fn files(scene: &Scene, count: usize) -> Vec<std::path::PathBuf> {
    let make_one = |at: usize| {
        let name = format!("file-{at:02}");
        if at.is_multiple_of(2) {
            fs::write(scene.dst.join(&name), "other content").unwrap();
        }
        make(&scene.src, &name, 2 * CHUNK + at)
    };
    (0..count).map(make_one).collect()
}

#[test]
fn a_receiver_whose_outputs_nobody_reads_receives_all_the_same_and_tells_it_later() {
    let scene = Scene::new();
    let (mut out, out_writer) = narrow_pipe();
    let (err, err_writer) = narrow_pipe();
    let mut command = scene.lanx();
    command.args(["recv", "-v", "--no-announce", "--listen", "127.0.0.1:0"]).args(IMPATIENT).arg(&scene.dst);
    let ends = (out_writer.try_clone().unwrap(), err_writer.try_clone().unwrap());
    let receiver = Process::spawn_onto(command, ends.0, ends.1);
    let mut told = Vec::new();
    let addr = loop {
        let mut some = [0; 512];
        let read = out.read(&mut some).unwrap();
        assert!(read > 0, "a receiver did not start");
        told.extend_from_slice(&some[..read]);
        if let Some(addr) = listening_on(&String::from_utf8_lossy(&told)) {
            break addr;
        }
    };
    fill(&out_writer);
    fill(&err_writer);
    for (at, file) in files(&scene, 6).iter().enumerate() {
        let sent = scene.send_with(&IMPATIENT, &[file], addr);
        sent.expect_code(if at.is_multiple_of(2) { 5 } else { 0 });
    }
    receiver.signal(Signal::INT);
    drop((out_writer, err_writer));
    let reading = thread::spawn(|| rest(err));
    let (out, err) = (rest(out), reading.join().unwrap());
    receiver.finish(PATIENCE).expect_code(130);
    // Of files that are refused the path is not in the summary.
    assert_eq!(out.iter().filter(|line| line.starts_with("from 127.0.0.1: ")).count(), 6, "{out:?}");
    assert_eq!(numbers(&out), [1, 3, 5], "{out:?}");
    assert_eq!(numbers(&err), [0, 1, 2, 3, 4, 5], "{err:?}");
}

#[test]
fn a_sender_whose_outputs_nobody_reads_sends_all_the_same_and_ends() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&IMPATIENT);
    // Both are one place here.
    let (reader, writer) = narrow_pipe();
    let mut command = scene.lanx();
    command.args(["send", "-v", "is-not-there"]).args(files(&scene, 6)).arg(receiver.addr.to_string());
    fill(&writer);
    let sender = Process::spawn_onto(command, writer.try_clone().unwrap(), writer.try_clone().unwrap());
    receiver.wait_for_stdout("from 127.0.0.1: ");
    for at in [1, 3, 5] {
        let name = format!("file-{at:02}");
        assert_same(&scene.src.join(&name), &scene.dst.join(&name));
    }
    // It waits for its reader for a while, and then leaves.
    sender.finish(PATIENCE).expect_code(5);
    drop((reader, writer));
}

/// So many empty files below the folder `top`, whose paths alone are more than may be unread.
fn make_long_names(scene: &Scene, count: usize) {
    let mut folder = scene.src.join("top");
    for _ in 0..14 {
        folder.push("x".repeat(250));
    }
    fs::create_dir_all(&folder).unwrap();
    let path = folder.strip_prefix(&scene.src).unwrap().to_str().unwrap().len();
    assert!(count * path > lanx::limits::UNREAD_BYTES_MAX);
    for at in 0..count {
        File::create(folder.join(at.to_string())).unwrap();
    }
}

/// Waits until a process has nothing more to do.
fn wait_until_idle(process: &Process) {
    let path = format!("/proc/{}/stat", process.id());
    let spent = || fs::read_to_string(&path).unwrap().split(' ').skip(13).take(2).collect::<String>();
    let (mut before, mut same) = (spent(), 0);
    wait_until("it rests", PATIENCE, || {
        let now = spent();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same == 20
    });
}

#[test]
fn a_script_that_never_reads_keeps_nobody_from_hearing_ctrl_c() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&IMPATIENT);
    make_long_names(&scene, 6000);
    let (reader, writer) = narrow_pipe();
    let mut command = scene.lanx();
    command.args(["send", "--json", "--dry-run"]).arg(scene.src.join("top")).arg(receiver.addr.to_string());
    let sender = Process::spawn_onto(command, writer.try_clone().unwrap(), writer);
    wait_until_idle(&sender);
    sender.signal(Signal::INT);
    let code = sender.finish(PATIENCE).code;
    // All may have been offered, and then it is at its end.
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
    drop(reader);
}

#[test]
fn what_does_not_fit_is_left_out_and_counted_and_nothing_else() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&IMPATIENT);
    let (count, top) = (6000, scene.src.join("top"));
    make_long_names(&scene, count);
    let (out, out_writer) = narrow_pipe();
    let (err, err_writer) = pipe().unwrap();
    let mut command = scene.lanx();
    command.args(["send", "--dry-run"]).args(IMPATIENT).arg(&top).arg(receiver.addr.to_string());
    let sender = Process::spawn_onto(command, out_writer, err_writer);
    receiver.wait_for_stdout("from 127.0.0.1: ");
    let (out, err) = (rest(out), rest(err));
    sender.finish(PATIENCE).expect_code(0);
    let missing = err.iter().find_map(|line| line.split_once("; missing there: ")).unwrap().1;
    let missing: usize = missing.strip_suffix(" lines").unwrap().parse().unwrap();
    let wanted = out.iter().filter(|line| line.starts_with("would send ")).count();
    assert!(missing > 100 && wanted > 1000, "{missing} and {wanted}");
    // All files, the folders, and the summary.
    assert_eq!((out.len() + missing, err.len()), (count + 15 + 1, 1), "{err:?}");
}

#[test]
fn a_terminal_that_is_held_holds_no_transfer_and_shows_all_when_it_goes_on() {
    let scene = Scene::new();
    let mut command = scene.lanx();
    command.env("TERM", "xterm").args(["recv", "--listen", "127.0.0.1:0"]).args(IMPATIENT).arg(&scene.dst);
    let mut terminal = Terminal::run_sized(&command, 120, 50);
    let addr = terminal.wait_for_line("listening on ");
    terminal.wait_for("lanx send FILE");
    terminal.hold();
    for (at, file) in files(&scene, 6).iter().enumerate() {
        let sent = scene.send_with(&IMPATIENT, &[file], &addr);
        sent.expect_code(if at.is_multiple_of(2) { 5 } else { 0 });
    }
    assert_eq!(terminal.screen().matches("from 127.0.0.1").count(), 0, "it was not held");
    let ctrl_q = "\x11";
    terminal.type_keys(ctrl_q);
    let told = |lines: &[String]| lines.iter().filter(|line| line.contains("127.0.0.1: ")).count() == 9;
    // Errors and results are of two streams and in one order.
    let lines = terminal.wait_until_shown(120, 50, told);
    assert_eq!(numbers(&lines), [0, 1, 2, 3, 4, 5], "{lines:?}");
    terminal.press_ctrl_c();
    assert_eq!(terminal.wait(), Some(130));
}

#[test]
fn ctrl_c_ends_a_receiver_whose_outputs_nobody_reads() {
    let scene = Scene::new();
    let (reader, writer) = narrow_pipe();
    fill(&writer);
    let mut command = scene.lanx();
    command.args(["recv", "-vv", "--no-announce", "--listen", "127.0.0.1:0"]).arg(&scene.dst);
    let mut receiver = Process::spawn_onto(command, writer.try_clone().unwrap(), writer);
    let status = format!("/proc/{}/status", receiver.id());
    // It hears signals before it says anything, and its first words do not get out.
    wait_until("it hears SIGINT", PATIENCE, || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0
    });
    assert!(receiver.is_running());
    receiver.signal(Signal::INT);
    receiver.finish(PATIENCE).expect_code(130);
    drop(reader);
}
