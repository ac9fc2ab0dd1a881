#[path = "bytes_tests.rs"]
mod bytes;
#[path = "clean_tests.rs"]
mod clean;
#[path = "direct_tests.rs"]
mod direct;
#[path = "dress_tests.rs"]
mod dress;
#[path = "error_tests.rs"]
mod error;
#[path = "folders_tests.rs"]
mod folders;
#[path = "holes_tests.rs"]
mod holes;
#[path = "links_tests.rs"]
mod links;
#[path = "look_tests.rs"]
mod look;
#[path = "numbering_tests.rs"]
mod numbering;
#[path = "open_tests.rs"]
mod open;
#[path = "part_tests.rs"]
mod part;
#[path = "publish_tests.rs"]
mod publish;
#[path = "whole_tests.rs"]
mod whole;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::Dir;
use super::folders::Folders;
use super::*;
use crate::content::entry::{EntryKind, Metadata};
use crate::name::{Name, RelativePath};

fn name(text: impl AsRef<[u8]>) -> Name {
    Name::from_wire(text.as_ref()).expect("a legal name")
}

fn path(text: impl AsRef<[u8]>) -> RelativePath {
    RelativePath::from_wire(text.as_ref()).expect("a legal path")
}

/// The part file of a sink that serves no session, which belongs to nobody's key.
fn part_of(text: &str) -> String {
    format!(".{text}.v2-aaaaaaaaaaaaaaaa.lanx-part")
}

fn part_of_number(text: &str, number: u32) -> String {
    format!(".{text}.v2-aaaaaaaaaaaaaaaa.{number}.lanx-part")
}

fn metadata() -> Metadata {
    Metadata { mode: 0o640, mtime_seconds: 1_000_000_000, mtime_nanos: 5, archive: None }
}

/// A sink in a folder of its own, which goes away with the value.
struct Room {
    folder: tempfile::TempDir,
    sink: Sink,
}

impl Room {
    /// Waits until the clock of the file system has moved on, so that what is there is older than a session
    /// that begins now.
    fn age(&self) {
        let changed = || {
            let file = tempfile::tempfile_in(self.folder.path()).expect("a file");
            let meta = file.metadata().expect("looked at");
            (std::os::unix::fs::MetadataExt::ctime(&meta), std::os::unix::fs::MetadataExt::ctime_nsec(&meta))
        };
        let before = changed();
        while changed() == before {
            std::thread::yield_now();
        }
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sink = Sink::open(folder.path(), Existing::Refuse).expect("a writable folder");
        Self { folder, sink }
    }

    /// The same with the portable calls instead of openat2.
    fn portable() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (dir, made) = Dir::open_root(folder.path()).expect("a writable folder");
        let identity = dir.identity().expect("there");
        let folders = Arc::new(Folders::new(dir.without_openat2(), made));
        let owner = Owner::default();
        let sink =
            Sink { folders, existing: Existing::Refuse, direct: None, identity, owner, is_absent: false };
        Self { folder, sink }
    }

    /// One of each, for everything that goes through an open.
    fn both() -> [Self; 2] {
        [Self::new(), Self::portable()]
    }

    fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        let name = std::ffi::OsStr::from_bytes(name.as_ref());
        self.folder.path().join(name)
    }

    /// A part into which `bytes` were written whole.
    fn filled(&self, text: &str, bytes: &[u8]) -> Part {
        let part = self.sink.part(&path(text), bytes.len() as u64, false).expect("a part");
        part.write_at(bytes, 0).expect("written");
        part
    }

    /// What the folder holds, sorted.
    fn listing(&self) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(self.folder.path())
            .expect("readable")
            .map(|entry| crate::name::escape(entry.expect("an entry").file_name().as_bytes()))
            .collect();
        all.sort();
        all
    }
}

impl Part {
    /// Dresses and publishes it, as one whose bytes were verified.
    fn publish(&self, metadata: &Metadata, existing: Existing) -> Result<Published, SinkError> {
        self.dress(metadata);
        // Nothing else compares, and a sparse part may be larger than the memory.
        let size = if existing == Existing::Rename { self.size() } else { 0 };
        let mut bytes = vec![0; usize::try_from(size).expect("small")];
        // A part that is too short is refused in any case.
        let _ = self.read_at(&mut bytes, 0);
        let verified = Verified { hash: blake3::hash(&bytes), sync: false, go_on: &|| true };
        Ok(self.publish_dressed(existing, &verified)?.expect("it was to go on"))
    }
}

impl Room {
    /// Another sink in the same folder.
    fn again(&self, existing: Existing) -> Sink {
        Sink::open(self.folder.path(), existing).expect("opened again")
    }

    fn made(&self, text: &str) {
        fs::create_dir_all(self.path(text)).expect("made");
    }
}

fn entry(room: &Room, text: &str) -> fs::Metadata {
    fs::symlink_metadata(room.path(text)).expect("there")
}

fn read_link(room: &Room, text: &str) -> Vec<u8> {
    fs::read_link(room.path(text)).expect("a link").into_os_string().into_encoded_bytes()
}

/// Tells that a test, or the rest of it, proves nothing here.
#[allow(clippy::print_stderr)]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs `test` as a user who is not root: as somebody else where the tests run as root, whom no mode keeps
/// out.
#[cfg(target_os = "linux")]
fn as_a_user(test: impl FnOnce() + Send) {
    use rustix::process::{Uid, geteuid};
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            if geteuid().is_root() {
                // This thread alone, which ends with the test.
                rustix::thread::set_thread_res_uid(None, Uid::from_raw(12345), None).expect("root may");
                assert!(!geteuid().is_root());
            }
            test();
        });
        user.join().expect("the test");
    });
}

fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode};
    #[cfg(target_os = "linux")]
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (CWD, FileType::Fifo, Mode::empty());
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo runs").success());
    }
}

#[test]
fn sink_and_part_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Sink>();
    shared::<Part>();
    shared::<ExistingFile>();
    shared::<SinkError>();
}
