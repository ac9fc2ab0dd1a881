//! Each message pinned to literal bytes, and the decoder fed what no honest peer would send.

use super::*;
use crate::content::entry::{Archive, Attributes, Cause, EntryKind, Metadata};
use crate::limits::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, CONNECTIONS_MAX, LINK_TARGET_BYTES_MAX, MESSAGE_BYTES_MAX,
    TEXT_BYTES_MAX, WIRE_PATH_BYTES_MAX,
};
use crate::wire::stage_times::Busy;
use proptest::prelude::*;
use std::fmt::Debug;

fn sender_messages() -> Vec<(SenderMessage, &'static [u8])> {
    let file = FileId(0x0201);
    let metadata = Metadata { mode: 0o644, mtime_seconds: -2, mtime_nanos: 3, archive: None };
    let attributes = Attributes::new(&[(b"user.a".to_vec(), vec![0, 255])]).unwrap();
    let archive = Some(std::sync::Arc::new(Archive { uid: 1000, gid: 100, attributes }));
    let archived = Metadata { mode: 0o755, archive, ..Metadata::default() };
    let offer = Offer {
        file,
        kind: EntryKind::File { size: 0x0504_0302, sparse: true },
        metadata,
        path: b"a\n\xff".to_vec(),
    };
    let failure = Failure::new(Cause::Source, "no");
    vec![
        (
            SenderMessage::Hello(Hello {
                connections: 4,
                cipher: Cipher::ChaCha20Poly1305,
                prove: true,
                wishes: Wishes { dry_run: false, delta: true, measure: false },
                resumes: None,
                name: "pc".into(),
                options: Options::default(),
            }),
            b"\x12\0\0\0\x01\x04\x02\x01\0\x01\0\0\x02\0pc\x01\x01\x02\0\x02\0",
        ),
        (
            SenderMessage::Hello(Hello {
                connections: 1,
                cipher: Cipher::Aes256Gcm,
                prove: false,
                wishes: Wishes { dry_run: true, delta: false, measure: true },
                resumes: Some(SessionId(*b"0123456789abcdef")),
                name: "".into(),
                options: Options::default(),
            }),
            b"\x20\0\0\0\x01\x01\x01\0\x01\0\x01\x010123456789abcdef\0\0\x01\x01\x02\0\x02\0",
        ),
        (
            SenderMessage::Remembered { file, hash: Hash::from_bytes([7; 32]) },
            b"\x29\0\0\0\x0f\x01\x02\0\0\0\0\0\0\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
              \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
        ),
        (
            SenderMessage::Offer(offer),
            b"\x29\0\0\0\x02\x01\x02\0\0\0\0\0\0\xa4\x01\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0\0\
              \x03\0a\n\xff\x01\x02\x03\x04\x05\0\0\0\0\x01",
        ),
        (
            SenderMessage::Offer(Offer { file, kind: EntryKind::Folder, metadata: archived, path: b"".to_vec() }),
            b"\x33\0\0\0\x02\x01\x02\0\0\0\0\0\0\xed\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
              \xe8\x03\0\0\x64\0\0\0\x01\0\x06\0user.a\x02\0\0\xff\0\0\x02",
        ),
        (
            SenderMessage::Offer(Offer {
                file,
                kind: EntryKind::ParentFolder,
                metadata: Metadata::default(),
                path: b"p".to_vec(),
            }),
            b"\x1e\0\0\0\x02\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0p\x06",
        ),
        (
            SenderMessage::Offer(Offer {
                file,
                kind: EntryKind::Symlink { target: b"../x".to_vec() },
                metadata: Metadata::default(),
                path: b"l".to_vec(),
            }),
            b"\x24\0\0\0\x02\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0l\x03\x04\0../x",
        ),
        (
            SenderMessage::Offer(Offer {
                file,
                kind: EntryKind::HardLink { to: b"d/f".to_vec() },
                metadata: Metadata::default(),
                path: b"h".to_vec(),
            }),
            b"\x23\0\0\0\x02\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0h\x04\x03\0d/f",
        ),
        (
            SenderMessage::Value { file, chunk: ChunkIndex(9), value: *b"A23456789-123456789-123456789-12" },
            b"\x31\0\0\0\x03\x01\x02\0\0\0\0\0\0\x09\0\0\0\0\0\0\0A23456789-123456789-123456789-12",
        ),
        (
            SenderMessage::Root { file, hash: Hash::from_bytes([7; 32]) },
            b"\x29\0\0\0\x05\x01\x02\0\0\0\0\0\0\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
              \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
        ),
        (SenderMessage::Withdraw { file, failure }, b"\x0e\0\0\0\x06\x01\x02\0\0\0\0\0\0\x03\x02\0no"),
        (SenderMessage::Finish { files: 2 }, b"\x09\0\0\0\x07\x02\0\0\0\0\0\0\0"),
        (SenderMessage::Beat, b"\x01\0\0\0\x08"),
        (SenderMessage::Leave { text: "bye".into() }, b"\x06\0\0\0\x09\x03\0bye"),
        (
            SenderMessage::Pake { message: *b"A23456789-123456789-123456789-123" },
            b"\x22\0\0\0\x0aA23456789-123456789-123456789-123",
        ),
        (
            SenderMessage::Proof { proof: *b"123456789-123456789-123456789-12" },
            b"\x21\0\0\0\x0b123456789-123456789-123456789-12",
        ),
        (SenderMessage::HangUp { connection: 3 }, b"\x05\0\0\0\x0c\x03\0\0\0"),
        (
            SenderMessage::Length { file, bytes: 0x0504_0302 },
            b"\x11\0\0\0\x0d\x01\x02\0\0\0\0\0\0\x02\x03\x04\x05\0\0\0\0",
        ),
        (SenderMessage::Total { bytes: 0x0504_0302 }, b"\x09\0\0\0\x0e\x02\x03\x04\x05\0\0\0\0"),
        (
            SenderMessage::Offer(Offer {
                file,
                kind: EntryKind::Stream,
                metadata: Metadata::default(),
                path: b"s".to_vec(),
            }),
            b"\x1e\0\0\0\x02\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0s\x05",
        ),
    ]
}

