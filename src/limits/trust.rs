//! Trust: keys, peers, codes and guesses.

/// Largest certificate that is looked at. A self-signed Ed25519 certificate takes about 300 bytes; the rest is
/// room for one made by other tools.
pub const CERTIFICATE_MAX_BYTES: usize = 4 * 1024;

/// Largest identity file: one private key (about 120 bytes as PEM) and one certificate, base64 taking 4/3.
pub const IDENTITY_FILE_MAX_BYTES: usize = 16 * 1024;
const _: () = assert!(IDENTITY_FILE_MAX_BYTES > CERTIFICATE_MAX_BYTES / 3 * 4 + 1024);

/// Most senders that are remembered as allowed. A household or a lab has tens.
pub const PEERS_MAX: usize = 1024;

/// Most receivers whose key is pinned.
pub const KNOWN_HOSTS_MAX: usize = 1024;

/// Of these, receivers on this machine itself. Scripts meet them at ever new ports, and a list of hundreds of those took longer to
/// read than a small file takes to send.
pub const KNOWN_HERE_MAX: usize = 64;

/// Longest name of a peer. A host name label has at most 63 characters (RFC 1035, section 2.3.4).
pub const PEER_NAME_MAX_CHARS: usize = 64;

/// Longest address of a host: a DNS name of 253 characters, or an IPv6 address with brackets and a zone,
/// then `:65535`.
pub const HOST_ADDRESS_MAX_BYTES: usize = 264;

/// Most bytes that one entry takes in `peers.toml`: a name of 4-byte characters, an address, a fingerprint of
/// 50 characters, and the keys.
pub const PEERS_ENTRY_MAX_BYTES: usize = 1024;
const _: () = assert!(4 * PEER_NAME_MAX_CHARS + HOST_ADDRESS_MAX_BYTES + 50 + 256 <= PEERS_ENTRY_MAX_BYTES);

/// Largest `peers.toml`. Everything that may be remembered must also be readable again.
pub const PEERS_FILE_MAX_BYTES: usize = 4 * 1024 * 1024;
const _: () = assert!((PEERS_MAX + KNOWN_HOSTS_MAX + 1) * PEERS_ENTRY_MAX_BYTES <= PEERS_FILE_MAX_BYTES);

/// How long a change to `peers.toml` waits for another process that is changing it. A change takes
/// milliseconds; a process that was stopped while holding the lock must not hang every other one.
pub const PEERS_LOCK_WAIT_MILLIS: u64 = 10_000;

/// How often the lock is tried meanwhile. flock(2) has no timeout of its own.
pub const PEERS_LOCK_RETRY_MILLIS: u64 = 5;
const _: () = assert!(PEERS_LOCK_RETRY_MILLIS * 100 <= PEERS_LOCK_WAIT_MILLIS);

/// Shortest beginning of a fingerprint that stands for all of it in a command: 36 bits, so that nobody removes
/// the wrong peer by a typing error.
pub const FINGERPRINT_PREFIX_MIN_CHARS: usize = 6;

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

/// Wrong guesses after which a generated code is replaced, and after which a fixed one makes everybody wait.
/// Three, as people mistype twice.
pub const GUESSES_PER_CODE: u32 = 3;

/// Addresses whose wrong guesses are remembered. About 100 KiB; the oldest makes room.
pub const GUESSERS_MAX: usize = 1024;

/// Attempts that have been handed out and not yet decided. An attempt lives for two messages; more at once
/// than this is a flood, and each costs two curve multiplications.
pub const GUESSES_IN_FLIGHT_MAX: usize = 16;

/// Of these, how many may come from one address, so that one machine alone cannot take all of them.
pub const GUESSES_IN_FLIGHT_PER_ADDRESS_MAX: usize = 4;
const _: () = assert!(GUESSES_IN_FLIGHT_PER_ADDRESS_MAX < GUESSES_IN_FLIGHT_MAX);

/// First pause after a wrong guess; it doubles with each further one. Shorter than typing the code again.
pub const GUESS_PAUSE_FIRST_SECONDS: u64 = 1;

/// Longest pause of one address.
pub const GUESS_ADDRESS_PAUSE_MAX_SECONDS: u64 = 64;

/// Longest pause of everybody: 288 guesses a day at a fixed code, however many addresses the guesser has.
pub const GUESS_EVERYBODY_PAUSE_MAX_SECONDS: u64 = 300;
const _: () = assert!(GUESS_ADDRESS_PAUSE_MAX_SECONDS <= GUESS_EVERYBODY_PAUSE_MAX_SECONDS);

/// Quiet time after which wrong guesses are forgotten. Longer than every pause, or waiting out a pause would
/// always begin anew.
pub const GUESS_FORGET_SECONDS: u64 = 3600;
const _: () = assert!(GUESS_FORGET_SECONDS > GUESS_EVERYBODY_PAUSE_MAX_SECONDS);

/// What to wait when all attempts are taken.
pub const GUESS_BUSY_SECONDS: u64 = 1;

/// Most frames sealed with one key, far below the 2^64 nonces that the counter has.
pub const SEALED_FRAMES_PER_KEY_MAX: u64 = 1 << 32;

/// Most cipher blocks of 16 bytes sealed with one key: 256 TiB. With s blocks an attacker tells AES-GCM from
/// random with an advantage of at most s^2 / 2^129 (draft-irtf-cfrg-aead-limits), here 2^-41.
pub const SEALED_BLOCKS_PER_KEY_MAX: u64 = 1 << 44;
const _: () = assert!(2 * SEALED_BLOCKS_PER_KEY_MAX.ilog2() + 40 <= 129);
