//! Nodes as real processes: what they serve, what they refuse, and what survives their crashes.

mod alone;
mod bench;
mod crashes;
mod cursors;
mod damage;
mod disks;
mod faults;
mod folders;
mod group;
#[path = "../harness/mod.rs"]
mod harness;
mod imports;
mod leadership;
mod membership;
mod overload;
mod partitions;
mod passive;
mod peers;
mod power;
mod prompt;
mod serve;
mod snapshots;
mod syncs;
mod tracer;
mod upgrades;
mod watches;
