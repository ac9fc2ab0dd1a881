//! The numbers that bound or tune lanx and that several rooms share or that must fit each other, each with
//! its unit and its reason, and what must hold between them. A number of one file stands there.
//!
//! Nothing here is a secret or a setting: changing one of the wire limits changes the protocol
//! (see [`crate::wire::VERSION`]).

use std::time::Duration;

// ---- chunks -----------------------------------------------------------------------------------

/// Bytes in a chunk. 256 KiB fits the L2 cache of one core from read to write, is a whole BLAKE3
/// subtree of 2^8 leaves, and is large enough that a system call per chunk costs nothing.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// With `--direct`: bytes that addresses, offsets and lengths are multiples of. No page and hardly any sector
/// or block of a file system is smaller, and none that is in use asks more of an address.
pub const DIRECT_BLOCK_BYTES: usize = 4096;
const _: () = assert!(CHUNK_BYTES.is_multiple_of(DIRECT_BLOCK_BYTES));

/// Bytes in one BLAKE3 leaf (BLAKE3 specification, section 2.1), which BLAKE3 calls a chunk.
pub const BLAKE3_LEAF_BYTES: usize = 1024;

/// Chunks that one frame says to be zeros: 1 GiB. It is hashed within a quarter of a second where it lies
/// behind what is known beforehand, and data connections take turns on what is longer.
pub const HOLE_CHUNKS_MAX: u64 = 4096;

/// The largest file that is offered or accepted, in bytes. Its chunk bitmap takes 32 MiB when full,
/// and it is beyond what ext4 (16 TiB) stores.
pub const FILE_BYTES_MAX: u64 = 64 << 40;

// ---- the wire ---------------------------------------------------------------------------------

/// Bytes in the body of one control message. The largest is the offer of a file with a long path and many
/// attributes.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024;

/// Bytes in the body of one message of the greeting: what a stranger may make us hold.
pub const GREETING_BYTES_MAX: usize = 2048;

/// Bytes in a file name: what Linux, macOS and Windows file systems take for one component.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a file name on the wire. More than any file system here takes, so that a name that is too long is
/// refused like any other bad name and the other files still arrive.
pub const WIRE_NAME_BYTES_MAX: usize = 1024;

/// Bytes in a path beneath the destination. Linux takes 4096 with the NUL byte at the end (`PATH_MAX`), and
/// the destination's own path stands before it.
pub const PATH_BYTES_MAX: usize = 4095;

/// Bytes of a path on the wire; see [`WIRE_NAME_BYTES_MAX`] for why they are more. What is longer still is
/// not offered.
pub const WIRE_PATH_BYTES_MAX: usize = PATH_BYTES_MAX + 1;

/// Bytes in the target of a symbolic link: as long as a path (`PATH_MAX`).
pub const LINK_TARGET_BYTES_MAX: usize = 4095;

/// Bytes of a file's extended attributes, names and values together. ext4 stores about 4 KiB; each file under
/// way may hold so many at both ends.
pub const ATTRIBUTES_BYTES_MAX: usize = 8 * 1024;

/// Extended attributes of one file: the shortest takes a prefix, a name and nothing else.
pub const ATTRIBUTES_MAX: usize = 512;

/// What an open offer counts for beside the bytes of its path, target and attributes: a place in the books.
pub const OFFER_BYTES_BASE: usize = 192;

/// Bytes that the open offers of a session may count for, whatever else goes on at the receiver: some five
/// hundred ordinary ones, or seven of the heaviest.
pub const OFFERS_BYTES_MIN: usize = 128 << 10;

/// And at most, where there is room: as many ordinary ones as may be open.
pub const OFFERS_BYTES_MAX: usize = FILES_IN_FLIGHT_MAX * 320;

/// Bytes that a receiver keeps for its senders, all together: their open offers, what they do not read, and
/// what it knows of the chunks of their large files. Each transfer that is served at once has
/// [`SESSION_BYTES`] of it; the rest goes to those that need more.
pub const MEMORY_BYTES: usize = 96 << 20;

/// Of those what a session has in any case.
pub const SESSION_BYTES: usize =
    OFFERS_BYTES_MIN + OUTBOX_BYTES_MAX + LARGE_FILES_IN_FLIGHT_MAX * KEPT_BYTES_FILE + KEPT_BYTES_MIN;
const _: () = assert!(TRANSFERS_MAX as usize * SESSION_BYTES <= MEMORY_BYTES);
const _: () = assert!(2 * TRANSFERS_DEFAULT as usize * SESSION_BYTES <= MEMORY_BYTES);

/// Bytes that a receiver may keep of what it knows of one large file, whatever else goes on: the ends of what
/// is there, up the largest tree, and the first few comparisons.
pub const KEPT_BYTES_FILE: usize = 8 << 10;
const _: () = assert!(28 * SUBTREE_BYTES + COMPARED_AT_ONCE_FIRST * COMPARED_BYTES <= KEPT_BYTES_FILE);

