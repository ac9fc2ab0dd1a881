//! What a person or a script is shown.

pub mod events;
pub mod log;
pub mod out;
pub mod progress;
pub mod summary;
