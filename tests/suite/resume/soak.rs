//! One receiver for hours: senders of two machines with files, trees and streams of random sizes, killed at random and run again;
//! a receiver that is killed now and then; and senders that break every rule among them. Whatever arrives is right, and memory,
//! descriptors and threads of the receiver are as few at the end of each minute as at its start.
//!
//! `LANX_SOAK_SECONDS` says how long (`make soak`); `LANX_TEST_SEED` makes the same choices again, at other moments.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanx::content::chunk::FileId;
use lanx::wire::message::ReceiverMessage;
use rustix::process::Signal;

use crate::common::hostile::{heavy_offers, offer};
use crate::common::peer::{HandSender, before_tls, chunk_frame, identity, raw, whole_frame_with};
use crate::common::weather::{Dice, seed};
use crate::common::*;

/// Who sends: the receiver's own user, and one who is paired with it.
const SENDERS: [&str; 4] = ["bob", "ann", "bob", "ann"];
/// The receiver's user.
const OWNER: &str = "bob";
/// Nobody that the receiver knows.
const STRANGER: &str = "mallory";

/// Longer than the largest thing here takes, also while the receiver is started again.
const LONG: Duration = Duration::from_secs(300);
/// How long what is left of a session may stay: longer than a sender that was lost may come back.
const SETTLES_WITHIN: Duration = Duration::from_secs(40);
/// Calls of one command: each killed one, and each that lost the receiver for good, is followed by another.
const CALLS_MAX: u64 = 20;
/// Transfers that a sender left unfinished, to finish them at the end.
const UNFINISHED_MAX: usize = 4;

/// More than what an allocator keeps after its busiest minutes, and less than a leak of an hour.
const MEMORY_SPREAD_BYTES: u64 = 48 << 20;
/// What one receiver may ever have.
const MEMORY_PEAK_BYTES: u64 = 256 << 20;
/// In how many of a receiver's first minutes its memory is only looked at.
const MINUTES_TO_WARM_UP: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Tree,
    Stream,
}

/// Something to send, and how.
struct Errand {
    who: &'static str,
    kind: Kind,
    /// Its path; its name is that in DIR, too.
    path: PathBuf,
    flags: Vec<String>,
    /// Whether the second receiver gets it, too.
    to_both: bool,
    bytes: u64,
}

#[derive(Default)]
struct Counts {
    transfers: AtomicU64,
    bytes: AtomicU64,
    sender_kills: AtomicU64,
    receiver_kills: AtomicU64,
    misdeeds: AtomicU64,
}

fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

