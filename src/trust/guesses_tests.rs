//! Guessers of several kinds against a clock that the tests turn.

use std::net::Ipv4Addr;

use super::*;

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn generated() -> GuessBook {
    GuessBook::generated().unwrap()
}

fn fixed() -> GuessBook {
    GuessBook::fixed(Code::from_text("open sesame").unwrap())
}

#[test]
fn a_generated_code_is_replaced_after_three_wrong_guesses_from_anywhere() {
    let (book, now) = (generated(), Instant::now());
    let first = book.code();
    assert_eq!(book.offer(v4(1), now).unwrap().wrong(now), AfterWrong::Counted);
    assert_eq!(book.offer(v4(2), now).unwrap().wrong(now), AfterWrong::Counted);
    assert_eq!(book.code(), first);
    let AfterWrong::NewCode { code, .. } = book.offer(v4(3), now).unwrap().wrong(now) else {
        panic!("the code was kept");
    };
    assert_ne!(code, first);
    assert_eq!(book.code(), code);
}

#[test]
fn guesses_in_flight_fail_with_the_code_they_began_with_even_if_right() {
    for book in [generated(), fixed()] {
        let now = Instant::now();
        let mut attempts: Vec<CodeGuess> =
            (0..8).map(|number| book.offer(v4(number), now).unwrap()).collect();
        let right = attempts.pop().unwrap();
        for attempt in attempts.drain(..3) {
            attempt.wrong(now);
        }
        assert_eq!(right.right(), Err(Outdated));
        // The rest cannot use up the new code either.
        let code = book.code();
        for attempt in attempts {
            assert_eq!(attempt.wrong(now), AfterWrong::Counted);
        }
        assert_eq!(book.code(), code);
    }
}

#[test]
fn a_right_guess_keeps_the_code_for_further_machines() {
    let (book, now) = (generated(), Instant::now());
    let code = book.code();
    for number in 0..10 {
        let attempt = book.offer(v4(number), now).unwrap();
        assert_eq!(attempt.code(), &*code);
        assert_eq!(attempt.right(), Ok(()));
    }
    assert_eq!(book.code(), code);
}

#[test]
fn a_right_guess_does_not_forgive_the_wrong_guesses_of_others() {
    let (book, now) = (generated(), Instant::now());
    book.offer(v4(1), now).unwrap().wrong(now);
    book.offer(v4(2), now).unwrap().wrong(now);
    book.offer(v4(3), now).unwrap().right().unwrap();
    let after = book.offer(v4(4), now).unwrap().wrong(now);
    assert!(matches!(after, AfterWrong::NewCode { .. }), "{after:?}");
}

#[test]
fn a_fixed_code_makes_everybody_wait_longer_from_the_third_wrong_guess_on() {
    let (book, mut now) = (fixed(), Instant::now());
    let mut pauses = Vec::new();
    for number in 0..13 {
        match book.offer(v4(number), now).unwrap().wrong(now) {
            AfterWrong::Counted => pauses.push(0),
            AfterWrong::Paused(pause) => {
                pauses.push(pause.as_secs());
                let wait = book.offer(v4(99), now).unwrap_err();
                assert_eq!(wait, Wait { wait: pause, reason: WaitReason::Everybody });
                now += pause;
            }
            AfterWrong::NewCode { .. } => panic!("a fixed code was replaced"),
        }
    }
    assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn a_quiet_hour_ends_the_pauses_but_does_not_renew_a_generated_code() {
    let (book, now) = (fixed(), Instant::now());
    for number in 0..3 {
        book.offer(v4(number), now).unwrap().wrong(now);
    }
    let later = now + Duration::from_secs(limits::GUESS_FORGET_SECONDS);
    assert_eq!(book.offer(v4(1), later).unwrap().wrong(later), AfterWrong::Counted);

    let book = generated();
    book.offer(v4(1), now).unwrap().wrong(now);
    book.offer(v4(2), now).unwrap().wrong(now);
    let after = book.offer(v4(1), later).unwrap().wrong(later);
    assert!(matches!(after, AfterWrong::NewCode { .. }), "{after:?}");
}

#[test]
fn a_dropped_attempt_counts_as_nothing() {
    let (book, now) = (generated(), Instant::now());
    let code = book.code();
    for _ in 0..100 {
        drop(book.offer(v4(1), now).unwrap());
    }
    assert_eq!(book.code(), code);
    assert!(book.state().in_flight.is_empty());
}

#[test]
fn attempts_in_flight_are_bounded_for_each_address_and_in_all() {
    let (book, now) = (generated(), Instant::now());
    let mut held = Vec::new();
    for _ in 0..limits::GUESSES_IN_FLIGHT_PER_ADDRESS_MAX {
        held.push(book.offer(v4(1), now).unwrap());
    }
    assert_eq!(book.offer(v4(1), now).unwrap_err().reason, WaitReason::Busy);
    drop(held);
    // Half-open attempts of a few addresses keep out nobody at another one.
    let mut half_open: Vec<CodeGuess> = Vec::new();
    for number in 0..4 {
        half_open.extend(
            (0..limits::GUESSES_IN_FLIGHT_PER_ADDRESS_MAX).map(|_| book.offer(v4(number), now).unwrap()),
        );
    }
    assert_eq!(half_open.len(), limits::GUESSES_IN_FLIGHT_MAX);
    let honest = book.offer(v4(99), now).unwrap();
    assert_eq!(book.state().in_flight.len(), limits::GUESSES_IN_FLIGHT_MAX);
    assert_eq!(honest.right(), Ok(()));
    assert_eq!(half_open.remove(0).right(), Err(Outdated), "it made room");
    assert_eq!(half_open.pop().unwrap().right(), Ok(()));
}

#[test]
fn all_addresses_of_an_ipv6_network_and_both_forms_of_an_ipv4_one_are_one_guesser() {
    let guesser = |text: &str| Guesser::new(text.parse().unwrap());
    assert_eq!(guesser("2001:db8::1"), guesser("2001:db8::ffff:1:2:3"));
    assert_ne!(guesser("2001:db8::1"), guesser("2001:db8:0:1::1"));
    assert_eq!(guesser("::ffff:10.0.0.1"), guesser("10.0.0.1"));
    assert_ne!(guesser("10.0.0.1"), guesser("10.0.0.2"));
}
