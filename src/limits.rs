//! Every number that bounds or tunes lanx, with its unit and its reason, and what must hold between them.
//!
//! Nothing here is a secret or a setting: changing one of the wire limits changes the protocol
//! (see [`crate::protocol::VERSION`]).

mod command_line;
mod descriptors;
mod finding;
mod measuring;
mod time;
mod trust;

use std::time::Duration;

pub use command_line::*;
pub use descriptors::*;
pub use finding::*;
pub use measuring::*;
pub use time::*;
pub use trust::*;

// ---- chunks -----------------------------------------------------------------------------------

/// Bytes in a chunk. 256 KiB fits the L2 cache of one core from read to write, is a whole BLAKE3
/// subtree of 2^8 leaves, and is large enough that a system call per chunk costs nothing.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// With `--direct`: bytes that addresses, offsets and lengths are multiples of. No page and hardly any sector or block of a
/// file system is smaller, and none that is in use asks more of an address.
pub const DIRECT_BLOCK_BYTES: usize = 4096;
const _: () = assert!(CHUNK_BYTES.is_multiple_of(DIRECT_BLOCK_BYTES));

/// Bytes in one BLAKE3 leaf (BLAKE3 specification, section 2.1), which BLAKE3 calls a chunk.
pub const BLAKE3_LEAF_BYTES: usize = 1024;

/// The largest file that is offered or accepted, in bytes. Its chunk bitmap takes 32 MiB when full,
/// and it is beyond what ext4 (16 TiB) stores.
pub const FILE_BYTES_MAX: u64 = 64 << 40;

// ---- the wire ---------------------------------------------------------------------------------

/// Bytes in the body of one control message. The largest is the offer of a file with a long path and many attributes.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024;

/// Bytes in the body of one message of the greeting: what a stranger may make us hold.
pub const GREETING_BYTES_MAX: usize = 2048;

/// Bytes in a file name: what Linux, macOS and Windows file systems take for one component.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a file name on the wire. More than any file system here takes, so that a name that is too long is
/// refused like any other bad name and the other files still arrive.
pub const WIRE_NAME_BYTES_MAX: usize = 1024;

/// Bytes in a path beneath the destination. Linux takes 4096 with the NUL byte at the end (`PATH_MAX`), and the
/// destination's own path stands before it.
pub const PATH_BYTES_MAX: usize = 4095;

/// Bytes of a path on the wire; see [`WIRE_NAME_BYTES_MAX`] for why they are more. What is longer still is not offered.
pub const WIRE_PATH_BYTES_MAX: usize = PATH_BYTES_MAX + 1;

/// Bytes in the target of a symbolic link: as long as a path (`PATH_MAX`).
pub const LINK_TARGET_BYTES_MAX: usize = 4095;

/// Bytes of a file's extended attributes, names and values together. ext4 stores about 4 KiB; each file under way may
/// hold so many at both ends.
pub const ATTRIBUTES_BYTES_MAX: usize = 8 * 1024;

/// Extended attributes of one file: the shortest takes a prefix, a name and nothing else.
pub const ATTRIBUTES_MAX: usize = 512;

/// Bytes of explanatory text in a control message.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Chaining values in one message: 4 MiB of file, so that the first differing chunk is known soon.
pub const VALUES_PER_MESSAGE_MAX: usize = 16;

/// Data connections in one session.
pub const CONNECTIONS_MAX: u8 = 16;

/// Numbers that the data connections of one session may use up. Those that die are replaced, and a number is never
/// used twice; a network that kills this many in one session is not worth going on with.
pub const CONNECTION_NUMBERS_MAX: u32 = 65_536;

/// Data connections at first, where the user does not say: enough to keep two cores on each side busy, and more threads than
/// cores cost on a short path.
pub const CONNECTIONS_FIRST: u8 = 2;

/// Data connections at first where the round trip is long: each connection has its own congestion window, and loss
/// halves only one of them.
pub const CONNECTIONS_FIRST_LONG_PATH: u8 = 4;

