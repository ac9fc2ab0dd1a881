//! `--direct`: large files past the page cache at either end, and every byte where it belongs whether the file system takes
//! that or not.

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Advice, AtFlags, CWD, OFlags, StatxFlags, fadvise, statx};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::common::*;

const LARGE: usize = 16 * CHUNK;
const REFUSED: &str = "direct I/O is refused";

/// Whether the file system of `file` says that it has direct I/O. One in memory takes the flag, too, and means nothing by it.
fn has_direct(file: &Path) -> bool {
    let stat = statx(CWD, file, AtFlags::empty(), StatxFlags::DIOALIGN).unwrap();
    let has = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && stat.stx_dio_offset_align > 0;
    if !has {
        eprintln!("skipped: the temporary folder's file system does not say that it has direct I/O");
    }
    has
}

/// Sends with `--direct` to a receiver with it.
fn send_direct(scene: &Scene, recv_flags: &[&str], files: &[PathBuf]) -> Output {
    let receiver = scene.receiver_with(&[&["--direct", "--once"], recv_flags].concat());
    let sent = scene.send_with(&["--direct"], files, receiver.addr);
    let received = receiver.process.finish(PATIENCE);
    assert_eq!(received.code, sent.code, "{}", received.err());
    sent
}

#[test]
fn files_of_all_sizes_around_chunks_and_blocks_arrive() {
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 511, CHUNK + 512, CHUNK + 4095, CHUNK + 4096];
    let more = [CHUNK + 4097, 2 * CHUNK - 4096, 2 * CHUNK - 1, 2 * CHUNK, 5 * CHUNK + 512, LARGE];
    for flags in [&[][..], &["--sync", "--verify=reread"]] {
        let scene = Scene::new();
        let sizes = sizes.iter().chain(&more);
        let files: Vec<_> = sizes.map(|size| make(&scene.src, format!("of-{size}"), *size)).collect();
        send_direct(&scene, flags, &files).expect_code(0);
        assert_arrived(&files, &scene.dst);
        assert_eq!(listing(&scene.dst).len(), files.len());
    }
}

/// Files that `process` has open with O_DIRECT.
fn open_directly(process: &Process) -> Vec<PathBuf> {
    let proc = PathBuf::from(format!("/proc/{}", process.id()));
    let handles = fs::read_dir(proc.join("fdinfo")).unwrap().map(|entry| entry.unwrap());
    let direct = handles.filter(|handle| {
        // One that was closed meanwhile has no flags.
        let info = fs::read_to_string(handle.path()).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0");
        u32::from_str_radix(flags.trim(), 8).unwrap() & OFlags::DIRECT.bits() != 0
    });
    direct.filter_map(|handle| fs::read_link(proc.join("fd").join(handle.file_name())).ok()).collect()
}

#[test]
fn while_a_large_file_is_under_way_both_ends_hold_it_with_o_direct() {
    for direct in [true, false] {
        let scene = Scene::new();
        let flags: &[&str] = if direct { &["--direct"] } else { &[] };
        let receiver = scene.receiver_with(flags);
        let file = make(&scene.src, "file", LARGE);
        if !has_direct(&file) {
            return;
        }
        let relay = Relay::holding_after(receiver.addr, LARGE as u64 / 2);
        let sender = scene.start_send(flags, &[&file], relay.addr);
        relay.wait_until_held();
        let part = part_path(&scene.dst, "file");
        wait_until("the receiver has begun to write", PATIENCE, || part.exists());
        assert_eq!(open_directly(&sender).contains(&file), direct);
        assert_eq!(open_directly(&receiver.process).contains(&part), direct);
        relay.release();
        sender.finish(PATIENCE).expect_success();
        assert_same(&file, &scene.dst.join("file"));
    }
}

/// How many of its whole chunks are in the page cache.
fn cached_chunks(path: &Path) -> usize {
    let file = File::open(path).unwrap();
    // What looks must not read ahead what it looks for next.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let is_cached = |chunk: &usize| {
        let mut byte = [0];
        let at = (chunk * CHUNK) as u64;
        match preadv2(&file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(errno) => panic!("{path:?}: {errno}"),
        }
    };
    (0..file.metadata().unwrap().len() as usize / CHUNK).rev().filter(is_cached).count()
}

