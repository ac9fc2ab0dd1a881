//! A link with delay and loss between two network namespaces, for kernels without netem: a TUN device at each
//! end, and this program between them.
//!
//!     end_to_end --link NAMESPACE NAMESPACE MBIT ROUND_TRIP_MS LOSS_PERCENT
//!
//! It says `ready` when the devices `lan0` are there, without addresses, and ends when its standard input
//! does; the devices go with it. It takes CPU time on the machine that it serves: at 1 Gbit/s about half a
//! core.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

const MTU: u16 = 1500;
/// What Ethernet puts before each packet. netem and tbf count it too.
const ETHERNET_BYTES: usize = 14;
/// How long the queue before the line may get, in its time. What finds it longer is dropped.
const QUEUE: Duration = Duration::from_millis(50);
/// Packets under way in one direction: 10 Gbit/s for the queue and 50 ms more, or less memory than 200 MiB.
const PACKETS_MAX: usize = 1 << 17;
/// Packets that a device keeps while we are not scheduled. The usual 500 are 6 ms at 1 Gbit/s.
const DEVICE_PACKETS: u32 = 10_000;

/// A packet, and when it is at the other end.
type UnderWay = (Instant, Vec<u8>);

/// One direction of the link.
struct Line {
    bits_per_second: f64,
    delay: Duration,
    /// Of a packet, between 0 and 1.
    loss: f64,
    random: fastrand::Rng,
    /// When all that was accepted will have left.
    free_at: Instant,
}

impl Line {
    /// When a packet that comes now is at the other end; `None` if it never is.
    fn carry(&mut self, now: Instant, packet_bytes: usize) -> Option<Instant> {
        let begins = self.free_at.max(now);
        if self.random.f64() < self.loss || begins - now > QUEUE {
            return None;
        }
        let bits = 8 * (packet_bytes + ETHERNET_BYTES);
        self.free_at = begins + Duration::from_secs_f64(bits as f64 / self.bits_per_second);
        Some(self.free_at + self.delay)
    }
}

pub fn run(args: &[String]) {
    let [one, other, mbit, round_trip_ms, loss_percent] = args else {
        panic!("--link NAMESPACE NAMESPACE MBIT ROUND_TRIP_MS LOSS_PERCENT")
    };
    let number = |text: &String| text.parse::<f64>().expect("a number");
    // Seeded, so that the same packets are lost each time, were they sent in the same order.
    let line = |seed| Line {
        bits_per_second: number(mbit) * 1e6,
        delay: Duration::from_secs_f64(number(round_trip_ms) / 2e3),
        loss: number(loss_percent) / 100.0,
        random: fastrand::Rng::with_seed(seed),
        free_at: Instant::now(),
    };
    let (one, other) = (Arc::new(device_in(one)), Arc::new(device_in(other)));
    start(line(1), one.clone(), other.clone());
    start(line(2), other, one);
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The device `lan0` in that namespace, which only a thread that is there can make. It is used from any.
fn device_in(namespace: &str) -> SyncDevice {
    let path = format!("/var/run/netns/{namespace}");
    let made = thread::spawn(move || {
        let namespace = File::open(path).expect("the namespace");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root's rights");
        DeviceBuilder::new()
            .name("lan0")
            .mtu(MTU)
            .with(|linux| _ = linux.tx_queue_len(DEVICE_PACKETS))
            .build_sync()
    });
    made.join().expect("no panic").expect("a TUN device")
}

fn start(line: Line, from: Arc<SyncDevice>, to: Arc<SyncDevice>) {
    let (queue, under_way) = bounded(PACKETS_MAX);
    thread::spawn(move || accept(line, &from, &queue));
    thread::spawn(move || deliver(&to, &under_way));
}

fn accept(mut line: Line, from: &SyncDevice, queue: &Sender<UnderWay>) {
    let mut buffer = [0; MTU as usize];
    while let Ok(length) = from.recv(&mut buffer) {
        if let Some(due) = line.carry(Instant::now(), length) {
            // A full queue is tail drop too.
            let _ = queue.try_send((due, buffer[..length].to_vec()));
        }
    }
}

fn deliver(to: &SyncDevice, under_way: &Receiver<UnderWay>) {
    for (due, packet) in under_way {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A device that is down takes nothing, like a cable that is not plugged in.
        let _ = to.send(&packet);
    }
}
