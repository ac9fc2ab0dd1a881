//! What `recv --metrics` tells Prometheus. docs/service.md has the list; labels are few and never come from
//! outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use anyhow::anyhow;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::ui::summary::Counts;
use crate::net::quic::stats::{QuicStats, QuicSums};
use crate::os::said::Said;
use crate::server::handshake::Reason;
use crate::server::stats::Ledger;
use crate::session::{End, FileReport, FileStatus, ReportKind};
use crate::wire::stage_times::Stage;

/// The stages that a receiver has.
const STAGES: [(Stage, &str); 7] = [
    (Stage::Wait, "wait"),
    (Stage::Receive, "receive"),
    (Stage::Open, "open"),
    (Stage::Decompress, "decompress"),
    (Stage::Read, "read"),
    (Stage::Hash, "hash"),
    (Stage::Write, "write"),
];

/// A counter for each of a few labels.
struct Labelled<const N: usize>([(&'static str, AtomicU64); N]);

impl<const N: usize> Labelled<N> {
    fn new(labels: [&'static str; N]) -> Labelled<N> {
        Labelled(labels.map(|label| (label, AtomicU64::new(0))))
    }

    fn add(&self, label: &str) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == label) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(label, count)| (*label, count.load(Ordering::Relaxed)))
    }
}

/// What a receiver has done since it was started.
pub struct Counters {
    ledger: Arc<Ledger>,
    files: Labelled<5>,
    sessions: Labelled<9>,
    programs: Labelled<3>,
    paired: AtomicU64,
    /// What is counted over UDP.
    pub quic: Arc<QuicStats>,
}

impl Counters {
    pub fn new(ledger: Arc<Ledger>) -> Counters {
        Counters {
            ledger,
            files: Labelled::new(["stored", "renamed", "identical", "wanted", "failed"]),
            sessions: Labelled::new([
                "complete",
                "some_failed",
                "cancelled",
                "parked",
                "misbehaved",
                "forged",
                "lost",
                "out_of_resources",
                "stopped",
            ]),
            programs: Labelled::new(["ok", "failed", "left_out"]),
            paired: AtomicU64::new(0),
            quic: Arc::default(),
        }
    }

    /// A file has its outcome.
    pub fn file(&self, report: &FileReport) {
        if report.kind == ReportKind::File {
            self.files.add(status(&report.status));
        }
    }

    /// A session in which something was offered has ended.
    pub fn session(&self, end: &End, counts: &Counts) {
        self.sessions.add(result(end, counts.exit()));
    }

    /// A program of --exec has ended so, or was not run.
    pub fn program(&self, result: &'static str) {
        self.programs.add(result);
    }

    pub fn paired(&self) {
        self.paired.fetch_add(1, Ordering::Relaxed);
    }
}

fn status(status: &FileStatus) -> &'static str {
    match status {
        FileStatus::Stored => "stored",
        FileStatus::Renamed(_) => "renamed",
        FileStatus::Identical | FileStatus::Remembered => "identical",
        FileStatus::Wanted => "wanted",
        FileStatus::Failed(_) => "failed",
    }
}

fn result(end: &End, files: Exit) -> &'static str {
    match end {
        End::Complete if files == Exit::Success => "complete",
        End::Complete => "some_failed",
        End::PeerLeft(_) => "cancelled",
        End::Away => "parked",
        End::Misbehaved(_) => "misbehaved",
        End::Forged(_) => "forged",
        End::Misplaced(_) => "misplaced",
        End::Revoked => "revoked",
        End::Lost(_) | End::Silent(_) => "lost",
        End::Exhausted(_) => "out_of_resources",
        End::Stopped => "stopped",
    }
}

/// The page for Prometheus.
pub struct Page(Registry);

impl Page {
    pub fn new(counters: Arc<Counters>) -> Page {
        let mut registry = Registry::with_prefix("lanx");
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(counters));
        Page(registry)
    }

    pub fn text(&self) -> String {
        let mut page = String::new();
        if let Err(error) = text::encode(&mut page, &self.0) {
            tracing::debug!("a page of metrics is not whole: {error}");
        }
        page
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counters")
    }
}

