//! A receiver or a web server that tells the network where it is.

use std::mem::replace;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, Error, IfKind, Receiver, RecvTimeoutError, ServiceDaemon, ServiceInfo};
use parking_lot::{Condvar, Mutex};

use super::record::plain_name;
use super::service::{Kind, TXT_KEY, TXT_QUIC, TXT_SCHEME, TXT_VERSION, daemon, overgrown, stop};
use crate::limits::{HEARD_LOOK, OVERGROWN_PAUSE_FIRST, OVERGROWN_PAUSE_MAX, WITHDRAW_PATIENCE};
use crate::os::threads;
use crate::trust::fingerprint::Fingerprint;
use crate::wire::VERSION;

/// Names under which a receiver tells that it is announced. Somebody who claims each of them makes it take
/// another one.
const NAMES_TOLD_MAX: usize = 4;

/// How long an announcement may take to be heard of before it counts as failed. It takes a second: three
/// probes 250 ms apart (RFC 6762, section 8.1).
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(5);

/// How often, in seconds, an announcement looks for interfaces that have come or gone: each look wakes an
/// idle receiver, and a laptop that wakes up should be found soon.
const ANNOUNCE_LOOK_SECONDS: u32 = 10;

/// What to announce.
pub struct Announce {
    /// What this machine calls itself. Where somebody else has that name, a number is put behind it.
    pub name: String,
    /// Where it listens: where that is one address, only that is announced, and only on its network.
    pub bound: SocketAddr,
    /// Where it listens on all IPv6 addresses: whether it does so on all of IPv4 as well.
    pub ipv4_too: bool,
    pub what: What,
}

/// What listens there.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Receiver {
        key: Fingerprint,
        /// Whether senders may come over QUIC as well, at the same port.
        quic: bool,
    },
    Web {
        /// Whether it is asked over TLS.
        secure: bool,
    },
}

impl What {
    fn kind(self) -> Kind {
        match self {
            What::Receiver { .. } => Kind::Receiver,
            What::Web { .. } => Kind::Web,
        }
    }

    fn txt(self) -> Vec<(&'static str, String)> {
        match self {
            What::Web { secure } => vec![(TXT_SCHEME, if secure { "https" } else { "http" }.to_owned())],
            What::Receiver { key, quic } => {
                let mut txt = vec![(TXT_VERSION, VERSION.to_string()), (TXT_KEY, key.to_string())];
                txt.extend(quic.then(|| (TXT_QUIC, "1".to_owned())));
                txt
            }
        }
    }
}

/// What came of an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is announced under this name.
    As(String),
    /// Nothing could be announced so far: there may be no network, or none with multicast.
    Nowhere,
}

/// Stands until it is dropped, which says goodbye.
pub struct Announcement {
    current: Arc<Current>,
}

/// The daemon that announces now; none before the first, between two and after the end.
#[derive(Default)]
struct Current {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    daemon: Option<ServiceDaemon>,
    over: bool,
}

impl Announcement {
    /// Begins to announce, on a thread of its own: the caller waits for nothing. `told` hears there what
    /// comes of it: each name once, and no more than `NAMES_TOLD_MAX`. Where nothing can be announced, that
    /// is not the caller's concern: whoever knows the address can send all the same.
    pub fn start(announce: Announce, told: impl FnMut(News) + Send + 'static) -> Announcement {
        let current = Arc::<Current>::default();
        let mut teller = Teller { told, names: Vec::new(), service: announce.what.kind().service() };
        let (shared, builder) = (current.clone(), threads::worker("announce"));
        let run = move || keep(&shared, OVERGROWN_PAUSE_FIRST, || teller.announce(&announce, &shared));
        if let Err(error) = builder.spawn(run) {
            tracing::info!("this machine is not announced: {error}");
        }
        Announcement { current }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.current.state.lock().over = true;
        self.current.ended.notify_all();
        self.current.withdraw();
    }
}

impl Current {
    /// Takes the daemon that announces from now on. Once all is over it is ended at once.
    fn set(&self, daemon: ServiceDaemon) {
        let mut state = self.state.lock();
        if state.over {
            drop(stop(&daemon));
        } else {
            state.daemon = Some(daemon);
        }
    }

    /// Says goodbye.
    fn withdraw(&self) {
        let daemon = self.state.lock().daemon.take();
        if let Some(stopped) = daemon.and_then(|daemon| stop(&daemon)) {
            let _ = stopped.recv_timeout(WITHDRAW_PATIENCE);
        }
    }

    /// Waits. `false` once all is over.
    fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        self.ended.wait_while_for(&mut state, |state| !state.over, time);
        !state.over
    }

    fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Whether the daemon has heard too much, or is gone. One that has no time to tell hears plenty.
    fn is_overgrown(&self) -> bool {
        let asked = match &self.state.lock().daemon {
            Some(daemon) => daemon.get_metrics(),
            None => return false,
        };
        let counts = asked.ok().and_then(|counts| counts.recv_timeout(HEARD_LOOK).ok());
        counts.is_none_or(|counts| overgrown(&counts))
    }
}

