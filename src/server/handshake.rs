//! The receiver's door: TLS, and the code for those who are not known.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::time::Instant;

use super::events::Receptionist;
use crate::content::compress::Codecs;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::name::Text;
use crate::net::control::{MessageReader, MessageWriter};
use crate::os::background::aside;
use crate::os::clock::Moment;
use crate::session::carrier::Arrival;
use crate::session::link::{ConnectionHandle, Control, Duplex, FarEnd};
use crate::session::{End, PeerMisbehaved};
use crate::trust::fingerprint::Fingerprint;
use crate::trust::guesses::{AfterWrong, CodeGuess, Outdated, Wait};
use crate::trust::pairing::{ChannelBinding, PairingError, Responder, Setting};
use crate::trust::peer_store::PeerStoreError;
use crate::trust::policy;
use crate::trust::policy::AuthPolicy;
use crate::trust::tls::TlsError;
use crate::wire::message::{Barred, Hello, ReceiverMessage, SenderMessage, SessionId, Wishes};
use crate::wire::preface::PrefaceError;
use crate::wire::seal::{Cipher, SealError, SessionSecret};

pub(super) type Reader = MessageReader<ReadHalf<Box<dyn Duplex>>>;
type Writer = MessageWriter<WriteHalf<Box<dyn Duplex>>>;

/// Somebody who was let in.
pub(super) struct AcceptedPeer {
    pub reader: Reader,
    pub writer: Writer,
    /// The connection once more, to see how it is doing.
    pub handle: Option<Arc<dyn ConnectionHandle>>,
    pub secret: SessionSecret,
    pub peer: Fingerprint,
    /// Whether it is let in for what is known of its key. Otherwise the code alone has let it in, as the key could not be
    /// remembered.
    pub is_remembered: bool,
    pub wishes: Wishes,
    /// What it may compress with.
    pub codecs: Codecs,
    /// The folder beneath the receiver's own that it wants its files in, as it says.
    pub into: Option<Vec<u8>>,
    /// When it began to read what it sends, as it says; it is no younger than its session.
    pub began: Option<Moment>,
    /// The session that this one goes on with.
    pub resumes: Option<SessionId>,
    /// Data connections that are wanted.
    pub connections: u8,
    pub cipher: Cipher,
}

/// Why a connection was sent away before it was a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Timeout,
    Network,
    NotLanx,
    OtherVersion,
    Tls,
    BadMessage,
    Busy,
    NoCode,
    WrongCode,
    TooManyCodes,
    DataConnection,
    Internal,
}

impl Reason {
    pub const ALL: [Reason; 12] = [
        Reason::Timeout,
        Reason::Network,
        Reason::NotLanx,
        Reason::OtherVersion,
        Reason::Tls,
        Reason::BadMessage,
        Reason::Busy,
        Reason::NoCode,
        Reason::WrongCode,
        Reason::TooManyCodes,
        Reason::DataConnection,
        Reason::Internal,
    ];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Network => "network",
            Reason::NotLanx => "not_lanx",
            Reason::OtherVersion => "other_version",
            Reason::Tls => "tls",
            Reason::BadMessage => "bad_message",
            Reason::Busy => "busy",
            Reason::NoCode => "no_code",
            Reason::WrongCode => "wrong_code",
            Reason::TooManyCodes => "too_many_codes",
            Reason::DataConnection => "data_connection",
            Reason::Internal => "internal",
        }
    }
}