/// Data connections at most, where the user does not say.
pub const CONNECTIONS_MOST: u8 = 8;

/// From this round trip on, a path counts as long.
pub const LONG_PATH_ROUND_TRIP: Duration = Duration::from_millis(5);

// ---- names and part files ------------------------------------------------------------------------

/// Bytes of a refused name that an error shows: enough to recognise it, and a bound on what a peer can print.
pub const SHOWN_NAME_BYTES_MAX: usize = 80;

/// Part files tried for one name before giving up. Each one in the way is a transfer of the same name that
/// runs right now, or something foreign; a hundred of either is a fault to report, not to work around.
pub const PARTS_PER_NAME_MAX: u32 = 100;

/// Times that one part file is opened anew because its name changed hands between opening and locking.
/// Each loss means that somebody else made progress, so a handful is plenty.
pub const PART_RACES_MAX: u32 = 8;

/// How long a part file in use is waited for before another one is begun beside it. A session whose sender is gone ends
/// within milliseconds, on a busy machine within tenths of a second.
pub const PART_RELEASE_PATIENCE: Duration = Duration::from_millis(500);

/// How long nothing is waited for after that was in vain.
pub const PART_RELEASE_PAUSE: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
pub const PART_RELEASE_LOOK: Duration = Duration::from_millis(5);

/// Hex digits of the name's BLAKE3 in a part name that had to be shortened: 64 bits, so that two long names
/// with the same beginning get different part files.
pub const PART_HASH_HEX_DIGITS: usize = 16;

/// Highest number that `--rename` puts behind a name: `photo (10000).jpg`. It bounds the search.
pub const RENAME_NUMBER_MAX: u32 = 10_000;

/// Longest ending in bytes, without its dot, that counts as a file type when a number is put before it.
/// `.torrent` and `.properties` are types, the rest of a sentence behind a full stop is not.
pub const EXTENSION_BYTES_MAX: usize = 16;

/// Bytes in a block of a file that can be a hole: the block of most file systems and the page of most machines.
pub const HOLE_BLOCK_BYTES: usize = 4096;

/// Zeros that are written at once where a file system knows no holes.
pub const ZEROS_BYTES: usize = 64 * 1024;

/// Folders of the destination that are kept open: those that the files under way most often share, and few beside the
/// descriptors of the files themselves.
pub const FOLDER_HANDLES_MAX: usize = 128;

/// How long an open folder stands for its path before that is looked up again, and a missing one counts as missing: long
/// enough for thousands of small files, too short for anybody to be surprised where files arrive after a folder was moved.
pub const FOLDER_HANDLE_AGE_MAX: Duration = Duration::from_secs(1);

/// Folders that are remembered as newly made, at 8 bytes each: those of all files under way, many times over.
pub const FOLDERS_MADE_MAX: usize = 65_536;

// ---- what may be under way at once -------------------------------------------------------------

/// Files of one session that were offered and have no outcome yet. Bounds memory at both ends, and is deep
/// enough that small files never wait for a round trip.
pub const FILES_IN_FLIGHT_MAX: usize = 4096;

/// Files for which there must be room again before a sender that had none goes on offering: for one at a time it would be
/// woken for each.
pub const OFFERS_WAKE_FILES: usize = FILES_IN_FLIGHT_MAX / 8;

/// Files of more than one chunk that are offered at once: each holds a descriptor and a part file at the receiver.
pub const LARGE_FILES_IN_FLIGHT_MAX: usize = 16;

/// Failed files of one session whose late chunks the receiver still discards quietly.
pub const FAILED_FILES_MAX: usize = 65_536;

/// Chaining values that a receiver has announced for one file and has no verdict on: 1 GiB of file, 160 KiB of memory.
pub const VALUES_IN_FLIGHT_MAX: usize = 4096;

