//! Finding receivers, as far as it needs no network: what the command line says, who is not announced, and what a receiver
//! that was found has to prove. What travels is tested between network namespaces: discovery.rs.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use crate::common::peer::{HandReceiver, identity, welcome};
use crate::common::*;
use lanx::client::Connections;
use lanx::client::handshake::{EnterError, SessionRequest, enter};
use lanx::net::Door;
use lanx::net::address::{Found, Peer};
use lanx::trust::dir::ConfigDir;
use lanx::trust::fingerprint::Fingerprint;
use lanx::trust::peer_store::PeerStore;
use lanx::trust::policy::{ClientAuth, FirstSight};
use lanx::wire::message::{SenderMessage, Wishes};

#[test]
fn a_script_that_names_no_host_is_told_what_to_type() {
    let scene = Scene::new();
    for name in ["letter", "disk.img"] {
        make(&scene.src, name, 10);
    }
    scene
        .run(["send", "letter"])
        .expect_complaint(2, &["no host was given", "lanx send FILE HOST", "lanx list"]);
    scene.run(["send", "disk.img", "letter"]).expect_complaint(2, &["letter is a file here", "--to letter"]);
    scene.run(["send", "nowhere"]).expect_complaint(2, &["nowhere", "lanx send FILE HOST"]);
    let output = scene.run(["send", "--json", "letter"]);
    output.expect_code(2);
    let events = output.events();
    assert!(events[0]["hint"].as_str().unwrap().contains("lanx send FILE HOST"), "{events:?}");
}

#[test]
fn an_address_is_a_host_also_where_a_file_has_its_name() {
    let scene = Scene::new();
    let letter = make(&scene.src, "letter", 10);
    let receiver = scene.receiver();
    make(&scene.src, receiver.addr.to_string(), 10);
    scene.send(&[&letter], receiver.addr).expect_success();
    assert_arrived(&[letter], &scene.dst);
}

#[test]
fn wrong_ways_to_announce_and_to_list_are_refused() {
    let scene = Scene::new();
    for args in [&["recv", "--clean", "--no-announce"][..], &["list", "--wait", "1"], &["list", "nas"]] {
        scene.run(args).expect_code(2);
    }
}

