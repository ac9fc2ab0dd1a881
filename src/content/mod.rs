//! What a file is made of, wherever it is: chunks, and the BLAKE3 tree over them.

pub mod chunk;
pub mod compress;
pub mod tree;
