//! Senders and receivers that are driven by hand: honest as far as a test wants, and then not.
//!
//! Everything that depends on the shape of messages, prefaces and frames stands here, and is made by the library's
//! own encoders.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;

use lanx::content::chunk::{ChunkIndex, FileId, Layout};
use lanx::content::entry::{EntryKind, Metadata};
use lanx::content::tree::chunk_value;
use lanx::limits::{CHUNK_BYTES, MESSAGE_BYTES_MAX};
use lanx::trust::code::Code;
use lanx::trust::dir::ConfigDir;
use lanx::trust::fingerprint::Fingerprint;
use lanx::trust::identity::Identity;
use lanx::trust::pairing::{ChannelBinding, Initiator, Setting};
use lanx::trust::tls;
use lanx::wire::frame::{HASH_BYTES, HEADER_BYTES, Header, Kind as FrameKind};
use lanx::wire::message::{
    Hello, Message, Offer, ReceiverMessage, SenderMessage, SessionId, Wishes, put_framed, take_framed,
};
use lanx::wire::options::Options;
use lanx::wire::preface::{BELONGING_BYTES, Belonging, PREFACE_BYTES, Role, Status};
use lanx::wire::seal::{Cipher, Sealer, SessionSecret, TAG_BYTES};
use rustls::{ClientConnection, ConnectionCommon, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

mod receiver;

pub use receiver::*;

/// Places in the first frame of a data connection, counted from the connection's first byte, for a file of so many
/// bytes.
pub fn places_in_first_frame(file_bytes: usize) -> Vec<(&'static str, u64)> {
    let header = PREFACE_BYTES + BELONGING_BYTES + TAG_BYTES;
    let payload = header + HEADER_BYTES;
    let whole = file_bytes <= CHUNK_BYTES;
    let payload_bytes = if whole { HASH_BYTES + file_bytes } else { CHUNK_BYTES };
    [
        ("the kind", header),
        ("the length", header + 4),
        ("the file", header + 8),
        ("the chunk", header + 16),
        ("the first byte of the payload", payload),
        ("the last byte of the payload", payload + payload_bytes - 1),
        ("the tag", payload + payload_bytes),
    ]
    .map(|(what, at)| (what, at as u64))
    .to_vec()
}

/// The identity in a configuration folder, made where there is none.
pub fn identity(config: &Path) -> Identity {
    Identity::load_or_create(&ConfigDir::at(config).unwrap()).unwrap()
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A TLS connection whose handshake is complete.
pub struct Talk {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    own: Fingerprint,
    pub peer: Fingerprint,
    binding: ChannelBinding,
    secret: SessionSecret,
}

impl Talk {
    fn client(own: &Identity, mut tcp: TcpStream) -> io::Result<Talk> {
        let config = tls::client_config(own).unwrap();
        let mut connection = ClientConnection::new(config, tls::unused_server_name()).unwrap();
        shake(&mut connection, &mut tcp)?;
        let (peer, binding, secret) = facts(&connection);
        let stream = Box::new(StreamOwned::new(connection, tcp));
        Ok(Talk { stream, unread: Vec::new(), own: own.fingerprint(), peer, binding, secret })
    }

    fn server(own: &Identity, mut tcp: TcpStream) -> io::Result<Talk> {
        let mut connection = ServerConnection::new(tls::server_config(own).unwrap()).unwrap();
        shake(&mut connection, &mut tcp)?;
        let (peer, binding, secret) = facts(&connection);
        let stream = Box::new(StreamOwned::new(connection, tcp));
        Ok(Talk { stream, unread: Vec::new(), own: own.fingerprint(), peer, binding, secret })
    }

    pub fn say(&mut self, message: &impl Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        put_framed(message, &mut bytes);
        self.say_bytes(&bytes)
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next message; an error where the other side hangs up first.
    pub fn hear<M: Message>(&mut self) -> io::Result<M> {
        loop {
            if let Some((message, len)) = take_framed(&self.unread, MESSAGE_BYTES_MAX).unwrap() {
                self.unread.drain(..len);
                return Ok(message);
            }
            let mut some = [0; 4096];
            match self.stream.read(&mut some)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.unread.extend_from_slice(&some[..n]),
            }
        }
    }
}

fn shake<Side>(connection: &mut ConnectionCommon<Side>, tcp: &mut TcpStream) -> io::Result<()> {
    while connection.is_handshaking() {
        connection.complete_io(tcp)?;
    }
    Ok(())
}

fn facts<Side>(connection: &ConnectionCommon<Side>) -> (Fingerprint, ChannelBinding, SessionSecret) {
    (
        tls::established_peer(connection).unwrap(),
        tls::channel_binding(connection).unwrap(),
        tls::session_secret(connection).unwrap(),
    )
}

/// A TCP connection to a receiver that has said `bytes`; from an address of ours where `from` says which.
pub fn raw(from: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.connect(&to.into())?;
    patient(socket.into(), bytes)
}

fn patient(mut stream: TcpStream, bytes: &[u8]) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes)?;
    Ok(stream)
}