/// What a receiver holds while nobody sends.
#[derive(Clone, Copy)]
struct Holding {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

/// One life of the receiver.
struct Life {
    receiver: Receiver,
    at_start: Holding,
    /// The most memory it held at the end of one of its first minutes.
    warm: u64,
    minutes: u32,
    ends: Instant,
}

struct Soak {
    scene: Scene,
    seed: u64,
    lasts: Duration,
    started: Instant,
    /// The receiver that is watched, in all of its lives, and one beside it.
    addr: SocketAddr,
    other: Receiver,
    other_dst: PathBuf,
    /// Held by whoever sends; the end of a minute waits until nobody does.
    busy: RwLock<()>,
    failed: AtomicBool,
    counts: Counts,
}

/// Has everybody stop when one of them fails.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Soak {
    fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.started.elapsed() >= self.lasts
    }

    fn story(&self, what: &str) -> String {
        format!("soak failed after {} s, seed {}: {what}", self.started.elapsed().as_secs(), self.seed)
    }

    /// Makes what is sent as the errand number `n` of a worker.
    fn errand(&self, worker: u64, n: u64, dice: &mut Dice) -> Errand {
        let name = format!("w{worker}-{n}");
        let path = self.scene.src.join(&name);
        let kind = [Kind::File, Kind::File, Kind::Tree, Kind::Stream][dice.below(4) as usize];
        let bytes = if kind == Kind::Tree {
            plant(&path, dice)
        } else {
            let size = random_size(dice);
            fs::write(&path, noise(dice.below(1 << 40), size as usize)).unwrap();
            size
        };
        let mut flags = Vec::new();
        match dice.below(4) {
            0 => flags.extend(["-c".into(), (1 + dice.below(16)).to_string()]),
            1 if kind != Kind::Stream => flags.push("--delta".into()),
            2 => flags.extend(["--limit".into(), format!("{}M", 20 + dice.below(200))]),
            _ => {}
        }
        if kind == Kind::Stream {
            flags.extend(["--name".into(), name]);
        }
        let who = SENDERS[worker as usize];
        // Standard input is read once, and goes to one.
        let to_both = dice.below(5) == 0 && kind != Kind::Stream;
        Errand { who, kind, path, flags, to_both, bytes }
    }

    /// Starts the command.
    fn start(&self, errand: &Errand) -> Process {
        let mut command = self.scene.lanx_as(errand.who);
        command.arg("send").args(&errand.flags);
        let stdin = if errand.kind == Kind::Stream {
            command.arg("-");
            Stdio::from(File::open(&errand.path).unwrap())
        } else {
            command.arg(&errand.path);
            Stdio::null()
        };
        command.arg("--to").arg(self.addr.to_string());
        if errand.to_both {
            command.arg("--to").arg(self.other.addr.to_string());
        }
        Process::spawn_fed(command, stdin)
    }

    /// Kills the command at a random moment, if it has not ended before.
    fn start_and_kill(&self, errand: &Errand, dice: &mut Dice) {
        let mut process = self.start(errand);
        let at = Instant::now() + Duration::from_millis(dice.below(600));
        while Instant::now() < at && process.is_running() {
            // Only how often it looks.
            thread::sleep(Duration::from_millis(1));
        }
        if process.is_running() {
            add(&self.counts.sender_kills, 1);
        }
        process.kill();
    }

    /// Calls the command until it succeeds, and compares what arrived.
    fn finish(&self, errand: &Errand, first_call: bool) {
        let mut first = first_call;
        for _ in 0..CALLS_MAX {
            let ended = self.start(errand).finish(LONG);
            match ended.code {
                Some(0) => break,
                // The receiver was killed and did not come back in time.
                Some(3) => {}
                // A stream has no size and no hash before its end, so what an earlier call has brought is in its way.
                Some(5) if errand.kind == Kind::Stream && !first => break,
                code => panic!(
                    "{}",
                    self.story(&format!("{} ended with {code:?}: {}", ended.command, ended.err()))
                ),
            }
            first = false;
        }
        let name = errand.path.file_name().unwrap();
        let both = [&self.scene.dst, &self.other_dst];
        for dst in &both[..1 + usize::from(errand.to_both)] {
            self.compare(&errand.path, &dst.join(name), errand.kind);
        }
        add(&self.counts.transfers, 1);
        add(&self.counts.bytes, errand.bytes);
    }

    fn compare(&self, original: &Path, copy: &Path, kind: Kind) {
        if original.is_dir() {
            let names = |dir: &Path| listing(dir);
            assert!(
                copy.is_dir() && names(original) == names(copy),
                "{}",
                self.story(&format!("{copy:?} is not {original:?}"))
            );
            for name in names(original) {
                self.compare(&original.join(&name), &copy.join(&name), kind);
            }
        }
        let same_bytes = original.is_dir() || fs::read(copy).is_ok_and(|bytes| bytes == read(original));
        assert!(same_bytes, "{}", self.story(&format!("{copy:?} is not {original:?}")));
        let facts = |path: &Path| {
            let facts = fs::metadata(path).unwrap();
            (facts.permissions(), facts.modified().unwrap())
        };
        let same_facts = kind == Kind::Stream || facts(original) == facts(copy);
        assert!(same_facts, "{}", self.story(&format!("{copy:?} has not the mode and time of {original:?}")));
    }

    /// Removes what arrived, here and there.
    fn clear(&self, errand: &Errand) {
        let name = errand.path.file_name().unwrap();
        for path in [errand.path.clone(), self.scene.dst.join(name), self.other_dst.join(name)] {
            match fs::metadata(&path) {
                Ok(facts) if facts.is_dir() => fs::remove_dir_all(path).unwrap(),
                Ok(_) => fs::remove_file(path).unwrap(),
                Err(_) => {}
            }
        }
    }

    /// Sends one thing after the other until the time is up, and then what was left unfinished.
    fn work(&self, worker: u64) {
        let _alarm = Alarm(&self.failed);
        let mut dice = Dice(self.seed ^ (worker + 1) << 32);
        let mut unfinished = Vec::new();
        let mut n = 0;
        while !self.is_over() {
            let _busy = self.busy.read().unwrap();
            let errand = self.errand(worker, n, &mut dice);
            n += 1;
            let kills = dice.below(5).saturating_sub(2);
            (0..kills).for_each(|_| self.start_and_kill(&errand, &mut dice));
            if kills > 0 && unfinished.len() < UNFINISHED_MAX && dice.below(3) == 0 {
                unfinished.push(errand);
                continue;
            }
            self.finish(&errand, kills == 0);
            if dice.below(6) == 0 && errand.kind != Kind::Stream {
                self.finish(&errand, false);
            }
            self.clear(&errand);
        }
        for errand in unfinished {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            self.finish(&errand, false);
            self.clear(&errand);
        }
    }

    /// Breaks the rules, one after the other, until the time is up.
    fn misbehave(&self) {
        let _alarm = Alarm(&self.failed);
        let mut dice = Dice(self.seed ^ 0xbad);
        while !self.is_over() {
            let busy = self.busy.read().unwrap();
            // The receiver hangs up in the middle, or is killed: either is as it should be.
            let _ = self.misdeed(&mut dice);
            drop(busy);
            add(&self.counts.misdeeds, 1);
            // Only how much of it there is.
            thread::sleep(Duration::from_millis(dice.below(400)));
        }
    }

    fn misdeed(&self, dice: &mut Dice) -> io::Result<()> {
        match dice.below(9) {
            // Something else than lanx.
            0 => drop(raw(None, self.addr, &noise(dice.below(99), dice.below(400) as usize))?),
            // Who says nothing after the preface.
            1 => drop(before_tls(None, self.addr)?),
            // Somebody unknown, who is asked for a code.
            2 => {
                let stranger = identity(&self.scene.path(STRANGER));
                HandSender::connect(None, &stranger, self.addr)?.hello(4)?;
            }
            misdeed => {
                let mut sender = self.let_in()?;
                self.break_a_rule(misdeed, &mut sender)?;
                // Some of what the receiver says about it: no more than it surely says, or this would wait for the rest.
                let answers = match misdeed {
                    3 | 7 => dice.below(20),
                    4 => 0,
                    _ => 1,
                };
                (0..answers).try_for_each(|_| sender.hear().map(drop))?;
            }
        }
        Ok(())
    }

    /// Somebody who may send.
    fn let_in(&self) -> io::Result<HandSender> {
        let mut sender = HandSender::connect(None, &identity(&self.scene.path("ann")), self.addr)?;
        match sender.hello(4)? {
            ReceiverMessage::Welcome { .. } => Ok(sender),
            answer => Err(io::Error::other(format!("{answer:?}"))),
        }
    }

    fn break_a_rule(&self, misdeed: u64, sender: &mut HandSender) -> io::Result<()> {
        let data = |sender: &HandSender| -> io::Result<_> {
            let (sealer, hello) = sender.data_keys(0);
            Ok((sealer, raw(None, self.addr, &hello)?))
        };
        let name = |n: u64| format!("hostile/{misdeed}-{n}");
        match misdeed {
            // Many offers, and nothing behind them.
            3 => sender.blurt(&(0..500).map(|n| offer(n, name(n), n)).collect::<Vec<_>>()),
            // One chunk of a large file, and away.
            4 => {
                sender.talk.say(&offer(0, name(0), 64 * CHUNK as u64))?;
                while sender.hear()? != (ReceiverMessage::Send { file: FileId(0) }) {}
                let (mut sealer, mut stream) = data(sender)?;
                stream.write_all(&chunk_frame(&mut sealer, 0, 7, &[7; CHUNK]))?;
            }
            // A chunk of a file that nobody offered.
            5 => {
                let (mut sealer, mut stream) = data(sender)?;
                stream.write_all(&chunk_frame(&mut sealer, 9, 0, &[7; CHUNK]))?;
            }
            // A hash that lies.
            6 => {
                sender.talk.say(&offer(0, name(0), 5))?;
                let (mut sealer, mut stream) = data(sender)?;
                stream.write_all(&whole_frame_with(&mut sealer, 0, &[9; 32], b"hello"))?;
            }
            // As much as an offer can weigh, again and again.
            7 => sender.blurt(&heavy_offers(0..2000, name)),
            // Half a frame, and a message that cannot be.
            _ => {
                let (mut sealer, mut stream) = data(sender)?;
                stream.write_all(&chunk_frame(&mut sealer, 0, 0, &[7; CHUNK])[..CHUNK / 2])?;
                sender.talk.say_bytes(&[0xff; 4])?;
            }
        }
        Ok(())
    }

    /// Begins another life of the receiver.
    fn bring_up(&self, dice: &mut Dice) -> Life {
        let command = self.scene.lanx_as(OWNER);
        let receiver = Receiver::start_as(command, &self.addr.to_string(), &[], &self.scene.dst);
        let at_start = holding(&receiver.process);
        // From a sixth to a third of the whole.
        let lasts = self.lasts.mul_f64(1.0 / 6.0 + dice.below(100) as f64 / 600.0);
        Life { receiver, at_start, warm: 0, minutes: 0, ends: Instant::now() + lasts }
    }

    /// Kills the receiver now and then, and looks at what it holds at the end of each minute, until the time is up.
    fn watch(&self, mut life: Life, dice: &mut Dice) -> Life {
        let _alarm = Alarm(&self.failed);
        let minute = Duration::from_secs(60).min(self.lasts / 4);
        let mut next = self.started + minute;
        while !self.is_over() {
            if Instant::now() >= life.ends {
                assert!(life.receiver.process.is_running(), "{}", self.story(&life.receiver.process.story()));
                life.receiver.process.kill();
                add(&self.counts.receiver_kills, 1);
                life = self.bring_up(dice);
            }
            if Instant::now() >= next {
                let _quiet = self.busy.write();
                self.inspect(&mut life);
                next = Instant::now() + minute;
            }
            // Only how often it looks.
            thread::sleep(Duration::from_millis(20));
        }
        life
    }

    /// Demands that a receiver to which nobody sends holds no more than at its start, and prints a line.
    fn inspect(&self, life: &mut Life) {
        let process = &life.receiver.process;
        let began = Instant::now();
        let now = loop {
            let now = holding(process);
            if now.descriptors <= life.at_start.descriptors && now.threads <= life.at_start.threads {
                break now;
            }
            if began.elapsed() > SETTLES_WITHIN {
                let (was, is) = (life.at_start, now);
                let what = format!(
                    "an idle receiver has {} descriptors and {} threads, not {} and {}: {}",
                    is.descriptors,
                    is.threads,
                    was.descriptors,
                    was.threads,
                    inside(process)
                );
                panic!("{}", self.story(&what));
            }
            // Only how often it looks.
            thread::sleep(Duration::from_millis(50));
        };
        let peak = process.memory_peak();
        self.report(now, peak);
        life.minutes += 1;
        if life.minutes <= MINUTES_TO_WARM_UP {
            life.warm = life.warm.max(now.memory);
        }
        let most = life.warm + MEMORY_SPREAD_BYTES;
        let grew =
            format!("the memory of an idle receiver grew from {} to {}", mib(life.warm), mib(now.memory));
        assert!(now.memory <= most, "{}", self.story(&grew));
        assert!(peak <= MEMORY_PEAK_BYTES, "{}", self.story(&format!("the receiver had {}", mib(peak))));
    }

    fn report(&self, now: Holding, peak: u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        eprintln!(
            "soak: {} of {} s, seed {}; {} transfers, {}; kills: {} of senders, {} of the receiver; {} hostile; \
             receiver: {} (at most {}), {} descriptors, {} threads",
            self.started.elapsed().as_secs(),
            self.lasts.as_secs(),
            self.seed,
            count(&self.counts.transfers),
            mib(count(&self.counts.bytes)),
            count(&self.counts.sender_kills),
            count(&self.counts.receiver_kills),
            count(&self.counts.misdeeds),
            mib(now.memory),
            mib(peak),
            now.descriptors,
            now.threads,
        );
    }

    /// Demands that what is left in DIR was left by those who broke the rules, and that `--clean` takes it away.
    fn expect_nothing_left(&self) {
        for dst in [&self.scene.dst, &self.other_dst] {
            let left = listing(dst);
            let honest = left.iter().find(|name| *name != OsStr::new("hostile"));
            assert!(honest.is_none(), "{}", self.story(&format!("{honest:?} was left in {dst:?}")));
        }
        let mut command = self.scene.lanx_as(OWNER);
        command.args(["recv", "--clean"]).arg(&self.scene.dst);
        Process::spawn(command).finish(PATIENCE).expect_code(0);
        let hostile = self.scene.dst.join("hostile");
        let parts = fs::read_dir(hostile).map_or(0, |entries| {
            let names = entries.map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().ends_with(".lanx-part")).count()
        });
        assert_eq!(parts, 0, "{}", self.story("part files that --clean does not remove"));
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// From nothing to many chunks; most are small.
fn random_size(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0 => 0,
        1..5 => dice.below(CHUNK as u64),
        5..8 => dice.below(4 << 20),
        _ => dice.below(48 << 20),
    }
}

