use std::fs;

use super::*;
use crate::content::entry::{EntryKind, Metadata};
use crate::session::outbox::{OutboxReader, outbox};
use crate::session::progress::Progress;
use crate::session::receiver::Terms;
use crate::session::receiver::receiving::Receiving;
use crate::session::report::{FileReport, Observer};
use crate::store::{Destination, Existing, Owner, Sink};
use crate::wire::message::{Offer, ReceiverMessage, SenderMessage};

struct Deaf;

impl Observer for Deaf {
    fn file(&self, _report: &FileReport) {}
}

fn session(dir: &std::path::Path) -> (Arc<Receiving>, OutboxReader<ReceiverMessage>) {
    let to = Arc::new(Destination::Folder(Sink::open(dir, Existing::Refuse).unwrap()));
    let (outbox, reader) = outbox();
    let diligence = Diligence { sync: true, reread: true };
    let terms = Terms { diligence, ..Terms::default() };
    let (observer, progress) = (Arc::new(Deaf), Arc::new(Progress::default()));
    let outcomes = Outcomes::new(to, terms, outbox, Arc::new(()), observer, progress);
    (Arc::new(Receiving::new(outcomes, None)), reader)
}

/// File `id` of a session, offered and received.
fn received(session: &Arc<Receiving>, id: u64) -> Finished {
    let metadata = Metadata { mode: 0o600, ..Metadata::default() };
    let name = format!("file-{id}").into_bytes();
    let kind = EntryKind::File { size: 5, sparse: false };
    let offer = Offer { file: crate::content::chunk::FileId(id), kind, metadata, path: name };
    session.handle(SenderMessage::Offer(offer.clone())).unwrap();
    let path = crate::name::RelativePath::from_wire(&offer.path).unwrap();
    let part = session.outcomes.sink(&path).unwrap().part(&path, 5, false).unwrap();
    part.write_at(b"hello", 0).unwrap();
    let offered = Offered::new(&offer, path, false);
    Finished::File(Complete { offered, part: Arc::new(part), hash: blake3::hash(b"hello") })
}

fn join(session: &Receiving) {
    session.threads().into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn more_files_than_a_batch_are_finished_and_none_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (session, _reader) = session(dir.path());
    let files = 3 * FINISH_BATCH_FILES as u64;
    for id in 0..files {
        let finished = received(&session, id);
        session.finisher.finish(finished);
    }
    // Ends its thread without telling it that the session is over.
    *session.finisher.queue.lock() = None;
    join(&session);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count() as u64, files);
    assert!((0..files).all(|id| fs::read(dir.path().join(format!("file-{id}"))).unwrap() == b"hello"));
}

#[test]
fn nothing_is_published_after_the_session_was_closed_and_what_arrived_stays_to_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (session, _reader) = session(dir.path());
    let batch = vec![received(&session, 0), received(&session, 1)];
    let late = received(&session, 2);
    session.close();
    finish_batch(&session.outcomes, batch);
    session.finisher.finish(late);
    join(&session);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let owner = Owner::default();
    assert_eq!(names, [0, 1, 2].map(|n| format!(".file-{n}.{owner}.lanx-part")));
}
