mod bytes;
mod error;
mod look;
mod numbering;
mod open;
mod part;
mod publish;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::name::Name;
use crate::protocol::message::Metadata;

fn name(text: impl AsRef<[u8]>) -> Name {
    Name::from_wire(text.as_ref()).expect("a legal name")
}

fn path(text: impl AsRef<[u8]>) -> RelativePath {
    RelativePath::from_wire(text.as_ref()).expect("a legal path")
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
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sink = Sink::open(folder.path(), Existing::Refuse).expect("a writable folder");
        Self { folder, sink }
    }

    /// The same with the portable calls instead of openat2.
    fn portable() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = Dir::open_root(folder.path()).expect("a writable folder");
        let folders = Arc::new(Folders::new(dir.without_openat2()));
        let sink = Sink { folders, existing: Existing::Refuse };
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
