//! What a person or a script is shown.

pub mod events;
pub mod keys;
pub mod log;
mod meter;
pub mod out;
pub mod paint;
pub mod progress;
pub mod screen;
pub mod summary;
pub mod view;
