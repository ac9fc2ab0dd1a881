//! One sender and several receivers.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::{Output, PATIENCE, Process, Receiver, Relay, Scene, events, wait_until};

/// Receivers in folders of their own.
pub struct Several {
    pub scene: Scene,
    pub receivers: Vec<Receiver>,
    /// Where the sender goes for each of them.
    hosts: Vec<SocketAddr>,
}

impl Several {
    pub fn of(flags: &[&[&str]]) -> Several {
        let scene = Scene::new();
        let start = |(n, flags): (usize, &&[&str])| {
            fs::create_dir_all(scene.path(&format!("dst-{n}"))).unwrap();
            Receiver::start(&scene, "127.0.0.1:0", flags, &scene.path(&format!("dst-{n}")))
        };
        let receivers: Vec<Receiver> = flags.iter().enumerate().map(start).collect();
        let hosts = receivers.iter().map(|receiver| receiver.addr).collect();
        Several { scene, receivers, hosts }
    }

    pub fn two() -> Several {
        Several::of(&[&[], &[]])
    }

    /// From now on receiver `n` is reached through a relay, which holds its data after so many bytes.
    pub fn hold(&mut self, n: usize, bytes: u64) -> Relay {
        let relay = Relay::holding_after(self.receivers[n].addr, bytes);
        self.hosts[n] = relay.addr;
        relay
    }

    pub fn dst(&self, n: usize) -> PathBuf {
        self.scene.path(&format!("dst-{n}"))
    }

    pub fn host(&self, n: usize) -> String {
        self.hosts[n].to_string()
    }

    /// Starts a sender to all receivers and to `others`.
    pub fn start(&self, flags: &[&str], paths: &[PathBuf], others: &[&str]) -> Process {
        let mut command = self.scene.lanx();
        command.arg("send").args(flags).args(paths);
        for n in 0..self.receivers.len() {
            command.args(["--to", &self.host(n)]);
        }
        for host in others {
            command.args(["--to", host]);
        }
        Process::spawn(command)
    }

    pub fn send(&self, flags: &[&str], paths: &[PathBuf]) -> Output {
        self.start(flags, paths, &[]).finish(PATIENCE)
    }

    /// How it ended for receiver `n`, once it has.
    pub fn end(&self, sender: &Process, n: usize) -> Option<Value> {
        ends_of(&sender.events(), &self.host(n)).pop()
    }

    #[track_caller]
    pub fn wait_for_end(&self, sender: &Process, n: usize) -> Value {
        wait_until(&format!("receiver {n} is done with"), PATIENCE, || self.end(sender, n).is_some());
        self.end(sender, n).unwrap()
    }
}

/// The events that end a transfer to `peer`.
pub fn ends_of(events: &[Value], peer: &str) -> Vec<Value> {
    let ends = events.iter().filter(|event| matches!(event["event"].as_str(), Some("done" | "error")));
    ends.filter(|event| event["peer"] == peer).cloned().collect()
}

/// The only end that `output` tells of `peer`.
#[track_caller]
pub fn end_of(output: &Output, peer: &str) -> Value {
    let ends = ends_of(&events(&output.stdout), peer);
    assert_eq!(ends.len(), 1, "{peer} in {output:?}");
    ends[0].clone()
}
