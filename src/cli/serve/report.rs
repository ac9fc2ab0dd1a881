//! What a server tells: where it is, who gets what, and each request to those who ask for that.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::cli::announce;
use crate::cli::ui::events::{Event, File, Whom};
use crate::cli::ui::out::Audience;
use crate::cli::ui::progress::{Shown, Subject};
use crate::cli::ui::view::Who;
use crate::cli::ui::{events, out};
use crate::name::Escaped;
use crate::net::discovery::{Announcement, News, What};
use crate::net::tcp::listen::reachable_addresses;
use crate::session::snapshot::{Scene, UnderWay};
use crate::session::{FileReport, FileStatus, Progress, ReportKind};
use crate::units;
use crate::web::certificate::Pin;
use crate::web::refused::Stored;
use crate::web::stats::{Answered, Observer, Sent};

/// Answers from this size on are shown while they are under way, and told of at the end: smaller ones are
/// over before anybody has read a line about them.
const TOLD_FROM_BYTES: u64 = 1024 * 1024;

/// How the server is reached.
pub struct Reached<'a> {
    pub bound: SocketAddr,
    pub secure: bool,
    /// Nothing where nobody needs one.
    pub token: Option<&'a str>,
    pub pin: Option<Pin>,
}

impl Reached<'_> {
    /// A link for each address of this machine.
    fn links(&self) -> Vec<String> {
        let scheme = if self.secure { "https" } else { "http" };
        let query = self.token.map_or_else(String::new, |token| format!("?t={token}"));
        let pin = self.pin.map_or_else(String::new, |pin| format!("#sha256={}", pin.in_link()));
        let addresses = reachable_addresses(self.bound).into_iter();
        let addresses = addresses.map(|ip| SocketAddr::new(ip, self.bound.port()));
        addresses.map(|addr| format!("{scheme}://{addr}/{query}{pin}")).collect()
    }

    /// Tells where the server is. A person needs the link also with --quiet, as nobody else could know it.
    pub fn tell(&self, what: &str, audience: Audience) {
        let links = self.links();
        let Reached { bound, token, .. } = self;
        if audience.json {
            let (addr, port) = (*bound, bound.port());
            events::write(&Event::Serving { addr, port, open: token.is_none(), links: &links });
            return;
        }
        audience.line(format_args!("serving {what}\nlistening on {bound}"));
        if links.is_empty() {
            audience.line("no other machine can reach this one: it has no network address");
        }
        match token {
            Some(_) if links.len() == 1 => audience.line("whoever has this link is let in:"),
            Some(_) => audience.line("whoever has one of these links is let in:"),
            None => audience.line("it is at:"),
        }
        for link in &links {
            match token {
                Some(_) => audience.result(format_args!("  {link}")),
                None => audience.line(format_args!("  {link}")),
            }
        }
        // A camera is quicker than a keyboard. Where nobody looks, it is no use.
        let is_seen = io::stdout().is_terminal() && !bound.ip().to_canonical().is_loopback();
        if let Some(code) = links.first().filter(|_| is_seen).and_then(|link| qr_code(link)) {
            audience.line(code);
        }
    }
}

/// The link for a camera, in lines of half blocks: dark on the light ground that cameras expect, whatever the
/// terminal's colours.
fn qr_code(link: &str) -> Option<String> {
    // The pin is for programs; a browser has no use for it, and the code is half as large without.
    let link = link.split('#').next().unwrap_or_default();
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    let lines = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let lines: Vec<String> = lines.lines().map(|line| format!("  \x1b[30;107m{line}\x1b[0m")).collect();
    Some(lines.join("\n"))
}

/// Announces the server until what is returned is dropped. What is announced is where it is, and no way in.
pub fn announce(listener: &TcpListener, secure: bool, audience: Audience) -> Option<Announcement> {
    let listeners = listener.try_clone().into_iter().collect::<Vec<_>>();
    announce::start(
        &listeners,
        |_| What::Web { secure },
        move |news| match &news {
            News::As(name) if audience.json => events::write(&Event::Announced { name }),
            News::As(name) => {
                audience.line(format_args!("announced as {name}: `lanx list` shows it on this network"))
            }
            News::Nowhere => {
                tracing::info!("this server is not announced so far: there is no network with multicast");
            }
        },
    )
}

/// Watches what is sent to whom.
pub struct Watcher {
    audience: Audience,
    clients: Mutex<HashMap<IpAddr, Arc<Client>>>,
}

/// An address that gets something large just now.
struct Client {
    progress: Arc<Progress>,
    downloads: Arc<Downloads>,
    since: Instant,
    /// Taken away when nothing is under way any more.
    shown: Mutex<Option<Shown>>,
}

/// How many answers are under way.
struct Downloads(AtomicUsize);

impl Scene for Downloads {
    fn under_way(&self, _most: usize) -> UnderWay {
        let connections = self.0.load(Ordering::Relaxed);
        UnderWay { connections, files: Vec::new(), others: 0, all_offered: true }
    }
}

impl Sent for Client {
    fn sent(&self, bytes: u64) {
        Progress::add(&self.progress.written, bytes);
    }
}

impl Watcher {
    pub fn new(audience: Audience) -> Watcher {
        Watcher { audience, clients: Mutex::default() }
    }

