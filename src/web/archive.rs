//! A folder as one tar file whose length is known before its first byte: the folder is walked through twice,
//! once to add up and once to send. What differs the second time ends the answer short. Of the list in
//! between nothing is held, so a folder of any size takes no more memory than its fullest level.

use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use super::body::PIECE_BYTES;
use super::place::{Folder, Missing, OpenFile};
use crate::name::Escaped;
use crate::os::stamp::Stamp;

/// tar counts in blocks of 512 bytes (POSIX pax, ustar interchange format).
const BLOCK: u64 = 512;

/// Two blocks of zeros end it.
const END: u64 = 2 * BLOCK;

/// Folders within each other: each is held open while what is in it is sent.
const DEPTH_MAX: usize = 64;

/// Entries of one folder: their names are held while they are sent.
const FOLDER_ENTRIES_MAX: usize = 100_000;

/// Bytes of a path that a header holds; a longer one takes an entry of its own before it (GNU).
const HEADER_PATH_MAX: usize = 100;

/// Something that is found on the way.
enum Item<'a> {
    Folder { path: &'a [u8], mode: u32, mtime: i64 },
    File { path: &'a [u8], file: &'a OpenFile },
}

/// How many bytes the tar file of `folder`, which is called `name`, will have. `go_on` is asked at each
/// entry.
///
/// # Errors
/// The folder is too deep or too full, or cannot be read.
pub fn length(folder: &Folder, name: &[u8], go_on: &dyn Fn() -> bool) -> io::Result<u64> {
    let mut sum = END;
    walk(folder, name, 0, &mut |item| {
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        sum = sum.saturating_add(match item {
            Item::Folder { path, .. } => head_bytes(path.len() + 1),
            Item::File { path, file } => head_bytes(path.len()).saturating_add(padded(file.stamp.size)),
        });
        Ok(())
    })?;
    Ok(sum)
}

/// Sends the tar file in pieces, for as long as somebody takes them.
pub fn send(folder: &Folder, name: &[u8], to: &mpsc::Sender<io::Result<Bytes>>) {
    let sent = walk(folder, name, 0, &mut |item| send_item(&item, to))
        .and_then(|()| pass(to, Bytes::from_static(&[0; END as usize])));
    if let Err(error) = sent {
        // Where nobody takes it any more nobody hears of it.
        let _ = to.blocking_send(Err(error));
    }
}

