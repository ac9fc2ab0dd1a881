//! Whatever a sender may say on the control connection.
#![no_main]

use lanx::wire::message::SenderMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lanx_fuzz::round_trip::<SenderMessage>(bytes));
