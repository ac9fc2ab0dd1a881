//! `lanx serve`, its page, and `lanx get`.

#[cfg(target_os = "linux")]
mod bounds;
mod browser;
mod browser_people;
mod browser_trouble;
mod field;
mod folder;
mod get;
mod hostile;
mod liars;
mod pieces;
mod proof;
mod put;
mod serve;
