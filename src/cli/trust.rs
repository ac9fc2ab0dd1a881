//! `lanx trust`: whom this machine knows.

use anyhow::anyhow;

use super::args::{TrustAction, TrustArgs};
use super::exit::Exit;
use super::{Failure, introduction, output};
use crate::transport::tcp::address::Peer;
use crate::trust::peer_store::PeerStore;
use crate::trust::peers::Peers;

pub fn run(args: &TrustArgs) -> Result<Exit, Failure> {
    let (identity, store) = introduction::ourselves()?;
    let other = |error: anyhow::Error| Failure { exit: Exit::Other, error };
    match &args.action {
        None => {
            let peers = store.load().map_err(|error| other(error.into()))?;
            output::line(format_args!("this machine: {}", identity.fingerprint()));
            list(&peers);
        }
        Some(TrustAction::Name { machine, name }) => {
            let renamed = store.rename_peer(machine, name).map_err(|error| other(error.into()))?;
            output::line(format_args!("{} is called {} now", renamed.fingerprint, renamed.name));
        }
        Some(TrustAction::Remove { machine }) => output::line(remove(&store, machine).map_err(other)?),
    }
    Ok(Exit::Success)
}

fn list(peers: &Peers) {
    let heading =
        if peers.senders().is_empty() { "no machine is paired" } else { "paired, may send to this machine:" };
    output::line(heading);
    for peer in peers.senders() {
        output::line(format_args!(
            "  {}  {}  last seen at {}",
            peer.fingerprint, peer.name, peer.last_address
        ));
    }
    if !peers.hosts().is_empty() {
        output::line("receivers whose key is known:");
    }
    for host in peers.hosts() {
        output::line(format_args!("  {}  {}", host.fingerprint, host.address));
    }
}

/// Forgets a host of that address, otherwise the paired machine of that name or key.
fn remove(store: &PeerStore, machine: &str) -> anyhow::Result<String> {
    if let Ok(peer) = machine.parse::<Peer>()
        && store.forget_host(&peer.address())?
    {
        return Ok(format!("the key of {} is forgotten; the next transfer to it pairs anew", peer.address()));
    }
    match store.remove_peer(machine) {
        Ok(peer) => Ok(format!("{} ({}) may not send to this machine any more", peer.name, peer.fingerprint)),
        Err(error) => Err(anyhow!("{error}")),
    }
}
