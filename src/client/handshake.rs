//! A sender's way in: reach the receiver, see who it is, and be let in by it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::time::{Instant, interval, sleep, timeout};

use super::pool::Connections;
use crate::content::compress::Codecs;
use crate::limits::{
    BEAT_INTERVAL, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, OFFERS_BYTES_MIN, QUEUE_NEWS_INTERVAL,
    RETRY_PAUSE_FIRST,
};
use crate::name::{RelativePath, Text};
use crate::net::address::Peer;
use crate::net::control::{MessageReader, MessageWriter};
use crate::net::tcp::dial::ConnectError;
use crate::net::{Door, quic, tcp};
use crate::os::background::aside;
use crate::os::clock::Moment;
use crate::session::carrier::{Reached, Way};
use crate::session::destination::Mark;
use crate::session::link::{ConnectionHandle, Control, Duplex, FarEnd};
use crate::session::{End, PeerMisbehaved};
use crate::trust::fingerprint::Fingerprint;
use crate::trust::pairing::{ChannelBinding, Initiator, PairingError, Setting};
use crate::trust::peer_store::PeerStoreError;
use crate::trust::peers::KnownHost;
use crate::trust::policy::{Acquainted, ClientAuth, FirstSight};
use crate::wire::message::{Barred, Hello, ReceiverMessage, SenderMessage, SessionId, Waiting, Wishes};
use crate::wire::options::Options;
use crate::wire::seal::{Cipher, SessionSecret};

/// How often a receiver that hangs up in the handshake is tried, with pauses from [`RETRY_PAUSE_FIRST`] on
/// that double: 1.5 s in all, which somebody who named the wrong port can wait.
const KNOCKS: u32 = 5;

pub(super) type Reader = MessageReader<ReadHalf<Box<dyn Duplex>>>;
pub(super) type Writer = MessageWriter<WriteHalf<Box<dyn Duplex>>>;

/// A session that the receiver has agreed to.
pub struct Link {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) secret: SessionSecret,
    pub(super) session: SessionId,
    pub(super) cipher: Cipher,
    /// Data connections that were asked for, and how many of them there may be for now.
    pub(super) wanted: Connections,
    pub(super) share: u8,
    /// What the open offers may weigh.
    pub(super) offers_bytes: usize,
    /// Whether a hole of many chunks goes in one frame.
    pub(super) takes_holes: bool,
    /// The control connection once more, to see how it is doing.
    pub(super) handle: Arc<dyn ConnectionHandle>,
    /// How data connections are opened.
    pub(super) way: Arc<dyn Way>,
    pub addr: SocketAddr,
    /// How long one round trip took.
    pub round_trip: Duration,
    pub receiver: Fingerprint,
    pub acquaintance: Acquaintance,
    /// By which the receiver's folder is recognised on this machine.
    pub(super) destination: Option<Mark>,
    /// Whether only the changed parts of changed files are sent.
    pub grants_delta: bool,
    /// What chunks may be compressed with.
    pub codecs: Codecs,
    /// Whether the receiver will want its code again.
    pub forgets: bool,
    /// Whether the receiver remembers hashes of files.
    pub(super) remembers: bool,
}

impl Link {
    /// How the data connections are sealed.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }
}

/// How sender and receiver came to trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// They did before.
    Old,
    /// The code was proved just now.
    Paired,
    /// The receiver lets everybody in, and its key was seen for the first time.
    FirstSight,
}

/// What a sender comes with, besides its identity.
#[derive(Clone, Copy)]
pub struct SessionRequest<'a> {
    /// What this machine calls itself.
    pub name: &'a str,
    /// The session that it goes on with.
    pub resumes: Option<SessionId>,
    /// When it began to read what it sends, where it has.
    pub began: Option<Moment>,
    pub wishes: Wishes,
    pub door: Door,
    pub place: PutWhere<'a>,
    /// How long a silent receiver is waited for.
    pub patience: Duration,
    /// Hears why it does not begin, and whenever that changes.
    pub waits: &'a dyn Fn(&Waiting),
    /// Hears once that large packets are lost on the way, and small ones are used from then on.
    pub large_lost: &'a dyn Fn(),
}

