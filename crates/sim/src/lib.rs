//! A simulated world: network, disks, clocks, clients and faults around the real `replica`, `paxos`,
//! `wal` and `store`, all from one seed.
//!
//! One seed and one commit are one run: [`run`] draws the whole [`Plan`] from the seed (how many nodes,
//! how bad the network, which faults), plays it, and checks after every step what must never break
//! ([`checker`]). Then the faults stop, and the world must *heal*: every client gets its answers, every
//! node reaches the same slot with the same content. A run ends in a [`Report`] or a [`Violation`].
//!
//! Invariants of absence: no clock, no thread, no file, no global random number; the order of events
//! depends on the seed alone (the report carries a hash of the trace, and a test runs seeds twice).

pub mod checker;
pub mod cli;
mod client;
mod network;
mod node;
mod plan;
mod trace;
mod world;

pub use crate::plan::{Plan, Planted, Story, Twist};
pub use crate::world::{Report, Violation, run};
