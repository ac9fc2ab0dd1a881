//! The two ends of a session in this process, joined by [`pair`](super::pair): what the tests of sessions over memory begin with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanx::client::Connections;
use lanx::client::handshake::{EnterError, Link, SessionRequest, enter_by};
use lanx::client::transfer::Transfer;
use lanx::net::Door;
use lanx::net::address::Peer;
use lanx::net::tcp::dial::ConnectError;
use lanx::server::accept::{ServeError, ServeOptions, serve};
use lanx::server::events::{Caller, Receptionist, SessionWatch};
use lanx::server::state::ReceiveOptions;
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
use lanx::wire::message::{SessionId, Wishes};
use tokio::sync::mpsc;

use super::pair::{Faults, Memory, MemoryArrivals, memory};
use super::peer::identity;
use super::{PATIENCE, Scene};

/// Hears how sessions end, and says nothing.
#[derive(Default)]
pub struct Ears {
    pub ends: Mutex<Vec<End>>,
}

impl Ears {
    pub fn ends(&self) -> Vec<End> {
        self.ends.lock().unwrap().clone()
    }
}

/// The receptionist, which hands on what it hears.
struct Front(Arc<Ears>);

impl Receptionist for Front {
    fn started(&self, _caller: Caller, _progress: Arc<Progress>) -> Arc<dyn SessionWatch> {
        self.0.clone()
    }
    fn measured(&self, _peer: IpAddr, _bytes: u64, _end: &End) {}
    fn refused(&self, _peer: IpAddr, _why: &str) {}
    fn disconnected(&self, _peer: IpAddr, _why: &str) {}
    fn paired(&self, _peer: IpAddr, _key: &Fingerprint, _remembered: bool) {}
    fn new_code(&self, _code: &Code) {}
}

impl Observer for Ears {
    fn file(&self, _report: &FileReport) {}
    fn lost(&self, end: &End, _retry_for: Duration) {
        self.ends.lock().unwrap().push(end.clone());
    }
}

impl SessionWatch for Ears {
    fn ended(&self, end: &End) {
        self.ends.lock().unwrap().push(end.clone());
    }
}

/// A sender's end.
#[derive(Clone)]
pub struct Near {
    memory: Memory,
    auth: Arc<ClientAuth>,
}

/// A receiver's end.
pub struct Far {
    arrivals: MemoryArrivals,
    auth: Arc<AuthPolicy>,
    to: Arc<Target>,
}

/// Both ends, which know each other, and what happens between them.
pub fn ends(scene: &Scene) -> (Near, Far, Arc<Faults>) {
    let config = scene.path("config");
    let (id, store) = (identity(&config), PeerStore::new(&ConfigDir::at(&config).unwrap()));
    let (memory, arrivals, faults) = memory(id.fingerprint(), id.fingerprint());
    let near = Near { memory, auth: Arc::new(ClientAuth::new(&id, store.clone(), None).unwrap()) };
    let auth = Arc::new(AuthPolicy::new(&id, store, false, None).unwrap());
    let options = FolderOptions { existing: Existing::Refuse, ..FolderOptions::default() };
    let to = Arc::new(Target::Folder(Folder::new(&scene.dst, options)));
    (near, Far { arrivals, auth, to }, faults)
}

impl Near {
    /// Enters, as one who goes on with `session` where there is one.
    pub async fn enter(&self, session: Option<SessionId>) -> Result<Link, EnterError> {
        let peer = Peer::new("192.0.2.1", 1);
        let reached = self.memory.reach().await.map_err(|_| ConnectError::Mute { addr: pair_addr() })?;
        let request = SessionRequest {
            began: None,
            name: "test",
            resumes: session,
            wishes: Wishes::default(),
            door: Door::Tcp,
            place: Default::default(),
            patience: PATIENCE,
            waits: &|_| (),
            large_lost: &|| (),
        };
        enter_by(reached, &peer, &self.auth, &request, Connections { first: 2, most: 4 }).await
    }
}

fn pair_addr() -> std::net::SocketAddr {
    "192.0.2.1:1".parse().unwrap()
}

impl Far {
    /// Receives until the first transfer is over. `retry_for`: how long a sender that was lost may take to come back.
    pub async fn receive(
        self,
        patience: Duration,
        retry_for: Duration,
        ears: Arc<Ears>,
    ) -> Result<(), ServeError> {
        let how = ReceiveOptions {
            max_file: None,
            min_free: None,
            to: self.to,
            patience,
            diligence: Diligence::default(),
            delta: false,
            compress: true,
            pace: None,
            cache: None,
        };
        let options = ServeOptions { once: true, retry_for, transfers: 1 };
        let (_orders, to_hear) = mpsc::unbounded_channel();
        let doors: Vec<Box<dyn lanx::session::carrier::Arrivals>> = vec![Box::new(self.arrivals)];
        serve(doors, how, self.auth, options, Arc::new(Front(ears)), Arc::default(), to_hear).await
    }
}

pub fn feed(files: &[PathBuf]) -> Feed {
    Feed::new(files.iter().map(|file| Root::inspect(file).unwrap()).collect(), Options::default())
}

/// A transfer of which nothing but the losses is heard.
pub fn transfer(patience: Duration, retry_for: Duration, ears: Arc<Ears>) -> Transfer {
    Transfer {
        options: TransferOptions { compress: Compress::No, ..TransferOptions::default() },
        observer: ears,
        progress: Arc::default(),
        patience,
        retry_for,
    }
}