/// And beyond that of all large files of a session together. A file whose chunks come as they are sent takes
/// little of it; a connection that is behind leaves gaps.
pub const KEPT_BYTES_MIN: usize = 64 << 10;

/// Bytes of explanatory text in a control message.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Data connections in one session.
pub const CONNECTIONS_MAX: u8 = 16;

/// Numbers that the data connections of one session may use up. Those that die are replaced, and a number is
/// never used twice; a network that kills this many in one session is not worth going on with.
pub const CONNECTION_NUMBERS_MAX: u32 = 65_536;

/// Data connections at first, where the user does not say and there are as many chunks: as lanx was ordered.
/// Each has its own congestion window, and loss halves only one of them; where two cores are both ends, four
/// cost as much as two (docs/measurements.md).
pub const CONNECTIONS_FIRST: u8 = 4;

/// Data connections at most, where the user does not say.
pub const CONNECTIONS_MOST: u8 = 8;

/// From this round trip on, a path counts as long.
pub const LONG_PATH_ROUND_TRIP: Duration = Duration::from_millis(5);

// ---- compression --------------------------------------------------------------------------------

/// Bytes from the middle of a chunk that say whether it is worth compressing: 2 us where it is not, 20 us
/// where it is.
pub const PROBED_BYTES: usize = 8 * 1024;

/// One part in so many of a chunk has to be saved: less is not worth the receiver's work.
pub const COMPRESSED_SAVES_PART: usize = 8;

/// Shorter files stay as they are: what could be saved is less than a frame has around it.
pub const COMPRESSED_BYTES_MIN: usize = 512;

/// The level of `--compress zstd`: as zstd itself. On links below 1 Gbit/s a core has time for it.
pub const ZSTD_LEVEL_DEFAULT: u8 = 3;

/// The highest level that a user may ask for: those beyond it take more memory than a connection may,
/// whatever their tables.
pub const ZSTD_LEVEL_MAX: u8 = 12;

/// The window that the chunks of one connection share, as a power of two: two chunks, which both ends have to
/// keep.
pub const ZSTD_WINDOW_LOG: u32 = 19;
const _: () = assert!(1 << ZSTD_WINDOW_LOG == 2 * CHUNK_BYTES);

/// Bytes of memory that compression reserves at most for one data connection, at each end. It touches up to
/// 1.5 MiB of them (docs/measurements.md).
pub const CONNECTION_MEMORY_BYTES: usize = 2 << 20;

/// A step is tried where those who send wait for the network or for `--limit` for this part of their time,
/// and one is taken back on trial where they do so for less than [`COMPRESS_WAITS_LITTLE`].
pub const COMPRESS_WAITS: f64 = 0.5;

/// See [`COMPRESS_WAITS`].
pub const COMPRESS_WAITS_LITTLE: f64 = 0.2;
const _: () = assert!(COMPRESS_WAITS_LITTLE < COMPRESS_WAITS);

/// Pause after a step that brought nothing; it doubles up to [`COMPRESS_PAUSE_MAX`].
pub const COMPRESS_PAUSE_FIRST: Duration = Duration::from_secs(4);

/// See [`COMPRESS_PAUSE_FIRST`].
pub const COMPRESS_PAUSE_MAX: Duration = Duration::from_secs(16);

// ---- names and part files ------------------------------------------------------------------------

/// Bytes of a refused name that an error shows: enough to recognise it, and a bound on what a peer can print.
pub const SHOWN_NAME_BYTES_MAX: usize = 80;

/// Part files tried for one name before giving up. Each one in the way is a transfer of the same name that
/// runs right now, or something foreign; a hundred of either is a fault to report, not to work around.
pub const PARTS_PER_NAME_MAX: u32 = 100;

/// Times that one part file is opened anew because its name changed hands between opening and locking.
/// Each loss means that somebody else made progress, so a handful is plenty.
pub const PART_RACES_MAX: u32 = 8;

/// Hex digits of the name's BLAKE3 in a part name that had to be shortened: 64 bits, so that two long names
/// with the same beginning get different part files.
pub const PART_HASH_HEX_DIGITS: usize = 16;

/// Bytes of a sender's fingerprint in the name of its part files: 80 bits, so that nobody makes a second key
/// with those of somebody else's.
pub const PART_OWNER_BYTES: usize = 10;

/// The shortest age after which a running receiver removes unfinished files, if it is told to.
pub const PART_AGE_MIN: Duration = Duration::from_secs(1);

/// How long it goes without looking for them at most: it reads every folder for that.
pub const PART_SWEEP_PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// Highest number that `--rename` puts behind a name: `photo (10000).jpg`. It bounds the search.
pub const RENAME_NUMBER_MAX: u32 = 10_000;

