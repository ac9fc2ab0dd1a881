//! Losses and waits of minutes and hours, over memory and by a clock that the test holds and moves on: the runtime's, which is the
//! only one that control connections, retries and the receiver's waiting know.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanx::client::transfer::{SendOutcome, send};
use lanx::session::End;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, advance};

use crate::common::ends::{Ears, ends, feed, transfer};
use crate::common::pair::Faults;
use crate::common::*;

const SILENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// Both ends under way, and what is known of them.
struct Session {
    faults: Arc<Faults>,
    /// Tries to find the receiver again.
    tries: Rc<Cell<u32>>,
    /// What the sender was told of losses, and what the receiver was told of ends.
    sender: Arc<Ears>,
    receiver: Arc<Ears>,
    sent: Rc<RefCell<Option<SendOutcome>>>,
    /// Whether the receiver has ended.
    served: Rc<Cell<bool>>,
}

impl Session {
    /// Begins to send `files`, the receiver being looked for, and the sender waited for, so long where they are lost.
    fn begin(
        scene: &Scene,
        files: &[PathBuf],
        retry_for: [Duration; 2],
        prepare: impl FnOnce(&Faults),
    ) -> Session {
        let (near, far, faults) = ends(scene);
        prepare(&faults);
        let session = Session {
            faults,
            tries: Rc::default(),
            sender: Arc::default(),
            receiver: Arc::default(),
            sent: Rc::default(),
            served: Rc::default(),
        };
        let (feed, transfer) = (feed(files), transfer(SILENCE, retry_for[0], session.sender.clone()));
        let (tries, sent, served) = (session.tries.clone(), session.sent.clone(), session.served.clone());
        let ears = session.receiver.clone();
        spawn_local(async move {
            let link = near.enter(None).await.unwrap();
            let again = async |id| {
                tries.set(tries.get() + 1);
                near.enter(Some(id)).await
            };
            *sent.borrow_mut() =
                Some(send(link, feed, transfer, again, std::future::pending()).await.unwrap());
        });
        spawn_local(async move {
            far.receive(SILENCE, retry_for[1], ears).await.unwrap();
            served.set(true);
        });
        session
    }

    /// The same, when half of what there is has crossed and nothing more comes through.
    async fn half_way(scene: &Scene, files: &[PathBuf], retry_for: [Duration; 2]) -> Session {
        let session = Session::begin(scene, files, retry_for, |faults| {
            faults.silent_after.store(20 << 18, Ordering::Relaxed);
        });
        until("nothing comes through", || session.faults.is_silent()).await;
        session
    }

    fn end(&self) -> Option<End> {
        self.sent.borrow().as_ref().map(|outcome| outcome.end.clone())
    }

    fn is_over(&self) -> bool {
        self.sent.borrow().is_some() && self.served.get()
    }
}

/// Runs `script` by a clock that stands still but for [`pass`].
fn with_the_clock_held(script: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    LocalSet::new().block_on(&runtime, async {
        // The runtime moves a paused clock by itself when it has nothing to do, unless something blocks: the threads of a
        // session are none of its own.
        let holding = tokio::task::spawn_blocking(move || held.recv());
        script.await;
        drop(release);
        let _ = holding.await;
    });
}

/// Waits until something is so. Meanwhile the clock goes as others do.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    let mut passed = Duration::ZERO;
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not yet: {what}");
        yield_now().await;
        std::thread::yield_now();
        let now = began.elapsed();
        advance(now - passed).await;
        passed = now;
    }
}

/// Has so much time pass. What is due in it happens in its order.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(Duration::from_millis(200).min(end - Instant::now())).await;
        for _ in 0..16 {
            yield_now().await;
        }
    }
}

