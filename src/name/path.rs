//! Where a file goes beneath the destination.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::component::{BadName, Name, checked, fault, shown};
use super::shown::Escaped;
use crate::limits::PATH_BYTES_MAX;

/// One or more [`Name`]s, the last of which is the file and those before it the folders on the way.
/// [`Display`](fmt::Display) is escaped, with `/` between the names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath {
    /// The names with a `/` between them, which no name holds.
    bytes: Box<[u8]>,
}

impl RelativePath {
    /// Takes a path that came over the wire.
    ///
    /// # Errors
    /// [`BadName`] when it is longer than [`PATH_BYTES_MAX`] or one of its components is no [`Name`]. An empty component,
    /// as in a path that begins or ends with `/`, is none.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BadName> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(BadName::too_long_a_path(bytes));
        }
        for component in bytes.split(|&byte| byte == b'/') {
            if let Some(fault) = fault(component) {
                let within = (component != bytes).then(|| shown(bytes));
                return Err(BadName { fault, shown: shown(component), within });
            }
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// The path of what this machine calls `name` in the folder at this path.
    ///
    /// # Errors
    /// [`BadName`] where that is no [`Name`], or the path would be longer than [`PATH_BYTES_MAX`].
    pub fn join(&self, name: &OsStr) -> Result<Self, BadName> {
        let name = checked(name.as_bytes())?;
        let bytes = [&self.bytes[..], b"/", name].concat();
        if bytes.len() > PATH_BYTES_MAX {
            return Err(BadName::too_long_a_path(&bytes));
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// The path of `path` in the folder at this one.
    ///
    /// # Errors
    /// [`BadName`] where it would be longer than [`PATH_BYTES_MAX`].
    pub fn join_path(&self, path: &RelativePath) -> Result<Self, BadName> {
        Self::from_wire(&[&self.bytes[..], b"/", &path.bytes].concat())
    }

    /// As it travels.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The names, from the outermost folder to the file.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'/')
    }

    /// The last of the names.
    #[must_use]
    pub fn name(&self) -> Name {
        let last = self.bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        Name(last.into())
    }

    /// The folder that it is in; `None` where that is the destination itself.
    #[must_use]
    pub fn parent(&self) -> Option<RelativePath> {
        let at = self.bytes.iter().rposition(|&byte| byte == b'/')?;
        Some(Self { bytes: self.bytes.get(..at)?.into() })
    }

    /// The same folder and another last name.
    #[must_use]
    pub fn with_name(&self, name: &Name) -> RelativePath {
        let folder = self.bytes.len() - self.bytes.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len);
        let bytes = [self.bytes.get(..folder).unwrap_or_default(), name.as_bytes()].concat();
        Self { bytes: bytes.into() }
    }
}

impl From<Name> for RelativePath {
    fn from(name: Name) -> Self {
        Self { bytes: name.0 }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.bytes).fmt(f)
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelativePath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NameFault;

    fn path(bytes: &[u8]) -> RelativePath {
        RelativePath::from_wire(bytes).unwrap()
    }

    #[test]
    fn keeps_every_byte_and_finds_its_names() {
        let long = path(b"a/\xff\n b/.c");
        assert_eq!(long.as_bytes(), b"a/\xff\n b/.c");
        assert_eq!(long.names().collect::<Vec<_>>(), [&b"a"[..], b"\xff\n b", b".c"]);
        assert_eq!(long.name().as_bytes(), b".c");
        assert_eq!(long.parent(), Some(path(b"a/\xff\n b")));
        assert_eq!(path(b"a").parent(), None);
        assert_eq!(path(b"a").join(OsStr::new("b")), Ok(path(b"a/b")));
        assert_eq!(long.to_string(), "a/\\xff\\n b/.c");
        let other = Name::from_wire(b"new").unwrap();
        assert_eq!(
            (long.with_name(&other), path(b"a").with_name(&other)),
            (path(b"a/\xff\n b/new"), path(b"new"))
        );
    }

    #[test]
    fn refuses_whatever_could_lead_elsewhere() {
        for (bytes, fault) in [
            (&b""[..], NameFault::Empty),
            (b"/etc", NameFault::Empty),
            (b"a//b", NameFault::Empty),
            (b"a/", NameFault::Empty),
            (b"a/../b", NameFault::Dots),
            (b"..", NameFault::Dots),
            (b"a/.", NameFault::Dots),
            (b"a\0/b", NameFault::Nul),
            (b"a/.b.lanx-part", NameFault::PartFile),
            (b".b.lanx-part/a", NameFault::PartFile),
        ] {
            assert_eq!(RelativePath::from_wire(bytes).map_err(|e| e.fault()), Err(fault), "{bytes:?}");
        }
        let long = [b"a/".repeat(40), vec![b'b'; 256]].concat();
        assert_eq!(
            RelativePath::from_wire(&long).map_err(|e| e.fault()),
            Err(NameFault::TooLong { bytes: 256 })
        );
    }

    #[test]
    fn is_no_longer_than_any_system_takes() {
        let mut bytes = b"abc/".repeat(PATH_BYTES_MAX / 4);
        bytes.extend_from_slice(b"abc");
        assert_eq!(bytes.len(), PATH_BYTES_MAX);
        assert!(RelativePath::from_wire(&bytes).is_ok());
        assert!(path(&bytes).join(OsStr::new("x")).is_err());
        bytes.extend_from_slice(b"/x");
        let error = RelativePath::from_wire(&bytes).unwrap_err();
        assert_eq!(error.fault(), NameFault::PathTooLong { bytes: PATH_BYTES_MAX + 2 });
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn says_where_a_bad_name_stands() {
        let error = RelativePath::from_wire(b"a/../b").unwrap_err();
        assert!(
            error.to_string().starts_with("the file name \"..\" in \"a/../b\" is no name of a file"),
            "{error}"
        );
    }
}
