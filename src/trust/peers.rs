//! What is remembered of other machines: two lists that never mix.
//!
//! - *Allowed senders* may write to the receivers of this user. A key gets there by proving a code to a
//!   receiver.
//! - *Known hosts* are receivers to which this user has sent, and the key each one had. They may do nothing
//!   here;
//!   the list notices when another machine answers at the address.
//!
//! This module is the content; [`crate::trust::peer_store`] keeps it on disk.

use std::collections::HashSet;
use std::str::Utf8Error;

use serde::{Deserialize, Serialize};

use super::fingerprint::{Fingerprint, PREFIX};
use crate::limits;
use crate::name::RelativePath;

/// Shortest beginning of a fingerprint that stands for all of it in a command: 36 bits, so that nobody
/// removes the wrong peer by a typing error.
pub const FINGERPRINT_PREFIX_MIN_CHARS: usize = 6;

/// The highest version of the file that this program reads. It writes the lowest one that has all there is to
/// say.
const FORMAT: u32 = 2;

/// The version that knows neither rights nor when a machine was last here.
const FORMAT_PLAIN: u32 = 1;

/// A sender that may write to this user's receivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// What it is called here. No two have the same.
    pub name: String,
    /// When it was first paired, in seconds since 1970 UTC.
    pub paired_unix_seconds: u64,
    /// Where it last came from, for the eye only.
    pub last_address: String,
    /// When it was last let in, to the day or so; nothing where that was before anybody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_unix_seconds: Option<u64>,
    /// What it may do here, where that is less than everything.
    #[serde(default, skip_serializing_if = "Rights::are_all")]
    pub rights: Rights,
}

/// How what a sender may do is less than everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// The folder beneath the receiver's own that all it sends goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// It replaces nothing, whatever the receiver does otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_existing: bool,
    /// How many bytes may lie where it sends to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// From when on it may not send any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_seconds: Option<u64>,
}

impl Rights {
    fn are_all(&self) -> bool {
        *self == Rights::default()
    }

    /// Whether the time of its holder is up.
    pub fn have_expired(&self, now_unix_seconds: u64) -> bool {
        self.expires_unix_seconds.is_some_and(|end| end <= now_unix_seconds)
    }
}

impl Peer {
    /// When it was last here, as far as anybody noted.
    pub fn last_seen(&self) -> u64 {
        self.last_seen_unix_seconds.unwrap_or_default().max(self.paired_unix_seconds)
    }

    /// Whether it is worth a write that it is here.
    pub fn is_long_unseen(&self, now_unix_seconds: u64) -> bool {
        now_unix_seconds.saturating_sub(self.last_seen()) >= SEEN_SECONDS
    }
}

/// A receiver that this user has sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownHost {
    /// `host:port` as the user typed it, in small letters.
    pub address: String,
    /// The key it had.
    pub fingerprint: Fingerprint,
}

/// Everything remembered, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    format: u32,
    #[serde(default, rename = "allowed_sender", skip_serializing_if = "Vec::is_empty")]
    senders: Vec<Peer>,
    #[serde(default, rename = "known_host", skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<KnownHost>,
}

/// All of a file that every program can read.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// What is known of the machine that answered at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKey {
    /// Nothing was ever sent there.
    Unknown,
    /// It has the key it had before.
    Same,
    /// It has another key than before: another machine, a new identity, or somebody in between.
    Changed {
        /// The key it had.
        was: Fingerprint,
    },
}

