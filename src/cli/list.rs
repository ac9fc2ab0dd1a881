//! `lanx list`: the receivers and web servers that answer on this network.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::acquaintances::Acquaintances;
use super::args::examples;
use super::args::group;
use super::error::Failure;
use super::exit::Exit;
use super::signals;
use super::ui::events;
use super::ui::events::Event;
use super::ui::out::Audience;
use crate::limits::LIST_FOR;
use crate::name::Escaped;
use crate::net::discovery::{Browse, Kind, Sighting};
use crate::wire::VERSION;

/// List the receivers and web servers that answer on this network.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::LIST)]
pub struct ListArgs {
    /// Wait this long for them to answer
    ///
    /// At least 2 seconds, as a receiver answers at most once a second.
    #[arg(long, value_name = "SECONDS", default_value_t = LIST_FOR.as_secs(), help_heading = group::PATIENCE,
        value_parser = crate::cli::args::values::seconds(LIST_FOR.as_secs()..=86_400))]
    wait: u64,
    /// Print one JSON object per line, for scripts
    ///
    /// One for each that answers. `lanx help json` describes them.
    #[arg(long, help_heading = group::OUTPUT)]
    pub json: bool,
}

impl ListArgs {
    fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

pub fn run(args: &ListArgs, audience: Audience) -> Result<Exit, Failure> {
    let known = Acquaintances::load()?;
    let runtime = signals::runtime()?;
    let listed = runtime.block_on(list(args, &known, audience));
    signals::leave(runtime);
    listed
}

async fn list(args: &ListArgs, known: &Acquaintances, audience: Audience) -> Result<Exit, Failure> {
    let look = |kind| Browse::start(kind).map_err(|error| Failure::new(Exit::Other, error));
    let (mut receivers, mut servers) = (look(Kind::Receiver)?, look(Kind::Web)?);
    let end = Instant::now() + args.wait();
    let changes = async {
        loop {
            tokio::select! { _ = receivers.next() => {}, _ = servers.next() => {} }
        }
    };
    // It ends with the time alone.
    let _: Result<(), _> = timeout_at(end, changes).await;
    let (here, servers) = (receivers.here(), servers.here());
    for sighting in &here {
        if audience.json {
            events::write(&event(sighting, known));
        } else {
            audience.result(line(sighting, &sighting.addrs, known));
        }
    }
    for sighting in &servers {
        if audience.json {
            let Sighting { name, addrs, port, .. } = sighting;
            events::write(&Event::Server { name, addrs, port: *port, scheme: scheme(sighting) });
        } else {
            audience.result(server_line(sighting));
        }
    }
    if here.is_empty() && servers.is_empty() && !audience.json {
        let seconds = args.wait().as_secs();
        audience.note(format_args!(
            "no receiver answered within {seconds} s; start `lanx recv` on the other machine, let UDP port 5353 through its firewall, look longer with --wait SECONDS, or give its address to `lanx send`"
            ));
    }
    Ok(Exit::Success)
}

fn scheme(sighting: &Sighting) -> &'static str {
    if sighting.secure { "https" } else { "http" }
}

/// A web server, by the addresses that a browser takes: none with a zone, unless there are no others.
fn server_line(sighting: &Sighting) -> String {
    let links = sighting.addrs.iter().map(crate::net::address::shown);
    let (zoned, plain): (Vec<String>, Vec<String>) = links.partition(|addr| addr.contains('%'));
    let links = if plain.is_empty() { zoned } else { plain };
    let links: Vec<String> = links.iter().map(|addr| format!("{}://{addr}/", scheme(sighting))).collect();
    format!("{:<20}  {}  lanx serve", Escaped::from(&*sighting.name).to_string(), links.join(" "))
}

fn event<'a>(sighting: &'a Sighting, known: &Acquaintances) -> Event<'a> {
    Event::Receiver {
        name: &sighting.name,
        addrs: &sighting.addrs,
        port: sighting.port,
        paired: known.knows(sighting),
        may_send_here: known.may_send_here(sighting),
        key: sighting.key.map(|key| key.to_string()),
        version: sighting.version,
        quic: sighting.quic,
    }
}

/// A receiver with these of its addresses, as a person is shown it.
pub fn line(sighting: &Sighting, addrs: &[SocketAddr], known: &Acquaintances) -> String {
    let addrs: Vec<String> = addrs.iter().map(crate::net::address::shown).collect();
    let mut line = format!("{:<20}  {}", Escaped::from(&*sighting.name).to_string(), addrs.join(" "));
    match (known.knows(sighting), known.may_send_here(sighting)) {
        (true, true) => line += "  paired, both ways",
        (true, false) => line += "  paired, you send to it",
        (false, true) => line += "  paired, it sends here",
        (false, false) => {}
    }
    if sighting.version.is_some_and(|version| version != VERSION) {
        line += "  another version of lanx";
    }
    if sighting.quic {
        line += "  --quic";
    }
    line
}
