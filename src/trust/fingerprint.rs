//! The name of a key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde::{Deserialize, Serialize};

use crate::limits;

/// SHA-256 of the SubjectPublicKeyInfo (DER) of a peer's certificate.
///
/// It names the key and not the certificate around it: whoever holds the key may make a new certificate at
/// any time (another name, another expiry) and is still the same peer, and a certificate says nothing that
/// lanx believes apart from its key. RFC 7858 and RFC 7469 pin the same bytes for the same reason.
///
/// Shown as ssh shows keys: `SHA256:` and 43 characters of base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

/// Before the digest, as ssh-keygen writes it.
pub const PREFIX: &str = "SHA256:";

/// Base64 characters of 32 bytes without padding: 256 bits, six at a time.
const DIGEST_CHARS: usize = 43;

/// The SubjectPublicKeyInfo of every Ed25519 key begins with these bytes and continues with the 32 of the key
/// (RFC 8410, section 4: algorithm 1.3.101.112 without parameters, then a bit string without unused bits).
const ED25519_SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519_SPKI_BYTES: usize = ED25519_SPKI_HEAD.len() + 32;

/// Why no fingerprint came out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The text does not have the shape of a fingerprint.
    #[error(
        "expected a fingerprint like {PREFIX} and {DIGEST_CHARS} base64 characters, got {0:?}; `lanx` prints it on the other machine"
    )]
    Text(String),
    /// The certificate is longer than any that lanx makes.
    #[error(
        "expected a certificate of at most {max} bytes, got {0}",
        max = limits::CERTIFICATE_MAX_BYTES
    )]
    TooLong(usize),
    /// The certificate cannot be parsed.
    #[error("expected an X.509 certificate, got bytes that are none ({0})")]
    Damaged(String),
    /// The certificate holds a key of another kind.
    #[error("expected a certificate with an Ed25519 key, got one with a key of another kind")]
    NotEd25519,
}

impl Fingerprint {
    /// The fingerprint of the key in `certificate`.
    ///
    /// # Errors
    /// The certificate is longer than [`limits::CERTIFICATE_MAX_BYTES`], damaged, or holds anything other than
    /// an Ed25519 key. This is the one door through which certificates come in, so the kind of key is checked
    /// here for everybody.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, FingerprintError> {
        if certificate.len() > limits::CERTIFICATE_MAX_BYTES {
            return Err(FingerprintError::TooLong(certificate.len()));
        }
        let parsed = ParsedCertificate::try_from(certificate)
            .map_err(|error| FingerprintError::Damaged(error.to_string()))?;
        let key_info = parsed.subject_public_key_info();
        if key_info.len() != ED25519_SPKI_BYTES || !key_info.starts_with(&ED25519_SPKI_HEAD) {
            return Err(FingerprintError::NotEd25519);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &key_info).as_ref());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        // A hostile or mistaken argument must not fill the screen.
        let wrong = || FingerprintError::Text(text.chars().take(80).collect());
        let digest = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        if digest.len() != DIGEST_CHARS {
            return Err(wrong());
        }
        let bytes = STANDARD_NO_PAD.decode(digest).map_err(|_| wrong())?;
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(key: &rcgen::KeyPair, name: &str) -> CertificateDer<'static> {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(key).unwrap().der().clone()
    }

    #[test]
    fn text_form_is_what_ssh_prints_and_parses_back() {
        let fingerprint = Fingerprint([0xfb; 32]);
        let text = "SHA256:+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse(), Ok(fingerprint));
    }

    #[test]
    fn text_that_differs_in_anything_is_refused() {
        let good = Fingerprint([7; 32]).to_string();
        let last_bits_set = format!("{}V", &good[..good.len() - 1]);
        for bad in [
            "",
            "SHA256:",
            &good[PREFIX.len()..],
            &good[..good.len() - 1],
            &format!("{good}="),
            &format!(" {good}"),
            &good.replace("SHA256", "sha256"),
            &last_bits_set,
            "SHA256:äääääääääääääääääääääö",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_same_key_in_another_certificate_has_the_same_fingerprint() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let (one, two) = (certificate(&key, "one"), certificate(&key, "two"));
        assert_ne!(one, two);
        let fingerprint = Fingerprint::of_certificate(&one).unwrap();
        assert_eq!(Fingerprint::of_certificate(&two).unwrap(), fingerprint);

        let mut key_info = ED25519_SPKI_HEAD.to_vec();
        key_info.extend_from_slice(key.public_key_raw());
        let digest = digest::digest(&digest::SHA256, &key_info);
        assert_eq!(fingerprint.0, digest.as_ref());
    }

    #[test]
    fn keys_that_are_not_ed25519_are_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            assert_eq!(
                Fingerprint::of_certificate(&certificate(&key, "x")),
                Err(FingerprintError::NotEd25519)
            );
        }
    }

    #[test]
    fn a_key_of_the_same_length_for_another_algorithm_is_refused() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut der = certificate(&key, "x").to_vec();
        let head = der.windows(12).position(|part| part == ED25519_SPKI_HEAD).unwrap();
        der[head + 8] = 0x6e; // X25519 (RFC 8410, section 3)
        assert_eq!(
            Fingerprint::of_certificate(&CertificateDer::from(der)),
            Err(FingerprintError::NotEd25519)
        );
    }

    #[test]
    fn damaged_and_oversized_certificates_are_refused() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let whole = certificate(&key, "x");
        for cut in 0..whole.len() {
            let part = CertificateDer::from(&whole[..cut]);
            assert!(Fingerprint::of_certificate(&part).is_err(), "cut at {cut}");
        }
        let long = CertificateDer::from(vec![0x30; limits::CERTIFICATE_MAX_BYTES + 1]);
        assert!(matches!(Fingerprint::of_certificate(&long), Err(FingerprintError::TooLong(_))));
    }
}
