//! What is sent arrives as it was, whatever it is and whichever way it goes.

#[cfg(target_os = "linux")]
mod abilities;
mod bottleneck;
mod carriers;
mod changes;
mod closed_streams;
mod compress;
mod dataset;
mod delta;
#[cfg(target_os = "linux")]
mod direct;
mod existing;
mod files;
#[cfg(target_os = "linux")]
mod holes;
mod listed;
mod memory;
mod output;
mod pipelines;
mod quic;
mod remembered;
mod renamed;
mod second_sender;
mod several;
mod stream_usage;
mod streams;
mod trees;
