//! A HOST that is the name of a receiver.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::browse::Browse;
use super::record::Sighting;
use super::service::Kind;
use crate::limits::{FIND_FOR, PORT_DEFAULT};
use crate::net::address::{Peer, shown};
use crate::net::tcp::dial::{ConnectError, resolve_elsewhere};

/// How long more of a receiver's addresses are waited for when its first are there, and others of the same
/// name.
const FIND_SETTLE: Duration = Duration::from_millis(250);

/// Why a HOST leads nowhere. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error(
        "cannot find {peer}: {reason}, and no receiver of that name answers; see `lanx list`, or use the address that `lanx recv` shows"
    )]
    Unknown {
        peer: Peer,
        reason: String,
        /// The names of those that do answer.
        seen: Vec<String>,
    },
    #[error(
        "{peer} is the name of several receivers: {}; use the address of one",
        places.join(", ")
    )]
    Ambiguous { peer: Peer, places: Vec<String> },
}

impl LocateError {
    /// What could not be located.
    pub fn peer(&self) -> &Peer {
        match self {
            LocateError::Unknown { peer, .. } | LocateError::Ambiguous { peer, .. } => peer,
        }
    }
}

/// Finds out where those of `peers` are that have a plain name which the resolver does not know, or knows as
/// that of this machine, where nothing listens. All others are left as they are, without a wait; so are those
/// for which nobody can look here.
///
/// # Errors
/// None or several receivers of that name answer within [`FIND_FOR`].
pub async fn locate(peers: &mut [Peer]) -> Result<(), LocateError> {
    let unknown = unknown(peers, |peer| async move { resolve_elsewhere(&peer).await }).await;
    if unknown.is_empty() {
        return Ok(());
    }
    let Ok(mut browse) = Browse::start(Kind::Receiver).inspect_err(|error| tracing::info!("{error}")) else {
        return Ok(());
    };
    look(&mut browse, unknown.iter().map(|(peer, _)| &**peer)).await;
    let here = browse.here();
    for (peer, reason) in unknown {
        *peer = match &matching(peer, &here)[..] {
            [only] => only.peer(),
            [] => {
                let seen = here.iter().map(|sighting| sighting.name.clone()).collect();
                return Err(LocateError::Unknown { peer: peer.clone(), reason, seen });
            }
            several => {
                let places = several.iter().filter_map(|sighting| sighting.addrs.first());
                return Err(LocateError::Ambiguous {
                    peer: peer.clone(),
                    places: places.map(shown).collect(),
                });
            }
        };
    }
    Ok(())
}

/// Those of `peers` that have a plain name and that cannot be resolved to another machine, and why. The
/// resolver is asked for all of them at the same time, so that one that does not answer is waited for once.
async fn unknown<Asked>(peers: &mut [Peer], ask: impl Fn(Peer) -> Asked) -> Vec<(&mut Peer, String)>
where
    Asked: Future<Output = Result<Vec<SocketAddr>, ConnectError>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for (at, peer) in peers.iter().enumerate().filter(|(_, peer)| peer.link_name().is_some()) {
        let answer = ask(peer.clone());
        asked.spawn(async move { (at, answer.await) });
    }
    let mut reasons = HashMap::new();
    while let Some(answer) = asked.join_next().await {
        let Ok((at, Err(error))) = answer else { continue };
        match error {
            ConnectError::Unknown { reason, .. } => reasons.insert(at, reason),
            ConnectError::OwnName { peer, .. } => {
                let port = peer.port;
                reasons.insert(
                    at,
                    format!("that is this machine's own name, where nothing listens on port {port}"),
                )
            }
            _ => None,
        };
    }
    let places = peers.iter_mut().enumerate();
    places.filter_map(|(at, peer)| Some((peer, reasons.remove(&at)?))).collect()
}

