//! The key of this user on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::crypto::provider;
use super::dir;
use super::dir::{ConfigDir, Draft, FileError, Guard};
use super::fingerprint::{Fingerprint, FingerprintError};
use crate::limits;

/// The file in the configuration folder: the private key and its certificate, both as PEM (RFC 7468). One
/// file, so that the two always belong together and copying it to another machine copies the identity.
pub const FILE_NAME: &str = "identity.pem";

/// The name in the certificate. Nobody reads it; X.509 wants one.
const CERTIFICATE_NAME: &str = "lanx";

/// Characters of base64 in a line of PEM (RFC 7468, section 2).
const PEM_LINE_CHARS: usize = 64;

/// An Ed25519 key with a self-signed certificate.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written, or others can.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what lanx wrote.
    #[error("the identity in {} is damaged: {what}; restore the file from a copy, or move it away and pair again with a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        what: Damage,
    },
    /// No key could be made.
    #[error("cannot make an Ed25519 key and certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// What is wrong inside an identity file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// No private key.
    #[error("expected a PRIVATE KEY block ({0})")]
    Key(rustls::pki_types::pem::Error),
    /// No certificate.
    #[error("expected a CERTIFICATE block ({0})")]
    Certificate(rustls::pki_types::pem::Error),
    /// The certificate is not one of lanx.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// The key cannot be used, or is not the one in the certificate.
    #[error("expected the key that belongs to the certificate ({0})")]
    Mismatch(rustls::Error),
}

impl Identity {
    /// Reads the identity in `folder`, or makes one on first use.
    ///
    /// Any number of processes may do so at the same moment: a new identity gets its final name only if there
    /// is none, and whoever comes late reads the winner's.
    ///
    /// # Errors
    /// The file cannot be read or written, others can read it, it is a link or not this user's, or it is
    /// damaged. A damaged identity is never replaced silently: everybody who paired with it would have to again.
    pub fn load_or_create(folder: &ConfigDir) -> Result<Self, IdentityError> {
        if let Some(identity) = Self::load_if_there(folder)? {
            return Ok(identity);
        }
        let path = folder.path().join(FILE_NAME);
        Draft::write(&path, generate()?.as_bytes())?.publish_if_absent(&path)?;
        Self::load(&path)
    }

    /// Reads the identity in `folder`; `None` if there is none yet.
    ///
    /// # Errors
    /// Those of [`Identity::load_or_create`], but for writing.
    pub fn load_if_there(folder: &ConfigDir) -> Result<Option<Self>, IdentityError> {
        match Self::load(&folder.path().join(FILE_NAME)) {
            Err(IdentityError::File(error)) if error.is_not_found() => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    /// The name of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What rustls presents and signs with.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    fn load(path: &Path) -> Result<Self, IdentityError> {
        let pem = dir::read(path, Guard::Secret, limits::IDENTITY_FILE_MAX_BYTES)?;
        Self::from_pem(&pem).map_err(|what| IdentityError::Damaged { path: path.to_owned(), what })
    }

    fn from_pem(pem: &[u8]) -> Result<Self, Damage> {
        let certificate = CertificateDer::from_pem_slice(pem).map_err(Damage::Certificate)?;
        let fingerprint = Fingerprint::of_certificate(&certificate)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(Damage::Key)?;
        // rustls copies the key into aws-lc, which clears its own; these bytes would stay in freed memory.
        let mut key = PrivateKeyDer::Pkcs8(key);
        let certified = CertifiedKey::from_der(vec![certificate], key.clone_key(), &provider());
        key.zeroize();
        Ok(Self { certified: Arc::new(certified.map_err(Damage::Mismatch)?), fingerprint })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.fingerprint)
    }
}