/// Stack of a thread beside the one that carries the control connections: as much as the standard library gives, since names are
/// looked up there by whatever modules the system has for that.
pub const ASIDE_STACK_BYTES: usize = 2 << 20;

/// How often threads are looked at whose end nobody could be made to wait for.
pub const THREADS_POLL: Duration = Duration::from_millis(5);

/// Subtrees of one file that wait to be merged, from which on nothing more of it is compared until chunks arrive. Where every
/// other chunk differs, a comparison would run ahead of what is sent by the whole file: 8 GiB of it, 3 MiB of memory.
pub const SUBTREES_COMPARED_MAX: usize = 32_768;

/// Subtrees of one file that may wait in all: besides those 56 (twice the depth of the largest tree) for each stretch that is
/// missing, and for each chunk on its way. Only a sender that scatters its chunks comes to more. 13 MiB of memory.
pub const SUBTREES_WAITING_MAX: usize = 131_072;

/// Chunks of a file for standard output that are asked for ahead of what is written: 16 MiB, the most that a receiver holds of
/// it, and more than is on the way in a network of 10 Gbit/s and 10 ms.
pub const IN_ORDER_WINDOW_CHUNKS: u64 = 64;

/// Chunks after whose writing the sender hears that it may go on: rarely enough to cost nothing, and long before it runs
/// dry.
pub const IN_ORDER_STEP_CHUNKS: u64 = 8;

/// Chunks of a stream that a sender holds at once: those that were read and are not confirmed, as it can read nothing
/// twice. 16 MiB: more than is on the way in a network of 10 Gbit/s and 10 ms, beside what waits to be sent.
pub const STREAM_WINDOW_CHUNKS: usize = 64;

/// Chunks of streams after whose arrival the sender hears of them at once: each [`PROGRESS_INTERVAL`] would be too late for
/// one that holds no more than [`STREAM_WINDOW_CHUNKS`].
pub const STREAM_CONFIRM_CHUNKS: u64 = 8;

/// Bytes asked for in the pipe that a stream is read from: four chunks, and what Linux lets everybody have
/// (`fs.pipe-max-size`). The usual 64 KiB make reader and writer take turns four times for each chunk.
pub const STREAM_PIPE_BYTES: usize = 1 << 20;

/// Words of 64 bits in one piece of the record of which chunks of a file are there: 4 KiB for 8 GiB of file. Pieces are
/// made when they are needed, as a stream may be short and nobody knows.
pub const CLAIM_PIECE_WORDS: usize = 512;

/// Stretches of missing chunks that a receiver names for one file. A part file that is more torn than this has its
/// further holes compared like data.
pub const MISSING_PER_FILE_MAX: usize = 1024;

/// Stretches of chunks that wait to be sent at once.
pub const RUNS_QUEUED_MAX: usize = FILES_IN_FLIGHT_MAX + LARGE_FILES_IN_FLIGHT_MAX * MISSING_PER_FILE_MAX;

/// Control messages that wait for a peer to read them. One that reads never lets as many come together: at most four for
/// each file under way, for each torn large file its holes and values besides, and a few about connections.
pub const OUTBOX_MESSAGES_MAX: usize = 4 * FILES_IN_FLIGHT_MAX
    + LARGE_FILES_IN_FLIGHT_MAX
        * (2 * MISSING_PER_FILE_MAX + VALUES_IN_FLIGHT_MAX / VALUES_PER_MESSAGE_MAX + COMPARERS_MAX)
    + 1024;

/// Writes of control messages in a row, each within [`OUTBOX_PAUSE`] of the one before, after which messages are gathered
/// for that long: many small files are under way. One small file has fewer.
pub const OUTBOX_QUICK_WRITES: u32 = 8;

/// See [`OUTBOX_QUICK_WRITES`]. Files in flight last a hundred times longer.
pub const OUTBOX_PAUSE: Duration = Duration::from_millis(1);

/// Messages of one session that were read and wait for its thread.
pub const MESSAGES_HEARD_MAX: usize = 64;