/// Why a list cannot be changed, or is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// Nothing matches.
    #[error("no paired machine has the name or fingerprint {0:?}; `lanx trust` lists them")]
    NoSuchPeer(String),
    /// Several match.
    #[error("{wanted:?} stands for more than one paired machine: {}; give a whole fingerprint", matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The first few that match.
        matches: Vec<String>,
    },
    /// Two machines cannot have one name.
    #[error("the name {0:?} is taken by another paired machine; choose another")]
    NameTaken(String),
    /// A name that would not show well.
    #[error(
        "expected a name of 1 to {max} letters, digits, spaces or -_.@, got {0:?}",
        max = limits::PEER_NAME_MAX_CHARS
    )]
    BadName(String),
    /// No `host:port`.
    #[error(
        "expected an address like host:port of at most {max} visible characters, got {0:?}",
        max = limits::HOST_ADDRESS_MAX_BYTES
    )]
    BadAddress(String),
    /// A list has reached its bound.
    #[error("{what} are remembered up to {max}, and that many are; remove one first")]
    Full {
        /// `paired machines` or `known hosts`.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A file of a later lanx.
    #[error(
        "a newer lanx wrote it, in format {0}, and this lanx reads up to format {FORMAT}; install the newer lanx here"
    )]
    Format(u32),
    /// A folder that is none, or longer than is remembered.
    #[error("expected a folder beneath the receiver's, as in backups/monday, of at most {max} visible bytes, got {0:?}", max = limits::RIGHTS_INTO_MAX_BYTES)]
    BadFolder(String),
    /// The same thing stands in a list twice.
    #[error("{0:?} stands there twice")]
    Twice(String),
    /// No TOML, or not this TOML.
    #[error("{0}")]
    Toml(String),
}

impl PeersError {
    /// For a file that is no text, which is what a disk or an editor may leave of it.
    pub(super) fn not_text(bytes: &[u8], error: Utf8Error) -> PeersError {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        PeersError::Toml(format!("line {line}: it holds bytes that are no text"))
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self { format: FORMAT, senders: Vec::new(), hosts: Vec::new() }
    }
}

