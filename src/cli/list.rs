//! `lanx list`: the receivers that answer on this network.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::args::examples;
use super::credentials::Acquaintances;
use super::error::Failure;
use super::exit::Exit;
use super::ui::events;
use super::ui::events::Event;
use super::ui::out::Audience;
use super::{args, signals};
use crate::limits::LIST_FOR;
use crate::name::Escaped;
use crate::net::discovery::{Browse, Sighting};
use crate::wire::VERSION;

/// List the receivers that answer on this network.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::LIST)]
pub struct ListArgs {
    /// Wait this long for receivers to answer
    ///
    /// At least 2 seconds, as a receiver answers at most once a second.
    #[arg(long, value_name = "SECONDS", default_value_t = LIST_FOR.as_secs(), help_heading = args::PATIENCE,
        value_parser = crate::cli::args::values::seconds(LIST_FOR.as_secs()..=86_400))]
    wait: u64,
    /// Print one JSON object per line, for scripts
    ///
    /// One for each receiver. `lanx help json` describes them.
    #[arg(long, help_heading = args::OUTPUT)]
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
    let mut browse = Browse::start().map_err(|error| Failure::new(Exit::Other, error))?;
    let end = Instant::now() + args.wait();
    while timeout_at(end, browse.next()).await.is_ok() {}
    let here = browse.here();
    for sighting in &here {
        if audience.json {
            events::write(&event(sighting, known));
        } else {
            audience.result(line(sighting, &sighting.addrs, known));
        }
    }
    if here.is_empty() && !audience.json {
        let seconds = args.wait().as_secs();
        audience.note(format_args!(
            "no receiver answered within {seconds} s; start `lanx recv` on the other machine, let UDP port 5353 through its firewall, look longer with --wait SECONDS, or give its address to `lanx send`"
            ));
    }
    Ok(Exit::Success)
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
