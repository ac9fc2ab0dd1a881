//! What broke in other clients of HTTP, one test each, against a server that does what theirs did. The name in front of a test is
//! that of the program, and the number that of the issue in which its users told of it.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::web_mischief::{Asked, Mischief, Reply, Wire, begun, honest, part, reply};
use crate::common::*;

const MIB: usize = 1 << 20;
/// More than what comes of an answer that breaks off, so that the rest is asked for.
const SIZE: usize = 12 * MIB;
/// More than what is got over one connection.
const LARGE: usize = 52_000_000;
const OLD: &str = "\"old\"";
const NEW: &str = "\"new\"";

fn fields(tag: &str) -> [(&str, &str); 2] {
    [("Accept-Ranges", "bytes"), ("ETag", tag)]
}

/// What is there by its name, and nothing else; without unfinished files.
#[track_caller]
fn assert_there(scene: &Scene, content: Option<&[u8]>) {
    assert_eq!(finished(&scene.dst), content.map(|_| "file").as_slice());
    if let Some(content) = content {
        assert!(read(&scene.dst.join("file")) == content, "it is something else");
    }
}

/// Gets a file whose first answer breaks off, and whose rest is answered like this. All of it is `new` when it is asked for again.
fn got(answer: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static) -> (Scene, Output, Vec<u8>) {
    let (old, new) = (noise(1, SIZE), noise(2, SIZE));
    let (scene, own) = (Scene::new(), new.clone());
    let server = Mischief::start(move |asked| match (asked.number, asked.range()) {
        (0, _) => begun(asked, &old, OLD),
        (_, Some(_)) => answer(asked, &own),
        (_, None) => honest(asked, &own, NEW),
    });
    let done = get(&scene, &[&server.url("/file")]);
    (scene, done, new)
}

/// A part of the content, as it was asked for.
fn rest(asked: &Asked, content: &[u8], fields: &[(&str, &str)]) -> Reply {
    part(content, asked.range().unwrap(), fields)
}

/// gopeed #1458: all of the file came for a part of it, was written into the middle, and the download was 'done'.
#[test]
fn all_of_a_file_is_not_taken_for_a_part_of_it() {
    let (scene, done, new) = got(|_, all| reply("200 OK", &fields(OLD), all));
    done.expect_code(0);
    assert!(done.err().contains("does not give parts"), "{}", done.err());
    assert_there(&scene, Some(&new));
}

/// rclone #6980: the same from a server that had said nothing of it, as from a cache that stands before it.
#[test]
fn all_of_a_file_without_a_word_of_which_is_not_taken_for_a_part_of_it() {
    let (scene, done, new) = got(|_, all| reply("200 OK", &[], all));
    done.expect_code(0);
    assert_there(&scene, Some(&new));
}

/// aws-cli #2321: the file was replaced meanwhile, and the download had the beginning of one and the end of the other.
#[test]
fn parts_of_two_files_are_not_put_together() {
    let (scene, done, new) = got(|asked, all| rest(asked, all, &fields(NEW)));
    done.expect_code(0);
    assert!(done.err().contains("has changed at its server"), "{}", done.err());
    assert_there(&scene, Some(&new));
}

/// s3transfer #86: the same where nothing but a time tells the two apart.
#[test]
fn parts_of_two_files_that_only_their_times_tell_apart_are_not_put_together() {
    let (old, new) = (noise(1, SIZE), noise(2, SIZE));
    let scene = Scene::new();
    let own = new.clone();
    let server = Mischief::start(move |asked| {
        let fields = |time| {
            [("Accept-Ranges", "bytes"), ("Last-Modified", time), ("Date", "Sun, 06 Nov 1994 09:00:00 GMT")]
        };
        let (before, after) =
            (fields("Sun, 06 Nov 1994 08:00:00 GMT"), fields("Sun, 06 Nov 1994 08:00:07 GMT"));
        match (asked.number, asked.range()) {
            (0, _) => reply("200 OK", &before, &old)[..8 * MIB].to_vec(),
            (_, Some(range)) => part(&own, range, &after),
            (_, None) => reply("200 OK", &after, &own),
        }
    });
    let done = get(&scene, &[&server.url("/file")]);
    done.expect_code(0);
    assert!(done.err().contains("has changed at its server"), "{}", done.err());
    assert_there(&scene, Some(&new));
}