/// Data connections of a receiver, those of all sessions together. Each has a thread, a chunk buffer and a stream buffer,
/// 0.35 MiB or so, so that all of them stay below 100 MiB; and many times more than keep every core and disk busy.
pub const DATA_CONNECTIONS_MAX: u16 = 256;

/// Transfers that a receiver serves at once, where the user does not say: a room full of machines, each with two data
/// connections when all are there.
pub const TRANSFERS_DEFAULT: u16 = 128;
const _: () = assert!(TRANSFERS_DEFAULT <= DATA_CONNECTIONS_MAX / 2);

/// The most that the user may say. Each transfer has a data connection of its own, and beside those one transfer alone can
/// have as many as it likes.
pub const TRANSFERS_MAX: u16 = DATA_CONNECTIONS_MAX - CONNECTIONS_MAX as u16;
const _: () = assert!(TRANSFERS_DEFAULT <= TRANSFERS_MAX);

/// Of so many places, for a transfer or to wait, one is for senders that have none. One key alone still gets the
/// hundred transfers that a receiver has to take.
pub const PLACES_RESERVED: usize = 8;
const _: () = assert!(TRANSFERS_DEFAULT as usize - TRANSFERS_DEFAULT as usize / PLACES_RESERVED >= 100);

/// Sessions that are remembered when they have ended, so that a data connection which comes too late is told from one
/// that belongs nowhere: as many as can end while one is on its way.
pub const ENDED_SESSIONS_MAX: usize = 256;
const _: () = assert!(ENDED_SESSIONS_MAX >= TRANSFERS_MAX as usize);

/// How long the place of a transfer whose sender was lost is kept for it: a sender that lost no more than its connection
/// comes back within a second.
pub const PLACE_KEPT_FOR: Duration = Duration::from_secs(5);
const _: () = assert!(PLACE_KEPT_FOR.as_millis() > 10 * RETRY_PAUSE_FIRST.as_millis());

/// Senders that wait for their turn. Each costs a TLS connection, 50 KiB or so.
pub const WAITING_MAX: usize = 256;

/// How often a sender that waits hears that its place in the queue has changed: often enough for a person.
pub const QUEUE_NEWS_INTERVAL: Duration = Duration::from_secs(1);
const _: () = assert!(QUEUE_NEWS_INTERVAL.as_millis() <= BEAT_INTERVAL.as_millis());

/// How long a session's share of the data connections stands before it hears that it may have more: connections are not to
/// come and go with every small transfer. That it may have fewer it hears at once.
pub const SHARE_GROWS_AFTER: Duration = Duration::from_secs(1);

/// How long a sender may take to close data connections that have become too many. What is on the way in one is a few MiB,
/// and a chunk takes up to 4 s at the lowest rate that a user may set.
pub const SURPLUS_GRACE: Duration = Duration::from_secs(10);
const _: () = assert!(SURPLUS_GRACE.as_secs() > 2 * (CHUNK_BYTES as u64 / LIMIT_MIN));

/// Connections that have not yet said who they are, all together.
pub const STRANGERS_MAX: usize = 512;

/// Data connections in a row that were tampered with before they brought a single frame, after which a session ends. One may
/// be a faulty network; so many are somebody who will not stop.
pub const FORGED_IN_A_ROW_MAX: u32 = 8;

/// Threads that compare what is there with what is offered, at each end of a session; at the receiver no more than its
/// share of the data connections.
pub const COMPARERS_MAX: usize = 4;

/// With `--sync`: bytes of one file after which their way to the device is begun, so that little is left at the end.
pub const WRITE_BACK_BYTES: u64 = 64 << 20;

/// Bytes that are copied at once where a part file begins as a copy.
pub const COPY_BYTES: usize = 1 << 20;

/// Complete files that wait for the device together.
pub const FINISH_BATCH_FILES: usize = 256;

