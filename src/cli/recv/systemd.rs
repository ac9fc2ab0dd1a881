//! A receiver that systemd runs: the sockets that it holds for us, what it hears of us, and the journal.

use std::env;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use anyhow::anyhow;
use listenfd::ListenFd;
use sd_notify::NotifyState;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
use socket2::SockRef;
use tokio::time::interval;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::limits::STATUS_INTERVAL;
use crate::server::stats::Ledger;
use crate::units;

/// The sockets that we were started with (`LISTEN_FDS` of sd_listen_fds(3)); none where somebody else started
/// us. To be called before there are threads: it takes the variables from the environment.
pub fn inherited() -> Result<Inherited, Failure> {
    let mut inherited = ListenFd::from_env();
    let mut sockets = Inherited::default();
    for at in 0..inherited.len() {
        // One of another kind is not taken by the first of these.
        match inherited.take_tcp_listener(at) {
            Err(error) => match inherited.take_udp_socket(at) {
                Ok(Some(socket)) => sockets.datagrams.push(socket),
                Ok(None) | Err(_) => drop(listening(Err(error), at)?),
            },
            taken => sockets.listeners.push(listening(taken, at)?),
        }
    }
    Ok(sockets)
}

/// Sockets that somebody else has opened for us.
#[derive(Default)]
pub struct Inherited {
    pub listeners: Vec<TcpListener>,
    /// For QUIC.
    pub datagrams: Vec<UdpSocket>,
}

fn listening(taken: io::Result<Option<TcpListener>>, at: usize) -> Result<TcpListener, Failure> {
    let wrong = |what: String| {
        let number = at + 1;
        let advice =
            "a .socket unit for lanx has nothing but ListenStream= and ListenDatagram=, each with a port";
        Failure::new(Exit::Usage, anyhow!("the inherited socket {number} cannot be used: {what}; {advice}"))
    };
    let listener = taken.map_err(|error| wrong(error.to_string()))?;
    let listener = listener.ok_or_else(|| wrong("it is not there".into()))?;
    if !is_listener(&listener) {
        return Err(wrong("nobody can connect to it".into()));
    }
    listener.set_nonblocking(true).map_err(|error| wrong(error.to_string()))?;
    Ok(listener)
}

/// Whether senders can come to it.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn is_listener(socket: &TcpListener) -> bool {
    SockRef::from(socket).is_listener().unwrap_or_default()
}

/// Nobody can ask here, and nobody hands sockets over.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn is_listener(_socket: &TcpListener) -> bool {
    true
}

/// Whether somebody hears what we tell about ourselves.
fn is_followed() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

fn notify(state: &[NotifyState<'_>]) {
    // The transfers do not depend on it.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager does not hear: {error}");
    }
}

/// Senders may come.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Settings are being read again, until [`ready`].
pub fn reloading() {
    if is_followed()
        && let Ok(now) = NotifyState::monotonic_usec_now()
    {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Nobody is let in any more.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells, for `systemctl status`, how many are here, whenever that has changed.
pub async fn tell_status(ledger: Arc<Ledger>) {
    if !is_followed() {
        return;
    }
    let mut tick = interval(STATUS_INTERVAL);
    let mut told = None;
    loop {
        tick.tick().await;
        let present = ledger.read().1;
        let now = (present.sessions, present.waiting);
        if told.replace(now) != Some(now) {
            let sessions = units::count(now.0 as u64, "transfer");
            let status = format!("{sessions} under way, {} waiting", now.1);
            notify(&[NotifyState::Status(&status)]);
        }
    }
}