/// The names of the threads of a process.
fn threads(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_receiver_that_only_this_machine_reaches_or_that_is_told_not_to_is_not_announced() {
    let listens = [("127.0.0.1:0", "-v"), ("0.0.0.0:0", "--no-announce")].into_iter();
    let of_ipv6 = [("[::1]:0", "-v"), ("[::]:0", "--no-announce")].into_iter().filter(|_| has_ipv6());
    for (listen, flag) in listens.chain(of_ipv6) {
        let scene = Scene::new();
        let letter = make(&scene.src, "letter", 10);
        let mut command = scene.lanx();
        command.args(["recv", "--listen", listen, flag]).arg(&scene.dst);
        let process = Process::spawn(command);
        wait_until("it listens", PATIENCE, || listening_on(&process.stdout.text()).is_some());
        let port = listening_on(&process.stdout.text()).unwrap().port();
        let host = if listen.starts_with('[') { "[::1]" } else { "127.0.0.1" };
        scene.send(&[&letter], format!("{host}:{port}")).expect_success();
        let threads = threads(&process);
        let announcing = |name: &String| name.starts_with("mDNS") || name == "announce";
        assert!(!threads.is_empty() && !threads.iter().any(announcing), "{listen}: {threads:?}");
        assert!(!process.stdout.text().contains("announced"), "{}", process.story());
    }
}

/// Goes to a receiver that lets everybody in and was found by the name nas, announcing `key`. Returns what came of it, and
/// whether the receiver heard more than that the sender goes.
fn enter_found(scene: &Scene, key: Option<Fingerprint>) -> (Result<(), EnterError>, bool) {
    let its = identity(&scene.path("receiver")).fingerprint();
    enter_open(scene, FirstSight::None, Some(its), |addr| {
        let found = Found { addrs: vec![addr], key, remembered_for: None };
        Peer { found: Some(Arc::new(found)), ..Peer::new("nas", addr.port()) }
    })
}

/// Goes to a receiver that lets everybody in, as `peer` names it.
fn enter_open(
    scene: &Scene,
    first_sight: FirstSight,
    agreed: Option<Fingerprint>,
    peer: impl FnOnce(SocketAddr) -> Peer,
) -> (Result<(), EnterError>, bool) {
    let here = HandReceiver::listen(identity(&scene.path("receiver")));
    let peer = peer(here.addr);
    let receiver = thread::spawn(move || {
        let mut talk = here.accept().unwrap();
        let heard = talk.hear().is_ok_and(|message| !matches!(message, SenderMessage::Leave { .. }));
        let _ = talk.say(&welcome());
        heard
    });
    let folder = ConfigDir::at(&scene.path("config")).unwrap();
    let mut visitor =
        ClientAuth::new(&identity(&scene.path("config")), PeerStore::new(&folder), None).unwrap();
    visitor.first_sight = first_sight;
    visitor.agreed = agreed;
    let request = SessionRequest {
        began: None,
        place: lanx::client::handshake::PutWhere::default(),
        name: "test",
        resumes: None,
        wishes: Wishes::default(),
        door: Door::Tcp,
        patience: PATIENCE,
        waits: &|_| (),
        large_lost: &|| (),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wanted = Connections { first: 1, most: 1 };
    let entered = runtime.block_on(enter(&peer, &visitor, &request, wanted)).map(drop);
    drop(runtime);
    (entered, receiver.join().unwrap())
}

#[test]
fn a_receiver_that_was_found_has_to_have_the_key_that_it_announces() {
    let scene = Scene::new();
    let (its, others) =
        (identity(&scene.path("receiver")).fingerprint(), identity(&scene.path("other")).fingerprint());
    let (entered, heard) = enter_found(&scene, Some(others));
    let Err(error @ EnterError::OtherKey { announced, now, .. }) = entered else { panic!("{entered:?}") };
    assert_eq!((announced, now, heard), (others, its, false));
    assert!(error.to_string().contains("Nothing was sent"), "{error}");
    for key in [Some(its), None] {
        let (entered, heard) = enter_found(&scene, key);
        assert!(entered.is_ok() && heard, "{entered:?}");
    }
}

/// What this user remembers of receivers.
fn memory(scene: &Scene) -> PeerStore {
    PeerStore::new(&ConfigDir::at(&scene.path("config")).unwrap())
}

#[test]
fn a_name_that_is_remembered_stands_for_no_other_key_at_whatever_port_it_is_found() {
    let own = |scene: &Scene| identity(&scene.path("receiver")).fingerprint();
    let other = |scene: &Scene| identity(&scene.path("other")).fingerprint();
    for name in ["nas:7269", "NAS:1"] {
        let scene = Scene::new();
        memory(&scene).remember_host(name, other(&scene)).unwrap();
        // That it has met the key elsewhere makes it no nas.
        memory(&scene).remember_host("attic:7269", own(&scene)).unwrap();
        let (entered, heard) = enter_found(&scene, Some(own(&scene)));
        let Err(ref error @ EnterError::Namesake { ref known, now, .. }) = entered else {
            panic!("{entered:?}")
        };
        assert_eq!((known.fingerprint, now, heard), (other(&scene), own(&scene), false));
        let text = error.to_string();
        assert!(text.contains(&format!("lanx trust remove {}", name.to_lowercase())), "{text}");
    }
    // Several receivers of one name were met, and this is one of them, at a new port; others do not count.
    let scene = Scene::new();
    for (name, key) in [("nas:1", other(&scene)), ("nas:2", own(&scene)), ("nas.lan:1", other(&scene))] {
        memory(&scene).remember_host(name, key).unwrap();
    }
    let (entered, heard) = enter_found(&scene, None);
    assert!(entered.is_ok() && heard, "{entered:?}");
}

#[test]
fn a_script_trusts_at_first_sight_what_it_names_itself_and_not_what_announces_that_name() {
    let scene = Scene::new();
    let named = |addr: SocketAddr| Peer::new(addr.ip().to_string(), addr.port());
    let found = |addr: SocketAddr| Peer {
        found: Some(Arc::new(Found { addrs: vec![addr], key: None, remembered_for: None })),
        ..Peer::new("nas", addr.port())
    };
    let (entered, _) = enter_open(&scene, FirstSight::Named, None, found);
    let Err(error @ EnterError::OnlyFound { .. }) = entered else { panic!("{entered:?}") };
    assert!(error.to_string().contains("nothing was sent; name it by its address"), "{error}");
    assert_eq!(memory(&scene).load().unwrap().hosts(), []);
    let (entered, _) = enter_open(&scene, FirstSight::None, None, named);
    assert!(matches!(entered, Err(EnterError::FirstSight { .. })), "{entered:?}");
    let (entered, _) = enter_open(&scene, FirstSight::Named, None, named);
    assert!(entered.is_ok(), "{entered:?}");
    // That the key is known from there makes it no nas: whoever is trusted as one machine need not be another.
    let (entered, heard) = enter_open(&scene, FirstSight::Named, None, found);
    let Err(error @ EnterError::OnlyFound { .. }) = entered else { panic!("{entered:?}") };
    assert!(error.to_string().contains("(this is the key of 127.0.0.1:"), "{error}");
    assert!(heard, "it is asked who it is before anybody decides");
    let (entered, _) = enter_open(&scene, FirstSight::None, None, found);
    let Err(error @ EnterError::FirstSight { .. }) = entered else { panic!("{entered:?}") };
    assert!(error.to_string().contains("(this is the key of 127.0.0.1:"), "{error}");
    // So is a name that the resolver may have heard on the link.
    let local = |addr: SocketAddr| Peer { found: None, ..Peer::new("nas.local", addr.port()) };
    assert!(local("127.0.0.1:1".parse().unwrap()).is_anybodys_name());
}

#[test]
fn only_the_key_that_was_agreed_to_is_taken_afterwards() {
    let scene = Scene::new();
    let named = |addr: SocketAddr| Peer::new(addr.ip().to_string(), addr.port());
    let (its, others) =
        (identity(&scene.path("receiver")).fingerprint(), identity(&scene.path("other")).fingerprint());
    for first_sight in [FirstSight::None, FirstSight::Named] {
        let (entered, heard) = enter_open(&scene, first_sight, Some(others), named);
        let Err(error @ EnterError::NotTheSame { was, now, .. }) = entered else { panic!("{entered:?}") };
        assert_eq!((was, now, heard), (others, its, false));
        assert!(error.to_string().contains("Nothing was sent to this key"), "{error}");
    }
    assert_eq!(memory(&scene).load().unwrap().hosts(), []);
    let (entered, heard) = enter_open(&scene, FirstSight::None, Some(its), named);
    assert!(entered.is_ok() && heard, "{entered:?}");
}

#[test]
fn a_receiver_with_another_key_is_refused_after_a_loss_although_no_key_could_be_remembered() {
    let scene = Scene::new();
    let honest = scene.receiver_of("bob", &["--open"], None);
    let other = scene.path("taken");
    fs::create_dir(&other).unwrap();
    let false_one = Receiver::start_as(scene.lanx_as("mallory"), "127.0.0.1:0", &["--open"], &other);
    let file = make(&scene.src, "large", 8 << 20);
    // Nothing can be locked, so nothing can be remembered.
    identity(&scene.path("alice"));
    fs::create_dir(scene.path("alice").join("peers.lock")).unwrap();
    let relay = Relay::holding_after(honest.addr, 1 << 20);
    let sent = scene.start_send_by("alice", &[], None, &file, relay.addr);
    relay.wait_until_held();
    relay.lead_to(false_one.addr);
    relay.cut_control();
    let sent = sent.finish(PATIENCE);
    sent.expect_code(4);
    assert!(sent.err().contains("ANSWERED WITH ANOTHER KEY"), "{}", sent.err());
    assert_eq!(listing(&other), Vec::<std::ffi::OsString>::new());
}
