//! Receivers that are driven by hand, and somebody in the middle who is one to the sender.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lanx::trust::code::Code;
use lanx::trust::identity::Identity;
use lanx::trust::pairing::{Responder, Setting};
use lanx::wire::frame::HEADER_BYTES;
use lanx::wire::message::{ReceiverMessage, SenderMessage, SessionId};
use lanx::wire::options::Options;
use lanx::wire::preface::{BELONGING_BYTES, PREFACE_BYTES, Role, Status};
use lanx::wire::seal::{Cipher, TAG_BYTES};

use super::{HandSender, Talk, patient};

/// A receiver driven by hand.
pub struct HandReceiver {
    listener: TcpListener,
    pub addr: SocketAddr,
    id: Identity,
}

impl HandReceiver {
    pub fn listen(id: Identity) -> HandReceiver {
        HandReceiver::listen_at((Ipv4Addr::LOCALHOST, 0).into(), id)
    }

    pub fn listen_at(addr: SocketAddr, id: Identity) -> HandReceiver {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        HandReceiver { listener, addr, id }
    }

    /// Takes data connections and ends each at once. Returns how many there were when nobody comes any more.
    pub fn end_data_connections(&self, over: &AtomicBool) -> usize {
        self.listener.set_nonblocking(true).unwrap();
        let mut ended = 0;
        while !over.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok(_) => ended += 1,
                Err(_) => thread::yield_now(),
            }
        }
        ended
    }

    /// Takes a data connection, and the header of its first frame.
    pub fn first_header(&self) -> io::Result<[u8; HEADER_BYTES]> {
        let (stream, _) = self.listener.accept()?;
        let mut stream = patient(stream, &[])?;
        stream.read_exact(&mut [0; PREFACE_BYTES + BELONGING_BYTES + TAG_BYTES])?;
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        Ok(header)
    }

    /// Takes the next control connection through its TLS handshake.
    pub fn accept(&self) -> io::Result<Talk> {
        let (mut stream, _) = self.listener.accept()?;
        let mut preface = [0; PREFACE_BYTES];
        stream.read_exact(&mut preface)?;
        assert_eq!(Role::decode(preface), Ok(Role::Control));
        Talk::server(&self.id, patient(stream, &Status::Welcome.encode())?)
    }
}

/// What a receiver says to let a sender in.
pub fn welcome() -> ReceiverMessage {
    ReceiverMessage::Welcome {
        session: SessionId([7; 16]),
        connections: 1,
        cipher: Cipher::preferred(),
        options: Options::default(),
    }
}

/// Lets a sender prove the code `code`, as an honest receiver that has this code; false where it does not know it.
pub fn demand_code(talk: &mut Talk, code: &str) -> io::Result<bool> {
    talk.say(&ReceiverMessage::CodeWanted)?;
    let SenderMessage::Pake { message } = talk.hear()? else { panic!("no SPAKE2 message") };
    let setting = Setting { sender: talk.peer, receiver: talk.own, binding: &talk.binding };
    let code = Code::from_text(code).unwrap();
    let (responder, message) = Responder::answer(&code, &setting, &message).unwrap();
    talk.say(&ReceiverMessage::Pake { message })?;
    let SenderMessage::Proof { proof } = talk.hear()? else { panic!("no proof") };
    let Ok(proof) = responder.verify(&proof) else { return Ok(false) };
    talk.say(&ReceiverMessage::Proof { proof })?;
    Ok(true)
}

/// Somebody between a sender and a receiver who ends TLS on both sides, with the keys of `here` towards the sender and
/// `there` towards the receiver, and passes on each message. Returns what both sides said, until one hung up.
pub fn pass_on(here: &HandReceiver, there: &Identity, receiver: SocketAddr) -> io::Result<Vec<String>> {
    let mut sender = here.accept()?;
    let mut receiver = HandSender::connect(None, there, receiver)?;
    let mut heard = Vec::new();
    loop {
        let Ok(question) = sender.hear::<SenderMessage>() else { return Ok(heard) };
        heard.push(format!("{question:?}"));
        receiver.talk.say(&question)?;
        let Ok(answer) = receiver.hear() else { return Ok(heard) };
        heard.push(format!("{answer:?}"));
        sender.say(&answer)?;
    }
}
