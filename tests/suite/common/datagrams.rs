//! A UDP relay between sender and receiver that does to their datagrams what networks and those who sit on them do.
//!
//! What is in them is opaque to it: it loses some, turns bits, repeats, keeps back, plays old ones again, and goes on from another
//! port, as an address translation does that has forgotten a flow.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::weather::Dice;

/// How often each happens to a datagram, in either direction, of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    pub lose: u64,
    pub flip: u64,
    pub repeat: u64,
    /// Comes behind the next few.
    pub keep_back: u64,
    /// An old one comes once more.
    pub replay: u64,
}

/// Gone when this is dropped.
pub struct Datagrams {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    here: UdpSocket,
    target: SocketAddr,
    state: Mutex<State>,
    /// Bytes that went towards the receiver.
    carried: AtomicU64,
    /// Bytes that may.
    allowance: AtomicU64,
    harmed: AtomicU64,
    frozen: AtomicBool,
    closed: AtomicBool,
}

struct State {
    mischief: Mischief,
    dice: Dice,
    /// From where what each sender says goes on.
    beyond: HashMap<SocketAddr, Arc<UdpSocket>>,
}

/// Datagrams that are remembered to be played again, and how many are kept back at once.
const REMEMBERED: usize = 64;
const KEPT_BACK: usize = 8;

/// Only how often a thread looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

impl Datagrams {
    pub fn to(target: SocketAddr) -> Datagrams {
        Datagrams::harmed(target, 0, Mischief::default())
    }

    pub fn harmed(target: SocketAddr, seed: u64, mischief: Mischief) -> Datagrams {
        let here = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        here.set_read_timeout(Some(LOOK)).unwrap();
        let addr = here.local_addr().unwrap();
        let state = Mutex::new(State { mischief, dice: Dice(seed), beyond: HashMap::new() });
        let shared = Shared {
            here,
            target,
            state,
            carried: AtomicU64::new(0),
            allowance: AtomicU64::new(u64::MAX),
            harmed: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        let there = shared.clone();
        thread::spawn(move || there.carry_there());
        Datagrams { addr, shared }
    }

    /// Bytes that went towards the receiver.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// How many datagrams met with something.
    pub fn harms(&self) -> u64 {
        self.shared.harmed.load(Ordering::Relaxed)
    }

    /// Carries so many bytes more towards the receiver, and loses what comes then.
    pub fn hold_after(&self, bytes: u64) {
        self.shared.allowance.store(self.carried() + bytes, Ordering::Relaxed);
    }

    pub fn release(&self) {
        self.shared.allowance.store(u64::MAX, Ordering::Relaxed);
    }

    /// Loses everything in both directions until it is told otherwise.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Goes on from other ports.
    pub fn rebind(&self) {
        self.shared.state.lock().unwrap().beyond.clear();
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn carry_there(self: &Arc<Self>) {
        let (mut buffer, mut passing) = (vec![0; 1 << 16], Passing::default());
        while !self.is_over() {
            let (len, from) = match self.here.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    continue;
                }
                // Of a sender that has gone.
                Err(_) => continue,
            };
            let beyond = self.beyond(from);
            for datagram in self.harm(&mut passing, buffer[..len].to_vec()) {
                let after = self.carried.load(Ordering::Relaxed) + datagram.len() as u64;
                if after <= self.allowance.load(Ordering::Relaxed) && !self.frozen.load(Ordering::Relaxed) {
                    self.carried.store(after, Ordering::Relaxed);
                    let _ = beyond.send(&datagram);
                }
            }
        }
    }

    /// The socket that stands for the sender at this address.
    fn beyond(self: &Arc<Self>, sender: SocketAddr) -> Arc<UdpSocket> {
        let mut state = self.state.lock().unwrap();
        let open = || {
            let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            socket.connect(self.target).unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            let (shared, back) = (self.clone(), socket.clone());
            thread::spawn(move || shared.carry_back(&back, sender));
            socket
        };
        state.beyond.entry(sender).or_insert_with(open).clone()
    }

    fn carry_back(&self, from: &UdpSocket, sender: SocketAddr) {
        let (mut buffer, mut passing) = (vec![0; 1 << 16], Passing::default());
        while !self.is_over() {
            let Ok(len) = from.recv(&mut buffer) else { continue };
            for datagram in self.harm(&mut passing, buffer[..len].to_vec()) {
                if !self.frozen.load(Ordering::Relaxed) {
                    let _ = self.here.send_to(&datagram, sender);
                }
            }
        }
    }

    /// What becomes of a datagram: none, itself, or several.
    fn harm(&self, passing: &mut Passing, mut datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let State { mischief, dice, .. } = &mut *state;
        let mut happens = |often: u64| {
            let happens = often > 0 && dice.below(1000) < often;
            self.harmed.fetch_add(happens.into(), Ordering::Relaxed);
            happens
        };
        let (lose, flip, repeat) = (happens(mischief.lose), happens(mischief.flip), happens(mischief.repeat));
        let (keep_back, replay) = (happens(mischief.keep_back), happens(mischief.replay));
        if mischief.replay > 0 {
            passing.old.truncate(REMEMBERED - 1);
            passing.old.push_front(datagram.clone());
        }
        let mut go = Vec::new();
        if flip && !datagram.is_empty() {
            let at = dice.below(datagram.len() as u64) as usize;
            datagram[at] ^= 1 << dice.below(8);
        }
        if keep_back {
            passing.kept_back.push(datagram);
        } else if !lose {
            go.push(datagram.clone());
            go.extend(repeat.then_some(datagram));
        }
        if passing.kept_back.len() >= KEPT_BACK || (!passing.kept_back.is_empty() && dice.below(4) == 0) {
            go.append(&mut passing.kept_back);
        }
        if replay {
            let which = dice.below(passing.old.len() as u64) as usize;
            go.push(passing.old[which].clone());
        }
        go
    }
}

/// What one direction has seen.
#[derive(Default)]
struct Passing {
    kept_back: Vec<Vec<u8>>,
    old: VecDeque<Vec<u8>>,
}
