//! Hashes of files that were read before, so that a file which nobody has touched since need not be read
//! again.
//!
//! A file is known by its file system, its inode, its size and the times of its last write and its last
//! change. Nobody can put the last of these back, on the file systems that count here; but a page that a
//! program has mapped may be written and get no new time before it is written back, so only what was at rest
//! for a minute before it was read is remembered. What lacks is only read; that a hash is remembered of other
//! bytes must not be. So an entry that does not have its own check sum counts as none.
//!
//! The entries are in one SQLite file, which any number of programs use at once. That it cannot be used is no
//! error for a transfer.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::content::tree::Hash;
use crate::name::Escaped;
use crate::os::file_system;
use crate::os::said::Said;
use crate::os::stamp::Stamp;

/// How long a file must have been at rest before it was read. Linux writes a mapped page back after 30 s, and
/// then it gets a time (vm.dirty_expire_centisecs).
const REST: Duration = Duration::from_secs(60);

/// Entries that wait to be written, at 100 bytes each. One transaction for each file would cost more than
/// reading it.
const PENDING_MAX: usize = 8192;

/// Entries that wait at most, where another program keeps the database for itself: a disk that is busy holds
/// up each of its transactions. What comes beyond is not remembered, which is said.
const PENDING_MOST: usize = 16 * PENDING_MAX;

/// Above that the oldest go, when it is opened: some 20 million files.
const BYTES_MAX: u64 = 2 << 30;

/// After so many days an entry that is of use is noted again, so that what is of none can be told from it.
const SEEN_DAYS: i64 = 7;

/// So many reads see one state of the database: to look for a newer one takes system calls and as long as the
/// read. What another program writes meanwhile is found a little later.
const READS_OF_ONE_STATE: u32 = 4096;

/// The version of the table, as `PRAGMA user_version`.
const VERSION: i32 = 1;

/// How long another program's transaction is waited for, by threads that move files; what was to be written
/// waits for the next time then.
const BUSY: Duration = Duration::from_secs(2);

/// The same for the last time, when the files are there and nobody else waits.
const BUSY_LAST: Duration = Duration::from_secs(30);

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS files (
        system INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
        mtime INTEGER NOT NULL, mtime_nanos INTEGER NOT NULL, ctime INTEGER NOT NULL, ctime_nanos INTEGER NOT NULL,
        hash BLOB NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (system, inode)
    ) WITHOUT ROWID";

/// What a file is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What `statfs` says of the file system: made of its UUID, and so the same when it is mounted again.
    system: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Key {
    fn fields(&self) -> [i64; 7] {
        let Key { system, inode, size, mtime, ctime } = *self;
        let bits = |n: u64| n.cast_signed();
        [bits(system), bits(inode), bits(size), mtime.0, mtime.1, ctime.0, ctime.1]
    }

    /// The hash with what shows that it is the one of this key.
    fn sealed(&self, hash: &Hash) -> [u8; 40] {
        let mut hasher = blake3::Hasher::new();
        self.fields().iter().for_each(|field| {
            hasher.update(&field.to_le_bytes());
        });
        hasher.update(hash.as_bytes());
        let mut sealed = [0; 40];
        sealed[..32].copy_from_slice(hash.as_bytes());
        sealed[32..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        sealed
    }

    /// Whether nothing had changed it for a while at this moment.
    fn was_at_rest(&self, since: SystemTime) -> bool {
        let Ok(since) = since.duration_since(UNIX_EPOCH) else { return false };
        let rested = since
            .checked_sub(REST)
            .map(|time| (time.as_secs().cast_signed(), i64::from(time.subsec_nanos())));
        rested.is_some_and(|rested| self.ctime < rested)
    }

    /// Whether it has this size, and was last written at this time.
    pub fn is_as_told(&self, size: u64, mtime: (i64, i64)) -> bool {
        (self.size, self.mtime) == (size, mtime)
    }
}

/// The hashes that are remembered.
pub struct Cache {
    connection: Mutex<Connection>,
    /// File systems by device: what they are known by; none where nothing is remembered.
    systems: Mutex<HashMap<u64, Option<u64>>>,
    pending: Mutex<Vec<(Key, Hash)>>,
    /// How often it was read.
    reads: AtomicU32,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

/// Why hashes cannot be remembered.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot make {path}: {}", Said(source))]
    File { path: String, source: io::Error },
    #[error("{0}: {1}")]
    Database(String, #[source] rusqlite::Error),
    #[error(
        "{0} is on a network file system, where machines do not see each other's locks; set XDG_STATE_HOME to a local folder"
    )]
    Network(String),
    #[error("{0} was made by a newer lanx; use that one, or `lanx cache forget`")]
    Newer(String),
    #[error("there is no home folder, and XDG_STATE_HOME is not set")]
    Nowhere,
}