/// Why a connection was sent away.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it said nothing for {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Mute,
    /// A look whether anybody is here, or a data connection that came as its session ended.
    #[error("it hung up without a word")]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Preface(#[from] PrefaceError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    End(#[from] End),
    /// It does not want to come in, and says why.
    #[error("{0}")]
    Left(Text),
    /// It was let in, and went before it had its turn.
    #[error("it waits no longer: {0}")]
    LeftQueue(End),
    #[error("it named a session that is not here, or a data connection it may not open")]
    NoSuchSession,
    #[error("it does not know the session of its data connection: {0}")]
    NoProof(#[from] SealError),
    #[error("as many transfers are under way, and as many senders wait, as may")]
    Busy,
    /// It hears that too, and may come again.
    #[error("this receiver is about to end")]
    Away,
    /// The sender had not heard yet that all is done.
    #[error("the session of its data connection has just ended")]
    Late,
    /// The sender had not heard yet that it may have fewer than before.
    #[error("it has as many data connections as its share allows now")]
    Surplus,
    #[error(transparent)]
    Store(#[from] PeerStoreError),
    /// This machine cannot go on with it.
    #[error("{0}")]
    Here(String),
    #[error(
        "it is not known here (key {0}), and no code is offered: set LANX_CODE or --code-file, or run recv in a terminal"
    )]
    NoCode(Fingerprint),
    #[error("it is not known here (key {0}), and left to ask its user for the code")]
    WentForCode(Fingerprint),
    #[error("its code was wrong")]
    WrongCode,
    #[error("{0}")]
    Later(#[from] Wait),
    #[error(transparent)]
    Outdated(#[from] Outdated),
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

impl Refusal {
    /// Whether it went by itself, and nobody sent it away.
    pub fn hung_up(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
        matches!(self, Refusal::Io(error) if gone.contains(&error.kind()))
            || matches!(self, Refusal::End(End::Lost(_) | End::PeerLeft(_)))
    }

    /// As it is counted; nothing for what is part of the ordinary course of things.
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Refusal::WentForCode(_)
            | Refusal::Silent
            | Refusal::Left(_)
            | Refusal::Away
            | Refusal::Late
            | Refusal::Surplus
            | Refusal::LeftQueue(_) => return None,
            Refusal::Mute | Refusal::End(End::Silent(_)) => Reason::Timeout,
            Refusal::Preface(PrefaceError::Version { .. }) => Reason::OtherVersion,
            Refusal::Preface(_) => Reason::NotLanx,
            Refusal::End(End::Misbehaved(_)) => Reason::BadMessage,
            Refusal::Tls(_) => Reason::Tls,
            Refusal::NoSuchSession | Refusal::NoProof(_) => Reason::DataConnection,
            Refusal::Busy => Reason::Busy,
            Refusal::NoCode(_) => Reason::NoCode,
            Refusal::WrongCode | Refusal::Pairing(_) => Reason::WrongCode,
            Refusal::Later(_) | Refusal::Outdated(_) => Reason::TooManyCodes,
            Refusal::Io(_) | Refusal::End(_) => Reason::Network,
            Refusal::Store(_) | Refusal::Here(_) => Reason::Internal,
        })
    }
}

/// Meets the sender at the other end of a control connection, and lets it in if it may come in.
pub(super) async fn admit(
    auth: &AuthPolicy,
    arrival: Box<dyn Arrival>,
    receptionist: &dyn Receptionist,
) -> Result<AcceptedPeer, Refusal> {
    let Control { stream, handle, far_end } = arrival.into_control().await.map_err(no_handshake)?;
    let FarEnd { addr, key, binding, secret } = far_end;
    let (peer, binding) = (Fingerprint(key), ChannelBinding::new(*binding));
    let (read_half, write_half) = split(stream);
    let mut visit = Visit {
        auth,
        peer,
        address: addr.ip().to_canonical(),
        binding,
        receptionist,
        reader: MessageReader::new(read_half),
        writer: MessageWriter::new(write_half),
    };
    let Hello { connections, cipher, prove, wishes, resumes, name, options } = visit.hello().await?;
    let is_remembered =
        if prove || !visit.is_known().await? { visit.pair(&name.to_string()).await? } else { true };
    visit.note_seen();
    // AES only where it is fast at both ends.
    let cipher = if cipher == Cipher::preferred() { cipher } else { Cipher::ChaCha20Poly1305 };
    Ok(AcceptedPeer {
        reader: visit.reader,
        writer: visit.writer,
        handle: Some(handle),
        secret,
        peer,
        is_remembered,
        wishes,
        codecs: options.codecs,
        into: options.into,
        began: options.age.map(Moment::before),
        resumes,
        connections,
        cipher,
    })
}

/// What the system says of a handshake may be what TLS says: then it is no matter of the network.
fn no_handshake(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            // Which is how a sender goes on from a handshake that stands still.
            End::Lost(
                "it was closed in the handshake; if that happens again, large packets may be lost on the way"
                    .into(),
            )
            .into()
        }
        io::ErrorKind::ResourceBusy => Refusal::Here(error.to_string()),
        _ => match error.downcast::<TlsError>().map_err(io::Error::downcast::<rustls::Error>) {
            Ok(error) => error.into(),
            Err(Ok(error)) => TlsError::Handshake(error).into(),
            Err(Err(error)) => Refusal::Io(error),
        },
    }
}

struct Visit<'a> {
    auth: &'a AuthPolicy,
    peer: Fingerprint,
    address: IpAddr,
    binding: ChannelBinding,
    receptionist: &'a dyn Receptionist,
    reader: Reader,
    writer: Writer,
}

