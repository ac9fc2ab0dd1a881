//! kill -9 of either side at a random moment, in turn and again and again, and the same command until it is done: the result is
//! identical, down to modes and times of folders, nothing half is ever found under a final name, and what arrived is not sent a
//! second time.
//!
//! `LANX_KILL_ROUNDS`, `LANX_KILL_MIB` and `LANX_KILL_FILES` say how much of it (`make kill-rounds`); `LANX_TEST_SEED`
//! plays a failure again.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::common::datagrams::Datagrams;
use crate::common::weather::{Dice, seed};
use crate::common::*;

/// Kills in one round; then it is left alone to complete.
const KILLS_PER_ROUND: u64 = 2;

/// A frame's header, tag and, for a whole file, its hash; and the first bytes of a connection.
const OVERHEAD_PER_FRAME: u64 = 24 + 16 + 32;
const OVERHEAD_PER_CONNECTION: u64 = 64;

/// Longer than a transfer of the largest thing here.
const LONG: Duration = Duration::from_secs(300);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What is sent, and its bytes, to compare with at any time.
struct Cargo {
    /// The file or folder that the command names.
    named: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Cargo {
    fn of(named: PathBuf, files: Vec<PathBuf>) -> Cargo {
        let bytes = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        Cargo { named, files, bytes }
    }

    /// Where one of the files goes.
    fn place(&self, file: &Path, dst: &Path) -> PathBuf {
        dst.join(file.strip_prefix(self.named.parent().unwrap()).unwrap())
    }

    /// Chunks of all files.
    fn frames(&self) -> u64 {
        let chunks = |file: &PathBuf| fs::metadata(file).unwrap().len().div_ceil(CHUNK as u64).max(1);
        self.files.iter().map(chunks).sum()
    }

    /// Demands that whatever has a final name is the whole file.
    fn assert_nothing_half(&self, dst: &Path, story: &str) {
        for file in &self.files {
            let there = self.place(file, dst);
            assert!(!there.exists() || read(&there) == read(file), "{story}: {there:?} is not the file");
        }
    }

    /// Bytes that must still cross: those of files that are not there, less the whole chunks in their part files.
    fn missing(&self, dst: &Path) -> u64 {
        let of_file = |file: &PathBuf| {
            let name = file.file_name().and_then(OsStr::to_str).unwrap();
            let size = fs::metadata(file).unwrap().len();
            let place = self.place(file, dst);
            match fs::read(part_path(place.parent().unwrap(), name)) {
                _ if place.exists() => 0,
                Ok(part) if size > CHUNK as u64 => {
                    let whole = read(file);
                    let pairs = whole.chunks(CHUNK).zip(part.chunks(CHUNK));
                    size - pairs
                        .filter(|(a, b)| a == b && a.len() == CHUNK)
                        .map(|(a, _)| a.len() as u64)
                        .sum::<u64>()
                }
                _ => size,
            }
        };
        self.files.iter().map(of_file).sum()
    }
}

/// Looks at final names while a transfer runs: each either is not there or has its whole length. Ends with `done`.
fn watch(cargo: &Cargo, dst: &Path, done: &AtomicBool, story: &str) {
    while !done.load(Ordering::Relaxed) {
        for file in &cargo.files {
            if let Ok(there) = fs::metadata(cargo.place(file, dst)) {
                assert_eq!(there.len(), fs::metadata(file).unwrap().len(), "{story}: {file:?} is half there");
            }
        }
        // Only how often it looks.
        thread::sleep(Duration::from_millis(1));
    }
}

/// What counts the bytes that cross.
enum Way {
    Tcp(Relay),
    Quic(Datagrams),
}

impl Way {
    fn to(receiver: SocketAddr, scene: &Scene) -> Way {
        if scene.over_quic { Way::Quic(Datagrams::to(receiver)) } else { Way::Tcp(Relay::to(receiver)) }
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Way::Tcp(relay) => relay.addr,
            Way::Quic(relay) => relay.addr,
        }
    }

    fn carried(&self) -> u64 {
        match self {
            Way::Tcp(relay) => relay.carried(),
            Way::Quic(relay) => relay.carried(),
        }
    }
}

/// One call of the command. With `kill_at` one side is killed once so many bytes have crossed; otherwise it must
/// succeed. Returns how many crossed, and how many of them may have done so for a second time.
fn call(scene: &Scene, cargo: &Cargo, kill_at: Option<(u64, bool)>, story: &str) -> (u64, u64) {
    let mut receiver = scene.receiver();
    let relay = Way::to(receiver.addr, scene);
    // Over UDP nothing else tells that a receiver was killed.
    let flags = ["-v", "--retry-for", "0", "--timeout", "5"];
    let mut sender = scene.start_send(&flags, &[&cargo.named], relay.addr());
    if let Some((at, kill_sender)) = kill_at {
        wait_until(story, LONG, || relay.carried() >= at || !sender.is_running());
        if kill_sender {
            sender.kill();
            receiver.process.signal(Signal::INT);
            receiver.process.finish(LONG);
        } else {
            receiver.process.kill();
        }
    }
    let sent = sender.finish(LONG);
    assert!(kill_at.is_some() || sent.code == Some(0), "{story}: {}", sent.err());
    (relay.carried(), on_slow_connections(&sent.err()) * CHUNK as u64)
}

/// How many chunks went another way, as the sender says, since the connection they were on held up the end: on a busy machine
/// one may.
fn on_slow_connections(said: &str) -> u64 {
    let chunks =
        |line: &str| line.rsplit_once("is slow; chunks on it that go another way: ")?.1.parse::<u64>().ok();
    said.lines().filter_map(chunks).sum::<u64>()
}

