//! Where what is set stands, and what can be wrong with it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::name::{Escaped, Sentence};
use crate::trust::dir::{ConfigDirError, FileError};

/// Reads a variable of the environment: `std::env::var_os` outside of tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What is wrong with what is set. Every message says where it stands.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The folder of the file cannot be trusted.
    #[error(transparent)]
    Folder(#[from] ConfigDirError),
    /// The file cannot be read, or could be changed by others.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be understood.
    #[error("{place}: {}", Sentence(what.as_bytes()))]
    Wrong {
        /// The line or the variable.
        place: Origin,
        /// What was expected and what came, and what to do.
        what: String,
    },
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment(String),
    /// A line of the file.
    File { path: PathBuf, line: usize },
    /// Nobody said anything else.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::File { path, line } => write!(f, "{}:{line}", Escaped::path(path)),
            Origin::Default => f.write_str("default"),
        }
    }
}