/// A new key and its certificate, as the file holds them.
fn generate() -> Result<Zeroizing<String>, rcgen::Error> {
    let mut key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate = rcgen::CertificateParams::new(vec![CERTIFICATE_NAME.to_owned()])
        .and_then(|params| params.self_signed(&key));
    let mut text = Zeroizing::new(String::with_capacity(limits::IDENTITY_FILE_MAX_BYTES));
    push_pem(&mut text, "PRIVATE KEY", key.serialized_der());
    key.zeroize();
    push_pem(&mut text, "CERTIFICATE", certificate?.der());
    Ok(text)
}

/// Appends a PEM block. Written here because general PEM writers leave copies of the key in freed memory.
pub(crate) fn push_pem(text: &mut String, label: &str, der: &[u8]) {
    let body = Zeroizing::new(STANDARD.encode(der));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % PEM_LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::{Command, Stdio};
    use std::sync::Barrier;

    use super::*;

    /// An identity that no file holds.
    pub(crate) fn fresh() -> Identity {
        Identity::from_pem(generate().unwrap().as_bytes()).unwrap()
    }

    fn folder() -> (tempfile::TempDir, ConfigDir) {
        let base = tempfile::tempdir().unwrap();
        let folder = ConfigDir::at(&base.path().join("lanx")).unwrap();
        (base, folder)
    }

    #[test]
    fn the_first_start_makes_a_private_file_and_the_second_reads_it() {
        let (_base, folder) = folder();
        assert!(Identity::load_if_there(&folder).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "made by a look");
        let first = Identity::load_or_create(&folder).unwrap();
        let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Identity::load_or_create(&folder).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_ne!(first.fingerprint(), fresh().fingerprint());
    }

    const CHILD_FOLDER: &str = "LANX_TEST_IDENTITY_FOLDER";

    /// What a child process of the next test runs; it does nothing on its own.
    #[test]
    #[allow(clippy::print_stdout, reason = "its parent reads it")]
    fn child_process_prints_its_fingerprint() {
        if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
            let folder = ConfigDir::at(Path::new(&folder)).unwrap();
            println!("={}=", Identity::load_or_create(&folder).unwrap().fingerprint());
        }
    }

    #[test]
    fn threads_and_processes_starting_at_once_agree_on_one_identity() {
        let (_base, folder) = folder();
        let children: Vec<_> = (0..4)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--nocapture", "child_process_prints_its_fingerprint"])
                    .env(CHILD_FOLDER, folder.path())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let barrier = Barrier::new(16);
        let start = || {
            barrier.wait();
            Identity::load_or_create(&folder).unwrap().fingerprint().to_string()
        };
        let mut seen: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for child in children {
            let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
            seen.push(output.split('=').nth(1).unwrap().to_owned());
        }
        assert_eq!(seen.len(), 20);
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "drafts were left behind");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let (_base, folder) = folder();
        Identity::load_or_create(&folder).unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load_or_create(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod 600 '{}'", path.display())), "{error}");
    }

    #[test]
    fn a_link_is_refused_even_when_it_leads_to_a_good_key() {
        let (_base, folder) = folder();
        Identity::load_or_create(&folder).unwrap();
        let path = folder.path().join(FILE_NAME);
        let moved = folder.path().join("moved.pem");
        fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        let error = Identity::load_or_create(&folder).unwrap_err();
        assert!(matches!(error, IdentityError::File(FileError::Link(_))), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error_with_its_path_and_is_left_as_it_is() {
        let (_base, folder) = folder();
        Identity::load_or_create(&folder).unwrap();
        let path = folder.path().join(FILE_NAME);
        let good = fs::read_to_string(&path).unwrap();
        let foreign = generate().unwrap();
        let own_key = &good[..good.find("-----BEGIN CERT").unwrap()];
        let foreign_certificate = &foreign[foreign.find("-----BEGIN CERT").unwrap()..];
        let mixed = format!("{own_key}{foreign_certificate}");
        for bad in ["", own_key, foreign_certificate, &mixed, &good[..good.len() / 2], "\0\u{ff}"] {
            fs::write(&path, bad).unwrap();
            let error = Identity::load_or_create(&folder).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn debug_shows_the_fingerprint_and_nothing_of_the_key() {
        let identity = fresh();
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.fingerprint()));
    }
}
