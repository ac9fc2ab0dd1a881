//! What sealing costs: one chunk of 256 KiB and one record of 16 KiB, in place, in cache.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark may stop at the first surprise")]

use divan::Bencher;
use divan::counter::BytesCount;
use lanx::wire::seal::{Cipher, DataKeys, SessionSecret};

const CASES: [(Cipher, usize); 4] = [
    (Cipher::Aes256Gcm, 16 * 1024),
    (Cipher::Aes256Gcm, 256 * 1024),
    (Cipher::ChaCha20Poly1305, 16 * 1024),
    (Cipher::ChaCha20Poly1305, 256 * 1024),
];

fn main() {
    println!("preferred on this machine: {:?}", Cipher::preferred());
    divan::main();
}

fn keys(cipher: Cipher) -> DataKeys {
    let secret = SessionSecret::new([1; 32]);
    secret.data_keys(cipher, &[2; 16], 3).expect("keys")
}

#[divan::bench(args = CASES)]
fn seal(bencher: Bencher, (cipher, size): (Cipher, usize)) {
    let (mut sealer, _) = keys(cipher).for_sender();
    sealer.prove(b"hello").expect("hello");
    let mut payload = vec![7; size];
    bencher.counter(BytesCount::new(size)).bench_local(|| sealer.seal(b"header", &mut payload));
}

/// Every frame opens once, so the input is sealed beforehand and copied; the copy is outside of the
/// measurement.
#[divan::bench(args = CASES)]
fn open(bencher: Bencher, (cipher, size): (Cipher, usize)) {
    let (mut sealer, _) = keys(cipher).for_sender();
    let (_, mut opener) = keys(cipher).for_receiver();
    let tag = sealer.prove(b"hello").expect("hello");
    opener.check_proof(b"hello", &tag).expect("hello");
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            let mut payload = vec![7; size];
            let tag = sealer.seal(b"header", &mut payload).expect("seal");
            (payload, tag)
        })
        .bench_local_values(|(mut payload, tag)| {
            opener.open(b"header", &mut payload, &tag).expect("open");
            payload
        });
}
