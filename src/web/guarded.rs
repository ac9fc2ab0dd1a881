//! A connection whose other end has to keep going: one that takes what it asked for drop by drop would hold a
//! place, a file and a buffer for as long as it likes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Who takes no more than [`WINDOW_BYTES`] in this time while more waits for him is given up.
pub const WINDOW: Duration = Duration::from_secs(30);

/// About 1 KiB a second: less than any link that is of use has.
pub const WINDOW_BYTES: u64 = 32 * 1024;

/// The connection, and how much was taken since when.
pub struct Guarded<S> {
    inner: S,
    /// While something waits to be taken.
    window: Option<Pin<Box<Sleep>>>,
    taken: u64,
}

impl<S> Guarded<S> {
    pub fn new(inner: S) -> Guarded<S> {
        Guarded { inner, window: None, taken: 0 }
    }

    /// What comes of a write, given what the connection says.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.taken = self.taken.saturating_add(count as u64);
                if self.taken >= WINDOW_BYTES {
                    self.rest();
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let begin = || Box::pin(sleep_until(Instant::now() + WINDOW));
                match self.window.get_or_insert_with(begin).as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no more than {} bytes were taken in {} s", self.taken, WINDOW.as_secs()),
                    ))),
                }
            }
        }
    }

    /// Nothing waits, or enough was taken: the next window begins with the next wait.
    fn rest(&mut self) {
        self.window = None;
        self.taken = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if flushed.is_ready() {
            self.rest();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_is_given_up_and_who_keeps_going_is_not() {
        for (each_second, kept) in [(0, false), (512, false), (4096, true)] {
            let (near, mut far) = duplex(1024);
            let taking = tokio::spawn(async move {
                let mut some = vec![0; each_second];
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if far.read_exact(&mut some).await.is_err() {
                        return;
                    }
                }
            });
            let mut guarded = Guarded::new(near);
            let all = vec![0; 10 * WINDOW_BYTES as usize];
            let written = timeout(Duration::from_secs(1000), guarded.write_all(&all)).await.unwrap();
            assert_eq!(written.is_ok(), kept, "{each_second} a second: {written:?}");
            taking.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_may_be_silent() {
        let (near, mut far) = duplex(1024);
        let mut guarded = Guarded::new(near);
        guarded.write_all(b"answer").await.unwrap();
        guarded.flush().await.unwrap();
        tokio::time::sleep(10 * WINDOW).await;
        guarded.write_all(&[0; 1018]).await.unwrap();
        assert_eq!(far.read(&mut [0; 2048]).await.unwrap(), 1024);
        guarded.write_all(b"more").await.unwrap();
    }
}
