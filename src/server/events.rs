//! Who is told what goes on at a receiver.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::session::{End, Observer, Progress};
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;

/// Who sends, and what, as far as people want to know.
#[derive(Clone, Debug)]
pub struct Caller {
    pub ip: IpAddr,
    /// What it is called here, or the beginning of its key where it has no name; nothing if its key is our
    /// own.
    pub name: Option<String>,
    /// Data connections that it wants.
    pub connections: u8,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Where its files go, unless that is the standard output.
    pub folder: Option<PathBuf>,
}

/// Who is told what goes on at the receiver.
pub trait Receptionist: Send + Sync {
    /// A session began; whoever is returned hears how it goes on.
    fn started(&self, caller: Caller, progress: Arc<Progress>) -> Arc<dyn SessionWatch>;
    /// Somebody measured the way here with so many bytes, of which nothing was stored.
    fn measured(&self, peer: IpAddr, bytes: u64, end: &End);
    /// Somebody was sent away.
    fn refused(&self, peer: IpAddr, why: &str);
    /// Somebody went by itself before it was let in.
    fn disconnected(&self, peer: IpAddr, why: &str);
    /// Somebody proved the code, and is let in without it from now on if it is remembered.
    fn paired(&self, peer: IpAddr, key: &Fingerprint, remembered: bool);
    /// The code was guessed at too often; this one holds from now on.
    fn new_code(&self, code: &Code);
}

/// Who is told how one session goes.
pub trait SessionWatch: Observer {
    /// The session is over. Not called for one in which nothing was offered.
    fn ended(&self, end: &End);
}
