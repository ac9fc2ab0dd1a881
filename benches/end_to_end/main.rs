//! lanx in turns with what bounds it and what people would use instead: real processes, real sockets, real
//! files.
//!
//!     cargo bench --bench end_to_end
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `BENCH_MIB` | size of the large file | 1024 |
//! | `BENCH_TURNS` | turns, of which medians are taken | 5 |
//! | `BENCH_DIRS` | where, separated by `:` | `/dev/shm` and the folder for temporary files |
//! | `BENCH_ONLY` | names of programs, separated by commas; lanx is always one | all that are found |
//! | `BENCH_WORKLOADS` | of `large,resume,tree,tiny,source,log` | the first four |
//! | `BENCH_JSON` | where the results go as JSON | `target/end_to_end.json` |
//! | `BENCH_LANX` | another lanx to take turns with, as `lanx (other)` | none |
//! | `BENCH_SENDER`, `BENCH_RECEIVER` | commands that run a command on the sender's and the receiver's host | none |
//! | `BENCH_HOST`, `BENCH_SENDER_HOST` | the receiver's address as the sender sees it, and the sender's as the receiver does | 127.0.0.1 |
//!
//! All programs take a turn before any takes the next, so that what else the machine does meets all of them.
//! Before each, as much memory as it will fill is touched and given back: on a virtual machine the first
//! touch of memory costs many times the second, and would be charged to whoever comes first. Each command
//! runs under a process of its own that notes its time, its CPU seconds and its peak memory, with all that it
//! started.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark may stop at the first surprise"
)]

mod contestants;
#[cfg(target_os = "linux")]
mod link;
mod measure;
mod parts;
mod programs;
mod report;
mod site;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contestants::{Contestant, Workload};
use site::Site;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--measure") => measure::child(&args[1..]),
        Some("--warm") => measure::warm(args[1].parse().unwrap()),
        Some("--parts-receive") => parts::receive(&args[1..]),
        #[cfg(target_os = "linux")]
        Some("--link") => link::run(&args[1..]),
        Some("--parts-send") => parts::send(&args[1..]),
        // `cargo test --benches` builds and runs this too; a benchmark is not a test.
        Some("--test" | "--list") => {}
        _ => return run(),
    }
    ExitCode::SUCCESS
}

fn run() -> ExitCode {
    // The files are removed when their site goes, which it would not when a signal ended us.
    let stopped = Arc::new(AtomicBool::new(false));
    measure::on_stop_signals(&stopped);
    let turns: usize = setting("BENCH_TURNS", "5").parse().expect("BENCH_TURNS is a number");
    let mib: u64 = setting("BENCH_MIB", "1024").parse().expect("BENCH_MIB is a number");
    let wanted = setting("BENCH_WORKLOADS", "large,resume,tree,tiny");
    let mut results = report::Results::new();
    for dir in setting("BENCH_DIRS", &default_dirs()).split(':') {
        for workload in Workload::ALL.into_iter().filter(|w| wanted.split(',').any(|name| name == w.name())) {
            let mut site = Site::new(dir.as_ref(), workload, mib);
            let contestants = contestants::found(workload, &setting("BENCH_ONLY", ""));
            let mut taking_part: Vec<_> = contestants.into_iter().map(|one| (one, Vec::new())).collect();
            for turn in 1..=turns {
                taking_part.retain_mut(|(contestant, runs)| {
                    if stopped.load(Ordering::Relaxed) {
                        return false;
                    }
                    let name = contestant.name;
                    eprint!("\r\x1b[K{dir} {}: turn {turn} of {turns}, {name}", workload.name());
                    match one(&mut site, contestant, &stopped) {
                        _ if stopped.load(Ordering::Relaxed) => {}
                        Ok(run) => runs.push(run),
                        Err(why) => eprintln!("\r\x1b[K{name} is left out: {why}"),
                    }
                    runs.len() == turn
                });
                if stopped.load(Ordering::Relaxed) {
                    eprintln!("\r\x1b[Kstopped");
                    return ExitCode::FAILURE;
                }
            }
            eprint!("\r\x1b[K");
            results.add(dir, &site, &taking_part);
        }
    }
    results.save(&setting("BENCH_JSON", concat!(env!("CARGO_MANIFEST_DIR"), "/target/end_to_end.json")));
    ExitCode::SUCCESS
}

/// One run of one program, with its result looked at.
fn one(site: &mut Site, contestant: &Contestant, stopped: &AtomicBool) -> Result<measure::Run, String> {
    site.begin(contestant.resumes);
    let run = measure::run(site, contestant, stopped)?;
    // Nobody is fast who does not do it.
    match !contestant.moves_files || site.arrived() {
        true => Ok(run),
        false => Err("what arrived is not what was sent".into()),
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn default_dirs() -> String {
    let temporary = std::env::temp_dir();
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() && !temporary.starts_with(memory) {
        true => format!("/dev/shm:{}", temporary.display()),
        false => temporary.display().to_string(),
    }
}
