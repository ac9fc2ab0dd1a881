//! The header of a frame: all that is read of it before anybody has vouched for it.
#![no_main]

use lanx::limits::CHUNK_BYTES;
use lanx::wire::frame::{HEADER_BYTES, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: [u8; HEADER_BYTES]| {
    if let Ok(header) = Header::decode(&bytes) {
        assert!(header.content_bytes <= CHUNK_BYTES);
        assert_eq!(header.encode(), bytes);
    }
});