/// Numbered names at which a file is compared before it gets a further number: a chunk of each at most, as
/// far as they differ. The highest are those of the last transfers, one of which may be repeated.
pub const RENAME_COMPARED_MAX: u32 = 16;

/// Longest ending in bytes, without its dot, that counts as a file type when a number is put before it.
/// `.torrent` and `.properties` are types, the rest of a sentence behind a full stop is not.
pub const EXTENSION_BYTES_MAX: usize = 16;

/// Bytes in a block of a file that can be a hole: the block of most file systems and the page of most
/// machines.
pub const HOLE_BLOCK_BYTES: usize = 4096;

/// Folders of the destination that are kept open: those that the files under way most often share, and few
/// beside the descriptors of the files themselves.
pub const FOLDER_HANDLES_MAX: usize = 128;

/// Folders that are remembered as newly made, at 8 bytes each: those of all files under way, many times over.
pub const FOLDERS_MADE_MAX: usize = 65_536;

/// Folders, one within the other, that one offer has made: more than people nest, and few enough that a
/// thousand bytes on the wire do not keep the disk busy for long.
pub const FOLDER_LEVELS_MADE_MAX: usize = 256;

// ---- what may be under way at once -------------------------------------------------------------

/// Files of one session that were offered and have no outcome yet. Bounds memory at both ends, and is deep
/// enough that small files never wait for a round trip.
pub const FILES_IN_FLIGHT_MAX: usize = 4096;

/// The same as a part of what may be under way.
pub const OFFERS_WAKE_PART: usize = 8;

/// Files of more than one chunk that are offered at once: each holds a descriptor and a part file at the
/// receiver.
pub const LARGE_FILES_IN_FLIGHT_MAX: usize = 16;

/// Chunks of one file under comparison at once: their values were asked for and are not here, they are being
/// compared, or they differ and have not arrived. 128 MiB of file, so that neither side waits for a round
/// trip.
pub const COMPARED_AT_ONCE_MAX: usize = 512;

/// The same at the beginning, and the least that is asked for at once later on: a file that is another one
/// differs early, and what was asked for until then was hashed in vain.
pub const COMPARED_AT_ONCE_FIRST: usize = 16;

/// What a subtree of a large file counts for that waits to be merged, with the stretch of chunks that it is
/// of: places in two trees.
pub const SUBTREE_BYTES: usize = 160;

/// What a chunk under comparison counts for: that it was asked for, and the sender's value while it waits for
/// a thread.
pub const COMPARED_BYTES: usize = 128;

/// Chunks of a file for standard output that are asked for ahead of what is written: 16 MiB, the most that a
/// receiver holds of it, and more than is on the way in a network of 10 Gbit/s and 10 ms.
pub const IN_ORDER_WINDOW_CHUNKS: u64 = 64;

/// Chunks after whose writing the sender hears that it may go on: rarely enough to cost nothing, and long
/// before it runs dry.
pub const IN_ORDER_STEP_CHUNKS: u64 = 8;

/// Chunks of a stream that a sender holds at once: those that were read and are not confirmed, as it can read
/// nothing twice. 16 MiB: more than is on the way in a network of 10 Gbit/s and 10 ms, beside what waits to
/// be sent.
pub const STREAM_WINDOW_CHUNKS: usize = 64;

/// Chunks of streams after whose arrival the sender hears of them at once: each [`PROGRESS_INTERVAL`] would
/// be too late for one that holds no more than [`STREAM_WINDOW_CHUNKS`].
pub const STREAM_CONFIRM_CHUNKS: u64 = 8;

/// Stretches of missing chunks that a receiver names for one file. A part file that is more torn than this
/// has its further holes compared like data.
pub const MISSING_PER_FILE_MAX: usize = 1024;

/// Bytes of control messages that a sender has not read, from which on a receiver takes no more from it: no
/// new offers, and no chunks. Thousands of outcomes fit in, and a sender that reads never lets as many come
/// together.
pub const OUTBOX_BYTES_MAX: usize = 64 << 10;

/// Writes of control messages in a row, each within [`OUTBOX_PAUSE`] of the one before, after which messages
/// are gathered for that long: many small files are under way. One small file has fewer.
pub const OUTBOX_QUICK_WRITES: u32 = 8;

/// See [`OUTBOX_QUICK_WRITES`]. Files in flight last a hundred times longer.
pub const OUTBOX_PAUSE: Duration = Duration::from_millis(1);

/// Data connections of a receiver, those of all sessions together. Each has a thread, a chunk buffer and a
/// stream buffer,
/// 0.35 MiB or so, so that all of them stay below 100 MiB, and below 200 MiB where all of them decompress; and many times more than keep every core and disk busy.
pub const DATA_CONNECTIONS_MAX: u16 = 256;

