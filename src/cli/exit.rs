//! Exit codes.

use std::process::ExitCode;

use crate::session::End;

/// What the program ends with. The help shows the same list.
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

/// The list for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    every file verified and in place
  1    anything else
  2    wrong command line
  3    the other machine could not be reached, or was lost
  4    not let in: not paired, a wrong code, or a changed key
  5    some files were refused, skipped or failed
  6    verification failed: what arrived is not what was sent
  7    the receiver could not store (space, permission, I/O)
  130  interrupted";

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

    /// The one that tells most, of what several receivers ended with: first that the user ended it, then what somebody has
    /// to do something about, last what may be over with the next try.
    pub fn gravest(exits: impl Iterator<Item = Exit>) -> Exit {
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
        let rank = |exit: &Exit| FROM_GRAVEST.iter().position(|other| other == exit);
        exits.min_by_key(rank).unwrap_or(Exit::Success)
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
            End::PeerLeft(_) | End::Lost(_) | End::Silent(_) => Some(Exit::Unreachable),
            End::Forged(_) => Some(Exit::Verification),
            End::Misbehaved(_) | End::Exhausted(_) => Some(Exit::Other),
            End::Stopped => Some(Exit::Interrupted),
        }
    }
}
