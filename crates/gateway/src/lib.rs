//! Bytes of each client protocol to and from requests, behind one [`Service`] trait.
//!
//! A node listens at one address. [`detect`] tells from the first bytes of a connection which
//! protocol it speaks; [`native`] serves the native protocol (spec §3); what this version does not
//! speak is [refused](refuse) in the client's own language.
//!
//! **Invariants of absence.** The gateway knows no consensus, no store and no peer: it reaches the
//! node through [`Service`] alone, so it is tested against an in-memory one.

mod budget;
pub mod detect;
pub mod native;
pub mod refuse;
mod service;
mod settings;

pub use budget::UnfinishedBytes;
pub use service::{Origin, Reply, ReplySink, Service};
pub use settings::{IdSource, Settings};
