//! The cryptography that TLS and the identity are made of.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};

/// The cryptography of every connection: that of aws-lc, with key exchange by X25519 together with
/// ML-KEM-768, so that what is recorded today stays closed to a quantum computer later, or by X25519 alone.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}
