//! A network of its own: hosts that are network namespaces on one switch, which is a bridge in another one. Needs root and
//! iproute2. Nothing of it can be heard on the machine's real interfaces.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Scene;

/// Which addresses hosts have besides a link-local one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Both,
}

/// Gone, with all that runs there, when this is dropped.
pub struct Lan {
    switch: String,
    pub hosts: Vec<Host>,
}

/// One machine, and who works at it.
pub struct Host {
    name: &'static str,
    namespace: String,
    pub v4: String,
    pub v6: String,
}

impl Lan {
    /// Hosts of these names, which have the addresses 10.88.0.1, 10.88.0.2, ... and fd88::1, fd88::2, ...
    pub fn new(names: &[&'static str], family: Family) -> Lan {
        static LANS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("lanx-{}-{}", std::process::id(), LANS.fetch_add(1, Ordering::Relaxed));
        let switch = format!("{prefix}-s");
        ip(&format!("netns add {switch}"));
        let mut lan = Lan { switch, hosts: Vec::new() };
        lan.at_switch("link add sw type bridge mcast_snooping 0");
        lan.at_switch("link set sw up");
        for (number, name) in (1..).zip(names) {
            let namespace = format!("{prefix}-{number}");
            ip(&format!("netns add {namespace}"));
            lan.hosts.push(Host {
                name,
                namespace: namespace.clone(),
                v4: format!("10.88.0.{number}"),
                v6: format!("fd88::{number}"),
            });
            let host = &lan.hosts[number - 1];
            ip(&format!(
                "link add lan0 netns {namespace} type veth peer name port{number} netns {}",
                lan.switch
            ));
            lan.at_switch(&format!("link set port{number} master sw up"));
            host.ip("link set lo up");
            if family != Family::V6 {
                host.ip(&format!("addr add {}/24 dev lan0", host.v4));
            }
            if family != Family::V4 {
                host.ip(&format!("-6 addr add {}/64 dev lan0 nodad", host.v6));
            }
            host.ip("link set lan0 up");
        }
        lan
    }

    /// Has hosts take packets of `ends` bytes, and no more than `middle` get from the first host to the others or back: the switch is
    /// two, and the cable between them takes less. What is too large is dropped, and nobody hears of it.
    pub fn narrow(&self, ends: u32, middle: u32) {
        self.at_switch("link add name far type bridge mcast_snooping 0");
        self.at_switch("link add name cable0 type veth peer name cable1");
        for (cable, switch) in [("cable0", "sw"), ("cable1", "far")] {
            self.at_switch(&format!("link set dev {cable} mtu {middle} master {switch} up"));
        }
        self.at_switch("link set far up");
        for (number, host) in (1..).zip(&self.hosts) {
            let switch = if number == 1 { "sw" } else { "far" };
            self.at_switch(&format!("link set dev port{number} mtu {ends} master {switch}"));
            // Otherwise what leaves together counts as one packet, whatever it is made of.
            host.ip(&format!("link set dev lan0 mtu {ends} gso_max_segs 1"));
        }
    }

    fn at_switch(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.switch));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in self.hosts.iter().map(|host| &host.namespace).chain([&self.switch]) {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

impl Host {
    pub fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.namespace));
    }

    /// The program there, run by a user of that machine.
    pub fn lanx(&self, scene: &Scene) -> Command {
        let mut command = Command::new("ip");
        // What a machine is called belongs to a namespace of its own.
        let script = "echo \"$0\" >/proc/sys/kernel/hostname; exec \"$@\"";
        command.args(["netns", "exec", &self.namespace, "unshare", "--uts", "sh", "-c", script, self.name]);
        command.arg(env!("CARGO_BIN_EXE_lanx"));
        scene.isolate(&mut command);
        command.env("LANX_CONFIG_DIR", scene.path(&format!("config of {}", self.namespace)));
        command
    }

    /// Does something with sockets of that machine. Threads that are started there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        let there = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(there).join().unwrap())
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {said} (these tests need root)");
}
