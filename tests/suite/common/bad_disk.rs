//! A receiver whose disk fails.
//!
//! Errors are made by a seccomp filter, which a thread of the test puts on itself before it starts the receiver: the
//! kernel then answers chosen system calls with an error. That needs no root, and works on any file system.

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{Receiver, Scene};

// Numbers of x86_64 and of the architectures that share the generic table (asm-generic/unistd.h).
#[cfg(target_arch = "x86_64")]
pub mod call {
    pub const PWRITE64: i64 = 18;
    pub const FLOCK: i64 = 73;
    pub const FSYNC: i64 = 74;
    pub const FDATASYNC: i64 = 75;
    pub const SYNCFS: i64 = 306;
    pub const PREAD64: i64 = 17;
    pub const FALLOCATE: i64 = 285;
    pub const LINKAT: i64 = 265;
    pub const UTIMENSAT: i64 = 280;
    pub const RENAMEAT2: i64 = 316;
}
#[cfg(not(target_arch = "x86_64"))]
pub mod call {
    pub const PWRITE64: i64 = 68;
    pub const FLOCK: i64 = 32;
    pub const FSYNC: i64 = 82;
    pub const FDATASYNC: i64 = 83;
    pub const SYNCFS: i64 = 267;
    pub const PREAD64: i64 = 67;
    pub const FALLOCATE: i64 = 47;
    pub const LINKAT: i64 = 37;
    pub const UTIMENSAT: i64 = 88;
    pub const RENAMEAT2: i64 = 276;
}

/// The call says that it went well, and does nothing.
pub const NOTHING_DONE: u32 = 0;
pub const EPERM: u32 = 1;
pub const EIO: u32 = 5;
pub const ENOSPC: u32 = 28;
pub const EOPNOTSUPP: u32 = 95;

/// A system call, and the file offset (the fourth argument of pread and pwrite) at which it fails; anywhere, where there
/// is none.
pub type Failing = (i64, Option<u64>);

fn filter(failing: &[Failing], errno: u32) -> BpfProgram {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, offset) in failing {
        let at =
            |offset| SeccompCondition::new(3, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, offset).unwrap();
        let rule = offset.map(|offset| SeccompRule::new(vec![at(offset)]).unwrap());
        rules.insert(*call, rule.into_iter().collect());
    }
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch)
        .and_then(TryInto::try_into)
        .unwrap()
}

/// A receiver for which these system calls fail.
pub fn receiver_on_a_bad_disk(scene: &Scene, flags: &[&str], failing: &[Failing], errno: u32) -> Receiver {
    // The identity is synced as well when it is made, and is not what this is about.
    super::peer::identity(&scene.path("config"));
    on_a_bad_disk(failing, errno, || Receiver::start(scene, "127.0.0.1:0", flags, &scene.dst))
}

/// What is started here, these system calls fail for.
pub fn on_a_bad_disk<T: Send>(failing: &[Failing], errno: u32, start: impl FnOnce() -> T + Send) -> T {
    let program = filter(failing, errno);
    thread::scope(|scope| {
        let start = scope.spawn(|| {
            // Of this thread and of what it starts.
            seccompiler::apply_filter(&program).unwrap();
            start()
        });
        start.join().unwrap()
    })
}
