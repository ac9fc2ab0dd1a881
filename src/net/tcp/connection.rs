//! The two kinds of connection, each over a TCP socket of its own: a control connection with TLS on it, and a
//! data connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::{ConnectionCommon, ServerConfig, SideData};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, client};
use zeroize::Zeroizing;

use super::{dial, large_packets, tune};
use crate::limits::CONNECT_TIMEOUT;
use crate::session::carrier::{AnyLane, Arrival, Arrivals, Doing, Reached, Way};
use crate::session::link::{ConnectionHandle, Control, Duplex, FarEnd, Lane, Path, Traffic, Troubles};
use crate::trust::tls::{self, TlsError};

/// A data connection. While its thread writes, the kernel fills segments (Nagle's algorithm); when there is
/// nothing to write for now, the last one does not wait until those before it are acknowledged.
struct TcpLane(Socket);

impl TcpLane {
    fn boxed(stream: TcpStream) -> io::Result<Box<dyn AnyLane>> {
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
fn control<S: Duplex + 'static, Side>(
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

// At the receiver.

/// The listening sockets of a receiver. Whoever comes to one is as good as whoever comes to another.
pub struct Listeners {
    listeners: Vec<TcpListener>,
    tls: Arc<ServerConfig>,
    /// Where to look first, so that a flood at one socket keeps nobody out at the others.
    next: usize,
}

impl Listeners {
    /// # Errors
    /// Those of the system, which watches them.
    pub fn new(listeners: Vec<std::net::TcpListener>, tls: Arc<ServerConfig>) -> io::Result<Listeners> {
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        Ok(Listeners { listeners, tls, next: 0 })
    }
}

impl Arrivals for Listeners {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Arrival>>> {
        let count = self.listeners.len();
        for at in (0..count).map(|n| (self.next + n) % count) {
            if let Some(Poll::Ready(accepted)) = self.listeners.get(at).map(|l| l.poll_accept(context)) {
                self.next = at + 1;
                let (stream, addr) = accepted?;
                return Poll::Ready(Ok(Box::new(TcpArrival { stream, addr, tls: self.tls.clone() })));
            }
        }
        Poll::Pending
    }
}

struct TcpArrival {
    stream: TcpStream,
    addr: SocketAddr,
    tls: Arc<ServerConfig>,
}

impl Arrival for TcpArrival {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn speaks(&self, patience: Duration) -> io::Result<()> {
        tune::control(&SockRef::from(&self.stream), patience)
    }

    fn into_control(self: Box<Self>) -> Doing<'static, io::Result<Control>> {
        let TcpArrival { stream, addr, tls } = *self;
        Box::pin(async move {
            let stream = TlsAcceptor::from(tls).accept(stream).await?;
            control(stream, |stream| (stream.get_ref().0, &**stream.get_ref().1), addr)
        })
    }

    fn into_lane(self: Box<Self>, patience: Duration) -> io::Result<Box<dyn AnyLane>> {
        tune::data(&SockRef::from(&self.stream), self.addr, patience)?;
        TcpLane::boxed(self.stream)
    }
}

impl AsyncRead for TcpArrival {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TcpArrival {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// At the sender.

/// Connects to the port that the control connection went to.
struct TcpWay(SocketAddr);

impl Way for TcpWay {
    fn addr(&self) -> SocketAddr {
        self.0
    }

    fn open(
        &self,
        hello: Vec<u8>,
        segment_bytes: Option<u32>,
        patience: Duration,
    ) -> Doing<'_, io::Result<Box<dyn AnyLane>>> {
        Box::pin(async move {
            let mut stream = dial::data(self.0, segment_bytes, patience).await?;
            timeout(CONNECT_TIMEOUT, stream.write_all(&hello)).await??;
            TcpLane::boxed(stream)
        })
    }

    fn segment_bytes(&self) -> Option<u32> {
        large_packets::segment_bytes(self.0)
    }

    fn keep_small(&self) -> bool {
        large_packets::keep_small(self.0)
    }

    fn headers_bytes(&self) -> u32 {
        large_packets::headers_bytes(self.0)
    }
}

/// What a sender has when TLS is complete.
///
/// # Errors
/// As [`control`].
pub(super) fn reached(
    stream: client::TlsStream<TcpStream>,
    addr: SocketAddr,
    round_trip: Duration,
) -> io::Result<Reached> {
    let control = control(stream, |stream| (stream.get_ref().0, &**stream.get_ref().1), addr)?;
    Ok(Reached { control, way: Arc::new(TcpWay(addr)), round_trip })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::net::tcp::listen::listen;
    use crate::trust::dir::ConfigDir;
    use crate::trust::identity::Identity;

    #[tokio::test]
    async fn nobody_at_one_socket_waits_for_the_end_of_a_flood_at_another() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&ConfigDir::at(folder.path()).unwrap()).unwrap();
        let listeners = [0, 0].map(|_| listen("127.0.0.1:0".parse().unwrap()).unwrap());
        let [flooded, quiet] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let mut door = Listeners::new(listeners.into(), tls::server_config(&identity).unwrap()).unwrap();
        let flood: Vec<_> = (0..8).map(|_| Socket::connect(flooded).unwrap()).collect();
        let alone = Socket::connect(quiet).unwrap();
        let mut came = Vec::new();
        for _ in 0..2 {
            came.push(poll_fn(|context| door.poll_accept(context)).await.unwrap().addr());
        }
        assert!(came.contains(&alone.local_addr().unwrap()), "{came:?}");
        drop(flood);
    }
}
