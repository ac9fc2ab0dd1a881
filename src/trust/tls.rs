//! TLS 1.3 between two keys.
//!
//! Certificates here are envelopes for a key. Whether that key is welcome is decided after the handshake, by
//! fingerprint; the handshake proves only that the peer holds it. So a verifier accepts every certificate
//! with an Ed25519 key, whatever its name, issuer or expiry, and checks the handshake signature in full.
//!
//! There is no resumption, no ticket and no early data: a transfer makes one control connection, and a full
//! handshake each time keeps the exporter (and with it the session secret) new.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, ConnectionCommon, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, PeerIncompatible, PeerMisbehaved, ServerConfig, SignatureScheme,
};

use super::crypto::provider;
use super::fingerprint::{Fingerprint, FingerprintError};
use super::identity::Identity;
use super::pairing::ChannelBinding;
use crate::wire::ALPN;
use crate::wire::seal::{SECRET_BYTES, SessionSecret};

/// Exporter label (RFC 5705, section 4; RFC 8446, section 7.5) of the value that pairing is bound to.
pub const PAIRING_EXPORTER_LABEL: &[u8] = b"EXPORTER-lanx-2-pairing";

/// Exporter label of the secret that data connections take their keys from. Another label than pairing's, so
/// that neither value says anything about the other.
pub const SESSION_EXPORTER_LABEL: &[u8] = b"EXPORTER-lanx-2-session";

/// Why a TLS connection cannot be made or is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls did not take the configuration.
    #[error("cannot set up TLS 1.3 with this identity: {0}")]
    Setup(Error),
    /// The other side did something else in the handshake.
    #[error("it did not speak TLS correctly: {0}")]
    Handshake(Error),
    /// The peer did not agree on [`ALPN`].
    #[error(
        "expected the protocol {}, the other side speaks {got}; use the same version of lanx on both machines",
        String::from_utf8_lossy(ALPN)
    )]
    OtherProtocol {
        /// What it named, or `none`.
        got: String,
    },
    /// One certificate was expected.
    #[error("expected one certificate from the other side, got {0}")]
    CertificateCount(usize),
    /// The certificate is not one of lanx.
    #[error("the other side's certificate is refused: {0}")]
    Certificate(#[from] FingerprintError),
    /// Keys were asked for before there are any.
    #[error("cannot derive keys from this TLS connection: {0}")]
    Exporter(Error),
}

/// What a receiver listens with: its identity, and a demand for the peer's.
///
/// # Errors
/// rustls refuses the identity.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(Arc::new(AnyEd25519))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// What a sender connects with. The server name to go with it is [`unused_server_name`].
///
/// # Errors
/// rustls refuses the identity.
pub fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyEd25519))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The name that rustls wants for a connection. An address, so that none is sent; nobody compares it.
pub fn unused_server_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

/// Who is at the other end of a connection whose handshake is complete.
///
/// # Errors
/// The peer did not agree on [`ALPN`], or see [`peer_fingerprint`].
pub fn established_peer<Side>(connection: &ConnectionCommon<Side>) -> Result<Fingerprint, TlsError> {
    // rustls lets a client through that offers no protocol at all.
    match connection.alpn_protocol() {
        Some(protocol) if protocol == ALPN => peer_fingerprint(connection.peer_certificates()),
        other => {
            let got = other.map_or("none".into(), |name| name.escape_ascii().to_string());
            Err(TlsError::OtherProtocol { got })
        }
    }
}

/// The fingerprint of the one certificate that a peer presented.
///
/// # Errors
/// There is none or more than one, or it does not hold an Ed25519 key in a reasonable size.
pub fn peer_fingerprint(certificates: Option<&[CertificateDer<'_>]>) -> Result<Fingerprint, TlsError> {
    match certificates.unwrap_or_default() {
        [one] => Ok(Fingerprint::of_certificate(one)?),
        other => Err(TlsError::CertificateCount(other.len())),
    }
}

/// The value that pairing over this connection is bound to. Equal at both ends of one connection, and
/// different on any other, so also on the two connections of somebody in the middle.
///
/// # Errors
/// The handshake is not complete.
pub fn channel_binding<Side>(connection: &ConnectionCommon<Side>) -> Result<ChannelBinding, TlsError> {
    connection
        .export_keying_material([0; 32], PAIRING_EXPORTER_LABEL, None)
        .map(ChannelBinding::new)
        .map_err(TlsError::Exporter)
}

/// The secret that the data connections of this session take their keys from.
///
/// # Errors
/// The handshake is not complete.
pub fn session_secret<Side>(connection: &ConnectionCommon<Side>) -> Result<SessionSecret, TlsError> {
    connection
        .export_keying_material([0; SECRET_BYTES], SESSION_EXPORTER_LABEL, None)
        .map(SessionSecret::new)
        .map_err(TlsError::Exporter)
}

/// Accepts any certificate with an Ed25519 key, and only handshakes signed with that very key.
#[derive(Debug)]
struct AnyEd25519;

impl AnyEd25519 {
    fn check_certificate(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let refuse =
            |error: TlsError| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))));
        if !intermediates.is_empty() {
            return Err(refuse(TlsError::CertificateCount(1 + intermediates.len())));
        }
        Fingerprint::of_certificate(end_entity).map_err(|error| refuse(error.into()))?;
        Ok(())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
}

/// TLS 1.2 is compiled out; rustls asks all the same.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOffered.into())
}

impl ServerCertVerifier for AnyEd25519 {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check_certificate(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for AnyEd25519 {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check_certificate(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