impl Visit<'_> {
    async fn hello(&mut self) -> Result<Hello, Refusal> {
        match self.reader.next(HANDSHAKE_TIMEOUT).await? {
            SenderMessage::Hello(hello) => Ok(hello),
            SenderMessage::Leave { text } => Err(Refusal::Left(text)),
            _ => Err(unexpected("a hello")),
        }
    }

    /// Whether it may come in without a code. Where nobody can tell, it hears that: a connection that just ends would look
    /// like a network that failed.
    async fn is_known(&mut self) -> Result<bool, Refusal> {
        match self.auth.lets_in(&self.peer) {
            Ok(known) => Ok(known),
            Err(error) => {
                let text = "it cannot read which machines may send to it";
                self.say(ReceiverMessage::Leave { text: text.into() }).await?;
                self.writer.close().await?;
                Err(error.into())
            }
        }
    }

    /// Has it noted that a machine that is paired was here. The transfer does not wait for that, nor depend on it.
    fn note_seen(&self) {
        if !self.auth.is_long_unseen(&self.peer) {
            return;
        }
        let (store, peer, address) = (self.auth.store.clone(), self.peer, self.address.to_string());
        tokio::spawn(aside(move || {
            if let Err(error) = store.note_seen(&peer, &address, policy::now()) {
                tracing::debug!("nobody noted that {address} was here: {error}");
            }
        }));
    }

    async fn say(&mut self, message: ReceiverMessage) -> Result<(), Refusal> {
        self.writer.put(&message);
        Ok(self.writer.flush().await?)
    }

    async fn bar(&mut self, barred: Barred) -> Result<(), Refusal> {
        self.say(ReceiverMessage::Barred(barred)).await?;
        Ok(self.writer.close().await?)
    }

    /// Lets the sender prove the code, proves it in turn, and remembers it. Whether it could be remembered.
    async fn pair(&mut self, name: &str) -> Result<bool, Refusal> {
        let Some(book) = &self.auth.book else {
            self.bar(Barred::NoCode).await?;
            return Err(Refusal::NoCode(self.peer));
        };
        self.say(ReceiverMessage::CodeWanted).await?;
        let message = match self.reader.next(HANDSHAKE_TIMEOUT).await {
            Ok(SenderMessage::Pake { message }) => message,
            Ok(_) => return Err(unexpected("a SPAKE2 message")),
            Err(_) => return Err(Refusal::WentForCode(self.peer)),
        };
        let attempt = match book.offer(self.address, Instant::now().into_std()) {
            Ok(attempt) => attempt,
            Err(wait) => {
                let seconds = u32::try_from(wait.wait.as_secs() + 1).unwrap_or(u32::MAX);
                self.bar(Barred::Later { seconds }).await?;
                return Err(wait.into());
            }
        };
        let setting = Setting { sender: self.peer, receiver: self.auth.own, binding: &self.binding };
        let (responder, answer) = Responder::answer(attempt.code(), &setting, &message)?;
        self.say(ReceiverMessage::Pake { message: answer }).await?;
        let proof = match self.reader.next(HANDSHAKE_TIMEOUT).await? {
            SenderMessage::Proof { proof } => proof,
            _ => return Err(unexpected("a proof")),
        };
        match responder.verify(&proof) {
            Ok(proof) => {
                if let Err(outdated) = attempt.right() {
                    self.bar(Barred::WrongCode).await?;
                    return Err(outdated.into());
                }
                let is_remembered = self.remember(name).await;
                self.say(ReceiverMessage::Proof { proof }).await?;
                Ok(is_remembered)
            }
            Err(_) => Err(self.wrong(attempt).await?),
        }
    }

    async fn wrong(&mut self, attempt: CodeGuess) -> Result<Refusal, Refusal> {
        if let AfterWrong::NewCode { code, .. } = attempt.wrong(Instant::now().into_std()) {
            self.receptionist.new_code(&code);
        }
        self.bar(Barred::WrongCode).await?;
        Ok(Refusal::WrongCode)
    }

    /// The sender has proved the code, so it comes in even if nobody will remember it next time.
    async fn remember(&self, name: &str) -> bool {
        if !self.auth.remembers {
            self.receptionist.paired(self.address, &self.peer, false);
            return false;
        }
        let now = policy::now();
        let (store, peer, name, address) =
            (self.auth.store.clone(), self.peer, name.to_owned(), self.address);
        let stored = aside(move || {
            let address = address.to_string();
            store.remember_peer(peer, if name.is_empty() { &address } else { &name }, &address, now)
        });
        let error = match stored.await {
            Ok(Ok(())) => {
                self.receptionist.paired(self.address, &self.peer, true);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!("paired with {}, but cannot remember it: {error}", self.address);
        false
    }
}

fn unexpected(expected: &'static str) -> Refusal {
    End::from(PeerMisbehaved::Unexpected { got: "another message", expected }).into()
}