/// What is remembered, in numbers.
pub struct Census {
    pub files: u64,
    pub bytes: u64,
}

impl Cache {
    /// Where it is: `$XDG_STATE_HOME/lanx/hashes.sqlite`.
    pub fn path() -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join("lanx/hashes.sqlite"))
    }

    /// Opens that of this user, where one can be had.
    pub fn of_user() -> Option<Cache> {
        let path = Cache::path().ok_or(CacheError::Nowhere);
        let opened = path.and_then(|path| Cache::open(&path));
        opened.inspect_err(|error| tracing::info!("no hashes are remembered: {error}")).ok()
    }

    /// Opens the one at `path`, which is made if it is missing.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn open(path: &Path) -> Result<Cache, CacheError> {
        let shown = Escaped::path(path).to_string();
        let file = |source| CacheError::File { path: shown.clone(), source };
        let database = |error| CacheError::Database(shown.clone(), error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file)?;
            // SQLite's journal is shared memory, which several machines have not.
            if fs::File::open(folder).is_ok_and(file_system::is_shared) {
                return Err(CacheError::Network(shown));
            }
        }
        // Names and hashes of files are nobody else's business; SQLite gives its other files the same mode.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(file)?;
        let connection = Connection::open(path).map_err(database)?;
        connection.busy_timeout(BUSY).map_err(database)?;
        let version: i32 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(database)?;
        if version > VERSION {
            return Err(CacheError::Newer(shown));
        }
        connection
            .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;")
            .map_err(database)?;
        // One that was made before is only looked at: to write is to wait for whoever writes.
        if version < VERSION {
            connection
                .execute_batch("PRAGMA journal_mode = WAL;")
                .and_then(|()| connection.execute_batch(TABLE))
                .and_then(|()| connection.pragma_update(None, "user_version", VERSION))
                .map_err(database)?;
        }
        let cache = Cache {
            connection: Mutex::new(connection),
            systems: Mutex::default(),
            pending: Mutex::default(),
            reads: AtomicU32::new(0),
        };
        cache.make_room(BYTES_MAX).map_err(database)?;
        Ok(cache)
    }

    /// What a file in this state is known by. `on_it` opens something on its file system, where that was
    /// never met. `None` on one where the times of a file prove nothing: over a network, in memory, without a
    /// UUID, or unknown to lanx.
    pub fn key(&self, stamp: &Stamp, on_it: impl FnOnce() -> Option<OwnedFd>) -> Option<Key> {
        let find = || system_of(on_it()?.as_fd());
        let system = (*self.systems.lock().entry(stamp.device).or_insert_with(find))?;
        Some(Key {
            system,
            inode: stamp.inode,
            size: stamp.size,
            mtime: (stamp.mtime_seconds, stamp.mtime_nanos),
            ctime: (stamp.ctime_seconds, stamp.ctime_nanos),
        })
    }

    /// The hash that is remembered of the file.
    pub fn get(&self, key: &Key) -> Option<Hash> {
        let connection = self.connection.lock();
        if self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(READS_OF_ONE_STATE) {
            release(&connection);
        }
        if connection.is_autocommit() {
            // Where that fails each read is one by itself.
            let _ = connection.execute_batch("BEGIN");
        }
        let [system, inode, fields @ ..] = key.fields();
        let found = connection
            .prepare_cached(
                "SELECT size, mtime, mtime_nanos, ctime, ctime_nanos, hash, seen FROM files WHERE system = ?1 AND inode = ?2",
            )
            .and_then(|mut statement| {
                let row = |row: &rusqlite::Row<'_>| {
                    let there: [i64; 5] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
                    Ok((there, row.get::<_, Vec<u8>>(5)?, row.get::<_, i64>(6)?))
                };
                statement.query_row(params![system, inode], row).optional()
            });
        drop(connection);
        let (there, sealed, seen) = found
            .inspect_err(|error| tracing::debug!("a hash that is remembered cannot be read: {error}"))
            .ok()
            .flatten()?;
        let hash = Hash::from_bytes(sealed.get(..32)?.try_into().ok()?);
        if there != fields || sealed[..] != key.sealed(&hash) {
            return None;
        }
        if seen + SEEN_DAYS < today() {
            self.put(*key, hash);
        }
        Some(hash)
    }

    /// Remembers the hash of a file that was read from its beginning to its end after `since`, and that had
    /// this key then and has it still, unless it was not at rest.
    pub fn remember_read(&self, key: Option<Key>, hash: Hash, since: SystemTime) {
        if let Some(key) = key.filter(|key| key.was_at_rest(since)) {
            self.put(key, hash);
        }
    }

    /// Remembers the hash of a file that was written here, by nobody else, and is complete: whoever maps it
    /// later gives it another time.
    pub fn remember_written(&self, key: Key, hash: Hash) {
        self.put(key, hash);
    }

    fn put(&self, key: Key, hash: Hash) {
        let mut pending = self.pending.lock();
        pending.push((key, hash));
        if pending.len().is_multiple_of(PENDING_MAX) {
            let full = std::mem::take(&mut *pending);
            drop(pending);
            self.write(full);
        }
    }

    /// Writes what waits to be, and sees what others have written from now on. Waits for other programs that
    /// write, however long that takes within reason.
    pub fn flush(&self) {
        self.flush_within(BUSY_LAST);
    }

    fn flush_within(&self, patience: Duration) {
        let begun = Instant::now();
        release(&self.connection.lock());
        loop {
            let pending = std::mem::take(&mut *self.pending.lock());
            if pending.is_empty() || self.write(pending) || begun.elapsed() >= patience {
                return;
            }
        }
    }

    /// Writes entries. False where another program is writing all the time: then they wait, as long as there
    /// are not too many.
    fn write(&self, entries: Vec<(Key, Hash)>) -> bool {
        let Err(error) = self.insert(&entries) else { return true };
        let mut pending = self.pending.lock();
        if is_busy(&error) && pending.len() + entries.len() < PENDING_MOST {
            tracing::debug!("another program writes to what is remembered; {} hashes wait", entries.len());
            pending.splice(0..0, entries);
            return false;
        }
        drop(pending);
        not_remembered(entries.len(), &error);
        true
    }

    fn insert(&self, entries: &[(Key, Hash)]) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock();
        release(&connection);
        // It takes the lock at once: one that reads first may find that another program was faster.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction
            .prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        for (key, hash) in entries {
            let [system, inode, size, mtime, mtime_nanos, ctime, ctime_nanos] = key.fields();
            let sealed = key.sealed(hash);
            insert.execute(params![
                system,
                inode,
                size,
                mtime,
                mtime_nanos,
                ctime,
                ctime_nanos,
                &sealed[..],
                today()
            ])?;
        }
        drop(insert);
        transaction.commit()
    }

    /// Forgets a quarter at a time, the oldest first, until no more than so many bytes are taken.
    fn make_room(&self, most: u64) -> rusqlite::Result<()> {
        let connection = self.connection.lock();
        release(&connection);
        while bytes(&connection)? > most {
            let gone = connection.execute(
                "DELETE FROM files WHERE (system, inode) IN
                 (SELECT system, inode FROM files ORDER BY seen LIMIT (SELECT count(*) / 4 + 1 FROM files))",
                [],
            )?;
            if gone == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Forgets what was of no use for so many days. Returns how many files that were.
    ///
    /// # Errors
    /// What the database says.
    pub fn prune(&self, days: u64) -> rusqlite::Result<u64> {
        let last = today().saturating_sub(i64::try_from(days).unwrap_or(i64::MAX));
        let connection = self.connection.lock();
        release(&connection);
        let gone = connection.execute("DELETE FROM files WHERE seen < ?1", [last])?;
        Ok(gone as u64)
    }

    /// How much is remembered.
    ///
    /// # Errors
    /// What the database says.
    pub fn census(&self) -> rusqlite::Result<Census> {
        let connection = self.connection.lock();
        let files: i64 = connection.query_row("SELECT count(*) FROM files", [], |row| row.get(0))?;
        Ok(Census { files: files.unsigned_abs(), bytes: bytes(&connection)? })
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
        if let rest @ 1.. = self.pending.get_mut().len() {
            not_remembered(rest, &"another program writes to them all the time");
        }
    }
}

/// Removes the file and what SQLite keeps beside it. Whether there was one.
///
/// # Errors
/// What the system said.
pub fn forget(path: &Path) -> io::Result<bool> {
    let mut found = false;
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        match fs::remove_file(&name) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn not_remembered(files: usize, why: &dyn std::fmt::Display) {
    tracing::warn!(
        "files whose hashes are not remembered, so that they are read again next time: {files}: {why}"
    );
}

/// Whether only another program's transaction is in the way.
fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Ends what was begun for several reads.
fn release(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("COMMIT")
    {
        tracing::debug!("the end of reading what is remembered failed: {error}");
    }
}

/// Bytes of the file that are in use.
fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name| connection.query_row(name, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok((pages * number("PRAGMA page_size")?).unsigned_abs())
}

fn today() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() / 86_400).cast_signed()
}