impl Peers {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Anything in it is unknown, missing, out of bounds or there twice. Half of such a list is never used: an
    /// entry that was lost could be the warning about a changed key.
    pub fn from_toml(text: &str) -> Result<Self, PeersError> {
        // First of all: a later format may hold what this program does not know.
        if let Ok(Version { format }) = toml::from_str(text)
            && format > FORMAT
        {
            return Err(PeersError::Format(format));
        }
        let peers: Self = toml::from_str(text).map_err(|error| not_understood(text, &error))?;
        if !(FORMAT_PLAIN..=FORMAT).contains(&peers.format) {
            let why = format!("it is of format {}, which no lanx has written", peers.format);
            return Err(PeersError::Toml(why));
        }
        // Going through the same doors as new entries checks every rule that holds for them.
        let mut checked = Self::default();
        for peer in &peers.senders {
            check_name(&peer.name)?;
            check_folder(peer.rights.into.as_deref())?;
            let last = clean_address(&peer.last_address)?;
            let new = Peer { last_address: last, ..peer.clone() };
            if checked.senders.iter().any(|old| old.name == new.name) {
                return Err(PeersError::Twice(new.name));
            }
            if checked.is_paired(&new.fingerprint) {
                return Err(PeersError::Twice(new.fingerprint.to_string()));
            }
            checked.push_sender(new)?;
        }
        let mut seen = HashSet::new();
        for host in &peers.hosts {
            let address = clean_address(&host.address)?;
            if !seen.insert(address.clone()) {
                return Err(PeersError::Twice(host.address.clone()));
            }
            checked.push_host(KnownHost { address, fingerprint: host.fingerprint })?;
        }
        Ok(checked)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// TOML cannot express it.
    pub fn to_toml(&self) -> Result<String, PeersError> {
        let is_plain = |peer: &Peer| peer.last_seen_unix_seconds.is_none() && peer.rights.are_all();
        let format = if self.senders.iter().all(is_plain) { FORMAT_PLAIN } else { FORMAT };
        let body = toml::to_string(&Self { format, ..self.clone() })
            .map_err(|error| PeersError::Toml(error.to_string()))?;
        Ok(format!(
            "# Written by lanx. allowed_sender: machines that may send to this user.\n\
             # known_host: receivers that this user has sent to; they may do nothing here.\n{body}"
        ))
    }

    /// The senders that may write to this user's receivers, in the order of pairing.
    pub fn senders(&self) -> &[Peer] {
        &self.senders
    }

    /// The receivers that this user has sent to.
    pub fn hosts(&self) -> &[KnownHost] {
        &self.hosts
    }

    /// The sender with this key.
    pub fn sender(&self, fingerprint: &Fingerprint) -> Option<&Peer> {
        self.senders.iter().find(|peer| peer.fingerprint == *fingerprint)
    }

    /// Whether this key may write to this user's receivers now.
    pub fn may_send(&self, fingerprint: &Fingerprint, now_unix_seconds: u64) -> bool {
        self.sender(fingerprint).is_some_and(|peer| !peer.rights.have_expired(now_unix_seconds))
    }

    /// Whether this key is among those that may write to this user's receivers, or might. Known hosts may
    /// not.
    pub fn is_paired(&self, fingerprint: &Fingerprint) -> bool {
        self.senders.iter().any(|peer| peer.fingerprint == *fingerprint)
    }

    /// What is known of the machine that answered at `address` with `fingerprint`.
    pub fn host(&self, address: &str, fingerprint: &Fingerprint) -> HostKey {
        match self.host_at(&address.to_lowercase()).map(|host| host.fingerprint) {
            None => HostKey::Unknown,
            Some(known) if known == *fingerprint => HostKey::Same,
            Some(was) => HostKey::Changed { was },
        }
    }

    /// A receiver remembered at some port of `host`, where none that is remembered there has this key. A
    /// machine may run several receivers, each with a key of its own.
    pub fn namesake(&self, host: &str, fingerprint: &Fingerprint) -> Option<&KnownHost> {
        let host = host.to_lowercase();
        let there = |known: &&KnownHost| known.address.rsplit_once(':').is_some_and(|(name, _)| name == host);
        let mut namesakes = self.hosts.iter().filter(there);
        if namesakes.clone().any(|known| known.fingerprint == *fingerprint) {
            return None;
        }
        namesakes.next()
    }

    /// Lets a sender in from now on. One that is in already keeps its name and date, and gets its new
    /// address. `name` is what the sender calls itself: characters that do not belong in a name become `_`,
    /// and a name that is taken gets a number.
    ///
    /// # Errors
    /// The list is full, or the address is none.
    pub fn remember_peer(
        &mut self,
        fingerprint: Fingerprint,
        name: &str,
        address: &str,
        now_unix_seconds: u64,
    ) -> Result<(), PeersError> {
        let last_address = clean_address(address)?;
        if let Some(peer) = self.senders.iter_mut().find(|peer| peer.fingerprint == fingerprint) {
            peer.last_address = last_address;
            // Whoever gave it the code wants it here once more; what it may do is not for the code to say.
            if peer.rights.have_expired(now_unix_seconds) {
                peer.rights.expires_unix_seconds = None;
            }
            return Ok(());
        }
        let name = self.free_name(&clean_name(name));
        let (paired_unix_seconds, rights) = (now_unix_seconds, Rights::default());
        let last_seen_unix_seconds = None;
        self.push_sender(Peer {
            fingerprint,
            name,
            paired_unix_seconds,
            last_address,
            last_seen_unix_seconds,
            rights,
        })
    }

    /// Notes that a sender was let in, unless that was noted a moment ago: not each transfer is worth a
    /// write.
    ///
    /// # Errors
    /// The address is none.
    pub fn note_seen(
        &mut self,
        fingerprint: &Fingerprint,
        address: &str,
        now_unix_seconds: u64,
    ) -> Result<(), PeersError> {
        let last_address = clean_address(address)?;
        let known = self.senders.iter_mut().find(|peer| peer.fingerprint == *fingerprint);
        if let Some(peer) = known.filter(|peer| peer.is_long_unseen(now_unix_seconds)) {
            peer.last_address = last_address;
            peer.last_seen_unix_seconds = Some(now_unix_seconds);
        }
        Ok(())
    }

    /// Changes what a sender may do. `wanted` is as in [`Self::remove_peer`].
    ///
    /// # Errors
    /// None or several match, or the folder is none.
    pub fn change_rights(
        &mut self,
        wanted: &str,
        change: impl FnOnce(&mut Rights),
    ) -> Result<Peer, PeersError> {
        let place = self.find(wanted)?;
        let peer = self.senders.get_mut(place).ok_or_else(|| PeersError::NoSuchPeer(shortened(wanted)))?;
        change(&mut peer.rights);
        check_folder(peer.rights.into.as_deref())?;
        Ok(peer.clone())
    }

    /// Stops letting in the senders that were last here before `then`, and those whose time is up. Returns
    /// them.
    pub fn prune(&mut self, then_unix_seconds: u64, now_unix_seconds: u64) -> Vec<Peer> {
        let goes = |peer: &mut Peer| {
            peer.last_seen() < then_unix_seconds || peer.rights.have_expired(now_unix_seconds)
        };
        self.senders.extract_if(.., goes).collect()
    }

    /// Calls a sender `name` from now on. `wanted` is as in [`Self::remove_peer`].
    ///
    /// # Errors
    /// None or several match, or the name is taken or no name.
    pub fn rename_peer(&mut self, wanted: &str, name: &str) -> Result<Peer, PeersError> {
        let name = name.trim();
        check_name(name)?;
        let place = self.find(wanted)?;
        let taken = self.senders.iter().enumerate();
        if taken.clone().any(|(other, peer)| other != place && peer.name == name) {
            return Err(PeersError::NameTaken(name.to_owned()));
        }
        let peer = self.senders.get_mut(place);
        let peer = peer.ok_or_else(|| PeersError::NoSuchPeer(shortened(wanted)))?;
        peer.name = name.to_owned();
        Ok(peer.clone())
    }

    /// Stops letting a sender in. `wanted` is its name, its fingerprint, or the beginning of its fingerprint
    /// (with or without `SHA256:`) of at least [`FINGERPRINT_PREFIX_MIN_CHARS`] characters.
    ///
    /// # Errors
    /// None or several match.
    pub fn remove_peer(&mut self, wanted: &str) -> Result<Peer, PeersError> {
        let place = self.find(wanted)?;
        Ok(self.senders.remove(place))
    }

    /// Pins the key of the receiver at `address`, in place of an earlier one.
    ///
    /// # Errors
    /// The list is full, or the address is none.
    pub fn remember_host(&mut self, address: &str, fingerprint: Fingerprint) -> Result<(), PeersError> {
        let address = clean_address(address)?;
        if let Some(host) = self.hosts.iter_mut().find(|host| host.address == address) {
            host.fingerprint = fingerprint;
            return Ok(());
        }
        self.push_host(KnownHost { address, fingerprint })
    }

    /// Adds one that is not there.
    fn push_host(&mut self, new: KnownHost) -> Result<(), PeersError> {
        let is_full = self.hosts.len() >= limits::KNOWN_HOSTS_MAX;
        let here = || self.hosts.iter().filter(|host| is_this_machine(host)).count();
        if is_full || (is_this_machine(&new) && here() >= limits::KNOWN_HERE_MAX) {
            // Scripts and tests meet this machine itself at ever new ports; those are the first to be
            // forgotten, and no other is.
            let Some(oldest) = self.hosts.iter().position(is_this_machine) else {
                let max = limits::KNOWN_HOSTS_MAX;
                return Err(PeersError::Full { what: "known hosts", max });
            };
            self.hosts.remove(oldest);
        }
        self.hosts.push(new);
        Ok(())
    }

    /// Unpins the key of the receiver at `address`. Says whether there was one.
    pub fn forget_host(&mut self, address: &str) -> bool {
        let before = self.hosts.len();
        let address = address.to_lowercase();
        self.hosts.retain(|host| host.address != address);
        self.hosts.len() != before
    }

    fn host_at(&self, address: &str) -> Option<&KnownHost> {
        self.hosts.iter().find(|host| host.address == address)
    }

    fn push_sender(&mut self, peer: Peer) -> Result<(), PeersError> {
        if self.senders.len() >= limits::PEERS_MAX {
            let max = limits::PEERS_MAX;
            return Err(PeersError::Full { what: "paired machines", max });
        }
        self.senders.push(peer);
        Ok(())
    }

    /// The one sender that `wanted` stands for. A whole fingerprint is never ambiguous, whatever names others
    /// have given themselves.
    fn find(&self, wanted: &str) -> Result<usize, PeersError> {
        let whole = wanted.parse::<Fingerprint>().ok();
        let digest = wanted.strip_prefix(PREFIX).unwrap_or(wanted);
        let long_enough = digest.len() >= FINGERPRINT_PREFIX_MIN_CHARS;
        let is_meant = |peer: &Peer| match whole {
            Some(fingerprint) => peer.fingerprint == fingerprint,
            None => {
                let text = peer.fingerprint.to_string();
                let own_digest = text.strip_prefix(PREFIX).unwrap_or(&text);
                peer.name == wanted || (long_enough && own_digest.starts_with(digest))
            }
        };
        let meant: Vec<(usize, &Peer)> =
            self.senders.iter().enumerate().filter(|(_, peer)| is_meant(peer)).collect();
        match meant.as_slice() {
            [] => Err(PeersError::NoSuchPeer(shortened(wanted))),
            [(place, _)] => Ok(*place),
            several => {
                let show = |(_, peer): &(usize, &Peer)| format!("{} ({})", peer.name, peer.fingerprint);
                let matches = several.iter().take(4).map(show).collect();
                Err(PeersError::Ambiguous { wanted: shortened(wanted), matches })
            }
        }
    }

    /// `name`, or with the first number that makes it free.
    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.senders.iter().any(|peer| peer.name == name);
        let numbered = |number: usize| {
            let ending = format!("-{number}");
            let room = limits::PEER_NAME_MAX_CHARS - ending.len();
            name.chars().take(room).chain(ending.chars()).collect::<String>()
        };
        // One more than there are names is always enough.
        std::iter::once(name.to_owned())
            .chain((2..self.senders.len() + 3).map(numbered))
            .find(|name| !taken(name))
            .unwrap_or_else(|| numbered(self.senders.len() + 3))
    }
}

