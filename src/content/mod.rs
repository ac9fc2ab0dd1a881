//! What a file is made of, wherever it is: chunks, the BLAKE3 tree over them, and what is told of it besides.

pub mod chunk;
pub mod compress;
pub mod entry;
pub mod tree;
pub mod whole;
pub mod zeros;
