//! The tests of the whole program, in one crate: what they share is compiled once, and they are linked once.
//!
//! `cargo test --test suite NAME::` runs those of one module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends at the first surprise"
)]

mod common;

#[cfg(target_os = "linux")]
mod abilities;
mod bad_input;
mod bottleneck;
mod browser;
mod browser_people;
mod browser_trouble;
mod carriers;
mod changes;
mod closed_streams;
mod compress;
mod config;
mod config_errors;
mod dataset;
mod delta;
#[cfg(target_os = "linux")]
mod destination;
#[cfg(target_os = "linux")]
mod direct;
#[cfg(target_os = "linux")]
mod discovery;
#[cfg(target_os = "linux")]
mod disk;
mod doctor;
mod documents;
#[cfg(target_os = "linux")]
mod errors;
mod exec;
mod existing;
mod faults;
mod fencing;
mod few_descriptors;
mod finding;
#[cfg(target_os = "linux")]
mod full_disk;
mod help;
#[cfg(target_os = "linux")]
mod holes;
mod hostile_compression;
#[cfg(target_os = "linux")]
mod hostile_memory;
mod hostile_offers;
mod hostile_receiver;
mod hostile_sender;
mod hostile_streams;
mod house;
mod identity;
mod impostors;
mod json;
mod json_errors;
mod kill_rounds;
#[cfg(target_os = "linux")]
mod large_packets;
mod limit;
mod listed;
mod many;
mod memory;
mod metrics;
#[cfg(target_os = "linux")]
mod moving;
#[cfg(target_os = "linux")]
mod oracles;
mod outlives;
mod output;
mod packages;
mod pipelines;
mod quic;
mod quic_strangers;
mod reloading;
mod remembered;
mod renamed;
mod rights;
mod screen;
mod scripts;
mod sealed;
mod second_sender;
mod service;
mod serving;
mod several;
#[cfg(target_os = "linux")]
mod soak;
mod strangers;
mod stream_usage;
mod streams;
#[cfg(target_os = "linux")]
mod swapped;
mod tls_strangers;
mod transfer;
mod trees;
mod trust;
mod trust_prompts;
mod unfinished;
mod unread;
#[cfg(target_os = "linux")]
mod web_bounds;
mod web_field;
mod web_folder;
mod web_get;
mod web_hostile;
mod web_liars;
mod web_pieces;
mod web_proof;
mod web_put;
mod web_serve;
mod words;
