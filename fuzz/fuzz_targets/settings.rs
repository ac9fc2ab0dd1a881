//! What users, their files and their scripts say: lists of peers, codes, addresses.
#![no_main]

use lanx::net::address::Peer;
use lanx::trust::code::Code;
use lanx::trust::peers::Peers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(peers) = Peers::from_toml(text) {
        let written = peers.to_toml().expect("what was read can be written");
        let again = Peers::from_toml(&written).expect("what was written can be read");
        assert_eq!(again.to_toml().as_deref().ok(), Some(&written[..]));
    }
    if let Ok(code) = Code::from_text(text) {
        assert_eq!(
            Code::from_text(code.reveal()).map(|again| again.reveal().to_owned()).ok(),
            Some(code.reveal().into())
        );
    }
    if let Ok(peer) = text.parse::<Peer>() {
        assert_eq!(peer.to_string().parse(), Ok(peer));
    }
});
