//! Those who were let in, at the receiver: a place for each, its session from the welcome to the end, and
//! what is kept of a session that was lost.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use super::events::Caller;
use super::handshake::{AcceptedPeer, Reader, Refusal};
use super::queue::{Party, Slot, TurnState};
use super::session::Session;
use super::state::{Passage, ReceiveOptions, SessionServer};
use crate::content::compress::Codecs;
use crate::limits::{
    BEAT_INTERVAL, ENDED_SESSIONS_MAX, GOODBYE_TIMEOUT, PLACE_KEPT_FOR, QUEUE_NEWS_INTERVAL,
};
use crate::name::{BadName, RelativePath};
use crate::os::background::aside;
use crate::session::probe::NoFiles;
use crate::session::receiver::outcomes::Outcomes;
use crate::session::receiver::room::{Quota, Room};
use crate::session::receiver::{Receiving, Terms};
use crate::session::{End, Observer, PeerMisbehaved, Progress, outbox};
use crate::store::{Destination, Entry, Owner, SinkError};
use crate::trust::fingerprint::Fingerprint;
use crate::trust::guesses::network_of;
use crate::wire::message::{Barred, ReceiverMessage, SenderMessage, SessionId, Waiting, Wishes};

impl SessionServer {
    /// Serves one session from its welcome to its end.
    pub(super) async fn host(self: &Arc<Self>, mut accepted: AcceptedPeer, addr: SocketAddr) {
        let ip = addr.ip().to_canonical();
        let measure = accepted.wishes.measure;
        if measure && self.how().to.output().is_some() {
            // There is one place, and it is for the file.
            let text = "it takes one file to its standard output and lets nobody measure; start `lanx recv DIR` there";
            accepted.writer.put(&ReceiverMessage::Leave { text: text.into() });
            let _ = timeout(GOODBYE_TIMEOUT, accepted.writer.close()).await;
            return tracing::info!("{ip} left: it wished to measure");
        }
        let slot = match self.clear_the_way(&accepted).await {
            Some(slot) => slot,
            None => match self.slot(&mut accepted, ip).await {
                Ok(slot) => Arc::new(slot),
                Err(refusal) => return self.refused(ip, &refusal),
            },
        };
        if self.is_leaving() {
            accepted.writer.put(&self.farewell());
            let _ = timeout(GOODBYE_TIMEOUT, accepted.writer.close()).await;
            return self.refused(ip, &Refusal::Away);
        }
        let id = match new_session_id() {
            Ok(id) => id,
            Err(error) => return self.refused(ip, &Refusal::Here(format!("no random numbers: {error}"))),
        };
        self.see_out(&accepted).await;
        let Some(to) = self.open_target(&mut accepted, ip).await else { return };
        let progress = Arc::new(Progress::default());
        // Nothing of it is a transfer: not for `once`, nor for those who count files.
        if measure {
            let (session, end) = self.run(id, accepted, slot, to, Arc::new(NoFiles), progress).await;
            return self.receptionist.measured(
                ip,
                Progress::get(&session.receiving.progress().written),
                &end,
            );
        }
        let _ = self.passages.send(Passage::Began);
        let (connections, dry_run) = (accepted.connections, accepted.wishes.dry_run);
        let folder = to.to.folder().map(|sink| sink.path().into());
        let caller = Caller { ip, name: self.auth.name_of(&accepted.peer), connections, dry_run, folder };
        let watch = self.receptionist.started(caller, progress.clone());
        let (session, end) = self.run(id, accepted, slot, to, watch.clone(), progress).await;
        if !session.receiving.had_offers() {
            tracing::info!("{ip} offered nothing: {end}");
            let _ = self.passages.send(Passage::Nothing);
            return;
        }
        watch.ended(&end);
        let lost = matches!(end, End::Lost(_) | End::Silent(_));
        if lost {
            self.keep_place(id, &session);
        }
        // Whoever only looks leaves `once` to whoever sends.
        let passage = match (dry_run, lost) {
            (true, _) => Passage::Nothing,
            (false, true) => Passage::Lost,
            (false, false) => Passage::Over,
        };
        let _ = self.passages.send(passage);
    }

    /// Opens what this session receives into. Where that cannot be used, the sender hears why, and goes.
    async fn open_target(&self, accepted: &mut AcceptedPeer, ip: IpAddr) -> Option<Opened> {
        let error = match self.open_for(accepted).await {
            Ok(opened) => return Some(opened),
            Err(error) => error,
        };
        accepted.writer.put(&ReceiverMessage::Misplaced { text: error.as_str().into() });
        let _ = timeout(GOODBYE_TIMEOUT, accepted.writer.close()).await;
        self.refused(ip, &Refusal::Here(error));
        None
    }