fn receiver_messages() -> Vec<(ReceiverMessage, &'static [u8])> {
    let file = FileId(0x0201);
    let failed = Outcome::Failed(Failure::new(Cause::Storage, "full"));
    let outcome = |outcome| ReceiverMessage::Outcome { file, outcome };
    vec![
        (
            ReceiverMessage::Welcome {
                session: SessionId(*b"0123456789abcdef"),
                connections: 16,
                cipher: Cipher::Aes256Gcm,
                options: Options::default(),
            },
            b"\x19\0\0\0\x010123456789abcdef\x10\x01\x01\x01\x02\0\x02\0",
        ),
        (ReceiverMessage::Send { file }, b"\x09\0\0\0\x02\x01\x02\0\0\0\0\0\0"),
        (
            ReceiverMessage::Compare { file, against: Against::Existing },
            b"\x0a\0\0\0\x03\x01\x02\0\0\0\0\0\0\x02",
        ),
        (
            ReceiverMessage::Missing { file, first: ChunkIndex(1), count: 2 },
            b"\x19\0\0\0\x04\x01\x02\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
        ),
        (
            ReceiverMessage::Hash { file, first: ChunkIndex(1), count: 3 },
            b"\x19\0\0\0\x05\x01\x02\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
        ),
        (
            ReceiverMessage::Differs { file, chunk: ChunkIndex(9) },
            b"\x11\0\0\0\x18\x01\x02\0\0\0\0\0\0\x09\0\0\0\0\0\0\0",
        ),
        (outcome(Outcome::Stored), b"\x0a\0\0\0\x06\x01\x02\0\0\0\0\0\0\x01"),
        (outcome(Outcome::Renamed(b"b".to_vec())), b"\x0d\0\0\0\x06\x01\x02\0\0\0\0\0\0\x02\x01\0b"),
        (outcome(Outcome::Unlinked { unable: true }), b"\x0b\0\0\0\x06\x01\x02\0\0\0\0\0\0\x06\x01"),
        (outcome(Outcome::Identical), b"\x0a\0\0\0\x06\x01\x02\0\0\0\0\0\0\x03"),
        (outcome(failed), b"\x11\0\0\0\x06\x01\x02\0\0\0\0\0\0\x04\x02\x04\0full"),
        (
            ReceiverMessage::Progress { written: 1, kept: 2 },
            b"\x11\0\0\0\x07\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
        ),
        (ReceiverMessage::Leave { text: "x".into() }, b"\x04\0\0\0\x08\x01\0x"),
        (ReceiverMessage::Bye, b"\x01\0\0\0\x09"),
        (ReceiverMessage::CodeWanted, b"\x01\0\0\0\x0a"),
        (
            ReceiverMessage::Pake { message: *b"B23456789-123456789-123456789-123" },
            b"\x22\0\0\0\x0bB23456789-123456789-123456789-123",
        ),
        (
            ReceiverMessage::Proof { proof: *b"123456789-123456789-123456789-12" },
            b"\x21\0\0\0\x0c123456789-123456789-123456789-12",
        ),
        (
            ReceiverMessage::Confirmed { connection: 3, frames: 4 },
            b"\x0d\0\0\0\x0e\x03\0\0\0\x04\0\0\0\0\0\0\0",
        ),
        (
            ReceiverMessage::HungUp { connection: 3, frames: 4 },
            b"\x0d\0\0\0\x0f\x03\0\0\0\x04\0\0\0\0\0\0\0",
        ),
        (
            ReceiverMessage::SendUpTo { file, end: ChunkIndex(64) },
            b"\x11\0\0\0\x10\x01\x02\0\0\0\0\0\0\x40\0\0\0\0\0\0\0",
        ),
        (ReceiverMessage::Barred(Barred::NoCode), b"\x02\0\0\0\x0d\x01"),
        (ReceiverMessage::Barred(Barred::WrongCode), b"\x02\0\0\0\x0d\x02"),
        (ReceiverMessage::Barred(Barred::Later { seconds: 3 }), b"\x06\0\0\0\x0d\x03\x03\0\0\0"),
        (ReceiverMessage::Barred(Barred::Busy), b"\x02\0\0\0\x0d\x04"),
        (
            ReceiverMessage::Waiting(Waiting { serving: 128, own: 2, before: 3 }),
            b"\x0d\0\0\0\x11\x80\0\0\0\x02\0\0\0\x03\0\0\0",
        ),
        (ReceiverMessage::Share { connections: 2 }, b"\x02\0\0\0\x12\x02"),
        (
            ReceiverMessage::Spent(Spent {
                nanos: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0],
                busy: Some(Busy { machine: 1000, own: 258 }),
            }),
            b"\x4d\0\0\0\x13\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\
              \x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\xe8\x03\x02\x01",
        ),
        (
            ReceiverMessage::Speeds { hash: 1, seal: 0x0203, cores: 4 },
            b"\x15\0\0\0\x14\x01\0\0\0\0\0\0\0\x03\x02\0\0\0\0\0\0\x04\0\0\0",
        ),
        (ReceiverMessage::Misplaced { text: "gone".into() }, b"\x07\0\0\0\x16\x04\0gone"),
        (ReceiverMessage::Revoked, b"\x01\0\0\0\x17"),
        (ReceiverMessage::Away, b"\x01\0\0\0\x15"),
    ]
}

