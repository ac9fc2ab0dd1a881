//! What is told of a whole dataset: `send --report` writes what became of each entry, `lanx manifest` makes
//! one list of folders and reports, and `lanx verify` reads a copy and holds it against that list.

pub mod manifest;
mod record;
pub mod report;
mod side_by_side;
mod sort;
pub mod verify;

use std::io::Write;
use std::path::Path;

use anyhow::anyhow;
use tempfile::NamedTempFile;

use super::error::Failure;
use super::exit::Exit;
use crate::name::Escaped;
use crate::os::said::Said;

/// A file that gets its name when all of it is written.
pub struct Draft {
    file: std::io::BufWriter<NamedTempFile>,
    path: std::path::PathBuf,
}

impl Draft {
    /// Begins the file that is to have this path.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn new(path: &Path) -> Result<Draft, Failure> {
        use std::os::unix::fs::PermissionsExt;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // As the umask wants it.
        let mode = std::fs::Permissions::from_mode(0o666);
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix(".lanx-").permissions(mode).tempfile_in(folder.unwrap_or(Path::new(".")));
        let file = file.map_err(|error| not_written(path, &error))?;
        Ok(Draft { file: std::io::BufWriter::new(file), path: path.into() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| not_written(&self.path, &error))
    }

    /// Gives it its name, in the place of what had it.
    ///
    /// # Errors
    /// Not all of it could be written, or it cannot have the name.
    pub fn publish(self) -> Result<(), Failure> {
        let path = self.path;
        let failed = |error: &std::io::Error| not_written(&path, error);
        let file = self.file.into_inner().map_err(|error| failed(error.error()))?;
        file.as_file().sync_all().map_err(|error| failed(&error))?;
        file.persist(&path).map_err(|error| failed(&error.error)).map(drop)
    }
}

fn not_written(path: &Path, error: &std::io::Error) -> Failure {
    let path = Escaped::path(path);
    Failure::new(Exit::Other, anyhow!("cannot write {path}: {}; choose another place for it", Said(error)))
}