/// Why nothing is announced any more, or not at all.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("too much is said on the network")]
    Overgrown,
    #[error("the mDNS thread has ended")]
    Gone,
    #[error("{0}")]
    Failed(#[from] Error),
}

/// Announces until all is over: whenever that has ended, it begins anew after a pause, of which the first is
/// given.
fn keep(current: &Current, first: Duration, mut announce: impl FnMut() -> Ended) {
    let mut pause = first;
    let mut warned = false;
    loop {
        let begun = Instant::now();
        let why = announce();
        if current.is_over() {
            return;
        }
        if begun.elapsed() > OVERGROWN_PAUSE_MAX {
            pause = first;
        }
        let text = format!("{why}, so this machine is not announced for {} s", pause.as_secs());
        if replace(&mut warned, true) {
            tracing::info!("{text}");
        } else {
            tracing::warn!("{text}");
        }
        if !current.pause(pause) {
            return;
        }
        pause = (2 * pause).min(OVERGROWN_PAUSE_MAX);
    }
}

fn begin(announce: &Announce) -> Result<(ServiceDaemon, Receiver<DaemonEvent>), Error> {
    let daemon = daemon()?;
    let begin = || {
        let ip = announce.bound.ip().to_canonical();
        if !ip.is_unspecified() {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Addr(ip))?;
        }
        daemon.set_ip_check_interval(ANNOUNCE_LOOK_SECONDS)?;
        let events = daemon.monitor()?;
        daemon.register(service(announce)?)?;
        Ok(events)
    };
    let events = begin().inspect_err(|_| drop(stop(&daemon)))?;
    Ok((daemon, events))
}

fn service(announce: &Announce) -> Result<ServiceInfo, Error> {
    let (service, txt) = (announce.what.kind().service(), announce.what.txt());
    // Not the machine's own name, which its own mDNS responder looks after.
    let target = format!("lanx-{:016x}.local.", getrandom::u64().unwrap_or_default());
    let name = plain_name(&announce.name);
    let (ip, port) = (announce.bound.ip().to_canonical(), announce.bound.port());
    if !ip.is_unspecified() {
        return ServiceInfo::new(service, &name, &target, ip, port, &txt[..]);
    }
    let mut service = ServiceInfo::new(service, &name, &target, "", port, &txt[..])?.enable_addr_auto();
    match announce.bound {
        SocketAddr::V4(_) => service.set_interfaces(vec![IfKind::IPv4]),
        SocketAddr::V6(_) if !announce.ipv4_too => service.set_interfaces(vec![IfKind::IPv6]),
        SocketAddr::V6(_) => {}
    }
    Ok(service)
}

/// Tells what comes of an announcement, whichever daemon it is.
struct Teller<T> {
    told: T,
    names: Vec<String>,
    service: &'static str,
}

impl<T: FnMut(News)> Teller<T> {
    /// Announces with a daemon of its own until that has ended or has to be replaced.
    fn announce(&mut self, announce: &Announce, current: &Current) -> Ended {
        let (daemon, events) = match begin(announce) {
            Ok(begun) => begun,
            Err(error) => return error.into(),
        };
        current.set(daemon);
        let why = self.follow(&events, current);
        current.withdraw();
        why
    }

    fn follow(&mut self, events: &Receiver<DaemonEvent>, current: &Current) -> Ended {
        let begun = Instant::now();
        let mut look_at = begun + HEARD_LOOK;
        let mut patient = self.names.is_empty();
        loop {
            match events.recv_deadline(look_at) {
                Ok(event) => self.tell(event),
                Err(RecvTimeoutError::Disconnected) => return Ended::Gone,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() < look_at {
                continue;
            }
            look_at = Instant::now() + HEARD_LOOK;
            if current.is_overgrown() {
                return Ended::Overgrown;
            }
            if patient && begun.elapsed() >= ANNOUNCE_PATIENCE {
                patient = false;
                if self.names.is_empty() {
                    (self.told)(News::Nowhere);
                }
            }
        }
    }

    fn tell(&mut self, event: DaemonEvent) {
        match event {
            DaemonEvent::Announce(fullname, _) => {
                let name = plain_name(fullname.strip_suffix(self.service).unwrap_or(&fullname));
                if self.names.len() < NAMES_TOLD_MAX && !self.names.contains(&name) {
                    self.names.push(name.clone());
                    (self.told)(News::As(name));
                }
            }
            DaemonEvent::Error(error) => tracing::info!("announcing: {error}"),
            event => tracing::debug!("announcing: {event:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_or_cannot_begin_begins_anew_until_all_is_over() {
        let current = Arc::<Current>::default();
        let mut begun = 0;
        let ending = current.clone();
        keep(&current, Duration::ZERO, || {
            begun += 1;
            match begun {
                1 => Ended::Gone,
                2 => Error::Msg("no descriptor is free".into()).into(),
                _ => {
                    ending.state.lock().over = true;
                    Ended::Gone
                }
            }
        });
        assert_eq!(begun, 3);
    }
}
