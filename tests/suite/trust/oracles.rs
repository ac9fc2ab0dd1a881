//! Somebody who was let in wants to know what is in files that are not theirs, and sends what the protocol lets them send to
//! find out. What the receiver says, and what it does, must not depend on it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lanx::content::chunk::{ChunkIndex, Layout};
use lanx::content::entry::Outcome;
use lanx::content::tree::{ChunkValue, chunk_value};
use lanx::wire::message::{Against, ReceiverMessage as Heard, SenderMessage as Say, Wishes};

use crate::common::hostile::{chunk, file, offer};
use crate::common::peer::{HandSender, identity};
use crate::common::*;

/// What stands at the end of a file whose beginning everybody knows.
const SECRET: &[u8; 86] =
    b"root:$6$K5GqYc0uZ8$kq1vS0m7yT3uJt8wKp0vR1nQxM2dGhBzLwEoFsAiCjPeUyXtZrVbNmHgKlDfSaQ:197";

const MODES: [&[&str]; 5] = [&[], &["--overwrite"], &["--rename"], &["--delta"], &["--delta", "--rename"]];

/// A file of one chunk that everybody knows and the secret behind it, which only the receiver's user may read.
fn secret_file(scene: &Scene, known: usize) -> std::path::PathBuf {
    let there = make_of(&scene.dst, "shadow", &[&vec![0; known][..], SECRET].concat());
    fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    there
}

/// Somebody with a key of their own, who asks for deltas.
fn mallory(scene: &Scene, receiver: &Receiver) -> HandSender {
    let mut sender = HandSender::connect(None, &identity(&scene.path("mallory")), receiver.addr).unwrap();
    let wishes = Wishes { delta: true, ..Wishes::default() };
    assert!(matches!(sender.hello_with(1, wishes).unwrap(), Heard::Welcome { .. }));
    sender
}

/// All that is said about file `n` from the offer of so many bytes on, with these answers to what the receiver asks for, until
/// it wants the content or has an outcome.
fn conversation(
    sender: &mut HandSender,
    n: u64,
    size: u64,
    value: impl Fn(u64) -> ChunkValue,
    root: [u8; 32],
) -> Vec<Heard> {
    sender.talk.say(&offer(n, "shadow", size)).unwrap();
    let (mut heard, mut said, chunks) = (Vec::new(), 0, Layout::new(size).chunks());
    loop {
        let message = sender.hear_until(|message| !matches!(message, Heard::Progress { .. }));
        heard.push(message.clone());
        match message {
            Heard::Outcome { .. } | Heard::Send { .. } | Heard::Missing { .. } => return heard,
            Heard::Compare { against: Against::Existing, .. } if chunks == 1 => {
                let _ = sender.talk.say(&Say::Root { file: file(n), hash: root.into() });
            }
            Heard::Hash { first, count, .. } => {
                for at in first.0..first.0 + count {
                    let value = value(at);
                    sender.talk.say(&Say::Value { file: file(n), chunk: chunk(at), value }).unwrap();
                    said += 1;
                }
                if said == chunks {
                    sender.talk.say(&Say::Root { file: file(n), hash: root.into() }).unwrap();
                }
            }
            _ => {}
        }
    }
}

#[test]
fn no_byte_of_a_file_can_be_told_from_what_the_receiver_says_of_a_chunk_that_ends_with_it() {
    for flags in MODES {
        let scene = Scene::new();
        let there = secret_file(&scene, CHUNK);
        let before = look(&there);
        let receiver = scene.receiver_of("config", &[flags, &["--open"]].concat(), None);
        // The sizes are such that the last chunk of the offer covers one more byte each time, and of the secret all that is
        // known by now. Whatever is said of it must be the same whether the guess is right or wrong.
        for bytes in [1, 2, 40, SECRET.len() - 1] {
            let hear = |last: u8| {
                let mut sender = mallory(&scene, &receiver);
                let mut guess = SECRET[..bytes].to_vec();
                *guess.last_mut().unwrap() = last;
                let layout = Layout::new((CHUNK + bytes) as u64);
                let value = |at: u64| match at {
                    0 => chunk_value(layout, ChunkIndex(0), &vec![0; CHUNK]),
                    at => chunk_value(layout, ChunkIndex(at), &guess),
                };
                let whole = [&vec![0; CHUNK][..], &guess].concat();
                conversation(&mut sender, 0, layout.size(), value, *blake3::hash(&whole).as_bytes())
            };
            let right = SECRET[bytes - 1];
            assert_eq!(hear(right), hear(right ^ 1), "{flags:?}, {bytes} bytes");
        }
        assert_eq!(look(&there), before, "{flags:?}");
    }
}

