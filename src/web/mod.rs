//! The web door: files over HTTP/1.1, for whoever has a browser, curl or any other client.
//!
//! - [`serve`] accepts connections, and gives each its bounds; [`site`] is what all of them share, and
//!   `routes` answers requests.
//! - [`place`] is what is served: opened beneath handles, and through no symbolic link.
//! - [`access`] says who may ask; [`hosts`] under which names this machine may be asked.
//! - [`ranges`] and [`validators`] are what RFC 9110 says of parts and of unchanged files.
//! - [`hashes`] is what is known of them, so that clients can prove what they get.
//! - [`fetch`] is the other side: a file of any HTTP server.
//! - [`upload`] takes files in (`arrival`: from body to rename), [`pieces`] those that come in pieces; `own`
//!   and `talk` are how a page asks for that.
//! - [`page`] is the page that browsers are shown; [`scrape`] the one that `recv --metrics` has for programs.
//! - [`bounds`] is what clients may take. [`body`] moves the bytes; [`listing`] and [`archive`] are what a
//!   folder is answered with.

pub mod access;
mod api;
pub mod archive;
mod arrival;
pub mod body;
pub mod bounds;
pub mod certificate;
pub mod fetch;
pub mod guarded;
pub mod hashes;
pub mod hosts;
pub mod listing;
pub mod names;
pub mod page;
pub mod passing;
pub mod pieces;
pub mod place;
pub mod ranges;
pub mod refused;
mod reply;
mod routes;
pub mod scrape;
pub mod serve;
pub mod site;
pub mod stats;
mod talk;
pub mod upload;
pub mod validators;
