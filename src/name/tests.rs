use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;
use proptest::prelude::*;

fn refused(bytes: &[u8]) -> NameFault {
    Name::from_wire(bytes).expect_err("must be refused").fault()
}

#[test]
fn a_name_that_is_no_single_component_is_refused() {
    assert_eq!(refused(b""), NameFault::Empty);
    assert_eq!(refused(b"."), NameFault::Dots);
    assert_eq!(refused(b".."), NameFault::Dots);
    assert_eq!(refused(b"a/b"), NameFault::Slash);
    assert_eq!(refused(b"/etc/passwd"), NameFault::Slash);
    assert_eq!(refused(b"../x"), NameFault::Slash);
    assert_eq!(refused(b"x/"), NameFault::Slash);
    assert_eq!(refused(b"a\0b"), NameFault::Nul);
}

#[test]
fn a_name_of_255_bytes_is_taken_and_of_256_refused() {
    assert!(Name::from_wire(&[b'x'; 255]).is_ok());
    assert_eq!(refused(&[b'x'; 256]), NameFault::TooLong { bytes: 256 });
}

#[test]
fn an_odd_but_legal_name_is_kept_byte_for_byte() {
    for odd in [
        &b"-rf"[..],
        b"new\nline",
        b"\x1b[2J",
        "gpj.\u{202e}exe".as_bytes(),
        b"\xff\xfe",
        b"back\\slash",
        b" ",
        b"...",
        b".hidden",
        b"a.lanx-part",
        b".lanx-parts",
        b".x.lanx-part.txt",
    ] {
        let name = Name::from_wire(odd).expect("legal");
        assert_eq!(name.as_bytes(), odd);
        assert_eq!(name.as_os_str().as_bytes(), odd);
        assert_eq!(Name::from_local(OsStr::from_bytes(odd)), Ok(name));
    }
}

#[test]
fn a_name_that_any_file_system_could_take_for_a_part_file_is_refused() {
    for part in [
        &b".x.lanx-part"[..],
        b".lanx-part",
        b".x.1.lanx-part",
        b".\xff.lanx-part",
        b".X.LANX-Part",
        b".x.lanx-part.",
        b".x.lanx-part . .",
        ".x.lanx\u{200d}-part".as_bytes(),
        "\u{feff}.x.lanx-part".as_bytes(),
    ] {
        assert_eq!(refused(part), NameFault::PartFile, "{}", Escaped(part));
    }
}

#[test]
fn a_refusal_shows_the_name_escaped_and_cut_short() {
    let mut hostile = b"\x1b[31m/".to_vec();
    hostile.resize(200, b'y');
    let text = Name::from_wire(&hostile).expect_err("slash").to_string();
    assert!(text.starts_with("the file name \"\\x1b[31m/yyy"), "{text}");
    assert!(text.contains("...\" contains '/'"), "{text}");
    assert!(text.len() < 250, "{text}");
}

#[test]
fn escaping_shows_each_kind_of_danger_by_its_code() {
    let show = |bytes: &[u8]| Escaped(bytes).to_string();
    assert_eq!(show(b"a\n\r\t\x00\x1b\x7f"), r"a\n\r\t\x00\x1b\x7f");
    assert_eq!(show("\u{85}\u{202e}\u{2066}\u{200f}".as_bytes()), r"\u{85}\u{202e}\u{2066}\u{200f}");
    assert_eq!(show("\u{200b}\u{2028}\u{2029}\u{feff}".as_bytes()), r"\u{200b}\u{2028}\u{2029}\u{feff}");
    assert_eq!(show(b"ok\xff\xc3"), r"ok\xff\xc3");
    assert_eq!(show(br"c:\n"), r"c:\\n");
    assert_eq!(show("Grüße 文 🎉.txt".as_bytes()), "Grüße 文 🎉.txt");
}

#[test]
fn every_way_in_escapes_the_same() {
    let odd = "a\u{202e}\n";
    let wanted = r"a\u{202e}\n";
    assert_eq!(escape(odd), wanted);
    assert_eq!(escape(odd.as_bytes()), wanted);
    assert_eq!(Escaped::from(Path::new(odd)).to_string(), wanted);
    assert_eq!(Escaped::from(OsStr::new(odd)).to_string(), wanted);
    assert_eq!(Escaped::from(odd).to_string(), wanted);
    let name = Name::from_wire(odd.as_bytes()).expect("legal");
    assert_eq!(name.to_string(), wanted);
    assert_eq!(format!("{name:?}"), format!("Name({wanted})"));
}

#[test]
fn shortening_cuts_between_characters_and_bytes_that_are_no_text_anywhere() {
    assert_eq!(shorten("aé".as_bytes(), 2), b"a");
    assert_eq!(shorten("aé".as_bytes(), 3), "aé".as_bytes());
    assert_eq!(shorten(b"a\xff\xff", 2), b"a\xff");
    assert_eq!(shorten(b"abc", 9), b"abc");
    assert_eq!(shorten(b"abc", 0), b"");
}

/// Bytes rich in what matters: backslashes, codes, control characters and broken UTF-8.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        any::<u8>().prop_map(|b| vec![b]),
        prop::sample::select(vec!["\\", "n", "x1b", "u{202e}", "\u{202e}", "\n", "\u{85}"])
            .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Reads an escaped text back, as an independent statement of what the escapes mean.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend(c.to_string().bytes());
            continue;
        }
        let (kind, after) = rest.split_at(1);
        rest = after;
        match kind {
            "\\" => out.push(b'\\'),
            "n" => out.push(b'\n'),
            "r" => out.push(b'\r'),
            "t" => out.push(b'\t'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("hex"));
                rest = &rest[2..];
            }
            _ => {
                let end = rest.find('}').expect("closed");
                let code = u32::from_str_radix(&rest[1..end], 16).expect("hex");
                let c = char::from_u32(code).expect("a character");
                out.extend(c.to_string().bytes());
                rest = &rest[end + 1..];
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn escaped_text_holds_nothing_dangerous_and_names_exactly_one_input(bytes in nasty()) {
        let text = Escaped(&bytes).to_string();
        let bidi = |c: char| matches!(c as u32, 0x61c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069);
        prop_assert!(!text.chars().any(|c| c.is_control() || bidi(c)), "{:?}", text);
        prop_assert_eq!(unescape(&text), bytes);
    }

    #[test]
    fn no_bytes_make_the_door_panic_and_what_passes_is_a_component(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(name) = Name::from_wire(&bytes) {
            prop_assert_eq!(name.as_bytes(), &bytes[..]);
            prop_assert_eq!(Path::new(name.as_os_str()).components().count(), 1);
            prop_assert_eq!(Path::new(name.as_os_str()).file_name(), Some(name.as_os_str()));
        }
    }
}
