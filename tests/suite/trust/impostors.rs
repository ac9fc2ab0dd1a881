//! Somebody poses as the receiver, or stands between sender and receiver and ends TLS on both sides.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::common::peer::{HandReceiver, HandSender, Talk, demand_code, identity, pass_on, welcome};
use crate::common::*;
use lanx::wire::message::{Barred, ReceiverMessage, SenderMessage};

fn letter(scene: &Scene) -> PathBuf {
    make_of(&scene.src, "letter.txt", b"for bob's eyes only")
}

fn assert_nothing_arrived(scene: &Scene) {
    assert_eq!(listing(&scene.dst), Vec::<OsString>::new());
}

/// A receiver with mallory's key that does as `act` says with the next sender, and then hears it out.
struct Mallory {
    addr: std::net::SocketAddr,
    acting: JoinHandle<io::Result<Vec<SenderMessage>>>,
}

impl Mallory {
    fn at(addr: &str, scene: &Scene, act: impl FnOnce(&mut Talk) + Send + 'static) -> Mallory {
        let here = HandReceiver::listen_at(addr.parse().unwrap(), identity(&scene.path("mallory")));
        let addr = here.addr;
        let acting = thread::spawn(move || {
            let mut talk = here.accept()?;
            act(&mut talk);
            Ok(std::iter::from_fn(|| talk.hear().ok()).collect())
        });
        Mallory { addr, acting }
    }

    fn lets_everybody_in(addr: &str, scene: &Scene) -> Mallory {
        Mallory::at(addr, scene, |talk| talk.say(&welcome()).unwrap())
    }

    /// What the sender said to it. A sender that hung up in the handshake has said nothing.
    fn heard(self) -> Vec<SenderMessage> {
        self.acting.join().unwrap().unwrap_or_default()
    }

    /// The sender said that it goes, and nothing else to a key that it does not know.
    #[track_caller]
    fn assert_was_only_left(self) {
        let heard = self.heard();
        let text = "it has another key on record for this machine".into();
        assert_eq!(heard, [SenderMessage::Leave { text }]);
    }

    #[track_caller]
    fn assert_heard_of_no_file(self) {
        let heard = self.heard();
        let told = |message: &&SenderMessage| {
            !matches!(message, SenderMessage::Hello(_) | SenderMessage::Proof { .. })
        };
        assert_eq!(heard.iter().find(told), None, "it was told more than who is there");
    }
}

#[test]
fn a_man_in_the_middle_who_does_not_know_the_code_is_refused_by_both_sides() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let middle = HandReceiver::listen(identity(&scene.path("mallory")));
    let (addr, target, there) = (middle.addr, receiver.addr, identity(&scene.path("mallory")));
    let passing = thread::spawn(move || pass_on(&middle, &there, target).unwrap());
    let sent = scene.send_by("alice", Some(CODE), &letter(&scene), addr);
    sent.expect_complaint(4, &["does not have that code"]);
    let heard = passing.join().unwrap();
    assert!(heard.iter().any(|message| message.starts_with("Proof")), "no proof was tried: {heard:?}");
    assert!(!heard.iter().any(|message| message.starts_with("Welcome")), "{heard:?}");
    receiver.wait_for_stderr("its code was wrong");
    assert_nothing_arrived(&scene);
}

#[test]
fn a_man_in_the_middle_of_a_paired_couple_is_refused_by_both_sides() {
    let scene = Scene::new();
    let receiver = scene.receiver_of("bob", &[], Some(CODE));
    let relay = Relay::to(receiver.addr);
    scene.send_by("alice", Some(CODE), &make(&scene.src, "first", 5), relay.addr).expect_code(0);
    drop(receiver);
    let arrived = listing(&scene.dst);

    let mallory = Mallory::lets_everybody_in("127.0.0.1:0", &scene);
    relay.lead_to(mallory.addr);
    scene.send_by("alice", None, &letter(&scene), relay.addr).expect_complaint(4, &["HAS CHANGED"]);
    mallory.assert_was_only_left();
    let receiver = scene.receiver_of("bob", &[], None);
    let mut posing = HandSender::connect(None, &identity(&scene.path("mallory")), receiver.addr).unwrap();
    assert_eq!(posing.hello(1).unwrap(), ReceiverMessage::Barred(Barred::NoCode));
    assert_eq!(listing(&scene.dst), arrived);
}