/// Where the receiver is to put what it gets.
#[derive(Clone, Copy, Default)]
pub struct PutWhere<'a> {
    /// A folder beneath its own.
    pub into: Option<&'a RelativePath>,
    /// Its standard output: what is sent has no name that a file could have.
    pub needs_output: bool,
}

impl PutWhere<'_> {
    /// Why this welcome is of no use.
    fn complaint(self, peer: &Peer, welcome: &Options) -> Option<EnterError> {
        let peer = peer.clone();
        let granted = welcome.into.as_deref();
        if self.into.is_some_and(|into| granted != Some(into.as_bytes())) {
            let to_output = welcome.to_output;
            return Some(EnterError::NoSubfolder { peer, to_output });
        }
        (self.needs_output && !welcome.to_output).then_some(EnterError::NeedsName { peer })
    }
}

/// Connects to `peer` and is let in. `wanted` says how many data connections to ask for.
///
/// # Errors
/// [`EnterError`]. With [`EnterError::CodeWanted`] and [`EnterError::FirstSight`] the user can decide and try again.
pub async fn enter(
    peer: &Peer,
    visitor: &ClientAuth,
    request: &SessionRequest<'_>,
    wanted: Connections,
) -> Result<Link, EnterError> {
    let reached = match request.door {
        Door::Tcp => tcp::reach::reach(peer, &visitor.tls, request.patience, request.large_lost).await?,
        Door::Quic => quic::dial::reach(peer, &visitor.tls, request.patience).await?,
    };
    enter_by(reached, peer, visitor, request, wanted).await
}

/// The same where the receiver was reached.
///
/// # Errors
/// As [`enter`].
pub async fn enter_by(
    reached: Reached,
    peer: &Peer,
    visitor: &ClientAuth,
    request: &SessionRequest<'_>,
    wanted: Connections,
) -> Result<Link, EnterError> {
    let Reached { control: Control { stream, handle, far_end }, way, round_trip } = reached;
    let FarEnd { addr, key, binding, secret } = far_end;
    let (receiver, binding) = (Fingerprint(key), ChannelBinding::new(*binding));
    let (read_half, write_half) = split(stream);
    let (reader, writer) = (MessageReader::new(read_half), MessageWriter::new(write_half));
    let standing = match recognise(peer, visitor, receiver) {
        Ok(standing) => standing,
        Err(error) => return Err(leave(reader, writer, error).await),
    };
    let mut greeting = Greeting { peer, addr, visitor, receiver, binding, standing, reader, writer };
    let (session, share, cipher, options, acquaintance) = match greeting.run(request, wanted.most).await {
        Ok(welcome) => welcome,
        Err(error) => return Err(leave(greeting.reader, greeting.writer, error).await),
    };
    if standing != Acquainted::Known || acquaintance == Acquaintance::Paired {
        remember(visitor, peer.address(), receiver).await;
    }
    let Greeting { reader, writer, .. } = greeting;
    Ok(Link {
        reader,
        writer,
        secret,
        session,
        cipher,
        wanted,
        share,
        offers_bytes: options.offers_bytes.map_or(OFFERS_BYTES_MIN, |bytes| bytes as usize),
        takes_holes: options.takes_holes,
        handle,
        way,
        addr,
        round_trip,
        receiver,
        acquaintance,
        destination: options.destination,
        grants_delta: options.grants_delta,
        codecs: options.codecs,
        forgets: options.forgets,
        remembers: options.remembers,
    })
}

/// Tells the receiver why it goes, where that is for its user to know.
async fn leave(mut reader: Reader, mut writer: Writer, error: EnterError) -> EnterError {
    let Some(text) = error.parting() else { return error };
    writer.put(&SenderMessage::Leave { text: text.into() });
    let goodbye = async {
        // To close with words unread would destroy what was said.
        if writer.close().await.is_ok() {
            while reader.next::<ReceiverMessage>(GOODBYE_TIMEOUT).await.is_ok() {}
        }
    };
    let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
    error
}

