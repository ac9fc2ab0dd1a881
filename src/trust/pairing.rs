//! Proving a code to each other without telling it: SPAKE2, bound to the TLS connection.
//!
//! ```text
//! sender (guesses)                                   receiver (shows the code)
//! Initiator::start      -- SPAKE2 message, 33 bytes -->
//!                       <-- SPAKE2 message, 33 bytes -- Responder::answer
//! Initiator::confirm    -- sender's proof, 32 bytes -->
//!                       <-- receiver's proof, 32 bytes -- Responder::verify
//! Confirming::finish
//! ```
//!
//! Each state is a type whose step consumes it, so no step can be repeated or left out.
//!
//! The sender proves first. The receiver's message alone is equally likely under every code, so whoever poses
//! as a sender has to commit to one guess and hears nothing but yes or no; whoever poses as a receiver can
//! test the one guess it put into its own message, and no other. Nothing that either of them records helps to
//! try codes at home.
//!
//! The identities of SPAKE2 are both fingerprints. Its key K is joined with the TLS exporter value E of this
//! connection: the proofs are `HMAC-SHA256(HKDF-SHA256(salt E, key K, info label), sender || receiver || X ||
//! Y)` with a label for each side. Somebody in the middle who ends TLS on both sides has two connections with
//! two values, and no proof made on one holds on the other.
//!
//! SPAKE2 is that of the crate `spake2` (Abdalla and Pointcheval 2005, on Ed25519, as in magic-wormhole). RFC
//! 9382 describes the same exchange with other constants; proofs on both sides follow its section 4.

use aws_lc_rs::{hkdf, hmac};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::code::Code;
use super::fingerprint::Fingerprint;

/// A SPAKE2 message: a byte that names the side, and a point.
pub type Message = [u8; 33];

/// A proof: HMAC-SHA256.
pub type Proof = [u8; 32];

const SENDER_LABEL: &[u8] = b"lanx/2 pairing: proof of the sender";
const RECEIVER_LABEL: &[u8] = b"lanx/2 pairing: proof of the receiver";

/// The TLS exporter value of the connection, see [`crate::trust::tls::channel_binding`]. Cleared when
/// dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ChannelBinding([u8; 32]);

impl ChannelBinding {
    /// Takes the exporter value.
    pub fn new(value: [u8; 32]) -> Self {
        Self(value)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why pairing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The peer's SPAKE2 message is not one.
    #[error("expected a SPAKE2 message of {} bytes, got something else; use the same version of lanx on both machines", size_of::<Message>())]
    Message,
    /// The peer's proof does not hold.
    #[error(
        "the code is wrong, or somebody between the two machines is changing what they say; check the code on the receiving machine and try again"
    )]
    Refused,
    /// The cryptographic library failed.
    #[error("cannot compute the proof: the cryptographic library failed")]
    Crypto,
}

/// Who pairs with whom over which connection. The same on both sides.
pub struct Setting<'a> {
    /// The sender's fingerprint, from its certificate.
    pub sender: Fingerprint,
    /// The receiver's fingerprint, from its certificate.
    pub receiver: Fingerprint,
    /// The exporter value of the connection.
    pub binding: &'a ChannelBinding,
}

/// The sender, waiting for the receiver's message.
pub struct Initiator<'a> {
    setting: Setting<'a>,
    exchange: Spake2<Ed25519Group>,
    own: Message,
}

/// The sender, waiting for the receiver's proof.
pub struct Confirming(Proofs);

/// The receiver, waiting for the sender's proof.
pub struct Responder(Proofs);

impl<'a> Initiator<'a> {
    /// Begins with the code that the user typed. Send the message.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn start(code: &Code, setting: Setting<'a>) -> Result<(Self, Message), PairingError> {
        let (sender, receiver) = setting.identities();
        let (exchange, own) = Spake2::start_a(&Password::new(code.password().as_slice()), &sender, &receiver);
        let own = Message::try_from(own).map_err(|_| PairingError::Crypto)?;
        Ok((Self { setting, exchange, own }, own))
    }

    /// Takes the receiver's message. Send the proof.
    ///
    /// # Errors
    /// The message has another length or is no point, or the cryptographic library failed.
    pub fn confirm(self, message: &[u8]) -> Result<(Confirming, Proof), PairingError> {
        let key = finish(self.exchange, message)?;
        let proofs = Proofs::new(&self.setting, &key, &self.own, message)?;
        let proof = proofs.of_sender()?;
        Ok((Confirming(proofs), proof))
    }
}

