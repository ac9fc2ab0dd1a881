//! Receivers that are found by name, and networks that change.

mod finding;
#[cfg(target_os = "linux")]
mod large_packets;
#[cfg(target_os = "linux")]
mod moving;
#[cfg(target_os = "linux")]
mod networks;