/// What is known of a receiver that has this key, unless that speaks against it.
fn recognise(peer: &Peer, visitor: &ClientAuth, now: Fingerprint) -> Result<Acquainted, EnterError> {
    let (found, address) = (peer.found.as_ref(), peer.address());
    if let Some(was) = visitor.agreed.filter(|key| *key != now) {
        return Err(EnterError::NotTheSame { peer: peer.clone(), was, now });
    }
    if let Some(announced) = found.and_then(|found| found.key).filter(|key| *key != now) {
        return Err(EnterError::OtherKey { peer: peer.clone(), announced, now });
    }
    let standing = visitor.standing(&address, &now)?;
    match standing {
        Acquainted::Changed { was } => {
            Err(EnterError::KeyChanged { peer: peer.clone(), address: address.into(), was, now })
        }
        Acquainted::Known => Ok(standing),
        // The port is as freely announced as the name, so a key that is remembered holds for all ports of the
        // name.
        _ if found.is_some() => match visitor.namesake(&peer.host, &now)? {
            Some(known) => Err(EnterError::Namesake { peer: peer.clone(), known: Box::new(known), now }),
            None => Ok(standing),
        },
        _ => Ok(standing),
    }
}

/// A transfer goes on without it: the next one asks again.
async fn remember(visitor: &ClientAuth, address: String, receiver: Fingerprint) {
    let store = visitor.store.clone();
    let stored = aside(move || store.remember_host(&address, receiver)).await;
    match stored {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("could not remember the receiver's key: {error}"),
        Err(error) => tracing::warn!("could not remember the receiver's key: {error}"),
    }
}

type Welcome = (SessionId, u8, Cipher, Options, Acquaintance);

/// The conversation from the hello to the welcome.
struct Greeting<'a> {
    peer: &'a Peer,
    addr: SocketAddr,
    visitor: &'a ClientAuth,
    receiver: Fingerprint,
    binding: ChannelBinding,
    standing: Acquainted,
    reader: Reader,
    writer: Writer,
}

