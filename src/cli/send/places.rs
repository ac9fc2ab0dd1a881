//! Where receivers were reached last that only this network knows by their names, so that the next transfer
//! need not look for them. A place is only where to try first: the handshake proves that the key there is the
//! one that is known by that name.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::acquaintances::Acquaintances;
use crate::limits::PORT_DEFAULT;
use crate::net::address::{Found, Peer};
use crate::os::background::aside;
use crate::trust::dir::{self, ConfigDir, Draft, FileError, Guard};

/// The file in the configuration folder.
const FILE_NAME: &str = "places.toml";

/// Bytes of it that are read: some thousand places.
const BYTES_MAX: usize = 256 << 10;

/// Places that are remembered; then it begins anew.
const PLACES_MAX: usize = 1000;

/// By the name.
type Places = BTreeMap<String, SocketAddr>;

/// Leads each peer to where its name was reached last, if its key is known.
pub fn try_first(peers: &mut [Peer], known: &Acquaintances) {
    let places = file().map(|file| read(&file)).unwrap_or_default();
    for peer in peers.iter_mut().filter(|peer| peer.is_plain_name()) {
        if let Some(there) = place(peer, &places, known) {
            *peer = there;
        }
    }
}

fn place(peer: &Peer, places: &Places, known: &Acquaintances) -> Option<Peer> {
    let host = peer.host.to_lowercase();
    // Without a port any will do.
    let addr = places.get(&host).filter(|addr| [PORT_DEFAULT, addr.port()].contains(&peer.port))?;
    let there = Peer::new(host, addr.port());
    let key = known.key_of(&there.address())?;
    let found = Found { addrs: vec![*addr], key: Some(key), remembered_for: Some(peer.port) };
    Some(Peer { found: Some(Arc::new(found)), ..there })
}

/// Remembers where a receiver was reached that was found by its name. A transfer goes on without it.
pub async fn remember(peer: &Peer, addr: SocketAddr) {
    let (Some(_), Some(file)) = (&peer.found, file()) else { return };
    let host = peer.host.to_lowercase();
    let work = move || {
        let mut places = read(&file);
        if places.insert(host.clone(), addr) == Some(addr) {
            return Ok(());
        }
        if places.len() > PLACES_MAX {
            places.retain(|other, _| *other == host);
        }
        let text = toml::to_string(&places).unwrap_or_default();
        Draft::write(&file, text.as_bytes())?.publish_over(&file)
    };
    let stored: Result<Result<(), FileError>, _> = aside(work).await;
    if let Ok(Err(error)) = stored {
        tracing::debug!("it will be looked for again: {error}");
    }
}

fn file() -> Option<PathBuf> {
    ConfigDir::existing(|name| env::var_os(name)).ok()?.map(|folder| folder.path().join(FILE_NAME))
}

/// Nothing where it cannot be read or understood: then receivers are looked for.
fn read(file: &std::path::Path) -> Places {
    let bytes = dir::read(file, Guard::Trusted, BYTES_MAX).unwrap_or_default();
    std::str::from_utf8(&bytes).ok().and_then(|text| toml::from_str(text).ok()).unwrap_or_default()
}