    /// Opens it as this sender is to see it, or tells why that cannot be.
    async fn open_for(&self, accepted: &AcceptedPeer) -> Result<Opened, String> {
        let ReceiveOptions { to: target, max_file, min_free, .. } = self.how();
        let rights = self.auth.rights_of(&accepted.peer).map_err(|error| error.to_string())?;
        let into = within(rights.into.as_deref(), accepted.into.as_deref()).map_err(|bad| bad.to_string())?;
        let (keeps_existing, quota_bytes) = (rights.keeps_existing, rights.quota_bytes);
        // TLS has shown that the key is its own, also where everybody is let in.
        let owner = Owner::of_key(&accepted.peer.0);
        let makes = !accepted.wishes.dry_run && !accepted.wishes.measure;
        let began = accepted.began;
        // A disk may take its time.
        let shared = self.quotas.lock().get(&accepted.peer).and_then(Weak::upgrade);
        let opened = aside(move || {
            let to = target.open(Entry { owner, into, makes, keeps_existing, began })?;
            let quota = quota_bytes.zip(to.folder()).map(|(most, sink)| {
                let shared = shared.filter(|quota| quota.most() == most);
                shared.unwrap_or_else(|| Arc::new(Quota::new(most, sink.bytes_there())))
            });
            Ok::<_, SinkError>((Arc::new(to), quota))
        });
        let (to, quota) = match opened.await {
            Ok(opened) => opened.map_err(|error| error.to_string())?,
            Err(error) => return Err(format!("it cannot start a thread: {error}")),
        };
        let quota = quota.map(|quota| self.share_quota(accepted.peer, quota));
        Ok(Opened { to, keeps_existing, room: Room { max_file, min_free, quota } })
    }

    /// All sessions of one sender share what it may have here: the first one has counted what there was.
    fn share_quota(&self, peer: Fingerprint, counted: Arc<Quota>) -> Arc<Quota> {
        let mut quotas = self.quotas.lock();
        quotas.retain(|_, quota| quota.strong_count() > 0);
        let shared = quotas.get(&peer).and_then(Weak::upgrade);
        let quota = shared.filter(|quota| quota.most() == counted.most()).unwrap_or(counted);
        quotas.insert(peer, Arc::downgrade(&quota));
        quota
    }

    /// Runs a session until the last of it is gone.
    async fn run(
        &self,
        id: SessionId,
        mut accepted: AcceptedPeer,
        slot: Arc<Slot>,
        Opened { to, keeps_existing, room }: Opened,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
    ) -> (Arc<Session>, End) {
        let (outbox, outbox_reader) = outbox();
        let Wishes { dry_run, delta, measure } = accepted.wishes;
        let how = self.how();
        let codecs = if how.compress { accepted.codecs } else { Codecs::NONE };
        let (delta, diligence) = (delta && how.delta && !keeps_existing, how.diligence);
        let terms = Terms { dry_run, measure, delta, diligence, codecs };
        let mut outcomes = Outcomes::new(to, terms, outbox, slot.clone(), observer, progress);
        (outcomes.room, outcomes.cache) = (room, how.cache);
        let receiving = Arc::new(Receiving::new(outcomes, how.pace));
        let session = Arc::new(Session::new(receiving, id, &mut accepted, slot));
        session.receiving.progress().follow(&session);
        self.sessions.lock().insert(id, session.clone());
        self.ledger.began(id, &session);
        let end = session.run(accepted, &outbox_reader, how.patience).await;
        session.dismiss().await;
        if let Some(cache) = session.receiving.cache().cloned() {
            // It may wait for another program, and other sessions go on meanwhile.
            let _ = aside(move || cache.flush()).await;
        }
        self.ledger.ended(id);
        self.forget(id);
        (session, end)
    }

    /// Gives a sender a slot, in its turn.
    async fn slot(&self, accepted: &mut AcceptedPeer, ip: IpAddr) -> Result<Slot, Refusal> {
        let party = if self.auth.open { Party::Network(network_of(ip)) } else { Party::Key(accepted.peer) };
        let Some(slot) = self.admission.enter(party, accepted.connections) else {
            accepted.writer.put(&ReceiverMessage::Barred(Barred::Busy));
            // Whoever does not even read this is told nothing.
            let _ = timeout(GOODBYE_TIMEOUT, accepted.writer.close()).await;
            return Err(Refusal::Busy);
        };
        wait_for_turn(accepted, &slot, ip, self.how().patience, || self.farewell()).await?;
        Ok(slot)
    }

