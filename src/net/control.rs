//! The control connection: messages in both directions, each direction by itself, so that neither side can wait
//! for the other to read first.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::limits::{
    BEAT_INTERVAL, GOODBYE_TIMEOUT, GREETING_BYTES_MAX, MESSAGE_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_PAUSE,
    OUTBOX_QUICK_WRITES, PROGRESS_INTERVAL,
};
use crate::os::said::Said;
use crate::session::{End, Ending, OutboxReader, PeerMisbehaved};
use crate::wire::message::{Message, put_framed, take_framed};

/// Reads messages from a stream.
pub struct MessageReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Bytes of it that were messages and have been handed out.
    taken: usize,
    /// Bytes in a message at most.
    limit: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// For a greeting: the other side is a stranger, and costs little.
    pub fn new(stream: R) -> Self {
        MessageReader { stream, buffer: Vec::new(), taken: 0, limit: GREETING_BYTES_MAX }
    }

    /// The next message. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`End::Lost`] where the stream ends or fails, [`End::Silent`] where nothing comes for `patience`,
    /// [`End::Misbehaved`] for what is no message.
    pub async fn next<M: Message>(&mut self, patience: Duration) -> Result<M, End> {
        loop {
            let message = take_framed(&self.buffer[self.taken..], self.limit)
                .map_err(|error| PeerMisbehaved::Malformed { what: "a message", error })?;
            if let Some((message, len)) = message {
                self.taken += len;
                return Ok(message);
            }
            // Once for all that came with one read.
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.reserve(self.limit);
            match timeout(patience, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Err(End::Silent(patience)),
                Ok(Err(error)) => return Err(lost(&error)),
                Ok(Ok(0)) => return Err(End::Lost("the other side closed it".into())),
                Ok(Ok(_)) => {}
            }
        }
    }
}

fn lost(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            End::Lost("the other side closed it".into())
        }
        // TCP_USER_TIMEOUT may be quicker than we are.
        io::ErrorKind::TimedOut if error.raw_os_error().is_some() => {
            End::Lost("the other side has read nothing for so long that the system gave it up".into())
        }
        _ => End::Lost(Said(error).to_string()),
    }
}

/// Writes messages to a stream; what was begun can always be finished.
pub struct MessageWriter<W> {
    stream: W,
    buffer: Vec<u8>,
    written: usize,
}

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    pub fn new(stream: W) -> Self {
        MessageWriter { stream, buffer: Vec::new(), written: 0 }
    }

    pub fn put(&mut self, message: &impl Message) {
        put_framed(message, &mut self.buffer);
    }

    /// Writes all that was put. Cancelled, it goes on where it stopped the next time.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.written < self.buffer.len() {
            match self.stream.write(&self.buffer[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.written += n,
            }
        }
        // What it took to say much at once is not kept for a time in which little is said.
        match self.buffer.capacity() {
            0..=OUTBOX_BYTES_MAX => self.buffer.clear(),
            _ => self.buffer = Vec::new(),
        }
        self.written = 0;
        self.stream.flush().await
    }

    /// The same, for a peer that may not read.
    ///
    /// # Errors
    /// Those of the stream, and one where the other side reads nothing for `patience`.
    async fn flush_within(&mut self, patience: Duration) -> io::Result<()> {
        loop {
            let before = self.written;
            match timeout(patience, self.flush()).await {
                Ok(flushed) => return flushed,
                Err(_) if self.written > before => {}
                Err(_) => {
                    let text = format!("the other side has read nothing for {} s", patience.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
        }
    }

    /// Writes all that was put and ends our direction of the stream.
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }
}

/// One side of a session's control connection.
pub struct Talk<'a, R, W, Out> {
    pub reader: MessageReader<R>,
    pub writer: MessageWriter<W>,
    /// What the session's threads have to say.
    pub outbox: &'a OutboxReader<Out>,
    pub ending: &'a Ending,
    /// How long a silent peer is waited for.
    pub patience: Duration,
    /// How long one that does not read; for ever where it may have its reasons, as a disk that is slow.
    pub reads_within: Option<Duration>,
}

