//! What to say next, given what was heard: the two sides of a session, without any socket.
//!
//! A session moves files from a [`crate::session::sender::Sending`] to a
//! [`crate::session::receiver::Receiving`]. Each side hears messages through its `handle`, speaks through an
//! [`Outbox`], and moves chunks in worker threads that run
//! [`send_chunks`](crate::session::sender::worker::send_chunks) and
//! [`receive_frames`](crate::session::receiver::worker::receive_frames) over whatever [`Lane`](link::Lane)
//! they are handed ([`link`]).

pub mod bottleneck;
pub mod carrier;
pub mod cpu_speed;
pub mod destination;
pub mod ending;
pub mod frames;
pub mod link;
pub mod outbox;
pub mod probe;
pub mod progress;
pub mod rate_limit;
pub mod receiver;
pub mod report;
pub mod sender;
pub mod snapshot;
pub mod stage_clock;

pub use ending::{End, Ending, PeerMisbehaved};
pub use outbox::{Outbox, OutboxReader, outbox};
pub use progress::Progress;
pub use receiver::Diligence;
pub use report::{FileReport, FileStatus, Observer, ReportKind};
