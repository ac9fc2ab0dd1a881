//! Handshakes in memory, with honest and dishonest peers.

use rustls::HandshakeKind;
use rustls::client::ClientConnection;
use rustls::server::ServerConnection;
use rustls::sign::CertifiedKey;

use super::*;
use crate::trust::identity::tests::fresh;

/// Carries bytes both ways until neither side has any left or one refuses.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "stuck in the handshake");
    Ok(())
}

fn connect(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client = ClientConnection::new(client, unused_server_name()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    shake(&mut client, &mut server).map(|()| (client, server))
}

/// A client that presents whatever `key` holds.
fn client_with(key: CertifiedKey) -> Arc<ClientConfig> {
    let mut config = (*client_config(&fresh()).unwrap()).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    Arc::new(config)
}

fn server_with(key: CertifiedKey) -> Arc<ServerConfig> {
    let mut config = (*server_config(&fresh()).unwrap()).clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(key));
    Arc::new(config)
}

/// The certificate of one identity with the key of another.
fn forged() -> CertifiedKey {
    let (victim, forger) = (fresh().certified(), fresh().certified());
    CertifiedKey::new(victim.cert.clone(), Arc::clone(&forger.key))
}

#[test]
fn both_sides_learn_each_others_fingerprint_and_the_same_secrets() {
    let (sender, receiver) = (fresh(), fresh());
    let (client_config, server_config) = (client_config(&sender).unwrap(), server_config(&receiver).unwrap());
    let (client, server) = connect(client_config.clone(), server_config.clone()).unwrap();
    assert_eq!(established_peer(&client).unwrap(), receiver.fingerprint());
    assert_eq!(established_peer(&server).unwrap(), sender.fingerprint());
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);

    let binding = channel_binding(&client).unwrap();
    let secret = session_secret(&client).unwrap();
    assert_eq!(binding.as_bytes(), channel_binding(&server).unwrap().as_bytes());
    assert_eq!(secret.as_bytes(), session_secret(&server).unwrap().as_bytes());
    assert_ne!(binding.as_bytes(), secret.as_bytes());

    let (again, _) = connect(client_config, server_config).unwrap();
    assert_eq!(again.handshake_kind(), Some(HandshakeKind::Full), "a session was resumed");
    assert_ne!(binding.as_bytes(), channel_binding(&again).unwrap().as_bytes());
    assert_ne!(secret.as_bytes(), session_secret(&again).unwrap().as_bytes());
}

#[test]
fn the_server_sends_no_tickets_and_takes_no_early_data() {
    let config = server_config(&fresh()).unwrap();
    assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
    let (mut client, _) = connect(client_config(&fresh()).unwrap(), config).unwrap();
    assert!(client.early_data().is_none());
}

#[test]
fn secrets_are_not_handed_out_before_the_handshake_is_complete() {
    let config = client_config(&fresh()).unwrap();
    let client = ClientConnection::new(config, unused_server_name()).unwrap();
    assert!(matches!(channel_binding(&client), Err(TlsError::Exporter(_))));
    assert!(matches!(session_secret(&client), Err(TlsError::Exporter(_))));
    assert!(established_peer(&client).is_err());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyEd25519))
        .with_no_client_auth();
    let error = connect(Arc::new(client), server_config(&fresh()).unwrap());
    // A client that speaks no ALPN is let through by rustls, so it is the certificate that is missed.
    assert_eq!(error.unwrap_err(), Error::NoCertificatesPresented);
}

#[test]
fn a_client_with_the_certificate_of_somebody_else_is_refused() {
    let error = connect(client_with(forged()), server_config(&fresh()).unwrap());
    assert_eq!(error.unwrap_err(), Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn a_server_with_the_certificate_of_somebody_else_is_refused() {
    let error = connect(client_config(&fresh()).unwrap(), server_with(forged()));
    assert_eq!(error.unwrap_err(), Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn keys_of_another_kind_are_refused_on_both_sides() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let foreign = || {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
            let chain = vec![params.self_signed(&key).unwrap().der().clone()];
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            CertifiedKey::from_der(chain, key.into(), &provider()).unwrap()
        };
        assert!(connect(client_with(foreign()), server_config(&fresh()).unwrap()).is_err());
        assert!(connect(client_config(&fresh()).unwrap(), server_with(foreign())).is_err());
        assert!(AnyEd25519::check_certificate(&foreign().cert[0], &[]).is_err());
    }
}

#[test]
fn a_chain_of_certificates_is_refused() {
    let own = fresh().certified();
    let chain = vec![own.cert[0].clone(), fresh().certified().cert[0].clone()];
    let key = CertifiedKey::new(chain.clone(), Arc::clone(&own.key));
    assert!(connect(client_with(key), server_config(&fresh()).unwrap()).is_err());
    assert!(matches!(peer_fingerprint(Some(&chain)), Err(TlsError::CertificateCount(2))));
    assert!(matches!(peer_fingerprint(Some(&[])), Err(TlsError::CertificateCount(0))));
    assert!(matches!(peer_fingerprint(None), Err(TlsError::CertificateCount(0))));
}

#[test]
fn a_client_of_another_protocol_is_refused() {
    let mut other = (*client_config(&fresh()).unwrap()).clone();
    other.alpn_protocols = vec![b"h2".to_vec()];
    let error = connect(Arc::new(other.clone()), server_config(&fresh()).unwrap());
    assert_eq!(error.unwrap_err(), Error::NoApplicationProtocol);

    other.alpn_protocols = vec![];
    let (client, server) = connect(Arc::new(other), server_config(&fresh()).unwrap()).unwrap();
    assert!(matches!(established_peer(&server), Err(TlsError::OtherProtocol { .. })));
    assert!(matches!(established_peer(&client), Err(TlsError::OtherProtocol { .. })));
}

#[test]
fn a_tls_1_2_client_is_refused_at_its_hello() {
    let extensions: &[u8] = &[
        0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d, // supported_groups: x25519
        0x00, 0x0b, 0x00, 0x02, 0x01, 0x00, // ec_point_formats: uncompressed
        0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x08, 0x07, // signature_algorithms: ed25519
    ];
    let mut body = vec![0x03, 0x03]; // TLS 1.2
    body.extend_from_slice(&[7; 32]); // random
    body.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0]); // no session, one 1.2 suite, no compression
    body.extend_from_slice(&[0, extensions.len() as u8]);
    body.extend_from_slice(extensions);
    let mut record = vec![0x16, 0x03, 0x01, 0, body.len() as u8 + 4];
    record.extend_from_slice(&[1, 0, 0, body.len() as u8]);
    record.extend_from_slice(&body);

    let mut server = ServerConnection::new(server_config(&fresh()).unwrap()).unwrap();
    server.read_tls(&mut record.as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
}