impl Greeting<'_> {
    async fn run(&mut self, request: &SessionRequest<'_>, connections: u8) -> Result<Welcome, EnterError> {
        // Whoever has a code wants to know that it speaks to the machine that has the same one, and not to
        // another one that it happens to know as well.
        let prove = self.standing == Acquainted::Unknown && self.visitor.code.is_some();
        let SessionRequest { name, resumes, began, wishes, place, .. } = *request;
        let into = place.into.map(|into| into.as_bytes().to_vec());
        // As it is said: the way here may have taken long.
        let age = began.map(Moment::elapsed);
        let hello = Hello {
            connections,
            cipher: Cipher::preferred(),
            prove,
            wishes,
            resumes,
            name: name.into(),
            // Whether it uses them is its own affair.
            options: Options { codecs: Codecs::ALL, into, age, ..Options::default() },
        };
        self.say(&SenderMessage::Hello(hello)).await?;
        let mut acquaintance = Acquaintance::Old;
        let mut heard = self.hear().await?;
        if let ReceiverMessage::Leave { text } = heard {
            // Nothing was lost, and trying again helps only when somebody has done something about it there.
            return Err(EnterError::SentAway { peer: self.peer.clone(), text });
        }
        if heard == ReceiverMessage::CodeWanted {
            self.pair().await.map_err(|error| match error {
                EnterError::Handshake { addr, end: End::Lost(_) } => EnterError::HungUpOnCode { addr },
                error => error,
            })?;
            acquaintance = Acquaintance::Paired;
            heard = self.hear().await?;
        } else if prove && is_let_in(&heard) {
            return Err(EnterError::Impostor { peer: self.peer.clone() });
        }
        // Before it waits: nobody is to be asked at the end of a queue, and then to wait once more.
        if is_let_in(&heard) && acquaintance == Acquaintance::Old && self.standing == Acquainted::Unknown {
            self.trust_first_sight()?;
            acquaintance = Acquaintance::FirstSight;
        }
        let heard = self.wait_for_turn(heard, request).await?;
        let ReceiverMessage::Welcome { session, connections, cipher, options } = heard else {
            return Err(self.unexpected(heard, "a welcome"));
        };
        if let Some(error) = place.complaint(self.peer, &options) {
            return Err(error);
        }
        Ok((session, connections, cipher, options, acquaintance))
    }

    fn trust_first_sight(&self) -> Result<(), EnterError> {
        // This very key: any other one was refused before.
        if self.visitor.agreed == Some(self.receiver) {
            return Ok(());
        }
        let (peer, key) = (self.peer.clone(), self.receiver);
        match self.visitor.first_sight {
            FirstSight::Named if !peer.is_anybodys_name() => Ok(()),
            FirstSight::Named => Err(EnterError::OnlyFound { peer, met: Met(self.visitor.met_as(&key)?) }),
            FirstSight::None => {
                Err(EnterError::FirstSight { peer, key, met: Met(self.visitor.met_as(&key)?) })
            }
        }
    }

    /// Waits as long as the receiver says that others come first, and tells so. Returns what it says then.
    async fn wait_for_turn(
        &mut self,
        mut heard: ReceiverMessage,
        request: &SessionRequest<'_>,
    ) -> Result<ReceiverMessage, EnterError> {
        let Greeting { addr, reader, writer, .. } = self;
        let mut told: Option<(Waiting, Instant)> = None;
        let mut beat = interval(BEAT_INTERVAL);
        while let ReceiverMessage::Waiting(waiting) = heard {
            // What comes more often than it should is not told: it will be said again.
            let due =
                told.is_none_or(|(before, at)| before != waiting && at.elapsed() >= QUEUE_NEWS_INTERVAL / 2);
            if due {
                told = Some((waiting, Instant::now()));
                (request.waits)(&waiting);
            }
            let hearing = reader.next(request.patience);
            tokio::pin!(hearing);
            heard = loop {
                tokio::select! {
                    heard = &mut hearing => break heard.map_err(|end| EnterError::Handshake { addr: *addr, end })?,
                    _ = beat.tick() => say(writer, *addr, &SenderMessage::Beat).await?,
                }
            };
        }
        Ok(heard)
    }

    async fn pair(&mut self) -> Result<(), EnterError> {
        let Some(code) = &self.visitor.code else {
            return Err(EnterError::CodeWanted { peer: self.peer.clone() });
        };
        let setting = Setting { sender: self.visitor.own, receiver: self.receiver, binding: &self.binding };
        let (initiator, message) = Initiator::start(code, setting).map_err(EnterError::Pairing)?;
        say(&mut self.writer, self.addr, &SenderMessage::Pake { message }).await?;
        let message = match hear(&mut self.reader, self.addr).await? {
            ReceiverMessage::Pake { message } => message,
            other => return Err(self.unexpected(other, "a SPAKE2 message")),
        };
        let (confirming, proof) = initiator.confirm(&message).map_err(EnterError::Pairing)?;
        say(&mut self.writer, self.addr, &SenderMessage::Proof { proof }).await?;
        let proof = match hear(&mut self.reader, self.addr).await? {
            ReceiverMessage::Proof { proof } => proof,
            other => return Err(self.unexpected(other, "a proof")),
        };
        confirming.finish(&proof).map_err(|_| EnterError::Impostor { peer: self.peer.clone() })
    }

    fn unexpected(&self, message: ReceiverMessage, expected: &'static str) -> EnterError {
        let peer = self.peer.clone();
        match message {
            ReceiverMessage::Barred(Barred::NoCode) => EnterError::NoCode { peer },
            ReceiverMessage::Barred(Barred::WrongCode) => EnterError::WrongCode { peer },
            ReceiverMessage::Barred(Barred::Later { seconds }) => EnterError::Later { peer, seconds },
            ReceiverMessage::Barred(Barred::Busy) => ConnectError::Busy { addr: self.addr }.into(),
            ReceiverMessage::Leave { text } => {
                EnterError::Handshake { addr: self.addr, end: End::PeerLeft(text) }
            }
            ReceiverMessage::Misplaced { text } => EnterError::Storage { peer, text },
            ReceiverMessage::Away => ConnectError::Away { addr: self.addr }.into(),
            _ => {
                let end = PeerMisbehaved::Unexpected { got: "another message", expected }.into();
                EnterError::Handshake { addr: self.addr, end }
            }
        }
    }

    async fn say(&mut self, message: &SenderMessage) -> Result<(), EnterError> {
        say(&mut self.writer, self.addr, message).await
    }

    async fn hear(&mut self) -> Result<ReceiverMessage, EnterError> {
        hear(&mut self.reader, self.addr).await
    }
}

