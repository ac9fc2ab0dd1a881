//! Whatever a receiver may say on the control connection.
#![no_main]

use lanx::wire::message::ReceiverMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lanx_fuzz::round_trip::<ReceiverMessage>(bytes));