fn pass(to: &mpsc::Sender<io::Result<Bytes>>, piece: Bytes) -> io::Result<()> {
    to.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn send_item(item: &Item<'_>, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let (file, path) = match item {
        Item::Folder { path, mode, mtime } => {
            let path = [path, &b"/"[..]].concat();
            return pass(to, head(&path, EntryType::Directory, *mode, *mtime, 0));
        }
        Item::File { path, file } => (file, path),
    };
    let size = file.stamp.size;
    pass(to, head(path, EntryType::Regular, file.mode, file.stamp.mtime_seconds, size))?;
    let mut at = 0;
    while at < size {
        let most = usize::try_from(size - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = vec![0; most];
        file.file.read_exact_at(&mut piece, at)?;
        at += most as u64;
        if Stamp::of(&rustix::fs::fstat(&file.file)?) != file.stamp {
            return Err(io::Error::other("a file has changed meanwhile"));
        }
        if at == size {
            piece.resize(most + usize::try_from(padded(size) - size).unwrap_or_default(), 0);
        }
        pass(to, piece.into())?;
    }
    Ok(())
}

/// Visits `folder` and all that is in it, each folder before what it holds, in the order of the bytes of the
/// names. What this user may not read is left out.
fn walk(
    folder: &Folder,
    path: &[u8],
    depth: usize,
    visit: &mut dyn FnMut(Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if depth >= DEPTH_MAX {
        return Err(io::Error::other(format!("there are more than {DEPTH_MAX} folders within each other")));
    }
    let (names, more) = folder.names(None, FOLDER_ENTRIES_MAX)?;
    if more {
        return Err(io::Error::other(format!("a folder has more than {FOLDER_ENTRIES_MAX} entries")));
    }
    for name in names {
        let Some(entry) = folder.entry(&name) else { continue };
        let path = [path, b"/", &name].concat();
        let visited = match entry.is_folder {
            true => folder.folder(&name).map(|inner| {
                visit(Item::Folder { path: &path, mode: entry.mode, mtime: entry.stamp.mtime_seconds })?;
                walk(&inner, &path, depth + 1, visit)
            }),
            false => folder.file(&name).map(|file| visit(Item::File { path: &path, file: &file })),
        };
        match visited {
            Ok(visited) => visited?,
            Err(Missing::Failed(error)) => return Err(error),
            Err(missing) => {
                tracing::debug!("{} is not in the tar file: {missing:?}", Escaped(&path));
            }
        }
    }
    Ok(())
}

fn padded(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// Bytes of the head of an entry whose path is so long.
fn head_bytes(path: usize) -> u64 {
    // The long path ends in a NUL byte.
    let long = if path > HEADER_PATH_MAX { BLOCK + padded(path as u64 + 1) } else { 0 };
    long + BLOCK
}

fn head(path: &[u8], kind: EntryType, mode: u32, mtime: i64, size: u64) -> Bytes {
    let mut head = Vec::new();
    if path.len() > HEADER_PATH_MAX {
        let mut long = header(b"././@LongLink", EntryType::GNULongName, 0o644, 0, path.len() as u64 + 1);
        head.append(&mut long);
        head.extend_from_slice(path);
        let end = usize::try_from(BLOCK + padded(path.len() as u64 + 1)).unwrap_or_default();
        head.resize(end, 0);
    }
    head.append(&mut header(path, kind, mode, mtime, size));
    head.into()
}

fn header(path: &[u8], kind: EntryType, mode: u32, mtime: i64, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    if let Some(gnu) = header.as_gnu_mut() {
        // Any bytes: these are no path of this machine, which the library would check.
        gnu.name.iter_mut().zip(path).for_each(|(to, byte)| *to = *byte);
    }
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(u64::try_from(mtime).unwrap_or_default());
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::web::place::{Found, Place};

    fn top(folder: &std::path::Path) -> Folder {
        match Arc::new(Place::new(&[folder.into()], false).unwrap()).open(None) {
            Ok(Found::Folder(folder)) => folder,
            other => panic!("{other:?}"),
        }
    }

    fn bytes_of(folder: Folder) -> io::Result<Vec<u8>> {
        let (to, mut from) = mpsc::channel(2);
        let sending = std::thread::spawn(move || send(&folder, b"name", &to));
        let mut all = Vec::new();
        while let Some(piece) = from.blocking_recv() {
            all.extend_from_slice(&piece?);
        }
        sending.join().unwrap();
        Ok(all)
    }

    #[test]
    fn every_name_size_mode_and_time_comes_out_again_and_the_length_was_told_before() {
        let room = tempfile::tempdir().unwrap();
        let long = "l".repeat(120);
        let odd = OsStr::from_bytes(b"\xff\n\"");
        fs::create_dir_all(room.path().join("deep").join(&long)).unwrap();
        let mut files: Vec<(Vec<u8>, usize)> = Vec::new();
        for (path, size) in [
            (std::path::PathBuf::from("a"), 0),
            (odd.into(), 1),
            ("exact".into(), 512),
            (std::path::Path::new("deep").join(&long).join(odd), PIECE_BYTES + 1),
        ] {
            fs::write(room.path().join(&path), vec![7; size]).unwrap();
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(room.path().join(&path), mode).unwrap();
            files.push(([b"name/", path.as_os_str().as_bytes()].concat(), size));
        }
        std::os::unix::fs::symlink("/etc/passwd", room.path().join("link")).unwrap();
        let told = length(&top(room.path()), b"name", &|| true).unwrap();
        let bytes = bytes_of(top(room.path())).unwrap();
        assert_eq!(bytes.len() as u64, told);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert!(content.iter().all(|byte| *byte == 7) && entry.header().mode().unwrap() == 0o640);
                assert!(entry.header().mtime().unwrap() > 1_000_000_000);
                found.push((path, content.len()));
            } else {
                assert!(path.ends_with(b"/"), "{}", Escaped(&path));
            }
        }
        files.sort();
        found.sort();
        assert_eq!(found, files);
    }

    #[test]
    fn what_is_too_deep_is_refused_before_a_byte_is_sent() {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir_all(room.path().join("d/".repeat(DEPTH_MAX + 1))).unwrap();
        assert!(length(&top(room.path()), b"name", &|| true).is_err());
        assert!(bytes_of(top(room.path())).is_err());
        assert!(length(&top(room.path()), b"name", &|| false).is_err());
    }
}
