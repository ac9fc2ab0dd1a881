//! Honest and dishonest runs of the exchange.

use super::*;

const SENDER: Fingerprint = Fingerprint([1; 32]);
const RECEIVER: Fingerprint = Fingerprint([2; 32]);

fn code(text: &str) -> Code {
    Code::from_text(text).unwrap()
}

fn binding(byte: u8) -> ChannelBinding {
    ChannelBinding::new([byte; 32])
}

fn setting(binding: &ChannelBinding) -> Setting<'_> {
    Setting { sender: SENDER, receiver: RECEIVER, binding }
}

/// Runs the exchange; says what the receiver made of the sender's proof and, if it answered, the sender of
/// its.
fn run(
    (typed, sender): (&str, Setting<'_>),
    (shown, receiver): (&str, Setting<'_>),
) -> (Result<Proof, PairingError>, Option<Result<(), PairingError>>) {
    let (initiator, first) = Initiator::start(&code(typed), sender).unwrap();
    let (responder, second) = Responder::answer(&code(shown), &receiver, &first).unwrap();
    let (confirming, proof) = initiator.confirm(&second).unwrap();
    let verdict = responder.verify(&proof);
    let end = verdict.ok().map(|proof| confirming.finish(&proof));
    (verdict, end)
}

#[test]
fn the_right_code_convinces_both_sides() {
    let one = binding(3);
    let (verdict, end) = run(("k7qm2xhd4", setting(&one)), ("K7Q-M2X-HD4", setting(&one)));
    assert!(verdict.is_ok());
    assert_eq!(end, Some(Ok(())));
}

#[test]
fn a_wrong_code_is_refused_and_gets_no_proof_back() {
    let one = binding(3);
    let (verdict, end) = run(("K7Q-M2X-HD5", setting(&one)), ("K7Q-M2X-HD4", setting(&one)));
    assert_eq!((verdict, end), (Err(PairingError::Refused), None));
}

#[test]
fn the_right_code_over_two_tls_connections_is_refused() {
    let (one, other) = (binding(3), binding(4));
    let (verdict, _) = run(("open sesame", setting(&one)), ("open sesame", setting(&other)));
    assert_eq!(verdict, Err(PairingError::Refused));
}

#[test]
fn other_or_swapped_fingerprints_are_refused() {
    let one = binding(3);
    for (sender, receiver) in [(RECEIVER, SENDER), (SENDER, SENDER), (SENDER, Fingerprint([9; 32]))] {
        let other = Setting { sender, receiver, binding: &one };
        let (verdict, _) = run(("open sesame", setting(&one)), ("open sesame", other));
        assert_eq!(verdict, Err(PairingError::Refused));
    }
}

#[test]
fn messages_sent_back_to_their_author_are_refused() {
    let one = binding(3);
    let (initiator, first) = Initiator::start(&code("open sesame"), setting(&one)).unwrap();
    assert_eq!(initiator.confirm(&first).err(), Some(PairingError::Message));
    let (_, second) = Responder::answer(&code("open sesame"), &setting(&one), &first).unwrap();
    let reflected = Responder::answer(&code("open sesame"), &setting(&one), &second);
    assert_eq!(reflected.err(), Some(PairingError::Message));
}

#[test]
fn the_senders_proof_sent_back_is_not_the_receivers() {
    let one = binding(3);
    let (initiator, first) = Initiator::start(&code("open sesame"), setting(&one)).unwrap();
    let (_, second) = Responder::answer(&code("open sesame"), &setting(&one), &first).unwrap();
    let (confirming, proof) = initiator.confirm(&second).unwrap();
    assert_eq!(confirming.finish(&proof), Err(PairingError::Refused));
}

#[test]
fn a_proof_recorded_in_one_run_does_not_hold_in_the_next() {
    let one = binding(3);
    let (initiator, first) = Initiator::start(&code("open sesame"), setting(&one)).unwrap();
    let (responder, second) = Responder::answer(&code("open sesame"), &setting(&one), &first).unwrap();
    let (_, proof) = initiator.confirm(&second).unwrap();
    let receivers = responder.verify(&proof).unwrap();

    let (again, _) = Responder::answer(&code("open sesame"), &setting(&one), &first).unwrap();
    assert_eq!(again.verify(&proof), Err(PairingError::Refused));

    let (initiator, _) = Initiator::start(&code("open sesame"), setting(&one)).unwrap();
    let (confirming, _) = initiator.confirm(&second).unwrap();
    assert_eq!(confirming.finish(&receivers), Err(PairingError::Refused));
}

#[test]
fn messages_and_proofs_of_another_length_or_with_a_flipped_bit_are_refused() {
    let one = binding(3);
    let begin = || Initiator::start(&code("open sesame"), setting(&one)).unwrap();
    let answer = |first: &[u8]| Responder::answer(&code("open sesame"), &setting(&one), first);
    let (_, first) = begin();
    let (_, second) = answer(&first).unwrap();
    for cut in 0..first.len() {
        assert_eq!(answer(&first[..cut]).err(), Some(PairingError::Message));
        assert_eq!(begin().0.confirm(&second[..cut]).err(), Some(PairingError::Message));
    }
    assert!(answer(&[&first[..], &[0]].concat()).is_err());
    assert!(begin().0.confirm(&[&second[..], &[0]].concat()).is_err());

    for change in 0..3 {
        let (initiator, first) = begin();
        let (responder, second) = answer(&first).unwrap();
        let (_, proof) = initiator.confirm(&second).unwrap();
        let mut flipped = proof;
        flipped[31] ^= 1;
        let bad: Vec<u8> = match change {
            0 => proof[..31].to_vec(),
            1 => [&proof[..], &[0]].concat(),
            _ => flipped.to_vec(),
        };
        assert_eq!(responder.verify(&bad), Err(PairingError::Refused));
    }
}
