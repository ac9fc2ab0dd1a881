//! The sockets that a receiver listens on, and what it is told while it serves.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};

use super::Manner;

/// What a receiver is told while it serves.
#[derive(Debug)]
pub enum Order {
    /// Receive like this from the next transfer on.
    Change(Manner),
    /// Let nobody in any more, and end when the last session has ended.
    Finish,
    /// End all sessions now. Their senders hear that the receiver may be back.
    Park,
    /// End all sessions now, for good.
    Stop,
}

/// One or more listening sockets. Whoever comes to one is as good as whoever comes to another.
pub(super) struct Door {
    listeners: Vec<TcpListener>,
    /// Where to look first, so that a flood at one socket keeps nobody out at the others.
    next: usize,
}

impl Door {
    pub fn open(listeners: Vec<std::net::TcpListener>) -> io::Result<Door> {
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        Ok(Door { listeners, next: 0 })
    }

    /// The next connection. Cancelling it loses none.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let count = self.listeners.len();
        poll_fn(|context| {
            for at in (0..count).map(|n| (self.next + n) % count) {
                if let Some(Poll::Ready(accepted)) = self.listeners.get(at).map(|l| l.poll_accept(context)) {
                    self.next = at + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::transport::tcp::listen::listen;

    #[tokio::test]
    async fn nobody_at_one_socket_waits_for_the_end_of_a_flood_at_another() {
        let listeners = [0, 0].map(|_| listen("127.0.0.1:0".parse().unwrap()).unwrap());
        let [flooded, quiet] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let mut door = Door::open(listeners.into()).unwrap();
        let flood: Vec<_> = (0..8).map(|_| TcpStream::connect(flooded).unwrap()).collect();
        let alone = TcpStream::connect(quiet).unwrap();
        let mut came = Vec::new();
        for _ in 0..2 {
            came.push(door.accept().await.unwrap().1);
        }
        assert!(came.contains(&alone.local_addr().unwrap()), "{came:?}");
        drop(flood);
    }
}