/// aws-sdk-java-v2 #4007: a page that told of an error became content. Here it has all that a part has, but for the status.
#[test]
fn a_page_that_tells_of_an_error_is_no_content() {
    for status in ["404 Not Found", "402 Payment Required"] {
        let (scene, done, _) = got(move |asked, all| {
            let range = asked.range().unwrap();
            let said = format!("bytes {}-{}/{}", range.start, range.end - 1, all.len());
            let page = vec![b'x'; (range.end - range.start) as usize];
            reply(status, &[("ETag", OLD), ("Content-Range", &said)], &page)
        });
        done.expect_complaint(5, &[&format!("answers {}", &status[..3])]);
        assert_there(&scene, None);
    }
}

/// aria2 #2280: what was there of an old file got the tail of a new one.
#[test]
fn what_another_state_of_the_file_left_is_not_gone_on_with() {
    let (scene, old, new) = (Scene::new(), noise(1, SIZE), noise(2, SIZE));
    let server = Mischief::start(move |_| reply("200 OK", &fields(OLD), &old)[..9 * MIB].to_vec());
    let addr = server.addr;
    get(&scene, &["--retry-for", "0", &server.url("/file")]).expect_code(3);
    drop(server);
    let own = new.clone();
    let server = Mischief::start_at(addr, move |asked| honest(asked, &own, NEW));
    get(&scene, &[&server.url("/file")]).expect_code(0);
    assert_there(&scene, Some(&new));
}
/// aria2-next #43: all of a new file came because of If-Range, and the download was given up.
#[test]
fn a_file_that_a_server_says_to_be_new_is_begun_anew() {
    let (scene, done, new) = got(|asked, all| {
        assert_eq!(asked.field("if-range"), Some(OLD));
        reply("200 OK", &fields(NEW), all)
    });
    done.expect_code(0);
    assert!(done.err().contains("has changed at its server"), "{}", done.err());
    assert_there(&scene, Some(&new));
}

/// axel #380: a state file of something else was believed, and there were 2^64 bytes to go.
#[test]
fn what_others_left_of_a_file_is_not_believed() {
    let scene = Scene::new();
    let all = Arc::new(noise(7, LARGE));
    let own = all.clone();
    let cut = Mischief::start(move |asked| {
        let mut whole = honest(asked, &own, OLD);
        whole.truncate(13 * MIB);
        whole
    });
    let addr = cut.addr;
    get(&scene, &["--retry-for", "0", "--max-connections", "1", &cut.url("/file")]).expect_code(3);
    drop(cut);
    // Its notes say that all of it is there, and of pieces that no file has.
    let notes = listing(&scene.dst).into_iter().map(|name| scene.dst.join(name));
    let mut notes = notes.filter(|path| path.to_string_lossy().contains(".values."));
    let notes = notes.next().unwrap();
    let mut bytes = read(&notes);
    for piece in (0..40).chain([u64::MAX, 1 << 40]) {
        bytes.extend_from_slice(&piece.to_le_bytes());
        bytes.extend_from_slice(&[7; 32]);
    }
    bytes.extend_from_slice(b"torn");
    fs::write(&notes, bytes).unwrap();
    fs::write(scene.dst.join("file.aria2"), [0xff; 100]).unwrap();
    fs::write(scene.dst.join("file.st"), [0xff; 100]).unwrap();
    let own = all.clone();
    let server = Mischief::start_at(addr, move |asked| honest(asked, &own, OLD));
    get(&scene, &[&server.url("/file")]).expect_code(0);
    assert!(read(&scene.dst.join("file")) == *all);
    assert_eq!(finished(&scene.dst), ["file", "file.aria2", "file.st"]);
}
/// rclone #3942: what was tried again 'succeeded', at another place of the file.
#[test]
fn what_is_tried_again_has_to_begin_where_it_was_asked_to() {
    // As if it went on where it had stopped, which is behind what arrived as a whole.
    let (scene, done, _) = got(|asked, all| {
        let range = asked.range().unwrap();
        part(all, range.start + 100_000..range.end, &fields(OLD))
    });
    done.expect_complaint(5, &["the part that was asked for"]);
    assert_there(&scene, None);
    // One that breaks off again and again, but does as it was asked, comes to its end.
    let (scene, all) = (Scene::new(), noise(1, SIZE));
    let own = all.clone();
    let server = Mischief::start(move |asked| {
        let mut whole = honest(asked, &own, OLD);
        whole.truncate(3 * MIB + 77_777);
        whole
    });
    get(&scene, &[&server.url("/file")]).expect_code(0);
    assert_there(&scene, Some(&all));
}

