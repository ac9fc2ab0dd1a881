//! The two lists and their rules.

use super::*;

fn key(byte: u8) -> Fingerprint {
    Fingerprint([byte; 32])
}

/// Three senders: `laptop` (key 1), `laptop-2` (key 2), `nas` (key 3).
fn three() -> Peers {
    let mut peers = Peers::default();
    for (byte, name) in [(1, "laptop"), (2, "laptop"), (3, "nas")] {
        peers.remember_peer(key(byte), name, "10.0.0.1:4000", 1_700_000_000).unwrap();
    }
    peers
}

fn names(peers: &Peers) -> Vec<&str> {
    peers.senders().iter().map(|peer| peer.name.as_str()).collect()
}

#[test]
fn the_file_is_pinned_and_comes_back_as_it_was() {
    let mut peers = Peers::default();
    peers.remember_peer(key(0), "laptop", "10.0.0.1", 1_700_000_000).unwrap();
    peers.remember_host("NAS.local:7777", key(0)).unwrap();
    let zeros = "A".repeat(43);
    let text = format!(
        "# Written by lanx. allowed_sender: machines that may send to this user.\n\
         # known_host: receivers that this user has sent to; they may do nothing here.\n\
         format = 1\n\n[[allowed_sender]]\nfingerprint = \"SHA256:{zeros}\"\nname = \"laptop\"\n\
         paired_unix_seconds = 1700000000\nlast_address = \"10.0.0.1\"\n\n\
         [[known_host]]\naddress = \"nas.local:7777\"\nfingerprint = \"SHA256:{zeros}\"\n"
    );
    assert_eq!(peers.to_toml().unwrap(), text);
    assert_eq!(Peers::from_toml(&text).unwrap(), peers);
    let empty = Peers::default();
    assert_eq!(Peers::from_toml(&empty.to_toml().unwrap()).unwrap(), empty);
}

#[test]
fn a_file_of_the_release_before_opens_and_one_of_a_newer_lanx_says_so() {
    let before = include_str!("peers_of_0.1.toml");
    let peers = Peers::from_toml(before).unwrap();
    assert_eq!(names(&peers), ["laptop", "lab-7"]);
    assert_eq!(peers.senders()[1].paired_unix_seconds, 1_764_400_000);
    let hosts: Vec<&str> = peers.hosts().iter().map(|host| host.address.as_str()).collect();
    assert_eq!(hosts, ["nas.local:7269", "[fd00::7]:7270"]);
    assert_eq!(peers.to_toml().unwrap(), before);
    let newer = before.replace("format = 1", "format = 3\nwhat_comes_later = true");
    let error = Peers::from_toml(&newer).unwrap_err();
    assert_eq!(error, PeersError::Format(3));
    assert_eq!(
        error.to_string(),
        "a newer lanx wrote it, in format 3, and this lanx reads up to format 2; install the newer lanx here"
    );
    assert!(Peers::from_toml(&before.replace("format = 1", "format = 0")).is_err());
}

#[test]
fn anything_unknown_missing_or_doubled_in_the_file_is_an_error() {
    let good = three().to_toml().unwrap();
    let host = "[[known_host]]\naddress = \"a:1\"\nfingerprint = \"SHA256:";
    let host = format!("{host}{}\"\n", "A".repeat(43));
    assert!(Peers::from_toml(&format!("{good}{host}")).is_ok());
    let bad = [
        String::new(),
        "format = 3\n".to_owned(),
        format!("{good}surprise = 1\n"),
        format!("surprise = 1\n{good}"),
        format!("{good}{host}surprise = 1\n"),
        format!("{good}{host}{host}"),
        good.replace("name = \"nas\"\n", ""),
        good.replace("\"nas\"", "\"laptop\""),
        good.replace("\"nas\"", "\"n\\u001bas\""),
        good.replace("\"nas\"", "\"\""),
        good.replace(&key(3).to_string(), &key(2).to_string()),
        good.replace(&key(3).to_string(), "SHA256:short"),
        good.replace("1700000000", "-1"),
        good[..good.len() - 10].to_owned(),
    ];
    for text in bad {
        assert!(Peers::from_toml(&text).is_err(), "taken:\n{text}");
    }
}

