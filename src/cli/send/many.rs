//! `lanx send --to A --to B`: one transfer for each receiver, side by side, each with its own end.

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::job::{SendGroup, TransferJob, transfer};
use crate::cli::exit::Exit;
use crate::cli::signals;
use crate::cli::ui::out::Audience;

/// Runs every job to its own end. What goes wrong with one is told at once and ends no other. Returns the
/// gravest exit code.
pub async fn run(jobs: Vec<TransferJob>, interrupted: impl Future<Output = ()>, audience: Audience) -> Exit {
    signals::allow_many_files();
    let (stop, stopped) = watch::channel(false);
    let mut transfers = JoinSet::new();
    let local = LocalSet::new();
    let group = SendGroup::new(jobs.len());
    for job in jobs {
        let mut stopped = stopped.clone();
        // Its other end lives as long as the transfers.
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        transfers
            .spawn_local_on(one(TransferJob { group: Some(group.clone()), ..job }, audience, stop), &local);
    }
    let all = local.run_until(async move {
        tokio::pin!(interrupted);
        let mut exits = Vec::new();
        loop {
            tokio::select! {
                next = transfers.join_next() => match next {
                    Some(exit) => exits.push(exit.unwrap_or(Exit::Other)),
                    None => break,
                },
                () = &mut interrupted, if !*stop.borrow() => drop(stop.send(true)),
            }
        }
        Exit::gravest(exits.into_iter())
    });
    all.await
}

async fn one(job: TransferJob, audience: Audience, stop: impl Future<Output = ()>) -> Exit {
    let peer = job.reporter.peer.to_string();
    match transfer(job, stop).await {
        Ok(exit) => exit,
        Err(failure) => failure.about(peer).tell_of_one(audience),
    }
}