/// aria2 #617 and #932: a file system that cannot reserve room ended the download.
#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_reserves_no_room_does_without() {
    use crate::common::bad_disk::{EOPNOTSUPP, call, on_a_bad_disk};
    let (scene, all) = (Scene::new(), noise(1, SIZE));
    let own = all.clone();
    let server = Mischief::start(move |asked| honest(asked, &own, OLD));
    let start = || Process::spawn(get_as(&scene, &[&server.url("/file")]));
    let process = on_a_bad_disk(&[(call::FALLOCATE, None)], EOPNOTSUPP, start);
    process.finish(PATIENCE).expect_code(0);
    assert_there(&scene, Some(&all));
}

/// dufs #276, filebrowser #3580: half a file had its whole name.
#[test]
fn half_a_file_gets_no_name() {
    let all = noise(1, SIZE);
    let chunked = |all: &[u8]| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        [head, format!("{:x}\r\n", all.len()).into_bytes(), all.to_vec()].concat()
    };
    let whole = reply("200 OK", &[], &all);
    for (what, answer) in [
        ("by its length", whole[..SIZE / 2].to_vec()),
        ("by its length, by one byte", whole[..whole.len() - 1].to_vec()),
        ("in chunks", chunked(&all)[..SIZE / 2].to_vec()),
        ("in chunks, between two of them", [chunked(&all), b"\r\n".to_vec()].concat()),
    ] {
        let scene = Scene::new();
        let server = Mischief::start(move |_| answer.clone());
        let done = get(&scene, &["--retry-for", "0", &server.url("/file")]);
        assert_eq!(done.code, Some(3), "{what}: {}", done.err());
        assert_there(&scene, None);
    }
}

/// croc #368: a file of the same size was taken for the file.
#[test]
fn a_file_of_the_same_size_is_not_the_file() {
    let (all, other) = (noise(1, SIZE), noise(2, SIZE));
    let own = all.clone();
    let server = Mischief::start(move |asked| honest(asked, &own, OLD));
    let hash = blake3::hash(&all).to_string();
    for hash in [&[][..], &["--blake3", &hash]] {
        let scene = Scene::new();
        make_of(&scene.dst, "file", &other);
        let url = server.url("/file");
        let by = |flags: &[&str]| get(&scene, &[hash, flags, &[&url]].concat());
        by(&[]).expect_complaint(5, &["file"]);
        assert_there(&scene, Some(&other));
        by(&["--overwrite"]).expect_code(0);
        assert_there(&scene, Some(&all));
    }
}

/// croc #1029 and #1026: what was there was hashed for hours, without a word, before the first byte of the rest came.
#[test]
fn what_is_missing_is_asked_for_while_what_is_there_is_hashed() {
    const WHOLE: u64 = 2 << 30;
    let scene = Scene::new();
    let answer = |asked: &Asked, wire: &mut dyn Wire| {
        let range = asked.range().unwrap_or(0..WHOLE);
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Length: {}\r\nETag: {OLD}\r\nAccept-Ranges: bytes\r\n\r\n",
            if asked.range().is_some() { "206 Partial Content" } else { "200 OK" },
            range.end - range.start
        );
        let _ = wire.write_all(&[head.as_bytes(), &[0; 300_000]].concat());
    };
    let server = Mischief::carrying(answer);
    let addr = server.addr;
    get(&scene, &["--retry-for", "0", "--max-connections", "1", &server.url("/file")]).expect_code(3);
    drop(server);
    let notes = listing(&scene.dst).into_iter().map(|name| scene.dst.join(name));
    let mut notes = notes.filter(|path| path.to_string_lossy().contains(".values."));
    let notes = notes.next().unwrap();
    let mut bytes = read(&notes);
    for piece in 1..WHOLE >> 22 {
        bytes.extend_from_slice(&piece.to_le_bytes());
        bytes.extend_from_slice(&[7; 32]);
    }
    fs::write(&notes, bytes).unwrap();
    // The answer to the first request for a part is never given.
    let asked = Arc::new((Mutex::new(false), Condvar::new()));
    let tell = asked.clone();
    let server = Mischief::carrying_at(addr, move |asked, wire| match asked.range() {
        None => answer(asked, wire),
        Some(_) => {
            *tell.0.lock().unwrap() = true;
            tell.1.notify_all();
            // Until the other end has gone.
            let _ = wire.read(&mut [0]);
        }
    });
    let mut process = Process::spawn(get_as(&scene, &["--max-connections", "1", &server.url("/file")]));
    let (is_asked, changed) = &*asked;
    drop(changed.wait_while(is_asked.lock().unwrap(), |is_asked| !*is_asked).unwrap());
    let hashed = process.bytes_read();
    process.kill();
    assert!(hashed < WHOLE / 2, "{hashed} bytes were read before anything was asked for");
}

