//! One node's whole brain, without I/O, clock, threads or randomness of its own.
//!
//! [`Replica`] takes client calls, peer messages, ticks and the completions of disk and store, and says
//! what to send, to persist, to apply, to look up and to answer. It is the only place that knows both
//! consensus (`paxos`) and documents (`store`):
//!
//! - A **write** becomes a [`store::Command`] under a reference and goes to the leader, from whichever
//!   node took it. Its entry is decided, made durable and applied everywhere; the node that took the
//!   call answers when *it* applies the entry, because it finds the reference in the outcome. What gets
//!   lost on the way is sent again under the same reference, with growing waits, and the store applies
//!   it once.
//! - A **read** asks the leader for a read index (one quorum round for all reads that wait) and is looked
//!   up in this node's own store once that slot is applied. `level=local` skips the question.
//! - **Joining** is a wish sent to any member until the log says that it came true.
//!
//! [`Journal`] keeps the core's records in a [`wal::Log`], and [`start`] brings log and store back to
//! one state after a crash. [`examine`] reads the log of a node that does not run.
//!
//! Invariant: only entries that are durable in this node's own log are applied, so the store never
//! knows more than the log (checked at start).

mod builds;
mod bytes;
mod changes;
mod examine;
mod journal;
mod message;
mod node;
mod requests;
mod snapshots;
mod start;
mod status;
mod writes;

pub use crate::bytes::{decode_peer_message, encode_peer_message};
pub use crate::examine::{Examined, examine};
pub use crate::journal::{Journal, JournalError, Recovered};
pub use crate::message::PeerMessage;
pub use crate::node::{Config, Effect, Input, Output, PlantedBug, Replica, RequestId};
pub use crate::snapshots::Imported;
pub use crate::start::{StartError, Started, start};
