//! Foreign names and foreign text: what reaches the disk, and what reaches a terminal.
#![no_main]

use std::path::Path;

use lanx::limits::NAME_BYTES_MAX;
use lanx::name::{Escaped, Name, Sentence};
use lanx::name::Text;
use libfuzzer_sys::fuzz_target;

/// Whether a terminal would do something about it but show it.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fuzz_target!(|bytes: &[u8]| {
    for shown in
        [Escaped(bytes).to_string(), Sentence(bytes).to_string(), Text::from_foreign(bytes).to_string()]
    {
        assert!(!shown.contains(is_harmful), "{shown:?}");
    }
    // What was escaped once may be sent on, and must not grow each time.
    let text = Text::from_foreign(bytes);
    assert_eq!(Text::from_foreign(text.to_string().as_bytes()), text);
    match Name::from_wire(bytes) {
        Ok(name) => {
            assert_eq!(name.as_bytes(), bytes);
            assert!((1..=NAME_BYTES_MAX).contains(&bytes.len()));
            let path = Path::new(name.as_os_str());
            assert_eq!(path.components().count(), 1);
            assert_eq!(path.file_name(), Some(name.as_os_str()));
            assert!(!bytes.contains(&b'/') && !bytes.contains(&0));
            assert!(!(bytes.starts_with(b".") && bytes.ends_with(b".lanx-part")));
        }
        Err(bad) => assert!(!bad.to_string().contains(is_harmful)),
    }
});
