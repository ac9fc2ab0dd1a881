//! `lanx serve`.

mod report;

use std::env;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueHint;
use tokio::time::{Instant, sleep};

use super::args::{examples, group, values};
use super::credentials;
use super::error::Failure;
use super::exit::Exit;
use super::get::file_mode;
use super::signals::{self, Asked, Requests};
use super::token;
use super::ui::out::Audience;
use super::ui::{out, screen};
use crate::limits::GRACE;
use crate::name::Escaped;
use crate::net::tcp::listen::{listen, listen_everywhere};
use crate::store::{Existing, Folder, FolderOptions, Owner};
use crate::trust::dir::ConfigDir;
use crate::web::access::{Access, Term, Token};
use crate::web::bounds::{Rates, Room};
use crate::web::certificate::{Certificate, Files, tls};
use crate::web::hosts::Hosts;
use crate::web::place::Place;
use crate::web::serve::Server;
use crate::web::site::{Rights, Site};
use crate::web::upload::Uploads;
use report::{Reached, Watcher};

/// The port of the web door: the one behind that of `recv`.
pub const PORT_DEFAULT: u16 = 7270;

/// What stays free on the disk where nobody says: enough for a machine to go on.
const KEEP_FREE: &str = "100M";

/// How often a server that is to end looks whether all answers are out.
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// Serve files over HTTP, until Ctrl-C.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = examples::SERVE)]
pub struct ServeArgs {
    /// Files and folders to serve
    ///
    /// Of a single folder what is in it is served, of several paths each by its name. Symbolic links in
    /// folders are not served.
    #[arg(default_value = ".", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Let clients have what is there, as without --put
    #[arg(long, help_heading = group::FILES)]
    pub get: bool,
    /// Let clients put files into PATH, a folder
    ///
    /// Without --get they can do nothing else. A file gets its name when all of it is there.
    #[arg(long, help_heading = group::FILES)]
    pub put: bool,
    /// With --put, replace existing files
    ///
    /// By default an existing file is left alone and the new one is refused.
    #[arg(long, conflicts_with = "rename", help_heading = group::FILES)]
    pub overwrite: bool,
    /// With --put, keep both, the new one as 'name (1).ext'
    #[arg(long, help_heading = group::FILES)]
    pub rename: bool,
    /// Keep so much of the disk free
    ///
    /// With --put, what would leave less is refused.
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_zero, default_value = KEEP_FREE, help_heading = group::FILES)]
    pub keep_free: u64,
    /// With --put, take at most N files
    #[arg(long, value_name = "N", help_heading = group::FILES, value_parser = values::number(1..=u64::MAX, ""))]
    pub max_files: Option<u64>,
    /// With --put, take at most so many bytes in all
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_zero, help_heading = group::FILES)]
    pub max_bytes: Option<u64>,
    /// Send and take at most RATE a second in all
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = group::SPEED)]
    pub limit: Option<u64>,
    /// The same for each address of a client
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = group::SPEED)]
    pub limit_client: Option<u64>,
    /// Listen at this port [default: [::]:7270]
    ///
    /// 8000 is port 8000 of all addresses, of IPv4 as well; 127.0.0.1:8000 is that of one. Port 0 picks a free one. --port is
    /// the same.
    #[arg(short = 'p', long, alias = "port", value_name = "[ADDR:]PORT", value_parser = values::listen_at, help_heading = group::DOOR)]
    pub listen: Option<SocketAddr>,
    /// Do not announce the server on this network
    ///
    /// By default `lanx list` shows it, by mDNS, unless it listens on loopback only. Links and tokens are
    /// announced in no case.
    #[arg(long, help_heading = group::DOOR)]
    pub no_announce: bool,
    /// Answer requests for this host name as well
    ///
    /// Addresses of this machine, its own name and localhost are always answered. May be repeated.
    #[arg(long, value_name = "NAME", help_heading = group::DOOR, value_hint = ValueHint::Hostname)]
    pub host: Vec<String>,
    /// Serve names that begin with a dot as well
    #[arg(long, help_heading = group::FILES)]
    pub all: bool,
    /// Serve without TLS on a network
    ///
    /// Whoever can listen there reads along. On loopback no TLS is used in any case.
    #[arg(long, conflicts_with = "tls_cert", help_heading = group::TRUST)]
    pub http: bool,
    /// Use the certificates in FILE (PEM) for TLS
    ///
    /// Without it lanx uses one of its own, which browsers warn of. Read again at SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    pub tls_cert: Option<PathBuf>,
    /// Use the private key in FILE (PEM) for TLS
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    /// Read the token from the first line of FILE
    ///
    /// 8 characters or more. Without it the token comes from LANX_TOKEN, or is made up for this run.
    #[arg(long, value_name = "FILE", help_heading = group::TRUST, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Let nobody in after this time: 10m, 2h, 1d
    ///
    /// Downloads that are under way then come to their end.
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with = "open", help_heading = group::TRUST)]
    pub expire: Option<Duration>,
    /// Let in the first client that comes, and no other
    ///
    /// That is one browser, or the address of another program.
    #[arg(long, conflicts_with = "open", help_heading = group::TRUST)]
    pub once: bool,
    /// Serve everybody who can reach this port
    ///
    /// Only for a network that you share with nobody else.
    #[arg(long, conflicts_with = "token_file", help_heading = group::TRUST)]
    pub open: bool,
    /// Let downloads finish after SIGTERM
    #[arg(long, value_name = "SECONDS", help_heading = group::DOOR, default_value_t = GRACE.as_secs(),
        value_parser = values::seconds(0..=86_400))]
    grace: u64,
    /// Print one JSON object per line, for scripts
    ///
    /// The first one has the links. `lanx help json` describes them.
    #[arg(long, help_heading = group::OUTPUT)]
    pub json: bool,
}

