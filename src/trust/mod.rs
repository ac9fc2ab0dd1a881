//! Who may write to this machine, and how two machines come to trust each other.
//!
//! # The handshake, step by step
//!
//! 1. Each side has an [`identity`]: an Ed25519 key in a self-signed certificate, made on first use in the
//!    [`dir`]. Its name is the [`fingerprint`] of the key.
//! 2. The sender opens a TLS 1.3 connection ([`tls`]). Both present their certificate and prove that they
//!    hold its key.
//!    Nobody has been compared with anything yet: [`tls::established_peer`] says who is there.
//! 3. The sender compares the receiver's fingerprint with what it remembers for the address that the user
//!    typed
//!    ([`peers::Peers::host`]). The same key: go on. Another one: stop and say so. None: go on, and pair.
//! 4. The receiver lets the sender in if it has the receiver's own fingerprint, or was paired before
//!    ([`peers::Peers::is_paired`]), or if the receiver is open to everybody. Otherwise it asks for a code.
//! 5. The sender takes a [`code`] from its user and sends the first message of [`pairing`].
//! 6. The receiver asks [`guesses::GuessBook::offer`] whether a guess may be made now. If so it answers with
//!    its
//!    SPAKE2 message.
//! 7. The sender proves that it knows the code, the receiver that it does too; the sender first.
//!    [`pairing::Responder::verify`] decides, then [`guesses::CodeGuess::right`] or [`guesses::CodeGuess::wrong`].
//! 8. Both remember: the receiver the sender's key ([`peer_store::PeerStore::remember_peer`]), the sender the
//!    receiver's key for this address ([`peer_store::PeerStore::remember_host`]).
//! 9. Data connections take their keys from [`tls::session_secret`]; see [`crate::wire::seal`].
//!
//! # Pairing has a direction
//!
//! A code lets the sender's key write to the receiver, and pins the receiver's key at the sender. It does not
//! let the receiver write back: that machine's user has typed a code, not opened a door. So what is
//! remembered has two lists that never mix, and a receiver's key that a sender pinned, by code or on first
//! sight under `--open`, opens nothing.

pub mod code;
pub(crate) mod crypto;
pub mod dir;
pub mod fingerprint;
pub mod guesses;
pub mod identity;
pub mod pairing;
pub mod peer_store;
pub mod peers;
pub mod policy;
pub mod tls;