/// Transfers that a receiver serves at once, where the user does not say: a room full of machines, each with
/// two data connections when all are there.
pub const TRANSFERS_DEFAULT: u16 = 128;
const _: () = assert!(TRANSFERS_DEFAULT <= DATA_CONNECTIONS_MAX / 2);

/// The most that the user may say. Each transfer has a data connection of its own, and beside those one
/// transfer alone can have as many as it likes.
pub const TRANSFERS_MAX: u16 = DATA_CONNECTIONS_MAX - CONNECTIONS_MAX as u16;
const _: () = assert!(TRANSFERS_DEFAULT <= TRANSFERS_MAX);

/// Of so many places, for a transfer or to wait, one is for senders that have none. One key alone still gets
/// the hundred transfers that a receiver has to take.
pub const PLACES_RESERVED: usize = 8;
const _: () = assert!(TRANSFERS_DEFAULT as usize - TRANSFERS_DEFAULT as usize / PLACES_RESERVED >= 100);

/// Sessions that are remembered when they have ended, so that a data connection which comes too late is told
/// from one that belongs nowhere: as many as can end while one is on its way.
pub const ENDED_SESSIONS_MAX: usize = 256;
const _: () = assert!(ENDED_SESSIONS_MAX >= TRANSFERS_MAX as usize);

/// How long the place of a transfer whose sender was lost is kept for it: a sender that lost no more than its
/// connection comes back within a second.
pub const PLACE_KEPT_FOR: Duration = Duration::from_secs(5);
const _: () = assert!(PLACE_KEPT_FOR.as_millis() > 10 * RETRY_PAUSE_FIRST.as_millis());

/// Senders that wait for their turn: the tasks of one engine, which have one key and so seven eighths of the
/// queue, are 500 and more. Each costs a TLS connection, 50 KiB or so.
pub const WAITING_MAX: usize = 640;

/// How often a sender that waits hears that its place in the queue has changed: often enough for a person.
pub const QUEUE_NEWS_INTERVAL: Duration = Duration::from_secs(1);
const _: () = assert!(QUEUE_NEWS_INTERVAL.as_millis() <= BEAT_INTERVAL.as_millis());

/// How long a sender may take to close data connections that have become too many. What is on the way in one
/// is a few MiB, and a chunk takes up to 4 s at the lowest rate that a user may set.
pub const SURPLUS_GRACE: Duration = Duration::from_secs(10);
const _: () = assert!(SURPLUS_GRACE.as_secs() > 2 * (CHUNK_BYTES as u64 / LIMIT_MIN));

/// Connections that have not yet said who they are, all together.
pub const STRANGERS_MAX: usize = 512;

/// Data connections in a row that were tampered with before they brought a single frame, after which a
/// session ends. One may be a faulty network; so many are somebody who will not stop.
pub const FORGED_IN_A_ROW_MAX: u32 = 8;

/// With `--sync`: bytes of one file after which their way to the device is begun, so that little is left at
/// the end.
pub const WRITE_BACK_BYTES: u64 = 64 << 20;

/// Complete files that wait for the device together.
pub const FINISH_BATCH_FILES: usize = 256;

/// Receivers that one program sends to at once: each has threads and connections of its own, and more of them
/// than these a machine has no use for.
pub const RECEIVERS_MAX: usize = 64;

// ---- sockets and buffers ------------------------------------------------------------------------

/// The TCP port where the user does not say.
pub const PORT_DEFAULT: u16 = 7269;

/// Socket buffer asked for on data connections, where the kernel grants it: the bandwidth-delay
/// product of 10 Gbit/s at 3 ms.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The same within one machine, where what waits for the other end is best still in the cache.
pub const SOCKET_BUFFER_WITHIN_MACHINE_BYTES: usize = 1 << 20;

/// The same within one machine.
pub const UNSENT_BYTES_WITHIN_MACHINE_MAX: u32 = 8 * CHUNK_BYTES as u32;

/// The `BufWriter` of a data connection, and what it reads into: a dozen small files share a system call.
pub const CONNECTION_BUFFER_BYTES: usize = 192 * 1024;

/// Frames from this payload on go past those buffers: copying them would cost more than a system call.
pub const STRAIGHT_BYTES: usize = 64 * 1024;

/// The lowest rate that a user may set, in bytes a second: a chunk then takes 4 s, less than the shortest
/// time after which a peer counts as silent.
pub const LIMIT_MIN: u64 = 64_000;
const _: () = assert!(CHUNK_BYTES as u64 / LIMIT_MIN < SILENCE_TIMEOUT_MIN.as_secs());