#[test]
fn a_known_host_is_not_an_allowed_sender_nor_the_other_way_round() {
    let mut peers = Peers::default();
    peers.remember_host("nas:1", key(1)).unwrap();
    assert!(!peers.is_paired(&key(1)));
    peers.remember_peer(key(2), "laptop", "laptop:1", 0).unwrap();
    assert!(peers.is_paired(&key(2)));
    assert_eq!(peers.host("laptop:1", &key(2)), HostKey::Unknown);
    peers.forget_host("nas:1");
    assert!(peers.is_paired(&key(2)));
}

#[test]
fn a_host_is_unknown_then_the_same_and_changed_when_its_key_is_another() {
    let mut peers = Peers::default();
    assert_eq!(peers.host("nas:1", &key(1)), HostKey::Unknown);
    peers.remember_host("NAS:1", key(1)).unwrap();
    assert_eq!(peers.host("nas:1", &key(1)), HostKey::Same);
    assert_eq!(peers.host("Nas:1", &key(2)), HostKey::Changed { was: key(1) });
    assert_eq!(peers.host("nas:2", &key(2)), HostKey::Unknown);
    peers.remember_host("nas:1", key(2)).unwrap();
    assert_eq!(peers.host("nas:1", &key(2)), HostKey::Same);
    assert!(peers.forget_host("NAS:1"));
    assert!(!peers.forget_host("nas:1"));
}

#[test]
fn a_sender_that_comes_again_keeps_its_name_and_date() {
    let mut peers = three();
    peers.remember_peer(key(3), "other", "10.9.9.9:1", 1_800_000_000).unwrap();
    let nas = &peers.senders()[2];
    assert_eq!((nas.name.as_str(), nas.paired_unix_seconds), ("nas", 1_700_000_000));
    assert_eq!(nas.last_address, "10.9.9.9:1");
    assert_eq!(peers.senders().len(), 3);
}

#[test]
fn names_of_peers_are_made_safe_and_unique() {
    let mut peers = three();
    assert_eq!(names(&peers), ["laptop", "laptop-2", "nas"]);
    let long = "x".repeat(200);
    for (byte, name) in [(4, "\u{1b}[31mred\n"), (5, "  "), (6, "a\u{202e}b"), (7, &long), (8, &long)] {
        peers.remember_peer(key(byte), name, "a:1", 0).unwrap();
    }
    let (one, two) = ("x".repeat(64), format!("{}-2", "x".repeat(62)));
    assert_eq!(names(&peers)[3..], ["__31mred", "unnamed", "a_b", &one, &two]);
    assert!(Peers::from_toml(&peers.to_toml().unwrap()).is_ok());
}

#[test]
fn a_sender_is_removed_by_name_fingerprint_or_unambiguous_beginning() {
    let text = key(2).to_string();
    for wanted in ["laptop-2", &text, &text[..13], &text[7..13]] {
        let mut peers = three();
        assert_eq!(peers.remove_peer(wanted).unwrap().fingerprint, key(2), "{wanted}");
        assert!(!peers.is_paired(&key(2)));
        assert_eq!(peers.senders().len(), 2);
    }
}

#[test]
fn what_stands_for_no_sender_or_several_removes_none() {
    let mut peers = three();
    // Differs from key 2 in its last bit only.
    let mut near = [2; 32];
    near[31] = 3;
    peers.remember_peer(Fingerprint(near), "near", "a:1", 0).unwrap();
    let text = key(2).to_string();
    for several in [&text[..20], &text[7..30]] {
        let error = peers.remove_peer(several).unwrap_err();
        assert!(matches!(error, PeersError::Ambiguous { .. }), "{error}");
    }
    for none in ["", "SHA256:", "lap", &text[..12], &text[7..12], "NAS"] {
        assert_eq!(peers.remove_peer(none), Err(PeersError::NoSuchPeer(none.to_owned())));
    }
    assert_eq!(peers.senders().len(), 4);
}

