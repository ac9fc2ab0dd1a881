//! `lanx recv --clean`.

use std::path::Path;
use std::time::SystemTime;

use anyhow::anyhow;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::out;
use crate::name::Escaped;
use crate::store::{Existing, Removal, Sink};
use crate::units;

/// Lists the part files in `dir` and the folders beneath, and removes those that no transfer uses.
pub fn clean(dir: &Path) -> Result<Exit, Failure> {
    let failed = |error| Failure::new(Exit::Storage, error);
    // A folder that is not there has no part files, and must not be made for the answer.
    if let Err(error) = std::fs::metadata(dir) {
        return Err(Failure::new(Exit::Other, anyhow!("{}: {error}", Escaped::path(dir))));
    }
    let sink = Sink::open(dir, Existing::Refuse).map_err(failed)?;
    let now = SystemTime::now();
    let (mut removed, mut bytes, mut exit) = (0, 0, Exit::Success);
    let found = sink.part_files().map_err(failed)?;
    for error in found.unread {
        out::error(&error);
        exit = Exit::Storage;
    }
    for part in found.parts {
        let age = now.duration_since(part.modified).unwrap_or_default();
        let (path, size, age) = (Escaped::path(&part.path), units::bytes(part.bytes), units::duration(age));
        match sink.remove_part(&part) {
            Ok(Removal::Removed) => {
                removed += 1;
                bytes += part.bytes;
                out::line(format_args!("removed {path}: {size}, last written {age} ago"));
            }
            Ok(Removal::InUse) => out::line(format_args!("left {path}: {size}, a transfer is using it")),
            Ok(Removal::Gone) => {}
            Err(error) => {
                out::error(&error);
                exit = Exit::Storage;
            }
        }
    }
    out::line(format_args!("{} removed, {} freed", units::count(removed, "part file"), units::bytes(bytes)));
    Ok(exit)
}
