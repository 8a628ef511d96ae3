//! The running node: event loop, peer transport, log and apply threads.
//!
//! [`run`] serves one folder at one address until it is told to stop. Everything that decides is in
//! `replica`; this crate gives it a clock, a disk, a network and threads:
//!
//! | thread | what it does | what it waits for |
//! | --- | --- | --- |
//! | network | all sockets; steps the replica (`node`) with whatever has come in, then carries out what it says | sockets, the inbox, the next tick |
//! | log | appends what is queued, one sync for all of it; reads old entries for followers; seals when idle | its queue |
//! | apply | applies decided entries to the store, merged; persists the store now and then | its queue |
//! | readers | queries | their queue |
//! | snapshot | reads snapshots of the store for others, takes one in beside the store | its queue |
//! | spare | now and then, for a moment: prepares a segment of the log | |
//!
//! [`run_local`] runs the same node for clients within the process alone; [`inspect`] reads the folder of a node that
//! does not run.
//!
//! The network thread is one runtime thread, so connections, peers and the replica share a core's cache
//! and wake each other without a context switch. All others hand their results to the
//! inbox (`inbox`), which wakes the event loop once per batch.
//!
//! **Bounds.** Requests under way are limited by how long the first of them waits (`admission`), and by number
//! and bytes; connections by the limit of open files; messages to a peer by bytes (more are dropped: messages
//! may be lost); entries waiting for the store by bytes (beyond it messages that bring more are dropped and
//! writes refused as busy); the log's queue is bounded by the core's own windows.

mod address;
mod admission;
mod apply_thread;
mod at_once;
mod backlog;
mod build_wait;
mod connections;
mod cursors;
mod diverged;
mod error;
mod faults;
pub mod folder;
mod importing;
mod inbox;
pub mod inspect;
mod join;
mod listener;
mod local;
mod log_thread;
mod node;
mod open;
mod options;
mod peer;
mod process;
mod queue;
mod readers;
mod room;
mod run;
mod service;
mod snapshot_thread;
mod stores;
mod sync_thread;
mod ticks;
mod watch_thread;

#[cfg(feature = "fuzzing")]
pub use peer::fuzzing;

pub use error::ServerError;
pub use local::{Access, Dialer, LocalOptions, run_local};
pub use options::{EvictAfter, Options};
pub use paxos::{LEVEL_MAX as FEATURE_LEVEL_MAX, Policy};
pub use run::{Stop, run};