/// Round `n`: kills of the sender and the receiver in turn, then the call that completes. Demands that nothing crossed
/// twice.
fn round(scene: &Scene, cargo: &Cargo, dice: &mut Dice, n: u64, story: &str) {
    fs::remove_dir_all(&scene.dst).unwrap();
    fs::create_dir(&scene.dst).unwrap();
    for kill in 0..=KILLS_PER_ROUND {
        let missing = cargo.missing(&scene.dst);
        let last = kill == KILLS_PER_ROUND;
        // At any moment: before the first byte, in the middle, or as the last ones are on their way.
        let kill_at = (!last).then(|| (dice.below(missing + 1), (n + kill).is_multiple_of(2)));
        let story = format!("{story}, call {kill}, killed at {kill_at:?}");
        let done = AtomicBool::new(false);
        let (crossed, twice) = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(cargo, &scene.dst, &done, &story));
            let crossed = call(scene, cargo, kill_at, &story);
            done.store(true, Ordering::Relaxed);
            watching.join().unwrap();
            crossed
        });
        cargo.assert_nothing_half(&scene.dst, &story);
        // Whatever was in flight has been written or lost by now, so only what is missing may cross.
        let most = missing + twice + cargo.frames() * OVERHEAD_PER_FRAME + 16 * OVERHEAD_PER_CONNECTION;
        // What packets add, and those that are sent once more.
        let most = if scene.over_quic { most + most / 5 + (1 << 20) } else { most };
        assert!(crossed <= most, "{story}: {crossed} bytes crossed, {missing} were missing");
    }
    let there = files_in(&scene.dst);
    assert_eq!(there.len(), cargo.files.len(), "{story}: {there:?}");
    for file in &cargo.files {
        assert!(read(&cargo.place(file, &scene.dst)) == read(file), "{story}: {file:?} did not arrive");
    }
    // As if nothing had been killed.
    if cargo.named.is_dir() {
        let there = scene.dst.join(cargo.named.file_name().unwrap());
        assert_eq!(folders_in(&there), folders_in(&cargo.named), "{story}: mode and time of folders");
    }
}

/// The folder and those in it by path beneath it, each with its mode and its time.
fn folders_in(top: &Path) -> Vec<(PathBuf, u32, i64, i64)> {
    fn look(top: &Path, below: &Path, found: &mut Vec<(PathBuf, u32, i64, i64)>) {
        let folder = top.join(below);
        let meta = fs::metadata(&folder).unwrap();
        if meta.is_dir() {
            found.push((below.into(), meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()));
            for entry in fs::read_dir(folder).unwrap() {
                look(top, &below.join(entry.unwrap().file_name()), found);
            }
        }
    }
    let mut found = Vec::new();
    look(top, Path::new(""), &mut found);
    found.sort();
    found
}

/// Gives a folder a mode and a time.
fn leave_behind(folder: &Path, mode: u32, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(folder).unwrap().set_modified(time).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

fn rounds(what: &str, scene: &Scene, cargo: &Cargo) {
    let seed = seed();
    let mut dice = Dice(seed);
    // Over UDP each receiver that is killed takes its time until the sender notices.
    for n in 0..setting("LANX_KILL_ROUNDS", if scene.over_quic { 2 } else { 6 }) {
        let story = format!("{what} of {} bytes, seed {seed}, round {n}", cargo.bytes);
        round(scene, cargo, &mut dice, n, &story);
        eprintln!("survived: {story}");
    }
}

#[test]
fn a_large_file_survives_kills_of_either_side_at_any_moment() {
    large_file(&Scene::new());
}

#[test]
fn a_large_file_survives_them_over_quic() {
    large_file(&Scene::over_quic());
}

fn large_file(scene: &Scene) {
    let mib = setting("LANX_KILL_MIB", 48) as usize;
    let file = make(&scene.src, "large", (mib << 20) + 12_345);
    rounds("a file", scene, &Cargo::of(file.clone(), vec![file]));
}

#[test]
fn a_folder_of_many_files_survives_kills_of_either_side_at_any_moment() {
    folder_of_files(&Scene::new());
}

#[test]
fn a_folder_of_many_files_survives_them_over_quic() {
    folder_of_files(&Scene::over_quic());
}

fn folder_of_files(scene: &Scene) {
    let mut dice = Dice(4);
    let folder = scene.src.join("folder");
    let files = (0..setting("LANX_KILL_FILES", 200)).map(|n| {
        // Most are small, some take a few chunks, some are empty.
        let len = match n % 10 {
            0 => 0,
            1 => CHUNK as u64 + dice.below(4 * CHUNK as u64),
            _ => dice.below(40_000),
        };
        let within = folder.join(format!("{}/{}", n % 7, n % 3));
        fs::create_dir_all(&within).unwrap();
        make(&within, format!("file-{n}"), len as usize)
    });
    let files = files.collect();
    for n in 0..7_u32 {
        // Modes and times that no folder has by itself.
        for m in 0..3 {
            let within = folder.join(format!("{n}/{m}"));
            if within.exists() {
                leave_behind(&within, 0o700 + 0o25 * m, 1_000_000_000 + u64::from(n));
            }
        }
        leave_behind(&folder.join(n.to_string()), 0o711 + n, 1_100_000_000 + u64::from(n));
    }
    rounds("a folder", scene, &Cargo::of(folder.clone(), files));
}
