use super::*;
use crate::limits::{NAME_BYTES_MAX, PARTS_PER_NAME_MAX, RENAME_COMPARED_MAX, RENAME_NUMBER_MAX};
use crate::name::looks_like_part;
use crate::store::part_name::{part_file_name, part_name_in};
use crate::store::place::Renown;
use crate::store::publish::{numbered, numbered_name};

fn number(text: impl AsRef<[u8]>, n: u32) -> String {
    let numbered = numbered(&name(text), n).expect("a name");
    String::from_utf8_lossy(numbered.as_bytes()).into_owned()
}

#[test]
fn the_number_goes_before_the_ending() {
    assert_eq!(number("photo.jpg", 1), "photo (1).jpg");
    assert_eq!(number("photo.jpg", 10_000), "photo (10000).jpg");
    assert_eq!(number("README", 2), "README (2)");
    assert_eq!(number("a.b.c", 1), "a.b (1).c");
}

#[test]
fn both_endings_of_a_tar_archive_stay_together() {
    assert_eq!(number("archive.tar.gz", 1), "archive (1).tar.gz");
    assert_eq!(number("ARCHIVE.TAR.ZST", 1), "ARCHIVE (1).TAR.ZST");
    assert_eq!(number("archive.tar", 1), "archive (1).tar");
    assert_eq!(number(".tar.gz", 1), ".tar (1).gz");
}

#[test]
fn a_leading_dot_or_the_rest_of_a_sentence_is_no_ending() {
    assert_eq!(number(".bashrc", 1), ".bashrc (1)");
    assert_eq!(number("..x", 1), "..x (1)");
    assert_eq!(number(".config.json", 1), ".config (1).json");
    assert_eq!(number("end.", 1), "end. (1)");
    assert_eq!(number("Dr. Who and friends", 1), "Dr. Who and friends (1)");
    assert_eq!(number("a.abcdefghijklmnopq", 1), "a.abcdefghijklmnopq (1)");
}

#[test]
fn a_long_stem_is_shortened_between_characters() {
    let long = format!("{}.jpg", "é".repeat(125));
    assert_eq!(long.len(), 254);
    let short = number(&long, 12);
    assert!(short.len() <= NAME_BYTES_MAX);
    assert_eq!(short, format!("{} (12).jpg", "é".repeat(123)));

    let bytes = numbered(&name([0xff; 255]), 1).expect("a name");
    assert_eq!(bytes.as_bytes().len(), 255);
    assert!(bytes.as_bytes().ends_with(b"\xff (1)"));
}

#[test]
fn however_many_have_a_name_few_are_looked_at_and_the_next_number_is_found() {
    let room = Room::new();
    for taken in [1, 2, 3, 15, 16, 17, 40, 900] {
        for n in 1..=taken {
            fs::write(room.path(number("a.txt", n)), "x").expect("written");
        }
        let compared = std::cell::RefCell::new(Vec::new());
        let same = |name: &Name| {
            compared.borrow_mut().push(name.clone());
            Ok(false)
        };
        let found = numbered_name(room.sink.root(), &name("a.txt"), same, |_| Ok(true)).expect("a name");
        assert_eq!(String::from_utf8_lossy(found.as_bytes()), number("a.txt", taken + 1));
        let compared: std::collections::BTreeSet<Name> = compared.into_inner().into_iter().collect();
        assert_eq!(compared.len() as u32, taken.min(RENAME_COMPARED_MAX), "{taken}");
        for n in [1, taken] {
            assert!(compared.contains(&name(number("a.txt", n))), "{n} of {taken}");
        }
    }
    // A gap may be found; whoever was faster there is compared, and the next number taken.
    fs::remove_file(room.path(number("a.txt", 2))).expect("removed");
    let taken = std::cell::Cell::new(0);
    let make = |_: &Name| Ok(taken.replace(taken.get() + 1) == 2);
    let found = numbered_name(room.sink.root(), &name("a.txt"), |_| Ok(false), make).expect("a name");
    assert_eq!(found, name(number("a.txt", 4)));
}

#[test]
fn a_part_name_is_hidden_bounded_and_recognised_as_one() {
    let nobody = Owner::default();
    assert_eq!(part_file_name(&name("a"), nobody, 0, NAME_BYTES_MAX), part_of("a").as_bytes());
    assert_eq!(part_file_name(&name("a"), nobody, 2, NAME_BYTES_MAX), part_of_number("a", 2).as_bytes());
    // base32 of the bytes 0 to 9, as `base32` of the GNU coreutils prints it.
    let mut key = [0xff; 32];
    key.iter_mut().take(10).enumerate().for_each(|(n, byte)| *byte = n as u8);
    let part = part_file_name(&name("a"), Owner::of_key(&key), 0, NAME_BYTES_MAX);
    assert_eq!(String::from_utf8_lossy(&part), ".a.v2-aaaqeayeaudaocaj.lanx-part");
    for length in 215..=255 {
        for n in [0, 1, PARTS_PER_NAME_MAX] {
            let part = part_file_name(&name(vec![b'x'; length]), nobody, n, NAME_BYTES_MAX);
            assert!(part.len() <= NAME_BYTES_MAX);
            assert!(looks_like_part(&part));
        }
    }
}

#[test]
fn long_names_with_the_same_beginning_get_different_part_names() {
    let (mut one, mut two) = (vec![b'x'; 255], vec![b'x'; 255]);
    one[254] = b'1';
    two[254] = b'2';
    let part_of = |text| part_file_name(&name(text), Owner::default(), 0, NAME_BYTES_MAX);
    let (one, two) = (part_of(one), part_of(two));
    assert_ne!(one, two);
    assert_eq!(one.len(), 255);
}

#[cfg(target_os = "linux")]
#[test]
fn part_names_of_names_that_may_be_one_differ_by_more_than_that() {
    let room = Room::new();
    let root = room.sink.root();
    root.place().abilities.renown.set(Renown::Unknown).expect("not asked yet");
    let names = ["readme", "Readme", "README", "\u{212a}", "k", "é", "e\u{301}"];
    let folded = |text: &str| text.replace('\u{212a}', "k").replace("e\u{301}", "é").to_lowercase();
    let parts = names.map(|text| part_name_in(root, &name(text), Owner::default(), 0));
    let parts = parts.map(|part| folded(&String::from_utf8_lossy(&part)));
    assert_eq!(parts.iter().collect::<std::collections::HashSet<_>>().len(), names.len(), "{parts:?}");
    assert_eq!(parts[0], part_of("readme"));
}

#[test]
fn a_part_name_is_as_short_as_the_file_system_wants_it() {
    for most in [100, 143, 175] {
        let part = part_file_name(&name(vec![b'x'; 100]), Owner::default(), PARTS_PER_NAME_MAX, most);
        assert!(part.len() <= most && looks_like_part(&part), "{most}");
    }
}

#[test]
fn a_long_part_name_stays_utf8_when_the_name_is() {
    let part = part_file_name(&name("é".repeat(127)), Owner::default(), 0, NAME_BYTES_MAX);
    assert!(String::from_utf8(part).is_ok());
}

#[test]
fn no_number_turns_a_name_into_a_part_name() {
    for text in ["b.lanx-part", ".x.lanx-part.txt", ".lanx-part.lanx"] {
        for n in [1, RENAME_NUMBER_MAX] {
            assert!(!looks_like_part(number(text, n).as_bytes()));
        }
    }
}
