//! What the server shows in TLS: a certificate of its own, which is kept beside the identity, or the user's.
//!
//! Its key is on P-256 and not an Ed25519 one, as no browser takes those. A link names the key by its
//! SHA-256, so that `lanx get` needs nobody to vouch for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use crate::name::Escaped;
use crate::trust::crypto::provider;
use crate::trust::dir;
use crate::trust::dir::{ConfigDir, Draft, FileError, Guard};
use crate::trust::identity::push_pem;

/// The file in the configuration folder: private key and certificate as PEM.
pub const FILE_NAME: &str = "web.pem";

/// Bytes of that file and of those that the user names: a chain of certificates is a few KiB.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} has no certificate and private key that belong together ({why}); give others, or move the file away",
        Escaped::path(path)
    )]
    Damaged { path: PathBuf, why: String },
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub enum Files {
    /// Both in one of our own.
    Own(PathBuf),
    /// The user's.
    Given { certificates: PathBuf, key: PathBuf },
}

/// The certificate in use.
pub struct Certificate {
    files: Files,
    current: RwLock<Arc<CertifiedKey>>,
}

/// The SHA-256 of the SubjectPublicKeyInfo: what RFC 7469 pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Of the key in a certificate.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Pin, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let mut pin = [0; 32];
        pin.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
        Ok(Pin(pin))
    }

    /// As it stands in a link.
    #[must_use]
    pub fn in_link(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// As `curl --pinnedpubkey` takes it.
    #[must_use]
    pub fn for_curl(&self) -> String {
        format!("sha256//{}", STANDARD.encode(self.0))
    }
}

impl Certificate {
    /// Reads our own in `folder`, or makes one for a machine of this name.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn own(folder: &ConfigDir, host: &str) -> Result<Certificate, CertificateError> {
        let path = folder.path().join(FILE_NAME);
        match Certificate::read(Files::Own(path.clone())) {
            Err(CertificateError::File(error)) if error.is_not_found() => {
                Draft::write(&path, generate(host)?.as_bytes())?.publish_if_absent(&path)?;
                Certificate::read(Files::Own(path))
            }
            read => read,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// As [`Certificate::own`].
    pub fn read(files: Files) -> Result<Certificate, CertificateError> {
        let current = RwLock::new(files.read()?);
        Ok(Certificate { files, current })
    }

    /// Reads it again, for the connections that come from now on.
    ///
    /// # Errors
    /// As [`Certificate::own`]; the one before stays in use then.
    pub fn reload(&self) -> Result<(), CertificateError> {
        *self.current.write() = self.files.read()?;
        Ok(())
    }

    /// What a link pins; nothing of the user's certificate, which an authority vouches for.
    ///
    /// # Errors
    /// It is damaged.
    pub fn pin(&self) -> Result<Option<Pin>, CertificateError> {
        match (&self.files, self.current.read().cert.first()) {
            (Files::Own(_), Some(certificate)) => Ok(Some(Pin::of(certificate)?)),
            _ => Ok(None),
        }
    }
}

/// How TLS is spoken with this certificate: 1.3 alone, and HTTP/1.1 inside.
///
/// # Errors
/// rustls does not take it.
pub fn tls(certificate: Arc<Certificate>) -> Result<ServerConfig, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl Files {
    fn read(&self) -> Result<Arc<CertifiedKey>, CertificateError> {
        let (certificates, key) = match self {
            Files::Own(path) => (path, path),
            Files::Given { certificates, key } => (certificates, key),
        };
        let damaged = |path: &Path, why: String| CertificateError::Damaged { path: path.to_owned(), why };
        let secret = dir::read(key, Guard::Secret, FILE_BYTES_MAX)?;
        // A certificate is no secret; who may change it decides what is shown.
        let guard = if certificates == key { Guard::Secret } else { Guard::Trusted };
        let shown = dir::read(certificates, guard, FILE_BYTES_MAX)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&shown).collect();
        let chain = chain.map_err(|error| damaged(certificates, error.to_string()))?;
        let key_der =
            PrivateKeyDer::from_pem_slice(&secret).map_err(|error| damaged(key, error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key_der, &provider())
            .map_err(|error| damaged(certificates, error.to_string()))?;
        Ok(Arc::new(certified))
    }
}

fn generate(host: &str) -> Result<Zeroizing<String>, rcgen::Error> {
    let mut key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let short = host.split('.').next().unwrap_or_default();
    let mut names = vec!["localhost".to_owned(), host.to_owned(), format!("{short}.local")];
    // A name that X.509 cannot have is of no use in it.
    names.retain(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    });
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "lanx serve");
    let certificate = params.self_signed(&key);
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    push_pem(&mut text, "PRIVATE KEY", key.serialized_der());
    key.zeroize();
    push_pem(&mut text, "CERTIFICATE", certificate?.der());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn our_own_is_made_once_and_hidden_from_others() {
        let room = tempfile::tempdir().unwrap();
        let folder = ConfigDir::at(&room.path().join("config")).unwrap();
        let first = Certificate::own(&folder, "näs.lan").unwrap();
        let second = Certificate::own(&folder, "other").unwrap();
        assert_eq!(first.pin().unwrap(), second.pin().unwrap());
        let path = folder.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.pin().unwrap().unwrap().in_link().len(), 43);
        assert!(tls(Arc::new(first)).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Certificate::own(&folder, "x").unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_one_is_told_with_its_path_and_the_one_before_stays() {
        let room = tempfile::tempdir().unwrap();
        let folder = ConfigDir::at(&room.path().join("config")).unwrap();
        let certificate = Certificate::own(&folder, "nas").unwrap();
        let before = certificate.pin().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "no PEM").unwrap();
        let error = certificate.reload().unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(certificate.pin().unwrap(), before);
    }
}