/// For how long a sender that overslept may make up. A busy machine lets a thread sleep for tenths of a
/// second; over ten seconds nobody sees more than 2.5 % above the rate.
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
    assert!(NAME_BYTES_MAX < WIRE_NAME_BYTES_MAX);
    assert!(WIRE_NAME_BYTES_MAX + TEXT_BYTES_MAX + 64 <= MESSAGE_BYTES_MAX);
    assert!(
        WIRE_PATH_BYTES_MAX + LINK_TARGET_BYTES_MAX + ATTRIBUTES_BYTES_MAX + 4 * ATTRIBUTES_MAX + 128
            <= MESSAGE_BYTES_MAX
    );
    // Any offer can be made where nothing else is open, and one for which there was no room has it when there
    // is some again.
    assert!(OFFER_BYTES_BASE + MESSAGE_BYTES_MAX <= OFFERS_BYTES_MIN);
    assert!(OFFERS_BYTES_MIN <= OFFERS_BYTES_MAX && OFFERS_BYTES_MAX <= u32::MAX as usize);
    assert!(TEXT_BYTES_MAX + 64 <= GREETING_BYTES_MAX && GREETING_BYTES_MAX <= MESSAGE_BYTES_MAX);
    assert!(2 * COMPARED_AT_ONCE_FIRST <= COMPARED_AT_ONCE_MAX);
    assert!(
        2 * IN_ORDER_STEP_CHUNKS <= IN_ORDER_WINDOW_CHUNKS
            && CONNECTIONS_MAX as u64 <= IN_ORDER_WINDOW_CHUNKS
    );
    assert!(2 * STREAM_CONFIRM_CHUNKS <= STREAM_WINDOW_CHUNKS as u64);
    assert!(CONNECTIONS_FIRST <= CONNECTIONS_MOST && CONNECTIONS_MOST <= CONNECTIONS_MAX);
    assert!(LARGE_FILES_IN_FLIGHT_MAX <= FILES_IN_FLIGHT_MAX);
    // Offsets of the last chunk must not wrap, and `off_t` is signed.
    assert!(FILE_BYTES_MAX < i64::MAX as u64 - CHUNK_BYTES as u64);
    // A shortened part name (`.`, `~`, digest, `.v2-`, owner, `.100.lanx-part`) must leave most of the name
    // readable.
    assert!(PART_HASH_HEX_DIGITS + PART_OWNER_BYTES * 8 / 5 + 32 < NAME_BYTES_MAX / 2);
    assert!(PART_OWNER_BYTES.is_multiple_of(5) && PART_OWNER_BYTES <= 16);
    assert!(PART_HASH_HEX_DIGITS.is_multiple_of(2) && PART_HASH_HEX_DIGITS <= 64);
    // A double ending (`.tar.` and a type) and ` (10000)` must leave room for a stem.
    assert!(2 * EXTENSION_BYTES_MAX + 16 < NAME_BYTES_MAX / 2);
    assert!(SHOWN_NAME_BYTES_MAX <= NAME_BYTES_MAX);
    assert!(CHUNK_BYTES.is_multiple_of(HOLE_BLOCK_BYTES) && FILES_IN_FLIGHT_MAX < FOLDERS_MADE_MAX);
    assert!(BEAT_INTERVAL.as_millis() * 2 < SILENCE_TIMEOUT_MIN.as_millis());
    assert!(SILENCE_TIMEOUT_MIN.as_millis() <= SILENCE_TIMEOUT.as_millis());
    assert!(RETRY_PAUSE_FIRST.as_millis() < RETRY_PAUSE_MAX.as_millis());
    assert!((CONNECTIONS_MAX as u32) < CONNECTION_NUMBERS_MAX);
};

// What the program is told, and what it says to a person or a script.

/// Columns of the help and of the texts that it shows: what every terminal has, and what is easy to read.
pub const HELP_COLUMNS: usize = 80;

/// Bytes of the configuration file. All options take less than 2 KiB; the rest is for comments and long lists
/// of what to exclude.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// How alike two words have to be (Jaro, of 1) for one to be meant by the other: misspelt options of lanx
/// have 0.82 and more, other words ('nonsense' and 'connections') less than 0.78.
pub const ALIKE_MIN: f64 = 0.8;

/// Refused connections that the user is told of in each [`REFUSALS_WINDOW`]; of the others only how many, at
/// its end.
pub const REFUSALS_SHOWN_MAX: u32 = 3;

/// See [`REFUSALS_SHOWN_MAX`].
pub const REFUSALS_WINDOW: Duration = Duration::from_secs(10);

/// Texts that are told once for all receivers, such as why a file cannot be read; further ones are told for
/// each.
pub const TOLD_ONCE_MAX: usize = 4096;

/// What is said and not read yet, in bytes, for each of standard output and standard error: the events or
/// lines of some 100,000 files, and little beside what a transfer takes.
pub const UNREAD_BYTES_MAX: usize = 16 << 20;

/// How much of what waits goes out in one write, in bytes, where it is more than one text: what a pipe holds.
pub const OUTPUT_WRITE_BYTES: usize = 64 << 10;