/// Stack of a worker thread. Its chunk buffer is on the heap; BLAKE3 and the system calls need a few KiB.
pub const WORKER_STACK_BYTES: usize = 256 * 1024;

/// Receivers that one program sends to at once: a bit each in 64, and more threads than that a machine has no use for.
pub const RECEIVERS_MAX: usize = 64;

/// What is kept of a source for receivers that have not come to it yet, in bytes. With 16 MiB two equal receivers on a busy
/// machine were parted in every run, with 64 MiB hardly ever (ARCHITECTURE.md); it is taken only where they drift apart.
pub const SHARED_BYTES_MAX: usize = 64 << 20;

/// What a chunk of a small file counts for at least, in bytes: its copy has a place in the books as well.
pub const SHARED_CHUNK_BYTES_MIN: usize = 4 * 1024;

/// Files that one receiver may have done with before another one, as far as that is remembered: about 100 bytes each.
pub const SHARED_FILES_MAX: usize = 65_536;

// ---- sockets and buffers ------------------------------------------------------------------------

/// The TCP port where the user does not say.
pub const PORT_DEFAULT: u16 = 7269;

/// Connections that wait in the kernel to be accepted.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Connections that ask for metrics at once; further ones wait in the kernel. There is one Prometheus, or a few.
pub const METRICS_CONNECTIONS_MAX: usize = 16;

/// Bytes and headers of a request for metrics. Prometheus sends some 300 bytes, a browser 2 KiB.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// See [`METRICS_REQUEST_BYTES_MAX`].
pub const METRICS_HEADERS_MAX: usize = 64;

/// Socket buffer asked for on data connections, where the kernel grants it: the bandwidth-delay
/// product of 10 Gbit/s at 3 ms.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The same within one machine, where what waits for the other end is best still in the cache.
pub const SOCKET_BUFFER_WITHIN_MACHINE_BYTES: usize = 1 << 20;

/// What a data connection has been dealt and TCP has not sent yet, about: two chunks, so that there always is a next one.
pub const UNSENT_BYTES_MAX: u32 = 2 * CHUNK_BYTES as u32;

/// The same within one machine.
pub const UNSENT_BYTES_WITHIN_MACHINE_MAX: u32 = 8 * CHUNK_BYTES as u32;

/// The `BufWriter` of a data connection, and what it reads into: a dozen small files share a system call.
pub const CONNECTION_BUFFER_BYTES: usize = 192 * 1024;

/// Frames from this payload on go past those buffers: copying them would cost more than a system call.
pub const STRAIGHT_BYTES: usize = 64 * 1024;

/// The lowest rate that a user may set, in bytes a second: a chunk then takes 4 s, less than the shortest time after which
/// a peer counts as silent.
pub const LIMIT_MIN: u64 = 64_000;
const _: () = assert!(CHUNK_BYTES as u64 / LIMIT_MIN < SILENCE_TIMEOUT_MIN.as_secs());

/// What a limited rate is counted in, in bytes: fine enough for 2 % at the lowest rate, coarse enough for 32 bits at
/// the highest.
pub const PACE_UNIT_BYTES: u64 = 1024;

/// For how long a sender that overslept may make up. A busy machine lets a thread sleep for tenths of a second; over ten
/// seconds nobody sees more than 2.5 % above the rate.
pub const PACE_BURST: Duration = Duration::from_millis(250);
const _: () = assert!(PACE_BURST.as_millis() * 20 <= 5_000);

/// How long a sender that waits for its turn looks away.
pub const PACE_LOOK: Duration = Duration::from_millis(50);

