//! Exit codes.

use std::process::ExitCode;

use crate::session::End;

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    Other = 1,
    Usage = 2,
    Unreachable = 3,
    NotLetIn = 4,
    SomeFailed = 5,
    Verification = 6,
    Storage = 7,
    Interrupted = 130,
}

/// First that the user ended it, then what somebody has to do something about, last what may be over with the
/// next try.
const FROM_GRAVEST: [Exit; 9] = [
    Exit::Interrupted,
    Exit::Verification,
    Exit::Storage,
    Exit::NotLetIn,
    Exit::Usage,
    Exit::Unreachable,
    Exit::Other,
    Exit::SomeFailed,
    Exit::Success,
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Exit {
    /// As a number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether what ended with it may go through later by itself: the other machine is back, or what changes
    /// data on the way is gone.
    pub fn is_retryable(self) -> bool {
        matches!(self, Exit::Unreachable | Exit::Verification | Exit::Interrupted)
    }

    /// The one that tells most, of what several receivers ended with.
    pub fn gravest(exits: impl Iterator<Item = Exit>) -> Exit {
        let rank = |exit: &Exit| FROM_GRAVEST.iter().position(|other| other == exit);
        exits.min_by_key(rank).unwrap_or(Exit::Success)
    }

    /// All of them, by their numbers.
    pub fn all() -> [Exit; FROM_GRAVEST.len()] {
        let mut all = FROM_GRAVEST;
        all.sort_by_key(|exit| exit.code());
        all
    }

    /// All but the success, the gravest first.
    pub fn failures() -> impl Iterator<Item = Exit> {
        FROM_GRAVEST.into_iter().filter(|exit| *exit != Exit::Success)
    }

    /// What it means, for the help. docs/reference.md has the same words.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "every file verified and in place",
            Exit::Other => "anything else",
            Exit::Usage => "wrong command line or configuration",
            Exit::Unreachable => "the other machine could not be reached, or was lost",
            Exit::NotLetIn => "not let in: not paired, a wrong code, or a changed key",
            Exit::SomeFailed => "some files were refused, skipped or failed",
            Exit::Verification => "verification failed: what arrived is not what was sent",
            Exit::Storage => "the receiver could not store (space, permission, I/O)",
            Exit::Interrupted => "interrupted",
        }
    }

    /// What to do next, where nothing better is known than this code.
    pub fn hint(self) -> &'static str {
        match self {
            Exit::Success => "nothing is left to do",
            Exit::Other => "run the same command with -v to see more",
            Exit::Usage => "`lanx send --help` and `lanx recv --help` tell what can be given",
            Exit::Unreachable => "check that `lanx recv` runs there and run the same command again to go on",
            Exit::NotLetIn => "pair the two machines; the README tells how, also for scripts",
            Exit::SomeFailed => "look at the reason of each file",
            Exit::Verification => "run the same command again, and find out what changes data on the way",
            Exit::Storage => "check the destination's space and permissions, then run the same command again",
            Exit::Interrupted => "run the same command again to go on",
        }
    }

    /// For a session that did not come to its end; `None` for one that did.
    pub fn of_broken(end: &End) -> Option<Exit> {
        match end {
            End::Complete => None,
            End::PeerLeft(_) | End::Away | End::Lost(_) | End::Silent(_) => Some(Exit::Unreachable),
            End::Forged(_) => Some(Exit::Verification),
            End::Misplaced(_) => Some(Exit::Storage),
            End::Revoked => Some(Exit::NotLetIn),
            End::Misbehaved(_) | End::Exhausted(_) => Some(Exit::Other),
            End::Stopped => Some(Exit::Interrupted),
        }
    }
}