/// How long what is said is gathered after something was written: nobody sees it, and a hundred writes a
/// second wake nobody too often.
pub const OUTPUT_PAUSE: Duration = Duration::from_millis(10);

// What may be done with the files that a process may have open (`ulimit -n`), where those are few.

// Finding receivers on the network.

/// Receivers that are kept of those that answer: more than anybody picks from, and less than 1 MiB of what
/// strangers say.
pub const FOUND_MAX: usize = 256;

/// Addresses of one receiver that are kept: each is tried when it is sent to.
pub const FOUND_ADDRESSES_MAX: usize = 16;

/// Records that may be held of what is said on a network, as many as Avahi keeps: some thousand machines, and
/// with what a packet holds at most less than 40 MiB.
pub const HEARD_MAX: i64 = 4096;

/// How often what is held is counted. A receiver that only waits wakes up for it, and a flood has so long.
pub const HEARD_LOOK: Duration = Duration::from_millis(500);

/// How long a receiver is not announced after too much was heard; it doubles up to [`OVERGROWN_PAUSE_MAX`],
/// so that a flood that lasts costs next to nothing, and is forgotten when an announcement has stood for that
/// long.
pub const OVERGROWN_PAUSE_FIRST: Duration = Duration::from_secs(1);

/// See [`OVERGROWN_PAUSE_FIRST`].
pub const OVERGROWN_PAUSE_MAX: Duration = Duration::from_secs(64);

/// How long `lanx list` looks, and at least: a receiver that was just asked is silent for a second (RFC 6762,
/// section 6), after which it is asked again.
pub const LIST_FOR: Duration = Duration::from_secs(2);

/// How long a HOST that the resolver does not know is looked for among receivers.
pub const FIND_FOR: Duration = Duration::from_secs(3);
const _: () = assert!(LIST_FOR.as_millis() <= FIND_FOR.as_millis());

/// Lines that are shown to a person who is to pick one: each receiver, and a few changes.
pub const MENU_LINES_MAX: usize = 4 * FOUND_MAX;

/// After how long without a receiver a person who is to pick one is told what to do.
pub const PICK_HINT_AFTER: Duration = FIND_FOR;

/// How long the end of an announcement may take: it is a packet for each interface.
pub const WITHDRAW_PATIENCE: Duration = Duration::from_millis(500);

// What `lanx doctor` measures with.

/// Numbers of data connections that are measured, one after another.
pub const PROBE_CONNECTIONS: [u8; 4] = [1, 2, 4, 8];

/// Bytes of probes in one session: more than 100 Gbit/s carry in the time of all phases.
pub const PROBE_BYTES_MAX: u64 = 128 << 30;

/// For how long a program that is asked to measures its hashing, and its sealing.
pub const KERNEL_TIME: Duration = Duration::from_millis(150);

/// The same at a receiver, whose other sessions wait for the core.
pub const KERNEL_TIME_BRIEF: Duration = Duration::from_millis(4);

/// The longest file that a disk is tried with: enough for the caches of most disks to matter little, and soon
/// written.
pub const DISK_TRIAL_BYTES_MAX: u64 = 512 << 20;

/// Of the free space a trial takes one part in so many at most.
pub const DISK_TRIAL_SHARE: u64 = 10;

/// What a trial writes before it counts, and then before it first waits for the disk. Each later piece is as
/// long as all before it.
pub const DISK_TRIAL_PIECE_BYTES: u64 = 4 << 20;

/// After so long no further piece is begun.
pub const DISK_TRIAL_TIME: Duration = Duration::from_millis(1500);

// How long things may take, and how often they happen.

/// How long one address may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after one address the next of the same name is tried beside it (RFC 8305, section 5: 250 ms).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);

pub const LOSSY_SEGMENTS_MIN: u64 = 10_000;

/// How long a receiver may take to say anything over UDP. Nothing says that a port is closed, or that
/// somebody drops what is sent.
pub const UDP_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer may take to say who it is.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often each side says something on the control connection, be it only that it lives.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes of a segment where larger packets are lost: with the headers of IPv6 and TCP less than the 1280
/// bytes that every way must carry (RFC 8200, section 5), with room for those of a tunnel.
pub const SMALL_SEGMENT_BYTES: u32 = 1200;
const _: () = assert!(SMALL_SEGMENT_BYTES + 60 <= 1280);

/// Timeouts of TCP in a row after which a handshake counts as one that loses large packets: about a second on
/// a local network, longer where the way is.
pub const LOST_TIMEOUTS_HANDSHAKE: u32 = 2;

/// How long a receiver may think about a handshake: it is a matter of milliseconds, and of tenths of a second
/// on a busy machine. What is tried then costs it one more handshake.
pub const LOST_SILENCE: Duration = Duration::from_secs(3);
const _: () = assert!(2 * LOST_SILENCE.as_millis() < HANDSHAKE_TIMEOUT.as_millis());

