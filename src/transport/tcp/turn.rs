//! A sender that was let in and waits for its turn.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::time::{interval, timeout};

use super::admission::{Place, Standing};
use super::admit::{Guest, Reader, Refusal};
use crate::limits::{BEAT_INTERVAL, GOODBYE_TIMEOUT, QUEUE_NEWS_INTERVAL};
use crate::protocol::message::{ReceiverMessage, SenderMessage, Waiting};
use crate::session::{End, PeerMisbehaved};

/// Waits until the guest is served at `place`, tells it meanwhile where it stands, and notices when it leaves.
///
/// `farewell` is what it hears where that never comes.
///
/// # Errors
/// [`Refusal`] where it leaves, is lost, misbehaves, or will not be served any more.
pub(super) async fn wait_for_turn(
    guest: &mut Guest,
    place: &Place,
    ip: IpAddr,
    patience: Duration,
    farewell: impl Fn() -> ReceiverMessage,
) -> Result<(), Refusal> {
    let Standing::Waiting(Waiting { serving, own, before }) = place.standing() else { return Ok(()) };
    tracing::info!("{ip} waits for its turn: under way {serving} (its own: {own}), ahead of it {before}");
    let Guest { reader, writer, .. } = guest;
    let (leaving, turn) = (leaves(reader, patience), place.turn());
    tokio::pin!(leaving, turn);
    let mut news = interval(QUEUE_NEWS_INTERVAL);
    let mut told: Option<(Waiting, Instant)> = None;
    loop {
        tokio::select! {
            refusal = &mut leaving => return Err(refusal),
            turn = &mut turn => match turn {
                Standing::Closed => {
                    writer.put(&farewell());
                    let _ = timeout(GOODBYE_TIMEOUT, writer.close()).await;
                    return Err(Refusal::LeftQueue(End::Stopped));
                }
                Standing::Served | Standing::Waiting(_) => {
                    tracing::info!("{ip} has its turn");
                    return Ok(());
                }
            },
            _ = news.tick() => {}
        }
        let Standing::Waiting(waiting) = place.standing() else { continue };
        if told.is_none_or(|(before, at)| before != waiting || at.elapsed() >= BEAT_INTERVAL) {
            writer.put(&ReceiverMessage::Waiting(waiting));
            told = Some((waiting, Instant::now()));
            match timeout(patience, writer.flush()).await {
                Ok(written) => written?,
                Err(_) => return Err(Refusal::LeftQueue(End::Silent(patience))),
            }
        }
    }
}

/// Hears a sender that waits, until it does so no longer.
async fn leaves(reader: &mut Reader, patience: Duration) -> Refusal {
    loop {
        match reader.next(patience).await {
            Ok(SenderMessage::Beat) => {}
            Ok(SenderMessage::Leave { text }) => return Refusal::LeftQueue(End::PeerLeft(text)),
            Ok(_) => {
                let got = "another message";
                let end = PeerMisbehaved::Unexpected { got, expected: "a sender that waits" };
                return Refusal::End(end.into());
            }
            Err(end @ End::Misbehaved(_)) => return Refusal::End(end),
            Err(end) => return Refusal::LeftQueue(end),
        }
    }
}