/// All that has to be there before anybody is served.
struct Opening {
    listener: TcpListener,
    bound: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    token: Option<Token>,
    place: Place,
    rights: Rights,
}

pub fn run(args: &ServeArgs, audience: Audience) -> Result<Exit, Failure> {
    screen::start();
    signals::allow_many_files();
    let opening = open(args)?;
    let runtime = signals::runtime()?;
    let served = runtime.block_on(serve(args, opening, audience));
    signals::leave(runtime);
    served
}

fn open(args: &ServeArgs) -> Result<Opening, Failure> {
    let place = Place::new(&args.paths, args.all).map_err(|error| Failure::new(Exit::Usage, error))?;
    let token = match token::given(args.token_file.as_deref())? {
        _ if args.open => None,
        Some(token) => Some(token),
        None => Some(Token::generate().map_err(other)?),
    };
    let rights = rights(args, token.as_ref())?;
    let listener = match args.listen {
        Some(addr) => listen(addr),
        None => listen_everywhere(PORT_DEFAULT),
    };
    let listener = listener.map_err(other)?;
    let bound = listener.local_addr().map_err(other)?;
    let certificate = certificate(args, bound)?.map(Arc::new);
    Ok(Opening { listener, bound, certificate, token, place, rights })
}

/// What clients may do. Unfinished files belong to the token that sent them.
fn rights(args: &ServeArgs, token: Option<&Token>) -> Result<Rights, Failure> {
    let (get, hidden) = (args.get || !args.put, args.all);
    if !args.put {
        return Ok(Rights { get, put: None, hidden });
    }
    let [path] = args.paths.as_slice() else {
        let text = "--put takes files into one folder; name one, and no other paths";
        return Err(Failure::new(Exit::Usage, anyhow!(text)));
    };
    let existing = match (args.overwrite, args.rename) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Rename,
        _ => Existing::Refuse,
    };
    let folder = Folder::new(path, FolderOptions { existing, ..FolderOptions::default() });
    folder.prepare().map_err(|error| Failure::new(Exit::Storage, error))?;
    let owner = blake3::hash(token.map_or("", Token::reveal).as_bytes());
    let room = Room { keep_free: args.keep_free, files: args.max_files, bytes: args.max_bytes };
    let put = Uploads::new(folder, Owner::of_key(owner.as_bytes()), file_mode(), room);
    Ok(Rights { get, put: Some(Arc::new(put)), hidden })
}

