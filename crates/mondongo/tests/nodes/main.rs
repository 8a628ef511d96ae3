//! Nodes as real processes: what they serve, what they refuse, and what survives their crashes.

mod crashes;
mod disks;
mod faults;
mod group;
#[path = "../harness/mod.rs"]
mod harness;
mod partitions;
mod peers;
mod serve;
