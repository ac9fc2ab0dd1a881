//! Whole sessions in this process, over memory: what a session promises holds without any network.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanx::client::Connections;
use lanx::client::handshake::{EnterError, Link, SessionRequest, enter_by};
use lanx::client::transfer::{SendOutcome, Transfer, send};
use lanx::net::Door;
use lanx::net::address::Peer;
use lanx::server::accept::{ReceiveOptions, ServeOptions, serve};
use lanx::server::events::{Caller, Receptionist, SessionWatch};
use lanx::session::sender::TransferOptions;
use lanx::session::sender::compress::Compress;
use lanx::session::{Diligence, End, FileReport, Observer, Progress};
use lanx::source::{Feed, Options, Root};
use lanx::store::{Existing, Folder, FolderOptions, Target};
use lanx::trust::code::Code;
use lanx::trust::dir::ConfigDir;
use lanx::trust::fingerprint::Fingerprint;
use lanx::trust::peer_store::PeerStore;
use lanx::trust::policy::{AuthPolicy, ClientAuth};
use lanx::wire::message::Wishes;
use tokio::sync::mpsc;

use crate::common::pair::{Faults, Memory, memory};
use crate::common::peer::identity;
use crate::common::*;

/// Hears everything and says nothing.
struct Nobody;

impl Receptionist for Nobody {
    fn started(&self, _caller: Caller, _progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        Arc::new(Nobody)
    }
    fn measured(&self, _peer: IpAddr, _bytes: u64, _end: &End) {}
    fn refused(&self, _peer: IpAddr, _why: &str) {}
    fn disconnected(&self, _peer: IpAddr, _why: &str) {}
    fn paired(&self, _peer: IpAddr, _key: &Fingerprint, _remembered: bool) {}
    fn new_code(&self, _code: &Code) {}
}

impl Observer for Nobody {
    fn file(&self, _report: &FileReport) {}
}

impl SessionWatch for Nobody {
    fn ended(&self, _end: &End) {}
}

/// Sends the files from one end to the other, which know each other. `prepare` may have something happen on the way.
fn send_over_memory(scene: &Scene, files: &[PathBuf], prepare: impl FnOnce(&Faults)) -> (SendOutcome, u64) {
    let config = scene.path("config");
    let (id, store) = (identity(&config), PeerStore::new(&ConfigDir::at(&config).unwrap()));
    let auth = Arc::new(AuthPolicy::new(&id, store.clone(), false, None).unwrap());
    let visitor = ClientAuth::new(&id, store, None).unwrap();
    let (near, far, faults) = memory(id.fingerprint(), id.fingerprint());
    prepare(&faults);
    let options = FolderOptions { existing: Existing::Refuse, ..FolderOptions::default() };
    let how = ReceiveOptions {
        max_file: None,
        min_free: None,
        to: Arc::new(Target::Folder(Folder::new(&scene.dst, options))),
        patience: PATIENCE,
        diligence: Diligence::default(),
        delta: false,
        compress: true,
        pace: None,
        cache: None,
    };
    let roots = files.iter().map(|file| Root::inspect(file).unwrap()).collect();
    let feed = Feed::new(roots, Options::default());
    let transfer = Transfer {
        options: TransferOptions { compress: Compress::No, ..TransferOptions::default() },
        observer: Arc::new(Nobody),
        progress: Arc::default(),
        patience: PATIENCE,
        retry_for: Duration::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let options = ServeOptions { once: true, retry_for: Duration::ZERO, transfers: 1 };
        let (_orders, to_hear) = mpsc::unbounded_channel();
        let serving =
            serve(vec![Box::new(far)], how, auth, options, Arc::new(Nobody), Arc::default(), to_hear);
        let sending = async {
            let link = enter(&near, &visitor).await.unwrap();
            let again = async |_| enter(&near, &visitor).await;
            send(link, feed, transfer, again, std::future::pending()).await.unwrap()
        };
        let (outcome, served) = tokio::join!(sending, serving);
        served.unwrap();
        outcome
    });
    (outcome, faults.lanes.load(Ordering::Relaxed))
}

async fn enter(near: &Memory, visitor: &ClientAuth) -> Result<Link, EnterError> {
    let request = SessionRequest {
        began: None,
        name: "test",
        resumes: None,
        wishes: Wishes::default(),
        door: Door::Tcp,
        place: Default::default(),
        patience: PATIENCE,
        waits: &|_| (),
        large_lost: &|| (),
    };
    let peer = Peer::new("192.0.2.1", 1);
    enter_by(near.reach().await, &peer, visitor, &request, Connections { first: 2, most: 4 }).await
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