/// croc #595, dufs #691, miniserve #518: names that led elsewhere, and to a terminal.
#[test]
fn a_name_that_a_server_gives_leads_nowhere_and_shows_as_it_is() {
    for (given, stored) in [
        ("attachment; filename=\"../../../evil\"", Some("evil")),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil", Some("evil")),
        ("attachment; filename=\"/etc/evil\"", Some("evil")),
        ("attachment; filename=\".bashrc\"", None),
        ("attachment; filename=\"..\"", None),
        ("attachment; filename*=UTF-8''%00", None),
        ("attachment; filename*=UTF-8''%1B%5B31mred", Some("\u{1b}[31mred")),
    ] {
        let scene = Scene::new();
        let server = Mischief::start(move |_| reply("200 OK", &[("Content-Disposition", given)], b"content"));
        let done = get(&scene, &[&server.url("/")]);
        assert_eq!(done.code, Some(if stored.is_some() { 0 } else { 2 }), "{given}: {}", done.err());
        let names: Vec<String> = stored.into_iter().map(str::to_owned).collect();
        assert_eq!(finished(&scene.dst), names, "{given}");
        assert!(!done.out().contains('\u{1b}') && !done.err().contains('\u{1b}'), "{given}");
    }
}
/// miniserve's pull request 1507: where there was nothing to compare with nobody compared, and nobody said so.
#[test]
fn whether_anything_was_proved_is_said() {
    let digest = |bytes: &[u8]| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        format!("sha-256=:{}:", STANDARD.encode(hash))
    };
    let hash = blake3::hash(b"content").to_string();
    for (told, flags, code, end) in [
        (String::new(), vec![], 0, ", not verified\n"),
        ("sha-256=:c2hvcnQ=:".into(), vec![], 0, ", not verified\n"),
        ("md5=:xx:".into(), vec![], 0, ", not verified\n"),
        (digest(b"content"), vec![], 0, ", verified\n"),
        (digest(b"something else"), vec![], 6, ""),
        (String::new(), vec!["--blake3", &hash], 0, ", verified\n"),
    ] {
        let (scene, field) = (Scene::new(), told.clone());
        let server = Mischief::start(move |_| reply("200 OK", &[("Repr-Digest", &field)], b"content"));
        let done = get(&scene, &[&flags[..], &[&server.url("/file")]].concat());
        done.expect_code(code);
        assert!(done.out().ends_with(end), "{told}: {}", done.out());
        assert_there(&scene, (code == 0).then_some(b"content"));
    }
}

/// mscp and others shared a file out for good: one connection that was slow held up the end. Here it says nothing any more.
#[test]
fn a_connection_that_stalls_has_its_share_taken_away() {
    let (scene, all) = (Scene::new(), Arc::new(noise(1, LARGE)));
    let own = all.clone();
    let server = Mischief::carrying(move |asked, wire| match asked.number {
        2 => drop(wire.read(&mut [0])),
        _ => drop(wire.write_all(&honest(asked, &own, OLD))),
    });
    let process = Process::spawn(get_as(&scene, &["--timeout", "600", &server.url("/file")]));
    process.finish(PATIENCE).expect_code(0);
    assert_there(&scene, Some(&all));
}
