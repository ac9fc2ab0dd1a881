//! What came out: tables for people, JSON for programs.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::contestants::{Contestant, Workload};
use crate::measure::Run;
use crate::site::Site;

pub struct Results {
    tables: Vec<Value>,
}

impl Results {
    pub fn new() -> Results {
        Results { tables: Vec::new() }
    }

    /// Prints a table, and keeps what it says.
    pub fn add(&mut self, dir: &str, site: &Site, took_part: &[(Contestant, Vec<Run>)]) {
        let Some((_, first)) = took_part.first() else { return };
        let gib = site.bytes as f64 / f64::from(1 << 30);
        let what = match site.workload {
            Workload::Large => format!("one file of {} MiB", site.bytes >> 20),
            Workload::Resume => format!("one file of {} MiB, of which 90 % are there", site.bytes >> 20),
            Workload::Tree => "10,000 files of 16 KiB in 100 folders".into(),
            Workload::Tiny => "one file of 1 KiB".into(),
            Workload::Source => format!("sources of crates, {} MiB", site.bytes >> 20),
            Workload::Log => format!("a log of {} MiB", site.bytes >> 20),
        };
        println!("\n{what}, {dir}, medians of {}\n", first.len());
        println!(
            "| program | wall s | of lanx | GB/s | CPU s | CPU s/GiB | MiB sender / receiver | encrypts | verifies |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let lanx = median(first, |run| run.seconds);
        let mut rows = Vec::new();
        for (contestant, runs) in took_part {
            let seconds = median(runs, |run| run.seconds);
            let cpu = median(runs, |run| run.cpu_seconds);
            let peak = |of: fn(&Run) -> f64| runs.iter().map(of).fold(0.0, f64::max);
            let (sender, receiver) = (peak(|run| run.sender_mib), peak(|run| run.receiver_mib));
            let rate = site.bytes as f64 / seconds / 1e9;
            let per_gib = if gib < 0.01 { "".into() } else { format!("{:.2}", cpu / gib) };
            let Contestant { encrypts, verifies, .. } = contestant;
            let name = contestant.name.replace('|', "\\|");
            println!(
                "| {name} | {seconds:.4} | {:.2} | {rate:.2} | {cpu:.3} | {per_gib} | {sender:.0} / {receiver:.0} | {encrypts} | {verifies} |",
                seconds / lanx
            );
            rows.push(json!({
                "program": contestant.name, "wall_seconds": seconds, "cpu_seconds": cpu, "bytes": site.bytes,
                "peak_mib_sender": sender, "peak_mib_receiver": receiver,
                "encrypts": encrypts, "verifies": verifies,
                "each_wall_seconds": runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
                "each_cpu_seconds": runs.iter().map(|run| run.cpu_seconds).collect::<Vec<_>>(),
            }));
        }
        self.tables.push(json!({ "workload": site.workload.name(), "dir": dir, "rows": rows }));
    }

    pub fn save(&self, path: &str) {
        let machine = |command: &str| {
            let output = Command::new("sh").arg("-c").arg(command).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        let all = json!({
            "date": machine("date -u +%FT%TZ"),
            "machine": {
                "kernel": machine("uname -srm"),
                "cpu": machine("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1"),
                "cpus": machine("nproc"),
                "congestion_control": machine("cat /proc/sys/net/ipv4/tcp_congestion_control"),
            },
            "tables": self.tables,
        });
        fs::write(path, format!("{all:#}\n")).expect("the results can be written");
        println!("\nThe same as JSON, with each run: {path}");
    }
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
    if odd { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}
