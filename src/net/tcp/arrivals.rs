//! Who comes to the listening sockets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::connection::{TcpLane, control};
use super::tune;
use crate::session::carrier::{AnyLane, Arrival, Arrivals, Doing};
use crate::session::link::Control;

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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use std::net::TcpStream as Socket;

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
        let mut door =
            Listeners::new(listeners.into(), crate::trust::tls::server_config(&identity).unwrap()).unwrap();
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