/// Whether it says that the sender may come in, now or later.
fn is_let_in(message: &ReceiverMessage) -> bool {
    matches!(message, ReceiverMessage::Welcome { .. } | ReceiverMessage::Waiting(_))
}

async fn say(writer: &mut Writer, addr: SocketAddr, message: &SenderMessage) -> Result<(), EnterError> {
    writer.put(message);
    let flushed =
        timeout(HANDSHAKE_TIMEOUT, writer.flush()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    flushed.map_err(|error| EnterError::Handshake { addr, end: End::Lost(error.to_string()) })
}

async fn hear(reader: &mut Reader, addr: SocketAddr) -> Result<ReceiverMessage, EnterError> {
    reader.next(HANDSHAKE_TIMEOUT).await.map_err(|end| EnterError::Handshake { addr, end })
}

// Why a sender is not let in, or does not want to come in.

/// Why a sender did not get in. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{addr} did not let us in: {end}; try again, and see what `lanx recv` says there")]
    Handshake { addr: SocketAddr, end: End },
    #[error(
        "{addr} hung up while the code was being proved; see what `lanx recv` says there, and that it is the machine that you mean"
    )]
    HungUpOnCode { addr: SocketAddr },
    #[error(transparent)]
    Store(#[from] PeerStoreError),
    #[error(
        "THE KEY OF {peer} HAS CHANGED from {was} to {now}: lanx was set up anew there, or somebody poses as that machine. Nothing was \
         sent; if you know why it changed, run `lanx trust remove {address}` and send again"
    )]
    KeyChanged { peer: Peer, address: Box<str>, was: Fingerprint, now: Fingerprint },
    #[error(
        "{peer} announces the key {announced} and has {now}: it is being set up anew, or somebody else answers in its place. Nothing \
         was sent; name it by its address: lanx send FILE HOST"
    )]
    OtherKey { peer: Peer, announced: Fingerprint, now: Fingerprint },
    #[error(
        "{peer} ANSWERED WITH ANOTHER KEY than a moment ago: {now}, not {was}. Somebody answers in its place. Nothing was sent to \
         this key; send again from a network that you trust, or with a code (LANX_CODE or --code-file)"
    )]
    NotTheSame { peer: Peer, was: Fingerprint, now: Fingerprint },
    #[error(
        "{peer} IS NOT WHO ANSWERED AT {known} BEFORE: it has the key {now}, not {was}. It is another receiver of that name, or somebody \
         poses as it. Nothing was sent; name another one by its address, and if lanx was set up anew there, run \
         `lanx trust remove {known}` and send again",
        known = known.address, was = known.fingerprint
    )]
    Namesake { peer: Peer, known: Box<KnownHost>, now: Fingerprint },
    #[error(
        "anybody on this network can announce the name {peer}, and it was never sent to{met}, so nothing was sent; name it by its \
         address, send to it once from a terminal, or set the same code at both ends (LANX_CODE or --code-file)"
    )]
    OnlyFound { peer: Peer, met: Met },
    #[error("{peer} does not know this machine and wants the code that it shows")]
    CodeWanted { peer: Peer },
    #[error(
        "{peer} lets this machine in without a code and is new here: it lets everybody in, or knows this machine from before; its key is {key}{met}"
    )]
    FirstSight { peer: Peer, key: Fingerprint, met: Met },
    #[error(
        "{peer} does not know this machine, and no code was given; send from a terminal and type the code that it shows, give both ends the same one (LANX_CODE or --code-file), or copy your identity there (SECURITY.md)"
    )]
    NoCode { peer: Peer },
    #[error("{peer} did not let us in: {text}; see what `lanx recv` says there")]
    SentAway { peer: Peer, text: Text },
    #[error("{peer}: {text}")]
    Storage { peer: Peer, text: Text },
    #[error(
        "{peer} {}, so --into cannot be used there; {}",
        if *to_output { "writes to its standard output" } else { "runs an older lanx" },
        if *to_output { "start `lanx recv DIR` there, or leave --into out" } else { "install this one there, or leave --into out" }
    )]
    NoSubfolder { peer: Peer, to_output: bool },
    #[error(
        "{peer} puts what it gets into a folder, and what is sent has no name; give it one with --name NAME, or start `lanx recv -` there"
    )]
    NeedsName { peer: Peer },
    #[error("{peer} does not have that code; look at its screen and try again")]
    WrongCode { peer: Peer },
    #[error(
        "{peer} could not prove that it knows the code: it is not the machine you think it is, or somebody in between \
         changes what is sent; nothing was sent, look at the address and the code before trying again"
    )]
    Impostor { peer: Peer },
    #[error("{peer} was given too many wrong codes; try again in {seconds} s")]
    Later { peer: Peer, seconds: u32 },
    #[error(transparent)]
    Pairing(PairingError),
}

