//! A file that goes to the standard output: one thread writes, and it alone decides what becomes of the file.

use std::io;
use std::sync::Arc;

use super::in_order::{InOrder, Step};
use super::incoming::{Bytes, Incoming, Plan};
use super::offered::Offered;
use super::outcomes::Outcomes;
use crate::content::entry::{Cause, Failure};
use crate::content::tree::Hash;
use crate::os::said::Said;
use crate::os::threads;
use crate::session::ending::End;
use crate::session::progress::Progress;
use crate::session::report::FileStatus;
use crate::session::stage_clock::{Clock, Stages};
use crate::store::Output;
use crate::wire::message::ReceiverMessage;
use crate::wire::stage_times::Stage;

/// Takes a file for the output, if that is free.
pub fn offer_to_output(
    outcomes: &Arc<Outcomes>,
    offered: Offered,
    output: &Arc<Output>,
    stages: &Arc<Stages>,
) {
    if outcomes.terms.dry_run {
        return outcomes.report(&offered, None, FileStatus::Wanted);
    }
    if !output.promise() {
        let text = format!(
            "{}: the receiver writes one file to its standard output, and has another one; send them one by one, or \
             to `lanx recv DIR`",
            offered.path
        );
        return outcomes.fail(&offered, Failure::new(Cause::Refused, text));
    }
    let (id, layout) = (offered.id, offered.layout);
    let queue = Arc::new(InOrder::new(layout.chunks()));
    // As far as there is room for it.
    let ask = match layout.is_single() {
        true => ReceiverMessage::Send { file: id },
        false => ReceiverMessage::SendUpTo { file: id, end: queue.end() },
    };
    let bytes = Bytes::Output(queue.clone());
    let file = Arc::new(Incoming::new(offered, bytes, Plan::default(), &outcomes.memory));
    outcomes.insert(file.clone());
    let writer = Writer { outcomes: outcomes.clone(), file, queue, output: output.clone() };
    let stages = stages.clone();
    let builder = threads::worker("output");
    // Nobody waits for this thread: whoever reads the output may hold it up for ever.
    match builder.spawn(move || writer.write_out(&stages)) {
        Ok(_) => outcomes.outbox.send(&ask),
        Err(error) => outcomes.ending.decide(End::Exhausted(error.to_string())),
    }
}

struct Writer {
    outcomes: Arc<Outcomes>,
    file: Arc<Incoming>,
    queue: Arc<InOrder>,
    output: Arc<Output>,
}

impl Writer {
    /// Writes the chunks of a file as their turn comes, and tells what became of it.
    fn write_out(&self, stages: &Stages) {
        let Writer { outcomes, file, queue, output } = self;
        let mut clock = Clock::new(stages, Stage::Receive);
        let mut written = 0;
        let failure = loop {
            clock.turn_to(Stage::Receive);
            match queue.step() {
                Step::Write(mut chunk) => {
                    clock.turn_to(Stage::Write);
                    let content = chunk.content();
                    if let Err((done, error)) = output.write(content) {
                        written += done as u64;
                        break not_written(file, written, &error);
                    }
                    written += content.len() as u64;
                    Progress::add(&outcomes.progress.written, content.len() as u64);
                    if let Some(end) = queue.wrote(chunk) {
                        outcomes.outbox.send(&ReceiverMessage::SendUpTo { file: file.offered.id, end });
                    }
                }
                Step::Compare { ours, theirs } if ours == theirs => {
                    return self.wrote_out(Some(ours), FileStatus::Stored);
                }
                Step::Compare { ours, theirs } => break not_verified(file, written, ours, theirs),
                Step::Fail(failure) => break failure,
                Step::Leave => return,
            }
        };
        self.wrote_out(None, FileStatus::Failed(failure));
    }

    fn wrote_out(&self, hash: Option<Hash>, status: FileStatus) {
        let Writer { outcomes, file, queue, .. } = self;
        queue.close();
        let id = file.offered.id;
        let mut files = outcomes.files.lock();
        // Its session is over, and has told how.
        if files.incoming.remove(&id).is_none() {
            return;
        }
        if let FileStatus::Failed(_) = status {
            files.failed.insert(id);
        }
        drop(files);
        file.end();
        outcomes.report(&file.offered_now(), hash, status);
    }
}

fn not_written(file: &Incoming, written: u64, error: &io::Error) -> Failure {
    let path = &file.offered.path;
    let text = match error.kind() {
        io::ErrorKind::BrokenPipe => {
            format!("{path}: whoever read the receiver's standard output closed it after {}", bytes(written))
        }
        _ => format!(
            "{path}: cannot write to the receiver's standard output: {}; see where it goes, then start both again",
            Said(error)
        ),
    };
    Failure::new(Cause::Storage, text)
}

fn not_verified(file: &Incoming, written: u64, ours: Hash, theirs: Hash) -> Failure {
    let taken_back = match written {
        0 => "nothing of it was written to standard output".into(),
        _ => format!(
            "{written} bytes were written to standard output and cannot be taken back, do not use them"
        ),
    };
    let text = format!(
        "{}: what arrived is not what was sent (BLAKE3 {ours} here, {theirs} there); {taken_back}; start both again",
        file.offered.path
    );
    Failure::new(Cause::Verification, text)
}

fn bytes(n: u64) -> String {
    if n == 1 { "1 byte".into() } else { format!("{n} bytes") }
}