#[test]
fn a_silent_receiver_is_left_when_patience_ends_and_only_missing_chunks_are_sent_again() {
    let scene = Scene::new();
    let files = [make(&scene.src, "image.raw", 40 * CHUNK)];
    with_the_clock_held(async {
        let minute = Duration::from_secs(60);
        let session = Session::half_way(&scene, &files, [minute; 2]).await;
        pass(SILENCE - 3 * SECOND).await;
        assert_eq!((session.sender.ends(), session.tries.get()), (vec![], 0));
        pass(5 * SECOND).await;
        until("the receiver is lost", || !session.sender.ends().is_empty()).await;
        assert_eq!(session.sender.ends(), [End::Silent(SILENCE)]);
        until("so is the sender", || !session.receiver.ends().is_empty()).await;
        session.faults.silent_after.store(0, Ordering::Relaxed);
        let before = session.faults.carried.load(Ordering::Relaxed);
        pass(6 * SECOND).await;
        until("both are done", || session.is_over()).await;
        assert_eq!(session.end(), Some(End::Complete));
        let again = session.faults.carried.load(Ordering::Relaxed) - before;
        assert!(again < 32 << 18, "{again} bytes crossed again");
    });
    assert_arrived(&files, &scene.dst);
}

#[test]
fn a_receiver_that_is_away_for_minutes_is_looked_for_every_few_seconds_and_found() {
    let scene = Scene::new();
    let files = [make(&scene.src, "image.raw", 40 * CHUNK)];
    with_the_clock_held(async {
        let session = Session::half_way(&scene, &files, [Duration::from_secs(600); 2]).await;
        session.faults.go_away();
        until("the loss is noticed", || !session.sender.ends().is_empty()).await;
        pass(Duration::from_secs(300)).await;
        let tries = session.tries.get();
        // Pauses double from 0.1 s to 5 s, of which up to a half is left out.
        assert!((60..=130).contains(&tries), "{tries} tries in five minutes");
        session.faults.silent_after.store(0, Ordering::Relaxed);
        session.faults.away.store(false, Ordering::Relaxed);
        pass(6 * SECOND).await;
        until("both are done", || session.is_over()).await;
        assert_eq!((session.end(), session.sender.ends().len()), (Some(End::Complete), 1));
    });
    assert_arrived(&files, &scene.dst);
}

#[test]
fn who_stays_away_is_waited_for_as_long_as_was_asked_and_no_longer() {
    let scene = Scene::new();
    let files = [make(&scene.src, "image.raw", 40 * CHUNK)];
    with_the_clock_held(async {
        let hour = Duration::from_secs(3600);
        let session = Session::half_way(&scene, &files, [hour; 2]).await;
        session.faults.go_away();
        until("both notice", || !session.sender.ends().is_empty() && !session.receiver.ends().is_empty())
            .await;
        pass(hour - 10 * SECOND).await;
        assert!(session.end().is_none() && !session.served.get(), "somebody gave up too early");
        pass(20 * SECOND).await;
        until("both have given up", || session.is_over()).await;
        assert!(matches!(session.end(), Some(End::Lost(_))), "{:?}", session.end());
    });
    assert!(!scene.dst.join("image.raw").exists());
}

#[test]
fn a_receiver_that_is_lost_each_time_before_anything_arrives_is_given_up_all_the_same() {
    let scene = Scene::new();
    let files = [make(&scene.src, "image.raw", 40 * CHUNK)];
    with_the_clock_held(async {
        let minutes = Duration::from_secs(300);
        let session = Session::begin(&scene, &files, [minutes, 10 * minutes], |faults| {
            faults.cut_after.store(1, Ordering::Relaxed);
        });
        // It lets us in each time, and then each lane is cut in its first chunk.
        until("the session has begun", || session.faults.lanes.load(Ordering::Relaxed) > 0).await;
        let began = Instant::now();
        while session.end().is_none() {
            assert!(began.elapsed() < minutes + 30 * SECOND, "it is looked for without end");
            let lanes = session.faults.lanes.load(Ordering::Relaxed);
            session.faults.cut();
            pass(6 * SECOND).await;
            until("it is found again, or given up", || {
                session.faults.lanes.load(Ordering::Relaxed) > lanes || session.end().is_some()
            })
            .await;
        }
        assert!(session.sender.ends().len() > 20, "{} losses", session.sender.ends().len());
        assert!(began.elapsed() >= minutes - 10 * SECOND, "given up after {:?}", began.elapsed());
    });
}
