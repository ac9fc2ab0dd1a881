//! Who is let in, what they may do, and what nobody on the way can read or change.

#[cfg(target_os = "linux")]
mod destination;
mod identity;
mod impostors;
#[cfg(target_os = "linux")]
mod oracles;
mod pairing;
mod prompts;
mod rights;
mod sealed;
#[cfg(target_os = "linux")]
mod swapped;
