//! `lanx trust`: whom this machine knows.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::anyhow;
use clap::Subcommand;

use super::args::{examples, values};
use super::credentials;
use super::error::Failure;
use super::exit::Exit;
use super::ui::out;
use crate::name::Escaped;
use crate::net::address;
use crate::trust::peer_store::{PeerStore, PeerStoreError};
use crate::trust::peers::{Peer, Peers, PeersError, Rights};
use crate::trust::policy;
use crate::units;

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
    /// Say what a paired machine may do here.
    ///
    /// It holds from its next transfer on. What is not named stays as it is.
    Set(SetArgs),
    /// Forget the machines that have not sent for long.
    ///
    /// And those whose time is up.
    Prune {
        /// Those that were last here longer ago than this: 30d, 12h.
        #[arg(long, value_name = "AGE", value_parser = values::age)]
        older: Duration,
    },
    /// Forget a paired machine, or the key of a host.
    Remove {
        /// A paired machine's name or key, or a host as `HOST[:PORT]`.
        machine: String,
    },
}

/// What a machine may do.
#[derive(clap::Args, Debug)]
struct SetArgs {
    /// Its name, its key, or the beginning of its key.
    machine: String,
    /// Put all that it sends into this folder of the receiver's; / for the receiver's own.
    #[arg(long, value_name = "SUBDIR", value_parser = place)]
    into: Option<Set<String>>,
    /// Whether it may replace files where the receiver does: yes or no.
    #[arg(long, value_name = "YES-OR-NO", value_parser = yes_or_no)]
    overwrite: Option<bool>,
    /// Let at most so many bytes lie where it sends to: 500G, or none for no bound.
    #[arg(long, value_name = "SIZE", value_parser = quota)]
    quota: Option<Set<u64>>,
    /// Let it send for so long from now on: 30d, 12h, or never for no end.
    #[arg(long, value_name = "AGE", value_parser = expiry)]
    expires: Option<Set<Duration>>,
}

/// A right that is to be bounded like this, or not at all.
#[derive(Clone, Debug)]
struct Set<T>(Option<T>);

fn place(text: &str) -> Result<Set<String>, String> {
    if text == "/" {
        return Ok(Set(None));
    }
    let folder = values::subfolder(text)?;
    Ok(Set(Some(String::from_utf8_lossy(folder.as_bytes()).into_owned())))
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".into()),
    }
}

fn quota(text: &str) -> Result<Set<u64>, String> {
    if text == "none" {
        return Ok(Set(None));
    }
    values::size(text).map(|bytes| Set(Some(bytes)))
}

fn expiry(text: &str) -> Result<Set<Duration>, String> {
    if text == "never" {
        return Ok(Set(None));
    }
    values::age(text).map(|age| Set(Some(age)))
}

impl SetArgs {
    fn is_empty(&self) -> bool {
        self.into.is_none() && self.overwrite.is_none() && self.quota.is_none() && self.expires.is_none()
    }

    fn apply(&self, rights: &mut Rights) {
        if let Some(Set(into)) = &self.into {
            rights.into.clone_from(into);
        }
        if let Some(overwrite) = self.overwrite {
            rights.keeps_existing = !overwrite;
        }
        if let Some(Set(quota)) = self.quota {
            rights.quota_bytes = quota;
        }
        if let Some(Set(age)) = self.expires {
            rights.expires_unix_seconds = age.map(|age| policy::now().saturating_add(age.as_secs()));
        }
    }
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
        Some(TrustAction::Set(set)) => {
            if set.is_empty() {
                let error = anyhow!("what it may do is required: --into, --overwrite, --quota or --expires");
                return Err(Failure::new(Exit::Usage, error));
            }
            let peer = store.change_rights(&set.machine, |rights| set.apply(rights));
            let peer = peer.map_err(|error| other(error.into()))?;
            out::line(format_args!("{} may send to this machine{}", peer.name, told(&peer.rights)));
        }
        Some(TrustAction::Prune { older }) => {
            let now = policy::now();
            let gone = store.prune(now.saturating_sub(older.as_secs()), now);
            let gone = gone.map_err(|error| other(error.into()))?;
            for peer in &gone {
                out::line(format_args!(
                    "{} ({}) may not send to this machine any more",
                    peer.name, peer.fingerprint
                ));
            }
            if gone.is_empty() {
                out::line("no machine was that long away");
            }
        }
        Some(TrustAction::Remove { machine }) => out::line(remove(&store, machine).map_err(other)?),
    }
    Ok(Exit::Success)
}

fn list(peers: &Peers) {
    let heading = if peers.senders().is_empty() {
        "no machine may send to this one"
    } else {
        "paired, may send to this machine:"
    };
    out::line(heading);
    for peer in peers.senders() {
        let Peer { fingerprint, name, last_address, rights, .. } = peer;
        out::line(format_args!("  {fingerprint}  {name}  last seen at {last_address}{}", told(rights)));
    }
    if !peers.hosts().is_empty() {
        out::line("receivers whose key is known:");
    }
    for host in peers.hosts() {
        out::line(format_args!("  {}  {}", host.fingerprint, host.address));
    }
}

/// What somebody may do, where that is less than everything.
fn told(rights: &Rights) -> String {
    let Rights { into, keeps_existing, quota_bytes, expires_unix_seconds } = rights;
    let into = into.iter().map(|into| format!("into {}", Escaped::from(into.as_str())));
    let keeps = keeps_existing.then(|| "replaces nothing".to_owned());
    let quota = quota_bytes.map(|bytes| format!("at most {} there", units::bytes(bytes)));
    let until = expires_unix_seconds.map(|end| {
        let when = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(end.min(LAST_SECOND)));
        if rights.have_expired(policy::now()) {
            format!("no more since {when}")
        } else {
            format!("until {when}")
        }
    });
    into.chain(keeps).chain(quota).chain(until).map(|text| format!("; {text}")).collect()
}

/// The end of the year 9999, behind which nobody writes dates.
const LAST_SECOND: u64 = 253_402_300_799;

/// Forgets the paired machine of that name or key, otherwise the host of that address. A machine often has
/// one name as both; then what lets it in here has to go first, and a host with its port is never a machine's
/// name.
fn remove(store: &PeerStore, machine: &str) -> anyhow::Result<String> {
    match store.remove_peer(machine) {
        Ok(peer) => {
            return Ok(format!("{} ({}) may not send to this machine any more", peer.name, peer.fingerprint));
        }
        Err(PeerStoreError::Refused(PeersError::NoSuchPeer(_))) => {}
        Err(error) => return Err(error.into()),
    }
    match machine.parse::<address::Peer>() {
        Ok(peer) if store.forget_host(&peer.address())? => Ok(format!(
            "the key of {} is forgotten; at a terminal the next transfer asks before it trusts a key there, and a script should give a code",
            peer.address()
        )),
        _ => Err(anyhow!(
            "neither a paired machine nor a known receiver is called {}; `lanx trust` lists both",
            Escaped::from(machine)
        )),
    }
}
