//! `lanx recv`.

mod banner;
mod clean;
mod exec;
mod metrics;
mod options;
pub mod reload;
mod report;
pub mod systemd;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::sync::mpsc;

use super::args::recv::{LISTEN_DEFAULT, RecvArgs};
use super::error::Failure;
use super::exit::Exit;
use super::send::stdin;
use super::signals::{Asked, Requests};
use super::ui::out::Audience;
use super::ui::{events, screen};
use super::{credentials, signals};
use crate::cache::Cache;
use crate::net::quic::endpoint;
use crate::net::quic::listen::QuicListener;
use crate::net::quic::stats::QuicStats;
use crate::net::tcp::arrivals::Listeners;
use crate::net::tcp::listen::{listen, listen_everywhere};
use crate::os::said::Said;
use crate::server::accept::{ServeError, ServeOptions, serve};
use crate::server::state::ReceiveOptions;
use crate::server::stats::Ledger;
use crate::session::carrier::Arrivals;
use crate::trust::policy::AuthPolicy;
use crate::web::scrape;
use banner::invite;
use clean::{clean, keep_clean};
use exec::Programs;
use metrics::{Counters, Page};
use options::receive_options;
use reload::{Keeper, Settings};
use report::Doorman;
use systemd::Inherited;

pub fn run(args: &RecvArgs, audience: Audience) -> Result<Exit, Failure> {
    if args.to_stdout() {
        check_stdout(args).map_err(|error| Failure::new(Exit::Usage, error))?;
    }
    check_folder(&args.dir).map_err(|error| Failure::new(Exit::Usage, error))?;
    if args.clean {
        return clean(&args.dir, args.part_age);
    }
    let Opening { listeners, bound, datagrams, metrics, auth, shows_code, how } = open(args, audience)?;
    let to = how.to.clone();
    let ledger = Arc::new(Ledger::default());
    let counters = Arc::new(Counters::new(ledger.clone()));
    let programs = Programs::start(args, counters.clone())?;
    let doorman = Doorman::new(audience, to.clone(), shows_code, counters.clone(), programs.clone());
    let doorman = Arc::new(doorman);
    let asked = Arc::new(OnceLock::new());
    let runtime = signals::runtime()?;
    let served = runtime.block_on(async {
        signals::survive_file_size_limit();
        // Before anything is said: a script may answer the first line with a signal.
        let requests = Requests::listen();
        let (orders, to_hear) = mpsc::unbounded_channel();
        let auth = Arc::new(auth);
        let datagrams = over_udp(datagrams, &auth, args.patience.timeout(), &counters.quic);
        let over_quic: Vec<SocketAddr> = datagrams.iter().map(|(addr, _)| *addr).collect();
        invite(&to, &bound, &over_quic, &auth, shows_code, audience);
        let announced = match args.no_announce {
            true => None,
            false => banner::announce(&listeners, &over_quic, auth.own, audience),
        };
        let keeper = Keeper {
            requests,
            orders,
            asked: asked.clone(),
            grace: args.service.grace(),
            ledger: ledger.clone(),
            settings: Settings { auth: auth.clone(), args: args.clone(), audience },
            announced,
        };
        tokio::spawn(keeper.keep());
        if let Some(listener) = metrics {
            publish(listener, counters, audience);
        }
        if let Some(age) = args.part_age {
            tokio::spawn(keep_clean(args.dir.clone(), age, audience));
        }
        tokio::spawn(systemd::tell_status(ledger.clone()));
        systemd::ready();
        let listeners = Listeners::new(listeners, auth.tls.clone()).map_err(ServeError::Accept)?;
        let mut doors: Vec<Box<dyn Arrivals>> = vec![Box::new(listeners)];
        doors.extend(datagrams.into_iter().map(|(_, listener)| listener));
        serve(doors, how, auth, options(args), doorman.clone(), ledger, to_hear).await
    });
    signals::leave(runtime);
    doorman.leave();
    // A receiver that serves until it is told to end is told just that.
    let patience = asked.get().map(|_| args.service.grace());
    programs.inspect(|programs| programs.finish(patience));
    served.map_err(|error| Failure::new(Exit::Other, error))?;
    let exit = exit(args, asked.get().copied(), doorman.result());
    if audience.json && exit == Exit::Interrupted {
        events::error(None, None, Exit::Interrupted, "interrupted", "start it again to receive more");
    }
    Ok(exit)
}

/// Whoever is used to other programs gives the other machine, or its code, where the folder stands.
fn check_folder(dir: &Path) -> anyhow::Result<()> {
    let Some(text) = dir.to_str().filter(|_| !dir.exists()) else { return Ok(()) };
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        bail!(
            "{text} is an address, and recv takes a folder: lanx recv DIR, and lanx send FILE {text} there (a folder of that name is ./{text})"
        );
    }
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.split('-').count() == 3
        && text.split('-').all(is_group)
        && text.bytes().any(|byte| byte.is_ascii_digit())
    {
        bail!(
            "{text} looks like a pairing code, which is typed where `lanx send` asks for it (a folder of that name is ./{text})"
        );
    }
    Ok(())
}

/// Whether one file can go to standard output: what is given besides makes sense with that, and somebody gets
/// it.
fn check_stdout(args: &RecvArgs) -> anyhow::Result<()> {
    if let Some(flag) = args.against_stdout() {
        bail!("`recv -` writes to standard output, and {flag} is for a folder; leave one of them out");
    }
    // What is written there would be lost, and its sender told that it arrived.
    if stdin::was_closed(std::io::stdout().as_fd()) {
        bail!(
            "standard output is closed, or /dev/null as if it were, so what arrives would be lost; \
             give it somewhere to go: lanx recv - > FILE"
        );
    }
    Ok(())
}