/// Looks until each of `peers` was seen and a little longer, or for [`FIND_FOR`].
async fn look<'a>(browse: &mut Browse, peers: impl Iterator<Item = &'a Peer> + Clone) {
    let mut end = Instant::now() + FIND_FOR;
    let mut settling = false;
    while timeout_at(end, browse.next()).await.is_ok() {
        let here = browse.here();
        if !settling && peers.clone().all(|peer| !matching(peer, &here).is_empty()) {
            settling = true;
            end = end.min(Instant::now() + FIND_SETTLE);
        }
    }
}

/// The receivers that `peer` may stand for: of its name and its port, or where the user gave none, of any
/// port.
fn matching<'a>(peer: &Peer, here: &[&'a Sighting]) -> Vec<&'a Sighting> {
    let name = peer.link_name().unwrap_or(&peer.host).to_lowercase();
    let named: Vec<&Sighting> = here.iter().copied().filter(|sighting| sighting.name == name).collect();
    let there: Vec<&Sighting> = named.iter().copied().filter(|sighting| sighting.port == peer.port).collect();
    if there.is_empty() && peer.port == PORT_DEFAULT { named } else { there }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Barrier;

    use super::*;

    fn sighting(name: &str, addr: &str) -> Sighting {
        let addr: std::net::SocketAddr = addr.parse().unwrap();
        Sighting {
            name: name.into(),
            port: addr.port(),
            addrs: vec![addr],
            key: None,
            version: None,
            quic: false,
            secure: false,
        }
    }

    #[test]
    fn a_name_stands_for_a_receiver_of_that_name_and_port() {
        let all = [
            sighting("nas", "10.0.0.1:7269"),
            sighting("nas", "10.0.0.2:9000"),
            sighting("attic", "10.0.0.3:4000"),
            sighting("twin", "10.0.0.4:7269"),
            sighting("twin", "10.0.0.5:7269"),
        ];
        let here: Vec<&Sighting> = all.iter().collect();
        for (host, places) in [
            ("nas", vec!["10.0.0.1:7269"]),
            ("NAS:9000", vec!["10.0.0.2:9000"]),
            ("nas.local", vec!["10.0.0.1:7269"]),
            ("nas:9001", vec![]),
            ("attic", vec!["10.0.0.3:4000"]),
            ("attic:4000", vec!["10.0.0.3:4000"]),
            ("cellar", vec![]),
            ("twin", vec!["10.0.0.4:7269", "10.0.0.5:7269"]),
        ] {
            let found = matching(&host.parse().unwrap(), &here);
            let found: Vec<String> = found.iter().map(|sighting| sighting.addrs[0].to_string()).collect();
            assert_eq!(found, places, "{host}");
        }
    }

    #[tokio::test]
    async fn all_names_are_asked_for_at_the_same_time_and_stay_in_their_order() {
        let mut peers = ["nas", "10.0.0.1", "attic", "cellar"].map(|peer| peer.parse::<Peer>().unwrap());
        // Whoever is asked for one after the other never gets past it.
        let all_asked = Arc::new(Barrier::new(3));
        let ask = |peer: Peer| {
            let all_asked = all_asked.clone();
            async move {
                all_asked.wait().await;
                let unknown = ConnectError::Unknown { host: peer.host.clone(), reason: peer.host.clone() };
                if peer.host == "attic" { Ok(Vec::new()) } else { Err(unknown) }
            }
        };
        let unknown = timeout_at(Instant::now() + FIND_FOR, unknown(&mut peers, ask)).await.unwrap();
        let unknown: Vec<&str> = unknown.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(unknown, ["nas", "cellar"]);
    }

    #[tokio::test]
    async fn addresses_and_names_that_the_resolver_knows_are_left_as_they_are() {
        let mut peers =
            ["127.0.0.1", "[::1]:9", "localhost", "no-such-host.invalid"].map(|p| p.parse().unwrap());
        let before = peers.clone();
        locate(&mut peers).await.unwrap();
        assert_eq!(peers, before);
    }
}
