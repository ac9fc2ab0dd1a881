//! `lanx trust`: whom this machine knows.

use anyhow::anyhow;
use clap::Subcommand;

use super::args::examples;
use super::credentials;
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use crate::name::Escaped;
use crate::net::address::Peer;
use crate::trust::peer_store::{PeerStore, PeerStoreError};
use crate::trust::peers::{Peers, PeersError};

/// List the machines that are trusted here, or change the list.
#[derive(clap::Args, Debug)]
#[command(after_help = examples::TRUST)]
pub struct TrustArgs {
    #[command(subcommand)]
    action: Option<TrustAction>,
}

#[derive(Subcommand, Debug)]
enum TrustAction {
    /// Give a paired machine a name.
    Name {
        /// Its current name, its key, or the beginning of its key.
        machine: String,
        /// Its new name.
        name: String,
    },
    /// Forget a paired machine, or the key of a host.
    Remove {
        /// A paired machine's name or key, or a host as `HOST[:PORT]`.
        machine: String,
    },
}

pub fn run(args: &TrustArgs) -> Result<Exit, Failure> {
    let (identity, store) = credentials::ourselves()?;
    let other = |error: anyhow::Error| Failure::new(Exit::Other, error);
    match &args.action {
        None => {
            let peers = store.load().map_err(|error| other(error.into()))?;
            out::line(format_args!("this machine: {}", identity.fingerprint()));
            list(&peers);
        }
        Some(TrustAction::Name { machine, name }) => {
            let renamed = store.rename_peer(machine, name).map_err(|error| other(error.into()))?;
            out::line(format_args!("{} is called {} now", renamed.fingerprint, renamed.name));
        }
        Some(TrustAction::Remove { machine }) => out::line(remove(&store, machine).map_err(other)?),
    }
    Ok(Exit::Success)
}

fn list(peers: &Peers) {
    let heading =
        if peers.senders().is_empty() { "no machine is paired" } else { "paired, may send to this machine:" };
    out::line(heading);
    for peer in peers.senders() {
        out::line(format_args!("  {}  {}  last seen at {}", peer.fingerprint, peer.name, peer.last_address));
    }
    if !peers.hosts().is_empty() {
        out::line("receivers whose key is known:");
    }
    for host in peers.hosts() {
        out::line(format_args!("  {}  {}", host.fingerprint, host.address));
    }
}

/// Forgets the paired machine of that name or key, otherwise the host of that address. A machine often has one name as
/// both; then what lets it in here has to go first, and a host with its port is never a machine's name.
fn remove(store: &PeerStore, machine: &str) -> anyhow::Result<String> {
    match store.remove_peer(machine) {
        Ok(peer) => {
            return Ok(format!("{} ({}) may not send to this machine any more", peer.name, peer.fingerprint));
        }
        Err(PeerStoreError::Refused(PeersError::NoSuchPeer(_))) => {}
        Err(error) => return Err(error.into()),
    }
    match machine.parse::<Peer>() {
        Ok(peer) if store.forget_host(&peer.address())? => Ok(format!(
            "the key of {} is forgotten; the next transfer to it asks for a code again",
            peer.address()
        )),
        _ => Err(anyhow!(
            "neither a paired machine nor a known receiver is called {}; `lanx trust` lists both",
            Escaped::from(machine)
        )),
    }
}
