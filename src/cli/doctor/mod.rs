//! `lanx doctor`: how fast the parts are, what a transfer is to be expected to reach, and what to do about
//! it.

mod advice;
pub mod disk;
pub mod expect;

use std::ffi::OsString;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueHint;

use super::args::values::seconds;
use super::args::{examples, group};
use super::credentials::Introduction;
use super::error::Failure;
use super::exit::Exit;
use super::send::targets;
use super::signals;
use super::ui::events::{Event, Figure, Prospect, Whom};
use super::ui::out::Audience;
use super::ui::{events, screen};
use crate::client::probe::{
    Found, Loses, MeasureError, Measured, Packets, Trial, measure, probe_connections,
};
use crate::content::compress::Method;
use crate::limits::{DISK_TRIAL_BYTES_MAX, KERNEL_TIME, SILENCE_TIMEOUT, SILENCE_TIMEOUT_MIN};
use crate::name::Escaped;
use crate::net::Door;
use crate::net::address::Peer;
use crate::net::quic::endpoint::granted;
use crate::os::background::aside;
use crate::session::End;
use crate::session::cpu_speed::{Speeds, compression, speeds};
use crate::session::probe::Counted;
use crate::units;
use crate::wire::message::Wishes;
use crate::wire::seal::Cipher;
use advice::{Advice, Known, advise};
use disk::{DiskTrial, Moved, TrialError, try_disk};
use expect::{Expected, Figures};

/// Measure this machine and the network, and advise
///
/// Measures disk, hashing and encryption here and, with HOST, the network to it. Prints the transfer rate to
/// expect, what limits it, and what would make it faster.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::DOCTOR)]
pub struct DoctorArgs {
    /// A machine that runs `lanx recv`; nothing is stored there
    #[arg(value_name = "HOST[:PORT]", value_hint = ValueHint::Hostname)]
    host: Option<OsString>,
    /// Measure the disk of this folder
    ///
    /// With an unnamed temporary file of at most 537 MB.
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = group::MEASURED, value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Read the receiver's code from the first line of FILE
    ///
    /// Without it the code comes from LANX_CODE, or is asked for on a terminal.
    #[arg(long, value_name = "FILE", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    code_file: Option<PathBuf>,
    /// Give up on HOST when silent this long
    ///
    /// From 5 to 86400 seconds.
    #[arg(long, value_name = "SECONDS", help_heading = group::PATIENCE, default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = seconds(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    timeout: u64,
    /// Measure over QUIC (UDP)
    ///
    /// HOST has to run `lanx recv --quic`.
    #[arg(long, help_heading = group::MEASURED)]
    quic: bool,
    /// Print one JSON object per line, for scripts
    ///
    /// `lanx help json` describes them.
    #[arg(long, help_heading = group::OUTPUT)]
    pub json: bool,
}

