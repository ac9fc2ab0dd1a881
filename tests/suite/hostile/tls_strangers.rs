//! Strangers who speak TLS as well as anybody, but not as lanx does.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::common::peer::{HandSender, before_tls, client_hello, hello, identity, offer};
use crate::common::*;
use lanx::trust::tls;
use lanx::wire::message::{Barred, ReceiverMessage, put_framed};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, SignatureScheme};

/// Shows no certificate at all.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, names: usize) -> Arc<CertifiedKey> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<String> = (0..names).map(|n| format!("machine-{n}.example")).collect();
    let chain = vec![rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(CertifiedKey::from_der(chain, key.into(), &provider).unwrap())
}

/// Shakes hands with these settings and says hello. Whether the receiver answers that at all.
fn is_answered(config: ClientConfig, receiver: &Receiver) -> bool {
    let mut tcp = before_tls(None, receiver.addr).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), tls::unused_server_name()).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
    let mut said = Vec::new();
    put_framed(&hello(1, None), &mut said);
    // Each of these may fail, at whichever point the receiver has had enough.
    matches!(stream.write_all(&said).and_then(|()| stream.read(&mut [0; 1])), Ok(1))
}

#[test]
fn certificates_of_any_other_kind_and_none_at_all_are_refused_in_the_handshake() {
    let scene = Scene::new();
    // Even where everybody is let in.
    let receiver = scene.receiver_with(&["--open"]);
    let id = identity(&scene.path("stranger"));
    let with = |resolver: Arc<dyn ResolvesClientCert>| {
        let mut config = (*tls::client_config(&id).unwrap()).clone();
        config.client_auth_cert_resolver = resolver;
        config
    };
    let key = |algorithm, names| Arc::new(SingleCertAndKey::from(certificate(algorithm, names)));
    for resolver in [
        key(&rcgen::PKCS_ECDSA_P256_SHA256, 1) as Arc<dyn ResolvesClientCert>,
        key(&rcgen::PKCS_RSA_SHA256, 1),
        // Of the right kind, but as long as no certificate has to be.
        key(&rcgen::PKCS_ED25519, 300),
        Arc::new(Nobody),
    ] {
        assert!(!is_answered(with(resolver), &receiver));
    }
    assert!(is_answered((*tls::client_config(&id).unwrap()).clone(), &receiver), "nobody is answered");
    receiver.wait_for_stderr("refused 127.0.0.1: ");
    assert!(!receiver.process.stderr.text().contains("panicked"), "{}", receiver.process.story());
    let file = make(&scene.src, "file", 5);
    scene.send(&[&file], receiver.addr).expect_success();
}

#[test]
fn a_tls_client_of_another_protocol_is_refused() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--open"]);
    let id = identity(&scene.path("stranger"));
    for protocols in [vec![], vec![b"h2".to_vec(), b"http/1.1".to_vec()], vec![b"lanx/1".to_vec()]] {
        let mut config = (*tls::client_config(&id).unwrap()).clone();
        config.alpn_protocols = protocols;
        assert!(!is_answered(config, &receiver));
    }
}

#[test]
fn a_tls_client_with_a_key_of_the_right_kind_is_let_in_no_further_than_to_the_code() {
    let scene = Scene::new();
    for (code, answer) in
        [(None, ReceiverMessage::Barred(Barred::NoCode)), (Some(CODE), ReceiverMessage::CodeWanted)]
    {
        let receiver = scene.receiver_of("bob", &[], code);
        let mut stranger =
            HandSender::connect(None, &identity(&scene.path("mallory")), receiver.addr).unwrap();
        assert_eq!(stranger.hello(16).unwrap(), answer);
        // An offer in the place of a proof is not heard.
        let _ = stranger.talk.say(&offer(0, "file", 5));
        assert!(stranger.hear().is_err());
        assert_eq!(listing(&scene.dst), Vec::<std::ffi::OsString>::new());
    }
}

#[test]
fn a_client_hello_of_tls_1_2_is_refused() {
    let scene = Scene::new();
    let receiver = scene.receiver_with(&["--open"]);
    let mut hello = client_hello(&identity(&scene.path("stranger")));
    // The list of versions (RFC 8446, section 4.2.1) offers 1.3 alone; this one offers 1.2 alone.
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let at = hello.windows(versions.len()).position(|part| part == versions).unwrap();
    hello[at + versions.len() - 1] = 3;
    let mut tcp = before_tls(None, receiver.addr).unwrap();
    tcp.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    // An alert (RFC 8446, section 6), or nothing.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    receiver.wait_for_stderr("refused 127.0.0.1: it did not speak TLS correctly: ");
}
