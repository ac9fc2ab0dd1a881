//! The receivers that this user knows.

use std::env;
use std::sync::Arc;

use super::error::Failure;
use super::exit::Exit;
use crate::limits::{ALIKE_MIN, PORT_DEFAULT};
use crate::net::discovery::Sighting;
use crate::trust::dir::ConfigDir;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::identity::Identity;
use crate::trust::peer_store::PeerStore;
use crate::trust::peers::Peers;
use crate::trust::policy;

/// The keys of the receivers that this user has sent to.
#[derive(Default)]
pub struct Acquaintances {
    own: Option<Fingerprint>,
    peers: Arc<Peers>,
}

impl Acquaintances {
    /// Makes neither the folder nor a key: whoever only looks around may have no place for them.
    pub fn load() -> Result<Acquaintances, Failure> {
        let folder = ConfigDir::existing(|name| env::var_os(name))
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        let Some(folder) = folder else { return Ok(Acquaintances::default()) };
        let identity = Identity::load_if_there(&folder).map_err(|error| Failure::new(Exit::Other, error))?;
        let peers = PeerStore::new(&folder).load().map_err(|error| Failure::new(Exit::Other, error))?;
        Ok(Acquaintances { own: identity.map(|identity| identity.fingerprint()), peers })
    }

    /// The key that a host had, by `host:port`.
    pub fn key_of(&self, address: &str) -> Option<Fingerprint> {
        self.peers.hosts().iter().find(|host| host.address == address).map(|host| host.fingerprint)
    }

    /// Where this user has sent files, each as one would type it.
    pub fn hosts(&self) -> Vec<String> {
        let standard = format!(":{PORT_DEFAULT}");
        let typed = |address: &str| address.strip_suffix(&standard).unwrap_or(address).to_owned();
        self.peers.hosts().iter().map(|host| typed(&host.address)).collect()
    }

    /// Who may send to this machine, by name, and where this user has sent files: what `lanx trust` takes.
    pub fn machines(&self) -> Vec<String> {
        self.peers.senders().iter().map(|peer| peer.name.clone()).chain(self.hosts()).collect()
    }

    /// The name most like this one, of receivers that answer and of those that this user has sent to.
    pub fn alike(&self, host: &str, seen: &[String]) -> Option<String> {
        let hosts = self.peers.hosts().iter().filter_map(|host| host.address.rsplit_once(':'));
        let names = seen.iter().map(String::as_str).chain(hosts.map(|(name, _)| name));
        let host = host.to_lowercase();
        let alike = names.filter(|name| *name != host).map(|name| (strsim::jaro(&host, name), name));
        let (alike, name) = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (alike > ALIKE_MIN).then(|| name.to_owned())
    }

    /// Whether it announces a key that may send to this machine, as `lanx trust` lists them.
    pub fn may_send_here(&self, sighting: &Sighting) -> bool {
        sighting.key.is_some_and(|key| self.own == Some(key) || self.peers.may_send(&key, policy::now()))
    }

    /// Whether it announces a key to which one can send without a code. Whether it has that key only a
    /// handshake shows.
    pub fn knows(&self, sighting: &Sighting) -> bool {
        let known =
            |key| self.own == Some(key) || self.peers.hosts().iter().any(|host| host.fingerprint == key);
        sighting.key.is_some_and(known)
    }
}
