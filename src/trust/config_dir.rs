//! Where identity and peers live.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder of this user's lanx: `$LANX_CONFIG_DIR`, else `$XDG_CONFIG_HOME/lanx`, else `$HOME/.config/lanx`
/// (XDG Base Directory Specification 0.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDir(PathBuf);

/// Why there is no usable folder.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDirError {
    /// No variable says where.
    #[error(
        "neither LANX_CONFIG_DIR, XDG_CONFIG_HOME nor HOME is set; set LANX_CONFIG_DIR to a folder of your own"
    )]
    Nowhere,
    /// The folder cannot be made or looked at.
    #[error("cannot {doing} the configuration folder {}: {source}; change its owner or permissions, or set LANX_CONFIG_DIR to a folder of your own", path.display())]
    Io {
        /// `create` or `look at`.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something else stands there.
    #[error("{} is not a folder; move it away or set LANX_CONFIG_DIR to a folder of your own", .0.display())]
    NotAFolder(PathBuf),
    /// Others could replace the files in it.
    #[error("the configuration folder {path} can be changed by other users (mode {mode:03o}), who could then let themselves in; run: chmod go-w '{path}'", path = path.display())]
    WritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the configuration folder {} belongs to user {owner}, but lanx runs as user {me}; run it as that user, or set LANX_CONFIG_DIR to a folder of your own", path.display())]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// The numeric user that owns it.
        owner: u32,
        /// The numeric user that asked.
        me: u32,
    },
}

impl ConfigDir {
    /// Finds the folder from environment variables, which `lookup` reads (`std::env::var_os` outside of tests),
    /// and makes it with mode 0700 if it is missing.
    ///
    /// # Errors
    /// No variable names a folder, it cannot be made, or others than its user may write to it.
    pub fn open(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigDirError> {
        Self::at(&locate(lookup)?)
    }

    /// The path of a file in the folder, which is looked at in the same way; `None` if no such file is there. Nothing is made.
    ///
    /// # Errors
    /// Others than its user may write to the folder.
    pub fn file(
        lookup: impl Fn(&str) -> Option<OsString>,
        name: &str,
    ) -> Result<Option<PathBuf>, ConfigDirError> {
        let Ok(folder) = locate(lookup) else { return Ok(None) };
        let path = folder.join(name);
        // Any other error is told by whoever opens it.
        match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            _ => Self::at(&folder).map(|_| Some(path)),
        }
    }

    /// The folder if it is there, looked at in the same way. Nothing is made.
    ///
    /// # Errors
    /// Others than its user may write to it.
    pub fn existing(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, ConfigDirError> {
        let Ok(folder) = locate(lookup) else { return Ok(None) };
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            _ => Self::at(&folder).map(Some),
        }
    }

    /// Where a file of the folder would be, whether it is there or not; `None` where no variable says.
    pub fn place(lookup: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
        locate(lookup).ok().map(|folder| folder.join(name))
    }

    /// The same for a folder that is already known.
    ///
    /// # Errors
    /// It cannot be made, or others than its user may write to it.
    pub fn at(path: &Path) -> Result<Self, ConfigDirError> {
        let failed = |doing| move |source| ConfigDirError::Io { doing, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
        let metadata = fs::metadata(path).map_err(failed("look at"))?;
        if !metadata.is_dir() {
            return Err(ConfigDirError::NotAFolder(path.to_owned()));
        }
        judge(path, metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw())?;
        Ok(Self(path.to_owned()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Whoever may write to the folder can put another identity or another list of peers into it.
fn judge(path: &Path, mode: u32, owner: u32, me: u32) -> Result<(), ConfigDirError> {
    if owner != me {
        return Err(ConfigDirError::ForeignOwner { path: path.to_owned(), owner, me });
    }
    if mode & 0o022 != 0 {
        return Err(ConfigDirError::WritableByOthers { path: path.to_owned(), mode: mode & 0o777 });
    }
    Ok(())
}

/// An empty variable counts as unset, and a relative XDG_CONFIG_HOME is ignored, as the XDG specification asks.
fn locate(lookup: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ConfigDirError> {
    let variable = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("LANX_CONFIG_DIR") {
        return Ok(folder);
    }
    if let Some(base) = variable("XDG_CONFIG_HOME").filter(|base| base.is_absolute()) {
        return Ok(base.join("lanx"));
    }
    variable("HOME").map(|home| home.join(".config").join("lanx")).ok_or(ConfigDirError::Nowhere)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn located(variables: &[(&str, &str)]) -> Result<PathBuf, ConfigDirError> {
        locate(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn own_variable_comes_before_xdg_and_xdg_before_home() {
        let all = [("LANX_CONFIG_DIR", "/l"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(located(&all).unwrap(), Path::new("/l"));
        assert_eq!(located(&all[1..]).unwrap(), Path::new("/x/lanx"));
        assert_eq!(located(&all[2..]).unwrap(), Path::new("/h/.config/lanx"));
    }

    #[test]
    fn empty_variables_and_a_relative_xdg_count_as_unset() {
        let variables = [("LANX_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "here"), ("HOME", "/h")];
        assert_eq!(located(&variables).unwrap(), Path::new("/h/.config/lanx"));
        let variables = [("XDG_CONFIG_HOME", ""), ("HOME", "/h")];
        assert_eq!(located(&variables).unwrap(), Path::new("/h/.config/lanx"));
    }

    #[test]
    fn without_any_variable_the_error_names_the_one_to_set() {
        let error = located(&[("HOME", "")]).unwrap_err();
        assert!(error.to_string().contains("LANX_CONFIG_DIR"), "{error}");
    }

    #[test]
    fn a_new_folder_is_for_its_user_alone() {
        let base = tempfile::tempdir().unwrap();
        let wanted = base.path().join("a/lanx");
        let folder = ConfigDir::at(&wanted).unwrap();
        assert_eq!(folder.path(), wanted);
        assert_eq!(fs::metadata(&wanted).unwrap().mode() & 0o777, 0o700);
        assert!(ConfigDir::at(&wanted).is_ok(), "the second start failed");
    }

    #[test]
    fn a_folder_that_is_only_looked_for_is_not_made() {
        let base = tempfile::tempdir().unwrap();
        let wanted = base.path().join("a/lanx");
        let existing = || ConfigDir::existing(|_| Some(wanted.clone().into_os_string()));
        assert_eq!(existing().unwrap(), None);
        assert!(!base.path().join("a").exists());
        let made = ConfigDir::at(&wanted).unwrap();
        assert_eq!(existing().unwrap(), Some(made));
        fs::set_permissions(&wanted, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(existing().is_err());
        assert_eq!(ConfigDir::existing(|_| None).unwrap(), None);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused_with_the_remedy() {
        let base = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o777] {
            fs::set_permissions(base.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = ConfigDir::at(base.path()).unwrap_err();
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ConfigDir::at(base.path()).is_ok());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let error = judge(Path::new("/x"), 0o700, 1000, 0).unwrap_err();
        assert!(matches!(error, ConfigDirError::ForeignOwner { owner: 1000, me: 0, .. }));
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("lanx");
        fs::write(&file, "").unwrap();
        assert!(ConfigDir::at(&file).is_err());
    }
}