#[test]
fn nobody_hears_that_the_short_end_of_a_file_is_right_without_the_rest() {
    // The chunk that everybody was thought to know is another one by a byte.
    for flags in MODES {
        let scene = Scene::new();
        let there = secret_file(&scene, CHUNK);
        let mut content = read(&there);
        content[77] = 1;
        fs::write(&there, &content).unwrap();
        let receiver = scene.receiver_of("config", &[flags, &["--open"]].concat(), None);
        let layout = Layout::new(content.len() as u64);
        let hear = |end: &[u8]| {
            let mut sender = mallory(&scene, &receiver);
            let value = |at: u64| match at {
                0 => chunk_value(layout, ChunkIndex(0), &vec![0; CHUNK]),
                at => chunk_value(layout, ChunkIndex(at), end),
            };
            conversation(&mut sender, 0, layout.size(), value, [1; 32])
        };
        let mut wrong = *SECRET;
        wrong[85] ^= 1;
        let heard = hear(SECRET);
        assert_eq!(heard, hear(&wrong), "{flags:?}");
        let asked_for_it =
            |heard: &Heard| matches!(heard, Heard::Hash { first, count, .. } if first.0 + count > 1);
        assert!(!heard.iter().any(asked_for_it), "{flags:?}: {heard:?}");
    }
}

#[test]
fn in_the_default_mode_a_taken_name_tells_neither_size_nor_content() {
    for (there, sizes) in [(86, [86, 85, 1]), (5 * CHUNK + 9, [5 * CHUNK + 9, 5 * CHUNK + 8, 5 * CHUNK + 10])]
    {
        let scene = Scene::new();
        make(&scene.dst, "shadow", there);
        let receiver = scene.receiver_of("config", &["--open"], None);
        let hear = |size: usize| {
            let heard =
                conversation(&mut mallory(&scene, &receiver), 0, size as u64, |at| [at as u8; 32], [1; 32]);
            let refused = matches!(heard.last(), Some(Heard::Outcome { outcome: Outcome::Failed(_), .. }));
            assert!(refused, "{heard:?}");
            heard
        };
        let all = sizes.map(hear);
        assert!(all.iter().all(|heard| *heard == all[0]), "{all:?}");
    }
}

#[test]
fn who_has_all_of_a_file_hears_that_it_is_there_and_who_lacks_a_bit_does_not() {
    for flags in [&[][..], &["--overwrite"], &["--rename"]] {
        for known in [0, CHUNK, 3 * CHUNK - 86] {
            let scene = Scene::new();
            let content = read(&secret_file(&scene, known));
            let receiver = scene.receiver_of("config", &[flags, &["--open"]].concat(), None);
            let layout = Layout::new(content.len() as u64);
            let hear = |content: &[u8]| {
                let value = |at: u64| {
                    chunk_value(layout, ChunkIndex(at), content.chunks(CHUNK).nth(at as usize).unwrap())
                };
                let root = *blake3::hash(content).as_bytes();
                conversation(&mut mallory(&scene, &receiver), 0, layout.size(), value, root)
            };
            let identical = Heard::Outcome { file: file(0), outcome: Outcome::Identical };
            assert_eq!(hear(&content).last(), Some(&identical), "{flags:?}, {known}");
            let mut wrong = content.clone();
            *wrong.last_mut().unwrap() ^= 1;
            assert_ne!(hear(&wrong).last(), Some(&identical), "{flags:?}, {known}");
        }
    }
}

/// Bytes that a folder's files take on the disk, without what only the names take.
fn taken(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn offers_alone_have_nothing_read_and_nothing_copied() {
    let scene = Scene::new();
    let size = 64 * CHUNK;
    let names: Vec<String> = (0..16).map(|n| format!("image-{n}")).collect();
    for name in &names {
        make(&scene.dst, name, size);
    }
    let before = taken(&scene.dst);
    let receiver = scene.receiver_of("config", &["--open", "--delta"], None);
    let read_by = || receiver.process.bytes_read();
    let mut sender = mallory(&scene, &receiver);
    let read_before = read_by();
    for (n, name) in names.iter().enumerate() {
        sender.talk.say(&offer(n as u64, name, size as u64 + 1)).unwrap();
        sender.hear_until(|message| matches!(message, Heard::Hash { .. }));
    }
    assert!(taken(&scene.dst) - before < CHUNK as u64, "{} bytes more", taken(&scene.dst) - before);
    let more = read_by() - read_before;
    assert!(more < CHUNK as u64, "{more} bytes were read for offers alone");
}
