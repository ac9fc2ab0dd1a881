//! The first bytes of every connection.
#![no_main]

use lanx::wire::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, Role, Status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: ([u8; PREFACE_BYTES], [u8; BELONGING_BYTES])| {
    let (preface, belonging) = bytes;
    if let Ok(role) = Role::decode(preface) {
        assert_eq!(role.encode(), preface);
    }
    if let Ok(status) = Status::decode(preface) {
        assert_eq!(status.encode(), preface);
    }
    assert_eq!(Belonging::decode(belonging).encode(), belonging);
});
