//! A folder of a lanx, with all that is in it: it is walked page by page, while a few threads get its files,
//! each over a connection that it keeps. Nothing of what the server lists leads anywhere but beneath that
//! folder, here and there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use hyper::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use serde::Deserialize;

use super::dial::{Connection, Dialer};
use super::download::Getter;
use super::head::{Wrong, refusal};
use super::job::{Done, Ended, Failed, Job};
use crate::content::entry::Metadata;
use crate::name::{Name, RelativePath, escape};
use crate::os::threads;
use crate::session::Progress;
use crate::session::snapshot::{Scene, UnderWay};
use crate::store::{Made, SinkError};
use crate::web::names::in_url;
use crate::web::pieces::PIECE_BYTES;

/// Files that are got at once.
const WORKERS: u8 = 4;

/// Files that wait for a worker, beyond which the walk waits.
const WAITING_FILES: usize = 256;

/// Folders within each other: as many as `serve` sends in one tar file.
const DEPTH_MAX: usize = 64;

/// Entries of all folders, and folders that are known of and were not looked into yet: a server could tell of
/// more for ever.
const ENTRIES_MAX: u64 = 20_000_000;
const FOLDERS_WAITING_MAX: usize = 100_000;

/// Bytes of one page: 10,000 entries are some 2 MiB, and with the strangest names no more than this.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// How often the walk looks whether to stop, while it waits for workers.
const LOOK: Duration = Duration::from_millis(100);

/// What becomes of what is in a folder.
pub enum Heard<'a> {
    File(&'a Job, Result<Done, Failed>),
    Folder(&'a RelativePath, Result<Made, SinkError>),
    /// Something that can have no place here, or could not be looked into.
    Unusable {
        path: Vec<u8>,
        why: String,
    },
}

/// Hears of each as it ends, from several threads.
pub type Hears = Arc<dyn Fn(Heard<'_>) + Send + Sync>;

/// All that is got.
struct Tree {
    base: Job,
    hears: Hears,
    /// Why there is no use in going on.
    ended: Mutex<Option<Failed>>,
    over: AtomicBool,
    walked: AtomicBool,
    /// Bytes of all files that the listing has told of so far.
    listed: AtomicU64,
    waiting: AtomicU64,
    busy: AtomicUsize,
}

impl Scene for Tree {
    fn under_way(&self, _most: usize) -> UnderWay {
        let others = usize::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let connections = self.busy.load(Ordering::Relaxed);
        UnderWay { connections, files: Vec::new(), others, all_offered: self.walked.load(Ordering::Relaxed) }
    }
}

/// Membership in a folder. As long as it lasts something may still be made in there, so that the folder gets
/// its time when it ends.
struct Within {
    tree: Arc<Tree>,
    path: Option<RelativePath>,
    metadata: Metadata,
    _parent: Option<Arc<Within>>,
}

impl Drop for Within {
    fn drop(&mut self) {
        let Tree { base, hears, .. } = &*self.tree;
        let made =
            base.sink.check_place().and_then(|()| base.sink.folder(self.path.as_ref(), &self.metadata));
        if let Some(path) = &self.path {
            hears(Heard::Folder(path, made));
        }
    }
}

/// A file for a worker.
struct Task {
    job: Arc<Job>,
    within: Arc<Within>,
}

/// A folder that is walked.
struct Walked {
    within: Arc<Within>,
    /// Its address, which ends in a slash.
    address: String,
    folders: Vec<(RelativePath, String, Metadata)>,
    /// The query of its next page.
    next: Option<String>,
}

/// A page of a listing, as PROTOCOL.md has it.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<String>,
    #[serde(flatten)]
    own: Dress,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    name_bytes: Option<String>,
    kind: String,
    #[serde(default)]
    size: u64,
    #[serde(flatten)]
    dress: Dress,
}

/// What a file or folder is given beside its content.
#[derive(Deserialize)]
struct Dress {
    #[serde(default)]
    mtime_seconds: i64,
    #[serde(default)]
    mtime_nanos: i64,
    mode: Option<u32>,
}

impl Dress {
    fn metadata(&self) -> Metadata {
        let mtime_nanos = u32::try_from(self.mtime_nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        Metadata {
            mode: self.mode.unwrap_or(0o755),
            mtime_seconds: self.mtime_seconds,
            mtime_nanos: mtime_nanos.unwrap_or_default(),
            archive: None,
        }
    }
}

/// Gets the folder that `base` names, and all that is in it, into its destination: under its own name, or
/// straight into that where it is the server's root. Blocks until all that can be had is there.
///
/// # Errors
/// What ended it before everything was asked for.
pub fn get_folder(base: Job, progress: &Arc<Progress>, hears: Hears) -> Result<(), Failed> {
    let mut getter = Getter::new(base.target.pin, base.silence)?;
    let workers = base.connections_most.clamp(1, WORKERS);
    let whole = Some(progress.clone());
    let connections_most = (base.connections_most / workers).max(1);
    let base = Job { connections_most, progress: Arc::default(), whole, ..base };
    let tree = Arc::new(Tree {
        base,
        hears,
        ended: Mutex::default(),
        over: AtomicBool::new(false),
        walked: AtomicBool::new(false),
        listed: AtomicU64::new(0),
        waiting: AtomicU64::new(0),
        busy: AtomicUsize::new(0),
    });
    progress.follow(&tree);
    let (to, from) = bounded(WAITING_FILES);
    let mut threads = Vec::new();
    for _ in 0..workers {
        let (tree, from) = (tree.clone(), from.clone());
        let spawned = threads::named("get").spawn(move || tree.work(&from));
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) if threads.is_empty() => return Err(Failed::Thread(error)),
            Err(error) => tracing::info!("one connection less: {error}"),
        }
    }
    drop(from);
    match tree.walk(&mut getter, &to) {
        Ok(()) => progress.expect(tree.listed.load(Ordering::Relaxed)),
        Err(failed) => tree.end(failed),
    }
    tree.walked.store(true, Ordering::Relaxed);
    drop(to);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let ended = tree.ended.lock().take();
    ended.map_or(Ok(()), Err)
}