impl Collector for Counters {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (sums, present) = self.ledger.read();
        let mut sheet = Sheet(encoder);
        sheet.count("received_bytes", "Bytes that arrived and were written", sums.written)?;
        let help = "Bytes that all that arrived in took on the wire";
        sheet.count("wire_bytes", help, sums.wire)?;
        sheet.count("kept_bytes", "Bytes that were there already and proved to be right", sums.kept)?;
        sheet.counts("files", "Files by what became of them", "status", self.files.read())?;
        sheet.counts("sessions", "Sessions that have ended, by how", "result", self.sessions.read())?;
        let help = "Programs of --exec, by how they ended";
        sheet.counts("programs", help, "result", self.programs.read())?;
        sheet.gauge("sessions_active", "Sessions under way", present.sessions)?;
        sheet.gauge("sessions_waiting", "Senders that wait for their turn", present.waiting)?;
        sheet.gauge("connections_active", "Data connections of all sessions", present.data_connections)?;
        let seconds = |stage: Stage| sums.nanos.get(stage as usize).map_or(0.0, |n| *n as f64 / 1e9);
        let stages = STAGES.map(|(stage, name)| (name, seconds(stage)));
        let help = "Time of all threads that receive, by what they did";
        sheet.counts("stage_seconds", help, "stage", stages.into_iter())?;
        let troubles = sums.troubles;
        sheet.count(
            "tcp_retransmits",
            "TCP segments that this machine sent once more",
            troubles.retransmits,
        )?;
        let help = "TCP segments that arrived out of order, as they do behind a lost one";
        sheet.count("tcp_out_of_order", help, troubles.out_of_order)?;
        let refused = Reason::ALL.map(|reason| (reason.name(), self.ledger.refused(reason)));
        let help = "Connections that were sent away before they were a session";
        sheet.counts("handshake_failures", help, "reason", refused.into_iter())?;
        let paired = self.paired.load(Ordering::Relaxed);
        sheet.count("pairings", "Machines that proved the code", paired)?;
        over_quic(&mut sheet, &self.quic.read(), troubles.lost_packets)
    }
}

fn over_quic(sheet: &mut Sheet<'_>, sums: &QuicSums, lost_packets: u64) -> fmt::Result {
    let results = [("complete", sums.handshakes), ("failed", sums.handshakes_failed)];
    sheet.counts("quic_handshakes", "Handshakes over QUIC", "result", results.into_iter())?;
    sheet.seconds("quic_handshake_seconds", "Time of complete handshakes over QUIC", sums.handshake_time)?;
    let help = "Time from the handshake to the first data connection over QUIC";
    sheet.seconds("quic_first_stream_seconds", help, sums.first_stream_time)?;
    sheet.count(
        "quic_retries",
        "First packets that were sent back to validate their address",
        sums.retries,
    )?;
    sheet.count("quic_streams", "Data connections that came over QUIC", sums.streams)?;
    sheet.count("quic_address_changes", "Senders that went on from another address", sums.address_changes)?;
    sheet.count(
        "quic_connections_lost",
        "QUIC connections on which nobody answered",
        sums.connections_lost,
    )?;
    sheet.count("quic_lost_packets", "QUIC packets of this machine that were lost", lost_packets)?;
    sheet.gauge("quic_connections_active", "QUIC connections", sums.connections)?;
    let help = "Round trip of the QUIC connections of this moment, on average";
    let round_trip = ConstGauge::new(sums.round_trip.as_secs_f64());
    round_trip.encode(sheet.begin("quic_round_trip_seconds", help, MetricType::Gauge)?)
}

/// Writes one metric after another.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn begin(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: usize) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(self.begin(name, help, MetricType::Gauge)?)
    }

    fn count(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.begin(name, help, MetricType::Counter)?)
    }

    fn seconds(&mut self, name: &'static str, help: &str, time: Duration) -> fmt::Result {
        ConstCounter::new(time.as_secs_f64()).encode(self.begin(name, help, MetricType::Counter)?)
    }

    fn counts<V>(
        &mut self,
        name: &'static str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'static str, V)>,
    ) -> fmt::Result
    where
        ConstCounter<V>: EncodeMetric,
    {
        let mut family = self.begin(name, help, MetricType::Counter)?;
        for (value_of_label, value) in values {
            let labels = [(label, value_of_label)];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Listens where the user wants the page to be.
pub fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    let bind = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        Failure::new(
            Exit::Other,
            anyhow!("cannot listen on {addr} for --metrics: {}; choose another ADDR:PORT", Said(&error)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PeerMisbehaved;

    #[test]
    fn every_end_of_a_session_is_counted() {
        let counters = Counters::new(Arc::default());
        let ends = [
            End::Complete,
            End::PeerLeft("".into()),
            End::Away,
            End::Misbehaved(PeerMisbehaved::UnknownFile(0)),
            End::Forged(crate::wire::seal::SealError::Forged),
            End::Lost(String::new()),
            End::Exhausted(String::new()),
            End::Stopped,
        ];
        ends.iter().for_each(|end| counters.session(end, &Counts::default()));
        counters.sessions.add(result(&End::Complete, Exit::SomeFailed));
        assert!(
            counters.sessions.read().all(|(_, count)| count == 1),
            "{:?}",
            counters.sessions.read().collect::<Vec<_>>()
        );
    }
}