    /// Ends the session that a sender goes on with, if it is still here. Returns its place, if it was the
    /// sender's own.
    async fn clear_the_way(&self, accepted: &AcceptedPeer) -> Option<Arc<Slot>> {
        let id = accepted.resumes?;
        let session = self.sessions.lock().get(&id).filter(|session| session.peer == accepted.peer).cloned();
        // Once: two that claim to go on with one session are two transfers, and the second one waits for its
        // turn.
        let slot = match session {
            Some(session) => {
                let slot = session.hand_over_place()?;
                session.make_way().await;
                slot
            }
            None => {
                let mut kept = self.kept.lock();
                kept.get(&id).filter(|(peer, _)| *peer == accepted.peer)?;
                kept.remove(&id)?.1
            }
        };
        slot.hand_over(accepted.connections);
        Some(slot)
    }

    /// Waits for the end of the sessions whose sender was killed and has come back as this sender. What they
    /// still store would otherwise meet what it sends now: in a folder that is finished, it would change its
    /// time.
    async fn see_out(&self, accepted: &AcceptedPeer) {
        let own = |session: &&Arc<Session>| session.peer == accepted.peer;
        let own: Vec<_> = self.sessions.lock().values().filter(own).cloned().collect();
        // All at once, as each may take its time to answer, and to end.
        let look = |session: Arc<Session>| async move {
            if session.is_forsaken().await {
                session.make_way().await;
            }
        };
        let mut looking: JoinSet<()> = own.into_iter().map(look).collect();
        while looking.join_next().await.is_some() {}
    }

    fn forget(&self, id: SessionId) {
        let mut ended = self.ended.lock();
        if ended.len() >= ENDED_SESSIONS_MAX {
            ended.pop_front();
        }
        ended.push_back(id);
        // Under the lock: it is here, or among the ended ones.
        self.sessions.lock().remove(&id);
    }

    /// Keeps the place of a session that was lost, for a sender that comes back at once.
    fn keep_place(self: &Arc<Self>, id: SessionId, session: &Session) {
        // Unless it is back already.
        let Some(slot) = session.hand_over_place() else { return };
        self.kept.lock().insert(id, (session.peer, slot));
        let reception = self.clone();
        tokio::spawn(async move {
            sleep(PLACE_KEPT_FOR).await;
            reception.kept.lock().remove(&id);
        });
    }
}

/// What a session receives into, and how that is bounded.
struct Opened {
    to: Arc<Destination>,
    keeps_existing: bool,
    room: Room,
}

/// The folder that a sender gets to: the one that it is let into, and within it the one that it wants.
fn within(right: Option<&str>, wish: Option<&[u8]>) -> Result<Option<RelativePath>, BadName> {
    let right = right.map(|right| RelativePath::from_wire(right.as_bytes())).transpose()?;
    let wish = wish.map(RelativePath::from_wire).transpose()?;
    match (right, wish) {
        (Some(right), Some(wish)) => right.join_path(&wish).map(Some),
        (right, wish) => Ok(right.or(wish)),
    }
}

/// The name of a session. Not a secret: whoever opens a data connection has to prove more.
fn new_session_id() -> Result<SessionId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(SessionId(id))
}

// A sender that was let in and waits for its turn.

/// Waits until the sender is served in `slot`, tells it meanwhile where it stands, and notices when it
/// leaves.
///
/// `farewell` is what it hears where that never comes.
///
/// # Errors
/// [`Refusal`] where it leaves, is lost, misbehaves, or will not be served any more.
pub(super) async fn wait_for_turn(
    accepted: &mut AcceptedPeer,
    slot: &Slot,
    ip: IpAddr,
    patience: Duration,
    farewell: impl Fn() -> ReceiverMessage,
) -> Result<(), Refusal> {
    let TurnState::Waiting(Waiting { serving, own, before }) = slot.standing() else { return Ok(()) };
    tracing::info!("{ip} waits for its turn: under way {serving} (its own: {own}), ahead of it {before}");
    let AcceptedPeer { reader, writer, .. } = accepted;
    let (leaving, turn) = (leaves(reader, patience), slot.turn());
    tokio::pin!(leaving, turn);
    let mut news = interval(QUEUE_NEWS_INTERVAL);
    let mut told: Option<(Waiting, Instant)> = None;
    loop {
        tokio::select! {
            refusal = &mut leaving => return Err(refusal),
            turn = &mut turn => match turn {
                TurnState::Closed => {
                    writer.put(&farewell());
                    let _ = timeout(GOODBYE_TIMEOUT, writer.close()).await;
                    return Err(Refusal::LeftQueue(End::Stopped));
                }
                TurnState::Served | TurnState::Waiting(_) => {
                    tracing::info!("{ip} has its turn");
                    return Ok(());
                }
            },
            _ = news.tick() => {}
        }
        let TurnState::Waiting(waiting) = slot.standing() else { continue };
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
