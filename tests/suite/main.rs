//! The tests of the whole program, in one crate: what they share is compiled once, and they are linked once.
//!
//! A folder for each subject; `cargo test --test suite resume::` runs those of one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends at the first surprise"
)]

mod common;

mod cli;
mod discovery;
mod hostile;
mod limits;
mod project;
mod resume;
mod transfer;
mod trust;
mod web;