impl Tree {
    fn end(&self, failed: Failed) {
        self.ended.lock().get_or_insert(failed);
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.base.stop.load(Ordering::Relaxed)
    }

    /// Gets one file after another.
    fn work(&self, tasks: &Receiver<Task>) {
        let mut getter = None;
        for Task { job, within } in tasks {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if self.is_over() {
                continue;
            }
            // With those of others: as many connections are open at once.
            let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
            let got = match &mut getter {
                Some(getter) => Getter::get(getter, &job),
                None => Getter::new(job.target.pin, job.silence).and_then(|new| getter.insert(new).get(&job)),
            };
            self.busy.fetch_sub(1, Ordering::Relaxed);
            match got {
                Err(failed) if failed.is_of_all() => self.end(failed),
                got => {
                    let busy = u8::try_from(busy).unwrap_or(u8::MAX);
                    let got = got.map(|done| Done { connections: done.connections.max(busy), ..done });
                    if let Some(progress) = self.base.whole.as_ref().filter(|_| got.is_ok()) {
                        Progress::add(&progress.files_done, 1);
                    }
                    (self.hears)(Heard::File(&job, got));
                }
            }
            drop(within);
        }
    }

    /// Finds all that is there.
    fn walk(self: &Arc<Self>, getter: &mut Getter, to: &Sender<Task>) -> Result<(), Failed> {
        let top = self.base.target.folder_name();
        let address = format!("{}/", self.base.target.uri.path().trim_end_matches('/'));
        let page = self.page(getter, &address, "")?;
        if let Some(name) = &top {
            self.base.sink.parent_folder(&RelativePath::from(name.clone()))?;
        }
        let within = self.within(top.map(RelativePath::from), page.own.metadata(), None);
        let mut first = Walked { within, address, folders: Vec::new(), next: None };
        let (mut entries, mut stack) = (0, Vec::new());
        self.take(page, &mut first, &mut entries, to)?;
        stack.push(first);
        while let Some(walked) = stack.last_mut() {
            if self.is_over() {
                return Err(Failed::Interrupted);
            }
            if let Some((path, address, metadata)) = walked.folders.pop() {
                let parent = Some(walked.within.clone());
                if stack.len() >= DEPTH_MAX {
                    let why = format!("there are more than {DEPTH_MAX} folders within each other");
                    (self.hears)(Heard::Unusable { path: path.as_bytes().to_vec(), why });
                    continue;
                }
                if let Err(error) = self.base.sink.parent_folder(&path) {
                    (self.hears)(Heard::Folder(&path, Err(error)));
                    continue;
                }
                let within = self.within(Some(path), metadata, parent);
                stack.push(Walked { within, address, folders: Vec::new(), next: Some(String::new()) });
            } else if let Some(query) = walked.next.take() {
                match self.page(getter, &walked.address, &query) {
                    Ok(page) => self.take(page, walked, &mut entries, to)?,
                    Err(failed) if failed.is_of_all() => return Err(failed),
                    Err(failed) => {
                        let path = walked.within.path.as_ref();
                        let path = path.map_or_else(Vec::new, |path| path.as_bytes().to_vec());
                        (self.hears)(Heard::Unusable { path, why: failed.to_string() });
                    }
                }
                let waiting: usize = stack.iter().map(|walked| walked.folders.len()).sum();
                if waiting > FOLDERS_WAITING_MAX {
                    return Err(self.refused("it tells of more folders than anybody has"));
                }
            } else {
                stack.pop();
            }
        }
        Ok(())
    }