/// Which a receiver tells only where something came compressed.
#[test]
fn the_time_for_decompressing_stands_at_the_end() {
    let nanos = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0x0102];
    let spent = ReceiverMessage::Spent(Spent { nanos, busy: Some(Busy { machine: 1000, own: 258 }) });
    let (mut bytes, mut plain) = (Vec::new(), Vec::new());
    spent.put(&mut bytes);
    let nanos = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0];
    let without = ReceiverMessage::Spent(Spent { nanos, busy: Some(Busy { machine: 1000, own: 258 }) });
    without.put(&mut plain);
    assert_eq!(bytes, [&plain[..], b"\x02\x01\0\0\0\0\0\0"].concat());
    assert_eq!((ReceiverMessage::take(&bytes), ReceiverMessage::take(&plain)), (Ok(spent), Ok(without)));
    assert!(ReceiverMessage::take(&bytes[..bytes.len() - 1]).is_err());
    assert!(ReceiverMessage::take(&[&bytes[..], b"\0"].concat()).is_err());
}

fn check_all<M: Message + PartialEq + Debug>(messages: Vec<(M, &'static [u8])>) {
    for (message, bytes) in messages {
        let mut written = Vec::new();
        put_framed(&message, &mut written);
        assert_eq!(written, bytes, "{message:?}");
        let body = &bytes[4..];
        for cut in 0..body.len() {
            let got = M::take(&body[..cut]);
            assert!(matches!(got, Err(DecodeError::Truncated { .. })), "{message:?} cut at {cut}: {got:?}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(
                take_framed::<M>(&bytes[..cut], MESSAGE_BYTES_MAX),
                Ok(None),
                "{message:?} framed, cut at {cut}"
            );
        }
        let longer = [body, &[0]].concat();
        assert_eq!(M::take(&longer), Err(DecodeError::Trailing { extra: 1 }), "{message:?}");
        let followed = [bytes, b"rest"].concat();
        assert_eq!(take_framed(&followed, MESSAGE_BYTES_MAX), Ok(Some((message, bytes.len()))));
    }
}

#[test]
fn every_message_is_these_bytes_and_no_others() {
    check_all(sender_messages());
    check_all(receiver_messages());
}

#[test]
fn a_length_past_the_limit_is_refused_before_the_rest_is_there() {
    let limit = MESSAGE_BYTES_MAX as u32;
    assert_eq!(take_framed::<SenderMessage>(&limit.to_le_bytes(), MESSAGE_BYTES_MAX), Ok(None));
    for len in [limit + 1, u32::MAX] {
        assert!(matches!(
            take_framed::<SenderMessage>(&len.to_le_bytes(), MESSAGE_BYTES_MAX),
            Err(DecodeError::TooLong { what: "a message", .. })
        ));
    }
}

#[test]
fn each_length_at_limit_plus_one_is_refused() {
    let with = |prefix: &[u8], len: u16| [prefix, &len.to_le_bytes(), &vec![b'x'; len.into()]].concat();
    let text = TEXT_BYTES_MAX as u16;
    assert!(SenderMessage::take(&with(b"\x09", text)).is_ok());
    assert!(matches!(SenderMessage::take(&with(b"\x09", text + 1)), Err(DecodeError::TooLong { .. })));
    let offer = [&[2][..], &[0; 25]].concat();
    let path = |len: u16| SenderMessage::take(&[&with(&offer, len)[..], &[2]].concat());
    assert!(path(WIRE_PATH_BYTES_MAX as u16).is_ok());
    assert!(matches!(path(WIRE_PATH_BYTES_MAX as u16 + 1), Err(DecodeError::TooLong { .. })));
    let link = [&offer[..], &[1, 0, b'l', 3]].concat();
    let target = |len: u16| SenderMessage::take(&with(&link, len));
    assert!(target(LINK_TARGET_BYTES_MAX as u16).is_ok());
    assert!(matches!(target(LINK_TARGET_BYTES_MAX as u16 + 1), Err(DecodeError::TooLong { .. })));
    assert!(matches!(target(0), Err(DecodeError::BadValue { .. })));
    let archive = [&[2][..], &[0; 24], &[1], &[0; 8]].concat();
    let attributes = |count: u16, each: &[u8]| {
        let list = each.repeat(count.into());
        SenderMessage::take(&[&archive[..], &count.to_le_bytes(), &list, b"\x01\0a\x02"].concat())
    };
    assert!(attributes(ATTRIBUTES_MAX as u16, b"\x01\0x\0\0").is_ok());
    assert!(matches!(
        attributes(ATTRIBUTES_MAX as u16 + 1, b"\x01\0x\0\0"),
        Err(DecodeError::TooLong { .. })
    ));
    let half = [&b"\x01\0x\xff\x0f"[..], &[0; ATTRIBUTES_BYTES_MAX / 2 - 1]].concat();
    assert!(attributes(2, &half).is_ok());
    assert!(matches!(attributes(3, &half), Err(DecodeError::TooLong { .. })));
    assert!(matches!(attributes(1, b"\x01\0\0\0\0"), Err(DecodeError::BadValue { .. })));
    assert!(matches!(attributes(1, b"\0\0\0\0"), Err(DecodeError::BadValue { .. })));
    for (connections, good) in [(0, false), (1, true), (CONNECTIONS_MAX, true), (CONNECTIONS_MAX + 1, false)]
    {
        let hello = [1, connections, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 2, 0];
        assert_eq!(SenderMessage::take(&hello).is_ok(), good, "{connections} connections");
        assert_eq!(ReceiverMessage::take(&[18, connections]).is_ok(), good, "{connections} connections");
    }
}

#[test]
fn unknown_tags_are_refused() {
    for tag in (0..=255).filter(|t| !(1..=15).contains(t) || *t == 4) {
        assert!(matches!(SenderMessage::take(&[tag]), Err(DecodeError::UnknownTag { .. })), "{tag}");
    }
    for tag in (0..=255).filter(|t| !(1..=24).contains(t)) {
        assert!(matches!(ReceiverMessage::take(&[tag]), Err(DecodeError::UnknownTag { .. })), "{tag}");
    }
    for hello in [
        [1, 1, 3, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 2, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 2, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 2, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 2, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 2, 0, 0],
    ] {
        assert!(matches!(SenderMessage::take(&hello), Err(DecodeError::UnknownTag { .. })), "{hello:?}");
    }
    assert!(matches!(ReceiverMessage::take(&[13, 5]), Err(DecodeError::UnknownTag { what: "a reason", .. })));
    let outcome = |tail: &[u8]| ReceiverMessage::take(&[&[6, 0, 0, 0, 0, 0, 0, 0, 0][..], tail].concat());
    assert!(matches!(outcome(&[0]), Err(DecodeError::UnknownTag { what: "an outcome", .. })));
    assert!(matches!(outcome(&[4, 5, 0, 0]), Err(DecodeError::UnknownTag { what: "a cause", .. })));
    let compare = |tag| ReceiverMessage::take(&[3, 0, 0, 0, 0, 0, 0, 0, 0, tag]);
    assert!(matches!(compare(3), Err(DecodeError::UnknownTag { what: "a comparison", .. })));
}

#[test]
fn attributes_are_one_block_from_which_each_can_be_read() {
    let list = [(b"user.a".to_vec(), vec![0, 255]), (b"user.b".to_vec(), Vec::new())];
    let attributes = Attributes::new(&list).unwrap();
    let again: Vec<_> = attributes.iter().map(|a| (a.name.to_vec(), a.value.to_vec())).collect();
    assert_eq!(again, list);
    assert!(Attributes::default().is_empty() && !attributes.is_empty());
    assert_eq!(Attributes::new(&[]), Some(Attributes::default()));
    let bad = [(b"".to_vec(), vec![]), (vec![b'a'; 256], vec![]), (b"a".to_vec(), vec![0; 70_000])];
    for one in bad {
        assert_eq!(Attributes::new(&[one]), None);
    }
    assert_eq!(Attributes::new(&vec![(b"x".to_vec(), vec![]); ATTRIBUTES_MAX + 1]), None);
}

#[test]
fn an_offer_weighs_what_is_kept_of_it() {
    let weight = |kind, archive, path: &[u8]| {
        let metadata = Metadata { archive, ..Metadata::default() };
        Offer { file: FileId(0), kind, metadata, path: path.to_vec() }.weight()
    };
    let file = EntryKind::File { size: 1 << 40, sparse: false };
    assert_eq!(weight(file.clone(), None, b"abc"), 192 + 3);
    assert_eq!(weight(EntryKind::Symlink { target: b"../x".to_vec() }, None, b"abc"), 192 + 3 + 4);
    assert_eq!(weight(EntryKind::HardLink { to: b"d/f".to_vec() }, None, b"abc"), 192 + 3 + 3);
    let attributes = Attributes::new(&[(b"user.a".to_vec(), vec![0, 255])]).unwrap();
    let archive = Some(std::sync::Arc::new(Archive { attributes, ..Archive::default() }));
    assert_eq!(weight(file, archive, b"abc"), 192 + 3 + 2 + (2 + 6) + (2 + 2));
}

#[test]
fn a_time_of_more_than_a_second_of_nanoseconds_is_refused() {
    let mut bytes = [&[2][..], &[0; 27], &[2]].concat();
    bytes[21..25].copy_from_slice(&999_999_999u32.to_le_bytes());
    assert!(SenderMessage::take(&bytes).is_ok());
    bytes[21..25].copy_from_slice(&1_000_000_000u32.to_le_bytes());
    assert!(matches!(SenderMessage::take(&bytes), Err(DecodeError::BadValue { what: "a time", .. })));
}

proptest! {
    /// Whatever is accepted is exactly what would have been written: there are no two spellings of a message,
    /// but for text, which is escaped, and options, which may be unknown.
    #[test]
    fn anything_that_decodes_encodes_to_the_same_bytes(mut bytes in prop::collection::vec(any::<u8>(), 1..80), tag in 0u8..19) {
        bytes[0] = tag;
        let mut again = Vec::new();
        if let Ok(message) = ReceiverMessage::take(&bytes) {
            message.put(&mut again);
            if !matches!(message, ReceiverMessage::Welcome { .. } | ReceiverMessage::Leave { .. } | ReceiverMessage::Outcome { .. }) {
                prop_assert_eq!(&again, &bytes);
            }
        }
        again.clear();
        if let Ok(message) = SenderMessage::take(&bytes) {
            message.put(&mut again);
            if !matches!(message, SenderMessage::Hello(_) | SenderMessage::Leave { .. } | SenderMessage::Withdraw { .. }) {
                prop_assert_eq!(&again, &bytes);
            }
        }
    }
}