/// Timeouts of TCP in a row after which a connection of a session has come to a stop: 200 ms that double are
/// 3 s by then, longer than [`HEARD_LATELY`].
pub const LOST_TIMEOUTS_SESSION: u32 = 4;
const _: () = assert!((200 << LOST_TIMEOUTS_SESSION) - 200 >= HEARD_LATELY.as_millis());

/// Whoever was heard on the control connection so short a time ago can be reached: each side speaks there
/// every [`BEAT_INTERVAL`].
pub const HEARD_LATELY: Duration = Duration::from_millis(2500);
const _: () = assert!(HEARD_LATELY.as_millis() > BEAT_INTERVAL.as_millis());

/// After how much silence a peer counts as lost, where the user does not say.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest that a user may say: a peer speaks every [`BEAT_INTERVAL`].
pub const SILENCE_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// For how long a lost receiver is looked for again, where the user does not say.
pub const RETRY_FOR: Duration = Duration::from_secs(60);

/// Pause before the first try after a loss; it doubles up to [`RETRY_PAUSE_MAX`], and a random part of it is
/// left out, so that many senders do not come back in the same moment.
pub const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// See [`RETRY_PAUSE_FIRST`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a receiver that is ready waits for the others, so that they begin together. No longer than
/// between two beats, as nothing is said meanwhile.
pub const BEGIN_TOGETHER: Duration = BEAT_INTERVAL;

/// For how long a rate is measured: longer than the buffers of sockets take to fill, short enough for a
/// transfer of seconds.
pub const CLIMB_MEASURE: Duration = Duration::from_millis(400);

/// Pause after a try that brought nothing; it doubles up to [`CLIMB_PAUSE_MAX`].
pub const CLIMB_PAUSE_FIRST: Duration = Duration::from_secs(4);

/// See [`CLIMB_PAUSE_FIRST`].
pub const CLIMB_PAUSE_MAX: Duration = Duration::from_secs(60);

/// And by how much longer: the time in which confirmations come, and a new connection.
pub const STRAGGLER_PATIENCE: Duration = Duration::from_millis(300);

/// From this time on a transfer's summary says what it was waiting for.
pub const LIMIT_TOLD_AFTER: Duration = Duration::from_millis(500);

/// How often the receiver reports what it has written.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// From when on a program that was interrupted says that it has not ended yet, and how to end it at once.
pub const STOPPING_TOLD_AFTER: Duration = Duration::from_millis(500);

/// How long Ctrl-Z, and a signal that ends the program on the spot, wait for a terminal that takes nothing.
pub const SCREEN_PATIENCE: Duration = Duration::from_millis(200);

/// How often `--json` tells the progress of a session: what a script can act on, and a line each is cheap to
/// keep.
pub const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How long reading the settings again may take.
pub const SETTINGS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a side may take to say goodbye before it is left.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long transfers under way may take to end after a SIGTERM, where the user does not say: most end within
/// it, and nobody who stops a machine likes to wait longer.
pub const GRACE: Duration = Duration::from_secs(30);

/// How often a service manager is told how many transfers there are, if that has changed: for a person who
/// looks.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How often a session looks whether somebody has read what it had to tell: nobody is waiting for it but its
/// own next file.
pub const OBSERVER_LOOK: Duration = Duration::from_millis(20);

/// How long, at the end of the program, whoever should read what it says may read none of it. A script that
/// only waits for the end must not wait for ever.
pub const READER_PATIENCE: Duration = Duration::from_secs(10);

// Trust: keys, peers, codes and guesses.

/// Largest certificate that is looked at. A self-signed Ed25519 certificate takes about 300 bytes; the rest
/// is room for one made by other tools.
pub const CERTIFICATE_MAX_BYTES: usize = 4 * 1024;

/// Largest identity file: one private key (about 120 bytes as PEM) and one certificate, base64 taking 4/3.
pub const IDENTITY_FILE_MAX_BYTES: usize = 16 * 1024;
const _: () = assert!(IDENTITY_FILE_MAX_BYTES > CERTIFICATE_MAX_BYTES / 3 * 4 + 1024);

/// Most senders that are remembered as allowed. A household or a lab has tens.
pub const PEERS_MAX: usize = 1024;

/// Most receivers whose key is pinned.
pub const KNOWN_HOSTS_MAX: usize = 1024;

/// Of these, receivers on this machine itself. Scripts meet them at ever new ports, and a list of hundreds of
/// those took longer to read than a small file takes to send.
pub const KNOWN_HERE_MAX: usize = 64;

/// Longest name of a peer. A host name label has at most 63 characters (RFC 1035, section 2.3.4).
pub const PEER_NAME_MAX_CHARS: usize = 64;