/// Carries a session's messages until its end is decided, by either side or by the network, then says goodbye:
/// what still waits in the outbox, and `last` words that depend on the end. Returns the end.
///
/// `beat` is what a side says by itself: that it lives, and how far it has come. It is asked every
/// [`PROGRESS_INTERVAL`], and whenever the outbox is nudged, and must answer where its argument says that it is due.
pub async fn converse<R, W, In, Out, Heard>(
    talk: Talk<'_, R, W, Out>,
    mut hear: impl FnMut(In) -> Heard,
    beat: impl FnMut(bool) -> Vec<Out>,
    last: impl FnOnce(&End) -> Vec<Out>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    In: Message,
    Out: Message,
    Heard: Future<Output = Result<(), End>>,
{
    let Talk { mut reader, mut writer, outbox, ending, patience, reads_within } = talk;
    reader.limit = MESSAGE_BYTES_MAX;
    let hearing = async {
        loop {
            match reader.next(patience).await {
                Ok(message) => {
                    if let Err(end) = hear(message).await {
                        return end;
                    }
                }
                Err(end) => return end,
            }
        }
    };
    tokio::select! {
        biased;
        _ = ending.wait() => {}
        end = hearing => ending.decide(end),
        error = speak(&mut writer, outbox, reads_within.unwrap_or(Duration::MAX), beat) => ending.decide(lost(&error)),
    }
    let end = ending.wait().await.clone();
    // To one who is gone there is nothing to say.
    if !matches!(end, End::Lost(_) | End::Silent(_)) {
        // What became of each file is worth waiting for, as long as the other side goes on reading.
        let most = if end == End::Complete { patience.max(GOODBYE_TIMEOUT) } else { GOODBYE_TIMEOUT };
        let _ = timeout(most, goodbye(&mut reader, &mut writer, outbox, last(&end))).await;
    }
    end
}

async fn speak<W: AsyncWrite + Unpin, Out: Message>(
    writer: &mut MessageWriter<W>,
    outbox: &OutboxReader<Out>,
    reads_within: Duration,
    mut beat: impl FnMut(bool) -> Vec<Out>,
) -> io::Error {
    let mut tick = interval(PROGRESS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut spoke = Instant::now();
    let mut quick = 0;
    loop {
        let beats = tokio::select! {
            nudged = outbox.take_all(&mut writer.buffer) => nudged,
            _ = tick.tick() => true,
        };
        if beats {
            for message in beat(spoke.elapsed() >= BEAT_INTERVAL) {
                writer.put(&message);
            }
        }
        if !writer.buffer.is_empty() {
            quick = if spoke.elapsed() < OUTBOX_PAUSE { quick + 1 } else { 0 };
            if quick > OUTBOX_QUICK_WRITES {
                sleep(OUTBOX_PAUSE).await;
                outbox.take_rest(&mut writer.buffer);
            }
            spoke = Instant::now();
            if let Err(error) = writer.flush_within(reads_within).await {
                return error;
            }
        }
    }
}

/// Writes what still waits, closes our direction and waits for the other side to close its own: closing a socket with unread
/// bytes in it would destroy what the other side has not read yet. Gives up where nothing moves for [`GOODBYE_TIMEOUT`].
async fn goodbye<R: AsyncRead + Unpin, W: AsyncWrite + Unpin, Out: Message>(
    reader: &mut MessageReader<R>,
    writer: &mut MessageWriter<W>,
    outbox: &OutboxReader<Out>,
    last: Vec<Out>,
) -> io::Result<()> {
    // More may wait than one batch: outcomes that the other side must hear before the last words.
    loop {
        outbox.take_rest(&mut writer.buffer);
        if writer.buffer.is_empty() {
            break;
        }
        timeout(GOODBYE_TIMEOUT, writer.flush()).await??;
    }
    last.iter().for_each(|message| writer.put(message));
    timeout(GOODBYE_TIMEOUT, writer.close()).await??;
    let mut unread = [0; 1024];
    while timeout(GOODBYE_TIMEOUT, reader.stream.read(&mut unread)).await?? > 0 {}
    Ok(())
}
