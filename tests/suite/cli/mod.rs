//! What people, scripts and service managers say to the program and hear of it.

mod bad_input;
mod config;
mod config_errors;
mod doctor;
#[cfg(target_os = "linux")]
mod errors;
mod exec;
mod help;
mod json;
mod json_errors;
mod metrics;
mod reloading;
mod screen;
mod service;
mod serving;
mod unread;
mod words;
