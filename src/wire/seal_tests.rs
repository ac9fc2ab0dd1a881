//! Frames pinned to bytes, and frames that must be refused.

use super::*;

const ID: [u8; SESSION_ID_BYTES] = *b"session 16 bytes";
const BOTH: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn keys(cipher: Cipher, connection: u32) -> DataKeys {
    SessionSecret::new([0x42; SECRET_BYTES]).data_keys(cipher, &ID, connection).unwrap()
}

/// A sender's sealer and the receiver's opener, past the hello.
fn pair(cipher: Cipher) -> (Sealer, Opener) {
    let (mut sealer, _) = keys(cipher, 7).for_sender();
    let (_, mut opener) = keys(cipher, 7).for_receiver();
    let tag = sealer.prove(b"hello").unwrap();
    opener.check_proof(b"hello", &tag).unwrap();
    (sealer, opener)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frames_of_any_length_come_out_as_they_went_in_in_both_directions() {
    for cipher in BOTH {
        let (mut sealer, mut opener) = pair(cipher);
        let (mut back, _) = keys(cipher, 7).for_receiver();
        let (_, mut back_opener) = keys(cipher, 7).for_sender();
        let tag = back.prove(b"hi").unwrap();
        back_opener.check_proof(b"hi", &tag).unwrap();
        for length in [0, 1, 15, 16, 17, 1000, 256 * 1024] {
            let clear: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            for (sealer, opener) in [(&mut sealer, &mut opener), (&mut back, &mut back_opener)] {
                let mut payload = clear.clone();
                let tag = sealer.seal(b"header", &mut payload).unwrap();
                assert!(length < 15 || payload != clear, "not encrypted");
                opener.open(b"header", &mut payload, &tag).unwrap();
                assert_eq!(payload, clear);
            }
        }
    }
}

#[test]
fn any_flipped_bit_in_header_payload_or_tag_is_refused_and_ends_the_connection() {
    for cipher in BOTH {
        let flip = |part: usize, bit: usize| {
            let (mut sealer, mut opener) = pair(cipher);
            let mut frame = [*b"head", *b"body"].concat();
            let (header, payload) = frame.split_at_mut(4);
            let tag = sealer.seal(header, payload).unwrap();
            frame.extend_from_slice(&tag);
            frame[part] ^= 1 << bit;
            let tag = Tag::try_from(&frame[8..]).unwrap();
            let (header, payload) = frame[..8].split_at_mut(4);
            let error = opener.open(header, payload, &tag).unwrap_err();
            let mut next = *b"next";
            let tag = sealer.seal(b"head", &mut next).unwrap();
            (error, opener.open(b"head", &mut next, &tag).unwrap_err())
        };
        for part in 0..8 + TAG_BYTES {
            for bit in 0..8 {
                assert_eq!(flip(part, bit), (SealError::Forged, SealError::Broken));
            }
        }
    }
}

#[test]
fn a_shortened_payload_is_refused() {
    let (mut sealer, mut opener) = pair(Cipher::Aes256Gcm);
    let mut payload = *b"payload";
    let tag = sealer.seal(b"h", &mut payload).unwrap();
    assert_eq!(opener.open(b"h", &mut payload[..6], &tag), Err(SealError::Forged));
}

#[test]
fn replayed_and_reordered_frames_are_refused() {
    for cipher in BOTH {
        let seal = |sealer: &mut Sealer, mut payload: [u8; 4]| {
            let tag = sealer.seal(b"h", &mut payload).unwrap();
            (payload, tag)
        };
        let (mut sealer, mut opener) = pair(cipher);
        let (payload, tag) = seal(&mut sealer, *b"once");
        opener.open(b"h", &mut payload.clone(), &tag).unwrap();
        assert_eq!(opener.open(b"h", &mut payload.clone(), &tag), Err(SealError::Forged));

        let (mut sealer, mut opener) = pair(cipher);
        let (_, (mut second, tag)) = (seal(&mut sealer, *b"frst"), seal(&mut sealer, *b"scnd"));
        assert_eq!(opener.open(b"h", &mut second, &tag), Err(SealError::Forged));
    }
}

#[test]
fn keys_differ_by_secret_cipher_session_connection_and_direction() {
    let tag_of = |secret: u8, cipher, id: &[u8; 16], connection, of_sender: bool| {
        let keys = SessionSecret::new([secret; 32]).data_keys(cipher, id, connection).unwrap();
        let (mut sealer, _) = if of_sender { keys.for_sender() } else { keys.for_receiver() };
        sealer.prove(b"hello").unwrap()
    };
    let other_id = b"Session 16 bytes";
    let tags = [
        tag_of(1, Cipher::Aes256Gcm, &ID, 7, true),
        tag_of(2, Cipher::Aes256Gcm, &ID, 7, true),
        tag_of(1, Cipher::ChaCha20Poly1305, &ID, 7, true),
        tag_of(1, Cipher::Aes256Gcm, other_id, 7, true),
        tag_of(1, Cipher::Aes256Gcm, &ID, 8, true),
        tag_of(1, Cipher::Aes256Gcm, &ID, 7, false),
    ];
    for (place, tag) in tags.iter().enumerate() {
        assert!(!tags[..place].contains(tag), "key {place} is not its own");
    }
}

#[test]
fn a_hello_of_somebody_who_does_not_know_the_session_is_refused() {
    let foreign = SessionSecret::new([0x43; 32]);
    let (mut stranger, _) = foreign.data_keys(Cipher::Aes256Gcm, &ID, 7).unwrap().for_sender();
    let (mut own_way, mut opener) = keys(Cipher::Aes256Gcm, 7).for_receiver();
    let tag = stranger.prove(b"hello").unwrap();
    assert_eq!(opener.check_proof(b"hello", &tag), Err(SealError::Forged));

    // Nor does the receiver's own hello, sent back to it, count as the sender's.
    let (_, mut opener) = keys(Cipher::Aes256Gcm, 7).for_receiver();
    let reflected = own_way.prove(b"hello").unwrap();
    assert_eq!(opener.check_proof(b"hello", &reflected), Err(SealError::Forged));
}

#[test]
fn the_hello_comes_first_and_once() {
    let (mut sealer, _) = keys(Cipher::Aes256Gcm, 7).for_sender();
    let (_, mut opener) = keys(Cipher::Aes256Gcm, 7).for_receiver();
    assert_eq!(sealer.seal(b"h", &mut []), Err(SealError::HelloOrder));
    assert_eq!(opener.open(b"h", &mut [], &[0; 16]), Err(SealError::HelloOrder));
    let (mut sealer, mut opener) = pair(Cipher::Aes256Gcm);
    assert_eq!(sealer.prove(b"hello"), Err(SealError::HelloOrder));
    assert_eq!(opener.check_proof(b"hello", &[0; 16]), Err(SealError::HelloOrder));
}

#[test]
fn a_key_stops_at_its_last_frame_and_at_its_last_block() {
    let (mut sealer, mut opener) = pair(Cipher::Aes256Gcm);
    for counter in [&mut sealer.0, &mut opener.counter] {
        counter.frames = limits::SEALED_FRAMES_PER_KEY_MAX - 1;
    }
    let tag = sealer.seal(b"h", &mut []).unwrap();
    opener.open(b"h", &mut [], &tag).unwrap();
    assert_eq!(sealer.seal(b"h", &mut []), Err(SealError::KeyUsedUp));
    assert_eq!(opener.open(b"h", &mut [], &tag), Err(SealError::KeyUsedUp));

    // One block each of header, payload and tag.
    let (mut sealer, _) = pair(Cipher::Aes256Gcm);
    sealer.0.blocks = limits::SEALED_BLOCKS_PER_KEY_MAX - 3;
    let mut untouched = [5; 17];
    assert_eq!(sealer.seal(b"h", &mut untouched), Err(SealError::KeyUsedUp));
    assert_eq!(untouched, [5; 17], "a refused payload was changed");
    assert!(sealer.seal(b"h", &mut [5; 16]).is_ok());
    assert_eq!(sealer.seal(b"h", &mut []), Err(SealError::KeyUsedUp));
}

#[test]
fn cipher_bytes_are_pinned_and_unknown_ones_refused() {
    assert_eq!(BOTH.map(Cipher::to_byte), [1, 2]);
    for byte in 0..=255 {
        match Cipher::try_from(byte) {
            Ok(cipher) => assert_eq!(cipher.to_byte(), byte),
            Err(error) => assert_eq!(error, SealError::UnknownCipher(byte)),
        }
    }
    assert_eq!(Cipher::preferred(), Cipher::preferred());
}

/// The bytes were computed with Python's hmac and cryptography (OpenSSL) from the formula in the module's
/// description, so they pin the format and not only this program.
#[test]
fn the_hello_and_the_first_frame_are_pinned_to_bytes() {
    let expected = [
        (
            "755f41abc64a3828d9f0b2268b567223",
            "9b90c975263a91ea017d56fab7f8946dc061d840796a6a59949d394a035d33d4f8304089307fe8",
        ),
        (
            "d78e50be3af08dee263a93436351b955",
            "88427cdd6d34c6d1e7b948bb6c91d7906ffc4f77761ae19f92aa9f2536b97ef0971beab50c035b",
        ),
    ];
    for (cipher, (hello, frame)) in BOTH.into_iter().zip(expected) {
        let (mut sealer, _) = keys(cipher, 7).for_sender();
        assert_eq!(hex(&sealer.prove(b"hello").unwrap()), hello);
        let mut payload = *b"what goes over the wire";
        let tag = sealer.seal(b"header", &mut payload).unwrap();
        assert_eq!(hex(&payload) + &hex(&tag), frame);
    }
}
