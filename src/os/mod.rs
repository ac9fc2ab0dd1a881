//! What is asked of the operating system.

pub mod background;
pub mod clock;
pub mod cpu;
pub mod direct;
pub mod file_system;
pub mod program;
pub mod rlimit;
pub mod said;
pub mod stamp;
pub mod threads;
