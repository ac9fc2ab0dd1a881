//! What a receiver needs to decide who may come in, and a sender to decide where it may go.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{ClientConfig, ServerConfig};

use super::code::Code;
use super::fingerprint::Fingerprint;
use super::guesses::GuessBook;
use super::identity::Identity;
use super::peer_store::{PeerStore, PeerStoreError};
use super::peers::{HostKey, KnownHost, Rights};
use super::tls;
use super::tls::TlsError;

/// A receiver's door.
pub struct AuthPolicy {
    pub tls: Arc<ServerConfig>,
    /// Our own key: whoever has it is us.
    pub own: Fingerprint,
    pub store: PeerStore,
    /// Everybody may come in.
    pub open: bool,
    /// The code that lets strangers in, where one is offered.
    pub book: Option<GuessBook>,
    /// Whether whoever has proved the code is let in without it from then on.
    pub remembers: bool,
}

impl AuthPolicy {
    /// # Errors
    /// [`TlsError`] where the identity cannot be used.
    pub fn new(
        identity: &Identity,
        store: PeerStore,
        open: bool,
        book: Option<GuessBook>,
    ) -> Result<AuthPolicy, TlsError> {
        Ok(AuthPolicy {
            tls: tls::server_config(identity)?,
            own: identity.fingerprint(),
            store,
            open,
            book,
            remembers: true,
        })
    }

    /// Whether the holder of this key comes in without a code.
    ///
    /// # Errors
    /// [`PeerStoreError`] where nobody can tell who was paired.
    pub fn lets_in(&self, peer: &Fingerprint) -> Result<bool, PeerStoreError> {
        Ok(self.open || *peer == self.own || self.store.load()?.may_send(peer, now()))
    }

    /// What the holder of this key may do; all, where nothing else is said of it.
    ///
    /// # Errors
    /// [`PeerStoreError`] where nobody can tell.
    pub fn rights_of(&self, peer: &Fingerprint) -> Result<Rights, PeerStoreError> {
        Ok(self.store.load()?.sender(peer).map(|peer| peer.rights.clone()).unwrap_or_default())
    }

    /// Whether it is worth a note that the holder of this key is here.
    pub fn is_long_unseen(&self, peer: &Fingerprint) -> bool {
        let peers = self.store.load();
        peers.is_ok_and(|peers| peers.sender(peer).is_some_and(|peer| peer.is_long_unseen(now())))
    }

    /// What the holder of this key is called here; the beginning of the key where it has no name, and nothing
    /// where it is our own.
    pub fn name_of(&self, peer: &Fingerprint) -> Option<String> {
        if *peer == self.own {
            return None;
        }
        let peers = self.store.load().ok();
        let paired = peers.iter().flat_map(|peers| peers.senders()).find(|known| known.fingerprint == *peer);
        let key = || peer.to_string().chars().take(KEY_SHOWN_CHARS).collect();
        Some(paired.map_or_else(key, |known| known.name.clone()))
    }
}

/// In seconds since 1970 UTC. Before that the clock is wrong anyway.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How much of a key is shown where it stands for a name: enough to tell machines apart, and to name one to
/// `lanx trust`.
const KEY_SHOWN_CHARS: usize = 15;

/// A sender on its way.
#[derive(Clone)]
pub struct ClientAuth {
    pub tls: Arc<ClientConfig>,
    pub own: Fingerprint,
    pub store: PeerStore,
    /// What to prove to a receiver that does not know us.
    pub code: Option<Code>,
    pub first_sight: FirstSight,
    /// The key that the user said yes to, or that let us in before in this run. No other is taken after that,
    /// whether or not it could be remembered.
    pub agreed: Option<Fingerprint>,
}

/// Which receiver that lets everybody in may be trusted the first time it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstSight {
    None,
    /// One that the user named by an address, or by a name that the resolver knows. A name that was only
    /// announced is anybody's.
    Named,
}

/// What a sender knows of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquainted {
    /// It has the key it had before.
    Known,
    /// It has our own key, which nobody else can have, and was not met at this address before.
    Ourselves,
    /// Nobody was met at this address, or by this name. That its key is known from another one proves
    /// nothing: whoever is trusted there need not be who was meant here.
    Unknown,
    /// It had another key before.
    Changed { was: Fingerprint },
}

impl ClientAuth {
    /// # Errors
    /// [`TlsError`] where the identity cannot be used.
    pub fn new(identity: &Identity, store: PeerStore, code: Option<Code>) -> Result<ClientAuth, TlsError> {
        let tls = tls::client_config(identity)?;
        let own = identity.fingerprint();
        Ok(ClientAuth { tls, own, store, code, first_sight: FirstSight::None, agreed: None })
    }

    /// What we know of the receiver at `address` that has this key.
    ///
    /// # Errors
    /// [`PeerStoreError`] where what we knew cannot be read.
    pub fn standing(&self, address: &str, key: &Fingerprint) -> Result<Acquainted, PeerStoreError> {
        let peers = self.store.load()?;
        let ours = *key == self.own;
        Ok(match peers.host(address, key) {
            HostKey::Same => Acquainted::Known,
            // Nobody can pose as us, so this is no reason to warn, nor to forget whoever else is met there.
            HostKey::Changed { .. } if ours => Acquainted::Known,
            // Remembered like any other key, so that another one is noticed here the next time.
            HostKey::Unknown if ours => Acquainted::Ourselves,
            HostKey::Changed { was } => Acquainted::Changed { was },
            HostKey::Unknown => Acquainted::Unknown,
        })
    }

    /// An address at which this key was met before.
    ///
    /// # Errors
    /// [`PeerStoreError`] where what we knew cannot be read.
    pub fn met_as(&self, key: &Fingerprint) -> Result<Option<String>, PeerStoreError> {
        let peers = self.store.load()?;
        Ok(peers.hosts().iter().find(|host| host.fingerprint == *key).map(|host| host.address.clone()))
    }

    /// Whom we met by the name `host` at another port, where nobody we met by that name has this key, and it
    /// is not ours.
    ///
    /// # Errors
    /// [`PeerStoreError`] where what we knew cannot be read.
    pub fn namesake(&self, host: &str, key: &Fingerprint) -> Result<Option<KnownHost>, PeerStoreError> {
        if *key == self.own {
            return Ok(None);
        }
        Ok(self.store.load()?.namesake(host, key).cloned())
    }
}
