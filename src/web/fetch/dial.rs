//! A connection to a server, by way of a proxy where the environment names one, with TLS where the address
//! says so.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, InvalidMessage,
    PeerIncompatible, RootCertStore, SignatureScheme,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::origin;
use crate::net::tcp::tune;
use crate::os::background::aside;
use crate::os::said::Said;
use crate::trust::crypto::provider;
use crate::web::certificate::Pin;

/// How long an address may take to answer, and a handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a proxy's answer to CONNECT.
const PROXY_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes that are read ahead of whoever takes them, and of the head of an answer.
const READ_AHEAD_BYTES: usize = 256 * 1024;

/// Fields of the head of an answer.
const FIELDS_MAX: usize = 128;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot find {host}: {}; check the name", Said(source))]
    Unknown { host: String, source: io::Error },
    #[error(
        "cannot reach {host}: {}; check that a server listens there, and what a firewall in between says",
        Said(source)
    )]
    Unreachable { host: String, source: io::Error },
    #[error(
        "{host} is not the server that was meant: {source}; check the link and where it comes from (of `lanx serve` it is the whole \
         link, with #sha256=)"
    )]
    NotTrusted { host: String, source: io::Error },
    #[error("{host} speaks no https there; begin the address with http://, or find out who answers")]
    Plain { host: String },
    #[error(
        "lost {host}: what it answers there is no HTTP; where it speaks https, begin the address with https:// (of `lanx serve` it is \
         the whole link, with #sha256=)"
    )]
    NoHttp { host: String },
    #[error("the proxy {proxy} does not connect to {host} ({what}); see https_proxy and no_proxy")]
    Proxy { proxy: String, host: String, what: String },
    #[error("lost {host}: {what}")]
    Lost { host: String, what: String },
    #[error("cannot set up TLS: {0}; see which certificates this system has")]
    Setup(String),
}

impl DialError {
    /// Whether the next try may do better.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, DialError::Unreachable { .. } | DialError::Lost { .. } | DialError::Unknown { .. })
    }
}

/// How to connect.
pub struct Dialer {
    tls: Arc<ClientConfig>,
    proxies: Matcher,
    silence: Duration,
}

/// A connection that takes one request after another.
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Scheme, host and port that it is for.
    to: (String, String, u16),
    /// Speaks HTTP; ended with the connection.
    driver: JoinHandle<()>,
    host: String,
    /// Where requests go to a proxy in clear, with what that wants to know.
    proxy: Option<Option<HeaderValue>>,
    silence: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialer {
    /// With the system's authorities, or with one key alone.
    ///
    /// # Errors
    /// [`DialError::Setup`].
    pub fn new(pin: Option<Pin>, silence: Duration) -> Result<Dialer, DialError> {
        let setup = |error: TlsError| DialError::Setup(error.to_string());
        // A pinned server is a lanx. Not all others know X25519.
        let provider = if pin.is_some() { provider() } else { Arc::new(aws_lc_rs::default_provider()) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?;
        let mut tls = match pin {
            Some(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned(pin)))
                .with_no_client_auth(),
            None => {
                let mut roots = RootCertStore::empty();
                // What is damaged is left out; with none at all every certificate is refused, and that is
                // told then.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Dialer { tls: Arc::new(tls), proxies: Matcher::from_env(), silence })
    }

    /// Connects to the server of an address.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn connect(&self, uri: &Uri) -> Result<Connection, DialError> {
        let host = uri.host().unwrap_or_default().to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let intercept = self.proxies.intercept(uri);
        let stream = match &intercept {
            None => self.reach(&host, port).await?,
            Some(proxy) => self.reach_by(proxy, &host, port, is_https).await?,
        };
        let lost = |error: hyper::Error| DialError::Lost { host: host.clone(), what: with_cause(&error) };
        let (sender, driver) = if is_https {
            let stream = self.secure(stream, &host).await?;
            start(stream).await.map_err(lost)?
        } else {
            start(stream).await.map_err(lost)?
        };
        let proxy = intercept.filter(|_| !is_https).map(|proxy| proxy.basic_auth().cloned());
        Ok(Connection { sender, to: origin(uri), driver, host, proxy, silence: self.silence })
    }

    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addrs = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => {
                let name = bare.to_owned();
                let found =
                    aside(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
                let found = found.await.and_then(|found| found);
                found.map_err(|source| DialError::Unknown { host: host.to_owned(), source })?
            }
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addrs {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
                Ok(Ok(stream)) => {
                    let tuned = tune::data(&SockRef::from(&stream), addr, self.silence);
                    tuned.map_err(|source| DialError::Unreachable { host: host.to_owned(), source })?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(DialError::Unreachable { host: host.to_owned(), source: last })
    }

    async fn reach_by(
        &self,
        proxy: &Intercept,
        host: &str,
        port: u16,
        tunnel: bool,
    ) -> Result<TcpStream, DialError> {
        let at = proxy.uri();
        let (name, proxy_port) = (at.host().unwrap_or_default(), at.port_u16().unwrap_or(80));
        let refused = |what: String| DialError::Proxy { proxy: name.to_owned(), host: host.to_owned(), what };
        if at.scheme_str() != Some("http") {
            return Err(refused("only proxies with http:// are known".into()));
        }
        let mut stream = self.reach(name, proxy_port).await?;
        if tunnel {
            let auth = proxy.basic_auth().and_then(|value| value.to_str().ok());
            let auth = auth.map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
            let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{auth}\r\n");
            let opened = timeout(CONNECT_TIMEOUT, open_tunnel(&mut stream, &request)).await;
            opened
                .map_err(|_| refused("it said nothing".into()))?
                .map_err(|error| refused(error.to_string()))?;
        }
        Ok(stream)
    }

    async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let not_trusted = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData if is_no_tls(&source) => DialError::Plain { host: host.to_owned() },
            io::ErrorKind::InvalidData => DialError::NotTrusted { host: host.to_owned(), source },
            _ => DialError::Unreachable { host: host.to_owned(), source },
        };
        let name = ServerName::try_from(bare).map_err(|error| not_trusted(io::Error::other(error)))?;
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, stream);
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(not_trusted),
            Err(_) => Err(not_trusted(io::ErrorKind::TimedOut.into())),
        }
    }
}