/// Where a key was met before, if it was: told beside the question whether to trust it under a new name.
#[derive(Debug)]
pub struct Met(pub Option<String>);

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => write!(f, " (this is the key of {address})"),
            None => Ok(()),
        }
    }
}

impl EnterError {
    /// Whether the same may succeed in a moment, with nobody doing anything about it.
    pub fn is_passing(&self) -> bool {
        match self {
            EnterError::Connect(error) => !matches!(error, ConnectError::OtherVersion { .. }),
            EnterError::Handshake { .. } | EnterError::HungUpOnCode { .. } | EnterError::Later { .. } => true,
            _ => false,
        }
    }

    /// Whether the receiver, or the network, ended the connection without a word, and nothing speaks against
    /// trying once more. Something does once the code was in use: each time whoever poses as the receiver can
    /// test another one with it.
    pub fn was_hung_up_on(&self) -> bool {
        matches!(
            self,
            EnterError::Connect(ConnectError::HungUp { .. } | ConnectError::HungUpInTls { .. })
                | EnterError::Handshake { end: End::Lost(_), .. }
        )
    }

    /// Whether another place may be the right one: nobody is here, or somebody else.
    pub fn is_about_the_place(&self) -> bool {
        match self {
            EnterError::Connect(error) => !matches!(error, ConnectError::Stalled { .. }),
            EnterError::OtherKey { .. } | EnterError::Handshake { .. } => true,
            _ => false,
        }
    }

    /// What the receiver hears of it, whose user wonders as well; nothing where it knows, or is nobody to
    /// talk to.
    pub(super) fn parting(&self) -> Option<&'static str> {
        match self {
            EnterError::KeyChanged { .. } => Some("it has another key on record for this machine"),
            EnterError::Namesake { .. } => Some("it has another key on record for a machine of this name"),
            EnterError::OtherKey { .. } => Some("this machine has another key than it announces"),
            EnterError::NotTheSame { .. } => Some("this machine had another key a moment ago"),
            EnterError::NoSubfolder { .. } => {
                Some("it wishes its files in a folder of this one, which cannot be had here")
            }
            EnterError::NeedsName { .. } => Some("it sends what has no name, which only `lanx recv -` takes"),
            EnterError::FirstSight { .. } => Some("it asks its user whether to trust this machine"),
            EnterError::OnlyFound { .. } => Some("it never sent to this machine, which it found by its name"),
            _ => None,
        }
    }
}

// A receiver that is hung about by strangers sends some of them away, and cannot know yet that we are none.
// So whoever is hung up on comes again a few times.

/// Does `enter`, again where it was hung up on.
///
/// # Errors
/// Those of the last try.
pub async fn knock(enter: impl AsyncFn() -> Result<Link, EnterError>) -> Result<Link, EnterError> {
    let mut pause = RETRY_PAUSE_FIRST;
    for _ in 1..KNOCKS {
        match enter().await {
            Err(error) if error.was_hung_up_on() => tracing::info!("{error}"),
            result => return result,
        }
        sleep(pause).await;
        pause *= 2;
    }
    enter().await
}
