//! A list of what is sent of a folder: paths relative to it, a line or a NUL byte behind each. It is read as
//! the walk goes on, so that it may be of any length.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::error::SourceError;

/// Where a list is, and how it is read.
#[derive(Clone, Debug)]
pub struct List {
    /// `-` is the standard input, which can be read once.
    pub path: PathBuf,
    /// A NUL byte ends each path, instead of a line end.
    pub ends_in_nul: bool,
    /// A folder in the list goes with all that is in it.
    pub recursive: bool,
}

/// The longest path that a system opens is 4,096 bytes (PATH_MAX of linux/limits.h); what is longer is no
/// list of paths.
const LISTED_BYTES_MAX: usize = 64 * 1024;

impl List {
    fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Whether what was read of it is gone: it is the standard input, or a pipe, as a shell makes of
    /// `<(COMMAND)`.
    pub fn is_read_once(&self) -> bool {
        self.is_stdin() || self.path.metadata().is_ok_and(|metadata| !metadata.is_file())
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// [`SourceError::Io`] where it cannot be opened.
    pub fn open(&self) -> Result<Listed, SourceError> {
        let from: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            let failed = |source| SourceError::Io { path: self.path.clone(), doing: "open", source };
            Box::new(File::open(&self.path).map_err(failed)?)
        };
        Ok(Listed { from: BufReader::new(from), list: self.clone(), entries: 0, last: None, ended: false })
    }
}

/// A list that is being read.
pub struct Listed {
    from: BufReader<Box<dyn Read + Send>>,
    list: List,
    /// How many were read.
    entries: u64,
    last: Option<PathBuf>,
    ended: bool,
}

impl Listed {
    /// The next path, of names and nothing else; `None` at the end of the list, and behind an error of
    /// reading it.
    pub fn next(&mut self) -> Option<Result<PathBuf, SourceError>> {
        while !self.ended {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            // Comments are what rsync takes for such: with NUL bytes between the paths there are none.
            let is_comment = !self.list.ends_in_nul && matches!(line.first(), Some(b'#' | b';'));
            if line.is_empty() || is_comment {
                continue;
            }
            let Some(path) = beneath(&line) else {
                return Some(Err(self.wrong("leads out of the folder; give paths that stay in it")));
            };
            // The folder itself always comes, and what is named twice in a row comes once.
            if path.as_os_str().is_empty() || self.last.as_ref() == Some(&path) {
                continue;
            }
            self.last = Some(path.clone());
            return Some(Ok(path));
        }
        None
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let end = if self.list.ends_in_nul { 0 } else { b'\n' };
        let mut line = Vec::new();
        let most = LISTED_BYTES_MAX as u64 + 1;
        let failed = |source| SourceError::Io { path: self.list.path.clone(), doing: "read", source };
        self.from.by_ref().take(most).read_until(end, &mut line).map_err(failed)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.entries += 1;
        if line.last() == Some(&end) {
            line.pop();
        } else if line.len() > LISTED_BYTES_MAX {
            return Err(self.wrong(match self.list.ends_in_nul {
                true => "is longer than any path; leave out --from0 where a line end stands behind each",
                false => "is longer than any path; give --from0 where a NUL byte stands behind each",
            }));
        }
        Ok(Some(line))
    }

    fn wrong(&self, fault: &'static str) -> SourceError {
        SourceError::Listed { path: self.list.path.clone(), entry: self.entries, fault }
    }
}

/// The names of a path, as rsync reads them: a `/` in front means nothing. `None` where it climbs.
fn beneath(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut path = PathBuf::new();
    for part in Path::new(std::ffi::OsStr::from_bytes(line)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(content: &[u8], ends_in_nul: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, content).unwrap();
        let mut listed = List { path: path.clone(), ends_in_nul, recursive: false }.open().unwrap();
        let mut seen = Vec::new();
        while let Some(next) = listed.next() {
            seen.push(match next {
                Ok(path) => path.display().to_string(),
                Err(error) => error.to_string().replace(path.to_str().unwrap(), "LIST"),
            });
        }
        seen
    }

    #[test]
    fn paths_are_read_as_rsync_reads_them() {
        let lines = b"a\n./b//c/\n/d\n\n# no path\n; nor this\n./#e\nf\nf\n.\nlast";
        assert_eq!(read(lines, false), ["a", "b/c", "d", "#e", "f", "last"]);
        assert_eq!(read(b"a\nb\0#c\0\0;d", true), ["a\nb", "#c", ";d"]);
        assert!(read(b"", false).is_empty());
    }

    #[test]
    fn what_climbs_is_told_and_the_rest_comes() {
        let climbs = "LIST: entry 2 leads out of the folder; give paths that stay in it";
        assert_eq!(read(b"a\nb/../../c\nd", false), ["a", climbs, "d"]);
    }

    #[test]
    fn a_list_with_another_separator_is_told_and_not_held_in_memory() {
        let long = vec![b'x'; 3 * LISTED_BYTES_MAX];
        let told = read(&[b"a\n", &long[..]].concat(), false);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("LIST: entry 2 is longer than any path; give --from0"), "{}", told[1]);
    }
}
