//! The sender's side of a session.
//!
//! [`Sending`] offers files and hears what the receiver wants of them, [`dealer`] has what the workers do
//! next, [`lanes`] the data connections that they do it over, and [`worker`] is what each of them runs.

pub mod attempt;
pub mod compress;
pub mod dealer;
pub mod lanes;
pub mod ramp_up;
mod sending;
pub mod worker;

pub use sending::{Sending, TransferOptions};