impl Confirming {
    /// Takes the receiver's proof. `Ok` means that the receiver knows the code and that nobody is in between:
    /// remember its key.
    ///
    /// # Errors
    /// The proof does not hold.
    pub fn finish(self, proof: &[u8]) -> Result<(), PairingError> {
        hmac::verify(&self.0.receiver, &self.0.transcript, proof).map_err(|_| PairingError::Refused)
    }
}

impl Responder {
    /// Answers the sender's message with the code of [`crate::trust::guesses::CodeGuess::code`]. Send the
    /// message.
    ///
    /// # Errors
    /// The sender's message has another length or is no point, or the cryptographic library failed. Nothing was
    /// learned by that, so it is no guess.
    pub fn answer(
        code: &Code,
        setting: &Setting<'_>,
        message: &[u8],
    ) -> Result<(Self, Message), PairingError> {
        let (sender, receiver) = setting.identities();
        let (exchange, own) =
            Spake2::<Ed25519Group>::start_b(&Password::new(code.password().as_slice()), &sender, &receiver);
        let own = Message::try_from(own).map_err(|_| PairingError::Crypto)?;
        let key = finish(exchange, message)?;
        Ok((Self(Proofs::new(setting, &key, message, &own)?), own))
    }

    /// Takes the sender's proof. If it holds, call [`crate::trust::guesses::CodeGuess::right`]; if that
    /// agrees, let the sender in, remember it and send the proof that is returned here.
    ///
    /// # Errors
    /// The proof does not hold. Call [`crate::trust::guesses::CodeGuess::wrong`] and tell the sender nothing but that.
    pub fn verify(self, proof: &[u8]) -> Result<Proof, PairingError> {
        hmac::verify(&self.0.sender, &self.0.transcript, proof).map_err(|_| PairingError::Refused)?;
        self.0.of_receiver()
    }
}

impl Setting<'_> {
    fn identities(&self) -> (Identity, Identity) {
        (Identity::new(&self.sender.0), Identity::new(&self.receiver.0))
    }
}

/// The crate checks the length, the side (so that a message cannot be sent back to where it came from) and
/// that the point is one.
fn finish(exchange: Spake2<Ed25519Group>, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, PairingError> {
    exchange.finish(message).map(Zeroizing::new).map_err(|_| PairingError::Message)
}

/// Both proofs' keys, and what is proved.
struct Proofs {
    sender: hmac::Key,
    receiver: hmac::Key,
    transcript: Vec<u8>,
}

impl Proofs {
    fn new(
        setting: &Setting<'_>,
        key: &[u8],
        from_sender: &[u8],
        from_receiver: &[u8],
    ) -> Result<Self, PairingError> {
        let joined = hkdf::Salt::new(hkdf::HKDF_SHA256, &setting.binding.0).extract(key);
        // All four parts have a fixed length here, so the concatenation can be read in one way only.
        let transcript = [&setting.sender.0[..], &setting.receiver.0, from_sender, from_receiver].concat();
        Ok(Self {
            sender: proof_key(&joined, SENDER_LABEL)?,
            receiver: proof_key(&joined, RECEIVER_LABEL)?,
            transcript,
        })
    }

    fn of_sender(&self) -> Result<Proof, PairingError> {
        sign(&self.sender, &self.transcript)
    }

    fn of_receiver(&self) -> Result<Proof, PairingError> {
        sign(&self.receiver, &self.transcript)
    }
}

fn proof_key(joined: &hkdf::Prk, label: &[u8]) -> Result<hmac::Key, PairingError> {
    let info = [label];
    let expanded = joined.expand(&info, hmac::HMAC_SHA256).map_err(|_| PairingError::Crypto)?;
    Ok(hmac::Key::from(expanded))
}

fn sign(key: &hmac::Key, transcript: &[u8]) -> Result<Proof, PairingError> {
    Proof::try_from(hmac::sign(key, transcript).as_ref()).map_err(|_| PairingError::Crypto)
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