#[test]
fn a_peer_that_calls_itself_by_anothers_fingerprint_is_not_taken_for_it() {
    let mut peers = three();
    let whole = key(3).to_string();
    let beginning = &whole[7..17];
    peers.remember_peer(key(4), beginning, "a:1", 0).unwrap();
    assert!(matches!(peers.remove_peer(beginning), Err(PeersError::Ambiguous { .. })));
    peers.remember_peer(key(5), &whole, "a:1", 0).unwrap();
    assert_eq!(peers.remove_peer(&whole).unwrap().name, "nas");
}

#[test]
fn renaming_refuses_names_that_are_taken_or_no_names() {
    let mut peers = three();
    assert_eq!(peers.rename_peer("nas", "  storage ").unwrap().name, "storage");
    assert_eq!(peers.rename_peer("storage", "storage").unwrap().name, "storage");
    assert_eq!(peers.rename_peer("storage", "laptop"), Err(PeersError::NameTaken("laptop".to_owned())));
    let long = "x".repeat(65);
    for bad in ["", " ", "a\nb", "a/b", &long] {
        assert!(matches!(peers.rename_peer("storage", bad), Err(PeersError::BadName(_))), "{bad:?}");
    }
    assert_eq!(names(&peers), ["laptop", "laptop-2", "storage"]);
}

#[test]
fn both_lists_are_bounded_and_full_ones_fit_into_the_file() {
    let mut peers = Peers::default();
    let numbered = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Fingerprint(bytes)
    };
    let (name, host) = ("\u{1d400}".repeat(64), "h".repeat(limits::HOST_ADDRESS_MAX_BYTES - 5));
    for number in 0..limits::PEERS_MAX {
        let address = format!("{host}:{number:04}");
        peers.remember_peer(numbered(number), &name, &address, u64::MAX >> 1).unwrap();
        peers.remember_host(&address, key(1)).unwrap();
    }
    let full = peers.remember_peer(key(9), "one more", "a:1", 0);
    assert!(matches!(full, Err(PeersError::Full { .. })));
    assert!(matches!(peers.remember_host("a:1", key(9)), Err(PeersError::Full { .. })));
    let text = peers.to_toml().unwrap();
    assert!(text.len() <= limits::PEERS_FILE_MAX_BYTES);
    assert_eq!(Peers::from_toml(&text).unwrap(), peers);
}

#[test]
fn this_machine_at_many_ports_pushes_out_no_other_host() {
    let mut peers = Peers::default();
    peers.remember_host("nas:7269", key(1)).unwrap();
    for port in 0..2 * limits::KNOWN_HOSTS_MAX {
        peers.remember_host(&format!("127.0.0.1:{port}"), key(2)).unwrap();
    }
    assert_eq!(peers.hosts().len(), 1 + limits::KNOWN_HERE_MAX);
    assert_eq!(peers.host("nas:7269", &key(1)), HostKey::Same);
    let last = format!("127.0.0.1:{}", 2 * limits::KNOWN_HOSTS_MAX - 1);
    assert_eq!(peers.host(&last, &key(2)), HostKey::Same);
}

#[test]
fn addresses_that_are_empty_too_long_or_unprintable_are_refused() {
    let mut peers = Peers::default();
    let long = "h".repeat(limits::HOST_ADDRESS_MAX_BYTES + 1);
    for bad in ["", "a b:1", "a\n:1", "a\u{1b}:1", &long] {
        assert!(matches!(peers.remember_host(bad, key(1)), Err(PeersError::BadAddress(_))));
        let result = peers.remember_peer(key(1), "x", bad, 0);
        assert!(matches!(result, Err(PeersError::BadAddress(_))));
    }
}
