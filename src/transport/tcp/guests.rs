//! Those who were let in, at the receiver: a place for each, its session from the welcome to the end, and what is kept of
//! a session that was lost.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::admission::{Party, Place};
use super::admit::{Guest, Refusal};
use super::hosting::Session;
use super::receive::{Passage, Reception};
use super::turn::wait_for_turn;
use super::watch::Caller;
use crate::limits::{ENDED_SESSIONS_MAX, GOODBYE_TIMEOUT, PLACE_KEPT_FOR};
use crate::protocol::message::{Barred, ReceiverMessage, SessionId, Wishes};
use crate::session::probe::NoFiles;
use crate::session::receiving::{Receiving, Terms};
use crate::session::{End, Observer, Progress, outbox};
use crate::trust::guesses::network_of;

impl Reception {
    /// Serves one session from its welcome to its end.
    pub(super) async fn host(self: &Arc<Self>, mut guest: Guest, addr: SocketAddr) {
        let ip = addr.ip().to_canonical();
        let measure = guest.wishes.measure;
        if measure && self.manner().to.folder().is_none() {
            // There is one place, and it is for the file.
            let text = "it takes one file to its standard output and lets nobody measure; start `lanx recv DIR` there";
            guest.writer.put(&ReceiverMessage::Leave { text: text.into() });
            let _ = timeout(GOODBYE_TIMEOUT, guest.writer.close()).await;
            return tracing::info!("{ip} left: it wished to measure");
        }
        let place = match self.clear_the_way(&guest).await {
            Some(place) => place,
            None => match self.place(&mut guest, ip).await {
                Ok(place) => Arc::new(place),
                Err(refusal) => return self.refused(ip, &refusal),
            },
        };
        if self.is_leaving() {
            guest.writer.put(&self.farewell());
            let _ = timeout(GOODBYE_TIMEOUT, guest.writer.close()).await;
            return self.refused(ip, &Refusal::Away);
        }
        let id = match new_session_id() {
            Ok(id) => id,
            Err(error) => return self.refused(ip, &Refusal::Here(format!("no random numbers: {error}"))),
        };
        let progress = Arc::new(Progress::default());
        // Nothing of it is a transfer: not for `once`, nor for those who count files.
        if measure {
            let (session, end) = self.run(id, guest, place, Arc::new(NoFiles), progress).await;
            return self.receptionist.measured(ip, Progress::get(&session.receiving.progress.written), &end);
        }
        let _ = self.passages.send(Passage::Began);
        let (connections, dry_run) = (guest.connections, guest.wishes.dry_run);
        let caller = Caller { ip, name: self.house.name_of(&guest.peer), connections, dry_run };
        let watch = self.receptionist.started(caller, progress.clone());
        let (session, end) = self.run(id, guest, place, watch.clone(), progress).await;
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
        let _ = self.passages.send(if lost { Passage::Lost } else { Passage::Over });
    }

    /// Runs a session until the last of it is gone.
    async fn run(
        &self,
        id: SessionId,
        mut guest: Guest,
        place: Arc<Place>,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
    ) -> (Arc<Session>, End) {
        let (outbox, outbox_reader) = outbox();
        let Wishes { dry_run, delta, measure } = guest.wishes;
        let manner = self.manner();
        let terms = Terms { dry_run, measure, delta: delta || manner.delta, diligence: manner.diligence };
        let receiving = Arc::new(Receiving::new(manner.to, terms, outbox, observer, progress));
        let session = Arc::new(Session::new(receiving, id, &mut guest, place));
        session.receiving.progress.follow(&session);
        self.sessions.lock().insert(id, session.clone());
        self.ledger.began(id, &session);
        let end = session.run(guest, &outbox_reader, manner.patience).await;
        session.dismiss().await;
        self.ledger.ended(id);
        self.forget(id);
        (session, end)
    }

    /// Gives a guest a place, in its turn.
    async fn place(&self, guest: &mut Guest, ip: IpAddr) -> Result<Place, Refusal> {
        let party = if self.house.open { Party::Network(network_of(ip)) } else { Party::Key(guest.peer) };
        let Some(place) = self.admission.enter(party, guest.connections) else {
            guest.writer.put(&ReceiverMessage::Barred(Barred::Busy));
            // Whoever does not even read this is told nothing.
            let _ = timeout(GOODBYE_TIMEOUT, guest.writer.close()).await;
            return Err(Refusal::Busy);
        };
        wait_for_turn(guest, &place, ip, self.manner().patience, || self.farewell()).await?;
        Ok(place)
    }

    /// Ends the session that a sender goes on with, if it is still here. Returns its place, if it was the sender's own.
    async fn clear_the_way(&self, guest: &Guest) -> Option<Arc<Place>> {
        let id = guest.resumes?;
        let session = self.sessions.lock().get(&id).filter(|session| session.peer == guest.peer).cloned();
        // Once: two that claim to go on with one session are two transfers, and the second one waits for its turn.
        let place = match session {
            Some(session) => {
                let place = session.hand_over_place()?;
                session.make_way().await;
                place
            }
            None => {
                let mut kept = self.kept.lock();
                kept.get(&id).filter(|(peer, _)| *peer == guest.peer)?;
                kept.remove(&id)?.1
            }
        };
        place.hand_over(guest.connections);
        Some(place)
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
        let Some(place) = session.hand_over_place() else { return };
        self.kept.lock().insert(id, (session.peer, place));
        let reception = self.clone();
        tokio::spawn(async move {
            sleep(PLACE_KEPT_FOR).await;
            reception.kept.lock().remove(&id);
        });
    }
}

/// The name of a session. Not a secret: whoever opens a data connection has to prove more.
fn new_session_id() -> Result<SessionId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(SessionId(id))
}
