//! A web server that does what it should not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::PATIENCE;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Asked {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The bytes that are asked for; `None` for all.
    pub fn range(&self) -> Option<Range<u64>> {
        let (first, last) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<u64>().ok()? + 1)
    }
}

/// What is answered, as bytes; the connection is closed behind it.
pub type Reply = Vec<u8>;

/// Answers until it is dropped.
pub struct Mischief {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a connection is carried over.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Mischief {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Mischief {
        Mischief::start_at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same where another one was, so that it has the same address.
    pub fn start_at(addr: SocketAddr, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Mischief {
        // Who has enough hangs up.
        Mischief::listen(addr, None, move |asked, wire| drop(wire.write_all(&answer(asked))))
    }

    /// One that has each connection for itself, once the request is there.
    pub fn carrying(carry: impl Fn(&Asked, &mut dyn Wire) + Send + Sync + 'static) -> Mischief {
        Mischief::carrying_at("127.0.0.1:0".parse().unwrap(), carry)
    }

    pub fn carrying_at(
        addr: SocketAddr,
        carry: impl Fn(&Asked, &mut dyn Wire) + Send + Sync + 'static,
    ) -> Mischief {
        Mischief::listen(addr, None, carry)
    }

    /// One that speaks TLS.
    pub fn secure(
        tls: rustls::ServerConfig,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Mischief {
        let addr = "127.0.0.1:0".parse().unwrap();
        Mischief::listen(addr, Some(Arc::new(tls)), move |asked, wire| drop(wire.write_all(&answer(asked))))
    }

    fn listen(
        addr: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        carry: impl Fn(&Asked, &mut dyn Wire) + Send + Sync + 'static,
    ) -> Mischief {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, over) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (carry, all, end) = (Arc::new(carry), asked.clone(), over.clone());
        let accept = move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (mut stream, carry, all, tls) =
                    (stream.unwrap(), carry.clone(), all.clone(), tls.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let serve = |wire: &mut dyn Wire| {
                        let Some(mut one) = read(wire) else { return };
                        {
                            let mut all = all.lock().unwrap();
                            one.number = all.len();
                            all.push(one.clone());
                        }
                        carry(&one, wire);
                    };
                    let Some(tls) = tls else { return serve(&mut stream) };
                    let mut session = rustls::ServerConnection::new(tls).unwrap();
                    serve(&mut rustls::Stream::new(&mut session, &mut stream));
                    session.send_close_notify();
                    let _ = session.complete_io(&mut stream);
                });
            }
        };
        Mischief { addr, asked, over, thread: Some(thread::spawn(accept)) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Mischief {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(std::net::TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(stream: &mut dyn Wire) -> Option<Asked> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let line = lines.next()?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Asked { number: 0, line, fields })
}

/// An answer with these fields and this body.
pub fn reply(status: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}

/// What a server answers that does all as it should.
pub fn honest(asked: &Asked, content: &[u8], tag: &str) -> Reply {
    let fields = [("Accept-Ranges", "bytes"), ("ETag", tag)];
    let whole = || reply("200 OK", &fields, content);
    if asked.field("if-range").is_some_and(|own| own != tag) {
        return whole();
    }
    let Some(range) = asked.range() else { return whole() };
    part(content, range, &fields)
}

/// The same, but that the answer with all of it breaks off, so that parts have to be asked for.
pub fn begun(asked: &Asked, content: &[u8], tag: &str) -> Reply {
    let mut whole = honest(asked, content, tag);
    if asked.range().is_none() {
        whole.truncate(8 << 20);
    }
    whole
}

/// A part of the content, with what says which it is.
pub fn part(content: &[u8], range: Range<u64>, fields: &[(&str, &str)]) -> Reply {
    let said = format!("bytes {}-{}/{}", range.start, range.end - 1, content.len());
    let fields = [fields, &[("Content-Range", &said)]].concat();
    reply("206 Partial Content", &fields, &content[range.start as usize..range.end as usize])
}

/// A certificate for these names, with its key: for TLS here, and as PEM for whoever is to trust it.
pub struct Papers {
    pub key: Vec<u8>,
    pub certificate: Vec<u8>,
}

impl Papers {
    pub fn new(names: &[&str]) -> Papers {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Papers { key: key.serialized_der().to_vec(), certificate: certificate.der().to_vec() }
    }

    /// Both, as a file has them.
    pub fn pem(&self) -> String {
        use base64::Engine;
        let pem = |label: &str, der: &[u8]| {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        pem("PRIVATE KEY", &self.key) + &pem("CERTIFICATE", &self.certificate)
    }

    /// How a server speaks TLS with it, over these groups alone.
    pub fn tls(&self, groups: &[&'static dyn rustls::crypto::SupportedKxGroup]) -> rustls::ServerConfig {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = groups.to_vec();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
        let builder =
            builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
        let key = rustls::pki_types::PrivateKeyDer::try_from(self.key.clone()).unwrap();
        builder.with_single_cert(vec![self.certificate.clone().into()], key).unwrap()
    }
}
