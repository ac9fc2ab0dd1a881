//! Large packets are lost on the way, and nothing says so: between network namespaces, which needs root. `make test-discovery`
//! runs these.

use crate::common::*;

const LOST: &str = "large packets are lost on the way";

/// A sender and a receiver for everybody, who take packets of `ends` bytes, where no more than `middle` get through.
fn between(scene: &Scene, ends: u32, middle: u32) -> (Lan, Receiver) {
    let lan = Lan::new(&["desk", "nas"], Family::Both);
    lan.narrow(ends, middle);
    let receiver = Receiver::start_as(lan.hosts[1].lanx(scene), "[::]:0", &["--open", "-v"], &scene.dst);
    (lan, receiver)
}

/// What becomes of a command at the sender.
fn run(scene: &Scene, lan: &Lan, args: &[&str]) -> Output {
    let mut command = lan.hosts[0].lanx(scene);
    command.args(args);
    Process::spawn(command).finish(PATIENCE)
}

fn over_v4(lan: &Lan, receiver: &Receiver) -> String {
    format!("{}:{}", lan.hosts[1].v4, receiver.addr.port())
}

fn over_v6(lan: &Lan, receiver: &Receiver) -> String {
    format!("[{}]:{}", lan.hosts[1].v6, receiver.addr.port())
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_file_arrives_where_packets_are_lost_in_the_handshake_or_only_as_data_moves() {
    // The hello of the sender is too large; the answer to it; only data.
    for (ends, middle) in [(1500, 1300), (9000, 1500), (9000, 4000)] {
        let scene = Scene::new();
        let (lan, receiver) = between(&scene, ends, middle);
        let file = make(&scene.src, "film", 5_000_000);
        for to in [over_v4(&lan, &receiver), over_v6(&lan, &receiver)] {
            let output = run(&scene, &lan, &["send", "film", &to]);
            output.expect_code(0);
            assert_eq!(output.err().matches(LOST).count(), 1, "{ends}, {middle}: {}", output.err());
            assert!(output.err().contains(&format!("lanx doctor {to}")), "{}", output.err());
            assert_arrived(&[&file], &scene.dst);
            std::fs::remove_file(scene.dst.join("film")).unwrap();
        }
        if middle < 4000 {
            receiver.wait_for_stderr("large packets may be lost");
        }
    }
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_folder_arrives_where_only_what_is_said_of_many_files_is_too_large() {
    let scene = Scene::new();
    let (lan, receiver) = between(&scene, 9000, 4000);
    let folder = scene.src.join("photos");
    std::fs::create_dir(&folder).unwrap();
    let files: Vec<_> =
        (0..2000).map(|n| make(&folder, format!("a photo with a long name {n}"), 10)).collect();
    let output = run(&scene, &lan, &["send", "photos", &over_v4(&lan, &receiver)]);
    output.expect_code(0);
    assert_eq!(output.err().matches(LOST).count(), 1 + 1, "the note and the loss: {}", output.err());
    assert_arrived(&files, &scene.dst.join("photos"));
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn who_cannot_be_reached_with_small_packets_either_hears_what_tcp_saw() {
    let scene = Scene::new();
    let (lan, receiver) = between(&scene, 1500, 1000);
    make(&scene.src, "film", 1000);
    let to = over_v4(&lan, &receiver);
    let output = run(&scene, &lan, &["send", "film", &to]);
    output.expect_complaint(3, &[&to, "is lanx", "was not acknowledged", "1200 bytes", "VPN"]);
    assert!(!output.err().contains(LOST), "{}", output.err());
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn a_way_that_takes_what_both_ends_take_is_not_complained_about() {
    let scene = Scene::new();
    let (lan, receiver) = between(&scene, 1500, 1500);
    let file = make(&scene.src, "film", 5_000_000);
    let to = over_v4(&lan, &receiver);
    let output = run(&scene, &lan, &["send", "film", &to]);
    output.expect_code(0);
    assert!(!output.err().contains(LOST), "{}", output.err());
    assert_arrived(&[file], &scene.dst);
    run(&scene, &lan, &["doctor", &to]).expect_out(&["1500 bytes  get there and back"]);
}

#[test]
#[ignore = "makes network namespaces, as root: make test-discovery"]
fn doctor_finds_the_largest_packet_that_gets_there_and_says_what_to_do() {
    let scene = Scene::new();
    let (lan, receiver) = between(&scene, 1500, 1337);
    let output = run(&scene, &lan, &["doctor", "--json", &over_v4(&lan, &receiver)]);
    output.expect_code(0);
    let all = events(&output.stdout);
    let advice: Vec<_> = all.iter().filter(|event| event["topic"] == "large_packets").collect();
    let [advice] = advice[..] else { panic!("{all:?}") };
    assert!(advice["text"].as_str().unwrap().contains("more than 1337 bytes"), "{advice}");
    assert_eq!(advice["commands"][0], "ip link set lan0 mtu 1337");
    assert!(all.iter().any(|event| event["what"] == "network"), "it measures all the same: {all:?}");

    let scene = Scene::new();
    let (lan, receiver) = between(&scene, 9000, 4000);
    let output = run(&scene, &lan, &["doctor", &over_v6(&lan, &receiver)]);
    output
        .expect_code(0)
        .expect_out(&["4000 bytes  get there, larger ones are lost", "ip link set lan0 mtu 4000"]);
}