impl DoctorArgs {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

pub fn run(args: &DoctorArgs, audience: Audience) -> Result<Exit, Failure> {
    let mut peer =
        args.host.as_ref().map(|host| targets::peer(host.as_os_str(), "doctor takes a host")).transpose()?;
    screen::start();
    let runtime = signals::runtime()?;
    let result = runtime.block_on(async {
        if let Some(peer) = &mut peer {
            targets::find(slice::from_mut(peer)).await?;
        }
        examine(args, peer.as_ref(), audience).await
    });
    signals::leave(runtime);
    match peer {
        Some(peer) => result.map_err(|failure| failure.about(peer)),
        None => result,
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, anyhow!("interrupted; run it again to measure"))
}

async fn examine(args: &DoctorArgs, peer: Option<&Peer>, audience: Audience) -> Result<Exit, Failure> {
    let stop = signals::interrupted(audience);
    tokio::pin!(stop);
    let report = Report { peer: peer.map(ToString::to_string), audience };
    let mut known = Known::default();
    let mut cipher = Cipher::preferred();
    // First, as it may fail at once.
    if let Some(peer) = peer {
        let wishes = Wishes { measure: true, ..Wishes::default() };
        let mut introduction = Introduction::new(
            args.code_file.as_deref(),
            args.timeout(),
            Duration::ZERO,
            wishes,
            Door::over(args.quic),
        )?;
        let link = tokio::select! {
            link = introduction.enter(peer, probe_connections(), audience) => link?,
            () = &mut stop => return Err(interrupted()),
        };
        cipher = link.cipher();
        let round_trip = link.round_trip;
        report.line(format_args!("network to {peer}, from memory to memory, sealed"));
        let measured = measure(link, args.timeout(), |found| report.found(found), stop.as_mut()).await;
        let measured = measured.map_err(failed)?;
        report.network(&measured);
        if let (true, Ok(granted)) = (args.quic, granted()) {
            report.line(format_args!("{granted}"));
        }
        known.figures.network = measured.trials.iter().map(rate_of).collect();
        known.figures.there = measured.there;
        known.figures.same_machine = measured.path.same_machine;
        known.packets = measured.packets;
        known.way = Some((measured.path, round_trip));
    }
    if screen::can_draw() {
        let (dir, most) = (Escaped::path(&args.dir), units::bytes(DISK_TRIAL_BYTES_MAX));
        audience.note(format_args!(
            "measuring the disk of {dir} with a file of at most {most}, of which nothing stays (--dir DIR takes another disk)"
        ));
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let (dir, asked) = (args.dir.clone(), stopped.clone());
    let work = aside(move || own(dir, cipher, &asked));
    let own = tokio::select! {
        own = work => own.map_err(|error| Failure::new(Exit::Other, error))??,
        () = stop => {
            stopped.store(true, Ordering::Relaxed);
            return Err(interrupted());
        }
    };
    let Some(Own { disk, here, compression }) = own else { return Err(interrupted()) };
    report.own(&args.dir, cipher, &disk, here);
    report.compression(compression, here.cores);
    known.in_memory = disk.in_memory;
    let rate = |moved: Moved| Some(units::per_second(moved.bytes, moved.time));
    known.figures = Figures {
        disk_write: rate(disk.write),
        disk_read: rate(disk.read),
        here: Some(here),
        ..known.figures
    };
    report.conclude(&known);
    Ok(Exit::Success)
}

fn failed(error: MeasureError) -> Failure {
    let MeasureError::Ended { end, .. } = &error;
    match end {
        End::Stopped => interrupted(),
        end => Failure::new(Exit::of_broken(end).unwrap_or(Exit::Other), error),
    }
}

fn rate_of(trial: &Trial) -> (u8, f64) {
    let Counted { bytes, time } = trial.counted;
    (trial.connections, units::per_second(bytes, time))
}

/// What this machine does by itself.
struct Own {
    disk: DiskTrial,
    here: Speeds,
    compression: [(Method, u64); 3],
}

fn own(dir: PathBuf, cipher: Cipher, stopped: &AtomicBool) -> Result<Option<Own>, Failure> {
    let here = speeds(cipher, KERNEL_TIME).map_err(|error| Failure::new(Exit::Other, error))?;
    let compression = compression(KERNEL_TIME);
    let disk = try_disk(&dir, || stopped.load(Ordering::Relaxed));
    let disk = disk.map_err(|error| match error {
        TrialError::NoFolder { .. } => Failure::new(Exit::Usage, error),
        error => Failure::new(Exit::Other, error),
    })?;
    Ok(disk.map(|disk| Own { disk, here, compression }))
}

/// Tells what was found, as it is found.
struct Report {
    peer: Option<String>,
    audience: Audience,
}

impl Report {
    fn line(&self, text: impl std::fmt::Display) {
        self.audience.line(text);
    }

    fn row(&self, what: &str, rate: f64, of: impl std::fmt::Display) {
        let (bytes, bits) = (units::rate_of(rate), units::bit_rate_of(rate));
        self.line(format_args!("  {what:<14} {bytes:>10}  {bits:>12}  {of}").to_string().trim_end());
    }

    fn event(&self, of_peer: bool, figure: Figure) {
        if self.audience.json {
            events::write(&Event::Measured { whom: self.whom(of_peer), figure });
        }
    }

    fn whom(&self, of_peer: bool) -> Whom<'_> {
        Whom { session: None, peer: self.peer.as_deref().filter(|_| of_peer) }
    }

    fn found(&self, found: &Found) {
        match found {
            Found::Packets(packets) => self.packets(packets),
            Found::Trial(trial) => self.trial(trial),
        }
    }

    fn packets(&self, Packets { largest, loses }: &Packets) {
        let which = match loses {
            None => "get there and back",
            Some(Loses::There) => "get there, larger ones are lost on the way",
            Some(Loses::Back) => "get there; large ones that come back are lost",
        };
        self.line(format_args!("  packets        {largest:>6} bytes  {which}"));
    }

    fn trial(&self, trial: &Trial) {
        let (connections, rate) = rate_of(trial);
        self.row(&units::count(connections.into(), "connection"), rate, "");
        let Counted { bytes, time } = trial.counted;
        self.event(true, Figure { connections: Some(connections), ..Figure::moved("network", bytes, time) });
    }

    /// What there is to say once all connections were tried.
    fn network(&self, measured: &Measured) {
        let Measured { trials, there, share, .. } = measured;
        let most = probe_connections().most;
        if trials.is_empty() {
            self.line("  too slow to be measured in 5 s");
        } else if *share < most {
            let connections = units::count((*share).into(), "connection");
            self.line(format_args!("  no more: it allows {connections} now, as it serves others, too"));
        }
        if let (Some(Speeds { hash, seal, cores }), Some(peer)) = (there, &self.peer) {
            self.line(format_args!("{peer}, of its own: {}", units::count((*cores).into(), "core")));
            self.row("hash", *hash as f64, "a core");
            self.row("seal", *seal as f64, "a core");
            self.event(true, Figure::of_core("hash", *hash, *cores));
            self.event(true, Figure::of_core("seal", *seal, *cores));
        }
    }

    fn own(&self, dir: &std::path::Path, cipher: Cipher, disk: &DiskTrial, here: Speeds) {
        let Speeds { hash, seal, cores } = here;
        self.line(format_args!("this machine: {}", units::count(cores.into(), "core")));
        let place = if disk.in_memory { ", in memory" } else { "" };
        let cipher = match cipher {
            Cipher::Aes256Gcm => "AES-256-GCM",
            Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        };
        for (what, name, moved) in
            [("disk, write", "disk_write", disk.write), ("disk, read", "disk_read", disk.read)]
        {
            let of = format!("{} in {}{place}", units::bytes(moved.bytes), Escaped::path(dir));
            self.row(what, units::per_second(moved.bytes, moved.time), of);
            let figure = Figure::moved(name, moved.bytes, moved.time);
            self.event(false, Figure { in_memory: Some(disk.in_memory), ..figure });
        }
        self.row("hash", hash as f64, "a core, BLAKE3");
        self.row("seal", seal as f64, format_args!("a core, {cipher}"));
        self.event(false, Figure::of_core("hash", hash, cores));
        self.event(false, Figure::of_core("seal", seal, cores));
    }

    fn compression(&self, rates: [(Method, u64); 3], cores: u32) {
        let names = ["compress_lz4", "compress_zstd_1", "compress_zstd_3"];
        for ((method, rate), name) in rates.into_iter().zip(names) {
            self.row(&method.to_string(), rate as f64, "a core, text of a log");
            self.event(false, Figure::of_core(name, rate, cores));
        }
    }

    fn conclude(&self, known: &Known) {
        let sending = known.figures.sending();
        let receiving = known.figures.receiving().filter(|_| self.peer.is_none());
        match &self.peer {
            Some(peer) => {
                self.expect(&format!("to {peer}"), sending);
                self.line(format_args!(
                    "the disk of {peer} was not measured; run `lanx doctor` there, in the folder that receives"
                ));
            }
            None => {
                self.expect("from here, if the network and the other machine keep up", sending);
                self.expect("to here, if they do", receiving);
            }
        }
        let advice = advise(known);
        if advice.is_empty() {
            self.line("nothing to improve was found");
        }
        advice.iter().for_each(|advice| self.advice(advice));
        if self.audience.json {
            let prospect = |expected: Expected| Prospect::new(expected.rate, expected.limit.name());
            events::write(&Event::Examined {
                whom: self.whom(true),
                sending: sending.map(prospect),
                receiving: receiving.map(prospect),
                code: Exit::Success.code(),
            });
        }
    }

    fn expect(&self, which: &str, expected: Option<Expected>) {
        let Some(Expected { rate, limit }) = expected else { return };
        let (bytes, bits) = (units::rate_of(rate), units::bit_rate_of(rate));
        self.line(format_args!("expected {which}: at most {bytes} ({bits}), limited by {limit}"));
    }

    fn advice(&self, advice: &Advice) {
        let Advice { topic, text, commands } = advice;
        self.line(format_args!("advice: {text}"));
        commands.iter().for_each(|command| self.line(format_args!("    {command}")));
        if self.audience.json {
            events::write(&Event::Advice { whom: self.whom(true), topic, text, commands });
        }
    }
}
