//! Who is served: connections, and what each of them may take.
//!
//! Threads of their own carry the connections, each with a runtime that nobody else uses; a connection stays
//! on the one that had the fewest when it came. How many there may be, from one address and in all, is
//! decided before a byte is read.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::guarded::Guarded;
use super::site::Site;
use crate::net::tcp::tune;
use crate::os::cpu::cores;
use crate::os::rlimit;
use crate::os::threads;
use crate::trust::guesses::network_of;

/// Connections at once. Idle ones take 20 KiB each.
const CONNECTIONS_MAX: usize = 2048;

/// Connections from one address, for IPv6 one /64: as many as a browser, or a download over many of them, for
/// a whole house behind one address.
const CONNECTIONS_PER_NETWORK_MAX: usize = 512;

/// Files that a connection has open at most: itself, the folder it looks into, and the file.
const DESCRIPTORS_PER_CONNECTION: u64 = 3;

/// How long the head of a request may take, from the moment that the connection waits for it: so it is also
/// how long an idle one stays.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the head of a request: enough for any path (4 KiB, three times as long when escaped) with cookies
/// and all.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a head. Browsers send some 20.
const FIELDS_MAX: usize = 64;

/// Silence of a peer after which the kernel gives a connection up.
const SILENCE: Duration = Duration::from_secs(30);

/// Threads that carry connections, at most: what moves bytes there is the kernel, so more save nothing.
const THREADS_MAX: usize = 16;

/// How long to wait where no connection can be accepted, as no more files may be open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the head of a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub bytes: usize,
    pub fields: usize,
    pub timeout: Duration,
}

/// What everybody's are bounded by.
const HEADS: Heads = Heads { bytes: HEAD_BYTES_MAX, fields: FIELDS_MAX, timeout: HEAD_TIMEOUT };

/// HTTP as it is spoken at every port.
pub(super) fn http(heads: Heads) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(heads.timeout)
        .max_buf_size(heads.bytes)
        .max_headers(heads.fields);
    http
}

/// What ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// No new connections and requests; those under way go on.
    Leaving,
}

/// A running server. Ends when it is dropped.
pub struct Server {
    threads: Vec<Carrier>,
    door: Arc<Door>,
    phase: watch::Sender<Phase>,
}

/// A thread that carries connections.
struct Carrier {
    to: mpsc::UnboundedSender<(TcpStream, Counted)>,
    carried: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// Counts connections, by where they come from.
#[derive(Debug)]
struct Door {
    most: usize,
    per_network: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
struct Counted {
    door: Arc<Door>,
    network: IpAddr,
    peer: IpAddr,
}

/// What a conversation has of the connection that it goes on over: it stays counted, and hears when all is to
/// end.
#[derive(Clone, Debug)]
pub(super) struct Held {
    _counted: Arc<Counted>,
    phase: watch::Receiver<Phase>,
}

impl Held {
    pub async fn leaving(&mut self) {
        let _ = self.phase.wait_for(|phase| *phase == Phase::Leaving).await;
    }
}

impl Door {
    fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Counted> {
        let network = network_of(peer);
        let mut open = self.open.lock();
        let all: usize = open.values().sum();
        let own = open.get(&network).copied().unwrap_or_default();
        if all >= self.most || own >= self.per_network {
            return None;
        }
        open.insert(network, own + 1);
        Some(Counted { door: self.clone(), network, peer: peer.to_canonical() })
    }

    fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.door.open.lock();
        match open.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.network)),
        }
    }
}

impl Server {
    /// Starts the threads. `tls` is how TLS is spoken, where it is.
    ///
    /// # Errors
    /// There can be no thread or no runtime.
    pub fn start(site: Arc<Site>, tls: Option<Arc<ServerConfig>>) -> io::Result<Server> {
        let (phase, watched) = watch::channel(Phase::Serving);
        let most = rlimit::at_most(CONNECTIONS_MAX, DESCRIPTORS_PER_CONNECTION);
        let per_network = CONNECTIONS_PER_NETWORK_MAX.min(most);
        let door = Arc::new(Door { most, per_network, open: Mutex::default() });
        let count = cores().min(THREADS_MAX);
        let threads = (0..count).map(|_| {
            let host =
                Host { site: site.clone(), tls: tls.clone().map(TlsAcceptor::from), phase: watched.clone() };
            Carrier::start(host)
        });
        Ok(Server { threads: threads.collect::<io::Result<_>>()?, door, phase })
    }