const _: () = {
    assert!(PROBE_CONNECTIONS[3] <= CONNECTIONS_MAX);
    assert!(DISK_TRIAL_PIECE_BYTES.is_multiple_of(CHUNK_BYTES as u64));
    assert!(CHUNK_BYTES.is_power_of_two() && CHUNK_BYTES > BLAKE3_LEAF_BYTES);
    // A hundred bytes: more than a tag.
    assert!(STRAIGHT_BYTES + 100 < CONNECTION_BUFFER_BYTES && CONNECTION_BUFFER_BYTES < CHUNK_BYTES);
    assert!(VALUES_PER_MESSAGE_MAX * 32 + 64 <= MESSAGE_BYTES_MAX);
    assert!(NAME_BYTES_MAX < WIRE_NAME_BYTES_MAX);
    assert!(WIRE_NAME_BYTES_MAX + TEXT_BYTES_MAX + 64 <= MESSAGE_BYTES_MAX);
    assert!(
        WIRE_PATH_BYTES_MAX + LINK_TARGET_BYTES_MAX + ATTRIBUTES_BYTES_MAX + 4 * ATTRIBUTES_MAX + 128
            <= MESSAGE_BYTES_MAX
    );
    assert!(TEXT_BYTES_MAX + 64 <= GREETING_BYTES_MAX && GREETING_BYTES_MAX <= MESSAGE_BYTES_MAX);
    assert!(VALUES_PER_MESSAGE_MAX <= VALUES_IN_FLIGHT_MAX);
    assert!(
        SUBTREES_COMPARED_MAX
            + VALUES_IN_FLIGHT_MAX
            + COMPARERS_MAX * VALUES_PER_MESSAGE_MAX
            + 56 * (MISSING_PER_FILE_MAX + 4 * CONNECTIONS_MAX as usize)
            <= SUBTREES_WAITING_MAX
    );
    assert!(
        2 * IN_ORDER_STEP_CHUNKS <= IN_ORDER_WINDOW_CHUNKS
            && CONNECTIONS_MAX as u64 <= IN_ORDER_WINDOW_CHUNKS
    );
    assert!(2 * STREAM_CONFIRM_CHUNKS <= STREAM_WINDOW_CHUNKS as u64);
    assert!(
        CONNECTIONS_FIRST <= CONNECTIONS_FIRST_LONG_PATH && CONNECTIONS_FIRST_LONG_PATH <= CONNECTIONS_MOST
    );
    assert!(CONNECTIONS_MOST <= CONNECTIONS_MAX);
    assert!(LARGE_FILES_IN_FLIGHT_MAX <= FILES_IN_FLIGHT_MAX);
    // Offsets of the last chunk must not wrap, and `off_t` is signed.
    assert!(FILE_BYTES_MAX < i64::MAX as u64 - CHUNK_BYTES as u64);
    // A shortened part name (`.`, `~`, digest, `.100.lanx-part`) must leave most of the name readable.
    assert!(PART_HASH_HEX_DIGITS + 32 < NAME_BYTES_MAX / 2);
    assert!(PART_HASH_HEX_DIGITS.is_multiple_of(2) && PART_HASH_HEX_DIGITS <= 64);
    // A double ending (`.tar.` and a type) and ` (10000)` must leave room for a stem.
    assert!(2 * EXTENSION_BYTES_MAX + 16 < NAME_BYTES_MAX / 2);
    assert!(SHOWN_NAME_BYTES_MAX <= NAME_BYTES_MAX);
    assert!(CHUNK_BYTES.is_multiple_of(HOLE_BLOCK_BYTES) && FILES_IN_FLIGHT_MAX < FOLDERS_MADE_MAX);
    assert!(RECEIVERS_MAX <= u64::BITS as usize && SHARED_BYTES_MAX >= 4 * CHUNK_BYTES);
    assert!(BEAT_INTERVAL.as_millis() * 2 < SILENCE_TIMEOUT_MIN.as_millis());
    assert!(SILENCE_TIMEOUT_MIN.as_millis() <= SILENCE_TIMEOUT.as_millis());
    assert!(RETRY_PAUSE_FIRST.as_millis() < RETRY_PAUSE_MAX.as_millis());
    assert!((CONNECTIONS_MAX as u32) < CONNECTION_NUMBERS_MAX);
};