    fn within(
        self: &Arc<Self>,
        path: Option<RelativePath>,
        metadata: Metadata,
        parent: Option<Arc<Within>>,
    ) -> Arc<Within> {
        Arc::new(Within { tree: self.clone(), path, metadata, _parent: parent })
    }

    fn refused(&self, why: &str) -> Failed {
        Failed::Refused { url: self.base.url(), why: why.to_owned() }
    }

    fn page(&self, getter: &mut Getter, address: &str, query: &str) -> Result<Page, Failed> {
        let uri = self.base.beside(&format!("{address}{query}"));
        getter.page(&self.base, &uri.ok_or_else(|| self.refused("its address is too long"))?)
    }

    /// Hands the files of a page to workers, and keeps its folders.
    fn take(
        self: &Arc<Self>,
        page: Page,
        walked: &mut Walked,
        entries: &mut u64,
        to: &Sender<Task>,
    ) -> Result<(), Failed> {
        *entries += page.entries.len() as u64;
        if *entries > ENTRIES_MAX {
            return Err(self.refused("it tells of more files than anybody has"));
        }
        // One that goes on without any entries would go on for ever.
        let goes_on = !page.entries.is_empty();
        walked.next = page.next.filter(|next| goes_on && next.starts_with("?after="));
        for entry in page.entries {
            match self.path_of(&entry, walked.within.path.as_ref()) {
                Err((path, why)) => (self.hears)(Heard::Unusable { path, why }),
                Ok(path) => {
                    let address = format!("{}{}", walked.address, in_url(path.name().as_bytes()));
                    let metadata = entry.dress.metadata();
                    match entry.kind.as_str() {
                        "folder" => walked.folders.push((path, address + "/", metadata)),
                        _ => self.give(path, &address, entry.size, metadata, &walked.within, to)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Where an entry goes. Straight into the destination goes nothing that programs read unasked, as
    /// `.bashrc`.
    fn path_of(
        &self,
        entry: &Entry,
        folder: Option<&RelativePath>,
    ) -> Result<RelativePath, (Vec<u8>, String)> {
        let bytes = match &entry.name_bytes {
            None => entry.name.clone().into_bytes(),
            Some(text) => STANDARD.decode(text).unwrap_or_default(),
        };
        let whole = folder.map_or_else(Vec::new, |folder| [folder.as_bytes(), b"/"].concat());
        let unusable = |why: String| ([&whole[..], &bytes].concat(), why);
        let name = Name::from_wire(&bytes).map_err(|bad| unusable(bad.to_string()))?;
        match folder {
            _ if !matches!(entry.kind.as_str(), "file" | "folder") => {
                Err(unusable(format!("it is said to be a {}", escape(&entry.kind))))
            }
            Some(folder) => folder.join(name.as_os_str()).map_err(|bad| unusable(bad.to_string())),
            None if bytes.starts_with(b".") => {
                Err(unusable("its name begins with a dot; get it by its own address with -o".into()))
            }
            None => Ok(name.into()),
        }
    }

    fn give(
        self: &Arc<Self>,
        path: RelativePath,
        address: &str,
        size: u64,
        metadata: Metadata,
        within: &Arc<Within>,
        to: &Sender<Task>,
    ) -> Result<(), Failed> {
        let uri = self.base.beside(address).ok_or_else(|| self.refused("an address in it is too long"))?;
        let mut job =
            Job { path: Some(path), dress: Some(metadata), progress: Arc::default(), ..self.base.clone() };
        job.target.uri = uri;
        if size <= PIECE_BYTES {
            // So that a small file and its proof come in one answer.
            let name = HeaderName::from_static("want-repr-digest");
            job.fields.entry(name).or_insert(HeaderValue::from_static("blake3=9"));
        }
        let listed = self.listed.load(Ordering::Relaxed).saturating_add(size);
        self.listed.store(listed, Ordering::Relaxed);
        let mut task = Task { job: Arc::new(job), within: within.clone() };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        loop {
            if self.is_over() {
                return Err(Failed::Interrupted);
            }
            match to.send_timeout(task, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(again)) => task = again,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Failed::Interrupted),
            }
        }
    }
}

impl Failed {
    /// Whether it would be the same with every other file of the server.
    fn is_of_all(&self) -> bool {
        matches!(self, Failed::Dial(_) | Failed::NotLetIn { .. } | Failed::Interrupted | Failed::Thread(_))
    }
}

impl Job {
    /// Something else of the same server, by its path and query.
    fn beside(&self, address: &str) -> Option<Uri> {
        let mut parts = self.target.uri.clone().into_parts();
        parts.path_and_query = Some(address.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// A page of the listing of a folder.
    pub(super) async fn list(
        &self,
        dialer: &Dialer,
        kept: &mut Option<Connection>,
        uri: &Uri,
    ) -> Result<Vec<u8>, Ended> {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.open(dialer, kept, uri, &fields).await?.answer;
        let headers = answer.headers();
        if answer.status() != StatusCode::OK {
            return Err(self.ended(refusal(answer.status(), headers)));
        }
        let is_listing = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
            && !headers.contains_key(CONTENT_DISPOSITION);
        if !is_listing {
            return Err(self.ended(Wrong::Refused(NO_FOLDER.into())));
        }
        let (mut body, mut bytes) = (answer.into_body(), Vec::new());
        while let Some(data) = self.next(&mut body).await? {
            if bytes.len() + data.len() > PAGE_BYTES_MAX {
                return Err(self.ended(Wrong::Refused("the list of what is in it has no end".into())));
            }
            self.pace(data.len()).await;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

const NO_FOLDER: &str =
    "it is no folder of a lanx serve, and -r gets nothing else; get its files one by one, without -r";

impl Getter {
    fn page(&mut self, job: &Job, uri: &Uri) -> Result<Page, Failed> {
        let bytes = self.list(job, uri)?;
        let refused = |_| Failed::Refused { url: job.url(), why: NO_FOLDER.to_owned() };
        serde_json::from_slice(&bytes).map_err(refused)
    }
}
