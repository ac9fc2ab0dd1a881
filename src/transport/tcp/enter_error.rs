//! Why a sender is not let in, or does not want to come in.

use std::net::SocketAddr;

use super::address::Peer;
use super::connect::ConnectError;
use crate::protocol::text::Text;
use crate::session::End;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::pairing::PairingError;
use crate::trust::peer_store::PeerStoreError;
use crate::trust::peers::KnownHost;

/// Why a sender did not get in. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{addr} did not let us in: {end}; try again, and see what `lanx recv` says there")]
    Handshake { addr: SocketAddr, end: End },
    #[error(
        "the encrypted connection to {addr} failed: {reason}; try again, and see that both machines have the same lanx"
    )]
    Tls { addr: SocketAddr, reason: String },
    #[error("{addr} hung up during the handshake; it may be too busy with others, try again")]
    HungUp { addr: SocketAddr },
    #[error(
        "{addr} hung up while the code was being proved; see what `lanx recv` says there, and that it is the machine that you mean"
    )]
    HungUpOnCode { addr: SocketAddr },
    #[error(transparent)]
    Store(#[from] PeerStoreError),
    #[error(
        "THE KEY OF {peer} HAS CHANGED from {was} to {now}: lanx was set up anew there, or somebody poses as that machine. Nothing was \
         sent; if you know why it changed, run `lanx trust remove {address}` and send again"
    )]
    KeyChanged { peer: Peer, address: Box<str>, was: Fingerprint, now: Fingerprint },
    #[error(
        "{peer} announces the key {announced} and has {now}: it is being set up anew, or somebody else answers in its place. Nothing \
         was sent; name it by its address: lanx send FILE HOST"
    )]
    OtherKey { peer: Peer, announced: Fingerprint, now: Fingerprint },
    #[error(
        "{peer} IS NOT WHO ANSWERED AT {known} BEFORE: it has the key {now}, not {was}. It is another receiver of that name, or somebody \
         poses as it. Nothing was sent; name another one by its address, and if lanx was set up anew there, run \
         `lanx trust remove {known}` and send again",
        known = known.address, was = known.fingerprint
    )]
    Namesake { peer: Peer, known: Box<KnownHost>, now: Fingerprint },
    #[error(
        "anybody on this network can announce the name {peer}, and it was never sent to, so nothing was sent; name it by its address, \
         send to it once from a terminal, or set the same code at both ends (LANX_CODE or --code-file)"
    )]
    OnlyFound { peer: Peer },
    #[error("{peer} does not know this machine and wants the code that it shows")]
    CodeWanted { peer: Peer },
    #[error("{peer} lets everybody in and was never seen before; its key is {key}")]
    FirstSight { peer: Peer, key: Fingerprint },
    #[error(
        "{peer} does not know this machine, and no code was given; start `lanx recv` there in a terminal and send from one, or set the \
         same code at both ends (LANX_CODE or --code-file), or copy your identity there (SECURITY.md)"
    )]
    NoCode { peer: Peer },
    #[error("{peer} did not let us in: {text}; see what `lanx recv` says there")]
    SentAway { peer: Peer, text: Text },
    #[error("{peer} has another code than the one given; look at its screen and try again")]
    WrongCode { peer: Peer },
    #[error(
        "{peer} could not prove that it knows the code: it is not the machine you think it is, or somebody in between \
         changes what is sent; nothing was sent, look at the address and the code before trying again"
    )]
    Impostor { peer: Peer },
    #[error("{peer} has heard too many wrong codes; try again in {seconds} s")]
    Later { peer: Peer, seconds: u32 },
    #[error(transparent)]
    Pairing(PairingError),
}

impl EnterError {
    /// Whether the same may succeed in a moment, with nobody doing anything about it.
    pub fn is_passing(&self) -> bool {
        match self {
            EnterError::Connect(error) => !matches!(error, ConnectError::OtherVersion { .. }),
            EnterError::Handshake { .. }
            | EnterError::Tls { .. }
            | EnterError::HungUp { .. }
            | EnterError::HungUpOnCode { .. }
            | EnterError::Later { .. } => true,
            _ => false,
        }
    }

    /// Whether the receiver, or the network, ended the connection without a word, and nothing speaks against trying once more.
    /// Something does once the code was in use: each time whoever poses as the receiver can test another one with it.
    pub fn was_hung_up_on(&self) -> bool {
        matches!(
            self,
            EnterError::Connect(ConnectError::HungUp { .. })
                | EnterError::HungUp { .. }
                | EnterError::Handshake { end: End::Lost(_), .. }
        )
    }

    /// What the receiver hears of it, whose user wonders as well; nothing where it knows, or is nobody to talk to.
    pub(super) fn parting(&self) -> Option<&'static str> {
        match self {
            EnterError::KeyChanged { .. } => Some("it has another key on record for this machine"),
            EnterError::Namesake { .. } => Some("it has another key on record for a machine of this name"),
            EnterError::OtherKey { .. } => Some("this machine has another key than it announces"),
            EnterError::FirstSight { .. } => Some("it asks its user whether to trust this machine"),
            EnterError::OnlyFound { .. } => Some("it never sent to this machine, which it found by its name"),
            _ => None,
        }
    }
}