/// What to show in TLS; nothing on loopback, where nobody can listen, and where the user wants none.
fn certificate(args: &ServeArgs, bound: SocketAddr) -> Result<Option<Certificate>, Failure> {
    if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let files = Files::Given { certificates: certificates.clone(), key: key.clone() };
        return Certificate::read(files).map(Some).map_err(|error| Failure::new(Exit::Usage, error));
    }
    if args.http || bound.ip().to_canonical().is_loopback() {
        return Ok(None);
    }
    let folder =
        ConfigDir::open(|name| env::var_os(name)).map_err(|error| Failure::new(Exit::Usage, error))?;
    Certificate::own(&folder, &credentials::own_name()).map(Some).map_err(other)
}

fn other(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Other, error)
}

async fn serve(args: &ServeArgs, opening: Opening, audience: Audience) -> Result<Exit, Failure> {
    let Opening { listener, bound, certificate, token, place, rights } = opening;
    // Before anything is said: a script may answer the first line with a signal.
    let mut requests = Requests::listen();
    let config = certificate.clone().map(tls).transpose().map_err(other)?.map(Arc::new);
    let pin = certificate.as_ref().map(|certificate| certificate.pin()).transpose().map_err(other)?.flatten();
    let shown = token.as_ref().map(|token| token.reveal().to_owned());
    let reached = Reached { bound, secure: certificate.is_some(), token: shown.as_deref(), pin };
    let term = Term { until: args.expire.map(|time| std::time::Instant::now() + time), once: args.once };
    let access = Access::new(token, bound.port(), term).map_err(other)?;
    let rates = Rates::new(args.limit, args.limit_client);
    let hosts = Hosts::new(&credentials::own_name(), &args.host);
    let watcher = Arc::new(Watcher::new(audience));
    let site = Arc::new(Site::new(place, rights, access, hosts, reached.secure, rates, watcher));
    let server = Server::start(site.clone(), config)
        .map_err(|error| other(anyhow!("cannot start a thread: {error}; let this user have more of them")))?;
    report::warn(args.open, args.put, args.http && !bound.ip().to_canonical().is_loopback());
    reached.tell(&what(&args.paths), audience);
    let announced = match args.no_announce {
        true => None,
        false => report::announce(&listener, reached.secure, audience),
    };
    let asked = tokio::select! {
        ended = server.accept(listener, &site) => {
            return Err(other(anyhow!("cannot listen any more: {:?}; start it again", ended.err())));
        }
        asked = hear(&mut requests, certificate.as_deref(), audience) => asked,
    };
    signals::stopping(audience);
    drop(announced);
    if asked == Asked::Leave {
        let end = Instant::now() + Duration::from_secs(args.grace);
        server.leave();
        while !server.is_idle() && Instant::now() < end {
            tokio::select! {
                _ = requests.next_end() => break,
                () = sleep(LEAVING_LOOK) => {}
            }
        }
    }
    server.end();
    Ok(if asked == Asked::Leave { Exit::Success } else { Exit::Interrupted })
}

/// Waits for what ends the server; a certificate is read again meanwhile, where that is asked for.
async fn hear(requests: &mut Requests, certificate: Option<&Certificate>, audience: Audience) -> Asked {
    loop {
        match (requests.next().await, certificate) {
            (Asked::Reload, Some(certificate)) => match certificate.reload() {
                Ok(()) => audience.note("the certificate was read again"),
                Err(error) => out::error(format_args!("{error} (the one before stays in use)")),
            },
            (Asked::Reload, None) => {}
            (asked, _) => return asked,
        }
    }
}

/// What is served, in a few words.
fn what(paths: &[PathBuf]) -> String {
    match paths {
        [path] => Escaped::path(path).to_string(),
        paths => format!("{} paths", paths.len()),
    }
}

/// Where a server listens where nobody says.
pub fn listen_default() -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, PORT_DEFAULT).into()
}