/// Longest address of a host: a DNS name of 253 characters, or an IPv6 address with brackets and a zone,
/// then `:65535`.
pub const HOST_ADDRESS_MAX_BYTES: usize = 264;

/// Most bytes that one entry takes in `peers.toml`: a name of 4-byte characters, an address, a fingerprint of
/// 50 characters, and the keys.
pub const PEERS_ENTRY_MAX_BYTES: usize = 2048;
const _: () = assert!(
    4 * PEER_NAME_MAX_CHARS + HOST_ADDRESS_MAX_BYTES + 2 * RIGHTS_INTO_MAX_BYTES + 50 + 512
        <= PEERS_ENTRY_MAX_BYTES
);

/// Bytes of the folder that all goes to that one sender sends.
pub const RIGHTS_INTO_MAX_BYTES: usize = 255;

/// Largest `peers.toml`. Everything that may be remembered must also be readable again.
pub const PEERS_FILE_MAX_BYTES: usize = 16 * 1024 * 1024;
const _: () = assert!((PEERS_MAX + KNOWN_HOSTS_MAX + 1) * PEERS_ENTRY_MAX_BYTES <= PEERS_FILE_MAX_BYTES);

/// How long a change to `peers.toml` waits for another process that is changing it. A change takes
/// milliseconds; a process that was stopped while holding the lock must not hang every other one.
pub const PEERS_LOCK_WAIT_MILLIS: u64 = 10_000;

/// How often the lock is tried meanwhile. flock(2) has no timeout of its own.
pub const PEERS_LOCK_RETRY_MILLIS: u64 = 5;
const _: () = assert!(PEERS_LOCK_RETRY_MILLIS * 100 <= PEERS_LOCK_WAIT_MILLIS);

/// Characters in one group of a generated code: what a person keeps in mind while typing.
pub const CODE_GROUP_CHARS: usize = 3;

/// Characters in a generated code, 5 bits each.
pub const CODE_CHARS: usize = 9;
const _: () = assert!(CODE_CHARS.is_multiple_of(CODE_GROUP_CHARS));
const _: () = assert!(CODE_CHARS * 5 >= 40, "three guesses must have a chance below 1 in 10^11");

/// Shortest code that a user may choose.
pub const CODE_TEXT_MIN_CHARS: usize = 8;
const _: () = assert!(CODE_TEXT_MIN_CHARS <= CODE_CHARS);

/// Longest code that a user may choose: a long passphrase, not a file taken by mistake.
pub const CODE_TEXT_MAX_BYTES: usize = 256;

/// Most that is read of a code file to find its first line.
pub const CODE_FILE_MAX_BYTES: usize = 4 * 1024;
const _: () = assert!(CODE_FILE_MAX_BYTES > CODE_TEXT_MAX_BYTES);

/// Attempts that have been handed out and not yet decided. An attempt lives for two messages; more at once
/// than this is a flood, and each costs two curve multiplications.
pub const GUESSES_IN_FLIGHT_MAX: usize = 16;

/// Of these, how many may come from one address, so that one machine alone cannot take all of them.
pub const GUESSES_IN_FLIGHT_PER_ADDRESS_MAX: usize = 4;
const _: () = assert!(GUESSES_IN_FLIGHT_PER_ADDRESS_MAX < GUESSES_IN_FLIGHT_MAX);

/// Longest pause of everybody: 288 guesses a day at a fixed code, however many addresses the guesser has.
pub const GUESS_EVERYBODY_PAUSE_MAX_SECONDS: u64 = 300;

/// Quiet time after which wrong guesses are forgotten. Longer than every pause, or waiting out a pause would
/// always begin anew.
pub const GUESS_FORGET_SECONDS: u64 = 3600;
const _: () = assert!(GUESS_FORGET_SECONDS > GUESS_EVERYBODY_PAUSE_MAX_SECONDS);

/// Most frames sealed with one key, far below the 2^64 nonces that the counter has.
pub const SEALED_FRAMES_PER_KEY_MAX: u64 = 1 << 32;

/// Most cipher blocks of 16 bytes sealed with one key: 256 TiB. With s blocks an attacker tells AES-GCM from
/// random with an advantage of at most s^2 / 2^129 (draft-irtf-cfrg-aead-limits), here 2^-41.
pub const SEALED_BLOCKS_PER_KEY_MAX: u64 = 1 << 44;
const _: () = assert!(2 * SEALED_BLOCKS_PER_KEY_MAX.ilog2() + 40 <= 129);

/// Bytes of the folder that a sender may name beneath that of the receiver. It stands in hello and welcome,
/// beside all else that these say.
pub const INTO_BYTES_MAX: usize = 1024;
const _: () = assert!(INTO_BYTES_MAX <= GREETING_BYTES_MAX / 2);
