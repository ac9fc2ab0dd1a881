//! A TCP relay between sender and receiver that does to their bytes what networks do, at a place chosen by byte count
//! and not by the clock.
//!
//! It tells connections apart by their preface, the first eight bytes of each, which are in the clear; what follows
//! is opaque to it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::{PATIENCE, wait_until};

/// What a connection is for, by its preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Control,
    Data,
}

/// Something done to the bytes that one connection carries towards the receiver.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// Which connection of its kind, counted from 0 in the order in which they came.
    pub nth: usize,
    /// Before (or at) which byte of it.
    pub at: u64,
    pub harm: Harm,
}

#[derive(Clone, Copy, Debug)]
pub enum Harm {
    /// Both directions end. What came after is lost.
    Cut,
    /// This bit of the byte is turned.
    Flip(u8),
}

pub struct Relay {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    target: SocketAddr,
    faults: Vec<Fault>,
    /// The byte of each data connection of which a bit is turned.
    flip_in_each: Option<u64>,
    met: [usize; 2],
    /// Bytes that data connections, all together, may still carry towards the receiver.
    allowance: u64,
    carried: u64,
    /// The next that a control connection carries towards the receiver cuts it.
    cut_control: bool,
    frozen: bool,
    closed: bool,
}

impl Relay {
    /// A relay to `target` that forwards everything until it is told otherwise.
    pub fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = State {
            target,
            faults: Vec::new(),
            flip_in_each: None,
            met: [0; 2],
            allowance: u64::MAX,
            carried: 0,
            cut_control: false,
            frozen: false,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.state.lock().unwrap().closed {
                    return;
                }
                let (shared, Ok(client)) = (accepting.clone(), client) else { continue };
                // A connection that fails here fails for both ends, which is what they are tested for.
                thread::spawn(move || drop(shared.carry(client)));
            }
        });
        Relay { addr, shared }
    }

    /// A relay that holds all data connections once they have carried `bytes` together.
    pub fn holding_after(target: SocketAddr, bytes: u64) -> Relay {
        let relay = Relay::to(target);
        relay.change(|state| state.allowance = bytes);
        relay
    }

    /// From now on holds all data connections once they have carried `bytes` more.
    pub fn hold_after(&self, bytes: u64) {
        self.change(|state| state.allowance = bytes);
    }

    /// From now on turns a bit of byte `at` of each data connection.
    pub fn flip_in_each_data_connection(&self, at: u64) {
        self.change(|state| state.flip_in_each = Some(at));
    }

    pub fn with_fault(target: SocketAddr, fault: Fault) -> Relay {
        let relay = Relay::to(target);
        relay.add_fault(fault);
        relay
    }

    pub fn add_fault(&self, fault: Fault) {
        self.change(|state| state.faults.push(fault));
    }

    /// From now on connections go to `target`: a receiver that was started again need not find its old port free.
    pub fn lead_to(&self, target: SocketAddr) {
        self.change(|state| state.target = target);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    /// Lets data connections carry `bytes` more.
    pub fn allow(&self, bytes: u64) {
        self.change(|state| state.allowance = state.allowance.saturating_add(bytes));
    }

    /// Lets data connections carry all there is.
    pub fn release(&self) {
        self.allow(u64::MAX);
    }

    /// Forwards nothing any more, in either direction, without closing anything: a pulled cable.
    pub fn freeze(&self) {
        self.change(|state| state.frozen = true);
    }

    /// The cable is in again.
    pub fn thaw(&self) {
        self.change(|state| state.frozen = false);
    }

    /// Cuts a control connection before the next that the sender says on it.
    pub fn cut_control(&self) {
        self.change(|state| state.cut_control = true);
    }

    /// Bytes that data connections have carried towards the receiver.
    pub fn carried(&self) -> u64 {
        self.shared.state.lock().unwrap().carried
    }

    /// Control connections that were met.
    pub fn control_connections(&self) -> usize {
        self.shared.state.lock().unwrap().met[Kind::Control as usize]
    }

    /// Data connections that were met.
    pub fn data_connections(&self) -> usize {
        self.shared.state.lock().unwrap().met[Kind::Data as usize]
    }

    /// Waits until data connections have carried all that they may.
    #[track_caller]
    pub fn wait_until_held(&self) {
        wait_until("the relay holds the data connections", PATIENCE, || {
            self.shared.state.lock().unwrap().allowance == 0
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.change(|state| state.closed = true);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn carry(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        let mut preface = [0; 8];
        client.read_exact(&mut preface)?;
        let kind = if preface[6] == 0 { Kind::Control } else { Kind::Data };
        let (nth, target) = {
            let mut state = self.state.lock().unwrap();
            let met = &mut state.met[kind as usize];
            *met += 1;
            (*met - 1, state.target)
        };
        let server = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let back = (server.try_clone()?, client.try_clone()?);
        let shared = self.clone();
        thread::spawn(move || shared.carry_back(back.0, back.1));
        let mut lane = Lane { shared: self, kind, nth, position: 0, client, server };
        if lane.forward(&mut preface)? {
            lane.carry_on()?;
        }
        Ok(())
    }

    /// From the receiver to the sender.
    fn carry_back(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = vec![0; 65_536];
        while let Ok(n @ 1..) = server.read(&mut buffer) {
            if !self.wait(|state| !state.frozen) || client.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        if self.wait(|state| !state.frozen) {
            let _ = client.shutdown(Shutdown::Write);
        }
    }

    /// Waits until `condition` holds; false where the relay was closed first.
    fn wait(&self, condition: impl Fn(&State) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| !state.closed && !condition(state)).unwrap();
        !state.closed
    }
}

/// One connection's way from the sender to the receiver.
struct Lane {
    shared: Arc<Shared>,
    kind: Kind,
    nth: usize,
    position: u64,
    client: TcpStream,
    server: TcpStream,
}

impl Lane {
    fn carry_on(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let n = self.client.read(&mut buffer)?;
            if n == 0 {
                if self.shared.wait(|state| !state.frozen) {
                    self.server.shutdown(Shutdown::Write)?;
                }
                return Ok(());
            }
            if !self.forward(&mut buffer[..n])? {
                return Ok(());
            }
        }
    }

    /// Forwards these bytes, or what the faults leave of them; false where the connection was cut.
    fn forward(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let (mut faults, flip_in_each, cut_now) = {
            let mut state = self.shared.state.lock().unwrap();
            let cut_now = self.kind == Kind::Control && std::mem::take(&mut state.cut_control);
            (state.faults.clone(), state.flip_in_each, cut_now)
        };
        let flip = |at| Fault { kind: Kind::Data, nth: self.nth, at, harm: Harm::Flip(0) };
        faults.extend(flip_in_each.map(flip));
        let here = self.position..self.position + bytes.len() as u64;
        let mut cut = cut_now.then_some(0);
        for fault in faults.iter().filter(|f| (f.kind, f.nth) == (self.kind, self.nth)) {
            let Some(at) = here.contains(&fault.at).then(|| (fault.at - here.start) as usize) else {
                continue;
            };
            match fault.harm {
                Harm::Cut => cut = Some(at),
                Harm::Flip(bit) => bytes[at] ^= 1 << bit,
            }
        }
        let whole = self.forward_as_allowed(&bytes[..cut.unwrap_or(bytes.len())])?;
        if cut.is_some() {
            self.client.shutdown(Shutdown::Both)?;
            self.server.shutdown(Shutdown::Both)?;
        }
        Ok(whole && cut.is_none())
    }

    fn forward_as_allowed(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            let data = self.kind == Kind::Data;
            if !self.shared.wait(|state| !state.frozen && (!data || state.allowance > 0)) {
                return Ok(false);
            }
            let mut n = bytes.len();
            if data {
                let mut state = self.shared.state.lock().unwrap();
                n = n.min(usize::try_from(state.allowance).unwrap_or(usize::MAX));
                if state.allowance != u64::MAX {
                    state.allowance -= n as u64;
                }
                state.carried += n as u64;
            }
            self.server.write_all(&bytes[..n])?;
            self.position += n as u64;
            bytes = &bytes[n..];
        }
        Ok(true)
    }
}
