//! The two kinds of connection, each over a TCP socket of its own: a control connection with TLS on it, and a
//! data connection. [`listen`](super::listen) and [`reach`](super::reach) make them.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::{ConnectionCommon, SideData};
use socket2::SockRef;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{large_packets, tune};
use crate::session::carrier::AnyLane;
use crate::session::link::{ConnectionHandle, Control, Duplex, FarEnd, Lane, Path, Traffic, Troubles};
use crate::trust::tls::{self, TlsError};

/// A data connection. While its thread writes, the kernel fills segments (Nagle's algorithm); when there is
/// nothing to write for now, the last one does not wait until those before it are acknowledged.
pub(super) struct TcpLane(Socket);

impl TcpLane {
    pub fn boxed(stream: TcpStream) -> io::Result<Box<dyn AnyLane>> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(Box::new(TcpLane(stream)))
    }
}

impl Lane for TcpLane {
    fn handle(&self) -> io::Result<Arc<dyn ConnectionHandle>> {
        Ok(Arc::new(LaneHandle(self.0.try_clone()?)))
    }
}

impl Read for TcpLane {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for TcpLane {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        // What has gathered leaves as soon as the option is set (tcp(7)).
        self.0.set_nodelay(true)?;
        self.0.set_nodelay(false)
    }
}

/// A data connection's socket, beside its thread.
struct LaneHandle(Socket);

impl ConnectionHandle for LaneHandle {
    fn hang_up(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }

    fn finish(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn delivered(&self) -> Option<u64> {
        tune::delivered(&self.0)
    }

    fn swallowed(&self) -> Option<String> {
        large_packets::swallowed(&self.0).map(|sign| sign.to_string())
    }

    /// The receiver sends nothing here, so there is something to read only when it has closed.
    fn is_dead(&self) -> bool {
        let peeked = recv(&self.0, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Err(Errno::AGAIN | Errno::INTR))
    }

    fn troubles(&self) -> Troubles {
        tune::troubles(&self.0)
    }

    fn traffic(&self) -> Option<Traffic> {
        tune::traffic(&self.0)
    }

    fn path(&self) -> Path {
        tune::path(&self.0)
    }

    fn pace(&self, limit: u64) {
        tune::pace(&self.0, limit);
    }
}

/// A control connection's socket, beside whoever talks on it. It is closed when this is gone as well.
struct ControlHandle(OwnedFd);

impl ConnectionHandle for ControlHandle {
    fn hang_up(&self) {
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
    }

    fn is_dead(&self) -> bool {
        tune::has_hung_up(&self.0)
    }

    fn swallowed(&self) -> Option<String> {
        large_packets::swallowed(&self.0).map(|sign| sign.to_string())
    }

    fn is_heard(&self) -> bool {
        large_packets::is_heard(&self.0)
    }

    fn troubles(&self) -> Troubles {
        tune::troubles(&self.0)
    }
}

/// A control connection on `socket`, as soon as TLS is complete on `stream`.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] where this machine has no descriptor left, and one with a [`TlsError`] in it where the other side
/// is not to be talked to.
pub(super) fn control<S: Duplex + 'static, Side>(
    stream: S,
    of: impl FnOnce(&S) -> (&TcpStream, &ConnectionCommon<Side>),
    addr: SocketAddr,
) -> io::Result<Control>
where
    Side: SideData,
{
    let (socket, connection) = of(&stream);
    // Not before: those who get no further are many.
    let socket = socket.as_fd().try_clone_to_owned();
    let socket = socket.map_err(|error| io::Error::new(io::ErrorKind::ResourceBusy, error.to_string()))?;
    let handle = Arc::new(ControlHandle(socket));
    let far_end = far_end(connection, addr).map_err(io::Error::other)?;
    Ok(Control { stream: Box::new(stream), handle, far_end })
}

fn far_end<Side>(connection: &ConnectionCommon<Side>, addr: SocketAddr) -> Result<FarEnd, TlsError> {
    Ok(FarEnd {
        addr,
        key: tls::established_peer(connection)?.0,
        binding: Zeroizing::new(*tls::channel_binding(connection)?.as_bytes()),
        secret: tls::session_secret(connection)?,
    })
}
