//! What strangers say on the streams of the door over UDP: whatever it is, they are sent away, and nobody's transfer suffers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lanx::trust::tls;
use lanx::wire::preface::{BELONGING_BYTES, PREFACE_BYTES, Role, Status};
use lanx::wire::seal::TAG_BYTES;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::time::timeout;

use crate::common::peer::identity;
use crate::common::*;

/// A stranger that has completed the handshake with the receiver.
async fn connected(scene: &Scene, addr: SocketAddr) -> Connection {
    let tls = tls::client_config(&identity(&scene.path("stranger"))).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.connect_with(config, addr, "0.0.0.0").unwrap().await.unwrap()
}

/// What is said first on a stream: anything, in part what could be meant.
fn words(n: u64) -> Vec<u8> {
    let role = if n.is_multiple_of(2) { Role::Control } else { Role::Data };
    let belonging = noise(n, BELONGING_BYTES + TAG_BYTES);
    let mut words = [&role.encode()[..], &belonging].concat();
    match n % 5 {
        0 => words = noise(n, 1 + n as usize * 7 % 300),
        1 => words[n as usize * 3 % PREFACE_BYTES] ^= 1 << (n % 8),
        2 => words.truncate(n as usize % PREFACE_BYTES),
        _ => {}
    }
    words
}

#[tokio::main(flavor = "current_thread")]
async fn speak(scene: &Scene, addr: SocketAddr) {
    for n in 0..60 {
        let connection = connected(scene, addr).await;
        let said = async {
            // Of two streams the second stays shut, whatever the first has said.
            if n % 3 == 0 {
                let mut stream = connection.open_uni().await.unwrap();
                let _ = stream.write_all(&words(n)).await;
                let _ = stream.finish();
                let _ = stream.stopped().await;
            } else {
                let (mut send, mut receive) = connection.open_bi().await.unwrap();
                let _ = send.write_all(&words(n)).await;
                let _ = send.finish();
                let answer = receive.read_to_end(PREFACE_BYTES).await.unwrap_or_default();
                let welcome = Status::Welcome.encode();
                assert!(n % 2 == 0 || !answer.starts_with(&welcome), "{n}: it was let in");
            }
        };
        let _ = timeout(Duration::from_secs(1), said).await;
    }
}

#[test]
fn strangers_say_anything_on_streams_and_a_transfer_goes_on() {
    let scene = Scene::over_quic();
    let receiver = scene.receiver();
    let file = make(&scene.src, "image.raw", 40 * CHUNK);
    let sender =
        scene.start_send(&["--retry-for", "0", "--limit", "2M", "-c", "10"], &[&file], receiver.addr);
    wait_until("it has begun", PATIENCE, || part_path(&scene.dst, "image.raw").exists());
    speak(&scene, receiver.addr);
    sender.finish(PATIENCE).expect_success();
    assert_arrived(&[&file], &scene.dst);
    let later = make(&scene.src, "later", 10);
    scene.send(&[&later], receiver.addr).expect_success();
}

/// Whoever opens a data connection without knowing a session's secret is sent away, and so is the connection that it came on.
#[tokio::main(flavor = "current_thread")]
async fn open_without_a_proof(scene: &Scene, addr: SocketAddr) {
    let connection = connected(scene, addr).await;
    let mut stream = connection.open_uni().await.unwrap();
    let hello = [&Role::Data.encode()[..], &noise(1, BELONGING_BYTES + TAG_BYTES)].concat();
    stream.write_all(&hello).await.unwrap();
    timeout(PATIENCE, connection.closed()).await.expect("the receiver ends it");
    let connection = connected(scene, addr).await;
    let _first = connection.open_uni().await.unwrap();
    timeout(Duration::from_millis(500), connection.open_uni()).await.expect_err("a second stream");
}

#[test]
fn a_stranger_has_one_stream_and_no_data_connection() {
    let scene = Scene::over_quic();
    let receiver = scene.receiver();
    open_without_a_proof(&scene, receiver.addr);
    assert!(listing(&scene.dst).is_empty());
}