/// A folder with folders and files, and how many bytes are in it.
fn plant(folder: &Path, dice: &mut Dice) -> u64 {
    let sizes = (0..1 + dice.below(200)).map(|n| {
        let within = folder.join(format!("{}/{}", n % 5, n % 3));
        fs::create_dir_all(&within).unwrap();
        let size = dice.below(if n % 20 == 0 { 3 * CHUNK as u64 } else { 20_000 });
        make_of(&within, format!("file-{n}"), &noise(dice.below(1 << 40), size as usize));
        size
    });
    sizes.sum()
}

fn holding(process: &Process) -> Holding {
    let count =
        |what: &str| fs::read_dir(format!("/proc/{}/{what}", process.id())).map_or(0, Iterator::count);
    Holding { memory: process.memory(), descriptors: count("fd"), threads: count("task") }
}

/// What the descriptors and threads of a process are, for the message of a failure.
fn inside(process: &Process) -> String {
    let entries =
        |what: &str| fs::read_dir(format!("/proc/{}/{what}", process.id())).into_iter().flatten().flatten();
    let files: Vec<_> = entries("fd").filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let threads: Vec<_> =
        entries("task").filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok()).collect();
    format!("{files:?}, {threads:?}")
}

#[test]
fn a_receiver_is_after_hours_of_everything_what_it_was_at_first() {
    let seed = seed();
    let seconds = std::env::var("LANX_SOAK_SECONDS").map_or(12, |text| text.parse().unwrap());
    let scene = Scene::new();
    scene.pair("ann", OWNER);
    let other_dst = scene.path("other");
    fs::create_dir(&other_dst).unwrap();
    let other = Receiver::start_as(scene.lanx_as(OWNER), "127.0.0.1:0", &[], &other_dst);
    // Its port is that of all of its lives.
    let addr = scene.receiver_of(OWNER, &[], None).addr;
    let soak = Soak {
        scene,
        seed,
        lasts: Duration::from_secs(seconds),
        started: Instant::now(),
        addr,
        other,
        other_dst,
        busy: RwLock::new(()),
        failed: AtomicBool::new(false),
        counts: Counts::default(),
    };
    let mut dice = Dice(seed);
    let first = soak.bring_up(&mut dice);
    let mut last = thread::scope(|scope| {
        scope.spawn(|| soak.misbehave());
        for worker in 0..SENDERS.len() as u64 {
            let soak = &soak;
            scope.spawn(move || soak.work(worker));
        }
        soak.watch(first, &mut dice)
    });
    soak.inspect(&mut last);
    last.receiver.process.signal(Signal::INT);
    last.receiver.process.finish(PATIENCE);
    soak.expect_nothing_left();
}