async fn open_tunnel(stream: &mut TcpStream, request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what comes behind the head is the server's.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    answer.parse(&head).map_err(io::Error::other)?;
    match answer.code {
        Some(200..=299) => Ok(()),
        code => Err(io::Error::other(format!("it answers {}", code.unwrap_or_default()))),
    }
}

async fn start<S>(stream: S) -> hyper::Result<(SendRequest<Empty<Bytes>>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_AHEAD_BYTES)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended: {error}");
        }
    });
    Ok((sender, driver))
}

impl Connection {
    /// Whether requests for this address may go over it.
    #[must_use]
    pub fn is_to(&self, uri: &Uri) -> bool {
        origin(uri) == self.to && !self.sender.is_closed()
    }

    /// Asks for `uri` with these fields, and waits for the head of the answer.
    ///
    /// # Errors
    /// [`DialError::Lost`].
    pub async fn get(&mut self, uri: &Uri, fields: &HeaderMap) -> Result<Response<Incoming>, DialError> {
        let lost = |what: String| DialError::Lost { host: self.host.clone(), what };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let target = match &self.proxy {
            Some(_) => uri.clone(),
            None => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                path.parse().map_err(|_| lost("the address is none".into()))?
            }
        };
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        *headers = fields.clone();
        if let Ok(value) = HeaderValue::from_str(authority) {
            headers.insert(hyper::header::HOST, value);
        }
        headers.insert(hyper::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.entry(hyper::header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if let Some(Some(auth)) = &self.proxy {
            headers.insert(HeaderName::from_static("proxy-authorization"), auth.clone());
        }
        self.sender.ready().await.map_err(|error| lost(with_cause(&error)))?;
        match timeout(self.silence, self.sender.send_request(request)).await {
            Ok(Err(error)) if is_no_http(&error) => Err(DialError::NoHttp { host: self.host.clone() }),
            Ok(answer) => answer.map_err(|error| lost(with_cause(&error))),
            Err(_) => Err(lost(format!("it said nothing for {} s", self.silence.as_secs()))),
        }
    }
}

/// Whether what answered is no TLS at all, as of a server that speaks plain HTTP.
fn is_no_tls(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<TlsError>());
    matches!(cause, Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// Whether what answered begins with no version of HTTP, as TLS and other protocols do.
fn is_no_http(error: &hyper::Error) -> bool {
    error.is_parse() && error.to_string().contains("version")
}

/// What hyper says, which tells the cause apart.
pub fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

/// Takes the one key that a link names, whatever name, issuer or date stands around it.
#[derive(Debug)]
struct Pinned(Pin);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match Pin::of(certificate)? == self.0 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