    /// Accepts connections at a listener, for ever.
    pub async fn accept(&self, listener: TcpListener, site: &Site) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!("a connection could not be accepted: {error}");
                    if rlimit::are_used_up(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            site.counters.connections.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.take_in(stream, peer, site) {
                tracing::debug!("the connection from {} was not taken: {error}", peer.ip());
            }
        }
    }

    fn take_in(&self, stream: tokio::net::TcpStream, peer: SocketAddr, site: &Site) -> io::Result<()> {
        let Some(counted) = self.door.enter(peer.ip()) else {
            site.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::other("there are too many"));
        };
        tune::control(&SockRef::from(&stream), SILENCE)?;
        let stream = stream.into_std()?;
        let idlest = self.threads.iter().min_by_key(|carrier| carrier.carried.load(Ordering::Relaxed));
        let carrier = idlest.ok_or_else(|| io::Error::other("there is no thread"))?;
        carrier.carried.fetch_add(1, Ordering::Relaxed);
        carrier.to.send((stream, counted)).map_err(|_| io::Error::other("a thread has ended"))
    }

    /// Has answers under way come to their end, and nothing else begin.
    pub fn leave(&self) {
        self.phase.send_replace(Phase::Leaving);
    }

    /// Whether no connection is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.door.is_empty()
    }

    /// Ends all that is left.
    pub fn end(self) {
        let Server { threads, .. } = self;
        for Carrier { to, thread, .. } in threads {
            drop(to);
            let _ = thread.join();
        }
    }
}

/// What a connection needs.
#[derive(Clone)]
struct Host {
    site: Arc<Site>,
    tls: Option<TlsAcceptor>,
    phase: watch::Receiver<Phase>,
}

impl Carrier {
    fn start(host: Host) -> io::Result<Carrier> {
        let (to, mut from) = mpsc::unbounded_channel::<(TcpStream, Counted)>();
        let carried = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let count = carried.clone();
        let carry = move || {
            runtime.block_on(async {
                while let Some((stream, counted)) = from.recv().await {
                    let (host, count) = (host.clone(), count.clone());
                    tokio::spawn(async move {
                        let peer = counted.peer;
                        host.site.counters.open.fetch_add(1, Ordering::Relaxed);
                        if let Err(error) = host.host(stream, peer, Arc::new(counted)).await {
                            tracing::debug!("the connection from {peer} ended: {error}");
                        }
                        host.site.counters.open.fetch_sub(1, Ordering::Relaxed);
                        count.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
            // Tasks that are left end with it.
            drop(runtime);
        };
        let thread = threads::named("web").spawn(carry)?;
        Ok(Carrier { to, carried, thread })
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Host {
    async fn host(&self, stream: TcpStream, peer: IpAddr, counted: Arc<Counted>) -> Result<(), Failed> {
        let stream = Guarded::new(tokio::net::TcpStream::from_std(stream)?);
        let held = Held { _counted: counted, phase: self.phase.clone() };
        match &self.tls {
            None => self.speak(stream, peer, held).await,
            Some(tls) => {
                let stream = timeout(TLS_TIMEOUT, tls.accept(stream)).await??;
                self.speak(stream, peer, held).await
            }
        }
    }

    async fn speak<S>(&self, stream: S, peer: IpAddr, held: Held) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let site = self.site.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let site = site.clone();
            request.extensions_mut().insert(held.clone());
            async move { Ok::<_, Infallible>(site.answer(peer, request).await) }
        });
        let connection = http(HEADS).serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut phase = self.phase.clone();
        let leaving = async move { phase.wait_for(|phase| *phase == Phase::Leaving).await.is_ok() };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = leaving => None,
        };
        match ended {
            Some(ended) => ended?,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_others_and_there_is_an_end() {
        let door = Arc::new(Door { most: 5, per_network: 3, open: Mutex::default() });
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let mut held: Vec<_> = (0..3).map(|_| door.enter(ip("10.0.0.1")).unwrap()).collect();
        assert!(door.enter(ip("10.0.0.1")).is_none());
        let one = door.enter(ip("fd00::1")).unwrap();
        let two = door.enter(ip("fd00::2")).unwrap();
        assert!(door.enter(ip("10.0.0.2")).is_none(), "all places are taken");
        held.pop();
        assert!(door.enter(ip("10.0.0.2")).is_some());
        drop((held, one, two));
        assert!(door.is_empty());
    }
}