/// The first bytes of a control connection, before TLS.
pub fn control_preface() -> [u8; PREFACE_BYTES] {
    Role::Control.encode()
}

/// A control connection that the receiver has answered, before TLS.
pub fn before_tls(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = raw(from, to, &control_preface())?;
    let mut status = [0; PREFACE_BYTES];
    stream.read_exact(&mut status)?;
    match Status::decode(status) {
        Ok(Status::Welcome) => Ok(stream),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

/// The first flight of a TLS handshake.
pub fn client_hello(id: &Identity) -> Vec<u8> {
    let mut connection =
        ClientConnection::new(tls::client_config(id).unwrap(), tls::unused_server_name()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The first bytes of a data connection: preface, session, number and proof.
pub fn data_hello(session: SessionId, connection: u32, proof: &[u8; TAG_BYTES]) -> Vec<u8> {
    [&Belonging { session, connection }.hello()[..], proof].concat()
}

/// A sender driven by hand.
pub struct HandSender {
    pub talk: Talk,
    pub session: SessionId,
    pub granted: u8,
    receiver: SocketAddr,
    cipher: Cipher,
}

impl HandSender {
    /// Connects and completes the TLS handshake.
    pub fn connect(from: Option<IpAddr>, id: &Identity, receiver: SocketAddr) -> io::Result<HandSender> {
        let talk = Talk::client(id, before_tls(from, receiver)?)?;
        let (session, cipher) = (SessionId([0; 16]), Cipher::preferred());
        Ok(HandSender { talk, session, granted: 0, receiver, cipher })
    }

    /// Connects and is let in.
    pub fn enter(id: &Identity, receiver: SocketAddr, connections: u8) -> HandSender {
        let mut sender = HandSender::connect(None, id, receiver).unwrap();
        let answer = sender.hello(connections).unwrap();
        assert!(matches!(answer, ReceiverMessage::Welcome { .. }), "not let in: {answer:?}");
        sender
    }

    /// Says hello and hears the answer.
    pub fn hello(&mut self, connections: u8) -> io::Result<ReceiverMessage> {
        self.hello_again(connections, None)
    }

    /// The same, to go on with another session.
    pub fn hello_again(
        &mut self,
        connections: u8,
        resumes: Option<SessionId>,
    ) -> io::Result<ReceiverMessage> {
        self.talk.say(&hello(connections, resumes))?;
        self.hear()
    }

    /// Says hello with these wishes and hears the answer.
    pub fn hello_with(&mut self, connections: u8, wishes: Wishes) -> io::Result<ReceiverMessage> {
        let SenderMessage::Hello(hello) = hello(connections, None) else { unreachable!() };
        self.talk.say(&SenderMessage::Hello(Hello { wishes, ..hello }))?;
        self.hear()
    }

    /// The next message. A welcome is remembered.
    pub fn hear(&mut self) -> io::Result<ReceiverMessage> {
        let message = self.talk.hear()?;
        if let ReceiverMessage::Welcome { session, connections, cipher, .. } = message {
            (self.session, self.granted, self.cipher) = (session, connections, cipher);
        }
        Ok(message)
    }

    /// Waits for a message that is `wanted`; all others are passed over.
    pub fn hear_until(&mut self, wanted: impl Fn(&ReceiverMessage) -> bool) -> ReceiverMessage {
        loop {
            let message = self.hear().unwrap();
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Guesses at the code once. The answer is the receiver's proof where it was right, or how it is barred.
    pub fn guess(from: Option<IpAddr>, id: &Identity, to: SocketAddr, code: &str) -> ReceiverMessage {
        HandSender::try_to_guess(from, id, to, code).unwrap()
    }

    /// The same for whoever may be hung up on.
    pub fn try_to_guess(
        from: Option<IpAddr>,
        id: &Identity,
        to: SocketAddr,
        code: &str,
    ) -> io::Result<ReceiverMessage> {
        let mut sender = HandSender::connect(from, id, to)?;
        assert_eq!(sender.hello(1)?, ReceiverMessage::CodeWanted);
        let binding = std::mem::replace(&mut sender.talk.binding, ChannelBinding::new([0; 32]));
        let setting = Setting { sender: sender.talk.own, receiver: sender.talk.peer, binding: &binding };
        let (initiator, message) = Initiator::start(&Code::from_text(code).unwrap(), setting).unwrap();
        sender.talk.say(&SenderMessage::Pake { message })?;
        let answer = match sender.hear()? {
            ReceiverMessage::Pake { message } => message,
            other => return Ok(other),
        };
        let (_, proof) = initiator.confirm(&answer).unwrap();
        sender.talk.say(&SenderMessage::Proof { proof })?;
        sender.hear()
    }

    /// Offers a file and waits until the receiver wants it.
    pub fn offer(&mut self, file: u64, name: &str, size: u64) {
        self.talk.say(&offer(file, name, size)).unwrap();
        let file = FileId(file);
        self.hear_until(|message| *message == ReceiverMessage::Send { file });
    }

    /// The sealing half of data connection `number`, and its first bytes.
    pub fn data_keys(&self, number: u32) -> (Sealer, Vec<u8>) {
        let keys = self.talk.secret.data_keys(self.cipher, &self.session.0, number).unwrap();
        let (mut sealer, _) = keys.for_sender();
        let hello = Belonging { session: self.session, connection: number }.hello();
        let proof = sealer.prove(&hello).unwrap();
        (sealer, data_hello(self.session, number, &proof))
    }

    /// Opens data connection `number`.
    pub fn open_data(&self, number: u32) -> (Sealer, TcpStream) {
        let (sealer, hello) = self.data_keys(number);
        (sealer, raw(None, self.receiver, &hello).unwrap())
    }
}

/// The first message of a sender.
pub fn hello(connections: u8, resumes: Option<SessionId>) -> SenderMessage {
    let cipher = Cipher::preferred();
    SenderMessage::Hello(Hello {
        connections,
        cipher,
        prove: false,
        wishes: Wishes::default(),
        resumes,
        name: "by hand".into(),
        options: Options::default(),
    })
}

/// The offer of a file.
pub fn offer(file: u64, name: &str, size: u64) -> SenderMessage {
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    let kind = EntryKind::File { size, sparse: false };
    SenderMessage::Offer(Offer { file: FileId(file), kind, metadata, path: name.into() })
}

/// The same of one that has holes.
pub fn offer_sparse(file: u64, name: &str, size: u64) -> SenderMessage {
    let SenderMessage::Offer(offer) = offer(file, name, size) else { unreachable!() };
    SenderMessage::Offer(Offer { kind: EntryKind::File { size, sparse: true }, ..offer })
}

/// The sealed frame of a hole of so many chunks.
pub fn hole_frame(sealer: &mut Sealer, file: u64, first: u64, chunks: u64) -> Vec<u8> {
    let header = Header::hole(FileId(file), ChunkIndex(first));
    frame(sealer, &header, chunks.to_le_bytes().to_vec())
}

/// The sealed frame of a file that is one chunk.
pub fn whole_frame(sealer: &mut Sealer, file: u64, content: &[u8]) -> Vec<u8> {
    let layout = Layout::new(content.len() as u64);
    whole_frame_with(sealer, file, &chunk_value(layout, ChunkIndex(0), content), content)
}

/// The same with any hash.
pub fn whole_frame_with(sealer: &mut Sealer, file: u64, hash: &[u8; HASH_BYTES], content: &[u8]) -> Vec<u8> {
    let (kind, content_bytes) = (FrameKind::Whole, content.len());
    let header = Header { kind, file: FileId(file), chunk: ChunkIndex(0), content_bytes, codec: None };
    frame(sealer, &header, [&hash[..], content].concat())
}

/// The sealed frame of one chunk of a larger file.
pub fn chunk_frame(sealer: &mut Sealer, file: u64, chunk: u64, content: &[u8]) -> Vec<u8> {
    let (kind, content_bytes) = (FrameKind::Chunk, content.len());
    let header = Header { kind, file: FileId(file), chunk: ChunkIndex(chunk), content_bytes, codec: None };
    frame(sealer, &header, content.to_vec())
}

/// The sealed frame of compressed content, behind the hash of a whole file; its header says how long that is.
pub fn compressed_frame(sealer: &mut Sealer, header: Header, payload: &[u8]) -> Vec<u8> {
    let hash = if header.kind == FrameKind::Whole { HASH_BYTES } else { 0 };
    frame(sealer, &Header { content_bytes: payload.len() - hash, ..header }, payload.to_vec())
}

/// The sealed frame of a probe.
pub fn probe_frame(sealer: &mut Sealer, content: &[u8]) -> Vec<u8> {
    frame(sealer, &Header::probe(content.len()), content.to_vec())
}

fn frame(sealer: &mut Sealer, header: &Header, mut payload: Vec<u8>) -> Vec<u8> {
    let header = header.encode();
    let tag = sealer.seal(&header, &mut payload).unwrap();
    [&header[..], &payload, &tag].concat()
}