/// The file systems whose times prove what the module says: numbers from linux/magic.h, and of ZFS and
/// bcachefs from their own headers. Those over a network, in memory and in user space are none, nor is one
/// laid over others.
#[cfg(target_os = "linux")]
const PROVEN: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E];

/// What a file system is known by.
#[cfg(target_os = "linux")]
#[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)] // The widths differ by system.
fn system_of(fd: BorrowedFd<'_>) -> Option<u64> {
    let kind = rustix::fs::fstatfs(fd).ok()?.f_type as u64 & 0xFFFF_FFFF;
    let system = rustix::fs::fstatvfs(fd).ok()?.f_fsid;
    (PROVEN.contains(&kind) && system != 0).then_some(system)
}

#[cfg(not(target_os = "linux"))]
fn system_of(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inode: u64, ctime: i64) -> Key {
        Key { system: u64::MAX, inode, size: 5, mtime: (7, 8), ctime: (ctime, 9) }
    }

    fn hash(byte: u8) -> Hash {
        Hash::from_bytes([byte; 32])
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_at_rest_is_remembered_for_the_next_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/lanx/hashes.sqlite");
        let cache = Cache::open(&path).unwrap();
        cache.remember_read(Some(key(1, 1000)), hash(1), at(1061));
        cache.remember_read(Some(key(2, 1000)), hash(2), at(1060));
        cache.remember_read(Some(key(3, 1002)), hash(3), at(1061));
        cache.remember_read(None, hash(4), at(5000));
        cache.remember_written(key(5, 5000), hash(5));
        drop(cache);
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.get(&key(1, 1000)), Some(hash(1)));
        for fresh in [key(2, 1000), key(3, 1002)] {
            assert_eq!(cache.get(&fresh), None, "it had changed a moment before");
        }
        assert_eq!(cache.get(&key(5, 5000)), Some(hash(5)));
        // Two programs at once.
        let other = Cache::open(&path).unwrap();
        other.remember_written(key(6, 1), hash(6));
        other.flush();
        cache.flush();
        assert_eq!(cache.get(&key(6, 1)), Some(hash(6)));
        // Without that it is found after so many reads at most, and nobody is kept from writing.
        other.remember_written(key(7, 1), hash(7));
        other.flush();
        assert!((0..READS_OF_ONE_STATE).any(|_| cache.get(&key(7, 1)) == Some(hash(7))));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_written_as_another_program_writes_waits_for_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let (cache, other) = (Cache::open(&path).unwrap(), Connection::open(&path).unwrap());
        cache.connection.lock().busy_timeout(Duration::from_millis(1)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        // What has come of it can be opened and read meanwhile.
        assert_eq!(Cache::open(&path).unwrap().get(&key(1, 1000)), None);
        let all = PENDING_MAX as u64 + 5;
        (0..all).for_each(|inode| cache.remember_written(key(inode, 1000), hash(1)));
        cache.flush_within(Duration::ZERO);
        cache.remember_written(key(3, 1000), hash(2));
        cache.flush_within(Duration::ZERO);
        other.execute_batch("COMMIT").unwrap();
        cache.flush_within(Duration::ZERO);
        assert_eq!(cache.census().unwrap().files, all);
        assert_eq!((cache.get(&key(3, 1000)), cache.get(&key(4, 1000))), (Some(hash(2)), Some(hash(1))));
        // Nor is anything lost where the program ends, if it need not wait for ever.
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        cache.remember_written(key(all, 1000), hash(3));
        let ends = std::thread::spawn(move || drop(cache));
        std::thread::sleep(Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
        ends.join().unwrap();
        assert_eq!(Cache::open(&path).unwrap().get(&key(all, 1000)), Some(hash(3)));
    }

    #[test]
    fn what_waits_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let (cache, other) = (Cache::open(&path).unwrap(), Connection::open(&path).unwrap());
        cache.connection.lock().busy_timeout(Duration::ZERO).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        for inode in 0..2 * PENDING_MOST as u64 {
            cache.remember_written(key(inode, 1000), hash(1));
            assert!(cache.pending.lock().len() <= PENDING_MOST);
        }
        other.execute_batch("COMMIT").unwrap();
    }

    #[test]
    fn a_file_that_differs_in_anything_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("hashes")).unwrap();
        let known = key(1, 1000);
        cache.remember_written(known, hash(1));
        cache.flush();
        for other in [
            Key { system: 1, ..known },
            Key { inode: 2, ..known },
            Key { size: 6, ..known },
            Key { mtime: (7, 9), ..known },
            Key { ctime: (1001, 9), ..known },
            Key { ctime: (1000, 10), ..known },
        ] {
            assert_eq!(cache.get(&other), None, "{other:?}");
        }
        assert_eq!(cache.get(&known), Some(hash(1)));
    }

    #[test]
    fn an_entry_that_was_damaged_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = Cache::open(&path).unwrap();
        cache.remember_written(key(1, 1000), hash(1));
        cache.flush();
        cache.connection.lock().execute("UPDATE files SET hash = zeroblob(40)", []).unwrap();
        assert_eq!(cache.get(&key(1, 1000)), None);
        cache.connection.lock().execute("UPDATE files SET hash = zeroblob(3)", []).unwrap();
        assert_eq!(cache.get(&key(1, 1000)), None);
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room_and_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = Cache::open(&path).unwrap();
        for inode in 0..1000 {
            cache.remember_written(key(inode, 1000), hash(1));
        }
        cache.flush();
        cache.connection.lock().execute("UPDATE files SET seen = seen - 100 WHERE inode < 100", []).unwrap();
        let before = cache.census().unwrap();
        assert_eq!(before.files, 1000);
        cache.make_room(before.bytes - 1).unwrap();
        assert_eq!(cache.get(&key(50, 1000)), None);
        assert!(cache.census().unwrap().files >= 700);
        assert_eq!(cache.prune(10_000).unwrap(), 0);
        cache.connection.lock().execute("UPDATE files SET seen = seen - 40", []).unwrap();
        assert!(cache.prune(30).unwrap() > 0);
        cache.connection.lock().pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(cache);
        assert!(matches!(Cache::open(&path), Err(CacheError::Newer(_))));
        assert!(forget(&path).unwrap());
        assert!(!forget(&path).unwrap());
        fs::write(&path, "no database, but a text of some length").unwrap();
        assert!(Cache::open(&path).is_err());
    }
}
