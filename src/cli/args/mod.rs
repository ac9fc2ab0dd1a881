//! The command line.

pub mod complaint;
pub mod dash;
pub mod examples;
pub mod group;
pub mod line;
pub mod recv;
pub mod send;
pub mod values;