#[test]
fn chunks_that_went_directly_are_not_in_the_page_cache() {
    for direct in [true, false] {
        let scene = Scene::new();
        let flags: &[&str] = if direct { &["--direct"] } else { &[] };
        let receiver = scene.receiver_with(flags);
        let path = make(&scene.src, "file", LARGE + 1000);
        if !has_direct(&path) {
            return;
        }
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        // Where it cannot drop a page at that moment, the kernel itself writes a chunk through its cache; not each time.
        for round in 1.. {
            scene.send_with(flags, &[&path], receiver.addr).expect_success();
            let (chunks, arrived) = (if direct { 0 } else { LARGE / CHUNK }, scene.dst.join("file"));
            let cached = (cached_chunks(&path), cached_chunks(&arrived));
            assert!(round < 4 || cached == (chunks, chunks), "{cached:?} instead of {chunks}");
            assert_same(&path, &arrived);
            if cached == (chunks, chunks) {
                break;
            }
            fs::remove_file(&arrived).unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

#[test]
fn what_a_killed_transfer_left_is_gone_on_with() {
    let scene = Scene::new();
    let mut receiver = scene.receiver_with(&["--direct"]);
    let file = make(&scene.src, "file", LARGE + 1000);
    let relay = Relay::holding_after(receiver.addr, LARGE as u64 / 2);
    let mut sender = scene.start_send(&["--direct", "-c", "1"], &[&file], relay.addr);
    relay.wait_until_held();
    let (content, part) = (read(&file), part_path(&scene.dst, "file"));
    let there = LARGE as u64 / 4;
    wait_until("some of it is there", PATIENCE, || bytes_in_common(&content, &part) >= there);
    sender.kill();
    receiver.process.kill();
    let receiver = scene.receiver_with(&["--direct"]);
    let relay = Relay::to(receiver.addr);
    scene.send_with(&["--direct"], &[&file], relay.addr).expect_success();
    assert_same(&file, &scene.dst.join("file"));
    assert!(relay.carried() < LARGE as u64 * 3 / 4 + CHUNK as u64, "{} bytes were sent", relay.carried());
}

#[test]
fn only_what_differs_is_written_over_the_copy_of_an_old_file() {
    let scene = Scene::new();
    let file = make(&scene.src, "file", LARGE + 5000);
    let mut old = read(&file);
    old[5 * CHUNK + 7] ^= 1;
    old[LARGE + 4999] ^= 1;
    make_of(&scene.dst, "file", &old);
    send_direct(&scene, &["--delta"], std::slice::from_ref(&file)).expect_success();
    assert_same(&file, &scene.dst.join("file"));
}

#[test]
fn holes_stay_holes() {
    let scene = Scene::new();
    let path = scene.src.join("file");
    let file = File::create(&path).unwrap();
    file.set_len(LARGE as u64 + 100).unwrap();
    file.write_all_at(&noise(1, 3 * CHUNK), 4 * CHUNK as u64).unwrap();
    send_direct(&scene, &[], std::slice::from_ref(&path)).expect_success();
    assert_same(&path, &scene.dst.join("file"));
    assert!(scene.dst.join("file").metadata().unwrap().blocks() * 512 < LARGE as u64 / 2);
}

#[cfg(target_arch = "x86_64")]
const OPENAT: (i64, i64) = (257, 437);
#[cfg(not(target_arch = "x86_64"))]
const OPENAT: (i64, i64) = (56, 437);

const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;

/// Has openat2 fail, whose flags a filter cannot see, and openat wherever it asks for direct I/O.
fn filters() -> [BpfProgram; 2] {
    let (openat, openat2) = OPENAT;
    let bit = u64::from(OFlags::DIRECT.bits());
    let flag = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit).unwrap();
    let rules = [(openat2, vec![], ENOSYS), (openat, vec![SeccompRule::new(vec![flag]).unwrap()], EINVAL)];
    rules.map(|(call, rules, errno)| {
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let rules = [(call, rules)].into();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch);
        filter.and_then(TryInto::try_into).unwrap()
    })
}

/// Does something in a thread, for itself and for what it starts in a world without direct I/O.
fn where_direct_is_refused<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            filters().iter().for_each(|filter| seccompiler::apply_filter(filter).unwrap());
            act()
        });
        acting.join().unwrap()
    })
}

#[test]
fn where_it_is_refused_that_is_said_once_and_everything_arrives() {
    let scene = Scene::new();
    let files: Vec<_> = (0..3).map(|n| make(&scene.src, format!("large-{n}"), LARGE + n)).collect();
    let receiver = where_direct_is_refused(|| scene.receiver_with(&["--direct", "--once"]));
    let sent = where_direct_is_refused(|| scene.send_with(&["--direct"], &files, receiver.addr));
    let received = receiver.process.finish(PATIENCE);
    for (output, dir) in [(sent, &scene.src), (received, &scene.dst)] {
        output.expect_complaint(0, &[REFUSED, dir.to_str().unwrap(), "Invalid argument", "page cache"]);
        assert_eq!(output.err().matches(REFUSED).count(), 1, "{}", output.err());
    }
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_file_system_in_memory_serves_whether_it_refuses_or_not() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("skipped: there is no /dev/shm");
    };
    let scene = Scene::new();
    let file = make(memory.path(), "file", LARGE + 1);
    let to = memory.path().join("to");
    let receiver = Receiver::start(&scene, "127.0.0.1:0", &["--direct"], &to);
    scene.send_with(&["--direct"], &[&file], receiver.addr).expect_code(0);
    assert_same(&file, &to.join("file"));
}

#[test]
fn a_pipe_cannot_be_gone_past() {
    let scene = Scene::new();
    let words = ["--direct", "leave one of them out"];
    scene.run(["send", "-", "127.0.0.1:1", "--name", "a", "--direct"]).expect_complaint(2, &words);
    scene.run(["recv", "-", "--direct"]).expect_complaint(2, &words);
}
