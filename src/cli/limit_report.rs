//! What a transfer was waiting for, in words and as JSON.

use serde::Serialize;

use crate::protocol::spent::{Spent, Stage};
use crate::session::bottleneck::{Accounts, Bottleneck, Verdict};

/// One half of a sentence. `in_order`: the receiver writes to its standard output.
pub fn sentence(verdict: Verdict, in_order: bool) -> String {
    let percent = (u32::from(verdict.share) + 5) / 10;
    let (who, did) = match verdict.bottleneck {
        Bottleneck::Limit => ("--limit", "chunks waited for their turn"),
        Bottleneck::Source => ("the source", "it was being read"),
        Bottleneck::SenderCpu => ("the sender's CPU", "it was busy"),
        Bottleneck::Network => ("the network", "both ends waited for it"),
        Bottleneck::ReceiverCpu => ("the receiver's CPU", "it was busy"),
        Bottleneck::Destination if in_order => {
            ("whoever reads the receiver's output", "it was being written")
        }
        Bottleneck::Destination => ("the receiver's disk", "it was being written or read"),
    };
    format!("limited by {who} ({did} {percent} % of the time)")
}

/// The same for a script.
#[derive(Serialize)]
pub struct LimitReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    spent: Ends,
}

#[derive(Serialize)]
struct Limit {
    by: &'static str,
    /// Of the time, from 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct Ends {
    sender: Times,
    receiver: Times,
}

/// Seconds, of all threads of one end together.
#[derive(Serialize)]
struct Times {
    wait: f64,
    limit: f64,
    read: f64,
    hash: f64,
    seal: f64,
    send: f64,
    receive: f64,
    open: f64,
    write: f64,
    /// Of the time of the machine's CPUs, from 0 to 1, and what of it was lanx's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_own: Option<f64>,
}

impl LimitReport {
    pub fn of(accounts: &Accounts) -> LimitReport {
        let limit = accounts.bottleneck().map(|Verdict { bottleneck, share }| Limit {
            by: name(bottleneck),
            share: f64::from(share) / 1000.0,
        });
        let spent = Ends { sender: Times::of(&accounts.sender), receiver: Times::of(&accounts.receiver) };
        LimitReport { limit, spent }
    }
}

fn name(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Limit => "limit",
        Bottleneck::Source => "source",
        Bottleneck::SenderCpu => "sender_cpu",
        Bottleneck::Network => "network",
        Bottleneck::ReceiverCpu => "receiver_cpu",
        Bottleneck::Destination => "destination",
    }
}

impl Times {
    fn of(spent: &Spent) -> Times {
        // A microsecond is more than these clocks mean.
        let seconds = |stage| (spent.of(stage) as f64 / 1e3).round() / 1e6;
        Times {
            wait: seconds(Stage::Wait),
            limit: seconds(Stage::Limit),
            read: seconds(Stage::Read),
            hash: seconds(Stage::Hash),
            seal: seconds(Stage::Seal),
            send: seconds(Stage::Send),
            receive: seconds(Stage::Receive),
            open: seconds(Stage::Open),
            write: seconds(Stage::Write),
            busy: spent.busy.map(|busy| f64::from(busy.machine) / 1000.0),
            busy_own: spent.busy.map(|busy| f64::from(busy.own) / 1000.0),
        }
    }
}
