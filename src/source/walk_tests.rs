//! The walk and the feed over real folders.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::content::entry::EntryKind;

fn options() -> Options {
    Options::default()
}

fn feed(paths: &[&Path], options: Options) -> Feed {
    Feed::new(paths.iter().map(|path| Root::inspect(path).unwrap()).collect(), options)
}

fn shown(item: &Item) -> String {
    let path = item.path.as_ref().map_or(".".into(), ToString::to_string);
    match item.kind() {
        EntryKind::File { .. } => path,
        EntryKind::Folder => format!("{path}/"),
        EntryKind::ParentFolder => format!("{path}/..."),
        EntryKind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(&target)),
        EntryKind::HardLink { to } => format!("{path} = {}", String::from_utf8_lossy(&to)),
        EntryKind::Stream => unreachable!("the walk finds no stream"),
    }
}

/// All that the feed has, each done before the next is asked for, in order.
fn all(mut feed: Feed) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match feed.next() {
            Next::Item(item) => {
                seen.push(shown(&item));
                item.done(item.path.as_ref());
            }
            Next::Trouble(trouble) => seen.push(match trouble {
                Trouble::Failed(error) => error.to_string(),
                Trouble::Skipped { path, what } => format!("{} is {what}", path.display()),
                Trouble::LeftOut { path, why } => format!("{} left out: {why}", path.display()),
            }),
            Next::Later => panic!("nothing is under way"),
            Next::End => return seen,
        }
    }
}

fn sorted(mut seen: Vec<String>) -> Vec<String> {
    seen.sort();
    seen
}

#[test]
fn a_folder_comes_after_all_that_is_in_it_has_an_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("in/deep")).unwrap();
    fs::write(top.join("in/deep/file"), "x").unwrap();
    let mut feed = feed(&[&top], options());
    let Next::Item(file) = feed.next() else { panic!("no file") };
    assert_eq!(shown(&file), "top/in/deep/file");
    assert!(matches!(feed.next(), Next::Later));
    file.done(file.path.as_ref());
    for expected in ["top/in/deep/", "top/in/", "top/"] {
        let Next::Item(folder) = feed.next() else { panic!("no {expected}") };
        assert_eq!(shown(&folder), expected);
        assert!(expected == "top/" || matches!(feed.next(), Next::Later));
        folder.done(folder.path.as_ref());
        folder.done(folder.path.as_ref());
    }
    assert!(matches!(feed.next(), Next::End));
}

#[test]
fn what_a_session_left_over_comes_again_first_and_folders_still_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("a"), "x").unwrap();
    fs::write(top.join("b"), "x").unwrap();
    let mut feed = feed(&[&top], options());
    let (Next::Item(first), Next::Item(second)) = (feed.next(), feed.next()) else { panic!("no files") };
    first.done(first.path.as_ref());
    feed.again(vec![second.clone()]);
    let Next::Item(again) = feed.next() else { panic!("not again") };
    assert!(Arc::ptr_eq(&again, &second));
    assert!(matches!(feed.next(), Next::Later));
    again.done(None);
    assert!(matches!(feed.next(), Next::Item(item) if shown(&item) == "top/"));
}

#[test]
fn a_slash_or_a_dot_at_the_end_sends_what_is_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/file"), "x").unwrap();
    let sub = dir.path().join("sub");
    for ending in ["/", "/."] {
        let contents = [sub.as_os_str().as_bytes(), ending.as_bytes()].concat();
        let seen = all(feed(&[Path::new(OsStr::from_bytes(&contents))], options()));
        assert_eq!(seen, ["file", "./"], "{ending}");
    }
    assert_eq!(all(feed(&[&sub], options())), ["sub/file", "sub/"]);
    // A file with a dot at its end is none of these.
    let file = dir.path().join("sub/odd.");
    fs::write(&file, "x").unwrap();
    assert_eq!(all(feed(&[&file], options())), ["odd."]);
}