/// All that has to be there before anybody is let in.
struct Opening {
    listeners: Vec<TcpListener>,
    /// Where those listen.
    bound: Vec<SocketAddr>,
    /// For QUIC.
    datagrams: Vec<UdpSocket>,
    metrics: Option<TcpListener>,
    auth: AuthPolicy,
    shows_code: bool,
    how: ReceiveOptions,
}

fn open(args: &RecvArgs, audience: Audience) -> Result<Opening, Failure> {
    let Inherited { listeners, mut datagrams } = sockets(args)?;
    // Sockets that systemd hands over have to be taken before there are threads.
    screen::start();
    let metrics = args.service.metrics.map(metrics::listen).transpose()?;
    let (mut auth, shows_code) = credentials::auth(args.code_file.as_deref(), args.open, audience)?;
    auth.remembers = !args.no_remember;
    // Before anybody asks how many may be open.
    signals::allow_many_files();
    let mut how = receive_options(args)?;
    how.cache = Cache::of_user().map(Arc::new);
    let bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let bound = bound.map_err(|error| Failure::new(Exit::Other, error))?;
    if args.quic && datagrams.is_empty() {
        datagrams = bound.iter().filter_map(|addr| datagrams_at(*addr)).collect();
    }
    Ok(Opening { listeners, bound, datagrams, metrics, auth, shows_code, how })
}

/// Where senders come: at the sockets that systemd holds for us, or at one of our own.
fn sockets(args: &RecvArgs) -> Result<Inherited, Failure> {
    let inherited = systemd::inherited()?;
    if inherited.listeners.is_empty() {
        let own = match args.listen {
            Some(addr) if addr.ip() != LISTEN_DEFAULT.ip() => listen(addr),
            addr => listen_everywhere(addr.unwrap_or(LISTEN_DEFAULT).port()),
        };
        let listeners = vec![own.map_err(|error| Failure::new(Exit::Other, error))?];
        return Ok(Inherited { listeners, ..inherited });
    }
    if args.listen.is_some() {
        // Ignored it might leave a door open that was to be closed.
        let text = "--listen cannot be used when systemd passes the sockets; leave out --listen, or the .socket unit";
        return Err(Failure::new(Exit::Usage, anyhow!(text)));
    }
    Ok(inherited)
}

/// The same port over UDP. Senders that ask for it are few, and the others come in any case.
fn datagrams_at(addr: SocketAddr) -> Option<UdpSocket> {
    let socket = endpoint::bind(addr);
    socket.inspect_err(|error| tell_tcp_alone(addr, error)).ok()
}

/// The sockets for QUIC, as far as they can be used.
fn over_udp(
    datagrams: Vec<UdpSocket>,
    auth: &AuthPolicy,
    patience: Duration,
    stats: &Arc<QuicStats>,
) -> Vec<(SocketAddr, Box<dyn Arrivals>)> {
    let listen = |socket: UdpSocket| {
        let addr = socket.local_addr().unwrap_or(LISTEN_DEFAULT);
        let listener = QuicListener::new(socket, auth.tls.clone(), patience, stats.clone());
        let listener = listener.inspect_err(|error| tell_tcp_alone(addr, error)).ok()?;
        tracing::info!("{addr}: {}", listener.granted);
        let listener: Box<dyn Arrivals> = Box::new(listener);
        Some((addr, listener))
    };
    datagrams.into_iter().filter_map(listen).collect()
}

fn tell_tcp_alone(addr: SocketAddr, error: &io::Error) {
    let error = Said(error);
    tracing::warn!(
        "nobody can come over QUIC: UDP at {addr} cannot be used: {error}; senders come over TCP alone"
    );
}

fn options(args: &RecvArgs) -> ServeOptions {
    ServeOptions {
        once: args.once || args.to_stdout(),
        // What was written cannot be taken back, so a sender that comes back could not go on.
        retry_for: if args.to_stdout() { Duration::ZERO } else { args.patience.retry_for() },
        transfers: args.max_transfers,
    }
}

/// What to end with. A receiver that serves until it is told to end has done so; one that was to receive
/// something, and has not, was interrupted.
fn exit(args: &RecvArgs, asked: Option<Asked>, result: Option<Exit>) -> Exit {
    let once = args.once || args.to_stdout();
    match asked {
        None => result.unwrap_or(Exit::Success),
        Some(Asked::Leave) if !once => Exit::Success,
        // A transfer that was parked counts as lost.
        Some(Asked::Leave) => result.filter(|exit| *exit != Exit::Unreachable).unwrap_or(Exit::Interrupted),
        Some(_) => Exit::Interrupted,
    }
}

/// Tells Prometheus how it goes, and the user where.
fn publish(listener: TcpListener, counters: Arc<Counters>, audience: Audience) {
    if let Ok(addr) = listener.local_addr() {
        audience.note(format_args!("metrics are at http://{addr}/metrics"));
        if !addr.ip().to_canonical().is_loopback() {
            tracing::warn!(
                "everybody who can reach {addr} can read the metrics; 127.0.0.1 is for this machine alone"
            );
        }
    }
    let page = Page::new(counters);
    tokio::spawn(scrape::serve(listener, move || page.text()));
}
