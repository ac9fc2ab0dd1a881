//! How a session is carried from one machine to the other, and how one finds the other.
//!
//! [`tcp`] reaches and listens, [`control`] is a control connection, [`discovery`] is mDNS: receivers that announce
//! themselves.

pub mod address;
pub mod control;
pub mod discovery;
pub mod tcp;
