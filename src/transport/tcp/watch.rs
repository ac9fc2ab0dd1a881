//! Who is told what goes on at a receiver.

use std::net::IpAddr;
use std::sync::Arc;

use crate::session::{End, Observer, Progress};
use crate::trust::code::Code;
use crate::trust::fingerprint::Fingerprint;

/// Who is told what goes on at the receiver.
pub trait Receptionist: Send + Sync {
    /// A session of so many data connections began; whoever is returned hears how it goes on.
    fn started(&self, peer: IpAddr, connections: u8, progress: Arc<Progress>) -> Arc<dyn SessionWatch>;
    /// Somebody measured the way here with so many bytes, of which nothing was stored.
    fn measured(&self, peer: IpAddr, bytes: u64, end: &End);
    /// Somebody was sent away.
    fn refused(&self, peer: IpAddr, why: &str);
    /// Somebody proved the code.
    fn paired(&self, peer: IpAddr, key: &Fingerprint);
    /// The code was guessed at too often; this one holds from now on.
    fn new_code(&self, code: &Code);
}

/// Who is told how one session goes.
pub trait SessionWatch: Observer {
    /// The session is over. Not called for one in which nothing was offered.
    fn ended(&self, end: &End);
}
