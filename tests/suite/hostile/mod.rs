//! Peers and strangers that break the rules, and what that costs.

mod compression;
mod offers;
mod quic_strangers;
mod receiver;
mod sender;
#[cfg(target_os = "linux")]
mod sessions;
mod strangers;
mod streams;
mod tls_strangers;