    fn client(&self, peer: IpAddr) -> Arc<Client> {
        let mut clients = self.clients.lock();
        let client = clients.entry(peer).or_insert_with(|| {
            let progress = Arc::<Progress>::default();
            let downloads = Arc::new(Downloads(AtomicUsize::new(0)));
            progress.follow(&downloads);
            let who = Who { name: None, address: peer.to_string() };
            let subject = Subject {
                progress: progress.clone(),
                total: None,
                tally: Arc::default(),
                who,
                named: true,
                receives: false,
            };
            let shown = Shown::new(subject, self.audience);
            Arc::new(Client { progress, downloads, since: Instant::now(), shown: Mutex::new(Some(shown)) })
        });
        // Under the lock, so that nobody takes it for idle meanwhile.
        client.downloads.0.fetch_add(1, Ordering::Relaxed);
        client.clone()
    }

    fn settle(&self, answered: &Answered, promised: u64) {
        let mut clients = self.clients.lock();
        let Some(client) = clients.get(&answered.peer).cloned() else { return };
        // What will not come is not waited for by whoever looks.
        client.progress.offered.fetch_sub(promised.saturating_sub(answered.bytes), Ordering::Relaxed);
        Progress::add(&client.progress.files_done, 1);
        if client.downloads.0.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        clients.remove(&answered.peer);
        drop(clients);
        drop(client.shown.lock().take());
        let (bytes, time) = (client.progress.crossed(), client.since.elapsed());
        let answers = Progress::get(&client.progress.files_done);
        self.audience.line(format_args!(
            "to {}: {} in {}, {}: {}",
            answered.peer,
            units::bytes(bytes),
            units::count(answers, "answer"),
            units::duration(time),
            units::rate(bytes, time)
        ));
    }
}

impl Observer for Watcher {
    fn begins(&self, peer: IpAddr, bytes: u64) -> Option<Arc<dyn Sent>> {
        if bytes < TOLD_FROM_BYTES {
            return None;
        }
        let client = self.client(peer);
        Progress::add(&client.progress.offered, bytes);
        Some(client)
    }

    fn stored(&self, peer: IpAddr, stored: &Stored) {
        let Stored { path, size, hash, published } = stored;
        let what = match published {
            published if published.existed => " (already there)".to_owned(),
            published if published.renamed => format!(" (stored as {})", Escaped(published.name.as_bytes())),
            _ => String::new(),
        };
        self.audience.line(format_args!("{hash}  {path}{what}"));
        tracing::info!("{peer} put {path}, {size} bytes");
        if self.audience.json {
            let status = match published {
                published if published.existed => FileStatus::Identical,
                published if published.renamed => FileStatus::Renamed(published.name.clone()),
                _ => FileStatus::Stored,
            };
            let (path, kind) = (path.clone(), ReportKind::File);
            let report = FileReport {
                path,
                kind,
                named: true,
                size: Some(*size),
                hash: Some(*hash),
                status,
                item: None,
            };
            let peer = peer.to_string();
            let whom = Whom { session: None, peer: Some(&peer) };
            events::write(&Event::File { whom, file: File::of(&report) });
        }
    }

    fn answered(&self, answered: &Answered, promised: u64) {
        let Answered { peer, method, path, status, bytes, complete, took } = answered;
        let short = if *complete { "" } else { ", ended short" };
        tracing::info!(
            "{peer} {} {} {status}, {bytes} bytes in {:.3} s{short}",
            Escaped::from(method.as_str()),
            Escaped::from(path.as_str()),
            took.as_secs_f64()
        );
        if self.audience.json {
            let seconds = (took.as_secs_f64() * 1e6).round() / 1e6;
            events::write_if_room(&Event::Request {
                peer: *peer,
                method,
                path,
                status: *status,
                bytes: *bytes,
                complete: *complete,
                seconds,
            });
        }
        if promised >= TOLD_FROM_BYTES {
            self.settle(answered, promised);
        }
    }
}

/// What a user must know about the door, also with --quiet.
pub fn warn(open: bool, put: bool, in_clear: bool) {
    match (open, put) {
        (true, false) => out::error("--open: everybody who can reach this port can have what is served"),
        (true, true) => out::error("--open: everybody who can reach this port may leave files here"),
        _ => {}
    }
    if in_clear {
        out::error(
            "--http: whoever can listen on this network sees the link and what is served, and can change it on its way",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_square_with_a_margin() {
        let link = "https://192.168.1.20:7270/?t=abcdefghijklmnopqrstuv#sha256=00";
        let code = qr_code(link).unwrap();
        let lines: Vec<&str> = code.lines().map(|line| line.trim_start_matches("  \x1b[30;107m")).collect();
        let width = lines[0].trim_end_matches("\x1b[0m").chars().count();
        assert!(lines.iter().all(|line| line.trim_end_matches("\x1b[0m").chars().count() == width), "{code}");
        // Two rows in a line, and four light ones around.
        assert!(width.div_ceil(2) == lines.len() && width < 50, "{width} by {}", lines.len());
        assert!(lines[0].trim_end_matches("\x1b[0m").chars().all(|c| c == lines[0].chars().next().unwrap()));
        assert_eq!(qr_code(link.split('#').next().unwrap()), Some(code), "the pin is not in it");
    }
}
