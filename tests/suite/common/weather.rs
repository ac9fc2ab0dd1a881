//! Bad weather between sender and receiver: a relay that cuts, freezes, delays, throttles and damages connections at
//! random, by a seed that the test prints.
//!
//! [`super::Relay`] does one thing at one byte; this one does many, for as long as a transfer lasts.

#![allow(clippy::print_stderr, reason = "shown where a test fails")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, wait_until};

/// Random numbers that are the same for the same seed (SplitMix64 of Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// The seed of this run: that of `LANX_TEST_SEED`, so that a failure can be played again, or a new one. It is printed,
/// which a test that passes keeps to itself.
pub fn seed() -> u64 {
    let given = std::env::var("LANX_TEST_SEED").ok().map(|text| text.parse().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.as_nanos() as u64);
    eprintln!("LANX_TEST_SEED={seed}");
    seed
}

/// What happens to every connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forecast {
    pub seed: u64,
    /// How often one connection, whichever, is cut.
    pub cut_every: Option<Duration>,
    /// The longest that a piece is held back. Each connection has a delay of its own up to this, so that what was sent
    /// first over one comes after what was sent later over another.
    pub delay: Duration,
    /// How much one connection carries towards the receiver.
    pub bytes_per_second: Option<u64>,
    /// How much only the second data connection carries.
    pub second_bytes_per_second: Option<u64>,
    /// In how many bytes of data connections one bit is turned.
    pub flip_one_bit_in: Option<u64>,
}

/// The relay. Its connections end with it.
pub struct Weather {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped to end the thread that cuts.
    _cutter: mpsc::Sender<()>,
}

struct Shared {
    target: SocketAddr,
    forecast: Forecast,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    dice: Dice,
    live: Vec<Connection>,
    came: u64,
    cuts: usize,
    flips: usize,
    closed: bool,
}

struct Connection {
    number: u64,
    data: bool,
    frozen: bool,
    carried: u64,
    ends: [TcpStream; 2],
}

impl Connection {
    fn cut(&self) {
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Weather {
    pub fn over(target: SocketAddr, forecast: Forecast) -> Weather {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let state =
            State { dice: Dice(forecast.seed), live: Vec::new(), came: 0, cuts: 0, flips: 0, closed: false };
        let shared = Arc::new(Shared { target, forecast, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.state.lock().unwrap().closed {
                    return;
                }
                let (shared, Ok(client)) = (accepting.clone(), client) else { continue };
                thread::spawn(move || drop(shared.carry(client)));
            }
        });
        let (cutter, stop) = mpsc::channel();
        if let Some(pause) = forecast.cut_every {
            let shared = shared.clone();
            thread::spawn(move || {
                while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    shared.cut_one();
                }
            });
        }
        Weather { addr, shared, _cutter: cutter }
    }

    /// Connections that were cut.
    pub fn cuts(&self) -> usize {
        self.shared.state.lock().unwrap().cuts
    }

    /// Bits that were turned.
    pub fn flips(&self) -> usize {
        self.shared.state.lock().unwrap().flips
    }

    /// Lets nothing more through one data connection, without closing it, once it has carried `bytes`.
    #[track_caller]
    pub fn freeze_a_data_connection(&self, bytes: u64) {
        wait_until("a data connection carries something", PATIENCE, || {
            let mut state = self.shared.state.lock().unwrap();
            let busy = state.live.iter_mut().find(|live| live.data && live.carried >= bytes);
            busy.map(|live| live.frozen = true).is_some()
        });
    }
}

impl Drop for Weather {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.closed = true;
        state.live.iter().for_each(Connection::cut);
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

/// A piece of a connection, and when it may go on.
type Piece = (Instant, Vec<u8>);

impl Shared {
    fn cut_one(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.live.is_empty() {
            let which = state.live.len() as u64;
            let which = state.dice.below(which) as usize;
            state.live.swap_remove(which).cut();
            state.cuts += 1;
        }
    }

    fn carry(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        let mut preface = [0; 8];
        client.read_exact(&mut preface)?;
        let mut server = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        server.write_all(&preface)?;
        let data = preface[6] == 1;
        let ends = [client.try_clone()?, server.try_clone()?];
        let (number, delay) = {
            let mut state = self.state.lock().unwrap();
            let number = state.came;
            state.came += 1;
            let micros = state.dice.below(self.forecast.delay.as_micros() as u64 + 1);
            state.live.push(Connection { number, data, frozen: false, carried: 0, ends });
            (number, Duration::from_micros(micros))
        };
        let back = (self.clone(), server.try_clone()?, client.try_clone()?);
        let second = self.forecast.second_bytes_per_second.filter(|_| number == 2);
        let rate = second.or(self.forecast.bytes_per_second);
        thread::spawn(move || back.0.carry_one_way(number, delay, None, back.1, back.2));
        self.carry_one_way(number, delay, rate, client, server);
        let mut state = self.state.lock().unwrap();
        state.live.retain(|live| live.number != number);
        Ok(())
    }

    fn carry_one_way(
        self: &Arc<Self>,
        number: u64,
        delay: Duration,
        rate: Option<u64>,
        mut from: TcpStream,
        mut to: TcpStream,
    ) {
        let (pieces, due) = sync_channel::<Piece>(16);
        thread::spawn(move || read_pieces(&mut from, delay, &pieces));
        for (when, mut bytes) in due {
            // The delay of the path, and below its rate.
            thread::sleep(when.saturating_duration_since(Instant::now()));
            if !self.pass(number, &mut bytes) || to.write_all(&bytes).is_err() {
                break;
            }
            if let Some(rate) = rate {
                thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits while the connection is frozen, and damages what it carries; false once it was cut.
    fn pass(&self, number: u64, bytes: &mut [u8]) -> bool {
        let of = |live: &Connection| live.number == number;
        let is_frozen =
            |state: &mut State| !state.closed && state.live.iter().any(|live| of(live) && live.frozen);
        let mut state = self.changed.wait_while(self.state.lock().unwrap(), is_frozen).unwrap();
        let closed = state.closed;
        let Some(live) = state.live.iter_mut().find(|live| of(live)) else { return false };
        live.carried += bytes.len() as u64;
        let data = live.data;
        if let (Some(one_in), true) = (self.forecast.flip_one_bit_in, data)
            && state.dice.below(one_in) < bytes.len() as u64
        {
            let at = state.dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << state.dice.below(8);
            state.flips += 1;
        }
        !closed
    }
}

fn read_pieces(from: &mut TcpStream, delay: Duration, pieces: &SyncSender<Piece>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
            return;
        }
    }
}