#[test]
fn links_stay_links_unless_they_are_to_be_followed_and_a_loop_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("file"), "x").unwrap();
    symlink("file", top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    symlink(".", top.join("loop")).unwrap();
    let seen = sorted(all(feed(&[&top], options())));
    assert_eq!(
        seen,
        ["top/", "top/dangling -> nowhere", "top/file", "top/link -> file", "top/loop -> ."]
            .map(String::from)
    );
    let followed = sorted(all(feed(&[&top], Options { follow: true, ..options() })));
    assert_eq!(followed.len(), 5, "{followed:?}");
    assert!(followed[0].ends_with("top/dangling: no such file or folder"));
    assert!(followed[1].contains("top/loop: is a link to a folder that it is in itself"), "{followed:?}");
    assert_eq!(followed[2..], ["top/", "top/file", "top/link"].map(String::from));
}

#[test]
fn patterns_leave_out_files_and_whole_folders() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("target/deep")).unwrap();
    fs::create_dir_all(top.join("src")).unwrap();
    for file in ["a.o", "keep.o", "src/b.o", "src/b.c", "target/deep/x", "src/target"] {
        fs::write(top.join(file), "x").unwrap();
    }
    let list = dir.path().join("patterns");
    fs::write(&list, "# objects\n*.o\n").unwrap();
    let excludes = Excludes::new(&[list], &["!keep.o".into(), "/target/".into()]).unwrap();
    let seen = sorted(all(feed(&[&top], Options { excludes, ..options() })));
    assert_eq!(seen, ["top/", "top/keep.o", "top/src/", "top/src/b.c", "top/src/target"].map(String::from));
    let missing = Excludes::new(&[dir.path().join("missing")], &[]).err().unwrap();
    assert!(missing.contains("missing"), "{missing}");
}

#[test]
fn further_names_wait_for_the_first_and_follow_it_where_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("a"), "x").unwrap();
    fs::hard_link(top.join("a"), top.join("b")).unwrap();
    let archive = || Options { archive: true, ..options() };
    // Without --archive they are two files.
    assert_eq!(all(feed(&[&top], options())).len(), 3);
    for (arrived, expected) in [(Some("top/c"), "link"), (None, "file")] {
        let mut feed = feed(&[&top], archive());
        let Next::Item(first) = feed.next() else { panic!("no first name") };
        assert!(matches!(feed.next(), Next::Later));
        let path = arrived.map(|path| crate::name::RelativePath::from_wire(path.as_bytes()).unwrap());
        first.done(path.as_ref());
        let Next::Item(second) = feed.next() else { panic!("no second name") };
        match second.kind() {
            EntryKind::HardLink { to } => assert_eq!((&to[..], expected), (&b"top/c"[..], "link")),
            EntryKind::File { size, .. } => assert_eq!((size, expected), (1, "file")),
            kind => panic!("{kind:?}"),
        }
        second.done(second.path.as_ref());
        drop((first, second));
        assert!(matches!(feed.next(), Next::Item(item) if shown(&item) == "top/"));
    }
}

#[test]
fn what_is_neither_file_nor_folder_nor_link_is_skipped_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let seen = all(feed(&[dir.path()], options()));
    assert_eq!(seen[0], format!("{} is a socket", socket.display()));
    let named = Root::inspect(&socket).err().unwrap().to_string();
    assert!(named.contains("is a socket; send what a command writes"), "{named}");
}

