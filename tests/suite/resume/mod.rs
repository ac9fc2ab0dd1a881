//! Kills, cuts and disks that fail: what arrived counts, and nothing half gets a name.

#[cfg(target_os = "linux")]
mod disk;
mod faults;
mod fencing;
#[cfg(target_os = "linux")]
mod full_disk;
mod held_clock;
mod kill_rounds;
mod outlives;
#[cfg(target_os = "linux")]
mod soak;
mod unfinished;
