//! Whole sessions in this process, over memory: what a session promises holds without any network.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanx::client::transfer::{SendOutcome, send};
use lanx::session::End;

use crate::common::ends::{ends, feed, transfer};
use crate::common::pair::Faults;
use crate::common::*;

/// Sends the files from one end to the other. `prepare` may have something happen on the way.
fn send_over_memory(scene: &Scene, files: &[PathBuf], prepare: impl FnOnce(&Faults)) -> (SendOutcome, u64) {
    let (near, far, faults) = ends(scene);
    prepare(&faults);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let sending = async {
            let link = near.enter(None).await.unwrap();
            let again = async |session| near.enter(Some(session)).await;
            let transfer = transfer(PATIENCE, Duration::ZERO, Arc::default());
            send(link, feed(files), transfer, again, std::future::pending()).await.unwrap()
        };
        let receiving = far.receive(PATIENCE, Duration::ZERO, Arc::default());
        let (outcome, served) = tokio::join!(sending, receiving);
        served.unwrap();
        outcome
    });
    (outcome, faults.lanes.load(Ordering::Relaxed))
}

#[test]
fn files_of_every_size_arrive() {
    let scene = Scene::new();
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 7];
    let files: Vec<_> = sizes.iter().map(|size| make(&scene.src, format!("{size}.bin"), *size)).collect();
    let (outcome, _) = send_over_memory(&scene, &files, |_| ());
    assert_eq!(outcome.end, End::Complete);
    assert_arrived(&files, &scene.dst);
}

#[test]
fn what_is_on_a_lane_that_is_cut_goes_another_way() {
    let scene = Scene::new();
    let file = make(&scene.src, "image.raw", 40 * CHUNK);
    let files = [file];
    let (outcome, lanes) =
        send_over_memory(&scene, &files, |faults| faults.cut_after.store(3 << 20, Ordering::Relaxed));
    assert_eq!(outcome.end, End::Complete);
    assert!(lanes >= 4, "{lanes} lanes");
    assert_arrived(&files, &scene.dst);
}