/// How long a sender may have been here and it need not be noted once more.
const SEEN_SECONDS: u64 = 6 * 3600;

fn check_folder(into: Option<&str>) -> Result<(), PeersError> {
    let Some(into) = into else { return Ok(()) };
    let is_good = into.len() <= limits::RIGHTS_INTO_MAX_BYTES
        && !into.chars().any(char::is_control)
        && RelativePath::from_wire(into.as_bytes()).is_ok();
    if is_good { Ok(()) } else { Err(PeersError::BadFolder(shortened(into))) }
}

/// In one line: an error of the parser quotes the text and points at it.
fn not_understood(text: &str, error: &toml::de::Error) -> PeersError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    PeersError::Toml(format!("line {}: {}", 1 + before.matches('\n').count(), error.message()))
}

fn is_this_machine(host: &KnownHost) -> bool {
    ["127.", "[::1]:", "localhost:"].iter().any(|start| host.address.starts_with(start))
}

fn belongs_in_a_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | '@' | ' ')
}

fn check_name(name: &str) -> Result<(), PeersError> {
    let chars = name.chars().count();
    let good = (1..=limits::PEER_NAME_MAX_CHARS).contains(&chars)
        && name.trim() == name
        && name.chars().all(belongs_in_a_name);
    if good { Ok(()) } else { Err(PeersError::BadName(shortened(name))) }
}

/// A name that shows safely, whatever the peer said.
fn clean_name(name: &str) -> String {
    let safe = |character| {
        if belongs_in_a_name(character) { character } else { '_' }
    };
    let clean: String = name.trim().chars().take(limits::PEER_NAME_MAX_CHARS).map(safe).collect();
    match clean.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// Names of machines have no case (RFC 4343), so addresses are kept in small letters.
fn clean_address(address: &str) -> Result<String, PeersError> {
    let address = address.to_lowercase();
    let visible = |character: char| !character.is_whitespace() && !character.is_control();
    let good = (1..=limits::HOST_ADDRESS_MAX_BYTES).contains(&address.len()) && address.chars().all(visible);
    if good { Ok(address) } else { Err(PeersError::BadAddress(shortened(&address))) }
}

/// What a message repeats of a text that may be of any length.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