#[test]
fn a_man_in_the_middle_of_one_users_machines_is_refused_once_they_have_met() {
    let scene = Scene::new();
    let receiver = scene.receiver();
    let relay = Relay::to(receiver.addr);
    scene.send(&[make(&scene.src, "first", 5)], relay.addr).expect_success();
    drop(receiver);
    let mallory = Mallory::lets_everybody_in("127.0.0.1:0", &scene);
    relay.lead_to(mallory.addr);
    scene.send(&[letter(&scene)], relay.addr).expect_complaint(4, &["HAS CHANGED"]);
    mallory.assert_was_only_left();
}

#[test]
fn a_sender_with_a_code_refuses_a_receiver_that_lets_it_in_without_proving_the_code() {
    let scene = Scene::new();
    let mallory = Mallory::lets_everybody_in("127.0.0.1:0", &scene);
    let sent = scene.send_by("alice", Some(CODE), &letter(&scene), mallory.addr);
    sent.expect_complaint(4, &["could not prove that it knows the code", "nothing was sent"]);
    mallory.assert_heard_of_no_file();
}

/// Whoever is told a message of SPAKE2 can test one code with it. Where it hangs up the sender does not come again.
#[test]
fn a_receiver_that_hangs_up_on_the_code_is_not_shown_it_twice() {
    let scene = Scene::new();
    let here = HandReceiver::listen(identity(&scene.path("mallory")));
    let (addr, shown) = (here.addr, Arc::new(AtomicUsize::new(0)));
    let count = shown.clone();
    thread::spawn(move || {
        while let Ok(mut talk) = here.accept() {
            talk.say(&ReceiverMessage::CodeWanted).unwrap();
            let told = std::iter::from_fn(|| talk.hear().ok());
            let codes = told.filter(|message| matches!(message, SenderMessage::Pake { .. }));
            count.fetch_add(codes.take(1).count(), Ordering::Relaxed);
        }
    });
    let sent = scene.send_by("alice", Some(CODE), &letter(&scene), addr);
    sent.expect_complaint(3, &["hung up while the code was being proved"]);
    assert_eq!(shown.load(Ordering::Relaxed), 1);
}

#[test]
fn a_receiver_known_from_elsewhere_has_to_prove_the_code_all_the_same() {
    let scene = Scene::new();
    // Alice has left files with mallory, at mallory's own address.
    let mut open = scene.lanx_as("mallory");
    open.env_remove("LANX_CODE");
    let receiver = Receiver::start_as(open, "127.0.0.1:0", &["--open"], &scene.dst);
    scene.send_by("alice", None, &make(&scene.src, "first", 5), receiver.addr).expect_code(0);
    // Now mallory answers where bob should, whose code alice was told.
    let mallory = Mallory::lets_everybody_in("127.0.0.1:0", &scene);
    let sent = scene.send_by("alice", Some(CODE), &letter(&scene), mallory.addr);
    sent.expect_complaint(4, &["could not prove that it knows the code", "nothing was sent"]);
    mallory.assert_heard_of_no_file();
}

#[test]
fn a_receiver_that_demands_a_code_it_does_not_know_learns_nothing_and_gets_nothing() {
    let scene = Scene::new();
    let mallory = Mallory::at("127.0.0.1:0", &scene, |talk| {
        let Ok(SenderMessage::Hello(_)) = talk.hear() else { panic!("no hello") };
        assert!(!demand_code(talk, "mallory's guess").unwrap(), "the guess was right?");
        // It claims to be convinced.
        talk.say(&ReceiverMessage::Proof { proof: [7; 32] }).unwrap();
        let _ = talk.say(&welcome());
    });
    let sent = scene.send_by("alice", Some(CODE), &letter(&scene), mallory.addr);
    sent.expect_complaint(4, &["could not prove that it knows the code", "nothing was sent"]);
    mallory.assert_heard_of_no_file();
}