#[test]
fn a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
    for folder in [top.join("a"), top.join("spare"), outside.clone()] {
        fs::create_dir_all(&folder).unwrap();
    }
    fs::write(top.join("a/ours"), "x").unwrap();
    fs::write(outside.join("secret"), "x").unwrap();
    symlink(&outside, dir.path().join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, top.join("a"), here, dir.path().join("link"), flags).unwrap();
            }
        });
        let mut met = [0; 2];
        while met.contains(&0) {
            for path in all(feed(&[&top], options())) {
                assert!(!path.contains("secret"), "{path}");
                met[0] += usize::from(path.contains("ours"));
                met[1] += usize::from(path.contains(" -> "));
            }
        }
        for _ in 0..300 {
            let seen = all(feed(&[&top], options()));
            assert!(!seen.iter().any(|path| path.contains("secret")), "{seen:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_file_beneath_a_folder_that_became_a_link_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
    fs::create_dir_all(top.join("a")).unwrap();
    fs::write(top.join("a/file"), "x").unwrap();
    // The very same file, so that nothing but the way there tells.
    fs::create_dir(&outside).unwrap();
    fs::hard_link(top.join("a/file"), outside.join("file")).unwrap();
    let mut feed = feed(&[&top], options());
    let Next::Item(item) = feed.next() else { panic!("a file is the first") };
    let What::File(source) = &item.what else { panic!("a file is the first") };
    assert!(source.open().is_ok());
    fs::rename(top.join("a"), top.join("b")).unwrap();
    symlink(&outside, top.join("a")).unwrap();
    let error = source.open().unwrap_err().to_string();
    assert!(error.contains("another file took its place"), "{error}");
}

#[test]
fn a_tree_of_a_thousand_levels_takes_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let deep: std::path::PathBuf = dir.path().join("d/".repeat(1000));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "x").unwrap();
    fs::write(dir.path().join("d/d/beside"), "x").unwrap();
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut feed = feed(&[&dir.path().join("d")], options());
    let (mut items, mut most) = (0, 0);
    loop {
        most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
        match feed.next() {
            Next::Item(item) => item.done(item.path.as_ref()),
            Next::End => break,
            Next::Trouble(trouble) => panic!("{trouble}"),
            Next::Later => panic!("nothing is under way"),
        }
        items += 1;
    }
    // Every 256th folder comes twice.
    assert_eq!(items, 1002 + 3);
    // Others are at work in this process as well.
    assert!(most < before + 500, "{most} of {before}");
}

#[test]
fn the_folder_that_the_receiver_writes_to_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("in/top")).unwrap();
    fs::write(top.join("in/file"), "x").unwrap();
    fs::write(top.join("file"), "x").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(top.join("in")).unwrap());
    let mut feed = feed(&[&top], options());
    feed.leave_out(Arc::new(move |_, other| other == inode));
    let seen = sorted(all(feed));
    assert_eq!(seen[1..], ["top/", "top/file"].map(String::from));
    assert!(seen[0].contains("top/in left out: the receiver puts files there"), "{seen:?}");
}

#[test]
fn names_are_kept_byte_for_byte_and_part_files_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join(OsStr::from_bytes(b"\xff\n-x")), "x").unwrap();
    fs::write(top.join(".a.lanx-part"), "x").unwrap();
    let seen = sorted(all(feed(&[&top], options())));
    assert!(seen[0].contains(".a.lanx-part left out: it is an unfinished file of lanx"), "{seen:?}");
    assert_eq!(seen[1..], ["top/", "top/\\xff\\n-x"].map(String::from));
}

#[test]
#[cfg(target_os = "linux")]
fn a_walk_from_the_top_leaves_out_what_the_system_says_of_itself() {
    let globs = ["/*", "!/proc", "!/sys", "!/dev"].map(String::from);
    let excludes = || Excludes::new(&[], &globs).unwrap();
    let seen = sorted(all(feed(&[Path::new("/")], Options { excludes: excludes(), ..options() })));
    for made_up in ["proc", "sys"] {
        assert!(seen.contains(&format!("{made_up}/")), "{seen:?}");
        assert!(!seen.iter().any(|path| path.starts_with(&format!("{made_up}/1"))), "{seen:?}");
        let told = format!("/{made_up} left out: what is in it is no files");
        assert!(seen.iter().any(|text| text.starts_with(&told)), "{seen:?}");
    }
    // Where each is named it is what the user wants.
    let feed = |options| feed(&[Path::new("/proc/sys/kernel/random")], options);
    assert!(all(feed(options())).iter().any(|text| text.contains("boot_id")));
}

#[test]
#[cfg(target_os = "linux")]
fn the_walk_stays_on_one_file_system_where_the_user_says_so() {
    let globs = ["/*", "!/dev"].map(String::from);
    let excludes = || Excludes::new(&[], &globs).unwrap();
    let device = |path: &str| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if device("/") == device("/dev") {
        return;
    }
    let options = Options { excludes: excludes(), one_file_system: true, ..options() };
    let seen = sorted(all(feed(&[Path::new("/")], options)));
    assert_eq!(
        seen,
        ["./", "/dev left out: what is in it is on another file system", "dev/"].map(String::from)
    );
}
